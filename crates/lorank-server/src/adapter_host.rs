//! The adapters of a running server: the registry, and the base model that the adapters must fit.

use std::sync::Arc;
use std::time::Duration;

use lorank_adapters::{Entry, Existing, Outcome, Registry, ResidencyStats};
use lorank_core::{Activation, AdapterId, BoxError};
use lorank_http::{AdapterHost, ModelStats};
use lorank_registry_reranker::{AddError, RegistryReranker, add};

use crate::allowed_source::AllowedSource;
use crate::models::ModelLoader;
use crate::source::ModelSource;

/// The adapters of a running server.
pub(crate) struct RegistryAdapters {
    pub reranker: Arc<RegistryReranker>,
    pub loader: ModelLoader,
    pub allowed: Vec<AllowedSource>,
}

impl AdapterHost for RegistryAdapters {
    fn registry(&self) -> &Registry {
        self.reranker.registry()
    }

    fn allows(&self, source: &str) -> bool {
        self.allowed.iter().any(|allowed| allowed.allows(source))
    }

    fn add(&self, id: &AdapterId, source: &str, existing: Existing) -> Result<Outcome, BoxError> {
        let found = self.loader.find_adapter(&source.parse::<ModelSource>()?)?;
        // Links among the source's files must not lead out of the allowed folder.
        let within = self.allowed.iter().find(|allowed| allowed.allows(source)).and_then(AllowedSource::folder);
        let files = within.map_or_else(|| found.files.clone(), |folder| found.files.clone().confined_to(folder));
        self.reranker.check(id, &files)?;
        match add(self.registry(), id, &files, &found.source, found.revision.as_deref(), existing) {
            Ok(outcome) => Ok(outcome),
            // Registry errors keep their own type, so that the HTTP layer can map their kinds.
            Err(AddError::Registry(error)) => Err(error.into()),
            Err(error) => Err(error.into()),
        }
    }

    fn check(&self, id: &AdapterId) -> Result<(), BoxError> {
        self.reranker.check_registered(id)
    }

    fn own_adapters(&self) -> Vec<AdapterId> {
        self.reranker.base().adapters().into_iter().map(|adapter| adapter.version.id).collect()
    }

    fn max_length(&self) -> usize {
        self.reranker.base().base().max_length
    }

    fn activation(&self) -> Activation {
        self.reranker.base().base().activation
    }

    fn is_in_memory(&self, entry: &Entry) -> bool {
        self.reranker.is_in_memory(entry)
    }

    fn residency(&self) -> ResidencyStats {
        self.reranker.residency()
    }

    fn model_stats(&self) -> Option<ModelStats> {
        let times = self.reranker.times();
        let forward =
            times.by_name().into_iter().map(|(_, took)| took).sum::<Duration>().saturating_sub(times.tokenise);
        let kept = self.reranker.base().token_cache_stats();
        Some(ModelStats {
            tokenise: times.tokenise,
            forward,
            n_tokens: times.n_tokens as u64,
            token_cache_hits: kept.hits,
            token_cache_misses: kept.misses,
            token_cache_entries: kept.entries as u64,
            token_cache_bytes: kept.bytes as u64,
        })
    }
}
