//! The OpenAPI 3.1 document, generated from the routes and the wire types.
//!
//! Handlers describe only what is specific to them. Whatever follows from the kind of a route (it needs a key, it has a body or
//! parameters) is added here, so no route can omit it.

use axum::body::Bytes;
use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::path::{Operation, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Required, Response, ResponseBuilder};
use utoipa::{OpenApi, ToSchema};

use crate::Role;
use crate::curl;
use crate::docs_page;
use crate::error_shape::ErrorShape;
use crate::index_paths::{PATHS, path_below};
use crate::wire::{CohereError, ErrorAnswer, InfinityError, TeiError, UnversionedError, VersionedError, VoyageError};

const BEARER: &str = "bearer";

/// The parts of the document that do not depend on routes.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "lorank",
        description = "Search with reranking by a cross-encoder and its LoRA adapters.\n\n\
        Unknown keys are rejected by name. Every response has the header `x-request-id`: the client's own if \
        the request had one.\n\n\
        The `curl` commands are for a server without keys at its default address. If the server has keys, add \
        `-H 'authorization: Bearer KEY'`.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    components(schemas(
        ErrorAnswer<'_>, TeiError<'_>, CohereError<'_>, VoyageError<'_>, InfinityError<'_>, UnversionedError<'_>, VersionedError<'_>
    )),
    tags(
        (name = "search", description = "Search documents and compare rankers."),
        (name = "documents", description = "Add, get and delete documents while the index is being searched."),
        (name = "rerank", description = "Rerank endpoints compatible with text-embeddings-inference, Cohere, Jina, Voyage, vLLM and other services."),
        (name = "adapters", description = "The adapter registry and its aliases. Moving the alias `default` promotes an adapter."),
        (name = "experiments", description = "A/B tests and interleaving on live traffic: definitions, events and reports."),
        (name = "service", description = "Health, metrics, statistics and this API reference."),
    ),
)]
struct WithoutRoutes;

/// The OpenAPI document as JSON and as HTML.
pub(crate) struct Api {
    pub json: Bytes,
    pub page: Bytes,
}

impl Api {
    pub(crate) fn new(api: &utoipa::openapi::OpenApi) -> Self {
        let mut json = serde_json::to_value(api).expect("an OpenAPI document serializes to JSON");
        curl::add_samples(&mut json);
        Self { page: docs_page::render(&json).into(), json: json.to_string().into() }
    }
}

/// An OpenAPI document without routes.
pub(crate) fn without_routes() -> utoipa::openapi::OpenApi {
    let mut api = WithoutRoutes::openapi();
    let scheme = Http::builder().scheme(HttpAuthScheme::Bearer).description(Some(
        "An API key with one of the roles `events`, `search`, `write` and `admin`; each role includes those before it. A server without configured keys requires none.",
    ));
    let components = api.components.get_or_insert_default();
    components.add_security_scheme(BEARER, SecurityScheme::Http(scheme.build()));
    api
}

/// Paths whose last parameter may contain slashes, as written for the router and for OpenAPI, which has no such parameters.
const RESTS: [(&str, &str); 3] = [
    ("/v1/models/{*id}", "/v1/models/{id}"),
    ("/v1/inference/{*model}", "/v1/inference/{model}"),
    ("/v1/retrieval/{*model}", "/v1/retrieval/{model}/reranking"),
];

/// Rewrites paths whose last parameter may contain slashes to OpenAPI's notation.
pub(crate) fn describe_rests_of_paths(api: &mut utoipa::openapi::OpenApi) {
    for (of_router, described) in RESTS {
        if let Some(item) = api.paths.paths.remove(of_router) {
            api.paths.paths.insert(described.to_owned(), item);
        }
    }
}

/// Adds the routes below `/v1/indexes/{index}`, as copies of the routes for the default index.
pub(crate) fn describe_below_indexes(api: &mut utoipa::openapi::OpenApi) {
    for path in PATHS {
        let Some(mut item) = api.paths.paths.get(path).cloned() else { continue };
        for (_, operation) in operations(&mut item) {
            let index = ParameterBuilder::new()
                .name("index")
                .parameter_in(ParameterIn::Path)
                .required(Required::True)
                .description(Some("The name of the index."))
                .schema(Some(ObjectBuilder::new().schema_type(Type::String).examples(["default"])))
                .build();
            operation.parameters.get_or_insert_default().insert(0, index);
            operation.summary = operation.summary.take().map(|summary| format!("{summary} (named index)"));
            let unknown = || RefOr::T(refusal(&ErrorAnswer::name(), "404", "Unknown index."));
            operation.responses.responses.entry("404".to_owned()).or_insert_with(unknown);
        }
        api.paths.paths.insert(path_below(path), item);
    }
}

