//! Log lines on standard error.

use std::io::{self, IsTerminal};

use clap::{Args, ValueEnum};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

/// The logging arguments.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct LogArgs {
    /// Increase the log level: -v for info, -vv for debug, -vvv for trace
    #[arg(short, long, global = true, action = clap::ArgAction::Count, conflicts_with = "quiet")]
    verbose: u8,
    /// Log errors only and show no progress
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Log filter by target and level, such as `warn,lorank_model=debug`; replaces -v and -q
    #[arg(long, global = true, value_name = "FILTER", env = "LORANK_LOG", value_parser = parse_filter)]
    log: Option<String>,
    /// Format of log lines
    #[arg(long, global = true, value_name = "FORMAT", env = "LORANK_LOG_FORMAT", value_enum, default_value_t)]
    log_format: LogFormat,
}

/// A layer for log lines or spans, with its own filter.
pub(crate) type BoxedLayer = Box<dyn Layer<Registry> + Send + Sync>;

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum LogFormat {
    /// Readable text
    #[default]
    Text,
    /// One JSON object per line
    Json,
}

fn parse_filter(text: &str) -> Result<String, String> {
    EnvFilter::try_new(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

impl LogArgs {
    /// Starts logging to standard error, and sending spans to `traces`.
    pub(crate) fn install(&self, traces: Option<BoxedLayer>) {
        let filter = self.log.as_deref().unwrap_or(match (self.quiet, self.verbose) {
            (true, _) => "error",
            (false, 0) => "warn",
            (false, 1) => "warn,lorank=info",
            (false, 2) => "info,lorank=debug",
            (false, _) => "trace",
        });
        let filter = EnvFilter::try_new(filter).expect("given filters are parsed with the arguments");
        let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr);
        let lines: BoxedLayer = match self.log_format {
            // The module names are only shown at levels above warnings.
            LogFormat::Text => {
                let shows_target = self.verbose > 1 || self.log.is_some();
                lines.with_target(shows_target).with_ansi(has_colour()).with_filter(filter).boxed()
            }
            LogFormat::Json => lines.json().with_filter(filter).boxed(),
        };
        let layers: Vec<BoxedLayer> = traces.into_iter().chain([lines]).collect();
        // Only tests install logging twice; the first installation stays.
        let _ = tracing_subscriber::registry().with(layers).try_init();
    }
}

fn has_colour() -> bool {
    io::stderr().is_terminal() && anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never
}
