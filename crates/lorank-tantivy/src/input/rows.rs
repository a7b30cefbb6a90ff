//! Reads rows of a table with the `csv` crate.
//!
//! The input of the crate passes through a [`Recorder`], which keeps the bytes of the current row. Therefore a row has
//! a limit, can be shown as in the file, and an unclosed quote is detected before it hides the rest of the file.

use std::io::{self, BufRead, BufReader, Chain, Cursor, Read};

use csv::{ByteRecord, Reader, ReaderBuilder, Terminator};

use crate::Error;
use crate::input::delimiter::CellStyle;
use crate::input::lines::without_end;

/// Reads a table row by row.
pub(super) struct TableReader<R: Read> {
    /// `None` only while it is replaced by a reader that starts after a line that exceeds the limit.
    csv: Option<Reader<Recorder<R>>>,
    style: CellStyle,
    bytes_max: usize,
    /// The number of lines before the first one that `csv` counts.
    lines_before: u64,
    record: ByteRecord,
    raw: Vec<u8>,
    line: u64,
}

/// The cells of a row.
pub(super) struct Row<'a> {
    record: &'a ByteRecord,
    /// Whether the last cell still has the carriage return of the row's end. Other carriage returns belong to cells, so
    /// the `csv` crate must not interpret them as row ends.
    has_carriage_return: bool,
}

impl Row<'_> {
    pub(super) fn n_cells(&self) -> usize {
        self.record.len()
    }

    pub(super) fn cells(&self) -> impl Iterator<Item = &[u8]> {
        self.record.iter().enumerate().map(|(n, cell)| {
            let is_last = n + 1 == self.record.len();
            cell.strip_suffix(b"\r").filter(|_| is_last && self.has_carriage_return).unwrap_or(cell)
        })
    }
}

impl<R: Read> TableReader<R> {
    /// A reader of rows of at most `bytes_max` bytes.
    pub(super) fn new(source: R, style: CellStyle, bytes_max: usize) -> Self {
        let source = Cursor::new(Vec::new()).chain(BufReader::with_capacity(BUFFER_BYTES, source));
        let recorder = Recorder::new(source, bytes_max);
        Self {
            csv: Some(csv_reader(recorder, style)),
            style,
            bytes_max,
            lines_before: 0,
            record: ByteRecord::new(),
            raw: Vec::new(),
            line: 0,
        }
    }

    /// The 1-based line on which the last row read starts.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// The bytes of the last row read, without its end.
    pub(super) fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// Reads the next row, if there is one. Empty lines between rows are skipped.
    ///
    /// # Errors
    /// [`Error::TooLong`] for a row that exceeds the limit, after which reading can continue; [`Error::OpenQuote`] and
    /// [`Error::BrokenInput`], after which it cannot.
    pub(super) fn read(&mut self) -> Option<Result<Row<'_>, Error>> {
        loop {
            let csv = self.csv.as_mut().expect("a reader exists between rows");
            let start = csv.position().clone();
            csv.get_mut().begin_row(start.byte());
            let read = csv.read_byte_record(&mut self.record);
            let end = csv.position().byte();
            let recorder = csv.get_mut();
            self.line = self.lines_before + start.line() + recorder.pass_over_empty_lines();
            self.raw.clear();
            let whole = match read {
                Err(_) if recorder.is_over_limit => recorder.row(),
                Err(error) => return Some(Err(Error::BrokenInput { source: io_error(error) })),
                Ok(false) => return None,
                Ok(true) if recorder.is_sentinel() => return None,
                Ok(true) => recorder.row_until(end),
            };
            let row = without_end(whole);
            let is_open = recorder.is_over_limit || recorder.has_swallowed_sentinel(end);
            if row.is_empty() && !is_open {
                continue;
            }
            let first_line = row.split(|byte| *byte == b'\n').next().unwrap_or(row);
            let is_over_limit = row.len() > self.bytes_max;
            if without_end(first_line).len() > self.bytes_max {
                let is_whole = !is_open && first_line.len() == row.len();
                return Some(Err(if is_whole {
                    Error::TooLong { bytes_max: self.bytes_max }
                } else {
                    self.skip_line()
                }));
            }
            if is_open || is_over_limit {
                // A row of several lines has quotes, so the limit applies to the closing quote.
                let bytes_max = is_over_limit.then_some(self.bytes_max);
                return Some(Err(Error::OpenQuote { line: self.line, bytes_max }));
            }
            self.raw.extend_from_slice(row);
            return Some(Ok(Row { record: &self.record, has_carriage_return: whole.ends_with(b"\r\n") }));
        }
    }

    /// Continues after the first line of the current row, which exceeds the limit.
    fn skip_line(&mut self) -> Error {
        let recorder = self.csv.take().expect("a reader exists between rows").into_inner();
        let mut rest = recorder.into_source();
        let skipped = rest.skip_until(b'\n');
        self.csv = Some(csv_reader(Recorder::new(rest, self.bytes_max), self.style));
        self.lines_before = self.line;
        match skipped {
            Ok(_) => Error::TooLong { bytes_max: self.bytes_max },
            Err(source) => Error::BrokenInput { source },
        }
    }
}

