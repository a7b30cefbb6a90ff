//! Advanced queries against an evaluator of sets, and what they refuse.

use std::collections::BTreeSet;

use lorank_core::{Query, QuerySyntax};
use proptest::prelude::*;
use serde_json::json;

use crate::{Corpus, ids, refusal};

fn advanced(text: &str) -> Query {
    Query { syntax: QuerySyntax::Advanced, ..Query::new(text) }
}

fn fruit() -> Corpus {
    Corpus::of(&[
        r#"{"id": "1", "text": "apple pie", "year": 2001}"#,
        r#"{"id": "2", "text": "apple tart", "year": 2002}"#,
        r#"{"id": "3", "text": "pear pie"}"#,
    ])
}

#[test]
fn a_negation_is_a_set_of_documents_wherever_it_stands() {
    let corpus = fruit();
    for (text, expected) in [
        ("apple AND NOT pie", "2"),
        ("(apple) AND (NOT pie)", "2"),
        ("NOT pie AND apple", "2"),
        ("* AND NOT pie", "2"),
        ("apple AND (pie OR tart) AND NOT tart", "1"),
        ("apple NOT pie", "2"),
        ("apple -pie", "2"),
        ("apple AND -pie", "2"),
        ("+apple -pie", "2"),
        ("NOT pie", "2"),
        ("-pie", "2"),
        ("-pie -tart", ""),
        ("NOT (apple OR pear)", ""),
        ("NOT (apple AND pie)", "2 3"),
        ("NOT (apple AND NOT pie)", "1 3"),
        ("NOT NOT pie", "1 3"),
        ("NOT (NOT (NOT pie))", "2"),
        ("pear OR NOT pie", "2 3"),
        ("NOT pie OR pear", "2 3"),
        ("(NOT apple) OR (NOT pie)", "2 3"),
        ("pie AND (NOT apple OR tart)", "3"),
        ("apple (NOT pie)", "2"),
        ("text:(apple AND NOT pie)", "2"),
        ("NOT \"apple pie\"", "2 3"),
        ("NOT \"pie apple\"", "1 2 3"),
        ("pie -\"apple tart\" -(pear AND \"pear tart\")", "1 3"),
        ("NOT pea*", "1 2"),
        ("NOT year:2001", "2 3"),
        ("pie AND NOT year:*", "3"),
        ("NOT year:[2002 TO *]", "1 3"),
        ("(NOT tart)^3", "1 3"),
        ("NOT nowhere", "1 2 3"),
    ] {
        let mut found = ids(&corpus.retrieve(&advanced(text), 10));
        found.sort();
        assert_eq!(found.join(" "), expected, "{text}");
    }
    // What is only not excluded scores less than what is found.
    assert_eq!(ids(&corpus.retrieve(&advanced("pear OR NOT pie"), 10)), ["3", "2"]);
}

#[test]
fn words_may_be_begun() {
    let corpus = Corpus::of(&[
        r#"{"id": "1", "title": "Computers", "text": "The sorrows of software in Paris", "kind": "novel"}"#,
        r#"{"id": "2", "title": "Computation", "text": "So it goes; computer science now"}"#,
        r#"{"id": "3", "title": "Soap", "text": "Éclairs and a café in 北京市"}"#,
    ]);
    for (text, expected) in [
        ("so*", "1 2 3"),
        ("sor*", "1"),
        ("soft*", "1"),
        ("computers*", "1"),
        ("computer*", "1 2"),
        ("COMPUTA*", "2"),
        ("title:so*", "3"),
        ("text:so*", "1 2"),
        ("ecl*", "3"),
        ("caf*", "3"),
        ("café*", "3"),
        ("北*", "3"),
        ("北京*", "3"),
        ("zz*", ""),
        ("+comp* -title:computa*", "1"),
        ("\"computer sci\"*", "2"),
        ("\"computer science\"*", "2"),
        ("\"sorrows of so\"*", "1"),
        ("\"computer zz\"*", ""),
        ("soft*^3", "1"),
        ("NOT so*", ""),
        ("a*", "3"),
    ] {
        let mut found = ids(&corpus.retrieve(&advanced(text), 10));
        found.sort();
        assert_eq!(found.join(" "), expected, "{text}");
    }
    // Plain queries have prefixes too; a star elsewhere says nothing.
    for (text, expected) in [
        ("sor*", "1"),
        ("computers*", "1"),
        ("éclair* tart", "3"),
        ("sor", ""),
        ("*sor*", ""),
        ("sor*rows", ""),
        ("sor *", ""),
        ("北*", "3"),
    ] {
        assert_eq!(corpus.search(text).join(" "), expected, "{text}");
    }
    assert_eq!(corpus.search("so*")[0], "2", "the word itself comes first");
}

