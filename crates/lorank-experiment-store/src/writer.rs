//! The one thread that writes, and the handle that its callers have.
//!
//! A sync to the disk costs the same for one row as for a thousand, so each transaction takes all that waits. While it
//! is synced the next one's rows gather, and the more threads submit, the more rows share a sync.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lorank_experiments::{Event, Experiment, Exposure, ShadowRecord};
use rusqlite::{Connection, TransactionBehavior};

use crate::{ExperimentStoreError, StoreConfig, Submitted, Unattributed, attribution, definitions, insert};

/// The most rows in one transaction, give or take a submission.
const ROWS_MAX: usize = 4_096;

/// Rows of one table.
#[derive(Debug)]
pub(crate) enum Rows {
    Exposures(Vec<Exposure>),
    Shadow(ShadowRecord),
    Events { events: Vec<Event>, received_millis: i64, clock_skew_millis: i64 },
}

/// The writer's thread, as its callers have it. Dropping it writes what still waits, and ends the thread.
#[derive(Debug)]
pub(crate) struct WriterHandle {
    shared: Arc<Shared>,
    /// `None` only while the handle is dropped.
    queue: Option<SyncSender<Request>>,
    queue_bytes_max: usize,
    thread: Option<JoinHandle<()>>,
}

/// What the writer's thread and its callers both see.
#[derive(Debug)]
struct Shared {
    running: RwLock<Arc<[Experiment]>>,
    n_dropped: AtomicU64,
    n_lost: AtomicU64,
    /// What the rows take that nobody waits for.
    queue_bytes: AtomicUsize,
}

/// Something for the writer to do.
enum Request {
    /// Insert rows, with the rows of others.
    Insert(Insertion),
    /// Anything else, by itself.
    Change(Box<dyn FnOnce(&mut Writer) + Send>),
}

/// Rows to insert, and who waits until they are kept.
struct Insertion {
    rows: Rows,
    reply: Option<SyncSender<Result<Submitted, ExperimentStoreError>>>,
}

struct Writer {
    connection: Connection,
    queue: Receiver<Request>,
    shared: Arc<Shared>,
    refresh: Duration,
    polled_at: Instant,
    /// SQLite's count of other connections' changes, when the experiments were last read.
    data_version: i64,
}

impl WriterHandle {
    /// Starts the thread on a connection of its own. `spawn_error` says what the system's error means.
    pub(crate) fn start(
        connection: Connection,
        config: &StoreConfig,
        spawn_error: impl FnOnce(std::io::Error) -> ExperimentStoreError,
    ) -> Result<Self, ExperimentStoreError> {
        let running = RwLock::new(definitions::running(&connection)?.into());
        let shared = Arc::new(Shared { running, n_dropped: 0.into(), n_lost: 0.into(), queue_bytes: 0.into() });
        let (queue, waiting) = sync_channel(config.queue_max.max(1));
        let refresh = config.refresh.max(Duration::from_millis(1));
        let writer = Writer::new(connection, waiting, Arc::clone(&shared), refresh)?;
        let thread = std::thread::Builder::new().name("lorank-experiments".into()).spawn(move || writer.run());
        let (thread, queue_bytes_max) = (Some(thread.map_err(spawn_error)?), config.queue_bytes_max);
        Ok(Self { shared, queue: Some(queue), queue_bytes_max, thread })
    }