/// The rest of a table: bytes in memory, then the remaining source.
type Rest<R> = Chain<Cursor<Vec<u8>>, BufReader<R>>;

const BUFFER_BYTES: usize = 128 * 1024;

fn csv_reader<R: Read>(recorder: Recorder<R>, style: CellStyle) -> Reader<Recorder<R>> {
    ReaderBuilder::new()
        .delimiter(style.delimiter)
        .quoting(style.is_quoted)
        .terminator(Terminator::Any(b'\n'))
        .has_headers(false)
        .flexible(true)
        .buffer_capacity(BUFFER_BYTES)
        .from_reader(recorder)
}

fn io_error(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    }
}

/// Keeps the bytes of the current row.
struct Recorder<R> {
    source: Rest<R>,
    /// The bytes of the row, with bytes read before and after it. Earlier bytes are removed when more are read, and not
    /// after every row, because short rows would move the whole buffer repeatedly.
    kept: Vec<u8>,
    /// The offset of the row in these bytes.
    row_start: usize,
    /// The offset of the row in the table, as counted by the `csv` crate.
    row_at: u64,
    /// The number of empty lines dropped before the row.
    n_empty_lines: u64,
    bytes_max: usize,
    /// Whether the last call failed because the row exceeds the limit.
    is_over_limit: bool,
    /// The offset of the sentinel, after the end of the source.
    sentinel_at: Option<u64>,
    /// The unread part of the sentinel.
    sentinel_left: &'static [u8],
}

/// Follows the last byte of the source: a line end, and a separate row. An open quote consumes that row.
const SENTINEL: &[u8] = b"\n\0\n";

impl<R: Read> Recorder<R> {
    fn new(source: Rest<R>, bytes_max: usize) -> Self {
        Self {
            source,
            kept: Vec::new(),
            row_start: 0,
            row_at: 0,
            n_empty_lines: 0,
            bytes_max,
            is_over_limit: false,
            sentinel_at: None,
            sentinel_left: SENTINEL,
        }
    }

    /// Starts the next row here, or after the empty lines that follow.
    fn begin_row(&mut self, at: u64) {
        self.row_start += self.n_kept_until(at);
        (self.row_at, self.n_empty_lines) = (at, 0);
    }

    /// Starts the row after the empty lines read so far, which may exceed the available memory. Returns the number of
    /// empty lines before the row so far.
    fn pass_over_empty_lines(&mut self) -> u64 {
        let n = self.kept[self.row_start..].iter().take_while(|byte| **byte == b'\n').count();
        self.row_start += n;
        self.row_at += n as u64;
        self.n_empty_lines += n as u64;
        self.n_empty_lines
    }

    /// The number of bytes from the start of the row to `at`.
    fn n_kept_until(&self, at: u64) -> usize {
        usize::try_from(at - self.row_at).expect("the bytes in between are in memory")
    }

