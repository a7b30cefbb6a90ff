//! How int8 ranks, compared with f32: a measurement of a base model with an adapter.

use std::fmt;
use std::sync::Arc;

use lorank_core::{Digest, ModelVersion, Score};
use lorank_kernels::Isa;
use serde::{Deserialize, Serialize};

use crate::ModelError;
use crate::files::Files;

/// The file beside a base model's `config.json` with measurements of the model and of its adapters.
pub(crate) const INT8_FILE: &str = "int8.json";

/// The first hits that are compared.
const TOP: usize = 10;

/// A measurement of how int8 ranks, compared with f32: of a base model, or of a base model with an adapter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Int8Ranking {
    /// The base model's name, for readers; the digest identifies it.
    pub base_model: String,
    /// The digest of the base model.
    #[serde(with = "hexadecimal")]
    pub base_digest: Digest,
    /// The digest of the adapter; `None` for the bare base model.
    #[serde(with = "hexadecimal::optional")]
    pub adapter_digest: Option<Digest>,
    /// Whether the adapter was merged into the weights.
    pub merged: bool,
    /// How the kernels rounded to integers: a measurement counts for this arithmetic alone.
    pub arithmetic: String,
    /// The vector instructions of the CPU that measured. All sets with the same arithmetic compute the same integers.
    pub instruction_set: String,
    /// The number of queries.
    pub n_queries: usize,
    /// The smallest number of candidates of a query.
    pub n_candidates: usize,
    /// The standard deviation of the differences between the scores in int8 and in f32, over all pairs.
    pub error: f64,
    /// The standard deviation of the scores in f32, over all pairs.
    pub spread: f64,
    /// The share of f32's first ten candidates that are among int8's first ten: the mean over the queries, from 0 to 1.
    pub kept: f64,
}

/// The scores of a query's candidates, in the same order in both precisions.
#[derive(Debug, Clone)]
pub struct ScoresToCompare {
    /// The scores in f32.
    pub f32: Vec<Score>,
    /// The scores in int8.
    pub int8: Vec<Score>,
}

impl Int8Ranking {
    /// The smallest number of queries that counts.
    pub const QUERIES_MIN: usize = 10;
    /// The smallest number of candidates per query that counts.
    pub const CANDIDATES_MIN: usize = 20;
    /// The error, as a share of the spread, from which int8 does not preserve the ranking.
    pub const ERROR_MAX: f64 = 0.025;
    /// The share of the first ten that int8 must keep.
    pub const KEPT_MIN: f64 = 0.97;

    /// Compares the scores of a model in int8 with those in f32.
    ///
    /// # Panics
    /// If a query has different numbers of scores, or there is no query.
    pub(crate) fn compare(model: &ModelVersion, arithmetic: &str, isa: Isa, queries: &[ScoresToCompare]) -> Self {
        assert!(queries.iter().all(|query| query.f32.len() == query.int8.len()), "each pair has two scores");
        let n_candidates = queries.iter().map(|query| query.f32.len()).min().expect("there is a query");
        let pairs = || queries.iter().flat_map(|query| query.f32.iter().zip(&query.int8));
        let (f32, int8) = (|score: &Score| f64::from(score.get()), |score: &Score| f64::from(score.get()));
        let kept: f64 = queries.iter().map(share_kept).sum();
        Self {
            base_model: model.base_model.clone(),
            base_digest: model.base_digest,
            adapter_digest: model.adapter.as_ref().map(|adapter| adapter.digest),
            merged: model.merged,
            arithmetic: arithmetic.to_owned(),
            instruction_set: isa.to_string(),
            n_queries: queries.len(),
            n_candidates,
            error: rounded(deviation(pairs().map(|(a, b)| int8(b) - f32(a)))),
            spread: rounded(deviation(pairs().map(|(a, _)| f32(a)))),
            kept: rounded(kept / queries.len() as f64),
        }
    }

    /// Whether int8 preserves the ranking: enough was measured, and the error and the share of kept candidates are
    /// within their limits.
    pub fn holds(&self) -> bool {
        self.is_large_enough() && self.relative_error() < Self::ERROR_MAX && self.kept >= Self::KEPT_MIN
    }

    /// Whether at least [`Self::QUERIES_MIN`] queries with [`Self::CANDIDATES_MIN`] candidates each were measured.
    pub fn is_large_enough(&self) -> bool {
        self.n_queries >= Self::QUERIES_MIN && self.n_candidates >= Self::CANDIDATES_MIN
    }

    /// The error as a share of the spread; infinite if all scores in f32 are equal.
    pub fn relative_error(&self) -> f64 {
        if self.spread > 0.0 { self.error / self.spread } else { f64::INFINITY }
    }

    fn is_of(&self, model: MeasuredModel) -> bool {
        let own = (self.base_digest, self.adapter_digest, self.merged, &*self.arithmetic);
        own == (model.base, model.adapter, model.merged, model.arithmetic)
    }
}

