//! `lorank config show`: every setting, its value, and where that comes from.

use std::ffi::OsStr;
use std::fmt;
use std::io::Write;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command, CommandFactory};
use serde_json::{Value as Json, json};
use toml::Value;

use crate::args::Cli;
use crate::commands::serve::ServeArgs;
use crate::config::ConfigFile;
use crate::output::table::{self, Side};
use crate::output::{self, print_json};
use crate::settings::{SETTINGS, Said, Setting, Unset};

/// Show every setting of `serve`, its value, and where that comes from
///
/// It takes the flags of `serve`. Flags win over the environment, that over the file, and that over the defaults. Keys are
/// shown by name and role, without their hashes.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    serve: ServeArgs,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// A setting as it is.
#[derive(Debug, PartialEq)]
struct Row {
    key: &'static str,
    value: Json,
    origin: Origin,
}

/// Where a value comes from.
#[derive(Debug, PartialEq)]
enum Origin {
    Default,
    File(String),
    Environment(String),
    Flag(&'static str),
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

pub(crate) fn run(args: &ShowArgs) -> anyhow::Result<()> {
    let mut said = Said::default();
    let path = args.serve.config.as_deref();
    if let Some(path) = path {
        ConfigFile::read(path)?.server(&args.serve.limits)?;
        said = Said::read(path)?;
    }
    let path = path.map(|path| path.display().to_string()).unwrap_or_default();
    // The arguments are read once more: a parsed value does not tell where it came from.
    let (command, matches) = (Cli::command(), Cli::command().get_matches_from(std::env::args_os()));
    let matches = matches.subcommand_matches("config").and_then(|matches| matches.subcommand_matches("show"));
    let matches = matches.expect("it is this command that runs");
    let rows: Vec<Row> = SETTINGS.iter().map(|setting| row(setting, &command, matches, (&said, &path))).collect();
    if args.json {
        let row = |row: &Row| json!({"key": row.key, "value": row.value, "origin": row.origin.to_string()});
        return print_json(&rows.iter().map(row).collect::<Vec<_>>());
    }
    let mut out = output::stdout();
    let headings = [("setting", Side::Left), ("value", Side::Left), ("from", Side::Left)];
    let cells: Vec<[String; 3]> =
        rows.iter().map(|row| [row.key.to_owned(), text(&row.value), row.origin.to_string()]).collect();
    write!(out, "{}", table::render(headings, &cells))?;
    Ok(out.flush()?)
}

fn row(setting: &Setting, command: &Command, matches: &ArgMatches, (said, path): (&Said, &str)) -> Row {
    let key = setting.key;
    if let Some((value, origin)) = setting.flag.and_then(|flag| given(flag, command, matches)) {
        return Row { key, value, origin };
    }
    if let Some(value) = said.get(key) {
        return Row { key, value: shown(key, value), origin: Origin::File(path.to_owned()) };
    }
    let value = match setting.default {
        Unset::Is(text) => toml::from_str::<toml::Table>(&format!("it = {text}"))
            .ok()
            .and_then(|table| serde_json::to_value(&table["it"]).ok())
            .expect("defaults are TOML: a test reads them all"),
        Unset::Words(words) => format!("({words})").into(),
    };
    Row { key, value, origin: Origin::Default }
}

/// The value of a flag that was given, on the command line or in the environment.
fn given(flag: &'static str, command: &Command, matches: &ArgMatches) -> Option<(Json, Origin)> {
    let arguments = command.find_subcommand("serve").expect("there is such a command").get_arguments();
    let argument = arguments.chain(command.get_arguments()).find(|argument| argument.get_long() == Some(flag))?;
    let id = argument.get_id().as_str();
    let origin = match matches.value_source(id)? {
        ValueSource::CommandLine => Origin::Flag(flag),
        ValueSource::EnvVariable => {
            Origin::Environment(argument.get_env().unwrap_or_default().to_string_lossy().into_owned())
        }
        _ => return None,
    };
    let read = |raw: &OsStr| {
        let text = raw.to_string_lossy().into_owned();
        text.parse::<u64>().map(Json::from).or_else(|_| text.parse::<bool>().map(Json::from)).unwrap_or(text.into())
    };
    let mut values: Vec<Json> = matches.get_raw(id)?.map(read).collect();
    let is_list = argument.get_action().takes_values() && argument.get_num_args().is_some_and(|n| n.max_values() > 1);
    let is_list = is_list || matches!(argument.get_action(), clap::ArgAction::Append);
    let value = if !is_list && values.len() == 1 { values.remove(0) } else { Json::Array(values) };
    Some((value, origin))
}

/// The value as it may be shown: a hash is no key, but nobody has to see it.
fn shown(key: &str, value: &Value) -> Json {
    let (true, Value::Array(keys)) = (key == "keys", value) else {
        return serde_json::to_value(value).unwrap_or_default();
    };
    let name_and_role = |key: &Value| json!({"name": key.get("name"), "role": key.get("role")});
    keys.iter().map(name_and_role).collect()
}

/// The value for people.
fn text(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        Json::Array(values) if values.is_empty() => "none".to_owned(),
        Json::Array(values) => values.iter().map(text).collect::<Vec<_>>().join(", "),
        Json::Object(fields) => match (fields.get("name"), fields.get("role")) {
            (Some(name), Some(role)) => format!("{} ({})", text(name), text(role)),
            _ => fields.iter().map(|(key, value)| format!("{key} = {}", text(value))).collect::<Vec<_>>().join(", "),
        },
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The value and origin of a setting under a file and arguments.
    fn check(key: &str, file: &str, args: &[&str], value: Json, origin: &str) {
        let command = Cli::command();
        let args = ["lorank", "config", "show"].into_iter().chain(args.iter().copied());
        let matches = command.clone().get_matches_from(args);
        let matches = matches.subcommand_matches("config").unwrap().subcommand_matches("show").unwrap();
        let said = Said::of(&file.parse().unwrap());
        let setting = SETTINGS.iter().find(|setting| setting.key == key).unwrap();
        let row = row(setting, &command, matches, (&said, "f.toml"));
        assert_eq!((row.value, row.origin.to_string().as_str()), (value, origin), "{key}");
    }

    #[test]
    fn a_value_comes_from_the_flag_the_file_or_the_default() {
        check("search.depth", "", &[], json!(100), "default");
        check("search.depth", "[search]\ndepth = 7", &[], json!(7), "file f.toml");
        check("search.depth", "[search]\ndepth = 7", &["--depth", "9"], json!(9), "flag --depth");
        check("model.threads", "", &[], json!("(one a core)"), "default");
        check("model.adapters", "", &["--adapter", "a"], json!(["a"]), "flag --adapter");
        check(
            "server.cors_origins",
            "",
            &["--cors-origin", "http://a,http://b"],
            json!(["http://a", "http://b"]),
            "flag --cors-origin",
        );
        check("no_keys", "", &["--no-keys"], json!(true), "flag --no-keys");
        check("data", "", &["--data", "d"], json!("d"), "flag --data");
        check("log", "", &["--log", "info"], json!("info"), "flag --log");
        check("aliases", "[aliases]\na = 'b'", &[], json!({"a": "b"}), "file f.toml");
    }

    #[test]
    fn hashes_of_keys_stay_where_they_are() {
        let file = "[[keys]]\nname = 'shop'\nrole = 'search'\nhash = 'af13'";
        check("keys", file, &[], json!([{"name": "shop", "role": "search"}]), "file f.toml");
        assert_eq!(text(&json!([{"name": "shop", "role": "search"}])), "shop (search)");
    }
}
