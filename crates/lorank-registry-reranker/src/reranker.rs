//! The registry's names, the versions they stood for lately, and the base model that scores them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lorank_adapters::{DEFAULT_ALIAS, Entry, Registry, RegistryError, Residency, ResidencyStats, Resident, State};
use lorank_core::{
    AdapterId, AdapterVersion, BoxError, Candidate, Digest, Group, ModelVersion, Query, Reranker, Score,
};
use lorank_model::{Files, LoadedAdapter, ModelReranker, StageTimes};

/// For how long a version can be scored after it was last asked for, once no name stands for it any more.
pub const GRACE: Duration = Duration::from_secs(600);

/// One base model with the adapters of a registry on it. See the [crate's page](crate).
#[derive(Debug)]
pub struct RegistryReranker {
    base: ModelReranker,
    /// What answers for the name `default` where the registry has no such alias.
    fallback: Option<AdapterId>,
    registry: Arc<Registry>,
    residency: Residency<Digest, LoadedAdapter>,
    /// By the digest under which the model scores with it.
    recent: Mutex<HashMap<Digest, Recent>>,
    times: Mutex<StageTimes>,
}

/// A version that was asked for.
#[derive(Debug)]
struct Recent {
    entry: Entry,
    /// Keeps the registry from collecting the adapter's files.
    _state: Arc<State>,
    last_asked: Instant,
}

/// An adapter of the registry that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryRerankerError {
    /// It could not be loaded.
    #[error("adapter `{adapter}` of the registry could not be loaded")]
    Load {
        /// The adapter.
        adapter: AdapterId,
        /// Why.
        source: RegistryError,
    },
    /// Its version is not in the registry any more, and was not asked for lately.
    #[error("this version of adapter `{adapter}` is gone from the registry")]
    Gone {
        /// The adapter.
        adapter: AdapterId,
    },
}

impl RegistryReranker {
    /// The most bytes of adapters that are held by default: some fifty of DeAR's size.
    pub const BYTES_MAX: u64 = 2 << 30;

    /// A base model, with the adapters that it holds already and those of the registry; of the latter at most `bytes_max` are
    /// held while they are not in use. `fallback` answers requests for the name `default` until the registry has such an
    /// alias; `None` is the bare base model.
    pub fn new(base: ModelReranker, registry: Arc<Registry>, fallback: Option<AdapterId>, bytes_max: u64) -> Self {
        let residency = Residency::new(bytes_max);
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

    /// What is in memory, and how long loading took.
    pub fn residency(&self) -> ResidencyStats {
        self.residency.stats()
    }

    /// Where the model's time has gone so far.
    pub fn times(&self) -> StageTimes {
        *self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether an adapter is in memory now.
    pub fn is_in_memory(&self, entry: &Entry) -> bool {
        self.residency.is_held(&entry.content)
    }

    /// The name that stands for requests without one.
    pub fn default_name() -> AdapterId {
        DEFAULT_ALIAS.parse().expect("it is a name")
    }

    /// Loads an adapter's files as a registry would hold them and lets go of them again: whether they fit the base model.
    ///
    /// # Errors
    /// A [`ModelError`](lorank_model::ModelError) that says in what they do not.
    pub fn check(&self, id: &AdapterId, files: &Files) -> Result<(), BoxError> {
        Ok(self.base.load_adapter(id, files).map(drop)?)
    }

    fn load(&self, entry: &Entry) -> Result<Resident<Digest, LoadedAdapter>, RegistryRerankerError> {
        let load = || -> Result<_, BoxError> {
            let files = Files::folder(self.registry.folder_of(entry))?.with_name(entry.id.as_str());
            let adapter = self.base.load_adapter(&entry.id, &files)?;
            let n_bytes = adapter.n_bytes() as u64;
            tracing::info!(adapter = %entry.id, digest = entry.provenance.model_digest.short(), n_bytes, "loaded");
            Ok((adapter, n_bytes))
        };
        let loaded = self.residency.get_or_load(&entry.content, load);
        loaded.map_err(|source| RegistryRerankerError::Load { adapter: entry.id.clone(), source })
    }

    /// The version of an entry of the state. Two ids may share their files, so the id is the entry's own.
    fn version(&self, entry: &Entry, state: Arc<State>) -> Result<ModelVersion, RegistryRerankerError> {
        let mut version = self.base.version_with(&*self.load(entry)?);
        let adapter = version.adapter.as_mut().expect("it was made with an adapter");
        adapter.id = entry.id.clone();
        let now = Instant::now();
        let mut recent = self.recent();
        recent.retain(|_, recent| now.duration_since(recent.last_asked) < GRACE);
        recent.insert(adapter.digest, Recent { entry: entry.clone(), _state: state, last_asked: now });
        Ok(version)
    }

    /// The adapter of a version that `resolve` gave: `None` for one that the base model holds itself.
    fn adapter_of(
        &self,
        model: &ModelVersion,
    ) -> Result<Option<Resident<Digest, LoadedAdapter>>, RegistryRerankerError> {
        let Some(AdapterVersion { id, digest }) = model.adapter.as_ref().filter(|_| !model.merged) else {
            return Ok(None);
        };
        let recent = self.recent().get(digest).map(|recent| recent.entry.clone());
        let registered =
            || self.registry.state().adapters().find(|entry| entry.provenance.model_digest == *digest).cloned();
        match recent.or_else(registered) {
            Some(entry) => self.load(&entry).map(Some),
            None if self.base.holds(id) => Ok(None),
            None => Err(RegistryRerankerError::Gone { adapter: id.clone() }),
        }
    }

    fn recent(&self) -> MutexGuard<'_, HashMap<Digest, Recent>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reranker for RegistryReranker {
    /// The registry's adapters and aliases come first, then those that the base model holds.
    fn resolve(&self, adapter: Option<&AdapterId>) -> Result<ModelVersion, BoxError> {
        let Some(name) = adapter else { return self.base.resolve(None) };
        let state = self.registry.state();
        match state.resolve(name) {
            Ok(entry) => Ok(self.version(&entry.clone(), state)?),
            Err(_) if name.as_str() == DEFAULT_ALIAS => self.base.resolve(self.fallback.as_ref()),
            Err(_) if self.base.holds(name) => self.base.resolve(Some(name)),
            Err(unknown) => Err(unknown.into()),
        }
    }

    fn score(&self, batch: &[Group<'_>]) -> Vec<Result<Vec<Score>, BoxError>> {
        // Held until the batch is scored.
        let residents: Vec<_> = batch.iter().map(|group| self.adapter_of(group.model)).collect();
        let (groups, adapters): (Vec<Group<'_>>, Vec<Option<LoadedAdapter>>) = batch
            .iter()
            .zip(&residents)
            .filter_map(|(group, resident)| Some((*group, resident.as_ref().ok()?.as_deref().cloned())))
            .unzip();
        let (scores, times) = self.base.score_with(&groups, &adapters);
        self.times.lock().unwrap_or_else(PoisonError::into_inner).add(&times);
        let mut scores = scores.into_iter();
        let scored = |resident: Result<_, RegistryRerankerError>| {
            resident.map_err(BoxError::from)?;
            scores.next().expect("there is one for each group").map_err(BoxError::from)
        };
        residents.into_iter().map(scored).collect()
    }

    fn n_tokens(&self, query: &Query, candidate: &Candidate) -> usize {
        self.base.n_tokens(query, candidate)
    }
}
