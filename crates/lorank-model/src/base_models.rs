//! Several base models in one process, each with its adapters.

use std::collections::BTreeSet;

use lorank_core::{
    AdapterId, BoxError, Deadline, Digest, EncodedPair, ForeignPair, Group, ModelVersion, PassageOptions, Reranker,
    Score, WindowCut, Windows, with_causes,
};

use crate::files::Files;
use crate::pass::StageTimes;
use crate::peft::PeftConfig;
use crate::reranker::{ModelReranker, is_same_name};
use crate::{AdapterSummary, Measure, ModelError};

/// Base models with their adapters: at least one, of which the first is the default. A reranker, in which a name is that of
/// an adapter or of a bare base model.
///
/// Each adapter belongs to one base model, and each pair is scored by the base model that encoded it.
#[derive(Debug)]
pub struct BaseModels {
    bases: Vec<NamedBase>,
}

/// A base model with its names.
#[derive(Debug)]
pub struct NamedBase {
    /// The names that choose the bare base model. Names that would choose another one too are left out.
    names: Vec<AdapterId>,
    /// The name in model versions.
    shown: String,
    reranker: ModelReranker,
}

/// A loaded base model, and the names that it can have.
#[derive(Debug)]
pub struct BaseToName {
    /// The name that the operator chose. The others are those of its files.
    pub given: Option<AdapterId>,
    /// Further names, such as that of a built-in model.
    pub also: Vec<AdapterId>,
    /// The model.
    pub reranker: ModelReranker,
}

impl NamedBase {
    /// The name in model versions: the operator's, else the model's own.
    pub fn name(&self) -> &str {
        &self.shown
    }

    /// The names that choose the bare base model.
    pub fn names(&self) -> &[AdapterId] {
        &self.names
    }

    /// The model.
    pub fn reranker(&self) -> &ModelReranker {
        &self.reranker
    }

    fn version(&self, adapter: Option<&AdapterId>) -> Result<ModelVersion, BoxError> {
        Ok(self.named(self.reranker.resolve(adapter)?))
    }

    /// The version with this base model's name.
    fn named(&self, version: ModelVersion) -> ModelVersion {
        ModelVersion { base_model: self.shown.clone(), ..version }
    }

    fn is_for(&self, trained_on: &str) -> bool {
        is_same_name(trained_on, &self.reranker.base().name) || is_same_name(trained_on, &self.shown)
    }
}

impl From<ModelReranker> for BaseModels {
    /// One base model, which has the names of its files.
    fn from(reranker: ModelReranker) -> Self {
        let base = BaseToName { given: None, also: Vec::new(), reranker };
        Self::new(vec![base]).expect("one base model differs from all others")
    }
}

impl BaseModels {
    /// Base models with distinct names; the first one is the default.
    ///
    /// # Errors
    /// There is none, two are the same model, or one has no name that is its own.
    pub fn new(bases: Vec<BaseToName>) -> Result<Self, ModelError> {
        if bases.is_empty() {
            return Err(ModelError::NoBases);
        }
        let candidates: Vec<Vec<AdapterId>> = bases.iter().map(BaseToName::candidates).collect();
        let given: Vec<Option<AdapterId>> = bases.iter().map(|base| base.given.clone()).collect();
        let is_own = |at: usize, name: &AdapterId| {
            let others = || (0..bases.len()).filter(|other| *other != at);
            let is_taken = others().any(|other| given[other].as_ref() == Some(name));
            // A base model with a given name leaves the others to those that have none.
            let yields_to = |other: usize| given[at].is_some() || given[other].is_none();
            let is_shared = || others().any(|other| yields_to(other) && candidates[other].contains(name));
            !is_taken && (given[at].as_ref() == Some(name) || !is_shared())
        };
        let names: Vec<Vec<AdapterId>> = (0..bases.len())
            .map(|at| candidates[at].iter().filter(|name| is_own(at, name)).cloned().collect())
            .collect();
        let n_bases = bases.len();
        let named = bases.into_iter().zip(names).map(|(base, names)| {
            let own = base.reranker.base().name.clone();
            let has_own = n_bases == 1 || names.iter().any(|name| name.as_str() == own);
            let shown = match (base.given, names.first()) {
                (Some(given), _) => given.to_string(),
                (None, _) if has_own => own,
                (None, Some(name)) => name.to_string(),
                (None, None) => return Err(ModelError::BaseWithoutName { base: own }),
            };
            Ok(NamedBase { names, shown, reranker: base.reranker })
        });
        let bases = named.collect::<Result<Vec<_>, _>>()?;
        check_distinct(&bases)?;
        Ok(Self { bases })
    }

