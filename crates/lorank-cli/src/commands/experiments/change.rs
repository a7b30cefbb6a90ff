//! `lorank experiments start`, `stop`, `share`, `delete` and `forget`.

use std::io::Write;

use clap::Args;
use lorank_experiment_store::Forgotten;
use lorank_server::DataFolder;
use serde_json::json;

use super::create::ModelsCheck;
use super::one::{OneExperiment, store_with};
use super::show;
use crate::output::text::count;
use crate::{output, times};

/// Start a draft; each arm is pinned to the current version of its adapter or alias
#[derive(Debug, Args)]
pub(crate) struct StartArgs {
    #[command(flatten)]
    one: OneExperiment,
    #[command(flatten)]
    models: ModelsCheck,
}

/// Stop a running experiment; it cannot be started again, and its records are kept
#[derive(Debug, Args)]
pub(crate) struct StopArgs {
    #[command(flatten)]
    one: OneExperiment,
}

/// Increase the traffic share of a running experiment; units that take part stay in their arms
#[derive(Debug, Args)]
pub(crate) struct ShareArgs {
    #[command(flatten)]
    one: OneExperiment,
    /// New share, at most 1
    share: f64,
}

/// Delete a draft
#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    #[command(flatten)]
    one: OneExperiment,
}

/// Delete the answers and events of all experiments from before a date
#[derive(Debug, Args)]
pub(crate) struct ForgetArgs {
    /// Date or time, such as 2025-01-31 (00:00 UTC); later records are kept
    #[arg(long, value_name = "DATE", value_parser = times::parse)]
    before: i64,
    /// Print the counts as one JSON document
    #[arg(long)]
    json: bool,
}

pub(crate) fn start(args: &StartArgs, data: &DataFolder) -> anyhow::Result<()> {
    let store = store_with(&args.one.id, data)?;
    let now = times::now_millis();
    let versions = args.models.versions(&store.get(&args.one.id)?, data, now)?;
    show::print_change(&store.start_pinned(&args.one.id, versions, now)?, args.one.json)
}

pub(crate) fn stop(args: &StopArgs, data: &DataFolder) -> anyhow::Result<()> {
    let store = store_with(&args.one.id, data)?;
    show::print_change(&store.stop(&args.one.id, times::now_millis())?, args.one.json)
}

pub(crate) fn share(args: &ShareArgs, data: &DataFolder) -> anyhow::Result<()> {
    let store = store_with(&args.one.id, data)?;
    show::print_change(&store.raise_share(&args.one.id, args.share, times::now_millis())?, args.one.json)
}

pub(crate) fn delete(args: &DeleteArgs, data: &DataFolder) -> anyhow::Result<()> {
    let id = &args.one.id;
    store_with(id, data)?.delete_draft(id, times::now_millis())?;
    if args.one.json {
        return output::print_json(&json!({"deleted": id}));
    }
    let mut out = output::stdout();
    writeln!(out, "deleted the draft {id}")?;
    Ok(out.flush()?)
}

pub(crate) fn forget(args: &ForgetArgs, data: &DataFolder) -> anyhow::Result<()> {
    let store = data.existing_experiments()?;
    let Forgotten { n_exposures, n_events, n_shadows } =
        store.map(|store| store.forget(args.before)).transpose()?.unwrap_or_default();
    if args.json {
        return output::print_json(&json!({"n_exposures": n_exposures, "n_events": n_events, "n_shadows": n_shadows}));
    }
    let mut out = output::stdout();
    writeln!(
        out,
        "deleted {} answers, {} events and {} shadow results from before {}",
        count(n_exposures),
        count(n_events),
        count(n_shadows),
        times::show(args.before)
    )?;
    Ok(out.flush()?)
}
