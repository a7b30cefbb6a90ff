//! Training from clicks: the groups of a server's log, and what `--dry-run` prints about it.

use std::io::Write;
use std::num::NonZeroUsize;
use std::path::Path;

use anyhow::{Context, anyhow};
use clap::{Args, ValueEnum};
use lorank_core::{DocumentId, Score};
use lorank_eval::Examination;
use lorank_server::DataFolder;
use lorank_tantivy::{Bm25FirstStage, Index};
use lorank_train::{FromClicks, Group, from_clicks};
use serde::Serialize;

use crate::commands::click_log;
use crate::output;
use crate::output::text::counted;

/// The options of training from clicks.
#[derive(Debug, Args)]
#[command(next_help_heading = "Data options")]
pub(crate) struct ClickOptions {
    /// The index whose clicks are learned from, by the server's name for it
    #[arg(long, value_name = "NAME", default_value = "default", requires = "clicks", conflicts_with_all = ["dataset", "groups"])]
    log_index: String,
    /// How often users examine a rank: estimated from the log, or every rank equally often
    #[arg(long, value_name = "HOW", value_enum, default_value_t, requires = "clicks",
        conflicts_with_all = ["dataset", "groups"])]
    position_bias: PositionBiasArg,
    /// The most documents of a group, those that were examined most often
    #[arg(long, value_name = "N", default_value = "12", requires = "clicks", conflicts_with_all = ["dataset", "groups"])]
    documents_max: NonZeroUsize,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum PositionBiasArg {
    /// From documents that a query showed at several ranks, as in an experiment between two rankers; a click weighs at most 50
    #[default]
    Estimate,
    /// Labels are raw click rates, so that documents that were ranked low look less relevant than they are
    Ignore,
}

/// A log's contents and groups.
#[derive(Debug, Serialize)]
pub(super) struct Clicks {
    index: String,
    /// The searches whose first page was shown.
    n_searches: usize,
    n_queries: usize,
    n_clicks: u64,
    n_later_pages: u64,
    /// The position bias; null if it is ignored.
    examination: Option<Examination>,
    n_groups: usize,
    n_documents: usize,
    /// The documents that were shown and are no longer in the index.
    n_missing: usize,
    #[serde(skip)]
    pub(super) groups: Vec<Group>,
}

impl ClickOptions {
    /// Reads the log, and the texts of its documents from the index.
    pub(super) fn read(&self, index: &Path, folder: &DataFolder) -> anyhow::Result<Clicks> {
        let (log, n_later_pages) = click_log::read(folder, &self.log_index)?;
        let examination = match self.position_bias {
            PositionBiasArg::Ignore => None,
            PositionBiasArg::Estimate => Some(log.examination().context(
                "position bias cannot be estimated: no document was clicked at rank 1 and at another rank of the same query; run an \
                 experiment between two rankers, or learn from raw click rates with `--position-bias ignore`",
            )?),
        };
        let queries = log.groups(examination.as_ref().unwrap_or(&Examination::uniform()));
        let documents = Bm25FirstStage::new(Index::open(index)?);
        let zero = Score::new(0.0)?;
        let read = |id: &str| documents.candidate(&DocumentId::new(id), zero).map_err(|error| anyhow!(error));
        let FromClicks { groups, n_missing } = from_clicks(&queries, read, self.documents_max.get())?;
        Ok(Clicks {
            index: self.log_index.clone(),
            n_searches: log.n_searches(),
            n_queries: queries.len(),
            n_clicks: log.n_clicks(),
            n_later_pages,
            examination,
            n_groups: groups.len(),
            n_documents: groups.iter().map(|group| group.documents.len()).sum(),
            n_missing,
            groups,
        })
    }
}

impl Clicks {
    /// Prints the contents of the log.
    pub(super) fn print(&self, is_json: bool) -> anyhow::Result<()> {
        if is_json {
            return output::print_json(self);
        }
        let mut out = output::stdout();
        let contents = click_log::contents(&self.index, self.n_searches, self.n_queries, self.n_clicks);
        let (groups, documents) = (counted(self.n_groups, "group"), counted(self.n_documents, "document"));
        writeln!(out, "{contents}\n{groups} with {documents}, of the queries with a click")?;
        match &self.examination {
            Some(examination) => writeln!(out, "{}", click_log::position_bias(examination))?,
            None => writeln!(out, "Position bias is ignored: labels are raw click rates")?,
        }
        for (n, what) in [
            (self.n_later_pages, "later page was left out", "later pages were left out"),
            (self.n_missing as u64, "shown document is not in the index", "shown documents are not in the index"),
        ]
        .map(|(n, one, many)| (n as usize, click_log::plural(n as usize, one, many)))
        {
            if n > 0 {
                writeln!(out, "{what}")?;
            }
        }
        Ok(out.flush()?)
    }
}
