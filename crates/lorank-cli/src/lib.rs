//! The `lorank` command line.
//!
//! Its function is [`main`], which runs the command in the process's arguments. It is *not* a library for applications: those
//! embed the crate `lorank`. The Python package runs the program with [`main_with`], and shares [`hub`],
//! [`default_data`], [`model_info`] and [`index_info`] with it.
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

mod address;
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

use std::ffi::OsString;
use std::process::ExitCode;

use clap::ArgMatches;

use crate::cli::Cli;
pub use crate::commands::info::{index_info, model_info};
pub use crate::data::default_data;
pub use crate::environment::{gpu, hub};

/// Runs the command in this process's arguments, and returns the exit status.
pub fn main() -> ExitCode {
    ExitCode::from(main_with(std::env::args_os()))
}

/// Runs the command in these arguments, the first of which is the program's name, and returns the exit status.
pub fn main_with(args: impl IntoIterator<Item = OsString>) -> u8 {
    match Cli::read(args) {
        Ok((cli, matches)) => run(&cli, &matches).map_or_else(|error| failure::report(&error), |()| failure::SUCCESS),
        Err(error) => {
            failure::print_usage(&error);
            u8::try_from(error.exit_code()).unwrap_or(failure::WRONG_USAGE)
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
