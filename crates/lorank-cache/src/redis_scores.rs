//! Scores in Valkey or Redis: a server alone, or a cluster.
//!
//! A score is a string of four bytes under a key of 41, and expires. The server bounds its memory by its own policy
//! (`maxmemory`, `maxmemory-policy allkeys-lru`).

use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use lorank_core::{BoxError, Score};
use redis::cluster::{ClusterClient, ClusterConnection, cluster_pipe};
use redis::{
    Client, Connection, ConnectionInfo, ErrorKind, IntoConnectionInfo, RedisResult, TlsCertificates, cmd, pipe,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::{ScoreKey, ScoreStore, StoreFailure};

/// The prefix of the keys, with the version of the values' layout.
const PREFIX: &[u8] = b"lorank:1:";

/// The maximum number of idle connections.
const IDLE_MAX: usize = 64;

/// Less time than this is not worth an attempt to connect; a socket's time limit cannot be zero.
const LIMIT_MIN: Duration = Duration::from_millis(1);

/// The address of a server, such as `redis://user:password@host:6379/0`; with TLS `rediss://`. `Display` and `Debug` do
/// not show the password.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl {
    url: String,
    /// Without the password.
    shown: String,
}

/// How to reach the server.
#[derive(Clone)]
pub struct RedisConfig {
    /// Its address; of a cluster, that of any of its nodes.
    pub url: RedisUrl,
    /// The password, if it is not in the address.
    pub password: Option<String>,
    /// Certificates of the authorities that sign the server's certificate, in PEM; by default the public authorities.
    pub ca: Option<Vec<u8>>,
    /// Whether the address is that of a cluster's node.
    pub is_cluster: bool,
    /// How long a score is kept.
    pub ttl: Duration,
}

/// An invalid configuration.
#[derive(Debug, thiserror::Error)]
pub enum RedisError {
    /// The password is given twice.
    #[error("the address of the shared score cache has a password, and another one is given; remove one of them")]
    TwoPasswords,
    /// The certificates cannot be used without TLS.
    #[error(
        "certificates are given for the shared score cache, but its address is not `rediss://`; remove one of them"
    )]
    CaWithoutTls,
    /// The file of authorities has no certificate.
    #[error("the certificates of authorities for the shared score cache cannot be read; the file must be in PEM form")]
    NoCertificate,
    /// The client rejects the configuration.
    #[error("the configuration of the shared score cache is invalid")]
    Client(#[source] redis::RedisError),
}

/// Scores in Valkey or Redis. Connections are made when they are needed, and kept.
pub struct RedisScores {
    client: AnyClient,
    ttl_seconds: u64,
    idle: Mutex<Vec<Link>>,
}

enum AnyClient {
    One(Client),
    /// With the time limit of its connections, which a client has for good.
    Cluster(Vec<ConnectionInfo>, Option<TlsCertificates>),
}

/// An open connection.
enum Link {
    One(Connection),
    Cluster(Box<ClusterConnection>),
}

impl RedisScores {
    /// Scores on a server. Does not connect.
    ///
    /// # Errors
    /// A contradictory configuration, or one that the client rejects.
    pub fn new(config: &RedisConfig) -> Result<Self, RedisError> {
        let mut info = config.url.url.as_str().into_connection_info().map_err(RedisError::Client)?;
        if let Some(password) = &config.password {
            if info.redis_settings().password().is_some() {
                return Err(RedisError::TwoPasswords);
            }
            let settings = info.redis_settings().clone().set_password(password);
            info = info.set_redis_settings(settings);
        }
        if config.ca.is_some() && !config.url.has_tls() {
            return Err(RedisError::CaWithoutTls);
        }
        // The client would go on with no authority at all.
        let is_certificate = |pem: &Vec<u8>| {
            let mut certificates = CertificateDer::pem_slice_iter(pem).peekable();
            certificates.peek().is_some() && certificates.all(|certificate| certificate.is_ok())
        };
        if config.ca.as_ref().is_some_and(|pem| !is_certificate(pem)) {
            return Err(RedisError::NoCertificate);
        }
        if config.url.has_tls() {
            // The client takes the process's cryptography, of which a program may have none yet.
            drop(rustls::crypto::ring::default_provider().install_default());
        }
        let tls = config.ca.clone().map(|pem| TlsCertificates { client_tls: None, root_cert: Some(pem) });
        let client = match (config.is_cluster, tls) {
            (true, tls) => AnyClient::Cluster(vec![info], tls),
            (false, Some(tls)) => AnyClient::One(Client::build_with_tls(info, tls).map_err(RedisError::Client)?),
            (false, None) => AnyClient::One(Client::open(info).map_err(RedisError::Client)?),
        };
        Ok(Self { client, ttl_seconds: config.ttl.as_secs().max(1), idle: Mutex::default() })
    }

