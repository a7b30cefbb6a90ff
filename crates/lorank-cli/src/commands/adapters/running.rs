//! Running experiments that a change of adapters affects.

use lorank_core::AdapterId;
use lorank_experiments::Experiment;
use lorank_server::DataFolder;

/// The running experiments.
pub(super) fn running(data: &DataFolder) -> anyhow::Result<Vec<Experiment>> {
    Ok(data.existing_experiments()?.map(|store| store.running().to_vec()).unwrap_or_default())
}

/// The names of experiments as users of an adapter, for messages.
pub(super) fn named(experiments: &[&Experiment]) -> Vec<String> {
    experiments.iter().map(|experiment| format!("running experiment `{}`", experiment.id)).collect()
}

/// Warns about running experiments with an unpinned name that now refers to another adapter.
pub(super) fn warn_of_experiments(experiments: &[&Experiment], name: &AdapterId) {
    for Experiment { id, .. } in experiments {
        tracing::warn!("running experiment `{id}` uses the unpinned name `{name}`: this arm now has another model");
    }
}
