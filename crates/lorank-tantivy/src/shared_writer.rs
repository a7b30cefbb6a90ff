//! A writer that is shared by threads.

use std::collections::HashMap;
use std::fmt;
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use lorank_core::DocumentId;

use crate::{Document, Error, Index, Selection, Writer, WriterOptions};

/// How long a change waits for a writer that is closing, which takes as long as its last merge.
const CLOSING_WAIT_MAX: Duration = Duration::from_secs(30);

/// A writer of an index for threads that change documents independently.
///
/// Concurrent commits are combined (group commit): many changes take the disk as long as one. The writer is opened for
/// the first change, and closed after a period without changes, so that other processes can write; until then they get
/// [`Error::WriterBusy`].
pub struct SharedWriter {
    shared: Arc<Shared>,
}

/// A change by one thread. It is visible and durable after its commit; without it, it may still be committed together
/// with other changes.
pub struct Change<'a> {
    shared: &'a Shared,
    /// The generation of the writer when the change began.
    generation: u64,
}

struct Shared {
    index: Index,
    options: WriterOptions,
    idle_max: Duration,
    state: Mutex<State>,
    /// Signals that a change began or ended, or that the writer was closed.
    changed: Condvar,
    /// The number of requested commits. Each covers all operations before the request.
    n_asked: AtomicU64,
}

struct State {
    writer: Slot,
    /// Incremented when uncommitted changes are lost.
    generation: u64,
    /// The number of completed commit requests.
    n_made: u64,
    /// The documents that changed since the last commit, and whether they exist.
    pending: HashMap<DocumentId, bool>,
    n_changes: usize,
    idle_since: Instant,
    is_over: bool,
}

enum Slot {
    Closed,
    Open(Box<Writer>),
    /// Waiting for its merges, without the lock.
    Closing,
}

impl SharedWriter {
    /// A writer of an index. It is not opened yet, and closes after `idle_max` without changes.
    pub fn new(index: Index, options: WriterOptions, idle_max: Duration) -> Self {
        let state = State {
            writer: Slot::Closed,
            generation: 0,
            n_made: 0,
            pending: HashMap::new(),
            n_changes: 0,
            idle_since: Instant::now(),
            is_over: false,
        };
        let (changed, n_asked) = (Condvar::new(), AtomicU64::new(0));
        Self { shared: Arc::new(Shared { index, options, idle_max, state: Mutex::new(state), changed, n_asked }) }
    }

    /// The index.
    pub fn index(&self) -> &Index {
        &self.shared.index
    }

    /// Begins a change.
    ///
    /// # Errors
    /// [`Error::WriterBusy`] while another process writes, or the index cannot be written.
    pub fn begin(&self) -> Result<Change<'_>, Error> {
        let generation = {
            let mut state = self.shared.opened()?;
            state.n_changes += 1;
            state.generation
        };
        Ok(Change { shared: &self.shared, generation })
    }

    /// Deletes the documents of a selection as of this moment, and commits. Returns their number.
    ///
    /// # Errors
    /// As [`begin`](Self::begin) and [`Change::commit`], and an invalid query or filter.
    pub fn delete_matching(&self, selection: &Selection) -> Result<u64, Error> {
        let shared = &*self.shared;
        // Keeps the writer open.
        let _change = self.begin()?;
        let mut state = shared.lock();
        let n_asked = shared.n_asked.load(Ordering::Acquire);
        // Earlier changes by others are committed first, so that they are neither counted here, nor lost if this fails.
        shared.commit(&mut state, n_asked)?;
        let n_before = shared.index.n_documents()?;
        shared.writer(&mut state)?.delete_matching(selection)?;
        shared.commit(&mut state, n_asked)?;
        Ok(n_before.saturating_sub(shared.index.n_documents()?))
    }
}

impl Change<'_> {
    /// Adds a document. Returns whether it replaced one with the same id.
    ///
    /// # Errors
    /// The index cannot hold the document (the change can continue without it), [`Error::ChangeLost`], or the index
    /// cannot be written.
    pub fn add(&self, document: &Document) -> Result<bool, Error> {
        document.check(self.shared.index.settings())?;
        let mut state = self.lock()?;
        let is_there = self.shared.is_there(&state, document.id())?;
        if let Err(error) = self.shared.writer(&mut state)?.add(document) {
            return Err(self.shared.give_up(&mut state, error));
        }
        state.pending.insert(document.id().clone(), true);
        Ok(is_there)
    }

    /// Deletes a document. Returns whether it existed.
    ///
    /// # Errors
    /// [`Error::ChangeLost`], or the index cannot be read.
    pub fn delete(&self, id: &DocumentId) -> Result<bool, Error> {
        let mut state = self.lock()?;
        let is_there = self.shared.is_there(&state, id)?;
        if is_there {
            self.shared.writer(&mut state)?.delete(id);
            state.pending.insert(id.clone(), false);
        }
        Ok(is_there)
    }

    /// Makes the change durable and visible to all searches that start afterwards.
    ///
    /// # Errors
    /// [`Error::ChangeLost`], or the index cannot be written.
    pub fn commit(self) -> Result<(), Error> {
        // Requested before taking the lock, because the holder of the lock may be about to commit for this request too.
        let asked = self.shared.n_asked.fetch_add(1, Ordering::AcqRel) + 1;
        let mut state = self.shared.lock();
        if state.n_made >= asked && state.generation == self.generation {
            return Ok(());
        }
        self.check(&state)?;
        let n_asked = self.shared.n_asked.load(Ordering::Acquire);
        self.shared.commit(&mut state, n_asked)
    }

    fn lock(&self) -> Result<MutexGuard<'_, State>, Error> {
        let state = self.shared.lock();
        self.check(&state)?;
        Ok(state)
    }

    fn check(&self, state: &State) -> Result<(), Error> {
        let lost = || Error::ChangeLost { dir: self.shared.index.dir().to_owned() };
        if state.generation == self.generation { Ok(()) } else { Err(lost()) }
    }
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.n_changes -= 1;
        state.idle_since = Instant::now();
        drop(state);
        self.shared.changed.notify_all();
    }
}

