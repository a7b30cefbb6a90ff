//! Settings of a ranker.

use std::fmt;
use std::num::NonZeroUsize;

use crate::{BlendWeight, PassageOptions, PassageRule, RerankStages};

/// Settings that belong to a ranker, such as an experiment's arm, and take precedence over those of a request. What is
/// not set here is the request's.
///
/// The text form lists the settings with the keys of a search request: `depth 50, blend_weight 0.5`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RankerSettings {
    /// The number of candidates to rerank.
    pub depth: Option<NonZeroUsize>,
    /// The stages that rerank one after the other, each with its own depth.
    pub stages: Option<RerankStages>,
    /// The weight of the rerank score in the order. With one, no expression orders the candidates.
    pub blend_weight: Option<BlendWeight>,
    /// How long documents are scored. With a rule, a request's lengths do not apply either.
    pub passages: PassageOptions,
    /// What the model shall judge.
    pub instruction: Option<String>,
}

/// A setting that has no effect beside the others.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{key}` is invalid: {reason}")]
pub struct InvalidRankerSettings {
    /// The key of the setting.
    pub key: &'static str,
    /// What is wrong with it, and what to do.
    pub reason: &'static str,
}

impl RankerSettings {
    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The keys that are set, with their values as text.
    pub fn entries(&self) -> impl Iterator<Item = (&'static str, String)> + use<> {
        let Self { depth, stages, blend_weight, passages, instruction } = self;
        let PassageOptions { rule, tokens, stride } = passages;
        let entries = [
            ("depth", depth.map(|depth| depth.to_string())),
            ("stages", stages.as_ref().map(|stages| stages.to_string())),
            ("blend_weight", blend_weight.map(|weight| weight.get().to_string())),
            ("passages", rule.map(|rule| rule.to_string())),
            ("passage_tokens", tokens.map(|tokens| tokens.to_string())),
            ("stride", stride.map(|stride| stride.to_string())),
            ("instruction", instruction.clone()),
        ];
        entries.into_iter().filter_map(|(key, value)| Some((key, value?)))
    }

    /// Checks the settings that depend on each other. Those of passages must be complete without a request's: lengths need
    /// a rule that cuts texts.
    ///
    /// # Errors
    /// A depth beside stages, lengths without such a rule, and those that [`PassageOptions::check`] refuses.
    pub fn check(&self) -> Result<(), InvalidRankerSettings> {
        if self.depth.is_some() && self.stages.is_some() {
            let reason = "each stage of `stages` has its own depth; remove one of the two";
            return Err(InvalidRankerSettings { key: "depth", reason });
        }
        let PassageOptions { rule, tokens, stride } = self.passages;
        let lengths = [("passage_tokens", tokens.is_some()), ("stride", stride.is_some())];
        let length = lengths.into_iter().find_map(|(key, is_set)| is_set.then_some(key));
        if let (None | Some(PassageRule::First), Some(key)) = (rule, length) {
            let reason = "it needs `passages` with `max` or `mean-top-3`; set that too, or remove it";
            return Err(InvalidRankerSettings { key, reason });
        }
        self.passages.check().map_err(|invalid| InvalidRankerSettings { key: invalid.field, reason: invalid.reason })
    }
}

impl fmt::Display for RankerSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (key, value)) in self.entries().enumerate() {
            let comma = if n == 0 { "" } else { ", " };
            match key {
                "instruction" => write!(f, "{comma}{key} `{value}`")?,
                _ => write!(f, "{comma}{key} {value}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passages(rule: &str, tokens: usize, stride: usize) -> RankerSettings {
        let (rule, tokens) = (rule.parse().ok(), NonZeroUsize::new(tokens));
        let passages = PassageOptions { rule, tokens, stride: NonZeroUsize::new(stride) };
        RankerSettings { passages, ..RankerSettings::default() }
    }

    #[test]
    fn settings_are_listed_by_the_keys_of_a_request() {
        let settings = RankerSettings {
            depth: NonZeroUsize::new(50),
            stages: "none:50,qa:5".parse().ok(),
            blend_weight: BlendWeight::new(0.25).ok(),
            instruction: Some("Find cases, not laws".to_owned()),
            ..passages("mean-top-2", 64, 32)
        };
        let text = "depth 50, stages none:50,qa:5, blend_weight 0.25, passages mean-top-2, passage_tokens 64, stride 32, \
                    instruction `Find cases, not laws`";
        assert_eq!(settings.to_string(), text);
        assert!(!settings.is_empty());
        let none = RankerSettings::default();
        assert_eq!((none.to_string().as_str(), none.is_empty()), ("", true));
    }

    #[test]
    fn stages_have_their_own_depths() {
        let settings =
            |depth| RankerSettings { depth, stages: "none:50,qa:5".parse().ok(), ..RankerSettings::default() };
        assert_eq!(settings(None).check(), Ok(()));
        assert_eq!(settings(NonZeroUsize::new(5)).check().unwrap_err().key, "depth");
    }

    #[test]
    fn lengths_of_passages_need_a_rule_that_cuts() {
        let check = |settings: RankerSettings, key: Option<&str>| {
            assert_eq!(settings.check().err().map(|error| error.key), key, "{settings}");
        };
        check(RankerSettings::default(), None);
        check(passages("first", 0, 0), None);
        check(passages("max", 64, 32), None);
        check(passages("max", 0, 32), None);
        check(passages("", 64, 0), Some("passage_tokens"));
        check(passages("first", 64, 0), Some("passage_tokens"));
        check(passages("", 0, 32), Some("stride"));
        check(passages("max", 15, 0), Some("passage_tokens"));
        check(passages("max", 64, 65), Some("stride"));
    }
}
