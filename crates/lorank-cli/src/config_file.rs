//! The configuration file `lorank.toml`. Flags and the environment take precedence; missing settings have defaults.

use std::path::Path;

use anyhow::{Context, anyhow};
use lorank_server::ServerConfig;
use serde_json::{Map, Value};

use crate::flags::GivenValues;

/// The contents of a configuration file; empty by default.
#[derive(Debug, Default)]
pub(crate) struct ConfigFile(Map<String, Value>);

impl ConfigFile {
    /// Reads a file, if one is named.
    pub(crate) fn read(path: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = path else { return Ok(Self::default()) };
        let text = std::fs::read_to_string(path).with_context(|| format!("could not read `{}`", path.display()))?;
        Self::parse(&text).with_context(|| format!("`{}` is not a valid configuration", path.display()))
    }

    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        // Parsed as the configuration type, because errors of the TOML parser have the line.
        toml::from_str::<ServerConfig>(text).map_err(|error| without_password(text, error))?;
        Ok(Self(toml::from_str(text)?))
    }

    /// Whether the file has a value for the setting of that key.
    pub(crate) fn has(&self, key: &str) -> bool {
        match key.split_once('.') {
            None => self.0.contains_key(key),
            Some((section, key)) => self.0.get(section).is_some_and(|section| section.get(key).is_some()),
        }
    }

    /// The configuration from given values, the file and the defaults, in this order of precedence.
    pub(crate) fn under(&self, given: &GivenValues) -> anyhow::Result<ServerConfig> {
        let mut tree = self.0.clone();
        given.write_over(&mut tree);
        Ok(serde_json::from_value(Value::Object(tree))?)
    }
}

/// The error of the TOML parser, which shows the line, except for a line with an address: it may have a password.
fn without_password(text: &str, error: toml::de::Error) -> anyhow::Error {
    let n_before = error.span().map_or(0, |span| text[..span.start].matches('\n').count());
    match text.lines().nth(n_before).is_some_and(|line| line.contains("://")) {
        true => anyhow!("line {}: {}", n_before + 1, error.message()),
        false => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args, Command, FromArgMatches};

    use super::*;
    use crate::flags::ServerFlags;

    #[test]
    fn flags_win_over_the_file_and_the_file_over_the_defaults() {
        let file =
            "listen = '127.0.0.1:1'\n[model]\nadapters = ['a']\ndevice = 'cpu'\n[search]\ndepth = 7\ntop_k = 3\n";
        let file = ConfigFile::parse(file).unwrap();
        let command = ServerFlags::augment_args(Command::new("serve"));
        let matches = command.get_matches_from(["serve", "--top-k", "4", "--adapter", "b", "--n-searches-max", "2"]);
        let config = file.under(&ServerFlags::from_arg_matches(&matches).unwrap().0).unwrap();
        assert_eq!((config.search.depth.get(), config.search.top_k.get()), (7, 4));
        assert_eq!((config.listen.port(), config.server.n_searches_max.get()), (1, 2));
        assert_eq!(config.model.adapters, ["b".parse().unwrap()]);
        assert_eq!(config.model.device.to_string(), "cpu");
        assert_eq!(config.search.depth_max, ServerConfig::default().search.depth_max);
        assert!(file.has("listen") && file.has("search.depth") && !file.has("search.depth_max") && !file.has("keys"));
    }

    #[test]
    fn an_address_is_not_repeated_in_an_error() {
        for (text, parts) in [
            ("[cache]\nurl = 'http://:sesame@localhost'\n", ["line 2: ", "must be a URL such as"]),
            ("store = 'mysql://ali:sesame@localhost'", ["line 1: ", "must be a URL such as"]),
            ("[search]\ndepth = 0", ["depth = 0", "nonzero"]),
        ] {
            let error = ConfigFile::parse(text).unwrap_err().to_string();
            assert!(parts.iter().all(|part| error.contains(part)) && !error.contains("sesame"), "{error}");
        }
    }
}
