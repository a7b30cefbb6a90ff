//! Filters on stored fields.

use lorank_core::{Filter, Query, Test, Value};

use crate::{Corpus, ids, refusal};

/// One document for each way in which a field can hold something, in two segments.
fn corpus() -> Corpus {
    let corpus = Corpus::of(&[
        r#"{"id": "int", "text": "cat", "n": 3, "kind": "news", "day": "2024-05-01T10:00:00Z"}"#,
        r#"{"id": "float", "text": "cat", "n": 3.0, "kind": "News", "day": "2024-05-01T12:00:00+02:00"}"#,
        r#"{"id": "list", "text": "cat", "n": [1, 10], "kind": ["blog", "news"], "flag": true}"#,
        r#"{"id": "nested", "text": "cat", "author": {"name": "Ann", "born": 1970}, "day": "2024-05-02"}"#,
        r#"{"id": "none", "text": "cat", "n": null}"#,
    ]);
    corpus.add(&[
        r#"{"id": "half", "text": "cat", "n": 2.5, "kind": "", "flag": false}"#,
        r#"{"id": "big", "text": "cat", "n": 18446744073709551615}"#,
        r#"{"id": "text", "text": "cat", "n": "3", "day": "2024-05-01T10:00:00.000000001Z"}"#,
        r#"{"id": "dotted", "text": "cat", "author.name": "Bob", "a\\b": 1, "day": "1066-10-14T09:00:00Z"}"#,
        r#"{"id": "objects", "text": "cat", "author": [{"name": "Cy"}, {"name": "Ann"}]}"#,
        r#"{"id": "min", "text": "cat", "n": -9223372036854775808}"#,
        r#"{"id": "dog", "text": "dog", "n": 3}"#,
    ]);
    corpus
}

fn check(corpus: &Corpus, field: &str, test: Test, expected: &str) {
    let filters = vec![Filter { field: field.into(), test: test.clone() }];
    let found = corpus.retrieve(&Query { filters, ..Query::new("cat") }, 100);
    let mut found = ids(&found);
    found.sort();
    assert_eq!(found.join(" "), expected, "{field} {test:?}");
}

fn any_of<const N: usize>(values: [Value; N]) -> Test {
    Test::AnyOf(values.to_vec())
}

/// `>` and `<` exclude their bound.
fn range(lower: Option<(&str, Value)>, upper: Option<(&str, Value)>) -> Test {
    let bound = |bound: Option<(&str, Value)>| bound.map(|(sign, value)| (value, sign.ends_with('=')));
    Test::Range { lower: bound(lower), upper: bound(upper) }
}

#[test]
fn numbers_compare_by_value() {
    let corpus = corpus();
    let (int, float) = (Value::Integer, Value::Float);
    check(&corpus, "n", any_of([int(3)]), "float int");
    check(&corpus, "n", any_of([float(3.0)]), "float int");
    check(&corpus, "n", any_of([float(2.5), int(10)]), "half list");
    check(&corpus, "n", any_of([Value::Unsigned(u64::MAX)]), "big");
    check(&corpus, "n", any_of([int(i64::MIN)]), "min");
    check(&corpus, "n", any_of(["3".into()]), "text");
    check(&corpus, "n", any_of([]), "");
    check(&corpus, "n", range(Some((">=", int(3))), None), "big float int list");
    check(&corpus, "n", range(Some((">", int(3))), None), "big list");
    check(&corpus, "n", range(Some((">", float(2.4))), Some(("<=", float(3.1)))), "float half int");
    check(&corpus, "n", range(None, Some(("<", int(1)))), "min");
    check(&corpus, "n", range(None, Some(("<=", float(f64::NEG_INFINITY)))), "");
    check(&corpus, "n", range(Some((">=", float(f64::NEG_INFINITY))), None), "big float half int list min");
    check(&corpus, "n", range(Some((">", float(1e20))), None), "");
    check(&corpus, "n", range(Some((">", float(1e18))), None), "big");
    check(&corpus, "n", range(Some((">", int(3))), Some(("<", int(3)))), "");
    check(&corpus, "n", range(None, None), "big float half int list min text");
    check(&corpus, "n", range(Some((">", int(3))), Some(("<", "x".into()))), "");
}

