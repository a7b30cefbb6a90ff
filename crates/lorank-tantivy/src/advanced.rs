//! Advanced queries: tantivy's query grammar, with lorank's own interpretation.
//!
//! tantivy parses the query, so that its users find the syntax they know. This module converts the syntax tree to
//! queries: a negation is a set of documents wherever it occurs; words of text fields are searched in every form in
//! which they are indexed; and unsupported syntax is an error that names it, where tantivy's parser would find nothing.

use lorank_core::{Filter, Test, Value};
use tantivy::query::{
    AllQuery, BooleanQuery, ConstScoreQuery, DisjunctionMaxQuery, Occur, Query as EngineQuery, QueryParser,
};
use tantivy::query_grammar::{
    Delimiter, UserInputAst, UserInputBound, UserInputLeaf, UserInputLiteral, parse_query, parse_query_lenient,
};
use tantivy::schema::Term;
use tantivy::{Score, Searcher};

use crate::Error;
use crate::analysis::QueryWord;
use crate::columns::FIELDS;
use crate::exclusion::Excludable;
use crate::filter;
use crate::index::Parts;
use crate::schema::ID;
use crate::spelling::{TYPOS_MAX, n_typos_allowed};
use crate::words::{TextPlace, TextQuery, any_of, boosted, text_places, words_with_prefix};

/// The maximum length of a query, in bytes.
const BYTES_MAX: usize = 16 * 1024;
/// The maximum nesting. The parser is recursive, and a stack overflow would end the process.
const DEPTH_MAX: usize = 32;
/// The maximum number of words that match the last word of a phrase as a prefix; each of them makes a phrase.
const PHRASE_ENDS_MAX: usize = 200;

/// Parses a query; `None` if it is empty.
pub(crate) fn advanced(text: &str, parts: &Parts, searcher: &Searcher) -> Result<Option<TextQuery>, Error> {
    let malformed = |problem| Error::InvalidQuery { problem };
    if text.len() > BYTES_MAX {
        return Err(malformed(format!("it is longer than {BYTES_MAX} bytes")));
    }
    if nesting(text) > DEPTH_MAX {
        return Err(malformed(format!("it has more than {DEPTH_MAX} nested brackets and negations")));
    }
    if text.trim().is_empty() {
        return Ok(None);
    }
    let ast = parse_query(text).map_err(|_| malformed(syntax_problem(text)))?;
    let mut reader = Reader { parts, searcher, prefixes: Vec::new() };
    let query = reader.query(ast)?;
    Ok(Some(TextQuery { query, prefixes: reader.prefixes }))
}

/// An upper bound of the parser's recursion depth: each open bracket, and each `NOT`, including quoted ones.
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

/// Describes a syntax error. Only the parser's lenient form reports it.
fn syntax_problem(text: &str) -> String {
    let (_, problems) = parse_query_lenient(text);
    let first = problems.first().map(|problem| format!("{} at character {}", problem.message, problem.pos + 1));
    first.unwrap_or_else(|| "syntax error".to_owned())
}

/// Converts the syntax tree to tantivy's queries.
struct Reader<'a> {
    parts: &'a Parts,
    searcher: &'a Searcher,
    prefixes: Vec<Term>,
}

type Built = Result<Box<dyn EngineQuery>, Error>;

fn refused<T>(problem: impl Into<String>) -> Result<T, Error> {
    Err(Error::InvalidQuery { problem: problem.into() })
}

