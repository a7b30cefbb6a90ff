//! Loading of models for commands, with progress on standard error.

use std::sync::Arc;

use anyhow::{Context, anyhow};
use indicatif::{HumanBytes, ProgressBar};
use lorank_core::{ModelVersion, Reranker};
use lorank_server::{
    AdapterSpec, DataFolder, FoundAdapter, LoadEvent, LoadedModels, ModelLoader, ModelSection, ModelSource,
};

use crate::environment;
use crate::output::progress;

/// Loads a base model and adapters; names of adapters can refer to the registry.
pub(crate) fn load(section: &ModelSection, data: Option<DataFolder>, is_quiet: bool) -> anyhow::Result<LoadedModels> {
    load_by(section, data, is_quiet, ModelLoader::load)
}

/// Loads a base model for training, and adapters beside it.
pub(crate) fn load_for_training(
    section: &ModelSection,
    data: Option<DataFolder>,
    is_quiet: bool,
) -> anyhow::Result<LoadedModels> {
    load_by(section, data, is_quiet, ModelLoader::load_for_training)
}

fn load_by(
    section: &ModelSection,
    data: Option<DataFolder>,
    is_quiet: bool,
    load: impl FnOnce(&ModelLoader, &ModelSection) -> Result<LoadedModels, lorank_server::Error>,
) -> anyhow::Result<LoadedModels> {
    let progress = progress::spinner("loading the model", is_quiet);
    let is_word = |spec: &AdapterSpec| matches!(spec, AdapterSpec::Adapter { source: ModelSource::Word(_), .. });
    let int8_rankings = data.as_ref().map(DataFolder::int8_rankings).unwrap_or_default();
    // Open the registry only if a name may refer to it.
    let data = data.filter(|_| section.adapters.iter().any(is_word));
    let registry = data.map(|folder| folder.registry()).transpose()?.map(Arc::new);
    let models = load(&ModelLoader { registry, int8_rankings, ..loader(&progress, is_quiet) }, section)?;
    progress.finish_and_clear();
    Ok(models)
}

/// Finds or downloads the files of an adapter.
pub(crate) fn find_adapter(source: &ModelSource, is_quiet: bool) -> anyhow::Result<FoundAdapter> {
    let progress = progress::spinner("finding the adapter", is_quiet);
    let found = loader(&progress, is_quiet).find_adapter(source)?;
    progress.finish_and_clear();
    Ok(found)
}

/// A loader with the hub of this process's environment, which shows its progress.
pub(crate) fn loader(progress: &ProgressBar, is_quiet: bool) -> ModelLoader {
    let progress = progress.clone();
    let on_event = move |event: &LoadEvent<'_>| show(event, &progress, is_quiet);
    ModelLoader {
        hub: Some(environment::hub()),
        gpu: environment::gpu(),
        on_event: Some(Arc::new(on_event)),
        ..ModelLoader::default()
    }
}

fn show(event: &LoadEvent<'_>, progress: &ProgressBar, is_quiet: bool) {
    match event {
        LoadEvent::AskingHub { repository } => progress.set_message(format!("resolving {repository} on the hub")),
        LoadEvent::Fetching { repository, file, n_bytes_done, n_bytes } => {
            let (done, total) = (HumanBytes(*n_bytes_done), HumanBytes(*n_bytes));
            progress.set_message(format!("downloading {file} of {repository}: {done} of {total}"));
        }
        LoadEvent::Merged { adapter, n_bytes } if !is_quiet => {
            let n_bytes = HumanBytes(*n_bytes as u64);
            let text = format!("`{adapter}` is merged into a copy of the weights: {n_bytes} of memory");
            progress.suspend(|| anstream::eprintln!("{text}"));
        }
        LoadEvent::Merged { .. } => {}
        _ => progress.set_message("loading the model"),
    }
}

/// The exact model with an instruction, if there is one.
pub(crate) fn instructed(
    reranker: &impl Reranker,
    model: ModelVersion,
    instruction: Option<&str>,
) -> anyhow::Result<ModelVersion> {
    match instruction {
        None => Ok(model),
        Some(instruction) => {
            let name =
                model.adapter.as_ref().map_or_else(|| model.base_model.clone(), |adapter| adapter.id.to_string());
            let instructed = reranker.instructed(model, instruction).map_err(|error| anyhow!(error));
            instructed.with_context(|| format!("`{name}` cannot be used with --instruction"))
        }
    }
}

/// The exact model of the first adapter.
pub(crate) fn resolve_default(models: &LoadedModels) -> anyhow::Result<ModelVersion> {
    models.bases.resolve(models.default_adapter().as_ref()).map_err(|error| anyhow!(error))
}
