//! The rerank stages of `lorank search`: the adapters that they need, and what they did.

use std::fmt::Write as _;
use std::time::Duration;

use lorank_core::{AdapterChoice, Hit, ModelVersion, RerankStage, Score};
use lorank_pipeline::Answer;
use lorank_server::{AdapterSpec, BaseSpec};

use crate::output::text::counted;

/// The adapters to load: that of `--adapter`, which is the default one, and those that stages name.
pub(super) fn adapters_to_load(
    given: Option<&AdapterSpec>,
    stages: &[RerankStage],
    bases: &[BaseSpec],
) -> Vec<AdapterSpec> {
    let mut adapters: Vec<AdapterSpec> = given.cloned().into_iter().collect();
    if adapters.is_empty() && !stages.is_empty() {
        // The first one is the default.
        adapters.push(AdapterSpec::None);
    }
    for stage in stages {
        let AdapterChoice::Named(name) = &stage.adapter else { continue };
        let is_known = adapters.iter().any(|adapter| adapter.given_id() == Some(name.as_str()));
        let is_base = bases.iter().any(|base| base.goes_by(name.as_str()));
        if let (false, false, Ok(source)) = (is_known, is_base, name.as_str().parse()) {
            adapters.push(AdapterSpec::Adapter { id: Some(name.clone()), base: stage.base.clone(), source });
        }
    }
    adapters
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
        let check = |given: Option<&str>, stages: &[&str], bases: &[&str], expected: &[&str]| {
            let given: Option<AdapterSpec> = given.map(|text| text.parse().unwrap());
            let stages: Vec<RerankStage> = stages.iter().map(|text| text.parse().unwrap()).collect();
            let bases: Vec<BaseSpec> = bases.iter().map(|text| text.parse().unwrap()).collect();
            let loaded: Vec<String> =
                adapters_to_load(given.as_ref(), &stages, &bases).iter().map(ToString::to_string).collect();
            assert_eq!(loaded, expected, "{stages:?}");
        };
        check(None, &[], &[], &[]);
        check(Some("qa"), &[], &[], &["qa"]);
        check(None, &["none:9", "qa:5"], &[], &["none", "qa=qa"]);
        check(
            None,
            &["minilm:9", "qa@minilm:5", "none@small:3"],
            &["minilm", "small=folder/x"],
            &["none", "qa@minilm=qa"],
        );
        check(Some("qa=folder"), &["default:9", "qa:5"], &[], &["qa=folder"]);
        check(None, &["qa:9", "qa:5"], &[], &["none", "qa=qa"]);
        check(None, &["x:9"], &["models/x"], &["none"]);
    }
}
