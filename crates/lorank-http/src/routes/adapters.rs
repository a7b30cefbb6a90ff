//! `/v1/adapters` and `/v1/aliases`: the adapter registry.

use axum::Json as JsonBody;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use lorank_adapters::{AliasRankBy, AliasTarget, Entry, Existing, Outcome, RegistryError, State as Registered};
use lorank_core::AdapterId;
use lorank_experiments::experiments_naming;
use lorank_pipeline::{AdapterChoice, InvalidRankBy, RankBy};
use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{App, Name, Params, id, now_millis};
use crate::ServerError;
use crate::lanes::Lane;
use crate::service::AdapterHost;
use crate::wire::{AdapterList, AddBody, AliasBody, AliasList, ErrorAnswer, MovedAlias, RegisteredAdapter, Verified};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Force {
    #[serde(default)]
    force: bool,
}

/// List adapters
#[utoipa::path(
    get,
    path = "/v1/adapters",
    tag = "adapters",
    responses(
        (status = 200, description = "The registered adapters.", body = AdapterList),
        (status = 404, description = "The server runs without a registry.", body = ErrorAnswer<'_>),
    ),
)]
pub(crate) async fn list(State(app): State<App>) -> Result<impl IntoResponse, ServerError> {
    app.in_lane(Lane::Reads, |app| {
        let registry = app.adapters()?.registry();
        let state = registry.state();
        let adapters = state.adapters().map(|entry| app.describe(&state, entry)).collect::<Result<_, _>>()?;
        Ok(JsonBody(AdapterList { adapters, registry: registry.store_status().map(Into::into) }))
    })
    .await
}

/// Get an adapter
#[utoipa::path(
    get,
    path = "/v1/adapters/{id}",
    tag = "adapters",
    params(("id" = String, Path, description = "The id of an adapter, or an alias.", example = "mine")),
        responses(
            (status = 200, description = "The adapter.", body = RegisteredAdapter),
            (status = 404, description = "Unknown adapter.", body = ErrorAnswer<'_>),
            (status = 422, description = "Invalid id.", body = ErrorAnswer<'_>),
    ),
)]
pub(crate) async fn show(State(app): State<App>, Name(name): Name) -> Result<impl IntoResponse, ServerError> {
    app.in_lane(Lane::Reads, move |app| {
        let state = app.adapters()?.registry().state();
        let entry = state.resolve(&id("id", &name)?)?;
        Ok(JsonBody(app.describe(&state, entry)?))
    })
    .await
}

