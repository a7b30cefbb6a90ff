//! The text form of a model version in records.

use lorank_core::ModelVersion;

/// The digests of everything besides the texts that the scores depend on.
pub(crate) fn version(model: &ModelVersion) -> String {
    let adapter = model.adapter.as_ref().map_or_else(|| "none".to_owned(), |adapter| adapter.digest.to_string());
    let merged = if model.merged { " merged" } else { "" };
    format!("base {} adapter {adapter} prompt {} {}{merged}", model.base_digest, model.prompt_version, model.precision)
}
