//! What the fuzz targets of `fuzz/` call, and the test that runs their saved corpora. No part of the library's interface.

use std::io::Cursor;
use std::sync::Arc;

use lorank_core::{Query, QuerySyntax};

use crate::input::{self, BadLine, JsonForm, SourcedDocument, table};
use crate::{Index, IndexSettings, query};

/// Small enough that inputs of a few hundred bytes pass it.
const LINE_BYTES_MAX: usize = 200;

/// Reads JSON lines; the number of documents and of bad lines.
pub fn read_json_lines(bytes: &[u8]) -> [usize; 2] {
    let reader = Box::new(Cursor::new(bytes.to_vec()));
    count(input::json(reader, JsonForm::Lines, "fuzz", &IndexSettings::default(), LINE_BYTES_MAX))
}

/// Reads a CSV or TSV table; the number of rows and of bad ones. A table without a header counts as a bad row.
pub fn read_table(bytes: &[u8], delimiter: u8) -> [usize; 2] {
    let reader = Box::new(Cursor::new(bytes.to_vec()));
    match table(reader, delimiter, Arc::new(IndexSettings::default()), LINE_BYTES_MAX) {
        Ok(rows) => count(rows),
        Err(_) => [0, 1],
    }
}

/// Reads the settings of an index, and reads again what they are written as; whether they are settings.
///
/// # Panics
/// If they do not come back as they were.
pub fn read_index_settings(bytes: &[u8]) -> bool {
    let Ok(read) = IndexSettings::from_file(bytes) else { return false };
    let again = IndexSettings::from_file(&read.to_file());
    assert!(again.is_ok_and(|again| again == read), "settings come back as they were written");
    true
}

/// Reads an advanced query; whether it is one.
pub fn read_advanced_query(text: &str, index: &Index) -> bool {
    let query = Query { syntax: QuerySyntax::Advanced, ..Query::new(text) };
    index.searcher().is_ok_and(|searcher| query::build(&query, index.parts(), &searcher).is_ok())
}

/// Stops at an error after which there is no going on, as the callers of readers do.
fn count(documents: impl Iterator<Item = Result<SourcedDocument, BadLine>>) -> [usize; 2] {
    let mut counts = [0, 0];
    for document in documents {
        let is_last = document.as_ref().is_err_and(|bad| !bad.cause.is_about_a_document());
        counts[usize::from(document.is_err())] += 1;
        if is_last {
            break;
        }
    }
    counts
}
