//! Base models, LoRA adapters and the forward passes of lorank's reranker.
//!
//! A [`ModelReranker`] has one base model (a Llama, Mistral, Qwen2, Qwen3 or Gemma, or a cross-encoder of the BERT, RoBERTa,
//! ModernBERT or GTE family, in Hugging Face's file layout) and any number of PEFT LoRA adapters, chosen per call. It
//! computes one logit for each (query, document) pair.
//!
//! The crate is *not* a search pipeline: `lorank-pipeline` decides on order, cache, deadlines and batches.
//!
//! A model's structure is written once, over a trait with two backends. On a CPU the backend is `lorank-kernels`, in
//! f32, bf16 or int8: the tokens of many pairs are concatenated without padding, a common prefix of a query's pairs is
//! computed once, one batch may mix adapters, and the last layer computes only the scored tokens. On a GPU the backend
//! is candle. candle on the CPU, one pair at a time, is the *reference* ([`ForwardPass::Reference`]) for testing the
//! kernels.
//!
//! Adapters are trained on the same models ([`ForwardPass::Train`], [`TrainableModel`]), on either backend: the crate computes
//! scores and gradients, and writes PEFT's files. Losses, optimizer and data are `lorank-train`'s.
//!
//! ```
//! use lorank_core::{Candidate, Group, Query, Reranker, Score, score_groups};
//! use lorank_model::{Files, LoadOptions, ModelReranker};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! # let folder = lorank_testing::fixture("tiny-llama");
//! let reranker = ModelReranker::load(&Files::folder(folder.join("base"))?, LoadOptions::default())?;
//! reranker.add_adapter("a".parse()?, &Files::folder(folder.join("adapter-a"))?)?;
//!
//! let model = reranker.resolve(Some(&"a".parse()?))?;
//! let query = Query::new("how long do you boil eggs");
//! let candidates = [Candidate::new("1", "Seven minutes for a soft yolk.", Score::new(0.0)?)];
//! let scores = score_groups(&reranker, &[Group { query: &query, model: &model, candidates: &candidates }]);
//! assert_eq!(scores[0].as_ref().map(Vec::len).ok(), Some(1));
//! # Ok(())
//! # }
//! ```

mod adapter_writer;
mod alone;
mod attention;
mod backend;
mod base_models;
mod bert;
mod budget;
mod chat;
mod clock;
mod config;
mod cut;
mod device;
mod embedding;
mod encode;
mod error;
mod facts;
mod files;
#[doc(hidden)]
pub mod fuzzing;
mod gpu_facts;
mod gradient_model;
mod gte;
mod head;
mod int8_ranking;
mod keys;
mod known;
mod labels;
mod llama;
mod load_model;
mod loader;
mod lora;
mod lorank_file;
mod model;
mod modernbert;
mod modules;
mod network;
mod norm;
mod options;
mod pack;
mod pass;
mod peft;
mod pipeline;
mod precision;
mod precisions;
mod prompt;
mod replicas;
mod reranker;
mod rope;
mod rotary;
mod score_activation;
mod score_tokens;
mod scoring;
mod sequence;
mod source;
mod summary;
mod template;
mod token_cache;
mod tokenize;
mod tokenizer_config;
mod trainable;
mod weights;
mod whole;
mod windows;

#[cfg(test)]
mod independent;

pub use adapter_writer::AdapterSettings;
pub use backend::Peaks;
pub use base_models::{BaseModels, BaseToName, NamedBase};
pub use clock::{Measure, StageClock};
pub use device::DeviceChoice;
pub use error::ModelError;
pub use facts::{AdapterFacts, AdapterFile};
pub use files::{FileContents, Files};
pub use gpu_facts::{GpuFacts, TokensLimit};
pub use gradient_model::{PackedAdapter, PassMode};
pub use int8_ranking::{Int8Ranking, Int8Rankings, ScoresToCompare};
pub use lorank_cuda::GpuOptions;
#[doc(hidden)]
pub use lorank_cuda::HostFault;
pub use options::{ForwardPass, LoadOptions, OtherBase};
pub use pass::StageTimes;
pub use precision::PrecisionChoice;
pub use prompt::Prompt;
pub use reranker::{LoadedAdapter, ModelReranker};
pub use source::{Hub, HubRepository, OnProgress, Source};
pub use summary::{AdapterSummary, BaseSummary};
pub use token_cache::TokenCacheStats;
pub use tokenize::Pair;
pub use trainable::{Gradients, Parameter, ScoredPairs, TrainableModel, TrainedAdapter};
