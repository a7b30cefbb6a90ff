//! Forgetting what is old.

use rusqlite::{Connection, TransactionBehavior};

use super::{ExperimentStore, read};
use crate::ExperimentError;

/// How many rows go in one transaction: other rows wait for no longer than these take.
const CHUNK: usize = 1_000;

/// How much was deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Forgotten {
    /// The exposures.
    pub n_exposures: usize,
    /// The events.
    pub n_events: usize,
    /// The shadows' records.
    pub n_shadows: usize,
}

/// Finds old rows without the writer, and has it delete them piece by piece. Exposures go before their events: if it
/// ends half-way, some events are unknown, and no answer looks as if nobody had clicked.
pub(super) fn forget(store: &ExperimentStore, before_millis: i64) -> Result<Forgotten, ExperimentError> {
    let [exposures, events, shadows] = find(&mut store.reader()?, before_millis)?;
    Ok(Forgotten {
        n_exposures: delete(store, "DELETE FROM exposures WHERE seq = ?1", &exposures)?,
        n_events: delete(store, "DELETE FROM events WHERE seq = ?1", &events)?,
        n_shadows: delete(store, "DELETE FROM shadows WHERE seq = ?1", &shadows)?,
    })
}

/// An event goes with the exposure that it is about, or with its own age by our clock: clients' clocks say anything.
fn find(connection: &mut Connection, before_millis: i64) -> Result<[Vec<i64>; 3], ExperimentError> {
    let transaction = read::snapshot(connection)?;
    let select = |sql: &str| -> rusqlite::Result<Vec<i64>> {
        transaction.prepare(sql)?.query_map([before_millis], |row| row.get(0))?.collect()
    };
    let select = |sql| select(sql).map_err(ExperimentError::database("find what is old"));
    Ok([
        select("SELECT seq FROM exposures WHERE at_millis < ?1")?,
        select(
            "SELECT seq FROM events WHERE received_millis < ?1
             OR query_id IN (SELECT request_id FROM exposures WHERE at_millis < ?1)",
        )?,
        select("SELECT seq FROM shadows WHERE at_millis < ?1")?,
    ])
}

fn delete(store: &ExperimentStore, sql: &'static str, seqs: &[i64]) -> Result<usize, ExperimentError> {
    let mut n_deleted = 0;
    for chunk in seqs.chunks(CHUNK) {
        let chunk = chunk.to_vec();
        n_deleted += store.on_writer(move |connection| {
            delete_chunk(connection, sql, &chunk).map_err(ExperimentError::database("delete what is old"))
        })?;
    }
    Ok(n_deleted)
}

fn delete_chunk(connection: &mut Connection, sql: &str, seqs: &[i64]) -> rusqlite::Result<usize> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut n_deleted = 0;
    {
        let mut statement = transaction.prepare_cached(sql)?;
        for seq in seqs {
            n_deleted += statement.execute([seq])?;
        }
    }
    transaction.commit()?;
    Ok(n_deleted)
}
