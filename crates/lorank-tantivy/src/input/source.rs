//! Input bytes: from a file or standard input, counted and decompressed.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::read::MultiGzDecoder;

use lorank_core::unreadable_as_text;

use crate::Error;
use crate::input::plan::Plan;
use crate::input::{BadLine, Context};

const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// The progress of reading inputs. Clones share it.
#[derive(Debug, Clone)]
pub struct Progress {
    bytes_read: Arc<AtomicU64>,
    bytes_total: Option<u64>,
}

impl Progress {
    pub(super) fn new(bytes_total: Option<u64>) -> Self {
        Self { bytes_read: Arc::default(), bytes_total }
    }

    /// The number of bytes read so far, before decompression.
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Ordering::Relaxed)
    }

    /// The total size of all inputs in bytes; `None` if one of them is a pipe.
    pub fn bytes_total(&self) -> Option<u64> {
        self.bytes_total
    }
}

/// The contents of a file.
pub(super) type Source = Box<dyn Read + Send>;

/// Opens a file; also returns whether it is compressed.
pub(super) fn open(plan: &Plan, progress: &Progress) -> Result<(Source, bool), Error> {
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

fn decompressed(mut raw: impl Read + Send + 'static) -> io::Result<(Source, bool)> {
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
        // A gzip file may consist of several concatenated ones (`cat a.gz b.gz`).
        Ok((Box::new(Decompressed(MultiGzDecoder::new(whole))), true))
    } else if head[..n_read].starts_with(&ZSTD) {
        Ok((Box::new(Decompressed(zstd::Decoder::new(whole)?)), true))
    } else {
        Ok((Box::new(whole), false))
    }
}

/// The number of bytes that identify a file's type.
pub(super) const HEAD_BYTES: usize = 128;

/// Checks the start of a source.
///
/// # Errors
/// The file is not UTF-8 text: it has another encoding, is an archive or another document format, or lacks the
/// compression that its name indicates.
pub(super) fn checked(mut source: Source, is_compressed: bool, context: &Context) -> Result<Source, BadLine> {
    let mut head = [0; HEAD_BYTES];
    // One read, so as not to wait for more data from a stream.
    let n_read = loop {
        match source.read(&mut head) {
            Ok(n_read) => break n_read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // The reader gets the error again, and adds its position.
            Err(error) => return Ok(Box::new(Failed(Some(error)))),
        }
    };
    let head = head[..n_read].to_vec();
    match what_is_wrong(&head, is_compressed, &context.file) {
        Some(problem) => Err(context.bad_file(context.problem(problem))),
        None => Ok(Box::new(Cursor::new(head).chain(source))),
    }
}

/// Why a file with this start cannot be read as text, and what to do.
pub(super) fn what_is_wrong(head: &[u8], is_compressed: bool, name: &str) -> Option<String> {
    let head = &head[..head.len().min(HEAD_BYTES)];
    let is_text = || str::from_utf8(head).map_or_else(|error| error.error_len().is_none(), |_| true);
    let promised = [(".gz", "gzip"), (".zst", "zstd")].into_iter().find(|(suffix, _)| name.ends_with(suffix));
    unreadable_as_text(head).or_else(|| {
        let (suffix, compression) = promised.filter(|_| !is_compressed && !is_text())?;
        Some(format!(
            "its name ends in `{suffix}`, but it is neither {compression} data nor text; download or compress it again"
        ))
    })
}

/// The contents of a compressed file.
struct Decompressed<R>(R);

impl<R: Read> Read for Decompressed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                io::Error::new(error.kind(), "the compressed data ends early; copy or download the file again")
            }
            _ => error,
        })
    }
}

/// A source that failed to be read.
struct Failed(Option<io::Error>);

impl Read for Failed {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        self.0.take().map_or(Ok(0), Err)
    }
}

/// Counts the bytes read.
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
