//! The store in a database of PostgreSQL, which servers on several machines share.
//!
//! Transactions that write take turns by an advisory lock, as those of a SQLite file do: the numbers of rows then grow in
//! the order in which rows become visible, on which incremental reports rely. Each server writes many rows at a time, so
//! turns are short.

mod copy;
mod insert;
mod schema;
mod server;
mod url;

use std::cell::{RefCell, RefMut};
use std::collections::HashMap;
use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use postgres::fallible_iterator::FallibleIterator;
use postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use postgres::{Client, Statement};

pub(crate) use self::copy::copy;
use self::server::Connector;
pub(crate) use self::server::{Reader, Server};
pub use self::url::StoreUrl;
use crate::Unattributed;
use crate::database::{Database, DatabaseError, Mode, Row, Value};
use crate::rows::Rows;

/// A connection, which is made again after it broke.
pub(crate) struct Postgres {
    connector: Arc<Connector>,
    client: RefCell<Client>,
    /// By their text in the crate.
    statements: RefCell<HashMap<String, Statement>>,
}

/// The maximum number of prepared statements of a connection.
const STATEMENTS_MAX: usize = 64;

/// The time limit of checking an idle connection.
const VALID_LIMIT: Duration = Duration::from_secs(2);

/// Waits for the turn to write. Each schema of a database has its own.
const TAKE_TURN: &str = "SELECT pg_advisory_xact_lock(hashtext('lorank ' || current_schema()))";

impl Postgres {
    fn new(connector: Arc<Connector>, client: Client) -> Self {
        Self { connector, client: RefCell::new(client), statements: RefCell::default() }
    }

    /// Whether the server answers.
    fn is_valid(&self) -> bool {
        self.client.borrow_mut().is_valid(VALID_LIMIT).is_ok()
    }

    /// The connection, outside of a transaction: a broken one is replaced.
    fn fresh(&self) -> Result<RefMut<'_, Client>, DatabaseError> {
        let mut client = self.client.borrow_mut();
        if client.is_closed() {
            *client = self.connector.connect()?;
            self.statements.borrow_mut().clear();
        }
        Ok(client)
    }

    fn statement(&self, sql: &str, client: &mut Client) -> Result<Statement, DatabaseError> {
        if let Some(statement) = self.statements.borrow().get(sql) {
            return Ok(statement.clone());
        }
        let statement = client.prepare(&sql.replace('?', "$"))?;
        let mut statements = self.statements.borrow_mut();
        // Lists of parameters have many lengths.
        if statements.len() >= STATEMENTS_MAX {
            statements.clear();
        }
        statements.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }
}

impl Database for Postgres {
    fn execute(&self, sql: &str, params: &[Value<'_>]) -> Result<u64, DatabaseError> {
        let mut client = self.client.borrow_mut();
        let statement = self.statement(sql, &mut client)?;
        let params: Vec<&(dyn ToSql + Sync)> = params.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
        Ok(client.execute(&statement, &params)?)
    }

    fn each(
        &self,
        sql: &str,
        params: &[Value<'_>],
        visit: &mut dyn FnMut(&dyn Row) -> Result<(), DatabaseError>,
    ) -> Result<(), DatabaseError> {
        let mut client = self.client.borrow_mut();
        let statement = self.statement(sql, &mut client)?;
        let mut rows = client.query_raw(&statement, params.iter().map(|value| value as &dyn ToSql))?;
        while let Some(row) = rows.next()? {
            visit(&row)?;
        }
        Ok(())
    }

    fn begin(&self, mode: Mode) -> Result<(), DatabaseError> {
        let sql = match mode {
            Mode::Read => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY".to_owned(),
            Mode::Write => format!("BEGIN; {TAKE_TURN}"),
        };
        let mut client = self.fresh()?;
        let Err(error) = client.batch_execute(&sql) else { return Ok(()) };
        if !client.is_closed() {
            drop(client.batch_execute("ROLLBACK"));
            return Err(error.into());
        }
        // The server was restarted since the connection was used.
        drop(client);
        Ok(self.fresh()?.batch_execute(&sql)?)
    }

    fn commit(&self) -> Result<(), DatabaseError> {
        Ok(self.client.borrow_mut().batch_execute("COMMIT")?)
    }

    fn rollback(&self) {
        let mut client = self.client.borrow_mut();
        // The server rolls back what a broken connection has begun.
        if !client.is_closed()
            && let Err(error) = client.batch_execute("ROLLBACK")
        {
            tracing::error!(%error, "could not roll back a transaction of the experiment store");
        }
    }

    fn insert(&self, rows: &[&Rows]) -> Result<Vec<(usize, Unattributed)>, DatabaseError> {
        insert::insert(self, rows)
    }

    fn version(&self) -> Result<i64, DatabaseError> {
        drop(self.fresh()?);
        let this: &dyn Database = self;
        this.number("SELECT n FROM counters WHERE name = 'changes'", &[])
    }

    fn count_change(&self) -> Result<(), DatabaseError> {
        self.execute("UPDATE counters SET n = n + 1 WHERE name = 'changes'", &[]).map(drop)
    }
}

impl Row for postgres::Row {
    fn integer(&self, column: usize) -> Result<Option<i64>, DatabaseError> {
        Ok(self.try_get(column)?)
    }

    fn real(&self, column: usize) -> Result<Option<f64>, DatabaseError> {
        Ok(self.try_get(column)?)
    }

    fn text(&self, column: usize) -> Result<Option<String>, DatabaseError> {
        Ok(self.try_get(column)?)
    }

    fn blob(&self, column: usize) -> Result<Option<Vec<u8>>, DatabaseError> {
        Ok(self.try_get(column)?)
    }
}

impl ToSql for Value<'_> {
    fn to_sql(
        &self,
        kind: &Type,
        out: &mut postgres::types::private::BytesMut,
    ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match *self {
            Self::Null => Ok(IsNull::Yes),
            Self::Integer(n) => n.to_sql(kind, out),
            Self::Text(text) => clean(text).to_sql(kind, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// A text without the character that PostgreSQL's texts cannot have.
fn clean(text: &str) -> std::borrow::Cow<'_, str> {
    if text.contains('\0') { text.replace('\0', "\u{fffd}").into() } else { text.into() }
}

impl From<postgres::Error> for DatabaseError {
    fn from(error: postgres::Error) -> Self {
        let is_passing = is_passing(&error);
        Self { is_passing, ..Self::new(error) }
    }
}

/// Whether the server is away, or another transaction was in the way.
fn is_passing(error: &postgres::Error) -> bool {
    match error.code() {
        // Locks, serialization, shutdown and connections (<https://www.postgresql.org/docs/current/errcodes-appendix.html>).
        Some(state) => {
            let (class, code) = (&state.code()[..2], state.code());
            matches!(class, "08" | "40" | "57") || matches!(code, "55P03" | "53300")
        }
        None => error.is_closed() || error.source().is_some_and(|source| source.is::<io::Error>()),
    }
}
