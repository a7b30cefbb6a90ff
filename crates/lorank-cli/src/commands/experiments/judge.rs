//! `lorank experiments judge`: judgments by which reports measure answers.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use lorank_experiment_store::{Judgment, StoreConfig};
use lorank_server::DataFolder;
use serde_json::json;

use crate::output;
use crate::output::text::count;

/// Read judgments, by which reports measure the answers of all experiments (nDCG@10); they take the place of those before
#[derive(Debug, Args)]
pub(crate) struct JudgeArgs {
    /// The file: a line for each judgment, with the query's text, the document's id and a whole number from 0 (not relevant) up,
    /// separated by tabs
    file: PathBuf,
    /// Print the counts as one JSON document
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &JudgeArgs, data: &DataFolder) -> anyhow::Result<()> {
    let judgments = read(&args.file)?;
    let n_judgments = judgments.len();
    let n_queries = judgments.iter().map(|judgment| &judgment.query).collect::<std::collections::HashSet<_>>().len();
    data.experiments(StoreConfig::default())?.set_judgments(judgments)?;
    if args.json {
        return output::print_json(&json!({"n_judgments": n_judgments, "n_queries": n_queries}));
    }
    let mut out = output::stdout();
    writeln!(out, "read {} judgments of {} queries", count(n_judgments), count(n_queries))?;
    Ok(out.flush()?)
}

fn read(file: &Path) -> anyhow::Result<Vec<Judgment>> {
    let text = std::fs::read_to_string(file).with_context(|| format!("could not read `{}`", file.display()))?;
    let lines = text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty());
    let judgment = |(line, n): (&str, usize)| {
        parse(line).with_context(|| format!("line {n} of `{}` is no judgment", file.display()))
    };
    let judgments = lines.map(judgment).collect::<anyhow::Result<Vec<Judgment>>>()?;
    if judgments.is_empty() {
        bail!(
            "`{}` has no judgments; write a query, a document's id and a grade on each line, separated by tabs",
            file.display()
        );
    }
    Ok(judgments)
}

fn parse(line: &str) -> anyhow::Result<Judgment> {
    let [query, document, grade] = line.split('\t').collect::<Vec<_>>()[..] else {
        bail!(
            "it has {} columns; write the query, the document's id and the grade, separated by tabs",
            line.split('\t').count()
        );
    };
    let grade =
        grade.trim().parse().ok().with_context(|| format!("the grade `{grade}` is not a whole number from 0 up"))?;
    if query.is_empty() || document.is_empty() {
        bail!("the query or the document's id is empty");
    }
    Ok(Judgment { query: query.to_owned(), document: document.to_owned(), grade })
}

#[cfg(test)]
mod tests {
    use super::*;

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