    /// The default base model.
    pub fn first(&self) -> &ModelReranker {
        &self.bases[0].reranker
    }

    /// The base models, the default one first.
    pub fn iter(&self) -> std::slice::Iter<'_, NamedBase> {
        self.bases.iter()
    }

    /// Whether there is one base model only.
    pub fn is_one(&self) -> bool {
        self.bases.len() == 1
    }

    /// The base model at a place, as the other methods return it.
    ///
    /// # Panics
    /// There is none at this place.
    pub fn at(&self, place: usize) -> &NamedBase {
        &self.bases[place]
    }

    /// The place of the base model with a name.
    pub fn place_of_name(&self, name: &AdapterId) -> Option<usize> {
        self.bases.iter().position(|base| base.names.contains(name))
    }

    /// The place of the base model with a name.
    ///
    /// # Errors
    /// There is none.
    pub fn place_named(&self, name: &AdapterId) -> Result<usize, ModelError> {
        let unknown = || ModelError::UnknownBaseName { name: name.clone(), known: self.known() };
        self.place_of_name(name).ok_or_else(unknown)
    }

    /// Whether a name is that of a loaded adapter or of a base model.
    pub fn has(&self, name: &AdapterId) -> bool {
        self.place_of_adapter(name).or_else(|| self.place_of_name(name)).is_some()
    }

    /// The place of the base model with a digest.
    pub fn place_of_digest(&self, digest: &Digest) -> Option<usize> {
        self.bases.iter().position(|base| base.reranker.base().digest == *digest)
    }

    /// The place of the base model of a version.
    ///
    /// # Errors
    /// None of several base models has the version's digest. A single base model is not compared.
    pub fn place_of(&self, model: &ModelVersion) -> Result<usize, ModelError> {
        match self.is_one() {
            true => Ok(0),
            false => self
                .place_of_digest(&model.base_digest)
                .ok_or_else(|| ModelError::UnknownBase { base: model.base_model.clone(), known: self.known() }),
        }
    }

    /// The place of the base model that keeps an adapter of this name.
    pub fn place_of_adapter(&self, id: &AdapterId) -> Option<usize> {
        self.bases.iter().position(|base| base.reranker.holds(id))
    }

    /// The place of the base model that an adapter is for: the one whose name is in the adapter's configuration, else the
    /// only one on which its files load.
    ///
    /// # Errors
    /// The files fit no base model, or several of them.
    pub fn place_for(&self, id: &AdapterId, files: &Files) -> Result<usize, ModelError> {
        if self.is_one() {
            return Ok(0);
        }
        let trained_on = PeftConfig::read(files)?.trained_on;
        let is_named = |base: &NamedBase| trained_on.as_deref().is_some_and(|trained_on| base.is_for(trained_on));
        let named: Vec<usize> = (0..self.bases.len()).filter(|at| is_named(&self.bases[*at])).collect();
        if let [only] = named[..] {
            return Ok(only);
        }
        let (mut fitting, mut reasons) = (Vec::new(), Vec::new());
        for at in if named.is_empty() { (0..self.bases.len()).collect() } else { named } {
            match self.bases[at].reranker.load_adapter(id, files) {
                Ok(_) => fitting.push(at),
                Err(error) => reasons.push(format!("`{}`: {}", self.bases[at].shown, with_causes(&error))),
            }
        }
        match fitting[..] {
            [only] => Ok(only),
            [] => Err(ModelError::FitsNoBase { adapter: id.clone(), why: reasons.join("; ") }),
            _ => {
                let bases = fitting.iter().map(|at| format!("`{}`", self.bases[*at].shown)).collect::<Vec<_>>();
                Err(ModelError::FitsSeveralBases { adapter: id.clone(), bases: bases.join(", ") })
            }
        }
    }

    /// The loaded adapters of all base models.
    pub fn adapters(&self) -> Vec<AdapterSummary> {
        self.bases.iter().flat_map(|base| base.reranker.adapters()).collect()
    }

    /// The memory of all base models, in bytes.
    pub fn n_bytes(&self) -> usize {
        self.bases.iter().map(|base| base.reranker.n_bytes()).sum()
    }

    /// The version with the name of the base model at a place.
    pub fn named(&self, place: usize, version: ModelVersion) -> ModelVersion {
        self.bases[place].named(version)
    }

    /// Scores a batch like [`Reranker::score`], one base model after the other, and measures the time.
    pub fn score_timed(&self, batch: &[&EncodedPair], measure: Measure) -> (Vec<Result<Score, BoxError>>, StageTimes) {
        if let [only] = &self.bases[..] {
            return only.reranker.score_timed(batch, measure);
        }
        let mut scores: Vec<Option<Result<Score, BoxError>>> = batch.iter().map(|_| None).collect();
        let mut times = StageTimes::default();
        for base in &self.bases {
            let of_base: Vec<usize> = (0..batch.len()).filter(|at| base.reranker.has_encoded(batch[*at])).collect();
            if of_base.is_empty() {
                continue;
            }
            let pairs: Vec<&EncodedPair> = of_base.iter().map(|at| batch[*at]).collect();
            let (found, took) = base.reranker.score_timed(&pairs, measure);
            times.add(&took);
            of_base.into_iter().zip(found).for_each(|(at, score)| scores[at] = Some(score));
        }
        (scores.into_iter().map(|score| score.unwrap_or_else(|| Err(ForeignPair.into()))).collect(), times)
    }

    /// The names that can be chosen, for an error.
    fn known(&self) -> String {
        let quoted = |names: Vec<String>| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let bases = quoted(self.bases.iter().map(|base| base.shown.clone()).collect());
        let adapters = quoted(self.adapters().iter().map(|adapter| adapter.version.id.to_string()).collect());
        match adapters.is_empty() {
            true => format!("the base models are {bases}"),
            false => format!("loaded are {adapters} and the base models {bases}"),
        }
    }
}

