//! Resolves names in the registry, and scores with the base model.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lorank_adapters::{DEFAULT_ALIAS, Entry, Registry, RegistryError, Residency, ResidencyStats, Resident, State};
use lorank_core::{
    AdapterId, AdapterUnusable, AdapterVersion, BoxError, Candidate, Deadline, DeadlineExceeded, Digest, EncodedPair,
    ErrorKind, Group, ModelVersion, PassageOptions, Query, Reranker, Score, WindowCut, Windows,
};
use lorank_model::{Files, LoadedAdapter, ModelReranker, StageTimes};

/// How long a version can be scored after its last use, once no name refers to it any more.
pub const GRACE: Duration = Duration::from_secs(600);

/// A base model with the adapters of a registry. See the [crate's page](crate).
#[derive(Debug)]
pub struct RegistryReranker {
    base: Arc<ModelReranker>,
    /// The adapter for the name `default` if the registry has no such alias.
    fallback: Option<AdapterId>,
    registry: Arc<Registry>,
    residency: Residency<Digest, LoadedAdapter>,
    /// Recently used versions, by the digest that identifies them to the model.
    recent: Mutex<HashMap<Digest, Recent>>,
    times: Mutex<StageTimes>,
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
            Self::Load { .. } | Self::Changed { .. } | Self::Settings { .. } => ErrorKind::Unavailable,
            Self::Gone { .. } => ErrorKind::NotFound,
        }
    }
}

/// A pair for a registry adapter: the model's pair, and a handle that keeps the adapter in memory until it is scored.
struct ResidentPair {
    pair: EncodedPair,
    _resident: Arc<Resident<Digest, LoadedAdapter>>,
}

impl RegistryReranker {
    /// The default limit for unused adapters, in bytes: about fifty of DeAR's size.
    pub const BYTES_MAX: u64 = 2 << 30;

    /// A base model with its own adapters and those of the registry; at most `bytes_max` bytes of unused registry
    /// adapters stay in memory. `fallback` is the adapter for the name `default` until the registry has that alias;
    /// `None` is the bare base model.
    pub fn new(base: ModelReranker, registry: Arc<Registry>, fallback: Option<AdapterId>, bytes_max: u64) -> Self {
        let (base, residency) = (Arc::new(base), Residency::new(bytes_max));
        Self { base, fallback, registry, residency, recent: Mutex::default(), times: Mutex::default() }
    }

    /// The base model.
    pub fn base(&self) -> &ModelReranker {
        &self.base
    }

    /// The registry.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// The adapters in memory, and the time spent on loading.
    pub fn residency(&self) -> ResidencyStats {
        self.residency.stats()
    }

