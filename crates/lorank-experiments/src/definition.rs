//! What an experiment is.

use std::num::NonZeroU32;

use lorank_core::AdapterId;
use serde::{Deserialize, Serialize};

use crate::BucketRange;

/// A comparison of rankings on live traffic. Once started only its `state`, its end and (upwards) its `traffic_share` change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    /// Its name: as for adapters, 1 to 128 of `a-z A-Z 0-9 . _ -`.
    pub id: String,
    /// The sides, the control first. At least two.
    pub arms: Vec<Arm>,
    /// Split traffic, or interleave the arms in one answer.
    #[serde(default)]
    pub method: Method,
    /// What is assigned to an arm.
    #[serde(default)]
    pub unit: UnitKind,
    /// Mixed into the hash of units, so that two experiments split them independently. Any text of up to 128 bytes.
    pub salt: String,
    /// The share of units that take part, from 0.0001 (one of the layer's buckets) to 1.
    pub traffic_share: f64,
    /// Experiments of one layer never meet the same unit; those of different layers split independently.
    pub layer: String,
    /// What decides.
    #[serde(default)]
    pub primary_measure: PrimaryMeasure,
    /// From when units are assigned, in milliseconds since 1970; `None` as soon as it is started.
    pub start_millis: Option<i64>,
    /// Until when; `None` until it is stopped.
    pub end_millis: Option<i64>,
    /// Whether it runs.
    #[serde(default)]
    pub state: ExperimentState,
    /// The buckets of the layer whose units take part: allotted when it is started, added to when the share is raised.
    #[serde(default)]
    pub buckets: Vec<BucketRange>,
}

/// One side of an experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arm {
    /// Its name within the experiment.
    pub name: String,
    /// What ranks for it.
    pub model: ArmModel,
    /// Its part of the units that take part, relative to the other arms' weights.
    pub weight: NonZeroU32,
}

/// What ranks the hits of an arm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArmModel {
    /// The first stage's order, without a model. In text: `first-stage`.
    FirstStage,
    /// The bare base model. In text: `none`.
    Base,
    /// An adapter or an alias, looked up at each request.
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

/// The measure that decides. All are better when larger.
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

impl Experiment {
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

/// The experiments that have not ended and look one of these names up, which they do at each request: an adapter's id, its
/// aliases.
pub fn experiments_naming<'a>(
    names: &[&AdapterId],
    experiments: &'a [Experiment],
    now_millis: i64,
) -> Vec<&'a Experiment> {
    let is_one = |model: &ArmModel| matches!(model, ArmModel::Adapter(name) if names.contains(&name));
    let looks_up = |experiment: &&Experiment| {
        !experiment.has_ended(now_millis) && experiment.arms.iter().any(|arm| is_one(&arm.model))
    };
    experiments.iter().filter(looks_up).collect()
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
