//! Streaming of documents from a JSON array.

use std::io::{self, BufRead, Cursor, Read};

use crate::input::source::Source;
use crate::input::{BadLine, Context, SourcedDocument};
use crate::{Document, Error};

/// The maximum number of whitespace bytes before the bracket of an array; with more of them, the source is read as lines.
const BLANK_BYTES_MAX: usize = 64 * 1024;

/// The first two non-whitespace bytes of a source.
pub(super) struct Beginning {
    first: Option<u8>,
    second: Option<u8>,
}

impl Beginning {
    /// Whether the source is an array.
    pub(super) fn is_array(&self) -> bool {
        self.first == Some(b'[')
    }

    /// Whether the source is an array of objects, or an empty array. Lines may start with another array, which is then an invalid line.
    pub(super) fn is_array_of_objects(&self) -> bool {
        self.is_array() && matches!(self.second, None | Some(b'{' | b']'))
    }
}

/// Inspects the beginning of a source. Returns the source from its beginning, without a byte order mark.
pub(super) fn beginning(mut source: Source) -> io::Result<(Beginning, Source)> {
    let mut head = Vec::new();
    loop {
        let content = head.strip_prefix(MARK).unwrap_or(&head);
        let mut visible = content.trim_ascii_start().iter().copied();
        let (first, second) = (visible.next(), visible.find(|byte| !byte.is_ascii_whitespace()));
        let is_known = first.is_some_and(|first| first != b'[' && !MARK.starts_with(&head)) || second.is_some();
        if is_known || head.len() >= BLANK_BYTES_MAX || read_some(&mut source, &mut head)? == 0 {
            let content = head.strip_prefix(MARK).unwrap_or(&head).to_vec();
            return Ok((Beginning { first, second }, Box::new(Cursor::new(content).chain(source))));
        }
    }
}

const MARK: &[u8] = b"\xef\xbb\xbf";

/// Appends the next available bytes. Returns their number, 0 at the end.
fn read_some(source: &mut Source, to: &mut Vec<u8>) -> io::Result<usize> {
    let mut buffer = [0; 1024];
    loop {
        match source.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
            Ok(n_read) => {
                to.extend_from_slice(&buffer[..n_read]);
                return Ok(n_read);
            }
        }
    }
}

/// The documents of an array of JSON objects, which may span lines.
pub(super) fn documents<R: BufRead + Send + 'static>(
    reader: R,
    context: Context,
) -> impl Iterator<Item = Result<SourcedDocument, BadLine>> + Send {
    let mut elements = Elements { reader, state: State::Begun, line: 1, bytes_max: context.bytes_max };
    let (mut element, mut n_items) = (Vec::new(), 0);
    std::iter::from_fn(move || {
        let read = elements.read(&mut element);
        let (line, found) = match read {
            Ok((_, Element::End)) => return None,
            Ok((line, Element::Whole)) => (line, Ok(())),
            Ok((line, Element::TooLong)) => (line, Err(Error::TooLong { bytes_max: context.bytes_max })),
            Err(Broken::Io(source)) => (elements.line, Err(Error::BrokenInput { source })),
            Err(Broken::Malformed(problem)) => (elements.line, Err(context.problem(problem.to_owned()))),
        };
        n_items += 1;
        let document = found.and_then(|()| Document::from_json(&element, &context.settings));
        Some(context.sourced_item(n_items, line, || element.clone(), document))
    })
}

/// The result of reading an element.
#[derive(Debug, PartialEq)]
enum Element {
    Whole,
    /// The element exceeds the limit. It was read to its end and discarded.
    TooLong,
    /// The end of the array and of the input.
    End,
}

/// The reason for which reading cannot continue.
#[derive(Debug)]
enum Broken {
    Io(io::Error),
    Malformed(&'static str),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The state between elements.
#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    /// Before the opening bracket.
    Begun,
    /// After it.
    Opened,
    AfterValue,
    AfterComma,
}

/// The elements of an array. Their ends are found by brackets and quotes, without parsing their contents.
struct Elements<R> {
    reader: R,
    state: State,
    /// The number of the current line, from 1.
    line: u64,
    bytes_max: usize,
}

impl<R: BufRead> Elements<R> {
    /// Reads the next element. Also returns the number of its first line.
    fn read(&mut self, element: &mut Vec<u8>) -> Result<(u64, Element), Broken> {
        element.clear();
        loop {
            let next = self.next_visible()?;
            match (self.state, next) {
                (State::Begun, _) => self.state = State::Opened,
                (_, None) => return Err(Broken::Malformed("the array is not closed by the end of the file")),
                (State::Opened | State::AfterValue, Some(b']')) => {
                    self.reader.consume(1);
                    return match self.next_visible()? {
                        None => Ok((self.line, Element::End)),
                        Some(_) => Err(Broken::Malformed("there is more after the end of the array")),
                    };
                }
                (State::AfterComma, Some(b']')) => {
                    return Err(Broken::Malformed("there is a comma after the last document of the array"));
                }
                (State::AfterValue, Some(b',')) => self.state = State::AfterComma,
                (State::AfterValue, Some(_)) => {
                    return Err(Broken::Malformed("a comma is missing between two documents of the array"));
                }
                (State::Opened | State::AfterComma, Some(b',')) => {
                    return Err(Broken::Malformed("a document is missing before a comma of the array"));
                }
                (State::Opened | State::AfterComma, Some(_)) => {
                    let line = self.line;
                    let is_whole = self.read_value(element)?;
                    self.state = State::AfterValue;
                    return Ok((line, if is_whole { Element::Whole } else { Element::TooLong }));
                }
            }
            self.reader.consume(1);
        }
    }

