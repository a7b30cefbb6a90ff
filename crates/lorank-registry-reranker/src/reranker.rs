//! Resolves names in the registry, and scores with the base models.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lorank_adapters::{
    BARE_BASE, DEFAULT_ALIAS, Entry, Registry, RegistryError, Residency, ResidencyStats, Resident, State,
};
use lorank_core::{
    AdapterId, AdapterUnusable, AdapterVersion, BoxError, Deadline, DeadlineExceeded, Digest, EncodedPair, ErrorKind,
    Group, ModelVersion, PassageOptions, Precision, Reranker, Score, WindowCut, Windows, with_causes,
};
use lorank_model::{BaseModels, Files, LoadedAdapter, Measure, ModelReranker, StageTimes};

/// How long a version can be scored after its last use, once no name refers to it any more.
pub const GRACE: Duration = Duration::from_secs(600);

/// Base models with the adapters of a registry. See the [crate's page](crate).
#[derive(Debug)]
pub struct RegistryReranker {
    bases: Arc<BaseModels>,
    /// The adapter for the name `default` if the registry has no such alias.
    fallback: Option<AdapterId>,
    registry: Arc<Registry>,
    residency: Residency<Placed, LoadedAdapter>,
    /// Recently used versions, by the digest that identifies them to the model.
    recent: Mutex<HashMap<Placed, Recent>>,
    /// The base model of each adapter, by the digest of its files, where the registry has not recorded it; or why there
    /// is none.
    places: Mutex<HashMap<Digest, Result<usize, String>>>,
    times: Mutex<StageTimes>,
}

/// An adapter on the base model at a place, in a precision: two ids may share their files and differ in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Placed {
    digest: Digest,
    place: usize,
    precision: Precision,
}

impl fmt::Display for Placed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.digest.fmt(f)
    }
}

/// A recently used version.
#[derive(Debug)]
struct Recent {
    entry: Entry,
    version: ModelVersion,
    passages: PassageOptions,
    /// Keeps the registry from collecting the adapter's files.
    _state: Arc<State>,
    last_asked: Instant,
}

/// An adapter in the registry that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryRerankerError {
    /// The adapter could not be loaded.
    #[error("could not load adapter `{adapter}` from the registry")]
    Load {
        /// The adapter id.
        adapter: AdapterId,
        /// The cause.
        source: RegistryError,
    },
    /// The files differ from those that were added.
    #[error("the files of adapter `{adapter}` have changed since it was added to the registry")]
    Changed {
        /// The adapter id.
        adapter: AdapterId,
    },
    /// The prompt settings are invalid.
    #[error("the prompt settings of adapter `{adapter}` are invalid")]
    Settings {
        /// The adapter id.
        adapter: AdapterId,
        /// The cause.
        source: BoxError,
    },
    /// None of several base models is the adapter's.
    #[error("adapter `{adapter}` has no base model here: {why}")]
    NoBase {
        /// The adapter id.
        adapter: AdapterId,
        /// The reason.
        why: String,
    },
    /// An alias points to a base model that is not loaded.
    #[error("alias `{alias}` points to a base model that is not loaded")]
    NoAliasedBase {
        /// The alias.
        alias: AdapterId,
        /// The cause, with the names of the loaded ones.
        source: BoxError,
    },
    /// The version is no longer in the registry, and was not used recently.
    #[error("this version of adapter `{adapter}` is no longer in the registry")]
    Gone {
        /// The adapter id.
        adapter: AdapterId,
    },
}

impl RegistryRerankerError {
    /// The kind of the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Load { .. }
            | Self::Changed { .. }
            | Self::Settings { .. }
            | Self::NoBase { .. }
            | Self::NoAliasedBase { .. } => ErrorKind::Unavailable,
            Self::Gone { .. } => ErrorKind::NotFound,
        }
    }
}

/// A pair for a registry adapter: the model's pair, and a handle that keeps the adapter in memory until it is scored.
struct ResidentPair {
    pair: EncodedPair,
    _resident: Arc<Resident<Placed, LoadedAdapter>>,
}

impl RegistryReranker {
    /// The default limit for unused adapters, in bytes: about fifty of DeAR's size.
    pub const BYTES_MAX: u64 = 2 << 30;

    /// Base models with their own adapters and those of the registry; at most `bytes_max` bytes of unused registry
    /// adapters stay in memory. `fallback` is the adapter or base model for the name `default` until the registry has that
    /// alias; `None` is the bare default base model.
    pub fn new(
        bases: impl Into<BaseModels>,
        registry: Arc<Registry>,
        fallback: Option<AdapterId>,
        bytes_max: u64,
    ) -> Self {
        Self {
            bases: Arc::new(bases.into()),
            fallback,
            registry,
            residency: Residency::new(bytes_max),
            recent: Mutex::default(),
            places: Mutex::default(),
            times: Mutex::default(),
        }
    }

