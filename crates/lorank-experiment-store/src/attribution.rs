//! The attribution of events to answers.

use lorank_experiments::{Event, Exposure};
use rusqlite::Connection;

use crate::Unattributed;

/// Whether an event is before an answer by more than the tolerance for wrong clocks.
pub(crate) fn is_before(event: &Event, answered_millis: i64, clock_skew_millis: i64) -> bool {
    event.at_millis < answered_millis.saturating_sub(clock_skew_millis)
}

/// The rank of an event's hit, if it counts for one.
pub(crate) fn rank(exposure: &Exposure, event: &Event, clock_skew_millis: i64) -> Option<usize> {
    exposure.rank_of(event).filter(|_| !is_before(event, exposure.at_millis, clock_skew_millis))
}

/// Whether an event is on an answer: on one of its hits or, without an object, on the answer as a whole.
pub(crate) fn is_on(exposure: &Exposure, event: &Event, clock_skew_millis: i64) -> bool {
    let is_about = event.object_id.is_none() || exposure.rank_of(event).is_some();
    is_about && !is_before(event, exposure.at_millis, clock_skew_millis)
}

/// Counts an event that belongs to no stored answer. An event without an object is about the answer as a whole.
pub(crate) fn unattributed(
    connection: &Connection,
    event: &Event,
    clock_skew_millis: i64,
) -> rusqlite::Result<Unattributed> {
    // An answer has one row for each of its experiments.
    let mut statement = connection.prepare_cached(
        "SELECT at_millis, ?2 IS NULL OR EXISTS (SELECT 1 FROM json_each(hits) WHERE value = ?2),
                ?2 IS NOT NULL OR ?3 IS NULL OR ?3 BETWEEN 1 AND json_array_length(hits)
         FROM exposures WHERE request_id = ?1",
    )?;
    let answers = statement.query_map((&event.query_id, &event.object_id, event.ordinal), |row| {
        Ok((row.get(0)?, row.get::<_, bool>(1)? && row.get::<_, bool>(2)?))
    })?;
    let answers = answers.collect::<rusqlite::Result<Vec<(i64, bool)>>>()?;
    let is_late_enough = |(at_millis, _): &&(i64, bool)| !is_before(event, *at_millis, clock_skew_millis);
    let mut unattributed = Unattributed::default();
    if answers.is_empty() {
        unattributed.n_unknown_query = 1;
    } else if answers.iter().all(|(_, has_object)| !has_object) {
        unattributed.n_unknown_object = 1;
    } else if answers.iter().find(is_late_enough).is_none() {
        unattributed.n_before_answer = 1;
    }
    Ok(unattributed)
}
