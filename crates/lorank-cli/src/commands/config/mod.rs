//! `lorank config`: what a server would run with.

mod show;

use std::io::Write;
use std::path::PathBuf;

use clap::{ArgMatches, Args, Subcommand};

use crate::config_file::ConfigFile;
use crate::output;

/// Show what `serve` would run with and where each value comes from, or check a configuration file
#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    Show(Box<show::ShowArgs>),
    Check(CheckArgs),
}

/// Check that a file is a configuration, without starting anything
#[derive(Debug, Args)]
struct CheckArgs {
    /// The configuration file
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// `matches` are those of the subcommand, with the global flags.
pub(crate) fn run(args: &ConfigArgs, matches: &ArgMatches) -> anyhow::Result<()> {
    match &args.command {
        ConfigCommand::Show(args) => show::run(args, matches),
        ConfigCommand::Check(args) => check(args),
    }
}

fn check(args: &CheckArgs) -> anyhow::Result<()> {
    ConfigFile::read(Some(&args.file))?;
    let mut out = output::stdout();
    writeln!(out, "`{}` is a configuration of lorank", args.file.display())?;
    Ok(out.flush()?)
}
