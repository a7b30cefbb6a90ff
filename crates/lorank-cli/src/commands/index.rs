//! `lorank index`: indexes documents.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use indicatif::ProgressBar;
use lorank_tantivy::input::{self, Delimiter, EmptyFiles, Format, Input, InputOptions, LeftOut};
use lorank_tantivy::{
    BulkOptions, BulkProgress, Index, IndexReport, Language, OnError, SettingsRequest, TextField, WriterOptions,
    index_documents,
};
use serde_json::json;

use super::index_dir::IndexDir;
use crate::failure::{WrongUsage, causes};
use crate::output::text::{count, duration, number_of};
use crate::output::{self, progress};

/// Index documents: JSON Lines or arrays, CSV or TSV with a header, BEIR folders, folders of .txt, .md and .html files
///
/// A document replaces an existing document with the same id. Files may be compressed (.gz, .zst). If a first run fails before its first
/// commit or finds no documents, it leaves no index; if it is killed, it leaves an unfinished index that only another run of this command
/// accepts.
#[derive(Debug, Args)]
pub(crate) struct IndexArgs {
    #[command(flatten)]
    index: IndexDir,
    /// Files and folders; - reads standard input
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,
    /// Field to search, optionally with a boost, such as title^2; repeatable [default: title and text]
    #[arg(long = "field", value_name = "NAME[^BOOST]", help_heading = "Settings of a new index")]
    fields: Vec<TextField>,
    /// Field with the id of a document [default: id, or else _id]
    #[arg(long, value_name = "NAME", help_heading = "Settings of a new index")]
    id_field: Option<String>,
    /// Language for stemming and stop words, or none; all scripts are searchable in any case [default: english]
    #[arg(long, value_name = "LANGUAGE", help_heading = "Settings of a new index")]
    language: Option<Language>,
    /// Format of the input: jsonl, csv, tsv, text or html [default: by file name; jsonl for standard input]
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// Separator of the cells of a table: one character, or \t for a tab [default: a comma in CSV, a tab in TSV]
    #[arg(long, value_name = "CHAR")]
    delimiter: Option<Delimiter>,
    /// Maximum length of a document in bytes of input: of a line, a row, an array element, a text file or an HTML page
    #[arg(long, value_name = "N", default_value_t = InputOptions::default().document_bytes_max)]
    document_bytes_max: usize,
    /// Delete documents whose files no longer exist in the indexed folders
    ///
    /// Only affects documents from files of the same folders in earlier runs. Every input must be a folder of .txt, .md and .html files.
    #[arg(long)]
    remove_missing: bool,
    /// Action for an invalid line
    #[arg(long, value_name = "ACTION", value_enum, default_value_t)]
    on_error: OnErrorArg,
    /// Write skipped lines to this file, unchanged
    #[arg(long, value_name = "FILE")]
    rejects: Option<PathBuf>,
    /// Commit after every N documents [default: once, at the end]
    #[arg(long, value_name = "N")]
    commit_every: Option<NonZeroU64>,
    /// Number of indexing threads [default: one per processor, at most 8]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// Memory for documents that are not written to disk yet, in MiB
    #[arg(long, value_name = "MIB")]
    memory: Option<NonZeroUsize>,
    /// Print the counts as one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, ValueEnum)]
enum OnErrorArg {
    /// Stop; earlier commits are kept
    #[default]
    Stop,
    /// Count it and continue
    Skip,
}

pub(crate) fn run(args: &IndexArgs, is_quiet: bool) -> anyhow::Result<()> {
    args.check()?;
    let dir = &args.index.dir;
    let is_new_folder = !dir.exists();
    let (index, is_new) = Index::open_or_begin(dir, &args.settings())?;
    let indexed = index_inputs(args, &index, is_quiet);
    let is_empty = indexed.as_ref().is_ok_and(|(report, _)| report.n_documents == 0);
    if is_new && (indexed.is_err() || is_empty) {
        discard(index, is_new_folder);
    }
    let (report, not_indexed) = indexed?;
    if args.json {
        print_json(&report, &not_indexed)?
    } else {
        print_text(&report, &not_indexed, args)?
    }
    if is_new && is_empty {
        let inputs = args.inputs.iter().map(|input| format!("`{}`", Input::from(input.clone())));
        bail!("there is no document in {}, so no index was made", inputs.collect::<Vec<_>>().join(", "));
    }
    Ok(())
}

/// The files from which nothing is indexed.
struct NotIndexed {
    left_out: LeftOut,
    empty: EmptyFiles,
}

/// Removes the index of a failed first run, unless it has a commit. The error of that run is reported.
fn discard(index: Index, is_new_folder: bool) {
    let dir = index.dir().to_owned();
    match index.remove_if_empty() {
        Ok(true) if is_new_folder => {
            // A folder with other files is kept.
            let _ = std::fs::remove_dir(dir);
        }
        Ok(_) => {}
        Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "cannot remove the empty index"),
    }
}

