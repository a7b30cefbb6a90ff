//! The public interface of the store.

use std::io::Write;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lorank_experiments::{
    AnalysisOptions, Event, Experiment, ExperimentError, Exposure, PinnedVersion, QueryRecord, ShadowRecord,
};

#[cfg(feature = "postgres")]
use crate::Copied;
use crate::database::Database;
use crate::judgments::Known;
#[cfg(feature = "postgres")]
use crate::pg::{Reader, Server, StoreUrl};
use crate::reports::Reports;
use crate::rows::Rows;
use crate::shadows::Shadows;
use crate::sqlite::Sqlite;
use crate::writer::WriterHandle;
use crate::{
    CurrentReport, ExperimentStoreError, Forgotten, JoinCounts, Judgment, JudgmentCounts, LoggedSearch, Records,
    ShadowSummary, StoreConfig, StoreStats, Submitted, definitions, export, judgments, read, retention,
};

/// The file in the store's folder.
pub(crate) const FILE_NAME: &str = "experiments.sqlite";

/// Changes of an experiment that are made together.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Amendment {
    /// The share of units that take part; `None` keeps it.
    pub traffic_share: Option<f64>,
    /// The end in milliseconds since 1970, or `Some(None)` for no end; `None` keeps it.
    pub end_millis: Option<Option<i64>>,
}

/// Experiments, exposures, events and shadow results in a SQLite file, or in a database of PostgreSQL. Threads share the store by
/// reference. Other processes on the same machine may open the same file; network file systems are not supported, because SQLite's
/// log is in shared memory. Servers on several machines share a database of PostgreSQL.
///
/// Acknowledged records have been synced to disk, and survive crashes and a loss of power. Dropping the store writes all waiting
/// records. See the [crate page](crate) for an example.
#[derive(Debug)]
pub struct ExperimentStore {
    place: Place,
    config: StoreConfig,
    writer: WriterHandle,
    reports: Reports,
    shadows: Shadows,
}

/// Where the records are.
#[derive(Debug)]
enum Place {
    File(PathBuf),
    #[cfg(feature = "postgres")]
    Server(Server),
}

/// A connection to read from.
enum AnyReader {
    File(Sqlite),
    #[cfg(feature = "postgres")]
    Server(Box<Reader>),
}

impl Deref for AnyReader {
    type Target = dyn Database;

    fn deref(&self) -> &Self::Target {
        match self {
            Self::File(file) => file,
            #[cfg(feature = "postgres")]
            Self::Server(reader) => &***reader,
        }
    }
}

impl ExperimentStore {
    /// Whether a folder has a store, for callers that only read and must not create one.
    pub fn is_in(folder: &Path) -> bool {
        folder.join(FILE_NAME).is_file()
    }

    /// Opens the store in a folder; creates both if they do not exist.
    pub fn open(folder: &Path, config: StoreConfig) -> Result<Self, ExperimentStoreError> {
        let path = folder.join(FILE_NAME);
        let open_error = |source| ExperimentStoreError::Open { path: path.clone(), source: Arc::new(source) };
        std::fs::create_dir_all(folder).map_err(open_error)?;
        let writer = WriterHandle::start(Box::new(Sqlite::open(&path)?), &config, open_error)?;
        Ok(Self::at(Place::File(path), config, writer))
    }

    /// Connects to a database of PostgreSQL; makes the tables in the first schema of its search path if they do not exist.
    /// `ca` are the certificates of the authorities that sign the server's certificate, in PEM; by default the public ones.
    #[cfg(feature = "postgres")]
    pub fn connect(url: &StoreUrl, ca: Option<&[u8]>, config: StoreConfig) -> Result<Self, ExperimentStoreError> {
        let server = Server::open(url, ca)?;
        let spawn_error = |source| {
            let path = PathBuf::from(url.to_string());
            ExperimentStoreError::Open { path, source: Arc::new(source) }
        };
        let writer = WriterHandle::start(Box::new(server.database()?), &config, spawn_error)?;
        Ok(Self::at(Place::Server(server), config, writer))
    }

    fn at(place: Place, config: StoreConfig, writer: WriterHandle) -> Self {
        Self { place, config, writer, reports: Reports::default(), shadows: Shadows::default() }
    }

    /// The running experiments by id, including those that start later. Only copies a pointer, without SQL.
    pub fn running(&self) -> Arc<[Experiment]> {
        self.writer.running()
    }

    /// Adds a draft.
    pub fn create(&self, draft: Experiment) -> Result<(), ExperimentStoreError> {
        let max = self.config.experiments_max;
        self.writer.run(move |database| definitions::create(database, &draft, max))
    }

