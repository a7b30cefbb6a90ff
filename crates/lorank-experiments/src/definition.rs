//! The definition of an experiment.

use std::num::NonZeroU32;

use lorank_core::AdapterId;
use serde::{Deserialize, Serialize};

use crate::BucketRange;

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

/// An arm of an experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arm {
    /// The name, unique within the experiment.
    pub name: String,
    /// The model.
    pub model: ArmModel,
    /// The share of units relative to the weights of the other arms. Default: 1.
    #[serde(default = "Arm::default_weight")]
    pub weight: NonZeroU32,
    /// The version of the adapter or alias that the arm uses for the whole experiment. Set at the start.
    #[serde(default)]
    pub pinned: Option<PinnedVersion>,
}

/// The version that an arm uses since the start of its experiment, even if its alias is moved later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PinnedVersion {
    /// The adapter; `None` for a base model without an adapter.
    #[serde(with = "adapter_text")]
    pub adapter: Option<AdapterId>,
    /// The digest of the adapter, as 64 hexadecimal digits.
    pub digest: Option<String>,
    /// The base model, for one without an adapter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_model: Option<PinnedBase>,
    /// The time of pinning, in milliseconds since 1970.
    pub since_millis: i64,
}

/// A pinned base model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PinnedBase {
    /// The name.
    pub name: String,
    /// The digest, as 64 hexadecimal digits.
    pub digest: String,
}

/// The model of an arm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArmModel {
    /// First-stage order, without a model. As text: `first-stage`.
    FirstStage,
    /// The default base model without an adapter. As text: `none`.
    Base,
    /// An adapter, an alias or a base model by its name. Its version at the start of the experiment is [pinned](Arm::pinned).
    Adapter(AdapterId),
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

impl Arm {
    /// The model that the arm uses now: the pinned version, if any.
    pub fn served_model(&self) -> ArmModel {
        match &self.pinned {
            Some(PinnedVersion { adapter: Some(adapter), .. }) => ArmModel::Adapter(adapter.clone()),
            Some(PinnedVersion { base_model: Some(base), .. }) => base.model().unwrap_or_else(|| self.model.clone()),
            Some(PinnedVersion { adapter: None, base_model: None, .. }) => ArmModel::Base,
            None => self.model.clone(),
        }
    }

    /// Whether both use the same version: the same digest, or the same name if a version is not pinned.
    pub fn serves_same_as(&self, other: &Self) -> bool {
        let digest = |arm: &Self| arm.pinned.as_ref().and_then(PinnedVersion::digest_of_model).map(str::to_owned);
        match (digest(self), digest(other)) {
            (Some(digest), Some(other)) => digest == other,
            (None, None) => self.served_model() == other.served_model(),
            _ => false,
        }
    }

    /// Whether its model is an adapter, alias or named base model that is not pinned yet.
    pub fn is_to_be_pinned(&self) -> bool {
        matches!(self.model, ArmModel::Adapter(_)) && self.pinned.is_none()
    }

    fn default_weight() -> NonZeroU32 {
        NonZeroU32::MIN
    }
}

impl PinnedVersion {
    /// The digest of the adapter, or of a base model without an adapter.
    pub fn digest_of_model(&self) -> Option<&str> {
        self.digest.as_deref().or(self.base_model.as_ref().map(|base| base.digest.as_str()))
    }

    /// What was pinned, as text.
    pub fn name(&self) -> &str {
        let base = self.base_model.as_ref().map_or("the base model", |base| base.name.as_str());
        self.adapter.as_ref().map_or(base, AdapterId::as_str)
    }
}

impl PinnedBase {
    /// The model, if its name is one that requests can use.
    fn model(&self) -> Option<ArmModel> {
        self.name.parse().ok().map(ArmModel::Adapter)
    }
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

/// Serialization of an optional adapter id as text.
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
