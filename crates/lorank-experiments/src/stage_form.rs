//! The serialized form of an arm's rerank stages: objects with the keys of a search request.

use std::num::NonZeroUsize;

use lorank_core::{AdapterChoice, DeadlineShare, RerankStage, RerankStages};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Serialize, Deserialize)]
#[serde(rename = "Stage", deny_unknown_fields)]
struct StageForm {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    adapter: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base: Option<String>,
    depth: NonZeroUsize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deadline_share: Option<f64>,
}

pub(crate) fn serialize<S: Serializer>(stages: &Option<RerankStages>, to: S) -> Result<S::Ok, S::Error> {
    stages.as_ref().map(|stages| stages.iter().map(StageForm::from).collect::<Vec<_>>()).serialize(to)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<RerankStages>, D::Error> {
    let Some(forms) = Option::<Vec<StageForm>>::deserialize(from)? else { return Ok(None) };
    let stages = forms.into_iter().map(StageForm::read).collect::<Result<Vec<_>, D::Error>>()?;
    RerankStages::new(stages).map(Some).map_err(D::Error::custom)
}

impl StageForm {
    fn read<E: Error>(self) -> Result<RerankStage, E> {
        Ok(RerankStage {
            adapter: match self.adapter {
                Some(name) => name.parse().map_err(E::custom)?,
                None => AdapterChoice::Default,
            },
            base: self.base.map(|name| name.parse()).transpose().map_err(E::custom)?,
            depth: self.depth,
            deadline_share: self.deadline_share.map(DeadlineShare::new).transpose().map_err(E::custom)?,
        })
    }
}

impl From<&RerankStage> for StageForm {
    fn from(stage: &RerankStage) -> Self {
        let adapter = match &stage.adapter {
            AdapterChoice::Default => None,
            named => Some(named.to_string()),
        };
        Self {
            adapter,
            base: stage.base.as_ref().map(ToString::to_string),
            depth: stage.depth,
            deadline_share: stage.deadline_share.map(DeadlineShare::get),
        }
    }
}
