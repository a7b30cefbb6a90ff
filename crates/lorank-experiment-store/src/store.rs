//! The store as its callers see it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lorank_experiments::{
    AnalysisOptions, Event, Experiment, ExperimentError, Exposure, PinnedVersion, QueryRecord, ShadowRecord,
};
use rusqlite::Connection;

use crate::judgments::Known;
use crate::reports::Reports;
use crate::shadows::Shadows;
use crate::writer::{Rows, WriterHandle};
use crate::{
    CurrentReport, ExperimentStoreError, Forgotten, JoinCounts, Judgment, JudgmentCounts, Records, ShadowSummary,
    StoreConfig, StoreStats, Submitted, definitions, export, judgments, read, retention, schema,
};

/// The file, within the folder that the store is opened with.
pub(crate) const FILE_NAME: &str = "experiments.sqlite";

/// What changes of an experiment at once.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Amendment {
    /// The share of units that take part; `None` leaves it as it is.
    pub traffic_share: Option<f64>,
    /// The end in milliseconds since 1970, or `Some(None)` for no end; `None` leaves it as it is.
    pub end_millis: Option<Option<i64>>,
}

/// Experiments, exposures, events and shadow records, in one SQLite file. Threads share it by reference; other processes may
/// have the same file open, on the same machine (SQLite's log is shared memory, so no network file system will do).
///
/// What is acknowledged has been synced to the disk: it outlives the process and the machine's power. Dropping the store
/// writes what still waits. See the [crate's page](crate) for an example.
#[derive(Debug)]
pub struct ExperimentStore {
    path: PathBuf,
    config: StoreConfig,
    writer: WriterHandle,
    reports: Reports,
    shadows: Shadows,
}

impl ExperimentStore {
    /// Whether a folder has a store, for those who only read and would leave no new one behind.
    pub fn is_in(folder: &Path) -> bool {
        folder.join(FILE_NAME).is_file()
    }

    /// Opens the store in a folder, and makes either where it is not there.
    pub fn open(folder: &Path, config: StoreConfig) -> Result<Self, ExperimentStoreError> {
        let path = folder.join(FILE_NAME);
        let open_error = |source| ExperimentStoreError::Open { path: path.clone(), source: Arc::new(source) };
        std::fs::create_dir_all(folder).map_err(open_error)?;
        let writer = WriterHandle::start(schema::open(&path)?, &config, open_error)?;
        Ok(Self { path, config, writer, reports: Reports::default(), shadows: Shadows::default() })
    }

    /// The running experiments by name, those included that begin later. No SQL: a copy of a pointer.
    pub fn running(&self) -> Arc<[Experiment]> {
        self.writer.running()
    }

    /// Adds a draft.
    pub fn create(&self, draft: Experiment) -> Result<(), ExperimentStoreError> {
        let max = self.config.experiments_max;
        self.writer.run(move |connection| definitions::create(connection, &draft, max))
    }

    /// The experiment of that name.
    pub fn get(&self, id: &str) -> Result<Experiment, ExperimentStoreError> {
        definitions::get(&self.reader()?, id)
    }

    /// All experiments, by name.
    pub fn list(&self) -> Result<Vec<Experiment>, ExperimentStoreError> {
        definitions::all(&self.reader()?)
    }

    /// Starts a draft. See [`Experiment::start`]. The versions that its arms serve are not pinned by that.
    pub fn start(&self, id: &str, now_millis: i64) -> Result<Experiment, ExperimentStoreError> {
        self.start_pinned(id, Vec::new(), now_millis)
    }

    /// Starts a draft, and pins the versions that these arms serve, by their places. See [`Experiment::start`].
    pub fn start_pinned(
        &self,
        id: &str,
        versions: Vec<(usize, PinnedVersion)>,
        now_millis: i64,
    ) -> Result<Experiment, ExperimentStoreError> {
        self.change(id, now_millis, move |experiment, others| {
            experiment.start(now_millis, others)?;
            versions.into_iter().for_each(|(arm, version)| experiment.pin(arm, version));
            Ok(())
        })
    }

    /// Leaves a version for the writer to pin an arm to that has none yet, and waits for nothing. What was pinned first stays.
    pub fn leave_pin(&self, id: &str, arm: usize, version: PinnedVersion) {
        let (id, now_millis) = (id.to_owned(), version.since_millis);
        let pin = move |experiment: &mut Experiment, _: &[Experiment]| {
            experiment.pin(arm, version);
            Ok(())
        };
        self.writer.leave(move |connection| definitions::change(connection, &id, now_millis, pin).map(drop));
    }

