//! Shared test support: toy engines, and model folders with recorded scores.
//!
//! - [`toy`]: a first stage and a reranker that tests control completely.
//! - [`fixture`], [`changed_copy`] and others: tiny real models on disk, valid and with errors.
//! - [`reference()`]: scores recorded with transformers and PEFT.
//! - [`check_corpus`]: runs the corpus of a fuzz target as a test.
//! - [`Judged`]: nDCG@10 over a test collection.
//!
//! The crate is *not* published, and other crates use it only in their tests.
//!
//! ```
//! use lorank_core::{FirstStage, Query};
//! use lorank_testing::toy::{self, ToyFirstStage};
//!
//! let first_stage = ToyFirstStage::new(toy::candidates(30));
//! let candidates = first_stage.retrieve(&Query::new("egg"), std::num::NonZeroUsize::MIN)?;
//! assert_eq!(candidates.len(), 1);
//! # Ok::<(), lorank_core::BoxError>(())
//! ```

mod corpus;
mod fixtures;
mod measure;
mod reference;
pub mod toy;

pub use corpus::check_corpus;
pub use fixtures::{
    TensorData, Tensors, changed_copy, copy_fixture, edit_json, edit_tensors, fixture, read_tensors, truncate,
};
pub use measure::Judged;
pub use reference::{Reference, ReferencePair, reference};
pub use safetensors::Dtype;
