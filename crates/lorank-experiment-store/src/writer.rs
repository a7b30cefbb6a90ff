//! The writer thread and its handle.
//!
//! A sync costs the same for one row as for a thousand, so each transaction takes all waiting rows. Further rows gather during the
//! sync, so the more threads submit, the more rows share a sync.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lorank_experiments::Experiment;

use crate::database::{Database, DatabaseError, Mode, Transaction};
use crate::rows::Rows;
use crate::{ExperimentStoreError, StoreConfig, Submitted, Unattributed, Unconfirmed, definitions};

/// The maximum number of rows per transaction, plus at most one submission.
const ROWS_MAX: usize = 4_096;

/// The time between two tries of a caller to put its request in the full queue.
const FULL_QUEUE_PAUSE: Duration = Duration::from_millis(5);

/// The handle of the writer thread. Dropping it writes all waiting rows and ends the thread, unless the database stands still.
#[derive(Debug)]
pub(crate) struct WriterHandle {
    shared: Arc<Shared>,
    /// `None` only while the handle is dropped.
    queue: Option<SyncSender<Request>>,
    queue_bytes_max: usize,
    wait_max: Duration,
    thread: Option<JoinHandle<()>>,
    /// Disconnected when the thread has ended. The lock is only for other threads to share the handle.
    ended: Mutex<Receiver<()>>,
}

/// State shared by the writer thread and its callers.
#[derive(Debug)]
struct Shared {
    running: RwLock<Arc<[Experiment]>>,
    n_dropped: AtomicU64,
    n_lost: AtomicU64,
    /// The bytes of queued rows for which no caller waits.
    queue_bytes: AtomicUsize,
    /// The number of requests that the writer has finished.
    n_done: AtomicU64,
}

/// A change, in its own transaction.
type Change = Box<dyn FnOnce(&mut Writer) + Send>;

/// The sender of the answer to a waiting caller.
type Reply = SyncSender<Result<Submitted, ExperimentStoreError>>;

/// A task of the writer.
enum Request {
    /// Insert rows for which no caller waits, in the same transaction as others.
    Insert(Rows),
    /// The same with a waiting caller.
    Submit(Handed<(Rows, Reply)>),
    /// Any other change.
    Change(Handed<Change>),
}

/// What the longest wait of a caller ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Patience {
    UntilStored,
    UntilBegun,
}

/// What a caller hands to the writer, until the writer takes it or the caller, who waits no longer, takes it back.
struct Handed<T>(Arc<Mutex<Option<T>>>);

impl<T> Handed<T> {
    /// The same thing twice: one for the writer, one for the caller.
    fn pair(thing: T) -> (Self, Self) {
        let shared = Arc::new(Mutex::new(Some(thing)));
        (Self(shared.clone()), Self(shared))
    }

    fn take(&self) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Rows to insert, with the waiting caller.
struct Insertion {
    rows: Rows,
    reply: Option<Reply>,
}

struct Writer {
    database: Box<dyn Database>,
    queue: Receiver<Request>,
    /// Rows for which no caller waits, deferred because of another process's lock, or while the server is away.
    deferred: Vec<Insertion>,
    deferred_max: usize,
    shared: Arc<Shared>,
    refresh: Duration,
    polled_at: Instant,
    /// The database's version when the experiments were last read.
    version: i64,
}

impl WriterHandle {
    /// Starts the thread with its own connection. `spawn_error` converts an error of the system.
    pub(crate) fn start(
        database: Box<dyn Database>,
        config: &StoreConfig,
        spawn_error: impl FnOnce(std::io::Error) -> ExperimentStoreError,
    ) -> Result<Self, ExperimentStoreError> {
        let running = RwLock::new(definitions::running(&*database)?.into());
        let shared = Shared { running, n_dropped: 0.into(), n_lost: 0.into(), queue_bytes: 0.into(), n_done: 0.into() };
        let shared = Arc::new(shared);
        let (queue, waiting) = sync_channel(config.queue_max.max(1));
        let writer = Writer::new(database, waiting, Arc::clone(&shared), config)?;
        let (running, ended) = sync_channel(1);
        let thread = std::thread::Builder::new().name("lorank-experiments".into()).spawn(move || {
            let _running = running;
            writer.run();
        });
        let (thread, queue_bytes_max) = (Some(thread.map_err(spawn_error)?), config.queue_bytes_max);
        Ok(Self { shared, queue: Some(queue), queue_bytes_max, wait_max: config.wait_max, thread, ended: ended.into() })
    }

