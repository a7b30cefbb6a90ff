//! `lorank health`: checks a running server, for supervisors and containers without curl.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;

use crate::output;
use crate::output::text::{cut, one_line};

/// Check the health of a running server; the exit status is 0 if it is healthy, else 1
#[derive(Debug, Args)]
pub(crate) struct HealthArgs {
    /// Server address, such as http://127.0.0.1:7788
    #[arg(long, value_name = "URL", env = "LORANK_SERVER", default_value = "http://127.0.0.1:7788")]
    server: String,
    /// Server address, as an argument
    #[arg(value_name = "URL")]
    address: Option<String>,
    /// Check readiness for searches (/ready) instead of liveness (/health)
    #[arg(long)]
    ready: bool,
    /// Timeout in milliseconds
    #[arg(long, value_name = "N", default_value_t = 3_000)]
    timeout_millis: u64,
}

const ANSWER_BYTES_MAX: u64 = 1 << 16;

/// A server address without a trailing slash, with the default scheme `http`.
pub(crate) fn server_url(text: &str) -> String {
    let text = text.trim_end_matches('/');
    if text.contains("://") { text.to_owned() } else { format!("http://{text}") }
}

pub(crate) fn run(args: &HealthArgs) -> anyhow::Result<()> {
    let server = server_url(args.address.as_ref().unwrap_or(&args.server));
    let url = format!("{server}/{}", if args.ready { "ready" } else { "health" });
    let limit = Some(Duration::from_millis(args.timeout_millis));
    let config = ureq::Agent::config_builder().timeout_global(limit).http_status_as_error(false).build();
    let mut response =
        ureq::Agent::from(config).get(&url).call().with_context(|| format!("could not reach `{url}`"))?;
    let status = response.status();
    let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string()?;
    let body = cut(&one_line(&body), 500);
    if !status.is_success() {
        bail!("`{url}` returned status {}: {body}", status.as_u16());
    }
    let mut out = output::stdout();
    writeln!(out, "{body}")?;
    Ok(out.flush()?)
}