    /// The default base model.
    pub fn base(&self) -> &ModelReranker {
        self.bases.first()
    }

    /// The base models, the default one first.
    pub fn bases(&self) -> &BaseModels {
        &self.bases
    }

    /// The registry.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// The adapters in memory, and the time spent on loading.
    pub fn residency(&self) -> ResidencyStats {
        self.residency.stats()
    }

    /// The time of tokenization and of the forward passes so far, without their stages.
    pub fn times(&self) -> StageTimes {
        *self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether an adapter is in memory.
    pub fn is_in_memory(&self, entry: &Entry) -> bool {
        let on = |place| self.residency.is_held(&self.placed(entry, entry.content, place));
        (0..self.bases.iter().len()).any(on)
    }

    /// The name of the default alias.
    pub fn default_name() -> AdapterId {
        DEFAULT_ALIAS.parse().expect("it is a valid name")
    }

    /// Loads and drops the registry's adapter with a name, to check that its base model can score with it.
    ///
    /// # Errors
    /// The name is unknown, or the adapter cannot be loaded or does not fit.
    pub fn check_registered(&self, name: &AdapterId) -> Result<(), BoxError> {
        let state = self.registry.state();
        let entry = state.resolve(name)?;
        let place = self.place_of(entry)?;
        if let Some(resident) = self.load(entry, place, None)? {
            self.warn_of_scores(place, &resident);
        }
        Ok(())
    }

    /// Loads and drops an adapter's files, to check that they fit their base model: the one with the name `base`, else the
    /// one that they are for. Returns the digest of one of several base models, for [`add_for_base`](crate::add_for_base).
    ///
    /// # Errors
    /// A [`ModelError`](lorank_model::ModelError) that describes the mismatch.
    pub fn check(&self, id: &AdapterId, files: &Files, base: Option<&AdapterId>) -> Result<Option<Digest>, BoxError> {
        let place = match base {
            Some(name) => self.bases.place_named(name)?,
            None => self.bases.place_for(id, files)?,
        };
        let reranker = self.bases.at(place).reranker();
        self.warn_of_scores(place, &reranker.load_adapter(id, files)?);
        Ok(Some(reranker.base().digest).filter(|_| !self.bases.is_one()))
    }

    /// The name of the base model of an adapter of the registry.
    ///
    /// # Errors
    /// It is for none of several base models.
    pub fn base_of(&self, entry: &Entry) -> Result<&str, RegistryRerankerError> {
        Ok(self.bases.at(self.place_of(entry)?).name())
    }

    /// Scores are probed when an adapter is added or promoted, but not when it is loaded for a request.
    fn warn_of_scores(&self, place: usize, adapter: &LoadedAdapter) {
        if let Some(why) = self.bases.at(place).reranker().probe(Some(adapter)) {
            tracing::warn!("adapter `{}` {why}", adapter.summary().version.id);
        }
    }

    /// The place of an adapter's base model: the recorded one, else the one that its files are for. An adapter whose
    /// configuration does not name its base model is loaded on all of them, once.
    fn place_of(&self, entry: &Entry) -> Result<usize, RegistryRerankerError> {
        if self.bases.is_one() {
            return Ok(0);
        }
        let recorded = entry.provenance.base_digest.and_then(|digest| self.bases.place_of_digest(&digest));
        if let Some(place) = recorded {
            return Ok(place);
        }
        let known = self.places().get(&entry.content).cloned();
        // The files are read outside of the lock.
        let place = known.unwrap_or_else(|| {
            let files = Files::folder(self.registry.folder_of(entry)).map(|files| files.with_name(entry.id.as_str()));
            let found = files.and_then(|files| self.bases.place_for(&entry.id, &files));
            let found = found.map_err(|error| with_causes(&error));
            let state = self.registry.state();
            let mut places = self.places();
            places.retain(|content, _| state.adapters().any(|entry| entry.content == *content));
            places.insert(entry.content, found.clone());
            found
        });
        place.map_err(|why| RegistryRerankerError::NoBase { adapter: entry.id.clone(), why })
    }

    /// The key of an entry's adapter on a base model.
    fn placed(&self, entry: &Entry, digest: Digest, place: usize) -> Placed {
        let adapter = AdapterVersion { id: entry.id.clone(), digest: entry.provenance.model_digest };
        Placed { digest, place, precision: self.bases.at(place).reranker().precision_of(&adapter) }
    }

    /// The adapter of an entry, loaded on its own thread if necessary; `None` if the deadline passes first.
    fn load(
        &self,
        entry: &Entry,
        place: usize,
        deadline: Option<Deadline>,
    ) -> Result<Option<Resident<Placed, LoadedAdapter>>, RegistryRerankerError> {
        let load = {
            let (bases, registry, entry) = (self.bases.clone(), self.registry.clone(), entry.clone());
            move || -> Result<_, BoxError> {
                let files = Files::folder(registry.folder_of(&entry))?.with_name(entry.id.as_str());
                let adapter = bases.at(place).reranker().load_adapter(&entry.id, &files)?;
                if adapter.summary().version.digest != entry.provenance.model_digest {
                    return Err(RegistryRerankerError::Changed { adapter: entry.id.clone() }.into());
                }
                let n_bytes = adapter.n_bytes() as u64;
                tracing::info!(adapter = %entry.id, digest = entry.provenance.model_digest.short(), n_bytes, "loaded");
                Ok((adapter, n_bytes))
            }
        };
        let loaded = self.residency.get_or_load(&self.placed(entry, entry.content, place), deadline, load);
        loaded.map_err(|source| RegistryRerankerError::Load { adapter: entry.id.clone(), source })
    }

    /// The version of an entry of the state, with the entry's id, because two ids may share their files. Reads no
    /// weights.
    fn version(&self, entry: &Entry, state: Arc<State>) -> Result<ModelVersion, RegistryRerankerError> {
        let (digest, place, now) = (entry.provenance.model_digest, self.place_of(entry)?, Instant::now());
        let key = self.placed(entry, digest, place);
        let known = self.recent().get(&key).filter(|recent| recent.entry.content == entry.content).map(|recent| {
            let mut version = recent.version.clone();
            version.adapter = Some(AdapterVersion { id: entry.id.clone(), digest });
            (version, recent.passages)
        });
        // The settings are read outside of the lock.
        let (version, passages) = known.map_or_else(|| self.read_settings(entry, place), Ok)?;
        let mut recent = self.recent();
        recent.retain(|_, recent| now.saturating_duration_since(recent.last_asked) < GRACE);
        let asked = Recent { entry: entry.clone(), version: version.clone(), passages, _state: state, last_asked: now };
        recent.insert(key, asked);
        Ok(version)
    }

    /// The version of an entry, and how its author wants long documents to be scored.
    fn read_settings(
        &self,
        entry: &Entry,
        place: usize,
    ) -> Result<(ModelVersion, PassageOptions), RegistryRerankerError> {
        let unusable = |source: lorank_model::ModelError| RegistryRerankerError::Settings {
            adapter: entry.id.clone(),
            source: source.into(),
        };
        let files = Files::folder(self.registry.folder_of(entry)).map_err(unusable)?.with_name(entry.id.as_str());
        let base = self.bases.at(place).reranker();
        let version = base.version_of(&entry.id, entry.provenance.model_digest, &files).map_err(unusable)?;
        let passages = base.passages_of(&version, Some(&files)).map_err(unusable)?;
        Ok((self.bases.named(place, version), passages))
    }

    /// The bare base model that an alias points to.
    fn bare_base(&self, alias: &AdapterId, base: &AdapterId) -> Result<ModelVersion, RegistryRerankerError> {
        let place = if base.as_str() == BARE_BASE { Ok(0) } else { self.bases.place_named(base) };
        let version = place.map_err(BoxError::from).and_then(|place| {
            let version = self.bases.at(place).reranker().resolve(None)?;
            Ok(self.bases.named(place, version))
        });
        version.map_err(|source| RegistryRerankerError::NoAliasedBase { alias: alias.clone(), source })
    }

    /// The registry's entry of a version from `resolve`; `None` for an adapter of the base model at the place.
    fn entry_of(&self, model: &ModelVersion, place: usize) -> Result<Option<Entry>, RegistryRerankerError> {
        let Some(AdapterVersion { id, digest }) = model.adapter.as_ref().filter(|_| !model.merged) else {
            return Ok(None);
        };
        let recent = self
            .recent()
            .get(&Placed { digest: *digest, place, precision: model.precision })
            .map(|recent| recent.entry.clone());
        let registered = || {
            let is_it = |entry: &&Entry| {
                entry.provenance.model_digest == *digest
                    && self.place_of(entry).is_ok_and(|own| own == place)
                    && self.placed(entry, *digest, place).precision == model.precision
            };
            self.registry.state().adapters().find(is_it).cloned()
        };
        match recent.or_else(registered) {
            Some(entry) => Ok(Some(entry)),
            None if self.bases.at(place).reranker().holds(id) => Ok(None),
            None => Err(RegistryRerankerError::Gone { adapter: id.clone() }),
        }
    }

    /// The registry's adapter of a version, in memory; `None` for the base model and its own adapters.
    fn resident(
        &self,
        model: &ModelVersion,
        place: usize,
        deadline: Option<Deadline>,
    ) -> Result<Option<Resident<Placed, LoadedAdapter>>, BoxError> {
        let Some(entry) = self.entry_of(model, place).map_err(unusable)? else { return Ok(None) };
        Ok(Some(self.load(&entry, place, deadline).map_err(unusable)?.ok_or(DeadlineExceeded)?))
    }

    fn add_times(&self, times: &StageTimes) {
        self.times.lock().unwrap_or_else(PoisonError::into_inner).add(times);
    }

    fn recent(&self) -> MutexGuard<'_, HashMap<Placed, Recent>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn places(&self) -> MutexGuard<'_, HashMap<Digest, Result<usize, String>>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The registry's error, with the names of several base models.
    fn unknown(&self, error: RegistryError) -> BoxError {
        match error {
            RegistryError::Unknown { name, known } if !self.bases.is_one() => {
                let bases = self.bases.iter().map(|base| format!("`{}`", base.name())).collect::<Vec<_>>().join(", ");
                RegistryError::Unknown { name, known: format!("{known}; base models: {bases}") }.into()
            }
            error => error.into(),
        }
    }
}

fn unusable(error: RegistryRerankerError) -> AdapterUnusable {
    AdapterUnusable { source: error.into() }
}

impl Reranker for RegistryReranker {
    /// Searches the registry's adapters and aliases first, then the base models' own adapters, then the base models.
    fn resolve(&self, adapter: Option<&AdapterId>) -> Result<ModelVersion, BoxError> {
        let Some(name) = adapter else { return self.bases.resolve(None) };
        let state = self.registry.state();
        match state.resolve(name) {
            Ok(entry) => Ok(self.version(&entry.clone(), state).map_err(unusable)?),
            Err(RegistryError::IsBaseAlias { name, base }) => Ok(self.bare_base(&name, &base).map_err(unusable)?),
            Err(_) if name.as_str() == DEFAULT_ALIAS => self.bases.resolve(self.fallback.as_ref()),
            Err(_) if self.bases.has(name) => self.bases.resolve(Some(name)),
            Err(unknown) => Err(self.unknown(unknown)),
        }
    }

