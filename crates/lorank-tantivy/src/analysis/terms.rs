//! The terms of a text, and the words of a query.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;

use frostem::Stemmer;
use tantivy::tokenizer::{RawTokenizer, StopWordFilter, TextAnalyzer, Token, TokenFilter, TokenStream, Tokenizer};

use super::fold::fold;
use super::pieces::{Piece, PieceKind, Pieces};
use crate::Language;

/// Converts texts of a language to terms. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Analyzer {
    language: Language,
    stemmer: Option<Stemmer>,
}

/// A word of a query.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct QueryWord {
    /// Its terms: as typed, and without accents if that differs.
    pub terms: Vec<String>,
    /// The position among the query's words.
    pub position: usize,
    /// The bytes of the query.
    pub range: Range<usize>,
    /// The whole word without accents, as the dictionary of whole words has it. None for symbols and characters of scripts without spaces.
    pub whole: Option<String>,
    /// Whether it is one of the language's stop words.
    pub is_stop_word: bool,
    /// Whether it is one without its accents, as the French `sûr` is. Texts that leave the accent out then have a stop word.
    pub is_stop_word_without_accents: bool,
}

impl QueryWord {
    /// The terms that stand for it, each with whether texts have it as a stop word.
    pub(crate) fn terms_as_indexed(&self) -> impl Iterator<Item = (&str, bool)> {
        let is_stop_word_without = self.is_stop_word_without_accents && !self.is_stop_word;
        // The last term is that without accents. Where it is the only one, the stemmer has taken them off.
        let n_own = if is_stop_word_without { self.terms.len().div_ceil(2) } else { self.terms.len() };
        let own = self.terms.iter().take(n_own).map(|term| (term.as_str(), self.is_stop_word));
        own.chain(self.terms.last().filter(|_| is_stop_word_without).map(|term| (term.as_str(), true)))
    }
}

impl Analyzer {
    pub(crate) fn new(language: Language) -> Self {
        Self { language, stemmer: language.stemmer().map(Stemmer::new) }
    }

    /// The analyzer for ranking: excludes stop words, which would affect the length of a text.
    pub(crate) fn terms(&self) -> TextAnalyzer {
        let words = TextAnalyzer::builder(self.words(true)).dynamic();
        let words = match self.language.stop_words().and_then(StopWordFilter::new) {
            Some(stop_words) => words.filter_dynamic(stop_words),
            None => words,
        };
        words.filter_dynamic(Stems { analyzer: self.clone(), words: () }).build()
    }

    /// The analyzer for phrases, with all terms. Those of [`terms`](Self::terms) are included, at the same positions.
    pub(crate) fn phrases(&self) -> TextAnalyzer {
        TextAnalyzer::builder(self.words(true)).filter(Stems { analyzer: self.clone(), words: () }).build()
    }

    /// The analyzer for whole words without accents, for prefixes and typos.
    pub(crate) fn whole_words(&self) -> TextAnalyzer {
        TextAnalyzer::builder(self.words(false)).filter(Folds { language: self.language, words: () }).build()
    }

    fn words(&self, has_all: bool) -> Words {
        Words { is_turkish: self.language == Language::Turkish, has_all }
    }

    /// The words of a query, in order. Characters of a script without spaces are combined in pairs; a single one stays
    /// alone.
    pub(crate) fn query_words(&self, text: &str) -> Vec<QueryWord> {
        let mut stop_words = self.language.stop_words().and_then(StopWordFilter::new).map(|filter| {
            // tantivy provides the lists only as a filter.
            TextAnalyzer::builder(RawTokenizer::default()).filter(filter).build()
        });
        let mut words = Vec::new();
        let mut pieces = self.pieces(text).peekable();
        let mut position = 0;
        while let Some(piece) = pieces.next() {
            let next = pieces.peek().filter(|next| next.kind == PieceKind::Unspaced { follows: true });
            let Piece { kind, text, range } = piece;
            let unbroken = |text, range| QueryWord {
                terms: vec![text],
                position,
                range,
                whole: None,
                is_stop_word: false,
                is_stop_word_without_accents: false,
            };
            match (kind, next) {
                (PieceKind::Word, _) => {
                    let mut is_stop_word =
                        |word: &str| stop_words.as_mut().is_some_and(|words| !words.token_stream(word).advance());
                    let folded = fold(&text, self.language).into_owned();
                    words.push(QueryWord {
                        terms: self.terms_of(&text),
                        position,
                        range,
                        is_stop_word: is_stop_word(&text),
                        is_stop_word_without_accents: is_stop_word(&folded),
                        whole: Some(folded),
                    });
                }
                (PieceKind::Unspaced { .. }, Some(next)) => {
                    words.push(unbroken(text + &next.text, range.start..next.range.end));
                }
                // The last character of a run is already part of the previous pair.
                (PieceKind::Unspaced { follows: true }, None) => {}
                (PieceKind::Unspaced { follows: false } | PieceKind::Symbol, _) => words.push(unbroken(text, range)),
            }
            position += 1;
        }
        words
    }

