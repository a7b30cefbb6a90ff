//! CSV and TSV tables with a header.
//!
//! A cell of the id column or of a text field is a text. Elsewhere a cell in plain decimal notation (`-12`, `3.50`; no
//! leading zeros, no exponent) is a number and `true` and `false` are booleans, so that filters find them as what they
//! are; an empty cell is no value, and all else is a text.
//!
//! Rows are told apart here, and only their cells by the `csv` crate: so a row has the number of the line it begins on,
//! its bytes as they stand, and a limit; and a quote that is never closed is seen before it hides the rest of the file.

use std::io::{BufReader, Read};

use csv::{ByteRecord, ReaderBuilder, Terminator};
use lorank_core::{Fields, Value};

use crate::input::lines::{Line, Lines, without_end, without_mark};
use crate::input::source::Source;
use crate::input::{BadLine, Context, SourcedDocument};
use crate::{Document, Error};

/// The documents of a table whose cells are parted by `delimiter`. The header is read at once.
pub(super) fn documents(
    source: Source,
    delimiter: u8,
    context: Context,
) -> Result<impl Iterator<Item = Result<SourcedDocument, BadLine>> + Send, BadLine> {
    let mut rows = Rows::new(source, delimiter, context.bytes_max);
    let header = match rows.read() {
        None => Err(context.problem("it has no header: its first line names the columns".to_owned())),
        Some(row) => row.and_then(|()| columns(&rows.cells(), &context)),
    };
    // A table without a header cannot be read, whatever is wrong with it.
    let header = header.map_err(|cause| {
        let cause = if cause.is_about_a_document() { context.problem(format!("its header: {cause}")) } else { cause };
        BadLine { origin: context.origin(Some(1)), raw: Vec::new(), cause: Box::new(cause) }
    })?;
    Ok(std::iter::from_fn(move || {
        let document = rows.read()?.and_then(|()| document(&rows.cells(), &header, &context));
        Some(context.sourced(Some(rows.begins), || rows.row.clone(), document))
    }))
}

/// A column: its name, and whether its cells are always texts.
struct Column {
    name: String,
    is_text: bool,
}

fn columns(header: &ByteRecord, context: &Context) -> Result<Vec<Column>, Error> {
    let settings = &context.settings;
    let mut columns: Vec<Column> = Vec::with_capacity(header.len());
    for cell in header {
        let name = utf8(cell)?.to_owned();
        if columns.iter().any(|column| column.name == name) {
            return Err(context.problem(format!("its header names the column `{name}` twice")));
        }
        let is_text = name == settings.id_field || name == "_id" || settings.is_text_field(&name);
        columns.push(Column { name, is_text });
    }
    let has = |wanted: &str| columns.iter().any(|column| column.name == wanted);
    let names = || columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ");
    if !has(&settings.id_field) && !has("_id") {
        Err(context.problem(format!("it has no column `{}`, only {}", settings.id_field, names())))
    } else if !settings.text_fields.iter().any(|field| has(&field.name)) {
        Err(context.problem(format!("none of its columns is searched; they are {}", names())))
    } else {
        Ok(columns)
    }
}

fn document(row: &ByteRecord, header: &[Column], context: &Context) -> Result<Document, Error> {
    if row.len() != header.len() {
        return Err(Error::WrongNumberOfCells { n_cells: row.len(), n_columns: header.len() });
    }
    let mut fields = Fields::with_capacity(row.len());
    for (cell, column) in row.iter().zip(header) {
        let cell = utf8(cell)?;
        let value = if column.is_text { Some(cell.into()) } else { value_of(cell) };
        fields.extend(value.map(|value| (column.name.clone(), value)));
    }
    Document::from_fields(fields, &context.settings)
}

/// The rows of a table, one at a time.
struct Rows<R> {
    lines: Lines<R>,
    line: Vec<u8>,
    /// The row read last, without its end.
    row: Vec<u8>,
    /// The number of the line that it begins on.
    begins: u64,
    delimiter: u8,
}

/// Where in a row a byte leaves its reader.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Place {
    CellBegins,
    Plain,
    Quoted,
    /// After a quote between quotes: the end of the cell, or half of a quote in it.
    AfterQuote,
}

impl<R: Read> Rows<R> {
    fn new(source: R, delimiter: u8, bytes_max: usize) -> Self {
        let lines = Lines { reader: BufReader::with_capacity(128 * 1024, source), number: 0, bytes_max };
        Self { lines, line: Vec::new(), row: Vec::new(), begins: 0, delimiter }
    }

