//! Stores experiments and their records in one SQLite file, or in a database of PostgreSQL: definitions, exposures, events
//! and shadow results.
//!
//! An [`ExperimentStore`] is shared by the threads of a process, its file by processes of one machine, and a database of
//! PostgreSQL by servers on several machines. One thread writes, many threads read, and searches wait for neither: they read the running experiments from a snapshot in memory, and put
//! their exposures in a bounded queue. Acknowledged records are synced to disk.
//!
//! The crate is *not* the rules or the statistics of experiments: those, and the types of the records, belong to
//! [`lorank-experiments`](lorank_experiments). It also does not choose rankers, which `lorank-experiment-pipeline` does.
//!
//! ```
//! use lorank_experiment_store::{ExperimentStore, StoreConfig};
//! use lorank_experiments::{Assigned, Event, Experiment, Exposure};
//!
//! let folder = tempfile::tempdir()?;
//! let store = ExperimentStore::open(folder.path(), StoreConfig::default())?;
//! let draft: Experiment = serde_json::from_str(
//!     r#"{"id": "qa-or-not", "salt": "1", "layer": "main", "traffic_share": 0.5, "arms": [
//!         {"name": "control", "model": "none", "weight": 1}, {"name": "qa", "model": "qa", "weight": 1}]}"#,
//! )?;
//! store.create(draft)?;
//! let now_millis = 1_764_100_000_000;
//! store.start("qa-or-not", now_millis)?;
//! assert_eq!(store.running()[0].buckets[0].n_buckets(), 5_000);
//!
//! store.record_exposure(Exposure {
//!     request_id: "r1".into(),
//!     index: "default".into(),
//!     query: "how long to boil an egg".into(),
//!     unit_id: Some("user 7".into()),
//!     assigned: Some(Assigned {
//!         experiment: "qa-or-not".into(),
//!         unit: "user 7".into(),
//!         arm: 1,
//!         arm_name: "qa".into(),
//!         forced: false,
//!         teams: vec![],
//!         arms: vec![],
//!     }),
//!     hits: vec!["lamps".into(), "eggs".into()],
//!     first_rank: 1,
//!     latency_micros: 31_000,
//!     fallback: None,
//!     model: None,
//!     at_millis: now_millis,
//! });
//! let click = serde_json::json!({
//!     "action_name": "click", "query_id": "r1", "timestamp": "2025-11-25T19:46:41Z",
//!     "event_attributes": {"object": {"object_id": "eggs"}}
//! });
//! store.submit(vec![Event::from_json(click)?], now_millis + 1_000)?;
//! assert_eq!(store.records("qa-or-not")?.records[0].clicks[0].rank, 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod attribution;
mod config;
mod database;
mod definitions;
mod error;
mod export;
mod judgments;
mod live;
mod pages;
mod past;
#[cfg(feature = "postgres")]
mod pg;
mod qrels;
mod read;
mod reading;
mod reports;
mod results;
mod retention;
mod rows;
mod scanned;
mod shadows;
mod sqlite;
mod store;
#[cfg(test)]
mod tests;
mod writer;

pub use config::StoreConfig;
pub use error::{ExperimentStoreError, Unconfirmed};
#[cfg(feature = "postgres")]
pub use pg::StoreUrl;
pub use results::{
    Copied, CurrentReport, Forgotten, JoinCounts, Judgment, JudgmentCounts, LoggedSearch, Records, ShadowSummary,
    StoreStats, Submitted, Unattributed,
};
pub use store::{Amendment, ExperimentStore};
