//! What the fuzz targets of `fuzz/` call, and the test that runs their saved corpora. No part of the library's interface.

use serde_json::{Map, Value};

use crate::Event;

/// Reads one event of User Behavior Insights or a list of them; whether all are events.
///
/// # Panics
/// If an event does not keep within its limits, or its attributes do not come back from their text.
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
        // Numbers may come back one bit off: serde_json reads them fast and not exactly.
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
