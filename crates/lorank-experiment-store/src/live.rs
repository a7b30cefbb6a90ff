//! Incremental analysis of an experiment: only records since the last report are read.
//!
//! Answers are read in the order of their arrival, each with its clicks so far. A later click, value or page revises its answer, so
//! the analysis always equals one computed from scratch.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};

use lorank_experiments::{
    Analysis, AnalysisOptions, Assigned, Event, Experiment, ExperimentState, Exposure, QueryRecord,
};

use crate::database::{Database, DatabaseError, Value, clamped, placeholders};
use crate::judgments::Judge;
use crate::pages::ANY_LATER_PAGE;
use crate::read::{ExposureRow, SELECT_EXPOSURES, events_on, exposure, snapshot};
use crate::{ExperimentStoreError, StoreConfig, attribution, definitions, past};

const WHAT: &str = "read what came since the last report";

/// The number of new answers that are read at a time, with the events on them.
const CHUNK: i64 = 5_000;

/// The analysis of an experiment, with its position in the tables.
#[derive(Debug)]
pub(crate) struct LiveAnalysis {
    analysis: Analysis,
    options: AnalysisOptions,
    experiment: Experiment,
    seen: Seen,
}

/// The last row read of each table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Seen {
    exposures: i64,
    events: i64,
    /// The number of deletions of rows and changes of judgments, each of which invalidates the analysis.
    n_rewrites: i64,
}

/// What an answer is read with.
struct Reading<'a> {
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

/// An event that counts, on an answer.
struct Counted {
    event: Event,
    value: Option<f64>,
}

/// The last rows that count.
#[derive(Clone, Copy)]
struct Until {
    exposures: i64,
    events: i64,
}

/// A stored answer, with its row.
struct Row {
    seq: i64,
    exposure: Exposure,
    assigned: Assigned,
}

impl LiveAnalysis {
    pub(crate) fn new(experiment: &Experiment, options: AnalysisOptions) -> Self {
        let analysis = Analysis::new(experiment, options);
        Self { analysis, options, experiment: experiment.clone(), seen: Seen::default() }
    }

    /// The analysis as of its last update.
    pub(crate) fn analysis(&self) -> &Analysis {
        &self.analysis
    }

    /// Adds new records. Returns whether the report changed; records of other experiments do not change it.
    pub(crate) fn update(
        &mut self,
        database: &dyn Database,
        config: &StoreConfig,
        now_millis: i64,
    ) -> Result<bool, ExperimentStoreError> {
        let transaction = snapshot(database)?;
        let experiment = definitions::get(&*transaction, &self.experiment.id)?.at(now_millis);
        let found = Seen::read(&*transaction).map_err(ExperimentStoreError::database(WHAT))?;
        if found == self.seen && experiment == self.experiment {
            return Ok(false);
        }
        let is_rewritten = found.n_rewrites != self.seen.n_rewrites;
        if is_rewritten || !is_same_comparison(&experiment, &self.experiment) {
            *self = Self::new(&experiment, self.options);
        }
        let is_followed = experiment != self.experiment;
        self.analysis.follow(&experiment);
        let reading = Reading::new(&*transaction, config, &experiment)?;
        let n_revised = self.revise(&reading, found)?;
        let n_added = self.add(&reading, found)?;
        self.analysis.settle();
        (self.seen, self.experiment) = (found, experiment);
        Ok(is_rewritten || is_followed || n_revised + n_added > 0)
    }

    /// Revises known answers with new events. Returns the number of events.
    fn revise(&mut self, reading: &Reading<'_>, found: Seen) -> Result<usize, ExperimentStoreError> {
        let seen = self.seen;
        let answers = reading.answers_with_new_events(seen, found)?;
        let n_answers = answers.len();
        for first in answers {
            let row = reading.row(first)?;
            let old = reading.record(&row, Until { exposures: seen.exposures, events: seen.events })?;
            let new = reading.record(&row, Until { exposures: seen.exposures, events: found.events })?;
            self.analysis.revise(place(first), &old, &new);
        }
        Ok(n_answers)
    }

