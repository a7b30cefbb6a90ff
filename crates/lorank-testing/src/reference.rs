//! Recorded scores of other implementations (transformers, PEFT), to compare with.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

/// A recorded reference: pairs, and what was found for them.
#[derive(Clone, Debug)]
pub struct Reference {
    /// The length in tokens to which pairs were truncated, the longer part first.
    pub max_length: usize,
    /// The pairs, in the order of the file.
    pub pairs: Vec<ReferencePair>,
}

/// One pair of a [`Reference`].
#[derive(Clone, Debug, PartialEq)]
pub struct ReferencePair {
    /// What the pair is called in a failing test.
    pub name: String,
    /// The query, before any template.
    pub query: String,
    /// The document, before any template; it has no title.
    pub document: String,
    /// How many tokens the pair has after truncation.
    pub n_tokens: usize,
    /// Its token ids, where they were recorded.
    pub input_ids: Option<Vec<u32>>,
    /// Which part each token is of, where it was recorded (BERT).
    pub token_type_ids: Option<Vec<u32>>,
    /// The f32 logits by model: `base`; `adapter_a` and so on, or `adapter` where there is only one.
    pub scores: BTreeMap<String, f32>,
}

/// Reads a reference file.
///
/// # Panics
/// Where the file is not a reference.
pub fn reference(path: &Path) -> Reference {
    let file: Value = serde_json::from_slice(&crate::fixtures::read(path))
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let pairs = file["pairs"].as_array().unwrap_or_else(|| panic!("{} has no pairs", path.display()));
    Reference {
        max_length: index(&file["max_length"]).unwrap_or_else(|| panic!("{} has no max_length", path.display())),
        pairs: pairs.iter().enumerate().map(|(at, pair)| read_pair(pair, at)).collect(),
    }
}

fn read_pair(pair: &Value, at: usize) -> ReferencePair {
    let name = pair["name"].as_str().map_or_else(|| format!("pair {at}"), str::to_owned);
    let text = |key: &str| pair[key].as_str().unwrap_or_else(|| panic!("`{name}` has no {key}")).to_owned();
    let (query, document) = (text("query"), text("document"));
    let input_ids = ids(&pair["input_ids"]);
    let n_tokens = index(&pair["n_tokens"]).or(input_ids.as_ref().map(Vec::len));
    ReferencePair {
        query,
        document,
        n_tokens: n_tokens.unwrap_or_else(|| panic!("`{name}` has no number of tokens")),
        input_ids,
        token_type_ids: ids(&pair["token_type_ids"]),
        scores: read_scores(pair, &name),
        name,
    }
}

/// `scores` by model, or the `score` of the one adapter and the `base_score`.
fn read_scores(pair: &Value, name: &str) -> BTreeMap<String, f32> {
    let single = [("adapter", &pair["score"]), ("base", &pair["base_score"])];
    let many = pair["scores"].as_object().into_iter().flatten().map(|(model, score)| (model.as_str(), score));
    // A recorded number is an f32 written with all its digits, so narrowing it again is exact.
    let score = |(model, score): (&str, &Value)| score.as_f64().map(|score| (model.to_owned(), score as f32));
    let scores: BTreeMap<_, _> = many.chain(single).filter_map(score).collect();
    assert!(!scores.is_empty(), "`{name}` has no score");
    scores
}

fn ids(value: &Value) -> Option<Vec<u32>> {
    let ids = value
        .as_array()?
        .iter()
        .map(|id| id.as_u64().and_then(|id| u32::try_from(id).ok()).expect("ids are small integers"));
    Some(ids.collect())
}

fn index(value: &Value) -> Option<usize> {
    value.as_u64().and_then(|value| usize::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use crate::{fixture, reference};

    fn check(file: &str, n_pairs: usize, max_length: usize, models: &[&str], with_ids: bool) {
        let found = reference(&fixture(file));
        assert_eq!((found.pairs.len(), found.max_length), (n_pairs, max_length), "{file}");
        for pair in &found.pairs {
            assert!(pair.scores.keys().eq(models), "{file}, {}: {:?}", pair.name, pair.scores.keys());
            assert!(pair.scores.values().all(|score| score.is_finite()), "{file}, {}", pair.name);
            assert!((1..=max_length).contains(&pair.n_tokens), "{file}, {}", pair.name);
            assert_eq!(
                pair.input_ids.as_ref().map(Vec::len),
                with_ids.then_some(pair.n_tokens),
                "{file}, {}",
                pair.name
            );
            if let Some(type_ids) = &pair.token_type_ids {
                assert_eq!(type_ids.len(), pair.n_tokens, "{file}, {}", pair.name);
            }
        }
    }

    #[test]
    fn every_recorded_reference_is_read() {
        check("tiny-llama/reference.json", 26, 228, &["adapter_a", "adapter_b", "base", "base_no_rope_scaling"], true);
        check("tiny-llama/reference-cd.json", 26, 228, &["adapter_c", "adapter_d"], false);
        check("tiny-bert/reference.json", 32, 128, &["adapter_a", "adapter_b", "base"], true);
        check("minilm/reference.json", 200, 512, &["base"], false);
        check("minilm/adapter-qa.json", 60, 192, &["adapter", "base"], false);
        check("minilm/adapter-science.json", 60, 192, &["adapter", "base"], false);
        check("smollm2/reference.json", 60, 128, &["adapter"], false);
    }

    #[test]
    fn scores_are_read_to_the_last_bit() {
        let pairs = reference(&fixture("tiny-llama/reference.json")).pairs;
        assert_eq!((pairs[0].name.as_str(), pairs[0].scores["base"]), ("edison_1", -5.399_347_3));
        let pairs = reference(&fixture("minilm/adapter-qa.json")).pairs;
        assert_eq!(
            (pairs[0].n_tokens, pairs[0].scores["adapter"], pairs[0].scores["base"]),
            (129, 3.959_908_7, 8.349_947)
        );
    }
}
