//! Experiments, shadows and events. `lorank-experiments` reads and writes experiments, reports and events; the types here only
//! describe them in the OpenAPI document, and a test compares both.

use lorank_experiment_store::{ShadowSummary, Submitted};
use serde::Serialize;
use serde_json::Value as Json;
use utoipa::ToSchema;

use super::stages::StageBody;

/// A comparison of rankings on live traffic. After the start, only its state, its end and its traffic share can change.
#[derive(ToSchema)]
#[schema(as = Experiment)]
#[expect(dead_code, reason = "it describes `lorank_experiments::Experiment`")]
pub(crate) struct ExperimentSchema {
    /// The id: 1 to 128 characters of `a-z A-Z 0-9 . _ -`.
    pub id: String,
    /// The arms, the control first. At least two.
    pub arms: Vec<ArmSchema>,
    /// `split` assigns each unit to one arm; `interleave` mixes the arms in each answer.
    #[schema(pattern = "^(split|interleave)$")]
    pub method: Option<String>,
    /// The unit of assignment: the `unit_id` of the request, or the query.
    #[schema(pattern = "^(unit-id|query)$")]
    pub unit: Option<String>,
    /// A salt for the hash of units, so that experiments assign them independently. At most 128 bytes. Default: the id.
    pub salt: Option<String>,
    /// The share of units that take part. Default: 1.
    #[schema(minimum = 0.0001, maximum = 1)]
    pub traffic_share: Option<f64>,
    /// The layer. A unit takes part in at most one experiment of a layer. Default: `main`.
    pub layer: Option<String>,
    /// The measure that decides the experiment.
    #[schema(pattern = "^(click-through|reciprocal-rank|top-click|value|time-to-first-click|ndcg)$")]
    pub primary_measure: Option<String>,
    /// Start of the assignment, in milliseconds since 1970. Null: when the experiment is started.
    pub start_millis: Option<i64>,
    /// End of the assignment, in milliseconds since 1970. Null: when the experiment is stopped.
    pub end_millis: Option<i64>,
    /// The state. Read-only. An experiment whose end has passed is `stopped`.
    #[schema(pattern = "^(draft|running|stopped)$")]
    pub state: Option<String>,
    /// The buckets of the layer whose units take part. Read-only.
    pub buckets: Option<Vec<BucketRangeSchema>>,
}

/// An arm of an experiment.
#[derive(ToSchema)]
#[schema(as = Arm)]
#[expect(dead_code, reason = "it describes `lorank_experiments::Arm`")]
pub(crate) struct ArmSchema {
    /// The name, unique within the experiment.
    pub name: String,
    /// The model: an adapter, an alias, a base model by its name, `none` for the default base model without an adapter, or
    /// `first-stage` for no reranking.
    pub model: String,
    /// The number of candidates to rerank. This and the other settings of ranking take precedence over those of a search, which then
    /// has a warning; without one, the search's applies.
    #[schema(minimum = 1)]
    pub depth: Option<usize>,
    /// Rerank stages, as in a search, instead of `depth`. The last one must have the model of the arm.
    pub stages: Option<Vec<StageBody>>,
    /// The weight of the rerank score, as in a search. No `rank_by` applies then.
    #[schema(minimum = 0, maximum = 1)]
    pub blend_weight: Option<f32>,
    /// How a document that is longer than the model's limit is scored, as in a search.
    #[schema(pattern = "^(first|max|mean-top-[1-9][0-9]*)$")]
    pub passages: Option<String>,
    /// The length of a passage in tokens, as in a search. Only with `passages`.
    #[schema(minimum = 16)]
    pub passage_tokens: Option<usize>,
    /// The number of tokens from a passage to the next one, as in a search. Only with `passages`.
    #[schema(minimum = 1)]
    pub stride: Option<usize>,
    /// What the model shall judge, as in a search. At most 4096 bytes.
    #[schema(max_length = 4096)]
    pub instruction: Option<String>,
    /// The share of units relative to the weights of the other arms. Default: 1.
    #[schema(minimum = 1)]
    pub weight: Option<u32>,
    /// The version of the adapter or alias that the arm uses, set when the experiment is started. Read-only.
    pub pinned: Option<PinnedVersionSchema>,
}

