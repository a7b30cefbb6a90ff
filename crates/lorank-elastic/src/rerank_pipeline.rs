//! OpenSearch's search pipeline that asks lorank: connector, model and pipeline of the ML plugin.

use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use ureq::http::Method;

use crate::client::{Call, Client};
use crate::engine_error::CallersParts;
use crate::paths::encode;
use crate::{ElasticConfig, Error, NodeUrl, Secret};

/// How long OpenSearch may take to deploy the model.
const DEPLOYMENT_MAX: Duration = Duration::from_secs(60);
/// The pause between two looks at the deployment.
const PAUSE: Duration = Duration::from_millis(250);

/// A search pipeline of OpenSearch whose rerank processor asks lorank.
#[derive(Debug, Clone)]
pub struct RerankPipeline {
    /// The name of the pipeline, and of its connector and model.
    pub name: String,
    /// The address at which OpenSearch reaches lorank.
    pub lorank: NodeUrl,
    /// The adapter or alias, `none` for the bare base model, or `experiment:NAME`.
    pub model: String,
    /// The fields of a document that are reranked.
    pub fields: Vec<String>,
    /// The key for lorank, if it needs one.
    pub key: Option<Secret>,
    /// How long OpenSearch waits for lorank.
    pub read_timeout_seconds: u64,
    /// Whether a search succeeds in the engine's order if lorank fails.
    pub ignores_failure: bool,
    /// Whether to set the cluster's settings that let the plugin call this address.
    pub changes_cluster_settings: bool,
}

/// A request of the setup.
#[derive(Debug, Clone, PartialEq)]
pub struct SetupRequest {
    /// The method.
    pub method: &'static str,
    /// The path after the engine's address.
    pub path: String,
    /// The body, without the key.
    pub body: Json,
}

/// What the setup created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatedPipeline {
    /// The id of the connector.
    pub connector: String,
    /// The id of the model.
    pub model: String,
}

impl RerankPipeline {
    /// The requests in their order, with the ids that OpenSearch gives as `CONNECTOR_ID` and `MODEL_ID`, and the key as `KEY`.
    pub fn requests(&self) -> Vec<SetupRequest> {
        let mut requests = vec![self.connector("KEY"), self.model("CONNECTOR_ID"), self.pipeline("MODEL_ID")];
        if self.changes_cluster_settings {
            requests.insert(0, self.cluster_settings());
        }
        requests
    }

    /// Creates connector, model and pipeline; a pipeline of this name is replaced. The engine's index is not used.
    ///
    /// # Errors
    /// OpenSearch refuses a request, as without the ML plugin, or does not deploy the model within a minute.
    pub fn create(&self, engine: &ElasticConfig) -> Result<CreatedPipeline, Error> {
        let client = Client::new(engine)?;
        if self.changes_cluster_settings {
            send(&client, &self.cluster_settings())?;
        }
        let key = self.key.as_ref().map_or("none", Secret::reveal);
        let connector = text(&send(&client, &self.connector(key))?, "connector_id")?;
        let task = text(&send(&client, &self.model(&connector))?, "task_id")?;
        let model = deployed(&client, &task)?;
        send(&client, &self.pipeline(&model))?;
        Ok(CreatedPipeline { connector, model })
    }

    fn cluster_settings(&self) -> SetupRequest {
        let escape = |c: char| if c.is_alphanumeric() { c.to_string() } else { format!("\\{c}") };
        let address: String = self.lorank.as_str().chars().map(escape).collect();
        let settings = json!({
            "plugins.ml_commons.trusted_connector_endpoints_regex": [format!("^{address}/.*$")],
            "plugins.ml_commons.connector.private_ip_enabled": true,
            "plugins.ml_commons.only_run_on_ml_node": false,
        });
        SetupRequest { method: "PUT", path: "/_cluster/settings".to_owned(), body: json!({"persistent": settings}) }
    }

