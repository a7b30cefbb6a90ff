//! Counts of matches, sorting, facets, and searches without words, against plain loops over the documents.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;

use lorank_core::{
    DocumentId, Facet, FacetBy, FacetCounts, FacetRequest, Filter, FirstStage, InvalidQuery, Query, Retrieval,
    Retrieved, SortKey, Test, TotalHits, Value,
};
use proptest::prelude::*;

use crate::{Corpus, ids};

const MANY: NonZeroUsize = NonZeroUsize::new(1_000).unwrap();

/// Documents of one word each, with fields of every kind, in two segments; `gone` is deleted.
fn corpus() -> Corpus {
    let corpus = Corpus::of(&[
        r#"{"id": "a", "text": "cat", "n": 3, "kind": "news", "tags": ["x", "y", "x"], "day": "2024-05-01"}"#,
        r#"{"id": "b", "text": "cat cat", "n": 2.5, "kind": "blog", "tags": "y", "day": "2023-01-01T00:00:00Z"}"#,
        r#"{"id": "gone", "text": "cat", "n": 1, "kind": "gone"}"#,
        r#"{"id": "c", "text": "cat", "n": [10, -1], "kind": "news", "flag": true}"#,
        r#"{"id": "d", "text": "dog", "n": 100, "kind": "news"}"#,
    ]);
    corpus.add(&[
        r#"{"id": "e", "text": "cat", "n": 3.0, "kind": "News", "author": {"name": "Ann"}, "flag": false}"#,
        r#"{"id": "f", "text": "cat", "kind": "", "author": {"name": "Bob"}}"#,
        r#"{"id": "g", "text": "cat", "n": "text", "day": "2024-05-01T00:00:00+00:00"}"#,
        r#"{"id": "h", "text": "cat", "n": 18446744073709551615, "flag": true}"#,
    ]);
    let mut writer = crate::writer(&corpus.index);
    writer.delete(&DocumentId::new("gone"));
    writer.commit().unwrap();
    corpus
}

fn find(corpus: &Corpus, query: &Query, depth: NonZeroUsize, sort: &[&str], facets: &[FacetRequest]) -> Retrieved {
    let sort: Vec<SortKey> = sort.iter().map(|key| key.parse().unwrap()).collect();
    corpus.stage().search(&Retrieval { sort: &sort, facets, ..Retrieval::new(query, depth) }).unwrap()
}

fn values(field: &str, top_n: usize) -> FacetRequest {
    FacetRequest { field: field.to_owned(), by: FacetBy::Values { top_n: NonZeroUsize::new(top_n).unwrap() } }
}

fn range(lower: Option<Value>, upper: Option<Value>) -> Test {
    Test::Range { lower: lower.map(|value| (value, true)), upper: upper.map(|value| (value, false)) }
}

#[test]
fn all_matches_are_counted_whatever_the_depth() {
    let corpus = corpus();
    let filters = vec![Filter { field: "kind".into(), test: Test::AnyOf(vec!["news".into()]) }];
    for (query, n) in [
        (Query::new("cat"), 7),
        (Query::new("cat dog"), 8),
        (Query { filters: filters.clone(), ..Query::new("cat") }, 2),
        (Query::new("bird"), 0),
        (Query::new(""), 0),
        (Query::match_all(), 8),
        (Query { filters, ..Query::match_all() }, 3),
    ] {
        for depth in [1, 3, 1_000] {
            let found = find(&corpus, &query, NonZeroUsize::new(depth).unwrap(), &[], &[]);
            assert_eq!(found.total_hits, TotalHits::Exactly(n), "{query:?}");
            assert_eq!(found.candidates.len() as u64, n.min(depth as u64), "{query:?}");
        }
    }
}

#[test]
fn a_search_without_words_finds_every_document_in_the_order_of_ids() {
    let found = find(&corpus(), &Query::match_all(), MANY, &[], &[]);
    assert_eq!(ids(&found.candidates), ["a", "b", "c", "d", "e", "f", "g", "h"]);
}

#[test]
fn documents_are_sorted_by_fields_with_missing_ones_last() {
    let corpus = corpus();
    for (sort, expected) in [
        // Numbers by value, the lowest of several, and texts after them.
        (&["n"][..], "c b a e d h g f"),
        (&["n:desc"], "g h d c a e b f"),
        (&["kind"], "f e b a c d g h"),
        (&["kind:desc"], "a c d b e f g h"),
        (&["kind:desc", "n:desc"], "d c a b e f g h"),
        (&["flag", "kind"], "e c h f b a d g"),
        (&["flag:desc", "id:desc"], "h c e g f d b a"),
        (&["day:desc"], "a g b c d e f h"),
        (&["author.name:desc"], "f e a b c d g h"),
        (&["id:desc"], "h g f e d c b a"),
        (&["_id"], "a b c d e f g h"),
        (&["tags", "id:desc"], "a b h g f e d c"),
    ] {
        let all = ids(&find(&corpus, &Query::match_all(), MANY, sort, &[]).candidates);
        assert_eq!(all.join(" "), expected, "{sort:?}");
        for depth in 1..=all.len() {
            let first = find(&corpus, &Query::match_all(), NonZeroUsize::new(depth).unwrap(), sort, &[]);
            assert_eq!(ids(&first.candidates), all[..depth], "a smaller depth gives a prefix: {sort:?}");
        }
    }
}