/// The version that an arm uses since the start of its experiment, even if its alias is moved later.
#[derive(ToSchema)]
#[schema(as = PinnedVersion)]
#[expect(dead_code, reason = "it describes `lorank_experiments::PinnedVersion`")]
pub(crate) struct PinnedVersionSchema {
    /// The adapter; null for a base model without an adapter.
    pub adapter: Option<String>,
    /// The digest of the adapter.
    pub digest: Option<String>,
    /// The base model, for one without an adapter.
    pub base_model: Option<PinnedBaseSchema>,
    /// The versions of the rerank stages before the last one; missing if there are none. Each has the keys of a pinned version.
    #[schema(value_type = Option<Vec<Object>>)]
    pub stages: Option<Vec<Json>>,
    /// The time of pinning, in milliseconds since 1970.
    pub since_millis: i64,
}

/// A pinned base model.
#[derive(ToSchema)]
#[schema(as = PinnedBase)]
#[expect(dead_code, reason = "it describes `lorank_experiments::PinnedBase`")]
pub(crate) struct PinnedBaseSchema {
    /// The name.
    pub name: String,
    /// The digest.
    pub digest: String,
}

/// A range of buckets of a layer.
#[derive(ToSchema)]
#[schema(as = BucketRange)]
#[expect(dead_code, reason = "it describes `lorank_experiments::BucketRange`")]
pub(crate) struct BucketRangeSchema {
    /// The first bucket.
    pub start: u16,
    /// The bucket after the last one.
    pub end: u16,
}

/// The experiments.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes what `lorank-experiments` writes")]
pub(crate) struct ExperimentList {
    /// The experiments in the order of their ids.
    pub experiments: Vec<ExperimentSchema>,
}

/// The results of an experiment so far.
#[derive(ToSchema)]
#[schema(as = Report)]
#[expect(dead_code, reason = "it describes `lorank_experiments::Report`")]
pub(crate) struct ReportSchema {
    /// The id of the experiment.
    pub experiment: String,
    /// The state. An experiment whose end has passed is `stopped`.
    pub state: String,
    /// Start of the assignment, in milliseconds since 1970.
    pub start_millis: Option<i64>,
    /// End of the assignment, in milliseconds since 1970; null if no end is set.
    pub end_millis: Option<i64>,
    /// `split` or `interleave`.
    pub method: String,
    /// The primary measure.
    pub measure: String,
    /// The confidence level of the intervals, simultaneous over all looks and comparisons.
    pub confidence: f64,
    /// The smallest relevant difference; smaller ones count as no difference.
    pub smallest_difference: f64,
    /// The statistics of each arm; for interleaved answers, of all arms together.
    #[schema(value_type = Vec<Object>)]
    pub arms: Vec<Json>,
    /// The comparison of each other arm with the control.
    #[schema(value_type = Vec<Object>)]
    pub comparisons: Vec<Json>,
    /// The test for a sample ratio mismatch; null for interleaved answers.
    #[schema(value_type = Option<Object>)]
    pub sample_ratio: Option<Json>,
    /// The number of queries excluded because their unit was exposed to another arm before, or because their arm does not exist.
    pub n_inconsistent: u64,
    /// The guardrails, each with its `name`, the measured values and their limit as `found`, and `is_fine`.
    #[schema(value_type = Vec<Object>)]
    pub guardrails: Vec<Json>,
    /// For each arm, the name of its model, its settings, the pinned version, and the exact models that ranked its answers.
    #[schema(value_type = Vec<Object>)]
    pub served: Vec<Json>,
    /// The intervals over time.
    #[schema(value_type = Vec<Object>)]
    pub looks: Vec<Json>,
    /// The verdict; `do` is a constant for programs.
    #[schema(value_type = Object)]
    pub verdict: Json,
    /// The verdict as a sentence.
    pub sentence: String,
}

/// The statistics of all shadows.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ShadowList {
    /// The shadows.
    pub shadows: Vec<ShadowJson>,
}

