//! Reranking as DashScope's own client has it: `input` and `parameters`, and an answer with `output`.

use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::flag::Flag;
use super::imitated::{Given, Shape, check_given};
use super::{RerankedDocument, Usage};
use crate::ServerError;

/// `POST /api/v1/services/rerank/text-rerank/text-rerank` as DashScope has it. Unknown keys are refused.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DashScopeRerank {
    /// The adapter or alias; the default one where it is missing. `experiment:NAME` for an arm of that experiment.
    pub model: Option<String>,
    /// The texts.
    pub input: DashScopeInput,
    /// What is wanted.
    #[serde(default)]
    pub parameters: DashScopeParameters,
}

/// The texts of a [`DashScopeRerank`].
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DashScopeInput {
    /// What is searched for.
    pub query: String,
    /// The documents.
    pub documents: Vec<String>,
}

/// What a [`DashScopeRerank`] wants.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DashScopeParameters {
    /// How many entries are wanted, best first; all by default.
    #[schema(value_type = Option<usize>, minimum = 1)]
    pub top_n: Option<NonZeroUsize>,
    /// Whether each entry carries its document.
    #[schema(value_type = Option<bool>)]
    pub return_documents: Option<Flag>,
    /// Refused, unless it is empty: the adapter's own prompt is used.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub instruct: Given,
}

/// The answer to a [`DashScopeRerank`].
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct DashScopeReranked {
    /// The entries.
    pub output: DashScopeOutput,
    /// What it cost.
    pub usage: Usage,
    /// The id of the request.
    pub request_id: String,
}

/// The entries of the answer.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct DashScopeOutput {
    /// The entries, best first.
    pub results: Vec<RerankedDocument>,
}

impl DashScopeRerank {
    /// Refuses what is asked for and not done.
    pub(crate) fn check(&self) -> Result<(), ServerError> {
        check_given(Shape::DashScopeParameters, [("instruct", &self.parameters.instruct)])
    }
}
