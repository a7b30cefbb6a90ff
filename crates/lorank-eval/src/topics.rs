//! Queries with their ids.

use std::collections::HashSet;
use std::path::Path;

use serde_json::{Map, Value};

use crate::EvalError;
use crate::lines::TextFile;

/// A query of a test collection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// The id by which judgments and runs name it.
    pub id: String,
    /// What is searched for.
    pub text: String,
}

/// Reads queries: JSON lines with `_id` (or `id`) and `text` (or `query`), as BEIR has them; lines with an id, a tab and a text;
/// or TREC topics (`<top>` with `<num>` and `<title>`; the title is the query).
///
/// # Errors
/// If the file cannot be read, has no queries, has a line of another form, or has an id twice.
pub fn read_topics(path: impl AsRef<Path>) -> Result<Vec<Topic>, EvalError> {
    let file = TextFile::read(path.as_ref())?;
    let numbered = match file.text().trim_start() {
        text if text.starts_with('<') => trec(&file)?,
        _ => file.lines().map(|(number, line)| Ok((number, parse(&file, number, line)?))).collect::<Result<_, _>>()?,
    };
    let mut seen = HashSet::new();
    for (number, topic) in &numbered {
        if !seen.insert(topic.id.as_str()) {
            return Err(file.error(*number, format!("the query `{}` is given twice", topic.id)));
        }
        if topic.id.is_empty() || topic.text.trim().is_empty() {
            return Err(file.error(*number, "the id or the text of the query is empty"));
        }
    }
    if numbered.is_empty() {
        return Err(EvalError::unusable(file.path(), "has no queries"));
    }
    Ok(numbered.into_iter().map(|(_, topic)| topic).collect())
}

fn parse(file: &TextFile, number: usize, line: &str) -> Result<Topic, EvalError> {
    if line.trim_start().starts_with('{') {
        return json(line).map_err(|problem| file.error(number, problem));
    }
    let (id, text) = line.split_once('\t').ok_or_else(|| {
        file.error(number, "it is neither a JSON object nor an id and a text with a tab between them")
    })?;
    Ok(Topic { id: id.trim().to_owned(), text: text.trim().to_owned() })
}

fn json(line: &str) -> Result<Topic, String> {
    let object: Map<String, Value> =
        serde_json::from_str(line).map_err(|error| format!("it is not a JSON object: {error}"))?;
    let value = |names: [&str; 2]| {
        let found = names.iter().find_map(|name| object.get(*name));
        found.ok_or_else(|| format!("`{}` is missing", names[0]))
    };
    let id = match value(["_id", "id"])? {
        Value::String(id) => id.clone(),
        Value::Number(id) => id.to_string(),
        other => return Err(format!("the id is {other}; a string or a number is expected")),
    };
    let text = value(["text", "query"])?;
    let text = text.as_str().ok_or_else(|| format!("the text is {text}; a string is expected"))?;
    Ok(Topic { id, text: text.to_owned() })
}

/// Reads TREC topics: a tag, then its text up to the next tag.
fn trec(file: &TextFile) -> Result<Vec<(usize, Topic)>, EvalError> {
    let mut topics = Vec::new();
    let mut number = 1;
    for (n, part) in file.text().split("<top>").enumerate() {
        let line = number;
        number += part.matches('\n').count();
        if n == 0 {
            continue;
        }
        let field = |tag: &str| {
            let text = part.split_once(tag)?.1;
            Some(text.split('<').next().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" "))
        };
        let (Some(id), Some(text)) = (field("<num>"), field("<title>")) else {
            return Err(file.error(line, "the topic has no `<num>` or no `<title>`"));
        };
        let label = |text: &str, label: &str| text.strip_prefix(label).unwrap_or(text).trim().to_owned();
        topics.push((line, Topic { id: label(&id, "Number:"), text: label(&text, "Topic:") }));
    }
    Ok(topics)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::file;

    #[test]
    fn three_forms_are_read() {
        let trec = "<top>\n<num> Number: 1\n<title> boil an\negg\n\n<desc> Description:\nx\n</top>\n\n<top>\n<num> Number: 2 </num>\n<title> Topic: hens </title></top>\n";
        for text in [
            "{\"_id\": \"1\", \"text\": \"boil an egg\"}\n\n{\"id\": 2, \"query\": \"hens\", \"metadata\": {}}\n",
            "1\tboil an egg\r\n2\thens\r\n",
            trec,
        ] {
            let topics = read_topics(file(text).path()).unwrap();
            let found: Vec<(&str, &str)> =
                topics.iter().map(|topic| (topic.id.as_str(), topic.text.as_str())).collect();
            assert_eq!(found, [("1", "boil an egg"), ("2", "hens")], "{text}");
        }
    }

    #[test]
    fn what_is_not_a_query_is_named() {
        for (text, expected) in [
            ("1\tegg\nhens\n", "line 2 of `FILE`: it is neither a JSON object nor an id and a text"),
            ("1\tegg\n1\thens\n", "line 2 of `FILE`: the query `1` is given twice"),
            ("1\t \n", "line 1 of `FILE`: the id or the text of the query is empty"),
            ("{\"_id\": 1}\n", "line 1 of `FILE`: `text` is missing"),
            ("{\"_id\": [], \"text\": \"egg\"}\n", "line 1 of `FILE`: the id is []; a string or a number"),
            ("{\"_id\": 1, \"text\": 7}\n", "line 1 of `FILE`: the text is 7; a string"),
            ("{\"_id\": 1\n", "line 1 of `FILE`: it is not a JSON object"),
            (
                "<top>\n<num> 1\n<title> egg\n</top>\n<top>\n<num> 2\n</top>\n",
                "line 5 of `FILE`: the topic has no `<num>` or no `<title>`",
            ),
            ("\n", "`FILE` has no queries"),
        ] {
            let file = file(text);
            let error =
                read_topics(file.path()).unwrap_err().to_string().replace(file.path().to_str().unwrap(), "FILE");
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