/// The statistics of a shadow. Means are over the answers that it ranked; null if there are none.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Shadow)]
pub(crate) struct ShadowJson {
    /// The name.
    pub name: String,
    /// The shadow's adapter.
    pub adapter: String,
    /// The number of answers given to the shadow.
    pub n_answers: u64,
    /// The number of failures.
    pub n_failures: u64,
    /// The mean rank-biased overlap with the served rankings.
    pub mean_rbo: Option<f64>,
    /// The mean of Kendall's tau between the shadow's and the served ranking.
    pub mean_kendall_tau: Option<f64>,
    /// The mean share of the first ten hits that both rankings have in common.
    pub mean_overlap_at_10: Option<f64>,
    /// The mean latency of the shadow in milliseconds.
    pub mean_latency_millis: Option<f64>,
}

/// An event, or an array of events.
#[derive(serde::Deserialize, ToSchema)]
#[schema(as = Events)]
#[serde(untagged)]
#[expect(dead_code, reason = "it describes what `lorank-experiments` reads")]
pub(crate) enum EventsBody {
    /// One event.
    One(Box<EventSchema>),
    /// Several events: all are stored, or none.
    Many(Vec<EventSchema>),
}

/// A user action, usually on a hit, in the format of User Behavior Insights. Other keys are stored as they are.
#[derive(serde::Deserialize, ToSchema)]
#[schema(as = Event)]
#[expect(dead_code, reason = "it describes what `lorank-experiments` reads")]
pub(crate) struct EventSchema {
    /// The client's id of the event. Events with the same id are duplicates.
    pub event_id: Option<String>,
    /// The request id of the search.
    pub query_id: Option<String>,
    /// The id of the client, such as a browser or an app.
    pub client_id: Option<String>,
    /// The id of the session.
    pub session_id: Option<String>,
    /// The action, such as `click`. Not case-sensitive.
    pub action_name: String,
    /// The id of the hit, a string or an integer.
    #[schema(value_type = Option<Value>)]
    pub object_id: Option<Json>,
    /// The field that `object_id` is a value of.
    pub object_id_field: Option<String>,
    /// The time, as a string in ISO 8601 or in milliseconds since 1970. Times before 2020 or more than an hour in the future are
    /// rejected.
    #[schema(value_type = Value)]
    pub timestamp: Json,
    /// A numeric value, such as a price. It can also be in `event_attributes`.
    pub value: Option<f64>,
    /// A message.
    pub message: Option<String>,
    /// Further attributes, such as `object.object_id`, and `position.ordinal`, the rank of the hit.
    #[schema(value_type = Option<Object>)]
    pub event_attributes: Option<Json>,
}

/// The outcome of submitting events.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EventsAnswer {
    /// The number of new events. They are on disk.
    pub accepted: usize,
    /// The number of events that were stored before.
    pub duplicates: usize,
    /// The number of new events that belong to no answer. They are stored, but no report counts them.
    pub unattributed: usize,
    /// The unattributed events by reason.
    pub unattributed_reasons: UnattributedJson,
}

/// The number of unattributed events by reason.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Unattributed)]
pub(crate) struct UnattributedJson {
    /// The `query_id` is missing or unknown.
    pub unknown_query: usize,
    /// The object, or the rank that identifies it, is not among the hits of the answer.
    pub unknown_object: usize,
    /// The event is more than an hour before its answer.
    pub before_answer: usize,
}

impl From<Submitted> for EventsAnswer {
    fn from(submitted: Submitted) -> Self {
        let Submitted { accepted, duplicates, unattributed } = submitted;
        Self {
            accepted,
            duplicates,
            unattributed: unattributed.n(),
            unattributed_reasons: UnattributedJson {
                unknown_query: unattributed.n_unknown_query,
                unknown_object: unattributed.n_unknown_object,
                before_answer: unattributed.n_before_answer,
            },
        }
    }
}

impl From<ShadowSummary> for ShadowJson {
    fn from(one: ShadowSummary) -> Self {
        Self {
            name: one.name,
            adapter: one.candidate,
            n_answers: one.n_answers,
            n_failures: one.n_failures,
            mean_rbo: one.mean_rbo,
            mean_kendall_tau: one.mean_kendall_tau,
            mean_overlap_at_10: one.mean_overlap_at_10,
            mean_latency_millis: one.mean_latency_micros.map(|micros| micros / 1_000.0),
        }
    }
}
