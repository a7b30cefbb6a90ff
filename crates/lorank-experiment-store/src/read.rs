//! Exposures with what was done about them, joined when they are read: an event may come before its exposure.

use std::sync::Arc;

use lorank_experiments::{Assigned, Click, Event, Exposure, QueryRecord};
use rusqlite::{Connection, Row, Transaction};

use crate::pages::Pages;
use crate::{ExperimentStoreError, JoinCounts, LoggedSearch, StoreConfig, StoreStats, attribution, definitions};

/// An event as it is read back.
pub(crate) struct StoredEvent {
    pub(crate) seq: i64,
    pub(crate) event: Event,
    /// The number that the event carries.
    pub(crate) value: Option<f64>,
    /// The event's attributes as they are kept, in JSON.
    pub(crate) attributes_json: String,
}

const READ_EXPOSURES: &str = "read the exposures";

pub(crate) const SELECT_EXPOSURES: &str =
    "SELECT seq, request_id, experiment, unit, arm, arm_name, forced, teams, arms, index_name, query, hits, first_rank, latency_micros,
            fallback, model, at_millis
     FROM exposures";

/// The actions that count as a click, as [`events_on`] takes them.
pub(crate) fn click_actions(config: &StoreConfig) -> String {
    json_array(&config.click_actions.iter().map(|action| action.to_ascii_lowercase()).collect::<Vec<_>>())
}

/// A list of texts as a JSON array: SQL reads lists in this form, and exports write them so.
pub(crate) fn json_array(texts: &[String]) -> String {
    serde_json::Value::from(texts.to_vec()).to_string()
}

/// Hands each answer of an experiment to `visit`, oldest first.
pub(crate) fn records(
    connection: &mut Connection,
    experiment: &str,
    config: &StoreConfig,
    mut visit: impl FnMut(QueryRecord),
) -> Result<JoinCounts, ExperimentStoreError> {
    let transaction = snapshot(connection)?;
    let (actions, skew) = (click_actions(config), config.clock_skew_millis());
    let pages = Pages::read(&transaction, experiment)?;
    let mut counts = JoinCounts { n_unknown_events: n_unknown_events(&transaction)?, ..JoinCounts::default() };
    each_exposure(&transaction, experiment, |exposure, assigned| {
        if pages.is_continuation(&exposure.request_id) {
            return Ok(());
        }
        let mut joined = |exposure: &Exposure| -> Result<Vec<Click>, ExperimentStoreError> {
            let events = events_on(&transaction, &exposure.request_id, Some(&actions))?;
            let clicks: Vec<Click> = events.iter().filter_map(|stored| click(exposure, &stored.event, skew)).collect();
            counts.n_clicks += clicks.len() as u64;
            counts.n_clicks_outside += (events.len() - clicks.len()) as u64;
            Ok(clicks)
        };
        let clicks = joined(&exposure)?;
        let mut record = record(exposure, assigned, clicks);
        for page in pages.after(&record.request_id) {
            let (page, assigned) = one_exposure(&transaction, experiment, page)?;
            record.clicks.extend(joined(&page)?);
            if page.hits.len() > record.n_hits {
                (record.n_hits, record.teams, record.arms) = (page.hits.len(), assigned.teams, assigned.arms);
            }
        }
        record.clicks.sort_by_key(|click| click.at_millis);
        counts.n_records += 1;
        visit(record);
        Ok(())
    })?;
    Ok(counts)
}

