//! Shadow adapters in flags and configuration files.

use std::fmt;
use std::str::FromStr;

use lorank_core::AdapterId;
use lorank_experiment_pipeline::ShadowConfig;

/// A shadow: `ADAPTER[:SHARE]`; the default share is 1. The share follows the last `:`.
#[derive(Debug, Clone, PartialEq)]
pub struct ShadowSpec {
    /// The adapter that reranks in the background.
    pub adapter: AdapterId,
    /// The share of the searches to rerank, above 0 and up to 1.
    pub share: f64,
}

impl FromStr for ShadowSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (adapter, share) = text.rsplit_once(':').unwrap_or((text, "1"));
        let adapter = adapter.parse().map_err(|error| format!("{error}"))?;
        let share = share.parse().ok().filter(|share| *share > 0.0 && *share <= 1.0);
        let share = share.ok_or_else(|| {
            format!("invalid shadow `{text}`: the share must be above 0 and at most 1, as in `qa:0.1`")
        })?;
        Ok(Self { adapter, share })
    }
}

impl fmt::Display for ShadowSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { adapter, share } = self;
        if *share == 1.0 { write!(f, "{adapter}") } else { write!(f, "{adapter}:{share}") }
    }
}

impl ShadowSpec {
    /// The shadow's configuration, named after its adapter.
    pub(crate) fn config(&self) -> ShadowConfig {
        ShadowConfig { name: self.adapter.to_string(), adapter: self.adapter.clone(), share: self.share }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_may_follow_the_adapter() {
        let share = |text: &str| text.parse::<ShadowSpec>().map(|shadow| (shadow.adapter.to_string(), shadow.share));
        assert_eq!(share("qa"), Ok(("qa".to_owned(), 1.0)));
        assert_eq!(share("qa:0.05"), Ok(("qa".to_owned(), 0.05)));
        assert_eq!(share("owner/qa:v1:0.5"), Ok(("owner/qa:v1".to_owned(), 0.5)));
        for text in ["qa", "qa:0.05"] {
            assert_eq!(text.parse::<ShadowSpec>().unwrap().to_string(), text);
        }
        for wrong in ["qa:0", "qa:1.5", "qa:", "qa:x", "", "a b"] {
            assert!(share(wrong).is_err(), "{wrong}");
        }
    }
}
