//! Hints for text that is almost JSON.

/// A hint how to fix the JSON at the position where a parser stopped; `None` if there is nothing to add to the parser's
/// message, `problem`.
///
/// `line` is the line on which the parser stopped, and `column` the 1-based byte in it.
pub fn json_hint(problem: &str, line: &str, column: usize) -> Option<String> {
    let in_string = match problem {
        "control character (\\u0000-\\u001F) found while parsing a string" => {
            Some("write a line break in a string as `\\n`, a tab as `\\t`")
        }
        "invalid escape" => Some("write a backslash in a string as `\\\\`"),
        _ => None,
    };
    if let Some(hint) = in_string {
        return Some(hint.to_owned());
    }
    if problem.starts_with("EOF") || problem.contains("hex escape") || problem.contains("unicode") {
        return None;
    }
    // Parsers stop at the first character of a word, or after a prefix of another valid word.
    let at = column.saturating_sub(1).min(line.len());
    let is_of_a_word = |byte: &&u8| byte.is_ascii_alphanumeric() || **byte == b'.';
    let n_before = line.as_bytes()[..at].iter().rev().take_while(is_of_a_word).count();
    hint_for(problem, line.get(at - n_before..)?)
}

/// The hint for the unexpected word at the start of `rest`.
fn hint_for(problem: &str, rest: &str) -> Option<String> {
    let word: &str = &rest[..rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len())];
    let is = |names: &[&str]| names.iter().any(|name| word.eq_ignore_ascii_case(name));
    if rest.starts_with('\'') {
        return Some("use double quotes for strings and keys, not single quotes".to_owned());
    }
    if rest.starts_with(['\u{201c}', '\u{201d}', '\u{2018}', '\u{2019}']) {
        return Some("use straight double quotes for strings and keys".to_owned());
    }
    if rest.starts_with("//") || rest.starts_with("/*") || rest.starts_with('#') {
        return Some("JSON does not allow comments".to_owned());
    }
    if is(&["nan", "inf", "infinity"]) {
        return Some(format!("`{word}` is not a JSON number; write `null`, or omit the key"));
    }
    if is(&["none", "nil", "undefined", "na"]) {
        return Some(format!("`{word}` is not a JSON value; write `null`, or omit the key"));
    }
    if is(&["true", "false", "null"]) && word.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Some(format!("write `{}` in lower case", word.to_ascii_lowercase()));
    }
    let hint = match problem {
        "trailing comma" => "remove the comma before the closing bracket",
        "key must be a string" if rest.starts_with('}') => "remove the comma before the closing bracket",
        "key must be a string" if !word.is_empty() => "use double quotes for keys",
        "invalid number" | "expected value"
            if rest.starts_with(['+', '.', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']) =>
        {
            "a JSON number starts with a digit or `-`, without leading zeros, and has digits around its decimal point; \
             write other digit strings in double quotes"
        }
        "number out of range" => "the largest number is 1.8e308; write other digit strings in double quotes",
        "trailing characters" if rest.starts_with('{') => "write one document per line",
        _ => return None,
    };
    Some(hint.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_almost_json_says_what_json_has() {
        for (json, expected) in [
            ("{'id': 1}", "use double quotes for strings and keys, not single quotes"),
            ("{\"id\": 'a'}", "use double quotes for strings and keys, not single quotes"),
            ("{\u{201c}id\u{201d}: 1}", "straight double quotes"),
            ("{id: 1}", "use double quotes for keys"),
            ("{\"a\": NaN}", "`NaN` is not a JSON number"),
            ("{\"a\": nan}", "`nan` is not a JSON number"),
            ("[1, Infinity]", "`Infinity` is not a JSON number"),
            ("[-Infinity]", "`Infinity` is not a JSON number"),
            ("[-inf]", "`inf` is not a JSON number"),
            ("{\"a\": None}", "`None` is not a JSON value; write `null`"),
            ("{\"a\": nil}", "`nil` is not a JSON value; write `null`"),
            ("{\"a\": undefined}", "`undefined` is not a JSON value"),
            ("{\"a\": True}", "write `true` in lower case"),
            ("[FALSE]", "write `false` in lower case"),
            ("[NULL]", "write `null` in lower case"),
            ("{\"a\": 1,}", "remove the comma"),
            ("[1,]", "remove the comma"),
            ("{\"a\": 007}", "without leading zeros"),
            ("{\"a\": +1}", "without leading zeros"),
            ("{\"a\": .5}", "without leading zeros"),
            ("{\"a\": 1.}", "digits around its decimal point"),
            ("{\"a\": 1e999}", "1.8e308"),
            ("{\"a\": 1 // x", "does not allow comments"),
            ("{ /* x */ \"a\": 1}", "does not allow comments"),
            ("# x", "does not allow comments"),
            ("{\"a\": \"\\d\"}", "write a backslash"),
            ("{\"a\": 1} {\"a\": 2}", "write one document per line"),
            ("{\"a\": \"NaN\tb\"}", "a tab as"),
        ] {
            let hint = hint_of(json).unwrap_or_default();
            assert!(hint.contains(expected), "{json}: {hint}");
        }
        for json in [
            "garbage",
            "",
            "{\"a\": true x",
            "{\"a\": 1} x",
            "{\"a\": \"NaN",
            "[\"True\\ud83d\"]",
            "[\"é\" 1]",
            "{\"a\" 1}",
        ] {
            assert_eq!(hint_of(json), None, "{json}");
        }
    }

    fn hint_of(json: &str) -> Option<String> {
        let error = serde_json::from_str::<serde_json::Value>(json).unwrap_err();
        let whole = error.to_string();
        let problem = whole.rsplit_once(" at line ").map_or(whole.as_str(), |(problem, _)| problem);
        json_hint(problem, json, error.column())
    }
}
