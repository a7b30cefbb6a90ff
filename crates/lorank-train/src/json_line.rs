//! One line of JSON, whose problems are described in JSON's terms.

use lorank_core::{Misfit, json_hint, syntax_problem};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::error::Category;

/// Parses the object of a line.
///
/// # Errors
/// The problem, without the line's place.
pub(crate) fn parse<T: DeserializeOwned>(line: &str) -> Result<T, String> {
    // serde would take an array for the values of the keys in the order of their declaration.
    if line.trim_start().starts_with('[') && serde_json::from_str::<IgnoredAny>(line).is_ok() {
        return Err("it must be an object, not an array".to_owned());
    }
    let mut deserializer = serde_json::Deserializer::from_str(line);
    let value = serde_path_to_error::deserialize(&mut deserializer)
        .map_err(|error| problem(error.inner(), &error.path().to_string(), line))?;
    deserializer.end().map_err(|error| problem(&error, ".", line))?;
    Ok(value)
}

/// The parser's line number is left out, because it is always 1.
fn problem(error: &serde_json::Error, path: &str, line: &str) -> String {
    let text = error.to_string();
    let (message, column) = text.rsplit_once(" at line 1 column ").map_or((&*text, None), |(m, c)| (m, Some(c)));
    if error.classify() == Category::Data {
        let misfit = Misfit::of(message);
        let name = misfit.path(if path == "." { "" } else { path });
        return name.map_or_else(|| format!("it {}", misfit.problem), |name| format!("`{name}` {}", misfit.problem));
    }
    let at = column.map_or(String::new(), |column| format!(", at column {column}"));
    let hint = if error.is_eof() {
        Some("write each object on one line".to_owned())
    } else {
        json_hint(message, line, error.column())
    };
    let hint = hint.map_or(String::new(), |hint| format!("; {hint}"));
    format!("{}{at}{hint}", syntax_problem(message))
}
