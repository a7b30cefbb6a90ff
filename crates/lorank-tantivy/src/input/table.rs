//! CSV and TSV tables with a header.
//!
//! Cells of the id column and of text fields are texts. For filters, other cells in decimal notation (`-12`, `3.50`, without leading
//! zeros) are numbers that keep their digits, and `true` and `false` are booleans in any case (spreadsheets write `TRUE`). Empty cells
//! have no value; all other cells are texts. A cell with an exponent is a number if the exponent has a sign or follows a decimal point
//! (`1e-05`, `1.5E3`), because `1E5` and `12E4567` are likely codes.

use std::io::{self, Cursor, Read};

use lorank_core::{Decimal, Fields, Value};

use crate::document::likely_text_field;
use crate::input::delimiter::CellStyle;
use crate::input::rows::{Row, TableReader};
use crate::input::source::Source;
use crate::input::{BadLine, Context, SourcedDocument};
use crate::{Document, Error, IndexSettings};

/// The documents of a table. The header is read immediately.
pub(super) fn documents(
    source: Source,
    style: CellStyle,
    context: Context,
) -> Result<impl Iterator<Item = Result<SourcedDocument, BadLine>> + Send, BadLine> {
    let broken = |source| BadLine {
        origin: context.origin(Some(1)),
        raw: Vec::new(),
        cause: Box::new(Error::BrokenInput { source }),
    };
    let mut table = TableReader::new(without_mark(source).map_err(broken)?, style, context.bytes_max);
    let header = match table.read() {
        None => Err(context.problem("it has no header; the first line must have the names of the columns".to_owned())),
        Some(row) => row.and_then(|row| columns(&row, &context)),
    };
    // A table with an invalid header cannot be read.
    let header = header.map_err(|cause| {
        let cause = if cause.is_about_a_document() { context.problem(format!("its header: {cause}")) } else { cause };
        BadLine { origin: context.origin(Some(1)), raw: Vec::new(), cause: Box::new(cause) }
    })?;
    Ok(std::iter::from_fn(move || {
        let document = table.read()?.and_then(|row| document(&row, &header, &context));
        Some(context.sourced(Some(table.line()), || table.raw().to_vec(), document))
    }))
}

const MARK: &[u8] = b"\xef\xbb\xbf";

/// A column with its name, and whether its cells are always texts.
struct Column {
    name: String,
    is_text: bool,
}

fn columns(header: &Row<'_>, context: &Context) -> Result<Vec<Column>, Error> {
    let settings = &context.settings;
    let mut columns: Vec<Column> = Vec::with_capacity(header.n_cells());
    for cell in header.cells() {
        let name = utf8(cell)?.to_owned();
        // Spreadsheets write columns without a name and without values.
        if !name.is_empty() && columns.iter().any(|column| column.name == name) {
            return Err(context.problem(format!("its header names the column `{name}` twice")));
        }
        let is_text = settings.is_id_field(&name) || settings.is_text_field(&name);
        columns.push(Column { name, is_text });
    }
    check_columns(columns, context)
}

/// Rejects tables without a required id column, or without a searched column.
fn check_columns(columns: Vec<Column>, context: &Context) -> Result<Vec<Column>, Error> {
    let settings = &context.settings;
    if let [only] = columns.as_slice()
        && let Some((separator, name)) = SEPARATORS.iter().find(|(separator, _)| only.name.contains(*separator))
    {
        let problem = format!(
            "its header is one column, `{}`, with {name} in it; if they separate the columns, give them as the delimiter \
             (`--delimiter '{separator}'`)",
            only.name.escape_debug(),
            separator = separator.escape_default()
        );
        return Err(context.problem(problem));
    }
    let has = |wanted: &str| columns.iter().any(|column| column.name == wanted);
    // In backticks, so that spaces around a name are visible.
    let names = || columns.iter().map(|column| format!("`{}`", column.name)).collect::<Vec<_>>().join(", ");
    let text_fields = || settings.text_fields.iter().map(|field| field.name.as_str());
    let id_hint = renaming(&columns, [settings.id_field(), "_id"]);
    let has_id = has(settings.id_field()) || has("_id");
    if !has_id && (settings.id_field.is_some() || id_hint.is_some()) {
        let hint = id_hint.unwrap_or_default();
        return Err(context.problem(format!("it has no column `{}`, only {}{hint}", settings.id_field(), names())));
    }
    if !text_fields().any(has) {
        let hint = renaming(&columns, text_fields()).unwrap_or_else(|| searching(&columns, settings));
        return Err(context.problem(format!("none of its columns is searched; they are {}{hint}", names())));
    }
    Ok(columns)
}

/// Alternatives to the comma as separator, with their names.
const SEPARATORS: [(char, &str); 4] = [('\t', "tabs"), (';', "semicolons"), ('|', "bars"), (',', "commas")];

