//! The flags and environment variables of settings, generated from the list of settings, and their values.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroUsize;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches};
use lorank_core::PassageOptions;
use lorank_server::{
    AdapterSpec, Arity, ElasticSection, FirstStageKind, Flag, ModelSection, SearchSection, ServerConfig, Setting,
};
use serde_json::{Map, Value};

use crate::address::AddressParser;
use crate::failure::WrongUsage;

/// The source of a value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Origin {
    Default,
    File(String),
    Environment(String),
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => write!(f, "default"),
            Self::File(path) => write!(f, "file {path}"),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(flag) => write!(f, "flag --{flag}"),
        }
    }
}

impl Origin {
    /// The origin of a value from a flag or its variable; `None` if neither was given.
    pub(crate) fn of_given(matches: &ArgMatches, id: &str, flag: &str, variable: &str) -> Option<Self> {
        match matches.value_source(id)? {
            ValueSource::CommandLine => Some(Self::Flag(flag.to_owned())),
            ValueSource::EnvVariable => Some(Self::Environment(variable.to_owned())),
            _ => None,
        }
    }
}

/// The values of flags and variables by the keys of their settings.
#[derive(Debug, Clone, Default)]
pub(crate) struct GivenValues(BTreeMap<&'static str, (Value, Origin)>);

impl GivenValues {
    fn read(matches: &ArgMatches, settings: impl Iterator<Item = &'static Setting>) -> Self {
        let given = settings.filter_map(|setting| Some((setting.key, given(matches, setting)?)));
        Self(given.collect())
    }

    /// The origin of a setting's value.
    pub(crate) fn origin(&self, key: &str) -> Option<&Origin> {
        self.0.get(key).map(|(_, origin)| origin)
    }

    /// Overwrites values in a tree with the structure of a configuration file.
    pub(crate) fn write_over(&self, tree: &mut Map<String, Value>) {
        for (key, (value, _)) in &self.0 {
            match key.split_once('.') {
                None => tree.insert((*key).to_owned(), value.clone()),
                Some((section, key)) => {
                    let section = tree.entry(section).or_insert_with(|| Value::Object(Map::new()));
                    section.as_object_mut().and_then(|section| section.insert(key.to_owned(), value.clone()))
                }
            };
        }
    }
}

fn given(matches: &ArgMatches, setting: &Setting) -> Option<(Value, Origin)> {
    let flag = setting.flag?;
    let origin = Origin::of_given(matches, setting.key, flag.name, flag.variable)?;
    let value = match flag.arity {
        Arity::Switch => Value::Bool(matches.get_flag(setting.key)),
        Arity::One => matches.get_one::<Value>(setting.key)?.clone(),
        Arity::Repeated { .. } => matches.get_many::<Value>(setting.key)?.cloned().collect(),
    };
    Some((value, origin))
}

/// The flag of a setting.
fn argument(setting: &Setting) -> Option<Arg> {
    let flag = setting.flag?;
    // Addresses may have a password, which the help and errors would show.
    let is_address = flag.value_name == "URL";
    let arg = Arg::new(setting.key).long(flag.name).env(flag.variable).hide_env_values(is_address);
    let arg = arg.help(help(setting));
    let arg = match heading(setting.key) {
        Some(heading) => arg.help_heading(heading),
        None => arg,
    };
    Some(match flag.arity {
        Arity::Switch => arg.action(ArgAction::SetTrue),
        Arity::One => parsed(arg.value_name(flag.value_name), flag, is_address),
        Arity::Repeated { by_comma } => {
            let arg = parsed(arg.value_name(flag.value_name), flag, is_address).action(ArgAction::Append);
            if by_comma { arg.value_delimiter(',') } else { arg }
        }
    })
}

fn parsed(arg: Arg, flag: Flag, is_address: bool) -> Arg {
    if is_address { arg.value_parser(AddressParser(flag.parse)) } else { arg.value_parser(flag.parse) }
}

fn heading(key: &str) -> Option<&'static str> {
    if key == "first_stage" {
        return Some("First-stage options");
    }
    match key.split_once('.')?.0 {
        "elastic" => Some("First-stage options"),
        "model" => Some("Model options"),
        "cache" => Some("Cache options"),
        "queue" => Some("Queue options"),
        "server" => Some("Server options"),
        _ => None,
    }
}