    /// The running experiments by name, as the writer last read them.
    pub(crate) fn running(&self) -> Arc<[Experiment]> {
        Arc::clone(&self.shared.running.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Runs a change on the writer's connection, after all waiting rows, and updates the snapshot before it returns.
    ///
    /// # Errors
    /// [`ExperimentStoreError::NotInTime`] after the longest wait. The change may be made later.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        change: impl FnOnce(&dyn Database) -> Result<T, ExperimentStoreError> + Send + 'static,
    ) -> Result<T, ExperimentStoreError> {
        self.run_with(Patience::UntilStored, change)
    }

    /// The same for a change that may take minutes: the longest wait is until the writer begins it.
    pub(crate) fn run_long<T: Send + 'static>(
        &self,
        change: impl FnOnce(&dyn Database) -> Result<T, ExperimentStoreError> + Send + 'static,
    ) -> Result<T, ExperimentStoreError> {
        self.run_with(Patience::UntilBegun, change)
    }

    fn run_with<T: Send + 'static>(
        &self,
        patience: Patience,
        change: impl FnOnce(&dyn Database) -> Result<T, ExperimentStoreError> + Send + 'static,
    ) -> Result<T, ExperimentStoreError> {
        let (reply, answer) = sync_channel(1);
        let change: Change = Box::new(move |writer: &mut Writer| {
            let result = change(&*writer.database);
            writer.read_running();
            // The caller may have stopped waiting.
            let _ = reply.send(result);
        });
        let (handed, kept) = Handed::pair(change);
        self.send_and_wait(Request::Change(handed), &kept, &answer, (Unconfirmed::Change, patience))
    }

    /// Queues a change for the writer's connection, and does not wait. If the queue is full, the change is discarded.
    pub(crate) fn leave(
        &self,
        change: impl FnOnce(&dyn Database) -> Result<(), ExperimentStoreError> + Send + 'static,
    ) {
        let change: Change = Box::new(move |writer: &mut Writer| {
            if let Err(error) = change(&*writer.database) {
                tracing::warn!(%error, cause = ?std::error::Error::source(&error), "could not change an experiment");
            }
            writer.read_running();
        });
        let request = Request::Change(Handed::pair(change).0);
        let is_taken = self.queue.as_ref().is_some_and(|queue| queue.try_send(request).is_ok());
        if !is_taken {
            tracing::debug!("the queue of the experiments' store is full; a change was left out");
        }
    }

    /// Inserts rows, and returns when they are on disk. Waits while the queue is full.
    ///
    /// # Errors
    /// [`ExperimentStoreError::NotInTime`] after the longest wait. The rows may be written later.
    pub(crate) fn insert(&self, rows: Rows) -> Result<Submitted, ExperimentStoreError> {
        if rows.len() == 0 {
            return Ok(Submitted { accepted: 0, duplicates: 0, unattributed: Unattributed::default() });
        }
        let (reply, answer) = sync_channel(1);
        let (handed, kept) = Handed::pair((rows, reply));
        self.send_and_wait(Request::Submit(handed), &kept, &answer, (Unconfirmed::Records, Patience::UntilStored))
    }

    /// Queues rows, and does not wait. If the queue is full, they are dropped and counted.
    pub(crate) fn try_insert(&self, rows: Rows) -> bool {
        let n_bytes = rows.n_bytes();
        let more = |held: usize| held.checked_add(n_bytes).filter(|held| *held <= self.queue_bytes_max);
        let has_room = self.shared.queue_bytes.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok();
        let request = Request::Insert(rows);
        let is_taken = has_room && self.queue.as_ref().is_some_and(|queue| queue.try_send(request).is_ok());
        if has_room && !is_taken {
            self.shared.queue_bytes.fetch_sub(n_bytes, Ordering::AcqRel);
        }
        if !is_taken {
            self.count_dropped();
        }
        is_taken
    }

