//! `lorank key`: a key for a server.

use std::io::Write;

use anyhow::anyhow;
use clap::Args;
use lorank_http::{Key, Role};

use crate::output;

/// Make a key for clients of a server, and the lines by which its configuration file knows it
#[derive(Debug, Args)]
pub(crate) struct KeyArgs {
    /// A name for people
    #[arg(value_name = "NAME")]
    name: String,
    /// What it is for: events, search, write or admin; each may do what those before it may
    #[arg(long, value_name = "ROLE", default_value = "search")]
    role: Role,
}

pub(crate) fn run(args: &KeyArgs) -> anyhow::Result<()> {
    let mut random = [0; 32];
    getrandom::fill(&mut random).map_err(|error| anyhow!("the system gives no random bytes: {error}"))?;
    let key: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut out = output::stdout();
    writeln!(out, "# for the client, and kept nowhere else: {key}")?;
    let name = toml::Value::from(args.name.as_str());
    let (role, hash) = (args.role.name(), Key::hash_of(&key));
    writeln!(out, "[[keys]]\nname = {name}\nrole = \"{role}\"\nhash = \"{hash}\"")?;
    Ok(out.flush()?)
}
