//! The adapters of a running server: the registry, and the base models that the adapters must fit.

use std::sync::Arc;

use lorank_adapters::{Entry, Existing, Outcome, Registry, ResidencyStats};
use lorank_core::{Activation, AdapterId, BoxError, ModelVersion};
use lorank_http::{AdapterHost, ModelStats, ServedBase};
use lorank_model::ModelReranker;
use lorank_registry_reranker::{AddError, RegistryReranker, add_for_base};

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

    fn add(
        &self,
        id: &AdapterId,
        source: &str,
        base: Option<&AdapterId>,
        existing: Existing,
    ) -> Result<Outcome, BoxError> {
        if !self.reranker.bases().is_one() && self.reranker.bases().place_of_name(id).is_some() {
            return Err(format!("the id `{id}` is the name of a base model; choose another one").into());
        }
        let found = self.loader.find_adapter(&source.parse::<ModelSource>()?)?;
        // Links among the source's files must not lead out of the allowed folder.
        let within = self.allowed.iter().find(|allowed| allowed.allows(source)).and_then(AllowedSource::folder);
        let files = within.map_or_else(|| found.files.clone(), |folder| found.files.clone().confined_to(folder));
        let base_digest = self.reranker.check(id, &files, base)?;
        let origin = (&*found.source, found.revision.as_deref());
        match add_for_base(self.registry(), id, &files, origin, existing, base_digest) {
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
        self.reranker.bases().adapters().into_iter().map(|adapter| adapter.version.id).collect()
    }

    fn base_models(&self) -> Vec<ServedBase> {
        let served = |base: &lorank_model::NamedBase| {
            let summary = base.reranker().base();
            ServedBase {
                name: base.name().to_owned(),
                digest: summary.digest,
                precision: base.reranker().precision(),
                n_parameters: summary.n_parameters,
                bytes: summary.n_bytes as u64,
            }
        };
        self.reranker.bases().iter().map(served).collect()
    }

    fn base_of(&self, entry: &Entry) -> Option<String> {
        self.reranker.base_of(entry).ok().map(str::to_owned)
    }

    fn max_length(&self, model: &ModelVersion) -> usize {
        self.base_of_version(model).base().max_length
    }

    fn activation(&self, model: &ModelVersion) -> Activation {
        self.base_of_version(model).base().activation
    }

    fn is_in_memory(&self, entry: &Entry) -> bool {
        self.reranker.is_in_memory(entry)
    }

    fn residency(&self) -> ResidencyStats {
        self.reranker.residency()
    }

    fn model_stats(&self) -> Option<ModelStats> {
        let times = self.reranker.times();
        let kept: Vec<_> = self.reranker.bases().iter().map(|base| base.reranker().token_cache_stats()).collect();
        Some(ModelStats {
            tokenise: times.tokenise,
            forward: times.forward,
            n_tokens: times.n_tokens as u64,
            token_cache_hits: kept.iter().map(|of_base| of_base.hits).sum(),
            token_cache_misses: kept.iter().map(|of_base| of_base.misses).sum(),
            token_cache_entries: kept.iter().map(|of_base| of_base.entries as u64).sum(),
            token_cache_bytes: kept.iter().map(|of_base| of_base.bytes as u64).sum(),
        })
    }
}

impl RegistryAdapters {
    /// The base model of a version, else the default one.
    fn base_of_version(&self, model: &ModelVersion) -> &ModelReranker {
        let bases = self.reranker.bases();
        bases.place_of(model).map_or_else(|_| bases.first(), |place| bases.at(place).reranker())
    }
}
