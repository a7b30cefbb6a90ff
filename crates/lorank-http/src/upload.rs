//! Bodies with documents to add, which are received completely before they are processed.
//!
//! Adding documents occupies one of few slots and the index writer. So neither is occupied while a body is received: its beginning
//! is kept in memory, and the rest in an unnamed file. Bodies have a minimum rate and a maximum time.

use std::fs::File;
use std::future::poll_fn;
use std::io::{self, Cursor, Read, Seek, Write};
use std::pin::{Pin, pin};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use tokio::time::{Instant, timeout};

use crate::admission::Admitted;
use crate::encoding::DecodeError;
use crate::{DocumentError, HttpConfig, ServerError};

/// The number of bytes of a body that are kept in memory.
const MEMORY_BYTES: usize = 64 << 10;

/// The limits on the rate and time of a body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct UploadLimits {
    /// The maximum length in bytes.
    bytes_max: usize,
    /// The time after which the minimum rate applies.
    start: Duration,
    /// The minimum number of bytes per second, averaged over the whole body.
    bytes_per_second_min: usize,
    /// The maximum time for a body.
    total: Duration,
}

impl From<&HttpConfig> for UploadLimits {
    fn from(config: &HttpConfig) -> Self {
        Self {
            bytes_max: config.bulk_bytes_max,
            start: config.body_read,
            bytes_per_second_min: config.bulk_rate_min,
            total: config.bulk_read,
        }
    }
}

impl UploadLimits {
    /// The maximum time in which the client must send more than `n_bytes`.
    fn time_for(&self, n_bytes: usize) -> Duration {
        let by_rate = match self.bytes_per_second_min {
            0 => self.total,
            rate => self.start.saturating_add(Duration::from_secs_f64(n_bytes as f64 / rate as f64)),
        };
        by_rate.min(self.total)
    }

    fn too_slow(&self, n_bytes: usize) -> ServerError {
        match self.time_for(n_bytes) {
            limit if limit < self.total => {
                ServerError::BelowRate { bytes_per_second_min: self.bytes_per_second_min, millis: limit.as_millis() }
            }
            limit => ServerError::TooSlow { part: "body", millis: limit.as_millis() },
        }
    }
}

/// A temporary file with the received part of a body; the number of such files is limited.
#[derive(Debug)]
pub(crate) struct Scratch {
    file: File,
    _place: Admitted,
}

impl Scratch {
    pub(crate) fn new(file: File, place: Admitted) -> Self {
        Self { file, _place: place }
    }
}

impl Read for Scratch {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read(buffer)
    }
}

/// Receives a body. `make_file` creates a file if the body is too long for memory.
///
/// # Errors
/// The body is too long, too slow or incomplete, or the file cannot be written.
pub(crate) async fn receive(
    body: Body,
    limits: UploadLimits,
    make_file: impl Fn() -> Result<Scratch, ServerError>,
) -> Result<Box<dyn Read + Send>, ServerError> {
    let too_large = || ServerError::BodyTooLarge { bytes_max: limits.bytes_max };
    if body.size_hint().lower() > limits.bytes_max as u64 {
        return Err(too_large());
    }
    let (mut body, mut file, mut memory) = (pin!(body), None, Vec::new());
    let (mut n_bytes, mut waited) = (0, Duration::ZERO);
    loop {
        let began = Instant::now();
        let left = limits.time_for(n_bytes).saturating_sub(waited);
        let chunk = timeout(left, next_chunk(body.as_mut())).await.map_err(|_| limits.too_slow(n_bytes))?;
        // The time for writing does not count against the client.
        waited += began.elapsed();
        let Some(chunk) = chunk.map_err(|source| match DecodeError::find(&source) {
            Some(DecodeError::TooLong { .. }) => too_large(),
            _ => DocumentError::BrokenOff { source }.into(),
        })?
        else {
            break;
        };
        n_bytes += chunk.len();
        if n_bytes > limits.bytes_max {
            return Err(too_large());
        }
        memory.extend_from_slice(&chunk);
        if memory.len() > MEMORY_BYTES {
            let to = match file.take() {
                Some(file) => file,
                None => make_file()?,
            };
            file = Some(append(to, std::mem::take(&mut memory)).await?);
        }
    }
    match file {
        None => Ok(Box::new(Cursor::new(memory))),
        Some(file) => {
            let mut scratch = append(file, memory).await?;
            scratch.file.rewind().map_err(not_kept)?;
            Ok(Box::new(scratch))
        }
    }
}

/// Writes on a thread for blocking work.
async fn append(mut to: Scratch, bytes: Vec<u8>) -> Result<Scratch, ServerError> {
    let written = tokio::task::spawn_blocking(move || to.file.write_all(&bytes).map(|()| to)).await;
    written.map_err(|source| ServerError::Panicked { source })?.map_err(not_kept)
}

pub(crate) fn not_kept(source: io::Error) -> ServerError {
    DocumentError::Failed { source: source.into() }.into()
}

async fn next_chunk(mut body: Pin<&mut Body>) -> io::Result<Option<Bytes>> {
    loop {
        match poll_fn(|context| body.as_mut().poll_frame(context)).await {
            None => return Ok(None),
            // A frame without data is trailers.
            Some(frame) => {
                if let Ok(data) = frame.map_err(io::Error::other)?.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_has_time_by_its_bytes_and_a_total() {
        let limits = |bytes_per_second_min| UploadLimits {
            bytes_max: 1_000_000,
            start: Duration::from_secs(30),
            bytes_per_second_min,
            total: Duration::from_secs(600),
        };
        for (rate, n_bytes, seconds) in [
            (1_000, 0, 30),
            (1_000, 1, 30),
            (1_000, 100_000, 130),
            (1_000, 570_000, 600),
            (1_000, 1_000_000, 600),
            (1_000, usize::MAX, 600),
            (1_000_000, 1_000_000, 31),
            (1, 10, 40),
            (0, 0, 600),
            (0, 1_000_000, 600),
        ] {
            assert_eq!(limits(rate).time_for(n_bytes).as_secs(), seconds, "{n_bytes} bytes at {rate} bytes per second");
        }
    }
}
