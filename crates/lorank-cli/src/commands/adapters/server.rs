//! The state of an adapter in a running server, which the registry does not know.

use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use lorank_core::AdapterId;
use serde::Deserialize;

use crate::commands::health::server_url;
use crate::output::text::{cut, one_line};

/// The server to query.
#[derive(Debug, Args)]
pub(crate) struct ServerArgs {
    /// Also query a running server, such as http://127.0.0.1:7788, for whether the adapter is in memory and how many of its
    /// scores are cached
    #[arg(long, value_name = "URL", env = "LORANK_SERVER")]
    server: Option<String>,
    /// API key for the server
    #[arg(long, value_name = "KEY", env = "LORANK_KEY", hide_env_values = true)]
    key: Option<String>,
}

/// The server's state of an adapter.
#[derive(Debug, PartialEq, Deserialize)]
pub(crate) struct ServerFacts {
    /// The digest of the server's version of the adapter.
    pub digest: String,
    pub in_memory: bool,
    pub cached_scores: usize,
}

/// The timeouts for connecting and for the whole request.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_secs(10);
const ANSWER_BYTES_MAX: u64 = 1 << 20;

impl ServerArgs {
    /// Queries the server, if one is named.
    pub(crate) fn ask(&self, id: &AdapterId) -> anyhow::Result<Option<ServerFacts>> {
        let Some(server) = &self.server else { return Ok(None) };
        let facts = self
            .get(server, id)
            .with_context(|| format!("could not get the adapter `{id}` from the server `{server}`"))?;
        Ok(Some(facts))
    }

    fn get(&self, server: &str, id: &AdapterId) -> anyhow::Result<ServerFacts> {
        let config = ureq::Agent::config_builder()
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_global(Some(TIMEOUT))
            .http_status_as_error(false)
            .build();
        // An id needs no escaping in a path.
        let url = format!("{}/v1/adapters/{id}", server_url(server));
        let mut request = ureq::Agent::from(config).get(url);
        if let Some(key) = &self.key {
            request = request.header("Authorization", format!("Bearer {key}"));
        }
        let mut response = request.call()?;
        let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string()?;
        read_answer(response.status().as_u16(), &body)
    }
}

fn read_answer(status: u16, body: &str) -> anyhow::Result<ServerFacts> {
    match status {
        200 => serde_json::from_str(body).context("the response is not an adapter"),
        401 | 403 => bail!("the key is missing or insufficient (status {status}); set it with --key"),
        404 => bail!("the server does not have the adapter (status 404)"),
        _ => bail!("the response has status {status}: {}", cut(&one_line(body), 200)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_facts_or_say_why_not() {
        let answer = r#"{"id": "qa", "digest": "5eed", "in_memory": true, "cached_scores": 12, "rank": 8}"#;
        let expected = ServerFacts { digest: "5eed".into(), in_memory: true, cached_scores: 12 };
        assert_eq!(read_answer(200, answer).unwrap(), expected);
        for (status, body, part) in [
            (200, "{}", "not an adapter"),
            (401, "", "--key"),
            (404, "{}", "does not have the adapter"),
            (503, "busy\nnow", "status 503: busy now"),
        ] {
            let error = read_answer(status, body).unwrap_err().to_string();
            assert!(error.contains(part), "{status}: {error}");
        }
    }
}
