//! DeepInfra's scoring API: `/v1/inference/{model}` with `queries` and `documents`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::NoEffect;
use super::imitated::{Given, Shape, check_given};
use crate::ServerError;

/// A score request in DeepInfra's format. Unknown keys are rejected.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeepInfraScore {
    /// One query, or one for each document.
    pub queries: Vec<String>,
    /// The documents.
    pub documents: Vec<String>,
    /// What the model shall judge, instead of its own instruction. Rejected if the model's prompt has no place for an instruction.
    pub instruction: Option<String>,
    /// Ignored: it has no effect on scores.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub service_tier: NoEffect,
    /// Not supported: the scores are in the response.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub webhook: Given,
}

/// The answer to a [`DeepInfraScore`].
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct DeepInfraScored {
    /// The sigmoid of each document's logit, in the order of the documents.
    pub scores: Vec<f32>,
    /// The approximate number of tokens.
    pub input_tokens: usize,
    /// The request id.
    pub request_id: String,
    /// The status.
    pub inference_status: DeepInfraStatus,
}

/// The status of a [`DeepInfraScored`].
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct DeepInfraStatus {
    /// Always `succeeded`.
    pub status: &'static str,
    /// The duration in milliseconds.
    pub runtime_ms: u64,
    /// Always 0.
    pub cost: f32,
    /// Always 0: no text is generated.
    pub tokens_generated: usize,
    /// The approximate number of tokens.
    pub tokens_input: usize,
}

impl DeepInfraScore {
    /// Rejects unsupported values.
    pub(crate) fn check(&self) -> Result<(), ServerError> {
        check_given(Shape::DeepInfra, [("webhook", &self.webhook)])
    }
}
