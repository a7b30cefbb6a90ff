//! Points in the order of candle's operations, between which time is measured.

use std::time::{Duration, Instant};

#[cfg(feature = "cuda")]
use candle_core::cuda::WrapErr;
#[cfg(feature = "cuda")]
use candle_core::cuda::cudarc::driver::{CudaEvent, sys::CUevent_flags};
use candle_core::{Device, Result};

/// A point after the operations that this thread has started.
#[derive(Debug)]
pub(crate) enum Mark {
    /// The operations are complete.
    Host(Instant),
    /// In the stream of this thread.
    #[cfg(feature = "cuda")]
    Event(CudaEvent),
}

impl Mark {
    pub(super) fn new(device: &Device) -> Result<Self> {
        #[cfg(feature = "cuda")]
        if let Device::Cuda(device) = device {
            // Events do not keep the time without a flag.
            let event = device.cuda_stream().record_event(Some(CUevent_flags::CU_EVENT_DEFAULT)).w()?;
            return Ok(Self::Event(event));
        }
        device.synchronize()?;
        Ok(Self::Host(Instant::now()))
    }

    /// The time until a later mark of the same device. Waits for the operations before it.
    pub(super) fn time_until(&self, end: &Self) -> Result<Duration> {
        match (self, end) {
            (Self::Host(start), Self::Host(end)) => Ok(*end - *start),
            #[cfg(feature = "cuda")]
            (Self::Event(start), Self::Event(end)) => {
                Ok(Duration::from_secs_f64(f64::from(start.elapsed_ms(end).w()?) / 1e3))
            }
            #[cfg(feature = "cuda")]
            _ => candle_core::bail!("two marks of different devices"),
        }
    }
}
