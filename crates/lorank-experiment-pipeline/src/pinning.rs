//! Pinned versions: arms serve the version with which their experiment started.

use lorank_core::{AdapterId, Digest, FirstStage, ModelVersion, Reranker};
use lorank_experiment_store::ExperimentStore;
use lorank_experiments::{Arm, ArmModel, Experiment, PinnedBase, PinnedVersion};
use lorank_pipeline::{AdapterChoice, Pipeline, PipelineError};

/// An arm cannot rank, because the registry now has another version under the adapter's id.
#[derive(Debug, thiserror::Error)]
#[error(
    "arm `{arm}` is pinned to version {expected}, which has been replaced by {found}; add the files of the pinned \
     version again, or stop the experiment and start a new one"
)]
struct Replaced {
    arm: String,
    expected: String,
    found: String,
}

/// The pin of an arm whose only model has this version. `default_base` is the digest of the default base model, which is
/// pinned without its name.
pub fn pinned_version(version: &ModelVersion, default_base: Option<Digest>, since_millis: i64) -> PinnedVersion {
    let adapter = version.adapter.as_ref();
    let base = || PinnedBase { name: version.base_model.clone(), digest: version.base_digest.to_string() };
    PinnedVersion {
        adapter: adapter.map(|adapter| adapter.id.clone()),
        digest: adapter.map(|adapter| adapter.digest.to_string()),
        base_model: (adapter.is_none() && default_base != Some(version.base_digest)).then(base),
        stages: Vec::new(),
        since_millis,
    }
}

/// The pin of an arm to the current versions of its models. `None` if it is pinned, or no model has a name that can be moved.
///
/// # Errors
/// A model is unknown.
pub fn pin_of_arm(
    arm: &Arm,
    model: &dyn Fn(&AdapterChoice) -> Result<ModelVersion, PipelineError>,
    since_millis: i64,
) -> Result<Option<PinnedVersion>, PipelineError> {
    if !arm.is_to_be_pinned() {
        return Ok(None);
    }
    let default_base = model(&AdapterChoice::Base).ok().map(|base| base.base_digest);
    let choices = arm.served_models().into_iter().filter_map(|served| served.choice());
    let versions = choices.map(|choice| Ok(pinned_version(&model(&choice)?, default_base, since_millis)));
    let mut versions: Vec<PinnedVersion> = versions.collect::<Result<_, PipelineError>>()?;
    let last = versions.pop();
    Ok(last.map(|last| PinnedVersion { stages: versions, ..last }))
}

/// Whether a model is the pinned version.
fn is_pinned(pinned: &PinnedVersion, version: &ModelVersion, default_base: Option<Digest>) -> bool {
    match (&pinned.base_model, &version.adapter) {
        (None, Some(adapter)) => pinned.digest.as_ref().is_some_and(|digest| *digest == adapter.digest.to_string()),
        (Some(base), None) => base.digest == version.base_digest.to_string(),
        (None, None) => pinned.digest.is_none() && default_base == Some(version.base_digest),
        (Some(_), Some(_)) => false,
    }
}

/// The digest of the default base model, if it can score without an adapter.
fn default_base<F: FirstStage, R: Reranker + 'static>(pipeline: &Pipeline<F, R>) -> Option<Digest> {
    pipeline.model(&AdapterChoice::Base).ok().map(|base| base.base_digest)
}

/// Whether an arm serves the current version of this choice as a request alone gets it: an arm with settings of its own
/// does not.
pub(crate) fn serves<F: FirstStage, R: Reranker + 'static>(
    pipeline: &Pipeline<F, R>,
    arm: &Arm,
    choice: &AdapterChoice,
) -> bool {
    if !arm.settings.is_empty() {
        return false;
    }
    let Ok(version) = pipeline.model(choice) else { return false };
    match (&arm.pinned, &arm.model) {
        (Some(pinned), _) => is_pinned(pinned, &version, default_base(pipeline)),
        (None, ArmModel::FirstStage) => false,
        (None, ArmModel::Base) => pipeline.model(&AdapterChoice::Base).is_ok_and(|own| own == version),
        (None, ArmModel::Adapter(name)) => {
            pipeline.model(&AdapterChoice::Named(name.clone())).is_ok_and(|own| own == version)
        }
    }
}

/// Checks that an arm's model is the pinned version. Pins an arm that is not pinned yet, because the version was not
/// known when the experiment was started.
pub(crate) fn check<F: FirstStage, R: Reranker + 'static>(
    pipeline: &Pipeline<F, R>,
    store: Option<&ExperimentStore>,
    experiment: &Experiment,
    arm: usize,
    at_millis: i64,
) -> Result<(), PipelineError> {
    let definition = &experiment.arms[arm];
    match (&definition.pinned, store) {
        (Some(pinned), _) => check_models(pipeline, definition, pinned),
        (None, Some(store)) => {
            let pin = pin_of_arm(definition, &|choice| pipeline.model(choice), at_millis)?;
            if let Some(pin) = pin {
                store.leave_pin(&experiment.id, arm, pin);
            }
            Ok(())
        }
        (None, None) => Ok(()),
    }
}

/// Checks each model of an arm against the version that it is pinned to.
fn check_models<F: FirstStage, R: Reranker + 'static>(
    pipeline: &Pipeline<F, R>,
    arm: &Arm,
    pinned: &PinnedVersion,
) -> Result<(), PipelineError> {
    for (model, pin) in arm.served_models().iter().zip(pinned.stages.iter().chain([pinned])) {
        if let ArmModel::Adapter(name) = model {
            let version = pipeline.model(&AdapterChoice::Named(name.clone()))?;
            check_pinned(arm, name, pin, &version, default_base(pipeline))?;
        }
    }
    Ok(())
}

fn check_pinned(
    arm: &Arm,
    adapter: &AdapterId,
    pinned: &PinnedVersion,
    version: &ModelVersion,
    default_base: Option<Digest>,
) -> Result<(), PipelineError> {
    if is_pinned(pinned, version, default_base) {
        return Ok(());
    }
    let name = |digest: Option<String>| digest.unwrap_or_else(|| "without an adapter".to_owned());
    let expected = name(pinned.digest_of_model().map(str::to_owned));
    let found = version.adapter.as_ref().map_or(version.base_digest, |adapter| adapter.digest);
    let replaced = Replaced { arm: arm.name.clone(), expected, found: found.to_string() };
    Err(PipelineError::UnknownAdapter { adapter: adapter.clone(), source: replaced.into() })
}
