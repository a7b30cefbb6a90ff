//! The tables in PostgreSQL, and their migrations.
//!
//! Texts are compared by their bytes, as in SQLite, so that both have the same order.

use postgres::Client;

use super::TAKE_TURN;

/// The migrations; each upgrades a schema of its index to the next. Released migrations never change.
const MIGRATIONS: &[&str] = &[r#"
    CREATE TABLE experiments (
        id TEXT COLLATE "C" PRIMARY KEY,
        state TEXT COLLATE "C" NOT NULL,
        definition TEXT NOT NULL
    );

    -- `experiment` is empty for an answer that no experiment was part of.
    CREATE TABLE exposures (
        seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        request_id TEXT COLLATE "C" NOT NULL,
        experiment TEXT COLLATE "C" NOT NULL,
        unit TEXT COLLATE "C",
        arm BIGINT,
        arm_name TEXT,
        forced BIGINT NOT NULL,
        teams BYTEA,
        arms TEXT,
        index_name TEXT COLLATE "C" NOT NULL,
        query TEXT COLLATE "C" NOT NULL,
        hits TEXT NOT NULL,
        first_rank BIGINT NOT NULL,
        latency_micros BIGINT NOT NULL,
        fallback TEXT,
        model TEXT,
        at_millis BIGINT NOT NULL,
        UNIQUE (request_id, experiment)
    );
    CREATE INDEX exposures_by_experiment ON exposures (experiment, at_millis, seq);
    CREATE INDEX exposures_of_later_pages ON exposures (experiment) WHERE first_rank > 1;
    -- The hash of a unit is short, and only equality is asked for.
    CREATE INDEX exposures_by_unit ON exposures USING hash (unit);

    CREATE TABLE events (
        seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        event_id TEXT COLLATE "C" NOT NULL UNIQUE,
        query_id TEXT COLLATE "C",
        client_id TEXT,
        session_id TEXT,
        action_name TEXT COLLATE "C" NOT NULL,
        object_id TEXT,
        object_id_field TEXT,
        ordinal BIGINT,
        message TEXT,
        attributes TEXT NOT NULL,
        value DOUBLE PRECISION,
        at_millis BIGINT NOT NULL,
        received_millis BIGINT NOT NULL
    );
    CREATE INDEX events_by_query ON events (query_id);
    CREATE INDEX events_with_value ON events (received_millis) WHERE value IS NOT NULL;

    CREATE TABLE shadows (
        seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        request_id TEXT COLLATE "C" NOT NULL,
        name TEXT COLLATE "C" NOT NULL,
        candidate TEXT COLLATE "C" NOT NULL,
        rbo DOUBLE PRECISION,
        kendall_tau DOUBLE PRECISION,
        overlap_at_10 DOUBLE PRECISION,
        failure TEXT,
        latency_micros BIGINT NOT NULL,
        at_millis BIGINT NOT NULL,
        UNIQUE (request_id, name, candidate)
    );

    CREATE TABLE judgments (
        query TEXT COLLATE "C" NOT NULL,
        document TEXT COLLATE "C" NOT NULL,
        grade BIGINT NOT NULL,
        PRIMARY KEY (query, document)
    );

    -- `rewrites` counts what changes or deletes rows that a report may have read; `changes`, those of experiments.
    CREATE TABLE counters (name TEXT COLLATE "C" PRIMARY KEY, n BIGINT NOT NULL);
    INSERT INTO counters VALUES ('rewrites', 0), ('changes', 0);
"#];

/// A schema that cannot be used.
pub(super) enum Unusable {
    /// Its version, and the newest supported one.
    Newer(i64, i64),
    Failed(postgres::Error),
}

impl From<postgres::Error> for Unusable {
    fn from(error: postgres::Error) -> Self {
        Self::Failed(error)
    }
}

/// Makes the tables in the first schema of the search path, or upgrades them.
pub(super) fn migrate(client: &mut Client) -> Result<(), Unusable> {
    let mut transaction = client.transaction()?;
    transaction.batch_execute(TAKE_TURN)?;
    transaction.batch_execute("CREATE TABLE IF NOT EXISTS lorank_schema (version BIGINT NOT NULL)")?;
    let found: Option<i64> = transaction.query_one("SELECT max(version) FROM lorank_schema", &[])?.try_get(0)?;
    let (found, known) = (found.unwrap_or(0), MIGRATIONS.len() as i64);
    let Some(missing) = usize::try_from(found).ok().and_then(|found| MIGRATIONS.get(found..)) else {
        return Err(Unusable::Newer(found, known));
    };
    for migration in missing {
        transaction.batch_execute(migration)?;
    }
    if !missing.is_empty() {
        transaction.execute("DELETE FROM lorank_schema", &[])?;
        transaction.execute("INSERT INTO lorank_schema VALUES ($1)", &[&known])?;
    }
    Ok(transaction.commit()?)
}
