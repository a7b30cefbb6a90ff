//! Queries: plain words, and tantivy's query syntax for those who ask for it.

use std::collections::{BTreeMap, HashMap};

use lorank_core::{Query, QuerySyntax};
use tantivy::query::{
    AllQuery, BooleanQuery, BoostQuery, Occur, Query as EngineQuery, QueryParser, QueryParserError, TermQuery,
};
use tantivy::query_grammar::{UserInputAst, UserInputLeaf, parse_query, parse_query_lenient};
use tantivy::schema::{IndexRecordOption, Term};
use tantivy::{Score, Searcher, TantivyError};

use crate::filter;
use crate::index::Parts;
use crate::schema::{FIELDS, ID};
use crate::{Error, Selection};

/// The number of different words of a plain query that count. Far beyond what a reranker reads.
const WORDS_MAX: usize = 1024;
/// The longest advanced query in bytes.
const ADVANCED_BYTES_MAX: usize = 16 * 1024;
/// The deepest nesting of an advanced query. The parser recurses, and an overflowing stack would end the process.
const ADVANCED_DEPTH_MAX: usize = 32;

/// The query with its filters; `None` where nothing can match, such as a text without words.
pub(crate) fn build(query: &Query, parts: &Parts) -> Result<Option<Box<dyn EngineQuery>>, Error> {
    let Some(text_query) = build_text(query, parts)? else { return Ok(None) };
    if query.filters.is_empty() {
        return Ok(Some(text_query));
    }
    let mut clauses = vec![(Occur::Must, text_query)];
    for filter in &query.filters {
        clauses.push((Occur::Must, filter::to_query(filter, &parts.settings)?));
    }
    Ok(Some(Box::new(BooleanQuery::new(clauses))))
}

/// The documents that a selection is of; `None` where it is of none.
pub(crate) fn build_selection(selection: &Selection, parts: &Parts) -> Result<Option<Box<dyn EngineQuery>>, Error> {
    let words = match &selection.words {
        None => Some(Box::new(AllQuery) as Box<dyn EngineQuery>),
        Some((text, syntax)) => build_text(&Query { syntax: *syntax, ..Query::new(text.as_str()) }, parts)?,
    };
    let Some(words) = words else { return Ok(None) };
    let filters = selection.filters.iter().map(|filter| Ok((Occur::Must, filter::to_query(filter, &parts.settings)?)));
    let clauses = filters.chain([Ok((Occur::Must, words))]).collect::<Result<Vec<_>, Error>>()?;
    Ok(Some(Box::new(BooleanQuery::new(clauses))))
}

fn build_text(query: &Query, parts: &Parts) -> Result<Option<Box<dyn EngineQuery>>, Error> {
    match query.syntax {
        QuerySyntax::Plain => Ok(plain(&query.text, parts)),
        QuerySyntax::Advanced => advanced(&query.text, parts),
        QuerySyntax::MatchAll => Ok(Some(Box::new(AllQuery))),
        _ => Err(Error::InvalidQuery { problem: "it has a syntax that this version does not know".to_owned() }),
    }
}

/// Any of the words in any of the text fields. A word that is said twice counts twice, as in BM25's definition.
///
/// The text is analysed, not parsed: no text can be malformed.
fn plain(text: &str, parts: &Parts) -> Option<Box<dyn EngineQuery>> {
    let words = words_of(text, parts);
    if words.is_empty() {
        return None;
    }
    let mut clauses = Vec::with_capacity(words.len() * parts.layout.texts.len());
    for (field, &place) in parts.settings.text_fields.iter().zip(&parts.layout.texts) {
        for (word, n_said) in &words {
            let term = Term::from_field_text(place, word);
            let term_query = Box::new(TermQuery::new(term, IndexRecordOption::WithFreqs));
            let boost = field.boost * *n_said as Score;
            let clause: Box<dyn EngineQuery> =
                if boost == 1.0 { term_query } else { Box::new(BoostQuery::new(term_query, boost)) };
            clauses.push((Occur::Should, clause));
        }
    }
    Some(Box::new(BooleanQuery::new(clauses)))
}

/// The words of a plain query, each once, in the order of their first mention, with the number of mentions.
fn words_of(text: &str, parts: &Parts) -> Vec<(String, usize)> {
    let mut words: Vec<(String, usize)> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut analyzer = parts.settings.language.analyzer();
    let mut tokens = analyzer.token_stream(text);
    while tokens.advance() {
        let word = &tokens.token().text;
        if let Some(&place) = places.get(word) {
            words[place].1 += 1;
        } else if words.len() < WORDS_MAX {
            places.insert(word.clone(), words.len());
            words.push((word.clone(), 1));
        }
    }
    words
}

