//! The file of SQLite, whatever the other tests use.

use std::path::Path;

use rusqlite::Connection;

use super::*;
use crate::ExperimentStoreError;

fn open(folder: &TempDir) -> ExperimentStore {
    ExperimentStore::open(folder.path(), StoreConfig::default()).unwrap()
}

/// The error of opening a store whose file was made by `prepare`.
fn refused(prepare: impl FnOnce(&Path)) -> (ExperimentStoreError, Vec<u8>) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join(FILE_NAME);
    prepare(&path);
    let before = std::fs::read(&path).unwrap();
    let error = ExperimentStore::open(folder.path(), StoreConfig::default()).unwrap_err();
    assert_eq!(std::fs::read(&path).unwrap(), before, "what is refused is left as it is");
    (error, before)
}

#[test]
fn an_empty_file_and_a_missing_folder_become_a_store() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join(FILE_NAME), "").unwrap();
    open(&folder).create(draft("e", 0.5)).unwrap();
    assert_eq!(open(&folder).list().unwrap().len(), 1, "opened again, it is not made anew");
    let deeper = folder.path().join("a/b");
    ExperimentStore::open(&deeper, StoreConfig::default()).unwrap();
    assert!(deeper.join(FILE_NAME).is_file());
}

#[test]
fn exposures_of_an_older_file_are_of_the_default_index() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder);
    store.create(draft("e", 0.5)).unwrap();
    store.submit_exposures(vec![Exposure { index: "shop".into(), ..exposure("r1", 1) }]).unwrap();
    drop(store);
    let older = Connection::open(folder.path().join(FILE_NAME)).unwrap();
    let changes = "DROP INDEX events_with_value; ALTER TABLE events DROP COLUMN value; DROP INDEX exposures_by_unit;
                   DROP TABLE judgments; DROP TABLE counters; ALTER TABLE exposures DROP COLUMN arms; DROP INDEX exposures_of_later_pages; ALTER TABLE exposures DROP COLUMN first_rank;
                   ALTER TABLE exposures DROP COLUMN index_name; PRAGMA user_version = 1;";
    older.execute_batch(changes).unwrap();
    drop(older);
    let store = open(&folder);
    store.submit_exposures(vec![Exposure { index: "shop".into(), ..exposure("r2", 2) }]).unwrap();
    let mut csv = Vec::new();
    assert_eq!(store.export_queries("e", &mut csv).unwrap(), 2);
    let csv = String::from_utf8(csv).unwrap();
    let indexes: Vec<&str> = csv.lines().skip(1).map(|line| line.rsplit(',').next().unwrap()).collect();
    assert_eq!(indexes, ["default", "shop"]);
}

#[test]
fn definitions_of_older_versions_are_read() {
    let folder = TempDir::new().unwrap();
    drop(open(&folder));
    let pinned = json!({"adapter": "qa", "digest": "5eed", "since_millis": 3});
    let arms = json!([
        {"name": "control", "model": "none", "weight": 1, "pinned": null},
        {"name": "qa", "model": "latest", "weight": 2, "pinned": pinned}
    ]);
    let definition = json!({"id": "old", "arms": arms, "method": "split", "unit": "unit-id", "salt": "s",
        "traffic_share": 0.5, "layer": "main", "primary_measure": "click-through", "start_millis": 3, "end_millis": null,
        "state": "running", "buckets": [{"start": 0, "end": 5_000}]});
    let older = Connection::open(folder.path().join(FILE_NAME)).unwrap();
    let insert = "INSERT INTO experiments (id, state, definition) VALUES ('old', 'running', ?1)";
    older.execute(insert, [definition.to_string()]).unwrap();
    drop(older);
    let store = open(&folder);
    let old = store.get("old").unwrap();
    assert!(old.arms.iter().all(|arm| arm.settings.is_empty()) && old.arms[1].pinned.is_some());
    assert_eq!(serde_json::to_value(&old).unwrap(), definition, "it is written as it was");
    assert_eq!(store.running()[0], old);
}

#[test]
fn settings_of_arms_are_kept() {
    let folder = TempDir::new().unwrap();
    let mut set = draft("e", 0.5);
    set.arms[1].settings.depth = std::num::NonZeroUsize::new(50);
    set.arms[1].settings.blend_weight = lorank_core::BlendWeight::new(0.3).ok();
    open(&folder).create(set.clone()).unwrap();
    let store = open(&folder);
    assert_eq!(store.get("e").unwrap(), set);
    assert_eq!(store.start("e", 5).unwrap().arms, set.arms);
}

#[test]
fn a_newer_schema_is_refused() {
    let (error, _) = refused(|path| {
        drop(Sqlite::open(path).unwrap());
        let connection = Connection::open(path).unwrap();
        connection.pragma_update(None, "user_version", 6).unwrap();
        drop(connection);
    });
    assert!(matches!(error, ExperimentStoreError::NewerSchema { found: 6, known: 5, .. }), "{error}");
    assert!(
        error
            .to_string()
            .ends_with("has the schema 6, but this version only supports schemas up to 5; use a newer lorank")
    );
}

#[test]
fn other_files_are_refused() {
    let (error, _) = refused(|path| Connection::open(path).unwrap().execute_batch("CREATE TABLE t (x)").unwrap());
    assert!(matches!(error, ExperimentStoreError::Foreign { .. }), "{error}");
    let (error, _) = refused(|path| std::fs::write(path, "Dear diary, ".repeat(100)).unwrap());
    assert!(matches!(error, ExperimentStoreError::Open { .. }), "{error}");
}

#[test]
fn many_may_open_a_new_file_at_once() {
    let folder = TempDir::new().unwrap();
    std::thread::scope(|scope| {
        for n in 0..8 {
            let folder = &folder;
            scope.spawn(move || open(folder).create(draft(&format!("e{n}"), 0.1)).unwrap());
        }
    });
    assert_eq!(open(&folder).list().unwrap().len(), 8);
}

#[test]
fn commits_are_synced_to_a_log() {
    let folder = TempDir::new().unwrap();
    let connection = Sqlite::open(&folder.path().join(FILE_NAME)).unwrap().connection;
    let text = |name| connection.pragma_query_value(None, name, |row| row.get::<_, String>(0)).unwrap();
    let number = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!((text("journal_mode").as_str(), number("synchronous")), ("wal", 2), "2 is FULL");
}

#[test]
fn an_experiment_that_cannot_be_read_is_named() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder);
    store.create(draft("e", 0.5)).unwrap();
    store.start("e", 0).unwrap();
    let other = Connection::open(folder.path().join(FILE_NAME)).unwrap();
    other.execute("UPDATE experiments SET definition = '{}'", []).unwrap();
    assert!(matches!(store.get("e"), Err(ExperimentStoreError::Corrupt { what, .. }) if what == "experiment `e`"));
    // Who searches goes on with the last state that could be read.
    store.flush().unwrap();
    assert_eq!(store.running().len(), 1);
}
