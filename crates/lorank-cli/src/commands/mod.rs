//! The commands, one file each: arguments, what is done, what is printed.

pub(crate) mod adapters;
pub(crate) mod bench;
pub(crate) mod compare;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod delete;
#[cfg(feature = "starter")]
pub(crate) mod demo;
pub(crate) mod experiments;
pub(crate) mod health;
pub(crate) mod index;
pub(crate) mod info;
pub(crate) mod key;
#[cfg(feature = "starter")]
pub(crate) mod notices;
pub(crate) mod rerank;
pub(crate) mod score;
pub(crate) mod search;
pub(crate) mod serve;

use std::path::PathBuf;

use clap::{Args, CommandFactory};

use crate::args::{Cli, Command};

/// The index that a command works on.
#[derive(Debug, Args)]
pub(crate) struct IndexDir {
    /// The folder of the index
    #[arg(long = "index", value_name = "DIR", env = "LORANK_INDEX")]
    pub dir: PathBuf,
}

/// Runs the command.
pub(crate) fn run(cli: &Cli) -> anyhow::Result<()> {
    let is_quiet = cli.log.quiet;
    match &cli.command {
        #[cfg(feature = "starter")]
        Command::Demo(args) => demo::run(args, is_quiet),
        Command::Index(args) => index::run(args, is_quiet),
        Command::Delete(args) => delete::run(args),
        Command::Search(args) => search::run(args, is_quiet),
        Command::Compare(args) => compare::run(args, is_quiet),
        Command::Rerank(args) => rerank::run(args, is_quiet),
        Command::Score(args) => score::run(args, is_quiet),
        Command::Serve(args) => serve::run(args, is_quiet),
        Command::Adapters(args) => adapters::run(args, is_quiet),
        Command::Experiments(args) => experiments::run(args),
        Command::Key(args) => key::run(args),
        Command::Config(args) => config::run(args),
        Command::Health(args) => health::run(args),
        Command::Bench(args) => bench::run(args, is_quiet),
        Command::Info(args) => info::run(args, is_quiet),
        Command::Completions(args) => completions::run(args, Cli::command()),
        #[cfg(feature = "starter")]
        Command::Notices(_) => notices::run(),
    }
}
