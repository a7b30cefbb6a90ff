//! Everything that is kept: experiments, what was shown, what was done with it, and what candidates would have done.
//!
//! One thread writes, many readers read, and a search waits for neither: it looks at a snapshot of the running
//! experiments in memory and leaves its exposure in a queue.

mod event;
mod experiments;
mod export;
mod exposure;
mod insert;
mod read;
mod retention;
mod schema;
mod shadow;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;

pub use event::{EVENT_ATTRIBUTES_BYTES_MAX, EVENT_MESSAGE_BYTES_MAX, EVENT_NAME_BYTES_MAX, Event};
pub use exposure::{Assigned, EXPOSURE_BYTES_MAX, Exposure};
pub use read::{JoinCounts, Records, StoreStats};
pub use retention::Forgotten;
pub use shadow::{ShadowOutcome, ShadowRecord, ShadowSummary};

use crate::{Analysis, AnalysisOptions, Experiment, ExperimentError, Report};
use writer::{Rows, Work, Writer};

/// The file, within the folder that the store is opened with.
const FILE_NAME: &str = "experiments.sqlite";

/// The limits and habits of an [`ExperimentStore`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreConfig {
    /// How many exposures and submissions may wait for the writer. At least 1.
    pub queue_max: usize,
    /// How many events or exposures one submission may hold.
    pub submission_max: usize,
    /// How many experiments are kept, the stopped ones included.
    pub experiments_max: usize,
    /// How soon another process's change of an experiment is seen, a millisecond at the soonest.
    pub refresh: Duration,
    /// The actions that count as a click.
    pub click_actions: Vec<String>,
}

impl Default for StoreConfig {
    /// A queue of 8,192, submissions of 1,000, 1,000 experiments, a look at the file each second, and the usual clicks.
    fn default() -> Self {
        Self {
            queue_max: 8_192,
            submission_max: 1_000,
            experiments_max: 1_000,
            refresh: Duration::from_secs(1),
            click_actions: ["click", "click_through", "item_click"].map(str::to_owned).into(),
        }
    }
}

/// What became of a submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Submitted {
    /// How many were new, and are kept for good.
    pub accepted: usize,
    /// How many were known already.
    pub duplicates: usize,
}

/// Experiments, exposures, events and shadows, in one SQLite file. Threads share it by reference; other processes may
/// have the same file open, on the same machine (SQLite's log is shared memory, so no network file system will do).
///
/// What is acknowledged has been synced to the disk: it outlives the process and the machine's power. Dropping the store
/// writes what still waits.
///
/// ```
/// use lorank_experiments::{Event, Experiment, ExperimentStore, Exposure, Assigned, StoreConfig};
///
/// let folder = tempfile::tempdir()?;
/// let store = ExperimentStore::open(folder.path(), StoreConfig::default())?;
/// let draft: Experiment = serde_json::from_str(
///     r#"{"id": "qa-or-not", "salt": "1", "layer": "main", "traffic_share": 0.5, "arms": [
///         {"name": "control", "model": "none", "weight": 1}, {"name": "qa", "model": "qa", "weight": 1}]}"#,
/// )?;
/// store.create(draft)?;
/// let now_millis = 1_764_100_000_000;
/// store.start("qa-or-not", now_millis)?;
/// assert_eq!(store.running()[0].buckets[0].n_buckets(), 5_000);
///
/// store.record_exposure(Exposure {
///     request_id: "r1".into(),
///     query: "how long to boil an egg".into(),
///     assigned: Some(Assigned {
///         experiment: "qa-or-not".into(),
///         unit: "user 7".into(),
///         arm: 1,
///         arm_name: "qa".into(),
///         forced: false,
///         teams: vec![],
///     }),
///     hits: vec!["lamps".into(), "eggs".into()],
///     latency_micros: 31_000,
///     fallback: None,
///     model: None,
///     at_millis: now_millis,
/// });
/// let click = serde_json::json!({
///     "action_name": "click", "query_id": "r1", "timestamp": "2025-11-25T19:46:41Z",
///     "event_attributes": {"object": {"object_id": "eggs"}}
/// });
/// store.submit(vec![Event::from_json(click)?], now_millis + 1_000)?;
/// assert_eq!(store.records("qa-or-not")?.records[0].clicks[0].rank, 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ExperimentStore {
    path: PathBuf,
    config: StoreConfig,
    shared: Arc<Shared>,
    /// `None` only while the store is dropped.
    work: Option<SyncSender<Work>>,
    writer: Option<JoinHandle<()>>,
}

/// What the writer's thread and the store's callers both see.
#[derive(Debug)]
struct Shared {
    running: RwLock<Arc<[Experiment]>>,
    n_dropped: AtomicU64,
    n_lost: AtomicU64,
}

impl ExperimentStore {
    /// Whether a folder has a store, for those who only read and would leave no new one behind.
    pub fn is_in(folder: &Path) -> bool {
        folder.join(FILE_NAME).is_file()
    }

