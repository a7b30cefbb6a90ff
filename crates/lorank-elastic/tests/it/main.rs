//! The first stage over HTTP, against nodes that answer as scripted.

#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod engine;
mod failures;
mod recorded;