fn index_inputs(args: &IndexArgs, index: &Index, is_quiet: bool) -> anyhow::Result<(IndexReport, NotIndexed)> {
    let inputs: Vec<Input> = args.inputs.iter().cloned().map(Input::from).collect();
    let (format, delimiter, document_bytes_max) = (args.format, args.delimiter, args.document_bytes_max);
    let documents = input::open(&inputs, index.settings(), &InputOptions { format, delimiter, document_bytes_max })?;
    let not_indexed = NotIndexed { left_out: documents.left_out(), empty: documents.empty_files() };
    let folders = documents.folders().to_vec();
    if args.remove_missing && folders.len() < inputs.len() {
        let problem = "--remove-missing is for folders of .txt, .md and .html files alone; index other inputs in a run of their own";
        return Err(WrongUsage(problem.into()).into());
    }
    let mut rejects = args.rejects.as_deref().map(create).transpose()?;
    let mut writer = index.writer(&args.writer_options())?;
    let read = documents.progress();
    let bar = read
        .bytes_total()
        .map_or_else(|| progress::counter("documents", is_quiet), |total| progress::bytes(total, is_quiet));
    let options = BulkOptions {
        on_error: match args.on_error {
            OnErrorArg::Stop => OnError::Stop,
            OnErrorArg::Skip => OnError::Skip { rejects: rejects.as_mut().map(|file| file as &mut (dyn Write + Send)) },
        },
        commit_every: args.commit_every,
        remove_missing: if args.remove_missing { folders } else { Vec::new() },
    };
    let report = index_documents(&mut writer, documents, options, |done| show(&bar, done, read.bytes_read()))?;
    bar.set_message("merging segments");
    writer.close()?;
    bar.finish_and_clear();
    if let (Some(mut file), Some(path)) = (rejects, &args.rejects) {
        file.flush().with_context(|| format!("could not write to `{}`", path.display()))?;
    }
    Ok((report, not_indexed))
}

impl IndexArgs {
    /// Checks the arguments before a new index is created.
    fn check(&self) -> anyhow::Result<()> {
        if self.rejects.is_some() && self.on_error == OnErrorArg::Stop {
            return Err(WrongUsage("--rejects FILE is for skipped lines; add --on-error skip".into()).into());
        }
        for path in self.inputs.iter().filter(|path| *path != Path::new("-")) {
            path.metadata().with_context(|| format!("could not open `{}`", path.display()))?;
        }
        Ok(())
    }

    fn settings(&self) -> SettingsRequest {
        SettingsRequest {
            text_fields: Some(self.fields.clone()).filter(|fields| !fields.is_empty()),
            id_field: self.id_field.clone(),
            language: self.language,
        }
    }

    fn writer_options(&self) -> WriterOptions {
        let default = WriterOptions::default();
        let memory_bytes = self.memory.map_or(default.memory_bytes, |mib| mib.get().saturating_mul(1 << 20));
        WriterOptions { n_threads: self.threads.or(default.n_threads), memory_bytes }
    }
}

fn create(path: &Path) -> anyhow::Result<BufWriter<File>> {
    let file = File::create(path).with_context(|| format!("could not create `{}`", path.display()))?;
    Ok(BufWriter::new(file))
}

fn show(bar: &ProgressBar, done: &BulkProgress, bytes_read: u64) {
    let seconds = bar.elapsed().as_secs_f64().max(0.001);
    let per_second = (done.n_indexed as f64 / seconds) as usize;
    let bad = if done.n_skipped > 0 { format!(", {}", number_of(done.n_skipped, "bad line")) } else { String::new() };
    match bar.length() {
        Some(_) => {
            bar.set_position(bytes_read);
            let n_indexed = number_of(done.n_indexed, "document");
            bar.set_message(format!("{n_indexed}, {} a second{bad}", count(per_second)));
        }
        None => {
            bar.set_position(done.n_indexed);
            bar.set_message(bad);
        }
    }
}

fn per_second(report: &IndexReport) -> f64 {
    report.n_indexed as f64 / report.elapsed.max(Duration::from_micros(1)).as_secs_f64()
}

/// The number of documents that replaced one with the same id.
fn n_replaced(report: &IndexReport) -> u64 {
    let n_new = report.n_documents.saturating_sub(report.n_documents_before);
    report.n_indexed.saturating_sub(n_new)
}

