//! One writer for many threads, and deleting by query.

use std::time::Duration;

use lorank_core::{DocumentId, Filter, QuerySyntax, Test, Value};
use lorank_tantivy::input::{self, JsonForm};
use lorank_tantivy::{Error, Selection, SharedWriter, WriterOptions};

use crate::{Corpus, document_of, whole};

const NEVER: Duration = Duration::MAX;

fn shared(corpus: &Corpus, idle_max: Duration) -> SharedWriter {
    SharedWriter::new(corpus.index.clone(), WriterOptions { n_threads: None, memory_bytes: 15_000_000 }, idle_max)
}

/// Adds documents and commits; for each whether it replaced one.
fn add(writer: &SharedWriter, documents: &[&str]) -> Vec<bool> {
    let change = writer.begin().unwrap();
    let settings = writer.index().settings();
    let replaced = documents.iter().map(|json| change.add(&document_of(json, settings)).unwrap()).collect();
    change.commit().unwrap();
    replaced
}

#[test]
fn what_is_replaced_is_told_committed_or_not() {
    let corpus = Corpus::of(&[r#"{"id": 1, "text": "old"}"#]);
    let writer = shared(&corpus, NEVER);
    let (one, two) = (r#"{"id": 1, "text": "cat"}"#, r#"{"id": 2, "text": "cat"}"#);
    assert_eq!(add(&writer, &[one, two, two]), [true, false, true]);
    assert_eq!((corpus.search("cat"), corpus.search("old").len()), (vec!["1".to_owned(), "2".into()], 0));

    let id = DocumentId::new("2");
    let change = writer.begin().unwrap();
    assert_eq!([change.delete(&id).unwrap(), change.delete(&id).unwrap()], [true, false]);
    assert!(!change.add(&document_of(two, corpus.index.settings())).unwrap(), "it was gone by then");
    assert!(change.delete(&id).unwrap());
    change.commit().unwrap();
    assert_eq!(corpus.search("cat"), ["1"]);
}

#[test]
fn threads_commit_each_its_own_and_lose_nothing() {
    let corpus = Corpus::of(&[]);
    let writer = shared(&corpus, NEVER);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (writer, corpus) = (&writer, &corpus);
            scope.spawn(move || {
                for n in 0..5 {
                    add(writer, &[&format!(r#"{{"id": "{thread}-{n}", "text": "cat"}}"#)]);
                    // Committed means seen by whoever looks next.
                    assert!(corpus.index.contains(&DocumentId::new(format!("{thread}-{n}"))).unwrap());
                }
            });
        }
    });
    assert_eq!(corpus.index.n_documents().unwrap(), 40);
}

#[test]
fn the_writer_is_let_go_when_nobody_changes_anything() {
    let corpus = Corpus::of(&[]);
    let writer_of_others = || corpus.index.writer(&WriterOptions { n_threads: None, memory_bytes: 15_000_000 });
    let writer = shared(&corpus, Duration::ZERO);
    drop(writer_of_others().unwrap());
    let change = writer.begin().unwrap();
    assert!(matches!(writer_of_others(), Err(Error::WriterBusy { .. })), "a change holds it");
    change.commit().unwrap();
    let other = loop {
        if let Ok(writer) = writer_of_others() {
            break writer;
        }
        std::thread::yield_now();
    };
    let busy = writer.begin().unwrap_err();
    assert!(whole(&busy).contains("is locked by another writer"), "{}", whole(&busy));
    drop(other);
    assert_eq!(add(&writer, &[r#"{"id": 1}"#]), [false]);
}

#[test]
fn a_change_that_is_lost_with_another_says_so() {
    let corpus = Corpus::of(&[]);
    let writer = shared(&corpus, NEVER);
    let document = document_of(r#"{"id": 1}"#, corpus.index.settings());
    let (one, other) = (writer.begin().unwrap(), writer.begin().unwrap());
    one.add(&document).unwrap();
    other.add(&document).unwrap();
    // A thread of the engine may be making a file meanwhile.
    while corpus.dir.path().exists() {
        let _ = std::fs::remove_dir_all(corpus.dir.path());
    }
    assert!(other.commit().is_err());
    assert!(matches!(one.add(&document), Err(Error::ChangeLost { .. })));
    assert!(matches!(one.commit(), Err(Error::ChangeLost { .. })));
}

#[test]
fn a_selection_is_deleted_and_counted() {
    let year = |year: i64| Filter { field: "year".into(), test: Test::AnyOf(vec![Value::Integer(year)]) };
    let words = |text: &str, syntax| Some((text.to_owned(), syntax));
    for (words, filters, left) in [
        (words("cat", QuerySyntax::Plain), vec![], &["3", "4"][..]),
        (words("cat dog", QuerySyntax::Plain), vec![], &["4"]),
        (words("+cat +dog", QuerySyntax::Advanced), vec![], &["1", "3", "4"]),
        (words("year:[2021 TO *]", QuerySyntax::Advanced), vec![], &["1", "2"]),
        (words("cat", QuerySyntax::Plain), vec![year(2020)], &["2", "3", "4"]),
        (None, vec![year(2021)], &["1", "2", "4"]),
        (None, vec![year(2020), year(2021)], &["1", "2", "3", "4"]),
        (words("", QuerySyntax::Plain), vec![], &["1", "2", "3", "4"]),
        (None, vec![], &[]),
    ] {
        let corpus =
            Corpus::of(&[r#"{"id": 1, "text": "cat", "year": 2020}"#, r#"{"id": 3, "text": "dog", "year": 2021}"#]);
        let writer = shared(&corpus, NEVER);
        add(&writer, &[r#"{"id": 2, "text": "cat dog", "year": 2019}"#, r#"{"id": 4, "text": "bird", "year": 2022}"#]);
        let selection = Selection { words, filters };
        let n_deleted = writer.delete_matching(&selection).unwrap();
        assert_eq!(n_deleted, 4 - left.len() as u64, "{selection:?}");
        let is_left = |id: &&&str| corpus.index.contains(&DocumentId::new(**id)).unwrap();
        assert_eq!(["1", "2", "3", "4"].iter().filter(is_left).copied().collect::<Vec<_>>(), left, "{selection:?}");
    }
}

#[test]
fn a_selection_that_cannot_be_deletes_nothing_and_harms_nobody() {
    let corpus = Corpus::of(&[r#"{"id": 1, "text": "cat"}"#]);
    let writer = shared(&corpus, NEVER);
    let change = writer.begin().unwrap();
    change.add(&document_of(r#"{"id": 2, "text": "cat"}"#, corpus.index.settings())).unwrap();
    let words = Some(("(cat".to_owned(), QuerySyntax::Advanced));
    assert!(matches!(
        writer.delete_matching(&Selection { words, filters: Vec::new() }),
        Err(Error::InvalidQuery { .. })
    ));
    change.commit().unwrap();
    assert_eq!(corpus.search("cat"), ["1", "2"]);
}

#[test]
fn lines_come_from_any_reader() {
    let corpus = Corpus::of(&[]);
    let text = "{\"id\": 1}\n\n[]\n{\"id\": 2}";
    let reader = Box::new(std::io::Read::chain(text.as_bytes(), Broken));
    let found: Vec<String> = input::json(reader, JsonForm::Lines, "the body", corpus.index.settings(), 100)
        .map(|line| match line {
            Ok(sourced) => format!("{}: {}", sourced.origin, sourced.document.id()),
            Err(bad) => whole(&bad),
        })
        .collect();
    let expected = [
        "`the body`, line 1: 1",
        "`the body`, line 3: expected a JSON object, found a list",
        "`the body`, line 4: the input cannot be read further: unexpected end of file",
    ];
    assert_eq!(found, expected);
}

/// Ends before its end.
struct Broken;

impl std::io::Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::UnexpectedEof.into())
    }
}
