//! Defaults and limits.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use lorank_cache::{CacheConfig, ScoreStore};
use lorank_core::{AdapterChoice, AdapterId, InvalidPassages, PassageOptions, RerankStages};

use crate::{InvalidRankBy, PipelineError, RankBy};

/// Expressions that go with the names of adapters and may change while the pipeline runs: those of a registry.
pub trait NamedRankBy: Send + Sync + fmt::Debug {
    /// What orders the answers of requests that are ranked by an adapter or alias of this name, if it has an expression.
    ///
    /// # Errors
    /// An expression that cannot be read, which another version may have written.
    fn rank_by(&self, name: &AdapterId) -> Result<Option<Arc<RankBy>>, InvalidRankBy>;
}

/// A store of scores that several servers share.
#[derive(Debug, Clone)]
pub struct SharedScoresConfig {
    /// The store.
    pub store: Arc<dyn ScoreStore>,
    /// The maximum time of a lookup. Without an answer by then, the request goes on without the store.
    pub limit: Duration,
}

/// Defaults and limits of requests.
#[derive(Debug, Clone)]
pub struct PipelineConfig {
    /// The default depth: the number of candidates to rerank.
    pub depth: NonZeroUsize,
    /// The maximum depth of a request.
    pub depth_max: NonZeroUsize,
    /// The stages of requests that name no adapter, no depth and no stages of their own; `None` is one stage with the
    /// default adapter and depth.
    pub stages: Option<RerankStages>,
    /// The default number of hits.
    pub top_k: NonZeroUsize,
    /// The maximum `offset + top_k` of a request: every page retrieves all hits before it.
    pub page_end_max: NonZeroUsize,
    /// The maximum length of a query, in bytes.
    pub query_bytes_max: usize,
    /// The default deadline, from the request's arrival in the pipeline; `None` waits for the model.
    pub deadline: Option<Duration>,
    /// The default adapter or alias; `None` is the bare base model.
    pub default_adapter: Option<AdapterId>,
    /// The default expression to rank by; `None` ranks by rerank score.
    pub rank_by: Option<Arc<RankBy>>,
    /// Expressions by adapter or alias, which replace [`rank_by`](Self::rank_by). A request that names no adapter uses
    /// the entry of [`default_adapter`](Self::default_adapter), and the bare base model is `none`.
    pub rank_by_adapter: BTreeMap<AdapterId, Arc<RankBy>>,
    /// The same for names whose expressions may change. They come before those of [`rank_by_adapter`](Self::rank_by_adapter).
    pub rank_by_names: Option<Arc<dyn NamedRankBy>>,
    /// How documents that are longer than the model's limit are scored, where a request does not say so. What is not set
    /// is that of the model's author ([`Reranker::passages`](lorank_core::Reranker::passages)), and else
    /// [`PassageRule::First`](lorank_core::PassageRule::First).
    pub passages: PassageOptions,
    /// The maximum number of passages of a document. A search scores fewer per document if those of all candidates would
    /// exceed [`queue_pairs_max`](Self::queue_pairs_max).
    pub passages_max: NonZeroUsize,
    /// Aliases for adapters. An alias hides an adapter of the same name, and cannot point to another alias.
    pub aliases: BTreeMap<AdapterId, AdapterId>,
    /// The score cache.
    pub cache: CacheConfig,
    /// A store behind the score cache that several servers share.
    pub shared_scores: Option<SharedScoresConfig>,
    /// The maximum number of requests waiting for the model. Further requests fall back immediately.
    pub queue_max: NonZeroUsize,
    /// The maximum number of pairs waiting for the model, over all requests, which bounds the queue's memory. A request
    /// that would be the only one is admitted regardless of its size.
    pub queue_pairs_max: NonZeroUsize,
    /// The maximum tokens per batch, as counted by the reranker; a longer pair gets a batch of its own. Abandoned
    /// requests are dropped and new ones admitted between batches, so smaller batches have lower latency, and larger
    /// ones better throughput. Does not affect scores.
    pub tokens_max: NonZeroUsize,
    /// How long an idle model waits for more requests to fill its batch, in microseconds.
    ///
    /// The default is zero. Under load, requests gather while the model is busy; without load, waiting only adds
    /// latency. It pays off if a batch has a high fixed cost, as on a GPU, and requests come in bursts.
    pub wait_micros: u64,
    /// Whether to reject a request immediately ([`Fallback::WouldMissDeadline`](crate::Fallback::WouldMissDeadline)) if
    /// it would miss its deadline at the model's measured throughput, or make an earlier one miss its own. The default
    /// is true. Without it, an overload makes all requests late.
    pub admits_by_estimate: bool,
}