    /// The term of a whole word in the index's dictionary.
    pub(crate) fn term_of_whole(&self, whole: &str) -> String {
        self.stem(whole)
    }

    fn pieces<'a>(&self, text: &'a str) -> Pieces<'a> {
        Pieces::new(text, self.language == Language::Turkish)
    }

    /// A word's stem, and the stem of the word without accents if it differs.
    fn terms_of(&self, word: &str) -> Vec<String> {
        let stem = self.stem(word);
        let folded = fold(word, self.language);
        let plain = if *folded == *word { None } else { Some(self.stem(&folded)).filter(|plain| *plain != stem) };
        std::iter::once(stem).chain(plain).collect()
    }

    fn stem(&self, word: &str) -> String {
        self.stemmer.map_or_else(|| word.to_owned(), |stemmer| stemmer.stem(word).into_owned())
    }
}

impl fmt::Debug for Analyzer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Analyzer").field("language", &self.language).finish_non_exhaustive()
    }
}

/// Tokenizes a text into normalized words. Characters of scripts without spaces become single characters and pairs.
#[derive(Debug, Clone)]
struct Words {
    is_turkish: bool,
    /// Whether to include symbols and characters of scripts without spaces.
    has_all: bool,
}

impl Tokenizer for Words {
    type TokenStream<'a> = WordStream<'a>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> WordStream<'a> {
        let pieces = Pieces::new(text, self.is_turkish);
        WordStream {
            pieces,
            has_all: self.has_all,
            last: None,
            position: 0,
            ready: VecDeque::new(),
            token: Token::default(),
        }
    }
}

struct WordStream<'a> {
    pieces: Pieces<'a>,
    has_all: bool,
    /// The last piece, if it is a character of a script without spaces.
    last: Option<Piece>,
    /// The position of the next piece.
    position: usize,
    ready: VecDeque<Token>,
    token: Token,
}

impl WordStream<'_> {
    /// Prepares the tokens of a piece.
    fn take(&mut self, piece: Piece) {
        let last = self.last.take();
        let position = self.position;
        self.position += 1;
        match piece.kind {
            PieceKind::Word => self.push(piece.text, piece.range, position),
            _ if !self.has_all => {}
            PieceKind::Symbol => self.push(piece.text, piece.range, position),
            PieceKind::Unspaced { follows } => {
                if let Some(Piece { text: before, range, .. }) = last.filter(|_| follows) {
                    self.push(before + &piece.text, range.start..piece.range.end, position - 1);
                }
                self.push(piece.text.clone(), piece.range.clone(), position);
                self.last = Some(piece);
            }
        }
    }

    fn push(&mut self, text: String, range: Range<usize>, position: usize) {
        let token = Token { offset_from: range.start, offset_to: range.end, position, text, position_length: 1 };
        self.ready.push_back(token);
    }
}

impl TokenStream for WordStream<'_> {
    fn advance(&mut self) -> bool {
        loop {
            if let Some(token) = self.ready.pop_front() {
                self.token = token;
                return true;
            }
            let Some(piece) = self.pieces.next() else { return false };
            self.take(piece);
        }
    }

    fn token(&self) -> &Token {
        &self.token
    }

    fn token_mut(&mut self) -> &mut Token {
        &mut self.token
    }
}

/// Stems words; the stem of the word without accents follows at the same position if it differs.
#[derive(Debug, Clone)]
struct Stems<T = ()> {
    analyzer: Analyzer,
    words: T,
}

impl TokenFilter for Stems {
    type Tokenizer<T: Tokenizer> = Stems<T>;

    fn transform<T: Tokenizer>(self, words: T) -> Stems<T> {
        Stems { analyzer: self.analyzer, words }
    }
}

impl<T: Tokenizer> Tokenizer for Stems<T> {
    type TokenStream<'a> = StemStream<'a, T::TokenStream<'a>>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> Self::TokenStream<'a> {
        StemStream { analyzer: &self.analyzer, words: self.words.token_stream(text), second: None }
    }
}

