//! Exposures with what was done about them, joined when they are read: an event may come before its exposure.

use std::sync::Arc;

use rusqlite::{Connection, Row, Transaction};

use super::{Assigned, Event, Exposure, experiments};
use crate::{Click, ExperimentError, QueryRecord};

/// An experiment's answers with their clicks.
#[derive(Debug, Clone, PartialEq)]
pub struct Records {
    /// The answers, oldest first.
    pub records: Vec<QueryRecord>,
    /// What was joined, and what was not.
    pub counts: JoinCounts,
}

/// What was joined to an experiment's answers, and what was not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct JoinCounts {
    /// The answers.
    pub n_records: u64,
    /// The clicks on their hits.
    pub n_clicks: u64,
    /// Clicks that named one of these answers, but none of its hits. They are kept, and in no record.
    pub n_clicks_outside: u64,
    /// Events, over all the store, whose `query_id` is that of no exposure, or missing. They are kept.
    pub n_unknown_events: u64,
}

/// How much a store holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StoreStats {
    /// The exposures.
    pub n_exposures: u64,
    /// The events.
    pub n_events: u64,
    /// Those of them whose `query_id` is that of no exposure, or missing.
    pub n_unknown_events: u64,
    /// The shadows' records.
    pub n_shadows: u64,
    /// Exposures and shadows' records that were dropped since the store was opened, mostly since the queue was full.
    pub n_dropped: u64,
    /// Exposures and shadows' records that could not be written since the store was opened.
    pub n_lost: u64,
}

/// An event as it is read back.
pub(super) struct StoredEvent {
    pub(super) event: Event,
    /// The event's attributes as they are kept, in JSON.
    pub(super) attributes_json: String,
}

/// The actions that count as a click, as the JSON that SQL reads a list from.
pub(super) fn list_of(actions: &[String]) -> String {
    serde_json::Value::from(actions.to_vec()).to_string()
}

/// Hands each answer of an experiment to `visit`, oldest first.
pub(super) fn records(
    connection: &mut Connection,
    experiment: &str,
    click_actions: &[String],
    mut visit: impl FnMut(QueryRecord),
) -> Result<JoinCounts, ExperimentError> {
    let transaction = snapshot(connection)?;
    let actions = list_of(click_actions);
    let mut counts = JoinCounts { n_unknown_events: n_unknown_events(&transaction)?, ..JoinCounts::default() };
    each_exposure(&transaction, experiment, |exposure, assigned| {
        let events = events_on(&transaction, &exposure.request_id, Some(&actions))?;
        let clicks: Vec<Click> = events.iter().filter_map(|stored| click(&exposure, &stored.event)).collect();
        counts.n_records += 1;
        counts.n_clicks += clicks.len() as u64;
        counts.n_clicks_outside += (events.len() - clicks.len()) as u64;
        visit(record(exposure, assigned, clicks));
        Ok(())
    })?;
    Ok(counts)
}

pub(super) fn stats(connection: &mut Connection, n_dropped: u64, n_lost: u64) -> Result<StoreStats, ExperimentError> {
    let transaction = snapshot(connection)?;
    let count = |sql| transaction.query_row(sql, [], |row| row.get(0)).map_err(ExperimentError::database("count"));
    Ok(StoreStats {
        n_exposures: count("SELECT count(*) FROM exposures")?,
        n_events: count("SELECT count(*) FROM events")?,
        n_unknown_events: n_unknown_events(&transaction)?,
        n_shadows: count("SELECT count(*) FROM shadows")?,
        n_dropped,
        n_lost,
    })
}

/// The rank of the hit that an event is about. The object's id decides where there is one: clients count ordinals from
/// 0 or 1, by page or over all pages, and a click on something between the hits has an ordinal too.
pub(super) fn rank_of(exposure: &Exposure, event: &Event) -> Option<usize> {
    match &event.object_id {
        Some(id) => exposure.hits.iter().position(|hit| hit == id).map(|at| at + 1),
        None => event.ordinal.map(|ordinal| ordinal as usize).filter(|rank| (1..=exposure.hits.len()).contains(rank)),
    }
}

/// Begins a transaction in which all reads see the same state.
pub(super) fn snapshot(connection: &mut Connection) -> Result<Transaction<'_>, ExperimentError> {
    connection.transaction().map_err(ExperimentError::database("begin to read"))
}

