//! What an experiment is.

use std::num::NonZeroU32;

use lorank_core::AdapterId;
use serde::{Deserialize, Serialize};

use crate::BucketRange;

/// A comparison of rankings on live traffic. Once started only its `state`, its end and (upwards) its `traffic_share` change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "ExperimentForm")]
pub struct Experiment {
    /// Its name: as for adapters, 1 to 128 of `a-z A-Z 0-9 . _ -`.
    pub id: String,
    /// The sides, the control first. At least two.
    pub arms: Vec<Arm>,
    /// Split traffic, or interleave the arms in one answer.
    pub method: Method,
    /// What is assigned to an arm.
    pub unit: UnitKind,
    /// Mixed into the hash of units, so that two experiments split them independently. Any text of up to 128 bytes; where the
    /// definition has none, the id.
    pub salt: String,
    /// The share of units that take part, from 0.0001 (one of the layer's buckets) to 1; where the definition has none, 1.
    pub traffic_share: f64,
    /// Experiments of one layer never meet the same unit; those of different layers split independently. Where the definition
    /// has none, `main`.
    pub layer: String,
    /// What decides.
    pub primary_measure: PrimaryMeasure,
    /// From when units are assigned, in milliseconds since 1970; `None` as soon as it is started.
    pub start_millis: Option<i64>,
    /// Until when; `None` until it is stopped.
    pub end_millis: Option<i64>,
    /// Whether it runs.
    pub state: ExperimentState,
    /// The buckets of the layer whose units take part: allotted when it is started, added to when the share is raised.
    pub buckets: Vec<BucketRange>,
}

/// An experiment as it is written, where what has a default may be left out.
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

/// One side of an experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arm {
    /// Its name within the experiment.
    pub name: String,
    /// What ranks for it.
    pub model: ArmModel,
    /// Its part of the units that take part, relative to the other arms' weights; where the definition has none, 1.
    #[serde(default = "Arm::default_weight")]
    pub weight: NonZeroU32,
    /// The version that it serves for as long as the experiment runs, where an adapter or an alias is its model. It comes with the
    /// start.
    #[serde(default)]
    pub pinned: Option<PinnedVersion>,
}

/// What an arm's name stood for when its experiment was started. The arm serves that and nothing else, wherever the name points later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PinnedVersion {
    /// The adapter; `None` where the name stood for the bare base model.
    #[serde(with = "adapter_text")]
    pub adapter: Option<AdapterId>,
    /// The digest of the adapter's files, as 64 hexadecimal digits.
    pub digest: Option<String>,
    /// Since when it is pinned, in milliseconds since 1970.
    pub since_millis: i64,
}

/// What ranks the hits of an arm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArmModel {
    /// The first stage's order, without a model. In text: `first-stage`.
    FirstStage,
    /// The bare base model. In text: `none`.
    Base,
    /// An adapter or an alias. What it stands for when the experiment is started is what the arm [serves](Arm::pinned).
    Adapter(AdapterId),
}

/// How arms are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Each unit sees one arm.
    #[default]
    Split,
    /// Each answer mixes all arms by team draft.
    Interleave,
}

/// What is assigned to an arm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnitKind {
    /// The request's `unit_id`, where it has one, else the query.
    #[default]
    UnitId,
    /// The text of the query.
    Query,
}

/// The measure that decides. All are better when larger, but the time to the first click.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PrimaryMeasure {
    /// The share of queries with at least one click.
    #[default]
    ClickThrough,
    /// The mean over queries of 1 / rank of the first click, 0 without one.
    ReciprocalRank,
    /// The share of queries with a click on one of the first three ranks.
    TopClick,
    /// The mean over queries of the values in the events on their answers.
    Value,
    /// The mean time from an answer to the first click on it. Less is better.
    TimeToFirstClick,
    /// The mean nDCG@10 of the answers to queries that are judged.
    Ndcg,
}

/// Whether an experiment runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExperimentState {
    /// Defined, may still be changed; assigns nothing.
    #[default]
    Draft,
    /// Assigns units, within `start_millis` and `end_millis`.
    Running,
    /// For good.
    Stopped,
}