    /// Adds new answers. Returns their number.
    fn add(&mut self, reading: &Reading<'_>, found: Seen) -> Result<usize, ExperimentStoreError> {
        let (mut from, analysis) = (self.seen.exposures, &mut self.analysis);
        let mut n_added = 0;
        loop {
            let rows = reading.rows(from, found.exposures)?;
            let Some(last) = rows.last().map(|row| row.seq) else { return Ok(n_added) };
            let mut events = reading.events_of_rows(from, last, found.events)?;
            from = last;
            n_added += rows.len();
            for row in rows {
                let until = |exposures| Until { exposures, events: found.events };
                let first = reading.first_page(&row)?;
                if first == row.seq {
                    let events = events.remove(&row.seq).unwrap_or_default();
                    analysis.add_at(place(row.seq), &reading.record_of_page(&row, &events)?);
                    continue;
                }
                let first = reading.row(first)?;
                let (old, new) = (reading.record(&first, until(row.seq - 1))?, reading.record(&first, until(row.seq))?);
                analysis.revise(place(first.seq), &old, &new);
            }
        }
    }
}

/// Rows are counted from 1.
fn place(seq: i64) -> u64 {
    u64::try_from(seq).unwrap_or(0)
}

/// Whether both definitions compare the same arms; ignores properties that may change while an experiment runs.
fn is_same_comparison(one: &Experiment, other: &Experiment) -> bool {
    let compared = |of: &Experiment| Experiment {
        state: ExperimentState::Draft,
        start_millis: None,
        end_millis: None,
        traffic_share: 1.0,
        buckets: Vec::new(),
        arms: of.arms.iter().map(|arm| lorank_experiments::Arm { pinned: None, ..arm.clone() }).collect(),
        ..of.clone()
    };
    // A changed start changes which records belong to the past.
    compared(one) == compared(other) && one.start_millis == other.start_millis
}

impl Seen {
    fn read(database: &dyn Database) -> Result<Self, DatabaseError> {
        Ok(Self {
            exposures: database.number("SELECT coalesce(max(seq), 0) FROM exposures", &[])?,
            events: database.number("SELECT coalesce(max(seq), 0) FROM events", &[])?,
            n_rewrites: database.number("SELECT n FROM counters WHERE name = 'rewrites'", &[])?,
        })
    }
}

impl<'a> Reading<'a> {
    fn new(
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
    fn counted(&self, first: usize) -> (String, Vec<String>) {
        let actions: Vec<String> = self.config.click_actions.iter().map(|action| action.to_ascii_lowercase()).collect();
        let is_click = match actions.len() {
            0 => String::new(),
            n => format!(" OR lower(events.action_name) IN ({})", placeholders(first, n)),
        };
        (format!("(events.value IS NOT NULL{is_click})"), actions)
    }

    /// The answers, up to a row, of these events, by the rows of their first pages.
    fn answers_with_new_events(&self, seen: Seen, found: Seen) -> Result<BTreeSet<i64>, ExperimentStoreError> {
        let (counted, actions) = self.counted(5);
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

    /// The next answers of the experiment in a range of rows, in order of arrival; none at its end.
    fn rows(&self, after: i64, until: i64) -> Result<Vec<Row>, ExperimentStoreError> {
        // The expression prevents the use of the index on the experiment, whose rows would have to be sorted.
        let sql =
            format!("{SELECT_EXPOSURES} WHERE seq > ?1 AND seq <= ?2 AND experiment || '' = ?3 ORDER BY seq LIMIT ?4");
        let params = [after.into(), until.into(), (&self.experiment.id).into(), CHUNK.into()];
        let rows = self.database.all(&sql, &params, exposure).map_err(ExperimentStoreError::database(WHAT))?;
        rows.into_iter().map(parsed).collect()
    }

    /// The events that count on the answers in a range of rows, by row, oldest first.
    fn events_of_rows(
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
            let event = Event {
                event_id: None,
                query_id: None,
                client_id: None,
                session_id: None,
                action_name: row.a_text(1)?,
                object_id: row.text(2)?,
                object_id_field: None,
                at_millis: row.an_integer(4)?,
                message: None,
                ordinal: row.integer(3)?.and_then(|ordinal| u32::try_from(ordinal).ok()),
                attributes: serde_json::Map::new(),
            };
            let counted = Counted { event, value: row.real(5)? };
            events.entry(row.an_integer(0)?).or_default().push(counted);
            Ok(())
        });
        read.map_err(ExperimentStoreError::database(WHAT))?;
        Ok(events)
    }