fn print_json(report: &IndexReport, NotIndexed { left_out, empty }: &NotIndexed) -> anyhow::Result<()> {
    let skipped = report
        .first_skipped
        .iter()
        .map(|bad| json!({"file": &*bad.origin.file, "line": bad.origin.line, "cause": causes(&*bad.cause)}));
    output::print_json(&json!({
        "n_indexed": report.n_indexed,
        "n_replaced": n_replaced(report),
        "n_removed": report.n_removed,
        "n_skipped": report.n_skipped,
        "n_without_text": report.n_without_text,
        "other_text_fields": report.other_text_fields,
        "n_documents": report.n_documents,
        "first_skipped": skipped.collect::<Vec<_>>(),
        "left_out_files": {
            "other_formats": left_out.other_formats,
            "hidden": left_out.hidden,
            "folder_links": left_out.folder_links,
            "special": left_out.special,
        },
        "n_empty_files": empty.n_files(),
        "first_empty_files": empty.first().iter().map(|name| &**name).collect::<Vec<_>>(),
        "elapsed_millis": report.elapsed.as_secs_f64() * 1000.0,
        "documents_per_second": per_second(report),
    }))
}

fn print_text(report: &IndexReport, not_indexed: &NotIndexed, args: &IndexArgs) -> anyhow::Result<()> {
    let n = |n: u64| count(usize::try_from(n).unwrap_or(usize::MAX));
    let left_out = not_indexed.left_out;
    let mut out = output::stdout();
    let took = duration(report.elapsed);
    let indexed = number_of(report.n_indexed, "document");
    writeln!(out, "indexed {indexed} in {took} ({} a second)", n(per_second(report) as u64))?;
    if n_replaced(report) > 0 {
        writeln!(out, "{} of them replaced a document with the same id", n(n_replaced(report)))?;
    }
    if report.n_removed > 0 || args.remove_missing {
        writeln!(out, "removed {} whose files are gone", number_of(report.n_removed, "document"))?;
    }
    if report.n_without_text > 0 {
        writeln!(
            out,
            "{} of them {} no text in a field that is searched, so no words find {}",
            n(report.n_without_text),
            if report.n_without_text == 1 { "has" } else { "have" },
            if report.n_without_text == 1 { "it" } else { "them" }
        )?;
        if let Some(field) = report.other_text_fields.first() {
            let names: Vec<String> = report.other_text_fields.iter().map(|name| format!("`{name}`")).collect();
            let names = names.join(", ");
            writeln!(out, "they have text in {names}; to search it, index into another folder with `--field {field}`")?;
        }
    }
    if report.n_skipped > 0 {
        writeln!(out, "skipped {}:", number_of(report.n_skipped, "bad line"))?;
        for bad in &report.first_skipped {
            writeln!(out, "  {}: {}", bad.origin, causes(&*bad.cause))?;
        }
        if report.n_skipped > report.first_skipped.len() as u64 {
            writeln!(out, "  ...")?;
        }
    }
    if left_out.n_files() > 0 {
        writeln!(out, "left out {}: {}", number_of(left_out.n_files(), "file"), reasons(left_out))?;
    }
    if report.n_indexed == 0 && report.n_skipped == 0 {
        writeln!(out, "there is no document in the input")?;
    } else if not_indexed.empty.n_files() > 0 {
        writeln!(out, "found no document in {}", names(&not_indexed.empty))?;
    }
    if report.n_documents > 0 || report.n_documents_before > 0 {
        let dir = args.index.dir.display();
        writeln!(out, "`{dir}` now holds {}", number_of(report.n_documents, "document"))?;
    }
    Ok(out.flush()?)
}

/// The number of files without a document, and the first names.
fn names(empty: &EmptyFiles) -> String {
    let first = empty.first();
    let more = if empty.n_files() > first.len() as u64 { ", ..." } else { "" };
    let first: Vec<String> = first.iter().map(|name| format!("`{name}`")).collect();
    format!("{}: {}{more}", number_of(empty.n_files(), "file"), first.join(", "))
}

/// The reasons for skipped files of folders, with their numbers.
fn reasons(left_out: LeftOut) -> String {
    let reasons = [
        (left_out.other_formats, "neither .txt, .md nor .html"),
        (left_out.hidden, "hidden"),
        (left_out.folder_links, "links to folders"),
        (left_out.special, "neither files nor folders"),
    ];
    let counted = reasons.into_iter().filter(|(n, _)| *n > 0);
    counted.map(|(n, reason)| format!("{n} {reason}")).collect::<Vec<_>>().join(", ")
}