    fn instructed(&self, model: ModelVersion, instruction: &str) -> Result<ModelVersion, BoxError> {
        let place = self.bases.place_of(&model)?;
        let entry = self.entry_of(&model, place).map_err(unusable)?;
        let files = entry.map(|entry| Files::folder(self.registry.folder_of(&entry))).transpose()?;
        self.bases.at(place).reranker().instructed_version(model, instruction, files.as_ref())
    }

    fn encode(&self, group: Group<'_>, deadline: Option<Deadline>) -> Result<Vec<EncodedPair>, BoxError> {
        let place = self.bases.place_of(group.model)?;
        let resident = self.resident(group.model, place, deadline)?;
        let started = Instant::now();
        let pairs = self.bases.at(place).reranker().encode_with(group, resident.as_deref())?;
        self.add_times(&StageTimes { tokenise: started.elapsed(), ..StageTimes::default() });
        let Some(resident) = resident.map(Arc::new) else { return Ok(pairs) };
        let kept =
            |pair: EncodedPair| EncodedPair::new(pair.n_tokens(), ResidentPair { pair, _resident: resident.clone() });
        Ok(pairs.into_iter().map(kept).collect())
    }

    fn passages(&self, model: &ModelVersion) -> Result<PassageOptions, BoxError> {
        let place = self.bases.place_of(model)?;
        let Some(entry) = self.entry_of(model, place).map_err(unusable)? else { return self.bases.passages(model) };
        let key = Placed { digest: entry.provenance.model_digest, place, precision: model.precision };
        let recent = self.recent().get(&key).map(|recent| recent.passages);
        let read = || self.read_settings(&entry, place).map(|(_, passages)| passages).map_err(unusable);
        Ok(recent.map_or_else(read, Ok)?)
    }

    fn windows(&self, group: Group<'_>, cut: &WindowCut, deadline: Option<Deadline>) -> Result<Vec<Windows>, BoxError> {
        let place = self.bases.place_of(group.model)?;
        let resident = self.resident(group.model, place, deadline)?;
        Ok(self.bases.at(place).reranker().windows_with(group, cut, resident.as_deref())?)
    }

    fn unknown_share(&self, group: Group<'_>) -> f32 {
        self.bases.unknown_share(group)
    }

    fn score(&self, batch: &[&EncodedPair]) -> Vec<Result<Score, BoxError>> {
        // Pairs of the base models and their own adapters are not wrapped.
        let of_model = |pair: &&EncodedPair| match pair.payload::<ResidentPair>() {
            Ok(resident) => resident.pair.clone(),
            Err(_) => (*pair).clone(),
        };
        let pairs: Vec<EncodedPair> = batch.iter().map(of_model).collect();
        let (scores, times) = self.bases.score_timed(&pairs.iter().collect::<Vec<_>>(), Measure::Total);
        self.add_times(&times);
        scores
    }
}
