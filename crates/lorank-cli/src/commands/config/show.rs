//! `lorank config show`: shows every setting with its value and source.

use std::io::Write;

use clap::{ArgMatches, Args};
use lorank_server::ServerConfig;
use serde_json::{Value, json};

use crate::commands::serve::ServeArgs;
use crate::config_file::ConfigFile;
use crate::flags::{GivenValues, Origin};
use crate::output::table::{self, Side};
use crate::output::{self, print_json};

/// Show every setting of `serve` with its value and source
///
/// Accepts the flags of `serve`. Precedence: flags, environment, configuration file, defaults. Keys are shown by name and role,
/// without their hashes.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    serve: ServeArgs,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Settings of the program that do not belong to the server, and their defaults. They only have flags.
const PROGRAM_SETTINGS: &[(&str, &str)] = &[
    ("log", "warn"),
    ("log_format", "text"),
    #[cfg(feature = "otlp")]
    ("otlp_endpoint", "(OTEL_EXPORTER_OTLP_ENDPOINT if set, else none)"),
];

/// A setting with its value and its source.
#[derive(Debug, PartialEq)]
struct Row {
    key: &'static str,
    value: Value,
    origin: Origin,
}

/// `matches` are those of this command, with the global flags.
pub(crate) fn run(args: &ShowArgs, matches: &ArgMatches) -> anyhow::Result<()> {
    let path = args.serve.config.as_deref();
    let file = ConfigFile::read(path)?;
    let path = path.map(|path| path.display().to_string()).unwrap_or_default();
    let mut rows = server_rows(&file, &path, &args.serve.flags.0)?;
    rows.extend(PROGRAM_SETTINGS.iter().map(|(key, default)| program_row(key, default, matches)));
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

fn server_rows(file: &ConfigFile, path: &str, given: &GivenValues) -> anyhow::Result<Vec<Row>> {
    let mut values = file.under(given)?.values();
    let row = |setting: &'static lorank_server::Setting| {
        let key = setting.key;
        let in_file = || file.has(key).then(|| Origin::File(path.to_owned()));
        let origin = given.origin(key).cloned().or_else(in_file).unwrap_or(Origin::Default);
        let value = values.remove(key).unwrap_or_default();
        let is_empty = value.is_null() || value == json!({}) || value == json!([]);
        let value = setting
            .unset
            .filter(|_| is_empty && origin == Origin::Default)
            .map_or(value, |words| format!("({words})").into());
        Row { key, value, origin }
    };
    Ok(ServerConfig::all_settings().map(row).collect())
}

fn program_row(key: &'static str, default: &str, matches: &ArgMatches) -> Row {
    let variable = format!("LORANK_{}", key.to_ascii_uppercase());
    let origin = Origin::of_given(matches, key, &key.replace('_', "-"), &variable);
    let given = |_: &Origin| Some(matches.get_raw(key)?.next()?.to_string_lossy().into_owned());
    let value = origin.as_ref().and_then(given).unwrap_or_else(|| default.to_owned());
    Row { key, value: value.into(), origin: origin.unwrap_or(Origin::Default) }
}

/// The value as text.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(values) if values.is_empty() => "none".to_owned(),
        Value::Array(values) => values.iter().map(text).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => match (fields.get("name"), fields.get("role")) {
            (Some(name), Some(role)) => format!("{} ({})", text(name), text(role)),
            _ => fields.iter().map(|(key, value)| format!("{key} = {}", text(value))).collect::<Vec<_>>().join(", "),
        },
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use clap::{Command, FromArgMatches};

    use super::*;
    use crate::logging::LogArgs;

    const KEY: &str = "[[keys]]\nname = 'shop'\nrole = 'search'\n\
                       hash = 'af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262'";

    /// The value and origin of a setting under a file and arguments.
    fn check(key: &str, file: &str, args: &[&str], value: Value, origin: &str) {
        let command = LogArgs::augment_args(ShowArgs::augment_args(Command::new("show")));
        let matches = command.get_matches_from(["show"].iter().chain(args));
        let args = ShowArgs::from_arg_matches(&matches).unwrap();
        let mut rows = server_rows(&ConfigFile::parse(file).unwrap(), "f.toml", &args.serve.flags.0).unwrap();
        rows.extend(PROGRAM_SETTINGS.iter().map(|(key, default)| program_row(key, default, &matches)));
        let row = rows.iter().find(|row| row.key == key).unwrap();
        assert_eq!((&row.value, row.origin.to_string().as_str()), (&value, origin), "{key}");
    }

    #[test]
    fn a_value_comes_from_the_flag_the_file_or_the_default() {
        check("search.depth", "", &[], json!(100), "default");
        check("search.depth", "[search]\ndepth = 7", &[], json!(7), "file f.toml");
        check("search.depth", "[search]\ndepth = 7", &["--depth", "9"], json!(9), "flag --depth");
        check("model.threads", "", &[], json!("(one per core)"), "default");
        check("model.adapters", "", &["--adapter", "a"], json!(["a"]), "flag --adapter");
        check(
            "server.cors_origins",
            "",
            &["--cors-origin", "http://a,http://b"],
            json!(["http://a", "http://b"]),
            "flag --cors-origin",
        );
        check("no_keys", "", &["--no-keys"], json!(true), "flag --no-keys");
        check("no_keys", "", &[], json!(false), "default");
        check("data", "", &["--data", "d"], json!("d"), "flag --data");
        check("log", "", &["--log", "info"], json!("info"), "flag --log");
        check("log", "", &[], json!("warn"), "default");
        check("aliases", "[aliases]\na = 'b'", &[], json!({"a": "b"}), "file f.toml");
        check("aliases", "", &[], json!("(none)"), "default");
        check("keys", "", &[], json!("(none)"), "default");
        check("shadows", "", &[], json!([]), "default");
    }

    #[test]
    fn hashes_of_keys_stay_where_they_are() {
        check("keys", KEY, &[], json!([{"name": "shop", "role": "search"}]), "file f.toml");
        assert_eq!(text(&json!([{"name": "shop", "role": "search"}])), "shop (search)");
    }
}
