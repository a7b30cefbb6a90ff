//! Running experiments, which a change of adapters may reach.

use lorank_core::AdapterId;
use lorank_experiments::Experiment;
use lorank_server::DataFolder;

/// The running experiments.
pub(super) fn running(data: &DataFolder) -> anyhow::Result<Vec<Experiment>> {
    Ok(data.existing_experiments()?.map(|store| store.running().to_vec()).unwrap_or_default())
}

/// Says which running experiments are affected, since an adapter that an arm serves was replaced or a name that is not pinned yet
/// has changed its meaning.
pub(super) fn warn_of_experiments(experiments: &[&Experiment], name: &AdapterId) {
    for experiment in experiments {
        let (id, is_unpinned) = (&experiment.id, experiment.arms.iter().any(lorank_experiments::Arm::is_to_be_pinned));
        match is_unpinned {
            true => {
                tracing::warn!("running experiment `{id}` looks `{name}` up: from now on that arm is another model")
            }
            false => tracing::warn!(
                "running experiment `{id}` has an arm that serves `{name}` as it was at the start: from now on that arm answers in \
                 first-stage order; stop the experiment, or bring the former files back"
            ),
        }
    }
}
