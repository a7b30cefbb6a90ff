//! The report as data, as text for a terminal, and as an HTML page.

mod data;
mod guardrails;
mod html;
mod plot;
mod text;
mod words;

pub use data::{ArmSummary, Comparison, Difference, DuelSummary, GuardrailCheck, Report, ServedArm};
pub(crate) use guardrails::guardrails;
