//! `lorank notices`: prints the licenses and attributions of the built-in data.

use std::io::Write;

use clap::Args;

use crate::output;
use crate::output::style::{STRONG, paint};

/// Print the licenses and attributions of the built-in model, adapters and corpus
#[derive(Debug, Args)]
pub(crate) struct NoticesArgs {}

pub(crate) fn run() -> anyhow::Result<()> {
    let mut out = output::stdout();
    for notice in lorank_starter::notices() {
        writeln!(
            out,
            "{}\n\n{}\n",
            paint(STRONG, format!("{} ({})", notice.covers, notice.licence)),
            notice.text.trim()
        )?;
    }
    Ok(out.flush()?)
}
