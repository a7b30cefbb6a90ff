//! `lorank experiments create`: creates a draft from flags or from a file.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, bail};
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use lorank_adapters::RegistryError;
use lorank_core::{AdapterId, RankerSettings};
use lorank_experiment_store::StoreConfig;
use lorank_experiments::{Arm, ArmModel, Experiment, ExperimentState, Method, PinnedVersion, PrimaryMeasure, UnitKind};
use lorank_server::{BaseSpec, DataFolder, starter};
use serde::de::DeserializeOwned;

use super::setting::SettingArg;
use super::show;
use crate::{output, times};

/// Create an experiment as a draft
///
/// After the start, only its end can be changed and its traffic share increased.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Id: 1 to 128 letters, digits, `.`, `_` or `-`
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    id: Option<String>,
    /// Arm, the control first; at least two: an adapter or alias, none for the base model without an adapter, or first-stage.
    /// Weights are relative [default weight: 1]
    #[arg(long = "arm", value_name = "NAME=MODEL[:WEIGHT]", required_unless_present = "file", conflicts_with = "file")]
    arms: Vec<ArmArg>,
    /// Setting of an arm, in place of a search's own: depth, blend_weight, passages, passage_tokens, stride or instruction, such
    /// as deep.depth=200; repeatable
    #[arg(long = "set", value_name = "ARM.KEY=VALUE", conflicts_with = "file")]
    settings: Vec<SettingArg>,
    /// Assign each unit to one arm, or interleave all arms in each answer
    #[arg(long, default_value = "split", conflicts_with = "file", value_parser = word_of::<Method>(METHODS))]
    method: Method,
    /// Unit of assignment: the request's unit_id if it has one, or the query
    #[arg(long, default_value = "unit-id", conflicts_with = "file", value_parser = word_of::<UnitKind>(UNITS))]
    unit: UnitKind,
    /// Share of the units that take part, from 0.0001 to 1
    #[arg(long, value_name = "SHARE", default_value_t = Experiment::DEFAULT_TRAFFIC_SHARE, conflicts_with = "file")]
    share: f64,
    /// Layer; a unit takes part in at most one experiment of a layer
    #[arg(long, value_name = "NAME", default_value = Experiment::DEFAULT_LAYER, conflicts_with = "file")]
    layer: String,
    /// Salt for the assignment of units [default: the id]
    #[arg(long, value_name = "TEXT", conflicts_with = "file")]
    salt: Option<String>,
    /// Measure that decides the experiment
    #[arg(long, default_value = "click-through", conflicts_with = "file",
        value_parser = word_of::<PrimaryMeasure>(MEASURES))]
    measure: PrimaryMeasure,
    /// End of the experiment, such as 2025-12-24T18:00:00Z [default: until it is stopped]
    #[arg(long, value_name = "TIME", conflicts_with = "file", value_parser = times::parse)]
    ends: Option<i64>,
    /// Read the definition from a JSON file in the format of `show --json`; - reads standard input
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    models: ModelsCheck,
    /// Start the experiment immediately
    #[arg(long)]
    start: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

const METHODS: &[&str] = &["split", "interleave"];
const UNITS: &[&str] = &["unit-id", "query"];
const MEASURES: &[&str] = &["click-through", "reciprocal-rank", "top-click", "value", "time-to-first-click", "ndcg"];

/// Parses a constant as in the experiment's definition.
fn word_of<T: DeserializeOwned + Clone + Send + Sync + 'static>(
    words: &'static [&'static str],
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(words).try_map(|word| serde_json::from_value(word.into()))
}

/// Whether the models of an experiment are checked.
#[derive(Debug, Args)]
pub(crate) struct ModelsCheck {
    /// Accept adapters that are not in the registry, which a server must load with --adapter
    #[arg(long)]
    any_model: bool,
}

/// An arm argument.
#[derive(Debug, Clone, PartialEq)]
struct ArmArg(Arm);

impl FromStr for ArmArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, model) = text
            .split_once('=')
            .ok_or_else(|| format!("`{text}` is not an arm; use NAME=MODEL or NAME=MODEL:WEIGHT"))?;
        let (model, weight) = match model.split_once(':') {
            Some((model, weight)) => {
                (model, weight.parse().map_err(|_| format!("the weight `{weight}` is not a whole number above 0"))?)
            }
            None => (model, NonZeroU32::MIN),
        };
        let model = model.parse().map_err(|error| format!("`{model}` is not a model: {error}"))?;
        Ok(Self(Arm { name: name.to_owned(), model, settings: RankerSettings::default(), weight, pinned: None }))
    }
}

pub(crate) fn run(args: &CreateArgs, data: &DataFolder) -> anyhow::Result<()> {
    let draft = args.draft()?;
    draft.check()?;
    let now = times::now_millis();
    let versions = args.models.versions(&draft, data, now)?;
    let store = data.experiments(StoreConfig::default())?;
    let id = draft.id.clone();
    store.create(draft)?;
    if args.start {
        store
            .start_pinned(&id, versions, now)
            .with_context(|| format!("the draft `{id}` was created, but not started"))?;
    }
    let experiment = store.get(&id)?;
    if args.json {
        return output::print_json(&experiment);
    }
    show::print_summary(&experiment)
}

