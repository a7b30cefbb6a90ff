//! The groups that an adapter is trained on, and the queries that are held out.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use anyhow::{anyhow, bail};
use clap::Args;
use lorank_core::{AdapterId, Candidate, DocumentId, Group as CandidateGroup, Query, Reranker, Score, score_groups};
use lorank_eval::{Collection, Topic};
use lorank_server::{AdapterSpec, LoadedModels, ServedFirstStage};
use lorank_tantivy::{Bm25FirstStage, Index};
use lorank_train::{Group, MiningOptions, add_scores, drop_false_negatives, mine, read_groups, split};

use super::clicks::{ClickOptions, Clicks};
use crate::commands::candidates::Candidates;
use crate::commands::search::FuzzyArg;
use crate::data::StoreArgs;
use crate::output::progress;

/// The options of training data.
#[derive(Debug, Args)]
#[command(next_help_heading = "Data options")]
pub(crate) struct DataOptions {
    /// A test collection in BEIR's layout, whose judged queries become groups: a folder with corpus.jsonl, queries.jsonl and
    /// qrels/train.tsv
    #[arg(long, value_name = "DIR", required_unless_present_any = ["groups", "clicks"], conflicts_with_all = ["groups", "clicks"])]
    dataset: Option<PathBuf>,
    /// Groups as JSON lines: a query with its documents, their labels, and the teacher's scores if there are any
    #[arg(long, value_name = "FILE", conflicts_with = "clicks")]
    groups: Option<PathBuf>,
    /// Learn from the clicks that a server logged in the data folder, on documents of --index: a label is the clicks of a document
    /// per examination of its ranks
    #[arg(long, requires = "index")]
    pub(super) clicks: bool,
    #[command(flatten)]
    of_clicks: ClickOptions,
    /// The judgments of the collection to use: qrels/SPLIT.tsv
    #[arg(long, value_name = "SPLIT", default_value = "train", conflicts_with_all = ["qrels", "groups", "clicks"])]
    split: String,
    /// Judgments from another file, in TREC's or BEIR's columns
    #[arg(long, value_name = "FILE", conflicts_with_all = ["groups", "clicks"])]
    qrels: Option<PathBuf>,
    /// Queries from another file: JSON lines, lines with an id, a tab and a text, or TREC topics
    #[arg(long, value_name = "FILE", conflicts_with_all = ["groups", "clicks"])]
    queries: Option<PathBuf>,
    /// An index of the collection, instead of a temporary one
    #[arg(long, value_name = "DIR", conflicts_with = "groups")]
    index: Option<PathBuf>,
    /// Hits of BM25 that are added to a group as negatives, drawn at random from those without a positive grade
    #[arg(long, value_name = "N", default_value = "7", conflicts_with_all = ["groups", "clicks"])]
    negatives: usize,
    /// Draw negatives from this many hits
    #[arg(long, value_name = "N", default_value = "50", conflicts_with_all = ["groups", "clicks"])]
    negatives_from: NonZeroUsize,
    /// The most relevant documents of a group, those with the highest grades
    #[arg(long, value_name = "N", default_value = "4", conflicts_with_all = ["groups", "clicks"])]
    positives_max: NonZeroUsize,
    /// The adapter whose scores are learned from too: a name or folder of an adapter, or none for the bare base model
    #[arg(long, value_name = "ADAPTER")]
    pub(super) teacher: Option<AdapterSpec>,
    /// Remove negatives that the teacher scores higher than the best relevant document minus this: they are probably relevant
    #[arg(long, value_name = "MARGIN", requires = "teacher", conflicts_with = "clicks", allow_negative_numbers = true)]
    negative_margin: Option<f64>,
    /// The seed of all random choices: of negatives, held-out queries, first weights, order and dropout
    #[arg(long, value_name = "N", default_value = "0")]
    pub(super) seed: u64,
}

/// Groups to train on, and those that are held out.
pub(super) struct TrainingData {
    pub(super) groups: Vec<Group>,
    pub(super) held_out: Vec<HeldOutQuery>,
}

/// A held-out query with its candidates and the grades of all its judged documents.
pub(super) struct HeldOutQuery {
    /// Its id, or its text if it has none.
    pub(super) id: String,
    pub(super) query: String,
    pub(super) candidates: Vec<Candidate>,
    pub(super) grades: lorank_eval::Grades,
}

/// Where groups come from.
pub(super) enum Source {
    Groups(Vec<Group>),
    Collection { collection: Box<Collection>, candidates: Box<Candidates> },
    Clicks(Box<Clicks>),
}

impl DataOptions {
    /// Reads the groups or the clicks, or opens the collection.
    pub(super) fn open(&self, folder: &StoreArgs, is_quiet: bool) -> anyhow::Result<Source> {
        if let Some(path) = &self.groups {
            return Ok(Source::Groups(read_groups(path)?));
        }
        if let Some(index) = self.index.as_ref().filter(|_| self.clicks) {
            return Ok(Source::Clicks(Box::new(self.of_clicks.read(index, &folder.folder()?)?)));
        }
        let Some(dataset) = &self.dataset else { bail!("name the data with --dataset, --groups or --clicks") };
        let collection = Collection::open(dataset, &self.split, self.queries.as_deref(), self.qrels.as_deref())?;
        let over =
            |dir: &PathBuf| Ok::<_, anyhow::Error>(ServedFirstStage::Tantivy(Bm25FirstStage::new(Index::open(dir)?)));
        let index = self.index.as_ref().map(over).transpose()?;
        let fuzzy = FuzzyArg::default().into();
        let candidates = Candidates::open(index, collection.corpus.as_deref(), None, fuzzy, is_quiet)?;
        Ok(Source::Collection { collection: Box::new(collection), candidates: Box::new(candidates) })
    }

