//! Traces for an OpenTelemetry collector by OTLP over HTTP: a span for each request, with child spans for its stages.
//!
//! The rest of lorank uses only `tracing`; this module maps its spans to OpenTelemetry's conventions. Spans never contain the texts
//! of queries and documents.

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

/// The tracing arguments.
#[derive(Debug, Args)]
pub(crate) struct OtlpArgs {
    /// OpenTelemetry collector for traces by OTLP over HTTP, such as http://localhost:4318; OTEL_SERVICE_NAME sets the name of
    /// this server [default: OTEL_EXPORTER_OTLP_ENDPOINT if set, else no traces]
    #[arg(long, value_name = "URL", env = "LORANK_OTLP_ENDPOINT", value_parser = parse_endpoint)]
    otlp_endpoint: Option<String>,
}

/// The timeout for sending a batch of spans, and for the remaining spans at shutdown.
const SEND_MAX: Duration = Duration::from_secs(5);

/// The URL for traces from the collector's address.
fn parse_endpoint(text: &str) -> Result<String, String> {
    const PATH: &str = "/v1/traces";
    if !["http://", "https://"].iter().any(|scheme| text.starts_with(scheme)) {
        return Err("it must start with http:// or https://".to_owned());
    }
    let base = text.trim_end_matches('/');
    Ok(if base.ends_with(PATH) { base.to_owned() } else { format!("{base}{PATH}") })
}

/// The exporter of traces.
pub(crate) struct Traces(SdkTracerProvider);

impl Traces {
    /// Starts the exporter, if there is a collector.
    pub(crate) fn start(args: &OtlpArgs) -> anyhow::Result<Option<Self>> {
        let Some(endpoint) = endpoint(args)? else { return Ok(None) };
        let config = ureq::Agent::config_builder().timeout_global(Some(SEND_MAX)).http_status_as_error(false).build();
        let http = opentelemetry_otlp::SpanExporter::builder().with_http().with_http_client(Client(config.into()));
        let exporter = http.with_endpoint(&endpoint).build();
        let inner = exporter.with_context(|| format!("could not export traces to `{endpoint}`"))?;
        let exporter = Exporter { inner, endpoint, is_failing: AtomicBool::new(false) };
        let name = variable("OTEL_SERVICE_NAME").unwrap_or_else(|| "lorank".to_owned());
        let resource = Resource::builder().with_service_name(name).build();
        let provider = SdkTracerProvider::builder().with_resource(resource).with_batch_exporter(exporter).build();
        Ok(Some(Self(provider)))
    }

    /// The layer for lorank's spans. Log lines are excluded, because they may quote queries.
    pub(crate) fn layer(&self) -> BoxedLayer {
        let is_ours = FilterFn::new(|what| {
            what.is_span() && *what.level() <= tracing::Level::INFO && what.target().starts_with("lorank")
        });
        let layer = tracing_opentelemetry::layer().with_tracer(self.0.tracer("lorank"));
        let layer = layer.with_location(false).with_threads(false).with_target(false).with_tracked_inactivity(false);
        layer.with_filter(is_ours.with_max_level_hint(tracing::Level::INFO)).boxed()
    }

    /// Sends the remaining spans.
    pub(crate) fn end(self) {
        if let Err(error) = self.0.shutdown_with_timeout(SEND_MAX) {
            tracing::warn!(%error, "could not export the last traces");
        }
    }
}

fn endpoint(args: &OtlpArgs) -> anyhow::Result<Option<String>> {
    const SHARED: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
    let shared = || variable(SHARED).map(|text| parse_endpoint(&text).map_err(|error| wrong(SHARED, &text, &error)));
    args.otlp_endpoint.clone().map(Ok).or_else(shared).transpose()
}

fn wrong(variable: &str, value: &str, problem: &str) -> anyhow::Error {
    crate::failure::WrongUsage(format!("`{value}` in {variable} is not the address of a collector: {problem}")).into()
}

/// A standard variable of OpenTelemetry. An empty variable counts as unset.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.trim().is_empty())
}

/// Adds a span to the trace in a `traceparent` header. By the standard, a malformed header is ignored.
pub(crate) fn continue_trace(span: &tracing::Span, traceparent: &str) {
    let headers = std::collections::HashMap::from([("traceparent".to_owned(), traceparent.to_owned())]);
    // The span may not be recorded.
    let _ = span.set_parent(TraceContextPropagator::new().extract(&headers));
}

/// Sends finished spans, and logs when that starts to fail.
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
            Err(error) if !was_failing => tracing::warn!(%error, "could not export traces to `{}`", self.endpoint),
            Ok(()) if was_failing => tracing::info!("exporting traces to `{}` again", self.endpoint),
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

/// Renames the attributes of a request's span by OpenTelemetry's conventions for HTTP servers. The path is omitted: the route
/// suffices, and a path that matches no route may be anything.
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

/// The HTTP client, which blocks the exporter's own thread.
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
