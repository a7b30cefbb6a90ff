//! The description of the API: OpenAPI 3.1, made from the routes and the wire types.
//!
//! Each handler says what is its own. What follows from the kind of a route (that it needs a key, has a body or a parameter) is
//! added here, so that no route can forget it.

use axum::body::Bytes;
use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::path::{Operation, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Required, Response, ResponseBuilder};
use utoipa::{OpenApi, ToSchema};

use crate::Role;
use crate::docs_page;
use crate::error_shape::ErrorShape;
use crate::index_paths::{PATHS, path_below};
use crate::wire::{CohereError, ErrorAnswer, InfinityError, TeiError, UnversionedError, VersionedError, VoyageError};

const BEARER: &str = "bearer";

/// What the description begins with.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "lorank",
        description = "Search with reranking by a cross-encoder and its LoRA adapters. Unknown keys are refused by name, and every \
                       answer carries its `x-request-id`, the caller's own where it sent one.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    components(schemas(
        ErrorAnswer<'_>, TeiError<'_>, CohereError<'_>, VoyageError<'_>, InfinityError<'_>, UnversionedError<'_>, VersionedError<'_>
    )),
    tags(
        (name = "search", description = "Searching and comparing."),
        (name = "documents", description = "Documents come and go while they are searched."),
        (name = "rerank", description = "What clients of text-embeddings-inference, Cohere, Jina, Voyage, vLLM and other rerank services call."),
        (name = "adapters", description = "The registry of adapters, and the aliases that promote them."),
        (name = "experiments", description = "What is tried on live traffic, and what came of it."),
        (name = "service", description = "The service itself."),
    ),
)]
struct WithoutRoutes;

/// The description in its two forms.
pub(crate) struct Api {
    pub json: Bytes,
    pub page: Bytes,
}

impl Api {
    pub(crate) fn new(api: &utoipa::openapi::OpenApi) -> Self {
        let json = serde_json::to_value(api).expect("a description has a JSON form");
        Self { page: docs_page::render(&json).into(), json: json.to_string().into() }
    }
}

/// A description without routes.
pub(crate) fn without_routes() -> utoipa::openapi::OpenApi {
    let mut api = WithoutRoutes::openapi();
    let scheme = Http::builder().scheme(HttpAuthScheme::Bearer).description(Some(
        "Keys have the roles `events`, `search`, `write` and `admin`; each may do what those before it may. A service without keys needs none.",
    ));
    let components = api.components.get_or_insert_default();
    components.add_security_scheme(BEARER, SecurityScheme::Http(scheme.build()));
    api
}

/// Paths whose end may have slashes, as the router has them, and as the description writes them: OpenAPI knows no such ends.
const RESTS: [(&str, &str); 3] = [
    ("/v1/models/{*id}", "/v1/models/{id}"),
    ("/v1/inference/{*model}", "/v1/inference/{model}"),
    ("/v1/retrieval/{*model}", "/v1/retrieval/{model}/reranking"),
];

/// Writes paths whose end may have slashes as OpenAPI does.
pub(crate) fn describe_rests_of_paths(api: &mut utoipa::openapi::OpenApi) {
    for (of_router, described) in RESTS {
        if let Some(item) = api.paths.paths.remove(of_router) {
            api.paths.paths.insert(described.to_owned(), item);
        }
    }
}

/// Describes the routes that stand below each index too, by the descriptions of those that name none.
pub(crate) fn describe_below_indexes(api: &mut utoipa::openapi::OpenApi) {
    for path in PATHS {
        let Some(mut item) = api.paths.paths.get(path).cloned() else { continue };
        for (_, operation) in operations(&mut item) {
            let index = ParameterBuilder::new()
                .name("index")
                .parameter_in(ParameterIn::Path)
                .required(Required::True)
                .description(Some("The index's name."))
                .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
                .build();
            operation.parameters.get_or_insert_default().insert(0, index);
            operation.summary = operation.summary.take().map(|summary| format!("{summary}, in a named index"));
            let unknown = || RefOr::T(refusal(&ErrorAnswer::name(), "404", "There is no such index."));
            operation.responses.responses.entry("404".to_owned()).or_insert_with(unknown);
        }
        api.paths.paths.insert(path_below(path), item);
    }
}

/// Adds to the routes of a role (`None`: of everybody) what follows from their kind.
pub(crate) fn complete(api: &mut utoipa::openapi::OpenApi, role: Option<Role>) {
    for (path, item) in &mut api.paths.paths {
        for (method, operation) in operations(item) {
            operation.operation_id = Some(operation_id(method, path));
            if let Some(role) = role {
                let description = operation.description.take().map_or_else(String::new, |text| text + "\n\n");
                operation.description = Some(format!("{description}Role: `{}`.", role.name()));
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

/// The statuses that follow from the kind of a route.
fn refusals(operation: &Operation, path: &str, needs_key: bool) -> Vec<(&'static str, &'static str)> {
    let (has_body, has_parameters) = (operation.request_body.is_some(), operation.parameters.is_some());
    let mut refusals = vec![("500", "A bug, or a part of the service broke.")];
    if needs_key {
        refusals.push(("401", "It needs a key."));
        refusals.push(("429", "Too many requests; retry after the time in `Retry-After`."));
    }
    refusals.push(("403", "The key's role is not enough, or the operator does not allow it."));
    if has_body || has_parameters {
        refusals.push(("400", "It cannot be read."));
    }
    if has_body {
        refusals.push(("408", "The body did not come in time."));
        refusals.push(("413", "The body is too long."));
        refusals.push(("415", "The body is not said to be of a type that is taken here."));
        refusals.push(("422", "It can be read, but says something impossible."));
    }
    if ErrorShape::of_path(path).is_some() {
        refusals.push(("404", "Unknown adapter or experiment."));
        refusals.push(("503", "A part of the service is missing or not ready."));
        refusals.push(("504", "The deadline passed before every document had a score."));
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
    HeaderBuilder::new().schema(seconds).description(Some("When to retry, in seconds.")).build()
}

/// The shape of an error. Where a path serves two shapes, what is said before the request is read is in one of them.
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
