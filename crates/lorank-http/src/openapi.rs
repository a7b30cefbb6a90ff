//! The description of the API: OpenAPI 3.1, made from the routes and the wire types.
//!
//! Each handler says what is its own. What follows from the kind of a route (that it needs a key, has a body or a parameter) is
//! added here, so that no route can forget it.

use axum::body::Bytes;
use utoipa::openapi::path::{Operation, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Required, Response, ResponseBuilder};
use utoipa::{OpenApi, ToSchema};

use crate::Role;
use crate::docs_page;
use crate::index_paths::{PATHS, path_below};
use crate::wire::{CohereError, ErrorAnswer, InfinityError, TeiError, UnversionedError};

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
    components(schemas(ErrorAnswer<'_>, TeiError<'_>, CohereError<'_>, InfinityError<'_>, UnversionedError<'_>)),
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
            let unknown = || RefOr::T(refusal(&ErrorAnswer::name(), "There is no such index."));
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
            for (status, description) in refusals(operation, role.is_some()) {
                let refusal = || RefOr::T(refusal(&error_schema(path, status), description));
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
fn refusals(operation: &Operation, needs_key: bool) -> Vec<(&'static str, &'static str)> {
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
    refusals
}

fn refusal(schema: &str, description: &str) -> Response {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(schema))).build();
    ResponseBuilder::new().description(description).content("application/json", content).build()
}

/// The paths whose errors are Cohere's.
const COHERE_PATHS: [&str; 12] = [
    "/v1/rerank",
    "/v2/rerank",
    "/score",
    "/v1/score",
    "/jina/v1/rerank",
    "/voyage/v1/rerank",
    "/v1/reranks",
    "/api/v1/services/rerank/text-rerank/text-rerank",
    "/v1/reranking",
    "/v1/ranking",
    "/v1/retrieval/{model}/reranking",
    "/v1/inference/{model}",
];

/// The shape of an error: the routes of other services have theirs, but for what is said before they are reached.
fn error_schema(path: &str, status: &str) -> String {
    let name = match (path, status) {
        (_, "401" | "403") => ErrorAnswer::name(),
        ("/rerank", _) => UnversionedError::name(),
        ("/infinity/rerank", _) => InfinityError::name(),
        (path, _) if COHERE_PATHS.contains(&path) => CohereError::name(),
        _ => ErrorAnswer::name(),
    };
    name.into_owned()
}
