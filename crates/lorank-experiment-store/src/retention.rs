//! Deletion of old records.

use rusqlite::{Connection, TransactionBehavior};

use crate::writer::WriterHandle;
use crate::{ExperimentStoreError, Forgotten, judgments, read};

/// The number of rows deleted per transaction, which limits the waiting time of other writes.
const CHUNK: usize = 1_000;

/// Finds old rows without the writer, which then deletes them in batches. Exposures are deleted before their events, so that an
/// interrupted deletion leaves unattributed events but no answers without their clicks.
pub(crate) fn forget(
    reader: &mut Connection,
    writer: &WriterHandle,
    before_millis: i64,
) -> Result<Forgotten, ExperimentStoreError> {
    let [exposures, events, shadows] = find(reader, before_millis)?;
    Ok(Forgotten {
        n_exposures: delete(writer, "DELETE FROM exposures WHERE seq = ?1", &exposures)?,
        n_events: delete(writer, "DELETE FROM events WHERE seq = ?1", &events)?,
        n_shadows: delete(writer, "DELETE FROM shadows WHERE seq = ?1", &shadows)?,
    })
}

/// An event is deleted with its exposure, or by its time of arrival, because client clocks are unreliable.
fn find(connection: &mut Connection, before_millis: i64) -> Result<[Vec<i64>; 3], ExperimentStoreError> {
    let transaction = read::snapshot(connection)?;
    let select = |sql: &str| -> rusqlite::Result<Vec<i64>> {
        transaction.prepare(sql)?.query_map([before_millis], |row| row.get(0))?.collect()
    };
    let select = |sql| select(sql).map_err(ExperimentStoreError::database("find what is old"));
    Ok([
        select("SELECT seq FROM exposures WHERE at_millis < ?1")?,
        select(
            "SELECT seq FROM events WHERE received_millis < ?1
             OR query_id IN (SELECT request_id FROM exposures WHERE at_millis < ?1)",
        )?,
        select("SELECT seq FROM shadows WHERE at_millis < ?1")?,
    ])
}

fn delete(writer: &WriterHandle, sql: &'static str, seqs: &[i64]) -> Result<usize, ExperimentStoreError> {
    let mut n_deleted = 0;
    for chunk in seqs.chunks(CHUNK) {
        let chunk = chunk.to_vec();
        n_deleted += writer.run(move |connection| {
            delete_chunk(connection, sql, &chunk).map_err(ExperimentStoreError::database("delete what is old"))
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
    judgments::count_rewrite(&transaction)?;
    transaction.commit()?;
    Ok(n_deleted)
}
