//! `lorank experiments judge`: stores judgments for reports.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use lorank_experiment_store::{Judgment, JudgmentCounts, StoreConfig};
use lorank_server::DataFolder;
use serde::Deserialize;
use serde_json::json;

use crate::output;
use crate::output::text::count;

/// Store judgments, by which reports compute nDCG@10 of the answers; replaces earlier judgments
#[derive(Debug, Args)]
pub(crate) struct JudgeArgs {
    /// File with one judgment per line: query text, document id and grade, separated by tabs. Grades are integers; 0 is not
    /// relevant; with --queries, TREC qrels (`QUERY 0 DOCUMENT GRADE`) or a table of BEIR
    file: PathBuf,
    /// File with the texts of the queries in qrels: JSON Lines with `_id` and `text`, or lines with an id, a tab and a text
    #[arg(long, value_name = "FILE")]
    queries: Option<PathBuf>,
    /// Print the counts as one JSON document
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &JudgeArgs, data: &DataFolder) -> anyhow::Result<()> {
    let judgments = match &args.queries {
        Some(queries) => read_qrels(&args.file, queries)?,
        None => read_lines(&args.file, parse, "is not a judgment")?,
    };
    if judgments.is_empty() {
        bail!(
            "`{}` has no judgments; each line needs a query, a document id and a grade, separated by tabs",
            args.file.display()
        );
    }
    let JudgmentCounts { n_judgments, n_queries } =
        data.experiments(StoreConfig::default())?.set_judgments(judgments)?;
    if args.json {
        return output::print_json(&json!({"n_judgments": n_judgments, "n_queries": n_queries}));
    }
    let [n_judgments, n_queries] = [n_judgments, n_queries].map(|n| count(usize::try_from(n).unwrap_or(usize::MAX)));
    let mut out = output::stdout();
    writeln!(out, "read {n_judgments} judgments of {n_queries} queries")?;
    Ok(out.flush()?)
}

fn read_qrels(file: &Path, queries: &Path) -> anyhow::Result<Vec<Judgment>> {
    let texts = read_lines(queries, parse_query, "is not a query")?.into_iter().collect();
    Judgment::from_qrels(&text_of(file)?, &texts).with_context(|| format!("could not read `{}`", file.display()))
}

/// Parses the non-blank lines of a file.
fn read_lines<T>(file: &Path, parse: fn(&str) -> anyhow::Result<T>, problem: &str) -> anyhow::Result<Vec<T>> {
    let text = text_of(file)?;
    let lines = text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty());
    lines.map(|(line, n)| parse(line).with_context(|| format!("line {n} of `{}` {problem}", file.display()))).collect()
}

fn text_of(file: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("could not read `{}`", file.display()))
}

/// Parses a query's id and text.
fn parse_query(line: &str) -> anyhow::Result<(String, String)> {
    #[derive(Deserialize)]
    struct Query {
        _id: String,
        text: String,
    }
    if line.trim_start().starts_with('{') {
        let Query { _id, text } = serde_json::from_str(line).context("it needs the strings `_id` and `text`")?;
        return Ok((_id, text));
    }
    let (id, text) =
        line.split_once('\t').context("it needs an id, a tab and a text, or JSON with `_id` and `text`")?;
    Ok((id.trim().to_owned(), text.trim().to_owned()))
}

fn parse(line: &str) -> anyhow::Result<Judgment> {
    let [query, document, grade] = line.split('\t').collect::<Vec<_>>()[..] else {
        bail!(
            "it has {} columns; the line needs a query, a document id and a grade, separated by tabs",
            line.split('\t').count()
        );
    };
    let grade =
        grade.trim().parse().ok().with_context(|| format!("the grade `{grade}` is not an integer of at least 0"))?;
    if query.is_empty() || document.is_empty() {
        bail!("the query or the document id is empty");
    }
    Ok(Judgment { query: query.to_owned(), document: document.to_owned(), grade })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_json_lines_or_lines_of_two_columns() {
        let expected = ("q1".to_owned(), "boil an egg".to_owned());
        for line in
            ["{\"_id\": \"q1\", \"text\": \"boil an egg\", \"metadata\": {}}", "q1\tboil an egg", "q1\tboil an egg\r"]
        {
            assert_eq!(parse_query(line).unwrap(), expected, "{line}");
        }
        for (line, part) in [("{\"_id\": \"q1\"}", "`_id` and `text`"), ("boil an egg", "a tab")] {
            let error = parse_query(line).unwrap_err().to_string();
            assert!(error.contains(part), "{line}: {error}");
        }
    }

    #[test]
    fn judgments_are_lines_of_three_columns() {
        let expected = Judgment { query: "boil an egg".into(), document: "p 1".into(), grade: 2 };
        assert_eq!(parse("boil an egg\tp 1\t2").unwrap(), expected);
        for (line, part) in [
            ("boil an egg p1 2", "it has 1 columns"),
            ("q\tp1\t-1", "the grade `-1` is not"),
            ("q\tp1\t1.5", "the grade `1.5` is not"),
            ("\tp1\t1", "is empty"),
        ] {
            let error = parse(line).unwrap_err().to_string();
            assert!(error.contains(part), "{line}: {error}");
        }
    }
}
