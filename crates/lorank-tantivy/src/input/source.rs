//! Bytes: from a file or standard input, counted, decompressed.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::read::MultiGzDecoder;

use crate::Error;
use crate::input::plan::Plan;

const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// How far the inputs have been read. Clones tell of the same reading.
#[derive(Debug, Clone)]
pub struct Progress {
    bytes_read: Arc<AtomicU64>,
    bytes_total: Option<u64>,
}

impl Progress {
    pub(super) fn new(bytes_total: Option<u64>) -> Self {
        Self { bytes_read: Arc::default(), bytes_total }
    }

    /// The bytes read so far, counted as they stand in the files: compressed, where those are.
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Ordering::Relaxed)
    }

    /// The bytes of all inputs; `None` where one of them is standard input or another pipe.
    pub fn bytes_total(&self) -> Option<u64> {
        self.bytes_total
    }
}

/// The content of a file.
pub(super) type Source = Box<dyn Read + Send>;

/// Opens a file and sees whether it is compressed.
pub(super) fn open(plan: &Plan, progress: &Progress) -> Result<Source, Error> {
    let raw: Source = match &plan.path {
        None => Box::new(io::stdin()),
        Some(path) => match File::open(path) {
            Ok(file) => Box::new(file),
            Err(source) => return Err(Error::Io { action: "read", path: path.clone(), source }),
        },
    };
    let counted = Counted { inner: raw, bytes_read: progress.bytes_read.clone() };
    decompressed(BufReader::with_capacity(128 * 1024, counted)).map_err(|source| Error::BrokenInput { source })
}

fn decompressed(mut raw: impl Read + Send + 'static) -> io::Result<Source> {
    let mut head = [0; 4];
    let mut n_read = 0;
    while n_read < head.len() {
        match raw.read(&mut head[n_read..]) {
            Ok(0) => break,
            Ok(n) => n_read += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let whole = Cursor::new(head).take(n_read as u64).chain(raw);
    if head[..n_read].starts_with(&GZIP) {
        // A gzip file may be several, one after the other (`cat a.gz b.gz`).
        Ok(Box::new(MultiGzDecoder::new(whole)))
    } else if head[..n_read].starts_with(&ZSTD) {
        Ok(Box::new(zstd::Decoder::new(whole)?))
    } else {
        Ok(Box::new(whole))
    }
}

/// Counts what is read.
struct Counted<R> {
    inner: R,
    bytes_read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.bytes_read.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}
