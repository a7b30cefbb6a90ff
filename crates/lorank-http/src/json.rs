//! JSON bodies: their content type, and parsing into wire types in one pass.
//!
//! Bodies of up to [`INLINE_BYTES_MAX`] are parsed on the runtime's thread. Longer bodies are parsed on a thread for blocking work:
//! 16 MiB take tens of milliseconds, which would delay other requests.

use std::fmt;

use axum::body::Bytes;
use axum::http::{HeaderMap, header};
use lorank_core::{Misfit, json_hint, syntax_problem};
use serde::de::{DeserializeOwned, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value as Json;
use serde_json::error::Category;

use crate::ServerError;
use crate::encoding::expect_decoded;
use crate::lanes::{Lane, Lanes};

/// The maximum length of a body that is parsed on the runtime's thread, which takes about 100 microseconds.
pub(crate) const INLINE_BYTES_MAX: usize = 64 << 10;

/// The maximum number of values in a body, including nested ones. In memory, an empty list takes ten times the bytes of its JSON.
pub(crate) const VALUES_MAX: usize = 1_000_000;

/// Accepts `application/json` and types with the suffix `+json` (`application/vnd.api+json`).
pub(crate) fn expect_json(headers: &HeaderMap) -> Result<(), ServerError> {
    expect_decoded(headers)?;
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return Err(ServerError::UnsupportedMediaType { found: "(none)".to_owned() });
    };
    let found = String::from_utf8_lossy(value.as_bytes());
    let essence = found.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if essence.strip_prefix("application/").is_some_and(|kind| kind == "json" || kind.ends_with("+json")) {
        return Ok(());
    }
    Err(ServerError::UnsupportedMediaType { found: format!("`{found}`") })
}

/// Parses a body; long bodies on a thread for blocking work.
pub(crate) async fn parse<T: Send + 'static>(
    lanes: &Lanes,
    body: Bytes,
    parse: impl FnOnce(&[u8]) -> Result<T, ServerError> + Send + 'static,
) -> Result<T, ServerError> {
    if body.len() <= INLINE_BYTES_MAX {
        return parse(&body);
    }
    let place = lanes.enter(Lane::Parsing).await?;
    let parsed = tokio::task::spawn_blocking(move || {
        let _place = place;
        if n_values(&body) > VALUES_MAX {
            return Err(ServerError::TooManyValues { max: VALUES_MAX });
        }
        parse(&body)
    })
    .await;
    parsed.unwrap_or_else(|source| Err(ServerError::Panicked { source }))
}

/// Parses a value of the wire type `T`, which errors call `expected`.
///
/// # Errors
/// Invalid JSON, with line and column; an invalid value, with its path.
pub(crate) fn read<T: DeserializeOwned>(expected: &'static str, body: &[u8]) -> Result<T, ServerError> {
    let text = utf8(body)?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let malformed = |error: &serde_json::Error| malformed(error, text);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        if error.inner().classify() != Category::Data {
            return malformed(error.inner());
        }
        // Invalid JSON takes precedence over invalid values.
        match serde_json::from_str::<IgnoredAny>(text) {
            Err(error) => malformed(&error),
            Ok(_) => refused(expected, error.path(), &without_position(error.inner())),
        }
    })?;
    deserializer.end().map_err(|error| malformed(&error))?;
    Ok(value)
}

/// The same for a body that must be an object, because serde would accept an array as the values of the keys in declaration order.
pub(crate) fn read_object<T: DeserializeOwned>(expected: &'static str, body: &[u8]) -> Result<T, ServerError> {
    let found = match body.trim_ascii_start().first() {
        Some(b'{') => return read(expected, body),
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b'n') => "`null`",
        Some(b't' | b'f') => "`true` or `false`",
        _ => "a number",
    };
    read::<IgnoredAny>(expected, body)?;
    Err(ServerError::WrongBody { expected, problem: format!("it must be an object, not {found}") })
}

/// The same for a body with filters. An integer beyond 64 bits would be parsed and compared as a float.
pub(crate) fn read_exact<T: DeserializeOwned>(expected: &'static str, body: &[u8]) -> Result<T, ServerError> {
    let value = read_object(expected, body)?;
    match wide_integer(utf8(body)?) {
        None => Ok(value),
        Some((field, digits)) => {
            let problem = format!(
                "is the integer `{}`, which does not fit in 64 bits; send it as a string",
                lorank_core::shortened(digits)
            );
            Err(ServerError::InvalidValue { field, problem })
        }
    }
}

/// Parses a JSON value, such as the keys and values of a query string.
pub(crate) fn read_value<T: DeserializeOwned>(expected: &'static str, value: Json) -> Result<T, ServerError> {
    serde_path_to_error::deserialize(value).map_err(|error| refused(expected, error.path(), &error.inner().to_string()))
}

