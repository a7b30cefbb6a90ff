//! All settings of a server: where each may be given, what it is when it is given nowhere, and whether it can change while the
//! server runs. A test holds the list to the flags of `serve` and to the keys of the configuration file.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use toml::{Table, Value};

/// A setting.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setting {
    /// Its key in the configuration file, sections joined by dots. A setting that the file does not have goes by its flag.
    pub key: &'static str,
    pub is_in_file: bool,
    /// Its flag, without the dashes.
    pub flag: Option<&'static str>,
    pub default: Unset,
    /// Whether SIGHUP makes a running server take another value.
    pub is_live: bool,
}

/// What a setting is when nobody says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Unset {
    /// A value, as TOML writes it.
    Is(&'static str),
    /// Something that depends, in words.
    Words(&'static str),
}

use self::Unset::{Is, Words};

/// The settings, in the order of `examples/lorank.toml`.
pub(crate) const SETTINGS: &[Setting] = &[
    both("index", "index", Words("none: it has to be named")),
    both("data", "data", Words("lorank in the user's data folder")),
    both("listen", "listen", Is("\"127.0.0.1:7788\"")),
    both("adapter_sources", "adapter-source", Is("[]")),
    both("shadows", "shadow", Is("[]")),
    flag("no_keys", "no-keys", Is("false")),
    both("model.base", "base", Words("the starter, where the build has it")),
    both("model.adapters", "adapter", Words("those of the starter, if that is the base")),
    both("model.device", "device", Is("\"auto\"")),
    both("model.precision", "precision", Is("\"auto\"")),
    both("model.max_length", "max-length", Words("the adapter's or the model's own")),
    both("model.on_base_mismatch", "on-base-mismatch", Is("\"warn\"")),
    both("model.tokens_max", "tokens-max", Words("256 for each thread of a CPU, 16384 on a GPU")),
    both("model.threads", "threads", Words("one a core")),
    both("model.merge", "merge", Is("[]")),
    flag("reference", "reference", Is("false")),
    both("search.depth", "depth", Is("100")),
    file("search.depth_max", Is("1000")),
    both("search.top_k", "top-k", Is("10")),
    file("search.page_end_max", Is("10000")),
    file("search.query_bytes_max", Is("65536")),
    both("search.deadline_millis", "deadline-millis", Words("none: requests wait")),
    file("cache.entries_max", Is("1000000")),
    file("cache.bytes_max", Is("134217728")),
    both("queue.requests_max", "queue-max", Is("64")),
    file("queue.pairs_max", Is("10000")),
    both("queue.tokens_max", "batch-tokens-max", Is("4096")),
    both("queue.wait_micros", "wait-micros", Is("0")),
    live("server.n_searches_max", "n-searches-max", Is("128")),
    live("server.body_bytes_max", "body-bytes-max", Is("16777216")),
    live("server.n_documents_max", "n-documents-max", Is("10000")),
    live("server.bulk_bytes_max", "bulk-bytes-max", Is("268435456")),
    live("server.bulk_lines_max", "bulk-lines-max", Is("100000")),
    live("server.n_changes_max", "n-changes-max", Is("16")),
    live("server.n_connections_max", "n-connections-max", Is("16384")),
    live("server.header_read_millis", "header-read-millis", Is("10000")),
    live("server.body_read_millis", "body-read-millis", Is("30000")),
    live("server.write_millis", "write-millis", Is("30000")),
    live("server.keep_alive_millis", "keep-alive-millis", Is("75000")),
    live("server.shutdown_millis", "shutdown-millis", Is("30000")),
    live("server.cors_origins", "cors-origin", Is("[]")),
    both("server.adapter_bytes_max", "adapter-bytes-max", Is("2147483648")),
    file("aliases", Words("none")),
    Setting { is_live: true, ..file("keys", Words("none")) },
    flag("log", "log", Is("\"warn\"")),
    flag("log_format", "log-format", Is("\"text\"")),
    #[cfg(feature = "otlp")]
    flag("otlp_endpoint", "otlp-endpoint", Words("what OTEL_EXPORTER_OTLP_ENDPOINT says, else none")),
];

const fn both(key: &'static str, flag: &'static str, default: Unset) -> Setting {
    Setting { key, is_in_file: true, flag: Some(flag), default, is_live: false }
}

const fn live(key: &'static str, flag: &'static str, default: Unset) -> Setting {
    Setting { key, is_in_file: true, flag: Some(flag), default, is_live: true }
}

const fn file(key: &'static str, default: Unset) -> Setting {
    Setting { key, is_in_file: true, flag: None, default, is_live: false }
}

const fn flag(key: &'static str, flag: &'static str, default: Unset) -> Setting {
    Setting { key, is_in_file: false, flag: Some(flag), default, is_live: false }
}

/// What a configuration file says, by the settings' keys.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Said(BTreeMap<&'static str, Value>);

impl Said {
    /// Reads a file that is known to be a configuration.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("could not read `{}`", path.display()))?;
        Ok(Self::of(&text.parse().with_context(|| format!("`{}` is not TOML", path.display()))?))
    }

    pub(crate) fn of(file: &Table) -> Self {
        let in_file = SETTINGS.iter().filter(|setting| setting.is_in_file);
        Self(in_file.filter_map(|setting| Some((setting.key, find(file, setting.key)?.clone()))).collect())
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    /// The settings that another file says something else of, and that a running server cannot take.
    pub(crate) fn differences_that_wait(&self, other: &Self) -> Vec<&'static str> {
        let differs = |setting: &&Setting| !setting.is_live && self.get(setting.key) != other.get(setting.key);
        SETTINGS.iter().filter(differs).map(|setting| setting.key).collect()
    }
}

