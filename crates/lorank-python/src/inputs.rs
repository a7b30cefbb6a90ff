//! Texts, documents and pairs from Python.

use lorank_core::{Candidate, Query, Score};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyModule, PyString, PyTuple};

/// How many items are read between looks for Ctrl-C: an iterator that is written in C may never end.
const SIGNALS_EVERY: usize = 1_024;

/// Documents to score for one query.
pub(crate) struct Asked {
    pub(crate) query: Query,
    pub(crate) documents: Vec<Candidate>,
}

/// A text. `what` names it in errors.
///
/// # Errors
/// A `TypeError` for another type, a `ValueError` for lone surrogates.
pub(crate) fn text(value: &Bound<'_, PyAny>, what: impl Fn() -> String) -> PyResult<String> {
    let text = value
        .cast::<PyString>()
        .map_err(|_| PyTypeError::new_err(format!("{} is of type {}, not str", what(), type_name(value))))?;
    let invalid = |_| {
        let why = "has a lone surrogate, which is not valid Unicode; replace it, as in \
                   text.encode(\"utf-8\", \"replace\").decode()";
        PyValueError::new_err(format!("{} {why}", what()))
    };
    Ok(text.to_str().map_err(invalid)?.to_owned())
}

/// A document: a text, or a mapping with `text` and an optional `title`.
///
/// # Errors
/// Another type, or a mapping without `text`.
pub(crate) fn document(value: &Bound<'_, PyAny>, n: usize) -> PyResult<Candidate> {
    if value.is_instance_of::<PyString>() {
        return Ok(candidate(n, text(value, || format!("document {n}"))?, None));
    }
    if !is_mapping(value)? {
        let found = type_name(value);
        let problem = format!("document {n} is of type {found}, neither str nor a mapping with `text`");
        return Err(PyTypeError::new_err(problem));
    }
    if !value.contains("text")? {
        return Err(PyValueError::new_err(format!("document {n} has no key `text`")));
    }
    let body = text(&value.get_item("text")?, || format!("`text` of document {n}"))?;
    let title = if value.contains("title")? { Some(value.get_item("title")?) } else { None };
    // A missing and an empty title are different inputs of a model.
    let title = title.filter(|title| !title.is_none());
    let title = title.map(|title| text(&title, || format!("`title` of document {n}"))).transpose()?;
    Ok(candidate(n, body, title))
}

/// The documents of an iterable.
///
/// # Errors
/// As [`document`], or an exception of the iterable.
pub(crate) fn documents(values: &Bound<'_, PyAny>) -> PyResult<Vec<Candidate>> {
    items(values, "documents", |value, n| document(&value, n))
}

/// The pairs of an iterable of (query, document), those with the same query in a row together.
///
/// # Errors
/// Something else than pairs, or an exception of the iterable.
pub(crate) fn pairs(values: &Bound<'_, PyAny>) -> PyResult<Vec<Asked>> {
    let mut asked: Vec<Asked> = Vec::new();
    items(values, "pairs", |value, n| {
        let (query, document) = pair(&value, n)?;
        let query = text(&query, || format!("the query of pair {n}"))?;
        let document = self::document(&document, n)?;
        match asked.last_mut().filter(|last| last.query.text == query) {
            Some(last) => last.documents.push(document),
            None => asked.push(Asked { query: Query::new(query), documents: vec![document] }),
        }
        Ok(())
    })?;
    Ok(asked)
}

/// The queries of an iterable.
///
/// # Errors
/// As [`text`], or an exception of the iterable.
pub(crate) fn queries(values: &Bound<'_, PyAny>) -> PyResult<Vec<Query>> {
    items(values, "queries", |value, n| Ok(Query::new(text(&value, || format!("query {n}"))?)))
}

/// Reads the items of an iterable that is not a text.
pub(crate) fn items<'py, T>(
    values: &Bound<'py, PyAny>,
    what: &str,
    mut read: impl FnMut(Bound<'py, PyAny>, usize) -> PyResult<T>,
) -> PyResult<Vec<T>> {
    if values.is_instance_of::<PyString>() || is_mapping(values)? {
        return Err(not_a_list(values, what));
    }
    let iterator = values.try_iter().map_err(|_| not_a_list(values, what))?;
    let mut all = Vec::new();
    for (n, value) in iterator.enumerate() {
        if n % SIGNALS_EVERY == SIGNALS_EVERY - 1 {
            values.py().check_signals()?;
        }
        all.push(read(value?, n)?);
    }
    Ok(all)
}

fn pair<'py>(value: &Bound<'py, PyAny>, n: usize) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    let wrong = |found: String| PyTypeError::new_err(format!("pair {n} is {found}, not a query and a document"));
    let is_pair = value.is_instance_of::<PyTuple>() || value.is_instance_of::<PyList>();
    if !is_pair && (value.is_instance_of::<PyString>() || is_mapping(value)?) {
        return Err(wrong(format!("of type {}", type_name(value))));
    }
    let items = value.try_iter().map_err(|_| wrong(format!("of type {}", type_name(value))))?;
    // An iterator without an end is no pair.
    let items = items.take(3).collect::<PyResult<Vec<_>>>()?;
    match <[_; 2]>::try_from(items) {
        Ok([query, document]) => Ok((query, document)),
        Err(items) if items.len() > 2 => Err(wrong("of more than two items".to_owned())),
        Err(items) => Err(wrong(format!("of {} items", items.len()))),
    }
}

/// Whether an object is a mapping. Unlike a cast, the check of another class may raise, as it does at Ctrl-C.
fn is_mapping(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    if value.is_instance_of::<PyDict>() {
        return Ok(true);
    }
    value.is_instance(&PyModule::import(value.py(), "collections.abc")?.getattr("Mapping")?)
}

fn candidate(n: usize, text: String, title: Option<String>) -> Candidate {
    let score = Score::new(0.0).expect("zero is finite");
    Candidate { title: title.map(Into::into), ..Candidate::new(n.to_string(), text, score) }
}

fn not_a_list(values: &Bound<'_, PyAny>, what: &str) -> PyErr {
    PyTypeError::new_err(format!("`{what}` is of type {}, not a list or another iterable", type_name(values)))
}

fn type_name(value: &Bound<'_, PyAny>) -> String {
    value.get_type().name().map_or_else(|_| "unknown".to_owned(), |name| name.to_string())
}