/// Hands each first page of an index's searches to `visit`, oldest first; a search in several experiments once. Returns
/// the number of later pages.
pub(crate) fn searches(
    connection: &mut Connection,
    index: &str,
    config: &StoreConfig,
    mut visit: impl FnMut(LoggedSearch),
) -> Result<u64, ExperimentStoreError> {
    let transaction = snapshot(connection)?;
    let (actions, skew) = (click_actions(config), config.clock_skew_millis());
    // Answers outside of experiments have no unit and no arm.
    let sql = "SELECT request_id, experiment, coalesce(unit, '') AS unit, coalesce(arm, 0) AS arm, coalesce(arm_name, '') AS arm_name,
                      forced, coalesce(teams, x'') AS teams, arms, index_name, query, hits, first_rank, latency_micros, fallback,
                      model, at_millis
               FROM exposures WHERE index_name = ?1 AND first_rank = 1 GROUP BY request_id ORDER BY at_millis, seq";
    let mut statement = transaction.prepare(sql).map_err(ExperimentStoreError::database(READ_EXPOSURES))?;
    let mut rows = statement.query([index]).map_err(ExperimentStoreError::database(READ_EXPOSURES))?;
    while let Some(row) = rows.next().map_err(ExperimentStoreError::database(READ_EXPOSURES))? {
        let (exposure, _) = exposure(row).map_err(ExperimentStoreError::database(READ_EXPOSURES))?.parse()?;
        let events = events_on(&transaction, &exposure.request_id, Some(&actions))?;
        let clicked = events.iter().filter_map(|stored| attribution::rank(&exposure, &stored.event, skew)).collect();
        visit(LoggedSearch { query: exposure.query, hits: exposure.hits, clicked, at_millis: exposure.at_millis });
    }
    let sql = "SELECT count(DISTINCT request_id) FROM exposures WHERE index_name = ?1 AND first_rank > 1";
    let n_later = transaction.query_row(sql, [index], |row| row.get(0));
    n_later.map_err(ExperimentStoreError::database(READ_EXPOSURES))
}

/// What the tables hold; what was dropped and lost stands in none.
pub(crate) fn stats(connection: &mut Connection) -> Result<StoreStats, ExperimentStoreError> {
    let transaction = snapshot(connection)?;
    let count = |sql| transaction.query_row(sql, [], |row| row.get(0)).map_err(ExperimentStoreError::database("count"));
    Ok(StoreStats {
        n_exposures: count("SELECT count(*) FROM exposures")?,
        n_events: count("SELECT count(*) FROM events")?,
        n_unknown_events: n_unknown_events(&transaction)?,
        n_shadows: count("SELECT count(*) FROM shadows")?,
        ..StoreStats::default()
    })
}

/// Begins a transaction in which all reads see the same state.
pub(crate) fn snapshot(connection: &mut Connection) -> Result<Transaction<'_>, ExperimentStoreError> {
    connection.transaction().map_err(ExperimentStoreError::database("begin to read"))
}

/// Hands each exposure of an experiment to `visit`, oldest first.
pub(crate) fn each_exposure(
    connection: &Connection,
    experiment: &str,
    mut visit: impl FnMut(Exposure, Assigned) -> Result<(), ExperimentStoreError>,
) -> Result<(), ExperimentStoreError> {
    definitions::get(connection, experiment)?;
    let sql = format!("{SELECT_EXPOSURES} WHERE experiment = ?1 ORDER BY at_millis, seq");
    let mut statement = connection.prepare(&sql).map_err(ExperimentStoreError::database(READ_EXPOSURES))?;
    let mut rows = statement.query([experiment]).map_err(ExperimentStoreError::database(READ_EXPOSURES))?;
    while let Some(row) = rows.next().map_err(ExperimentStoreError::database(READ_EXPOSURES))? {
        let (exposure, assigned) = exposure(row).map_err(ExperimentStoreError::database(READ_EXPOSURES))?.parse()?;
        visit(exposure, assigned)?;
    }
    Ok(())
}

/// The exposure of a request in an experiment, which is known to be there.
fn one_exposure(
    connection: &Connection,
    experiment: &str,
    request_id: &str,
) -> Result<(Exposure, Assigned), ExperimentStoreError> {
    let read = || -> rusqlite::Result<_> {
        let sql = format!("{SELECT_EXPOSURES} WHERE request_id = ?1 AND experiment = ?2");
        connection.prepare_cached(&sql)?.query_row([request_id, experiment], exposure)
    };
    read().map_err(ExperimentStoreError::database(READ_EXPOSURES))?.parse()
}

