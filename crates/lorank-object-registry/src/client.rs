//! The HTTP client of `object_store`: ureq, on the threads for blocking work of the store's runtime.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use http_body::Body;
use object_store::client::{
    ClientConfigKey, HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse,
    HttpService,
};
use object_store::{ClientOptions, Error, Result};
use ureq::http::{Method, Request, Response, header};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Proxy};

/// The time limit for connecting.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);

/// The maximum length of an answer: the registry's state, or a part of a file.
const ANSWER_BYTES_MAX: u64 = 65 << 20;

/// Makes clients whose requests have a time limit.
#[derive(Debug, Clone)]
pub(crate) struct Connector {
    pub(crate) roots: RootCerts,
    /// The time limit of a request with its answer.
    pub(crate) limit: Duration,
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> Result<HttpClient> {
        let proxy = options.get_config_value(&ClientConfigKey::ProxyUrl);
        // The address of a proxy may have a password, which the error would show.
        let invalid = |_| Error::NotSupported { source: "the address of the proxy is invalid".into() };
        let config = Agent::config_builder()
            .tls_config(TlsConfig::builder().root_certs(self.roots.clone()).build())
            .proxy(proxy.map(|url| Proxy::new(&url)).transpose().map_err(invalid)?)
            // `object_store` reports redirects, which mean a wrong region.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .user_agent(concat!("lorank/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(CONNECT_LIMIT))
            .timeout_global(Some(self.limit));
        let allows_http = is_on(options.get_config_value(&ClientConfigKey::AllowHttp).as_deref())?;
        let default_headers = options.get_default_headers().cloned().unwrap_or_default();
        Ok(HttpClient::new(Client { agent: config.build().new_agent(), allows_http, default_headers }))
    }
}

/// The value of a switch, in the words that `object_store` has for it.
fn is_on(value: Option<&str>) -> Result<bool> {
    match value.unwrap_or("false").to_ascii_lowercase().as_str() {
        "1" | "true" | "on" | "yes" | "y" => Ok(true),
        "0" | "false" | "off" | "no" | "n" => Ok(false),
        other => {
            Err(Error::NotSupported { source: format!("ALLOW_HTTP is `{other}`; it must be true or false").into() })
        }
    }
}

#[derive(Debug, Clone)]
struct Client {
    agent: Agent,
    allows_http: bool,
    default_headers: header::HeaderMap,
}

#[async_trait]
impl HttpService for Client {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (mut parts, body) = request.into_parts();
        if parts.uri.scheme_str() != Some("https") && !self.allows_http {
            let hint = "the endpoint is not https://; set AWS_ALLOW_HTTP, GOOGLE_ALLOW_HTTP or AZURE_ALLOW_HTTP to true to use it";
            return Err(HttpError::new(HttpErrorKind::Unknown, io::Error::other(hint)));
        }
        for (name, value) in &self.default_headers {
            parts.headers.entry(name).or_insert(value.clone());
        }
        let request = Request::from_parts(parts, collected(body).await?);
        let agent = self.agent.clone();
        let sent = tokio::task::spawn_blocking(move || send(&agent, &request)).await;
        let answer = sent.map_err(|error| HttpError::new(HttpErrorKind::Unknown, error))??;
        Ok(answer.map(Into::into))
    }
}

/// The bytes of a body, all of which are in memory already.
async fn collected(mut body: HttpRequestBody) -> Result<Vec<u8>, HttpError> {
    let mut bytes = Vec::with_capacity(body.content_length());
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        if let Ok(part) = frame?.into_data() {
            bytes.extend_from_slice(&part);
        }
    }
    Ok(bytes)
}

fn send(agent: &Agent, request: &Request<Vec<u8>>) -> Result<Response<Vec<u8>>, HttpError> {
    let is_read = [Method::GET, Method::HEAD].contains(request.method());
    let first = attempt(agent, request, is_read);
    match first {
        // The store has closed an idle connection, and another one will do.
        Err(ureq::Error::Io(error)) if is_read && is_closed(&error) => attempt(agent, request, is_read),
        other => other,
    }
    .map_err(failure)
}

fn attempt(agent: &Agent, request: &Request<Vec<u8>>, is_read: bool) -> Result<Response<Vec<u8>>, ureq::Error> {
    // ureq refuses a body, even an empty one, where the method has none.
    let answer = match is_read || request.method() == Method::DELETE {
        true => agent.run(request.clone().map(drop))?,
        false => agent.run(request.clone())?,
    };
    let (parts, mut body) = answer.into_parts();
    let bytes = body.with_config().limit(ANSWER_BYTES_MAX).read_to_vec()?;
    Ok(Response::from_parts(parts, bytes))
}

fn is_closed(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    [BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof].contains(&error.kind())
}

fn failure(error: ureq::Error) -> HttpError {
    use ureq::Error::{ConnectionFailed, HostNotFound, Io, Timeout};
    let kind = match &error {
        Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) | HostNotFound | ConnectionFailed => {
            HttpErrorKind::Connect
        }
        Timeout(_) => HttpErrorKind::Timeout,
        Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => HttpErrorKind::Connect,
        Io(error) if is_closed(error) => HttpErrorKind::Interrupted,
        _ => HttpErrorKind::Unknown,
    };
    HttpError::new(kind, error)
}