/// The number of values and keys of a body: one more than its commas and colons, plus one for each array and object.
fn n_values(body: &[u8]) -> usize {
    let (mut n, mut in_text, mut is_escaped) = (1, false, false);
    for byte in body {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_text => is_escaped = true,
            b'"' => in_text = !in_text,
            b',' | b':' | b'[' | b'{' if !in_text => n += 1,
            _ => {}
        }
    }
    n
}

/// The lengths of the arrays at the top level of an object, by their keys, in one pass without allocations.
///
/// `None` for a missing key, 0 for a value that is not an array. A body that is not a JSON object has no keys.
pub(crate) fn list_lengths<const N: usize>(body: &[u8], keys: [&str; N]) -> [Option<usize>; N] {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    deserializer.deserialize_map(LengthsVisitor(keys)).unwrap_or([None; N])
}

struct LengthsVisitor<'a, const N: usize>([&'a str; N]);

impl<'de, const N: usize> Visitor<'de> for LengthsVisitor<'_, N> {
    type Value = [Option<usize>; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut lengths = [None; N];
        while let Some(KeyText(key)) = map.next_key()? {
            match self.0.iter().position(|wanted| *wanted == key) {
                Some(n) => lengths[n] = Some(map.next_value::<ListLength>()?.0),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(lengths)
    }
}

/// The length of an array; 0 for other values.
struct ListLength(usize);

impl<'de> Deserialize<'de> for ListLength {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LengthVisitor).map(Self)
    }
}

struct LengthVisitor;

impl<'de> Visitor<'de> for LengthVisitor {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<usize, A::Error> {
        let mut n = 0;
        while values.next_element::<IgnoredAny>()?.is_some() {
            n += 1;
        }
        Ok(n)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<usize, A::Error> {
        IgnoredAny.visit_map(map).map(|_| 0)
    }

    fn visit_bool<E>(self, _: bool) -> Result<usize, E> {
        Ok(0)
    }

    fn visit_i64<E>(self, _: i64) -> Result<usize, E> {
        Ok(0)
    }

    fn visit_u64<E>(self, _: u64) -> Result<usize, E> {
        Ok(0)
    }

    fn visit_f64<E>(self, _: f64) -> Result<usize, E> {
        Ok(0)
    }

    fn visit_str<E>(self, _: &str) -> Result<usize, E> {
        Ok(0)
    }

    fn visit_unit<E>(self) -> Result<usize, E> {
        Ok(0)
    }
}

/// A key, borrowed if it has no escapes.
#[derive(Deserialize)]
struct KeyText<'a>(#[serde(borrow)] std::borrow::Cow<'a, str>);

fn refused(expected: &'static str, path: &serde_path_to_error::Path, message: &str) -> ServerError {
    let (misfit, path) = (Misfit::of(message), path.to_string());
    match misfit.path(if path == "." { "" } else { &path }) {
        Some(field) => ServerError::InvalidValue { field, problem: misfit.problem },
        None => ServerError::WrongBody { expected, problem: format!("it {}", misfit.problem) },
    }
}

/// The error for invalid JSON, with a hint at the correct syntax if possible.
fn malformed(error: &serde_json::Error, text: &str) -> ServerError {
    if text.trim_ascii().is_empty() {
        return ServerError::MalformedJson { problem: "it is empty".to_owned() };
    }
    let whole = error.to_string();
    let message = whole.rsplit_once(" at line ").map_or(whole.as_str(), |(message, _)| message);
    let line = text.split('\n').nth(error.line().saturating_sub(1)).unwrap_or_default();
    // Data after the single value of a body is not a further line.
    let hint = json_hint(message, line, error.column()).filter(|_| message != "trailing characters");
    let hint = hint.map_or_else(String::new, |hint| format!("; {hint}"));
    ServerError::MalformedJson { problem: syntax_problem(&whole) + &hint }
}

/// The first integer of a JSON text that does not fit in 64 bits, with its path.
fn wide_integer(json: &str) -> Option<(String, &str)> {
    // The current key of each open object; `None` for arrays.
    let (mut keys, mut at): (Vec<Option<String>>, usize) = (Vec::new(), 0);
    while let Some(byte) = json.as_bytes().get(at) {
        let rest = &json[at..];
        at += match byte {
            b'"' => {
                let length = string_length(rest);
                if rest[length..].trim_start().starts_with(':')
                    && let Some(key) = keys.last_mut()
                {
                    *key = serde_json::from_str(&rest[..length]).ok();
                }
                length
            }
            b'-' | b'0'..=b'9' => {
                let is_part = |c: char| c.is_ascii_digit() || "+-.eE".contains(c);
                let number = &rest[..rest.find(|c| !is_part(c)).unwrap_or(rest.len())];
                let is_integer = !number.contains(['.', 'e', 'E']);
                if is_integer && number.parse::<i64>().is_err() && number.parse::<u64>().is_err() {
                    return Some((keys.into_iter().flatten().collect::<Vec<_>>().join("."), number));
                }
                number.len()
            }
            b'{' | b'[' => {
                keys.push(None);
                1
            }
            b'}' | b']' => {
                keys.pop();
                1
            }
            _ => 1,
        };
    }
    None
}

