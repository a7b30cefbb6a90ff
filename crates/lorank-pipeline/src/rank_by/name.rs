//! The names in an expression.

use std::fmt;

/// A name that an expression can read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Name {
    RerankScore,
    FirstStageScore,
    FirstStageRank,
    Now,
    Field(String),
}

impl Name {
    /// The meaning of a bare name.
    pub(super) fn of(text: &str) -> Self {
        match text {
            "rerank_score" => Self::RerankScore,
            "first_stage_score" => Self::FirstStageScore,
            "first_stage_rank" => Self::FirstStageRank,
            "now" => Self::Now,
            field => Self::Field(field.to_owned()),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RerankScore => "rerank_score",
            Self::FirstStageScore => "first_stage_score",
            Self::FirstStageRank => "first_stage_rank",
            Self::Now => "now",
            Self::Field(field) => field,
        })
    }
}