    /// The running experiments by name, as the writer last read them.
    pub(crate) fn running(&self) -> Arc<[Experiment]> {
        Arc::clone(&self.shared.running.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Runs a change on the writer's connection, after all that waits, and shows it in the snapshot before it returns.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Connection) -> Result<T, ExperimentStoreError> + Send + 'static,
    ) -> Result<T, ExperimentStoreError> {
        let (reply, answer) = sync_channel(1);
        let change = Request::Change(Box::new(move |writer: &mut Writer| {
            let result = change(&mut writer.connection);
            writer.read_running();
            // A caller that has gone away needs no answer.
            let _ = reply.send(result);
        }));
        self.send_and_wait(change, &answer)
    }

    /// Leaves a change for the writer's connection, and waits for nothing. Where the queue is full it is not made.
    pub(crate) fn leave(
        &self,
        change: impl FnOnce(&mut Connection) -> Result<(), ExperimentStoreError> + Send + 'static,
    ) {
        let change = Request::Change(Box::new(move |writer: &mut Writer| {
            if let Err(error) = change(&mut writer.connection) {
                tracing::warn!(%error, cause = ?std::error::Error::source(&error), "could not change an experiment");
            }
            writer.read_running();
        }));
        let is_taken = self.queue.as_ref().is_some_and(|queue| queue.try_send(change).is_ok());
        if !is_taken {
            tracing::debug!("the queue of the experiments' store is full; a change was left out");
        }
    }

    /// Inserts rows, and returns when they are on the disk. Waits while the queue is full.
    pub(crate) fn insert(&self, rows: Rows) -> Result<Submitted, ExperimentStoreError> {
        if rows.len() == 0 {
            return Ok(Submitted { accepted: 0, duplicates: 0, unattributed: Unattributed::default() });
        }
        let (reply, answer) = sync_channel(1);
        self.send_and_wait(Request::Insert(Insertion { rows, reply: Some(reply) }), &answer)
    }

    /// Leaves rows in the queue, and waits for nothing. Where the queue is full they are dropped and counted.
    pub(crate) fn try_insert(&self, rows: Rows) -> bool {
        let n_bytes = rows.n_bytes();
        let more = |held: usize| held.checked_add(n_bytes).filter(|held| *held <= self.queue_bytes_max);
        let has_room = self.shared.queue_bytes.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok();
        let request = Request::Insert(Insertion { rows, reply: None });
        let is_taken = has_room && self.queue.as_ref().is_some_and(|queue| queue.try_send(request).is_ok());
        if has_room && !is_taken {
            self.shared.queue_bytes.fetch_sub(n_bytes, Ordering::AcqRel);
        }
        if !is_taken {
            self.count_dropped();
        }
        is_taken
    }

    /// Counts a record that was dropped.
    pub(crate) fn count_dropped(&self) {
        self.shared.n_dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// How many records were dropped.
    pub(crate) fn n_dropped(&self) -> u64 {
        self.shared.n_dropped.load(Ordering::Relaxed)
    }

    /// How many records could not be written.
    pub(crate) fn n_lost(&self) -> u64 {
        self.shared.n_lost.load(Ordering::Relaxed)
    }

    fn send_and_wait<T>(
        &self,
        request: Request,
        answer: &Receiver<Result<T, ExperimentStoreError>>,
    ) -> Result<T, ExperimentStoreError> {
        let queue = self.queue.as_ref().ok_or(ExperimentStoreError::WriterGone)?;
        queue.send(request).map_err(|_| ExperimentStoreError::WriterGone)?;
        answer.recv().map_err(|_| ExperimentStoreError::WriterGone)?
    }
}

impl Drop for WriterHandle {
    fn drop(&mut self) {
        // The thread ends when the queue is closed and empty.
        drop(self.queue.take());
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that writes the experiments' database panicked");
        }
    }
}

impl Rows {
    fn len(&self) -> usize {
        match self {
            Self::Exposures(exposures) => exposures.len(),
            Self::Shadow(_) => 1,
            Self::Events { events, .. } => events.len(),
        }
    }

    /// What they take in memory, about.
    fn n_bytes(&self) -> usize {
        const PER_TEXT: usize = 32;
        match self {
            Self::Exposures(rows) => rows.iter().map(|row| row.n_bytes() + PER_TEXT * (8 + row.hits.len())).sum(),
            Self::Shadow(record) => record.request_id.len() + record.name.len() + PER_TEXT * 8,
            // Whoever submits events waits for them, and is counted elsewhere.
            Self::Events { .. } => 0,
        }
    }

