//! The operations of lorank's forward passes on NVIDIA GPUs.
//!
//! A forward pass is written once, over [`Ops`]: a device's memory and the [operations](Op) over it. [`Host`] is a
//! device on the CPU: plain loops, with numbers rounded as on a GPU, poisoned memory in place of undefined one, and a
//! limit on memory that tests may choose. It shows without a GPU that a pass is right: offsets, fused products,
//! adapters' columns, shared prefixes.
//!
//! [`Gpu`] is a GPU: its kernels (`kernels/*.cu`) are compiled when a program opens it, and products are those of
//! cublasLt. Both devices accept the same operations ([`Op`] has the rules), so what runs on the host runs on the GPU,
//! up to rounding.
//!
//! What makes passes fast is in the shapes of the operations:
//! - [`Rows`] are views: parts of a fused result, ranges of rows and columns are used where they are.
//! - Matrices that are read one after another are one matrix ([`Rows::stacked`]), so layers with the same input are one
//!   product.
//! - A residual is added by the product itself, and so are low-rank updates: the columns of `x` are continued by
//!   `x Aᵀ`, and those of the weights by `scale * B`. [`Op::KeepColumns`] zeroes, in each row, the columns of other
//!   adapters.
//! - Attention reads sequences of any lengths where they are, without padding, and a shared prefix once for all
//!   ([`Span`]).
//! - Nothing is allocated during a pass: activations are parts of one arena, and free when their last view is dropped.
//!
//! ```
//! use lorank_cuda::{Format, Host, Op, Ops};
//!
//! let ops = Host::new(1 << 20);
//! ops.reserve_arena(1 << 16)?;
//! let w = ops.weights([2, 3], Format::F32)?;
//! ops.write(&w, &[1.0, 0.0, 0.0, 0.0, 1.0, 1.0])?;
//! let (x, y) = (ops.rows(1, 3, Format::F32)?, ops.rows(1, 2, Format::F32)?);
//! ops.write(&x, &[5.0, 6.0, 7.0])?;
//! ops.run(Op::Gemm { x: &x, w: &w, bias: None, add: None, out: &y })?;
//! assert_eq!(ops.read(&y)?, [5.0, 13.0]);
//! # Ok::<(), lorank_cuda::CudaError>(())
//! ```

// The comparison of devices is also a part of an integration test, which names this crate.
#[cfg(test)]
extern crate self as lorank_cuda;

mod attention;
mod error;
mod format;
mod gpu;
mod host;
mod launch;
mod mark;
mod memory;
mod op;
mod ops;
mod rows;
#[cfg(test)]
mod tests;

pub use attention::{AttentionShape, Mask, Span, Spans};
pub use error::{CudaError, Tried};
pub use format::Format;
pub use gpu::{Gpu, GpuOptions};
pub use host::{Host, HostFault};
pub use mark::Mark;
pub use memory::ArenaUse;
pub use op::{Activation, Op};
pub use ops::{DeviceInfo, DeviceMemory, Ops};
pub use rows::{Indices, Quantized, Rows, Vector};