/// Closes the writer after its last change.
impl Drop for SharedWriter {
    fn drop(&mut self) {
        self.shared.lock().is_over = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state with an open writer.
    fn opened(self: &Arc<Self>) -> Result<MutexGuard<'_, State>, Error> {
        let is_closing = |state: &mut State| matches!(state.writer, Slot::Closing);
        let waited = self.changed.wait_timeout_while(self.lock(), CLOSING_WAIT_MAX, is_closing);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        match state.writer {
            Slot::Open(_) => {}
            Slot::Closing => return Err(self.busy()),
            Slot::Closed => {
                state.writer = Slot::Open(Box::new(self.index.writer(&self.options)?));
                state.idle_since = Instant::now();
                let closer = thread::Builder::new().name("lorank-writer".to_owned());
                let shared = self.clone();
                if let Err(source) = closer.spawn(move || shared.close_when_idle()) {
                    state.writer = Slot::Closed;
                    let path = self.index.dir().to_owned();
                    return Err(Error::Io { action: "start a thread for the index in", path, source });
                }
            }
        }
        Ok(state)
    }

    fn writer<'a>(&self, state: &'a mut State) -> Result<&'a mut Writer, Error> {
        // A change keeps the writer open; it is only missing if even the rollback failed.
        if let Slot::Open(writer) = &mut state.writer { Ok(writer) } else { Err(self.busy()) }
    }

    fn busy(&self) -> Error {
        Error::WriterBusy { dir: self.index.dir().to_owned() }
    }

    /// Whether the document would exist if everything were committed.
    fn is_there(&self, state: &State, id: &DocumentId) -> Result<bool, Error> {
        state.pending.get(id).map_or_else(|| self.index.contains(id), |is_there| Ok(*is_there))
    }

    fn commit(&self, state: &mut State, n_asked: u64) -> Result<(), Error> {
        if let Err(error) = self.writer(state)?.commit() {
            return Err(self.give_up(state, error));
        }
        state.pending.clear();
        state.n_made = state.n_made.max(n_asked);
        Ok(())
    }

    /// Rolls back after an error, and returns the error with its cause.
    fn give_up(&self, state: &mut State, error: Error) -> Error {
        state.generation += 1;
        state.pending.clear();
        let Slot::Open(writer) = &mut state.writer else { return error };
        let error = writer.explain(error);
        if let Err(second) = writer.rollback() {
            tracing::warn!(error = &second as &dyn std::error::Error, "cannot roll back after an error");
            state.writer = Slot::Closed;
        }
        error
    }

    /// Waits for a period without changes and then for running merges, and releases the index.
    fn close_when_idle(&self) {
        let mut state = self.lock();
        loop {
            let idle_left = self.idle_max.saturating_sub(state.idle_since.elapsed());
            if state.n_changes > 0 {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            } else if !state.is_over && !idle_left.is_zero() {
                let waited = self.changed.wait_timeout(state, idle_left);
                (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            } else {
                break;
            }
        }
        if !matches!(state.writer, Slot::Open(_)) {
            // The writer failed, and another thread may be closing it by now.
            return;
        }
        let slot = mem::replace(&mut state.writer, Slot::Closing);
        // Operations of dropped changes are not committed, and lost.
        state.generation += 1;
        state.pending.clear();
        drop(state);
        if let Slot::Open(writer) = slot
            && let Err(error) = writer.close()
        {
            tracing::warn!(error = &error as &dyn std::error::Error, "cannot finish the merges of an index");
        }
        self.lock().writer = Slot::Closed;
        self.changed.notify_all();
    }
}

impl fmt::Debug for SharedWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedWriter").field("index", &self.shared.index).finish_non_exhaustive()
    }
}

impl fmt::Debug for Change<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Change").field("generation", &self.generation).finish_non_exhaustive()
    }
}
