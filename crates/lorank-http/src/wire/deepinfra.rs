//! Scoring as DeepInfra has it: `/v1/inference/{model}` with `queries` and `documents`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::NoEffect;
use super::imitated::{Given, Shape, check_given};
use crate::ServerError;

/// `POST /v1/inference/{model}` as DeepInfra has it. Unknown keys are refused.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeepInfraScore {
    /// One query, or as many as there are documents.
    pub queries: Vec<String>,
    /// The documents.
    pub documents: Vec<String>,
    /// Refused, unless it is empty: the adapter's own prompt is used.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub instruction: Given,
    /// How soon it is scored; without effect on scores.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub service_tier: NoEffect,
    /// Refused: scores are in the answer.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub webhook: Given,
}

/// The answer to a [`DeepInfraScore`].
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct DeepInfraScored {
    /// The sigmoid of each document's logit, in the documents' order.
    pub scores: Vec<f32>,
    /// About how many tokens were read.
    pub input_tokens: usize,
    /// The id of the request.
    pub request_id: String,
    /// How it went.
    pub inference_status: DeepInfraStatus,
}

/// How it went.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct DeepInfraStatus {
    /// Always `succeeded`.
    pub status: &'static str,
    /// How long it took.
    pub runtime_ms: u64,
    /// Always 0: nothing is billed.
    pub cost: f32,
    /// Always 0: nothing is written.
    pub tokens_generated: usize,
    /// About how many tokens were read.
    pub tokens_input: usize,
}

impl DeepInfraScore {
    /// Refuses what is asked for and not done.
    pub(crate) fn check(&self) -> Result<(), ServerError> {
        check_given(Shape::DeepInfra, [("instruction", &self.instruction), ("webhook", &self.webhook)])
    }
}