/// Add or replace an adapter
///
/// The source is a folder or `hf://owner/name[@revision]`, below one of the configured `adapter_sources`. The adapter must fit a
/// base model of the server. Of several base models, it gets the one that it was trained on, or the one that `base` names.
#[utoipa::path(
    put,
    path = "/v1/adapters/{id}",
    tag = "adapters",
    params(("id" = String, Path, description = "The id of the adapter.", example = "mine")),
    request_body(content = AddBody, example = json!({"source": "adapters/mine"})),
    responses(
        (status = 200, description = "The adapter replaced one with this id, or was registered already.", body = RegisteredAdapter),
        (status = 201, description = "The adapter was added.", body = RegisteredAdapter),
        (status = 404, description = "The server runs without a registry.", body = ErrorAnswer<'_>),
        (status = 409, description = "The id is in use by a running experiment or an alias.", body = ErrorAnswer<'_>),
        (status = 503, description = "The registry is unavailable.", body = ErrorAnswer<'_>),
    ),
)]
pub(crate) async fn put(
    State(app): State<App>,
    Name(name): Name,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<impl IntoResponse, ServerError> {
    let AddBody { source, base } = app.json("an adapter with its `source`", &headers, body).await?;
    let base = base.map(|base| self::id("base", &base)).transpose()?;
    let id = id("id", &name)?;
    app.in_lane(Lane::Operations, move |app| {
        let host = app.adapters()?;
        if !host.allows(&source) {
            return Err(ServerError::SourceNotAllowed { source_text: source });
        }
        // An experiment keeps the adapters that it started with.
        let users = app.experiments_with(&id)?;
        let existing = if users.is_empty() { Existing::Replace } else { Existing::Refuse };
        let outcome = host.add(&id, &source, base.as_ref(), existing).map_err(|error| {
            match error.downcast::<RegistryError>() {
                Ok(error) => ServerError::Registry(error.of_users(&users)),
                Err(error) => ServerError::AdapterSource { source_text: source, source: error },
            }
        })?;
        let state = host.registry().state();
        let status = if outcome == Outcome::Added { StatusCode::CREATED } else { StatusCode::OK };
        Ok((status, JsonBody(app.describe(&state, state.resolve(&id)?)?)))
    })
    .await
}

/// Remove an adapter
#[utoipa::path(
    delete,
    path = "/v1/adapters/{id}",
    tag = "adapters",
    params(
        ("id" = String, Path, description = "The id of the adapter.", example = "mine"),
        ("force" = Option<bool>, Query, description = "Remove the adapter and its aliases even if they are in use."),
    ),
    responses(
        (status = 204, description = "The adapter was removed."),
        (status = 404, description = "Unknown adapter.", body = ErrorAnswer<'_>),
        (status = 409, description = "The adapter is in use.", body = ErrorAnswer<'_>),
        (status = 422, description = "Invalid id.", body = ErrorAnswer<'_>),
        (status = 503, description = "The registry is unavailable.", body = ErrorAnswer<'_>),
    ),
)]
pub(crate) async fn delete(
    State(app): State<App>,
    Name(name): Name,
    Params(Force { force }): Params<Force>,
) -> Result<impl IntoResponse, ServerError> {
    let id = id("id", &name)?;
    app.in_lane(Lane::Operations, move |app| {
        let users = app.experiments_with(&id)?;
        app.adapters()?.registry().remove(&id, &users, force)?;
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

/// List aliases
#[utoipa::path(
    get,
    path = "/v1/aliases",
    tag = "adapters",
    responses(
        (status = 200, description = "The aliases with their adapters and base models.", body = AliasList),
        (status = 404, description = "The server runs without a registry.", body = ErrorAnswer<'_>),
    ),
)]
pub(crate) async fn aliases(State(app): State<App>) -> Result<impl IntoResponse, ServerError> {
    let state = app.adapters()?.registry().state();
    let texts = |(name, target): (&AdapterId, &AdapterId)| (name.to_string(), target.to_string());
    let (aliases, bases) = (state.aliases().map(texts).collect(), state.base_aliases().map(texts).collect());
    let rank_by = state.rank_by().map(|(alias, expression)| (alias.to_string(), expression.to_owned()));
    Ok(JsonBody(AliasList { aliases, bases, rank_by: rank_by.collect() }))
}

/// Set an alias
///
/// Points the alias to an adapter, which must fit the base model, or to a base model without an adapter. Moving `default` promotes
/// its new target: requests that name no adapter use it from then on. `rank_by` sets an expression that orders the answers of this alias.
#[utoipa::path(
    put,
    path = "/v1/aliases/{name}",
    tag = "adapters",
    params(("name" = String, Path, description = "The name of the alias.", example = "default")),
    request_body(content = AliasBody, example = json!({"adapter": "mine"})),
    responses(
        (status = 200, description = "The alias points to the adapter or base model.", body = MovedAlias<'_>),
        (status = 404, description = "Unknown adapter or base model.", body = ErrorAnswer<'_>),
        (status = 409, description = "The name is the id of an adapter, or the adapter does not fit the base model.", body = ErrorAnswer<'_>),
        (status = 503, description = "The registry is unavailable.", body = ErrorAnswer<'_>),
    ),
)]
pub(crate) async fn put_alias(
    State(app): State<App>,
    Name(name): Name,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<impl IntoResponse, ServerError> {
    let AliasBody { adapter, base, rank_by } =
        app.json("an alias with its `adapter` or `base`", &headers, body).await?;
    let alias = id("name", &name)?;
    let (target, is_base) = match (adapter, base) {
        (Some(adapter), None) => (id("adapter", &adapter)?, false),
        (None, Some(base)) => (id("base", &base)?, true),
        (None, None) => return Err(of_target("adapter", "is missing; give an `adapter`, or a `base`")),
        (Some(_), Some(_)) => {
            return Err(of_target("base", "cannot be combined with `adapter`; an alias has one target"));
        }
    };
    let rank_by = match rank_by {
        None => AliasRankBy::Keep,
        Some(None) => AliasRankBy::Remove,
        Some(Some(text)) => {
            let invalid = |error: InvalidRankBy| ServerError::InvalidValue {
                field: "rank_by".to_owned(),
                problem: format!("is invalid: {error}"),
            };
            text.parse::<RankBy>().map_err(invalid)?;
            AliasRankBy::Set(text)
        }
    };
    app.in_lane(Lane::Operations, move |app| {
        let host = app.adapters()?;
        // Otherwise a working alias could be replaced by one that cannot score.
        let target = match is_base {
            true => {
                app.check_is_base(&target)?;
                AliasTarget::Base(&target)
            }
            false => {
                host.check(&target).map_err(|error| match error.downcast::<RegistryError>() {
                    Ok(error) => ServerError::Registry(*error),
                    Err(source) => ServerError::AdapterMisfit { adapter: target.clone(), source },
                })?;
                AliasTarget::Adapter(&target)
            }
        };
        let before = host.registry().set_alias_with(&alias, target, rank_by)?;
        let state = host.registry().state();
        let (adapter, base) = match target {
            AliasTarget::Adapter(id) => (Some(id.as_str()), None),
            AliasTarget::Base(name) => (None, Some(name.as_str())),
        };
        let (name, before, rank_by) =
            (alias.as_str(), before.as_ref().map(AdapterId::as_str), state.rank_by_of(&alias));
        Ok(JsonBody(MovedAlias { name, adapter, base, before, rank_by }).into_response())
    })
    .await
}

/// An error about the target of an alias.
fn of_target(field: &str, problem: &str) -> ServerError {
    ServerError::InvalidValue { field: field.to_owned(), problem: problem.to_owned() }
}

/// Remove an alias
#[utoipa::path(
    delete,
    path = "/v1/aliases/{name}",
    tag = "adapters",
    params(("name" = String, Path, description = "The name of the alias.", example = "default")),
    responses(
        (status = 204, description = "The alias was removed."),
        (status = 404, description = "Unknown alias.", body = ErrorAnswer<'_>),
        (status = 409, description = "The alias is in use.", body = ErrorAnswer<'_>),
        (status = 422, description = "Invalid name.", body = ErrorAnswer<'_>),
        (status = 503, description = "The registry is unavailable.", body = ErrorAnswer<'_>),
    ),
)]
pub(crate) async fn delete_alias(State(app): State<App>, Name(name): Name) -> Result<impl IntoResponse, ServerError> {
    let alias = id("name", &name)?;
    app.in_lane(Lane::Operations, move |app| {
        app.adapters()?.registry().remove_alias(&alias)?;
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

/// Verify the registry
///
/// Reads all files of the registry and reports those that are damaged, missing or not referenced.
#[utoipa::path(
    post,
    path = "/v1/registry/verify",
    tag = "adapters",
    responses(
        (status = 200, description = "The findings.", body = Verified),
        (status = 404, description = "The server runs without a registry.", body = ErrorAnswer<'_>),
        (status = 503, description = "The registry is unavailable.", body = ErrorAnswer<'_>),
    ),
)]
pub(crate) async fn verify(State(app): State<App>) -> Result<impl IntoResponse, ServerError> {
    app.in_lane(Lane::Operations, |app| {
        let findings = app.adapters()?.registry().verify()?;
        let findings: Vec<String> = findings.iter().map(ToString::to_string).collect();
        Ok(JsonBody(Verified { is_sound: findings.is_empty(), findings }))
    })
    .await
}

impl App {
    fn adapters(&self) -> Result<&dyn AdapterHost, ServerError> {
        self.service.adapters.as_deref().ok_or(ServerError::WithoutPart { part: "a registry of adapters" })
    }

    /// Checks that a name is that of a base model of this server.
    fn check_is_base(&self, name: &AdapterId) -> Result<(), ServerError> {
        let known = self.adapters()?.base_models();
        let is_bare = |choice: AdapterChoice| self.service.engine.model(&choice).is_ok_and(|it| it.adapter.is_none());
        let is_known = match name.as_str() {
            AdapterChoice::BASE => is_bare(AdapterChoice::Base),
            // Further names of a base model are those of its files.
            _ => is_bare(AdapterChoice::Named(name.clone())) && !self.is_name_in_registry(name)?,
        };
        if is_known {
            return Ok(());
        }
        let known = known.iter().map(|base| format!("`{}`", base.name)).collect::<Vec<_>>().join(", ");
        Err(of_target(
            "base",
            &format!("is invalid: `{name}` is no base model of this server; its base models are {known}"),
        ))
    }

    /// Whether the registry has an adapter or alias with this name.
    fn is_name_in_registry(&self, name: &AdapterId) -> Result<bool, ServerError> {
        let state = self.adapters()?.registry().state();
        Ok(state.resolve(name).is_ok() || state.base_of_alias(name).is_some())
    }

    /// The running experiments that use an adapter, by its id or by one of its aliases.
    fn experiments_with(&self, id: &AdapterId) -> Result<Vec<String>, ServerError> {
        let Some(store) = self.service.engine.store() else { return Ok(Vec::new()) };
        let (running, state) = (store.running(), self.adapters()?.registry().state());
        let names: Vec<&AdapterId> = std::iter::once(id).chain(state.aliases_of(id)).collect();
        let users = experiments_naming(&names, &running, now_millis());
        Ok(users.iter().map(|one| format!("experiment `{}`", one.id)).collect())
    }

    /// An adapter as JSON, with its state in this process.
    fn describe(&self, state: &Registered, entry: &Entry) -> Result<RegisteredAdapter, ServerError> {
        let host = self.adapters()?;
        let provenance = &entry.provenance;
        let added_at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(provenance.added_at_millis) * 1_000_000);
        let added_at = added_at.ok().and_then(|time| time.format(&Rfc3339).ok());
        Ok(RegisteredAdapter {
            id: entry.id.to_string(),
            digest: provenance.model_digest.to_string(),
            content: entry.content.to_string(),
            source: provenance.source.clone(),
            revision: provenance.revision.clone(),
            added_at,
            base_model: provenance.base_model.clone(),
            served_on: host.base_of(entry),
            rank: provenance.rank,
            targets: provenance.targets.clone(),
            n_parameters: provenance.n_parameters,
            bytes: entry.bytes(),
            aliases: state.aliases_of(&entry.id).map(ToString::to_string).collect(),
            in_memory: host.is_in_memory(entry),
            cached_scores: self.service.engine.n_cached_scores(&provenance.model_digest),
        })
    }
}
