//! Experiments, shadows and events. Experiments, their reports and events are read and written by `lorank-experiments`; what stands
//! here of them is their description, which a test holds against the real ones.

use lorank_experiment_store::{ShadowSummary, Submitted};
use serde::Serialize;
use serde_json::Value as Json;
use utoipa::ToSchema;

/// A comparison of rankings on live traffic. Once started only its state, its end and (upwards) its share change.
#[derive(ToSchema)]
#[schema(as = Experiment)]
#[expect(dead_code, reason = "it describes `lorank_experiments::Experiment`")]
pub(crate) struct ExperimentSchema {
    /// Its name: 1 to 128 of `a-z A-Z 0-9 . _ -`.
    pub id: String,
    /// The sides, the control first. At least two.
    pub arms: Vec<ArmSchema>,
    /// Split traffic, or interleave the arms in one answer.
    #[schema(pattern = "^(split|interleave)$")]
    pub method: Option<String>,
    /// What is assigned to an arm: the request's `unit_id`, or the query.
    #[schema(pattern = "^(unit-id|query)$")]
    pub unit: Option<String>,
    /// Mixed into the hash of units, so that two experiments split them independently. Up to 128 bytes; without one, the id.
    pub salt: Option<String>,
    /// The share of units that take part; without one, 1.
    #[schema(minimum = 0.0001, maximum = 1)]
    pub traffic_share: Option<f64>,
    /// Experiments of one layer never meet the same unit. Without one, `main`.
    pub layer: Option<String>,
    /// What decides.
    #[schema(pattern = "^(click-through|reciprocal-rank|top-click|value|time-to-first-click|ndcg)$")]
    pub primary_measure: Option<String>,
    /// From when units are assigned, in milliseconds since 1970; null as soon as it is started.
    pub start_millis: Option<i64>,
    /// Until when; null until it is stopped.
    pub end_millis: Option<i64>,
    /// Whether it runs; the service's to set. One whose end has passed is stopped.
    #[schema(pattern = "^(draft|running|stopped)$")]
    pub state: Option<String>,
    /// The buckets of the layer whose units take part; the service's to set.
    pub buckets: Option<Vec<BucketRangeSchema>>,
}

/// One side of an experiment.
#[derive(ToSchema)]
#[schema(as = Arm)]
#[expect(dead_code, reason = "it describes `lorank_experiments::Arm`")]
pub(crate) struct ArmSchema {
    /// Its name within the experiment.
    pub name: String,
    /// What ranks for it: an adapter, an alias, `none` for the bare base model, `first-stage` for no model.
    pub model: String,
    /// Its part of the units that take part, relative to the other arms' weights; without one, 1.
    #[schema(minimum = 1)]
    pub weight: Option<u32>,
    /// The version that it serves, where an adapter or an alias is its model; the service's to set, when the experiment is started.
    pub pinned: Option<PinnedVersionSchema>,
}

/// What an arm's name stood for when its experiment was started. The arm serves that, wherever the name points later.
#[derive(ToSchema)]
#[schema(as = PinnedVersion)]
#[expect(dead_code, reason = "it describes `lorank_experiments::PinnedVersion`")]
pub(crate) struct PinnedVersionSchema {
    /// The adapter; null where the name stood for the bare base model.
    pub adapter: Option<String>,
    /// The digest of the adapter's files.
    pub digest: Option<String>,
    /// Since when, in milliseconds since 1970.
    pub since_millis: i64,
}

/// Neighbouring buckets of a layer.
#[derive(ToSchema)]
#[schema(as = BucketRange)]
#[expect(dead_code, reason = "it describes `lorank_experiments::BucketRange`")]
pub(crate) struct BucketRangeSchema {
    /// The first bucket.
    pub start: u16,
    /// The one after the last bucket.
    pub end: u16,
}

/// The experiments.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes what `lorank-experiments` writes")]
pub(crate) struct ExperimentList {
    /// All of them.
    pub experiments: Vec<ExperimentSchema>,
}

