//! User behavior on search results, in the format of User Behavior Insights.
//!
//! The format is that of the [specification](https://github.com/o19s/ubi) at version 1.3.0, which OpenSearch follows. Variants of
//! clients are accepted: the object can be in `event_attributes.object` or at the top level, its id can be a number, and the time can
//! be a string (ISO 8601, by default in UTC) or milliseconds since 1970.

use lorank_core::Misfit;
use serde::Deserialize;
use serde_json::{Map, Value};
use time::format_description::well_known::Iso8601;
use time::{OffsetDateTime, PrimitiveDateTime};

use crate::ExperimentError;

/// The maximum length in bytes of an id, name or field name in an event.
pub const EVENT_NAME_BYTES_MAX: usize = 256;
/// The maximum length in bytes of an event's message.
pub const EVENT_MESSAGE_BYTES_MAX: usize = 4 << 10;
/// The maximum absolute value of an event.
pub const EVENT_VALUE_MAX: f64 = 1e9;
/// The maximum length in bytes of an event's other attributes as JSON.
pub const EVENT_ATTRIBUTES_BYTES_MAX: usize = 16 << 10;

/// The context of the hash of an event's content. It must change if the hashed content changes.
const CONTEXT: &str = "lorank experiments 2025-11-25 event id v1";

/// A user action, usually on a hit.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// The client's id of the event. Events with the same id are duplicates.
    pub event_id: Option<String>,
    /// The request id of the search.
    pub query_id: Option<String>,
    /// The id of the client, such as a browser or an app.
    pub client_id: Option<String>,
    /// The id of the session.
    pub session_id: Option<String>,
    /// The action, such as `click`.
    pub action_name: String,
    /// The id of the hit.
    pub object_id: Option<String>,
    /// The field that `object_id` is a value of.
    pub object_id_field: Option<String>,
    /// The time by the client's clock, in milliseconds since 1970.
    pub at_millis: i64,
    /// A message.
    pub message: Option<String>,
    /// The rank of the object in the shown list, from 1: `event_attributes.position.ordinal`.
    pub ordinal: Option<u32>,
    /// All other keys as they were sent.
    pub attributes: Map<String, Value>,
}

/// The JSON of an event.
#[derive(Deserialize)]
struct Shape {
    event_id: Option<String>,
    query_id: Option<String>,
    client_id: Option<String>,
    session_id: Option<String>,
    action_name: String,
    object_id: Option<Id>,
    object_id_field: Option<String>,
    timestamp: Timestamp,
    message: Option<String>,
    event_attributes: Option<Attributes>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Deserialize)]
struct Attributes {
    object: Option<Object>,
    position: Option<Position>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Deserialize)]
struct Object {
    object_id: Option<Id>,
    object_id_field: Option<String>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Deserialize)]
struct Position {
    ordinal: Option<u32>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a string or a whole number of up to 64 bits")]
enum Id {
    Text(String),
    Number(i64),
    Unsigned(u64),
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a time, as a string in ISO 8601 or as milliseconds since 1970")]
enum Timestamp {
    Text(String),
    Millis(i64),
}

impl Event {
    /// Parses and checks an event.
    pub fn from_json(json: Value) -> Result<Self, ExperimentError> {
        let shape: Shape = serde_path_to_error::deserialize(json).map_err(|error| misfit(&error))?;
        let event = Self::from_shape(shape)?;
        event.check()?;
        Ok(event)
    }

    fn from_shape(shape: Shape) -> Result<Self, ExperimentError> {
        let mut attributes = shape.rest;
        let (object, position) = match shape.event_attributes {
            Some(Attributes { object, position, rest }) => {
                attributes.extend(rest);
                (object, position)
            }
            None => (None, None),
        };
        let (mut object_id, mut object_id_field) = (shape.object_id, shape.object_id_field);
        if let Some(object) = object {
            (object_id, object_id_field) = (object.object_id.or(object_id), object.object_id_field.or(object_id_field));
            keep(&mut attributes, "object", object.rest);
        }
        let ordinal = position.and_then(|position| {
            keep(&mut attributes, "position", position.rest);
            position.ordinal
        });
        Ok(Self {
            event_id: named(shape.event_id),
            query_id: named(shape.query_id),
            client_id: named(shape.client_id),
            session_id: named(shape.session_id),
            action_name: shape.action_name,
            object_id: named(object_id.map(Id::into_text)),
            object_id_field: named(object_id_field),
            at_millis: shape.timestamp.millis()?,
            message: named(shape.message),
            ordinal,
            attributes,
        })
    }