    /// Calls the server over an idle connection or a new one, within the time limit.
    fn call<T>(&self, limit: Duration, call: impl Fn(&mut Link) -> RedisResult<T>) -> RedisResult<T> {
        let until = Instant::now() + limit;
        let idle = self.lock().pop();
        if let Some(mut link) = idle {
            match link.limited(limit).and_then(|()| call(&mut link)) {
                Ok(answer) => {
                    self.keep(link);
                    return Ok(answer);
                }
                // The server has closed it, as when it restarts, and all others with it.
                Err(error) if error.is_connection_dropped() => self.lock().clear(),
                Err(error) => return Err(error),
            }
        }
        let remaining = || until.saturating_duration_since(Instant::now()).max(LIMIT_MIN);
        let mut link = self.client.connect(remaining())?;
        link.limited(remaining())?;
        let answer = call(&mut link)?;
        self.keep(link);
        Ok(answer)
    }

    fn keep(&self, link: Link) {
        let mut idle = self.lock();
        if idle.len() < IDLE_MAX {
            idle.push(link);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Link>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ScoreStore for RedisScores {
    fn get(&self, keys: &[ScoreKey], limit: Duration) -> Result<Vec<Option<Score>>, BoxError> {
        let names: Vec<Vec<u8>> = keys.iter().map(name).collect();
        let values = self.call(limit, |link| link.get(&names))?;
        Ok(values.into_iter().map(|value| score(&value?)).collect())
    }

    fn put(&self, scores: &[(ScoreKey, Score)], limit: Duration) -> Result<(), StoreFailure> {
        let stored: Vec<(Vec<u8>, [u8; 4])> =
            scores.iter().map(|(key, score)| (name(key), score.get().to_le_bytes())).collect();
        self.call(limit, |link| link.set(&stored, self.ttl_seconds)).map_err(|error| match error.kind() {
            // The server's own words, such as OOM or READONLY.
            ErrorKind::Server(_) | ErrorKind::Extension => StoreFailure::Rejected(error.into()),
            _ => StoreFailure::Unreachable(error.into()),
        })
    }
}

impl AnyClient {
    fn connect(&self, limit: Duration) -> RedisResult<Link> {
        match self {
            Self::One(client) => client.get_connection_with_timeout(limit).map(Link::One),
            Self::Cluster(nodes, tls) => {
                let client = ClusterClient::builder(nodes.clone()).retries(0).connection_timeout(limit);
                let client = client.response_timeout(limit);
                let client = match tls {
                    Some(tls) => client.certs(tls.clone()),
                    None => client,
                };
                Ok(Link::Cluster(Box::new(client.build()?.get_connection()?)))
            }
        }
    }
}

impl Link {
    /// Sets the time limit of the next call.
    fn limited(&self, limit: Duration) -> RedisResult<()> {
        match self {
            Self::One(connection) => {
                connection.set_write_timeout(Some(limit))?;
                connection.set_read_timeout(Some(limit))
            }
            Self::Cluster(connection) => {
                connection.set_write_timeout(Some(limit))?;
                connection.set_read_timeout(Some(limit))
            }
        }
    }

    /// The values of keys in one round trip; of a cluster, one for each node, at the same time.
    fn get(&mut self, names: &[Vec<u8>]) -> RedisResult<Vec<Option<Vec<u8>>>> {
        match self {
            Self::One(connection) => cmd("MGET").arg(names).query(connection),
            Self::Cluster(connection) => {
                let mut all = cluster_pipe();
                for name in names {
                    all.cmd("GET").arg(name);
                }
                all.query(connection)
            }
        }
    }

    fn set(&mut self, stored: &[(Vec<u8>, [u8; 4])], ttl_seconds: u64) -> RedisResult<()> {
        match self {
            Self::One(connection) => {
                let mut all = pipe();
                for (name, value) in stored {
                    all.cmd("SET").arg(name).arg(value).arg("EX").arg(ttl_seconds).ignore();
                }
                all.query(connection)
            }
            Self::Cluster(connection) => {
                let mut all = cluster_pipe();
                for (name, value) in stored {
                    all.cmd("SET").arg(name).arg(value).arg("EX").arg(ttl_seconds).ignore();
                }
                all.query(connection)
            }
        }
    }
}

fn name(key: &ScoreKey) -> Vec<u8> {
    [PREFIX, key.as_bytes()].concat()
}

/// The score that a value stands for. Another program's value is none.
fn score(value: &[u8]) -> Option<Score> {
    Score::new(f32::from_le_bytes(value.try_into().ok()?)).ok()
}

impl RedisUrl {
    fn has_tls(&self) -> bool {
        self.url.starts_with("rediss:")
    }
}

impl FromStr for RedisUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // The text is not repeated in the message, because it may have a password.
        let invalid = |problem: &str| Err(format!("the address of the shared score cache {problem}"));
        let Some(mut url) = redis::parse_redis_url(text).filter(|url| matches!(url.scheme(), "redis" | "rediss"))
        else {
            return invalid("must be a URL such as `redis://localhost:6379`, or `rediss://` for TLS");
        };
        if url.query().is_some() || url.fragment().is_some() {
            return invalid("cannot have a query string or a fragment");
        }
        if text.into_connection_info().is_err() {
            return invalid("needs a host, and may have a number of a database as its path");
        }
        if url.password().is_some() {
            url.set_password(Some("***")).map_err(|()| "has a password without a host".to_owned())?;
        }
        Ok(Self { url: text.to_owned(), shown: url.to_string() })
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url, password: _, ca: _, is_cluster, ttl } = self;
        let mut shown = f.debug_struct("RedisConfig");
        shown.field("url", url).field("is_cluster", is_cluster).field("ttl", ttl).finish_non_exhaustive()
    }
}