impl Default for PipelineConfig {
    fn default() -> Self {
        Self {
            depth: non_zero(100),
            depth_max: non_zero(1_000),
            stages: None,
            top_k: non_zero(10),
            page_end_max: non_zero(10_000),
            query_bytes_max: 64 << 10,
            deadline: None,
            default_adapter: None,
            rank_by: None,
            rank_by_adapter: BTreeMap::new(),
            rank_by_names: None,
            passages: PassageOptions::default(),
            // 4,000 tokens of a model with 512 positions, or 60,000 of one with 8,192.
            passages_max: non_zero(16),
            aliases: BTreeMap::new(),
            cache: CacheConfig::default(),
            shared_scores: None,
            queue_max: non_zero(64),
            // Ten requests at the largest depth, or a hundred at the default depth: about 10 MB of passages.
            queue_pairs_max: non_zero(10_000),
            tokens_max: non_zero(4_096),
            wait_micros: 0,
            admits_by_estimate: true,
        }
    }
}

const fn non_zero(n: usize) -> NonZeroUsize {
    NonZeroUsize::new(n).expect("the defaults are not zero")
}

impl PipelineConfig {
    /// The expression for requests that are ranked by an adapter and name no order of their own.
    ///
    /// # Errors
    /// [`PipelineError::NamedRankBy`] for a name whose expression cannot be read.
    pub(crate) fn rank_by_of(&self, adapter: &AdapterChoice) -> Result<Option<Arc<RankBy>>, PipelineError> {
        let id = match adapter {
            AdapterChoice::Default => self.default_adapter.as_ref(),
            AdapterChoice::Base => None,
            AdapterChoice::Named(name) => Some(name),
        };
        if let (Some(names), Some(id)) = (&self.rank_by_names, id) {
            let failed = |source| PipelineError::NamedRankBy { name: id.clone(), source };
            if let Some(rank_by) = names.rank_by(id).map_err(failed)? {
                return Ok(Some(rank_by));
            }
        }
        let name = id.map_or(AdapterChoice::BASE, AdapterId::as_str);
        let own = self.rank_by_adapter.iter().find(|(adapter, _)| adapter.as_str() == name);
        Ok(own.map(|(_, rank_by)| rank_by).or(self.rank_by.as_ref()).cloned())
    }

    /// Rejects contradictory values.
    pub(crate) fn check(&self) -> Result<(), PipelineError> {
        let above = |field, value: NonZeroUsize, max_field, max: NonZeroUsize| {
            let reason = format!("{value} is above `{max_field}` ({max})");
            if value > max { Err(PipelineError::InvalidConfig { field, reason }) } else { Ok(()) }
        };
        above("depth", self.depth, "depth_max", self.depth_max)?;
        if let Some(stages) = &self.stages {
            above("stages", stages[0].depth, "depth_max", self.depth_max)?;
        }
        above("top_k", self.top_k, "page_end_max", self.page_end_max)?;
        self.passages.check().map_err(|InvalidPassages { field, reason }| PipelineError::InvalidConfig {
            field,
            reason: reason.to_owned(),
        })?;
        for (alias, target) in &self.aliases {
            let reason = if alias.as_str() == AdapterChoice::BASE {
                format!("`{alias}` is reserved for the bare base model and cannot be an alias")
            } else if self.aliases.contains_key(target) {
                format!("`{alias}` points to `{target}`, which is itself an alias")
            } else {
                continue;
            };
            return Err(PipelineError::InvalidConfig { field: "aliases", reason });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(config: PipelineConfig, expected: Option<&str>) {
        let found = config.check().err().map(|error| error.to_string());
        assert_eq!(found.as_deref(), expected);
    }

    fn aliases(pairs: &[(&str, &str)]) -> PipelineConfig {
        let id = |text: &str| text.parse::<AdapterId>().unwrap();
        let aliases = pairs.iter().map(|(alias, target)| (id(alias), id(target))).collect();
        PipelineConfig { aliases, ..PipelineConfig::default() }
    }

    #[test]
    fn contradictions_are_refused_by_name() {
        let default = PipelineConfig::default;
        check(default(), None);
        check(aliases(&[("default", "qa"), ("canary", "qa")]), None);
        check(
            PipelineConfig { depth: non_zero(2_000), ..default() },
            Some("`depth` is invalid: 2000 is above `depth_max` (1000)"),
        );
        check(
            PipelineConfig { stages: "none:1001,qa:5".parse().ok(), ..default() },
            Some("`stages` is invalid: 1001 is above `depth_max` (1000)"),
        );
        check(
            PipelineConfig { page_end_max: non_zero(5), ..default() },
            Some("`top_k` is invalid: 10 is above `page_end_max` (5)"),
        );
        check(
            aliases(&[("default", "canary"), ("canary", "qa")]),
            Some("`aliases` is invalid: `default` points to `canary`, which is itself an alias"),
        );
        check(
            aliases(&[("none", "qa")]),
            Some("`aliases` is invalid: `none` is reserved for the bare base model and cannot be an alias"),
        );
    }
}