    /// The bytes read from the start of the row.
    fn row(&self) -> &[u8] {
        self.row_until(self.row_at + (self.kept.len() - self.row_start) as u64)
    }

    /// The row up to its end, including the sentinel's newline if the last line of the source has none.
    fn row_until(&self, end: u64) -> &[u8] {
        let end = self.sentinel_at.map_or(end, |at| at.min(end));
        &self.kept[self.row_start..][..self.n_kept_until(end)]
    }

    /// The source from the start of the row.
    fn into_source(mut self) -> Rest<R> {
        if let Some(at) = self.sentinel_at {
            // The source ends one byte before the sentinel's row.
            self.kept.truncate(self.row_start + self.n_kept_until(at - 1));
        }
        self.kept.drain(..self.row_start);
        let (unread, source) = self.source.into_inner();
        self.kept.extend_from_slice(&unread.get_ref()[usize::try_from(unread.position()).unwrap_or(usize::MAX)..]);
        Cursor::new(self.kept).chain(source)
    }

    /// Whether the row is the sentinel.
    fn is_sentinel(&self) -> bool {
        self.sentinel_at.is_some_and(|at| self.row_at >= at)
    }

    /// Whether a row that ends here includes the sentinel.
    fn has_swallowed_sentinel(&self, end: u64) -> bool {
        self.sentinel_at.is_some_and(|at| end > at)
    }

    fn read_source(&mut self, to: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.source.read(to) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }
}

