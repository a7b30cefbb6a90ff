//! Incremental analysis of an experiment: only records since the last report are read.
//!
//! Answers are read in the order of their arrival, each with its clicks so far. A later click, value or page revises its answer, so
//! the analysis always equals one computed from scratch.

use std::collections::BTreeSet;

use lorank_experiments::{Analysis, AnalysisOptions, Assigned, Experiment, ExperimentState, Exposure, QueryRecord};
use rusqlite::{Connection, OptionalExtension};

use crate::judgments::Judge;
use crate::read::{ExposureRow, SELECT_EXPOSURES, click_actions, events_on, exposure, snapshot};
use crate::{ExperimentStoreError, StoreConfig, attribution, definitions, past};

const WHAT: &str = "read what came since the last report";

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
    connection: &'a Connection,
    config: &'a StoreConfig,
    experiment: &'a Experiment,
    actions: String,
    /// Whether the experiment has answers that do not start at rank 1.
    has_pages: bool,
    /// Whether there are events with values from before the experiment.
    has_past: bool,
    judge: Option<Judge<'a>>,
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
        connection: &mut Connection,
        config: &StoreConfig,
        now_millis: i64,
    ) -> Result<bool, ExperimentStoreError> {
        let transaction = snapshot(connection)?;
        let experiment = definitions::get(&transaction, &self.experiment.id)?.at(now_millis);
        let found = Seen::read(&transaction).map_err(ExperimentStoreError::database(WHAT))?;
        if found == self.seen && experiment == self.experiment {
            return Ok(false);
        }
        let is_rewritten = found.n_rewrites != self.seen.n_rewrites;
        if is_rewritten || !is_same_comparison(&experiment, &self.experiment) {
            *self = Self::new(&experiment, self.options);
        }
        let is_followed = experiment != self.experiment;
        self.analysis.follow(&experiment);
        let reading = Reading::new(&transaction, config, &experiment)?;
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
        let (from, analysis) = (self.seen.exposures, &mut self.analysis);
        let mut n_added = 0;
        reading.each_row(from, found.exposures, |row| {
            n_added += 1;
            let until = |exposures| Until { exposures, events: found.events };
            let first = reading.first_page(&row)?;
            if first == row.seq {
                analysis.add_at(place(row.seq), &reading.record(&row, until(row.seq))?);
                return Ok(());
            }
            let first = reading.row(first)?;
            let (old, new) = (reading.record(&first, until(row.seq - 1))?, reading.record(&first, until(row.seq))?);
            analysis.revise(place(first.seq), &old, &new);
            Ok(())
        })?;
        Ok(n_added)
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
    fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
        Ok(Self {
            exposures: number("SELECT coalesce(max(seq), 0) FROM exposures")?,
            events: number("SELECT coalesce(max(seq), 0) FROM events")?,
            n_rewrites: number("SELECT n FROM counters WHERE name = 'rewrites'")?,
        })
    }
}

impl<'a> Reading<'a> {
    fn new(
        connection: &'a Connection,
        config: &'a StoreConfig,
        experiment: &'a Experiment,
    ) -> Result<Self, ExperimentStoreError> {
        let pages = "SELECT EXISTS (SELECT 1 FROM exposures WHERE experiment = ?1 AND first_rank > 1)";
        let has_pages = connection.query_row(pages, [&experiment.id], |row| row.get(0));
        Ok(Self {
            connection,
            config,
            experiment,
            actions: click_actions(config),
            has_pages: has_pages.map_err(ExperimentStoreError::database(WHAT))?,
            has_past: past::is_there(connection, experiment)?,
            judge: Judge::new(connection)?,
        })
    }

    /// The answers, up to a row, of these events, by the rows of their first pages.
    fn answers_with_new_events(&self, seen: Seen, found: Seen) -> Result<BTreeSet<i64>, ExperimentStoreError> {
        let read = || -> rusqlite::Result<Vec<i64>> {
            // New events first, because they are few.
            let mut statement = self.connection.prepare_cached(
                "SELECT DISTINCT exposures.seq FROM events CROSS JOIN exposures ON exposures.request_id = events.query_id
                 WHERE events.seq > ?1 AND events.seq <= ?2 AND exposures.experiment = ?3 AND exposures.seq <= ?4
                   AND (events.value IS NOT NULL OR lower(events.action_name) IN (SELECT value FROM json_each(?5)))",
            )?;
            let bounds = (seen.events, found.events, &self.experiment.id, seen.exposures, &self.actions);
            statement.query_map(bounds, |row| row.get(0))?.collect()
        };
        let rows = read().map_err(ExperimentStoreError::database(WHAT))?;
        rows.into_iter().map(|seq| self.first_page(&self.row(seq)?)).collect()
    }

