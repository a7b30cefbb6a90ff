//! The table of experiments.

use std::sync::Arc;

use lorank_experiments::{Experiment, ExperimentError};

use crate::ExperimentStoreError;
use crate::database::{Database, Mode, Transaction, Value};

/// Adds a draft, after checking it.
pub(crate) fn create(database: &dyn Database, draft: &Experiment, max: usize) -> Result<(), ExperimentStoreError> {
    draft.check_draft()?;
    let transaction = begin(database)?;
    if find(&*transaction, &draft.id)?.is_some() {
        return Err(ExperimentStoreError::Exists { experiment: draft.id.clone() });
    }
    let found = all(&*transaction)?.len() + 1;
    if found > max {
        let hint = "delete drafts, or use another folder for a new start";
        return Err(ExperimentStoreError::TooMany { what: "experiments", found, max, hint });
    }
    put(&*transaction, draft)?;
    commit(transaction)
}

/// Changes an experiment, given the others. Experiments whose end has passed are stopped first, to free their buckets.
pub(crate) fn change(
    database: &dyn Database,
    id: &str,
    now_millis: i64,
    step: impl FnOnce(&mut Experiment, &[Experiment]) -> Result<(), ExperimentError>,
) -> Result<Experiment, ExperimentStoreError> {
    let transaction = begin(database)?;
    let mut experiment = get(&*transaction, id)?;
    let mut others = running(&*transaction)?;
    others.retain(|other| other.id != id);
    for over in others.iter_mut().filter(|other| other.is_over(now_millis)) {
        over.stop(now_millis)?;
        put(&*transaction, over)?;
    }
    step(&mut experiment, &others)?;
    put(&*transaction, &experiment)?;
    commit(transaction)?;
    Ok(experiment)
}

pub(crate) fn delete_draft(database: &dyn Database, id: &str, now_millis: i64) -> Result<(), ExperimentStoreError> {
    let transaction = begin(database)?;
    get(&*transaction, id)?.check_deletable(now_millis)?;
    let deleted = transaction.execute("DELETE FROM experiments WHERE id = ?1", &[id.into()]);
    deleted.map_err(ExperimentStoreError::database("delete a draft"))?;
    commit(transaction)
}

pub(crate) fn get(database: &dyn Database, id: &str) -> Result<Experiment, ExperimentStoreError> {
    find(database, id)?.ok_or_else(|| ExperimentStoreError::Unknown { experiment: id.to_owned() })
}

pub(crate) fn all(database: &dyn Database) -> Result<Vec<Experiment>, ExperimentStoreError> {
    select(database, "SELECT id, definition FROM experiments ORDER BY id", &[])
}

pub(crate) fn running(database: &dyn Database) -> Result<Vec<Experiment>, ExperimentStoreError> {
    select(database, "SELECT id, definition FROM experiments WHERE state = 'running' ORDER BY id", &[])
}

fn find(database: &dyn Database, id: &str) -> Result<Option<Experiment>, ExperimentStoreError> {
    let sql = "SELECT id, definition FROM experiments WHERE id = ?1";
    Ok(select(database, sql, &[id.into()])?.into_iter().next())
}

fn select(database: &dyn Database, sql: &str, params: &[Value<'_>]) -> Result<Vec<Experiment>, ExperimentStoreError> {
    let rows = database.all(sql, params, |row| Ok((row.a_text(0)?, row.a_text(1)?)));
    let rows = rows.map_err(ExperimentStoreError::database("read the experiments"))?;
    rows.iter().map(|(id, json)| parse(id, json)).collect()
}

/// Adds an experiment, or changes it.
pub(crate) fn put(database: &dyn Database, experiment: &Experiment) -> Result<(), ExperimentStoreError> {
    let corrupt = |source| ExperimentStoreError::Corrupt { what: row_name(&experiment.id), source: Arc::new(source) };
    let json = serde_json::to_string(experiment).map_err(corrupt)?;
    let sql = "INSERT INTO experiments (id, state, definition) VALUES (?1, ?2, ?3)
               ON CONFLICT (id) DO UPDATE SET state = ?2, definition = ?3";
    let state = experiment.state.to_string();
    let done = database.execute(sql, &[(&experiment.id).into(), (&state).into(), (&json).into()]);
    done.map(drop).map_err(ExperimentStoreError::database("write an experiment"))
}

fn parse(id: &str, json: &str) -> Result<Experiment, ExperimentStoreError> {
    serde_json::from_str(json)
        .map_err(|source| ExperimentStoreError::Corrupt { what: row_name(id), source: Arc::new(source) })
}

fn row_name(id: &str) -> String {
    format!("experiment `{id}`")
}

fn begin(database: &dyn Database) -> Result<Transaction<'_>, ExperimentStoreError> {
    Transaction::begin(database, Mode::Write).map_err(ExperimentStoreError::database("begin a change"))
}

fn commit(transaction: Transaction<'_>) -> Result<(), ExperimentStoreError> {
    let done = transaction.count_change().and_then(|()| transaction.commit());
    done.map_err(ExperimentStoreError::database("write an experiment"))
}
