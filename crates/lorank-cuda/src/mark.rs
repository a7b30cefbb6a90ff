//! Points in the order of a device's operations, to measure time between them.

use std::time::{Duration, Instant};

use cudarc::driver::{CudaEvent, DriverError};

use crate::CudaError;

/// A point in the order of a device's operations: [`Ops::mark`](crate::Ops::mark).
#[derive(Debug)]
pub struct Mark(Point);

#[derive(Debug)]
enum Point {
    /// Of the host, whose operations have run when their call returns.
    Instant(Instant),
    /// Of a GPU, which notes the time when it reaches the event.
    Event(CudaEvent),
}

impl Mark {
    pub(crate) fn now() -> Self {
        Self(Point::Instant(Instant::now()))
    }

    pub(crate) fn of(event: CudaEvent) -> Self {
        Self(Point::Event(event))
    }

    /// The time from this mark to a later one of the same device. Waits until the device has reached it.
    ///
    /// # Errors
    /// [`CudaError::Failed`], also for marks of two devices.
    pub fn time_until(&self, later: &Self) -> Result<Duration, CudaError> {
        let failed = |why: String| CudaError::Failed { call: "cuEventElapsedTime", why };
        match (&self.0, &later.0) {
            (Point::Instant(start), Point::Instant(end)) => Ok(*end - *start),
            (Point::Event(start), Point::Event(end)) => {
                let millis = start.elapsed_ms(end).map_err(|DriverError(status)| failed(format!("{status:?}")))?;
                Ok(Duration::try_from_secs_f32(millis / 1000.0).unwrap_or_default())
            }
            _ => Err(failed("the marks are of two devices".to_owned())),
        }
    }
}
