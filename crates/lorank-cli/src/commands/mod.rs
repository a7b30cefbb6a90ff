//! The commands, one file each: arguments, execution and output.

pub(crate) mod adapters;
pub(crate) mod bench;
mod candidates;
mod click_log;
pub(crate) mod compare;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod delete;
#[cfg(feature = "starter")]
pub(crate) mod demo;
pub(crate) mod eval;
pub(crate) mod experiments;
mod first_stage;
pub(crate) mod health;
pub(crate) mod index;
mod index_dir;
pub(crate) mod info;
mod int8;
pub(crate) mod key;
#[cfg(feature = "starter")]
pub(crate) mod notices;
pub(crate) mod opensearch;
pub(crate) mod rerank;
pub(crate) mod score;
pub(crate) mod search;
mod search_stages;
pub(crate) mod serve;
pub(crate) mod train;