#[test]
fn equal_documents_are_in_the_order_of_their_scores_and_then_of_their_ids() {
    let corpus = corpus();
    // `b` has the word twice; all but `a` and `b` are equal for the key.
    let by_score = ids(&find(&corpus, &Query::new("cat"), MANY, &[], &[]).candidates);
    assert_eq!(by_score.join(" "), "b a c e f g h");
    let by_key = ids(&find(&corpus, &Query::new("cat"), MANY, &["kind:desc"], &[]).candidates);
    assert_eq!(by_key.join(" "), "a c b e f g h");
    let by_tags = ids(&find(&corpus, &Query::new("cat"), MANY, &["tags:desc"], &[]).candidates);
    assert_eq!(by_tags.join(" "), "b a c e f g h");
}

/// A field, how many values are wanted, these, how many there are, and how many documents have none.
type ValueCounts<'a> = (&'a str, usize, &'a [(Value, u64)], usize, u64);

#[test]
fn values_are_counted_over_all_matches() {
    let corpus = corpus();
    let int = Value::Integer;
    let rows: [ValueCounts<'_>; 7] = [
        ("kind", 10, &[("news".into(), 2), ("".into(), 1), ("News".into(), 1), ("blog".into(), 1)], 4, 2),
        ("kind", 2, &[("news".into(), 2), ("".into(), 1)], 4, 2),
        // A document counts once for a value that it has twice.
        ("tags", 10, &[("y".into(), 2), ("x".into(), 1)], 2, 5),
        // 3 is 3.0.
        (
            "n",
            10,
            &[
                (int(3), 2),
                (int(-1), 1),
                (Value::Float(2.5), 1),
                (int(10), 1),
                (Value::Unsigned(u64::MAX), 1),
                ("text".into(), 1),
            ],
            6,
            1,
        ),
        ("day", 10, &[("2024-05-01T00:00:00Z".into(), 2), ("2023-01-01T00:00:00Z".into(), 1)], 2, 4),
        ("flag", 10, &[(Value::Bool(true), 2), (Value::Bool(false), 1)], 2, 4),
        ("author.name", 1, &[("Ann".into(), 1)], 2, 5),
    ];
    for (field, top_n, top, n_values, n_missing) in rows {
        // The depth is one: counts are not of the page.
        let found = find(&corpus, &Query::new("cat"), NonZeroUsize::MIN, &[], &[values(field, top_n)]);
        let counts = FacetCounts::Values { top: top.to_vec(), n_values, n_missing };
        assert_eq!(found.facets, [Facet { field: field.to_owned(), counts }]);
    }
}

#[test]
fn ranges_are_counted_over_all_matches() {
    let corpus = corpus();
    let (int, date) = (|n| Some(Value::Integer(n)), |text: &str| Some(Value::from(text)));
    for (field, ranges, expected) in [
        ("n", vec![range(None, int(3)), range(int(3), int(11)), range(int(3), None)], &[2, 3, 4][..]),
        ("n", vec![range(int(50), int(60))], &[0]),
        ("day", vec![range(None, date("2024-01-01")), range(date("2024-01-01"), None)], &[1, 2]),
        ("kind", vec![range(date("a"), date("z"))], &[3]),
    ] {
        let by = FacetBy::Ranges(ranges.clone());
        let request = FacetRequest { field: field.to_owned(), by };
        let found = find(&corpus, &Query::new("cat"), NonZeroUsize::MIN, &["id"], &[request]);
        let counts = FacetCounts::Ranges(ranges.into_iter().zip(expected.iter().copied()).collect());
        assert_eq!(found.facets, [Facet { field: field.to_owned(), counts }]);
    }
}

