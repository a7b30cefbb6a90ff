//! `lorank experiments report` and `export`: what an experiment found.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use lorank_experiments::{AnalysisOptions, Report};
use lorank_server::DataFolder;

use super::one::{OneExperiment, store_with};
use crate::output::text::count;
use crate::{output, times};

/// Tell what an experiment found so far, and what to do: ship, keep, or wait
///
/// The intervals hold at every look, so that looking each day does not raise the false alarms.
#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    #[command(flatten)]
    one: OneExperiment,
    /// Write a page with plots to this file, and print the verdict alone
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    html: Option<PathBuf>,
    /// How often, at most, a difference that is none may ever be claimed
    #[arg(long, value_name = "SHARE", default_value_t = AnalysisOptions::default().alpha, value_parser = parse_alpha)]
    alpha: f64,
    /// Take differences smaller than this for none, as in 0.01 for one point of a percentage
    /// [default: 0.01, or 0.05 of a preference]
    #[arg(long, value_name = "X", value_parser = parse_difference)]
    smallest_difference: Option<f64>,
}

/// Write an experiment's answers as CSV, a row each with its clicks
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// The experiment
    id: String,
    /// Write the events on its answers instead, a row each, of any action
    #[arg(long)]
    events: bool,
    /// The file to write [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

fn parse_alpha(text: &str) -> Result<f64, String> {
    let alpha = text.parse().ok().filter(|alpha: &f64| *alpha > 0.0 && *alpha < 1.0);
    alpha.ok_or_else(|| format!("`{text}` is not a number between 0 and 1"))
}

fn parse_difference(text: &str) -> Result<f64, String> {
    let difference = text.parse().ok().filter(|difference: &f64| *difference >= 0.0 && difference.is_finite());
    difference.ok_or_else(|| format!("`{text}` is not a number from 0 up"))
}

pub(crate) fn run(args: &ReportArgs, data: &DataFolder) -> anyhow::Result<()> {
    let options = AnalysisOptions {
        alpha: args.alpha,
        smallest_difference: args.smallest_difference,
        ..AnalysisOptions::default()
    };
    let report = store_with(&args.one.id, data)?.report(&args.one.id, options, times::now_millis())?.report;
    match &args.html {
        Some(path) => write_html(&report, path),
        None if args.one.json => output::print_json(&*report),
        None => print(&report.to_text()),
    }
}

fn write_html(report: &Report, path: &Path) -> anyhow::Result<()> {
    std::fs::write(path, report.to_html()).with_context(|| format!("could not write `{}`", path.display()))?;
    print(&format!("{}\nthe report is in `{}`\n", report.sentence, path.display()))
}

fn print(text: &str) -> anyhow::Result<()> {
    let mut out = output::stdout();
    write!(out, "{text}")?;
    Ok(out.flush()?)
}

pub(crate) fn export(args: &ExportArgs, data: &DataFolder) -> anyhow::Result<()> {
    let store = store_with(&args.id, data)?;
    let write = |to: &mut dyn Write| match args.events {
        true => store.export_events(&args.id, to),
        false => store.export_queries(&args.id, to),
    };
    let Some(path) = &args.out else {
        let mut out = output::stdout();
        write(&mut out)?;
        return Ok(out.flush()?);
    };
    let failed = || format!("could not write `{}`", path.display());
    let mut file = BufWriter::new(File::create(path).with_context(failed)?);
    let n_rows = write(&mut file)?;
    file.flush().with_context(failed)?;
    let n_rows = count(usize::try_from(n_rows).unwrap_or(usize::MAX));
    print(&format!("wrote {n_rows} rows to `{}`\n", path.display()))
}