struct StemStream<'a, T> {
    analyzer: &'a Analyzer,
    words: T,
    /// The second term of the current word.
    second: Option<String>,
}

impl<T: TokenStream> TokenStream for StemStream<'_, T> {
    fn advance(&mut self) -> bool {
        if let Some(second) = self.second.take() {
            self.words.token_mut().text = second;
            return true;
        }
        if !self.words.advance() {
            return false;
        }
        let token = self.words.token_mut();
        let mut terms = self.analyzer.terms_of(&token.text).into_iter();
        token.text = terms.next().expect("a word has a term");
        self.second = terms.next();
        true
    }

    fn token(&self) -> &Token {
        self.words.token()
    }

    fn token_mut(&mut self) -> &mut Token {
        self.words.token_mut()
    }
}

/// Removes accents.
#[derive(Debug, Clone)]
struct Folds<T = ()> {
    language: Language,
    words: T,
}

impl TokenFilter for Folds {
    type Tokenizer<T: Tokenizer> = Folds<T>;

    fn transform<T: Tokenizer>(self, words: T) -> Folds<T> {
        Folds { language: self.language, words }
    }
}

impl<T: Tokenizer> Tokenizer for Folds<T> {
    type TokenStream<'a> = FoldStream<T::TokenStream<'a>>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> Self::TokenStream<'a> {
        FoldStream { language: self.language, words: self.words.token_stream(text) }
    }
}

struct FoldStream<T> {
    language: Language,
    words: T,
}

impl<T: TokenStream> TokenStream for FoldStream<T> {
    fn advance(&mut self) -> bool {
        let has_next = self.words.advance();
        if has_next {
            let token = self.words.token_mut();
            token.text = fold(&token.text, self.language).into_owned();
        }
        has_next
    }

    fn token(&self) -> &Token {
        self.words.token()
    }

    fn token_mut(&mut self) -> &mut Token {
        self.words.token_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_become_terms_at_their_positions() {
        check_terms(Language::English, "The running DOGS, (and) a cat's 2nd!", "the run dog and a cat s 2nd");
        check_terms(Language::None, "The running DOGS", "the running dogs");
        check_terms(Language::German, "die Häuser und Gärten", "die haus und gart");
        check_terms(Language::English, "café naïve", "café|cafe naïv|naiv");
        check_terms(Language::English, "东京 e猫", "东|东京 京 e 猫");
        check_terms(Language::English, "\0 -- \"()", "");
        check_terms(Language::English, "hi \u{1F600}!", "hi \u{1F600}");
    }

    fn check_terms(language: Language, text: &str, expected: &str) {
        let mut found: Vec<Vec<String>> = Vec::new();
        Analyzer::new(language).phrases().token_stream(text).process(&mut |token| {
            found.resize(found.len().max(token.position + 1), Vec::new());
            found[token.position].push(token.text.clone());
            assert!(text.get(token.offset_from..token.offset_to).is_some_and(|range| !range.is_empty()), "{text}");
        });
        let found: Vec<_> = found.into_iter().map(|terms| terms.join("|")).collect();
        assert_eq!(found.join(" "), expected, "{text}");
    }

    #[test]
    fn queries_become_words() {
        check_words("running café", "run café|cafe");
        check_words("权威事实", "权威 威事 事实");
        check_words("猫", "猫");
        check_words("猫 犬", "猫 犬");
        check_words("iPhone手机", "iphon 手机");
        check_words("👍🏽 ok", "👍 ok");
    }

    fn check_words(text: &str, expected: &str) {
        let words = Analyzer::new(Language::English).query_words(text);
        let found: Vec<_> = words.iter().map(|word| word.terms.join("|")).collect();
        assert_eq!(found.join(" "), expected, "{text}");
    }

    #[test]
    fn stop_words_are_known() {
        let words = Analyzer::new(Language::English).query_words("To be, or not the question");
        let is_stop_word: Vec<_> = words.iter().map(|word| word.is_stop_word).collect();
        assert_eq!(is_stop_word, [true, true, true, true, true, false]);
        let mut ranked = Vec::new();
        Analyzer::new(Language::English).terms().token_stream("To be, or not the question").process(&mut |token| {
            ranked.push((token.position, token.text.clone()));
        });
        assert_eq!(ranked, [(5, "question".to_owned())], "the position is that of the phrase");
        assert!(Analyzer::new(Language::None).query_words("the").iter().all(|word| !word.is_stop_word));
    }
}
