//! The choice of the ranker for a request.

use lorank_experiments::{Arm, ArmModel, Assigner, Experiment, Method, UnitKind};
use lorank_pipeline::{AdapterChoice, Ranker, SearchRequest};

use crate::ExperimentPipelineError;
use crate::trial::Trial;

/// The ranker of a request.
pub(crate) enum Choice<'a> {
    /// The request's choice or the pipeline's default, without an experiment.
    Plain,
    /// One arm of an experiment.
    Arm(Chosen<'a>),
    /// All arms of an experiment, interleaved.
    Interleaved(Chosen<'a>),
    /// The request's own choice, which is none of the arms: its unit takes part in the experiment, and is recorded as
    /// forced.
    Other(Chosen<'a>),
}

/// An experiment that a request takes part in.
pub(crate) struct Chosen<'a> {
    pub experiment: &'a Experiment,
    pub unit: &'a str,
    /// The index of the arm; 0 for interleaving.
    pub arm: usize,
    pub forced: bool,
}

impl<'a> Choice<'a> {
    /// The arm that ranks alone.
    pub(crate) fn arm(&self) -> Option<&'a Arm> {
        match self {
            Self::Arm(chosen) => Some(&chosen.experiment.arms[chosen.arm]),
            Self::Plain | Self::Interleaved(_) | Self::Other(_) => None,
        }
    }
}

/// Chooses the ranker of a trial, from the running experiments, ordered by name. `serves` checks whether an arm serves the
/// current version of the adapter that the request names.
pub(crate) fn choose<'a>(
    running: &'a [Experiment],
    trial: &'a Trial,
    serves: &dyn Fn(&Arm) -> bool,
) -> Result<Choice<'a>, ExperimentPipelineError> {
    if trial.unit_id.as_deref() == Some("") {
        return Err(ExperimentPipelineError::EmptyUnit);
    }
    let active: Vec<&Experiment> = running.iter().filter(|one| one.assigns_at(trial.at_millis)).collect();
    let named = |experiment: &&&Experiment| trial.experiment.as_ref().is_none_or(|name| *name == experiment.id);
    let candidates: Vec<&Experiment> = active.iter().filter(named).copied().collect();
    if let (Some(name), true) = (&trial.experiment, candidates.is_empty()) {
        let names = quoted(active.iter().map(|one| one.id.as_str()));
        let running = names.map_or_else(|| "none is running".to_owned(), |names| format!("running are {names}"));
        return Err(ExperimentPipelineError::UnknownExperiment { experiment: name.clone(), running });
    }
    let chosen =
        |experiment: &'a Experiment, arm, forced| Chosen { experiment, unit: unit_of(experiment, trial), arm, forced };
    if let Some(name) = &trial.arm {
        let (experiment, arm) = forced_arm(name, &candidates, trial)?;
        return Ok(Choice::Arm(chosen(experiment, arm, true)));
    }
    if !trial.request.rerank {
        return Ok(Choice::Plain);
    }
    if names_its_models(trial) {
        // An arm never is what a request's own stages are, because it has settings then.
        let serves = |arm: &Arm| trial.request.stages.is_none() && serves(arm);
        let arm_of = |experiment: &&'a Experiment| Some((*experiment, experiment.arms.iter().position(serves)?));
        if let Some((experiment, arm)) = candidates.iter().find_map(arm_of) {
            return Ok(Choice::Arm(chosen(experiment, arm, true)));
        }
        let own_arm = |experiment: &&'a Experiment| {
            let arm = Assigner::new(experiment).arm(unit_of(experiment, trial))?;
            Some((*experiment, if experiment.method == Method::Split { arm } else { 0 }))
        };
        let other = candidates.iter().find_map(own_arm);
        return Ok(other.map_or(Choice::Plain, |(experiment, arm)| Choice::Other(chosen(experiment, arm, true))));
    }
    let assigned = candidates.iter().find_map(|experiment| {
        let arm = Assigner::new(experiment).arm(unit_of(experiment, trial))?;
        Some(match experiment.method {
            Method::Split => Choice::Arm(chosen(experiment, arm, false)),
            Method::Interleave => Choice::Interleaved(chosen(experiment, 0, false)),
        })
    });
    Ok(assigned.unwrap_or(Choice::Plain))
}

/// The ranker of an arm.
pub(crate) fn ranker(arm: &Arm) -> Ranker {
    match arm.served_model() {
        ArmModel::FirstStage => Ranker::FirstStage,
        ArmModel::Base => Ranker::Model(AdapterChoice::Base),
        ArmModel::Adapter(id) => Ranker::Model(AdapterChoice::Named(id)),
    }
}

/// Whether a request names an adapter, or stages with their adapters.
fn names_its_models(trial: &Trial) -> bool {
    trial.request.adapter != AdapterChoice::Default || trial.request.stages.is_some()
}

/// The request as an arm ranks it with a model: with the arm's settings, and the versions that it is pinned to.
pub(crate) fn ranked_by_arm(request: &SearchRequest, arm: &Arm, adapter: AdapterChoice) -> SearchRequest {
    let own = SearchRequest { rerank: true, ..request.with_settings(&arm.served_settings()) };
    match own.stages {
        Some(_) => own,
        None => SearchRequest { adapter, ..own },
    }
}

fn forced_arm<'a>(
    name: &str,
    among: &[&'a Experiment],
    trial: &Trial,
) -> Result<(&'a Experiment, usize), ExperimentPipelineError> {
    if names_its_models(trial) {
        return Err(ExperimentPipelineError::ArmAndAdapter);
    }
    let arm_index = |experiment: &Experiment| experiment.arms.iter().position(|arm| arm.name == name);
    let found: Vec<_> = among.iter().filter_map(|&experiment| Some((experiment, arm_index(experiment)?))).collect();
    match found.as_slice() {
        [one] => Ok(*one),
        [] => {
            let arms = among.iter().flat_map(|one| one.arms.iter().map(|arm| arm.name.as_str()));
            let arms =
                quoted(arms).map_or_else(|| "there are no arms".to_owned(), |names| format!("the arms are {names}"));
            Err(ExperimentPipelineError::UnknownArm { arm: name.to_owned(), arms })
        }
        several => {
            let experiments = quoted(several.iter().map(|(one, _)| one.id.as_str())).unwrap_or_default();
            Err(ExperimentPipelineError::AmbiguousArm { arm: name.to_owned(), experiments })
        }
    }
}

fn unit_of<'a>(experiment: &Experiment, trial: &'a Trial) -> &'a str {
    let query = trial.request.query.text.as_str();
    match experiment.unit {
        UnitKind::UnitId => trial.unit_id.as_deref().unwrap_or(query),
        UnitKind::Query => query,
    }
}

/// The first few names, for a message; `None` if there are none.
fn quoted<'a>(names: impl Iterator<Item = &'a str>) -> Option<String> {
    const SHOWN_MAX: usize = 8;
    let quoted: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    match quoted.len() {
        0 => None,
        n if n > SHOWN_MAX => Some(format!("{} and {} more", quoted[..SHOWN_MAX].join(", "), n - SHOWN_MAX)),
        _ => Some(quoted.join(", ")),
    }
}
