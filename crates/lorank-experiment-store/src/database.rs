//! A database, as the store uses it: SQL with numbered parameters, rows by column, and transactions.
//!
//! The statements of this crate are written once, in the SQL that SQLite and PostgreSQL have in common. What differs is
//! behind [`Database`]: the schema, the insertion of many rows, and how a change of another process is seen.

use std::error::Error;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use crate::Unattributed;
use crate::rows::Rows;

/// A value of a parameter.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Value<'a> {
    Null,
    Integer(i64),
    Text(&'a str),
}

/// A row of a result. Columns are counted from 0.
pub(crate) trait Row {
    fn integer(&self, column: usize) -> Result<Option<i64>, DatabaseError>;
    fn real(&self, column: usize) -> Result<Option<f64>, DatabaseError>;
    fn text(&self, column: usize) -> Result<Option<String>, DatabaseError>;
    fn blob(&self, column: usize) -> Result<Option<Vec<u8>>, DatabaseError>;
}

/// What a transaction is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// All reads see the same state.
    Read,
    /// No other transaction writes at the same time, so rows become visible in the order of their numbers.
    Write,
}

/// A connection to a database with the store's tables.
pub(crate) trait Database: Send {
    /// Runs a statement. Returns the number of changed rows.
    fn execute(&self, sql: &str, params: &[Value<'_>]) -> Result<u64, DatabaseError>;

    /// Calls `visit` with each row. `visit` cannot use the database.
    fn each(
        &self,
        sql: &str,
        params: &[Value<'_>],
        visit: &mut dyn FnMut(&dyn Row) -> Result<(), DatabaseError>,
    ) -> Result<(), DatabaseError>;

    /// Begins a transaction; [`Transaction::begin`] also ends it.
    fn begin(&self, mode: Mode) -> Result<(), DatabaseError>;

    fn commit(&self) -> Result<(), DatabaseError>;

    fn rollback(&self);

    /// Inserts new rows, inside a transaction. Returns, for each entry, the number of rows that are new, and of new
    /// events that belong to no answer.
    fn insert(&self, rows: &[&Rows]) -> Result<Vec<(usize, Unattributed)>, DatabaseError>;

    /// A number that changes when another connection has changed an experiment.
    fn version(&self) -> Result<i64, DatabaseError>;

    /// Lets other connections see that an experiment has changed, inside a transaction.
    fn count_change(&self) -> Result<(), DatabaseError> {
        Ok(())
    }
}

/// An error of a database.
#[derive(Debug, Clone)]
pub(crate) struct DatabaseError {
    pub(crate) source: Arc<dyn Error + Send + Sync>,
    /// Whether the same statement may succeed later: another process holds a lock, or the server is away.
    pub(crate) is_passing: bool,
}

impl DatabaseError {
    pub(crate) fn new(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        let source: Box<dyn Error + Send + Sync> = source.into();
        Self { source: source.into(), is_passing: false }
    }
}

impl fmt::Display for DatabaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}

impl Error for DatabaseError {}

impl dyn Database + '_ {
    /// All rows, read one by one.
    pub(crate) fn all<T>(
        &self,
        sql: &str,
        params: &[Value<'_>],
        mut read: impl FnMut(&dyn Row) -> Result<T, DatabaseError>,
    ) -> Result<Vec<T>, DatabaseError> {
        let mut all = Vec::new();
        self.each(sql, params, &mut |row| {
            all.push(read(row)?);
            Ok(())
        })?;
        Ok(all)
    }

    /// The first row, if there is one.
    pub(crate) fn first<T>(
        &self,
        sql: &str,
        params: &[Value<'_>],
        read: impl FnMut(&dyn Row) -> Result<T, DatabaseError>,
    ) -> Result<Option<T>, DatabaseError> {
        Ok(self.all(sql, params, read)?.into_iter().next())
    }

    /// The number in the only row and column.
    pub(crate) fn number(&self, sql: &str, params: &[Value<'_>]) -> Result<i64, DatabaseError> {
        let found = self.first(sql, params, |row| row.integer(0))?.flatten();
        found.ok_or_else(|| DatabaseError::new("a number is missing"))
    }

    /// Whether a query finds a row.
    pub(crate) fn exists(&self, sql: &str, params: &[Value<'_>]) -> Result<bool, DatabaseError> {
        Ok(self.first(sql, params, |_| Ok(()))?.is_some())
    }
}

impl dyn Row + '_ {
    pub(crate) fn an_integer(&self, column: usize) -> Result<i64, DatabaseError> {
        self.integer(column)?.ok_or_else(|| missing(column))
    }

    /// A count or a rank; a negative one is damaged.
    pub(crate) fn a_count<T: TryFrom<i64>>(&self, column: usize) -> Result<T, DatabaseError> {
        let n = self.an_integer(column)?;
        n.try_into().map_err(|_| DatabaseError::new(format!("column {column} is {n}, which is out of range")))
    }

    pub(crate) fn a_text(&self, column: usize) -> Result<String, DatabaseError> {
        self.text(column)?.ok_or_else(|| missing(column))
    }
}

fn missing(column: usize) -> DatabaseError {
    DatabaseError::new(format!("column {column} has no value"))
}

impl From<i64> for Value<'_> {
    fn from(n: i64) -> Self {
        Self::Integer(n)
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a String> for Value<'a> {
    fn from(text: &'a String) -> Self {
        Self::Text(text)
    }
}

impl<'a, T> From<Option<T>> for Value<'a>
where
    Value<'a>: From<T>,
{
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Self::from)
    }
}

/// SQLite's and PostgreSQL's integers are signed.
pub(crate) fn clamped(n: impl TryInto<i64>) -> i64 {
    n.try_into().unwrap_or(i64::MAX)
}

/// `?1, ?2, ..`: as many parameters as there are values, from the given number on.
pub(crate) fn placeholders(first: usize, n: usize) -> String {
    (first..first + n).map(|n| format!("?{n}")).collect::<Vec<_>>().join(", ")
}

/// A transaction that is rolled back when it is dropped before its commit.
pub(crate) struct Transaction<'a> {
    database: &'a dyn Database,
    is_open: bool,
}

impl<'a> Transaction<'a> {
    pub(crate) fn begin(database: &'a dyn Database, mode: Mode) -> Result<Self, DatabaseError> {
        database.begin(mode)?;
        Ok(Self { database, is_open: true })
    }

    pub(crate) fn commit(mut self) -> Result<(), DatabaseError> {
        // A failed commit has ended the transaction, or is rolled back by the drop.
        self.database.commit()?;
        self.is_open = false;
        Ok(())
    }
}

impl<'a> Deref for Transaction<'a> {
    type Target = dyn Database + 'a;

    fn deref(&self) -> &Self::Target {
        self.database
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if self.is_open {
            self.database.rollback();
        }
    }
}
