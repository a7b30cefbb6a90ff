//! The arms of an experiment.

use std::num::{NonZeroU32, NonZeroUsize};

use lorank_core::{AdapterChoice, AdapterId, BlendWeight, PassageOptions, PassageRule, RankerSettings, RerankStages};
use serde::{Deserialize, Serialize};

use crate::stage_form;

/// An arm of an experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "ArmForm", into = "ArmForm")]
pub struct Arm {
    /// The name, unique within the experiment.
    pub name: String,
    /// The model.
    pub model: ArmModel,
    /// How its answers are ranked, in place of what a request says. In the serialized form they are keys of the arm, with
    /// the names of a search request.
    pub settings: RankerSettings,
    /// The share of units relative to the weights of the other arms. Default: 1.
    pub weight: NonZeroU32,
    /// The version of the adapter or alias that the arm uses for the whole experiment. Set at the start.
    pub pinned: Option<PinnedVersion>,
}

/// The serialized form, in which keys with defaults can be missing.
#[derive(Serialize, Deserialize)]
#[serde(rename = "Arm", deny_unknown_fields)]
struct ArmForm {
    name: String,
    model: ArmModel,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    depth: Option<NonZeroUsize>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "stage_form")]
    stages: Option<RerankStages>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "weight_number")]
    blend_weight: Option<BlendWeight>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "rule_text")]
    passages: Option<PassageRule>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    passage_tokens: Option<NonZeroUsize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stride: Option<NonZeroUsize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    instruction: Option<String>,
    #[serde(default = "Arm::default_weight")]
    weight: NonZeroU32,
    #[serde(default)]
    pinned: Option<PinnedVersion>,
}

/// The version that an arm uses since the start of its experiment, even if its alias is moved later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PinnedVersion {
    /// The adapter; `None` for a base model without an adapter.
    #[serde(with = "adapter_text")]
    pub adapter: Option<AdapterId>,
    /// The digest of the adapter, as 64 hexadecimal digits.
    pub digest: Option<String>,
    /// The base model, for one without an adapter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_model: Option<PinnedBase>,
    /// The versions of the [stages](RankerSettings::stages) before the last one, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<PinnedVersion>,
    /// The time of pinning, in milliseconds since 1970.
    pub since_millis: i64,
}

/// A pinned base model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PinnedBase {
    /// The name.
    pub name: String,
    /// The digest, as 64 hexadecimal digits.
    pub digest: String,
}

/// The model of an arm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArmModel {
    /// First-stage order, without a model. As text: `first-stage`.
    FirstStage,
    /// The default base model without an adapter. As text: `none`.
    Base,
    /// An adapter, an alias or a base model by its name. Its version at the start of the experiment is [pinned](Arm::pinned).
    Adapter(AdapterId),
}

impl Arm {
    /// The model that the arm uses now: the pinned version, if any. Of several stages, that of the last one.
    pub fn served_model(&self) -> ArmModel {
        self.pinned.as_ref().and_then(PinnedVersion::model).unwrap_or_else(|| self.model.clone())
    }

    /// The models that the arm uses now, one for each of its stages, with the names in its definition; the last one is
    /// [`served_model`](Self::served_model).
    pub fn served_models(&self) -> Vec<ArmModel> {
        let pinned = self.pinned.as_ref().map_or(&[][..], |pinned| &pinned.stages);
        let before = self.models_before_last();
        let served = before.into_iter().enumerate().map(|(n, named)| {
            let pinned = pinned.get(n).and_then(PinnedVersion::model);
            pinned.unwrap_or(named)
        });
        served.chain([self.served_model()]).collect()
    }

    /// The models in its definition of the stages before the last one.
    pub fn models_before_last(&self) -> Vec<ArmModel> {
        let stages = self.settings.stages.as_deref().unwrap_or_default();
        let before = stages.len().saturating_sub(1);
        stages[..before].iter().map(|stage| ArmModel::of(&stage.choice())).collect()
    }

    /// The settings with which it is served: stages name the models that it uses now.
    pub fn served_settings(&self) -> RankerSettings {
        let choices = self.served_models().into_iter().filter_map(|model| model.choice());
        let stages = self.settings.stages.as_ref().map(|stages| stages.with_models(choices));
        RankerSettings { stages, ..self.settings.clone() }
    }

    /// Whether both rank in the same way: with equal settings, and the same version, by its digest, or by its name if a
    /// version is not pinned.
    pub fn serves_same_as(&self, other: &Self) -> bool {
        self.settings == other.settings && self.serves_same_version_as(other)
    }

    fn serves_same_version_as(&self, other: &Self) -> bool {
        let digest = |arm: &Self| arm.pinned.as_ref().and_then(PinnedVersion::digest_of_model).map(str::to_owned);
        let is_same_model = match (digest(self), digest(other)) {
            (Some(digest), Some(other)) => digest == other,
            (None, None) => self.served_model() == other.served_model(),
            _ => false,
        };
        is_same_model && self.digests_of_stages() == other.digests_of_stages()
    }

