//! The [`Reranker`] implementation of [`ModelReranker`]: encodes pairs on the request's thread, scores on the model's.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroUsize;
use std::sync::Arc;

use lorank_core::{
    AdapterId, AdapterVersion, BoxError, Candidate, Deadline, DocumentId, EncodedPair, ForeignPair, Group,
    ModelVersion, PassageOptions, Precision, Query, Reranker, Score, WindowCut, Windows,
};

use crate::model::PairToScore;
use crate::pass::StageTimes;
use crate::reranker::{Loaded, LoadedAdapter, ModelReranker};
use crate::tokenize::PairTokenizer;
use crate::{Measure, ModelError, Pair, Prompt, TokenCacheStats};

/// An encoded pair of this model: the payload of an [`EncodedPair`].
#[derive(Debug)]
struct ModelPair {
    tokens: Pair,
    /// For error messages.
    document: DocumentId,
    group: Arc<EncodedGroup>,
}

/// The data shared by the pairs of one call of [`Reranker::encode`].
#[derive(Debug)]
struct EncodedGroup {
    /// The number of the reranker that encoded the pairs.
    reranker: u64,
    /// The adapter, which stays in memory until the last pair is scored.
    loaded: Option<Arc<Loaded>>,
}

impl ModelReranker {
    /// Encodes a group like [`Reranker::encode`], with the given adapter, or else the loaded adapter that the group's
    /// model names.
    ///
    /// # Errors
    /// An adapter that is not loaded, a failure of the tokenizer, a pair that the model cannot score, or no GPU is left that could.
    pub fn encode_with(
        &self,
        group: Group<'_>,
        adapter: Option<&LoadedAdapter>,
    ) -> Result<Vec<EncodedPair>, ModelError> {
        self.model.check()?;
        let loaded = self.adapter_of(group, adapter)?;
        let (prompt, tokenizer) = self.prompt_for(group.query, loaded.as_deref())?;
        let pairs = tokenizer.pairs(&prompt, &group.query.text, group.candidates)?;
        let shared = Arc::new(EncodedGroup { reranker: self.number, loaded });
        let encoded = |(tokens, candidate): (Pair, &Candidate)| {
            let n_tokens = self.check_pair(&tokens, candidate)?;
            let (document, group) = (candidate.id.clone(), shared.clone());
            Ok(EncodedPair::new(n_tokens, ModelPair { tokens, document, group }))
        };
        pairs.into_iter().zip(group.candidates).map(encoded).collect()
    }

    /// Cuts texts into windows like [`Reranker::windows`], with the given adapter, or else the loaded adapter that the
    /// group's model names.
    ///
    /// # Errors
    /// An adapter that is not loaded, or a failure of the tokenizer.
    pub fn windows_with(
        &self,
        group: Group<'_>,
        cut: &WindowCut,
        adapter: Option<&LoadedAdapter>,
    ) -> Result<Vec<Windows>, ModelError> {
        let loaded = self.adapter_of(group, adapter)?;
        let (prompt, tokenizer) = self.prompt_for(group.query, loaded.as_deref())?;
        tokenizer.windows(&prompt, &group.query.text, group.candidates, cut)
    }

