//! The integration tests: one binary, one module per subject.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, and says where")]

mod adapters;
mod architecture;
mod bases;
mod broken_adapters;
mod cascade;
mod command;
mod configuration;
mod demo;
mod documents;
mod environment;
mod eval;
mod examples;
mod experiments;
mod failures;
mod file_cycles;
mod indexes;
mod indexing;
mod int8;
mod killing;
mod languages;
mod live;
mod operating;
#[cfg(feature = "otlp")]
mod otlp;
mod reranking;
mod searching;
mod serving;
mod train;
mod values;
