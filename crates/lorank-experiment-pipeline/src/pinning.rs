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

/// The pin of an arm whose model has this version. `default_base` is the digest of the default base model, which is pinned
/// without its name.
pub fn pinned_version(version: &ModelVersion, default_base: Option<Digest>, since_millis: i64) -> PinnedVersion {
    let adapter = version.adapter.as_ref();
    let base = || PinnedBase { name: version.base_model.clone(), digest: version.base_digest.to_string() };
    PinnedVersion {
        adapter: adapter.map(|adapter| adapter.id.clone()),
        digest: adapter.map(|adapter| adapter.digest.to_string()),
        base_model: (adapter.is_none() && default_base != Some(version.base_digest)).then(base),
        since_millis,
    }
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
    let ArmModel::Adapter(name) = definition.served_model() else { return Ok(()) };
    let version = pipeline.model(&AdapterChoice::Named(name.clone()))?;
    match (&definition.pinned, store) {
        (Some(pinned), _) => check_pinned(definition, &name, pinned, &version, default_base(pipeline)),
        (None, Some(store)) => {
            store.leave_pin(&experiment.id, arm, pinned_version(&version, default_base(pipeline), at_millis));
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
