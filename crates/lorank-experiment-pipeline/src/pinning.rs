//! Pinned versions: arms serve the version with which their experiment started.

use lorank_core::{AdapterId, FirstStage, ModelVersion, Reranker};
use lorank_experiment_store::ExperimentStore;
use lorank_experiments::{Arm, ArmModel, Experiment, PinnedVersion};
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

/// The pin of an arm whose model has this version.
pub fn pinned_version(version: &ModelVersion, since_millis: i64) -> PinnedVersion {
    let adapter = version.adapter.as_ref();
    PinnedVersion {
        adapter: adapter.map(|adapter| adapter.id.clone()),
        digest: adapter.map(|adapter| adapter.digest.to_string()),
        since_millis,
    }
}

/// Whether an arm serves the current version of this choice.
pub(crate) fn serves<F: FirstStage, R: Reranker + 'static>(
    pipeline: &Pipeline<F, R>,
    arm: &Arm,
    choice: &AdapterChoice,
) -> bool {
    let Ok(version) = pipeline.model(choice) else { return false };
    let digest = version.adapter.as_ref().map(|adapter| adapter.digest.to_string());
    match (&arm.pinned, &arm.model) {
        (Some(pinned), _) => pinned.digest == digest,
        (None, ArmModel::FirstStage) => false,
        (None, ArmModel::Base) => digest.is_none(),
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
    let ArmModel::Adapter(name) = definition.served_model() else { return Ok(()) };
    let version = pipeline.model(&AdapterChoice::Named(name.clone()))?;
    match (&definition.pinned, store) {
        (Some(pinned), _) => check_pinned(definition, &name, pinned, &version),
        (None, Some(store)) => {
            store.leave_pin(&experiment.id, arm, pinned_version(&version, at_millis));
            Ok(())
        }
        (None, None) => Ok(()),
    }
}

fn check_pinned(
    arm: &Arm,
    adapter: &AdapterId,
    pinned: &PinnedVersion,
    version: &ModelVersion,
) -> Result<(), PipelineError> {
    let found = version.adapter.as_ref().map(|adapter| adapter.digest.to_string());
    if pinned.digest == found {
        return Ok(());
    }
    let name = |digest: Option<String>| digest.unwrap_or_else(|| "without an adapter".to_owned());
    let replaced = Replaced { arm: arm.name.clone(), expected: name(pinned.digest.clone()), found: name(found) };
    Err(PipelineError::UnknownAdapter { adapter: adapter.clone(), source: replaced.into() })
}
