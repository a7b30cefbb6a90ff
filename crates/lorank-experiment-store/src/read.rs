//! Exposures with what was done about them, joined when they are read: an event may come before its exposure.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use lorank_experiments::{Assigned, Click, Event, Exposure, QueryRecord};
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::database::{Database, DatabaseError, Mode, Row, Transaction, Value, placeholders};
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

/// The number of answers that are read at a time.
const CHUNK: usize = 1_000;

/// Answers, as [`exposure`] reads them.
pub(crate) const SELECT_EXPOSURES: &str =
    "SELECT seq, request_id, experiment, unit, arm, arm_name, forced, teams, arms, index_name, query, hits, first_rank, latency_micros,
            fallback, model, at_millis
     FROM exposures";

/// A list of texts as a JSON array, as exports write lists.
pub(crate) fn json_array(texts: &[String]) -> String {
    serde_json::Value::from(texts.to_vec()).to_string()
}

/// Hands each answer of an experiment to `visit`, oldest first.
pub(crate) fn records(
    database: &dyn Database,
    experiment: &str,
    config: &StoreConfig,
    mut visit: impl FnMut(QueryRecord),
) -> Result<JoinCounts, ExperimentStoreError> {
    let transaction = snapshot(database)?;
    let skew = config.clock_skew_millis();
    let pages = Pages::read(&*transaction, experiment)?;
    let mut counts = JoinCounts { n_unknown_events: n_unknown_events(&*transaction)?, ..JoinCounts::default() };
    each_exposure(&*transaction, experiment, |exposure, assigned| {
        if pages.is_continuation(&exposure.request_id) {
            return Ok(());
        }
        let mut joined = |exposure: &Exposure| -> Result<Vec<Click>, ExperimentStoreError> {
            let events = clicks_on(&*transaction, &exposure.request_id, config)?;
            let clicks: Vec<Click> = events.iter().filter_map(|stored| click(exposure, &stored.event, skew)).collect();
            counts.n_clicks += clicks.len() as u64;
            counts.n_clicks_outside += (events.len() - clicks.len()) as u64;
            Ok(clicks)
        };
        let clicks = joined(&exposure)?;
        let mut record = record(exposure, assigned, clicks);
        for page in pages.after(&record.request_id) {
            let (page, assigned) = one_exposure(&*transaction, experiment, page)?;
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
    database: &dyn Database,
    index: &str,
    config: &StoreConfig,
    mut visit: impl FnMut(LoggedSearch),
) -> Result<u64, ExperimentStoreError> {
    let transaction = snapshot(database)?;
    let skew = config.clock_skew_millis();
    let only = "index_name = ?1 AND first_rank = 1 AND seq = (
                    SELECT min(same.seq) FROM exposures AS same
                    WHERE same.request_id = exposures.request_id AND same.index_name = ?1 AND same.first_rank = 1)";
    each_chunk(&*transaction, only, index, |row| {
        let (exposure, _) = row.parse()?;
        let events = clicks_on(&*transaction, &exposure.request_id, config)?;
        let clicked = events.iter().filter_map(|stored| attribution::rank(&exposure, &stored.event, skew)).collect();
        visit(LoggedSearch { query: exposure.query, hits: exposure.hits, clicked, at_millis: exposure.at_millis });
        Ok(())
    })?;
    let sql = "SELECT count(DISTINCT request_id) FROM exposures WHERE index_name = ?1 AND first_rank > 1";
    let n_later = transaction.number(sql, &[index.into()]).map_err(ExperimentStoreError::database(READ_EXPOSURES))?;
    Ok(n_later.unsigned_abs())
}

/// What the tables hold; what was dropped and lost stands in none.
pub(crate) fn stats(database: &dyn Database) -> Result<StoreStats, ExperimentStoreError> {
    let transaction = snapshot(database)?;
    let count = |sql| {
        let n = transaction.number(sql, &[]).map_err(ExperimentStoreError::database("count"))?;
        Ok::<_, ExperimentStoreError>(n.unsigned_abs())
    };
    Ok(StoreStats {
        n_exposures: count("SELECT count(*) FROM exposures")?,
        n_events: count("SELECT count(*) FROM events")?,
        n_unknown_events: n_unknown_events(&*transaction)?,
        n_shadows: count("SELECT count(*) FROM shadows")?,
        ..StoreStats::default()
    })
}

/// Begins a transaction in which all reads see the same state.
pub(crate) fn snapshot(database: &dyn Database) -> Result<Transaction<'_>, ExperimentStoreError> {
    Transaction::begin(database, Mode::Read).map_err(ExperimentStoreError::database("begin to read"))
}

/// Hands each exposure of an experiment to `visit`, oldest first.
pub(crate) fn each_exposure(
    database: &dyn Database,
    experiment: &str,
    mut visit: impl FnMut(Exposure, Assigned) -> Result<(), ExperimentStoreError>,
) -> Result<(), ExperimentStoreError> {
    definitions::get(database, experiment)?;
    each_chunk(database, "experiment = ?1", experiment, |row| {
        let (exposure, assigned) = row.parse()?;
        visit(exposure, assigned)
    })
}

/// Hands the exposures with a property, in which `?1` is `value`, to `visit`, oldest first. Some are read at a time, so
/// that `visit` can use the database.
fn each_chunk(
    database: &dyn Database,
    only: &str,
    value: &str,
    mut visit: impl FnMut(ExposureRow) -> Result<(), ExperimentStoreError>,
) -> Result<(), ExperimentStoreError> {
    let failed = || ExperimentStoreError::database(READ_EXPOSURES);
    let sql = format!("SELECT seq FROM exposures WHERE {only} ORDER BY at_millis, seq");
    let seqs = database.all(&sql, &[value.into()], |row| row.an_integer(0)).map_err(failed())?;
    for seqs in seqs.chunks(CHUNK) {
        let sql = format!("{SELECT_EXPOSURES} WHERE seq IN ({})", placeholders(1, seqs.len()));
        let params: Vec<Value<'_>> = seqs.iter().map(|seq| (*seq).into()).collect();
        let rows = database.all(&sql, &params, exposure).map_err(failed())?;
        let mut rows: HashMap<i64, ExposureRow> = rows.into_iter().map(|row| (row.seq, row)).collect();
        seqs.iter().filter_map(|seq| rows.remove(seq)).try_for_each(&mut visit)?;
    }
    Ok(())
}

/// The exposure of a request in an experiment, which is known to be there.
fn one_exposure(
    database: &dyn Database,
    experiment: &str,
    request_id: &str,
) -> Result<(Exposure, Assigned), ExperimentStoreError> {
    let sql = format!("{SELECT_EXPOSURES} WHERE request_id = ?1 AND experiment = ?2");
    let found = database.first(&sql, &[request_id.into(), experiment.into()], exposure);
    let found = found.and_then(|row| row.ok_or_else(|| DatabaseError::new("an exposure is missing")));
    found.map_err(ExperimentStoreError::database(READ_EXPOSURES))?.parse()
}

/// An exposure as its row has it: without its hits and arms, which are JSON.
pub(crate) struct ExposureRow {
    pub(crate) seq: i64,
    pub(crate) exposure: Exposure,
    pub(crate) assigned: Assigned,
    hits: String,
    arms: Option<String>,
}

impl ExposureRow {
    pub(crate) fn parse(self) -> Result<(Exposure, Assigned), ExperimentStoreError> {
        let hits = self.read(&self.hits)?;
        let (exposure, assigned, _) = self.parse_without_hits()?;
        Ok((Exposure { hits, ..exposure }, assigned))
    }

    /// The exposure without its hits, and their number.
    pub(crate) fn parse_without_hits(mut self) -> Result<(Exposure, Assigned, usize), ExperimentStoreError> {
        let Texts(n_hits) = self.read(&self.hits)?;
        self.assigned.arms = self.arms.as_deref().map_or(Ok(Vec::new()), |arms| self.read(arms))?;
        Ok((self.exposure, self.assigned, n_hits))
    }

    fn read<'a, T: Deserialize<'a>>(&self, json: &'a str) -> Result<T, ExperimentStoreError> {
        serde_json::from_str(json).map_err(|source| ExperimentStoreError::Corrupt {
            what: format!("the exposure of request `{}`", self.exposure.request_id),
            source: Arc::new(source),
        })
    }
}

/// The number of texts in a list.
struct Texts(usize);

/// A text that is not kept.
struct AnyText;

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Counting;

        impl<'de> Visitor<'de> for Counting {
            type Value = Texts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of texts")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Texts, A::Error> {
                let mut n = 0;
                while let Some(AnyText) = list.next_element()? {
                    n += 1;
                }
                Ok(Texts(n))
            }
        }

        from.deserialize_seq(Counting)
    }
}