    fn connector(&self, key: &str) -> SetupRequest {
        let request_body = concat!(
            r#"{ "documents": ${parameters.documents}, "query": "${parameters.query}", "#,
            r#""model": "${parameters.model}", "top_n": ${parameters.top_n} }"#
        );
        let body = json!({
            "name": self.name,
            "description": "Reranking by lorank",
            "version": "1",
            "protocol": "http",
            "parameters": {"model": self.model},
            "credential": {"key": key},
            // Both in seconds in OpenSearch 2.19, whose default for the second one is 30,000.
            "client_config": {"max_connection": 30, "connection_timeout": 2, "read_timeout": self.read_timeout_seconds},
            "actions": [{
                "action_type": "predict",
                "method": "POST",
                "url": format!("{}/v1/rerank", self.lorank),
                "headers": {"Authorization": "Bearer ${credential.key}"},
                "request_body": request_body,
                "pre_process_function": "connector.pre_process.cohere.rerank",
                "post_process_function": "connector.post_process.cohere.rerank",
            }],
        });
        SetupRequest { method: "POST", path: "/_plugins/_ml/connectors/_create".to_owned(), body }
    }

    fn model(&self, connector: &str) -> SetupRequest {
        let body = json!({"name": self.name, "function_name": "remote", "connector_id": connector});
        SetupRequest { method: "POST", path: "/_plugins/_ml/models/_register?deploy=true".to_owned(), body }
    }

    fn pipeline(&self, model: &str) -> SetupRequest {
        let rerank = json!({
            "ml_opensearch": {"model_id": model},
            "context": {"document_fields": self.fields},
            "ignore_failure": self.ignores_failure,
        });
        let body = json!({"response_processors": [{"rerank": rerank}]});
        SetupRequest { method: "PUT", path: format!("/_search/pipeline/{}", encode(&self.name)), body }
    }
}

fn send(client: &Client, request: &SetupRequest) -> Result<Json, Error> {
    let method = if request.method == "PUT" { Method::PUT } else { Method::POST };
    let body = serde_json::to_vec(&request.body).expect("the keys of a request are texts");
    // A PUT can be repeated; a second POST would create a second connector.
    let is_read = method == Method::PUT;
    let reply = client.send(&Call { method, path: &request.path, body: Some(body), is_read, deadline: None })?;
    let status = reply.status.as_u16();
    let body = reply.checked("", CallersParts::default()).map_err(|error| match error {
        Error::NoIndex { reason, .. } => {
            Error::Refused { status, reason: format!("{} {}: {reason}", request.method, request.path) }
        }
        Error::Refused { status, reason } => {
            Error::Refused { status, reason: format!("{} {}: {reason}", request.method, request.path) }
        }
        error => error,
    })?;
    serde_json::from_slice(&body).map_err(|error| Error::BadAnswer { problem: format!("{}: {error}", request.path) })
}

fn text(answer: &Json, key: &str) -> Result<String, Error> {
    let found = answer.get(key).and_then(Json::as_str).map(str::to_owned);
    found.ok_or_else(|| Error::BadAnswer { problem: format!("it has no `{key}`: {answer}") })
}

/// Waits for a registered model to be deployed; its id.
fn deployed(client: &Client, task: &str) -> Result<String, Error> {
    let path = format!("/_plugins/_ml/tasks/{}", encode(task));
    let started = Instant::now();
    loop {
        let body = client.send(&Call::get(&path))?.checked("", CallersParts::default())?;
        let task: Json =
            serde_json::from_slice(&body).map_err(|error| Error::BadAnswer { problem: format!("{path}: {error}") })?;
        match task.get("state").and_then(Json::as_str) {
            Some("COMPLETED") => return text(&task, "model_id"),
            Some("FAILED" | "COMPLETED_WITH_ERROR") => {
                let reason = task.get("error").map_or_else(|| task.to_string(), Json::to_string);
                return Err(Error::Refused { status: 200, reason: format!("the model was not deployed: {reason}") });
            }
            _ if started.elapsed() > DEPLOYMENT_MAX => {
                return Err(Error::Late { millis: DEPLOYMENT_MAX.as_millis(), last: Some(task.to_string()) });
            }
            _ => sleep(PAUSE),
        }
    }
}
