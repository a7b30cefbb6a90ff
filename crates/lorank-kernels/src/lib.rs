//! Packed CPU kernels for transformer forward passes: linear layers in f32, bf16 and int8, attention over sequences of
//! any lengths, norms and activations.
//!
//! A weight matrix is packed once, when a model is loaded ([`PackedMatrix`]), into the order in which the vector
//! instructions of this CPU ([`Isa`]) read it. Activations are plain `f32` rows, `[n_tokens, width]`, without padding
//! between sequences. Rows are divided among the threads of the current rayon pool.
//!
//! For training, there are the gradients of these operations, each from the gradient of its result
//! ([`PackedMatrix::transposed`], [`Attention::gradients`], [`layer_norm_gradient`], ...).
//!
//! The crate is *not* a tensor library and has no models: no shapes beyond rows and columns, no autograd, no devices,
//! no files.
//!
//! Every public function is sound for any arguments: shapes, ranges and formats that do not fit cause a panic before
//! any computation, as documented under `# Panics`.
//!
//! Two guarantees hold everywhere. A row of a result depends only on its input row, bit for bit, and not on other rows,
//! their number, or the number of threads. And all instruction sets give the results of a plain loop: bit for bit in
//! int8 with one scale per row (integers are exact), up to rounding in f32, bf16 and int8 with groups. [`Isa::detect`] holds
//! the set that it chooses to that.
//!
//! ```
//! use lorank_kernels::{Epilogue, Format, Input, Isa, PackedMatrix, Segment};
//!
//! // [n_out, n_in] = [2, 3], row by row.
//! let weights = [[1.0, 2.0, 3.0], [0.5, 0.0, -1.0]];
//! let isa = Isa::detect();
//! let packed = PackedMatrix::pack(Format::F32, isa, 2, 3, |n, row| row.copy_from_slice(&weights[n]));
//!
//! let x = Input::new(&[1.0, 1.0, 1.0], 3, Format::F32, isa);
//! let y = packed.linear(&x, &[Segment::plain(1)], &Epilogue { bias: Some(&[0.0, 10.0]), ..Epilogue::default() });
//! assert_eq!(y, [6.0, 9.5]);
//! ```

mod aligned;
mod attention;
mod attention_bf16;
mod attention_gradient;
mod dropout;
mod elementwise;
mod format;
mod gradient;
mod groups;
mod input;
mod isa;
mod linear;
mod linear_gradient;
mod math;
mod packed;
mod peak;
mod recycled;
mod self_check;
mod threads;
mod tile;

pub use attention::{Attention, Mask, Rotary, Span};
pub use dropout::Dropout;
pub use elementwise::{activate, gated, gated_halves, layer_norm, rms_norm};
pub use format::Format;
pub use gradient::{activation_gradient, layer_norm_gradient, rms_norm_gradient};
pub use input::Input;
pub use isa::Isa;
pub use linear::{Epilogue, LowRank, Segment};
pub use linear_gradient::{InputUpdate, add_products};
pub use math::Activation;
pub use packed::PackedMatrix;
pub use recycled::{copied, recycle, zeros};
pub use self_check::LeftOut;
