//! `lorank train`: trains a LoRA adapter. `lorank export-groups`: writes the groups that it would be trained on.

mod clicks;
mod data;
mod report;

use std::fs::File;
use std::io::Write;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use lorank_model::{AdapterSettings, TrainableModel};
use lorank_train::{
    Distillation, EncodedGroup, HeldOut, Loss, Objective, RankingLoss, TrainError, TrainOptions, Training,
    was_interrupted, write_groups,
};
use serde_json::json;

use self::data::{DataOptions, Source, TrainingData};
use self::report::Reporter;
use crate::data::StoreArgs;
use crate::failure::WrongUsage;
use crate::flags::ModelFlags;
use crate::{models, output};

/// Train a LoRA adapter from judgments or clicks
///
/// Groups are queries with relevant documents and negatives. Some queries are held out: whenever the adapter ranks them better than
/// before (nDCG@10), it is saved, as PEFT's `save_pretrained` does. Ctrl-C ends the training and keeps the best adapter; --resume
/// goes on with it.
///
/// It runs on the CPU unless --device names a GPU: `auto` is the CPU here. With --reference it runs the operations of a GPU on the
/// CPU.
#[derive(Debug, Args)]
pub(crate) struct TrainArgs {
    /// The folder of the new adapter
    #[arg(long, value_name = "DIR", required_unless_present = "dry_run")]
    output: Option<PathBuf>,
    /// Replace an adapter in the output folder
    #[arg(long)]
    overwrite: bool,
    /// Go on with an interrupted training of the output folder; the other flags and the data must be the same
    #[arg(long, conflicts_with = "overwrite")]
    resume: bool,
    /// Print how many queries and clicks there are and how often ranks are examined, and train nothing
    #[arg(long, requires = "clicks", conflicts_with_all = ["output", "overwrite", "resume", "dataset", "groups"])]
    dry_run: bool,
    /// Print JSON lines: each step, each evaluation, and the result
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    data: DataOptions,
    #[command(flatten)]
    adapter: AdapterOptions,
    #[command(flatten)]
    training: TrainingOptions,
    #[command(flatten)]
    model: ModelFlags,
    #[command(flatten)]
    folder: StoreArgs,
}

/// Write the groups that `lorank train` would train on as JSON lines, for training elsewhere
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// The file to write; standard output if not given
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    data: DataOptions,
    #[command(flatten)]
    model: ModelFlags,
    #[command(flatten)]
    folder: StoreArgs,
}

/// The options of the adapter.
#[derive(Debug, Args)]
#[command(next_help_heading = "Adapter options")]
struct AdapterOptions {
    /// The rank of the updates
    #[arg(long, value_name = "N", default_value = "16")]
    rank: NonZeroUsize,
    /// The updates are scaled by alpha / rank
    #[arg(long, value_name = "ALPHA", default_value = "32")]
    alpha: f64,
    /// The linear layers to update, by names or the last parts of names, as in query,value [default: all except the head]
    #[arg(long, value_name = "NAME,NAME,...", value_delimiter = ',')]
    targets: Vec<String>,
    /// The probability with which an input of an update is dropped
    #[arg(long, value_name = "P", default_value = "0.05", value_parser = parse_dropout)]
    dropout: f32,
}