impl CreateArgs {
    fn draft(&self) -> anyhow::Result<Experiment> {
        let id = match (&self.file, &self.id) {
            (Some(file), _) => return read(file),
            (None, id) => id.clone().unwrap_or_default(),
        };
        let mut arms: Vec<Arm> = self.arms.iter().map(|arm| arm.0.clone()).collect();
        for setting in &self.settings {
            setting.apply(&mut arms)?;
        }
        Ok(Experiment {
            arms,
            method: self.method,
            unit: self.unit,
            salt: self.salt.clone().unwrap_or_else(|| id.clone()),
            traffic_share: self.share,
            layer: self.layer.clone(),
            primary_measure: self.measure,
            start_millis: None,
            end_millis: self.ends,
            state: ExperimentState::Draft,
            buckets: Vec::new(),
            id,
        })
    }
}

fn read(file: &Path) -> anyhow::Result<Experiment> {
    let is_stdin = file == Path::new("-");
    let text = if is_stdin { std::io::read_to_string(std::io::stdin()) } else { std::fs::read_to_string(file) };
    let name = if is_stdin { "standard input".to_owned() } else { format!("`{}`", file.display()) };
    let text = text.with_context(|| format!("could not read {name}"))?;
    serde_json::from_str(&text).with_context(|| format!("{name} is not a valid experiment definition"))
}

impl ModelsCheck {
    /// The current versions of the arms' adapters in the registry, by the index of the arm. Adapters that are not in the registry must
    /// be built in or loaded by a server, which then pins them.
    pub(crate) fn versions(
        &self,
        experiment: &Experiment,
        data: &DataFolder,
        now_millis: i64,
    ) -> anyhow::Result<Vec<(usize, PinnedVersion)>> {
        let registry = data.registry()?;
        let state = registry.state();
        let bases = bases_of_servers(data);
        let is_elsewhere = |id: &AdapterId| {
            starter::adapter(id.as_str()).is_some() || BaseSpec::one_goes_by(&bases, id) || self.any_model
        };
        let mut versions = Vec::new();
        for (n, arm) in experiment.arms.iter().enumerate() {
            let mut pins = Vec::new();
            for model in arm.served_models() {
                let (adapter, digest) = match &model {
                    ArmModel::Adapter(id) => match state.resolve(id) {
                        Ok(entry) => (Some(entry.id.clone()), Some(entry.provenance.model_digest.to_string())),
                        // A server pins base models.
                        Err(RegistryError::IsBaseAlias { .. }) => continue,
                        Err(_) if is_elsewhere(id) => continue,
                        Err(_) => bail!(
                            "arm `{}` names `{id}`, which the registry `{}` does not have; add it with `lorank adapters \
                             add`, or where a server's --adapter flag gives it, say --any-model",
                            arm.name,
                            registry.location()
                        ),
                    },
                    ArmModel::Base => (None, None),
                    ArmModel::FirstStage => continue,
                };
                let (base_model, stages) = (None, Vec::new());
                pins.push(PinnedVersion { adapter, digest, base_model, stages, since_millis: now_millis });
            }
            // A server pins an arm that has a model which the registry does not have.
            let is_complete = pins.len() == arm.served_models().len() && arm.is_to_be_pinned();
            if let Some(last) = pins.pop().filter(|_| is_complete) {
                versions.push((n, PinnedVersion { stages: pins, ..last }));
            }
        }
        Ok(versions)
    }
}

/// The base models of running servers, as they were given.
fn bases_of_servers(data: &DataFolder) -> Vec<BaseSpec> {
    let servers = data.running_servers().unwrap_or_default();
    servers.iter().flat_map(|server| &server.bases).filter_map(|base| base.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arms_are_read_as_they_are_typed() {
        let check = |text: &str, name: &str, model: &str, weight: u32| {
            let (model, weight) = (model.parse().unwrap(), weight.try_into().unwrap());
            let arm = Arm { name: name.into(), model, settings: RankerSettings::default(), weight, pinned: None };
            assert_eq!(text.parse::<ArmArg>(), Ok(ArmArg(arm)), "{text}");
        };
        check("control=none", "control", "none", 1);
        check("b=first-stage:3", "b", "first-stage", 3);
        check("qa=minilm-qa:10", "qa", "minilm-qa", 10);
        for (text, part) in [
            ("qa", "is not an arm"),
            ("a=b:0", "weight `0`"),
            ("a=b:x", "weight `x`"),
            ("a=", "not a model"),
            ("a=b c", "not a model"),
        ] {
            let error = text.parse::<ArmArg>().unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn words_are_those_of_the_definition() {
        fn check<T: DeserializeOwned + serde::Serialize>(words: &[&str]) {
            for word in words {
                let read: T = serde_json::from_value((*word).into()).unwrap();
                assert_eq!(super::super::one::word(read), *word);
            }
        }
        check::<Method>(METHODS);
        check::<UnitKind>(UNITS);
        check::<PrimaryMeasure>(MEASURES);
    }
}
