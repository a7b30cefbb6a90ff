//! `lorank experiments report` and `export`: show and export the results of an experiment.

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

/// Report the results of an experiment so far, with a verdict: ship, keep, or wait
///
/// The confidence intervals are valid at every look, so daily looks do not increase the rate of false positives.
#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    #[command(flatten)]
    one: OneExperiment,
    /// Write an HTML page with plots to this file, and print only the verdict
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    html: Option<PathBuf>,
    /// Maximum probability of a false positive over all looks
    #[arg(long, value_name = "SHARE", default_value_t = AnalysisOptions::default().alpha, value_parser = parse_alpha)]
    alpha: f64,
    /// Smallest relevant difference, such as 0.01 for one percentage point [default: 0.01, or 0.05 for preferences]
    #[arg(long, value_name = "X", value_parser = parse_difference)]
    smallest_difference: Option<f64>,
}

/// Export an experiment's answers as CSV, one per row, with their clicks
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// Id of the experiment
    id: String,
    /// Export the events on the answers instead, one per row
    #[arg(long)]
    events: bool,
    /// Output file [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

fn parse_alpha(text: &str) -> Result<f64, String> {
    let alpha = text.parse().ok().filter(|alpha: &f64| *alpha > 0.0 && *alpha < 1.0);
    alpha.ok_or_else(|| format!("`{text}` is not a number between 0 and 1"))
}

fn parse_difference(text: &str) -> Result<f64, String> {
    let difference = text.parse().ok().filter(|difference: &f64| *difference >= 0.0 && difference.is_finite());
    difference.ok_or_else(|| format!("`{text}` is not a number of at least 0"))
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
