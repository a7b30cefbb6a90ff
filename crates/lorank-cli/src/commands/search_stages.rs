//! The rerank stages of commands: the adapters that they need, and what they did.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use lorank_core::{AdapterChoice, AdapterId, Hit, ModelVersion, RerankStage, Reranker, Score};
use lorank_pipeline::Answer;
use lorank_server::{AdapterSpec, BaseSpec, LoadedModels};

use crate::output::text::counted;

/// The adapters to load: those of `--adapter`, of which the first is the default one, and those that stages name.
pub(super) fn adapters_to_load(given: &[AdapterSpec], stages: &[RerankStage], bases: &[BaseSpec]) -> Vec<AdapterSpec> {
    let mut adapters: Vec<AdapterSpec> = given.to_vec();
    if adapters.is_empty() && !stages.is_empty() {
        // The first one is the default.
        adapters.push(AdapterSpec::None);
    }
    for stage in stages {
        let AdapterChoice::Named(name) = &stage.adapter else { continue };
        let is_known = adapters.iter().any(|adapter| adapter.given_id() == Some(name.as_str()));
        let is_base = BaseSpec::one_goes_by(bases, name);
        if let (false, false, Ok(source)) = (is_known, is_base, name.as_str().parse()) {
            adapters.push(AdapterSpec::Adapter { id: Some(name.clone()), base: stage.base.clone(), source });
        }
    }
    adapters
}

/// The exact model of a stage.
///
/// # Errors
/// An unknown adapter or base model, or an adapter of another base model than the stage's.
pub(super) fn model(models: &LoadedModels, stage: &RerankStage) -> anyhow::Result<ModelVersion> {
    let resolve = |name: Option<&AdapterId>| models.bases.resolve(name).map_err(|error| anyhow!(error));
    let failed = || format!("the stage `{stage}` has no model");
    let model = match stage.choice() {
        AdapterChoice::Default => resolve(models.default_adapter().as_ref()),
        AdapterChoice::Base => resolve(None),
        AdapterChoice::Named(name) => resolve(Some(&name)),
    };
    let model = model.with_context(failed)?;
    if let Some(base) = &stage.base {
        let of_stage = resolve(Some(base)).with_context(failed)?;
        if of_stage.base_digest != model.base_digest || of_stage.adapter.is_some() {
            bail!("the stage `{stage}` reranks by `{}`, and not by `{base}`; name its base model", model.base_model);
        }
    }
    Ok(model)
}

/// The rank and the score of a hit after each stage.
pub(super) fn of_hit(hit: &Hit) -> String {
    let mut text = String::new();
    for (n, stage) in hit.stages.iter().enumerate() {
        let score =
            stage.rerank_score.map_or("not scored".to_owned(), |score: Score| format!("score {:.3}", score.get()));
        write!(text, ", stage {} rank {} ({score})", n + 1, stage.rank).expect("writing to a string cannot fail");
    }
    text
}

/// A line for each stage.
pub(super) fn lines(
    answer: &Answer,
    name: &dyn Fn(&ModelVersion) -> String,
    line: &dyn Fn(&str, Duration, &str) -> String,
) -> String {
    let stages = (1..).zip(&answer.stages).map(|(n, stage)| {
        let model = stage
            .model
            .as_ref()
            .map_or("no model".to_owned(), |model| format!("{} ({})", name(model), model.precision));
        let done = match &stage.fallback {
            None => format!("{} by {model}", counted(stage.n_candidates, "candidate")),
            Some(fallback) => format!("{model} did not rerank: {fallback}"),
        };
        line(&format!("stage {n}"), stage.timings.rerank, &done)
    });
    stages.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_load_the_adapters_that_they_name() {
        let check = |given: &[&str], stages: &[&str], bases: &[&str], expected: &[&str]| {
            let given: Vec<AdapterSpec> = given.iter().map(|text| text.parse().unwrap()).collect();
            let stages: Vec<RerankStage> = stages.iter().map(|text| text.parse().unwrap()).collect();
            let bases: Vec<BaseSpec> = bases.iter().map(|text| text.parse().unwrap()).collect();
            let loaded: Vec<String> =
                adapters_to_load(&given, &stages, &bases).iter().map(ToString::to_string).collect();
            assert_eq!(loaded, expected, "{stages:?}");
        };
        check(&[], &[], &[], &[]);
        check(&["qa"], &[], &[], &["qa"]);
        check(&["qa", "none"], &["qa:9"], &[], &["qa", "none"]);
        check(&[], &["none:9", "qa:5"], &[], &["none", "qa=qa"]);
        check(
            &[],
            &["minilm:9", "qa@minilm:5", "none@small:3"],
            &["minilm", "small=folder/x"],
            &["none", "qa@minilm=qa"],
        );
        check(&["qa=folder"], &["default:9", "qa:5"], &[], &["qa=folder"]);
        check(&[], &["qa:9", "qa:5"], &[], &["none", "qa=qa"]);
        check(&[], &["x:9"], &["models/x"], &["none"]);
    }
}
