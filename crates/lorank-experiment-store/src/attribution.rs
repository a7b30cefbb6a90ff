//! The attribution of events to answers.

use lorank_experiments::{Event, Exposure};

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

/// An answer, for the attribution of new events: when it was given, and its hits as JSON.
pub(crate) type Answered = (i64, String);

/// Counts an event that belongs to none of the answers of its query. An event without an object is about the answer as a
/// whole. An answer has one row for each of its experiments.
pub(crate) fn unattributed(event: &Event, answers: &[Answered], clock_skew_millis: i64) -> Unattributed {
    let has_object = |hits: &str| {
        // What cannot be read is an error of whoever reads the answer.
        let hits: Vec<String> = serde_json::from_str(hits).unwrap_or_default();
        match (&event.object_id, event.ordinal) {
            (Some(object), _) => hits.contains(object),
            (None, Some(ordinal)) => (1..=hits.len()).contains(&(ordinal as usize)),
            (None, None) => true,
        }
    };
    let is_late_enough = |(at_millis, _): &Answered| !is_before(event, *at_millis, clock_skew_millis);
    let mut unattributed = Unattributed::default();
    if answers.is_empty() {
        unattributed.n_unknown_query = 1;
    } else if !answers.iter().any(|(_, hits)| has_object(hits)) {
        unattributed.n_unknown_object = 1;
    } else if !answers.iter().any(is_late_enough) {
        unattributed.n_before_answer = 1;
    }
    unattributed
}