    /// The experiment with this id.
    pub fn get(&self, id: &str) -> Result<Experiment, ExperimentStoreError> {
        definitions::get(&*self.reader()?, id)
    }

    /// All experiments, by id.
    pub fn list(&self) -> Result<Vec<Experiment>, ExperimentStoreError> {
        definitions::all(&*self.reader()?)
    }

    /// Starts a draft without pinning the versions of its arms. See [`Experiment::start`].
    pub fn start(&self, id: &str, now_millis: i64) -> Result<Experiment, ExperimentStoreError> {
        self.start_pinned(id, Vec::new(), now_millis)
    }

    /// Starts a draft and pins the versions of these arms, given by index. See [`Experiment::start`].
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

    /// Queues the pinning of an arm without a pinned version, and does not wait. The first pinned version stays.
    pub fn leave_pin(&self, id: &str, arm: usize, version: PinnedVersion) {
        let (id, now_millis) = (id.to_owned(), version.since_millis);
        let pin = move |experiment: &mut Experiment, _: &[Experiment]| {
            experiment.pin(arm, version);
            Ok(())
        };
        self.writer.leave(move |database| definitions::change(database, &id, now_millis, pin).map(drop));
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

    /// Sets an experiment's end and raises its share, as given by the amendment: all changes or, if one is rejected, none.
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

    /// Deletes a draft. Started experiments stay, because their records refer to them.
    pub fn delete_draft(&self, id: &str, now_millis: i64) -> Result<(), ExperimentStoreError> {
        let id = id.to_owned();
        self.writer.run(move |database| definitions::delete_draft(database, &id, now_millis))
    }

    /// Queues an exposure, and does not wait. Returns whether it was queued: if the queue is full or the exposure cannot be stored, it
    /// is dropped and counted.
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

    /// Queues a shadow result, and does not wait. Returns whether it was queued, as for exposures.
    pub fn record_shadow(&self, record: ShadowRecord) -> bool {
        self.writer.try_insert(Rows::Shadow(record))
    }

    /// Stores exposures, and returns when they are on disk. A known request id keeps its first exposure.
    pub fn submit_exposures(&self, exposures: Vec<Exposure>) -> Result<Submitted, ExperimentStoreError> {
        self.check_size("exposures", exposures.len())?;
        exposures.iter().try_for_each(Exposure::check)?;
        self.writer.insert(Rows::Exposures(exposures))
    }

    /// Stores events, all or none, and returns when they are on disk. Waits while the queue is full.
    ///
    /// # Errors
    /// If an event exceeds a limit or has an impossible time, or the database cannot be written.
    pub fn submit(&self, events: Vec<Event>, now_millis: i64) -> Result<Submitted, ExperimentStoreError> {
        self.check_size("events", events.len())?;
        let clock_skew_millis = self.config.clock_skew_millis();
        for event in &events {
            event.check()?;
            event.check_time(now_millis, clock_skew_millis)?;
        }
        self.writer.insert(Rows::Events { events, received_millis: now_millis, clock_skew_millis })
    }

    /// The tolerance for wrong client clocks.
    pub fn clock_skew_millis(&self) -> i64 {
        self.config.clock_skew_millis()
    }

    /// Returns when all previous records are on disk (or counted as lost, or deferred while another process locks the file), and other
    /// processes' changes are visible.
    pub fn flush(&self) -> Result<(), ExperimentStoreError> {
        self.writer.run(|_| Ok(()))
    }

    /// Calls `visit` with each answer of an experiment and its clicks, oldest first. Returns the numbers of joined events.
    pub fn read_records(&self, id: &str, visit: impl FnMut(QueryRecord)) -> Result<JoinCounts, ExperimentStoreError> {
        read::records(&*self.reader()?, id, &self.config, visit)
    }

    /// All answers of an experiment with their clicks, oldest first. They take about 200 bytes of memory each.
    pub fn records(&self, id: &str) -> Result<Records, ExperimentStoreError> {
        let mut records = Vec::new();
        let counts = self.read_records(id, |record| records.push(record))?;
        Ok(Records { records, counts })
    }

    /// Calls `visit` with each search of an index and its clicks, oldest first: answers of all experiments and outside of
    /// experiments. Returns the number of answers that are left out because they are later pages of a query.
    pub fn read_searches(&self, index: &str, visit: impl FnMut(LoggedSearch)) -> Result<u64, ExperimentStoreError> {
        read::searches(&*self.reader()?, index, &self.config, visit)
    }

    /// The current report of an experiment. The first call reads all its answers, later calls only new records; without any, they return
    /// the last report with the same revision. Memory grows with the units of recently requested experiments, up to four million.
    pub fn report(
        &self,
        id: &str,
        options: AnalysisOptions,
        now_millis: i64,
    ) -> Result<CurrentReport, ExperimentStoreError> {
        self.reports.report(&*self.reader()?, &self.config, id, options, now_millis)
    }

    /// Replaces all judgments. Reports compute nDCG@10 of the answers to judged queries.
    pub fn set_judgments(&self, judgments: Vec<Judgment>) -> Result<JudgmentCounts, ExperimentStoreError> {
        self.judge(judgments, Known::Replace)
    }

    /// Adds judgments. A judgment replaces an existing one for the same query and document.
    pub fn add_judgments(&self, judgments: Vec<Judgment>) -> Result<JudgmentCounts, ExperimentStoreError> {
        self.judge(judgments, Known::Keep)
    }

    /// All judgments, by query and document.
    pub fn judgments(&self) -> Result<Vec<Judgment>, ExperimentStoreError> {
        judgments::all(&*self.reader()?)
    }

    /// Writes all judgments as a JSON array of objects with `query`, `document` and `grade`.
    pub fn write_judgments(&self, to: impl Write) -> Result<(), ExperimentStoreError> {
        judgments::write_json(&*self.reader()?, to)
    }

    /// Summaries of the shadow results. Later calls only read new results.
    pub fn shadows(&self) -> Result<Vec<ShadowSummary>, ExperimentStoreError> {
        self.shadows.summaries(&*self.reader()?)
    }

    /// The number of exposures and shadow results that were dropped since the store was opened, usually because the queue was full.
    pub fn n_dropped(&self) -> u64 {
        self.writer.n_dropped()
    }

    /// The number of exposures and shadow results that could not be written since the store was opened.
    pub fn n_lost(&self) -> u64 {
        self.writer.n_lost()
    }

    /// The contents of the store. Counts all rows.
    pub fn stats(&self) -> Result<StoreStats, ExperimentStoreError> {
        let stored = read::stats(&*self.reader()?)?;
        Ok(StoreStats { n_dropped: self.writer.n_dropped(), n_lost: self.writer.n_lost(), ..stored })
    }

    /// Writes an experiment's answers as CSV, one row per answer, with its clicks in one column.
    pub fn export_queries(&self, id: &str, to: impl Write) -> Result<u64, ExperimentStoreError> {
        export::queries(&*self.reader()?, id, &self.config, to)
    }

    /// Writes the events of any action on an experiment's answers as CSV, one row per event.
    pub fn export_events(&self, id: &str, to: impl Write) -> Result<u64, ExperimentStoreError> {
        export::events(&*self.reader()?, id, &self.config, to)
    }

    /// Deletes older records: exposures with their events, events by their time of arrival, and shadow results. The file does not
    /// shrink; its free space is reused.
    pub fn forget(&self, before_millis: i64) -> Result<Forgotten, ExperimentStoreError> {
        retention::forget(&*self.reader()?, &self.writer, before_millis)
    }

    /// Copies everything into a store in PostgreSQL, also while servers use both. Records that are there already stay.
    ///
    /// # Errors
    /// An experiment is there with another definition, or one of the stores fails.
    #[cfg(feature = "postgres")]
    pub fn copy_to(&self, url: &StoreUrl, ca: Option<&[u8]>) -> Result<Copied, ExperimentStoreError> {
        let server = Server::open(url, ca)?;
        crate::pg::copy(&*self.reader()?, &server.database()?)
    }

    fn judge(&self, judgments: Vec<Judgment>, known: Known) -> Result<JudgmentCounts, ExperimentStoreError> {
        let max = self.config.judgments_max;
        self.writer.run_long(move |database| judgments::write(database, &judgments, known, max))
    }

    fn reader(&self) -> Result<AnyReader, ExperimentStoreError> {
        match &self.place {
            Place::File(path) => Sqlite::open_reader(path).map(AnyReader::File),
            #[cfg(feature = "postgres")]
            Place::Server(server) => server.reader().map(|reader| AnyReader::Server(Box::new(reader))),
        }
    }

    fn change(
        &self,
        id: &str,
        now_millis: i64,
        step: impl FnOnce(&mut Experiment, &[Experiment]) -> Result<(), ExperimentError> + Send + 'static,
    ) -> Result<Experiment, ExperimentStoreError> {
        let id = id.to_owned();
        self.writer.run(move |database| definitions::change(database, &id, now_millis, step))
    }

    fn check_size(&self, what: &'static str, found: usize) -> Result<(), ExperimentStoreError> {
        let max = self.config.submission_max;
        let hint = "send them in several submissions";
        if found <= max { Ok(()) } else { Err(ExperimentStoreError::TooMany { what, found, max, hint }) }
    }
}
