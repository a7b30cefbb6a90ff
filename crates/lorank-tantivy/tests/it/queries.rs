//! Plain and advanced queries.

use std::num::NonZeroUsize;

use lorank_core::{FirstStage, InvalidQuery, Query, QuerySyntax};
use proptest::prelude::*;

use crate::{Corpus, ids, refusal};

fn corpus() -> Corpus {
    Corpus::of(&[
        r#"{"id": "1", "title": "The Cat", "text": "A cat (black) sat on the mat.", "year": 1999, "kind": "news", "flag": true, "day": "2024-05-01T10:00:00Z"}"#,
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
        ("naive CAFE", vec!["3"]),
        ("京", vec!["3"]),
        ("the of and", vec!["1", "2"]),
        ("", vec![]),
        ("?!:\"'()[]{}*~^\\/+-", vec![]),
        ("\0\u{1}\u{feff}", vec![]),
        ("😀😀", vec!["3"]),
        ("😁", vec![]),
        ("*", vec![]),
    ] {
        assert_eq!(corpus.search(text), expected, "{text}");
    }
    assert_eq!(corpus.search(&"cat (\"".repeat(2000)), ["1"]);
    let many: String = (0..20_000).map(|n| format!("word{n} ")).collect();
    assert_eq!(corpus.search(&format!("cat {many}")), ["1"]);
    assert_eq!(corpus.search(&"x".repeat(100_000)), [""; 0]);
}

/// Pieces of advanced queries, and of what looks like one.
const SYNTAX: [&str; 44] = [
    "cat",
    "the",
    "dog ",
    " ",
    " ",
    "title:",
    "text:",
    "kind:",
    "year:",
    "day:",
    "flag:",
    "author.name:",
    "_id:",
    "id:",
    "[1 TO 2]",
    "[true TO true]",
    "[2024-05-01T10:00:00Z TO *]",
    "{a TO *}",
    "[* TO cat",
    " IN [a 1 true]",
    ">=2",
    "<z",
    "\"",
    "\"black cat\"",
    "'",
    "(",
    ")",
    " AND ",
    " OR ",
    "NOT ",
    "+",
    "-",
    "*",
    "^2",
    "^",
    "~2",
    "\0",
    "\\",
    ".",
    ":",
    "/x/",
    "1e400",
    "-9223372036854775809",
    "\u{1}",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_text_makes_a_query_panic_or_a_plain_one_fail(
        text in any::<String>(),
        syntax in prop::collection::vec(prop::sample::select(&SYNTAX[..]), 0..12).prop_map(|parts| parts.concat()),
    ) {
        thread_local! { static CORPUS: Corpus = corpus(); }
        CORPUS.with(|corpus| {
            corpus.search(&text);
            corpus.search(&syntax);
            // An advanced query may be refused, but as the searcher's mistake.
            let query = Query { syntax: QuerySyntax::Advanced, ..Query::new(&syntax) };
            if let Err(error) = corpus.stage().retrieve(&query, NonZeroUsize::MIN) {
                prop_assert!(error.is::<InvalidQuery>(), "{}: {:?}", syntax, error);
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
    check_advanced("the", "1");
    check_advanced("the AND of", "");
    check_advanced("-cat", "2 3");
    check_advanced("the -cat", "");
    check_advanced("+the cat", "1");
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
    check_malformed("cat AND", "the query is malformed: syntax error");
    check_malformed("flag:[true TO true]", "the condition on `flag` has a boolean as a bound");
    check_malformed("nope:x", "the condition on `nope` names a field that no document has");
    check_malformed("year:[1990 TO many]", "compares with `many`, but the field only has numbers");
    check_malformed("b\0:x", "names a field that no document has");
    check_malformed("title:*", "`title:*` (the field exists) does not work for text fields");
    check_malformed(&"(".repeat(100_000), "longer than 16384 bytes");
    check_malformed(&"(".repeat(10_000), "more than 32 nested brackets and negations");
    check_malformed(&"NOT ".repeat(4000), "more than 32 nested brackets and negations");
    check_malformed("year:[1 TO", "the query is malformed: ");
    check_malformed(&format!("cat^{}", "9".repeat(60)), "a score overflows");
}

fn check_malformed(text: &str, expected: &str) {
    let query = Query { syntax: QuerySyntax::Advanced, ..Query::new(text) };
    let (part, message) = refusal(&corpus(), &query);
    assert_eq!(part, "query");
    assert!(message.contains(expected), "{text}: {message}");
}
