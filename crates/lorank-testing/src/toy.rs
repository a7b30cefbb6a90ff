//! Small stand-ins for both engines, whose every move a test decides.
//!
//! Nothing here sleeps: a [`Gate`] holds an engine up for as long as a test wants it held.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use lorank_core::{
    AdapterId, AdapterVersion, BoxError, Candidate, Deadline, Digest, EncodedPair, FirstStage, Group, ModelVersion,
    Precision, Query, Reranker, Score, Snippet, Value,
};

/// `n` candidates `d1`, `d2` and so on, each with a title and a text of its own, their first-stage scores falling by one.
pub fn candidates(n: usize) -> Vec<Candidate> {
    let candidate = |n_above: usize| {
        let name = n_above + 1;
        let (title, text) = (format!("Title {name}"), format!("text of document {name}"));
        let score = Score::new((n - n_above) as f32).expect("a count is finite");
        let fields = vec![
            ("title".to_owned(), Value::from(title.as_str())),
            ("text".to_owned(), Value::from(text.as_str())),
            ("year".to_owned(), Value::Integer(2000 + name as i64)),
        ];
        Candidate { title: Some(title.into()), fields, ..Candidate::new(format!("d{name}"), text, score) }
    };
    (0..n).map(candidate).collect()
}

/// A first stage that finds the same candidates for every query, and keeps what it was asked.
#[derive(Debug, Default)]
pub struct ToyFirstStage {
    candidates: Vec<Candidate>,
    failure: Option<&'static str>,
    gate: Option<Arc<Gate>>,
    asked: Mutex<Vec<(Query, usize)>>,
}

impl ToyFirstStage {
    /// A first stage that finds these, in this order.
    pub fn new(candidates: Vec<Candidate>) -> Self {
        Self { candidates, ..Self::default() }
    }

    /// A first stage that always fails.
    pub fn failing(message: &'static str) -> Self {
        Self { failure: Some(message), ..Self::default() }
    }

    /// Holds every retrieval up at the gate.
    pub fn behind(mut self, gate: Arc<Gate>) -> Self {
        self.gate = Some(gate);
        self
    }

    /// Each query that came, with its depth.
    pub fn asked(&self) -> Vec<(Query, usize)> {
        lock(&self.asked).clone()
    }
}

impl FirstStage for ToyFirstStage {
    fn retrieve(&self, query: &Query, depth: NonZeroUsize) -> Result<Vec<Candidate>, BoxError> {
        lock(&self.asked).push((query.clone(), depth.get()));
        if let Some(gate) = &self.gate {
            gate.pass();
        }
        match self.failure {
            Some(message) => Err(message.into()),
            None => Ok(self.candidates.iter().take(depth.get()).cloned().collect()),
        }
    }

    /// The text with its first word marked; none where there is no text.
    fn snippets(&self, _query: &Query, candidates: &[&Candidate]) -> Result<Vec<Option<Snippet>>, BoxError> {
        let snippet = |text: &str| {
            let first_word = 0..text.split(' ').next().map_or(0, str::len);
            (!text.is_empty()).then(|| Snippet::new(text, [first_word]))
        };
        Ok(candidates.iter().map(|candidate| snippet(&candidate.text)).collect())
    }
}

