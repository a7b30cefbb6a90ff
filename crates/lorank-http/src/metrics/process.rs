//! The standard metrics of processes, with the names that all Prometheus clients use.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;

use crate::open_files;

#[derive(Debug)]
pub(super) struct Process {
    start: Duration,
}

impl Process {
    /// The service and the process start at about the same time.
    pub(super) fn begun_now() -> Self {
        Self { start: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() }
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut gauge = |name: &str, help: &str, value: f64| {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
        };
        let start = self.start.as_secs_f64();
        gauge("process_start_time_seconds", "Start time of the process since unix epoch in seconds", start)?;
        if let Some(n_bytes) = resident_bytes() {
            gauge("process_resident_memory_bytes", "Resident memory size in bytes", n_bytes as f64)?;
        }
        if let Ok(n_open) = open_files::n_open() {
            gauge("process_open_fds", "Number of open file descriptors", n_open as f64)?;
        }
        Ok(())
    }
}

/// Read from Linux's `/proc`; `None` on other systems.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1_024)
}
