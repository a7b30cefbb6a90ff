//! The experiment argument of commands.

use clap::Args;
use lorank_experiment_store::{ExperimentStore, ExperimentStoreError};
use lorank_server::DataFolder;
use serde::Serialize;

/// The experiment argument and the output format.
#[derive(Debug, Args)]
pub(super) struct OneExperiment {
    /// Id of the experiment
    pub id: String,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// The store, if it has the experiment. A missing store is not created.
pub(super) fn store_with(id: &str, data: &DataFolder) -> anyhow::Result<ExperimentStore> {
    let unknown = || ExperimentStoreError::Unknown { experiment: id.to_owned() };
    let store = data.existing_experiments()?.ok_or_else(unknown)?;
    store.get(id)?;
    Ok(store)
}

/// The name of a value in an experiment's definition, for example `click-through`.
pub(super) fn word(value: impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default()
}
