//! The report: a value for programs, a table for a terminal, a page for a browser.

mod data;
mod guardrails;
mod html;
mod plot;
mod text;
mod words;

pub use data::{ArmSummary, Comparison, Difference, DuelSummary, Report, ServedArm};
pub use guardrails::GuardrailCheck;
pub(crate) use guardrails::guardrails;