/// The options of training.
#[derive(Debug, Args)]
#[command(next_help_heading = "Training options")]
struct TrainingOptions {
    /// The loss
    #[arg(long, value_name = "LOSS", value_enum, default_value_t)]
    loss: LossArg,
    /// The weight of the divergence from the teacher's scores beside a loss of labels; needs the teacher's scores
    #[arg(long, value_name = "W", default_value = "0.1", value_parser = parse_share)]
    distillation: f64,
    /// The temperature of both scores in the divergence
    #[arg(long, value_name = "T", default_value = "2", value_parser = parse_positive)]
    temperature: f64,
    /// How often each group is used
    #[arg(long, value_name = "N", default_value = "2")]
    epochs: NonZeroUsize,
    /// The number of groups of a step
    #[arg(long, value_name = "N", default_value = "8")]
    batch: NonZeroUsize,
    /// The highest learning rate; it rises in the first tenth of the steps and then falls to zero along a cosine
    #[arg(long, value_name = "RATE", default_value = "3e-4", value_parser = parse_positive)]
    learning_rate: f64,
    /// The share of steps in which the learning rate rises
    #[arg(long, value_name = "SHARE", default_value = "0.1", value_parser = parse_share)]
    warmup: f64,
    /// The weight decay of AdamW
    #[arg(long, value_name = "W", default_value = "0.01", value_parser = parse_share)]
    weight_decay: f64,
    /// The greatest norm of the gradients of a step
    #[arg(long, value_name = "NORM", default_value = "1", value_parser = parse_positive)]
    gradient_norm: f64,
    /// The number of held-out queries [default: a tenth, at most 50]
    #[arg(long, value_name = "N")]
    held_out: Option<NonZeroUsize>,
    /// How many candidates of BM25 are ranked for a held-out query of a collection
    #[arg(long, value_name = "N", default_value = "20")]
    held_out_depth: NonZeroUsize,
    /// How often the held-out queries are ranked in an epoch
    #[arg(long, value_name = "N", default_value = "2")]
    evaluations: NonZeroUsize,
    /// Stop when the held-out queries were ranked this often without a better result
    #[arg(long, value_name = "N", default_value = "4")]
    patience: NonZeroUsize,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum LossArg {
    /// Binary cross-entropy of each document
    #[default]
    Bce,
    /// The logistic loss of pairs
    Ranknet,
    /// The likelihood of the order
    Listmle,
    /// Pairs weighted by their change of nDCG
    Lambda,
    /// The teacher's differences of pairs
    MarginMse,
    /// The teacher's scores
    Mse,
}

fn parse_dropout(text: &str) -> Result<f32, String> {
    let value: f32 = text.parse().map_err(|_| "it must be a number".to_owned())?;
    (0.0..1.0).contains(&value).then_some(value).ok_or_else(|| "it must be from 0 to below 1".to_owned())
}

fn parse_share(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "it must be a number".to_owned())?;
    (0.0..=1.0).contains(&value).then_some(value).ok_or_else(|| "it must be from 0 to 1".to_owned())
}

fn parse_positive(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "it must be a number".to_owned())?;
    (value > 0.0 && value.is_finite()).then_some(value).ok_or_else(|| "it must be above 0".to_owned())
}

pub(crate) fn run(args: &TrainArgs, is_quiet: bool) -> anyhow::Result<()> {
    let Some(output) = &args.output else { return dry_run(args, is_quiet) };
    if output.join("adapter_config.json").exists() && !args.overwrite && !args.resume {
        let folder = output.display();
        let how = if was_interrupted(output) { ", --resume to go on with its training" } else { "" };
        return Err(
            WrongUsage(format!("`{folder}` has an adapter; name another folder{how}, or use --overwrite")).into()
        );
    }
    if args.resume && !was_interrupted(output) {
        let folder = output.display();
        return Err(
            WrongUsage(format!("`{folder}` has no interrupted training to go on with; leave --resume out")).into()
        );
    }
    let source = args.data.open(&args.folder, is_quiet)?;
    let section = args.model.section_of_one(&args.data.adapters())?;
    let models = models::load_for_training(&section, args.folder.folder().ok(), is_quiet)?;
    let Some(model) = models.bases.first().trainable() else { bail!("the base model was not loaded for training") };
    let mut adapter = model.new_adapter(&args.adapter.settings(), args.data.seed)?;
    let TrainingData { mut groups, held_out } =
        args.data.divided(source, args.training.held_out, args.training.held_out_depth)?;
    args.data.teach(&mut groups, &models, is_quiet)?;
    let options = args.options(groups.iter().all(|group| group.documents.iter().all(|it| it.teacher.is_some())));
    let encoded =
        groups.iter().map(|group| EncodedGroup::new(&model, group)).collect::<Result<Vec<_>, TrainError>>()?;
    let held_out_ids: Vec<String> = held_out.iter().map(|query| query.id.clone()).collect();
    let held_out = encode_held_out(&model, &held_out)?;
    let n_documents: usize = groups.iter().map(|group| group.documents.len()).sum();
    let reranker = models.bases.first();
    let base = &reranker.base().name;
    if args.json {
        report::print_line(&json!({
            "event": "start", "base_model": base, "n_groups": groups.len(), "n_pairs": n_documents,
            "n_held_out": held_out.n_queries(), "held_out": held_out_ids, "n_targets": adapter.n_targets(), "n_parameters": adapter.n_parameters(),
            "n_threads": options.n_threads, "device": reranker.device(), "precision": reranker.precision().to_string(),
        }))?;
    } else if !is_quiet {
        anstream::eprintln!(
            "{base} on {} in {}: {} parameters in {} layers; {} groups with {n_documents} documents, {} queries held out",
            reranker.device(),
            reranker.precision(),
            output::text::count(adapter.n_parameters()),
            adapter.n_targets(),
            groups.len(),
            held_out.n_queries()
        );
    }
    drop(groups);
    let n_steps = encoded.len().div_ceil(options.groups_per_step) * options.n_epochs;
    let mut reporter = Reporter::new(args.json, is_quiet, (n_steps / 50).max(1));
    let is_interrupted = interruption()?;
    let training = Training {
        model,
        groups: &encoded,
        held_out: &held_out,
        options: &options,
        folder: output,
        is_resumed: args.resume,
        is_interrupted: &is_interrupted,
    };
    let outcome = training.run(&mut adapter, |event| reporter.report(event))?;
    let folder = output.display().to_string();
    if args.json {
        return report::print_line(&report::json_of_outcome(&outcome, &folder));
    }
    let mut out = output::stdout();
    writeln!(out, "{}", report::text_of_outcome(&outcome, &folder))?;
    Ok(out.flush()?)
}

