//! The text form of a model version in records.

use lorank_core::ModelVersion;
use lorank_experiments::Arm;
use lorank_pipeline::{Answer, StageAnswer};

/// The digests of everything besides the texts that the scores depend on, and the settings of the arm that ranked.
pub(crate) fn version(model: &ModelVersion, arm: Option<&Arm>) -> String {
    let digests = digests(model);
    // The prompt's digest depends on the instruction.
    let settings = arm.into_iter().flat_map(|arm| arm.settings.entries()).filter(|(key, _)| *key != "instruction");
    let settings: String = settings.map(|(key, value)| format!(" {key} {value}")).collect();
    format!("{digests}{settings}")
}

/// The version of an answer's model, and of each stage before the last one.
pub(crate) fn version_of_answer(answer: &Answer, arm: Option<&Arm>) -> Option<String> {
    let before = answer.stages.split_last().map_or(&[][..], |(_, before)| before);
    let stage = |(n, stage): (usize, &StageAnswer)| {
        let model = stage.model.as_ref().map_or_else(|| "missing".to_owned(), digests);
        format!(" stage {n} depth {} {model}", stage.depth)
    };
    let stages: String = (1..).zip(before).map(stage).collect();
    Some(version(answer.model.as_ref()?, arm) + &stages)
}

/// The digests of everything besides the texts that the scores depend on.
fn digests(model: &ModelVersion) -> String {
    let adapter = model.adapter.as_ref().map_or_else(|| "none".to_owned(), |adapter| adapter.digest.to_string());
    let merged = if model.merged { " merged" } else { "" };
    let (base, prompt, precision) = (model.base_digest, model.prompt_version, model.precision);
    format!("base {base} adapter {adapter} prompt {prompt} {precision}{merged}")
}