impl Arm {
    /// The model that ranks for it now: where it is pinned, what it is pinned to.
    pub fn served_model(&self) -> ArmModel {
        match &self.pinned {
            Some(PinnedVersion { adapter: Some(adapter), .. }) => ArmModel::Adapter(adapter.clone()),
            Some(PinnedVersion { adapter: None, .. }) => ArmModel::Base,
            None => self.model.clone(),
        }
    }

    /// Whether both serve one version: the same files, or, where a version is not pinned, the same name.
    pub fn serves_same_as(&self, other: &Self) -> bool {
        let digest = |arm: &Self| arm.pinned.as_ref().and_then(|pinned| pinned.digest.clone());
        match (digest(self), digest(other)) {
            (Some(digest), Some(other)) => digest == other,
            (None, None) => self.served_model() == other.served_model(),
            _ => false,
        }
    }

    /// Whether an adapter or an alias is its model that is not pinned yet.
    pub fn is_to_be_pinned(&self) -> bool {
        matches!(self.model, ArmModel::Adapter(_)) && self.pinned.is_none()
    }

    fn default_weight() -> NonZeroU32 {
        NonZeroU32::MIN
    }
}

impl Experiment {
    /// The share of units that take part, unless the definition says so.
    pub const DEFAULT_TRAFFIC_SHARE: f64 = 1.0;
    /// The layer, unless the definition names one.
    pub const DEFAULT_LAYER: &'static str = "main";

    /// The experiment as it is at a time: one that runs but has ended is stopped.
    #[must_use]
    pub fn at(self, now_millis: i64) -> Self {
        let state = if self.is_over(now_millis) { ExperimentState::Stopped } else { self.state };
        Self { state, ..self }
    }

    /// Whether it assigns units at a time: it runs, has begun and has not ended.
    pub fn assigns_at(&self, now_millis: i64) -> bool {
        self.state == ExperimentState::Running
            && self.start_millis.is_none_or(|start| start <= now_millis)
            && !self.has_ended(now_millis)
    }

    /// Whether its end lies behind: it assigns nothing any more, whatever its state says.
    pub fn has_ended(&self, now_millis: i64) -> bool {
        self.end_millis.is_some_and(|end| end <= now_millis)
    }

    /// Whether the units of one of its layer's [`N_BUCKETS`](crate::N_BUCKETS) buckets take part.
    pub fn has_bucket(&self, bucket: u16) -> bool {
        self.buckets.iter().any(|range| range.contains(bucket))
    }
}

/// The experiments that have not ended and have an arm that serves the model of one of these names: an adapter's id, its aliases.
/// A pinned arm goes by the id of its adapter, whatever its alias points to.
pub fn experiments_naming<'a>(
    names: &[&AdapterId],
    experiments: &'a [Experiment],
    now_millis: i64,
) -> Vec<&'a Experiment> {
    let is_one = |arm: &Arm| matches!(arm.served_model(), ArmModel::Adapter(name) if names.contains(&&name));
    let serves = |experiment: &&Experiment| !experiment.has_ended(now_millis) && experiment.arms.iter().any(is_one);
    experiments.iter().filter(serves).collect()
}

impl ArmModel {
    const FIRST_STAGE: &'static str = "first-stage";
    const BASE: &'static str = "none";
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

impl std::fmt::Display for ArmModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::FirstStage => f.pad(Self::FIRST_STAGE),
            Self::Base => f.pad(Self::BASE),
            Self::Adapter(id) => id.fmt(f),
        }
    }
}

impl std::str::FromStr for ArmModel {
    type Err = lorank_core::ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            Self::FIRST_STAGE => Ok(Self::FirstStage),
            Self::BASE => Ok(Self::Base),
            id => id.parse().map(Self::Adapter),
        }
    }
}

/// An adapter's id as text, if there is one.
mod adapter_text {
    use super::{AdapterId, Deserialize};

    pub(super) fn serialize<S: serde::Serializer>(id: &Option<AdapterId>, to: S) -> Result<S::Ok, S::Error> {
        match id {
            Some(id) => to.collect_str(id),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<AdapterId>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| text.parse().map_err(serde::de::Error::custom)).transpose()
    }
}

impl Serialize for ArmModel {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ArmModel {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}
