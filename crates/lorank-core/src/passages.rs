//! Passages: long documents that are scored as overlapping windows.

use std::fmt;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::str::FromStr;

use crate::Score;
use crate::windows::{WindowCut, Windows};

/// How a document that is longer than the model's limit gets its score. Its text form is `first`, `max` or
/// `mean-top-3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PassageRule {
    /// The document is one pair, which the model truncates.
    #[default]
    First,
    /// The best score of its windows ("MaxP": Dai and Callan, "Deeper Text Understanding for IR with Contextual Neural
    /// Language Modeling", 2019).
    Max,
    /// The mean of the best scores of its windows: of so many, or of all if there are fewer.
    MeanTop(NonZeroUsize),
}

/// A text that is no [`PassageRule`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a rule for passages; use `max`, `first`, or `mean-top-3` for the mean of the three best")]
pub struct NotAPassageRule(pub String);

/// Settings of passages that are not valid together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` is invalid: {reason}")]
pub struct InvalidPassages {
    /// The setting: `passage_tokens` or `stride`.
    pub field: &'static str,
    /// What is wrong with it, and what to do.
    pub reason: &'static str,
}

/// Settings of passages, of which a request, a server and a model each may have some.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PassageOptions {
    /// The rule.
    pub rule: Option<PassageRule>,
    /// The length of a window in tokens; `None` for as many as the model reads beside the query.
    pub tokens: Option<NonZeroUsize>,
    /// The number of tokens from the start of a window to the start of the next one; `None` for half a window.
    pub stride: Option<NonZeroUsize>,
}

/// The window of a document with the best score, and the others.
#[derive(Debug, Clone, PartialEq)]
pub struct Passage {
    /// The windows in the order of the text, with their scores.
    pub windows: Vec<ScoredWindow>,
    /// The index of the best one. Of equal ones it is the first.
    pub best: usize,
    /// Whether the windows reach the end of the text.
    pub is_complete: bool,
}

/// A window with its score.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScoredWindow {
    /// The bytes of the document's text, without its title.
    pub span: Range<usize>,
    /// The score of the window.
    pub rerank_score: Score,
}

impl PassageOptions {
    /// The minimum length of a window in tokens.
    pub const TOKENS_MIN: usize = 16;

    /// These settings, and those of `other` where there are none. A stride belongs to a length: one of `other` does not
    /// apply to a length from here.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            rule: self.rule.or(other.rule),
            tokens: self.tokens.or(other.tokens),
            stride: self.stride.or(other.stride.filter(|_| self.tokens.is_none())),
        }
    }

    /// Checks the lengths.
    ///
    /// # Errors
    /// Windows that are too short, or between which text would be left out.
    pub fn check(&self) -> Result<(), InvalidPassages> {
        match (self.tokens, self.stride) {
            (Some(tokens), _) if tokens.get() < Self::TOKENS_MIN => {
                Err(InvalidPassages { field: "passage_tokens", reason: "it is below the minimum of 16" })
            }
            (Some(tokens), Some(stride)) if stride > tokens => Err(InvalidPassages {
                field: "stride",
                reason: "it is above `passage_tokens`, so text between two passages would be left out",
            }),
            _ => Ok(()),
        }
    }

    /// How documents are scored by a request with these settings, and with `defaults` where it has none: by a rule, and
    /// in windows, at most `n_max` of a document. `None` if they are scored whole.
    ///
    /// # Errors
    /// As [`check`](Self::check); also lengths without a rule that cuts texts.
    pub fn resolve(
        self,
        defaults: Self,
        n_max: NonZeroUsize,
    ) -> Result<Option<(PassageRule, WindowCut)>, InvalidPassages> {
        let Self { rule, tokens, stride } = self.or(defaults);
        Self { rule, tokens, stride }.check()?;
        match rule.unwrap_or_default() {
            PassageRule::First => {
                let reason = "it has no effect on documents that are not cut into passages; set `passages` to `max` or \
                              `mean-top-3`, or remove it";
                let lengths = [("passage_tokens", self.tokens.is_some()), ("stride", self.stride.is_some())];
                match lengths.into_iter().find(|(_, is_set)| *is_set) {
                    Some((field, _)) => Err(InvalidPassages { field, reason }),
                    None => Ok(None),
                }
            }
            rule => Ok(Some((rule, WindowCut { tokens, stride, n_max }))),
        }
    }
}

impl PassageRule {
    /// A document's score from those of its windows, of which there is at least one.
    ///
    /// # Panics
    /// If the number of scores is not that of the windows.
    pub fn apply(self, windows: &Windows, scores: &[Score]) -> (Score, Passage) {
        assert_eq!(scores.len(), windows.spans.len(), "each window has a score");
        let best = (0..scores.len()).rev().max_by_key(|&at| scores[at]).expect("a text has a window");
        let score = match self {
            Self::First | Self::Max => scores[best],
            Self::MeanTop(n) => mean_of_best(n, scores),
        };
        let scored = windows.spans.iter().zip(scores);
        let windows_with_scores =
            scored.map(|(span, score)| ScoredWindow { span: span.clone(), rerank_score: *score }).collect();
        (score, Passage { windows: windows_with_scores, best, is_complete: windows.is_complete })
    }
}