impl<R: Read> Read for Recorder<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        self.pass_over_empty_lines();
        self.kept.drain(..self.row_start);
        self.row_start = 0;
        let has_ended = self.sentinel_at.is_some();
        // A row end of two bytes may follow the content.
        self.is_over_limit = !has_ended && self.kept.len() > self.bytes_max.saturating_add(2);
        if self.is_over_limit {
            return Err(io::Error::other("the row exceeds the limit"));
        }
        let mut n = if has_ended { 0 } else { self.read_source(to)? };
        if n == 0 && !to.is_empty() {
            let end = self.row_at + self.kept.len() as u64;
            self.sentinel_at.get_or_insert(end + 1);
            n = self.sentinel_left.read(to)?;
        }
        self.kept.extend_from_slice(&to[..n]);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Each row's line and cells, or its error, over a source that gives `n_bytes` at a time.
    fn rows(table: &[u8], delimiter: u8, bytes_max: usize, n_bytes: usize) -> Vec<String> {
        /// Hands out few bytes at a time, and is interrupted before each of them.
        struct Slow<'a>(&'a [u8], usize, bool);
        impl Read for Slow<'_> {
            fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
                self.2 = !self.2;
                let n = to.len().min(self.1);
                if self.2 { Err(io::ErrorKind::Interrupted.into()) } else { self.0.read(&mut to[..n]) }
            }
        }
        let style = CellStyle { delimiter, is_quoted: delimiter == b',' };
        let mut reader = TableReader::new(Slow(table, n_bytes, false), style, bytes_max);
        let mut found = Vec::new();
        loop {
            let row = match reader.read() {
                None => return found,
                Some(Ok(row)) => Ok(row.cells().map(|cell| cell.escape_ascii().to_string()).collect::<Vec<_>>()),
                Some(Err(error)) => Err(error),
            };
            match row {
                Ok(cells) => found.push(format!("{} {}", reader.line(), cells.join("|"))),
                Err(error) => {
                    found.push(format!("{} {error}", reader.line()));
                    if !error.is_about_a_document() {
                        return found;
                    }
                }
            }
        }
    }

    #[track_caller]
    fn check(table: &str, bytes_max: usize, expected: &[&str]) {
        for n_bytes in [1, 2, 5, 1000] {
            assert_eq!(rows(table.as_bytes(), b',', bytes_max, n_bytes), expected, "{n_bytes} bytes at a time");
        }
    }

    #[test]
    fn rows_are_numbered_by_their_first_lines() {
        check("", 9, &[]);
        check("\n\n\r\n\n", 9, &[]);
        check("a,b\nc,d", 9, &["1 a|b", "2 c|d"]);
        check("\n\na\n\n\r\nb\n", 9, &["3 a", "6 b"]);
        check("a,\"b\nc\n\nd\"\ne\n", 99, &["1 a|b\\nc\\n\\nd", "5 e"]);
        check("\"a\n\"\n\"\n\"", 9, &["1 a\\n", "3 \\n"]);
    }

    #[test]
    fn a_carriage_return_ends_a_row_only_before_a_newline() {
        check("a,b\r\nc,\"d\"\r\n\"e\r\"\nf\rg\r\r\n", 20, &["1 a|b", "2 c|d", "3 e\\r", "4 f\\rg\\r"]);
        check("a\r", 20, &["1 a"]);
    }

    #[test]
    fn a_row_over_the_limit_is_passed_over() {
        check("abcd\nabc\nabcdefghijkl\nx", 3, &["1 longer than 3 bytes", "2 abc", "3 longer than 3 bytes", "4 x"]);
        check("abcdefg", 3, &["1 longer than 3 bytes"]);
        check("abc\r\n", 3, &["1 abc"]);
        check(&format!("{}ab\n", "\n".repeat(500)), 3, &["501 ab"]);
    }

    #[test]
    fn a_row_in_quotes_over_the_limit_says_which_one() {
        let open = |line| format!("{line} the row that starts on line {line} has a quote that is not closed");
        let by_the_end = |line| format!("{} by the end of the file", open(line));
        check("a\nb,\"c\nd\n", 50, &["1 a", &by_the_end(2)]);
        check("a\n\n\nb,\"c", 50, &["1 a", &by_the_end(4)]);
        check("\"", 50, &[&by_the_end(1)]);
        let table = format!("a\nb,\"c\n{}", "d\n".repeat(200));
        check(&table, 50, &["1 a", &format!("{} within 50 bytes", open(2))]);
        // A quote in a line that is over the limit by itself is passed over with it.
        check(&format!("a\nb,\"{}\nc\n", "d".repeat(200)), 50, &["1 a", "2 longer than 50 bytes", "3 c"]);
    }

    #[test]
    fn quotes_between_tabs_are_characters() {
        assert_eq!(rows(b"a\t\"b\n\"\tc\n", b'\t', 9, 1), ["1 a|\\\"b", "2 \\\"|c"]);
    }

    proptest! {
        /// Rows are those that the `csv` crate finds in the whole table.
        #[test]
        fn rows_are_those_of_the_whole_table(table in r#"([ab\n",]|"a,\n"){0,30}"#, n_bytes in 1..9_usize) {
            let mut reader = ReaderBuilder::new()
                .terminator(Terminator::Any(b'\n'))
                .has_headers(false)
                .flexible(true)
                .from_reader(table.as_bytes());
            let expected: Vec<String> = reader
                .byte_records()
                .map(|row| row.unwrap().iter().map(|cell| cell.escape_ascii().to_string()).collect::<Vec<_>>().join("|"))
                .collect();
            let mut found = rows(table.as_bytes(), b',', 1000, n_bytes);
            let is_open = found.last().is_some_and(|row| row.contains("not closed"));
            found.truncate(found.len() - usize::from(is_open));
            let cells: Vec<&str> = found.iter().map(|row| row.split_once(' ').unwrap().1).collect();
            prop_assert_eq!(cells, &expected[..expected.len() - usize::from(is_open)]);
        }

        #[test]
        fn rows_do_not_depend_on_how_the_bytes_come(table in r#"([ab\r\n",]|"a,\n|[a-z]{9}){0,40}"#, bytes_max in 0..60_usize, n_bytes in 1..9_usize) {
            for delimiter in [b',', b'\t'] {
                prop_assert_eq!(rows(table.as_bytes(), delimiter, bytes_max, n_bytes), rows(table.as_bytes(), delimiter, bytes_max, 1000));
            }
        }
    }
}
