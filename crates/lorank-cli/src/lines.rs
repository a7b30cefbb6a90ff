//! JSON Lines from a file or from standard input.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use anyhow::{Context, anyhow, bail};
use lorank_core::{Misfit, json_hint, syntax_problem, unreadable_as_text};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::error::Category;

/// The maximum length of a line in bytes. A longer line means another kind of file, or an attack.
const LINE_BYTES_MAX: u64 = 64 << 20;

/// The non-blank lines of an input, parsed as JSON. Errors name the input and the line.
pub(crate) struct JsonLines {
    name: String,
    input: Box<dyn BufRead>,
    n_lines: u64,
    is_ended: bool,
}

impl JsonLines {
    /// Opens a file, or standard input for `-`.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        if path == Path::new("-") {
            return Ok(Self::new("standard input", Box::new(BufReader::new(io::stdin()))));
        }
        let name = path.display().to_string();
        let file = File::open(path).with_context(|| format!("could not open `{name}`"))?;
        Ok(Self::new(&name, Box::new(BufReader::with_capacity(1 << 16, file))))
    }

    fn new(name: &str, input: Box<dyn BufRead>) -> Self {
        Self { name: name.to_owned(), input, n_lines: 0, is_ended: false }
    }

    /// Reads the next non-blank line, with its number; `None` at the end, and after an error.
    pub(crate) fn next<T: DeserializeOwned>(&mut self) -> Option<anyhow::Result<(u64, T)>> {
        if self.is_ended {
            return None;
        }
        let next = self.read().transpose().map(|line| self.parse(&line?));
        self.is_ended = !matches!(next, Some(Ok(_)));
        next
    }

    fn read(&mut self) -> anyhow::Result<Option<Vec<u8>>> {
        loop {
            let mut line = Vec::new();
            let read = self.input.by_ref().take(LINE_BYTES_MAX + 1).read_until(b'\n', &mut line);
            let n_bytes = read.with_context(|| format!("could not read {} after line {}", self.name, self.n_lines))?;
            if n_bytes == 0 {
                return Ok(None);
            }
            self.n_lines += 1;
            if n_bytes as u64 > LINE_BYTES_MAX {
                bail!("{} is longer than {LINE_BYTES_MAX} bytes", self.place());
            }
            if self.n_lines == 1
                && let Some(problem) = unreadable_as_text(&line)
            {
                bail!("cannot read {}: {problem}", self.name);
            }
            // Some editors add a byte order mark at the start of a file.
            let line = if self.n_lines == 1 { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line) } else { &line };
            if !line.trim_ascii().is_empty() {
                return Ok(Some(line.to_vec()));
            }
        }
    }

    fn parse<T: DeserializeOwned>(&self, line: &[u8]) -> anyhow::Result<(u64, T)> {
        let line = line.trim_ascii();
        let bad = |problem: String| anyhow!(problem).context(format!("{} is invalid", self.place()));
        // serde would accept an array as the values of the keys in declaration order.
        if line.first() == Some(&b'[') && serde_json::from_slice::<IgnoredAny>(line).is_ok() {
            return Err(bad("it must be an object, not an array".to_owned()));
        }
        let mut deserializer = serde_json::Deserializer::from_slice(line);
        let value = serde_path_to_error::deserialize(&mut deserializer)
            .map_err(|error| bad(problem(error.inner(), &error.path().to_string(), line)))?;
        deserializer.end().map_err(|error| bad(problem(&error, ".", line)))?;
        Ok((self.n_lines, value))
    }

    fn place(&self) -> String {
        format!("line {} of {}", self.n_lines, self.name)
    }
}

