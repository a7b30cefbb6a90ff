//! How the time of a forward pass's stages is measured.

use std::fmt;

/// What to measure of forward passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// The time of whole passes.
    Total,
    /// Also the time of each stage, by the [`StageClock`] of the device. On a GPU this slows the passes down a little.
    Stages,
}

/// The clock that measures the stages of forward passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StageClock {
    /// The host's clock: operations are complete when their calls return. Times are summed over threads.
    Host,
    /// Events among the device's operations (CUDA), because a call only enqueues its operations.
    DeviceEvents,
    /// The host's clock after waiting for the device before and after each stage, on devices without events.
    HostAfterWaiting,
}

impl fmt::Display for StageClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host => "summed over threads",
            Self::DeviceEvents => "by events on the device",
            Self::HostAfterWaiting => "waiting for the device after each stage",
        })
    }
}
