//! Describes invalid JSON and TOML values in the terms of these formats.
//!
//! serde's messages contain Rust's types: `invalid type: floating point 1.0, expected usize`. This module translates
//! them for readers who know JSON or TOML.

use std::fmt;

use crate::nearest_name;

/// The expected form of a listen address.
const SOCKET_ADDRESS: &str = "an IP address with a port, as in `\"127.0.0.1:7788\"` (`localhost` is `127.0.0.1`)";

/// The maximum length of a value that is repeated in a message, in characters.
const SHOWN_CHARS_MAX: usize = 60;

/// Describes an invalid value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// The key that is missing, unknown or duplicate; `None` if the value itself is invalid.
    pub key: Option<String>,
    /// The problem, phrased to follow the name of the key or value: `is missing`, `must be a string, not 7`.
    pub problem: String,
}

impl Misfit {
    /// Parses the message of a deserialization error (without its position).
    pub fn of(message: &str) -> Self {
        keyed(message).unwrap_or_else(|| Self { key: None, problem: problem(message) })
    }

    /// The full path of the key or value, if it has a name: the key below `path`, the path of the value that contains
    /// it. An empty path is the whole text.
    pub fn path(&self, path: &str) -> Option<String> {
        let is_named = |key: &String| path == key || path.ends_with(&format!(".{key}"));
        match &self.key {
            Some(key) if path.is_empty() => Some(key.clone()),
            // The path of an unknown key already ends with it.
            Some(key) if !is_named(key) => Some(format!("{path}.{key}")),
            _ => Some(path.to_owned()).filter(|path| !path.is_empty()),
        }
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            Some(key) => write!(f, "`{key}` {}", self.problem),
            None => f.write_str(&self.problem),
        }
    }
}

/// Problems that concern a key.
fn keyed(message: &str) -> Option<Misfit> {
    let misfit = |key: &str, problem: String| Some(Misfit { key: Some(key.to_owned()), problem });
    if let Some(key) = message.strip_prefix("missing field `") {
        return misfit(key.strip_suffix('`')?, "is missing".to_owned());
    }
    if let Some(key) = message.strip_prefix("duplicate field `") {
        return misfit(key.strip_suffix('`')?, "is given twice".to_owned());
    }
    let (key, known) = unknown(message.strip_prefix("unknown field `")?)?;
    let shown = cut(key);
    let problem = match nearest_name(key, known.iter().copied()) {
        Some(nearest) => format!("is unknown; did you mean `{nearest}`?"),
        None if known.is_empty() => "is unknown; no keys are allowed here".to_owned(),
        None => format!("is unknown; the keys are {}", listed(&known)),
    };
    misfit(&shown, problem)
}

fn problem(message: &str) -> String {
    if let Some((found, known)) = message.strip_prefix("unknown variant `").and_then(unknown) {
        let meant = nearest_name(found, known.iter().copied()).map(|name| format!("; did you mean `{name}`?"));
        return format!("must be {}, not `{}`{}", alternatives(&known), cut(found), meant.unwrap_or_default());
    }
    for prefix in ["invalid type: ", "invalid value: ", "invalid length "] {
        let split = message.strip_prefix(prefix).and_then(|rest| rest.rsplit_once(", expected "));
        if let Some((found, expected)) = split {
            let expected = expected_words(expected);
            return match prefix {
                // An array in place of an object: its values would be assigned by position.
                "invalid length " if expected == "an object" => "must be an object, not an array".to_owned(),
                "invalid length " => format!("must be {expected}, but has length {found}"),
                _ => format!("must be {expected}, not {}", found_words(found)),
            };
        }
    }
    if message == "invalid socket address syntax" {
        return format!("must be {SOCKET_ADDRESS}");
    }
    if message.starts_with("data did not match any variant of untagged enum") {
        return "matches none of the accepted forms".to_owned();
    }
    match message.strip_prefix("expected ") {
        Some(expected) => format!("must be {expected}"),
        None => format!("is refused: {message}"),
    }
}

/// An unknown name and the known names, from the text after the first backtick.
fn unknown(rest: &str) -> Option<(&str, Vec<&str>)> {
    let without_known = |end| Some((rest.strip_suffix(end)?, Vec::new()));
    let with_known = rest.rsplit_once("`, expected ").map(|(name, known)| (name, names(known)));
    with_known.or_else(|| without_known("`, there are no fields")).or_else(|| without_known("`, there are no variants"))
}

