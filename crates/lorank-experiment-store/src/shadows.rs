//! What the records of the shadows come to.

use rusqlite::{Connection, Row};

use crate::{ExperimentStoreError, ShadowSummary};

/// The summaries of all shadows, by name and candidate.
pub(crate) fn summaries(connection: &Connection) -> Result<Vec<ShadowSummary>, ExperimentStoreError> {
    let read = || -> rusqlite::Result<Vec<ShadowSummary>> {
        let mut statement = connection.prepare(
            "SELECT name, candidate, count(*), count(failure), avg(rbo), avg(kendall_tau), avg(overlap_at_10),
                    avg(latency_micros) FILTER (WHERE failure IS NULL)
             FROM shadows GROUP BY name, candidate ORDER BY name, candidate",
        )?;
        statement.query_map([], summary)?.collect()
    };
    read().map_err(ExperimentStoreError::database("read the shadows"))
}

fn summary(row: &Row<'_>) -> rusqlite::Result<ShadowSummary> {
    Ok(ShadowSummary {
        name: row.get(0)?,
        candidate: row.get(1)?,
        n_answers: row.get(2)?,
        n_failures: row.get(3)?,
        mean_rbo: row.get(4)?,
        mean_kendall_tau: row.get(5)?,
        mean_overlap_at_10: row.get(6)?,
        mean_latency_micros: row.get(7)?,
    })
}
