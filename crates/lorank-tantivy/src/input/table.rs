//! CSV and TSV tables with a header.
//!
//! A cell of the id column or of a text field is a text. Elsewhere a cell in plain decimal notation (`-12`, `3.50`; no
//! leading zeros, no exponent) is a number and `true` and `false` are booleans, so that filters find them as what they
//! are; an empty cell is no value, and all else is a text.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use csv::{ByteRecord, QuoteStyle, ReaderBuilder, WriterBuilder};
use lorank_core::{Fields, Value};

use crate::input::source::Source;
use crate::input::{BadLine, Context, SourcedDocument};
use crate::{Document, Error};

/// The documents of a table whose cells are parted by `delimiter`. The header is read at once.
pub(super) fn documents(
    source: Source,
    delimiter: u8,
    context: Context,
) -> Result<impl Iterator<Item = Result<SourcedDocument, BadLine>> + Send, BadLine> {
    let mut table = Table::new(source, delimiter, context);
    let header = table.header()?;
    let mut row = ByteRecord::new();
    Ok(std::iter::from_fn(move || match table.read(&mut row) {
        Ok(false) => None,
        Ok(true) => {
            let document = document(&row, &header, &table.context);
            let line = row.position().map(|position| position.line());
            Some(table.context.sourced(line, || table.raw(&row), document))
        }
        Err(cause) => Some(Err(table.fatal(cause))),
    }))
}

struct Table {
    reader: csv::Reader<Limited>,
    row_bytes: Arc<AtomicUsize>,
    delimiter: u8,
    context: Context,
}

/// A column: its name, and whether its cells are always texts.
struct Column {
    name: String,
    is_text: bool,
}

impl Table {
    fn new(source: Source, delimiter: u8, context: Context) -> Self {
        let row_bytes = Arc::new(AtomicUsize::new(0));
        let limited = Limited { inner: source, row_bytes: row_bytes.clone(), bytes_max: context.bytes_max };
        // Rows are counted here, with their line and both numbers of cells in the error. Tabs part cells that are never
        // quoted: a quote at the beginning of a cell is a character like others there.
        let reader = ReaderBuilder::new()
            .delimiter(delimiter)
            .quoting(delimiter == b',')
            .has_headers(false)
            .flexible(true)
            .from_reader(limited);
        Self { reader, row_bytes, delimiter, context }
    }

    /// Reads the next row, if there is one.
    fn read(&mut self, row: &mut ByteRecord) -> Result<bool, Error> {
        self.row_bytes.store(0, Ordering::Relaxed);
        let line = self.reader.position().line();
        self.reader.read_byte_record(row).map_err(|error| {
            if self.row_bytes.load(Ordering::Relaxed) > self.context.bytes_max {
                let bytes_max = self.context.bytes_max;
                return self.problem(format!(
                    "the row that begins on line {line} is longer than {bytes_max} bytes; is a quote left open in it?"
                ));
            }
            let source = match error.into_kind() {
                csv::ErrorKind::Io(source) => source,
                other => io::Error::new(io::ErrorKind::InvalidData, format!("{other:?}")),
            };
            Error::BrokenInput { source }
        })
    }

    fn header(&mut self) -> Result<Vec<Column>, BadLine> {
        let mut row = ByteRecord::new();
        self.read(&mut row).and_then(|_| self.columns(&row)).map_err(|cause| self.fatal(cause))
    }

    fn columns(&self, row: &ByteRecord) -> Result<Vec<Column>, Error> {
        let settings = &self.context.settings;
        let mut columns: Vec<Column> = Vec::with_capacity(row.len());
        for cell in row {
            let name = utf8(cell)?.to_owned();
            if columns.iter().any(|column| column.name == name) {
                return Err(self.problem(format!("its header names the column `{name}` twice")));
            }
            let is_text = name == settings.id_field || name == "_id" || settings.is_text_field(&name);
            columns.push(Column { name, is_text });
        }
        let has = |wanted: &str| columns.iter().any(|column| column.name == wanted);
        let names = || columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ");
        if columns.is_empty() {
            Err(self.problem("it has no header: its first line names the columns".to_owned()))
        } else if !has(&settings.id_field) && !has("_id") {
            Err(self.problem(format!("it has no column `{}`, only {}", settings.id_field, names())))
        } else if !settings.text_fields.iter().any(|field| has(&field.name)) {
            Err(self.problem(format!("none of its columns is searched; they are {}", names())))
        } else {
            Ok(columns)
        }
    }

    fn problem(&self, problem: String) -> Error {
        Error::InvalidInput { input: self.context.file.to_string(), problem }
    }

    fn fatal(&self, cause: Error) -> BadLine {
        let line = Some(self.reader.position().line());
        BadLine { origin: self.context.origin(line), raw: Vec::new(), cause: Box::new(cause) }
    }

    /// The row as it would stand in a table.
    fn raw(&self, row: &ByteRecord) -> Vec<u8> {
        let quote_style = if self.delimiter == b',' { QuoteStyle::Necessary } else { QuoteStyle::Never };
        let mut writer = WriterBuilder::new()
            .delimiter(self.delimiter)
            .quote_style(quote_style)
            .flexible(true)
            .from_writer(Vec::new());
        writer.write_byte_record(row).expect("a vector takes every row");
        let mut raw = writer.into_inner().expect("a vector takes every row");
        raw.pop();
        raw
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

/// Fails where a row is over the limit: an open quote would swallow the rest of the file.
struct Limited {
    inner: Source,
    /// The bytes read since the last row.
    row_bytes: Arc<AtomicUsize>,
    bytes_max: usize,
}

impl Read for Limited {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        let before = self.row_bytes.fetch_add(n, Ordering::Relaxed);
        // What is read ahead in one go does not count: it may hold many rows.
        if before > self.bytes_max { Err(io::Error::other("a row over the limit")) } else { Ok(n) }
    }
}

#[cfg(test)]
mod tests {
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
}
