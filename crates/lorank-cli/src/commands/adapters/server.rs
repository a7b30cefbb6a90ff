//! What a running server says of an adapter: what it has in memory, a registry does not know.

use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use lorank_core::AdapterId;
use serde::Deserialize;

use crate::commands::health::server_url;
use crate::output::text::{cut, one_line};

/// A server to ask.
#[derive(Debug, Args)]
pub(crate) struct ServerArgs {
    /// A running server to ask too, as in http://127.0.0.1:7788: whether it has the adapter in memory, and how many
    /// scores in its cache
    #[arg(long, value_name = "URL", env = "LORANK_SERVER")]
    server: Option<String>,
    /// The key that the server wants
    #[arg(long, value_name = "KEY", env = "LORANK_KEY", hide_env_values = true)]
    key: Option<String>,
}

/// What only the server knows.
#[derive(Debug, PartialEq, Deserialize)]
pub(crate) struct ServerFacts {
    /// The digest under which it scores with the adapter.
    pub digest: String,
    pub in_memory: bool,
    pub cached_scores: usize,
}

/// How long it may take to connect, and how long all together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_secs(10);
const ANSWER_BYTES_MAX: u64 = 1 << 20;

impl ServerArgs {
    /// Asks the server, if one is named.
    pub(crate) fn ask(&self, id: &AdapterId) -> anyhow::Result<Option<ServerFacts>> {
        let Some(server) = &self.server else { return Ok(None) };
        let facts = self.get(server, id).with_context(|| format!("could not ask the server `{server}` for `{id}`"))?;
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
        200 => serde_json::from_str(body).context("its answer is not in the shape of an adapter's facts"),
        401 | 403 => bail!("it wants another key (status {status}); give one with --key"),
        404 => bail!("it does not have it (status 404)"),
        _ => bail!("it answered with status {status}: {}", cut(&one_line(body), 200)),
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
            (200, "{}", "not in the shape"),
            (401, "", "--key"),
            (404, "{}", "does not have it"),
            (503, "busy\nnow", "status 503: busy now"),
        ] {
            let error = read_answer(status, body).unwrap_err().to_string();
            assert!(error.contains(part), "{status}: {error}");
        }
    }
}