fn find<'a>(file: &'a Table, key: &str) -> Option<&'a Value> {
    match key.split_once('.') {
        None => file.get(key),
        Some((section, key)) => file.get(section)?.get(key),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::CommandFactory;
    use lorank_http::HttpConfig;
    use lorank_pipeline::PipelineConfig;
    use lorank_registry_reranker::RegistryReranker;

    use super::*;
    use crate::args::Cli;
    use crate::commands::serve::DEFAULT_LISTEN;
    use crate::config::ConfigFile;
    use crate::limits::LimitArgs;

    #[test]
    fn every_flag_of_serve_is_a_setting() {
        let mut cli = Cli::command();
        cli.build();
        let serve = cli.find_subcommand("serve").unwrap();
        let flags: BTreeSet<&str> = serve.get_arguments().filter_map(|arg| arg.get_long()).collect();
        let others = ["config", "help", "quiet", "verbose"];
        let settings = SETTINGS.iter().filter_map(|setting| setting.flag).chain(others).collect();
        assert_eq!(flags, settings);
    }

    /// The keys that a section takes, from what it says to one that it does not.
    fn keys_of(section: &str) -> BTreeSet<String> {
        let text = format!("{section}\nno_such_key = 1");
        let message = toml::from_str::<ConfigFile>(&text).unwrap_err().message().to_owned();
        let (_, keys) = message.split_once("expected").unwrap_or_else(|| panic!("{message}"));
        keys.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }

    #[test]
    fn every_key_of_the_file_is_a_setting() {
        let sections = ["model", "search", "cache", "queue", "server"];
        let mut keys = keys_of("");
        for section in sections {
            assert!(keys.remove(section), "{section}");
            keys.extend(keys_of(&format!("[{section}]")).iter().map(|key| format!("{section}.{key}")));
        }
        let settings = SETTINGS.iter().filter(|setting| setting.is_in_file).map(|setting| setting.key.to_owned());
        assert_eq!(keys, settings.collect());
    }

    #[test]
    fn the_defaults_are_what_they_are_said_to_be() {
        let mut file = Table::new();
        for setting in SETTINGS.iter().filter(|setting| setting.is_in_file) {
            let Is(text) = setting.default else { continue };
            let value = format!("it = {text}").parse::<Table>().unwrap().remove("it").unwrap();
            match setting.key.split_once('.') {
                None => file.insert(setting.key.to_owned(), value),
                Some((section, key)) => {
                    let section = file.entry(section).or_insert_with(|| Value::Table(Table::new()));
                    section.as_table_mut().unwrap().insert(key.to_owned(), value)
                }
            };
        }
        let file: ConfigFile = file.try_into().unwrap();
        assert_eq!(format!("{:?}", file.pipeline()), format!("{:?}", PipelineConfig::default()));
        assert_eq!(file.server(&LimitArgs::default()).unwrap(), HttpConfig::default());
        assert_eq!(file.server.adapter_bytes_max, Some(RegistryReranker::BYTES_MAX));
        assert_eq!(file.listen.unwrap().to_string(), DEFAULT_LISTEN);
    }

    #[test]
    fn what_has_to_wait_for_a_new_start_is_named() {
        let said = |text: &str| Said::of(&text.parse().unwrap());
        let before = said("index = 'a'\n[server]\nn_searches_max = 2\n[search]\ndepth = 5\n");
        let after = said("index = 'b'\n[server]\nn_searches_max = 3\n[[keys]]\nname = 'x'\n");
        assert_eq!(before.differences_that_wait(&after), ["index", "search.depth"]);
        assert_eq!(before.differences_that_wait(&before), [""; 0]);
    }
}
