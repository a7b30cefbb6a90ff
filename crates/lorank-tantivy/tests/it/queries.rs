//! Plain and advanced queries.

use std::num::NonZeroUsize;

use lorank_core::{FirstStage, Query, QuerySyntax};
use lorank_tantivy::{Error, ErrorKind};
use proptest::prelude::*;

use crate::{Corpus, ids};

fn corpus() -> Corpus {
    Corpus::of(&[
        r#"{"id": "1", "title": "The Cat", "text": "A cat (black) sat on the mat.", "year": 1999, "kind": "news", "day": "2024-05-01T10:00:00Z"}"#,
        r#"{"id": "2", "title": "Dogs", "text": "title:dog AND \"quoted\" foo^2", "year": 2005, "author": {"name": "Ann"}}"#,
        r#"{"id": "3", "title": "", "text": "naïve café 😀 C++ 北京", "year": 2010.5, "kind": "blog"}"#,
    ])
}

#[test]
fn plain_words_never_fail() {
    let corpus = corpus();
    for (text, expected) in [
        ("cat", vec!["1"]),
        ("CATS!", vec!["1"]),
        ("title:dog", vec!["2"]),
        ("\"black", vec!["1"]),
        ("(((((dog", vec!["2"]),
        ("foo^2 -dog", vec!["2"]),
        ("café", vec!["3"]),
        ("naïve AND", vec!["3"]),
        ("the of and", vec![]),
        ("", vec![]),
        ("?!:\"'()[]{}*~^\\/+-", vec![]),
        ("\0\u{1}\u{feff}", vec![]),
        ("😀😀", vec![]),
        ("*", vec![]),
    ] {
        assert_eq!(corpus.search(text), expected, "{text}");
    }
    assert_eq!(corpus.search(&"cat (\"".repeat(2000)), ["1"]);
    let many: String = (0..20_000).map(|n| format!("word{n} ")).collect();
    assert_eq!(corpus.search(&format!("cat {many}")), ["1"]);
    assert_eq!(corpus.search(&"x".repeat(100_000)), [""; 0]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_text_makes_a_plain_query_fail(text in any::<String>(), syntax in r#"[a-z:"'()\[\]{}*~^\\/+ -]{0,80}"#) {
        thread_local! { static CORPUS: Corpus = corpus(); }
        CORPUS.with(|corpus| {
            corpus.search(&text);
            corpus.search(&syntax);
            // An advanced query may be refused, but as the searcher's mistake and with words.
            let query = Query { syntax: QuerySyntax::Advanced, ..Query::new(&syntax) };
            if let Err(error) = corpus.stage().retrieve(&query, NonZeroUsize::MIN) {
                let error = error.downcast_ref::<Error>().expect("an error of this crate");
                prop_assert_eq!(error.kind(), ErrorKind::InvalidInput, "{}: {:?}", syntax, error);
            }
            Ok(())
        })?;
    }
}

#[test]
fn advanced_queries_know_operators_fields_and_ranges() {
    check_advanced("cat OR dog", "1 2");
    check_advanced("+cat -black", "");
    check_advanced("title:cat", "1");
    check_advanced("text:title", "2");
    check_advanced("\"sat on the mat\"", "1");
    check_advanced("\"mat sat\"", "");
    check_advanced("*", "1 2 3");
    check_advanced("kind:news", "1");
    check_advanced("author.name:Ann", "2");
    check_advanced("year:2005", "2");
    check_advanced("year:[2000 TO 2011]", "2 3");
    check_advanced("year:>2005", "3");
    check_advanced("year: IN [1999 2005]", "1 2");
    check_advanced("day:[2024-05-01T00:00:00Z TO 2024-05-02T00:00:00Z]", "1");
    check_advanced("kind:*", "1 3");
    check_advanced("id:2", "2");
    check_advanced("_id:2", "2");
    check_advanced("nope:x", "");
    check_advanced("", "");
}

fn check_advanced(text: &str, expected: &str) {
    let query = Query { syntax: QuerySyntax::Advanced, ..Query::new(text) };
    let mut found = ids(&corpus().retrieve(&query, 10));
    found.sort();
    assert_eq!(found.join(" "), expected, "{text}");
}

#[test]
fn a_malformed_advanced_query_says_what_is_wrong() {
    check_malformed("title:", "the query is malformed: expected word at character 7");
    check_malformed("(cat", "the query is malformed: ");
    check_malformed("-cat", "the query is malformed: Invalid query: Only excluding terms given");
    check_malformed("title:*", "`title:*` asks whether a searched field is there");
    check_malformed(&"(".repeat(100_000), "longer than 16384 bytes");
    check_malformed(&"(".repeat(10_000), "nests deeper than 32 brackets");
    check_malformed("year:[1 TO", "the query is malformed: ");
    check_malformed("cat^1e39", "a score overflows");
}

fn check_malformed(text: &str, expected: &str) {
    let query = Query { syntax: QuerySyntax::Advanced, ..Query::new(text) };
    let error = corpus().stage().retrieve(&query, NonZeroUsize::MIN).unwrap_err();
    let error = error.downcast_ref::<Error>().unwrap();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{text}: {error:?}");
    assert!(error.to_string().contains(expected), "{text}: {error}");
}
