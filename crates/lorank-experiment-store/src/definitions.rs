//! The table of experiments.

use std::sync::Arc;

use lorank_experiments::{Experiment, ExperimentError};
use rusqlite::{Connection, OptionalExtension, Params, Transaction, TransactionBehavior, params};

use crate::ExperimentStoreError;

/// Adds a draft, after checking it.
pub(crate) fn create(connection: &mut Connection, draft: &Experiment, max: usize) -> Result<(), ExperimentStoreError> {
    draft.check_draft()?;
    let transaction = begin(connection)?;
    if find(&transaction, &draft.id)?.is_some() {
        return Err(ExperimentStoreError::Exists { experiment: draft.id.clone() });
    }
    let found = all(&transaction)?.len() + 1;
    if found > max {
        let hint = "delete drafts, or use another folder for a new start";
        return Err(ExperimentStoreError::TooMany { what: "experiments", found, max, hint });
    }
    put(&transaction, draft)?;
    commit(transaction)
}

/// Changes an experiment, given the others. Experiments whose end has passed are stopped first, to free their buckets.
pub(crate) fn change(
    connection: &mut Connection,
    id: &str,
    now_millis: i64,
    step: impl FnOnce(&mut Experiment, &[Experiment]) -> Result<(), ExperimentError>,
) -> Result<Experiment, ExperimentStoreError> {
    let transaction = begin(connection)?;
    let mut experiment = get(&transaction, id)?;
    let mut others = running(&transaction)?;
    others.retain(|other| other.id != id);
    for over in others.iter_mut().filter(|other| other.is_over(now_millis)) {
        over.stop(now_millis)?;
        put(&transaction, over)?;
    }
    step(&mut experiment, &others)?;
    put(&transaction, &experiment)?;
    commit(transaction)?;
    Ok(experiment)
}

pub(crate) fn delete_draft(connection: &mut Connection, id: &str, now_millis: i64) -> Result<(), ExperimentStoreError> {
    let transaction = begin(connection)?;
    get(&transaction, id)?.check_deletable(now_millis)?;
    let deleted = transaction.execute("DELETE FROM experiments WHERE id = ?1", [id]);
    deleted.map_err(ExperimentStoreError::database("delete a draft"))?;
    commit(transaction)
}

pub(crate) fn get(connection: &Connection, id: &str) -> Result<Experiment, ExperimentStoreError> {
    find(connection, id)?.ok_or_else(|| ExperimentStoreError::Unknown { experiment: id.to_owned() })
}

pub(crate) fn all(connection: &Connection) -> Result<Vec<Experiment>, ExperimentStoreError> {
    select(connection, "SELECT id, definition FROM experiments ORDER BY id", [])
}

pub(crate) fn running(connection: &Connection) -> Result<Vec<Experiment>, ExperimentStoreError> {
    select(connection, "SELECT id, definition FROM experiments WHERE state = 'running' ORDER BY id", [])
}

fn find(connection: &Connection, id: &str) -> Result<Option<Experiment>, ExperimentStoreError> {
    let sql = "SELECT definition FROM experiments WHERE id = ?1";
    let json: rusqlite::Result<Option<String>> = connection.query_row(sql, [id], |row| row.get(0)).optional();
    let json = json.map_err(ExperimentStoreError::database("read an experiment"))?;
    json.map(|json| parse(id, &json)).transpose()
}

fn select(connection: &Connection, sql: &str, params: impl Params) -> Result<Vec<Experiment>, ExperimentStoreError> {
    let read = || -> rusqlite::Result<Vec<(String, String)>> {
        let mut statement = connection.prepare_cached(sql)?;
        statement.query_map(params, |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
    };
    let rows = read().map_err(ExperimentStoreError::database("read the experiments"))?;
    rows.iter().map(|(id, json)| parse(id, json)).collect()
}

fn put(connection: &Connection, experiment: &Experiment) -> Result<(), ExperimentStoreError> {
    let corrupt = |source| ExperimentStoreError::Corrupt { what: row_name(&experiment.id), source: Arc::new(source) };
    let json = serde_json::to_string(experiment).map_err(corrupt)?;
    let sql = "INSERT INTO experiments (id, state, definition) VALUES (?1, ?2, ?3)
               ON CONFLICT (id) DO UPDATE SET state = ?2, definition = ?3";
    let done = connection.execute(sql, params![experiment.id, experiment.state.to_string(), json]);
    done.map(drop).map_err(ExperimentStoreError::database("write an experiment"))
}

fn parse(id: &str, json: &str) -> Result<Experiment, ExperimentStoreError> {
    serde_json::from_str(json)
        .map_err(|source| ExperimentStoreError::Corrupt { what: row_name(id), source: Arc::new(source) })
}

fn row_name(id: &str) -> String {
    format!("experiment `{id}`")
}

fn begin(connection: &mut Connection) -> Result<Transaction<'_>, ExperimentStoreError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate);
    transaction.map_err(ExperimentStoreError::database("begin a change"))
}

fn commit(transaction: Transaction<'_>) -> Result<(), ExperimentStoreError> {
    transaction.commit().map_err(ExperimentStoreError::database("write an experiment"))
}