/// A hint for a column whose name differs from an expected one only in case or surrounding spaces.
fn renaming<'a>(columns: &[Column], wanted: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let is_like = |column: &&Column, wanted: &str| column.name.trim().eq_ignore_ascii_case(wanted);
    let pair = wanted.into_iter().find_map(|wanted| Some((columns.iter().find(|c| is_like(c, wanted))?, wanted)));
    pair.map(|(column, wanted)| format!("; rename `{}` to `{wanted}`", column.name))
}

/// A hint for searching the column that is most likely the text.
fn searching(columns: &[Column], settings: &IndexSettings) -> String {
    let names = columns.iter().map(|column| column.name.as_str()).filter(|name| !settings.is_id_field(name));
    likely_text_field(names).map_or_else(String::new, |name| format!("; to search one, index with `--field {name}`"))
}

fn document(row: &Row<'_>, header: &[Column], context: &Context) -> Result<Document, Error> {
    if row.n_cells() != header.len() {
        return Err(Error::WrongNumberOfCells { n_cells: row.n_cells(), n_columns: header.len() });
    }
    let mut fields = Fields::with_capacity(row.n_cells());
    for ((cell, column), number) in row.cells().zip(header).zip(1..) {
        let cell = utf8(cell)?;
        if column.name.is_empty() {
            if cell.is_empty() {
                continue;
            }
            return Err(Error::UnnamedColumn { column: number, value: cell.to_owned() });
        }
        let value = if column.is_text { Some(cell.into()) } else { value_of(cell) };
        fields.extend(value.map(|value| (column.name.clone(), value)));
    }
    Document::from_fields(fields, &context.settings)
}

/// The source without a byte order mark.
fn without_mark(mut source: Source) -> io::Result<impl Read + Send> {
    let mut first = Vec::new();
    (&mut source).take(MARK.len() as u64).read_to_end(&mut first)?;
    if first == MARK {
        first.clear();
    }
    Ok(Cursor::new(first).chain(source))
}

fn utf8(cell: &[u8]) -> Result<&str, Error> {
    str::from_utf8(cell).map_err(|error| Error::NotUtf8 { column: error.valid_up_to() + 1 })
}

fn value_of(cell: &str) -> Option<Value> {
    match cell {
        "" => None,
        "true" | "True" | "TRUE" => Some(Value::Bool(true)),
        "false" | "False" | "FALSE" => Some(Value::Bool(false)),
        _ => Some(number_of(cell).unwrap_or_else(|| cell.into())),
    }
}

/// The number in a cell. Integers that do not fit in 64 bits are texts.
fn number_of(cell: &str) -> Option<Value> {
    let decimal = Decimal::parse(cell)?;
    let is_whole = !cell.contains(['.', 'e', 'E']) && cell != "-0";
    if is_whole {
        let integer = cell.parse().ok().map(Value::Integer);
        return integer.or_else(|| cell.parse().ok().map(Value::Unsigned));
    }
    let has_plain_exponent =
        cell.contains(['e', 'E']) && !cell.contains(['.', '+']) && !cell.contains("e-") && !cell.contains("E-");
    let is_as_printed = serde_json::to_string(&decimal.value()).is_ok_and(|printed| printed == cell);
    match (has_plain_exponent, is_as_printed) {
        (true, _) => None,
        (false, true) => Some(Value::Float(decimal.value())),
        (false, false) => Some(Value::Decimal(decimal)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_become_what_they_say() {
        check("", None);
        for cell in ["true", "True", "TRUE"] {
            check(cell, Some(Value::Bool(true)));
        }
        for cell in ["false", "False", "FALSE"] {
            check(cell, Some(Value::Bool(false)));
        }
        check("12", Some(Value::Integer(12)));
        check("-12", Some(Value::Integer(-12)));
        check("0", Some(Value::Integer(0)));
        check("18446744073709551615", Some(Value::Unsigned(u64::MAX)));
        check("-0.5", Some(Value::Float(-0.5)));
        check("1e-7", Some(Value::Float(1e-7)));
        check("-3.2e+20", Some(Value::Float(-3.2e20)));
        for digits in ["3.50", "-0", "1e-05", "1E+05", "1.5E3", "-3.2E20", "0.10", "2.00"] {
            check(digits, Decimal::parse(digits).map(Value::Decimal));
        }
        for text in [
            "007",
            "1e5",
            "12E4567",
            "+1",
            "1_000",
            "1e999",
            "1.",
            ".5",
            "-",
            "1,000",
            "18446744073709551616",
            "1.2.3",
            "tRUE",
            " 1",
            "inf",
        ] {
            check(text, Some(text.into()));
        }
    }

    fn check(cell: &str, value: Option<Value>) {
        assert_eq!(value_of(cell), value, "{cell}");
    }
}
