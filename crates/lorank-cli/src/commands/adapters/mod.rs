//! `lorank adapters`: manages the adapter registry.

mod add;
mod change;
mod fit;
mod running;
mod server;
mod show;

use clap::{Args, Subcommand};

use crate::data::StoreArgs;

/// Manage the adapter registry
///
/// An alias is a name that can be moved from one adapter to another. Requests that name no adapter use the alias
/// `default`, so moving it promotes an adapter.
#[derive(Debug, Args)]
pub(crate) struct AdaptersArgs {
    #[command(subcommand)]
    command: AdaptersCommand,
    #[command(flatten)]
    data: StoreArgs,
    /// Print one JSON document
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum AdaptersCommand {
    Add(add::AddArgs),
    List(show::ListArgs),
    Show(show::ShowArgs),
    Alias(change::AliasArgs),
    Unalias(change::UnaliasArgs),
    Remove(change::RemoveArgs),
    Verify(change::VerifyArgs),
}

pub(crate) fn run(args: &AdaptersArgs, is_quiet: bool) -> anyhow::Result<()> {
    let (data, is_json) = (args.data.folder()?, args.json);
    match &args.command {
        AdaptersCommand::Add(args) => add::run(args, &data, is_json, is_quiet),
        AdaptersCommand::List(_) => show::list(&data, is_json),
        AdaptersCommand::Show(args) => show::show(args, &data, is_json),
        AdaptersCommand::Alias(args) => change::alias(args, &data, is_json, is_quiet),
        AdaptersCommand::Unalias(args) => change::unalias(args, &data, is_json),
        AdaptersCommand::Remove(args) => change::remove(args, &data, is_json),
        AdaptersCommand::Verify(_) => change::verify(&data, is_json),
    }
}
