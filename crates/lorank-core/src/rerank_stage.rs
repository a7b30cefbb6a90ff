//! Rerank stages: models that rerank one after the other, each fewer candidates than the one before.

use std::fmt;
use std::num::NonZeroUsize;
use std::ops::Deref;
use std::str::FromStr;
use std::sync::Arc;

use crate::{AdapterChoice, AdapterId};

/// A rerank stage: a model reranks the first `depth` candidates of the order that it gets; the others keep their places
/// behind them.
///
/// Its text form is `ADAPTER[@BASE]:DEPTH[:SHARE]`, as in `none@minilm:1000:0.4`. A share has a decimal point, because
/// names may end in a colon with a number.
#[derive(Debug, Clone, PartialEq)]
pub struct RerankStage {
    /// The adapter or alias, or a base model by its name.
    pub adapter: AdapterChoice,
    /// The base model that the adapter must belong to, by its name; without an adapter, the base model that reranks.
    pub base: Option<AdapterId>,
    /// The number of candidates to rerank.
    pub depth: NonZeroUsize,
    /// The share of the time left before the deadline that the stage may take. Without one, the time is shared equally
    /// with the stages after it.
    pub deadline_share: Option<DeadlineShare>,
}

/// The stages of a cascade: at least one, and at most [`RerankStages::MAX`]. No stage is deeper than the one before. Its
/// text form lists the stages with commas. Clones share the list.
#[derive(Debug, Clone, PartialEq)]
pub struct RerankStages(Arc<[RerankStage]>);

/// A share of the time left before a deadline, from 0.01 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DeadlineShare(f64);

/// Stages that are not a cascade.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidRerankStages {
    /// The list is empty.
    #[error("there are no stages; give at least one")]
    Empty,
    /// The list is too long.
    #[error("there are {found} stages, and the maximum is {}", RerankStages::MAX)]
    TooMany {
        /// The number of stages.
        found: usize,
    },
    /// A stage is deeper than the one before, so some of its candidates have not been reranked.
    #[error(
        "the depth of stage {stage} is {depth}, which is above the depth of the stage before it ({before}); a stage \
         reranks the best of the stage before"
    )]
    Deeper {
        /// The number of the stage, from 1.
        stage: usize,
        /// Its depth.
        depth: NonZeroUsize,
        /// The depth of the stage before it.
        before: NonZeroUsize,
    },
    /// A share outside of its range.
    #[error("a share of the deadline must be a number from {} to 1, not `{found}`", DeadlineShare::MIN)]
    Share {
        /// The text or number.
        found: String,
    },
    /// A text that is not a stage.
    #[error("`{text}` is not a stage ({why}); use ADAPTER[@BASE]:DEPTH[:SHARE], as in `none@minilm:1000:0.4`")]
    Syntax {
        /// The text.
        text: String,
        /// What is wrong with it.
        why: String,
    },
}

impl RerankStage {
    /// The model that the stage names: its adapter, or the base model without one.
    pub fn choice(&self) -> AdapterChoice {
        match (&self.base, &self.adapter) {
            (Some(base), AdapterChoice::Default | AdapterChoice::Base) => AdapterChoice::Named(base.clone()),
            (_, adapter) => adapter.clone(),
        }
    }

    /// Whether it names the bare base model of [`base`](Self::base).
    pub fn is_bare_base(&self) -> bool {
        self.base.is_some() && !matches!(self.adapter, AdapterChoice::Named(_))
    }
}

impl RerankStages {
    /// The maximum number of stages.
    pub const MAX: usize = 4;

    /// Checks a list of stages.
    ///
    /// # Errors
    /// None or too many, or one that is deeper than the one before.
    pub fn new(stages: impl Into<Arc<[RerankStage]>>) -> Result<Self, InvalidRerankStages> {
        let stages = stages.into();
        match stages.len() {
            0 => return Err(InvalidRerankStages::Empty),
            found if found > Self::MAX => return Err(InvalidRerankStages::TooMany { found }),
            _ => {}
        }
        let mut pairs = stages.windows(2).enumerate();
        match pairs.find(|(_, pair)| pair[1].depth > pair[0].depth) {
            Some((at, pair)) => {
                let (depth, before) = (pair[1].depth, pair[0].depth);
                Err(InvalidRerankStages::Deeper { stage: at + 2, depth, before })
            }
            None => Ok(Self(stages)),
        }
    }

    /// The stage that decides, which is the last one.
    pub fn last(&self) -> &RerankStage {
        self.0.last().expect("there is at least one stage")
    }

    /// The stages with other models: each adapter, in their order, replaces the stage's adapter and base.
    #[must_use]
    pub fn with_models(&self, models: impl IntoIterator<Item = AdapterChoice>) -> Self {
        let replaced = |(stage, adapter): (&RerankStage, _)| RerankStage { adapter, base: None, ..stage.clone() };
        let replaced: Vec<RerankStage> = self.0.iter().zip(models).map(replaced).collect();
        assert_eq!(replaced.len(), self.0.len(), "there is a model for each stage");
        Self(replaced.into())
    }
}

impl Deref for RerankStages {
    type Target = [RerankStage];

    fn deref(&self) -> &[RerankStage] {
        &self.0
    }
}

