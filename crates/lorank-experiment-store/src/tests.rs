//! The store from its callers' side, and its file from the outside.

use std::num::NonZeroU32;
use std::sync::Arc;

use lorank_core::RankerSettings;
use lorank_experiments::{
    Arm, ArmModel, ArmRanking, Assigned, Event, Experiment, ExperimentState, Exposure, InterleavedArm, Method,
    PrimaryMeasure, UnitKind,
};
use serde_json::json;
use tempfile::TempDir;

use crate::{ExperimentStore, StoreConfig, Submitted};

mod definitions;
mod files;
mod joins;
mod live;
mod queue;

/// A store in a folder of its own, with one running experiment, `e`.
fn store() -> (TempDir, ExperimentStore) {
    let folder = TempDir::new().unwrap();
    let store = open(&folder);
    store.create(draft("e", 0.5)).unwrap();
    store.start("e", 0).unwrap();
    (folder, store)
}

fn open(folder: &TempDir) -> ExperimentStore {
    ExperimentStore::open(folder.path(), StoreConfig::default()).unwrap()
}

fn draft(id: &str, traffic_share: f64) -> Experiment {
    let arm = |name: &str| Arm {
        name: name.into(),
        model: ArmModel::Base,
        settings: RankerSettings::default(),
        weight: NonZeroU32::MIN,
        pinned: None,
    };
    Experiment {
        id: id.into(),
        arms: vec![arm("control"), arm("qa")],
        method: Method::Split,
        unit: UnitKind::UnitId,
        salt: id.into(),
        traffic_share,
        layer: "main".into(),
        primary_measure: PrimaryMeasure::ClickThrough,
        start_millis: None,
        end_millis: None,
        state: ExperimentState::Draft,
        buckets: Vec::new(),
    }
}

/// An answer of three hits (`a`, `b`, `c`) that the arm `qa` of experiment `e` gave.
fn exposure(request_id: &str, at_millis: i64) -> Exposure {
    Exposure {
        request_id: request_id.into(),
        index: "default".into(),
        query: "boil an egg".into(),
        unit_id: None,
        assigned: Some(Assigned {
            experiment: "e".into(),
            unit: "u1".into(),
            arm: 1,
            arm_name: "qa".into(),
            forced: false,
            teams: Vec::new(),
            arms: Vec::new(),
        }),
        hits: ["a", "b", "c"].map(str::to_owned).into(),
        first_rank: 1,
        latency_micros: 1_500,
        fallback: None,
        model: Some("5eed".into()),
        at_millis,
    }
}

/// A click on a hit.
fn click(query_id: &str, object_id: &str, at_millis: i64) -> Event {
    let json = json!({"action_name": "click", "query_id": query_id, "object_id": object_id, "timestamp": at_millis});
    Event::from_json(json).unwrap()
}

/// What was submitted: how many were new, and how many were known.
fn counts(submitted: Submitted) -> (usize, usize) {
    (submitted.accepted, submitted.duplicates)
}