    /// Counts a dropped record.
    pub(crate) fn count_dropped(&self) {
        self.shared.n_dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// The number of dropped records.
    pub(crate) fn n_dropped(&self) -> u64 {
        self.shared.n_dropped.load(Ordering::Relaxed)
    }

    /// The number of records that could not be written.
    pub(crate) fn n_lost(&self) -> u64 {
        self.shared.n_lost.load(Ordering::Relaxed)
    }

    /// Sends a request and waits for its answer, both together for the longest wait. After that, a request that the writer has
    /// not begun is taken back.
    fn send_and_wait<T, H>(
        &self,
        request: Request,
        kept: &Handed<H>,
        answer: &Receiver<Result<T, ExperimentStoreError>>,
        (what, patience): (Unconfirmed, Patience),
    ) -> Result<T, ExperimentStoreError> {
        let end = Instant::now() + self.wait_max;
        let not_in_time = |is_begun| ExperimentStoreError::NotInTime { what, wait_max: self.wait_max, is_begun };
        let queue = self.queue.as_ref().ok_or(ExperimentStoreError::WriterGone)?;
        let mut request = request;
        loop {
            match queue.try_send(request) {
                Ok(()) => break,
                Err(TrySendError::Disconnected(_)) => return Err(ExperimentStoreError::WriterGone),
                Err(TrySendError::Full(_)) if Instant::now() >= end => return Err(not_in_time(false)),
                Err(TrySendError::Full(refused)) => request = refused,
            }
            std::thread::sleep(FULL_QUEUE_PAUSE);
        }
        let answered = match answer.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Err(RecvTimeoutError::Timeout) => match (kept.take(), patience) {
                (Some(_), _) => return Err(not_in_time(false)),
                (None, Patience::UntilStored) => return Err(not_in_time(true)),
                (None, Patience::UntilBegun) => answer.recv().map_err(|_| RecvTimeoutError::Disconnected),
            },
            answered => answered,
        };
        answered.map_err(|_| ExperimentStoreError::WriterGone)?
    }
}

impl Drop for WriterHandle {
    fn drop(&mut self) {
        // The thread ends when the queue is closed and empty.
        drop(self.queue.take());
        let shared = Arc::clone(&self.shared);
        let n_done = || shared.n_done.load(Ordering::Acquire);
        let mut n_before = n_done();
        let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
        while ended.recv_timeout(self.wait_max) == Err(RecvTimeoutError::Timeout) {
            if n_done() == n_before {
                // A statement cannot be interrupted; the end of the process ends it.
                let seconds = self.wait_max.as_secs_f64();
                tracing::error!("the experiment store did not answer for {seconds} s; its waiting records are lost");
                return;
            }
            n_before = n_done();
        }
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the writer thread of the experiment store panicked");
        }
    }
}

impl Writer {
    fn new(
        database: Box<dyn Database>,
        queue: Receiver<Request>,
        shared: Arc<Shared>,
        config: &StoreConfig,
    ) -> Result<Self, ExperimentStoreError> {
        let version = database.version().map_err(ExperimentStoreError::database("read the version"))?;
        let mut writer = Self {
            database,
            queue,
            deferred: Vec::new(),
            deferred_max: config.queue_max,
            shared,
            refresh: config.refresh.max(Duration::from_millis(1)),
            polled_at: Instant::now(),
            version,
        };
        // Changes of another process between the first read and the reading of the version.
        writer.read_running();
        Ok(writer)
    }