impl fmt::Display for Int8Ranking {
    /// The figures in one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "error {:.1} % of the scores' spread, {:.1} % of f32's first ten kept, over {} queries with {} candidates",
            self.relative_error() * 100.0,
            self.kept * 100.0,
            self.n_queries,
            self.n_candidates,
        )
    }
}

#[cfg(test)]
impl Int8Ranking {
    /// The measurement of scores from 0 to 19 that int8 multiplies by `factor`, for a base model with a digest of zeros.
    pub(crate) fn of_scaled_scores(factor: f32) -> Self {
        let score = |value: f32| Score::new(value).expect("it is finite");
        let f32: Vec<Score> = (0..20_u8).map(|at| score(f32::from(at))).collect();
        let int8 = f32.iter().map(|of_f32| score(of_f32.get() * factor)).collect();
        let model = ModelVersion {
            base_model: "base".into(),
            base_digest: Digest::new([0; 32]),
            adapter: None,
            prompt_version: Digest::new([0; 32]),
            precision: lorank_core::Precision::Int8,
            merged: false,
        };
        Self::compare(&model, "rows", Isa::detect(), &vec![ScoresToCompare { f32, int8 }; Self::QUERIES_MIN])
    }
}

/// The share of f32's first candidates that are among int8's first.
fn share_kept(query: &ScoresToCompare) -> f64 {
    let first = |scores: &[Score]| {
        let mut order: Vec<usize> = (0..scores.len()).collect();
        // A stable sort: ties stay in the order of the first stage.
        order.sort_by(|a, b| scores[*b].cmp(&scores[*a]));
        order.truncate(TOP);
        order
    };
    let (of_f32, of_int8) = (first(&query.f32), first(&query.int8));
    let n_kept = of_f32.iter().filter(|at| of_int8.contains(at)).count();
    if of_f32.is_empty() { 1.0 } else { n_kept as f64 / of_f32.len() as f64 }
}

/// A figure with six decimals, which a file keeps exactly.
fn rounded(figure: f64) -> f64 {
    (figure * 1e6).round() / 1e6
}

/// The standard deviation.
fn deviation(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let n = values.clone().count().max(1) as f64;
    let mean = values.clone().sum::<f64>() / n;
    (values.map(|value| (value - mean).powi(2)).sum::<f64>() / n).sqrt()
}

/// A base model with an adapter, as measurements identify it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MeasuredModel {
    pub(crate) base: Digest,
    pub(crate) adapter: Option<Digest>,
    pub(crate) merged: bool,
    pub(crate) arithmetic: &'static str,
}

/// Measurements of how int8 ranks. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Int8Rankings(Arc<Vec<Int8Ranking>>);

impl Int8Rankings {
    /// These measurements. Of two of a model, the first one counts.
    pub fn new(rankings: Vec<Int8Ranking>) -> Self {
        Self(Arc::new(rankings))
    }

    /// The measurement of a model: by this CPU's vector instructions, else by others that compute the same integers.
    pub(crate) fn of(&self, model: MeasuredModel) -> Option<&Int8Ranking> {
        let isa = Isa::detect().to_string();
        let mut all = self.0.iter().filter(|ranking| ranking.is_of(model));
        let first = all.clone().next();
        all.find(|ranking| ranking.instruction_set == isa).or(first)
    }

    /// Whether int8 preserves the ranking of some adapter on the base model.
    pub(crate) fn some_holds(&self, base: Digest, arithmetic: &str) -> bool {
        let is_current = |ranking: &&Int8Ranking| ranking.arithmetic == arithmetic;
        self.0.iter().filter(is_current).any(|ranking| ranking.base_digest == base && ranking.holds())
    }

    /// Whether one of the measurements holds for a base model of this name: a guess, before its digest is known.
    pub(crate) fn may_hold(&self, base_name: &str) -> bool {
        self.0.iter().any(|ranking| ranking.base_model == base_name && ranking.holds())
    }

    /// These measurements, and then those in a base model's folder.
    pub(crate) fn with_files(self, files: &Files) -> Result<Self, ModelError> {
        match files.read_json::<Vec<Int8Ranking>>(INT8_FILE)? {
            Some(shipped) => Ok(Self::new(self.0.iter().cloned().chain(shipped).collect())),
            None => Ok(self),
        }
    }
}

/// Digests as hexadecimal digits.
mod hexadecimal {
    use lorank_core::Digest;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(digest: &Digest, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(digest)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Digest, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }

    pub(super) mod optional {
        use super::{Deserialize, Deserializer, Digest, Error, Serializer};

        pub(in super::super) fn serialize<S: Serializer>(digest: &Option<Digest>, to: S) -> Result<S::Ok, S::Error> {
            match digest {
                Some(digest) => to.collect_str(digest),
                None => to.serialize_none(),
            }
        }

        pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Digest>, D::Error> {
            let text = Option::<String>::deserialize(from)?;
            text.map(|text| text.parse().map_err(D::Error::custom)).transpose()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(base: u8, adapter: Option<u8>, merged: bool) -> ModelVersion {
        let adapter = adapter
            .map(|byte| lorank_core::AdapterVersion { id: "a".parse().unwrap(), digest: Digest::new([byte; 32]) });
        ModelVersion {
            base_model: "base".into(),
            base_digest: Digest::new([base; 32]),
            adapter,
            prompt_version: Digest::new([9; 32]),
            precision: lorank_core::Precision::Int8,
            merged,
        }
    }

    fn scores(values: impl IntoIterator<Item = f32>) -> Vec<Score> {
        values.into_iter().map(|value| Score::new(value).unwrap()).collect()
    }

    /// Queries with 20 candidates of the scores 0 to 19, in int8 after `change`.
    fn queries(n: usize, change: impl Fn(usize) -> f32) -> Vec<ScoresToCompare> {
        let query = ScoresToCompare { f32: scores((0..20).map(|at| at as f32)), int8: scores((0..20).map(change)) };
        vec![query; n]
    }

    fn compare(queries: &[ScoresToCompare]) -> Int8Ranking {
        Int8Ranking::compare(&model(1, None, false), "rows", Isa::detect(), queries)
    }

    #[test]
    fn the_figures_are_those_of_their_definitions() {
        let ranking = compare(&queries(10, |at| at as f32 + if at % 2 == 0 { 0.1 } else { -0.1 }));
        assert!((ranking.error - 0.1).abs() < 1e-6, "{ranking:?}");
        assert!((ranking.spread - (399.0_f64 / 12.0).sqrt()).abs() < 1e-6, "the deviation of 0 to 19: {ranking:?}");
        assert_eq!((ranking.kept, ranking.n_queries, ranking.n_candidates), (1.0, 10, 20));
        assert!(ranking.holds());
        // A constant does not change a ranking.
        assert_eq!(compare(&queries(10, |at| at as f32 + 3.0)).error, 0.0);
        // One of the first ten leaves, in each query.
        let swapped = compare(&queries(10, |at| if at == 10 { 8.9 } else { at as f32 }));
        assert!((swapped.kept - 0.9).abs() < 1e-9 && !swapped.holds(), "{swapped:?}");
    }

    #[test]
    fn each_limit_decides() {
        let holds = |n: usize, change: &dyn Fn(usize) -> f32| compare(&queries(n, change)).holds();
        let exact = |at: usize| at as f32;
        assert!(holds(10, &exact) && !holds(9, &exact), "nine queries are too few");
        let few = ScoresToCompare { f32: scores([1.0; 19]), int8: scores([1.0; 19]) };
        assert!(!compare(&vec![few; 10]).holds(), "nineteen candidates are too few");
        assert!(!holds(10, &|at| at as f32 * 1.03), "an error of 3 %");
        assert!(holds(10, &|at| at as f32 * 1.02), "an error of 2 %");
        let equal = ScoresToCompare { f32: scores([1.0; 20]), int8: scores([1.0; 20]) };
        let equal = compare(&vec![equal; 10]);
        assert!(equal.relative_error().is_infinite() && !equal.holds(), "equal scores show nothing");
    }

    #[test]
    fn a_measurement_counts_for_its_model_alone() {
        let of = |base: u8, adapter: Option<u8>, merged: bool| MeasuredModel {
            base: Digest::new([base; 32]),
            adapter: adapter.map(|byte| Digest::new([byte; 32])),
            merged,
            arithmetic: "rows",
        };
        let exact = queries(10, |at| at as f32);
        let measured =
            |model: &ModelVersion, arithmetic| Int8Ranking::compare(model, arithmetic, Isa::detect(), &exact);
        let own = measured(&model(1, Some(2), false), "rows");
        let older = measured(&model(3, None, false), "older");
        let all = Int8Rankings::new(vec![own, older]);
        assert!(all.of(of(1, Some(2), false)).is_some());
        for other in [of(1, None, false), of(1, Some(3), false), of(2, Some(2), false), of(1, Some(2), true)] {
            assert!(all.of(other).is_none(), "{other:?}");
        }
        assert!(all.of(of(3, None, false)).is_none(), "it was measured with another arithmetic");
        let some_holds = |base: u8| all.some_holds(Digest::new([base; 32]), "rows");
        assert!(some_holds(1) && !some_holds(3));
    }

    #[test]
    fn files_are_read_as_they_are_written() {
        let of = model(1, Some(2), true);
        let ranking = Int8Ranking::compare(&of, "rows", Isa::detect(), &queries(12, |at| at as f32 * 1.01));
        let text = serde_json::to_string(&ranking).unwrap();
        assert_eq!(serde_json::from_str::<Int8Ranking>(&text).unwrap(), ranking);
        let files = |text: &'static str| Files::embedded("model", [("int8.json", text.as_bytes())]);
        let of_text = |text: &'static str| Int8Rankings::default().with_files(&files(text));
        assert!(of_text("[]").is_ok());
        for wrong in ["{}", "[{}]", r#"[{"base_model": "x", "base_digest": "12"}]"#] {
            let error = of_text(wrong).unwrap_err().to_string();
            assert!(error.contains("int8.json"), "{error}");
        }
    }
}
