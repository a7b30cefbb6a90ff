//! The expressions of the registry's aliases, as they stand now.

use std::sync::Arc;

use lorank_adapters::Registry;
use lorank_core::AdapterId;
use lorank_pipeline::{InvalidRankBy, NamedRankBy, RankBy};

/// The expressions of a registry's aliases.
#[derive(Debug)]
pub(crate) struct AliasRankBys(pub Arc<Registry>);

impl NamedRankBy for AliasRankBys {
    fn rank_by(&self, name: &AdapterId) -> Result<Option<Arc<RankBy>>, InvalidRankBy> {
        // Reading some hundred characters takes microseconds, so what was read is not kept.
        self.0.state().rank_by_of(name).map(|text| text.parse().map(Arc::new)).transpose()
    }
}
