//! `lorank experiments copy`: from the data folder into a database.

use std::io::Write;

use anyhow::Context;
use clap::Args;
use lorank_experiment_store::Copied;
use lorank_server::DataFolder;
use serde_json::json;

use crate::output;
use crate::output::text::count;

/// Copy the experiments of the data folder, with their records, into the database that --store names
///
/// What is in the database already stays, so an interrupted copy can be repeated. Stop the servers that use the folder
/// first: what they write later is not copied.
#[derive(Debug, Args)]
pub(crate) struct CopyArgs {
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &CopyArgs, data: &DataFolder) -> anyhow::Result<()> {
    let copied = data.copy_experiments()?;
    let copied = copied.with_context(|| {
        format!("`{}` has no experiments to copy; name a data folder with --data", data.path().display())
    })?;
    let Copied { n_experiments, n_exposures, n_events, n_shadows, n_judgments } = copied;
    if args.json {
        return output::print_json(&json!({
            "n_experiments": n_experiments, "n_exposures": n_exposures, "n_events": n_events, "n_shadows": n_shadows,
            "n_judgments": n_judgments,
        }));
    }
    let count = |n: u64| count(usize::try_from(n).unwrap_or(usize::MAX));
    let mut out = output::stdout();
    writeln!(
        out,
        "copied {} experiments, {} answers, {} events, {} shadow results and {} judgments to {}",
        count(n_experiments),
        count(n_exposures),
        count(n_events),
        count(n_shadows),
        count(n_judgments),
        data.experiments_place()
    )?;
    Ok(out.flush()?)
}
