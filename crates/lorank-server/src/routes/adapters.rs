//! `/v1/adapters` and `/v1/aliases`: the registry.

use axum::Json as JsonBody;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use lorank_adapters::{Entry, Outcome, RegistryError, State as Registered};
use lorank_core::AdapterId;
use lorank_experiments::looking_up;
use serde::Deserialize;
use serde_json::{Value as Json, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{App, Name, Params, id, now_millis, read};
use crate::ServerError;
use crate::service::AdapterHost;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AddBody {
    source: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AliasBody {
    adapter: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Force {
    #[serde(default)]
    force: bool,
}

pub(crate) async fn list(State(app): State<App>) -> Result<impl IntoResponse, ServerError> {
    app.blocking(|app| {
        let state = app.adapters()?.registry().state();
        let adapters: Vec<Json> =
            state.adapters().map(|entry| app.describe(&state, entry)).collect::<Result<_, _>>()?;
        Ok(JsonBody(json!({ "adapters": adapters })))
    })
    .await
}

pub(crate) async fn show(State(app): State<App>, Name(name): Name) -> Result<impl IntoResponse, ServerError> {
    app.blocking(move |app| {
        let state = app.adapters()?.registry().state();
        let entry = state.resolve(&id("id", &name)?)?;
        Ok(JsonBody(app.describe(&state, entry)?))
    })
    .await
}

/// Adds an adapter, or replaces the one of this id.
pub(crate) async fn put(
    State(app): State<App>,
    Name(name): Name,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<impl IntoResponse, ServerError> {
    let AddBody { source } = read("an adapter with its `source`", app.json(&headers, body)?)?;
    let id = id("id", &name)?;
    app.blocking(move |app| {
        let host = app.adapters()?;
        if !host.allows(&source) {
            return Err(ServerError::SourceNotAllowed { source_text: source });
        }
        if let Some(users) = Some(app.experiments_with(&id)?).filter(|users| !users.is_empty()) {
            // An experiment compares what it began with.
            return Err(RegistryError::InUse { id, by: users.join(", ") }.into());
        }
        let outcome = host.add(&id, &source).map_err(|error| match error.downcast::<RegistryError>() {
            Ok(error) => ServerError::Registry(*error),
            Err(error) => ServerError::AdapterSource { source_text: source, source: error },
        })?;
        let state = host.registry().state();
        let status = if outcome == Outcome::Added { StatusCode::CREATED } else { StatusCode::OK };
        Ok((status, JsonBody(app.describe(&state, state.resolve(&id)?)?)))
    })
    .await
}

pub(crate) async fn delete(
    State(app): State<App>,
    Name(name): Name,
    Params(Force { force }): Params<Force>,
) -> Result<impl IntoResponse, ServerError> {
    let id = id("id", &name)?;
    app.blocking(move |app| {
        let users = app.experiments_with(&id)?;
        app.adapters()?.registry().remove(&id, &users, force)?;
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

pub(crate) async fn aliases(State(app): State<App>) -> Result<impl IntoResponse, ServerError> {
    let state = app.adapters()?.registry().state();
    let aliases = state.aliases().map(|(name, target)| (name.to_string(), Json::from(target.as_str())));
    Ok(JsonBody(json!({ "aliases": aliases.collect::<serde_json::Map<_, _>>() })))
}

/// Points an alias to an adapter: moving `default` promotes it.
pub(crate) async fn put_alias(
    State(app): State<App>,
    Name(name): Name,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<impl IntoResponse, ServerError> {
    let AliasBody { adapter } = read("an alias with its `adapter`", app.json(&headers, body)?)?;
    let (alias, target) = (id("name", &name)?, id("adapter", &adapter)?);
    app.blocking(move |app| {
        let before = app.adapters()?.registry().set_alias(&alias, &target)?;
        let before = before.as_ref().map(|id| id.as_str());
        Ok(JsonBody(json!({ "name": alias.as_str(), "adapter": target.as_str(), "before": before })))
    })
    .await
}

pub(crate) async fn delete_alias(State(app): State<App>, Name(name): Name) -> Result<impl IntoResponse, ServerError> {
    let alias = id("name", &name)?;
    app.blocking(move |app| {
        app.adapters()?.registry().remove_alias(&alias)?;
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

/// Reads every byte of the registry.
pub(crate) async fn verify(State(app): State<App>) -> Result<impl IntoResponse, ServerError> {
    app.blocking(|app| {
        let findings = app.adapters()?.registry().verify()?;
        let findings: Vec<String> = findings.iter().map(ToString::to_string).collect();
        Ok(JsonBody(json!({ "is_sound": findings.is_empty(), "findings": findings })))
    })
    .await
}

impl App {
    fn adapters(&self) -> Result<&dyn AdapterHost, ServerError> {
        self.service.adapters.as_deref().ok_or(ServerError::WithoutPart { part: "a registry of adapters" })
    }

    /// The running experiments that rank with an adapter, by its id or by an alias of it.
    fn experiments_with(&self, id: &AdapterId) -> Result<Vec<String>, ServerError> {
        let Some(store) = self.service.engine.store() else { return Ok(Vec::new()) };
        let (running, state) = (store.running(), self.adapters()?.registry().state());
        let names: Vec<&AdapterId> = std::iter::once(id).chain(state.aliases_of(id)).collect();
        let users = looking_up(&names, &running, now_millis());
        Ok(users.iter().map(|one| format!("experiment `{}`", one.id)).collect())
    }

    /// An adapter and what this process knows of it.
    fn describe(&self, state: &Registered, entry: &Entry) -> Result<Json, ServerError> {
        let host = self.adapters()?;
        let provenance = &entry.provenance;
        let added_at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(provenance.added_at_millis) * 1_000_000);
        let added_at = added_at.ok().and_then(|time| time.format(&Rfc3339).ok());
        Ok(json!({
            "id": entry.id.as_str(),
            "digest": provenance.model_digest.to_string(),
            "content": entry.content.to_string(),
            "source": provenance.source,
            "revision": provenance.revision,
            "added_at": added_at,
            "base_model": provenance.base_model,
            "rank": provenance.rank,
            "targets": provenance.targets,
            "n_parameters": provenance.n_parameters,
            "bytes": entry.bytes(),
            "aliases": state.aliases_of(&entry.id).map(|name| name.as_str()).collect::<Vec<_>>(),
            "in_memory": host.is_in_memory(entry),
            "cached_scores": self.service.engine.n_cached_scores(&provenance.model_digest),
        }))
    }
}