    /// Inserts those that are new, and says how many, and what of them belongs to no answer.
    fn insert(&self, connection: &Connection) -> rusqlite::Result<(usize, Unattributed)> {
        let (mut accepted, mut unattributed) = (0, Unattributed::default());
        match self {
            Self::Exposures(exposures) => {
                accepted =
                    exposures.iter().map(|row| insert::exposure(connection, row)).sum::<rusqlite::Result<_>>()?;
            }
            Self::Shadow(record) => accepted = insert::shadow(connection, record)?,
            Self::Events { events, received_millis, clock_skew_millis } => {
                for event in events {
                    if insert::event(connection, event, *received_millis)? > 0 {
                        accepted += 1;
                        unattributed += attribution::unattributed(connection, event, *clock_skew_millis)?;
                    }
                }
            }
        }
        Ok((accepted, unattributed))
    }
}

impl Writer {
    fn new(
        connection: Connection,
        queue: Receiver<Request>,
        shared: Arc<Shared>,
        refresh: Duration,
    ) -> Result<Self, ExperimentStoreError> {
        let data_version = data_version(&connection).map_err(ExperimentStoreError::database("read the version"))?;
        let mut writer = Self { connection, queue, shared, refresh, polled_at: Instant::now(), data_version };
        // What another process changed since the first look and before the version was read.
        writer.read_running();
        Ok(writer)
    }

    /// Works until the queue is closed and empty.
    fn run(mut self) {
        loop {
            let patience = self.refresh.saturating_sub(self.polled_at.elapsed());
            match self.queue.recv_timeout(patience) {
                Ok(first) => self.serve(first),
                Err(RecvTimeoutError::Timeout) => (),
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if self.polled_at.elapsed() >= self.refresh {
                self.poll_changes();
            }
        }
    }

    /// Reads the running experiments anew.
    fn read_running(&mut self) {
        match definitions::running(&self.connection) {
            Ok(running) => {
                *self.shared.running.write().unwrap_or_else(PoisonError::into_inner) = running.into();
            }
            Err(error) => tracing::error!(%error, "could not read the running experiments; the last ones stay"),
        }
    }

    /// Serves what waits: rows up to a limit or up to the first change, then that change.
    fn serve(&mut self, first: Request) {
        let (mut insertions, mut n_rows, mut change) = (Vec::new(), 0, None);
        for request in std::iter::once(first).chain(self.queue.try_iter()) {
            match request {
                Request::Insert(insertion) => {
                    n_rows += insertion.rows.len();
                    insertions.push(insertion);
                }
                Request::Change(found) => change = Some(found),
            }
            if change.is_some() || n_rows >= ROWS_MAX {
                break;
            }
        }
        if !insertions.is_empty() {
            self.commit(insertions);
        }
        if let Some(change) = change {
            change(self);
        }
    }

    /// Keeps the rows in one transaction, and only then says so.
    fn commit(&mut self, insertions: Vec<Insertion>) {
        let kept = write(&mut self.connection, &insertions).map_err(ExperimentStoreError::database("write"));
        if let Err(error) = &kept {
            let unawaited = insertions.iter().filter(|insertion| insertion.reply.is_none());
            let n_lost: usize = unawaited.map(|insertion| insertion.rows.len()).sum();
            self.shared.n_lost.fetch_add(n_lost as u64, Ordering::Relaxed);
            tracing::error!(%error, cause = ?std::error::Error::source(error), n_lost, "could not keep records");
        }
        for (at, Insertion { rows, reply }) in insertions.into_iter().enumerate() {
            let Some(reply) = reply else {
                self.shared.queue_bytes.fetch_sub(rows.n_bytes(), Ordering::AcqRel);
                continue;
            };
            let result = kept.as_ref().map(|kept| {
                let (accepted, unattributed) = kept[at];
                Submitted { accepted, duplicates: rows.len() - accepted, unattributed }
            });
            // A caller that has gone away needs no answer.
            let _ = reply.send(result.map_err(Clone::clone));
        }
    }

    /// Looks whether another connection has changed the file, which costs no read of a table.
    fn poll_changes(&mut self) {
        self.polled_at = Instant::now();
        match data_version(&self.connection) {
            Ok(version) if version == self.data_version => (),
            Ok(version) => {
                self.data_version = version;
                self.read_running();
            }
            Err(error) => tracing::warn!(%error, "could not poll the experiments' database for changes"),
        }
    }
}

fn write(connection: &mut Connection, insertions: &[Insertion]) -> rusqlite::Result<Vec<(usize, Unattributed)>> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let accepted =
        insertions.iter().map(|insertion| insertion.rows.insert(&transaction)).collect::<rusqlite::Result<_>>()?;
    transaction.commit()?;
    Ok(accepted)
}

fn data_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "data_version", |row| row.get(0))
}
