//! `lorank delete`: documents out of an index.

use std::io::Write;

use clap::Args;
use lorank_core::DocumentId;
use lorank_tantivy::{Index, WriterOptions};
use serde_json::json;

use super::index_dir::IndexDir;
use crate::output;

/// Delete documents by id
#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    #[command(flatten)]
    index: IndexDir,
    /// The ids
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
    /// Print the counts as one JSON document
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &DeleteArgs) -> anyhow::Result<()> {
    let index = Index::open(&args.index.dir)?;
    let mut writer = index.writer(&WriterOptions::default())?;
    let before = index.stats()?.n_documents;
    // An id that is not there is as gone as one that was deleted; it is told, and is no failure.
    let mut missing = Vec::new();
    for id in &args.ids {
        let id = DocumentId::new(id.as_str());
        if index.get(&id)?.is_none() {
            missing.push(id.to_string());
        }
        writer.delete(&id);
    }
    writer.commit()?;
    writer.close()?;
    let n_documents = index.stats()?.n_documents;
    let n_deleted = before.saturating_sub(n_documents);
    if args.json {
        return output::print_json(&json!({"n_deleted": n_deleted, "not_found": missing, "n_documents": n_documents}));
    }
    let mut out = output::stdout();
    for id in missing {
        writeln!(out, "there was no document `{id}`")?;
    }
    writeln!(out, "deleted {n_deleted} documents; `{}` now holds {n_documents}", args.index.dir.display())?;
    Ok(out.flush()?)
}
