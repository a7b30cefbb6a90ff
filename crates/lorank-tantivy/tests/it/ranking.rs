//! Which candidates come, and in which order.

use lorank_core::{Candidate, Filter, Query, Test, Value};
use lorank_tantivy::{Index, IndexSettings};
use proptest::prelude::*;

use crate::{Corpus, document_of, ids, writer};

#[test]
fn candidates_carry_title_text_and_fields() {
    let corpus = Corpus::of(&[
        r#"{"year": 1969, "text": "a cat", "id": 7, "title": "Pets"}"#,
        r#"{"id": "b", "text": ["cat", "dog"], "title": ""}"#,
        r#"{"id": "c", "text": "cat cat cat"}"#,
    ]);
    let candidates = corpus.retrieve(&Query::new("cat"), 10);
    assert_eq!(ids(&candidates), ["c", "7", "b"]);
    let titles: Vec<_> = candidates.iter().map(|candidate| candidate.title.as_deref()).collect();
    assert_eq!(titles, [None, Some("Pets"), Some("")]);
    let texts: Vec<_> = candidates.iter().map(|candidate| &*candidate.text).collect();
    assert_eq!(texts, ["cat cat cat", "a cat", "cat\ndog"]);
    let fields = [("year", Value::Integer(1969)), ("text", "a cat".into()), ("title", "Pets".into())];
    assert_eq!(candidates[1].fields, fields.map(|(name, value)| (name.to_owned(), value)));
}

