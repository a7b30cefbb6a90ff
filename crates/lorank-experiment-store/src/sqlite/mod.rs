//! The store in a SQLite file.

mod insert;
mod schema;

use std::path::Path;

use rusqlite::Connection;
use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};

use crate::database::{Database, DatabaseError, Mode, Row, Value};
use crate::rows::Rows;
use crate::{ExperimentStoreError, Unattributed, attribution};

/// A connection to a file.
pub(crate) struct Sqlite {
    pub(crate) connection: Connection,
}

impl Sqlite {
    /// Opens the file for writing. Creates a missing file, and upgrades an old one.
    pub(crate) fn open(path: &Path) -> Result<Self, ExperimentStoreError> {
        schema::open(path).map(|connection| Self { connection })
    }

    /// Opens the file, which a writer has open, read-only.
    pub(crate) fn open_reader(path: &Path) -> Result<Self, ExperimentStoreError> {
        schema::open_reader(path).map(|connection| Self { connection })
    }
}

impl Database for Sqlite {
    fn execute(&self, sql: &str, params: &[Value<'_>]) -> Result<u64, DatabaseError> {
        let n = self.connection.prepare_cached(sql)?.execute(rusqlite::params_from_iter(params))?;
        Ok(n as u64)
    }

    fn each(
        &self,
        sql: &str,
        params: &[Value<'_>],
        visit: &mut dyn FnMut(&dyn Row) -> Result<(), DatabaseError>,
    ) -> Result<(), DatabaseError> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query(rusqlite::params_from_iter(params))?;
        while let Some(row) = rows.next()? {
            visit(row)?;
        }
        Ok(())
    }

    fn begin(&self, mode: Mode) -> Result<(), DatabaseError> {
        let sql = if mode == Mode::Write { "BEGIN IMMEDIATE" } else { "BEGIN" };
        Ok(self.connection.execute_batch(sql)?)
    }

    fn commit(&self) -> Result<(), DatabaseError> {
        Ok(self.connection.execute_batch("COMMIT")?)
    }

    fn rollback(&self) {
        // SQLite has rolled back after some errors already.
        if !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "could not roll back a transaction of the experiment store");
        }
    }

    fn insert(&self, rows: &[&Rows]) -> Result<Vec<(usize, Unattributed)>, DatabaseError> {
        rows.iter().map(|rows| insert_rows(&self.connection, rows)).collect::<rusqlite::Result<_>>().map_err(Into::into)
    }

    /// SQLite's count of other connections' changes, which costs no read of a table.
    fn version(&self) -> Result<i64, DatabaseError> {
        Ok(self.connection.pragma_query_value(None, "data_version", |row| row.get(0))?)
    }
}

/// Inserts new rows. Returns their number, and the number of events that belong to no answer.
fn insert_rows(connection: &Connection, rows: &Rows) -> rusqlite::Result<(usize, Unattributed)> {
    let (mut accepted, mut unattributed) = (0, Unattributed::default());
    match rows {
        Rows::Exposures(exposures) => {
            accepted = exposures.iter().map(|row| insert::exposure(connection, row)).sum::<rusqlite::Result<_>>()?;
        }
        Rows::Shadow(record) => accepted = insert::shadow(connection, record)?,
        Rows::Events { events, received_millis, clock_skew_millis } => {
            let sql = "SELECT at_millis, hits FROM exposures WHERE request_id = ?1";
            for event in events {
                if insert::event(connection, event, *received_millis)? > 0 {
                    accepted += 1;
                    let mut statement = connection.prepare_cached(sql)?;
                    let answers = statement.query_map([&event.query_id], |row| Ok((row.get(0)?, row.get(1)?)))?;
                    let answers = answers.collect::<rusqlite::Result<Vec<_>>>()?;
                    unattributed += attribution::unattributed(event, &answers, *clock_skew_millis);
                }
            }
        }
    }
    Ok((accepted, unattributed))
}

impl Row for rusqlite::Row<'_> {
    fn integer(&self, column: usize) -> Result<Option<i64>, DatabaseError> {
        Ok(self.get(column)?)
    }

    fn real(&self, column: usize) -> Result<Option<f64>, DatabaseError> {
        Ok(self.get(column)?)
    }

    fn text(&self, column: usize) -> Result<Option<String>, DatabaseError> {
        Ok(self.get(column)?)
    }

    fn blob(&self, column: usize) -> Result<Option<Vec<u8>>, DatabaseError> {
        Ok(self.get(column)?)
    }
}

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match *self {
            Self::Null => ValueRef::Null,
            Self::Integer(n) => ValueRef::Integer(n),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
        }))
    }
}

impl From<rusqlite::Error> for DatabaseError {
    fn from(error: rusqlite::Error) -> Self {
        let is_passing = schema::is_busy(&error);
        Self { is_passing, ..Self::new(error) }
    }
}
