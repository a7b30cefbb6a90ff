//! `lorank experiments`: comparing rankings on live traffic.

mod change;
mod create;
mod report;
mod show;

use clap::{Args, Subcommand};
use lorank_experiment_store::{ExperimentStore, ExperimentStoreError};
use serde::Serialize;

use crate::data::{DataArgs, DataFolder};

/// Compare adapters on live traffic: define experiments, start and stop them, read what they found
///
/// A server that keeps its data in the same folder sees each change within a second.
#[derive(Debug, Args)]
pub(crate) struct ExperimentsArgs {
    #[command(subcommand)]
    command: ExperimentsCommand,
    #[command(flatten)]
    data: DataArgs,
}

#[derive(Debug, Subcommand)]
enum ExperimentsCommand {
    Create(create::CreateArgs),
    Start(change::StartArgs),
    Stop(change::StopArgs),
    Share(change::ShareArgs),
    Delete(change::DeleteArgs),
    List(show::ListArgs),
    Show(show::ShowArgs),
    Report(report::ReportArgs),
    Export(report::ExportArgs),
    Forget(change::ForgetArgs),
}

/// The experiment that a command works on, and how it answers.
#[derive(Debug, Args)]
struct OneExperiment {
    /// The experiment
    id: String,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &ExperimentsArgs) -> anyhow::Result<()> {
    let data = args.data.folder()?;
    match &args.command {
        ExperimentsCommand::Create(args) => create::run(args, &data),
        ExperimentsCommand::Start(args) => change::start(args, &data),
        ExperimentsCommand::Stop(args) => change::stop(args, &data),
        ExperimentsCommand::Share(args) => change::share(args, &data),
        ExperimentsCommand::Delete(args) => change::delete(args, &data),
        ExperimentsCommand::List(args) => show::list(args, &data),
        ExperimentsCommand::Show(args) => show::show(args, &data),
        ExperimentsCommand::Report(args) => report::run(args, &data),
        ExperimentsCommand::Export(args) => report::export(args, &data),
        ExperimentsCommand::Forget(args) => change::forget(args, &data),
    }
}

/// The store, where it holds an experiment of that name. Where there is no store, none is made.
fn store_with(id: &str, data: &DataFolder) -> anyhow::Result<ExperimentStore> {
    let unknown = || ExperimentStoreError::Unknown { experiment: id.to_owned() };
    let store = data.existing_experiments()?.ok_or_else(unknown)?;
    store.get(id)?;
    Ok(store)
}

/// How an experiment's definition writes one of its words, as in `click-through`.
fn word(value: impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default()
}