    fn digests_of_stages(&self) -> Vec<Option<&str>> {
        self.pinned.iter().flat_map(|pinned| &pinned.stages).map(PinnedVersion::digest_of_model).collect()
    }

    /// Whether it has a model that is an adapter, alias or named base model, and is not pinned yet.
    pub fn is_to_be_pinned(&self) -> bool {
        let is_name = |model: &ArmModel| matches!(model, ArmModel::Adapter(_));
        self.pinned.is_none() && (is_name(&self.model) || self.models_before_last().iter().any(is_name))
    }

    fn default_weight() -> NonZeroU32 {
        NonZeroU32::MIN
    }
}

impl PinnedVersion {
    /// The digest of the adapter, or of a base model without an adapter.
    pub fn digest_of_model(&self) -> Option<&str> {
        self.digest.as_deref().or(self.base_model.as_ref().map(|base| base.digest.as_str()))
    }

    /// The model; `None` for a base model whose name requests cannot use.
    pub fn model(&self) -> Option<ArmModel> {
        match (&self.adapter, &self.base_model) {
            (Some(adapter), _) => Some(ArmModel::Adapter(adapter.clone())),
            (None, Some(base)) => base.model(),
            (None, None) => Some(ArmModel::Base),
        }
    }

    /// What was pinned, as text.
    pub fn name(&self) -> &str {
        let base = self.base_model.as_ref().map_or("the base model", |base| base.name.as_str());
        self.adapter.as_ref().map_or(base, AdapterId::as_str)
    }
}

impl PinnedBase {
    /// The model, if its name is one that requests can use.
    fn model(&self) -> Option<ArmModel> {
        self.name.parse().ok().map(ArmModel::Adapter)
    }
}

impl From<ArmForm> for Arm {
    fn from(form: ArmForm) -> Self {
        let passages = PassageOptions { rule: form.passages, tokens: form.passage_tokens, stride: form.stride };
        let (depth, blend_weight, instruction) = (form.depth, form.blend_weight, form.instruction);
        let settings = RankerSettings { depth, stages: form.stages, blend_weight, passages, instruction };
        Self { name: form.name, model: form.model, settings, weight: form.weight, pinned: form.pinned }
    }
}

impl From<Arm> for ArmForm {
    fn from(arm: Arm) -> Self {
        let RankerSettings { depth, stages, blend_weight, passages, instruction } = arm.settings;
        Self {
            name: arm.name,
            model: arm.model,
            depth,
            stages,
            blend_weight,
            passages: passages.rule,
            passage_tokens: passages.tokens,
            stride: passages.stride,
            instruction,
            weight: arm.weight,
            pinned: arm.pinned,
        }
    }
}

impl ArmModel {
    const FIRST_STAGE: &'static str = "first-stage";
    const BASE: &'static str = "none";

    /// The name of the default model, as registries have it.
    const DEFAULT: &'static str = "default";

    /// The model that a rerank stage names.
    pub fn of(choice: &AdapterChoice) -> Self {
        match choice {
            AdapterChoice::Default => Self::Adapter(Self::DEFAULT.parse().expect("it is a valid name")),
            AdapterChoice::Base => Self::Base,
            AdapterChoice::Named(name) => Self::Adapter(name.clone()),
        }
    }

    /// The choice of a request for the model; `None` for the first stage.
    pub fn choice(&self) -> Option<AdapterChoice> {
        match self {
            Self::FirstStage => None,
            Self::Base => Some(AdapterChoice::Base),
            Self::Adapter(id) => Some(AdapterChoice::Named(id.clone())),
        }
    }
}

impl std::fmt::Display for ArmModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::FirstStage => f.pad(Self::FIRST_STAGE),
            Self::Base => f.pad(Self::BASE),
            Self::Adapter(id) => id.fmt(f),
        }
    }
}

impl std::str::FromStr for ArmModel {
    type Err = lorank_core::ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            Self::FIRST_STAGE => Ok(Self::FirstStage),
            Self::BASE => Ok(Self::Base),
            id => id.parse().map(Self::Adapter),
        }
    }
}

impl Serialize for ArmModel {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ArmModel {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Serialization of an optional adapter id as text.
mod adapter_text {
    use super::{AdapterId, Deserialize};

    pub(super) fn serialize<S: serde::Serializer>(id: &Option<AdapterId>, to: S) -> Result<S::Ok, S::Error> {
        match id {
            Some(id) => to.collect_str(id),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<AdapterId>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| text.parse().map_err(serde::de::Error::custom)).transpose()
    }
}

/// Serialization of an optional weight as a number.
mod weight_number {
    use super::{BlendWeight, Deserialize, Serialize};

