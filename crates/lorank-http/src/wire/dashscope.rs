//! DashScope's native rerank API: requests with `input` and `parameters`, answers with `output`.

use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::flag::Flag;
use super::{RerankedDocument, Usage};

/// A rerank request in DashScope's native format. Unknown keys are rejected.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DashScopeRerank {
    /// An adapter or alias, or `experiment:NAME` for an arm of an experiment. Default: the default adapter.
    pub model: Option<String>,
    /// The query and the documents.
    pub input: DashScopeInput,
    /// The options.
    #[serde(default)]
    pub parameters: DashScopeParameters,
}

/// The query and the documents of a [`DashScopeRerank`].
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DashScopeInput {
    /// The query text.
    pub query: String,
    /// The documents.
    pub documents: Vec<String>,
}

/// The options of a [`DashScopeRerank`].
#[derive(Debug, Clone, PartialEq, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DashScopeParameters {
    /// The number of results to return. Default: all.
    #[schema(value_type = Option<usize>, minimum = 1)]
    pub top_n: Option<NonZeroUsize>,
    /// Whether to return the documents.
    #[schema(value_type = Option<bool>)]
    pub return_documents: Option<Flag>,
    /// What the model shall judge, instead of its own instruction. Rejected if the model's prompt has no place for an instruction.
    pub instruct: Option<String>,
}

/// The answer to a [`DashScopeRerank`].
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct DashScopeReranked {
    /// The results.
    pub output: DashScopeOutput,
    /// The number of tokens.
    pub usage: Usage,
    /// The request id.
    pub request_id: String,
}

/// The results of a [`DashScopeReranked`].
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct DashScopeOutput {
    /// The results in rank order.
    pub results: Vec<RerankedDocument>,
}