#[test]
fn what_the_syntax_does_not_have_is_refused_by_name() {
    let corpus = Corpus::of(&[r#"{"id": "1", "text": "roam the test fields", "kind": "a?b"}"#]);
    for (text, expected) in [
        ("te?t", "`te?t`: the only supported wildcard is `*` at the end of a word"),
        ("t*t", "the only supported wildcard is `*`"),
        ("*est", "the only supported wildcard is `*`"),
        ("tes?", "the only supported wildcard is `*`"),
        ("roam~0.8", "`roam~0.8`: typos are written `word~`, `word~1` or `word~2`"),
        ("roam~3", "typos are written"),
        ("ro~am", "typos are written"),
        ("roam-about~1", "typos are only supported for a single word"),
        ("kind:abcde~1", "wildcards and typos are not supported in `kind`"),
        ("/te.t/", "`/te.t/`: regular expressions are not supported"),
        ("text:/te.t/", "regular expressions are not supported"),
        ("kind:/a/", "regular expressions are not supported"),
        ("!test", "`!test`: `!` is not an operator; write NOT"),
        ("roam && test", "`&&` is not an operator; write AND"),
        ("roam || test", "`||` is not an operator; write OR"),
        ("text:[a TO z]", "`text` is a text field; ranges only work for other fields"),
        ("text:>a", "ranges only work for other fields"),
        ("[1 TO 2]", "a range needs a field"),
        ("IN [1 2]", "a list needs a field"),
        ("text:*", "does not work for text fields"),
        ("kind:a*", "wildcards and typos are not supported in `kind`"),
        ("kind:\"a b\"~2", "only work for text fields, not for `kind`"),
        ("kind:\"a b\"*", "only work for text fields, not for `kind`"),
        ("roam AND %", "`%` has no letter, digit or symbol"),
        ("\"\"", "has no letter, digit or symbol"),
        ("text: IN []", "is an empty list"),
    ] {
        let (part, message) = refusal(&corpus, &advanced(text));
        assert_eq!(part, "query");
        assert!(message.contains(expected), "{text}: {message}");
    }
    // A wildcard that is quoted or escaped is none.
    for text in ["\"te?t roam\" OR roam", "kind:\"a?b\"", "what\\? OR roam"] {
        assert_eq!(ids(&corpus.retrieve(&advanced(text), 10)), ["1"], "{text}");
    }
}

const WORDS: [&str; 5] = ["ant", "bee", "cat", "dog", "eel"];

/// A query and what it means.
#[derive(Debug, Clone, PartialEq)]
enum Expression {
    Word(usize),
    All,
    Not(Box<Expression>),
    And(Box<Expression>, Box<Expression>),
    Or(Box<Expression>, Box<Expression>),
    /// `a b`: any of the two, unless one is a negation, which excludes.
    Beside(Box<Expression>, Box<Expression>),
    /// `+a -b`
    Without(Box<Expression>, Box<Expression>),
}

impl Expression {
    /// The query, with brackets around every part.
    fn text(&self) -> String {
        match self {
            Self::Word(n) => WORDS[*n].to_owned(),
            Self::All => "*".to_owned(),
            Self::Not(inner) => format!("(NOT ({}))", inner.text()),
            Self::And(a, b) => format!("(({}) AND ({}))", a.text(), b.text()),
            Self::Or(a, b) => format!("(({}) OR ({}))", a.text(), b.text()),
            Self::Beside(a, b) => format!("(({}) ({}))", a.text(), b.text()),
            Self::Without(a, b) => format!("(+({}) -({}))", a.text(), b.text()),
        }
    }

    /// Whether a document with these words is meant.
    fn holds(&self, words: &BTreeSet<usize>) -> bool {
        match self {
            Self::Word(n) => words.contains(n),
            Self::All => true,
            Self::Not(inner) => !inner.holds(words),
            Self::And(a, b) => a.holds(words) && b.holds(words),
            Self::Or(a, b) => a.holds(words) || b.holds(words),
            Self::Beside(a, b) => match (&**a, &**b) {
                (Self::Not(a), Self::Not(b)) => !a.holds(words) && !b.holds(words),
                (Self::Not(a), b) => !a.holds(words) && b.holds(words),
                (a, Self::Not(b)) => a.holds(words) && !b.holds(words),
                (a, b) => a.holds(words) || b.holds(words),
            },
            Self::Without(a, b) => a.holds(words) && !b.holds(words),
        }
    }
}

fn expression() -> impl Strategy<Value = Expression> {
    let leaf = prop_oneof![8 => (0..WORDS.len()).prop_map(Expression::Word), 1 => Just(Expression::All)];
    leaf.prop_recursive(4, 24, 2, |inner| {
        // The grammar takes equal parts for one.
        let two_of = |join: fn(Box<Expression>, Box<Expression>) -> Expression| {
            (inner.clone(), inner.clone())
                .prop_map(move |(a, b)| if a == b { a } else { join(Box::new(a), Box::new(b)) })
        };
        prop_oneof![
            inner.clone().prop_map(|inner| Expression::Not(Box::new(inner))),
            two_of(Expression::And),
            two_of(Expression::Or),
            two_of(Expression::Beside),
            two_of(Expression::Without),
        ]
    })
}

/// A document for every set of words.
fn every_document() -> Vec<BTreeSet<usize>> {
    (0..1_usize << WORDS.len()).map(|set| (0..WORDS.len()).filter(|n| set >> n & 1 == 1).collect()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn advanced_queries_find_what_they_mean(expression in expression()) {
        thread_local! {
            static CORPUS: Corpus = {
                let documents: Vec<String> = every_document().iter().enumerate().map(|(n, words)| {
                    let text: Vec<_> = words.iter().map(|n| WORDS[*n]).collect();
                    json!({"id": n, "text": text.join(" ")}).to_string()
                }).collect();
                Corpus::of(&documents.iter().map(String::as_str).collect::<Vec<_>>())
            };
        }
        let expected: BTreeSet<String> = every_document().iter().enumerate()
            .filter(|(_, words)| expression.holds(words)).map(|(n, _)| n.to_string()).collect();
        let text = expression.text();
        let found: BTreeSet<String> =
            CORPUS.with(|corpus| ids(&corpus.retrieve(&advanced(&text), 100)).into_iter().collect());
        prop_assert_eq!(found, expected, "{}", text);
    }
}