    /// Opens the store in a folder, and makes either where it is not there.
    pub fn open(folder: &Path, config: StoreConfig) -> Result<Self, ExperimentError> {
        let path = folder.join(FILE_NAME);
        let open_error = |source| ExperimentError::Open { path: path.clone(), source: Arc::new(source) };
        std::fs::create_dir_all(folder).map_err(open_error)?;
        let connection = schema::open(&path)?;
        let running = RwLock::new(experiments::running(&connection)?.into());
        let shared = Arc::new(Shared { running, n_dropped: AtomicU64::new(0), n_lost: AtomicU64::new(0) });
        let (work, waiting) = sync_channel(config.queue_max.max(1));
        let writer =
            Writer::new(connection, waiting, Arc::clone(&shared), config.refresh.max(Duration::from_millis(1)))?;
        let thread = std::thread::Builder::new().name("lorank-experiments".into()).spawn(move || writer.run());
        let writer = Some(thread.map_err(open_error)?);
        Ok(Self { path, config, shared, work: Some(work), writer })
    }

    /// The running experiments by name, those included that begin later. No SQL: a copy of a pointer.
    pub fn running(&self) -> Arc<[Experiment]> {
        Arc::clone(&self.shared.running.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds a draft.
    pub fn create(&self, draft: Experiment) -> Result<(), ExperimentError> {
        let max = self.config.experiments_max;
        self.on_writer(move |connection| experiments::create(connection, &draft, max))
    }

    /// The experiment of that name.
    pub fn get(&self, id: &str) -> Result<Experiment, ExperimentError> {
        experiments::get(&self.reader()?, id)
    }

    /// All experiments, by name.
    pub fn list(&self) -> Result<Vec<Experiment>, ExperimentError> {
        experiments::all(&self.reader()?)
    }

    /// Starts a draft. See [`Experiment::start`].
    pub fn start(&self, id: &str, now_millis: i64) -> Result<Experiment, ExperimentError> {
        self.change(id, now_millis, move |experiment, others| experiment.start(now_millis, others))
    }

    /// Stops a running experiment. See [`Experiment::stop`].
    pub fn stop(&self, id: &str, now_millis: i64) -> Result<Experiment, ExperimentError> {
        self.change(id, now_millis, move |experiment, _| experiment.stop(now_millis))
    }

    /// Raises a running experiment's share. See [`Experiment::raise_share`].
    pub fn raise_share(&self, id: &str, share: f64, now_millis: i64) -> Result<Experiment, ExperimentError> {
        self.change(id, now_millis, move |experiment, others| experiment.raise_share(share, now_millis, others))
    }

    /// Sets an experiment's end. See [`Experiment::set_end`].
    pub fn set_end(&self, id: &str, end_millis: Option<i64>, now_millis: i64) -> Result<Experiment, ExperimentError> {
        self.change(id, now_millis, move |experiment, _| experiment.set_end(end_millis, now_millis))
    }

    /// Deletes a draft. What has been started stays, since its records refer to it.
    pub fn delete_draft(&self, id: &str) -> Result<(), ExperimentError> {
        let id = id.to_owned();
        self.on_writer(move |connection| experiments::delete_draft(connection, &id))
    }

    /// Leaves an exposure for the writer, and waits for nothing. Whether it was taken: where the queue is full or the
    /// exposure cannot be kept, it is dropped and counted.
    pub fn record_exposure(&self, exposure: Exposure) -> bool {
        let checked = exposure.check().inspect_err(|error| tracing::warn!(%error, "an exposure was dropped"));
        self.record(checked.map(|()| Rows::Exposures(vec![exposure])))
    }

    /// Leaves a shadow's record for the writer, and waits for nothing. Whether it was taken, as with exposures.
    pub fn record_shadow(&self, record: ShadowRecord) -> bool {
        self.record(Ok(Rows::Shadow(record)))
    }

    /// Keeps exposures, and returns when they are on the disk. A request id that is known keeps its first exposure.
    pub fn submit_exposures(&self, exposures: Vec<Exposure>) -> Result<Submitted, ExperimentError> {
        self.check_size("exposures", exposures.len())?;
        exposures.iter().try_for_each(Exposure::check)?;
        self.submit_rows(Rows::Exposures(exposures))
    }

    /// Keeps events, all or none, and returns when they are on the disk. Waits while the queue is full.
    pub fn submit(&self, events: Vec<Event>, now_millis: i64) -> Result<Submitted, ExperimentError> {
        self.check_size("events", events.len())?;
        events.iter().try_for_each(Event::check)?;
        self.submit_rows(Rows::Events { events, received_millis: now_millis })
    }

    /// Returns when everything that was recorded before is on the disk (or counted as lost), and other processes' changes are seen.
    pub fn flush(&self) -> Result<(), ExperimentError> {
        self.on_writer(|_| Ok(()))
    }

    /// Hands each answer of an experiment to `visit`, oldest first, its clicks joined, and counts what was joined.
    pub fn read_records(&self, id: &str, visit: impl FnMut(crate::QueryRecord)) -> Result<JoinCounts, ExperimentError> {
        read::records(&mut self.reader()?, id, &self.config.click_actions, visit)
    }

    /// All answers of an experiment, oldest first, their clicks joined. In memory: some 200 bytes each.
    pub fn records(&self, id: &str) -> Result<Records, ExperimentError> {
        let mut records = Vec::new();
        let counts = self.read_records(id, |record| records.push(record))?;
        Ok(Records { records, counts })
    }

    /// What an experiment has shown so far. Reads all its answers, and holds a few bytes of each.
    pub fn report(&self, id: &str, options: AnalysisOptions) -> Result<Report, ExperimentError> {
        let mut analysis = Analysis::new(&self.get(id)?, options);
        self.read_records(id, |record| analysis.add(&record))?;
        Ok(analysis.report())
    }

    /// What the records of the shadows come to.
    pub fn shadows(&self) -> Result<Vec<ShadowSummary>, ExperimentError> {
        shadow::summaries(&self.reader()?)
    }

    /// How much is kept, and what was not. Counts whole tables.
    pub fn stats(&self) -> Result<StoreStats, ExperimentError> {
        let (n_dropped, n_lost) = (&self.shared.n_dropped, &self.shared.n_lost);
        read::stats(&mut self.reader()?, n_dropped.load(Ordering::Relaxed), n_lost.load(Ordering::Relaxed))
    }

    /// Writes an experiment's answers as CSV, a row for each, its clicks in one column.
    pub fn export_queries(&self, id: &str, to: impl std::io::Write) -> Result<u64, ExperimentError> {
        export::queries(&mut self.reader()?, id, &self.config.click_actions, to)
    }

    /// Writes the events on an experiment's answers as CSV, a row for each, of any action.
    pub fn export_events(&self, id: &str, to: impl std::io::Write) -> Result<u64, ExperimentError> {
        export::events(&mut self.reader()?, id, &self.config.click_actions, to)
    }

    /// Deletes what is older: exposures with the events on them, events that came in earlier, and shadows' records.
    /// The file does not shrink; what is freed is used again.
    pub fn forget(&self, before_millis: i64) -> Result<Forgotten, ExperimentError> {
        retention::forget(self, before_millis)
    }

    fn reader(&self) -> Result<Connection, ExperimentError> {
        schema::open_reader(&self.path)
    }

    fn change(
        &self,
        id: &str,
        now_millis: i64,
        step: impl FnOnce(&mut Experiment, &[Experiment]) -> Result<(), ExperimentError> + Send + 'static,
    ) -> Result<Experiment, ExperimentError> {
        let id = id.to_owned();
        self.on_writer(move |connection| experiments::change(connection, &id, now_millis, step))
    }

    /// Runs a change on the writer's connection, after all that waits, and shows it in the snapshot before it returns.
    fn on_writer<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Connection) -> Result<T, ExperimentError> + Send + 'static,
    ) -> Result<T, ExperimentError> {
        let (reply, answer) = sync_channel(1);
        let job = Work::Job(Box::new(move |writer: &mut Writer| {
            let result = change(&mut writer.connection);
            writer.refresh();
            // A caller that has gone away needs no answer.
            let _ = reply.send(result);
        }));
        self.wait_for(job, &answer)
    }

