//! The reading of an experiment's answers with the events on them, as the analysis takes them.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap, HashSet};

use lorank_experiments::{Assigned, Event, Experiment, Exposure, QueryRecord};

use crate::database::{self, Database, DatabaseError, Value, clamped, placeholders};
use crate::judgments::Judge;
use crate::pages::ANY_LATER_PAGE;
use crate::read::{ExposureRow, SELECT_EXPOSURES, StoredEvent, events_on, exposure};
use crate::scanned::{Counted, ScannedEvents};
use crate::{ExperimentStoreError, StoreConfig, attribution, past};

const WHAT: &str = "read the answers and the events on them";

/// The number of answers that are read at a time, with the events on them.
const CHUNK: i64 = 5_000;

/// The minimum number of answers for which all events are read at once.
const ANSWERS_OF_SCAN_MIN: i64 = CHUNK;

/// The number of events that are read in one pass in the time of a lookup of the events on one answer.
const EVENTS_PER_LOOKUP: i64 = 8;

/// What an answer is read with.
pub(crate) struct Reading<'a> {
    database: &'a dyn Database,
    config: &'a StoreConfig,
    experiment: &'a Experiment,
    /// Whether the experiment has answers that do not start at rank 1.
    has_pages: bool,
    /// Whether there are events with values from before the experiment.
    has_past: bool,
    judge: Option<Judge<'a>>,
    /// The past of units that was read, by unit.
    pasts: RefCell<HashMap<String, Option<f64>>>,
}

/// The last rows that count.
#[derive(Clone, Copy)]
pub(crate) struct Until {
    pub(crate) exposures: i64,
    pub(crate) events: i64,
}

/// What the pages of a query have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct QueryOfUnit {
    unit: String,
    arm: usize,
    is_forced: bool,
    query: String,
    index: String,
}

/// A stored answer, with its row.
pub(crate) struct Row {
    pub(crate) seq: i64,
    pub(crate) exposure: Exposure,
    pub(crate) assigned: Assigned,
}

impl<'a> Reading<'a> {
    pub(crate) fn new(
        database: &'a dyn Database,
        config: &'a StoreConfig,
        experiment: &'a Experiment,
    ) -> Result<Self, ExperimentStoreError> {
        let has_pages = database.exists(ANY_LATER_PAGE, &[(&experiment.id).into()]);
        Ok(Self {
            database,
            config,
            experiment,
            has_pages: has_pages.map_err(ExperimentStoreError::database(WHAT))?,
            has_past: past::is_there(database, experiment)?,
            judge: Judge::new(database)?,
            pasts: RefCell::default(),
        })
    }

    /// The condition for events that count: those with a value, and clicks. The actions are parameters from the given
    /// number on.
    pub(crate) fn counted(&self, first: usize) -> (String, Vec<String>) {
        let actions: Vec<String> = self.config.click_actions.iter().map(|action| action.to_ascii_lowercase()).collect();
        let is_click = match actions.len() {
            0 => String::new(),
            n => format!(" OR lower(events.action_name) IN ({})", placeholders(first, n)),
        };
        (format!("(events.value IS NOT NULL{is_click})"), actions)
    }

    /// The answers that were seen and have new events, by the rows of their first pages.
    pub(crate) fn answers_with_new_events(
        &self,
        seen: Until,
        found: Until,
    ) -> Result<BTreeSet<i64>, ExperimentStoreError> {
        let (counted, actions) = self.counted(5);
        if seen.exposures == 0 {
            return Ok(BTreeSet::new());
        }
        // New events first, because they are few.
        let sql = format!(
            "SELECT DISTINCT exposures.seq FROM events CROSS JOIN exposures WHERE exposures.request_id = events.query_id
             AND events.seq > ?1 AND events.seq <= ?2 AND exposures.experiment = ?3 AND exposures.seq <= ?4 AND {counted}"
        );
        let mut params: Vec<Value<'_>> =
            vec![seen.events.into(), found.events.into(), (&self.experiment.id).into(), seen.exposures.into()];
        params.extend(actions.iter().map(Value::from));
        let seqs = self.database.all(&sql, &params, |row| row.an_integer(0));
        let seqs = seqs.map_err(ExperimentStoreError::database(WHAT))?;
        seqs.into_iter().map(|seq| self.first_page(&self.row(seq)?)).collect()
    }