fn dry_run(args: &TrainArgs, is_quiet: bool) -> anyhow::Result<()> {
    match args.data.open(&args.folder, is_quiet)? {
        Source::Clicks(clicks) => clicks.print(args.json),
        _ => bail!("--dry-run needs --clicks"),
    }
}

pub(crate) fn export(args: &ExportArgs, is_quiet: bool) -> anyhow::Result<()> {
    let mut groups = args.data.all(args.data.open(&args.folder, is_quiet)?)?;
    if args.data.teacher.is_some() {
        let section = args.model.section_of_one(&args.data.adapters())?;
        let models = models::load(&section, args.folder.folder().ok(), is_quiet)?;
        args.data.teach(&mut groups, &models, is_quiet)?;
    }
    match &args.output {
        None => Ok(write_groups(&groups, output::stdout())?),
        Some(path) => {
            let write = || write_groups(&groups, File::create(path)?);
            write().with_context(|| format!("could not write `{}`", path.display()))
        }
    }
}

impl AdapterOptions {
    fn settings(&self) -> AdapterSettings {
        AdapterSettings { rank: self.rank, alpha: self.alpha, targets: self.targets.clone(), dropout: self.dropout }
    }
}

impl TrainArgs {
    fn options(&self, has_teacher: bool) -> TrainOptions {
        let training = &self.training;
        let distillation = Distillation { alpha: training.distillation, temperature: training.temperature };
        let distillation = (has_teacher && training.distillation > 0.0).then_some(distillation);
        let objective = match training.loss {
            LossArg::MarginMse => Objective { loss: Loss::MarginMse, distillation: None },
            LossArg::Mse => Objective { loss: Loss::Mse, distillation: None },
            LossArg::Bce => Objective { loss: Loss::Ranking(RankingLoss::BinaryCrossEntropy), distillation },
            LossArg::Ranknet => Objective { loss: Loss::Ranking(RankingLoss::RankNet), distillation },
            LossArg::Listmle => Objective { loss: Loss::Ranking(RankingLoss::ListMle), distillation },
            LossArg::Lambda => Objective { loss: Loss::Ranking(RankingLoss::Lambda), distillation },
        };
        TrainOptions {
            objective,
            n_epochs: training.epochs.get(),
            groups_per_step: training.batch.get(),
            learning_rate: training.learning_rate,
            warmup: training.warmup,
            weight_decay: training.weight_decay,
            gradient_norm_max: training.gradient_norm,
            evaluations_per_epoch: training.evaluations.get(),
            patience: training.patience.get(),
            seed: self.data.seed,
            n_threads: rayon::current_num_threads(),
        }
    }
}

fn encode_held_out(model: &TrainableModel<'_>, queries: &[data::HeldOutQuery]) -> anyhow::Result<HeldOut> {
    let mut held_out = HeldOut::default();
    for query in queries {
        held_out.push(model, &query.query, &query.candidates, query.grades.clone())?;
    }
    Ok(held_out)
}

/// Becomes true at Ctrl-C. A second Ctrl-C ends the process.
fn interruption() -> anyhow::Result<Arc<AtomicBool>> {
    let is_interrupted = Arc::new(AtomicBool::new(false));
    let flag = is_interrupted.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            if tokio::signal::ctrl_c().await.is_ok() {
                flag.store(true, Ordering::Relaxed);
                anstream::eprintln!("ending after this step; press Ctrl-C again to end immediately");
            }
            if tokio::signal::ctrl_c().await.is_ok() {
                std::process::exit(130);
            }
        });
    });
    Ok(is_interrupted)
}
