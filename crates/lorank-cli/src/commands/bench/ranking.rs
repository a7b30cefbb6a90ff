//! `lorank bench --ranking`: measures how int8 ranks, compared with f32.

use std::io::Write;
use std::path::Path;

use anyhow::bail;
use lorank_core::{AdapterId, Fuzzy};
use lorank_eval::read_topics;
use lorank_model::{DeviceChoice, Int8Ranking, PrecisionChoice};
use lorank_server::{DataFolder, ModelSection, ServedFirstStage};
use lorank_tantivy::{Bm25FirstStage, Index};
use serde_json::{Value, json};

use super::{BenchArgs, requests_of_pairs};
use crate::commands::candidates::Candidates;
use crate::commands::int8::{self, Measured, Request};
use crate::{models, output};

pub(super) fn run(args: &BenchArgs, is_quiet: bool) -> anyhow::Result<()> {
    let mut section = args.model.section_of_one(&args.adapters)?;
    if args.model.has("model.precision") {
        bail!("--ranking compares int8 with f32; leave --precision out");
    }
    if !matches!(section.device, DeviceChoice::Auto | DeviceChoice::Cpu) {
        bail!("int8 runs on a CPU; leave out `--device {}`", section.device);
    }
    section.device = DeviceChoice::Cpu;
    if args.adapters.is_empty() {
        section = section.with_starter_adapters();
    }
    let data = args.data.folder()?;
    let requests = requests(args, is_quiet)?;
    let load = |precision| {
        let section = ModelSection { precision: PrecisionChoice::Fixed(precision).into(), ..section.clone() };
        models::load(&section, Some(data.clone()), is_quiet)
    };
    let measured = int8::measure(&requests, is_quiet, load)?;
    for Measured { ranking, .. } in &measured {
        data.keep_int8_ranking(ranking)?;
    }
    if args.json { output::print_json(&to_json(&measured, &data)) } else { print_text(&measured, &data) }
}

/// The queries with their candidates: the given pairs, BM25's candidates in an index, or those in the built-in corpus.
fn requests(args: &BenchArgs, is_quiet: bool) -> anyhow::Result<Vec<Request>> {
    let (n_queries, depth) = (args.queries_max.get(), args.depth.get());
    match (&args.pairs, &args.index, &args.queries) {
        (Some(path), _, _) => requests_of_pairs(path),
        (None, Some(index), Some(queries)) => {
            let first_stage = ServedFirstStage::Tantivy(Bm25FirstStage::new(Index::open(index)?));
            let candidates = Candidates::open(Some(first_stage), None::<&Path>, None, Fuzzy::default(), is_quiet)?;
            int8::requests_of(&candidates, &read_topics(queries)?, n_queries, depth)
        }
        _ => int8::starter_requests(n_queries, depth, is_quiet),
    }
}

fn to_json(measured: &[Measured], data: &DataFolder) -> Value {
    let of_ranker = |Measured { adapter, ranking }: &Measured| {
        json!({
            "adapter": adapter.as_ref().map(AdapterId::as_str),
            "holds": ranking.holds(),
            "relative_error": ranking.relative_error(),
            "measurement": ranking,
        })
    };
    json!({
        "limits": {"relative_error": Int8Ranking::ERROR_MAX, "kept": Int8Ranking::KEPT_MIN},
        "rankers": measured.iter().map(of_ranker).collect::<Vec<_>>(),
        "data": data.path(),
    })
}

fn print_text(measured: &[Measured], data: &DataFolder) -> anyhow::Result<()> {
    let mut out = output::stdout();
    for (Measured { adapter, ranking }, n) in measured.iter().zip(0..) {
        if n == 0 {
            writeln!(out, "{:<18}{} on {}", "base model", ranking.base_model, ranking.instruction_set)?;
        }
        let name = adapter.as_ref().map_or("none", AdapterId::as_str);
        writeln!(out, "{name:<18}{}: {ranking}", verdict(ranking))?;
    }
    let (error, kept) = (Int8Ranking::ERROR_MAX * 100.0, Int8Ranking::KEPT_MIN * 100.0);
    writeln!(out, "{:<18}error under {error:.1} % and at least {kept:.1} % kept", "required")?;
    writeln!(out, "{:<18}{}", "stored in", data.path().display())?;
    Ok(out.flush()?)
}

/// What `auto` takes from a measurement.
fn verdict(ranking: &Int8Ranking) -> &'static str {
    if ranking.holds() { "int8 preserves the ranking" } else { "int8 changes the ranking" }
}
