//! The `lorank` command line.
//!
//! Its only function is [`main`], which runs the command in the process's arguments. It is *not* a library for applications: those
//! embed the crate `lorank`.
//!
//! Only this crate reads flags, configuration files and environment variables. `lorank-server` assembles the server; this crate
//! passes the configuration and signals to it.
//! Data goes to standard output; progress, logs and errors go to standard error. The exit status is 0 on success, 1 on a failure,
//! and 2 on wrong usage. A program with the same command line is:
//!
//! ```no_run
//! fn main() -> std::process::ExitCode {
//!     lorank_cli::main()
//! }
//! ```

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

/// Runs the command in this process's arguments, and returns the exit status.
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
