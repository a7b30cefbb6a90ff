//! The `lorank` command line, and the place where the engines are put together.
//!
//! It is *not* a library to build on: [`main`] is all there is. Programs that embed lorank use the crate `lorank`.
//!
//! This is the one crate that reads flags, configuration files and the environment, and the one that names both engines.
//! Data goes to standard output; progress, logs and errors to standard error. The exit status is 0 on success, 1 on a
//! failure, 2 on wrong usage.

mod args;
mod commands;
mod config;
mod data;
mod documents;
mod environment;
mod failure;
mod filter;
mod host;
mod limits;
mod lines;
mod logging;
mod models;
#[cfg(feature = "otlp")]
mod otlp;
mod output;
mod registry;
mod reload;
mod settings;
mod shadows;
mod starter;
mod times;

use std::process::ExitCode;

use clap::Parser;

/// Runs the command that this process' arguments name, and says how it went.
pub fn main() -> ExitCode {
    match args::Cli::try_parse() {
        Ok(cli) => run(&cli).map_or_else(|error| failure::report(&error), |()| ExitCode::SUCCESS),
        Err(error) => {
            // Where even this cannot be printed, the status still tells.
            let _ = error.print();
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
        }
    }
}

fn run(cli: &args::Cli) -> anyhow::Result<()> {
    #[cfg(feature = "otlp")]
    if let Some(traces) = otlp::Traces::start(&cli.command)? {
        cli.log.install(Some(traces.layer()));
        let done = commands::run(cli);
        traces.end();
        return done;
    }
    cli.log.install(None);
    commands::run(cli)
}