#[test]
fn boosts_weigh_fields() {
    let documents = [r#"{"id": "t", "title": "cat", "text": "dog"}"#, r#"{"id": "x", "title": "dog", "text": "cat"}"#];
    let settings = |text_fields: [&str; 2]| IndexSettings {
        text_fields: text_fields.map(|field| field.parse().unwrap()).to_vec(),
        ..IndexSettings::default()
    };
    assert_eq!(Corpus::with_settings(&settings(["title^3", "text"]), &documents).search("cat"), ["t", "x"]);
    assert_eq!(Corpus::with_settings(&settings(["title", "text^3"]), &documents).search("cat"), ["x", "t"]);
}

#[test]
fn a_word_said_twice_counts_twice() {
    let corpus = Corpus::of(&[r#"{"id": "c", "text": "cat"}"#, r#"{"id": "d", "text": "dog"}"#]);
    assert_eq!(corpus.search("dog cat dog"), ["d", "c"]);
    assert_eq!(corpus.search("dog cat cat"), ["c", "d"]);
}

#[test]
fn ties_go_by_id_in_byte_order_across_segments() {
    let corpus = Corpus::of(&[r#"{"id": "b", "text": "cat"}"#, r#"{"id": "é", "text": "cat"}"#]);
    corpus.add(&[r#"{"id": "a", "text": "cat"}"#, r#"{"id": "Z", "text": "cat"}"#, r#"{"id": "10", "text": "cat"}"#]);
    corpus.add(&[r#"{"id": "9", "text": "cat"}"#, r#"{"id": "b\u0000", "text": "cat"}"#]);
    let all = ["10", "9", "Z", "a", "b", "b\0", "é"];
    for depth in 1..=8 {
        assert_eq!(ids(&corpus.retrieve(&Query::new("cat"), depth)), all[..depth.min(7)]);
    }
    assert_eq!(ids(&corpus.retrieve(&Query::new("cat"), usize::MAX)), all);
}

/// What is done to an index: documents by their number and their words, a commit after each group.
#[derive(Debug, Clone)]
struct History {
    commits: Vec<Vec<Step>>,
}

#[derive(Debug, Clone)]
enum Step {
    Add(u8, Vec<usize>),
    Delete(u8),
}

const WORDS: [&str; 6] = ["ant", "bee", "cat", "dog", "eel", "fox"];

fn history() -> impl Strategy<Value = History> {
    let step = prop_oneof![
        6 => (0u8..60, prop::collection::vec(0..WORDS.len(), 0..6)).prop_map(|(id, words)| Step::Add(id, words)),
        1 => (0u8..60).prop_map(Step::Delete),
    ];
    prop::collection::vec(prop::collection::vec(step, 0..40), 1..5).prop_map(|commits| History { commits })
}

fn play(history: &History) -> Corpus {
    let corpus = Corpus::empty(&IndexSettings::default());
    let mut writer = writer(&corpus.index);
    for commit in &history.commits {
        for step in commit {
            match step {
                Step::Add(id, words) => writer.add(&document(*id, words)).unwrap(),
                Step::Delete(id) => writer.delete(&lorank_core::DocumentId::new(id.to_string())),
            }
        }
        writer.commit().unwrap();
    }
    drop(writer);
    corpus
}

fn document(id: u8, words: &[usize]) -> lorank_tantivy::Document {
    let words: Vec<_> = words.iter().map(|&n| WORDS[n]).collect();
    let (title, text) = words.split_at(words.len() / 3);
    let json = format!(r#"{{"id": {id}, "title": "{}", "text": "{}"}}"#, title.join(" "), text.join(" "));
    document_of(&json, &IndexSettings::default())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_smaller_depth_gives_a_prefix(history in history(), words in prop::collection::vec(0..WORDS.len(), 1..7)) {
        let corpus = play(&history);
        let query = Query::new(words.iter().map(|&n| WORDS[n]).collect::<Vec<_>>().join(" "));
        let all = corpus.retrieve(&query, 1000);
        for depth in [1, 2, 3, 5, 8, 13, 40] {
            prop_assert_eq!(&corpus.retrieve(&query, depth)[..], &all[..depth.min(all.len())]);
        }
        // Best first, ties by id; and every living document with one of the words is there once.
        let is_in_order = |a: &Candidate, b: &Candidate| (b.first_stage_score, &a.id) < (a.first_stage_score, &b.id);
        prop_assert!(all.windows(2).all(|pair| is_in_order(&pair[0], &pair[1])));
        let mut living = std::collections::BTreeMap::new();
        for step in history.commits.iter().flatten() {
            match step {
                Step::Add(id, words) => living.insert(id.to_string(), words.clone()),
                Step::Delete(id) => living.remove(&id.to_string()),
            };
        }
        let mut expected: Vec<_> = living.into_iter().filter(|(_, has)| has.iter().any(|n| words.contains(n))).map(|(id, _)| id).collect();
        let mut found = ids(&all);
        expected.sort();
        found.sort();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn segments_and_filters_change_no_score(
        documents in prop::collection::btree_map(0u8..60, prop::collection::vec(0..WORDS.len(), 0..6), 1..60),
        split in 0usize..60,
        words in prop::collection::vec(0..WORDS.len(), 1..7),
    ) {
        let steps: Vec<_> = documents.into_iter().map(|(id, words)| Step::Add(id, words)).collect();
        let (first, second) = steps.split_at(split.min(steps.len()));
        let one = play(&History { commits: vec![steps.iter().rev().cloned().collect()] });
        let two = play(&History { commits: vec![second.to_vec(), first.to_vec()] });
        let mut query = Query::new(words.iter().map(|&n| WORDS[n]).collect::<Vec<_>>().join(" "));
        let found = one.retrieve(&query, 25);
        prop_assert_eq!(&two.retrieve(&query, 25), &found);
        query.filters = vec![Filter { field: "id".into(), test: Test::Range { lower: None, upper: None } }];
        prop_assert_eq!(&two.retrieve(&query, 25), &found);
    }
}

#[test]
fn a_replaced_index_folder_is_read_anew() {
    // Whoever opened the index by itself sees a commit even where many came at once.
    let corpus = Corpus::of(&[r#"{"id": 1, "text": "cat"}"#]);
    let other = Corpus { index: Index::open(corpus.dir.path()).unwrap(), dir: tempfile::tempdir().unwrap() };
    assert_eq!(other.search("cat"), ["1"]);
    for n in 2..6 {
        corpus.add(&[&format!(r#"{{"id": {n}, "text": "cat"}}"#)]);
    }
    assert_eq!(other.search("cat"), ["1", "2", "3", "4", "5"]);
}