/// How a [`FakeReranker`] breaks its contract, or fails within it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Every pair gets an error with this text.
    Error(&'static str),
    /// It panics with this text.
    Panic(&'static str),
    /// A batch gets one score too few.
    OneScoreTooFew,
    /// A batch gets no score at all.
    NoScores,
    /// No pair can be encoded, for this reason.
    Encoding(&'static str),
}

/// A pair as a [`FakeReranker`] encodes it, at a token each, so that a test counts a batch's tokens in pairs.
#[derive(Debug, Clone)]
pub struct ToyPair {
    /// The query.
    pub query: Arc<Query>,
    /// The model that scores.
    pub model: Arc<ModelVersion>,
    /// The document.
    pub candidate: Candidate,
}

impl ToyPair {
    /// The pairs of a group, each of so many tokens.
    pub fn encode(group: Group<'_>, n_tokens: NonZeroUsize) -> Vec<EncodedPair> {
        let (query, model) = (Arc::new(group.query.clone()), Arc::new(group.model.clone()));
        let pair = |candidate: &Candidate| {
            let (query, model, candidate) = (query.clone(), model.clone(), candidate.clone());
            EncodedPair::new(n_tokens, Self { query, model, candidate })
        };
        group.candidates.iter().map(pair).collect()
    }
}

type ScoreFn = dyn Fn(&Query, &ModelVersion, &Candidate) -> f32 + Send + Sync;

/// A reranker that counts what it is asked. A score that is not finite is an error of its pair.
pub struct FakeReranker {
    score: Box<ScoreFn>,
    adapters: BTreeSet<&'static str>,
    /// What names stand for beside themselves: an adapter, and how often its files were replaced.
    names: Mutex<BTreeMap<&'static str, (&'static str, u8)>>,
    gate: Option<Arc<Gate>>,
    fault: Mutex<Option<Fault>>,
    n_calls: AtomicUsize,
    n_pairs: AtomicUsize,
}

impl fmt::Debug for FakeReranker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeReranker").field("adapters", &self.adapters).finish_non_exhaustive()
    }
}

impl FakeReranker {
    /// A reranker whose scores follow from all that a score may depend on, in [`hashed_score`]'s manner.
    pub fn hashing() -> Self {
        Self::by(hashed_score)
    }

    /// A reranker with these scores.
    pub fn by(score: impl Fn(&Query, &ModelVersion, &Candidate) -> f32 + Send + Sync + 'static) -> Self {
        Self {
            score: Box::new(score),
            adapters: BTreeSet::new(),
            names: Mutex::new(BTreeMap::new()),
            gate: None,
            fault: Mutex::new(None),
            n_calls: AtomicUsize::new(0),
            n_pairs: AtomicUsize::new(0),
        }
    }

    /// Adds adapters. Without any, only the bare base model answers.
    pub fn with_adapters(mut self, ids: &[&'static str]) -> Self {
        self.adapters.extend(ids);
        self
    }

    /// Has a name stand for an adapter whose files were replaced so many times: an alias, or an adapter's own id.
    pub fn point(&self, name: &'static str, adapter: &'static str, n_replaced: u8) {
        lock(&self.names).insert(name, (adapter, n_replaced));
    }

    /// Holds every call up at the gate.
    pub fn behind(mut self, gate: Arc<Gate>) -> Self {
        self.gate = Some(gate);
        self
    }

    /// Breaks the reranker, or mends it.
    pub fn set_fault(&self, fault: Option<Fault>) {
        *lock(&self.fault) = fault;
    }

    /// How often it was called.
    pub fn n_calls(&self) -> usize {
        self.n_calls.load(Ordering::SeqCst)
    }

    /// How many pairs it was given.
    pub fn n_pairs(&self) -> usize {
        self.n_pairs.load(Ordering::SeqCst)
    }

    fn score_pair(&self, pair: &EncodedPair) -> Result<Score, BoxError> {
        let ToyPair { query, model, candidate } = pair.payload()?;
        Ok(Score::new((self.score)(query, model, candidate))?)
    }
}

impl Reranker for FakeReranker {
    fn resolve(&self, adapter: Option<&AdapterId>) -> Result<ModelVersion, BoxError> {
        let target = adapter.and_then(|name| lock(&self.names).get(name.as_str()).copied());
        if let Some((target, n_replaced)) = target {
            let mut version = model(Some(&target.parse()?));
            if let Some(adapter) = version.adapter.as_mut().filter(|_| n_replaced > 0) {
                adapter.digest = Digest::new([n_replaced; 32]);
            }
            return Ok(version);
        }
        match adapter {
            Some(id) if !self.adapters.contains(id.as_str()) => {
                Err(format!("no adapter `{id}` is loaded; loaded are {:?}", self.adapters).into())
            }
            _ => Ok(model(adapter)),
        }
    }