    /// The time of each stage of the model so far.
    pub fn times(&self) -> StageTimes {
        *self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether an adapter is in memory.
    pub fn is_in_memory(&self, entry: &Entry) -> bool {
        self.residency.is_held(&entry.content)
    }

    /// The name of the default alias.
    pub fn default_name() -> AdapterId {
        DEFAULT_ALIAS.parse().expect("it is a valid name")
    }

    /// Loads and drops the registry's adapter with a name, to check that the base model can score with it.
    ///
    /// # Errors
    /// The name is unknown, or the adapter cannot be loaded or does not fit.
    pub fn check_registered(&self, name: &AdapterId) -> Result<(), BoxError> {
        let state = self.registry.state();
        let entry = state.resolve(name)?;
        if let Some(resident) = self.load(entry, None)? {
            self.warn_of_scores(&resident);
        }
        Ok(())
    }

    /// Loads and drops an adapter's files, to check that they fit the base model.
    ///
    /// # Errors
    /// A [`ModelError`](lorank_model::ModelError) that describes the mismatch.
    pub fn check(&self, id: &AdapterId, files: &Files) -> Result<(), BoxError> {
        self.warn_of_scores(&self.base.load_adapter(id, files)?);
        Ok(())
    }

    /// Scores are probed when an adapter is added or promoted, but not when it is loaded for a request.
    fn warn_of_scores(&self, adapter: &LoadedAdapter) {
        if let Some(why) = self.base.probe(Some(adapter)) {
            tracing::warn!("adapter `{}` {why}", adapter.summary().version.id);
        }
    }

    /// The adapter of an entry, loaded on its own thread if necessary; `None` if the deadline passes first.
    fn load(
        &self,
        entry: &Entry,
        deadline: Option<Deadline>,
    ) -> Result<Option<Resident<Digest, LoadedAdapter>>, RegistryRerankerError> {
        let load = {
            let (base, registry, entry) = (self.base.clone(), self.registry.clone(), entry.clone());
            move || -> Result<_, BoxError> {
                let files = Files::folder(registry.folder_of(&entry))?.with_name(entry.id.as_str());
                let adapter = base.load_adapter(&entry.id, &files)?;
                if adapter.summary().version.digest != entry.provenance.model_digest {
                    return Err(RegistryRerankerError::Changed { adapter: entry.id.clone() }.into());
                }
                let n_bytes = adapter.n_bytes() as u64;
                tracing::info!(adapter = %entry.id, digest = entry.provenance.model_digest.short(), n_bytes, "loaded");
                Ok((adapter, n_bytes))
            }
        };
        let loaded = self.residency.get_or_load(&entry.content, deadline, load);
        loaded.map_err(|source| RegistryRerankerError::Load { adapter: entry.id.clone(), source })
    }

    /// The version of an entry of the state, with the entry's id, because two ids may share their files. Reads no
    /// weights.
    fn version(&self, entry: &Entry, state: Arc<State>) -> Result<ModelVersion, RegistryRerankerError> {
        let (digest, now) = (entry.provenance.model_digest, Instant::now());
        let known = self.recent().get(&digest).filter(|recent| recent.entry.content == entry.content).map(|recent| {
            let mut version = recent.version.clone();
            version.adapter = Some(AdapterVersion { id: entry.id.clone(), digest });
            (version, recent.passages)
        });
        // The settings are read outside of the lock.
        let (version, passages) = known.map_or_else(|| self.read_settings(entry), Ok)?;
        let mut recent = self.recent();
        recent.retain(|_, recent| now.saturating_duration_since(recent.last_asked) < GRACE);
        let asked = Recent { entry: entry.clone(), version: version.clone(), passages, _state: state, last_asked: now };
        recent.insert(digest, asked);
        Ok(version)
    }

    /// The version of an entry, and how its author wants long documents to be scored.
    fn read_settings(&self, entry: &Entry) -> Result<(ModelVersion, PassageOptions), RegistryRerankerError> {
        let unusable = |source: lorank_model::ModelError| RegistryRerankerError::Settings {
            adapter: entry.id.clone(),
            source: source.into(),
        };
        let files = Files::folder(self.registry.folder_of(entry)).map_err(unusable)?.with_name(entry.id.as_str());
        let version = self.base.version_of(&entry.id, entry.provenance.model_digest, &files).map_err(unusable)?;
        let passages = self.base.passages_of(&version, Some(&files)).map_err(unusable)?;
        Ok((version, passages))
    }

    /// The registry's entry of a version from `resolve`; `None` for an adapter of the base model.
    fn entry_of(&self, model: &ModelVersion) -> Result<Option<Entry>, RegistryRerankerError> {
        let Some(AdapterVersion { id, digest }) = model.adapter.as_ref().filter(|_| !model.merged) else {
            return Ok(None);
        };
        let recent = self.recent().get(digest).map(|recent| recent.entry.clone());
        let registered =
            || self.registry.state().adapters().find(|entry| entry.provenance.model_digest == *digest).cloned();
        match recent.or_else(registered) {
            Some(entry) => Ok(Some(entry)),
            None if self.base.holds(id) => Ok(None),
            None => Err(RegistryRerankerError::Gone { adapter: id.clone() }),
        }
    }

    /// The registry's adapter of a version, in memory; `None` for the base model and its own adapters.
    fn resident(
        &self,
        model: &ModelVersion,
        deadline: Option<Deadline>,
    ) -> Result<Option<Resident<Digest, LoadedAdapter>>, BoxError> {
        let Some(entry) = self.entry_of(model).map_err(unusable)? else { return Ok(None) };
        Ok(Some(self.load(&entry, deadline).map_err(unusable)?.ok_or(DeadlineExceeded)?))
    }

    fn add_times(&self, times: &StageTimes) {
        self.times.lock().unwrap_or_else(PoisonError::into_inner).add(times);
    }

    fn recent(&self) -> MutexGuard<'_, HashMap<Digest, Recent>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unusable(error: RegistryRerankerError) -> AdapterUnusable {
    AdapterUnusable { source: error.into() }
}

impl Reranker for RegistryReranker {
    /// Searches the registry's adapters and aliases first, then the base model's adapters.
    fn resolve(&self, adapter: Option<&AdapterId>) -> Result<ModelVersion, BoxError> {
        let Some(name) = adapter else { return self.base.resolve(None) };
        let state = self.registry.state();
        match state.resolve(name) {
            Ok(entry) => Ok(self.version(&entry.clone(), state).map_err(unusable)?),
            Err(_) if name.as_str() == DEFAULT_ALIAS => self.base.resolve(self.fallback.as_ref()),
            Err(_) if self.base.holds(name) => self.base.resolve(Some(name)),
            Err(unknown) => Err(unknown.into()),
        }
    }