impl BaseToName {
    /// The names that it can have, the best one first.
    fn candidates(&self) -> Vec<AdapterId> {
        let own = &self.reranker.base().name;
        let last = own.rsplit('/').next().unwrap_or(own);
        let of_files = [own.as_str(), last].into_iter().filter_map(|name| name.parse().ok());
        let mut seen = BTreeSet::new();
        let all = self.given.iter().cloned().chain(of_files).chain(self.also.iter().cloned());
        all.filter(|name| seen.insert(name.clone())).collect()
    }
}

/// Rejects two base models with the same name, or with the same files: their versions would be the same.
fn check_distinct(bases: &[NamedBase]) -> Result<(), ModelError> {
    for (at, base) in bases.iter().enumerate() {
        for earlier in &bases[..at] {
            if earlier.shown == base.shown {
                return Err(ModelError::DuplicateBaseName { name: base.shown.clone() });
            }
            if earlier.reranker.base().digest == base.reranker.base().digest {
                return Err(ModelError::SameBase { one: earlier.shown.clone(), other: base.shown.clone() });
            }
        }
    }
    Ok(())
}

impl Reranker for BaseModels {
    /// Searches the adapters first, then the names of the base models.
    fn resolve(&self, adapter: Option<&AdapterId>) -> Result<ModelVersion, BoxError> {
        let Some(name) = adapter else { return self.bases[0].version(None) };
        if let Some(place) = self.place_of_adapter(name) {
            return self.bases[place].version(Some(name));
        }
        if let Some(place) = self.place_of_name(name) {
            return self.bases[place].version(None);
        }
        match &self.bases[..] {
            [only] => only.version(Some(name)),
            _ => Err(ModelError::UnknownAdapter { adapter: name.clone(), known: self.known() }.into()),
        }
    }

    fn instructed(&self, model: ModelVersion, instruction: &str) -> Result<ModelVersion, BoxError> {
        let place = self.place_of(&model)?;
        self.bases[place].reranker.instructed_version(model, instruction, None)
    }

    fn encode(&self, group: Group<'_>, _deadline: Option<Deadline>) -> Result<Vec<EncodedPair>, BoxError> {
        Ok(self.bases[self.place_of(group.model)?].reranker.encode_with(group, None)?)
    }

    fn passages(&self, model: &ModelVersion) -> Result<PassageOptions, BoxError> {
        self.bases[self.place_of(model)?].reranker.passages(model)
    }

    fn windows(&self, group: Group<'_>, cut: &WindowCut, deadline: Option<Deadline>) -> Result<Vec<Windows>, BoxError> {
        self.bases[self.place_of(group.model)?].reranker.windows(group, cut, deadline)
    }

    fn unknown_share(&self, group: Group<'_>) -> f32 {
        self.place_of(group.model).map_or(0.0, |place| self.bases[place].reranker.unknown_share(group))
    }

    fn score(&self, batch: &[&EncodedPair]) -> Vec<Result<Score, BoxError>> {
        self.score_timed(batch, Measure::Total).0
    }
}
