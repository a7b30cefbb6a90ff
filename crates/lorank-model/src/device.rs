//! Selection of the device for the forward pass.

use std::fmt;
use std::panic::catch_unwind;
use std::str::FromStr;

use candle_core::Device;

use crate::ModelError;

/// The requested device: `auto`, `cpu`, `cuda:N` or `metal`; or several GPUs, as `cuda:0,cuda:1`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum DeviceChoice {
    /// The first GPU that this build and machine support, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The NVIDIA GPU with this index: through `lorank-cuda`, or with the feature `cuda` through candle, which training and the
    /// reference pass need.
    Cuda(usize),
    /// Several NVIDIA GPUs with these indexes, through `lorank-cuda`: the model is on each of them, and each runs a share of a batch.
    SeveralCuda(Vec<usize>),
    /// The Apple GPU. Needs the feature `metal`.
    Metal,
}

impl DeviceChoice {
    /// The indexes of the NVIDIA GPUs that this build runs on through `lorank-cuda`.
    pub(crate) fn of_lorank_cuda(&self) -> Vec<usize> {
        match self {
            _ if cfg!(feature = "cuda") => Vec::new(),
            Self::Cuda(ordinal) => vec![*ordinal],
            Self::SeveralCuda(ordinals) => ordinals.clone(),
            Self::Auto | Self::Cpu | Self::Metal => Vec::new(),
        }
    }

    /// Opens the device for candle, or the CPU.
    ///
    /// # Errors
    /// [`ModelError::Device`] if the build or the machine does not support it; never for `auto` and `cpu`.
    pub(crate) fn open(&self) -> Result<Device, ModelError> {
        self.open_with(&Drivers { cuda: cfg!(feature = "cuda"), metal: cfg!(feature = "metal"), open: &open_gpu })
    }

    fn open_with(&self, drivers: &Drivers<'_>) -> Result<Device, ModelError> {
        match self {
            Self::SeveralCuda(_) => Err(self.refused(
                "training, the reference pass and builds with `--features cuda` run on one device; name one",
                None,
            )),
            Self::Cpu => Ok(Device::Cpu),
            Self::Auto => Ok(drivers.first_gpu().unwrap_or(Device::Cpu)),
            Self::Cuda(_) if !drivers.cuda => Err(self
                .refused("training and the reference pass need candle with CUDA; build with `--features cuda`", None)),
            Self::Metal if !drivers.metal => {
                Err(self.refused("this build does not support Metal; build with `--features metal` on macOS", None))
            }
            gpu => (drivers.open)(gpu.clone()).map_err(|why| self.refused(describe(&why), Some(why))),
        }
    }

    fn refused(&self, hint: &'static str, why: Option<String>) -> ModelError {
        ModelError::Device { device: self.to_string(), hint: hint.into(), source: why.map(Into::into) }
    }
}

/// The GPU kinds of a build, and the function that opens a GPU.
struct Drivers<'a> {
    cuda: bool,
    metal: bool,
    /// Opens a device, or returns the driver's message.
    open: &'a dyn Fn(DeviceChoice) -> Result<Device, String>,
}

impl Drivers<'_> {
    /// The GPU for `auto`. Logs a warning for a GPU that cannot be opened and uses the CPU: `auto` always finds a
    /// device.
    fn first_gpu(&self) -> Option<Device> {
        let gpu = if self.cuda {
            DeviceChoice::Cuda(0)
        } else if self.metal {
            DeviceChoice::Metal
        } else {
            return None;
        };
        let opened = (self.open)(gpu.clone());
        opened.inspect_err(|why| tracing::warn!("{gpu}: {}; running on the CPU ({why})", describe(why))).ok()
    }
}

/// Opens a GPU. Without a driver, the library that looks for it panics, which is caught.
fn open_gpu(gpu: DeviceChoice) -> Result<Device, String> {
    let opened = catch_unwind(|| match gpu {
        DeviceChoice::Cuda(ordinal) => Device::new_cuda(ordinal),
        DeviceChoice::Metal => Device::new_metal(0),
        DeviceChoice::Auto | DeviceChoice::Cpu | DeviceChoice::SeveralCuda(_) => Ok(Device::Cpu),
    });
    match opened {
        Ok(opened) => opened.map_err(|error| one_line(&error.to_string())),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
            Err(one_line(text.unwrap_or("the driver library panicked")))
        }
    }
}

/// The first line of a driver's message: candle appends a backtrace.
fn one_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(300).collect()
}

/// Explains a driver's message, and what to do.
pub(crate) fn describe(message: &str) -> &'static str {
    let text = message.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if has(&["out_of_memory", "out of memory"]) {
        "not enough GPU memory; use a smaller model, `--precision bf16` or `--device cpu`"
    } else if has(&["insufficient_driver", "insufficient for", "unsupported_ptx", "system_driver_mismatch"]) {
        "the NVIDIA driver is too old for this build's CUDA version; update the driver, or use `--device cpu`"
    } else if has(&["dynamically load", "libcuda", "stub_library", "no such file", "cannot open shared object"]) {
        "no NVIDIA driver found; install one (check with `nvidia-smi`), or use `--device cpu`"
    } else if has(&["no_device", "no cuda-capable"]) {
        "no NVIDIA GPU found; check with `nvidia-smi`, or use `--device cpu`"
    } else if has(&["invalid_device", "invalid device"]) {
        "no GPU with this number; check with `nvidia-smi`"
    } else if has(&["no_binary_for_gpu", "no kernel image", "invalid_image"]) {
        "this GPU is older than this build supports; use `--device cpu`"
    } else {
        "the GPU cannot be used; check the driver with `nvidia-smi`, or use `--device cpu`"
    }
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains(',') {
            return text.split(',').map(one_of_several).collect::<Result<_, _>>().map(Self::SeveralCuda);
        }
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