impl fmt::Debug for RedisScores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisScores").field("n_idle", &self.lock().len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str) -> RedisConfig {
        let url = url.parse().unwrap();
        RedisConfig { url, password: None, ca: None, is_cluster: false, ttl: Duration::from_secs(60) }
    }

    #[test]
    fn addresses_are_checked_and_shown_without_the_password() {
        for (text, shown) in [
            ("redis://localhost:6379", "redis://localhost:6379"),
            ("rediss://cache.example/3", "rediss://cache.example/3"),
            ("redis://ali:open%20sesame@localhost", "redis://ali:***@localhost"),
            ("redis://:sesame@[::1]:7000/0", "redis://:***@[::1]:7000/0"),
        ] {
            let url: RedisUrl = text.parse().unwrap();
            assert_eq!((url.to_string().as_str(), format!("{url:?}").as_str()), (shown, shown));
            assert!(!format!("{:?}", config(text)).contains("sesame"));
        }
        for (text, part) in [
            ("localhost:6379", "must be a URL"),
            ("http://sesame@localhost", "must be a URL"),
            ("unix:///run/redis.sock", "must be a URL"),
            ("rediss://localhost/#insecure", "a fragment"),
            ("redis://:sesame@localhost/?protocol=resp3", "a query string"),
            ("redis://:sesame@localhost/x", "a number of a database"),
        ] {
            let problem = text.parse::<RedisUrl>().unwrap_err();
            assert!(problem.contains(part) && !problem.contains("sesame"), "{text}: {problem}");
        }
    }

    #[test]
    fn contradictions_are_refused() {
        let twice = RedisConfig { password: Some("a".to_owned()), ..config("redis://:b@localhost") };
        assert!(matches!(RedisScores::new(&twice), Err(RedisError::TwoPasswords)));
        let plain = RedisConfig { ca: Some(Vec::new()), ..config("redis://localhost") };
        assert!(matches!(RedisScores::new(&plain), Err(RedisError::CaWithoutTls)));
        let no_pem = RedisConfig { ca: Some(b"a certificate".to_vec()), ..config("rediss://localhost") };
        assert!(matches!(RedisScores::new(&no_pem), Err(RedisError::NoCertificate)));
    }

    #[test]
    fn values_of_other_programs_are_no_scores() {
        let bytes = |value: f32| value.to_le_bytes().to_vec();
        for (value, expected) in
            [(bytes(7.5), Some(7.5)), (bytes(f32::NAN), None), (b"hello".to_vec(), None), (Vec::new(), None)]
        {
            assert_eq!(score(&value).map(Score::get), expected, "{value:?}");
        }
    }

    #[test]
    fn nothing_listens_and_the_error_says_so_at_once() {
        // A port that was free a moment ago.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let scores = RedisScores::new(&config(&format!("redis://127.0.0.1:{port}"))).unwrap();
        let error = scores.get(&[ScoreKey::from_bytes([0; 32])], Duration::from_secs(5)).unwrap_err();
        assert!(error.to_string().to_lowercase().contains("refused"), "{error}");
    }
}
