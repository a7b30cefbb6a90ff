//! Incremental analysis of an experiment: only records since the last report are read.
//!
//! Answers are read in the order of their arrival, each with its clicks so far. A later click, value or page revises its answer, so
//! the analysis always equals one computed from scratch.

use std::collections::{BTreeSet, HashMap};
use std::sync::mpsc::sync_channel;

use lorank_experiments::{Analysis, AnalysisOptions, Experiment, ExperimentState, QueryRecord};

use crate::database::{Database, DatabaseError};
use crate::read::{ExposureRow, snapshot};
use crate::reading::{QueryOfUnit, Reading, Row, Until, parsed};
use crate::scanned::ScannedEvents;
use crate::{ExperimentStoreError, StoreConfig, definitions};

const WHAT: &str = "read what came since the last report";

/// The number of answers that are read in about the time in which one is revised, because all later looks are revised with it.
const ANSWERS_PER_REVISION: usize = 10;

/// The minimum number of revised answers for which all are read again.
const REVISED_MIN: usize = 1_000;

/// The number of batches of answers that may wait for the analysis.
const BATCHES_MAX: usize = 2;

/// The analysis of an experiment, with its position in the tables.
#[derive(Debug)]
pub(crate) struct LiveAnalysis {
    analysis: Analysis,
    options: AnalysisOptions,
    experiment: Experiment,
    seen: Seen,
    /// The number of answers that were read.
    n_answers: usize,
    events_by: EventsBy,
}

/// How the events on new answers are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum EventsBy {
    /// In the way that is faster.
    #[default]
    Faster,
    /// In one pass over all events.
    #[cfg(test)]
    Scan,
    /// By the answers.
    #[cfg(test)]
    Lookup,
}

/// The last row read of each table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Seen {
    exposures: i64,
    events: i64,
    /// The number of deletions of rows and changes of judgments, each of which invalidates the analysis.
    n_rewrites: i64,
}

impl LiveAnalysis {
    pub(crate) fn new(experiment: &Experiment, options: AnalysisOptions) -> Self {
        Self::with(experiment, options, EventsBy::default())
    }

    pub(crate) fn with(experiment: &Experiment, options: AnalysisOptions, events_by: EventsBy) -> Self {
        let analysis = Analysis::new(experiment, options);
        Self { analysis, options, experiment: experiment.clone(), seen: Seen::default(), n_answers: 0, events_by }
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
            *self = Self::with(&experiment, self.options, self.events_by);
        }
        let is_followed = experiment != self.experiment;
        self.analysis.follow(&experiment);
        let reading = Reading::new(&*transaction, config, &experiment)?;
        let revised = reading.answers_with_new_events(self.seen.until(), found.until())?;
        let n_revised = revised.len();
        if n_revised >= REVISED_MIN && n_revised * ANSWERS_PER_REVISION > self.n_answers {
            // All answers are read again, which is faster.
            *self = Self::with(&experiment, self.options, self.events_by);
        } else {
            self.revise(&reading, revised, found)?;
        }
        let n_added = self.add(&reading, found)?;
        self.n_answers += n_added;
        self.analysis.settle();
        (self.seen, self.experiment) = (found, experiment);
        Ok(is_rewritten || is_followed || n_revised + n_added > 0)
    }

    /// Revises known answers with new events.
    fn revise(
        &mut self,
        reading: &Reading<'_>,
        answers: BTreeSet<i64>,
        found: Seen,
    ) -> Result<(), ExperimentStoreError> {
        let (seen, found) = (self.seen.until(), found.until());
        for first in answers {
            let row = reading.row(first)?;
            let old = reading.record(&row, seen)?;
            let new = reading.record(&row, Until { events: found.events, ..seen })?;
            self.analysis.revise(place(first), &old, &new);
        }
        Ok(())
    }

    /// Adds new answers. Returns their number.
    fn add(&mut self, reading: &Reading<'_>, found: Seen) -> Result<usize, ExperimentStoreError> {
        let (after, until) = (self.seen.until(), found.until());
        let is_scanned = match self.events_by {
            EventsBy::Faster => reading.is_scan_faster(after, until)?,
            #[cfg(test)]
            EventsBy::Scan => true,
            #[cfg(test)]
            EventsBy::Lookup => false,
        };
        let events = if is_scanned { reading.scanned_events(until)? } else { None };
        match events {
            Some(events) => add_scanned(&mut self.analysis, reading, &events, after, until),
            None => add_by_lookups(&mut self.analysis, reading, after, until),
        }
    }
}

