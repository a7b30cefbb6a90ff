//! Runs each kernel on the host, through `kernels/shim`, and compares it with `Host`. `.ci/cuda` builds the program,
//! with a sanitizer, and runs this.

use std::env;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use super::compare::compare;
use crate::launch::{Argument, Launch, is_aligned};
use crate::memory::{DeviceId, Pools, Region};
use crate::ops::sealed::Memory;
use crate::{CudaError, DeviceInfo, DeviceMemory, Format, Host, Mark, Op, Ops, Quantized, Rows};

/// The program of the shim.
const PROGRAM: &str = "LORANK_CUDA_SHIM";

/// A device whose kernels run in the shim. Products are those of `Host`.
#[derive(Debug)]
struct Shim {
    host: Host,
    program: Mutex<Child>,
}

impl Shim {
    fn start() -> Self {
        let path = env::var_os(PROGRAM).unwrap_or_else(|| panic!("{PROGRAM} names the program that `.ci/cuda` builds"));
        let program = Command::new(path).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        Self { host: Host::new(64 << 20), program: Mutex::new(program) }
    }

    /// Sends a launch with all memory that it names, and takes the memory back.
    fn launch(&self, launch: &Launch<'_>) {
        let mut regions = Vec::new();
        let arguments: Vec<u8> =
            launch.arguments.iter().flat_map(|argument| bytes_of(*argument, &mut regions)).collect();
        let mut request = (launch.kernel.len() as u32).to_le_bytes().to_vec();
        request.extend(launch.kernel.as_bytes());
        for n in [launch.n_blocks, launch.n_threads, launch.n_shared, regions.len()] {
            request.extend((n as u32).to_le_bytes());
        }
        for region in &regions {
            let bytes = region.host();
            request.extend((bytes.len() as u64).to_le_bytes());
            request.extend(bytes.as_slice());
        }
        request.extend((launch.arguments.len() as u32).to_le_bytes());
        request.extend(arguments);
        let mut program = self.program.lock().unwrap();
        program.stdin.as_mut().unwrap().write_all(&request).unwrap();
        program.stdin.as_mut().unwrap().flush().unwrap();
        for region in regions {
            let read = program.stdout.as_mut().unwrap().read_exact(&mut region.host());
            read.unwrap_or_else(|error| panic!("the shim ended at {}: {error}; its errors are above", launch.kernel));
        }
    }
}

/// An argument, with its memory as a number in the list of regions.
fn bytes_of<'a>(argument: Argument<'a>, regions: &mut Vec<&'a Arc<Region>>) -> Vec<u8> {
    let mut place = |rows: Option<&'a Rows>| {
        let number = rows.map_or(-1, |rows| {
            let known = regions.iter().position(|region| Arc::ptr_eq(region, rows.region()));
            known.unwrap_or_else(|| {
                regions.push(rows.region());
                regions.len() - 1
            }) as i32
        });
        [&number.to_le_bytes()[..], &(rows.map_or(0, Rows::first_byte) as u64).to_le_bytes()].concat()
    };
    match argument {
        Argument::View(rows) => {
            let stride = rows.map_or(0, Rows::stride) as u64;
            let format = rows.map_or(0, |rows| rows.format() as i32);
            let is_aligned = i32::from(rows.is_some_and(is_aligned));
            let rest = [&stride.to_le_bytes()[..], &format.to_le_bytes(), &is_aligned.to_le_bytes()].concat();
            [&b"v"[..], &place(rows), &rest].concat()
        }
        Argument::Pointer(rows) => [&b"p"[..], &place(rows)].concat(),
        Argument::Integer(n) => [&b"i"[..], &n.to_le_bytes()].concat(),
        Argument::Number(x) => [&b"f"[..], &x.to_le_bytes()].concat(),
    }
}

impl Memory for Shim {
    fn device(&self) -> DeviceId {
        self.host.device()
    }

    fn pools(&self) -> &Pools {
        self.host.pools()
    }

    fn allocate(&self, n_bytes: usize, purpose: &'static str) -> Result<Region, CudaError> {
        self.host.allocate(n_bytes, purpose)
    }

    fn write_bytes(&self, to: &Rows, bytes: &[u8]) -> Result<(), CudaError> {
        self.host.write_bytes(to, bytes)
    }

    fn read_bytes(&self, from: &Rows) -> Result<Vec<u8>, CudaError> {
        self.host.read_bytes(from)
    }
}

impl Ops for Shim {
    fn info(&self) -> DeviceInfo {
        self.host.info()
    }

    fn memory(&self) -> Result<DeviceMemory, CudaError> {
        self.host.memory()
    }

    fn run(&self, op: Op<'_>) -> Result<(), CudaError> {
        op.check(self.device());
        match op {
            Op::Gemm { x, w, bias: Some(bias), add, out } => {
                // As on a GPU whose cublasLt adds no bias to this product.
                self.host.run(Op::Gemm { x, w, bias: None, add, out })?;
                Launch::finish(out, None, Some(bias.of(out.format())), None, out)
                    .iter()
                    .for_each(|launch| self.launch(launch));
                Ok(())
            }
            Op::Gemm { .. } => self.host.run(op),
            Op::ScaledGemm { x, w, bias, add, out } => {
                // As on a GPU whose cublasLt has no scales for each row.
                let product = self.rows(out.n_rows(), out.width(), Format::Bf16)?;
                let unscaled = |rows: &Quantized| -> Result<Quantized, CudaError> {
                    let scales = self.rows(rows.n_rows(), 1, Format::F32)?;
                    self.write(&scales, &vec![1.0; rows.n_rows()])?;
                    Ok(Quantized { numbers: rows.numbers.clone(), scales })
                };
                let (x_only, w_only) = (unscaled(x)?, unscaled(w)?);
                self.host.run(Op::ScaledGemm { x: &x_only, w: &w_only, bias: None, add: None, out: &product })?;
                let bias = bias.map(|bias| bias.of(out.format()));
                Launch::finish(&product, Some([x, w]), bias, add, out).iter().for_each(|launch| self.launch(launch));
                Ok(())
            }
            _ => {
                Launch::of(&op).iter().for_each(|launch| self.launch(launch));
                Ok(())
            }
        }
    }

    fn synchronize(&self) -> Result<(), CudaError> {
        Ok(())
    }

    fn mark(&self) -> Result<Mark, CudaError> {
        self.host.mark()
    }
}

#[test]
#[ignore = "needs the kernels built for the host: `.ci/cuda` builds and runs them"]
fn kernels_compute_what_the_host_computes() {
    let shim = Shim::start();
    compare(&shim, 256 << 10);
    let mut program = shim.program.into_inner().unwrap();
    drop(program.stdin.take());
    assert!(program.wait().unwrap().success(), "the sanitizer has found something, which is above");
}
