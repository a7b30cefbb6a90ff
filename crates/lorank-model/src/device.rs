//! Where the forward pass runs.

use std::fmt;
use std::str::FromStr;

use candle_core::Device;

use crate::ModelError;

/// The device asked for: `auto`, `cpu`, `cuda:N` or `metal`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum DeviceChoice {
    /// The first GPU that this build and this machine have, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The NVIDIA GPU with this ordinal. Needs a build with the feature `cuda`.
    Cuda(usize),
    /// The Apple GPU. Needs a build with the feature `metal`.
    Metal,
}

impl DeviceChoice {
    /// Opens the device.
    ///
    /// # Errors
    /// [`ModelError::Device`] where the build or the machine lacks it; never for `auto` and `cpu`.
    pub(crate) fn open(self) -> Result<Device, ModelError> {
        match self {
            Self::Cpu => Ok(Device::Cpu),
            Self::Auto => Ok(first_gpu().unwrap_or(Device::Cpu)),
            Self::Cuda(_) if !cfg!(feature = "cuda") => {
                Err(self.refused("this build has no CUDA; build with `--features cuda`", None))
            }
            Self::Cuda(ordinal) => Device::new_cuda(ordinal)
                .map_err(|e| self.refused("check the driver and the ordinal with `nvidia-smi`", Some(e))),
            Self::Metal if !cfg!(feature = "metal") => {
                Err(self.refused("this build has no Metal; build with `--features metal` on macOS", None))
            }
            Self::Metal => {
                Device::new_metal(0).map_err(|e| self.refused("this machine has no usable Metal device", Some(e)))
            }
        }
    }

    fn refused(self, hint: &'static str, source: Option<candle_core::Error>) -> ModelError {
        ModelError::Device { device: self.to_string(), hint, source: source.map(Into::into) }
    }
}

/// The GPU that `auto` takes. A GPU that cannot be opened is passed over with a warning: `auto` always finds a device.
fn first_gpu() -> Option<Device> {
    let gpu = if cfg!(feature = "cuda") {
        Device::new_cuda(0)
    } else if cfg!(feature = "metal") {
        Device::new_metal(0)
    } else {
        return None;
    };
    gpu.inspect_err(|error| tracing::warn!(%error, "no usable GPU, running on the CPU")).ok()
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            "metal" => Ok(Self::Metal),
            _ => text
                .strip_prefix("cuda:")
                .and_then(|ordinal| ordinal.parse().ok())
                .map(Self::Cuda)
                .ok_or_else(|| format!("`{text}` is not a device; write `auto`, `cpu`, `cuda:N` or `metal`")),
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(ordinal) => write!(f, "cuda:{ordinal}"),
            Self::Metal => f.write_str("metal"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read_as_they_are_written() {
        for text in ["auto", "cpu", "cuda:0", "cuda:3", "metal"] {
            assert_eq!(text.parse::<DeviceChoice>().map(|device| device.to_string()), Ok(text.to_owned()));
        }
        for text in ["gpu", "cuda:", "cuda:x", "CPU", ""] {
            assert!(text.parse::<DeviceChoice>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_device_that_the_build_lacks_is_refused_by_name() {
        let error = DeviceChoice::Cuda(99).open().unwrap_err().to_string();
        assert!(error.contains("cuda:99"), "{error}");
        assert!(DeviceChoice::Auto.open().is_ok());
    }
}