    /// The answer of an existing row.
    fn row(&self, seq: i64) -> Result<Row, ExperimentStoreError> {
        let found = self.database.first(&format!("{SELECT_EXPOSURES} WHERE seq = ?1"), &[seq.into()], exposure);
        let found = found.and_then(|row| row.ok_or_else(|| DatabaseError::new("an exposure is missing")));
        parsed(found.map_err(ExperimentStoreError::database(WHAT))?)
    }

    /// The row of the first page of this answer's query, or its own.
    fn first_page(&self, row: &Row) -> Result<i64, ExperimentStoreError> {
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
    fn record(&self, row: &Row, until: Until) -> Result<QueryRecord, ExperimentStoreError> {
        let mut record = self.record_of_page(row, &self.events_on(&row.exposure, until)?)?;
        for page in self.further_pages(row, until.exposures)? {
            let page = self.row(page)?;
            self.join(&mut record, &page.exposure, &self.events_on(&page.exposure, until)?);
            if page.exposure.hits.len() > record.n_hits {
                record.n_hits = page.exposure.hits.len();
                (record.teams, record.arms) = (page.assigned.teams, page.assigned.arms);
            }
        }
        record.clicks.sort_by_key(|click| click.at_millis);
        Ok(record)
    }

    /// The stored data of an answer without further pages, with the events on it, oldest first.
    fn record_of_page(&self, row: &Row, events: &[Counted]) -> Result<QueryRecord, ExperimentStoreError> {
        let mut record = QueryRecord {
            request_id: row.exposure.request_id.clone(),
            unit: row.assigned.unit.clone(),
            arm: row.assigned.arm,
            forced: row.assigned.forced,
            at_millis: row.exposure.at_millis,
            n_hits: row.exposure.hits.len(),
            latency_micros: row.exposure.latency_micros,
            fallback: row.exposure.fallback.clone(),
            model: row.exposure.model.clone(),
            teams: row.assigned.teams.clone(),
            arms: row.assigned.arms.clone(),
            value: None,
            judged: self.judge.as_ref().map_or(Ok(None), |judge| judge.judged(&row.exposure))?,
            past: self.past(&row.assigned.unit)?,
            clicks: Vec::new(),
        };
        self.join(&mut record, &row.exposure, events);
        Ok(record)
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
        Ok(events.map(|stored| Counted { event: stored.event, value: stored.value }).collect())
    }

    /// Adds the clicks on a page and the values of its events.
    fn join(&self, record: &mut QueryRecord, page: &Exposure, events: &[Counted]) {
        let skew = self.config.clock_skew_millis();
        for Counted { event, value } in events {
            if self.config.is_click(&event.action_name) {
                let (rank, at_millis) = (attribution::rank(page, event, skew), event.at_millis);
                record.clicks.extend(rank.map(|rank| lorank_experiments::Click { rank, at_millis }));
            }
            if let Some(value) = value.filter(|_| attribution::is_on(page, event, skew)) {
                record.value = Some(record.value.unwrap_or(0.0) + value);
            }
        }
    }
}

/// The answers to the query of a unit, `?1` to `?6`.
const OF_SAME_QUERY: &str = "SELECT seq FROM exposures WHERE unit = ?1 AND experiment = ?2 AND arm = ?3 AND forced = ?4
                             AND query = ?5 AND index_name = ?6";

fn parsed(row: ExposureRow) -> Result<Row, ExperimentStoreError> {
    let seq = row.seq;
    let (exposure, assigned) = row.parse()?;
    Ok(Row { seq, exposure, assigned })
}
