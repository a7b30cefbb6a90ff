//! HTTP requests to a cluster: connections, credentials, failover, retries.
//!
//! | what happens | what the client does |
//! |---|---|
//! | a connection is refused, breaks or cannot be made | a read goes to the next node, and once more to each after a short pause |
//! | status 502, 503 or 504 | the same |
//! | status 500, because the node lost its connection to another one | the same; the node itself is not at fault |
//! | status 429 | a read waits for `Retry-After`, or a jittered pause, if the deadline allows it |
//! | no answer by the deadline | an error: the engine may still be busy with the request, and a second one would add to its load |
//!
//! Only reads are repeated. A write that broke may have had its effect.

use std::thread::sleep;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use lorank_core::Deadline;
use ureq::http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Timeout};

use crate::engine_error::{self, CallersParts};
use crate::jitter::jittered;
use crate::nodes::{Node, Nodes};
use crate::{Auth, ElasticConfig, Error};

/// The pause before the second attempts; it doubles with each further one.
const PAUSE: Duration = Duration::from_millis(100);
/// The maximum number of attempts per node.
const ATTEMPTS_MAX: usize = 2;
/// The maximum number of times that a request waits because the engine has too many requests.
const WAITS_MAX: u32 = 3;

/// A client of one cluster.
#[derive(Debug)]
pub(crate) struct Client {
    agent: Agent,
    nodes: Nodes,
    authorization: Option<HeaderValue>,
    timeout: Duration,
    answer_bytes_max: u64,
}

/// A request to the engine.
#[derive(Debug, Clone)]
pub(crate) struct Call<'a> {
    pub method: Method,
    /// The path after a node's address, with the query string.
    pub path: &'a str,
    /// A JSON body.
    pub body: Option<Vec<u8>>,
    /// Whether the request may be repeated.
    pub is_read: bool,
    pub deadline: Option<Deadline>,
}

impl<'a> Call<'a> {
    pub(crate) fn get(path: &'a str) -> Self {
        Self { method: Method::GET, path, body: None, is_read: true, deadline: None }
    }
}

/// An answer of any status.
#[derive(Debug)]
pub(crate) struct Reply {
    pub status: StatusCode,
    pub body: Vec<u8>,
    retry_after: Option<Duration>,
}

impl Reply {
    /// The body of a success.
    ///
    /// # Errors
    /// The engine's reason. `callers` are the parts of the request that may be at fault.
    pub(crate) fn checked(self, index: &str, callers: CallersParts) -> Result<Vec<u8>, Error> {
        engine_error::check(self.status.as_u16(), self.body, index, callers)
    }
}

/// A failed attempt.
enum Failure {
    /// The node did not answer: another one may.
    Node(String),
    /// The time is over.
    Late,
    /// Another attempt would fail in the same way.
    Final(Error),
}