/// Adds answers with the events on them, looked up for some thousand answers at a time. Memory does not grow with the answers.
fn add_by_lookups(
    analysis: &mut Analysis,
    reading: &Reading<'_>,
    after: Until,
    until: Until,
) -> Result<usize, ExperimentStoreError> {
    let (mut from, mut n_added) = (after.exposures, 0);
    loop {
        let rows = reading.rows(from, until.exposures)?;
        let Some(last) = rows.last().map(|row| row.seq) else { return Ok(n_added) };
        let mut events = reading.events_of_rows(from, last, until.events)?;
        from = last;
        n_added += rows.len();
        for row in rows {
            let first = reading.first_page(&row)?;
            let step = if first == row.seq {
                let events = events.remove(&row.seq).unwrap_or_default();
                Step::Add(place(row.seq), Box::new(reading.record_of_page(&row, &events)?))
            } else {
                continued(reading, first, &row, until.events)?
            };
            step.apply(analysis);
        }
    }
}

/// Adds answers with the events on them, which are all in memory. The analysis runs on a thread of its own, beside the reading.
fn add_scanned(
    analysis: &mut Analysis,
    reading: &Reading<'_>,
    events: &ScannedEvents,
    after: Until,
    until: Until,
) -> Result<usize, ExperimentStoreError> {
    let mut open = OpenQueries::new(reading, after, until)?;
    std::thread::scope(|scope| {
        let (batches, waiting) = sync_channel::<Vec<Step>>(BATCHES_MAX);
        let worker = scope.spawn(move || waiting.into_iter().flatten().for_each(|step| step.apply(analysis)));
        let (mut from, mut n_added) = (after.exposures, 0);
        let mut read = || -> Result<usize, ExperimentStoreError> {
            loop {
                let rows = reading.unparsed_rows(from, until.exposures)?;
                let Some(last) = rows.last() else { return Ok(n_added) };
                from = last.seq;
                n_added += rows.len();
                let steps = rows.into_iter().map(|row| open.step(reading, events, row, until));
                // Only a worker that panicked takes no more.
                if batches.send(steps.collect::<Result<_, _>>()?).is_err() {
                    return Ok(n_added);
                }
            }
        };
        let n_added = read();
        drop(batches);
        worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        n_added
    })
}

/// A further page of an answer that is known already.
fn continued(reading: &Reading<'_>, first: i64, page: &Row, events: i64) -> Result<Step, ExperimentStoreError> {
    let first = reading.row(first)?;
    let until = |exposures| Until { exposures, events };
    let records = [reading.record(&first, until(page.seq - 1))?, reading.record(&first, until(page.seq))?];
    Ok(Step::Revise(place(first.seq), Box::new(records)))
}

/// A change of the analysis.
enum Step {
    Add(u64, Box<QueryRecord>),
    Revise(u64, Box<[QueryRecord; 2]>),
}

impl Step {
    fn apply(self, analysis: &mut Analysis) {
        match self {
            Self::Add(place, record) => analysis.add_at(place, &record),
            Self::Revise(place, records) => {
                let [old, new] = &*records;
                analysis.revise(place, old, new);
            }
        }
    }
}

/// The latest answers to the queries that have further pages among the answers that are read.
struct OpenQueries(HashMap<QueryOfUnit, Option<(i64, QueryRecord)>>);

impl OpenQueries {
    fn new(reading: &Reading<'_>, after: Until, until: Until) -> Result<Self, ExperimentStoreError> {
        Ok(Self(reading.queries_with_pages(after, until)?.into_iter().map(|query| (query, None)).collect()))
    }

    /// What an answer, which comes after all others so far, changes.
    fn step(
        &mut self,
        reading: &Reading<'_>,
        events: &ScannedEvents,
        row: ExposureRow,
        until: Until,
    ) -> Result<Step, ExperimentStoreError> {
        let mut query = if self.0.is_empty() { None } else { self.0.get_mut(&QueryOfUnit::of(&row)) };
        if query.is_none() && !reading.has_judgments() && !events.has(&row.exposure.request_id) {
            return Ok(Step::Add(place(row.seq), Box::new(reading.record_of_count(row)?)));
        }
        let row = parsed(row)?;
        let on_page = events.on(&row.exposure);
        if row.exposure.first_rank > 1 {
            if let Some(Some((first, record))) = &mut query {
                let old = record.clone();
                reading.extend(record, row, &on_page);
                return Ok(Step::Revise(place(*first), Box::new([old, record.clone()])));
            }
            // Its first page was read for an earlier report, or is not there.
            let first = reading.first_page(&row)?;
            if first != row.seq {
                return continued(reading, first, &row, until.events);
            }
        }
        let record = reading.record_of_page(&row, &on_page)?;
        if let Some(latest) = query {
            *latest = Some((row.seq, record.clone()));
        }
        Ok(Step::Add(place(row.seq), Box::new(record)))
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
    fn until(self) -> Until {
        Until { exposures: self.exposures, events: self.events }
    }

    fn read(database: &dyn Database) -> Result<Self, DatabaseError> {
        Ok(Self {
            exposures: database.number("SELECT coalesce(max(seq), 0) FROM exposures", &[])?,
            events: database.number("SELECT coalesce(max(seq), 0) FROM events", &[])?,
            n_rewrites: database.number("SELECT n FROM counters WHERE name = 'rewrites'", &[])?,
        })
    }
}