    pub(super) fn serialize<S: serde::Serializer>(weight: &Option<BlendWeight>, to: S) -> Result<S::Ok, S::Error> {
        weight.map(BlendWeight::get).serialize(to)
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<BlendWeight>, D::Error> {
        let number = Option::<f32>::deserialize(from)?;
        number.map(|number| BlendWeight::new(number).map_err(serde::de::Error::custom)).transpose()
    }
}

/// Serialization of an optional rule for passages as text.
mod rule_text {
    use super::{Deserialize, PassageRule};

    pub(super) fn serialize<S: serde::Serializer>(rule: &Option<PassageRule>, to: S) -> Result<S::Ok, S::Error> {
        match rule {
            Some(rule) => to.collect_str(rule),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<PassageRule>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| text.parse().map_err(serde::de::Error::custom)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arm(json: &str) -> Result<Arm, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn settings_are_keys_of_the_arm() {
        let json = r#"{"name":"deep","model":"qa","depth":200,"blend_weight":0.5,"passages":"max","passage_tokens":64,"stride":32,"instruction":"Find cases","weight":2,"pinned":null}"#;
        let deep = arm(json).unwrap();
        let text = "depth 200, blend_weight 0.5, passages max, passage_tokens 64, stride 32, instruction `Find cases`";
        assert_eq!(deep.settings.to_string(), text);
        assert_eq!(serde_json::to_string(&deep).unwrap(), json);
    }

    #[test]
    fn stages_are_keys_of_the_arm() {
        let json = r#"{"name":"cascade","model":"qa","stages":[{"adapter":"none","base":"minilm","depth":1000,"deadline_share":0.4},{"adapter":"qa","depth":50}],"weight":1,"pinned":null}"#;
        let cascade = arm(json).unwrap();
        assert_eq!(cascade.settings.to_string(), "stages none@minilm:1000:0.4,qa:50");
        assert_eq!(serde_json::to_string(&cascade).unwrap(), json);
        assert!(cascade.is_to_be_pinned());
        let models = cascade.served_models().iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(models, ["minilm", "qa"]);

        let pin = |name: &str, digest: &str, stages: &str| {
            format!(r#"{{"adapter":"{name}","digest":"{digest}","stages":[{stages}],"since_millis":1}}"#)
        };
        let pinned = |first: &str| {
            let pin = pin("qa-2", "d2", &pin("small", first, ""));
            arm(&json.replace("\"pinned\":null", &format!("\"pinned\":{pin}"))).unwrap()
        };
        let one = pinned("d1");
        assert!(!one.is_to_be_pinned() && one.serves_same_as(&one) && !one.serves_same_as(&pinned("other")));
        assert_eq!(one.served_settings().to_string(), "stages small:1000:0.4,qa-2:50");
    }

    #[test]
    fn arms_without_settings_are_written_as_before_there_were_any() {
        let json = r#"{"name":"a","model":"none","weight":1,"pinned":null}"#;
        let plain = arm(json).unwrap();
        assert!(plain.settings.is_empty());
        assert_eq!(serde_json::to_string(&plain).unwrap(), json);
        assert_eq!(arm(r#"{"name":"a","model":"none"}"#), Ok(plain));
    }

    #[test]
    fn invalid_settings_are_named() {
        for (setting, message) in [
            (r#""depth":0"#, "nonzero"),
            (r#""blend_weight":1.5"#, "from 0 to 1, not `1.5`"),
            (r#""passages":"best""#, "`best` is not a rule for passages"),
            (r#""rank_by":"now""#, "unknown field `rank_by`"),
            (r#""stages":[]"#, "there are no stages"),
            (r#""stages":[{"adapter":"qa"}]"#, "missing field `depth`"),
            (r#""stages":[{"depth":5},{"depth":6}]"#, "the depth of stage 2 is 6"),
            (r#""stages":[{"depth":5,"deadline_share":2}]"#, "a number from 0.01 to 1, not `2`"),
            (r#""stages":[{"depth":5,"precision":"int8"}]"#, "unknown field `precision`"),
        ] {
            let error = arm(&format!(r#"{{"name":"a","model":"none",{setting}}}"#)).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn arms_with_other_settings_rank_in_another_way() {
        let same = |one: &str, other: &str| {
            let [one, other] = [one, other].map(|keys| arm(&format!(r#"{{"name":"a","model":"qa"{keys}}}"#)).unwrap());
            one.serves_same_as(&other)
        };
        assert!(same("", "") && same(r#","depth":5"#, r#","depth":5"#));
        for setting in [
            r#","depth":5"#,
            r#","blend_weight":1"#,
            r#","passages":"max""#,
            r#","instruction":"x""#,
            r#","stages":[{"depth":5}]"#,
        ] {
            assert!(!same("", setting), "{setting}");
        }
    }
}