/// An exposure as its row has it: without its hits and arms, which are JSON.
pub(crate) struct ExposureRow {
    exposure: Exposure,
    assigned: Assigned,
    hits: String,
    arms: Option<String>,
}

impl ExposureRow {
    pub(crate) fn parse(self) -> Result<(Exposure, Assigned), ExperimentStoreError> {
        let Self { mut exposure, mut assigned, hits, arms } = self;
        let corrupt = |source| ExperimentStoreError::Corrupt {
            what: format!("the exposure of request `{}`", exposure.request_id),
            source: Arc::new(source),
        };
        assigned.arms = arms.map_or(Ok(Vec::new()), |arms| serde_json::from_str(&arms)).map_err(corrupt)?;
        exposure.hits = serde_json::from_str(&hits).map_err(corrupt)?;
        Ok((exposure, assigned))
    }
}

/// The events on an answer, oldest first: those of some actions (in lower case), or of all.
pub(crate) fn events_on(
    connection: &Connection,
    request_id: &str,
    actions: Option<&str>,
) -> Result<Vec<StoredEvent>, ExperimentStoreError> {
    let read = || -> rusqlite::Result<Vec<StoredEvent>> {
        let mut statement = connection.prepare_cached(
            "SELECT seq, event_id, query_id, client_id, session_id, action_name, object_id, object_id_field, ordinal, message,
                    attributes, value, at_millis
             FROM events
             WHERE query_id = ?1 AND (?2 IS NULL OR lower(action_name) IN (SELECT value FROM json_each(?2)))
             ORDER BY at_millis, seq",
        )?;
        statement.query_map((request_id, actions), event)?.collect()
    };
    read().map_err(ExperimentStoreError::database("read the events"))
}

fn click(exposure: &Exposure, event: &Event, clock_skew_millis: i64) -> Option<Click> {
    attribution::rank(exposure, event, clock_skew_millis).map(|rank| Click { rank, at_millis: event.at_millis })
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
        model: exposure.model,
        teams: assigned.teams,
        arms: assigned.arms,
        value: None,
        judged: None,
        past: None,
        clicks,
    }
}

fn n_unknown_events(connection: &Connection) -> Result<u64, ExperimentStoreError> {
    let sql = "SELECT count(*) FROM events
               WHERE NOT EXISTS (SELECT 1 FROM exposures WHERE exposures.request_id = events.query_id)";
    connection.query_row(sql, [], |row| row.get(0)).map_err(ExperimentStoreError::database("count the unknown events"))
}

pub(crate) fn exposure(row: &Row<'_>) -> rusqlite::Result<ExposureRow> {
    let assigned = Assigned {
        experiment: row.get("experiment")?,
        unit: row.get("unit")?,
        arm: row.get("arm")?,
        arm_name: row.get("arm_name")?,
        forced: row.get("forced")?,
        teams: row.get("teams")?,
        arms: Vec::new(),
    };
    let exposure = Exposure {
        request_id: row.get("request_id")?,
        index: row.get("index_name")?,
        query: row.get("query")?,
        unit_id: None,
        assigned: None,
        hits: Vec::new(),
        first_rank: row.get("first_rank")?,
        latency_micros: row.get("latency_micros")?,
        fallback: row.get("fallback")?,
        model: row.get("model")?,
        at_millis: row.get("at_millis")?,
    };
    Ok(ExposureRow { exposure, assigned, hits: row.get("hits")?, arms: row.get("arms")? })
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
    let (seq, value) = (row.get("seq")?, row.get("value")?);
    Ok(StoredEvent { seq, event, value, attributes_json: row.get("attributes")? })
}