impl DeadlineShare {
    const MIN: f64 = 0.01;

    /// A share.
    ///
    /// # Errors
    /// A number outside of 0.01 to 1.
    pub fn new(share: f64) -> Result<Self, InvalidRerankStages> {
        match (Self::MIN..=1.0).contains(&share) {
            true => Ok(Self(share)),
            false => Err(InvalidRerankStages::Share { found: share.to_string() }),
        }
    }

    /// The number.
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl fmt::Display for RerankStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.adapter)?;
        if let Some(base) = &self.base {
            write!(f, "@{base}")?;
        }
        write!(f, ":{}", self.depth)?;
        match self.deadline_share {
            // With a decimal point for whole numbers as well.
            Some(DeadlineShare(share)) => write!(f, ":{share:?}"),
            None => Ok(()),
        }
    }
}

impl FromStr for RerankStage {
    type Err = InvalidRerankStages;

    fn from_str(text: &str) -> Result<Self, InvalidRerankStages> {
        let invalid = |why: &str| InvalidRerankStages::Syntax { text: text.to_owned(), why: why.to_owned() };
        let (rest, share) = match text.rsplit_once(':') {
            Some((rest, share)) if share.contains('.') => (rest, Some(share)),
            _ => (text, None),
        };
        let deadline_share = share.map(|share| match share.parse() {
            Ok(number) => DeadlineShare::new(number),
            Err(_) => Err(InvalidRerankStages::Share { found: share.to_owned() }),
        });
        let (model, depth) = rest.rsplit_once(':').ok_or_else(|| invalid("it has no depth"))?;
        let depth = depth.parse().map_err(|_| invalid("its depth is not a whole number of at least 1"))?;
        let (adapter, base) = match model.split_once('@') {
            Some((adapter, base)) => (adapter, Some(base)),
            None => (model, None),
        };
        let base = base.map(str::parse).transpose().map_err(|error| invalid(&format!("{error}")))?;
        let adapter = match adapter {
            "default" => AdapterChoice::Default,
            name => name.parse().map_err(|error| invalid(&format!("{error}")))?,
        };
        Ok(Self { adapter, base, depth, deadline_share: deadline_share.transpose()? })
    }
}

impl fmt::Display for RerankStages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, stage) in self.0.iter().enumerate() {
            write!(f, "{}{stage}", if n == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl FromStr for RerankStages {
    type Err = InvalidRerankStages;

    fn from_str(text: &str) -> Result<Self, InvalidRerankStages> {
        if text.is_empty() {
            return Err(InvalidRerankStages::Empty);
        }
        Self::new(text.split(',').map(str::parse).collect::<Result<Vec<_>, _>>()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<(), &str>) {
        let parsed = text.parse::<RerankStages>();
        match (&parsed, expected) {
            (Ok(stages), Ok(())) => assert_eq!(stages.to_string(), text),
            (Err(error), Err(message)) => assert!(error.to_string().contains(message), "{text}: {error}"),
            _ => panic!("{text}: {parsed:?}"),
        }
    }

    #[test]
    fn stages_are_read_from_their_text() {
        check("none:1000", Ok(()));
        check("none@minilm:1000:0.4,qa:200,default:50", Ok(()));
        check("amazon.rerank-v1:0:100:1.0,BAAI/bge@b:100", Ok(()));
        check("a:4,b:4,c:2,d:1", Ok(()));
        check("", Err("there are no stages"));
        check("a:4,,b:4", Err("`` is not a stage"));
        check("a:4,b:4,c:2,d:1,e:1", Err("there are 5 stages, and the maximum is 4"));
        check("a:4,b:5", Err("the depth of stage 2 is 5, which is above the depth of the stage before it (4)"));
        check("qa", Err("`qa` is not a stage (it has no depth); use ADAPTER[@BASE]:DEPTH[:SHARE]"));
        check("qa:0", Err("its depth is not a whole number of at least 1"));
        check("qa:many", Err("its depth is not a whole number"));
        check("qa:10:0.0", Err("a share of the deadline must be a number from 0.01 to 1, not `0`"));
        check("qa:10:1.5", Err("not `1.5`"));
        check("qa:10:.x", Err("not `.x`"));
        check("../qa:10", Err("`../qa` is not an adapter id"));
        check("qa@:10", Err("`` is not an adapter id"));
        check(":10", Err("`` is not an adapter id"));
    }

    #[test]
    fn a_base_alone_is_the_model() {
        let choice = |text: &str| {
            let stage = text.parse::<RerankStage>().unwrap();
            (stage.choice().to_string(), stage.is_bare_base())
        };
        for (text, name, is_bare) in [
            ("none:5", "none", false),
            ("default:5", "default", false),
            ("none@minilm:5", "minilm", true),
            ("default@minilm:5", "minilm", true),
            ("qa@minilm:5", "qa", false),
        ] {
            assert_eq!(choice(text), (name.to_owned(), is_bare), "{text}");
        }
        let stages = "none@minilm:5:0.5,qa:2".parse::<RerankStages>().unwrap();
        let models = ["a", "b"].map(|name| name.parse().unwrap());
        assert_eq!(stages.with_models(models).to_string(), "a:5:0.5,b:2");
    }
}
