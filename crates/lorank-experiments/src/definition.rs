//! The definition of an experiment.

use lorank_core::AdapterId;
use serde::{Deserialize, Serialize};

use crate::{Arm, ArmModel, BucketRange};

/// A comparison of rankings on live traffic. After the start, only its `state` and end can change, and its `traffic_share` can be
/// increased.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "ExperimentForm")]
pub struct Experiment {
    /// The id: 1 to 128 characters of `a-z A-Z 0-9 . _ -`.
    pub id: String,
    /// The arms, the control first. At least two.
    pub arms: Vec<Arm>,
    /// Whether traffic is split or answers are interleaved.
    pub method: Method,
    /// The unit of assignment.
    pub unit: UnitKind,
    /// A salt for the hash of units, so that experiments assign them independently. At most 128 bytes. Default: the id.
    pub salt: String,
    /// The share of units that take part, from 0.0001 (one bucket of the layer) to 1. Default: 1.
    pub traffic_share: f64,
    /// The layer. A unit takes part in at most one experiment of a layer; different layers are independent. Default: `main`.
    pub layer: String,
    /// The primary measure.
    pub primary_measure: PrimaryMeasure,
    /// Start of the assignment, in milliseconds since 1970. `None`: when the experiment is started.
    pub start_millis: Option<i64>,
    /// End of the assignment, in milliseconds since 1970. `None`: when the experiment is stopped.
    pub end_millis: Option<i64>,
    /// The state.
    pub state: ExperimentState,
    /// The buckets of the layer whose units take part: allocated at the start, and extended when the share is increased.
    pub buckets: Vec<BucketRange>,
}

/// The serialized form, in which keys with defaults can be missing.
#[derive(Deserialize)]
#[serde(rename = "Experiment", deny_unknown_fields)]
struct ExperimentForm {
    id: String,
    arms: Vec<Arm>,
    #[serde(default)]
    method: Method,
    #[serde(default)]
    unit: UnitKind,
    salt: Option<String>,
    traffic_share: Option<f64>,
    layer: Option<String>,
    #[serde(default)]
    primary_measure: PrimaryMeasure,
    start_millis: Option<i64>,
    end_millis: Option<i64>,
    #[serde(default)]
    state: ExperimentState,
    #[serde(default)]
    buckets: Vec<BucketRange>,
}

impl From<ExperimentForm> for Experiment {
    fn from(form: ExperimentForm) -> Self {
        Self {
            salt: form.salt.unwrap_or_else(|| form.id.clone()),
            traffic_share: form.traffic_share.unwrap_or(Self::DEFAULT_TRAFFIC_SHARE),
            layer: form.layer.unwrap_or_else(|| Self::DEFAULT_LAYER.to_owned()),
            id: form.id,
            arms: form.arms,
            method: form.method,
            unit: form.unit,
            primary_measure: form.primary_measure,
            start_millis: form.start_millis,
            end_millis: form.end_millis,
            state: form.state,
            buckets: form.buckets,
        }
    }
}

/// The method of comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Each unit is assigned to one arm.
    #[default]
    Split,
    /// Each answer mixes all arms by team-draft interleaving.
    Interleave,
}

/// The unit of assignment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnitKind {
    /// The request's `unit_id`, or else the query.
    #[default]
    UnitId,
    /// The text of the query.
    Query,
}

/// The primary measure. Larger values are better, except for the time to the first click.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PrimaryMeasure {
    /// The share of queries with at least one click.
    #[default]
    ClickThrough,
    /// The mean over queries of 1 / rank of the first click, or 0 without a click.
    ReciprocalRank,
    /// The share of queries with a click on one of the first three ranks.
    TopClick,
    /// The mean over queries of the values of the events on their answers.
    Value,
    /// The mean time from an answer to its first click. Lower is better.
    TimeToFirstClick,
    /// The mean nDCG@10 of answers to judged queries.
    Ndcg,
}

/// The state of an experiment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExperimentState {
    /// Not started; assigns no units.
    #[default]
    Draft,
    /// Assigns units between `start_millis` and `end_millis`.
    Running,
    /// Ended; cannot be started again.
    Stopped,
}

impl Experiment {
    /// The default of `traffic_share`.
    pub const DEFAULT_TRAFFIC_SHARE: f64 = 1.0;
    /// The default of `layer`.
    pub const DEFAULT_LAYER: &'static str = "main";

    /// The experiment at a time: a running one whose end has passed is stopped.
    #[must_use]
    pub fn at(self, now_millis: i64) -> Self {
        let state = if self.is_over(now_millis) { ExperimentState::Stopped } else { self.state };
        Self { state, ..self }
    }

    /// Whether it assigns units at a time: it is running, has started and has not ended.
    pub fn assigns_at(&self, now_millis: i64) -> bool {
        self.state == ExperimentState::Running
            && self.start_millis.is_none_or(|start| start <= now_millis)
            && !self.has_ended(now_millis)
    }

    /// Whether its end has passed, so that it assigns no more units in any state.
    pub fn has_ended(&self, now_millis: i64) -> bool {
        self.end_millis.is_some_and(|end| end <= now_millis)
    }

    /// Whether the units of a bucket, of [`N_BUCKETS`](crate::N_BUCKETS) in its layer, take part.
    pub fn has_bucket(&self, bucket: u16) -> bool {
        self.buckets.iter().any(|range| range.contains(bucket))
    }
}

/// The experiments that have not ended and have an arm with one of these names: an adapter's id or its aliases. Pinned arms count by
/// the id of their adapter, not by their alias.
pub fn experiments_naming<'a>(
    names: &[&AdapterId],
    experiments: &'a [Experiment],
    now_millis: i64,
) -> Vec<&'a Experiment> {
    let is_named = |model: &ArmModel| matches!(model, ArmModel::Adapter(name) if names.contains(&name));
    let is_one = |arm: &Arm| arm.served_models().iter().any(is_named);
    let serves = |experiment: &&Experiment| !experiment.has_ended(now_millis) && experiment.arms.iter().any(is_one);
    experiments.iter().filter(serves).collect()
}

impl std::fmt::Display for ExperimentState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Draft => "draft",
            Self::Running => "running",
            Self::Stopped => "stopped",
        })
    }
}
