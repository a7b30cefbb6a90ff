//! `lorank delete`: deletes documents of an index.

use std::io::{self, BufRead, IsTerminal, Write};

use anyhow::bail;
use clap::Args;
use lorank_core::{DocumentId, Filter, QuerySyntax};
use lorank_tantivy::{Index, Selection, Writer, WriterOptions};
use serde_json::json;

use super::index_dir::IndexDir;
use super::search::SyntaxArg;
use crate::failure::WrongUsage;
use crate::output;
use crate::output::text::number_of;

/// Delete documents by id, by filter or by query
///
/// With --filter, --query or --all, the command counts the documents and asks for confirmation. --yes skips the question, and is required
/// if standard input is not a terminal. --dry-run only counts.
#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    #[command(flatten)]
    index: IndexDir,
    /// Ids of the documents
    #[arg(required_unless_present_any = ["filters", "query", "all"], conflicts_with_all = ["filters", "query", "all"], value_name = "ID")]
    ids: Vec<String>,
    /// Filter, such as `year<1990` or `lang=en,de`; repeatable, all filters must match (see `lorank search --help`)
    #[arg(long = "filter", value_name = "FIELD OP VALUE")]
    filters: Vec<Filter>,
    /// Query; a plain query matches documents with any of its words, without typo tolerance
    #[arg(long, value_name = "QUERY")]
    query: Option<String>,
    /// Query syntax [default: plain]
    #[arg(long, value_name = "SYNTAX", value_enum, requires = "query")]
    syntax: Option<SyntaxArg>,
    /// Every document
    #[arg(long, conflicts_with_all = ["filters", "query"])]
    all: bool,
    /// Count the documents without deleting them
    #[arg(long)]
    dry_run: bool,
    /// Skip the confirmation
    #[arg(long, short = 'y', conflicts_with = "dry_run")]
    yes: bool,
    /// Print the counts as one JSON document
    #[arg(long)]
    json: bool,
}

/// The result of a deletion or dry run.
struct Deleted {
    n_deleted: u64,
    not_found: Vec<String>,
}

pub(crate) fn run(args: &DeleteArgs) -> anyhow::Result<()> {
    let index = Index::open(&args.index.dir)?;
    let deleted = if args.ids.is_empty() { delete_selected(args, &index)? } else { delete_ids(args, &index)? };
    print(args, &deleted, index.n_documents()?)
}

/// Deletes the documents with these ids. Unknown ids are reported, but are not an error.
fn delete_ids(args: &DeleteArgs, index: &Index) -> anyhow::Result<Deleted> {
    let mut ids: Vec<DocumentId> = args.ids.iter().map(|id| DocumentId::new(id.as_str())).collect();
    ids.sort();
    ids.dedup();
    let mut not_found = Vec::new();
    for id in &ids {
        if !index.contains(id)? {
            not_found.push(id.to_string());
        }
    }
    if args.dry_run {
        return Ok(Deleted { n_deleted: (ids.len() - not_found.len()) as u64, not_found });
    }
    let n_deleted = delete(index, |writer| {
        ids.iter().for_each(|id| writer.delete(id));
        Ok(())
    })?;
    Ok(Deleted { n_deleted, not_found })
}

/// Deletes the documents that match filters and a query, after confirmation.
fn delete_selected(args: &DeleteArgs, index: &Index) -> anyhow::Result<Deleted> {
    let selection = args.selection();
    let n_matching = index.count(&selection)?;
    if args.dry_run || n_matching == 0 {
        return Ok(Deleted { n_deleted: n_matching, not_found: Vec::new() });
    }
    if !args.yes {
        confirm(n_matching, args)?;
    }
    let n_deleted = delete(index, |writer| Ok(writer.delete_matching(&selection)?))?;
    Ok(Deleted { n_deleted, not_found: Vec::new() })
}

/// Makes a change and commits it. Returns the number of deleted documents.
fn delete(index: &Index, change: impl FnOnce(&Writer) -> anyhow::Result<()>) -> anyhow::Result<u64> {
    let mut writer = index.writer(&WriterOptions::default())?;
    let n_before = index.n_documents()?;
    change(&writer)?;
    writer.commit()?;
    writer.close()?;
    Ok(n_before.saturating_sub(index.n_documents()?))
}

fn confirm(n_matching: u64, args: &DeleteArgs) -> anyhow::Result<()> {
    let what = format!("{} of `{}`", number_of(n_matching, "document"), args.index.dir.display());
    if !io::stdin().is_terminal() {
        let problem = format!("this would delete {what}; confirm with --yes, or only count with --dry-run");
        return Err(WrongUsage(problem).into());
    }
    let mut err = anstream::stderr();
    write!(err, "delete {what}? [y/N] ")?;
    err.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    if !matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
        bail!("nothing was deleted");
    }
    Ok(())
}

fn print(args: &DeleteArgs, deleted: &Deleted, n_documents: u64) -> anyhow::Result<()> {
    let Deleted { n_deleted, not_found } = deleted;
    if args.json {
        let mut json = json!({"n_deleted": n_deleted, "not_found": not_found, "n_documents": n_documents});
        if args.dry_run {
            json = json!({"n_would_be_deleted": n_deleted, "not_found": not_found, "n_documents": n_documents});
        }
        return output::print_json(&json);
    }
    let mut out = output::stdout();
    for id in not_found {
        writeln!(out, "there was no document `{id}`")?;
    }
    let (verb, now) = if args.dry_run { ("would delete", "holds") } else { ("deleted", "now holds") };
    let dir = args.index.dir.display();
    let (n_deleted, n_documents) = (number_of(*n_deleted, "document"), number_of(n_documents, "document"));
    writeln!(out, "{verb} {n_deleted}; `{dir}` {now} {n_documents}")?;
    Ok(out.flush()?)
}

impl DeleteArgs {
    fn selection(&self) -> Selection {
        let syntax = self.syntax.map_or(QuerySyntax::Plain, QuerySyntax::from);
        Selection { words: self.query.clone().map(|query| (query, syntax)), filters: self.filters.clone() }
    }
}