    /// Calls `visit` with each answer of the experiment in a range of rows, in order of arrival.
    fn each_row(
        &self,
        after: i64,
        until: i64,
        mut visit: impl FnMut(Row) -> Result<(), ExperimentStoreError>,
    ) -> Result<(), ExperimentStoreError> {
        // The plus prevents SQLite from using the index on the experiment and then sorting.
        let sql = format!("{SELECT_EXPOSURES} WHERE seq > ?1 AND seq <= ?2 AND +experiment = ?3 ORDER BY seq");
        let database = || ExperimentStoreError::database(WHAT);
        let mut statement = self.connection.prepare(&sql).map_err(database())?;
        let mut rows = statement.query((after, until, &self.experiment.id)).map_err(database())?;
        while let Some(row) = rows.next().map_err(database())? {
            let seq = row.get("seq").map_err(database())?;
            visit(parsed(seq, exposure(row).map_err(database())?)?)?;
        }
        Ok(())
    }

    /// The answer of an existing row.
    fn row(&self, seq: i64) -> Result<Row, ExperimentStoreError> {
        let read = || -> rusqlite::Result<ExposureRow> {
            let sql = format!("{SELECT_EXPOSURES} WHERE seq = ?1");
            self.connection.prepare_cached(&sql)?.query_row([seq], exposure)
        };
        parsed(seq, read().map_err(ExperimentStoreError::database(WHAT))?)
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
        let read = || -> rusqlite::Result<Vec<i64>> {
            let sql = format!("{OF_SAME_QUERY} AND seq > ?7 AND seq <= ?8 AND first_rank > 1 ORDER BY seq");
            let mut statement = self.connection.prepare_cached(&sql)?;
            let (exposure, assigned) = (&row.exposure, &row.assigned);
            let query = (&assigned.unit, &self.experiment.id, assigned.arm as i64, assigned.forced, &exposure.query);
            let bounds = (&exposure.index, row.seq, until);
            let (unit, experiment, arm, forced, query) = query;
            let (index, after, until) = bounds;
            let rows =
                statement.query_map((unit, experiment, arm, forced, query, index, after, until), |row| row.get(0))?;
            rows.collect()
        };
        read().map_err(ExperimentStoreError::database(WHAT))
    }

    /// One of the answers to the same query of the same unit.
    fn of_same_query(&self, row: &Row, which: &str) -> Result<Option<i64>, ExperimentStoreError> {
        let (exposure, assigned) = (&row.exposure, &row.assigned);
        let read = || -> rusqlite::Result<Option<i64>> {
            let mut statement = self.connection.prepare_cached(&format!("{OF_SAME_QUERY} AND {which} LIMIT 1"))?;
            let key = (
                &assigned.unit,
                &self.experiment.id,
                assigned.arm as i64,
                assigned.forced,
                &exposure.query,
                &exposure.index,
                row.seq,
            );
            statement.query_row(key, |row| row.get(0)).optional()
        };
        read().map_err(ExperimentStoreError::database(WHAT))
    }

    /// The stored data of an answer.
    fn record(&self, row: &Row, until: Until) -> Result<QueryRecord, ExperimentStoreError> {
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
            past: if self.has_past { past::value(self.connection, self.experiment, &row.assigned.unit)? } else { None },
            clicks: Vec::new(),
        };
        self.join(&mut record, &row.exposure, until)?;
        for page in self.further_pages(row, until.exposures)? {
            let page = self.row(page)?;
            self.join(&mut record, &page.exposure, until)?;
            if page.exposure.hits.len() > record.n_hits {
                record.n_hits = page.exposure.hits.len();
                (record.teams, record.arms) = (page.assigned.teams, page.assigned.arms);
            }
        }
        record.clicks.sort_by_key(|click| click.at_millis);
        Ok(record)
    }

    /// Adds the clicks on a page and the values of its events.
    fn join(&self, record: &mut QueryRecord, page: &Exposure, until: Until) -> Result<(), ExperimentStoreError> {
        let skew = self.config.clock_skew_millis();
        for stored in events_on(self.connection, &page.request_id, None)? {
            if stored.seq > until.events {
                continue;
            }
            if self.config.is_click(&stored.event.action_name) {
                let rank = attribution::rank(page, &stored.event, skew);
                let at_millis = stored.event.at_millis;
                record.clicks.extend(rank.map(|rank| lorank_experiments::Click { rank, at_millis }));
            }
            if let Some(value) = stored.value.filter(|_| attribution::is_on(page, &stored.event, skew)) {
                record.value = Some(record.value.unwrap_or(0.0) + value);
            }
        }
        Ok(())
    }
}

/// The answers to the query of a unit, `?1` to `?6`.
const OF_SAME_QUERY: &str = "SELECT seq FROM exposures WHERE unit = ?1 AND experiment = ?2 AND arm = ?3 AND forced = ?4
                             AND query = ?5 AND index_name = ?6";

fn parsed(seq: i64, row: ExposureRow) -> Result<Row, ExperimentStoreError> {
    let (exposure, assigned) = row.parse()?;
    Ok(Row { seq, exposure, assigned })
}
