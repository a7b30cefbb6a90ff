//! The text form of a model version in records.

use lorank_core::ModelVersion;
use lorank_experiments::Arm;

/// The digests of everything besides the texts that the scores depend on, and the settings of the arm that ranked.
pub(crate) fn version(model: &ModelVersion, arm: Option<&Arm>) -> String {
    let adapter = model.adapter.as_ref().map_or_else(|| "none".to_owned(), |adapter| adapter.digest.to_string());
    let merged = if model.merged { " merged" } else { "" };
    // The prompt's digest depends on the instruction.
    let settings = arm.into_iter().flat_map(|arm| arm.settings.entries()).filter(|(key, _)| *key != "instruction");
    let settings: String = settings.map(|(key, value)| format!(" {key} {value}")).collect();
    let (base, prompt, precision) = (model.base_digest, model.prompt_version, model.precision);
    format!("base {base} adapter {adapter} prompt {prompt} {precision}{merged}{settings}")
}