impl Reader<'_> {
    fn query(&mut self, ast: UserInputAst) -> Built {
        match ast {
            UserInputAst::Clause(clauses) => self.clauses(clauses),
            UserInputAst::Boost(inner, boost) => Ok(boosted(self.query(*inner)?, boost.into_inner() as Score)),
            UserInputAst::Leaf(leaf) => self.leaf(*leaf),
        }
    }

    /// If all clauses are negative, they exclude from the set of all documents.
    fn clauses(&mut self, clauses: Vec<(Option<Occur>, UserInputAst)>) -> Built {
        let mut built = Vec::with_capacity(clauses.len() + 1);
        for (occur, clause) in clauses {
            let query = self.query(clause)?;
            built.push(match occur {
                Some(Occur::MustNot) => (Occur::MustNot, Box::new(Excludable(query)) as Box<dyn EngineQuery>),
                occur => (occur.unwrap_or(Occur::Should), query),
            });
        }
        if built.iter().all(|(occur, _)| *occur == Occur::MustNot) {
            // A document that is merely not excluded gets no score for it.
            built.push((Occur::Must, Box::new(ConstScoreQuery::new(Box::new(AllQuery), 0.0))));
        }
        Ok(Box::new(BooleanQuery::new(built)))
    }

    fn leaf(&mut self, leaf: UserInputLeaf) -> Built {
        let text_field = match &leaf {
            UserInputLeaf::Literal(literal) => literal.field_name.as_deref(),
            UserInputLeaf::Range { field, .. } | UserInputLeaf::Set { field, .. } => field.as_deref(),
            UserInputLeaf::Exists { field } => Some(field.as_str()),
            UserInputLeaf::Regex { .. } | UserInputLeaf::All => None,
        };
        let text_field = text_field.filter(|name| self.parts.settings.is_text_field(name)).map(str::to_owned);
        match (leaf, text_field) {
            (UserInputLeaf::All, _) => Ok(Box::new(AllQuery)),
            (UserInputLeaf::Regex { pattern, .. }, _) => refused(format!(
                "`/{pattern}/`: regular expressions are not supported; write `beginning*` for a prefix"
            )),
            (UserInputLeaf::Literal(literal), _) if literal.field_name.is_none() => self.text(&literal, None),
            (UserInputLeaf::Literal(literal), Some(field)) => self.text(&literal, Some(&field)),
            (UserInputLeaf::Set { elements, .. }, Some(field)) => self.any_text(elements, &field),
            (UserInputLeaf::Range { .. }, Some(field)) => {
                refused(format!("`{field}` is a text field; ranges only work for other fields"))
            }
            (UserInputLeaf::Exists { .. }, Some(field)) => {
                refused(format!("`{field}:*` (the field exists) does not work for text fields"))
            }
            (leaf, None) => self.stored(leaf),
        }
    }

    /// Matches any of several texts in a text field.
    fn any_text(&mut self, elements: Vec<String>, field: &str) -> Built {
        if elements.is_empty() {
            return refused(format!("`{field}: IN []` is an empty list"));
        }
        let mut queries = Vec::with_capacity(elements.len());
        for phrase in elements {
            let delimiter = Delimiter::DoubleQuotes;
            let literal = UserInputLiteral { field_name: None, phrase, delimiter, slop: 0, prefix: false };
            queries.push(self.text(&literal, Some(field))?);
        }
        Ok(any_of(queries))
    }

    /// A word or phrase in one text field or in all.
    fn text(&mut self, literal: &UserInputLiteral, field: Option<&str>) -> Built {
        let (phrase, ending) = match literal.delimiter {
            Delimiter::None => unquoted(&literal.phrase)?,
            _ if literal.prefix => (literal.phrase.as_str(), Ending::Open),
            _ => (literal.phrase.as_str(), Ending::Closed),
        };
        let words = self.parts.analyzer.query_words(phrase);
        if words.is_empty() {
            return refused(format!("`{}` has no letter, digit or symbol to search for", literal.phrase));
        }
        let names = self.parts.settings.text_fields.iter().map(|field| field.name.as_str());
        let places = text_places(self.parts).zip(names).filter(|(_, name)| field.is_none_or(|field| field == *name));
        let places: Vec<TextPlace> = places.map(|(place, _)| place).collect();
        let mut queries = Vec::with_capacity(places.len());
        for place in places {
            let query = match (words.as_slice(), ending) {
                ([word], Ending::Closed) => place.word(word),
                (words, Ending::Closed) => place.phrase(words, literal.slop),
                (words, Ending::Open) => self.prefix(words, place)?,
                ([word], Ending::Typos(n_typos)) => self.with_typos(word, n_typos, place)?,
                (_, Ending::Typos(_)) => {
                    return refused(format!("`{}`: typos are only supported for a single word", literal.phrase));
                }
            };
            queries.push(place.boosted(query));
        }
        Ok(any_of(queries))
    }

    /// Words of which the last one is a prefix. Characters of scripts without spaces always are prefixes.
    fn prefix(&mut self, words: &[QueryWord], place: TextPlace) -> Built {
        let (last, before) = words.split_last().expect("the phrase has words");
        let Some(beginning) = &last.whole else {
            return Ok(if before.is_empty() { place.word(last) } else { place.phrase(words, 0) });
        };
        let term = Term::from_field_text(place.whole_words, beginning);
        self.prefixes.push(term.clone());
        if before.is_empty() {
            return Ok(place.prefix(last).unwrap_or_else(|| place.word(last)));
        }
        let ends = words_with_prefix(&term, PHRASE_ENDS_MAX + 1, self.searcher);
        let ends = ends.map_err(|source| self.parts.error("search", source))?;
        if ends.len() > PHRASE_ENDS_MAX {
            return refused(format!(
                "more than {PHRASE_ENDS_MAX} words start with `{beginning}`; write more of the phrase's last word"
            ));
        }
        let mut phrases = Vec::with_capacity(ends.len());
        for whole in ends {
            let end = QueryWord { terms: vec![self.parts.analyzer.term_of_whole(&whole)], ..last.clone() };
            phrases.push(place.phrase(&[before, &[end]].concat(), 0));
        }
        Ok(any_of(phrases))
    }

    /// A word, and similarly spelled words.
    fn with_typos(&self, word: &QueryWord, n_typos: Option<u8>, place: TextPlace) -> Built {
        let n_typos = n_typos.unwrap_or_else(|| word.whole.as_deref().map_or(0, n_typos_allowed));
        let similar = place.similar(word, n_typos, &self.parts.analyzer, self.searcher);
        let similar = similar.map_err(|source| self.parts.error("search", source))?;
        Ok(Box::new(DisjunctionMaxQuery::new(std::iter::once(place.word(word)).chain(similar).collect())))
    }

    /// A condition on a stored field, with the semantics of filters.
    fn stored(&self, leaf: UserInputLeaf) -> Built {
        match leaf {
            UserInputLeaf::Literal(literal) => {
                let name = literal.field_name.unwrap_or_default();
                if literal.slop > 0 || literal.prefix {
                    return refused(format!("`~` and `*` after a phrase only work for text fields, not for `{name}`"));
                }
                if literal.delimiter == Delimiter::None && has_unescaped(&literal.phrase, &['*', '?', '~']) {
                    return refused(format!(
                        "`{name}:{}`: wildcards and typos are not supported in `{name}`; quote values with these characters",
                        literal.phrase
                    ));
                }
                self.condition(&name, Test::AnyOf(vec![literal.phrase.into()]))
            }
            UserInputLeaf::Range { field: None, .. } => refused("a range needs a field, as in `year:[2000 TO 2010]`"),
            UserInputLeaf::Range { field: Some(name), lower, upper } => match (bound(lower), bound(upper)) {
                (None, None) => self.stored_leaf(UserInputLeaf::Exists { field: self.qualified(&name)? }),
                (lower, upper) => self.condition(&name, Test::Range { lower, upper }),
            },
            UserInputLeaf::Set { field: None, .. } => refused("a list needs a field, as in `year: IN [1999 2005]`"),
            UserInputLeaf::Set { field: Some(name), elements } => {
                self.condition(&name, Test::AnyOf(elements.into_iter().map(Value::from).collect()))
            }
            UserInputLeaf::Exists { field: name } => {
                self.stored_leaf(UserInputLeaf::Exists { field: self.qualified(&name)? })
            }
            leaf @ (UserInputLeaf::Regex { .. } | UserInputLeaf::All) => self.stored_leaf(leaf),
        }
    }

    fn condition(&self, field: &str, test: Test) -> Built {
        let filter = Filter { field: field.to_owned(), test };
        filter::to_query(&filter, self.parts, self.searcher).map_err(|error| match error {
            Error::InvalidFilter { field, problem } => {
                Error::InvalidQuery { problem: format!("the condition on `{field}` {problem}") }
            }
            other => other,
        })
    }

    fn stored_leaf(&self, leaf: UserInputLeaf) -> Built {
        let parser = QueryParser::for_index(&self.parts.engine, Vec::new());
        parser
            .build_query_from_user_input_ast(leaf.into())
            .map_err(|problem| Error::InvalidQuery { problem: problem.to_string() })
    }

    /// The name of a stored field in the schema.
    fn qualified(&self, name: &str) -> Result<String, Error> {
        // tantivy uses these two characters to separate and end its paths, and panics if a name contains them.
        if name.contains(['\0', '\u{1}']) {
            return refused("a field name contains a control character");
        }
        Ok(if self.parts.settings.is_id_field(name) { ID.to_owned() } else { format!("{FIELDS}.{name}") })
    }
}

