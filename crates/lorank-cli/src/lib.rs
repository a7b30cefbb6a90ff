//! The `lorank` command line.
//!
//! It is *not* a library to build on: [`main`] is all there is. Programs that embed lorank use the crate `lorank`.
//!
//! This is the one crate that reads flags, configuration files and the environment. A server is put together by `lorank-server`;
//! here it gets its configuration and its signals.
//! Data goes to standard output; progress, logs and errors to standard error. The exit status is 0 on success, 1 on a
//! failure, 2 on wrong usage.

mod cli;
mod commands;
mod config_file;
mod data;
mod environment;
mod facet;
mod failure;
mod flags;
mod lines;
mod logging;
mod models;
#[cfg(feature = "otlp")]
mod otlp;
mod output;
mod registry;
mod serving;
mod times;

use std::process::ExitCode;

use clap::ArgMatches;

use crate::cli::Cli;

/// Runs the command that this process' arguments name, and says how it went.
pub fn main() -> ExitCode {
    match Cli::read() {
        Ok((cli, matches)) => run(&cli, &matches).map_or_else(|error| failure::report(&error), |()| ExitCode::SUCCESS),
        Err(error) => {
            failure::print_usage(&error);
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(failure::WRONG_USAGE))
        }
    }
}

fn run(cli: &Cli, matches: &ArgMatches) -> anyhow::Result<()> {
    #[cfg(feature = "otlp")]
    if let cli::Command::Serve(args) = &cli.command
        && let Some(traces) = otlp::Traces::start(&args.otlp)?
    {
        cli.log.install(Some(traces.layer()));
        let done = cli.run(matches);
        traces.end();
        return done;
    }
    cli.log.install(None);
    cli.run(matches)
}