impl Client {
    pub(crate) fn new(config: &ElasticConfig) -> Result<Self, Error> {
        if config.nodes.is_empty() {
            return Err(Error::Config {
                setting: "elastic.urls",
                problem: "is missing; set the address of a node".to_owned(),
            });
        }
        let agent = Agent::config_builder()
            .tls_config(TlsConfig::builder().root_certs(roots(config.ca.as_deref())?).build())
            // A proxy of the environment is for other hosts, and a redirect would carry the credentials elsewhere.
            .proxy(None)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .user_agent(concat!("lorank/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(config.connect_timeout))
            .max_idle_connections(config.connections_max.get() * config.nodes.len())
            .max_idle_connections_per_host(config.connections_max.get())
            .build();
        Ok(Self {
            agent: agent.new_agent(),
            nodes: Nodes::new(config.nodes.clone()),
            authorization: authorization(&config.auth)?,
            timeout: config.timeout,
            answer_bytes_max: config.answer_bytes_max,
        })
    }

    /// The deadline of a call: its own, or the configured limit.
    pub(crate) fn deadline(&self, own: Option<Deadline>) -> Deadline {
        let usual = Deadline::at(Instant::now() + self.timeout);
        own.map_or(usual, |own| own.min(usual))
    }

    /// Sends a request, and returns an answer of any status except those that mean that the engine cannot answer now.
    pub(crate) fn send(&self, call: &Call<'_>) -> Result<Reply, Error> {
        let started = Instant::now();
        let deadline = self.deadline(call.deadline);
        let late = |last: Option<String>| Error::Late { millis: (deadline.instant() - started).as_millis(), last };
        let (mut last, mut n_waits) = (None, 0);
        let mut order = self.nodes.in_order();
        let n_attempts_max = if call.is_read { order.len() * ATTEMPTS_MAX } else { 1 };
        let mut n_attempts = 0;
        while n_attempts < n_attempts_max {
            if n_attempts > 0 && n_attempts.is_multiple_of(order.len()) {
                pause(jittered(PAUSE), deadline);
                order = self.nodes.in_order();
            }
            let node = order[n_attempts % order.len()];
            match self.attempt(node, call, deadline) {
                Ok(reply) if reply.status == StatusCode::TOO_MANY_REQUESTS => {
                    self.nodes.answered(node);
                    let wait = reply.retry_after.unwrap_or_else(|| jittered(PAUSE * (2 << n_waits)));
                    if !call.is_read || n_waits == WAITS_MAX || wait >= deadline.remaining() {
                        let reason = engine_error::reason(&reply.body);
                        return Err(Error::Overloaded { reason, retry_after: reply.retry_after });
                    }
                    sleep(wait);
                    n_waits += 1;
                }
                Ok(reply) if is_unavailable(reply.status) => {
                    let reason = format!("status {}: {}", reply.status.as_u16(), engine_error::reason(&reply.body));
                    self.nodes.failed(node, &reason);
                    last = Some(reason);
                    n_attempts += 1;
                }
                Ok(reply)
                    if reply.status == StatusCode::INTERNAL_SERVER_ERROR && engine_error::is_lost_node(&reply.body) =>
                {
                    last = Some(engine_error::reason(&reply.body));
                    n_attempts += 1;
                }
                Ok(reply) => {
                    self.nodes.answered(node);
                    return Ok(reply);
                }
                Err(Failure::Node(reason)) => {
                    self.nodes.failed(node, &reason);
                    last = Some(reason);
                    n_attempts += 1;
                }
                Err(Failure::Late) => return Err(late(last)),
                Err(Failure::Final(error)) => return Err(error),
            }
        }
        Err(Error::Unreachable { n_nodes: self.nodes.n(), reason: last.unwrap_or_default() })
    }

    fn attempt(&self, node: &Node, call: &Call<'_>, deadline: Deadline) -> Result<Reply, Failure> {
        let remaining = deadline.remaining();
        if remaining.is_zero() {
            return Err(Failure::Late);
        }
        let mut request = Request::builder().method(call.method.clone()).uri(format!("{}{}", node.url, call.path));
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let bad_request = |error: ureq::http::Error| {
            Failure::Final(Error::BadAnswer { problem: format!("invalid request: {error}") })
        };
        let answer = match &call.body {
            None => {
                let request = request.body(()).map_err(bad_request)?;
                self.agent.run(self.agent.configure_request(request).timeout_global(Some(remaining)).build())
            }
            Some(body) => {
                let request = request.header(header::CONTENT_TYPE, "application/json");
                let request = request.body(body.as_slice()).map_err(bad_request)?;
                self.agent.run(self.agent.configure_request(request).timeout_global(Some(remaining)).build())
            }
        };
        let mut answer = answer.map_err(|error| self.failure(error))?;
        // One byte more than the limit shows that the limit is exceeded.
        let body = answer.body_mut().with_config().limit(self.answer_bytes_max).read_to_vec();
        let body = body.map_err(|error| self.failure(error))?;
        Ok(Reply { status: answer.status(), body, retry_after: retry_after(answer.headers()) })
    }

    fn failure(&self, error: ureq::Error) -> Failure {
        match error {
            ureq::Error::Timeout(Timeout::Connect | Timeout::Resolve) => {
                Failure::Node("it does not accept connections in time".to_owned())
            }
            ureq::Error::Timeout(_) => Failure::Late,
            ureq::Error::BodyExceedsLimit(_) => {
                Failure::Final(Error::AnswerTooLarge { bytes_max: self.answer_bytes_max })
            }
            ureq::Error::HostNotFound => Failure::Node("its host name is unknown".to_owned()),
            // The addresses of nodes are only for the log.
            ureq::Error::Io(error) => Failure::Node(error.to_string()),
            error => Failure::Node(error.to_string()),
        }
    }
}

/// Statuses with which a node, or a proxy before it, says that it cannot answer now.
fn is_unavailable(status: StatusCode) -> bool {
    matches!(status, StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT)
}

fn pause(time: Duration, deadline: Deadline) {
    sleep(time.min(deadline.remaining()));
}

/// Whole seconds; a date is not supported, and counts as none.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

fn authorization(auth: &Auth) -> Result<Option<HeaderValue>, Error> {
    let text = match auth {
        Auth::None => return Ok(None),
        Auth::Basic { user, .. } if user.contains(':') => {
            return Err(Error::Config { setting: "elastic.user", problem: "cannot have a colon".to_owned() });
        }
        Auth::Basic { user, password } => format!("Basic {}", BASE64.encode(format!("{user}:{}", password.reveal()))),
        Auth::Bearer(token) => format!("Bearer {}", token.reveal()),
        Auth::ApiKey(key) => format!("ApiKey {}", key.reveal()),
    };
    let invalid = |_| Error::Config {
        setting: "elastic",
        problem: "has a secret with characters that a header cannot have".to_owned(),
    };
    let mut value = HeaderValue::from_str(&text).map_err(invalid)?;
    value.set_sensitive(true);
    Ok(Some(value))
}

/// The authorities that may sign the nodes' certificates.
fn roots(ca: Option<&[u8]>) -> Result<RootCerts, Error> {
    let Some(pem) = ca else { return Ok(RootCerts::WebPki) };
    let invalid = |problem: String| Error::Config { setting: "elastic.ca_file", problem };
    let mut certificates: Vec<Certificate<'static>> = Vec::new();
    for item in parse_pem(pem) {
        match item.map_err(|error| invalid(format!("is not in PEM form: {error}")))? {
            PemItem::Certificate(certificate) => certificates.push(certificate),
            _ => return Err(invalid("has a private key; it needs only certificates of authorities".to_owned())),
        }
    }
    match certificates.is_empty() {
        true => Err(invalid("has no certificate in PEM form".to_owned())),
        false => Ok(RootCerts::new_with_certs(&certificates)),
    }
}