    /// Stops a running experiment. See [`Experiment::stop`].
    pub fn stop(&self, id: &str, now_millis: i64) -> Result<Experiment, ExperimentStoreError> {
        self.change(id, now_millis, move |experiment, _| experiment.stop(now_millis))
    }

    /// Raises a running experiment's share. See [`Experiment::raise_share`].
    pub fn raise_share(&self, id: &str, share: f64, now_millis: i64) -> Result<Experiment, ExperimentStoreError> {
        self.change(id, now_millis, move |experiment, others| experiment.raise_share(share, now_millis, others))
    }

    /// Sets an experiment's end. See [`Experiment::set_end`].
    pub fn set_end(
        &self,
        id: &str,
        end_millis: Option<i64>,
        now_millis: i64,
    ) -> Result<Experiment, ExperimentStoreError> {
        self.change(id, now_millis, move |experiment, _| experiment.set_end(end_millis, now_millis))
    }

    /// Sets an experiment's end and raises its share, as far as the amendment says so: all of it or, where a part is refused,
    /// nothing.
    pub fn amend(&self, id: &str, amendment: Amendment, now_millis: i64) -> Result<Experiment, ExperimentStoreError> {
        let Amendment { traffic_share, end_millis } = amendment;
        if traffic_share.is_none() && end_millis.is_none() {
            return self.get(id);
        }
        self.change(id, now_millis, move |experiment, others| {
            end_millis.map_or(Ok(()), |end| experiment.set_end(end, now_millis))?;
            traffic_share.map_or(Ok(()), |share| experiment.raise_share(share, now_millis, others))
        })
    }

    /// Deletes a draft. What has been started stays, since its records refer to it.
    pub fn delete_draft(&self, id: &str, now_millis: i64) -> Result<(), ExperimentStoreError> {
        let id = id.to_owned();
        self.writer.run(move |connection| definitions::delete_draft(connection, &id, now_millis))
    }

    /// Leaves an exposure for the writer, and waits for nothing. Whether it was taken: where the queue is full or the
    /// exposure cannot be kept, it is dropped and counted.
    pub fn record_exposure(&self, exposure: Exposure) -> bool {
        match exposure.check() {
            Ok(()) => self.writer.try_insert(Rows::Exposures(vec![exposure])),
            Err(error) => {
                tracing::warn!(%error, "dropped an exposure");
                self.writer.count_dropped();
                false
            }
        }
    }

    /// Leaves a shadow's record for the writer, and waits for nothing. Whether it was taken, as with exposures.
    pub fn record_shadow(&self, record: ShadowRecord) -> bool {
        self.writer.try_insert(Rows::Shadow(record))
    }

    /// Keeps exposures, and returns when they are on the disk. A request id that is known keeps its first exposure.
    pub fn submit_exposures(&self, exposures: Vec<Exposure>) -> Result<Submitted, ExperimentStoreError> {
        self.check_size("exposures", exposures.len())?;
        exposures.iter().try_for_each(Exposure::check)?;
        self.writer.insert(Rows::Exposures(exposures))
    }

    /// Keeps events, all or none, and returns when they are on the disk. Waits while the queue is full.
    ///
    /// # Errors
    /// An event that passes a limit or whose time cannot be; a database that cannot be written.
    pub fn submit(&self, events: Vec<Event>, now_millis: i64) -> Result<Submitted, ExperimentStoreError> {
        self.check_size("events", events.len())?;
        let clock_skew_millis = self.config.clock_skew_millis();
        for event in &events {
            event.check()?;
            event.check_time(now_millis, clock_skew_millis)?;
        }
        self.writer.insert(Rows::Events { events, received_millis: now_millis, clock_skew_millis })
    }

    /// How far the clocks of clients may be off.
    pub fn clock_skew_millis(&self) -> i64 {
        self.config.clock_skew_millis()
    }

    /// Returns when everything that was recorded before is on the disk (or counted as lost, or, where another process has the file
    /// locked, deferred to a next try), and other processes' changes are seen.
    pub fn flush(&self) -> Result<(), ExperimentStoreError> {
        self.writer.run(|_| Ok(()))
    }

    /// Hands each answer of an experiment to `visit`, oldest first, its clicks joined, and counts what was joined.
    pub fn read_records(&self, id: &str, visit: impl FnMut(QueryRecord)) -> Result<JoinCounts, ExperimentStoreError> {
        read::records(&mut self.reader()?, id, &self.config, visit)
    }

