//! Ranks in lists that were fused.

use std::sync::Arc;

use crate::Score;

/// The rank of a candidate in one of the fused lists.
#[derive(Debug, Clone, PartialEq)]
pub struct ListRank {
    /// The list's name.
    pub list: Arc<str>,
    /// The rank in the list, from 1.
    pub rank: usize,
    /// The score in the list.
    pub score: Score,
}
