//! Experiments and records for this crate's tests.

use std::num::NonZeroU32;

use lorank_core::RankerSettings;

use crate::{Arm, ArmModel, Click, Experiment, ExperimentState, Method, PrimaryMeasure, QueryRecord, UnitKind};

/// An experiment with arms `A`, `B`, ... of these weights.
pub(crate) fn experiment(weights: &[u32]) -> Experiment {
    let arm = |(name, weight): (char, &u32)| Arm {
        name: name.into(),
        model: ArmModel::Base,
        settings: RankerSettings::default(),
        weight: NonZeroU32::new(*weight).expect("a weight"),
        pinned: None,
    };
    Experiment {
        id: "summer".into(),
        arms: ('A'..).zip(weights).map(arm).collect(),
        method: Method::Split,
        unit: UnitKind::UnitId,
        salt: "pepper".into(),
        traffic_share: 1.0,
        layer: "default".into(),
        primary_measure: PrimaryMeasure::ClickThrough,
        start_millis: None,
        end_millis: None,
        state: ExperimentState::Running,
        buckets: Vec::new(),
    }
}

/// A query of `unit` in `arm` with clicks on these ranks.
pub(crate) fn record(unit: &str, arm: usize, clicks: &[usize]) -> QueryRecord {
    QueryRecord {
        request_id: String::new(),
        unit: unit.into(),
        arm,
        forced: false,
        at_millis: 0,
        n_hits: 10,
        latency_micros: 1_000,
        fallback: None,
        model: None,
        teams: Vec::new(),
        arms: Vec::new(),
        value: None,
        judged: None,
        past: None,
        clicks: clicks.iter().map(|rank| Click { rank: *rank, at_millis: 0 }).collect(),
    }
}
