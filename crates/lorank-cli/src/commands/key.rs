//! `lorank key`: creates an API key for a server.

use std::io::Write;

use anyhow::anyhow;
use clap::Args;
use lorank_http::{Key, Role};

use crate::output;

/// Create an API key for clients of a server, and the lines for its configuration file
#[derive(Debug, Args)]
pub(crate) struct KeyArgs {
    /// Descriptive name
    #[arg(value_name = "NAME")]
    name: String,
    /// Role: events, search, write or admin; each includes those before it
    #[arg(long, value_name = "ROLE", default_value = "search")]
    role: Role,
}

pub(crate) fn run(args: &KeyArgs) -> anyhow::Result<()> {
    let mut random = [0; 32];
    getrandom::fill(&mut random).map_err(|error| anyhow!("cannot get random bytes from the system: {error}"))?;
    let key: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut out = output::stdout();
    writeln!(out, "# key for the client, not stored anywhere: {key}")?;
    let name = toml::Value::from(args.name.as_str());
    let (role, hash) = (args.role.name(), Key::hash_of(&key));
    writeln!(out, "[[keys]]\nname = {name}\nrole = \"{role}\"\nhash = \"{hash}\"")?;
    Ok(out.flush()?)
}