/// The problem of a line, or of the value at a path. Without the parser's line number, which is always 1.
fn problem(error: &serde_json::Error, path: &str, line: &[u8]) -> String {
    let text = error.to_string();
    let (message, column) = text.rsplit_once(" at line 1 column ").map_or((text.as_str(), None), |(m, c)| (m, Some(c)));
    if error.classify() == Category::Data {
        let misfit = Misfit::of(message);
        let name = misfit.path(if path == "." { "" } else { path });
        return name.map_or_else(|| format!("it {}", misfit.problem), |name| format!("`{name}` {}", misfit.problem));
    }
    let hint = if error.is_eof() {
        Some("write each object on one line".to_owned())
    } else {
        json_hint(message, &String::from_utf8_lossy(line), error.column()).or_else(|| other_format_hint(line))
    };
    let problem = syntax_problem(message);
    let problem = column.map_or(problem.clone(), |column| format!("{problem}, at column {column}"));
    hint.map_or(problem.clone(), |hint| format!("{problem}; {hint}"))
}

/// A hint for a line that does not begin as JSON does.
fn other_format_hint(line: &[u8]) -> Option<String> {
    if line.first().is_none_or(|byte| b"{[\"-".contains(byte) || byte.is_ascii_digit()) {
        return None;
    }
    let looks_like = if line.contains(&b'\t') {
        ", not tab-separated values"
    } else if line.contains(&b',') {
        ", not CSV"
    } else {
        ""
    };
    Some(format!("write one JSON object per line{looks_like}"))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Line {
        n: u32,
    }

    fn read(text: &'static str) -> (Vec<(u64, u32)>, Option<String>) {
        let mut lines = JsonLines::new("pairs.jsonl", Box::new(text.as_bytes()));
        let mut good = Vec::new();
        loop {
            match lines.next::<Line>() {
                None => return (good, None),
                Some(Ok((number, line))) => good.push((number, line.n)),
                Some(Err(error)) => {
                    assert!(lines.next::<Line>().is_none(), "nothing follows an error");
                    return (good, Some(format!("{error:#}")));
                }
            }
        }
    }

    #[test]
    fn blank_lines_are_passed_over_and_counted() {
        assert_eq!(read("\u{feff}{\"n\": 1}\r\n\n  \n{\"n\": 2}"), (vec![(1, 1), (4, 2)], None));
        assert_eq!(read(""), (vec![], None));
    }

    #[test]
    fn a_bad_line_is_named() {
        for (line, problem) in [
            ("{\"n\": 2", "the text ends within an object, at column 7; write each object on one line"),
            ("{", "the text ends within an object, at column 1; write each object on one line"),
            (
                "{'n': 2}",
                "a key must be a string in double quotes, at column 2; use double quotes for strings and keys, not single quotes",
            ),
            ("{\"n\": 2} x", "there is more after the end of the value, at column 10"),
            ("n,text", "`true`, `false` or `null` is expected, at column 2; write one JSON object per line, not CSV"),
            ("id,text", "a value is expected, at column 1; write one JSON object per line, not CSV"),
            ("id\ttext", "a value is expected, at column 1; write one JSON object per line, not tab-separated values"),
            ("some words", "a value is expected, at column 1; write one JSON object per line"),
            ("{\"n\": 2.5}", "`n` must be a whole number from 0 to 4294967295, not `2.5`"),
            ("{\"n\": \"2\"}", "`n` must be a whole number from 0 to 4294967295, not \"2\""),
            ("{\"m\": 2}", "`n` is missing"),
            ("{\"n\": 1, \"n\": 2}", "`n` is given twice"),
            ("[2]", "it must be an object, not an array"),
            ("[\"a\", \"b\"]", "it must be an object, not an array"),
            ("7", "it must be an object, not `7`"),
            ("\"a\"", "it must be an object, not \"a\""),
            ("null", "it must be an object, not `null`"),
        ] {
            let text: &'static str = Box::leak(format!("{{\"n\": 1}}\n{line}\n{{\"n\": 3}}\n").into_boxed_str());
            let (good, error) = read(text);
            assert_eq!(good, [(1, 1)]);
            let expected = format!("line 2 of pairs.jsonl is invalid: {problem}");
            assert_eq!(error, Some(expected), "{line}");
        }
    }
}