/// A bound of a range and whether it is inclusive; `None` for an open range.
fn bound(bound: UserInputBound) -> Option<(Value, bool)> {
    match bound {
        UserInputBound::Inclusive(value) => Some((value.into(), true)),
        UserInputBound::Exclusive(value) => Some((value.into(), false)),
        UserInputBound::Unbounded => None,
    }
}

/// The ending of a word or phrase.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Ending {
    Closed,
    /// `so*`: the last word is a prefix.
    Open,
    /// `word~`, `word~2`: with this many typos, or as many as its length allows.
    Typos(Option<u8>),
}

/// An unquoted text with its ending. Operators of other query languages are rejected, because they would be treated as
/// part of a word.
fn unquoted(text: &str) -> Result<(&str, Ending), Error> {
    if text.starts_with('!') {
        return refused(format!("`{text}`: `!` is not an operator; write NOT before a word"));
    }
    if let Some((operator, instead)) =
        [("&&", "AND"), ("||", "OR")].into_iter().find(|(operator, _)| text.contains(operator))
    {
        return refused(format!("`{text}`: `{operator}` is not an operator; write {instead} between words"));
    }
    let (word, ending) = ending_of(text);
    if has_unescaped(word, &['*', '?']) {
        return refused(format!(
            "`{text}`: the only supported wildcard is `*` at the end of a word; quote the text to search for its words"
        ));
    }
    if has_unescaped(word, &['~']) || matches!(ending, Ending::Typos(Some(n)) if n > TYPOS_MAX) {
        return refused(format!(
            "`{text}`: typos are written `word~`, `word~1` or `word~2`; put `~` in quotes to search for its words"
        ));
    }
    Ok((word, ending))
}

fn ending_of(text: &str) -> (&str, Ending) {
    let is_escaped = |word: &str| word.ends_with('\\');
    if let Some(word) = text.strip_suffix('*').filter(|word| !is_escaped(word)) {
        return (word, Ending::Open);
    }
    match text.rsplit_once('~').filter(|(word, _)| !is_escaped(word)) {
        Some((word, "")) => (word, Ending::Typos(None)),
        Some((word, n_typos)) => n_typos.parse().map_or((text, Ending::Closed), |n| (word, Ending::Typos(Some(n)))),
        None => (text, Ending::Closed),
    }
}

/// Whether a text contains one of these characters without a backslash before it.
fn has_unescaped(text: &str, characters: &[char]) -> bool {
    let mut is_escaped = false;
    text.chars().any(|c| {
        let is_found = !is_escaped && characters.contains(&c);
        is_escaped = c == '\\' && !is_escaped;
        is_found
    })
}
