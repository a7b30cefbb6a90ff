//! Values of arguments that are texts.

use std::fmt::Display;
use std::str::FromStr;

use lorank_core::{Activation, Fuzzy, PassageRule, QuerySyntax, RerankStage, RerankStages};
use lorank_eval::Ties;
use lorank_pipeline::AdapterChoice;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;

/// Parses the text form of an argument's value.
///
/// # Errors
/// A `ValueError` that names the argument.
pub(crate) fn parsed<T: FromStr<Err: Display>>(argument: &str, text: &str) -> PyResult<T> {
    if text.contains('\0') {
        return Err(PyTypeError::new_err(format!("`{argument}` has a zero character")));
    }
    text.parse().map_err(|error: T::Err| PyValueError::new_err(format!("`{argument}` is invalid: {error}")))
}

/// The adapter of a name; without one, the default.
///
/// # Errors
/// As [`parsed`].
pub(crate) fn adapter(adapter: Option<&str>) -> PyResult<AdapterChoice> {
    adapter.map_or(Ok(AdapterChoice::Default), |adapter| parsed("adapter", adapter))
}

/// The activation of a name: without one, none; `None` for `model`, the model's own.
///
/// # Errors
/// As [`parsed`].
pub(crate) fn activation(activation: Option<&str>) -> PyResult<Option<Activation>> {
    match activation {
        None => Ok(Some(Activation::Identity)),
        Some("model") => Ok(None),
        Some(name) => parsed("activation", name).map(Some),
    }
}

/// The stages of a cascade.
///
/// # Errors
/// As [`parsed`].
pub(crate) fn stages(stages: &[String]) -> PyResult<RerankStages> {
    let stages = stages.iter().map(|stage| parsed::<RerankStage>("stages", stage)).collect::<PyResult<Vec<_>>>()?;
    RerankStages::new(stages).map_err(|error| PyValueError::new_err(format!("`stages` is invalid: {error}")))
}

/// The rule for long documents.
///
/// # Errors
/// As [`parsed`].
pub(crate) fn rule(passages: Option<&str>) -> PyResult<Option<PassageRule>> {
    passages.map(|rule| parsed("passages", rule)).transpose()
}

/// The syntax of a query.
///
/// # Errors
/// A `ValueError` with the names.
pub(crate) fn syntax(name: &str) -> PyResult<QuerySyntax> {
    choice("syntax", name, &[("plain", QuerySyntax::Plain), ("advanced", QuerySyntax::Advanced)])
}

/// The typo tolerance of a search.
///
/// # Errors
/// A `ValueError` with the names.
pub(crate) fn fuzzy(name: &str) -> PyResult<Fuzzy> {
    choice("fuzzy", name, &[("off", Fuzzy::Off), ("auto", Fuzzy::Auto), ("on", Fuzzy::On)])
}

/// The order of documents with equal scores.
///
/// # Errors
/// A `ValueError` with the names.
pub(crate) fn ties(name: &str) -> PyResult<Ties> {
    choice("ties", name, &[("trec-eval", Ties::TrecEval), ("input", Ties::Input)])
}

fn choice<T: Copy>(argument: &str, name: &str, choices: &[(&str, T)]) -> PyResult<T> {
    let found = choices.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
    found.ok_or_else(|| {
        let known = choices.iter().map(|(known, _)| format!("`{known}`")).collect::<Vec<_>>().join(", ");
        PyValueError::new_err(format!("`{argument}` is `{name}`; it can be {known}"))
    })
}
