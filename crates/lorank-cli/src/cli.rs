//! The top-level command line, and the dispatch to commands. Each command declares its own arguments.

use std::ffi::OsString;

use clap::builder::Resettable;
use clap::{Arg, ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::commands::{
    adapters, bench, compare, completions, config, delete, eval, experiments, health, index, info, key, opensearch,
    rerank, score, search, serve, train,
};
#[cfg(feature = "starter")]
use crate::commands::{demo, notices};
use crate::logging::LogArgs;

/// Search and rerank: BM25 finds candidates, a cross-encoder with a LoRA adapter reranks them
///
/// Flags with a variable (LORANK_...) can be set in the environment instead. Downloads from the Hugging Face Hub
/// respect HF_HOME, HF_TOKEN, HF_HUB_OFFLINE and related variables.
#[derive(Debug, Parser)]
#[command(name = "lorank", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub command: Command,
    #[command(flatten)]
    pub log: LogArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[cfg(feature = "starter")]
    Demo(demo::DemoArgs),
    Index(index::IndexArgs),
    Delete(delete::DeleteArgs),
    Search(Box<search::SearchArgs>),
    Compare(compare::CompareArgs),
    Rerank(rerank::RerankArgs),
    Score(score::ScoreArgs),
    Eval(Box<eval::EvalArgs>),
    Train(Box<train::TrainArgs>),
    ExportGroups(Box<train::ExportArgs>),
    Serve(Box<serve::ServeArgs>),
    Adapters(adapters::AdaptersArgs),
    Experiments(experiments::ExperimentsArgs),
    Opensearch(opensearch::OpensearchArgs),
    Key(key::KeyArgs),
    Config(config::ConfigArgs),
    Health(health::HealthArgs),
    Bench(bench::BenchArgs),
    Info(info::InfoArgs),
    Completions(completions::CompletionsArgs),
    #[cfg(feature = "starter")]
    Notices(notices::NoticesArgs),
}

impl Cli {
    /// Parses arguments, the first of which is the program's name. Also returns clap's matches, which have the source of each
    /// value.
    pub(crate) fn read(args: impl IntoIterator<Item = OsString>) -> Result<(Self, ArgMatches), clap::Error> {
        let matches = without_empty_variables(Self::command()).try_get_matches_from(args)?;
        Ok((Self::from_arg_matches(&matches)?, matches))
    }

    /// Runs the command.
    pub(crate) fn run(&self, matches: &ArgMatches) -> anyhow::Result<()> {
        let is_quiet = self.log.quiet;
        match &self.command {
            #[cfg(feature = "starter")]
            Command::Demo(args) => demo::run(args, is_quiet),
            Command::Index(args) => index::run(args, is_quiet),
            Command::Delete(args) => delete::run(args),
            Command::Search(args) => search::run(args, innermost(matches), is_quiet),
            Command::Compare(args) => compare::run(args, is_quiet),
            Command::Rerank(args) => rerank::run(args, is_quiet),
            Command::Score(args) => score::run(args, is_quiet),
            Command::Eval(args) => eval::run(args, is_quiet),
            Command::Train(args) => train::run(args, is_quiet),
            Command::ExportGroups(args) => train::export(args, is_quiet),
            Command::Serve(args) => serve::run(args, is_quiet),
            Command::Adapters(args) => adapters::run(args, is_quiet),
            Command::Experiments(args) => experiments::run(args),
            Command::Opensearch(args) => opensearch::run(args),
            Command::Key(args) => key::run(args),
            Command::Config(args) => config::run(args, innermost(matches)),
            Command::Health(args) => health::run(args),
            Command::Bench(args) => bench::run(args, is_quiet),
            Command::Info(args) => info::run(args, is_quiet),
            Command::Completions(args) => completions::run(args, Self::command()),
            #[cfg(feature = "starter")]
            Command::Notices(_) => notices::run(),
        }
    }
}

/// The command without environment variables that are empty, because an empty variable counts as unset.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    let is_empty = |arg: &Arg| arg.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty());
    let command = command.mut_args(|arg| if is_empty(&arg) { arg.env(Resettable::Reset) } else { arg });
    command.mut_subcommands(without_empty_variables)
}

/// The matches of the innermost subcommand.
fn innermost(matches: &ArgMatches) -> &ArgMatches {
    matches.subcommand().map_or(matches, |(_, matches)| innermost(matches))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }
}
