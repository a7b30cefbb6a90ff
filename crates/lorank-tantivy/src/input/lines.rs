//! JSON Lines.

use std::io::{self, BufRead, BufReader, Read};

use crate::input::source::Source;
use crate::input::{BadLine, Context, SourcedDocument};
use crate::{Document, Error};

/// Reads the documents of a JSON Lines file. Blank lines are skipped.
pub(super) fn documents(
    source: Source,
    context: Context,
) -> impl Iterator<Item = Result<SourcedDocument, BadLine>> + Send {
    let mut lines =
        Lines { reader: BufReader::with_capacity(128 * 1024, source), number: 0, bytes_max: context.bytes_max };
    let mut line = Vec::new();
    std::iter::from_fn(move || {
        loop {
            let read = lines.read(&mut line);
            let number = Some(lines.number);
            let content = content(&line, lines.number);
            return match read {
                Ok(Line::End) => None,
                Ok(Line::Whole) if content.trim_ascii().is_empty() => continue,
                Ok(Line::Whole) => {
                    let document = Document::from_json(content, &context.settings);
                    Some(context.sourced(number, || content.to_vec(), document))
                }
                Ok(Line::TooLong) => {
                    let cause = Error::TooLong { bytes_max: context.bytes_max };
                    Some(context.sourced(number, Vec::new, Err(cause)))
                }
                Err(source) => Some(context.sourced(number, Vec::new, Err(Error::BrokenInput { source }))),
            };
        }
    })
}

/// A line without its end and, for the first line, without the byte order mark.
fn content(line: &[u8], number: u64) -> &[u8] {
    without_mark(without_end(line), number)
}

/// A line without its end.
pub(super) fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// A line without the byte order mark that some programs write at the start of a file.
fn without_mark(line: &[u8], number: u64) -> &[u8] {
    if number == 1 { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line) } else { line }
}

/// The result of reading a line.
#[derive(Debug, PartialEq)]
enum Line {
    Whole,
    /// The line exceeds the limit. It was read to its end and discarded.
    TooLong,
    End,
}

/// Reads a file line by line.
struct Lines<R> {
    reader: BufReader<R>,
    /// The 1-based number of the last line read.
    number: u64,
    bytes_max: usize,
}

impl<R: Read> Lines<R> {
    /// Reads the next line, including its end.
    fn read(&mut self, line: &mut Vec<u8>) -> io::Result<Line> {
        line.clear();
        self.number += 1;
        // A mark of three bytes may precede the content, and a line end of two bytes follow it.
        let bytes_max = self.bytes_max.saturating_add(5);
        let n_read = (&mut self.reader).take(bytes_max as u64).read_until(b'\n', line)?;
        if n_read == 0 {
            return Ok(Line::End);
        }
        if content(line, self.number).len() <= self.bytes_max {
            return Ok(Line::Whole);
        }
        if !line.ends_with(b"\n") {
            self.reader.skip_until(b'\n')?;
        }
        line.clear();
        Ok(Line::TooLong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_numbered_and_limited() {
        check(b"", 3, &[]);
        check(b"abc\nd\n", 3, &["1 abc", "2 d"]);
        check(b"abc\r\n\r\nabc", 3, &["1 abc", "2 ", "3 abc"]);
        check(b"abcd\nabc\nabcdefghijkl\nx", 3, &["1 too long", "2 abc", "3 too long", "4 x"]);
        check(b"abcdefg", 3, &["1 too long"]);
        check(b"\xef\xbb\xbfab\n\xef\xbb\xbf\n", 3, &["1 ab", "2 \u{feff}"]);
        check(b"\n\n", 0, &["1 ", "2 "]);
    }

    fn check(bytes: &'static [u8], bytes_max: usize, expected: &[&str]) {
        let mut lines = Lines { reader: BufReader::with_capacity(2, bytes), number: 0, bytes_max };
        let (mut line, mut found) = (Vec::new(), Vec::new());
        loop {
            match lines.read(&mut line).unwrap() {
                Line::End => break,
                Line::TooLong => found.push(format!("{} too long", lines.number)),
                Line::Whole => {
                    found.push(format!("{} {}", lines.number, str::from_utf8(content(&line, lines.number)).unwrap()))
                }
            }
        }
        assert_eq!(found, expected);
    }
}