    fn instructed(&self, model: ModelVersion, instruction: &str) -> Result<ModelVersion, BoxError> {
        let entry = self.entry_of(&model).map_err(unusable)?;
        let files = entry.map(|entry| Files::folder(self.registry.folder_of(&entry))).transpose()?;
        self.base.instructed_version(model, instruction, files.as_ref())
    }

    fn encode(&self, group: Group<'_>, deadline: Option<Deadline>) -> Result<Vec<EncodedPair>, BoxError> {
        let resident = self.resident(group.model, deadline)?;
        let started = Instant::now();
        let pairs = self.base.encode_with(group, resident.as_deref())?;
        self.add_times(&StageTimes { tokenise: started.elapsed(), ..StageTimes::default() });
        let Some(resident) = resident.map(Arc::new) else { return Ok(pairs) };
        let kept =
            |pair: EncodedPair| EncodedPair::new(pair.n_tokens(), ResidentPair { pair, _resident: resident.clone() });
        Ok(pairs.into_iter().map(kept).collect())
    }

    fn passages(&self, model: &ModelVersion) -> Result<PassageOptions, BoxError> {
        let Some(entry) = self.entry_of(model).map_err(unusable)? else { return self.base.passages(model) };
        let recent = self.recent().get(&entry.provenance.model_digest).map(|recent| recent.passages);
        let read = || self.read_settings(&entry).map(|(_, passages)| passages).map_err(unusable);
        Ok(recent.map_or_else(read, Ok)?)
    }

    fn windows(&self, group: Group<'_>, cut: &WindowCut, deadline: Option<Deadline>) -> Result<Vec<Windows>, BoxError> {
        let resident = self.resident(group.model, deadline)?;
        Ok(self.base.windows_with(group, cut, resident.as_deref())?)
    }

    fn unknown_share(&self, query: &Query, candidates: &[Candidate]) -> f32 {
        self.base.unknown_share(query, candidates)
    }

    fn score(&self, batch: &[&EncodedPair]) -> Vec<Result<Score, BoxError>> {
        // Pairs of the base model and its own adapters are not wrapped.
        let of_model = |pair: &&EncodedPair| match pair.payload::<ResidentPair>() {
            Ok(resident) => resident.pair.clone(),
            Err(_) => (*pair).clone(),
        };
        let pairs: Vec<EncodedPair> = batch.iter().map(of_model).collect();
        let (scores, times) = self.base.score_timed(&pairs.iter().collect::<Vec<_>>());
        self.add_times(&times);
        scores
    }
}