    /// Works until the queue is closed and empty.
    fn run(mut self) {
        loop {
            let patience = self.refresh.saturating_sub(self.polled_at.elapsed());
            match self.queue.recv_timeout(patience) {
                Ok(first) => self.serve(first),
                Err(RecvTimeoutError::Timeout) => self.commit(Vec::new()),
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if self.polled_at.elapsed() >= self.refresh {
                self.poll_changes();
            }
        }
        // The last try.
        self.deferred_max = 0;
        self.commit(Vec::new());
    }

    /// Reads the running experiments again.
    fn read_running(&mut self) {
        match definitions::running(&*self.database) {
            Ok(running) => {
                *self.shared.running.write().unwrap_or_else(PoisonError::into_inner) = running.into();
            }
            Err(error) => tracing::error!(%error, "could not read the running experiments; the last ones stay"),
        }
    }

    /// Processes waiting tasks: rows up to a limit or the first change, then that change.
    fn serve(&mut self, first: Request) {
        let (mut insertions, mut n_rows, mut change) = (Vec::new(), 0, None);
        for request in std::iter::once(first).chain(self.queue.try_iter()) {
            let insertion = match request {
                Request::Insert(rows) => Some(Insertion { rows, reply: None }),
                // Nothing where the caller has taken it back.
                Request::Submit(handed) => handed.take().map(|(rows, reply)| Insertion { rows, reply: Some(reply) }),
                Request::Change(handed) => {
                    change = handed.take();
                    None
                }
            };
            n_rows += insertion.as_ref().map_or(0, |insertion| insertion.rows.len());
            insertions.extend(insertion);
            if change.is_some() || n_rows >= ROWS_MAX {
                break;
            }
        }
        self.commit(insertions);
        if let Some(change) = change {
            change(self);
        }
        self.shared.n_done.fetch_add(1, Ordering::AcqRel);
    }

    /// Inserts rows in one transaction, together with deferred rows, and then notifies the callers.
    fn commit(&mut self, insertions: Vec<Insertion>) {
        let mut all = std::mem::take(&mut self.deferred);
        all.extend(insertions);
        if all.is_empty() {
            return;
        }
        match write(&*self.database, &all) {
            Ok(counts) => self.tell_kept(all, counts),
            Err(error) => {
                let is_passing = error.is_passing;
                self.tell_failed(all, is_passing, &ExperimentStoreError::database("write")(error));
            }
        }
    }

    fn tell_kept(&self, insertions: Vec<Insertion>, counts: Vec<(usize, Unattributed)>) {
        for (Insertion { rows, reply }, (accepted, unattributed)) in insertions.into_iter().zip(counts) {
            match reply {
                None => self.forget(&rows),
                // The caller may have stopped waiting.
                Some(reply) => {
                    let submitted = Submitted { accepted, duplicates: rows.len() - accepted, unattributed };
                    drop(reply.send(Ok(submitted)));
                }
            }
        }
    }

    /// Rows that nobody waits for stay for a next try where the failure may pass, as many as there may be; the others are lost.
    fn tell_failed(&mut self, insertions: Vec<Insertion>, is_passing: bool, error: &ExperimentStoreError) {
        let mut n_lost = 0;
        for Insertion { rows, reply } in insertions {
            match reply {
                None if is_passing && self.deferred.len() < self.deferred_max => {
                    self.deferred.push(Insertion { rows, reply });
                }
                None => {
                    self.forget(&rows);
                    n_lost += rows.len();
                }
                Some(reply) => drop(reply.send(Err(error.clone()))),
            }
        }
        self.shared.n_lost.fetch_add(n_lost as u64, Ordering::Relaxed);
        let n_deferred = self.deferred.len();
        tracing::error!(%error, cause = ?std::error::Error::source(error), n_deferred, n_lost, "could not keep records");
    }

    /// Rows that nobody waits for are in memory no more.
    fn forget(&self, rows: &Rows) {
        self.shared.queue_bytes.fetch_sub(rows.n_bytes(), Ordering::AcqRel);
    }

    /// Looks whether another connection has changed an experiment.
    fn poll_changes(&mut self) {
        self.polled_at = Instant::now();
        match self.database.version() {
            Ok(version) if version == self.version => (),
            Ok(version) => {
                self.version = version;
                self.read_running();
            }
            Err(error) => tracing::warn!(%error, "could not check the experiment store for changes"),
        }
    }
}

fn write(database: &dyn Database, insertions: &[Insertion]) -> Result<Vec<(usize, Unattributed)>, DatabaseError> {
    let transaction = Transaction::begin(database, Mode::Write)?;
    let rows: Vec<&Rows> = insertions.iter().map(|insertion| &insertion.rows).collect();
    let counts = transaction.insert(&rows)?;
    transaction.commit()?;
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use lorank_experiments::{ShadowOutcome, ShadowRecord};
    use rusqlite::{Connection, Transaction, TransactionBehavior};

    use super::*;
    use crate::sqlite;

    /// A file with a writer that does not wait for locks, and another connection to it.
    fn writer(queue_max: usize) -> (tempfile::TempDir, WriterHandle, Connection) {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("file");
        let database = sqlite::Sqlite::open(&path).unwrap();
        database.connection.busy_handler(None).unwrap();
        // Nothing is tried again but when a test asks for it.
        let config = StoreConfig { queue_max, refresh: Duration::from_secs(3_600), ..StoreConfig::default() };
        let writer = WriterHandle::start(Box::new(database), &config, |error| panic!("{error}")).unwrap();
        (folder, writer, sqlite::Sqlite::open(&path).unwrap().connection)
    }

    fn lock(connection: &mut Connection) -> Transaction<'_> {
        connection.transaction_with_behavior(TransactionBehavior::Immediate).unwrap()
    }

    fn shadow(n: usize) -> Rows {
        Rows::Shadow(ShadowRecord {
            request_id: format!("r{n}"),
            name: "default".into(),
            candidate: "a".parse().unwrap(),
            outcome: ShadowOutcome::Failed("gone".into()),
            latency_micros: 1,
            at_millis: 1,
        })
    }