    fn submit_rows(&self, rows: Rows) -> Result<Submitted, ExperimentError> {
        if rows.len() == 0 {
            return Ok(Submitted { accepted: 0, duplicates: 0 });
        }
        let (reply, answer) = sync_channel(1);
        self.wait_for(Work::Rows(rows, Some(reply)), &answer)
    }

    fn wait_for<T>(&self, work: Work, answer: &Receiver<Result<T, ExperimentError>>) -> Result<T, ExperimentError> {
        let queue = self.work.as_ref().ok_or(ExperimentError::WriterGone)?;
        queue.send(work).map_err(|_| ExperimentError::WriterGone)?;
        answer.recv().map_err(|_| ExperimentError::WriterGone)?
    }

    fn record(&self, rows: Result<Rows, ExperimentError>) -> bool {
        let queue = self.work.as_ref();
        let is_taken = rows.is_ok_and(|rows| queue.is_some_and(|queue| queue.try_send(Work::Rows(rows, None)).is_ok()));
        self.shared.n_dropped.fetch_add(u64::from(!is_taken), Ordering::Relaxed);
        is_taken
    }

    fn check_size(&self, what: &'static str, found: usize) -> Result<(), ExperimentError> {
        let max = self.config.submission_max;
        let hint = "send them in several submissions";
        if found <= max { Ok(()) } else { Err(ExperimentError::TooMany { what, found, max, hint }) }
    }
}

impl Drop for ExperimentStore {
    fn drop(&mut self) {
        // The writer ends when the queue is closed and empty.
        drop(self.work.take());
        if self.writer.take().is_some_and(|writer| writer.join().is_err()) {
            tracing::error!("the thread that writes the experiments' database had panicked");
        }
    }
}

/// SQLite's integers are signed.
fn clamped(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