    /// The numeric `value` at the top level or in `event_attributes`, such as a price.
    pub fn value(&self) -> Option<f64> {
        self.attributes.get("value").and_then(Value::as_f64).filter(|value| value.abs() <= EVENT_VALUE_MAX)
    }

    /// Checks all limits.
    pub fn check(&self) -> Result<(), ExperimentError> {
        for (field, text) in self.names() {
            if text.is_some_and(str::is_empty) {
                return Err(invalid(field, "is empty; give a value or remove it"));
            }
            check_size(field, text.unwrap_or_default(), EVENT_NAME_BYTES_MAX)?;
        }
        if self.attributes.get("value").is_some_and(|value| !value.is_null()) && self.value().is_none() {
            return Err(invalid("value", format!("must be a number from -{EVENT_VALUE_MAX} to {EVENT_VALUE_MAX}")));
        }
        check_size("message", self.message.as_deref().unwrap_or_default(), EVENT_MESSAGE_BYTES_MAX)?;
        check_size("event_attributes", &self.attributes_json(), EVENT_ATTRIBUTES_BYTES_MAX)
    }

    /// The identity of the event: its id, or else a hash of its content.
    pub fn key(&self) -> String {
        self.event_id.clone().unwrap_or_else(|| self.content_id())
    }

    /// The attributes as a JSON object with sorted keys at every level.
    pub fn attributes_json(&self) -> String {
        let mut attributes = Value::Object(self.attributes.clone());
        // A client may resend an event with its fields in another order.
        attributes.sort_all_objects();
        attributes.to_string()
    }

    fn content_id(&self) -> String {
        let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
        let attributes = self.attributes_json();
        let others = [("message", self.message.as_deref()), ("attributes", Some(attributes.as_str()))];
        for (_, text) in self.names().into_iter().chain(others) {
            // Lengths and markers for missing parts ensure that different events have different bytes.
            hasher.update(&text.map_or(u64::MAX, |text| text.len() as u64).to_le_bytes());
            hasher.update(text.unwrap_or_default().as_bytes());
        }
        hasher.update(&self.at_millis.to_le_bytes());
        hasher.update(&self.ordinal.map_or(-1, i64::from).to_le_bytes());
        format!("content:{}", &hasher.finalize().to_hex()[..32])
    }

