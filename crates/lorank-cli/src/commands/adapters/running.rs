//! Running experiments, which a change of adapters may reach.

use lorank_core::AdapterId;
use lorank_experiments::Experiment;
use lorank_server::DataFolder;

/// The running experiments.
pub(super) fn running(data: &DataFolder) -> anyhow::Result<Vec<Experiment>> {
    Ok(data.existing_experiments()?.map(|store| store.running().to_vec()).unwrap_or_default())
}

/// Says which running experiments compare other models from now on, since a name that they look up has changed its meaning.
pub(super) fn warn_of_experiments(experiments: &[&Experiment], name: &AdapterId) {
    for Experiment { id, .. } in experiments {
        tracing::warn!("running experiment `{id}` looks `{name}` up: from now on that arm is another model");
    }
}
