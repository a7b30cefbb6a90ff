//! `--set ARM.KEY=VALUE`: a setting of an arm.

use std::str::FromStr;

use anyhow::{Context, bail};
use lorank_experiments::Arm;

/// A setting of an arm. Its value is read when it is applied, by the rules of a definition.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SettingArg {
    arm: String,
    key: String,
    value: String,
}

/// The settings of ranking, with whether they are numbers.
const KEYS: [(&str, bool); 7] = [
    ("depth", true),
    ("stages", false),
    ("blend_weight", true),
    ("passages", false),
    ("passage_tokens", true),
    ("stride", true),
    ("instruction", false),
];

impl FromStr for SettingArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('=').and_then(|(name, value)| Some((name.rsplit_once('.')?, value)));
        let ((arm, key), value) = parts.ok_or_else(|| format!("`{text}` is not a setting; use ARM.KEY=VALUE"))?;
        if !KEYS.iter().any(|(known, _)| *known == key) {
            let known = KEYS.map(|(key, _)| format!("`{key}`")).join(", ");
            return Err(format!("arms have no setting `{key}`; the settings are {known}"));
        }
        Ok(Self { arm: arm.to_owned(), key: key.to_owned(), value: value.to_owned() })
    }
}

impl SettingArg {
    /// Sets it for its arm, as if the arm's definition had it.
    pub(super) fn apply(&self, arms: &mut [Arm]) -> anyhow::Result<()> {
        let Self { arm: name, key, value } = self;
        let Some(arm) = arms.iter_mut().find(|arm| arm.name == *name) else {
            let known = arms.iter().map(|arm| format!("`{}`", arm.name)).collect::<Vec<_>>().join(", ");
            bail!("--set names the arm `{name}`, which no --arm has; the arms are {known}");
        };
        if arm.settings.entries().any(|(known, _)| known == key) {
            bail!("--set gives `{key}` of arm `{name}` twice");
        }
        if key == "stages" {
            let stages = value.parse().with_context(|| format!("--set {name}.{key}={value} is invalid"))?;
            arm.settings.stages = Some(stages);
            return Ok(());
        }
        let is_number = KEYS.contains(&(key, true));
        let number = is_number.then(|| serde_json::from_str::<serde_json::Number>(value).ok()).flatten();
        let mut definition = serde_json::to_value(&*arm)?;
        definition[key] = number.map_or_else(|| value.clone().into(), Into::into);
        *arm = serde_json::from_value(definition).with_context(|| format!("--set {name}.{key}={value} is invalid"))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arms() -> Vec<Arm> {
        let arm = |name: &str| serde_json::from_value(serde_json::json!({"name": name, "model": "none"})).unwrap();
        ["control", "v1.2"].map(arm).into()
    }

    fn applied(settings: &[&str]) -> Result<String, String> {
        let mut arms = arms();
        for setting in settings {
            let setting = setting.parse::<SettingArg>()?;
            setting.apply(&mut arms).map_err(|error| format!("{error:#}"))?;
        }
        Ok(arms[1].settings.to_string())
    }

    #[test]
    fn settings_are_those_of_a_definition() {
        let set = ["v1.2.depth=200", "v1.2.blend_weight=0.25", "v1.2.passages=max", "v1.2.passage_tokens=64"];
        assert_eq!(applied(&set).unwrap(), "depth 200, blend_weight 0.25, passages max, passage_tokens 64");
        let set = ["v1.2.stages=none@minilm:1000:0.4,qa:50"];
        assert_eq!(applied(&set).unwrap(), "stages none@minilm:1000:0.4,qa:50");
        let set = ["v1.2.instruction=Find cases, a=b", "control.depth=5"];
        assert_eq!(applied(&set).unwrap(), "instruction `Find cases, a=b`");
    }

    #[test]
    fn wrong_settings_are_refused_with_the_reason() {
        let check = |setting: &str, message: &str| {
            let error = applied(&[setting]).unwrap_err();
            assert!(error.contains(message), "{setting}: {error}");
        };
        check("depth=5", "`depth=5` is not a setting; use ARM.KEY=VALUE");
        check("v1.2.depth", "is not a setting");
        check("v1.2.model=qa", "arms have no setting `model`; the settings are `depth`, ");
        check("other.depth=5", "which no --arm has; the arms are `control`, `v1.2`");
        check("v1.2.depth=0", "--set v1.2.depth=0 is invalid: ");
        check("v1.2.stages=qa", "--set v1.2.stages=qa is invalid: `qa` is not a stage (it has no depth)");
        check("v1.2.depth=many", "--set v1.2.depth=many is invalid: invalid type: string");
        check("v1.2.blend_weight=2", "a blend weight must be a number from 0 to 1, not `2`");
        check("v1.2.passages=best", "`best` is not a rule for passages");
        let twice = applied(&["v1.2.depth=5", "v1.2.depth=6"]).unwrap_err();
        assert_eq!(twice, "--set gives `depth` of arm `v1.2` twice");
    }
}