/// All that an experiment has shown so far.
#[derive(ToSchema)]
#[schema(as = Report)]
#[expect(dead_code, reason = "it describes `lorank_experiments::Report`")]
pub(crate) struct ReportSchema {
    /// The experiment's id.
    pub experiment: String,
    /// Whether it runs; one whose end has passed is stopped.
    pub state: String,
    /// From when units were assigned, in milliseconds since 1970.
    pub start_millis: Option<i64>,
    /// Until when; null while no end is set.
    pub end_millis: Option<i64>,
    /// Whether traffic was split or answers were interleaved.
    pub method: String,
    /// The measure that decides.
    pub measure: String,
    /// How sure the intervals are, over all looks and comparisons together.
    pub confidence: f64,
    /// Differences smaller than this are taken for none.
    pub smallest_difference: f64,
    /// What each arm did; where answers are interleaved, all of them as one.
    #[schema(value_type = Vec<Object>)]
    pub arms: Vec<Json>,
    /// Each arm but the control against it.
    #[schema(value_type = Vec<Object>)]
    pub comparisons: Vec<Json>,
    /// Whether units arrive as weighted; null where answers are interleaved.
    #[schema(value_type = Option<Object>)]
    pub sample_ratio: Option<Json>,
    /// Queries left out because their unit had met another arm before, or because the experiment has no such arm.
    pub n_inconsistent: u64,
    /// What must be in order before a difference is worth anything, and whether it is: `name`, `found` with the limit, `is_fine`.
    #[schema(value_type = Vec<Object>)]
    pub guardrails: Vec<Json>,
    /// What each arm was: its model's name, the version that it was pinned to, and the exact models that ranked its answers.
    #[schema(value_type = Vec<Object>)]
    pub served: Vec<Json>,
    /// How the intervals narrowed.
    #[schema(value_type = Vec<Object>)]
    pub looks: Vec<Json>,
    /// What to do: `do` says it in a word.
    #[schema(value_type = Object)]
    pub verdict: Json,
    /// The same in words.
    pub sentence: String,
}

/// What the shadows have found.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ShadowList {
    /// Each shadow.
    pub shadows: Vec<ShadowJson>,
}

/// What one shadow has found. Means are over the answers that it ranked; null without one.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Shadow)]
pub(crate) struct ShadowJson {
    /// Its name.
    pub name: String,
    /// The adapter that ranked unseen.
    pub adapter: String,
    /// How many answers it was to rank.
    pub n_answers: u64,
    /// How many of them failed.
    pub n_failures: u64,
    /// The mean rank-biased overlap with the answers that were given.
    pub mean_rbo: Option<f64>,
    /// The mean of Kendall's tau.
    pub mean_kendall_tau: Option<f64>,
    /// The mean share of the first ten hits that both have.
    pub mean_overlap_at_10: Option<f64>,
    /// The mean time that it took.
    pub mean_latency_millis: Option<f64>,
}

/// One event, or a list of them.
#[derive(serde::Deserialize, ToSchema)]
#[schema(as = Events)]
#[serde(untagged)]
#[expect(dead_code, reason = "it describes what `lorank-experiments` reads")]
pub(crate) enum EventsBody {
    /// One.
    One(Box<EventSchema>),
    /// Several: all are kept, or none.
    Many(Vec<EventSchema>),
}

/// One thing that somebody did, most often with a hit, in the shape of User Behavior Insights. Other keys are kept as they come.
#[derive(serde::Deserialize, ToSchema)]
#[schema(as = Event)]
#[expect(dead_code, reason = "it describes what `lorank-experiments` reads")]
pub(crate) struct EventSchema {
    /// The client's own id of the event: two events of one id are the same event, sent twice.
    pub event_id: Option<String>,
    /// The request id of the answer that it is about.
    pub query_id: Option<String>,
    /// Who sent it: a browser, an app.
    pub client_id: Option<String>,
    /// The session that it was part of.
    pub session_id: Option<String>,
    /// What was done, such as `click`, in upper or lower case.
    pub action_name: String,
    /// The id of the hit that it was done with, a text or a whole number.
    #[schema(value_type = Option<Value>)]
    pub object_id: Option<Json>,
    /// The field that `object_id` is from.
    pub object_id_field: Option<String>,
    /// When: a text in ISO 8601, or milliseconds since 1970. Refused where it is in the future by more than an hour, before 2020,
    /// or in another unit.
    #[schema(value_type = Value)]
    pub timestamp: Json,
    /// A number that it carries, such as what was paid. It may stand in `event_attributes` too.
    pub value: Option<f64>,
    /// A text for people.
    pub message: Option<String>,
    /// More about it: `object.object_id`, and `position.ordinal`, the rank of the hit.
    #[schema(value_type = Option<Object>)]
    pub event_attributes: Option<Json>,
}

/// What became of events.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EventsAnswer {
    /// How many are new, and on the disk.
    pub accepted: usize,
    /// How many were there before.
    pub duplicates: usize,
    /// How many of the new ones are kept and belong to no answer, so that no report counts them.
    pub unattributed: usize,
    /// The same by reason.
    pub unattributed_reasons: UnattributedJson,
}

/// Why events belong to no answer.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Unattributed)]
pub(crate) struct UnattributedJson {
    /// Their `query_id` is missing, or that of no answer so far.
    pub unknown_query: usize,
    /// Their object, or the rank that stands for it, is none of the answer's hits.
    pub unknown_object: usize,
    /// They are before their answer, by more than clocks may be off (an hour).
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
