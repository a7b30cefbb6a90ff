//! JSON lines from a file or from standard input.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use anyhow::{Context, anyhow, bail};
use serde::de::DeserializeOwned;

/// The longest line. A longer one is a file of another kind, or an attack.
const LINE_BYTES_MAX: u64 = 64 << 20;

/// The lines of an input that hold something, each read as JSON. Errors name the input and the line.
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

    /// The next line that is not blank, with its number; `None` at the end, and after an error.
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
            let n_bytes =
                read.with_context(|| format!("could not read on in {} after line {}", self.name, self.n_lines))?;
            if n_bytes == 0 {
                return Ok(None);
            }
            self.n_lines += 1;
            if n_bytes as u64 > LINE_BYTES_MAX {
                bail!("{} is longer than {LINE_BYTES_MAX} bytes", self.place());
            }
            // Some editors begin a file with a byte order mark.
            let line = if self.n_lines == 1 { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line) } else { &line };
            if !line.trim_ascii().is_empty() {
                return Ok(Some(line.to_vec()));
            }
        }
    }

    fn parse<T: DeserializeOwned>(&self, line: &[u8]) -> anyhow::Result<(u64, T)> {
        let parsed: Result<T, serde_json::Error> = serde_json::from_slice(line.trim_ascii_end());
        // The parser counts lines too, and would say `line 1`.
        let bad = |error: serde_json::Error| {
            let text = error.to_string();
            let cause = text
                .rsplit_once(" at line 1 column ")
                .map_or(text.clone(), |(cause, column)| format!("{cause}, at column {column}"));
            anyhow!(cause).context(format!("{} is not what it should be", self.place()))
        };
        parsed.map(|value| (self.n_lines, value)).map_err(bad)
    }

    fn place(&self) -> String {
        format!("line {} of {}", self.n_lines, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &'static str) -> (Vec<(u64, Vec<u32>)>, Option<String>) {
        let mut lines = JsonLines::new("pairs.jsonl", Box::new(text.as_bytes()));
        let mut good = Vec::new();
        loop {
            match lines.next() {
                None => return (good, None),
                Some(Ok(line)) => good.push(line),
                Some(Err(error)) => {
                    assert!(lines.next::<Vec<u32>>().is_none(), "nothing follows an error");
                    return (good, Some(format!("{error:#}")));
                }
            }
        }
    }

    #[test]
    fn blank_lines_are_passed_over_and_counted() {
        assert_eq!(read("\u{feff}[1]\r\n\n  \n[2,3]"), (vec![(1, vec![1]), (4, vec![2, 3])], None));
        assert_eq!(read(""), (vec![], None));
    }

    #[test]
    fn a_bad_line_is_named() {
        let (good, error) = read("[1]\n[2\n[3]\n");
        assert_eq!(good, [(1, vec![1])]);
        let expected = "line 2 of pairs.jsonl is not what it should be: EOF while parsing a list, at column 2";
        assert_eq!(error.as_deref(), Some(expected));
    }
}
