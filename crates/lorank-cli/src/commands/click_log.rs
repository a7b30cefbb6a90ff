//! The logged searches of a server with their clicks.

use anyhow::{Context, bail};
use lorank_eval::{ClickLog, Examination};
use lorank_server::DataFolder;

use crate::output::text::{count, counted};

/// Reads the log of an index, and the number of later pages, which are left out.
pub(crate) fn read(folder: &DataFolder, index: &str) -> anyhow::Result<(ClickLog, u64)> {
    let store = folder.existing_experiments()?.with_context(|| {
        format!(
            "`{}` has no log of searches; name the server's data folder with --data (a server logs searches that have a \
             unit id or take part in an experiment)",
            folder.experiments_place()
        )
    })?;
    let mut log = ClickLog::default();
    let n_later_pages = store.read_searches(index, |search| {
        log.add(&search.query, search.hits.iter().map(String::as_str), search.clicked);
    })?;
    if log.n_searches() == 0 {
        bail!(
            "the log in `{}` has no search of the index `{index}`; name another one with --log-index",
            folder.experiments_place()
        );
    }
    Ok((log, n_later_pages))
}

/// The contents of a log: `log of the index `default`: 20 searches of 3 queries, 9 clicks`.
pub(crate) fn contents(index: &str, n_searches: usize, n_queries: usize, n_clicks: u64) -> String {
    format!(
        "log of the index `{index}`: {} of {}, {}",
        plural(n_searches, "search", "searches"),
        plural(n_queries, "query", "queries"),
        counted(n_clicks as usize, "click")
    )
}

/// The position bias in a log.
pub(crate) fn position_bias(examination: &Examination) -> String {
    let shown = examination.probabilities.iter().zip(&examination.is_estimated).take(10);
    let shown = shown.map(|(p, is_estimated)| format!("{p:.2}{}", if *is_estimated { "" } else { "?" }));
    let marked = if examination.is_estimated.iter().take(10).any(|is_estimated| !is_estimated) {
        "; ? as the rank above, for want of clicks"
    } else {
        ""
    };
    format!(
        "Examination of ranks 1 to {}, from {} that a query showed at several ranks: {}{marked}",
        examination.probabilities.len().min(10),
        counted(examination.n_interventions, "document"),
        shown.collect::<Vec<_>>().join(" ")
    )
}

pub(crate) fn plural(n: usize, one: &str, many: &str) -> String {
    format!("{} {}", count(n), if n == 1 { one } else { many })
}