/// Adds operation ids, security and error responses to the routes of a role (`None`: no key needed).
pub(crate) fn complete(api: &mut utoipa::openapi::OpenApi, role: Option<Role>) {
    for (path, item) in &mut api.paths.paths {
        for (method, operation) in operations(item) {
            operation.operation_id = Some(operation_id(method, path));
            if let Some(role) = role {
                let description = operation.description.take().map_or_else(String::new, |text| text + "\n\n");
                operation.description = Some(format!("{description}Required role: `{}`.", role.name()));
                operation.security = Some(vec![SecurityRequirement::new(BEARER, [""; 0])]);
            }
            for (status, description) in refusals(operation, path, role.is_some()) {
                let refusal = || RefOr::T(refusal(&error_schema(path, status), status, description));
                operation.responses.responses.entry(status.to_owned()).or_insert_with(refusal);
            }
        }
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut Operation)> {
    let PathItem { get, put, post, delete, patch, .. } = item;
    let all = [("get", get), ("put", put), ("post", post), ("delete", delete), ("patch", patch)];
    all.into_iter().filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

/// `get_v1_documents_id` for GET `/v1/documents/{id}`.
fn operation_id(method: &str, path: &str) -> String {
    let words = path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    std::iter::once(method).chain(words).collect::<Vec<_>>().join("_")
}

/// The error statuses that follow from the kind of a route, with their descriptions.
fn refusals(operation: &Operation, path: &str, needs_key: bool) -> Vec<(&'static str, &'static str)> {
    let (has_body, has_parameters) = (operation.request_body.is_some(), operation.parameters.is_some());
    let mut refusals = vec![("500", "Internal error.")];
    if needs_key {
        refusals.push(("401", "Missing or invalid API key."));
        refusals.push(("429", "Too many requests; retry after the time in `Retry-After`."));
    }
    refusals
        .push(("403", "The key's role is insufficient, or the server's configuration does not allow the operation."));
    if has_body || has_parameters {
        refusals.push(("400", "Malformed request."));
    }
    if has_body {
        refusals.push(("408", "The request body was not received in time."));
        refusals.push(("413", "The request body is too large."));
        refusals.push(("415", "Unsupported content type."));
        refusals.push(("422", "Invalid request."));
    }
    if ErrorShape::of_path(path).is_some() {
        refusals.push(("404", "Unknown adapter or experiment."));
        refusals.push(("503", "The model is unavailable."));
        refusals.push(("504", "The deadline passed before all documents were scored."));
    }
    refusals
}

fn refusal(schema: &str, status: &str, description: &str) -> Response {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(schema))).build();
    let refusal = ResponseBuilder::new().description(description).content("application/json", content);
    match status {
        "429" => refusal.header("retry-after", retry_after()).build(),
        _ => refusal.build(),
    }
}

fn retry_after() -> Header {
    let seconds = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)).build();
    HeaderBuilder::new().schema(seconds).description(Some("Seconds to wait before retrying.")).build()
}

/// The schema of an error. If a path serves two formats, errors that occur before the request is parsed have one of them.
fn error_schema(path: &str, status: &str) -> String {
    let is_unread = matches!(status, "401" | "403");
    let name = match (ErrorShape::of_path(path), path) {
        (Some(ErrorShape::Tei), _) if !is_unread => UnversionedError::name(),
        (Some(ErrorShape::Voyage), "/v1/rerank") if !is_unread => VersionedError::name(),
        (Some(ErrorShape::Tei), _) => TeiError::name(),
        (Some(ErrorShape::Cohere), _) => CohereError::name(),
        (Some(ErrorShape::Voyage), _) => VoyageError::name(),
        (Some(ErrorShape::Infinity), _) => InfinityError::name(),
        (None, _) => ErrorAnswer::name(),
    };
    name.into_owned()
}
