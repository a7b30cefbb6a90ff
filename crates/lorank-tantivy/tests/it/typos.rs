//! Words that are spelled almost like those of a query.

use std::num::NonZeroUsize;
use std::time::Instant;

use lorank_core::{Filter, FirstStage, Fuzzy, Query, QuerySyntax, Test, Value};
use lorank_tantivy::{IndexSettings, Language};
use serde_json::json;

use crate::{Corpus, ids, refusal};

fn query(text: &str, fuzzy: Fuzzy) -> Query {
    Query { fuzzy, ..Query::new(text) }
}

/// One word a document, which is its id.
fn corpus_of(words: &[&str]) -> Corpus {
    let documents: Vec<String> = words.iter().map(|word| json!({"id": word, "text": word}).to_string()).collect();
    let settings = IndexSettings { language: Language::None, ..IndexSettings::default() };
    Corpus::with_settings(&settings, &documents.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn the_number_of_typos_follows_from_the_length_of_the_word() {
    for (typed, word, is_found) in [
        // Up to four letters none.
        ("wrd", "word", false),
        ("wodr", "word", false),
        ("werd", "word", false),
        // One from five.
        ("appel", "apple", true),
        ("aple", "apple", false),
        ("applle", "apple", true),
        ("applx", "apple", true),
        ("aplpe", "apple", true),
        ("axxle", "apple", false),
        ("kitchn", "kitchen", true),
        ("ktchn", "kitchen", false),
        // Two from nine.
        ("electrcity", "electricity", true),
        ("elctrcity", "electricity", true),
        ("elctrcty", "electricity", false),
        ("electrictiy", "electricity", true),
        // A typo in the first letter counts as two.
        ("bpple", "apple", false),
        ("alectricity", "electricity", true),
        ("alectricty", "electricity", false),
        // Not in numbers, and not in names with digits.
        ("123456", "123457", false),
        ("route66x", "route67x", false),
        // Accents are no typos, and letters of every alphabet count as one.
        ("elephant", "éléphant", true),
        ("elphant", "éléphant", true),
        ("матрешк", "матрёшка", true),
        ("Αθηνασ", "Αθήνας", true),
        ("ΑΘΗΝΑ", "Αθήνας", true),
        ("قاموص", "قاموس", true),
        // Scripts without spaces have pairs of characters, and no typos.
        ("東亰", "東京", false),
    ] {
        let found = ids(&corpus_of(&[word, "unrelated"]).retrieve(&query(typed, Fuzzy::On), 10));
        assert_eq!(found.contains(&word.to_owned()), is_found, "{typed} for {word}");
    }
}

#[test]
fn words_as_written_come_before_typos() {
    let corpus = Corpus::of(&[
        r#"{"id": "typo", "text": "hose"}"#,
        &json!({"id": "exact", "text": format!("house {}", "and more ".repeat(200))}).to_string(),
        r#"{"id": "typos", "text": "hoouse hoouse hoouse"}"#,
        r#"{"id": "other", "text": "garden"}"#,
    ]);
    let found = corpus.retrieve(&query("house", Fuzzy::On), 10);
    assert_eq!(ids(&found), ["exact", "typos", "typo"]);
    let scores: Vec<f32> = found.iter().map(|candidate| candidate.first_stage_score.get()).collect();
    assert!(scores[0] > scores[1] && scores[1] > scores[2] && scores[2] > 0.0, "{scores:?}");
    for depth in 1..=4 {
        let fewer = corpus.retrieve(&query("house", Fuzzy::On), depth);
        assert_eq!(fewer[..], found[..depth.min(3)], "a smaller depth gives a prefix");
    }
    // What has one word as it is written comes before what has several almost.
    assert_eq!(ids(&corpus.retrieve(&query("garden hose hoouse", Fuzzy::On), 10))[3], "exact");
}

#[test]
fn auto_looks_for_typos_where_few_documents_match() {
    let many = ["kitchen one", "kitchen two", "kitchen three", "kitchen four", "kitchen five", "kitchn six", "table"];
    let documents: Vec<String> =
        many.iter().enumerate().map(|(n, text)| json!({"id": n, "text": text, "n": n}).to_string()).collect();
    let corpus = Corpus::of(&documents.iter().map(String::as_str).collect::<Vec<_>>());
    let found = |text: &str, fuzzy| {
        let mut found = ids(&corpus.retrieve(&query(text, fuzzy), 10));
        found.sort();
        found.join("")
    };
    for (text, off, auto, on) in [
        // Five documents are enough.
        ("kitchen", "01234", "01234", "012345"),
        // One is not.
        ("kitchn", "5", "012345", "012345"),
        // None at all.
        ("kitche", "", "012345", "012345"),
        ("kitchem", "", "01234", "01234"),
        // A word that is nowhere, beside one that is.
        ("kitchem table", "6", "012346", "012346"),
        ("xyzzy", "", "", ""),
        ("one", "0", "0", "0"),
    ] {
        assert_eq!(
            (&*found(text, Fuzzy::Off), &*found(text, Fuzzy::Auto), &*found(text, Fuzzy::On)),
            (off, auto, on),
            "{text}"
        );
    }
    assert_eq!(Query::new("").fuzzy, Fuzzy::Auto);
    // Filters count, and hold for typos.
    let less_than_four = Test::Range { lower: None, upper: Some((Value::Integer(4), false)) };
    let filters = vec![Filter { field: "n".into(), test: less_than_four }];
    let filtered = Query { filters, ..query("kitchn", Fuzzy::Auto) };
    assert_eq!(ids(&corpus.retrieve(&filtered, 10)).len(), 4);
    // A document with the other word too comes before one that has it alone.
    let corpus = Corpus::of(&[
        r#"{"id": "1", "text": "pear pie"}"#,
        r#"{"id": "2", "text": "an apple pie"}"#,
        r#"{"id": "3", "text": "apple"}"#,
    ]);
    assert_eq!(corpus.search("appel pie"), ["2", "1", "3"]);
}

#[test]
fn typos_are_found_behind_word_endings() {
    let corpus = Corpus::of(&[
        r#"{"id": "1", "title": "Running", "text": "She was running through electricity stations"}"#,
        r#"{"id": "2", "title": "Walks", "text": "nothing of the kind"}"#,
    ]);
    for text in ["runing", "electrictiy", "statoins", "electrcity", "throuhg", "runnng"] {
        assert_eq!(corpus.search(text), ["1"], "{text}");
    }
    let candidates = corpus.retrieve(&Query::new("electrcity"), 1);
    let snippets = corpus.stage().snippets(&Query::new("electrcity"), &[&candidates[0]]).unwrap();
    assert!(snippets[0].as_ref().unwrap().to_html().contains("<b>electricity</b>"));
}

#[test]
fn advanced_queries_name_the_words_with_typos() {
    let corpus = corpus_of(&["roam", "foam", "room", "rhomb", "apple", "apples", "electricity"]);
    for (text, expected) in [
        ("roam~1", "roam room"),
        ("roam~2", "foam roam room"),
        ("roam~", "roam"),
        ("aplpe~", "apple"),
        ("text:aplpe~1", "apple"),
        ("title:aplpe~1", ""),
        ("electrcty~2 AND NOT apple", "electricity"),
        ("NOT aplpe~2", "electricity foam rhomb roam room"),
        ("aplpe~^2 OR roam", "apple roam"),
        ("aplpe", ""),
    ] {
        let advanced = Query { syntax: QuerySyntax::Advanced, ..Query::new(text) };
        let mut found = ids(&corpus.retrieve(&advanced, 10));
        found.sort();
        assert_eq!(found.join(" "), expected, "{text}");
    }
    let all = Query { syntax: QuerySyntax::Advanced, ..query("apple", Fuzzy::On) };
    assert!(refusal(&corpus, &all).1.contains("write `word~`"));
}

#[test]
fn the_cost_of_typos_is_bounded() {
    let documents: Vec<String> = (0..2000)
        .map(|n| {
            let words: Vec<String> =
                (0..20).map(|w| format!("{:x}", (n * 20 + w) as u64 * 0x9E37_79B9 % 0xFFF_FFFF)).collect();
            json!({"id": n, "text": words.join(" ").replace(|c: char| c.is_ascii_digit(), "k")}).to_string()
        })
        .collect();
    let corpus = Corpus::of(&documents.iter().map(String::as_str).collect::<Vec<_>>());
    let words: Vec<String> =
        (0..1000).map(|n| "kkakbkckd".chars().cycle().skip(n % 9).take(9 + n % 40).collect()).collect();
    let start = Instant::now();
    let found = corpus.stage().retrieve(&query(&words.join(" "), Fuzzy::On), NonZeroUsize::MIN).unwrap();
    // Ten words are looked up, however many there are; a machine under load may take long for them all the same.
    assert!(found.len() <= 1 && start.elapsed().as_secs() < 60, "{:?}", start.elapsed());
}