    /// Reads the next row, if there is one. Empty lines between rows are passed over.
    fn read(&mut self) -> Option<Result<(), Error>> {
        self.row.clear();
        let mut place = Place::CellBegins;
        loop {
            let read = self.lines.read(&mut self.line);
            let is_first = self.row.is_empty();
            if is_first {
                self.begins = self.lines.number;
            }
            match read {
                Err(source) => return Some(Err(Error::BrokenInput { source })),
                Ok(Line::End) if is_first => return None,
                Ok(Line::TooLong) if is_first => return Some(Err(Error::TooLong { bytes_max: self.lines.bytes_max })),
                Ok(Line::End | Line::TooLong) => return Some(Err(self.open_quote())),
                Ok(Line::Whole) => {}
            }
            let line = without_mark(&self.line, self.lines.number);
            if is_first && without_end(line).is_empty() {
                continue;
            }
            self.row.extend_from_slice(line);
            place = line.iter().fold(place, |place, &byte| self.place_after(place, byte));
            if place != Place::Quoted {
                self.row.truncate(without_end(&self.row).len());
                return Some(Ok(()));
            }
            if self.row.len() > self.lines.bytes_max {
                return Some(Err(self.open_quote()));
            }
        }
    }

    fn place_after(&self, place: Place, byte: u8) -> Place {
        match (place, byte) {
            (Place::Quoted, b'"') => Place::AfterQuote,
            (Place::Quoted, _) | (Place::AfterQuote, b'"') => Place::Quoted,
            (Place::CellBegins, b'"') if self.has_quotes() => Place::Quoted,
            (_, b'\n') => Place::CellBegins,
            (_, byte) if byte == self.delimiter => Place::CellBegins,
            _ => Place::Plain,
        }
    }

    /// Whether cells may stand in quotes. Between tabs they never do: a quote is a character like others there.
    fn has_quotes(&self) -> bool {
        self.delimiter == b','
    }

    /// The quote that is open has hidden an unknown number of rows, so there is no going on.
    fn open_quote(&self) -> Error {
        Error::OpenQuote { line: self.begins, bytes_max: self.lines.bytes_max }
    }

    /// The cells of the row read last.
    fn cells(&self) -> ByteRecord {
        let mut cells = ByteRecord::new();
        let mut reader = ReaderBuilder::new()
            .delimiter(self.delimiter)
            .quoting(self.has_quotes())
            .terminator(Terminator::Any(b'\n'))
            .has_headers(false)
            .buffer_capacity(self.row.len().max(1))
            .from_reader(&self.row[..]);
        reader.read_byte_record(&mut cells).expect("a row in memory can be read");
        cells
    }
}

fn utf8(cell: &[u8]) -> Result<&str, Error> {
    str::from_utf8(cell).map_err(|error| Error::NotUtf8 { column: error.valid_up_to() + 1 })
}

fn value_of(cell: &str) -> Option<Value> {
    match cell {
        "" => None,
        "true" => Some(Value::Bool(true)),
        "false" => Some(Value::Bool(false)),
        _ => Some(number_of(cell).unwrap_or_else(|| cell.into())),
    }
}

/// The number that a cell writes in plain decimal notation. Whole numbers that do not fit in 64 bits stay texts.
fn number_of(cell: &str) -> Option<Value> {
    let unsigned = cell.strip_prefix('-').unwrap_or(cell);
    let (whole, fraction) = match unsigned.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (unsigned, None),
    };
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_digits(whole) || (whole.len() > 1 && whole.starts_with('0')) || !fraction.is_none_or(is_digits) {
        return None;
    }
    if fraction.is_some() {
        return cell.parse().ok().filter(|number: &f64| number.is_finite()).map(Value::Float);
    }
    let integer = cell.parse().ok().map(Value::Integer);
    integer.or_else(|| cell.parse().ok().map(Value::Unsigned))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn cells_become_what_they_say() {
        check("", None);
        check("true", Some(Value::Bool(true)));
        check("12", Some(Value::Integer(12)));
        check("-12", Some(Value::Integer(-12)));
        check("0", Some(Value::Integer(0)));
        check("18446744073709551615", Some(Value::Unsigned(u64::MAX)));
        check("3.50", Some(Value::Float(3.5)));
        check("-0.5", Some(Value::Float(-0.5)));
        for text in ["007", "1e5", "+1", "1.", ".5", "-", "1,000", "18446744073709551616", "1.2.3", "True", " 1", "inf"]
        {
            check(text, Some(text.into()));
        }
    }

    fn check(cell: &str, value: Option<Value>) {
        assert_eq!(value_of(cell), value, "{cell}");
    }

    proptest! {
        /// Rows are told apart where the `csv` crate would, had it the whole table.
        #[test]
        fn rows_end_where_they_should(table in r#"([ab\n",]|"a,\n"){0,30}"#) {
            let mut reader = ReaderBuilder::new()
                .terminator(Terminator::Any(b'\n'))
                .has_headers(false)
                .flexible(true)
                .from_reader(table.as_bytes());
            let expected: Vec<ByteRecord> = reader.byte_records().map(Result::unwrap).collect();
            let mut rows = Rows::new(table.as_bytes(), b',', 1000);
            let mut found = Vec::new();
            let mut is_open = false;
            while let Some(row) = rows.read() {
                is_open = row.is_err();
                if is_open {
                    break;
                }
                found.push(rows.cells());
            }
            let expected = if is_open { &expected[..expected.len() - 1] } else { &expected[..] };
            prop_assert_eq!(&found[..], expected);
        }
    }
}
