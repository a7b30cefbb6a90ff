//! Plausibility checks for the time of an event.

use crate::format::time as shown;
use crate::{Event, ExperimentError};

/// The default tolerance for wrong client clocks: one hour, for wrong daylight saving time.
pub const CLOCK_SKEW_MILLIS: i64 = 3_600_000;

/// The start of 2020. No answer of this program is older.
const EARLIEST_MILLIS: i64 = 1_577_836_800_000;

impl Event {
    /// Checks that the event's time is plausible at `now_millis`, with clocks that may differ by `skew_millis`. Joining it to its answer
    /// checks that it is not before that.
    ///
    /// # Errors
    /// A time in the future, before 2020, or in another unit than milliseconds; the message names the unit.
    pub fn check_time(&self, now_millis: i64, skew_millis: i64) -> Result<(), ExperimentError> {
        let latest = now_millis.saturating_add(skew_millis);
        // With a clock in the past, as in tests and simulations, there is no earliest time.
        let earliest = if now_millis < EARLIEST_MILLIS { i64::MIN } else { EARLIEST_MILLIS };
        if (earliest..=latest).contains(&self.at_millis) {
            return Ok(());
        }
        let is_plausible = |millis: i64| (EARLIEST_MILLIS..=latest).contains(&millis);
        let unit = [
            ("seconds", self.at_millis.saturating_mul(1_000)),
            ("microseconds", self.at_millis / 1_000),
            ("nanoseconds", self.at_millis / 1_000_000),
        ];
        let at = self.at_millis;
        let why = match unit.into_iter().find(|(_, millis)| is_plausible(*millis)) {
            Some((unit, _)) => format!("is {at}, which looks like {unit}; send milliseconds since 1970, or ISO 8601"),
            None if at > latest => format!("is {}, which is in the future; check the client's clock", shown(at)),
            None => format!("is {}, which is before any answer; check the client's clock", shown(at)),
        };
        Err(ExperimentError::Record { record: "event", field: "timestamp", why })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// 2026-11-29T08:53:20Z.
    const NOW: i64 = 1_795_942_400_000;

    fn check(timestamp: serde_json::Value, part: Option<&str>) {
        let event = Event::from_json(json!({"action_name": "click", "timestamp": timestamp})).unwrap();
        let error = event.check_time(NOW, CLOCK_SKEW_MILLIS).map_err(|error| error.to_string());
        match part {
            None => assert_eq!(error, Ok(()), "{timestamp}"),
            Some(part) => assert!(error.as_ref().is_err_and(|error| error.contains(part)), "{timestamp}: {error:?}"),
        }
    }

    #[test]
    fn a_time_is_in_milliseconds_and_not_in_the_future() {
        check(json!(NOW), None);
        check(json!(NOW - 30 * 86_400_000), None);
        check(json!(NOW + CLOCK_SKEW_MILLIS), None);
        check(json!("2026-11-29T08:00:00Z"), None);
        check(json!("2026-11-29T09:00:00"), None);
        check(json!("2020-01-01T00:00:00Z"), None);
        check(json!(NOW + CLOCK_SKEW_MILLIS + 1), Some("is in the future; check the client's clock"));
        check(json!("2027-01-01T00:00:00Z"), Some("is 2027-01-01T00:00:00Z, which is in the future"));
        check(json!(NOW / 1_000), Some("which looks like seconds; send milliseconds since 1970"));
        check(json!(NOW * 1_000), Some("looks like microseconds"));
        check(json!(NOW * 1_000_000), Some("looks like nanoseconds"));
        check(json!(0), Some("is 1970-01-01T00:00:00Z, which is before any answer"));
        check(json!(-1), Some("before any answer"));
        check(json!(1), Some("before any answer"));
        check(json!("1970-01-01T00:00:00Z"), Some("before any answer"));
        check(json!("2019-12-31T23:59:59Z"), Some("before any answer"));
        check(json!(i64::MAX), Some("in the future"));
        check(json!(i64::MIN), Some("before any answer"));
    }

    #[test]
    fn a_clock_in_the_past_has_no_earliest_time() {
        let event = Event::from_json(json!({"action_name": "click", "timestamp": 5})).unwrap();
        assert!(event.check_time(3, 2).is_ok() && event.check_time(3, 1).is_err());
    }
}