/// The length in bytes of the string at the start of a text, including quotes.
fn string_length(text: &str) -> usize {
    let mut is_escaped = false;
    let end = text.bytes().skip(1).position(|byte| {
        let is_end = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        is_end
    });
    end.map_or(text.len(), |end| end + 2)
}

/// serde_json skips the values of unknown keys without checking that they are UTF-8.
fn utf8(body: &[u8]) -> Result<&str, ServerError> {
    std::str::from_utf8(body).map_err(|error| {
        let before = &body[..error.valid_up_to()];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
        ServerError::MalformedJson { problem: format!("a byte that is not UTF-8 at line {line} column {column}") }
    })
}

/// The message without line and column, because the path identifies the value.
fn without_position(error: &serde_json::Error) -> String {
    let (message, position) = (error.to_string(), format!(" at line {} column {}", error.line(), error.column()));
    message.strip_suffix(&position).map_or_else(|| message.clone(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::thread::{self, ThreadId};

    use lorank_core::with_causes;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        name: String,
        #[serde(default)]
        sizes: Vec<usize>,
    }

    fn sample(body: &[u8]) -> Result<Sample, String> {
        read("a sample", body).map_err(|error| with_causes(&error))
    }

    #[test]
    fn a_body_is_read_from_its_bytes() {
        let expected = Sample { name: "é".to_owned(), sizes: vec![1, 2] };
        assert_eq!(sample(" {\"name\": \"\\u00e9\", \"sizes\": [1, 2]}\n".as_bytes()), Ok(expected));
    }

    #[test]
    fn errors_name_a_position_or_a_path() {
        for (body, expected) in [
            (&b""[..], "the body is not valid JSON: it is empty"),
            (b" \n", "the body is not valid JSON: it is empty"),
            (
                b"{\"name\":\n 'a'}",
                "the body is not valid JSON: a value is expected at line 2 column 2; use double quotes for strings and keys, not single quotes",
            ),
            (
                b"{\"name\": NaN}",
                "the body is not valid JSON: a value is expected at line 1 column 10; `NaN` is not a JSON number; write `null`, or omit the key",
            ),
            (
                b"{\"name\": \"a\",}",
                "the body is not valid JSON: there is a comma after the last value at line 1 column 14; remove the comma before the closing bracket",
            ),
            (
                b"{\"name\": \"a\"} {\"name\": \"b\"}",
                "the body is not valid JSON: there is more after the end of the value at line 1 column 15",
            ),
            (
                b"{\"name\": \"a\"} x",
                "the body is not valid JSON: there is more after the end of the value at line 1 column 15",
            ),
            (
                b"{\"name\": \"a\", \"sizes\": [\"x\"], \n ]",
                "the body is not valid JSON: a key must be a string in double quotes at line 2 column 2",
            ),
            (
                b"{\"name\": 1} {",
                "the body is not valid JSON: there is more after the end of the value at line 1 column 13",
            ),
            (b"{\"name\":\n \"\xff\"}", "the body is not valid JSON: a byte that is not UTF-8 at line 2 column 3"),
            (b"{\"name\": 1}", "`name` must be a string, not `1`"),
            (b"{\"name\": \"a\", \"sizes\": [1, -2]}", "`sizes[1]` must be a whole number of at least 0, not `-2`"),
            (b"{\"nam\": \"a\"}", "`nam` is unknown; did you mean `name`?"),
            (b"{\"other\": \"a\"}", "`other` is unknown; the keys are `name`, `sizes`"),
            (b"{}", "`name` is missing"),
            (b"7", "the body is not a sample: it must be an object, not `7`"),
            (b"{\"name\": \"a\", \"name\": \"b\"}", "`name` is given twice"),
        ] {
            assert_eq!(sample(body).unwrap_err(), expected, "{}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn a_list_is_no_object() {
        let read = |body: &[u8]| read_object::<Sample>("a sample", body).map_err(|error| with_causes(&error));
        for (body, found) in
            [(&b" [\"a\", [1]]"[..], "an array"), (b"\"a\"", "a string"), (b"null", "`null`"), (b"7", "a number")]
        {
            let expected = format!("the body is not a sample: it must be an object, not {found}");
            assert_eq!(read(body), Err(expected));
        }
        assert!(read(b"[1").unwrap_err().starts_with("the body is not valid JSON"));
        assert_eq!(read(b"\n{\"name\": \"a\"}").unwrap().name, "a");
    }

    #[test]
    fn integers_beyond_64_bits_are_found_with_their_path() {
        for (json, expected) in [
            (r#"{"filters": {"n": 99999999999999999999}}"#, Some("filters.n 99999999999999999999")),
            (
                r#"{"a": "\"", "filters": {"n.m": {"gte": [1, -9223372036854775809]}}}"#,
                Some("filters.n.m.gte -9223372036854775809"),
            ),
            (r#"{"a": {"b": 1}, "c": 18446744073709551616}"#, Some("c 18446744073709551616")),
            (r#"{"\u00e9": [{"x": 1}, 100000000000000000000]}"#, Some("é 100000000000000000000")),
            (r#"{"n": 18446744073709551615, "m": -9223372036854775808, "k": -0}"#, None),
            (r#"{"n": 1e300, "m": 99999999999999999999.0, "q": "99999999999999999999"}"#, None),
        ] {
            let found = wide_integer(json).map(|(path, digits)| format!("{path} {digits}"));
            assert_eq!(found.as_deref(), expected, "{json}");
        }
    }

    /// Bodies and query strings are refused in the same words.
    #[test]
    fn bytes_and_values_are_refused_in_the_same_words() {
        for body in [
            r#"{"name": null}"#,
            r#"{"name": ["a"]}"#,
            r#"{"name": {"a": 1}}"#,
            r#"{"name": 1.5}"#,
            r#"{"name": true, "sizes": 3}"#,
            r#"{"name": "a", "sizes": [1, {"b": 2}]}"#,
            r#"{"name": "a", "sizes": [1e3]}"#,
            r#"{"other": "a"}"#,
            r#"{"sizes": []}"#,
            r#""a""#,
            r#"[]"#,
            r#"[1]"#,
            "null",
        ] {
            let value: Json = serde_json::from_str(body).unwrap();
            let from_value = read_value::<Sample>("a sample", value).map_err(|error| with_causes(&error));
            let refusal = from_value.expect_err(body);
            assert_eq!(sample(body.as_bytes()), Err(refusal), "{body}");
        }
    }

    #[test]
    fn lists_are_counted_at_the_top_alone() {
        for (body, length) in [
            (r#"{"a": 1, "documents": []}"#, Some(0)),
            (r#"{"documents": ["x", 1, [2, 3], {"a": [4]}, null, "}"], "a": "}"}"#, Some(6)),
            (r#"{"docu\u006dents": [1]}"#, Some(1)),
            (r#"{"a": {"documents": [1]}, "b": ["documents"], "c": "documents"}"#, None),
            (r#"["documents"]"#, None),
            (r#"{"documents": ["#, None),
            ("", None),
        ] {
            assert_eq!(list_lengths(body.as_bytes(), ["documents"]), [length], "{body}");
        }
        for no_list in ["null", "true", "-1", "1", "1.5", "\"x\"", "\"\\n\"", "{\"a\": [1]}"] {
            let body = format!("{{\"documents\": {no_list}, \"texts\": [1, 2]}}");
            assert_eq!(list_lengths(body.as_bytes(), ["texts", "documents", "c"]), [Some(2), Some(0), None], "{body}");
        }
    }

    #[test]
    fn values_are_counted_outside_of_texts() {
        for (body, n) in [
            ("1", 1),
            ("\"a,b:[{\"", 1),
            (r#""a\",[\\""#, 1),
            (r#"{"a": 1, "b": [2, 3]}"#, 7),
            ("[]", 2),
            ("[[],[],[]]", 7),
            ("", 1),
        ] {
            assert_eq!(n_values(body.as_bytes()), n, "{body}");
        }
    }

    #[tokio::test]
    async fn bodies_of_too_many_values_are_refused() {
        let body = |n: usize| Bytes::from(format!("[{}0]", "0,".repeat(n - 2)));
        for (n, is_parsed) in [(VALUES_MAX, true), (VALUES_MAX + 1, false)] {
            let parsed = parse(&Lanes::default(), body(n), |_| Ok(())).await;
            assert_eq!(parsed.is_ok(), is_parsed, "{n} values: {parsed:?}");
        }
    }

    #[tokio::test]
    async fn long_bodies_are_parsed_away_from_the_threads_of_the_runtime() {
        let here = thread::current().id();
        let thread_of = async |n_bytes: usize| -> ThreadId {
            let body = Bytes::from(vec![b' '; n_bytes]);
            parse(&Lanes::default(), body, |_| Ok(thread::current().id())).await.unwrap()
        };
        assert_eq!(thread_of(INLINE_BYTES_MAX).await, here);
        assert_ne!(thread_of(INLINE_BYTES_MAX + 1).await, here);
    }
}