/// The names in backticks at the end of a message, as in `` expected one of `a`, `b` ``.
fn names(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

fn listed(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn alternatives(names: &[&str]) -> String {
    match names {
        [] => "another value".to_owned(),
        [one] => format!("`{one}`"),
        [others @ .., last] => format!("{} or `{last}`", listed(others)),
    }
}

/// The expected value, without Rust's types.
fn expected_words(expected: &str) -> String {
    let is_like = |prefixes: &[&str]| prefixes.iter().any(|prefix| expected.starts_with(prefix));
    let words = match expected {
        "usize" | "u64" | "u128" => "a whole number of at least 0",
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "i8" | "i16" | "i32" | "i64" | "i128" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a boolean" => "`true` or `false`",
        "str" | "string" | "a borrowed string" | "path string" | "a character" => "a string",
        "a sequence" => "an array",
        "a map" => "an object",
        "unit" => "`null`",
        "socket address" => SOCKET_ADDRESS,
        "option" | "any valid JSON value" | "any value" => "a value",
        "string or map" | "variant identifier" | "field identifier" => "a string",
        _ if is_like(&["a nonzero u"]) => "a whole number of at least 1",
        _ if is_like(&["a nonzero i"]) => "a whole number other than 0",
        _ if is_like(&["struct ", "struct variant ", "internally tagged enum ", "adjacently tagged enum "]) => {
            "an object"
        }
        _ if is_like(&["enum ", "unit variant ", "variant index "]) => "a string",
        _ if is_like(&["unit struct "]) => "`null`",
        _ if is_like(&["newtype struct "]) => "a value",
        _ => {
            let n = expected.rsplit_once(" with ").and_then(|(_, n)| n.strip_suffix(" elements"));
            let n = n.or_else(|| expected.strip_prefix("an array of length "));
            let n = n.or_else(|| expected.strip_prefix("a tuple of size "));
            return n.map_or_else(|| expected.to_owned(), |n| format!("an array of {n} values"));
        }
    };
    words.to_owned()
}

/// The value found, as in the text.
fn found_words(found: &str) -> String {
    if let Some(text) = found.strip_prefix("string ") {
        return cut(text);
    }
    match found {
        "null" | "unit value" | "Option value" => return "`null`".to_owned(),
        "map" | "struct variant" | "newtype variant" | "tuple variant" | "enum" => return "an object".to_owned(),
        "sequence" => return "an array".to_owned(),
        "byte array" => return "bytes".to_owned(),
        "unit variant" => return "a string".to_owned(),
        "number" => return "a number".to_owned(),
        _ => {}
    }
    // `integer`, `floating point`, `boolean` and `character` are followed by the value in backticks.
    match found.find('`') {
        Some(at) => cut(found[at..].split_inclusive('`').take(2).collect::<String>().as_str()),
        None => found.to_owned(),
    }
}

/// Describes text that is not valid JSON.
fn syntax_words(message: &str) -> Option<&'static str> {
    Some(match message {
        "EOF while parsing a list" => "the text ends within an array",
        "EOF while parsing an object" => "the text ends within an object",
        "EOF while parsing a string" => "the text ends within a string",
        "EOF while parsing a value" => "the text ends where a value is expected",
        "expected value" => "a value is expected",
        "expected ident" => "`true`, `false` or `null` is expected",
        "key must be a string" => "a key must be a string in double quotes",
        "trailing characters" => "there is more after the end of the value",
        "trailing comma" => "there is a comma after the last value",
        "recursion limit exceeded" => "values are nested too deeply",
        "lone leading surrogate in hex escape" | "unexpected end of hex escape" => {
            "a lone surrogate: an escape such as `\\ud83d` needs the second half of its pair"
        }
        _ => return None,
    })
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// A syntax error with its position: `a value is expected at line 2 column 2`.
pub fn syntax_problem(message: &str) -> String {
    match message.rsplit_once(" at line ") {
        Some((problem, position)) => format!("{} at line {position}", syntax_words(problem).unwrap_or(problem)),
        None => syntax_words(message).unwrap_or(message).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_messages_become_words_of_the_format() {
        for (message, words) in [
            ("invalid type: floating point `1.0`, expected usize", "must be a whole number of at least 0, not `1.0`"),
            ("invalid value: integer `-2`, expected usize", "must be a whole number of at least 0, not `-2`"),
            ("invalid value: integer `0`, expected a nonzero usize", "must be a whole number of at least 1, not `0`"),
            ("invalid type: string \"5\", expected a nonzero usize", "must be a whole number of at least 1, not \"5\""),
            ("invalid value: integer `300`, expected u8", "must be a whole number from 0 to 255, not `300`"),
            ("invalid value: integer `9` as u128, expected i64", "must be a whole number, not `9`"),
            ("invalid type: null, expected a string", "must be a string, not `null`"),
            ("invalid type: map, expected a sequence", "must be an array, not an object"),
            ("invalid type: sequence, expected a map", "must be an object, not an array"),
            ("invalid type: string \"yes\", expected a boolean", "must be `true` or `false`, not \"yes\""),
            ("invalid type: boolean `true`, expected f32", "must be a number, not `true`"),
            ("invalid type: integer `7`, expected struct Sample", "must be an object, not `7`"),
            ("invalid type: unit value, expected a map", "must be an object, not `null`"),
            ("invalid length 2, expected struct DocumentLine with 3 elements", "must be an object, not an array"),
            ("invalid length 1, expected a tuple of size 2", "must be an array of 2 values, but has length 1"),
            ("invalid length 3, expected an array of length 2", "must be an array of 2 values, but has length 3"),
            ("invalid type: integer `1`, expected enum Syntax", "must be a string, not `1`"),
            ("unknown variant `fancy`, expected `plain` or `advanced`", "must be `plain` or `advanced`, not `fancy`"),
            (
                "unknown variant `advanecd`, expected `plain` or `advanced`",
                "must be `plain` or `advanced`, not `advanecd`; did you mean `advanced`?",
            ),
            ("unknown variant `c`, expected one of `a`, `b`, `d`", "must be `a`, `b` or `d`, not `c`"),
            ("missing field `query`", "`query` is missing"),
            ("duplicate field `query`", "`query` is given twice"),
            ("unknown field `topn`, expected `query` or `top_n`", "`topn` is unknown; did you mean `top_n`?"),
            ("unknown field `x`, expected one of `query`, `top_n`", "`x` is unknown; the keys are `query`, `top_n`"),
            (
                "unknown field `a`, expected `b`, expected `query` or `top_n`",
                "`a`, expected `b` is unknown; the keys are `query`, `top_n`",
            ),
            ("unknown field `x`, there are no fields", "`x` is unknown; no keys are allowed here"),
            ("data did not match any variant of untagged enum Id", "matches none of the accepted forms"),
            ("expected a text or an object with fields", "must be a text or an object with fields"),
            (
                "invalid socket address syntax",
                "must be an IP address with a port, as in `\"127.0.0.1:7788\"` (`localhost` is `127.0.0.1`)",
            ),
            (
                "invalid type: integer `7788`, expected socket address",
                "must be an IP address with a port, as in `\"127.0.0.1:7788\"` (`localhost` is `127.0.0.1`), not `7788`",
            ),
            ("the key `x` has no role", "is refused: the key `x` has no role"),
        ] {
            assert_eq!(Misfit::of(message).to_string(), words, "{message}");
        }
        let long = format!("invalid type: string \"{}\", expected a map", "x".repeat(1_000));
        assert!(Misfit::of(&long).problem.chars().count() < 100);
    }

    #[test]
    fn a_key_stands_below_the_path_of_what_holds_it() {
        let path = |message: &str, path: &str| Misfit::of(message).path(path);
        for (message, parent, expected) in [
            ("missing field `a`", "", Some("a")),
            ("missing field `a`", "filters.year", Some("filters.year.a")),
            ("unknown field `a`, expected `b`", "a", Some("a")),
            ("unknown field `a`, expected `b`", "filters.a", Some("filters.a")),
            ("duplicate field `a`", "", Some("a")),
            ("invalid type: null, expected a string", "texts[1]", Some("texts[1]")),
            ("invalid type: null, expected a string", "", None),
        ] {
            assert_eq!(path(message, parent).as_deref(), expected, "{message} in {parent}");
        }
    }

    #[test]
    fn what_is_no_json_is_said_with_its_position() {
        for (message, words) in [
            (
                "EOF while parsing a value at line 1 column 0",
                "the text ends where a value is expected at line 1 column 0",
            ),
            ("expected value at line 2 column 2", "a value is expected at line 2 column 2"),
            ("key must be a string at line 2 column 2", "a key must be a string in double quotes at line 2 column 2"),
            ("invalid unicode code point at line 2 column 3", "invalid unicode code point at line 2 column 3"),
            ("recursion limit exceeded at line 1 column 9", "values are nested too deeply at line 1 column 9"),
        ] {
            assert_eq!(syntax_problem(message), words);
        }
    }
}
