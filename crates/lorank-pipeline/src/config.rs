//! Defaults and limits.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use lorank_cache::CacheConfig;
use lorank_core::AdapterId;

use crate::{AdapterChoice, PipelineError, RankBy};

/// What a request gets that does not say otherwise, and the most that one may ask for.
#[derive(Debug, Clone)]
pub struct PipelineConfig {
    /// The depth of a request that names none: how many candidates are reranked.
    pub depth: NonZeroUsize,
    /// The largest depth that a request may ask for.
    pub depth_max: NonZeroUsize,
    /// The number of hits of a request that names none.
    pub top_k: NonZeroUsize,
    /// The largest `offset + top_k` that a request may ask for: every page retrieves all the hits before it.
    pub page_end_max: NonZeroUsize,
    /// The longest query text.
    pub query_bytes_max: usize,
    /// The time that a request without a deadline gets, from its arrival in the pipeline; `None` waits for the model.
    pub deadline: Option<Duration>,
    /// The adapter (or alias) of a request that names none; `None` is the bare base model.
    pub default_adapter: Option<AdapterId>,
    /// What the candidates of requests that name no order of their own are ordered by; `None` is the rerank score.
    pub rank_by: Option<Arc<RankBy>>,
    /// The same for requests that are ranked by an adapter or alias of this name, in place of [`rank_by`](Self::rank_by). Those
    /// that name none are ranked by the name of [`default_adapter`](Self::default_adapter), and the bare base model is `none`.
    pub rank_by_adapter: BTreeMap<AdapterId, Arc<RankBy>>,
    /// Other names for adapters. An alias hides an adapter of the same name; it cannot point to another alias.
    pub aliases: BTreeMap<AdapterId, AdapterId>,
    /// The score cache.
    pub cache: CacheConfig,
    /// How many requests may wait for the model. One more falls back at once.
    pub queue_max: NonZeroUsize,
    /// How many pairs may wait for the model, over all requests: a bound on the texts that the queue holds. A request that
    /// would be the only one is let in whatever its size.
    pub queue_pairs_max: NonZeroUsize,
    /// How many tokens the reranker gets at most at once, as it encoded them, from all the requests that wait; a pair that is
    /// longer goes alone. Between two batches abandoned requests are dropped and new ones get their share, so smaller
    /// batches answer sooner, and larger ones let the model work on more at once. Scores do not depend on it.
    pub tokens_max: NonZeroUsize,
    /// How long an idle model waits, once a request has come, for others to fill its batch.
    ///
    /// Zero by default. Under load batches fill without it, since requests gather while the model is busy; without load
    /// it only delays. It pays where a call costs much however little is in it, as on a GPU, and requests come in bursts.
    pub wait_micros: u64,
    /// Whether a request is refused at once ([`Fallback::WouldMissDeadline`](crate::Fallback::WouldMissDeadline)) that would
    /// miss its deadline at the model's measured pace, or make an earlier one miss its own. True by default. Without it,
    /// an overload lets all in, and all of them are late.
    pub admits_by_estimate: bool,
}

impl Default for PipelineConfig {
    fn default() -> Self {
        Self {
            depth: non_zero(100),
            depth_max: non_zero(1_000),
            top_k: non_zero(10),
            page_end_max: non_zero(10_000),
            query_bytes_max: 64 << 10,
            deadline: None,
            default_adapter: None,
            rank_by: None,
            rank_by_adapter: BTreeMap::new(),
            aliases: BTreeMap::new(),
            cache: CacheConfig::default(),
            queue_max: non_zero(64),
            // All of ten requests at the largest depth, or of a hundred at the default one: some 10 MB of passages.
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
    pub(crate) fn rank_by_of(&self, adapter: &AdapterChoice) -> Option<&Arc<RankBy>> {
        let name = match adapter {
            AdapterChoice::Default => self.default_adapter.as_ref().map_or(AdapterChoice::BASE, AdapterId::as_str),
            AdapterChoice::Base => AdapterChoice::BASE,
            AdapterChoice::Named(name) => name.as_str(),
        };
        let own = self.rank_by_adapter.iter().find(|(adapter, _)| adapter.as_str() == name);
        own.map(|(_, rank_by)| rank_by).or(self.rank_by.as_ref())
    }

    /// Refuses what contradicts itself.
    pub(crate) fn check(&self) -> Result<(), PipelineError> {
        let above = |field, value: NonZeroUsize, max_field, max: NonZeroUsize| {
            let reason = format!("{value} is above `{max_field}`, which is {max}");
            if value > max { Err(PipelineError::InvalidConfig { field, reason }) } else { Ok(()) }
        };
        above("depth", self.depth, "depth_max", self.depth_max)?;
        above("top_k", self.top_k, "page_end_max", self.page_end_max)?;
        for (alias, target) in &self.aliases {
            let reason = if alias.as_str() == AdapterChoice::BASE {
                format!("`{alias}` stands for the bare base model and cannot be an alias")
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
            Some("`depth` is refused: 2000 is above `depth_max`, which is 1000"),
        );
        check(
            PipelineConfig { page_end_max: non_zero(5), ..default() },
            Some("`top_k` is refused: 10 is above `page_end_max`, which is 5"),
        );
        check(
            aliases(&[("default", "canary"), ("canary", "qa")]),
            Some("`aliases` is refused: `default` points to `canary`, which is itself an alias"),
        );
        check(
            aliases(&[("none", "qa")]),
            Some("`aliases` is refused: `none` stands for the bare base model and cannot be an alias"),
        );
    }
}
