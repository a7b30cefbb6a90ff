//! `lorank config`: shows and checks the configuration of a server.

mod show;

use std::io::Write;
use std::path::PathBuf;

use clap::{ArgMatches, Args, Subcommand};

use crate::config_file::ConfigFile;
use crate::output;

/// Show the settings of `serve` with their sources, or check a configuration file
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

/// Check a configuration file without starting a server
#[derive(Debug, Args)]
struct CheckArgs {
    /// Configuration file
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
    writeln!(out, "`{}` is a valid configuration", args.file.display())?;
    Ok(out.flush()?)
}
