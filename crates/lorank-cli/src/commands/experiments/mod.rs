//! `lorank experiments`: compares rankings on live traffic.

mod change;
mod copy;
mod create;
mod judge;
mod one;
mod report;
mod setting;
mod show;

use clap::{Args, Subcommand};

use crate::data::StoreArgs;

/// Compare adapters on live traffic: create, start and stop experiments, and show their reports
///
/// A server with the same data folder, or with the same database (--store), applies each change within a second.
#[derive(Debug, Args)]
pub(crate) struct ExperimentsArgs {
    #[command(subcommand)]
    command: ExperimentsCommand,
    #[command(flatten)]
    data: StoreArgs,
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
    Judge(judge::JudgeArgs),
    Forget(change::ForgetArgs),
    Copy(copy::CopyArgs),
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
        ExperimentsCommand::Judge(args) => judge::run(args, &data),
        ExperimentsCommand::Forget(args) => change::forget(args, &data),
        ExperimentsCommand::Copy(args) => copy::run(args, &data),
    }
}
