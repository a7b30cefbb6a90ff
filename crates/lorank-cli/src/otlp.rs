//! Traces for an OpenTelemetry collector, sent with OTLP over HTTP: a span for each request, and below it one for each stage.
//!
//! The rest of lorank knows only `tracing`. What its spans are called in OpenTelemetry's conventions is decided here. They never
//! hold the texts of queries and documents.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use clap::Args;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{SpanKind, Status, TracerProvider};
use opentelemetry::{Key, Value};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::FilterFn;

use crate::logging::BoxedLayer;

/// Where traces go.
#[derive(Debug, Args)]
pub(crate) struct OtlpArgs {
    /// Send traces to this OpenTelemetry collector, with OTLP over HTTP, as in http://localhost:4318; OTEL_SERVICE_NAME
    /// names this server there [default: what OTEL_EXPORTER_OTLP_ENDPOINT says, else send none]
    #[arg(long, value_name = "URL", env = "LORANK_OTLP_ENDPOINT", value_parser = parse_endpoint)]
    otlp_endpoint: Option<String>,
}

/// How long a collector may take with a batch of spans, and how long all that are left may take at the end.
const SEND_MAX: Duration = Duration::from_secs(5);

/// The address that takes traces, from the collector's own.
fn parse_endpoint(text: &str) -> Result<String, String> {
    const PATH: &str = "/v1/traces";
    if !["http://", "https://"].iter().any(|scheme| text.starts_with(scheme)) {
        return Err("it has to begin with http:// or https://".to_owned());
    }
    let base = text.trim_end_matches('/');
    Ok(if base.ends_with(PATH) { base.to_owned() } else { format!("{base}{PATH}") })
}

/// The sending of traces.
pub(crate) struct Traces(SdkTracerProvider);

impl Traces {
    /// Gets ready to send them, if there is a place that they go to.
    pub(crate) fn start(args: &OtlpArgs) -> anyhow::Result<Option<Self>> {
        let Some(endpoint) = endpoint(args)? else { return Ok(None) };
        let config = ureq::Agent::config_builder().timeout_global(Some(SEND_MAX)).http_status_as_error(false).build();
        let http = opentelemetry_otlp::SpanExporter::builder().with_http().with_http_client(Client(config.into()));
        let exporter = http.with_endpoint(&endpoint).build();
        let inner = exporter.with_context(|| format!("could not get ready to send traces to `{endpoint}`"))?;
        let exporter = Exporter { inner, endpoint, is_failing: AtomicBool::new(false) };
        let name = variable("OTEL_SERVICE_NAME").unwrap_or_else(|| "lorank".to_owned());
        let resource = Resource::builder().with_service_name(name).build();
        let provider = SdkTracerProvider::builder().with_resource(resource).with_batch_exporter(exporter).build();
        Ok(Some(Self(provider)))
    }

    /// Takes lorank's own spans. Log lines stay out of them: what went wrong may quote what was asked.
    pub(crate) fn layer(&self) -> BoxedLayer {
        let is_ours = FilterFn::new(|what| {
            what.is_span() && *what.level() <= tracing::Level::INFO && what.target().starts_with("lorank")
        });
        let layer = tracing_opentelemetry::layer().with_tracer(self.0.tracer("lorank"));
        let layer = layer.with_location(false).with_threads(false).with_target(false).with_tracked_inactivity(false);
        layer.with_filter(is_ours.with_max_level_hint(tracing::Level::INFO)).boxed()
    }

    /// Sends what is left.
    pub(crate) fn end(self) {
        if let Err(error) = self.0.shutdown_with_timeout(SEND_MAX) {
            tracing::warn!(%error, "the last traces could not be sent");
        }
    }
}

fn endpoint(args: &OtlpArgs) -> anyhow::Result<Option<String>> {
    const SHARED: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
    let shared = || variable(SHARED).map(|text| parse_endpoint(&text).map_err(|error| wrong(SHARED, &text, &error)));
    args.otlp_endpoint.clone().map(Ok).or_else(shared).transpose()
}

fn wrong(variable: &str, value: &str, problem: &str) -> anyhow::Error {
    crate::failure::WrongUsage(format!("`{value}` in {variable} is no address of a collector: {problem}")).into()
}

/// A variable that all programs with OpenTelemetry share. An empty one is as good as none.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.trim().is_empty())
}

/// Makes a span part of the trace that a `traceparent` names. A malformed one is ignored, as the standard has it.
pub(crate) fn continue_trace(span: &tracing::Span, traceparent: &str) {
    let headers = std::collections::HashMap::from([("traceparent".to_owned(), traceparent.to_owned())]);
    // A span that is not recorded has no parent either.
    let _ = span.set_parent(TraceContextPropagator::new().extract(&headers));
}

/// Sends finished spans, and says when that begins to fail.
#[derive(Debug)]
struct Exporter {
    inner: opentelemetry_otlp::SpanExporter,
    endpoint: String,
    is_failing: AtomicBool,
}

impl SpanExporter for Exporter {
    async fn export(&self, mut batch: Vec<SpanData>) -> OTelSdkResult {
        batch.iter_mut().for_each(follow_conventions);
        let sent = self.inner.export(batch).await;
        let was_failing = self.is_failing.swap(sent.is_err(), Ordering::Relaxed);
        match &sent {
            Err(error) if !was_failing => tracing::warn!(%error, "could not send traces to `{}`", self.endpoint),
            Ok(()) if was_failing => tracing::info!("traces are sent to `{}` again", self.endpoint),
            _ => {}
        }
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

/// Gives the span of a request the names that OpenTelemetry has for HTTP servers. The path is left out, since the route says
/// enough and a path that is no route may be anything.
fn follow_conventions(span: &mut SpanData) {
    if span.name != "request" {
        return;
    }
    span.span_kind = SpanKind::Server;
    span.attributes.retain(|attribute| attribute.key.as_str() != "path");
    for attribute in &mut span.attributes {
        attribute.key = Key::from_static_str(match attribute.key.as_str() {
            "id" => "request_id",
            "method" => "http.request.method",
            "route" => "http.route",
            "status" => "http.response.status_code",
            _ => continue,
        });
    }
    let value = |key: &str| span.attributes.iter().find(|attribute| attribute.key.as_str() == key).map(|at| &at.value);
    let words = ["http.request.method", "http.route"].into_iter().filter_map(value).map(Value::as_str);
    let name = words.collect::<Vec<_>>().join(" ");
    let has_failed = matches!(value("http.response.status_code"), Some(Value::I64(500..)));
    span.name = name.into();
    if has_failed {
        span.status = Status::error("");
    }
}

/// The client that the other commands have, too. It blocks, which the exporter's own thread may.
#[derive(Debug)]
struct Client(ureq::Agent);

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (head, mut body) = self.0.run(request.map(|body| body.to_vec()))?.into_parts();
        Ok(Response::from_parts(head, body.read_to_vec()?.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_the_collectors_or_that_of_traces() {
        for (text, expected) in [
            ("http://localhost:4318", Some("http://localhost:4318/v1/traces")),
            ("https://c.example/otlp/", Some("https://c.example/otlp/v1/traces")),
            ("http://c.example/v1/traces", Some("http://c.example/v1/traces")),
            ("localhost:4318", None),
        ] {
            assert_eq!(parse_endpoint(text).ok().as_deref(), expected, "{text}");
        }
    }
}
