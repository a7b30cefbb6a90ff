//! Snippets.

use lorank_core::{Candidate, FirstStage, Query, QuerySyntax};

use crate::Corpus;

fn snippets(corpus: &Corpus, query: &Query) -> Vec<Option<String>> {
    let candidates = corpus.retrieve(query, 10);
    let references: Vec<&Candidate> = candidates.iter().collect();
    let snippets = corpus.stage().snippets(query, &references).unwrap();
    snippets.into_iter().map(|snippet| snippet.map(|snippet| snippet.to_html())).collect()
}

#[test]
fn matched_words_are_marked_in_every_form() {
    let corpus = Corpus::of(&[r#"{"id": 1, "title": "x", "text": "A cat & two <cats> were Running."}"#]);
    let expected = "A <b>cat</b> &amp; two &lt;<b>cats</b>&gt; were <b>Running</b>";
    assert_eq!(snippets(&corpus, &Query::new("cats run the"))[0].as_deref(), Some(expected));
    let advanced = Query { syntax: QuerySyntax::Advanced, ..Query::new("+text:cat +text:run") };
    assert_eq!(snippets(&corpus, &advanced)[0].as_deref(), Some(expected));
}

#[test]
fn the_passage_is_where_the_words_are() {
    let text = format!("{} the needle is here {}", "hay ".repeat(500), "straw ".repeat(500));
    let corpus = Corpus::of(&[&format!(r#"{{"id": 1, "text": "{text}"}}"#)]);
    let snippet = snippets(&corpus, &Query::new("needle"))[0].clone().unwrap();
    assert!(snippet.contains("<b>needle</b>") && snippet.len() < 300, "{snippet}");
}

#[test]
fn without_a_match_in_the_text_it_is_the_beginning() {
    let words = "word ".repeat(100);
    let corpus = Corpus::of(&[
        &format!(r#"{{"id": "a", "title": "cat", "text": " {words}"}}"#),
        r#"{"id": "b", "title": "cat", "text": " short "}"#,
        r#"{"id": "c", "title": "cat", "text": ""}"#,
        &format!(r#"{{"id": "d", "title": "cat", "text": "{}"}}"#, "é".repeat(300)),
    ]);
    let expected = [Some("word ".repeat(40).trim().to_owned()), Some("short".to_owned()), None, Some("é".repeat(100))];
    let found = snippets(&corpus, &Query::new("cat"));
    assert_eq!(found[..2], expected[..2]);
    assert_eq!(found[2..], expected[2..]);
}

#[test]
fn a_snippet_may_be_asked_for_any_query_and_text() {
    let corpus = Corpus::of(&[]);
    let candidate = Candidate::new("a", "text of a candidate", lorank_core::Score::new(1.0).unwrap());
    for text in ["", "the", "text", "\0(\""] {
        let snippets = corpus.stage().snippets(&Query::new(text), &[&candidate, &candidate]).unwrap();
        assert_eq!(snippets.len(), 2);
    }
}
