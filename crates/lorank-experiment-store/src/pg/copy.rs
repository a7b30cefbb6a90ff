//! The copy of a store into a database of PostgreSQL.
//!
//! Rows that are there already stay, so a copy that was interrupted is finished by another one.

use serde_json::{Map, Value as Json};

use super::insert::{EVENTS, EXPOSURES, SHADOWS};
use crate::database::{Database, DatabaseError, Mode, Row, Transaction};
use crate::{Copied, ExperimentStoreError, definitions, judgments, read};

/// The number of rows of a transaction.
const CHUNK: i64 = 5_000;

const WHAT: &str = "copy the records";

/// A column, by its name and how it is read.
type Column = (&'static str, fn(&dyn Row, usize) -> Result<Json, DatabaseError>);

/// A table, its columns, and the statement that inserts its rows from JSON.
struct Table {
    name: &'static str,
    columns: &'static [Column],
    insert: &'static str,
}

const TABLES: [Table; 3] = [
    Table {
        name: "exposures",
        columns: &[
            ("request_id", text),
            ("experiment", text),
            ("unit", text),
            ("arm", integer),
            ("arm_name", text),
            ("forced", integer),
            ("teams", hex),
            ("arms", text),
            ("index_name", text),
            ("query", text),
            ("hits", text),
            ("first_rank", integer),
            ("latency_micros", integer),
            ("fallback", text),
            ("model", text),
            ("at_millis", integer),
        ],
        insert: EXPOSURES,
    },
    Table {
        name: "events",
        columns: &[
            ("event_id", text),
            ("query_id", text),
            ("client_id", text),
            ("session_id", text),
            ("action_name", text),
            ("object_id", text),
            ("object_id_field", text),
            ("ordinal", integer),
            ("message", text),
            ("attributes", text),
            ("value", real),
            ("at_millis", integer),
            ("received_millis", integer),
        ],
        insert: EVENTS,
    },
    Table {
        name: "shadows",
        columns: &[
            ("request_id", text),
            ("name", text),
            ("candidate", text),
            ("rbo", real),
            ("kendall_tau", real),
            ("overlap_at_10", real),
            ("failure", text),
            ("latency_micros", integer),
            ("at_millis", integer),
        ],
        insert: SHADOWS,
    },
];

/// Copies all experiments, judgments and records, in the order in which they came.
pub(crate) fn copy(from: &dyn Database, to: &dyn Database) -> Result<Copied, ExperimentStoreError> {
    let snapshot = read::snapshot(from)?;
    let mut copied = Copied { n_experiments: copy_experiments(&*snapshot, to)?, ..Copied::default() };
    let counts = [&mut copied.n_exposures, &mut copied.n_events, &mut copied.n_shadows];
    for (table, n) in TABLES.iter().zip(counts) {
        *n = copy_table(&*snapshot, to, table).map_err(ExperimentStoreError::database(WHAT))?;
    }
    let judged = judgments::all(&*snapshot)?;
    copied.n_judgments = judged.len() as u64;
    if !judged.is_empty() {
        judgments::write(to, &judged, judgments::Known::Keep, usize::MAX)?;
    }
    Ok(copied)
}

/// Copies experiments. One that is there with another definition is an error, because its records would be mixed.
fn copy_experiments(from: &dyn Database, to: &dyn Database) -> Result<u64, ExperimentStoreError> {
    let transaction = Transaction::begin(to, Mode::Write).map_err(ExperimentStoreError::database(WHAT))?;
    let present = definitions::all(&*transaction)?;
    let mut n_copied = 0;
    for experiment in definitions::all(from)? {
        match present.iter().find(|other| other.id == experiment.id) {
            Some(other) if *other == experiment => {}
            Some(_) => return Err(ExperimentStoreError::Exists { experiment: experiment.id }),
            None => {
                definitions::put(&*transaction, &experiment)?;
                n_copied += 1;
            }
        }
    }
    let done = transaction.count_change().and_then(|()| transaction.commit());
    done.map_err(ExperimentStoreError::database(WHAT))?;
    Ok(n_copied)
}

fn copy_table(from: &dyn Database, to: &dyn Database, table: &Table) -> Result<u64, DatabaseError> {
    let columns: Vec<&str> = table.columns.iter().map(|(name, _)| *name).collect();
    let sql = format!("SELECT seq, {} FROM {} WHERE seq > ?1 ORDER BY seq LIMIT ?2", columns.join(", "), table.name);
    let (mut after, mut n_copied) = (i64::MIN, 0);
    loop {
        let rows = from.all(&sql, &[after.into(), CHUNK.into()], |row| {
            let mut json = Map::new();
            for (at, (name, read)) in table.columns.iter().enumerate() {
                json.insert((*name).to_owned(), read(row, at + 1)?);
            }
            Ok((row.an_integer(0)?, Json::Object(json)))
        })?;
        let Some((last, _)) = rows.last() else { return Ok(n_copied) };
        after = *last;
        let rows = Json::from_iter(rows.into_iter().map(|(_, row)| row)).to_string();
        let transaction = Transaction::begin(to, Mode::Write)?;
        n_copied += transaction.all(table.insert, &[(&rows).into()], |_| Ok(()))?.len() as u64;
        transaction.commit()?;
    }
}

fn text(row: &dyn Row, column: usize) -> Result<Json, DatabaseError> {
    Ok(row.text(column)?.map(|text| super::clean(&text).into_owned()).into())
}

fn integer(row: &dyn Row, column: usize) -> Result<Json, DatabaseError> {
    Ok(row.integer(column)?.into())
}

fn real(row: &dyn Row, column: usize) -> Result<Json, DatabaseError> {
    Ok(row.real(column)?.into())
}

fn hex(row: &dyn Row, column: usize) -> Result<Json, DatabaseError> {
    Ok(row.blob(column)?.map(|bytes| super::insert::hex(&bytes)).into())
}