#[test]
fn fields_that_cannot_be_sorted_by_or_counted_are_named() {
    let corpus = corpus();
    let unknown = "names a field that no document has; the fields are `author.name` (";
    let searched = "is not supported: text fields cannot be sorted or counted";
    for (field, problem) in [
        ("nope", unknown.to_owned()),
        ("author", unknown.to_owned()),
        ("n.x", unknown.to_owned()),
        ("kind\0x\0", unknown.to_owned()),
        ("", unknown.to_owned()),
        ("text", searched.to_owned()),
        ("title", searched.to_owned()),
    ] {
        let sort = [SortKey { field: field.to_owned(), order: lorank_core::SortOrder::Ascending }];
        let query = Query::new("cat");
        let refusal = |retrieval: Retrieval<'_>| {
            let InvalidQuery { field, message } = *corpus.stage().search(&retrieval).unwrap_err().downcast().unwrap();
            (field, message)
        };
        let sorted = Retrieval { sort: &sort, ..Retrieval::new(&query, MANY) };
        let (part, message) = refusal(sorted);
        assert_eq!(part, "sort");
        assert!(message.starts_with(&format!("the sort field `{field}` {problem}")), "{message}");
        let facets = [values(field, 1)];
        let counted = Retrieval { facets: &facets, ..Retrieval::new(&query, MANY) };
        let (part, message) = refusal(counted);
        assert_eq!(part, "facets");
        assert!(message.starts_with(&format!("the facet on `{field}` {problem}")), "{message}");
    }
    let bad_range = [FacetRequest { field: "n".to_owned(), by: FacetBy::Ranges(vec![Test::AnyOf(vec![Value::Null])]) }];
    let query = Query::new("cat");
    let error = corpus.stage().search(&Retrieval { facets: &bad_range, ..Retrieval::new(&query, MANY) }).unwrap_err();
    assert!(error.to_string().starts_with("the facet on `n` compares with null"), "{error}");
}

#[test]
fn an_empty_index_has_no_fields_to_miss() {
    let corpus = Corpus::of(&[]);
    let found = find(&corpus, &Query::match_all(), MANY, &["year"], &[values("lang", 3)]);
    assert_eq!((found.candidates.len(), found.total_hits), (0, TotalHits::Exactly(0)));
    let counts = FacetCounts::Values { top: Vec::new(), n_values: 0, n_missing: 0 };
    assert_eq!(found.facets, [Facet { field: "lang".to_owned(), counts }]);
}