    /// Whether one pass over all events is faster than a lookup for each answer in a range of rows.
    pub(crate) fn is_scan_faster(&self, after: Until, until: Until) -> Result<bool, ExperimentStoreError> {
        if until.exposures - after.exposures < ANSWERS_OF_SCAN_MIN {
            return Ok(false);
        }
        let number = |sql: &str, params: &[Value<'_>]| {
            self.database.number(sql, params).map_err(ExperimentStoreError::database(WHAT))
        };
        let n_answers = number(
            "SELECT count(*) FROM exposures WHERE experiment = ?1 AND seq > ?2",
            &[(&self.experiment.id).into(), after.exposures.into()],
        )?;
        let first_event = number("SELECT coalesce(min(seq), 0) FROM events", &[])?;
        Ok(n_answers >= ANSWERS_OF_SCAN_MIN && until.events - first_event <= EVENTS_PER_LOOKUP * n_answers)
    }

    /// All events that count; `None` if they are too many.
    pub(crate) fn scanned_events(&self, until: Until) -> Result<Option<ScannedEvents>, ExperimentStoreError> {
        let (counted, actions) = self.counted(2);
        let sql = format!(
            "SELECT seq, query_id, action_name, object_id, ordinal, at_millis, value FROM events
             WHERE seq <= ?1 AND query_id IS NOT NULL AND {counted}"
        );
        let mut params: Vec<Value<'_>> = vec![until.events.into()];
        params.extend(actions.iter().map(Value::from));
        let (mut events, mut has_room) = (ScannedEvents::default(), true);
        let read = self.database.each(&sql, &params, &mut |row| {
            has_room &= events.push(row.an_integer(0)?, &row.a_text(1)?, &self.counted_event(row, 2)?);
            if has_room { Ok(()) } else { Err(DatabaseError::new("too many events to keep in memory")) }
        });
        if !has_room {
            return Ok(None);
        }
        read.map_err(ExperimentStoreError::database(WHAT))?;
        events.complete();
        Ok(Some(events))
    }

    /// An event in the columns from the given one on: action, object, ordinal, time and value.
    fn counted_event(&self, row: &dyn database::Row, first: usize) -> Result<Counted, DatabaseError> {
        let action_name = row.a_text(first)?;
        let is_click = self.config.is_click(&action_name);
        let event = Event {
            event_id: None,
            query_id: None,
            client_id: None,
            session_id: None,
            action_name,
            object_id: row.text(first + 1)?,
            object_id_field: None,
            at_millis: row.an_integer(first + 3)?,
            message: None,
            ordinal: row.integer(first + 2)?.and_then(|ordinal| u32::try_from(ordinal).ok()),
            attributes: serde_json::Map::new(),
        };
        Ok(Counted { event, value: row.real(first + 4)?, is_click })
    }

    /// The queries that have further pages in a range of rows.
    pub(crate) fn queries_with_pages(
        &self,
        after: Until,
        until: Until,
    ) -> Result<HashSet<QueryOfUnit>, ExperimentStoreError> {
        if !self.has_pages {
            return Ok(HashSet::new());
        }
        let sql = "SELECT unit, arm, forced, query, index_name FROM exposures
                   WHERE experiment = ?1 AND first_rank > 1 AND seq > ?2 AND seq <= ?3";
        let params = [(&self.experiment.id).into(), after.exposures.into(), until.exposures.into()];
        let mut queries = HashSet::new();
        let read = self.database.each(sql, &params, &mut |row| {
            queries.insert(QueryOfUnit {
                unit: row.text(0)?.unwrap_or_default(),
                arm: usize::try_from(row.integer(1)?.unwrap_or(0)).unwrap_or(usize::MAX),
                is_forced: row.an_integer(2)? != 0,
                query: row.a_text(3)?,
                index: row.a_text(4)?,
            });
            Ok(())
        });
        read.map_err(ExperimentStoreError::database(WHAT))?;
        Ok(queries)
    }

    /// The next answers of the experiment in a range of rows, in order of arrival; none at its end.
    pub(crate) fn rows(&self, after: i64, until: i64) -> Result<Vec<Row>, ExperimentStoreError> {
        self.unparsed_rows(after, until)?.into_iter().map(parsed).collect()
    }

    /// The same, as they are stored.
    pub(crate) fn unparsed_rows(&self, after: i64, until: i64) -> Result<Vec<ExposureRow>, ExperimentStoreError> {
        // The expression prevents the use of the index on the experiment, whose rows would have to be sorted.
        let sql =
            format!("{SELECT_EXPOSURES} WHERE seq > ?1 AND seq <= ?2 AND experiment || '' = ?3 ORDER BY seq LIMIT ?4");
        let params = [after.into(), until.into(), (&self.experiment.id).into(), CHUNK.into()];
        self.database.all(&sql, &params, exposure).map_err(ExperimentStoreError::database(WHAT))
    }

