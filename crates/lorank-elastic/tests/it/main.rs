//! The first stage over HTTP, against nodes that answer as scripted.

mod engine;
mod failures;
mod recorded;
