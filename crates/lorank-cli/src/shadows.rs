//! Shadows, as the command line and the configuration file name them.

use std::str::FromStr;

use lorank_core::AdapterId;
use lorank_experiment_pipeline::ShadowConfig;

/// `ADAPTER[:SHARE]`; without a share, all answers.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ShadowArg {
    adapter: AdapterId,
    share: f64,
}

impl FromStr for ShadowArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (adapter, share) = text.split_once(':').unwrap_or((text, "1"));
        let adapter = adapter.parse().map_err(|error| format!("{error}"))?;
        let share = share.parse().ok().filter(|share| *share > 0.0 && *share <= 1.0);
        let share = share
            .ok_or_else(|| format!("`{text}` is not a shadow; give a share above 0 and up to 1, as in `qa:0.1`"))?;
        Ok(Self { adapter, share })
    }
}

impl ShadowArg {
    /// The shadow, under the name of its adapter.
    pub(crate) fn config(&self) -> ShadowConfig {
        ShadowConfig { name: self.adapter.to_string(), adapter: self.adapter.clone(), share: self.share }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_may_follow_the_adapter() {
        let share = |text: &str| text.parse::<ShadowArg>().map(|shadow| (shadow.adapter.to_string(), shadow.share));
        assert_eq!(share("qa"), Ok(("qa".to_owned(), 1.0)));
        assert_eq!(share("qa:0.05"), Ok(("qa".to_owned(), 0.05)));
        for wrong in ["qa:0", "qa:1.5", "qa:", "qa:x", "", "a b"] {
            assert!(share(wrong).is_err(), "{wrong}");
        }
    }
}
