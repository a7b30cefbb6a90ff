//! Running experiments, which a change of adapters may reach.

use lorank_core::AdapterId;
use lorank_experiments::Experiment;
use lorank_server::DataFolder;

/// The running experiments.
pub(super) fn running(data: &DataFolder) -> anyhow::Result<Vec<Experiment>> {
    Ok(data.existing_experiments()?.map(|store| store.running().to_vec()).unwrap_or_default())
}

/// Experiments in words, as the users of an adapter.
pub(super) fn named(experiments: &[&Experiment]) -> Vec<String> {
    experiments.iter().map(|experiment| format!("running experiment `{}`", experiment.id)).collect()
}

/// Says which running experiments are affected, since a name that is not pinned yet has changed its meaning.
pub(super) fn warn_of_experiments(experiments: &[&Experiment], name: &AdapterId) {
    for Experiment { id, .. } in experiments {
        tracing::warn!("running experiment `{id}` looks `{name}` up: from now on that arm is another model");
    }
}
