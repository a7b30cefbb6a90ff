//! The past of a unit: its mean value per query before an experiment.

use lorank_experiments::Experiment;

use crate::ExperimentStoreError;
use crate::database::Database;

/// The length of the past before an experiment: four weeks, so that all weekdays count equally.
const PAST_MILLIS: i64 = 28 * 86_400_000;

const WHAT: &str = "read what units did before the experiment";

/// Whether there are events with values from before an experiment.
pub(crate) fn is_there(database: &dyn Database, experiment: &Experiment) -> Result<bool, ExperimentStoreError> {
    let Some(start) = experiment.start_millis else { return Ok(false) };
    let sql = "SELECT 1 FROM events WHERE value IS NOT NULL AND received_millis < ?1 LIMIT 1";
    database.exists(sql, &[start.into()]).map_err(ExperimentStoreError::database(WHAT))
}

/// The mean value per query of a unit before an experiment; `None` without a query.
pub(crate) fn value(
    database: &dyn Database,
    experiment: &Experiment,
    unit: &str,
) -> Result<Option<f64>, ExperimentStoreError> {
    let Some(start) = experiment.start_millis else { return Ok(None) };
    // Events received after the start may be influenced by the experiment.
    let sql = "SELECT avg((SELECT coalesce(sum(events.value), 0.0) FROM events
                           WHERE events.query_id = exposures.request_id AND events.value IS NOT NULL
                             AND events.received_millis < ?2))
               FROM exposures WHERE unit = ?1 AND at_millis < ?2 AND at_millis >= ?3 AND first_rank = 1";
    let params = [unit.into(), start.into(), start.saturating_sub(PAST_MILLIS).into()];
    let read = database.first(sql, &params, |row| row.real(0));
    read.map(Option::flatten).map_err(ExperimentStoreError::database(WHAT))
}