/// The help text of a setting, with its default.
fn help(setting: &Setting) -> String {
    let help = setting.help.trim();
    let default = ServerConfig::default().values().remove(setting.key).unwrap_or_default();
    let default = match default {
        Value::Null => setting.unset.map(str::to_owned),
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    match default {
        Some(default) => format!("{help} [default: {default}]"),
        None => help.to_owned(),
    }
}

/// The model settings of commands other than `serve`. Adapters are excluded, because each command has its own flag for them.
fn model_settings() -> impl Iterator<Item = &'static Setting> {
    ModelSection::SETTINGS.iter().filter(|setting| setting.key != "model.adapters")
}

/// The settings of a search engine as the first stage, for commands other than `serve`.
fn first_stage_settings() -> impl Iterator<Item = &'static Setting> {
    let chosen = ServerConfig::SETTINGS.iter().filter(|setting| setting.key == "first_stage");
    chosen.chain(ElasticSection::SETTINGS)
}

/// The settings of passages, for commands other than `serve`.
fn passage_settings() -> impl Iterator<Item = &'static Setting> {
    let keys = ["search.passages", "search.passage_tokens", "search.stride", "search.passages_max"];
    SearchSection::SETTINGS.iter().filter(move |setting| keys.contains(&setting.key))
}

fn data_settings() -> impl Iterator<Item = &'static Setting> {
    let keys = ["data", "registry", "registry_copy", "registry_ca_file"];
    ServerConfig::SETTINGS.iter().filter(move |setting| keys.contains(&setting.key))
}

fn store_settings() -> impl Iterator<Item = &'static Setting> {
    ServerConfig::SETTINGS.iter().filter(|setting| ["store", "store_ca_file"].contains(&setting.key))
}

/// All flags of a server.
#[derive(Debug, Clone, Default)]
pub(crate) struct ServerFlags(pub GivenValues);

/// The flags of the base model.
#[derive(Debug, Clone, Default)]
pub(crate) struct ModelFlags(GivenValues);

/// The flags of a search engine as the first stage.
#[derive(Debug, Clone, Default)]
pub(crate) struct FirstStageFlags(GivenValues);

/// The flags of passages.
#[derive(Debug, Clone, Default)]
pub(crate) struct PassageFlags(GivenValues);

/// The flags of the data folder and of the registry of adapters.
#[derive(Debug, Clone, Default)]
pub(crate) struct DataFlags(GivenValues);

/// The flags of the database with experiments.
#[derive(Debug, Clone, Default)]
pub(crate) struct StoreFlags(GivenValues);

impl ModelFlags {
    /// One base model with these adapters, for a command that cannot use several.
    pub(crate) fn section_of_one(&self, adapters: &[AdapterSpec]) -> anyhow::Result<ModelSection> {
        let section = self.section(adapters)?;
        match section.base.len() > 1 {
            true => Err(WrongUsage("this command uses one base model; name one with --base".to_owned()).into()),
            false => Ok(section),
        }
    }

    /// The base models with these adapters.
    pub(crate) fn section(&self, adapters: &[AdapterSpec]) -> anyhow::Result<ModelSection> {
        let section = config_of(&self.0)?.model;
        Ok(ModelSection { adapters: adapters.to_vec(), ..section })
    }

    /// Whether the setting with this key was set explicitly.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.0.origin(key).is_some()
    }
}

impl FirstStageFlags {
    /// The configuration with the given first stage.
    pub(crate) fn config(&self) -> anyhow::Result<ServerConfig> {
        config_of(&self.0)
    }

    /// Whether the first stage is a search engine.
    pub(crate) fn is_engine(&self) -> bool {
        self.config().is_ok_and(|config| config.first_stage == FirstStageKind::Elastic)
    }

    /// The first stage in headings.
    pub(crate) fn name(&self) -> String {
        let elastic = self.config().map(|config| config.elastic).unwrap_or_default();
        elastic.index.map_or_else(|| "BM25".to_owned(), |index| format!("the search engine's index `{index}`"))
    }
}

