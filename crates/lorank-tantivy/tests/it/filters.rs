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
    check(&corpus, "n", any_of(["3".into()]), "float int text");
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
}

#[test]
fn keywords_compare_byte_for_byte() {
    let corpus = corpus();
    check(&corpus, "kind", any_of(["news".into()]), "int list");
    check(&corpus, "kind", any_of(["News".into(), "".into()]), "float half");
    check(&corpus, "kind", any_of(["new".into()]), "");
    check(&corpus, "kind", range(Some((">=", "blog".into())), Some(("<", "news".into()))), "list");
    check(&corpus, "kind", range(None, Some(("<=", "a".into()))), "float half");
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
    check(&corpus, "day", any_of(["2024-05-02".into()]), "nested");
    check(&corpus, "day", any_of(["2024".into()]), "float int nested text");
    check(&corpus, "day", any_of([Value::Integer(2024)]), "float int nested text");
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
fn an_unknown_field_is_an_error_that_names_those_that_there_are() {
    let corpus = corpus();
    for field in [
        "", ".", "nope", "n.x", "author.", ".author", "author", "\0", "n\0", "a\u{1}b", "_source", "_fields", "\\",
        "n\\",
    ] {
        for test in [range(None, None), any_of([Value::Integer(3), "x".into()]), Test::NoneOf(vec!["x".into()])] {
            let message = refusal_of(&corpus, field, test);
            assert!(message.contains("names a field that no document has"), "{message}");
        }
    }
    let message = refusal_of(&corpus, "kynd", any_of(["news".into()]));
    assert_eq!(
        message,
        "the filter on `kynd` names a field that no document has (did you mean `kind`?); the fields are `a\\b` (numbers), \
         `author.born` (numbers), `author.name` (texts), `day` (dates), `flag` (booleans), `kind` (texts), `n` (numbers and texts)"
    );
    // An index without documents knows no fields yet.
    let empty = Corpus::of(&[]);
    check(&empty, "nope", any_of(["x".into(), Value::Integer(3)]), "");
    // A query that no word matches is refused as well.
    let filters = vec![Filter { field: "nope".into(), test: any_of(["x".into()]) }];
    assert_eq!(refusal(&corpus, &Query { filters, ..Query::new("?!") }).0, "filters");
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
    let corpus = corpus();
    let (int, bad_date) = (Value::Integer, "which is not a date; use `2024-05-01`");
    for (field, test, text) in [
        ("text", any_of(["cat".into()]), "the filter on `text` is not supported: text fields"),
        ("n", any_of([Value::Null]), "the filter on `n` compares with null"),
        ("n", any_of([Value::List(vec![])]), "compares with a list"),
        ("n", any_of([Value::Float(f64::NAN)]), "compares with NaN"),
        ("flag", range(Some((">", Value::Bool(true))), None), "booleans have no order"),
        ("flag", range(Some((">", "true".into())), None), "booleans have no order"),
        // A value of a type that the field never has.
        ("n", any_of([Value::Bool(true)]), "compares with `true`, a boolean, but the field only has numbers and texts"),
        ("kind", any_of([int(1)]), "compares with `1`, a number, but the field only has texts"),
        ("kind", range(Some((">", Value::Float(0.5))), None), "compares with `0.5`, a number"),
        ("flag", any_of(["yes".into()]), "compares with `yes`, but the field only has booleans"),
        ("flag", Test::NoneOf(vec![int(0)]), "compares with `0`, a number, but the field only has booleans"),
        ("author.born", any_of(["x".into()]), "compares with `x`, but the field only has numbers"),
        ("author.born", range(None, Some(("<", "007".into()))), "compares with `007`, but the field only has numbers"),
        ("author.born", any_of(["+1970".into()]), "compares with `+1970`"),
        ("day", any_of(["yesterday".into()]), "compares with `yesterday`, but the field only has dates"),
        ("day", any_of([int(1_714_557_600)]), "compares with `1714557600`, a number, but the field only has dates"),
        ("n", range(Some((">", int(3))), Some(("<", "x".into()))), "has bounds of two types"),
        ("day", range(Some((">=", "2024-13-01".into())), None), bad_date),
        ("day", any_of(["2024-02-30".into()]), bad_date),
        ("day", range(Some((">=", "2024-05-01TABC".into())), None), bad_date),
        ("day", range(None, Some(("<", "2024-5-1".into()))), bad_date),
        ("day", Test::NoneOf(vec!["2024-05-01T25:00:00Z".into()]), bad_date),
        ("kind", any_of(["x".repeat(1025).into()]), "longer than the 1024 bytes that can be filtered on"),
        ("id", any_of([Value::Bool(true)]), "compares with `true`, a boolean, but the field only has texts"),
    ] {
        let message = refusal_of(&corpus, field, test.clone());
        assert!(message.contains(text), "{field} {test:?}: {message}");
    }
}

fn refusal_of(corpus: &Corpus, field: &str, test: Test) -> String {
    let filters = vec![Filter { field: field.into(), test }];
    let (part, message) = refusal(corpus, &Query { filters, ..Query::new("cat") });
    assert_eq!(part, "filters");
    message
}

#[test]
fn long_texts_are_stored_but_not_filtered_on() {
    let long = "x".repeat(2000);
    let corpus = Corpus::of(&[&format!(r#"{{"id": 1, "text": "cat", "body": "{long}"}}"#)]);
    let message = refusal_of(&corpus, "body", any_of(["x".into()]));
    assert!(message.contains("no document has other fields than the id and the text fields"), "{message}");
    assert_eq!(corpus.retrieve(&Query::new("cat"), 1)[0].fields[1].1, long.into());
}

/// What a filter in the form of the command line finds, all texts being read by the field's types.
fn check_text(corpus: &Corpus, filter: &str, expected: &str) {
    let filters = vec![filter.parse().unwrap()];
    let mut found = ids(&corpus.retrieve(&Query { filters, ..Query::new("apple") }, 100));
    found.sort();
    assert_eq!(found.join(" "), expected, "{filter}");
}

fn corpus_of(field: &str, values: &[(&str, &str)]) -> Corpus {
    let documents: Vec<String> =
        values.iter().map(|(id, value)| format!(r#"{{"id": "{id}", "text": "apple", "{field}": {value}}}"#)).collect();
    let documents: Vec<&str> = documents.iter().map(String::as_str).collect();
    // In two segments, so that no result hangs on how values lie together.
    let (first, second) = documents.split_at(documents.len() / 2);
    let corpus = Corpus::of(first);
    corpus.add(second);
    corpus
}

#[test]
fn dates_are_of_one_type_from_year_1_to_9999() {
    let corpus = corpus_of(
        "when",
        &[
            ("forever", r#""9999-12-31""#),
            ("soon", r#""2027-01-31""#),
            ("past", r#""2020-01-31""#),
            ("medieval", r#""1500-06-01""#),
            ("first", r#""0001-01-01""#),
            ("edge", r#""2262-04-12""#),
            ("late", r#""9999-12-31T23:59:59.999999Z""#),
            ("gregorian", r#""1582-10-15 12:00:00""#),
            ("before1678", r#""1677-09-21T00:12:43Z""#),
            ("list", r#"["1066-10-14", "2500-01-01"]"#),
        ],
    );
    let all = "before1678 edge first forever gregorian late list medieval past soon";
    for (filter, expected) in [
        ("when>=0001-01-01", all),
        ("when<=9999-12-31", all),
        ("when<=9999", all),
        ("when>=0001", all),
        ("when<0001-01-02", "first"),
        ("when>=2026-11-28", "edge forever late list soon"),
        ("when>=1500-01-01", "before1678 edge forever gregorian late list medieval past soon"),
        ("when=9999-12-31", "forever late"),
        ("when=9999-12-31T00:00:00Z", "forever"),
        ("when>9999-12-31T00:00:00Z", "late"),
        ("when>9999-12-31", ""),
        ("when=1582", "gregorian"),
        ("when=1582-10", "gregorian"),
        ("when=1582-10-15", "gregorian"),
        ("when<1582-10-15T12:00:00Z", "first list medieval"),
        ("when=1066", "list"),
        ("when=2500-01", "list"),
        ("when=2262", "edge"),
        ("when!=9999", "before1678 edge first gregorian list medieval past soon"),
        ("when=2027,1500", "medieval soon"),
        ("when!=2027,1500,9999", "before1678 edge first gregorian list past"),
    ] {
        check_text(&corpus, filter, expected);
    }
    let stored = corpus.retrieve(&Query::new("apple"), 100);
    assert!(stored.iter().any(|hit| hit.fields[1].1 == "1582-10-15 12:00:00".into()), "texts come back as they went");
}

#[test]
fn dates_with_and_without_zone_and_other_values_beside_them() {
    let corpus = corpus_of(
        "when",
        &[
            ("day", r#""2024-05-01""#),
            ("z", r#""2024-05-01T10:00:00Z""#),
            ("off", r#""2024-05-01T10:00:00+02:00""#),
            ("nozone", r#""2024-05-01T10:00:00""#),
            ("space", r#""2024-05-01 10:00:00""#),
            ("nanos", r#""2024-05-01T10:00:00.000000001Z""#),
            ("junk", r#""2024-05-01TABC""#),
            ("next", r#""2024-05-02""#),
            ("old", r#""1500-01-01""#),
            ("far", r#""2300-01-01""#),
            ("epoch", "1714557600"),
            ("leap", r#""2016-12-31T23:59:60Z""#),
            ("lower", r#""2024-05-01t10:00:00z""#),
        ],
    );
    for (filter, expected) in [
        ("when>=2024-05-01", "day far lower nanos next nozone off space z"),
        ("when>=2023", "day epoch far lower nanos next nozone off space z"),
        ("when=2024-05-01", "day lower nanos nozone off space z"),
        ("when=2024-05-01T10:00:00", "lower nozone space z"),
        ("when=2024-05-01 10:00:00", "lower nozone space z"),
        ("when=2024-05-01T12:00:00+02:00", "lower nozone space z"),
        ("when>2024-05-01T10:00:00", "far nanos next"),
        ("when>2024-05-01", "far next"),
        ("when<=2024-05-01", "day leap lower nanos nozone off old space z"),
        ("when<2024-05-01", "leap old"),
        ("when=2024-05", "day lower nanos next nozone off space z"),
        ("when=2016", "leap"),
        ("when<2017", "leap old"),
        ("when=1714557600", "epoch"),
        ("when=2024-05-01TABC", "junk"),
    ] {
        check_text(&corpus, filter, expected);
    }
    for filter in ["when>=2024-13-01", "when>=2024-05-01TABC", "when=2024-02-30", "when<2024-00", "when!=2024-05-32"] {
        let filter: Filter = filter.parse().unwrap();
        let message = refusal_of(&corpus, "when", filter.test);
        assert!(message.contains("is not a date"), "{message}");
    }
}

#[test]
fn values_keep_their_type_and_their_digits() {
    let corpus = corpus_of(
        "sku",
        &[
            ("zeros", r#""04433""#),
            ("number", "4433"),
            ("plus", r#""+4433""#),
            ("exponent", r#""4.433e3""#),
            ("text", r#""4433""#),
            ("decimal", "4433.0"),
            ("other", r#""abc""#),
            ("bool", "true"),
            ("word", r#""true""#),
            ("version", r#""1.10""#),
            ("half", "1.1"),
        ],
    );
    for (filter, expected) in [
        ("sku=04433", "zeros"),
        ("sku=4433", "decimal number text"),
        ("sku=\"4433\"", "decimal number text"),
        ("sku=4433.0", "decimal number"),
        ("sku=+4433", "plus"),
        ("sku=4.433e3", "decimal exponent number"),
        ("sku=4433,04433", "decimal number text zeros"),
        ("sku>=4433", "decimal number"),
        ("sku<4433", "half"),
        ("sku=abc", "other"),
        ("sku=true", "bool word"),
        ("sku=TRUE", "bool"),
        ("sku=1.10", "half version"),
        ("sku!=4433", "bool exponent half other plus version word zeros"),
    ] {
        check_text(&corpus, filter, expected);
    }
}

#[test]
fn integers_beyond_2_to_the_53_compare_exactly_beside_decimals() {
    let corpus = corpus_of(
        "n",
        &[
            ("a", "2637283987631399372"),
            ("b", "14630868576586246730"),
            ("c", "9007199254740993"),
            ("d", "9007199254740992"),
            ("half", "0.5"),
            ("e", "-9007199254740993"),
            ("f", "-9223372036854775808"),
            ("g", "18446744073709551615"),
            ("large", "1e20"),
            ("list", "[9007199254740995, -0.25]"),
            ("zero", "0"),
        ],
    );
    for (filter, expected) in [
        ("n=2637283987631399372", "a"),
        ("n=2637283987631399373", ""),
        ("n=2637283987631399371", ""),
        ("n=14630868576586246730", "b"),
        ("n=14630868576586246731", ""),
        ("n=9007199254740993", "c"),
        ("n=9007199254740993.0", "c"),
        ("n=9007199254740992", "d"),
        ("n=9007199254740994", ""),
        ("n=-9007199254740993", "e"),
        ("n=-9007199254740992", ""),
        ("n=-9223372036854775808", "f"),
        ("n=18446744073709551615", "g"),
        ("n=18446744073709551614", ""),
        ("n=18446744073709551616", ""),
        ("n=100000000000000000000", "large"),
        ("n=9007199254740995", "list"),
        ("n>9007199254740992", "a b c g large list"),
        ("n>=9007199254740994", "a b g large list"),
        ("n>14630868576586246730", "g large"),
        ("n<-9007199254740992", "e f"),
        ("n<=-9223372036854775808", "f"),
        ("n<0", "e f list"),
        ("n>=0.5", "a b c d g half large list"),
        ("n>18446744073709551615", "large"),
    ] {
        check_text(&corpus, filter, expected);
    }
}

#[test]
fn a_document_without_the_field_meets_not_equal_alone() {
    let corpus = corpus_of(
        "year",
        &[
            ("a", "2023"),
            ("b", "2024"),
            ("list", "[2023, 2024]"),
            ("null", "null"),
            ("empty", "[]"),
            ("text", r#""2023""#),
        ],
    );
    for (filter, expected) in [
        ("year=2023", "a list text"),
        ("year!=2023", "b empty null"),
        ("year!=2023,2024", "empty null"),
        ("year!=1999", "a b empty list null text"),
        ("year>=0", "a b list"),
        ("year<=9999", "a b list"),
    ] {
        check_text(&corpus, filter, expected);
    }
}

#[test]
fn ids_are_texts_whatever_they_look_like() {
    let corpus = Corpus::of(&[
        r#"{"id": "007", "text": "apple"}"#,
        r#"{"id": 7, "text": "apple"}"#,
        r#"{"id": 18446744073709551615, "text": "apple"}"#,
        r#"{"id": "2024-05-01", "text": "apple"}"#,
        r#"{"id": "true", "text": "apple"}"#,
    ]);
    for (filter, expected) in [
        ("id=007", "007"),
        ("id=7", "7"),
        ("_id=7", "7"),
        ("id=18446744073709551615", "18446744073709551615"),
        ("id=2024-05-01", "2024-05-01"),
        ("id=2024-05-01T00:00:00Z", ""),
        ("id=2024-13-01", ""),
        ("id=true", "true"),
        ("id!=7,007", "18446744073709551615 2024-05-01 true"),
        ("id>=2", "2024-05-01 7 true"),
        ("id=\"a,b\"", ""),
    ] {
        check_text(&corpus, filter, expected);
    }
}