    /// The next non-whitespace byte, which is not consumed; `None` at the end of the input.
    fn next_visible(&mut self) -> io::Result<Option<u8>> {
        loop {
            let buffer = fill(&mut self.reader)?;
            let n_blank = buffer.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            self.line += count_lines(&buffer[..n_blank]);
            let next = buffer.get(n_blank).copied();
            let is_end = buffer.is_empty();
            self.reader.consume(n_blank);
            if next.is_some() || is_end {
                return Ok(next);
            }
        }
    }

    /// Reads a value to its end. Returns whether it is within the limit.
    fn read_value(&mut self, element: &mut Vec<u8>) -> Result<bool, Broken> {
        let mut scan = Scan::default();
        let mut n_bytes = 0;
        loop {
            let buffer = fill(&mut self.reader)?;
            if buffer.is_empty() && scan.is_over {
                return Ok(n_bytes <= self.bytes_max);
            }
            if buffer.is_empty() {
                return Err(Broken::Malformed("the array is not closed by the end of the file"));
            }
            let end = scan.end_within(buffer);
            let part = &buffer[..end.unwrap_or(buffer.len())];
            n_bytes += part.len();
            if n_bytes <= self.bytes_max {
                element.extend_from_slice(part);
            } else {
                element.clear();
            }
            let n_part = part.len();
            self.line += count_lines(part);
            self.reader.consume(n_part);
            if end.is_some() {
                return Ok(n_bytes <= self.bytes_max);
            }
        }
    }
}

/// The state of scanning a value.
#[derive(Default)]
struct Scan {
    depth: usize,
    is_in_string: bool,
    is_escaped: bool,
    /// Whether the last byte of the value was read.
    is_over: bool,
}

impl Scan {
    /// The end of the value in these bytes, if it is there.
    fn end_within(&mut self, bytes: &[u8]) -> Option<usize> {
        bytes.iter().position(|byte| self.is_over || self.passes_end(*byte))
    }

    /// Processes the next byte. Returns whether it is after the value.
    fn passes_end(&mut self, byte: u8) -> bool {
        if self.is_in_string {
            match byte {
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' => self.is_escaped = true,
                b'"' => self.is_in_string = false,
                _ => {}
            }
            self.is_over = !self.is_in_string && self.depth == 0;
            return false;
        }
        match byte {
            b'"' => self.is_in_string = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' if self.depth == 0 => return true,
            b'}' | b']' => {
                self.depth -= 1;
                self.is_over = self.depth == 0;
            }
            b',' => return self.depth == 0,
            byte => return self.depth == 0 && byte.is_ascii_whitespace(),
        }
        false
    }
}

fn fill<R: BufRead>(reader: &mut R) -> io::Result<&[u8]> {
    // Retries interrupted reads; the borrow checker requires fetching the result again.
    loop {
        match reader.fill_buf() {
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    reader.fill_buf()
}

fn count_lines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    #[test]
    fn elements_are_told_apart_by_brackets_and_quotes() {
        for (json, expected) in [
            ("[]", ""),
            ("[ \n ] \n", ""),
            (r#"[{"a":1}]"#, r#"1 {"a":1}"#),
            ("[{\"a\":1},\n{\"b\":[2,3]}]\n", "1 {\"a\":1}|2 {\"b\":[2,3]}"),
            ("[\n  {\n \"a\": 1\n},\n\n {}\n]", "2 {\n \"a\": 1\n}|6 {}"),
            (r#"["a,b]","\"]", "\\"]"#, r#"1 "a,b]"|1 "\"]"|1 "\\""#),
            ("[1,-2.5 ,null,true]", "1 1|1 -2.5|1 null|1 true"),
            (r#"[{"t":"}]\"{"}]"#, r#"1 {"t":"}]\"{"}"#),
            ("[{\"a\":\"0123456789012345678901234567890123456789\"},{}]", "1 too long|1 {}"),
            ("[[1,[2]]]", "1 [1,[2]]"),
            ("[{}", "1 {}|the array is not closed by the end of the file"),
            ("[{", "the array is not closed by the end of the file"),
            ("[\"a", "the array is not closed by the end of the file"),
            ("[{},]", "1 {}|there is a comma after the last document of the array"),
            ("[,{}]", "a document is missing before a comma of the array"),
            ("[{},,{}]", "1 {}|a document is missing before a comma of the array"),
            ("[{} {}]", "1 {}|a comma is missing between two documents of the array"),
            ("[{}]x", "1 {}|there is more after the end of the array"),
            ("[{}][{}]", "1 {}|there is more after the end of the array"),
        ] {
            for n_bytes in [1, 2, 1000] {
                assert_eq!(read(json, n_bytes), expected, "{json} by {n_bytes}");
            }
        }
    }

    /// The elements with their lines, read by so many bytes at a time, up to what ends the reading.
    fn read(json: &'static str, n_bytes: usize) -> String {
        let reader = BufReader::with_capacity(n_bytes, json.as_bytes());
        let mut elements = Elements { reader, state: State::Begun, line: 1, bytes_max: 40 };
        let (mut element, mut found) = (Vec::new(), Vec::new());
        loop {
            match elements.read(&mut element) {
                Ok((_, Element::End)) => break,
                Ok((line, Element::Whole)) => found.push(format!("{line} {}", str::from_utf8(&element).unwrap())),
                Ok((line, Element::TooLong)) => found.push(format!("{line} too long")),
                Err(Broken::Malformed(problem)) => {
                    found.push(problem.to_owned());
                    break;
                }
                Err(Broken::Io(error)) => panic!("{error}"),
            }
        }
        found.join("|")
    }
}
