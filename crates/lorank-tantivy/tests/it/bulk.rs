//! Indexing many documents.

use std::io;
use std::num::NonZeroU64;

use lorank_core::DocumentId;
use lorank_tantivy::input::{self, BadLine, Input, InputOptions, SourcedDocument};
use lorank_tantivy::{BulkOptions, BulkProgress, Error, ErrorKind, IndexReport, OnError, index_documents};

use crate::{Corpus, document_of, whole, writer};

/// The documents of lines that are written to a file.
fn lines(corpus: &Corpus, lines: &[&str]) -> Vec<Result<SourcedDocument, BadLine>> {
    let path = corpus.dir.path().join("lines.jsonl");
    std::fs::write(&path, lines.join("\n")).unwrap();
    input::open(&[Input::from(path)], corpus.index.settings(), &InputOptions::default()).unwrap().collect()
}

fn run(corpus: &Corpus, input: &[&str], options: BulkOptions<'_>) -> Result<IndexReport, Error> {
    index_documents(&mut writer(&corpus.index), lines(corpus, input), options, |_| {})
}

const GOOD: [&str; 3] = [r#"{"id": 1, "text": "cat"}"#, r#"{"id": 2, "text": "cat"}"#, r#"{"id": 3, "title": " "}"#];
const BAD: &str = r#"{"id": null}"#;

#[test]
fn good_lines_are_indexed_and_counted() {
    let corpus = Corpus::of(&[r#"{"id": 1, "text": "old"}"#, r#"{"id": 9, "text": "old"}"#]);
    let report = run(&corpus, &GOOD, BulkOptions::default()).unwrap();
    assert_eq!((report.n_indexed, report.n_skipped, report.n_without_text), (3, 0, 1));
    assert_eq!((report.n_documents_before, report.n_documents), (2, 4));
    assert_eq!((corpus.search("cat"), corpus.search("old")), (vec!["1".into(), "2".into()], vec!["9".to_owned()]));
}

#[test]
fn documents_without_text_name_the_fields_that_have_some() {
    let corpus = Corpus::of(&[]);
    let input = [
        r#"{"id": 1, "text": "cat", "note": "not of a document without text"}"#,
        r#"{"id": 2, "text": " ", "contents": "cat", "n": 1, "empty": " ", "list": ["cat"]}"#,
        r#"{"id": 3, "contents": "cat", "b": "x", "c": "x", "d": "x"}"#,
        r#"{"id": 4, "e": "x", "f": "x"}"#,
    ];
    let report = run(&corpus, &input, BulkOptions::default()).unwrap();
    assert_eq!(report.n_without_text, 3);
    assert_eq!(report.other_text_fields, ["contents", "b", "c", "d", "e"]);
}

#[test]
fn a_bad_line_stops_and_nothing_is_half_applied() {
    let corpus = Corpus::of(&[r#"{"id": 1, "text": "old"}"#]);
    let error = run(&corpus, &[GOOD[0], GOOD[1], "{]", GOOD[2]], BulkOptions::default()).unwrap_err();
    let file = corpus.dir.path().join("lines.jsonl");
    let expected = format!(
        "indexing stopped; no document of this run is in the index: `{}`, line 3: \
         not valid JSON at column 2: a key must be a string in double quotes",
        file.display()
    );
    assert_eq!(whole(&error), expected);
    assert_eq!(error.kind(), ErrorKind::Malformed);
    assert_eq!((corpus.search("cat").len(), corpus.search("old")), (0, vec!["1".to_owned()]));
}

#[test]
fn what_was_committed_before_a_bad_line_stays() {
    let corpus = Corpus::of(&[]);
    let options = BulkOptions { commit_every: NonZeroU64::new(2), ..BulkOptions::default() };
    let error = run(&corpus, &[GOOD[0], GOOD[1], GOOD[2], BAD], options).unwrap_err();
    assert!(matches!(error, Error::Stopped { n_committed: 2, .. }), "{}", whole(&error));
    assert_eq!(corpus.index.n_documents().unwrap(), 2);
}

#[test]
fn bad_lines_are_skipped_told_and_kept() {
    let corpus = Corpus::of(&[]);
    let mut rejects = Vec::new();
    let bad: Vec<String> = (0..20).map(|n| format!("{{\"id\": null, \"x\": {n}}}")).collect();
    let mut input: Vec<&str> = bad.iter().map(String::as_str).collect();
    input.splice(5..5, GOOD);
    let options = BulkOptions { on_error: OnError::Skip { rejects: Some(&mut rejects) }, ..BulkOptions::default() };
    let report = run(&corpus, &input, options).unwrap();
    assert_eq!((report.n_indexed, report.n_skipped), (3, 20));
    let places: Vec<_> = report.first_skipped.iter().map(|bad| bad.origin.line.unwrap()).collect();
    assert_eq!(places, [1, 2, 3, 4, 5, 9, 10, 11, 12, 13]);
    assert_eq!(String::from_utf8(rejects).unwrap(), bad.join("\n") + "\n");
}

#[test]
fn a_document_that_only_the_index_refuses_is_skipped_too() {
    let corpus = Corpus::of(&[]);
    let bad = lorank_tantivy::Document::new(DocumentId::new(""), Vec::new());
    let origin = input::Origin { file: "memory".into(), line: None, item: None };
    let good = document_of(GOOD[0], corpus.index.settings());
    let documents = [bad, good].map(|document| Ok(SourcedDocument { origin: origin.clone(), document, folder: None }));
    let options = BulkOptions { on_error: OnError::Skip { rejects: None }, ..BulkOptions::default() };
    let report = index_documents(&mut writer(&corpus.index), documents, options, |_| {}).unwrap();
    assert_eq!((report.n_indexed, report.n_skipped), (1, 1));
}

#[test]
fn a_broken_input_stops_even_where_bad_lines_are_skipped() {
    let corpus = Corpus::of(&[]);
    let mut documents = lines(&corpus, &GOOD);
    let cause = Box::new(Error::BrokenInput { source: io::ErrorKind::UnexpectedEof.into() });
    let origin = input::Origin { file: "a.jsonl.gz".into(), line: Some(4), item: None };
    documents.push(Err(BadLine { origin, raw: Vec::new(), cause }));
    let options = BulkOptions { on_error: OnError::Skip { rejects: None }, ..BulkOptions::default() };
    let error = index_documents(&mut writer(&corpus.index), documents, options, |_| {}).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(corpus.index.n_documents().unwrap(), 0);
}

#[test]
fn rejects_that_cannot_be_written_stop() {
    struct Full;
    impl io::Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let corpus = Corpus::of(&[]);
    let options = BulkOptions { on_error: OnError::Skip { rejects: Some(&mut Full) }, ..BulkOptions::default() };
    let error = run(&corpus, &[GOOD[0], BAD], options).unwrap_err();
    assert!(matches!(error, Error::Rejects { .. }), "{error}");
    assert_eq!(corpus.index.n_documents().unwrap(), 0);
}

#[test]
fn progress_is_told_after_each_line() {
    let corpus = Corpus::of(&[]);
    let options = BulkOptions {
        on_error: OnError::Skip { rejects: None },
        commit_every: NonZeroU64::new(2),
        ..BulkOptions::default()
    };
    let documents = lines(&corpus, &[GOOD[0], BAD, GOOD[1], GOOD[2]]);
    let mut told = Vec::new();
    index_documents(&mut writer(&corpus.index), documents, options, |progress| told.push(*progress)).unwrap();
    let expected = [(1, 0, 0), (1, 0, 1), (2, 2, 1), (3, 2, 1), (3, 3, 1)];
    let expected =
        expected.map(|(n_indexed, n_committed, n_skipped)| BulkProgress { n_indexed, n_committed, n_skipped });
    assert_eq!(told, expected);
}

#[test]
fn a_writer_goes_on_after_an_error() {
    let corpus = Corpus::of(&[]);
    let mut writer = writer(&corpus.index);
    let bad = lines(&corpus, &[GOOD[0], BAD]);
    assert!(index_documents(&mut writer, bad, BulkOptions::default(), |_| {}).is_err());
    let good = lines(&corpus, &GOOD);
    index_documents(&mut writer, good, BulkOptions::default(), |_| {}).unwrap();
    assert_eq!(corpus.search("cat"), ["1", "2"]);
}
