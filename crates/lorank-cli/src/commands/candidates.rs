//! The candidates of an evaluation: retrieved by BM25 or by a search engine, or named by a run.

use std::cell::Cell;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, anyhow, bail};
use lorank_core::{Candidate, DocumentId, FirstStage, Fuzzy, Query, Score};
use lorank_eval::{Run, Topic};
use lorank_server::ServedFirstStage;
use lorank_tantivy::input::{self, Input, InputOptions};
use lorank_tantivy::{Bm25FirstStage, BulkOptions, Index, IndexSettings, WriterOptions, index_documents};
use tempfile::TempDir;

use crate::output::progress;
use crate::output::text::number_of;

/// The candidates of queries.
pub(crate) struct Candidates {
    first_stage: ServedFirstStage,
    run: Option<(PathBuf, Run)>,
    fuzzy: Fuzzy,
    /// The total time of retrieval.
    seconds: Cell<f64>,
    /// Removed at the end.
    _folder: Option<TempDir>,
}

impl Candidates {
    /// Takes the first stage that was named, or indexes the collection into a temporary folder.
    pub(crate) fn open(
        first_stage: Option<ServedFirstStage>,
        corpus: Option<&Path>,
        run: Option<(PathBuf, Run)>,
        fuzzy: Fuzzy,
        is_quiet: bool,
    ) -> anyhow::Result<Self> {
        let (first_stage, folder) = match (first_stage, corpus) {
            (Some(first_stage), _) => (first_stage, None),
            (None, Some(corpus)) => {
                let folder = tempfile::tempdir().context("could not make a temporary folder for the index")?;
                let index = index(corpus, &folder, is_quiet)?;
                (ServedFirstStage::Tantivy(Bm25FirstStage::new(index)), Some(folder))
            }
            (None, None) => bail!("there are no documents to search; name an index with --index"),
        };
        Ok(Self { first_stage, run, fuzzy, seconds: Cell::new(0.0), _folder: folder })
    }

    /// The first candidates of a query, best first.
    pub(crate) fn of(&self, topic: &Topic, depth: NonZeroUsize) -> anyhow::Result<Vec<Candidate>> {
        if let Some((path, run)) = &self.run {
            let ranking = run.ranking(&topic.id).unwrap_or_default().iter().take(depth.get());
            return ranking
                .map(|scored| {
                    let id = DocumentId::new(scored.document.as_str());
                    let found = self.read(&id, Score::new(scored.score)?)?;
                    found.with_context(|| {
                        format!(
                            "`{}` ranks the document `{id}` for query `{}`, and the index has no such document",
                            path.display(),
                            topic.id
                        )
                    })
                })
                .collect();
        }
        let query = Query { fuzzy: self.fuzzy, ..Query::new(topic.text.as_str()) };
        let started = Instant::now();
        let found = self.first_stage.retrieve(&query, depth).map_err(|error| anyhow!(error))?;
        self.seconds.set(self.seconds.get() + started.elapsed().as_secs_f64());
        Ok(found)
    }

    /// A document as a candidate with this score; `None` if the index does not have it.
    pub(crate) fn read(&self, id: &DocumentId, score: Score) -> anyhow::Result<Option<Candidate>> {
        self.first_stage.candidate(id, score).map_err(|error| anyhow!(error))
    }

    /// The first stage alone.
    pub(crate) fn first_stage(&self) -> &ServedFirstStage {
        &self.first_stage
    }

    /// The total time of retrieval, in seconds; `None` if the candidates come from a run.
    pub(crate) fn seconds(&self) -> Option<f64> {
        self.run.is_none().then(|| self.seconds.get())
    }
}

fn index(corpus: &Path, folder: &TempDir, is_quiet: bool) -> anyhow::Result<Index> {
    let settings = IndexSettings::default();
    let index = Index::create(folder.path(), &settings)?;
    let documents = input::open(&[Input::from(corpus.to_owned())], &settings, &InputOptions::default())?;
    let read = documents.progress();
    let bar = progress::bytes(read.bytes_total().unwrap_or(0), is_quiet);
    let mut writer = index.writer(&WriterOptions::default())?;
    let report = index_documents(&mut writer, documents, BulkOptions::default(), |done| {
        bar.set_position(read.bytes_read());
        bar.set_message(number_of(done.n_indexed, "document"));
    })?;
    writer.close()?;
    bar.finish_and_clear();
    if report.n_documents == 0 {
        bail!("there is no document in `{}`", corpus.display());
    }
    Ok(index)
}
