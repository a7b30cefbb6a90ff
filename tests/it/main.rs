//! The integration tests: one binary, one module per subject.

mod architecture;
mod command;
mod demo;
mod examples;
mod failures;
mod indexing;
mod killing;
mod reranking;
mod serving;
