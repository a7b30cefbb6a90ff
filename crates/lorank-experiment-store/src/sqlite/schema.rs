//! The tables of a SQLite file, and the migration of files of older versions.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use crate::ExperimentStoreError;

/// The application id of lorank's files ("lorE"), which distinguishes them from databases of other programs.
const APPLICATION_ID: i64 = 0x6c6f_7245;

/// The migrations; each upgrades a file from the schema of its index to the next. Released migrations never change.
const MIGRATIONS: &[&str] = &[
    "
    CREATE TABLE experiments (
        id TEXT PRIMARY KEY,
        state TEXT NOT NULL,
        definition TEXT NOT NULL
    ) STRICT;

    -- `experiment` is empty for an answer that no experiment was part of: a key with NULL in it is not unique.
    CREATE TABLE exposures (
        seq INTEGER PRIMARY KEY,
        request_id TEXT NOT NULL,
        experiment TEXT NOT NULL,
        unit TEXT,
        arm INTEGER,
        arm_name TEXT,
        forced INTEGER NOT NULL,
        teams BLOB,
        query TEXT NOT NULL,
        hits TEXT NOT NULL,
        latency_micros INTEGER NOT NULL,
        fallback TEXT,
        model TEXT,
        at_millis INTEGER NOT NULL,
        UNIQUE (request_id, experiment)
    ) STRICT;
    CREATE INDEX exposures_by_experiment ON exposures (experiment, at_millis);

    -- `at_millis` is the client's clock, `received_millis` ours.
    CREATE TABLE events (
        seq INTEGER PRIMARY KEY,
        event_id TEXT NOT NULL UNIQUE,
        query_id TEXT,
        client_id TEXT,
        session_id TEXT,
        action_name TEXT NOT NULL,
        object_id TEXT,
        object_id_field TEXT,
        ordinal INTEGER,
        message TEXT,
        attributes TEXT NOT NULL,
        at_millis INTEGER NOT NULL,
        received_millis INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX events_by_query ON events (query_id);

    CREATE TABLE shadows (
        seq INTEGER PRIMARY KEY,
        request_id TEXT NOT NULL,
        name TEXT NOT NULL,
        candidate TEXT NOT NULL,
        rbo REAL,
        kendall_tau REAL,
        overlap_at_10 REAL,
        failure TEXT,
        latency_micros INTEGER NOT NULL,
        at_millis INTEGER NOT NULL,
        UNIQUE (request_id, name, candidate)
    ) STRICT;
",
    "
    -- The index that was searched. Before a server could have several, it had no name.
    ALTER TABLE exposures ADD COLUMN index_name TEXT NOT NULL DEFAULT 'default';
",
    "
    ALTER TABLE exposures ADD COLUMN first_rank INTEGER NOT NULL DEFAULT 1;
    CREATE INDEX exposures_of_later_pages ON exposures (experiment) WHERE first_rank > 1;
",
    "
    -- Of interleaved answers, what each arm ranked, as JSON.
    ALTER TABLE exposures ADD COLUMN arms TEXT;
",
    "
    -- A number that an event carries, such as what was paid.
    ALTER TABLE events ADD COLUMN value REAL;
    UPDATE events SET value = json_extract(attributes, '$.value')
        WHERE json_type(attributes, '$.value') IN ('integer', 'real');
    CREATE INDEX events_with_value ON events (received_millis) WHERE value IS NOT NULL;

    -- The answers of a unit in the order in which they came. Without an experiment the unit is whom the request named.
    CREATE INDEX exposures_by_unit ON exposures (unit) WHERE unit IS NOT NULL;

    CREATE TABLE judgments (
        query TEXT NOT NULL,
        document TEXT NOT NULL,
        grade INTEGER NOT NULL,
        PRIMARY KEY (query, document)
    ) STRICT, WITHOUT ROWID;

    -- `rewrites` counts what changes or deletes rows that a report may have read.
    CREATE TABLE counters (name TEXT PRIMARY KEY, n INTEGER NOT NULL) STRICT;
    INSERT INTO counters VALUES ('rewrites', 0);
",
];

/// The number of attempts to get a lock held by another process, one every two milliseconds, for ten seconds. SQLite's own handler
/// waits up to tenths of a second between attempts, in which a busy writer takes the lock again.
const LOCK_TRIES_MAX: i32 = 5_000;

/// Opens the file for writing. Creates a missing file, and upgrades an old one.
pub(super) fn open(path: &Path) -> Result<Connection, ExperimentStoreError> {
    let mut connection = Connection::open(path).map_err(open_error(path))?;
    connection.busy_handler(Some(wait_for_lock)).map_err(open_error(path))?;
    migrate(&mut connection, path)?;
    set_up(&connection).map_err(open_error(path))?;
    Ok(connection)
}

/// Opens the file, which a writer has open, read-only.
pub(super) fn open_reader(path: &Path) -> Result<Connection, ExperimentStoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(open_error(path))?;
    connection.busy_handler(Some(wait_for_lock)).map_err(open_error(path))?;
    Ok(connection)
}

/// With `synchronous = FULL`, a commit in WAL mode returns after the log has been synced, and survives a loss of power.
/// (<https://www.sqlite.org/pragma.html#pragma_synchronous>)
fn set_up(connection: &Connection) -> rusqlite::Result<()> {
    let mut tries = 0;
    loop {
        // Two processes that change the mode of a new file deadlock, for which SQLite does not call the busy handler.
        match connection.pragma_update(None, "journal_mode", "WAL") {
            Err(error) if is_busy(&error) && wait_for_lock(tries) => tries += 1,
            result => break result?,
        }
    }
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "temp_store", "MEMORY")
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), ExperimentStoreError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(open_error(path))?;
    let read = |name| transaction.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).map_err(open_error(path));
    let (application, found) = (read("application_id")?, read("user_version")?);
    let n_tables = transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0));
    if application != APPLICATION_ID && n_tables.map_err(open_error(path))? > 0 {
        return Err(ExperimentStoreError::Foreign { path: path.to_owned() });
    }
    let known = MIGRATIONS.len() as i64;
    let missing = usize::try_from(found).ok().and_then(|found| MIGRATIONS.get(found..));
    let Some(missing) = missing else {
        return Err(ExperimentStoreError::NewerSchema { path: path.to_owned(), found, known });
    };
    let apply = || -> rusqlite::Result<()> {
        missing.iter().try_for_each(|migration| transaction.execute_batch(migration))?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", known)
    };
    if !missing.is_empty() {
        apply().map_err(open_error(path))?;
    }
    transaction.commit().map_err(open_error(path))
}

fn wait_for_lock(n_tries: i32) -> bool {
    std::thread::sleep(Duration::from_millis(2));
    n_tries < LOCK_TRIES_MAX
}

/// Whether waiting for another process's lock timed out.
pub(super) fn is_busy(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy)
}

fn open_error(path: &Path) -> impl FnOnce(rusqlite::Error) -> ExperimentStoreError {
    let path = path.to_owned();
    move |source| ExperimentStoreError::Open { path, source: Arc::new(source) }
}