fn mean_of_best(n: NonZeroUsize, scores: &[Score]) -> Score {
    let mut scores = scores.to_vec();
    scores.sort_by(|a, b| b.cmp(a));
    scores.truncate(n.get());
    let sum: f64 = scores.iter().map(|score| f64::from(score.get())).sum();
    Score::new((sum / scores.len() as f64) as f32).expect("the mean of finite numbers of single precision is finite")
}

impl Passage {
    /// The bytes of the document's text that the best window has.
    pub fn span(&self) -> Range<usize> {
        self.windows[self.best].span.clone()
    }

    /// The text of the best window. Empty if the text is not the one that was scored.
    pub fn text<'a>(&self, text: &'a str) -> &'a str {
        text.get(self.span()).unwrap_or_default()
    }
}

impl fmt::Display for PassageRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::First => f.write_str("first"),
            Self::Max => f.write_str("max"),
            Self::MeanTop(n) => write!(f, "mean-top-{n}"),
        }
    }
}

impl FromStr for PassageRule {
    type Err = NotAPassageRule;

    fn from_str(text: &str) -> Result<Self, NotAPassageRule> {
        match text {
            "first" => Ok(Self::First),
            "max" => Ok(Self::Max),
            _ => {
                let n = text.strip_prefix("mean-top-").and_then(|n| n.parse().ok());
                n.map(Self::MeanTop).ok_or_else(|| NotAPassageRule(text.chars().take(60).collect()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_have_texts() {
        for text in ["first", "max", "mean-top-1", "mean-top-12"] {
            assert_eq!(text.parse::<PassageRule>().unwrap().to_string(), text);
        }
        for text in ["", "Max", "mean-top-0", "mean-top-k", "mean-top-", "mean-top--1", "mean"] {
            assert!(text.parse::<PassageRule>().unwrap_err().to_string().starts_with(&format!("`{text}` is not")));
        }
    }

    #[test]
    fn a_document_gets_the_score_of_its_rule_and_its_best_window() {
        let windows = Windows { spans: vec![0..2, 1..3, 2..4], is_complete: true };
        let check = |rule: &str, scores: [f32; 3], expected: f32, best: usize| {
            let scores = scores.map(|score| Score::new(score).unwrap());
            let (score, passage) = rule.parse::<PassageRule>().unwrap().apply(&windows, &scores);
            assert_eq!((score.get(), passage.best, passage.span()), (expected, best, best..best + 2), "{rule}");
            assert_eq!(passage.text("abcd"), &"abcd"[best..best + 2]);
        };
        check("max", [1.0, 3.0, 2.0], 3.0, 1);
        check("max", [3.0, 1.0, 3.0], 3.0, 0);
        check("mean-top-2", [1.0, 3.0, 2.0], 2.5, 1);
        check("mean-top-9", [1.0, 3.0, 2.0], 2.0, 1);
        check("mean-top-1", [-1.0, -3.0, -2.0], -1.0, 0);
        check("mean-top-3", [f32::MAX, f32::MAX, f32::MAX], f32::MAX, 0);
    }

    #[test]
    fn settings_are_merged_and_checked() {
        let options = |rule: &str, tokens: usize, stride: usize| PassageOptions {
            rule: rule.parse().ok(),
            tokens: NonZeroUsize::new(tokens),
            stride: NonZeroUsize::new(stride),
        };
        for (one, other, merged) in [
            (options("", 0, 0), options("max", 64, 32), options("max", 64, 32)),
            (options("first", 0, 0), options("max", 64, 32), options("first", 64, 32)),
            (options("max", 32, 0), options("", 64, 64), options("max", 32, 0)),
            (options("", 0, 16), options("max", 64, 64), options("max", 64, 16)),
        ] {
            assert_eq!(one.or(other), merged);
        }
        assert_eq!(options("max", 15, 0).check().unwrap_err().field, "passage_tokens");
        assert_eq!(options("max", 16, 17).check().unwrap_err().field, "stride");
        assert!(options("max", 16, 16).check().is_ok() && options("max", 0, 999).check().is_ok());
        let resolve = |one: PassageOptions, other| one.resolve(other, NonZeroUsize::MIN).map_err(|error| error.field);
        let cut = |tokens, stride| WindowCut {
            tokens: NonZeroUsize::new(tokens),
            stride: NonZeroUsize::new(stride),
            n_max: NonZeroUsize::MIN,
        };
        let none = PassageOptions::default();
        assert_eq!(resolve(none, none), Ok(None));
        assert_eq!(resolve(none, options("", 64, 32)), Ok(None), "lengths for requests that have a rule");
        assert_eq!(resolve(options("max", 0, 0), options("", 64, 32)), Ok(Some((PassageRule::Max, cut(64, 32)))));
        assert_eq!(resolve(options("first", 0, 0), options("max", 64, 32)), Ok(None));
        assert_eq!(resolve(options("first", 64, 0), options("max", 64, 32)), Err("passage_tokens"));
        assert_eq!(resolve(options("", 0, 32), none), Err("stride"));
        assert_eq!(resolve(options("", 0, 65), options("max", 64, 0)), Err("stride"));
    }
}