    /// The events that count on the answers in a range of rows, by row, oldest first.
    pub(crate) fn events_of_rows(
        &self,
        after: i64,
        until: i64,
        events_until: i64,
    ) -> Result<HashMap<i64, Vec<Counted>>, ExperimentStoreError> {
        let (counted, actions) = self.counted(5);
        let sql = format!(
            "SELECT exposures.seq, events.action_name, events.object_id, events.ordinal, events.at_millis, events.value
             FROM exposures CROSS JOIN events WHERE events.query_id = exposures.request_id
             AND exposures.seq > ?1 AND exposures.seq <= ?2 AND exposures.experiment || '' = ?3 AND events.seq <= ?4 AND {counted}
             ORDER BY exposures.seq, events.at_millis, events.seq"
        );
        let mut params: Vec<Value<'_>> =
            vec![after.into(), until.into(), (&self.experiment.id).into(), events_until.into()];
        params.extend(actions.iter().map(Value::from));
        let mut events: HashMap<i64, Vec<Counted>> = HashMap::new();
        let read = self.database.each(&sql, &params, &mut |row| {
            let counted = self.counted_event(row, 1)?;
            events.entry(row.an_integer(0)?).or_default().push(counted);
            Ok(())
        });
        read.map_err(ExperimentStoreError::database(WHAT))?;
        Ok(events)
    }

    /// The answer of an existing row.
    pub(crate) fn row(&self, seq: i64) -> Result<Row, ExperimentStoreError> {
        let found = self.database.first(&format!("{SELECT_EXPOSURES} WHERE seq = ?1"), &[seq.into()], exposure);
        let found = found.and_then(|row| row.ok_or_else(|| DatabaseError::new("an exposure is missing")));
        parsed(found.map_err(ExperimentStoreError::database(WHAT))?)
    }

    /// The row of the first page of this answer's query, or its own.
    pub(crate) fn first_page(&self, row: &Row) -> Result<i64, ExperimentStoreError> {
        if !self.has_pages || row.exposure.first_rank <= 1 {
            return Ok(row.seq);
        }
        let latest = self.of_same_query(row, "seq < ?7 AND first_rank = 1 ORDER BY seq DESC")?;
        let first = latest.map_or_else(|| self.of_same_query(row, "seq < ?7 ORDER BY seq"), |seq| Ok(Some(seq)))?;
        Ok(first.unwrap_or(row.seq))
    }

    /// The further pages of an answer, up to a row.
    fn further_pages(&self, row: &Row, until: i64) -> Result<Vec<i64>, ExperimentStoreError> {
        if !self.has_pages || until <= row.seq {
            return Ok(Vec::new());
        }
        let next = self.of_same_query(row, "seq > ?7 AND first_rank = 1 ORDER BY seq")?;
        let until = next.map_or(until, |next| until.min(next - 1));
        let sql = format!("{OF_SAME_QUERY} AND seq > ?7 AND seq <= ?8 AND first_rank > 1 ORDER BY seq");
        let mut params = self.query_of(row).to_vec();
        params.push(until.into());
        self.database.all(&sql, &params, |row| row.an_integer(0)).map_err(ExperimentStoreError::database(WHAT))
    }

    /// One of the answers to the same query of the same unit.
    fn of_same_query(&self, row: &Row, which: &str) -> Result<Option<i64>, ExperimentStoreError> {
        let sql = format!("{OF_SAME_QUERY} AND {which} LIMIT 1");
        let found = self.database.first(&sql, &self.query_of(row), |row| row.an_integer(0));
        found.map_err(ExperimentStoreError::database(WHAT))
    }

