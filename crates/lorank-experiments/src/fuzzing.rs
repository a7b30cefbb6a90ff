//! Functions for the fuzz targets in `fuzz/` and for the test that runs their corpora. Not part of the public interface.

use serde_json::{Map, Value};

use crate::Event;

/// Parses an event of User Behavior Insights or a list of events. Returns whether all are valid.
///
/// # Panics
/// If an event exceeds its limits, or its attributes do not survive serialization.
pub fn read_events(bytes: &[u8]) -> bool {
    let events = match serde_json::from_slice(bytes) {
        Ok(Value::Array(events)) => events,
        Ok(event) => vec![event],
        Err(_) => return false,
    };
    events.into_iter().all(|event| {
        let Ok(event) = Event::from_json(event) else { return false };
        assert!(event.check().is_ok() && !event.key().is_empty(), "{event:?} was checked");
        let attributes = serde_json::from_str::<Map<String, Value>>(&event.attributes_json());
        // serde_json parses numbers fast but not exactly, so they may differ in the last bit.
        let is_same = |read: Map<String, Value>| {
            read.len() == event.attributes.len() && read.keys().all(|key| event.attributes.contains_key(key))
        };
        assert!(attributes.is_ok_and(is_same), "{event:?} comes back");
        true
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_never_panic() {
        lorank_testing::check_corpus("ubi_event", read_events);
    }
}
