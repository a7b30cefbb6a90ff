//! CSV exports, written row by row.
//!
//! Queries and events are untrusted, and spreadsheets execute cells that start like a formula. Such texts are prefixed with `'`, as
//! OWASP recommends (<https://owasp.org/www-community/attacks/CSV_Injection>). So are texts with leading `'`s before a formula;
//! removing one `'` restores the text.

use std::borrow::Cow;
use std::io::Write;

use lorank_experiments::{Assigned, Exposure};
use serde::{Serialize, Serializer};

use crate::database::Database;
use crate::read::{clicks_on, each_exposure, events_on, json_array, snapshot};
use crate::{ExperimentStoreError, StoreConfig, attribution};

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
    "index",
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

/// An answer. Lists are separated by spaces, except for the hits, whose ids may contain anything: they are a JSON array.
#[derive(Serialize)]
struct QueryRow<'a> {
    request_id: Text<'a>,
    at_millis: i64,
    query: Text<'a>,
    unit: Text<'a>,
    experiment: Text<'a>,
    arm: usize,
    arm_name: Text<'a>,
    forced: bool,
    n_hits: usize,
    hits: String,
    teams: String,
    latency_micros: u64,
    fallback: Option<Text<'a>>,
    model: Option<Text<'a>>,
    n_clicks: usize,
    n_clicks_outside: usize,
    first_click_rank: Option<usize>,
    click_ranks: String,
    click_millis: String,
    index: &'a str,
}

/// An event on an answer.
#[derive(Serialize)]
struct EventRow<'a> {
    request_id: Text<'a>,
    unit: Text<'a>,
    experiment: Text<'a>,
    arm: usize,
    arm_name: Text<'a>,
    forced: bool,
    answered_millis: i64,
    event_id: Option<Text<'a>>,
    at_millis: i64,
    action_name: Text<'a>,
    is_click: bool,
    object_id: Option<Text<'a>>,
    object_id_field: Option<Text<'a>>,
    ordinal: Option<u32>,
    rank: Option<usize>,
    team: Option<u8>,
    client_id: Option<Text<'a>>,
    session_id: Option<Text<'a>>,
    message: Option<Text<'a>>,
    attributes: Text<'a>,
}

/// A text as a cell that spreadsheets do not execute.
struct Text<'a>(&'a str);

impl Text<'_> {
    fn as_cell(&self) -> Cow<'_, str> {
        const FORMULA_STARTS: [char; 11] = ['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'];
        let is_formula = self.0.trim_start_matches('\'').starts_with(FORMULA_STARTS);
        if is_formula { Cow::Owned(format!("'{}", self.0)) } else { Cow::Borrowed(self.0) }
    }
}

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.as_cell())
    }
}

pub(crate) fn queries(
    database: &dyn Database,
    experiment: &str,
    config: &StoreConfig,
    to: impl Write,
) -> Result<u64, ExperimentStoreError> {
    let transaction = snapshot(database)?;
    let skew = config.clock_skew_millis();
    let mut table = Table::new(to, QUERY_COLUMNS)?;
    each_exposure(&*transaction, experiment, |exposure, assigned| {
        let events = clicks_on(&*transaction, &exposure.request_id, config)?;
        let clicks: Vec<(usize, i64)> = events
            .iter()
            .filter_map(|stored| Some((attribution::rank(&exposure, &stored.event, skew)?, stored.event.at_millis)))
            .collect();
        table.write(query_row(&exposure, &assigned, &clicks, events.len() - clicks.len()))
    })?;
    table.finish()
}

pub(crate) fn events(
    database: &dyn Database,
    experiment: &str,
    config: &StoreConfig,
    to: impl Write,
) -> Result<u64, ExperimentStoreError> {
    let transaction = snapshot(database)?;
    let mut table = Table::new(to, EVENT_COLUMNS)?;
    each_exposure(&*transaction, experiment, |exposure, assigned| {
        for stored in events_on(&*transaction, &exposure.request_id)? {
            let rank = attribution::rank(&exposure, &stored.event, config.clock_skew_millis());
            let event = &stored.event;
            table.write(EventRow {
                request_id: Text(&exposure.request_id),
                unit: Text(&assigned.unit),
                experiment: Text(&assigned.experiment),
                arm: assigned.arm,
                arm_name: Text(&assigned.arm_name),
                forced: assigned.forced,
                answered_millis: exposure.at_millis,
                event_id: event.event_id.as_deref().map(Text),
                at_millis: event.at_millis,
                action_name: Text(&event.action_name),
                is_click: config.is_click(&event.action_name),
                object_id: event.object_id.as_deref().map(Text),
                object_id_field: event.object_id_field.as_deref().map(Text),
                ordinal: event.ordinal,
                rank,
                team: rank.and_then(|rank| assigned.teams.get(rank - 1)).copied(),
                client_id: event.client_id.as_deref().map(Text),
                session_id: event.session_id.as_deref().map(Text),
                message: event.message.as_deref().map(Text),
                attributes: Text(&stored.attributes_json),
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
        request_id: Text(&exposure.request_id),
        at_millis: exposure.at_millis,
        query: Text(&exposure.query),
        unit: Text(&assigned.unit),
        experiment: Text(&assigned.experiment),
        arm: assigned.arm,
        arm_name: Text(&assigned.arm_name),
        forced: assigned.forced,
        n_hits: exposure.hits.len(),
        hits: json_array(&exposure.hits),
        teams: joined_by_spaces(&assigned.teams),
        latency_micros: exposure.latency_micros,
        fallback: exposure.fallback.as_deref().map(Text),
        model: exposure.model.as_deref().map(Text),
        n_clicks: clicks.len(),
        n_clicks_outside,
        first_click_rank: clicks.first().map(|(rank, _)| *rank),
        click_ranks: joined_by_spaces(clicks.iter().map(|(rank, _)| rank)),
        click_millis: joined_by_spaces(clicks.iter().map(|(_, millis)| millis)),
        index: &exposure.index,
    }
}

fn joined_by_spaces<T: ToString>(values: impl IntoIterator<Item = T>) -> String {
    values.into_iter().map(|value| value.to_string()).collect::<Vec<_>>().join(" ")
}

/// A CSV writer with a header.
struct Table<W: Write> {
    csv: csv::Writer<W>,
    n_rows: u64,
}

impl<W: Write> Table<W> {
    /// Writes the header explicitly, because a table without rows has one too.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_begins_like_a_formula() {
        for (text, cell) in [
            ("=HYPERLINK(\"http://evil.example\",\"x\")", "'=HYPERLINK(\"http://evil.example\",\"x\")"),
            ("=1+1", "'=1+1"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("-2+3+cmd|' /C calc'!A0", "'-2+3+cmd|' /C calc'!A0"),
            ("@SUM(1)", "'@SUM(1)"),
            ("\t=1", "'\t=1"),
            ("\r=1", "'\r=1"),
            ("\n=1", "'\n=1"),
            ("＝1", "'＝1"),
            ("－1", "'－1"),
            ("'=1", "''=1"),
            ("''=1", "'''=1"),
            ("'", "'"),
            ("'tis", "'tis"),
            ("a=b", "a=b"),
            (" =1", " =1"),
            ("", ""),
            ("[\"=1\"]", "[\"=1\"]"),
        ] {
            assert_eq!(Text(text).as_cell(), cell, "{text:?}");
        }
    }
}
