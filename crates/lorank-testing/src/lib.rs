//! What the tests of lorank share: small stand-ins for both engines, and model folders with recorded scores.
//!
//! - [`toy`]: a first stage and a reranker whose every move a test decides.
//! - [`fixture`], [`changed_copy`] and their kin: tiny real models on disk, whole and with something wrong.
//! - [`reference()`]: the scores that transformers and PEFT gave, to compare with.
//! - [`check_corpus`]: the saved corpus of a fuzz target, in an ordinary test.
//! - [`Judged`]: nDCG@10 over a test collection.
//!
//! Nothing here is published, and no crate uses it outside its tests.

mod corpus;
mod fixtures;
mod measure;
mod reference;
pub mod toy;

pub use corpus::check_corpus;
pub use fixtures::{TensorData, Tensors, changed_copy, copy_fixture, edit_json, edit_tensors, fixture, truncate};
pub use measure::Judged;
pub use reference::{Reference, ReferencePair, reference};
pub use safetensors::Dtype;