    /// Returns when all that waits was tried.
    fn flush(writer: &WriterHandle) {
        writer.run(|_| Ok(())).unwrap();
    }

    fn n_rows(connection: &Connection) -> u64 {
        connection.query_row("SELECT count(*) FROM shadows", [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn what_nobody_waits_for_outlasts_a_lock_of_another_process() {
        let (_folder, writer, mut other) = writer(100);
        let locked = lock(&mut other);
        assert!((0..3).all(|n| writer.try_insert(shadow(n))));
        flush(&writer);
        assert!(writer.insert(shadow(3)).is_err(), "who waits is told");
        assert!((4..6).all(|n| writer.try_insert(shadow(n))));
        flush(&writer);
        assert!(
            writer.shared.queue_bytes.load(Ordering::Acquire) > 0,
            "what is deferred counts for the limit in bytes"
        );
        locked.rollback().unwrap();
        flush(&writer);
        assert_eq!((n_rows(&other), writer.n_lost(), writer.n_dropped()), (5, 0, 0));
        assert_eq!(writer.shared.queue_bytes.load(Ordering::Acquire), 0);
    }

    #[test]
    fn a_caller_waits_no_longer_than_the_limit_and_what_it_sends_again_counts_once() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("file");
        // It waits for the lock for ten seconds, as for a server that stands still.
        let database = Box::new(sqlite::Sqlite::open(&path).unwrap());
        let wait_max = Duration::from_secs(1);
        let config = StoreConfig { wait_max, refresh: Duration::from_secs(3_600), ..StoreConfig::default() };
        let writer = WriterHandle::start(database, &config, |error| panic!("{error}")).unwrap();
        let mut other = sqlite::Sqlite::open(&path).unwrap().connection;
        let locked = lock(&mut other);
        let refused = |n: usize| writer.insert(shadow(n)).unwrap_err().to_string();
        let begun = "the experiment store did not confirm the records within 1 s; they may be stored later; send them \
                     again with the same ids, and they count once";
        assert_eq!(refused(0), begun);
        let waiting =
            "the experiment store did not confirm the records within 1 s; none of them is stored; send them again";
        assert_eq!(refused(1), waiting);
        let change = writer.run_long(|_| Ok(())).unwrap_err();
        assert_eq!(
            change.to_string(),
            "the experiment store did not confirm the change within 1 s; it is not made; try again"
        );
        assert_eq!(change.kind(), lorank_core::ErrorKind::Unavailable);
        locked.rollback().unwrap();
        while writer.run(|_| Ok(())).is_err() {}
        assert_eq!(n_rows(&other), 1, "what was begun is stored, what was taken back is not");
        let [first, second] = [0, 1].map(|n| writer.insert(shadow(n)).unwrap());
        assert_eq!([first.duplicates, second.duplicates, n_rows(&other) as usize], [1, 0, 2]);
    }

    #[test]
    fn a_change_that_was_begun_may_take_long() {
        let folder = tempfile::TempDir::new().unwrap();
        let database = Box::new(sqlite::Sqlite::open(&folder.path().join("file")).unwrap());
        let config = StoreConfig { wait_max: Duration::from_secs(1), ..StoreConfig::default() };
        let writer = WriterHandle::start(database, &config, |error| panic!("{error}")).unwrap();
        let (go, wait) = sync_channel::<()>(0);
        let long = move |_: &dyn Database| {
            wait.recv().unwrap();
            Ok(())
        };
        std::thread::scope(|scope| {
            let long = scope.spawn(|| writer.run_long(long));
            // The second caller's longest wait ends while the first change is made.
            while writer.run(|_| Ok(())).is_ok() {}
            go.send(()).unwrap();
            long.join().unwrap().unwrap();
        });
    }

    #[test]
    fn no_more_is_deferred_than_may_wait_and_nothing_beyond_the_end() {
        let (_folder, writer, mut other) = writer(2);
        let locked = lock(&mut other);
        for n in 0..5 {
            assert!(writer.try_insert(shadow(n)));
            flush(&writer);
        }
        assert_eq!(writer.n_lost(), 3);
        let shared = writer.shared.clone();
        drop(writer);
        assert_eq!(shared.n_lost.load(Ordering::Relaxed), 5);
        assert_eq!(shared.queue_bytes.load(Ordering::Acquire), 0);
        locked.rollback().unwrap();
        assert_eq!(n_rows(&other), 0);
    }
}