    fn instructed(&self, model: ModelVersion, instruction: &str) -> Result<ModelVersion, BoxError> {
        let digest = Digest::new(std::array::from_fn(|n| hash(&[instruction]).rotate_left(n as u32) as u8));
        Ok(ModelVersion { prompt_version: digest, ..model })
    }

    fn encode(&self, group: Group<'_>, _deadline: Option<Deadline>) -> Result<Vec<EncodedPair>, BoxError> {
        match *lock(&self.fault) {
            Some(Fault::Encoding(message)) => Err(message.into()),
            _ => Ok(ToyPair::encode(group, NonZeroUsize::MIN)),
        }
    }

    fn score(&self, batch: &[&EncodedPair]) -> Vec<Result<Score, BoxError>> {
        self.n_calls.fetch_add(1, Ordering::SeqCst);
        self.n_pairs.fetch_add(batch.len(), Ordering::SeqCst);
        if let Some(gate) = &self.gate {
            gate.pass();
        }
        let fault = *lock(&self.fault);
        let scored = batch.iter().map(|pair| self.score_pair(pair));
        match fault {
            None | Some(Fault::Encoding(_)) => scored.collect(),
            Some(Fault::Error(message)) => batch.iter().map(|_| Err(message.into())).collect(),
            Some(Fault::Panic(message)) => panic!("{message}"),
            Some(Fault::OneScoreTooFew) => scored.skip(1).collect(),
            Some(Fault::NoScores) => Vec::new(),
        }
    }
}

/// The version of a toy model with the given adapter: its digest follows from its id.
pub fn model(adapter: Option<&AdapterId>) -> ModelVersion {
    let digest =
        |id: &AdapterId| Digest::new(std::array::from_fn(|n| hash(&[id.as_str()]).rotate_left(n as u32) as u8));
    ModelVersion {
        base_model: "toy".into(),
        base_digest: Digest::new([1; 32]),
        adapter: adapter.map(|id| AdapterVersion { id: id.clone(), digest: digest(id) }),
        prompt_version: Digest::new([2; 32]),
        precision: Precision::F32,
        merged: false,
    }
}

/// One of 17 scores from -4 to 4, from the query's text and instruction, the adapter, the title and the text. Ties are
/// frequent.
pub fn hashed_score(query: &Query, model: &ModelVersion, candidate: &Candidate) -> f32 {
    let adapter = model.adapter.as_ref().map_or("", |adapter| adapter.id.as_str());
    let mut parts = vec![&*query.text, adapter, candidate.title.as_deref().unwrap_or("(none)"), &candidate.text];
    parts.extend(query.instruction.as_deref());
    let hash = hash(&parts);
    (hash % 17) as f32 / 2.0 - 4.0
}

/// FNV-1a with a zero byte after each part, its bits mixed down to the low ones.
fn hash(parts: &[&str]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([0]));
    let hash =
        bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    hash ^ (hash >> 32)
}

/// A gate that calls wait at until a test opens it.
#[derive(Debug, Default)]
pub struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct GateState {
    is_open: bool,
    n_arrived: usize,
}

impl Gate {
    /// A closed gate.
    pub fn closed() -> Arc<Self> {
        Arc::default()
    }

    /// Opens the gate, for good.
    pub fn open(&self) {
        lock(&self.state).is_open = true;
        self.changed.notify_all();
    }

    /// Waits until the gate is open.
    pub fn pass(&self) {
        let mut state = lock(&self.state);
        state.n_arrived += 1;
        self.changed.notify_all();
        let open = self.changed.wait_while(state, |state| !state.is_open);
        drop(open.unwrap_or_else(PoisonError::into_inner));
    }

    /// Waits until `n` calls have come to the gate.
    pub fn wait_for_arrivals(&self, n: usize) {
        let arrived = self.changed.wait_while(lock(&self.state), |state| state.n_arrived < n);
        drop(arrived.unwrap_or_else(PoisonError::into_inner));
    }

    /// How many calls have come to the gate so far.
    pub fn n_arrived(&self) -> usize {
        lock(&self.state).n_arrived
    }
}

/// A panic of a test's own making must not poison the next one's assertions.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
