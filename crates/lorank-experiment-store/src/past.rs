//! The past of a unit: its mean value per query before an experiment.

use lorank_experiments::Experiment;
use rusqlite::Connection;

use crate::ExperimentStoreError;

/// The length of the past before an experiment: four weeks, so that all weekdays count equally.
const PAST_MILLIS: i64 = 28 * 86_400_000;

const WHAT: &str = "read what units did before the experiment";

/// Whether there are events with values from before an experiment.
pub(crate) fn is_there(connection: &Connection, experiment: &Experiment) -> Result<bool, ExperimentStoreError> {
    let Some(start) = experiment.start_millis else { return Ok(false) };
    let sql = "SELECT EXISTS (SELECT 1 FROM events WHERE value IS NOT NULL AND received_millis < ?1)";
    connection.query_row(sql, [start], |row| row.get(0)).map_err(ExperimentStoreError::database(WHAT))
}

/// The mean value per query of a unit before an experiment; `None` without a query.
pub(crate) fn value(
    connection: &Connection,
    experiment: &Experiment,
    unit: &str,
) -> Result<Option<f64>, ExperimentStoreError> {
    let Some(start) = experiment.start_millis else { return Ok(None) };
    let read = || -> rusqlite::Result<Option<f64>> {
        // Events received after the start may be influenced by the experiment.
        let mut statement = connection.prepare_cached(
            "SELECT avg((SELECT total(events.value) FROM events
                         WHERE events.query_id = exposures.request_id AND events.value IS NOT NULL
                           AND events.received_millis < ?2))
             FROM exposures WHERE unit = ?1 AND at_millis < ?2 AND at_millis >= ?3 AND first_rank = 1",
        )?;
        statement.query_row((unit, start, start.saturating_sub(PAST_MILLIS)), |row| row.get(0))
    };
    read().map_err(ExperimentStoreError::database(WHAT))
}