impl PassageFlags {
    /// How long documents are scored, and the maximum number of passages of a document.
    pub(crate) fn read(&self) -> anyhow::Result<(PassageOptions, NonZeroUsize)> {
        let search = config_of(&self.0)?.search;
        let passages = search.passages();
        passages.check().map_err(|error| WrongUsage(error.to_string()))?;
        Ok((passages, search.passages_max))
    }
}

impl DataFlags {
    /// The configuration with the given folder and registry, if any.
    pub(crate) fn config(&self) -> anyhow::Result<ServerConfig> {
        config_of(&self.0)
    }
}

impl StoreFlags {
    /// The configuration with the given database, if any.
    pub(crate) fn config(&self) -> anyhow::Result<ServerConfig> {
        config_of(&self.0)
    }
}

/// The defaults with the given values.
fn config_of(given: &GivenValues) -> anyhow::Result<ServerConfig> {
    let mut tree = Map::new();
    given.write_over(&mut tree);
    Ok(serde_json::from_value(Value::Object(tree))?)
}

/// Implements clap's traits for a type with the flags of some settings.
macro_rules! flags_of_settings {
    ($type:ident, $settings:expr, global: $is_global:literal) => {
        impl Args for $type {
            fn augment_args(command: Command) -> Command {
                command.args($settings.filter_map(argument).map(|arg| arg.global($is_global)))
            }

            fn augment_args_for_update(command: Command) -> Command {
                Self::augment_args(command)
            }
        }

        impl FromArgMatches for $type {
            fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
                Ok(Self(GivenValues::read(matches, $settings)))
            }

            fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
                *self = Self::from_arg_matches(matches)?;
                Ok(())
            }
        }
    };
}

flags_of_settings!(ServerFlags, ServerConfig::all_settings(), global: false);
flags_of_settings!(ModelFlags, model_settings(), global: false);
flags_of_settings!(FirstStageFlags, first_stage_settings(), global: false);
flags_of_settings!(PassageFlags, passage_settings(), global: false);
flags_of_settings!(DataFlags, data_settings(), global: true);
flags_of_settings!(StoreFlags, store_settings(), global: true);

#[cfg(test)]
mod tests {
    use super::*;

    fn server_flags(args: &[&str]) -> Result<ServerFlags, String> {
        let command = ServerFlags::augment_args(Command::new("serve"));
        let matches = command.try_get_matches_from(["serve"].iter().chain(args));
        let matches = matches.map_err(|error| error.to_string())?;
        ServerFlags::from_arg_matches(&matches).map_err(|error| error.to_string())
    }

    #[test]
    fn flags_become_values_of_their_settings() {
        let args =
            ["--depth", "9", "--cors-origin", "http://a,http://b", "--no-keys", "--adapter", "a", "--adapter", "b"];
        let config = config_of(&server_flags(&args).unwrap().0).unwrap();
        assert_eq!((config.search.depth.get(), config.server.cors_origins.len(), config.no_keys), (9, 2, true));
        assert_eq!(config.model.adapters, ["a", "b"].map(|text| text.parse().unwrap()));
    }

    #[test]
    fn a_bad_value_is_refused_by_its_flag() {
        for (args, parts) in [
            (["--depth", "0"], ["--depth", "zero"]),
            (["--device", "gpu"], ["--device", "`gpu` is not a device"]),
            (["--shadow", "qa:2"], ["--shadow", "the share must be above 0"]),
            (["--cache-url", "http://:sesame@localhost"], ["--cache-url", "must be a URL such as"]),
            (["--store", "mysql://ali:sesame@localhost"], ["--store", "must be a URL such as"]),
        ] {
            let error = server_flags(&args).unwrap_err();
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
            assert!(!error.contains("sesame"), "{error}");
        }
    }

    #[test]
    fn the_help_names_the_default() {
        let setting = |key: &str| ServerConfig::all_settings().find(|setting| setting.key == key).unwrap();
        for (key, end) in [
            ("search.depth", "[default: 100]"),
            ("model.device", "[default: auto]"),
            ("model.threads", "[default: one per core]"),
            ("no_keys", "firewall restricts access"),
        ] {
            assert!(help(setting(key)).ends_with(end), "{}", help(setting(key)));
        }
    }
}