/// The index of a GPU in a list.
fn one_of_several(text: &str) -> Result<usize, String> {
    match text.trim().parse()? {
        DeviceChoice::Cuda(ordinal) => Ok(ordinal),
        other => Err(format!("`{other}` cannot be one of several devices; a list has NVIDIA GPUs, as `cuda:0,cuda:1`")),
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(ordinal) => write!(f, "cuda:{ordinal}"),
            Self::SeveralCuda(ordinals) => {
                let names: Vec<String> = ordinals.iter().map(|ordinal| format!("cuda:{ordinal}")).collect();
                f.write_str(&names.join(","))
            }
            Self::Metal => f.write_str("metal"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read_as_they_are_written() {
        for text in ["auto", "cpu", "cuda:0", "cuda:3", "metal", "cuda:0,cuda:1", "cuda:1,cuda:1,cuda:0"] {
            assert_eq!(text.parse::<DeviceChoice>().map(|device| device.to_string()), Ok(text.to_owned()));
        }
        for text in ["gpu", "cuda:", "cuda:x", "CPU", ""] {
            assert!(text.parse::<DeviceChoice>().is_err(), "{text}");
        }
        assert_eq!("cuda, cuda:1".parse(), Ok(DeviceChoice::SeveralCuda(vec![0, 1])));
        for (text, part) in [
            ("cuda:0,cpu", "`cpu` cannot be one of several"),
            ("metal,cuda:0", "`metal` cannot be one of several"),
            ("auto,auto", "`auto` cannot be one of several"),
            ("cuda:0,1", "`1` is not a device"),
            ("cuda:0,", "`` is not a device"),
        ] {
            let error = text.parse::<DeviceChoice>().unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn what_a_driver_says_becomes_one_clear_line() {
        for (message, part) in [
            (
                "Unable to dynamically load the \"cuda\" shared library - searched for library names: [\"cuda\"]",
                "no NVIDIA driver found",
            ),
            ("DriverError(CUDA_ERROR_STUB_LIBRARY, \"CUDA driver is a stub library\")", "no NVIDIA driver found"),
            ("DriverError(CUDA_ERROR_NO_DEVICE, \"no CUDA-capable device is detected\")", "no NVIDIA GPU found"),
            ("DriverError(CUDA_ERROR_SYSTEM_DRIVER_MISMATCH, \"\")", "too old for this build's CUDA"),
            ("CUDA driver version is insufficient for CUDA runtime version", "too old for this build's CUDA"),
            ("DriverError(CUDA_ERROR_UNSUPPORTED_PTX_VERSION, \"the provided PTX was compiled\")", "update the driver"),
            ("DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")", "not enough GPU memory"),
            ("DriverError(CUDA_ERROR_INVALID_DEVICE, \"invalid device ordinal\")", "no GPU with this number"),
            ("DriverError(CUDA_ERROR_NO_BINARY_FOR_GPU, \"\")", "older than this build"),
            ("something new", "cannot be used"),
        ] {
            let says = |gpu: DeviceChoice| {
                let open = |_| Err(message.to_owned());
                gpu.open_with(&Drivers { cuda: true, metal: false, open: &open })
            };
            let error = says(DeviceChoice::Cuda(1)).unwrap_err().to_string();
            assert!(error.contains("`cuda:1`") && error.contains(part) && !error.contains('\n'), "{message}: {error}");
            assert!(matches!(says(DeviceChoice::Auto), Ok(Device::Cpu)), "`auto` goes on with the CPU");
        }
    }

    #[test]
    fn auto_takes_the_gpu_that_the_build_knows() {
        let opened = std::cell::RefCell::new(Vec::new());
        let open = |gpu| {
            opened.borrow_mut().push(gpu);
            Ok(Device::Cpu)
        };
        for (cuda, metal) in [(true, false), (false, true), (true, true), (false, false)] {
            assert!(DeviceChoice::Auto.open_with(&Drivers { cuda, metal, open: &open }).is_ok());
        }
        assert_eq!(*opened.borrow(), [DeviceChoice::Cuda(0), DeviceChoice::Metal, DeviceChoice::Cuda(0)]);
    }

    #[test]
    fn a_device_that_the_build_lacks_is_refused_by_name() {
        let error = DeviceChoice::Cuda(99).open().unwrap_err().to_string();
        assert!(error.contains("cuda:99"), "{error}");
        assert!(DeviceChoice::Auto.open().is_ok());
        let error = DeviceChoice::SeveralCuda(vec![0, 1]).open().unwrap_err().to_string();
        assert!(error.contains("`cuda:0,cuda:1`") && error.contains("name one"), "{error}");
    }
}