    fn names(&self) -> [(&'static str, Option<&str>); 7] {
        [
            ("event_id", self.event_id.as_deref()),
            ("query_id", self.query_id.as_deref()),
            ("client_id", self.client_id.as_deref()),
            ("session_id", self.session_id.as_deref()),
            ("action_name", Some(self.action_name.as_str())),
            ("object_id", self.object_id.as_deref()),
            ("object_id_field", self.object_id_field.as_deref()),
        ]
    }
}

impl Id {
    fn into_text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Number(number) => number.to_string(),
            Self::Unsigned(number) => number.to_string(),
        }
    }
}

impl Timestamp {
    fn millis(self) -> Result<i64, ExperimentError> {
        let text = match self {
            Self::Millis(millis) => return Ok(millis),
            Self::Text(text) => text,
        };
        let local = |_| PrimitiveDateTime::parse(&text, &Iso8601::DEFAULT).map(PrimitiveDateTime::assume_utc);
        let time = OffsetDateTime::parse(&text, &Iso8601::DEFAULT).or_else(local);
        let time =
            time.map_err(|_| invalid("timestamp", "is not a time in ISO 8601, such as `2025-11-25T18:30:00Z`"))?;
        // Years have at most six digits, so milliseconds do not overflow.
        Ok((time.unix_timestamp_nanos() / 1_000_000) as i64)
    }
}

/// Treats empty strings as missing, because some clients send them.
fn named(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

fn keep(attributes: &mut Map<String, Value>, name: &str, rest: Map<String, Value>) {
    if !rest.is_empty() {
        attributes.insert(name.to_owned(), Value::Object(rest));
    }
}

fn check_size(field: &'static str, text: &str, bytes_max: usize) -> Result<(), ExperimentError> {
    if text.len() <= bytes_max {
        return Ok(());
    }
    Err(invalid(field, format!("has {} bytes, and the maximum is {bytes_max}; shorten it", text.len())))
}

fn misfit(error: &serde_path_to_error::Error<serde_json::Error>) -> ExperimentError {
    let (misfit, path) = (Misfit::of(&error.inner().to_string()), error.path().to_string());
    ExperimentError::EventShape { path: misfit.path(if path == "." { "" } else { &path }), problem: misfit.problem }
}

fn invalid(field: &'static str, why: impl Into<String>) -> ExperimentError {
    ExperimentError::Record { record: "event", field, why: why.into() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(json: Value) -> Event {
        Event::from_json(json).unwrap()
    }

    #[test]
    fn the_specifications_shape_is_read_whole() {
        let event = read(json!({
            "application": "shop", "action_name": "click", "query_id": "q1", "session_id": "s1", "client_id": "c1",
            "user_id": "u1", "timestamp": "2024-05-16T12:34:56.789Z", "message_type": "INFO", "message": "clicked",
            "event_attributes": {
                "object": {"object_id": "XYZ-1", "object_id_field": "sku", "name": "lamp"},
                "position": {"ordinal": 3, "xy": {"x": 1, "y": 2}}, "dwell": 7
            }
        }));
        let expected = Event {
            event_id: None,
            query_id: Some("q1".into()),
            client_id: Some("c1".into()),
            session_id: Some("s1".into()),
            action_name: "click".into(),
            object_id: Some("XYZ-1".into()),
            object_id_field: Some("sku".into()),
            at_millis: 1_715_862_896_789,
            message: Some("clicked".into()),
            ordinal: Some(3),
            attributes: serde_json::from_value(json!({
                "application": "shop", "user_id": "u1", "message_type": "INFO", "dwell": 7,
                "object": {"name": "lamp"}, "position": {"xy": {"x": 1, "y": 2}}
            }))
            .unwrap(),
        };
        assert_eq!(event, expected);
    }

    #[test]
    fn the_object_may_stand_at_the_top_and_be_a_number() {
        let event = read(json!({"action_name": "click", "timestamp": 5, "object_id": 42, "object_id_field": "id"}));
        assert_eq!((event.object_id.as_deref(), event.object_id_field.as_deref()), (Some("42"), Some("id")));
        let event = read(json!({"action_name": "click", "timestamp": 5,
            "event_attributes": {"position": {}, "object": {"object_id": 7}}}));
        assert_eq!((event.object_id.as_deref(), event.ordinal), (Some("7"), None));
    }

    #[test]
    fn object_ids_are_what_ids_of_documents_are() {
        for (id, expected) in [
            (json!("a"), Some("a")),
            (json!("007"), Some("007")),
            (json!(0), Some("0")),
            (json!(-7), Some("-7")),
            (json!(i64::MIN), Some("-9223372036854775808")),
            (json!(i64::MAX), Some("9223372036854775807")),
            (json!(9_223_372_036_854_775_808_u64), Some("9223372036854775808")),
            (json!(14_630_868_576_586_246_730_u64), Some("14630868576586246730")),
            (json!(u64::MAX), Some("18446744073709551615")),
            (json!(null), None),
            (json!(""), None),
        ] {
            let flat = read(json!({"action_name": "click", "timestamp": 5, "object_id": id}));
            let nested = read(
                json!({"action_name": "click", "timestamp": 5, "event_attributes": {"object": {"object_id": id}}}),
            );
            assert_eq!((flat.object_id.as_deref(), nested.object_id.as_deref()), (expected, expected), "{id}");
        }
        for id in [json!(1.5), json!(1e20), json!(true), json!([1]), json!({"id": 1})] {
            let error = Event::from_json(json!({"action_name": "click", "timestamp": 5, "object_id": id})).unwrap_err();
            let message = error.to_string();
            assert!(
                message.contains("`object_id`") && message.contains("a string or a whole number of up to 64 bits"),
                "{message}"
            );
        }
    }

    #[test]
    fn an_empty_name_is_none() {
        let event = read(json!({"action_name": "click", "timestamp": 5, "session_id": "", "query_id": null}));
        assert_eq!((event.session_id, event.query_id), (None, None));
    }

    #[test]
    fn times_are_iso_8601_or_milliseconds() {
        for (time, millis) in [
            (json!("2018-11-13T20:20:39Z"), 1_542_140_439_000),
            (json!("2018-11-13T20:20:39"), 1_542_140_439_000),
            (json!("2018-11-13T22:20:39.5+02:00"), 1_542_140_439_500),
            (json!(1_542_140_439_001_i64), 1_542_140_439_001),
        ] {
            assert_eq!(read(json!({"action_name": "click", "timestamp": time})).at_millis, millis);
        }
    }

    #[test]
    fn what_cannot_be_kept_is_refused_by_name() {
        let long = "x".repeat(EVENT_NAME_BYTES_MAX + 1);
        for (json, expected) in [
            (json!({"timestamp": 5}), "`action_name` is missing"),
            (json!({"action_name": "click"}), "`timestamp` is missing"),
            (json!({"action_name": "click", "timestamp": "yesterday"}), "`timestamp` of the event is not a time"),
            (json!({"action_name": "click", "timestamp": 1.5}), "`timestamp` must be a time, as a string in ISO 8601"),
            (json!({"action_name": "", "timestamp": 5}), "`action_name` of the event is empty"),
            (json!({"action_name": long, "timestamp": 5}), "`action_name` of the event has 257 bytes"),
            (json!({"action_name": "a", "timestamp": 5, "value": "12"}), "`value` of the event must be a number"),
            (
                json!({"action_name": "a", "timestamp": 5, "event_attributes": {"value": 2e9}}),
                "`value` of the event must be",
            ),
            (json!({"action_name": "a", "timestamp": 5, "message": "x".repeat(5_000)}), "`message` of the event has"),
            (
                json!({"action_name": "a", "timestamp": 5, "more": "x".repeat(17_000)}),
                "`event_attributes` of the event",
            ),
            (
                json!({"action_name": "a", "timestamp": 5, "event_attributes": {"position": {"ordinal": -1}}}),
                "`event_attributes.position.ordinal` must be a whole number from 0 to 4294967295, not `-1`",
            ),
            (
                json!({"action_name": "a", "timestamp": 5, "object_id": 1.5}),
                "`object_id` must be a string or a whole number",
            ),
            (json!({"action_name": 3, "timestamp": 5}), "`action_name` must be a string, not `3`"),
            (json!([1, 2]), "must be an object, not an array"),
            (json!("click"), "must be an object, not \"click\""),
        ] {
            let error = Event::from_json(json).unwrap_err();
            let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            assert!(format!("{error}: {source}").contains(expected), "{error}: {source}");
        }
    }

    #[test]
    fn an_id_is_the_clients_or_made_of_all_that_the_event_says() {
        let base = json!({"action_name": "click", "timestamp": 5, "query_id": "q", "a": {"b": 1, "c": 2}});
        let with = |key: &str, value: Value| {
            let mut json = base.clone();
            json[key] = value;
            read(json).key()
        };
        let shuffled = json!({"a": {"c": 2, "b": 1}, "query_id": "q", "timestamp": 5, "action_name": "click"});
        assert_eq!(read(base.clone()).key(), read(shuffled).key());
        assert_eq!(with("event_id", json!("mine")), "mine");
        let keys = [
            read(base.clone()).key(),
            with("action_name", json!("view")),
            with("timestamp", json!(6)),
            with("query_id", json!("r")),
            with("client_id", json!("q")),
            with("session_id", json!("q")),
            with("object_id", json!("q")),
            with("message", json!("q")),
            with("event_attributes", json!({"position": {"ordinal": 1}})),
            with("a", json!({"b": 1})),
        ];
        assert_eq!(keys.iter().collect::<std::collections::HashSet<_>>().len(), keys.len());
    }

    /// Values of every kind, most of them too deep or of the wrong kind for the key that they stand at.
    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,12}".prop_map(Value::from),
            "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{0,12}(Z|[+-][0-9]{2}:[0-9]{2})?".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            let key = prop_oneof![
                Just("object".to_owned()),
                Just("object_id".to_owned()),
                Just("position".to_owned()),
                Just("ordinal".to_owned()),
                "[a-z]{1,4}"
            ];
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(key, inner, 0..4)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    /// An event with a sound action and time, so that what else is in it is read at all.
    fn any_event() -> impl Strategy<Value = Value> {
        let names = ["event_id", "query_id", "object_id", "message", "event_attributes", "timestamp", "application"];
        prop::collection::vec((prop::sample::select(names.to_vec()), any_value()), 0..5).prop_map(|fields| {
            let mut json = json!({"action_name": "click", "timestamp": 5});
            for (name, value) in fields {
                json[name] = value;
            }
            json
        })
    }

    proptest! {
        /// Bytes are an event or an error, never a panic.
        #[test]
        fn any_bytes_are_an_event_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(json) = serde_json::from_slice(&bytes) {
                let _ = Event::from_json(json);
            }
        }

        /// What is accepted keeps within the limits, has the same key in whatever order its fields come, and keeps the fields
        /// that it does not know.
        #[test]
        fn any_json_is_an_event_within_the_limits_or_an_error(json in any_event()) {
            let Ok(event) = Event::from_json(json.clone()) else { return Ok(()) };
            prop_assert!(event.check().is_ok());
            prop_assert!(event.attributes_json().len() <= EVENT_ATTRIBUTES_BYTES_MAX);
            prop_assert_eq!(event.attributes.get("application"), json.get("application"));
            let reversed = json.as_object().unwrap().clone().into_iter().rev().collect();
            prop_assert_eq!(Event::from_json(Value::Object(reversed)).unwrap().key(), event.key());
        }
    }
}