#[test]
fn keywords_compare_byte_for_byte() {
    let corpus = corpus();
    check(&corpus, "kind", any_of(["news".into()]), "int list");
    check(&corpus, "kind", any_of(["News".into(), "".into()]), "float half");
    check(&corpus, "kind", any_of(["new".into()]), "");
    check(&corpus, "kind", range(Some((">=", "blog".into())), Some(("<", "news".into()))), "list");
    check(&corpus, "kind", range(None, Some(("<=", "a".into()))), "float half");
    check(&corpus, "kind", any_of([Value::Bool(true), Value::Integer(1)]), "");
    check(&corpus, "flag", any_of([Value::Bool(true)]), "list");
    check(&corpus, "flag", any_of([Value::Bool(true), Value::Bool(false)]), "half list");
    check(&corpus, "flag", range(None, None), "half list");
}

#[test]
fn dates_compare_as_points_in_time() {
    let corpus = corpus();
    check(&corpus, "day", any_of(["2024-05-01T10:00:00Z".into()]), "float int");
    check(&corpus, "day", any_of(["2024-05-01T12:00:00+02:00".into()]), "float int");
    check(&corpus, "day", any_of(["2024-05-02T00:00:00Z".into()]), "nested");
    check(&corpus, "day", range(Some((">", "2024-05-01T10:00:00Z".into())), None), "nested text");
    check(&corpus, "day", range(Some((">=", "2024-05-01".into())), Some(("<", "2024-05-02".into()))), "float int text");
    check(&corpus, "day", any_of(["1066-10-14T09:00:00Z".into()]), "dotted");
}

#[test]
fn dots_reach_into_objects() {
    let corpus = corpus();
    check(&corpus, "author.name", any_of(["Ann".into()]), "nested objects");
    check(&corpus, "author.name", any_of(["Bob".into()]), "dotted");
    check(&corpus, "author.born", range(None, Some(("<", Value::Integer(2000)))), "nested");
    check(&corpus, "author", range(None, None), "");
    check(&corpus, "a\\b", any_of([Value::Integer(1)]), "dotted");
}

#[test]
fn ids_are_keywords() {
    let corpus = corpus();
    check(&corpus, "id", any_of(["int".into(), "dog".into(), "text".into()]), "int text");
    check(&corpus, "_id", any_of(["int".into()]), "int");
    check(&corpus, "id", range(Some((">", "nested".into())), None), "none objects text");
    let numbered = Corpus::of(&[r#"{"id": 7, "text": "cat"}"#]);
    check(&numbered, "id", any_of([Value::Integer(7)]), "7");
}

#[test]
fn unknown_fields_match_nothing() {
    let corpus = corpus();
    for field in
        ["", ".", "nope", "n.x", "author.", ".author", "\0", "n\0", "a\u{1}b", "_source", "_fields", "\\", "n\\"]
    {
        check(&corpus, field, range(None, None), "");
        check(&corpus, field, any_of([Value::Integer(3), "x".into()]), "");
    }
}

#[test]
fn all_filters_hold() {
    let corpus = corpus();
    let filter = |field: &str, test| Filter { field: field.into(), test };
    let filters =
        vec![filter("n", any_of([Value::Integer(3)])), filter("kind", any_of(["news".into(), "blog".into()]))];
    assert_eq!(ids(&corpus.retrieve(&Query { filters, ..Query::new("cat dog") }, 10)), ["int"]);
}

#[test]
fn a_filter_that_cannot_be_is_an_error() {
    check_refused("text", any_of(["cat".into()]), "the filter on `text` cannot work: the field is searched");
    check_refused("n", any_of([Value::Null]), "the filter on `n` compares with null");
    check_refused("n", any_of([Value::List(vec![])]), "compares with a list");
    check_refused("n", any_of([Value::Float(f64::NAN)]), "compares with a number that is none");
    check_refused("n", range(Some((">", Value::Bool(true))), None), "booleans have no order");
}

fn check_refused(field: &str, test: Test, text: &str) {
    let filters = vec![Filter { field: field.into(), test }];
    let (part, message) = refusal(&corpus(), &Query { filters, ..Query::new("cat") });
    assert_eq!(part, "filters");
    assert!(message.contains(text), "{message}");
}

#[test]
fn long_texts_are_stored_but_not_filtered_on() {
    let long = "x".repeat(2000);
    let corpus = Corpus::of(&[&format!(r#"{{"id": 1, "text": "cat", "body": "{long}"}}"#)]);
    check(&corpus, "body", any_of([long.as_str().into()]), "");
    assert_eq!(corpus.retrieve(&Query::new("cat"), 1)[0].fields[1].1, long.into());
}