    /// The parameters of [`OF_SAME_QUERY`], and the row as `?7`.
    fn query_of<'b>(&'b self, Row { seq, exposure, assigned }: &'b Row) -> [Value<'b>; 7] {
        [
            (&assigned.unit).into(),
            (&self.experiment.id).into(),
            clamped(assigned.arm).into(),
            i64::from(assigned.forced).into(),
            (&exposure.query).into(),
            (&exposure.index).into(),
            (*seq).into(),
        ]
    }

    /// The stored data of an answer.
    pub(crate) fn record(&self, row: &Row, until: Until) -> Result<QueryRecord, ExperimentStoreError> {
        let mut record = self.record_of_page(row, &self.events_on(&row.exposure, until)?)?;
        for page in self.further_pages(row, until.exposures)? {
            let page = self.row(page)?;
            let events = self.events_on(&page.exposure, until)?;
            self.extend(&mut record, page, &events);
        }
        Ok(record)
    }

    /// Adds the next page to the data of an answer, with the events on it, oldest first.
    pub(crate) fn extend(&self, record: &mut QueryRecord, page: Row, events: &[Counted]) {
        self.join(record, &page.exposure, events);
        if page.exposure.hits.len() > record.n_hits {
            record.n_hits = page.exposure.hits.len();
            (record.teams, record.arms) = (page.assigned.teams, page.assigned.arms);
        }
        record.clicks.sort_by_key(|click| click.at_millis);
    }

    /// The stored data of an answer without further pages, with the events on it, oldest first.
    pub(crate) fn record_of_page(&self, row: &Row, events: &[Counted]) -> Result<QueryRecord, ExperimentStoreError> {
        let Row { seq: _, exposure, assigned } = row;
        let mut record = self.unclicked(exposure, assigned, exposure.hits.len())?;
        record.judged = self.judge.as_ref().map_or(Ok(None), |judge| judge.judged(exposure))?;
        self.join(&mut record, exposure, events);
        Ok(record)
    }

    /// The stored data of an answer that has no further pages and no events, and whose hits are not read.
    pub(crate) fn record_of_count(&self, row: ExposureRow) -> Result<QueryRecord, ExperimentStoreError> {
        let (exposure, assigned, n_hits) = row.parse_without_hits()?;
        self.unclicked(&exposure, &assigned, n_hits)
    }

    fn unclicked(
        &self,
        exposure: &Exposure,
        assigned: &Assigned,
        n_hits: usize,
    ) -> Result<QueryRecord, ExperimentStoreError> {
        Ok(QueryRecord {
            past: self.past(&assigned.unit)?,
            request_id: exposure.request_id.clone(),
            unit: assigned.unit.clone(),
            arm: assigned.arm,
            forced: assigned.forced,
            at_millis: exposure.at_millis,
            n_hits,
            latency_micros: exposure.latency_micros,
            fallback: exposure.fallback.clone(),
            model: exposure.model.clone(),
            teams: assigned.teams.clone(),
            arms: assigned.arms.clone(),
            value: None,
            judged: None,
            clicks: Vec::new(),
        })
    }

    /// Whether answers may be judged.
    pub(crate) fn has_judgments(&self) -> bool {
        self.judge.is_some()
    }

    fn past(&self, unit: &str) -> Result<Option<f64>, ExperimentStoreError> {
        if !self.has_past {
            return Ok(None);
        }
        if let Some(past) = self.pasts.borrow().get(unit) {
            return Ok(*past);
        }
        let past = past::value(self.database, self.experiment, unit)?;
        self.pasts.borrow_mut().insert(unit.to_owned(), past);
        Ok(past)
    }

    /// The events on a page, oldest first.
    fn events_on(&self, page: &Exposure, until: Until) -> Result<Vec<Counted>, ExperimentStoreError> {
        let events =
            events_on(self.database, &page.request_id)?.into_iter().filter(|stored| stored.seq <= until.events);
        let counted = |stored: StoredEvent| {
            let is_click = self.config.is_click(&stored.event.action_name);
            Counted { event: stored.event, value: stored.value, is_click }
        };
        Ok(events.map(counted).collect())
    }

    /// Adds the clicks on a page and the values of its events.
    fn join(&self, record: &mut QueryRecord, page: &Exposure, events: &[Counted]) {
        let skew = self.config.clock_skew_millis();
        for Counted { event, value, is_click } in events {
            if *is_click {
                let (rank, at_millis) = (attribution::rank(page, event, skew), event.at_millis);
                record.clicks.extend(rank.map(|rank| lorank_experiments::Click { rank, at_millis }));
            }
            if let Some(value) = value.filter(|_| attribution::is_on(page, event, skew)) {
                record.value = Some(record.value.unwrap_or(0.0) + value);
            }
        }
    }
}

impl QueryOfUnit {
    /// The query that an answer is a page of.
    pub(crate) fn of(ExposureRow { exposure, assigned, .. }: &ExposureRow) -> Self {
        Self {
            unit: assigned.unit.clone(),
            arm: assigned.arm,
            is_forced: assigned.forced,
            query: exposure.query.clone(),
            index: exposure.index.clone(),
        }
    }
}

/// The answers to the query of a unit, `?1` to `?6`.
const OF_SAME_QUERY: &str = "SELECT seq FROM exposures WHERE unit = ?1 AND experiment = ?2 AND arm = ?3 AND forced = ?4
                             AND query = ?5 AND index_name = ?6";

pub(crate) fn parsed(row: ExposureRow) -> Result<Row, ExperimentStoreError> {
    let seq = row.seq;
    let (exposure, assigned) = row.parse()?;
    Ok(Row { seq, exposure, assigned })
}
