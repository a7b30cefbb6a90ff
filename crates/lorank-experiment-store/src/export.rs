//! Tables for a notebook, as CSV, written row by row.

use std::io::Write;

use lorank_experiments::{Assigned, Exposure};
use rusqlite::Connection;
use serde::Serialize;

use crate::ExperimentStoreError;
use crate::read::{each_exposure, events_on, json_array, snapshot};

/// The columns of a [`QueryRow`].
const QUERY_COLUMNS: &[&str] = &[
    "request_id",
    "at_millis",
    "query",
    "unit",
    "experiment",
    "arm",
    "arm_name",
    "forced",
    "n_hits",
    "hits",
    "teams",
    "latency_micros",
    "fallback",
    "model",
    "n_clicks",
    "n_clicks_outside",
    "first_click_rank",
    "click_ranks",
    "click_millis",
];

/// The columns of an [`EventRow`].
const EVENT_COLUMNS: &[&str] = &[
    "request_id",
    "unit",
    "experiment",
    "arm",
    "arm_name",
    "forced",
    "answered_millis",
    "event_id",
    "at_millis",
    "action_name",
    "is_click",
    "object_id",
    "object_id_field",
    "ordinal",
    "rank",
    "team",
    "client_id",
    "session_id",
    "message",
    "attributes",
];

/// One answer. Its lists are texts with spaces between, but for the hits, whose ids may hold anything: a JSON array.
#[derive(Serialize)]
struct QueryRow<'a> {
    request_id: &'a str,
    at_millis: i64,
    query: &'a str,
    unit: &'a str,
    experiment: &'a str,
    arm: usize,
    arm_name: &'a str,
    forced: bool,
    n_hits: usize,
    hits: String,
    teams: String,
    latency_micros: u64,
    fallback: Option<&'a str>,
    model: Option<&'a str>,
    n_clicks: usize,
    n_clicks_outside: usize,
    first_click_rank: Option<usize>,
    click_ranks: String,
    click_millis: String,
}

/// One event on an answer.
#[derive(Serialize)]
struct EventRow<'a> {
    request_id: &'a str,
    unit: &'a str,
    experiment: &'a str,
    arm: usize,
    arm_name: &'a str,
    forced: bool,
    answered_millis: i64,
    event_id: Option<&'a str>,
    at_millis: i64,
    action_name: &'a str,
    is_click: bool,
    object_id: Option<&'a str>,
    object_id_field: Option<&'a str>,
    ordinal: Option<u32>,
    rank: Option<usize>,
    team: Option<u8>,
    client_id: Option<&'a str>,
    session_id: Option<&'a str>,
    message: Option<&'a str>,
    attributes: &'a str,
}

pub(crate) fn queries(
    connection: &mut Connection,
    experiment: &str,
    click_actions: &[String],
    to: impl Write,
) -> Result<u64, ExperimentStoreError> {
    let transaction = snapshot(connection)?;
    let actions = json_array(click_actions);
    let mut table = Table::new(to, QUERY_COLUMNS)?;
    each_exposure(&transaction, experiment, |exposure, assigned| {
        let events = events_on(&transaction, &exposure.request_id, Some(&actions))?;
        let clicks: Vec<(usize, i64)> = events
            .iter()
            .filter_map(|stored| Some((exposure.rank_of(&stored.event)?, stored.event.at_millis)))
            .collect();
        table.write(query_row(&exposure, &assigned, &clicks, events.len() - clicks.len()))
    })?;
    table.finish()
}

pub(crate) fn events(
    connection: &mut Connection,
    experiment: &str,
    click_actions: &[String],
    to: impl Write,
) -> Result<u64, ExperimentStoreError> {
    let transaction = snapshot(connection)?;
    let mut table = Table::new(to, EVENT_COLUMNS)?;
    each_exposure(&transaction, experiment, |exposure, assigned| {
        for stored in events_on(&transaction, &exposure.request_id, None)? {
            let rank = exposure.rank_of(&stored.event);
            let event = &stored.event;
            table.write(EventRow {
                request_id: &exposure.request_id,
                unit: &assigned.unit,
                experiment: &assigned.experiment,
                arm: assigned.arm,
                arm_name: &assigned.arm_name,
                forced: assigned.forced,
                answered_millis: exposure.at_millis,
                event_id: event.event_id.as_deref(),
                at_millis: event.at_millis,
                action_name: &event.action_name,
                is_click: click_actions.contains(&event.action_name),
                object_id: event.object_id.as_deref(),
                object_id_field: event.object_id_field.as_deref(),
                ordinal: event.ordinal,
                rank,
                team: rank.and_then(|rank| assigned.teams.get(rank - 1)).copied(),
                client_id: event.client_id.as_deref(),
                session_id: event.session_id.as_deref(),
                message: event.message.as_deref(),
                attributes: &stored.attributes_json,
            })?;
        }
        Ok(())
    })?;
    table.finish()
}

fn query_row<'a>(
    exposure: &'a Exposure,
    assigned: &'a Assigned,
    clicks: &[(usize, i64)],
    n_clicks_outside: usize,
) -> QueryRow<'a> {
    QueryRow {
        request_id: &exposure.request_id,
        at_millis: exposure.at_millis,
        query: &exposure.query,
        unit: &assigned.unit,
        experiment: &assigned.experiment,
        arm: assigned.arm,
        arm_name: &assigned.arm_name,
        forced: assigned.forced,
        n_hits: exposure.hits.len(),
        hits: json_array(&exposure.hits),
        teams: joined_by_spaces(&assigned.teams),
        latency_micros: exposure.latency_micros,
        fallback: exposure.fallback.as_deref(),
        model: exposure.model.as_deref(),
        n_clicks: clicks.len(),
        n_clicks_outside,
        first_click_rank: clicks.first().map(|(rank, _)| *rank),
        click_ranks: joined_by_spaces(clicks.iter().map(|(rank, _)| rank)),
        click_millis: joined_by_spaces(clicks.iter().map(|(_, millis)| millis)),
    }
}

fn joined_by_spaces<T: ToString>(values: impl IntoIterator<Item = T>) -> String {
    values.into_iter().map(|value| value.to_string()).collect::<Vec<_>>().join(" ")
}

/// A CSV file that is being written, with the columns' names in its first line.
struct Table<W: Write> {
    csv: csv::Writer<W>,
    n_rows: u64,
}

impl<W: Write> Table<W> {
    /// The columns are named by hand, since a table without rows has them too.
    fn new(to: W, columns: &[&str]) -> Result<Self, ExperimentStoreError> {
        let mut csv = csv::WriterBuilder::new().has_headers(false).from_writer(to);
        csv.write_record(columns)?;
        Ok(Self { csv, n_rows: 0 })
    }

    fn write(&mut self, row: impl Serialize) -> Result<(), ExperimentStoreError> {
        self.n_rows += 1;
        Ok(self.csv.serialize(row)?)
    }

    fn finish(mut self) -> Result<u64, ExperimentStoreError> {
        self.csv.flush().map_err(csv::Error::from)?;
        Ok(self.n_rows)
    }
}