/// Hands each exposure of an experiment to `visit`, oldest first.
pub(super) fn each_exposure(
    connection: &Connection,
    experiment: &str,
    mut visit: impl FnMut(Exposure, Assigned) -> Result<(), ExperimentError>,
) -> Result<(), ExperimentError> {
    const WHAT: &str = "read the exposures";
    experiments::get(connection, experiment)?;
    let sql =
        "SELECT request_id, experiment, unit, arm, arm_name, forced, teams, query, hits, latency_micros, fallback,
                      model, at_millis
               FROM exposures WHERE experiment = ?1 ORDER BY at_millis, seq";
    let mut statement = connection.prepare(sql).map_err(ExperimentError::database(WHAT))?;
    let mut rows = statement.query([experiment]).map_err(ExperimentError::database(WHAT))?;
    while let Some(row) = rows.next().map_err(ExperimentError::database(WHAT))? {
        let (mut exposure, assigned, hits) = exposure(row).map_err(ExperimentError::database(WHAT))?;
        exposure.hits = serde_json::from_str(&hits).map_err(|source| ExperimentError::Corrupt {
            what: format!("the exposure of request `{}`", exposure.request_id),
            source: Arc::new(source),
        })?;
        visit(exposure, assigned)?;
    }
    Ok(())
}

/// The events on an answer, oldest first: those of some actions, or of all.
pub(super) fn events_on(
    connection: &Connection,
    request_id: &str,
    actions: Option<&str>,
) -> Result<Vec<StoredEvent>, ExperimentError> {
    let read = || -> rusqlite::Result<Vec<StoredEvent>> {
        let mut statement = connection.prepare_cached(
            "SELECT event_id, query_id, client_id, session_id, action_name, object_id, object_id_field, ordinal, message,
                    attributes, at_millis
             FROM events
             WHERE query_id = ?1 AND (?2 IS NULL OR action_name IN (SELECT value FROM json_each(?2)))
             ORDER BY at_millis, seq",
        )?;
        statement.query_map((request_id, actions), event)?.collect()
    };
    read().map_err(ExperimentError::database("read the events"))
}

fn click(exposure: &Exposure, event: &Event) -> Option<Click> {
    rank_of(exposure, event).map(|rank| Click { rank, at_millis: event.at_millis })
}

fn record(exposure: Exposure, assigned: Assigned, clicks: Vec<Click>) -> QueryRecord {
    QueryRecord {
        request_id: exposure.request_id,
        unit: assigned.unit,
        arm: assigned.arm,
        forced: assigned.forced,
        at_millis: exposure.at_millis,
        n_hits: exposure.hits.len(),
        latency_micros: exposure.latency_micros,
        fallback: exposure.fallback,
        teams: assigned.teams,
        clicks,
    }
}

fn n_unknown_events(connection: &Connection) -> Result<u64, ExperimentError> {
    let sql = "SELECT count(*) FROM events
               WHERE NOT EXISTS (SELECT 1 FROM exposures WHERE exposures.request_id = events.query_id)";
    connection.query_row(sql, [], |row| row.get(0)).map_err(ExperimentError::database("count the unknown events"))
}

/// An exposure without its hits, what was assigned, and the JSON of the hits.
fn exposure(row: &Row<'_>) -> rusqlite::Result<(Exposure, Assigned, String)> {
    let assigned = Assigned {
        experiment: row.get("experiment")?,
        unit: row.get("unit")?,
        arm: row.get("arm")?,
        arm_name: row.get("arm_name")?,
        forced: row.get("forced")?,
        teams: row.get("teams")?,
    };
    let exposure = Exposure {
        request_id: row.get("request_id")?,
        query: row.get("query")?,
        assigned: None,
        hits: Vec::new(),
        latency_micros: row.get("latency_micros")?,
        fallback: row.get("fallback")?,
        model: row.get("model")?,
        at_millis: row.get("at_millis")?,
    };
    Ok((exposure, assigned, row.get("hits")?))
}

fn event(row: &Row<'_>) -> rusqlite::Result<StoredEvent> {
    let event = Event {
        event_id: row.get("event_id")?,
        query_id: row.get("query_id")?,
        client_id: row.get("client_id")?,
        session_id: row.get("session_id")?,
        action_name: row.get("action_name")?,
        object_id: row.get("object_id")?,
        object_id_field: row.get("object_id_field")?,
        at_millis: row.get("at_millis")?,
        message: row.get("message")?,
        ordinal: row.get("ordinal")?,
        attributes: serde_json::Map::new(),
    };
    Ok(StoredEvent { event, attributes_json: row.get("attributes")? })
}