    /// All groups.
    pub(super) fn all(&self, source: Source) -> anyhow::Result<Vec<Group>> {
        match source {
            Source::Groups(groups) => Ok(groups),
            Source::Collection { collection, candidates } => self.mine(&collection.topics, &collection, &candidates),
            Source::Clicks(clicks) => Ok(clicks.groups),
        }
    }

    /// Groups to train on, and held-out queries: `n` of them, or a tenth, at most 50.
    pub(super) fn divided(
        &self,
        source: Source,
        n: Option<NonZeroUsize>,
        depth: NonZeroUsize,
    ) -> anyhow::Result<TrainingData> {
        let share = |n_all: usize| match n {
            Some(n) => n.get() as f64 / n_all as f64,
            None => 0.1_f64.min(50.0 / n_all as f64),
        };
        match source {
            Source::Groups(groups) => {
                let share = share(groups.len());
                let (groups, held_out) = split(groups, share, self.seed)?;
                let held_out = held_out.iter().map(|group| held_out_group(group, 1.0)).collect();
                Ok(TrainingData { groups, held_out })
            }
            Source::Clicks(clicks) => {
                let share = share(clicks.groups.len());
                let (groups, held_out) = split(clicks.groups, share, self.seed)?;
                // Grades are whole numbers, and the measure does not depend on their scale.
                let held_out = held_out.iter().map(|group| held_out_group(group, 1_000.0)).collect();
                Ok(TrainingData { groups, held_out })
            }
            Source::Collection { collection, candidates } => {
                let share = share(collection.topics.len());
                let (topics, held_out) = split(collection.topics.clone(), share, self.seed)?;
                let groups = self.mine(&topics, &collection, &candidates)?;
                let held_out = held_out.iter().map(|topic| {
                    let grades = collection.qrels.grades(&topic.id).cloned().unwrap_or_default();
                    let id = topic.id.clone();
                    Ok(HeldOutQuery { id, query: topic.text.clone(), candidates: candidates.of(topic, depth)?, grades })
                });
                Ok(TrainingData { groups, held_out: held_out.collect::<anyhow::Result<_>>()? })
            }
        }
    }

    fn mine(&self, topics: &[Topic], collection: &Collection, candidates: &Candidates) -> anyhow::Result<Vec<Group>> {
        // The teacher removes some of them.
        let n_negatives = if self.negative_margin.is_some() { 2 * self.negatives } else { self.negatives };
        let options = MiningOptions {
            depth: self.negatives_from,
            n_negatives,
            n_positives_max: self.positives_max.get(),
            seed: self.seed,
        };
        let read = |id: &str| candidates.read(&DocumentId::new(id), Score::new(0.0)?);
        mine(topics, &collection.qrels, candidates.first_stage(), read, &options)
    }

    /// Adds the teacher's scores, and removes negatives by them.
    pub(super) fn teach(&self, groups: &mut [Group], models: &LoadedModels, is_quiet: bool) -> anyhow::Result<()> {
        let Some(teacher) = &self.teacher else { return Ok(()) };
        let id: Option<AdapterId> = match teacher {
            AdapterSpec::None => None,
            _ => models.default_adapter(),
        };
        let model = models.bases.resolve(id.as_ref()).map_err(|error| anyhow!(error))?;
        let bar = progress::of(groups.len() as u64, "queries scored by the teacher", is_quiet);
        add_scores(groups, |query, candidates| {
            let query = Query::new(query);
            let group = CandidateGroup { query: &query, model: &model, candidates };
            bar.inc(1);
            let scores = score_groups(&models.bases, &[group]).remove(0).map_err(|error| anyhow!(error))?;
            Ok::<_, anyhow::Error>(scores.into_iter().map(Score::get).collect())
        })?;
        bar.finish_and_clear();
        if let Some(margin) = self.negative_margin {
            drop_false_negatives(groups, margin, self.negatives);
        }
        Ok(())
    }

    /// The adapters to load: the teacher.
    pub(super) fn adapters(&self) -> Vec<AdapterSpec> {
        self.teacher.iter().filter(|teacher| !matches!(teacher, AdapterSpec::None)).cloned().collect()
    }
}

/// A held-out group: its documents are the candidates, and their labels times a factor, rounded, the grades.
fn held_out_group(group: &Group, factor: f64) -> HeldOutQuery {
    // The ids must not tell the relevant documents, which come first in most files and would win ties.
    let id = |n: usize| format!("{:016x}", (n as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let grade =
        |(n, document): (usize, &lorank_train::GroupDocument)| (id(n), (document.label * factor).round() as i32);
    let candidate = |(n, document): (usize, &lorank_train::GroupDocument)| {
        let score = Score::new(0.0).expect("zero is finite");
        let mut candidate = Candidate::new(id(n), document.text.as_str(), score);
        candidate.title = document.title.as_deref().map(Into::into);
        candidate
    };
    HeldOutQuery {
        id: group.query_id.clone().unwrap_or_else(|| group.query.clone()),
        query: group.query.clone(),
        candidates: group.documents.iter().enumerate().map(candidate).collect(),
        grades: group.documents.iter().enumerate().map(grade).collect(),
    }
}