/// tantivy's query syntax over the text fields. Every other field name reaches the stored fields.
fn advanced(text: &str, parts: &Parts) -> Result<Option<Box<dyn EngineQuery>>, Error> {
    let malformed = |problem| Error::InvalidQuery { problem };
    if text.len() > ADVANCED_BYTES_MAX {
        return Err(malformed(format!("it is longer than {ADVANCED_BYTES_MAX} bytes")));
    }
    if nesting(text) > ADVANCED_DEPTH_MAX {
        return Err(malformed(format!("it nests more than {ADVANCED_DEPTH_MAX} brackets and negations")));
    }
    let mut ast = parse_query(text).map_err(|_| malformed(syntax_problem(text)))?;
    qualify(&mut ast, parts).map_err(malformed)?;
    let excludes = excludes(&ast);
    let mut parser = QueryParser::for_index(&parts.engine, parts.layout.texts.clone());
    for (field, &place) in parts.settings.text_fields.iter().zip(&parts.layout.texts) {
        parser.set_field_boost(place, field.boost);
    }
    match parser.build_query_from_user_input_ast(ast) {
        Ok(query) => Ok(Some(query)),
        // The parser takes a query of stop words alone for one that only excludes.
        Err(QueryParserError::AllButQueryForbidden) if !excludes => Ok(None),
        Err(QueryParserError::AllButQueryForbidden) => Err(malformed("it only says what to leave out".to_owned())),
        Err(problem) => Err(malformed(problem.to_string())),
    }
}

/// An upper bound of how deep the parser recurses: for each open bracket, and for each `NOT`. Quoted ones count too.
fn nesting(text: &str) -> usize {
    let (mut depth, mut deepest) = (0usize, 0);
    for byte in text.bytes() {
        match byte {
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest + text.matches("NOT").count()
}

/// What is wrong with a query that does not parse. Only the parser's lenient form can tell.
fn syntax_problem(text: &str) -> String {
    let (_, problems) = parse_query_lenient(text);
    let first = problems.first().map(|problem| format!("{} at character {}", problem.message, problem.pos + 1));
    first.unwrap_or_else(|| "its syntax is not understood".to_owned())
}

/// Whether anything is to be left out.
fn excludes(ast: &UserInputAst) -> bool {
    match ast {
        UserInputAst::Clause(clauses) => {
            clauses.iter().any(|(occur, clause)| *occur == Some(Occur::MustNot) || excludes(clause))
        }
        UserInputAst::Boost(inner, _) => excludes(inner),
        UserInputAst::Leaf(_) => false,
    }
}

/// Turns the field names of a query into those of the schema.
fn qualify(ast: &mut UserInputAst, parts: &Parts) -> Result<(), String> {
    match ast {
        UserInputAst::Clause(clauses) => clauses.iter_mut().try_for_each(|(_, clause)| qualify(clause, parts)),
        UserInputAst::Boost(inner, _) => qualify(inner, parts),
        UserInputAst::Leaf(leaf) => {
            let field = match leaf.as_mut() {
                UserInputLeaf::Literal(literal) => literal.field_name.as_mut(),
                UserInputLeaf::Range { field, .. }
                | UserInputLeaf::Set { field, .. }
                | UserInputLeaf::Regex { field, .. } => field.as_mut(),
                UserInputLeaf::Exists { field } if parts.settings.is_text_field(field) => {
                    return Err(format!(
                        "`{field}:*` asks whether a searched field is there, which only works for others"
                    ));
                }
                UserInputLeaf::Exists { field } => Some(field),
                UserInputLeaf::All => None,
            };
            let Some(name) = field else { return Ok(()) };
            // tantivy parts and ends its paths with these two, and panics where it meets them in a name.
            if name.contains(['\0', '\u{1}']) {
                return Err("a field's name holds a control character".to_owned());
            }
            *name = qualified(name, parts);
            Ok(())
        }
    }
}

fn qualified(name: &str, parts: &Parts) -> String {
    if parts.settings.is_text_field(name) {
        name.to_owned()
    } else if name == parts.settings.id_field || name == ID {
        ID.to_owned()
    } else {
        format!("{FIELDS}.{name}")
    }
}

/// An error of a search. Some queries parse and then turn out to ask a field for what it cannot do.
pub(crate) fn search_error(query: &Query, error: TantivyError, parts: &Parts) -> Error {
    match error {
        TantivyError::InvalidArgument(problem) | TantivyError::SchemaError(problem)
            if query.syntax == QuerySyntax::Advanced =>
        {
            Error::InvalidQuery { problem }
        }
        error => parts.error("search", error),
    }
}

/// The words to mark in a text, with what each is worth: rare words more than frequent ones.
pub(crate) fn words_to_mark(
    query: &Query,
    parts: &Parts,
    searcher: &Searcher,
) -> Result<BTreeMap<String, Score>, Error> {
    let mut words = BTreeMap::new();
    let Some(text_query) = build_text(query, parts)? else { return Ok(words) };
    let mut terms: Vec<Term> = Vec::new();
    text_query.query_terms(&mut |term, _| terms.push(term.clone()));
    for term in terms.iter().filter(|term| parts.layout.texts.contains(&term.field())) {
        let Some(word) = term.value().as_str().map(str::to_owned) else { continue };
        let n_documents = searcher.doc_freq(term).map_err(|source| parts.error("search", source))?;
        let worth = 1.0 / (1.0 + n_documents as Score);
        words.entry(word).and_modify(|known: &mut Score| *known = known.min(worth)).or_insert(worth);
    }
    Ok(words)
}
