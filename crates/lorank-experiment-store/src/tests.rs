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

use crate::database::Database;
#[cfg(feature = "postgres")]
use crate::pg::{Server, StoreUrl};
use crate::sqlite::Sqlite;
use crate::store::FILE_NAME;
use crate::{ExperimentStore, StoreConfig, Submitted};

mod definitions;
mod files;
mod joins;
mod live;
mod queue;

/// Where a test's store is: in a folder, or in a schema of the PostgreSQL that `LORANK_TEST_POSTGRES` names.
struct Home {
    folder: TempDir,
    #[cfg(feature = "postgres")]
    url: Option<StoreUrl>,
}

impl Home {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        Self {
            #[cfg(feature = "postgres")]
            url: std::env::var("LORANK_TEST_POSTGRES").ok().map(|server| own_schema(&server)),
            folder,
        }
    }

    /// A connection of another process.
    fn database(&self) -> Box<dyn Database> {
        #[cfg(feature = "postgres")]
        if let Some(url) = &self.url {
            return Box::new(Server::open(url, None).unwrap().database().unwrap());
        }
        Box::new(Sqlite::open(&self.folder.path().join(FILE_NAME)).unwrap())
    }
}

/// The address of a new schema that no other test has.
#[cfg(feature = "postgres")]
fn own_schema(server: &str) -> StoreUrl {
    use std::hash::{BuildHasher, RandomState};
    let schema = format!("test_{:x}", RandomState::new().hash_one(std::process::id()));
    let mut client = postgres::Client::connect(server, postgres::NoTls).unwrap();
    client.batch_execute(&format!("CREATE SCHEMA {schema}")).unwrap();
    format!("{server}?options=-csearch_path%3D{schema}").parse().unwrap()
}

/// A store of its own, with one running experiment, `e`.
fn store() -> (Home, ExperimentStore) {
    let home = Home::new();
    let store = open(&home);
    store.create(draft("e", 0.5)).unwrap();
    store.start("e", 0).unwrap();
    (home, store)
}

fn open(home: &Home) -> ExperimentStore {
    open_with(home, StoreConfig::default())
}

fn open_with(home: &Home, config: StoreConfig) -> ExperimentStore {
    #[cfg(feature = "postgres")]
    if let Some(url) = &home.url {
        return ExperimentStore::connect(url, None, config).unwrap();
    }
    ExperimentStore::open(home.folder.path(), config).unwrap()
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
