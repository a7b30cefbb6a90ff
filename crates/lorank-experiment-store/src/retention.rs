//! Deletion of old records.

use crate::database::{Database, DatabaseError, Mode, Transaction, Value, placeholders};
use crate::writer::WriterHandle;
use crate::{ExperimentStoreError, Forgotten, judgments, read};

/// The number of rows deleted per transaction, which limits the waiting time of other writes.
const CHUNK: usize = 1_000;

/// Finds old rows without the writer, which then deletes them in batches. Exposures are deleted before their events, so that an
/// interrupted deletion leaves unattributed events but no answers without their clicks.
pub(crate) fn forget(
    reader: &dyn Database,
    writer: &WriterHandle,
    before_millis: i64,
) -> Result<Forgotten, ExperimentStoreError> {
    let [exposures, events, shadows] = find(reader, before_millis)?;
    Ok(Forgotten {
        n_exposures: delete(writer, "exposures", &exposures)?,
        n_events: delete(writer, "events", &events)?,
        n_shadows: delete(writer, "shadows", &shadows)?,
    })
}

/// An event is deleted with its exposure, or by its time of arrival, because client clocks are unreliable.
fn find(database: &dyn Database, before_millis: i64) -> Result<[Vec<i64>; 3], ExperimentStoreError> {
    let transaction = read::snapshot(database)?;
    let select = |sql| {
        let found = transaction.all(sql, &[before_millis.into()], |row| row.an_integer(0));
        found.map_err(ExperimentStoreError::database("find what is old"))
    };
    Ok([
        select("SELECT seq FROM exposures WHERE at_millis < ?1")?,
        select(
            "SELECT seq FROM events WHERE received_millis < ?1
             OR query_id IN (SELECT request_id FROM exposures WHERE at_millis < ?1)",
        )?,
        select("SELECT seq FROM shadows WHERE at_millis < ?1")?,
    ])
}

fn delete(writer: &WriterHandle, table: &'static str, seqs: &[i64]) -> Result<usize, ExperimentStoreError> {
    let mut n_deleted = 0;
    for chunk in seqs.chunks(CHUNK) {
        let chunk = chunk.to_vec();
        n_deleted += writer.run(move |database| {
            delete_chunk(database, table, &chunk).map_err(ExperimentStoreError::database("delete what is old"))
        })?;
    }
    Ok(n_deleted)
}

fn delete_chunk(database: &dyn Database, table: &str, seqs: &[i64]) -> Result<usize, DatabaseError> {
    let transaction = Transaction::begin(database, Mode::Write)?;
    let sql = format!("DELETE FROM {table} WHERE seq IN ({})", placeholders(1, seqs.len()));
    let params: Vec<Value<'_>> = seqs.iter().map(|seq| (*seq).into()).collect();
    let n_deleted = transaction.execute(&sql, &params)?;
    judgments::count_rewrite(&*transaction)?;
    transaction.commit()?;
    Ok(usize::try_from(n_deleted).unwrap_or(usize::MAX))
}