#[test]
fn a_facet_of_too_many_values_is_refused() {
    let lines: Vec<String> = (0..65_537).map(|n| format!(r#"{{"id": {n}, "text": "cat", "n": {n}}}"#)).collect();
    let corpus = Corpus::of(&lines.iter().map(String::as_str).collect::<Vec<_>>());
    let query = Query::match_all();
    let facets = [values("n", 3)];
    let error = corpus.stage().search(&Retrieval { facets: &facets, ..Retrieval::new(&query, MANY) }).unwrap_err();
    let message = "the facet on `n` has more than 65536 distinct values among the matching documents";
    assert!(error.to_string().starts_with(message), "{error}");
    let filters = vec![Filter { field: "n".into(), test: range(Some(Value::Integer(1)), None) }];
    let found = find(&corpus, &Query { filters, ..query }, NonZeroUsize::MIN, &[], &facets);
    assert_eq!(found.total_hits, TotalHits::Exactly(65_536));
    let FacetCounts::Values { n_values, .. } = found.facets[0].counts else { panic!("values were counted") };
    assert_eq!(n_values, 65_536);
}

/// A document's values of the field `f`, as JSON.
fn field() -> impl Strategy<Value = Vec<String>> {
    let scalar = prop_oneof![
        (-3_i64..4).prop_map(|n| n.to_string()),
        prop::sample::select(vec!["0.5", "2.0", "1e300", "18446744073709551615"]).prop_map(str::to_owned),
        prop::sample::select(vec!["true", "false"]).prop_map(str::to_owned),
        prop::sample::select(vec!["a", "b", "2020-01-01", "2020-01-01T00:00:00Z", "1999-12-31", ""])
            .prop_map(|text| format!("\"{text}\"")),
    ];
    prop::collection::vec(scalar, 0..3)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// A facet's count is what a filter finds, and the sorted list holds what is found, in pages that fit together.
    #[test]
    fn counts_are_those_of_filters(documents in prop::collection::vec((field(), any::<bool>()), 1..30)) {
        let lines: Vec<String> = documents.iter().zip(0..).map(|((values, is_cat), n)| {
            let word = if *is_cat { "cat" } else { "dog" };
            format!(r#"{{"id": "d{n:02}", "text": "{word}", "f": [{}], "g": {n}}}"#, values.join(", "))
        }).collect();
        let (first, second) = lines.split_at(lines.len() / 2);
        let corpus = Corpus::of(&first.iter().map(String::as_str).collect::<Vec<_>>());
        corpus.add(&second.iter().map(String::as_str).collect::<Vec<_>>());
        // The field has every type, so that none of the ranges is refused.
        corpus.add(&[r#"{"id": "other", "text": "bird", "f": [1, "2000-01-01", "a", true], "g": 0}"#]);
        let query = Query::new("cat");
        let ranges = vec![
            range(Some(Value::Integer(0)), Some(Value::Integer(2))),
            range(None, Some(Value::Float(0.75))),
            range(Some("2000-01-01".into()), None),
            range(Some("a".into()), Some("b".into())),
        ];
        let by_range = FacetRequest { field: "f".to_owned(), by: FacetBy::Ranges(ranges) };
        let found = find(&corpus, &query, MANY, &[], &[values("f", 1_000), by_range]);
        let n_of = |test: Test| {
            let filters = vec![Filter { field: "f".into(), test }];
            find(&corpus, &Query { filters, ..query.clone() }, NonZeroUsize::MIN, &[], &[]).total_hits.n()
        };
        let FacetCounts::Values { top, n_missing, .. } = &found.facets[0].counts else { panic!("values") };
        for (value, n) in top {
            prop_assert_eq!(n_of(Test::AnyOf(vec![value.clone()])), *n, "{:?}", value);
        }
        prop_assert!(top.is_sorted_by(|a, b| a.1 >= b.1));
        prop_assert_eq!(found.total_hits.n() - n_missing, n_of(range(None, None)));
        let FacetCounts::Ranges(ranges) = &found.facets[1].counts else { panic!("ranges") };
        for (test, n) in ranges {
            prop_assert_eq!(n_of(test.clone()), *n, "{:?}", test);
        }
        for sort in [["f", "g"], ["f:desc", "g:desc"]] {
            let all = ids(&find(&corpus, &query, MANY, &sort, &[]).candidates);
            let has_value = |id: &String| !documents[id[1..].parse::<usize>().unwrap()].0.is_empty();
            prop_assert!(all.is_sorted_by(|a, b| has_value(a) >= has_value(b)), "those without a value come last");
            prop_assert_eq!(all.iter().collect::<BTreeSet<_>>().len() as u64, found.total_hits.n());
            let page = find(&corpus, &query, NonZeroUsize::new(3).unwrap(), &sort, &[]);
            prop_assert_eq!(ids(&page.candidates), all[..all.len().min(3)].to_vec());
        }
    }
}

/// Dates of every year and integers beyond 2^53 beside decimals are sorted and counted as filters compare them.
#[test]
fn far_dates_and_wide_integers_are_sorted_and_counted_exactly() {
    let corpus = Corpus::of(&[
        r#"{"id": "a", "text": "cat", "when": "9999-12-31", "n": 9007199254740993}"#,
        r#"{"id": "b", "text": "cat", "when": "0001-01-01", "n": 9007199254740992}"#,
        r#"{"id": "c", "text": "cat", "when": "1500-06-01 12:00", "n": 0.5}"#,
    ]);
    corpus.add(&[
        r#"{"id": "d", "text": "cat", "when": "2024-05-01T10:00:00", "n": 18446744073709551615}"#,
        r#"{"id": "e", "text": "cat", "when": "1500-06-01T12:00:00Z", "n": -9223372036854775808}"#,
        r#"{"id": "f", "text": "cat", "n": 9007199254740994}"#,
    ]);
    let query = Query::new("cat");
    for (sort, expected) in
        [("when", "b c e d a f"), ("when:desc", "a d c e b f"), ("n", "e c b a f d"), ("n:desc", "d f a b c e")]
    {
        assert_eq!(ids(&find(&corpus, &query, MANY, &[sort], &[]).candidates).join(" "), expected, "{sort}");
    }
    let found = find(&corpus, &query, MANY, &[], &[values("when", 10), values("n", 10)]);
    let top = |facet: &Facet| match &facet.counts {
        FacetCounts::Values { top, .. } => top.clone(),
        FacetCounts::Ranges(_) => panic!("values were counted"),
    };
    let date = |text: &str, n| (Value::from(text), n);
    let expected = vec![
        date("1500-06-01T12:00:00Z", 2),
        date("0001-01-01T00:00:00Z", 1),
        date("2024-05-01T10:00:00Z", 1),
        date("9999-12-31T00:00:00Z", 1),
    ];
    assert_eq!(top(&found.facets[0]), expected);
    let numbers = [
        Value::Integer(i64::MIN),
        Value::Float(0.5),
        Value::Integer(9_007_199_254_740_992),
        Value::Integer(9_007_199_254_740_993),
        Value::Integer(9_007_199_254_740_994),
        Value::Unsigned(u64::MAX),
    ];
    assert_eq!(top(&found.facets[1]), numbers.map(|number| (number, 1)));
}
