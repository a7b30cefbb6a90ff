//! The kernels on a GPU.

use std::collections::BTreeMap;

use cudarc::driver::{CudaFunction, CudaStream, DeviceRepr, LaunchConfig, PushKernelArg, sys};
use cudarc::nvrtc::Ptx;

use super::copies::address;
use super::failed;
use crate::launch::{ATTENTIONS, Argument, Launch, NAMES, is_aligned, shared_bytes};
use crate::{CudaError, Rows};

/// The loaded kernels, by name.
#[derive(Debug)]
pub(super) struct Kernels {
    functions: BTreeMap<&'static str, CudaFunction>,
}

/// As `View` in `kernels/common.cu`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct View {
    data: u64,
    stride: i64,
    format: i32,
    is_aligned: i32,
}

// SAFETY: its layout is that of the struct in CUDA C++, and it has no padding.
unsafe impl DeviceRepr for View {}

/// An argument, where its bytes are.
enum Value {
    View(View),
    Pointer(u64),
    Integer(i32),
    Number(f32),
}

impl Kernels {
    /// Loads the kernels' code.
    pub(super) fn load(stream: &CudaStream, code: Vec<u8>) -> Result<Self, CudaError> {
        let module =
            stream.context().load_module(Ptx::from_binary(code)).map_err(|error| failed("cuModuleLoadData", error))?;
        let load = |name: &'static str| {
            let function = module.load_function(name).map_err(|error| failed("cuModuleGetFunction", error))?;
            Ok((name, function))
        };
        let functions: BTreeMap<&'static str, CudaFunction> =
            NAMES.iter().map(|name| load(name)).collect::<Result<_, CudaError>>()?;
        for (head_dim, name) in ATTENTIONS {
            // More than 48 KiB have to be asked for.
            let attribute = sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            let set = functions[name].set_attribute(attribute, shared_bytes(head_dim) as i32);
            set.map_err(|error| failed("cuFuncSetAttribute", error))?;
        }
        Ok(Self { functions })
    }

    /// Starts a kernel.
    pub(super) fn launch(&self, stream: &CudaStream, launch: &Launch<'_>) -> Result<(), CudaError> {
        let function = &self.functions[launch.kernel];
        let values: Vec<Value> = launch.arguments.iter().map(|argument| value(*argument)).collect();
        let mut builder = stream.launch_builder(function);
        for value in &values {
            match value {
                Value::View(view) => builder.arg(view),
                Value::Pointer(pointer) => builder.arg(pointer),
                Value::Integer(n) => builder.arg(n),
                Value::Number(x) => builder.arg(x),
            };
        }
        let [n_blocks, n_threads, n_shared] = [launch.n_blocks, launch.n_threads, launch.n_shared]
            .map(|n| i32::try_from(n).expect("a grid has less than 2^31 blocks").unsigned_abs());
        let config =
            LaunchConfig { grid_dim: (n_blocks, 1, 1), block_dim: (n_threads, 1, 1), shared_mem_bytes: n_shared };
        // SAFETY: `Op::check` has made sure that the rows lie within their allocations and that every index is one of a
        // row; the arguments are those of the kernel, in their order, as the tests of `kernels/shim` show for each
        // kernel.
        unsafe { builder.launch(config) }.map_err(|error| failed("cuLaunchKernel", error))?;
        Ok(())
    }
}

fn value(argument: Argument<'_>) -> Value {
    let pointer = |rows: Option<&Rows>| rows.map_or(0, |rows| address(rows, 0));
    match argument {
        Argument::View(rows) => Value::View(View {
            data: pointer(rows),
            stride: rows.map_or(0, |rows| rows.stride() as i64),
            format: rows.map_or(0, |rows| rows.format() as i32),
            is_aligned: i32::from(rows.is_some_and(is_aligned)),
        }),
        Argument::Pointer(rows) => Value::Pointer(pointer(rows)),
        Argument::Integer(n) => Value::Integer(n),
        Argument::Number(x) => Value::Number(x),
    }
}
