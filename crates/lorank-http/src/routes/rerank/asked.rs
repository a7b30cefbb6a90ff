//! Resolution of the `model` of a rerank request.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use lorank_pipeline::{AdapterChoice, PipelineError};

use super::super::App;
use crate::{ModelAlias, ServerError};

/// The prefix of the name of an experiment.
const EXPERIMENT: &str = "experiment:";

/// The name that Infinity's client sends if its caller names no model.
const NOT_SPECIFIED: &str = "default/not-specified";

/// The header that names the model that answered.
const MODEL: HeaderName = HeaderName::from_static("x-model");

/// The resolved `model` of a request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Asked {
    /// The adapter or base model.
    pub adapter: AdapterChoice,
    /// The experiment that chooses the adapter.
    pub experiment: Option<String>,
    /// The unknown name that the alias `*` matched.
    pub stands_in_for: Option<String>,
}

impl App {
    /// Resolves a name as the first that matches: an experiment, a model alias of the configuration, an adapter or an alias, the base
    /// model by its own name, or, with the model alias `*`, any other name.
    pub(super) fn asked(&self, model: Option<&str>) -> Result<Asked, ServerError> {
        let Some(name) = model.filter(|name| !name.is_empty() && *name != NOT_SPECIFIED) else {
            return Ok(Asked::default());
        };
        if let Some(experiment) = name.strip_prefix(EXPERIMENT) {
            return Ok(Asked { experiment: Some(experiment.to_owned()), ..Asked::default() });
        }
        let alias = |wanted: Option<&str>| {
            let alias = self.config.model_aliases.iter().find(|alias| alias.name.as_deref() == wanted)?;
            Some(named_by(alias))
        };
        if let Some(adapter) = alias(Some(name)) {
            return Ok(Asked { adapter, ..Asked::default() });
        }
        let unknown = match name.parse::<AdapterChoice>() {
            Ok(adapter) => match self.service.engine.model(&adapter) {
                Err(error @ PipelineError::UnknownAdapter { .. }) => ServerError::from(error),
                // A model that exists but cannot be used fails when it is used.
                _ => return Ok(Asked { adapter, ..Asked::default() }),
            },
            Err(error) => {
                ServerError::InvalidValue { field: "model".to_owned(), problem: format!("is invalid: {error}") }
            }
        };
        let base = self.service.engine.model(&AdapterChoice::Base).ok().map(|model| model.base_model);
        if base.as_deref() == Some(name) {
            return Ok(Asked { adapter: AdapterChoice::Base, ..Asked::default() });
        }
        let stands_in_for = Some(name.to_owned());
        alias(None).map(|adapter| Asked { adapter, stands_in_for, experiment: None }).ok_or(unknown)
    }

    /// The same for routes that only score, which do not support experiments.
    pub(super) fn asked_to_score(&self, model: Option<&str>) -> Result<Asked, ServerError> {
        let asked = self.asked(model)?;
        match &asked.experiment {
            None => Ok(asked),
            Some(experiment) => {
                let problem = format!(
                    "cannot be `{EXPERIMENT}{experiment}` here: experiments need a ranking; name a model, or use a rerank route"
                );
                Err(ServerError::InvalidValue { field: "model".to_owned(), problem })
            }
        }
    }
}

impl Asked {
    /// The warning of an answer for which the alias `*` matched.
    pub(super) fn warning(&self, answered: &str) -> Option<String> {
        let asked = self.stands_in_for.as_ref()?;
        Some(format!("the model `{asked}` is not served here; `{answered}` answered (the model alias `*`)"))
    }
}

/// The header with the name of the model that answered; none if the name is not a valid header value.
pub(super) fn model_header(model: &str) -> HeaderMap {
    HeaderMap::from_iter(HeaderValue::from_str(model).ok().map(|value| (MODEL, value)))
}

fn named_by(alias: &ModelAlias) -> AdapterChoice {
    alias.adapter.clone().map_or(AdapterChoice::Default, |adapter| {
        if adapter.as_str() == AdapterChoice::BASE { AdapterChoice::Base } else { AdapterChoice::Named(adapter) }
    })
}
