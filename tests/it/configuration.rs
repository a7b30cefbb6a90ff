//! `docs/configuration.md` is made from the settings that the program has.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use lorank::server::{ServerConfig, Setting};
use serde_json::Value;

const INTRODUCTION: &str = "\
# Configuration

This page is generated from the code.
After a change of a setting, `LORANK_UPDATE_DOCS=1 cargo test --test it configuration` writes it again.

A flag wins over its environment variable, the variable over the configuration file, and the file over the default.
An empty variable counts as unset.
`lorank serve --config lorank.toml` reads a file; [`examples/lorank.toml`](../examples/lorank.toml) has every key.
`lorank config show` prints the value of each setting and its source, and `lorank config check FILE` validates a file.
Unknown keys are refused.

The settings that are marked *live* are read again after SIGHUP.
";

/// The sections of the file, each with what its heading says.
const SECTIONS: [(&str, &str); 7] = [
    ("", "General"),
    ("elastic", "Search engine"),
    ("model", "Model"),
    ("search", "Search"),
    ("cache", "Score cache"),
    ("queue", "Queue"),
    ("server", "Client limits"),
];

#[test]
fn the_configuration_reference_is_that_of_the_program() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let page = page();
    if std::env::var_os("LORANK_UPDATE_DOCS").is_some_and(|value| !value.is_empty()) {
        fs::write(&path, &page).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap();
    assert!(written == page, "docs/configuration.md is out of date: run this test with LORANK_UPDATE_DOCS=1");
}

fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    let mut n_settings = 0;
    for (section, heading) in SECTIONS {
        let key = if section.is_empty() { String::new() } else { format!(": `[{section}]`") };
        write!(page, "\n## {heading}{key}\n\n| Key | Default | Flag and variable | Meaning |\n|---|---|---|---|\n")
            .unwrap();
        for setting in ServerConfig::all_settings().filter(|setting| section_of(setting) == section) {
            page.push_str(&row(setting));
            n_settings += 1;
        }
    }
    assert_eq!(n_settings, ServerConfig::all_settings().count(), "a section is missing in SECTIONS");
    page
}

fn section_of(setting: &Setting) -> &'static str {
    setting.key.split_once('.').map_or("", |(section, _)| section)
}

fn row(setting: &Setting) -> String {
    let key = setting.key.rsplit('.').next().unwrap();
    let flag =
        setting.flag.map_or_else(|| "file only".to_owned(), |flag| format!("`--{}`, `{}`", flag.name, flag.variable));
    let live = if setting.is_live { " *Live.*" } else { "" };
    let help = setting.help.trim().replace('|', "\\|");
    format!("| `{key}` | {} | {flag} | {help}.{live} |\n", default(setting))
}

fn default(setting: &Setting) -> String {
    let value = ServerConfig::default().values().remove(setting.key).unwrap_or_default();
    match (setting.unset, value) {
        (Some(words), Value::Null | Value::Array(_) | Value::Object(_)) => words.to_owned(),
        (None, Value::Array(values)) if values.is_empty() => "none".to_owned(),
        (_, Value::String(text)) => format!("`{text}`"),
        (_, value) => format!("`{value}`"),
    }
}