    /// All answers of an experiment, oldest first, their clicks joined. In memory: some 200 bytes each.
    pub fn records(&self, id: &str) -> Result<Records, ExperimentStoreError> {
        let mut records = Vec::new();
        let counts = self.read_records(id, |record| records.push(record))?;
        Ok(Records { records, counts })
    }

    /// What an experiment has shown by now. The first time reads all its answers; asked again, what came since then. Where nothing
    /// of it did it is the report that was given last, in the same revision. Memory grows with the units of the experiments that were asked for lately, up to
    /// four million of them.
    pub fn report(
        &self,
        id: &str,
        options: AnalysisOptions,
        now_millis: i64,
    ) -> Result<CurrentReport, ExperimentStoreError> {
        self.reports.report(&mut self.reader()?, &self.config, id, options, now_millis)
    }

    /// Puts judgments in the place of all that there were: reports measure the answers to their queries by nDCG@10.
    pub fn set_judgments(&self, judgments: Vec<Judgment>) -> Result<JudgmentCounts, ExperimentStoreError> {
        self.judge(judgments, Known::Replace)
    }

    /// Adds judgments to those that there are. One of a query and a document that are judged already takes the place of the old one.
    pub fn add_judgments(&self, judgments: Vec<Judgment>) -> Result<JudgmentCounts, ExperimentStoreError> {
        self.judge(judgments, Known::Keep)
    }

    /// Writes all judgments as a JSON array of objects with `query`, `document` and `grade`.
    pub fn write_judgments(&self, to: impl Write) -> Result<(), ExperimentStoreError> {
        judgments::write_json(&self.reader()?, to)
    }

    /// What the records of the shadows come to. Asked again it reads what came since.
    pub fn shadows(&self) -> Result<Vec<ShadowSummary>, ExperimentStoreError> {
        self.shadows.summaries(&mut self.reader()?)
    }

    /// How many exposures and shadows' records were dropped since the store was opened, mostly since the queue was full.
    pub fn n_dropped(&self) -> u64 {
        self.writer.n_dropped()
    }

    /// How many exposures and shadows' records could not be written since the store was opened.
    pub fn n_lost(&self) -> u64 {
        self.writer.n_lost()
    }

    /// How much is kept, and what was not. Counts whole tables.
    pub fn stats(&self) -> Result<StoreStats, ExperimentStoreError> {
        let stored = read::stats(&mut self.reader()?)?;
        Ok(StoreStats { n_dropped: self.writer.n_dropped(), n_lost: self.writer.n_lost(), ..stored })
    }

    /// Writes an experiment's answers as CSV, a row for each, its clicks in one column.
    pub fn export_queries(&self, id: &str, to: impl Write) -> Result<u64, ExperimentStoreError> {
        export::queries(&mut self.reader()?, id, &self.config, to)
    }

    /// Writes the events on an experiment's answers as CSV, a row for each, of any action.
    pub fn export_events(&self, id: &str, to: impl Write) -> Result<u64, ExperimentStoreError> {
        export::events(&mut self.reader()?, id, &self.config, to)
    }

    /// Deletes what is older: exposures with the events on them, events that came in earlier, and shadows' records.
    /// The file does not shrink; what is freed is used again.
    pub fn forget(&self, before_millis: i64) -> Result<Forgotten, ExperimentStoreError> {
        retention::forget(&mut self.reader()?, &self.writer, before_millis)
    }

    fn judge(&self, judgments: Vec<Judgment>, known: Known) -> Result<JudgmentCounts, ExperimentStoreError> {
        let max = self.config.judgments_max;
        self.writer.run(move |connection| judgments::write(connection, &judgments, known, max))
    }

    fn reader(&self) -> Result<Connection, ExperimentStoreError> {
        schema::open_reader(&self.path)
    }

    fn change(
        &self,
        id: &str,
        now_millis: i64,
        step: impl FnOnce(&mut Experiment, &[Experiment]) -> Result<(), ExperimentError> + Send + 'static,
    ) -> Result<Experiment, ExperimentStoreError> {
        let id = id.to_owned();
        self.writer.run(move |connection| definitions::change(connection, &id, now_millis, step))
    }

    fn check_size(&self, what: &'static str, found: usize) -> Result<(), ExperimentStoreError> {
        let max = self.config.submission_max;
        let hint = "send them in several submissions";
        if found <= max { Ok(()) } else { Err(ExperimentStoreError::TooMany { what, found, max, hint }) }
    }
}