impl<'de> Deserialize<'de> for AnyText {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reading;

        impl Visitor<'_> for Reading {
            type Value = AnyText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_str<E>(self, _: &str) -> Result<AnyText, E> {
                Ok(AnyText)
            }
        }

        from.deserialize_str(Reading)
    }
}

/// The events on an answer, oldest first.
pub(crate) fn events_on(database: &dyn Database, request_id: &str) -> Result<Vec<StoredEvent>, ExperimentStoreError> {
    let sql = "SELECT seq, event_id, query_id, client_id, session_id, action_name, object_id, object_id_field, ordinal, message,
                      attributes, value, at_millis
               FROM events WHERE query_id = ?1 ORDER BY at_millis, seq";
    database.all(sql, &[request_id.into()], event).map_err(ExperimentStoreError::database("read the events"))
}

/// The events on an answer that count as a click, oldest first.
pub(crate) fn clicks_on(
    database: &dyn Database,
    request_id: &str,
    config: &StoreConfig,
) -> Result<Vec<StoredEvent>, ExperimentStoreError> {
    let mut events = events_on(database, request_id)?;
    events.retain(|stored| config.is_click(&stored.event.action_name));
    Ok(events)
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

fn n_unknown_events(database: &dyn Database) -> Result<u64, ExperimentStoreError> {
    let sql = "SELECT count(*) FROM events
               WHERE NOT EXISTS (SELECT 1 FROM exposures WHERE exposures.request_id = events.query_id)";
    let n = database.number(sql, &[]).map_err(ExperimentStoreError::database("count the unknown events"))?;
    Ok(n.unsigned_abs())
}

/// Reads a row of [`SELECT_EXPOSURES`]. Answers outside of experiments may have no unit, and have no arm.
pub(crate) fn exposure(row: &dyn Row) -> Result<ExposureRow, DatabaseError> {
    let assigned = Assigned {
        experiment: row.a_text(2)?,
        unit: row.text(3)?.unwrap_or_default(),
        arm: usize::try_from(row.integer(4)?.unwrap_or(0)).unwrap_or(usize::MAX),
        arm_name: row.text(5)?.unwrap_or_default(),
        forced: row.an_integer(6)? != 0,
        teams: row.blob(7)?.unwrap_or_default(),
        arms: Vec::new(),
    };
    let exposure = Exposure {
        request_id: row.a_text(1)?,
        index: row.a_text(9)?,
        query: row.a_text(10)?,
        unit_id: None,
        assigned: None,
        hits: Vec::new(),
        first_rank: row.a_count(12)?,
        latency_micros: row.a_count(13)?,
        fallback: row.text(14)?,
        model: row.text(15)?,
        at_millis: row.an_integer(16)?,
    };
    Ok(ExposureRow { seq: row.an_integer(0)?, exposure, assigned, hits: row.a_text(11)?, arms: row.text(8)? })
}

fn event(row: &dyn Row) -> Result<StoredEvent, DatabaseError> {
    let event = Event {
        event_id: row.text(1)?,
        query_id: row.text(2)?,
        client_id: row.text(3)?,
        session_id: row.text(4)?,
        action_name: row.a_text(5)?,
        object_id: row.text(6)?,
        object_id_field: row.text(7)?,
        at_millis: row.an_integer(12)?,
        message: row.text(9)?,
        ordinal: row.integer(8)?.and_then(|ordinal| u32::try_from(ordinal).ok()),
        attributes: serde_json::Map::new(),
    };
    Ok(StoredEvent { seq: row.an_integer(0)?, event, value: row.real(11)?, attributes_json: row.a_text(10)? })
}