    /// Scores a batch like [`Reranker::score`], and measures the time.
    pub fn score_timed(&self, batch: &[&EncodedPair], measure: Measure) -> (Vec<Result<Score, BoxError>>, StageTimes) {
        let pairs: Vec<Result<&ModelPair, ForeignPair>> = batch.iter().map(|pair| self.own(pair)).collect();
        let mut groups: HashMap<*const EncodedGroup, usize> = HashMap::new();
        let to_score: Vec<(Option<&Loaded>, PairToScore<'_>)> = pairs
            .iter()
            .flatten()
            .map(|pair| {
                let n_groups = groups.len();
                let group = *groups.entry(Arc::as_ptr(&pair.group)).or_insert(n_groups);
                let loaded = pair.group.loaded.as_deref();
                let adapter = loaded.map(|loaded| &loaded.adapter);
                (loaded, PairToScore { pair: &pair.tokens, adapter, group })
            })
            .collect();
        let mut times = StageTimes::default();
        let mut scores = self.score_by_copy(&to_score, measure, &mut times).into_iter();
        let missing = || Err(ModelError::Compute(Arc::new(candle_core::Error::Msg("a pair has no score".into()))));
        let outcome = |pair: Result<&ModelPair, ForeignPair>| {
            let pair = pair?;
            let score = scores.next().unwrap_or_else(missing)?;
            let document = || pair.document.clone();
            Ok(Score::new(score).map_err(|_| ModelError::NotFiniteScore { document: document(), score })?)
        };
        (pairs.into_iter().map(outcome).collect(), times)
    }

    /// Scores pairs, each on the copy of the base model that loaded its adapter, one copy after the other.
    fn score_by_copy(
        &self,
        pairs: &[(Option<&Loaded>, PairToScore<'_>)],
        measure: Measure,
        times: &mut StageTimes,
    ) -> Vec<Result<f32, ModelError>> {
        let precision = |loaded: Option<&Loaded>| loaded.map_or(self.precision(), |loaded| loaded.summary.precision);
        let mut by_precision: BTreeMap<Precision, Vec<usize>> = BTreeMap::new();
        for (at, (loaded, _)) in pairs.iter().enumerate() {
            by_precision.entry(precision(*loaded)).or_default().push(at);
        }
        let mut scores: Vec<Option<Result<f32, ModelError>>> = pairs.iter().map(|_| None).collect();
        for of_copy in by_precision.into_values() {
            let copy = pairs[of_copy[0]].0.and_then(|loaded| loaded.copy.as_deref()).unwrap_or(&*self.model);
            let found = copy.score(&of_copy.iter().map(|at| pairs[*at].1).collect::<Vec<_>>(), measure, times);
            of_copy.into_iter().zip(found).for_each(|(at, score)| scores[at] = Some(score));
        }
        scores.into_iter().map(|score| score.expect("each pair has a score")).collect()
    }

    /// The tokens of a query with each candidate under `adapter`.
    ///
    /// # Errors
    /// [`ModelError::UnknownAdapter`], or a failure of the tokenizer.
    pub fn tokens(
        &self,
        adapter: Option<&AdapterId>,
        query: &str,
        candidates: &[Candidate],
    ) -> Result<Vec<Pair>, ModelError> {
        let loaded = adapter.map(|id| self.loaded(id)).transpose()?;
        let (prompt, tokenizer) =
            loaded.as_ref().map_or((&self.prompt, &self.tokenizer), |it| (&it.prompt, &it.tokenizer));
        tokenizer.pairs(prompt, query, candidates)
    }

    /// The contents and counters of the cache of tokenized documents.
    pub fn token_cache_stats(&self) -> TokenCacheStats {
        self.tokenizer.cache_stats()
    }

    /// Drops all cached tokens, as if no document had been encoded yet: for measurements.
    pub fn clear_token_cache(&self) {
        self.tokenizer.clear_cache();
        self.read_adapters(|adapters| adapters.values().for_each(|adapter| adapter.tokenizer.clear_cache()));
    }

    /// The given adapter, or else the loaded adapter that the group's model names.
    fn adapter_of(&self, group: Group<'_>, adapter: Option<&LoadedAdapter>) -> Result<Option<Arc<Loaded>>, ModelError> {
        match adapter {
            Some(adapter) => Ok(Some(adapter.0.clone())),
            None => group.model.adapter.as_ref().map(|version| self.kept(version)).transpose(),
        }
    }

    /// The prompt with a query's instruction, and the tokenizer.
    fn prompt_for<'a>(
        &'a self,
        query: &Query,
        loaded: Option<&'a Loaded>,
    ) -> Result<(Cow<'a, Prompt>, &'a PairTokenizer), ModelError> {
        let (prompt, tokenizer) = loaded.map_or((&self.prompt, &self.tokenizer), |it| (&it.prompt, &it.tokenizer));
        let Some(instruction) = &query.instruction else { return Ok((Cow::Borrowed(prompt), tokenizer)) };
        let refused = |why| ModelError::Prompt {
            folder: self.summary.name.clone(),
            what: "the prompt for the query's instruction".to_owned(),
            why,
        };
        let prompt = prompt.clone().instructed(instruction).map_err(refused)?;
        tokenizer.check(&prompt, &self.summary.name)?;
        Ok((Cow::Owned(prompt), tokenizer))
    }

    /// The loaded adapter with the name of a version, if it still is that version.
    fn kept(&self, version: &AdapterVersion) -> Result<Arc<Loaded>, ModelError> {
        match self.loaded(&version.id) {
            Ok(loaded) if loaded.summary.version.digest != version.digest => {
                Err(ModelError::Replaced { adapter: version.id.clone() })
            }
            loaded => loaded,
        }
    }

    /// The number of a pair's tokens, after checking that the model can score it.
    fn check_pair(&self, pair: &Pair, candidate: &Candidate) -> Result<NonZeroUsize, ModelError> {
        let document = || candidate.id.clone();
        if let Some(token) = self.model.facts().unknown_token(pair) {
            let n_known = self.model.facts().n_tokens_known;
            return Err(ModelError::UnknownToken { document: document(), token, n_known });
        }
        NonZeroUsize::new(pair.ids.len()).ok_or_else(|| ModelError::NoTokens { document: document() })
    }

    /// Whether this reranker encoded the pair.
    pub(crate) fn has_encoded(&self, pair: &EncodedPair) -> bool {
        self.own(pair).is_ok()
    }

    /// The payload of a pair that this reranker encoded.
    fn own<'a>(&self, pair: &'a EncodedPair) -> Result<&'a ModelPair, ForeignPair> {
        let pair: &ModelPair = pair.payload()?;
        if pair.group.reranker == self.number { Ok(pair) } else { Err(ForeignPair) }
    }
}

impl Reranker for ModelReranker {
    fn resolve(&self, adapter: Option<&AdapterId>) -> Result<ModelVersion, BoxError> {
        match adapter {
            Some(id) => Ok(self.version(Some(&*self.loaded(id)?))),
            None if !self.summary.has_head => Err(self.missing_head(None).into()),
            None => Ok(self.version(None)),
        }
    }

    fn instructed(&self, model: ModelVersion, instruction: &str) -> Result<ModelVersion, BoxError> {
        self.instructed_version(model, instruction, None)
    }

    fn encode(&self, group: Group<'_>, _deadline: Option<Deadline>) -> Result<Vec<EncodedPair>, BoxError> {
        Ok(self.encode_with(group, None)?)
    }

    fn passages(&self, model: &ModelVersion) -> Result<PassageOptions, BoxError> {
        Ok(self.passages_of(model, None)?)
    }

    fn windows(
        &self,
        group: Group<'_>,
        cut: &WindowCut,
        _deadline: Option<Deadline>,
    ) -> Result<Vec<Windows>, BoxError> {
        Ok(self.windows_with(group, cut, None)?)
    }

    /// Uses the base model's prompt; an adapter's may differ. Ignores texts that cannot be encoded, because scoring
    /// reports them.
    fn unknown_share(&self, group: Group<'_>) -> f32 {
        self.tokenizer.unknown_share(&self.prompt, &group.query.text, group.candidates).unwrap_or(0.0)
    }

    fn score(&self, batch: &[&EncodedPair]) -> Vec<Result<Score, BoxError>> {
        self.score_timed(batch, Measure::Total).0
    }
}
