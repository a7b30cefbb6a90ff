//! The one thread that writes.
//!
//! A sync to the disk costs the same for one row as for a thousand, so each transaction takes all that waits. While it
//! is synced the next one's rows gather, and the more threads submit, the more rows share a sync.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::{Connection, TransactionBehavior};

use super::{Event, Exposure, ShadowRecord, Shared, Submitted, experiments, insert, shadow};
use crate::ExperimentError;

/// The most rows in one transaction, give or take a submission.
const ROWS_MAX: usize = 4_096;

/// Something for the writer to do.
pub(super) enum Work {
    /// Rows to insert, with the rows of others, and who waits until they are kept.
    Rows(Rows, Option<SyncSender<Result<Submitted, ExperimentError>>>),
    /// Anything else, by itself.
    Job(Box<dyn FnOnce(&mut Writer) + Send>),
}

/// Rows of one table.
pub(super) enum Rows {
    Exposures(Vec<Exposure>),
    Shadow(ShadowRecord),
    Events { events: Vec<Event>, received_millis: i64 },
}

pub(super) struct Writer {
    pub(super) connection: Connection,
    waiting: Receiver<Work>,
    shared: Arc<Shared>,
    refresh: Duration,
    looked_at: Instant,
    /// SQLite's count of other connections' changes, when the experiments were last read.
    data_version: i64,
}

type Waiting = (Rows, Option<SyncSender<Result<Submitted, ExperimentError>>>);

impl Writer {
    pub(super) fn new(
        connection: Connection,
        waiting: Receiver<Work>,
        shared: Arc<Shared>,
        refresh: Duration,
    ) -> Result<Self, ExperimentError> {
        let data_version = data_version(&connection).map_err(ExperimentError::database("read the version"))?;
        let mut writer = Self { connection, waiting, shared, refresh, looked_at: Instant::now(), data_version };
        // What another process changed since the first look and before the version was read.
        writer.refresh();
        Ok(writer)
    }

    /// Works until the queue is closed and empty.
    pub(super) fn run(mut self) {
        loop {
            let patience = self.refresh.saturating_sub(self.looked_at.elapsed());
            match self.waiting.recv_timeout(patience) {
                Ok(first) => self.work(first),
                Err(RecvTimeoutError::Timeout) => (),
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if self.looked_at.elapsed() >= self.refresh {
                self.look();
            }
        }
    }

    /// Reads the running experiments anew.
    pub(super) fn refresh(&mut self) {
        match experiments::running(&self.connection) {
            Ok(running) => {
                *self.shared.running.write().unwrap_or_else(PoisonError::into_inner) = running.into();
            }
            Err(error) => tracing::error!(%error, "the running experiments could not be read; the last ones stay"),
        }
    }

    /// Does what waits: rows up to a limit or up to the first job, then that job.
    fn work(&mut self, first: Work) {
        let (mut rows, mut n_rows, mut job) = (Vec::new(), 0, None);
        for work in std::iter::once(first).chain(self.waiting.try_iter()) {
            match work {
                Work::Rows(more, reply) => {
                    n_rows += more.len();
                    rows.push((more, reply));
                }
                Work::Job(found) => job = Some(found),
            }
            if job.is_some() || n_rows >= ROWS_MAX {
                break;
            }
        }
        if !rows.is_empty() {
            self.commit(rows);
        }
        if let Some(job) = job {
            job(self);
        }
    }

    /// Keeps the rows in one transaction, and only then says so.
    fn commit(&mut self, waiting: Vec<Waiting>) {
        let kept = write(&mut self.connection, &waiting).map_err(ExperimentError::database("write"));
        if let Err(error) = &kept {
            let n_lost: usize = waiting.iter().filter(|(_, reply)| reply.is_none()).map(|(rows, _)| rows.len()).sum();
            self.shared.n_lost.fetch_add(n_lost as u64, Ordering::Relaxed);
            tracing::error!(%error, cause = ?std::error::Error::source(error), n_lost, "records could not be kept");
        }
        for (at, (rows, reply)) in waiting.into_iter().enumerate() {
            let Some(reply) = reply else { continue };
            let result = kept
                .as_ref()
                .map(|accepted| Submitted { accepted: accepted[at], duplicates: rows.len() - accepted[at] });
            // A caller that has gone away needs no answer.
            let _ = reply.send(result.map_err(Clone::clone));
        }
    }

    /// Looks whether another connection has changed the file, which costs no read of a table.
    fn look(&mut self) {
        self.looked_at = Instant::now();
        match data_version(&self.connection) {
            Ok(version) if version == self.data_version => (),
            Ok(version) => {
                self.data_version = version;
                self.refresh();
            }
            Err(error) => tracing::warn!(%error, "the experiments' database could not be looked at"),
        }
    }
}

impl Rows {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Exposures(exposures) => exposures.len(),
            Self::Shadow(_) => 1,
            Self::Events { events, .. } => events.len(),
        }
    }

    /// Inserts those that are new, and says how many.
    fn insert(&self, connection: &Connection) -> rusqlite::Result<usize> {
        match self {
            Self::Exposures(exposures) => exposures.iter().map(|row| insert::exposure(connection, row)).sum(),
            Self::Shadow(record) => shadow::insert(connection, record),
            Self::Events { events, received_millis } => {
                events.iter().map(|row| insert::event(connection, row, *received_millis)).sum()
            }
        }
    }
}

fn write(connection: &mut Connection, waiting: &[Waiting]) -> rusqlite::Result<Vec<usize>> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let accepted = waiting.iter().map(|(rows, _)| rows.insert(&transaction)).collect::<rusqlite::Result<_>>()?;
    transaction.commit()?;
    Ok(accepted)
}

fn data_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "data_version", |row| row.get(0))
}
