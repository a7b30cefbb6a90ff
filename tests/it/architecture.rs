//! The crate graph and the invariants that a compiler does not hold. `ARCHITECTURE.md` tells the reasons.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// For tests alone; it may use the crates of level 0, and only as a dev-dependency may it be used.
const TESTING: &str = "lorank-testing";

/// The crates that may hold unsafe code. Their own manifests deny a block without a `SAFETY` line.
const UNSAFE: &[&str] = &["lorank-kernels", "lorank-cuda"];

/// A family of dependencies (a trailing `*` stands for any ending) and the crates that may name it.
const OWNERS: &[(&str, &[&str])] = &[
    ("tantivy*", &["lorank-tantivy"]),
    ("candle-*", &["lorank-model"]),
    ("cudarc", &["lorank-cuda"]),
    ("libloading", &["lorank-cuda"]),
    ("tokenizers", &["lorank-model"]),
    ("hf-hub", &["lorank-model"]),
    ("safetensors", &["lorank-model", "lorank-train", TESTING]),
    ("axum*", &["lorank-http"]),
    ("hyper*", &["lorank-http"]),
    ("tower*", &["lorank-http"]),
    ("utoipa*", &["lorank-http"]),
    ("clap*", &["lorank-cli"]),
    ("toml*", &["lorank-cli"]),
    ("anyhow", &["lorank-cli"]),
    ("tokio", &["lorank-http", "lorank-server", "lorank-cli", "lorank-object-registry"]),
    ("object_store", &["lorank-object-registry"]),
    ("redis", &["lorank-cache"]),
    ("postgres", &["lorank-experiment-store"]),
    ("tokio-postgres*", &["lorank-experiment-store"]),
    ("rusqlite", &["lorank-experiment-store"]),
    ("pyo3*", &["lorank-python"]),
    ("ureq", &["lorank-cli", "lorank-elastic", "lorank-object-registry"]),
    ("opentelemetry*", &["lorank-cli"]),
    ("tracing-opentelemetry", &["lorank-cli"]),
    (
        "serde*",
        &[
            "lorank-http",
            "lorank-server",
            "lorank-cli",
            "lorank-tantivy",
            "lorank-elastic",
            "lorank-model",
            "lorank-adapters",
            "lorank-eval",
            "lorank-train",
            "lorank-experiments",
            "lorank-experiment-store",
            "lorank-starter",
            "lorank-python",
            TESTING,
        ],
    ),
];

#[derive(Debug, PartialEq, Clone, Copy)]
enum Kind {
    Normal,
    Dev,
}

struct Package {
    folder: PathBuf,
    dependencies: Vec<(String, Kind)>,
}

/// The crates of the workspace with the dependencies that their manifests declare, optional ones too.
fn packages() -> BTreeMap<String, Package> {
    let mut command = Command::new(env!("CARGO"));
    command.args(["metadata", "--no-deps", "--offline", "--format-version=1"]).current_dir(root());
    let output = command.output().expect("cargo runs, it has built this test");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap().iter();
    packages.map(|package| (text(&package["name"]), read_package(package))).collect()
}

fn read_package(package: &Value) -> Package {
    let folder = Path::new(&text(&package["manifest_path"])).parent().unwrap().to_owned();
    let dependencies = package["dependencies"].as_array().unwrap().iter();
    let kind = |dependency: &Value| match dependency["kind"].as_str() {
        Some("dev") => Kind::Dev,
        _ => Kind::Normal,
    };
    let dependencies = dependencies.map(|dependency| (text(&dependency["name"]), kind(dependency))).collect();
    Package { folder, dependencies }
}

fn text(value: &Value) -> String {
    value.as_str().expect("a string in cargo's metadata").to_owned()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The level of each crate, as the picture in `ARCHITECTURE.md` has it. A crate uses only crates of lower levels, so crates
/// of one level never use each other.
fn levels() -> BTreeMap<String, u8> {
    let mut levels = BTreeMap::new();
    let mut level = None;
    for line in architecture().lines().filter_map(|line| line.strip_prefix("    ")) {
        let mut words = line.split_whitespace().peekable();
        if let Some(label) = words.next_if(|word| *word == "dev" || word.strip_prefix('L').is_some_and(is_number)) {
            level = label.strip_prefix('L').and_then(|number| number.parse().ok());
        }
        let name = words.next().filter(|word| *word == "lorank" || word.starts_with("lorank-"));
        if let (Some(name), Some(level)) = (name, level) {
            assert_eq!(levels.insert(name.to_owned(), level), None, "{name} stands in the picture twice");
        }
    }
    levels
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn architecture() -> String {
    fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap()
}

#[test]
fn every_crate_stands_in_the_picture() {
    let (levels, packages) = (levels(), packages());
    let expected: BTreeSet<&str> = levels.keys().map(String::as_str).chain([TESTING]).collect();
    assert_eq!(packages.keys().map(String::as_str).collect::<BTreeSet<_>>(), expected);
    for (name, package) in packages.iter().filter(|(name, _)| *name != "lorank") {
        assert!(package.folder.ends_with(Path::new("crates").join(name)), "{name} is in {}", package.folder.display());
    }
}

#[test]
fn crates_use_only_lower_levels() {
    let (levels, mut wrong) = (levels(), Vec::new());
    for (name, package) in packages() {
        for (dependency, kind) in package.dependencies {
            let is_allowed = match (levels.get(&name), levels.get(&dependency)) {
                (Some(_), None) if dependency == TESTING => kind == Kind::Dev,
                (Some(user), Some(used)) => user > used,
                (None, Some(used)) => *used == 0,
                (_, None) => true,
            };
            if !is_allowed {
                wrong.push(format!("{name} -> {dependency} ({kind:?})"));
            }
        }
    }
    assert_eq!(wrong, [""; 0]);
}

/// The files and folders that `ARCHITECTURE.md` sends its readers to exist. A name without a folder stands in that of the
/// name before it.
#[test]
fn the_paths_in_architecture_exist() {
    let (mut missing, mut n_found) = (Vec::new(), 0);
    for line in architecture().lines().filter(|line| line.starts_with("| ")) {
        let mut folder = None;
        for path in line.split('`').skip(1).step_by(2).filter(|word| word.ends_with(".rs") || word.ends_with('/')) {
            let full = if path.contains('/') && root().join(path).exists() {
                folder = Path::new(path).parent().map(Path::to_owned);
                root().join(path)
            } else {
                let Some(folder) = &folder else {
                    missing.push(path.to_owned());
                    continue;
                };
                root().join(folder).join(path)
            };
            n_found += 1;
            if !full.exists() {
                missing.push(full.display().to_string());
            }
        }
    }
    assert_eq!(missing, [""; 0]);
    assert!(n_found > 50, "the search finds what there is to find: {n_found}");
}

#[test]
fn heavy_dependencies_have_one_owner() {
    let mut wrong = Vec::new();
    for (name, package) in packages() {
        for (dependency, _) in package.dependencies.iter().filter(|(_, kind)| *kind == Kind::Normal) {
            let owners = OWNERS.iter().find(|(family, _)| is_of(family, dependency)).map(|(_, owners)| *owners);
            if owners.is_some_and(|owners| !owners.contains(&name.as_str())) {
                wrong.push(format!("{name} -> {dependency}"));
            }
        }
    }
    assert_eq!(wrong, [""; 0]);
}

fn is_of(family: &str, dependency: &str) -> bool {
    match family.strip_suffix('*') {
        Some(start) => dependency.starts_with(start),
        None => dependency == family,
    }
}

/// What a program gets that embeds the library: `default-features = false`.
#[test]
fn an_embedder_compiles_no_server_no_command_line_no_database_and_no_starter() {
    let arguments = "tree --package lorank --no-default-features --edges normal --prefix none --offline --format {p}";
    let output = Command::new(env!("CARGO")).args(arguments.split(' ')).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    let names: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(names.contains("tantivy") && names.contains("candle-core"), "the tree is what it should be: {tree}");
    let unwanted = [
        "axum",
        "hyper",
        "tokio",
        "clap",
        "rusqlite",
        "libsqlite3-sys",
        "redis",
        "postgres",
        "lorank-experiment-store",
        "lorank-starter",
        "lorank-http",
        "lorank-server",
        "lorank-cli",
    ];
    assert_eq!(unwanted.into_iter().filter(|name| names.contains(name)).collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn core_has_plain_values_only() {
    let core = &packages()["lorank-core"];
    let normal: Vec<_> = core.dependencies.iter().filter(|(_, kind)| *kind == Kind::Normal).collect();
    let expected = ["strsim", "thiserror", "time"].map(|name| (name.to_owned(), Kind::Normal));
    assert_eq!(normal, expected.each_ref(), "no serialisation, no IO, no async in lorank-core");
}

#[test]
fn experiments_have_no_store_no_io_no_threads_and_no_clock() {
    let experiments = &packages()["lorank-experiments"];
    let users = ["rusqlite", "tracing", "tokio", "rayon", "csv"];
    let used: Vec<_> = experiments.dependencies.iter().filter(|(name, _)| users.contains(&name.as_str())).collect();
    assert_eq!(used, [] as [&(String, Kind); 0]);
    let ambient = ["fs", "io", "net", "process", "thread", "time"].map(|module| format!("std::{module}"));
    let source = experiments.folder.join("src");
    let sources: Vec<PathBuf> = files(".rs").into_iter().filter(|path| path.starts_with(&source)).collect();
    assert!(sources.len() > 10, "the search finds what there is to find");
    let is_ambient = |line: &str| !is_comment(line) && ambient.iter().any(|module| line.contains(module.as_str()));
    assert_eq!(lines_with(&sources, is_ambient), [""; 0]);
}

#[test]
fn every_crate_takes_the_workspace_lints() {
    for (name, package) in packages().into_iter().filter(|(name, _)| !UNSAFE.contains(&name.as_str())) {
        let manifest = fs::read_to_string(package.folder.join("Cargo.toml")).unwrap();
        assert!(manifest.contains("[lints]\nworkspace = true"), "{name} goes without the workspace's lints");
    }
}

#[test]
fn only_the_kernels_are_unsafe() {
    let openings = ["{", "fn", "impl", "trait", "extern"].map(|what| format!("{} {what}", concat!("un", "safe")));
    let is_unsafe = |line: &str| !is_comment(line) && openings.iter().any(|opening| line.contains(opening.as_str()));
    let is_of = |path: &Path, name: &str| path.components().any(|part| part.as_os_str() == name);
    let (kernels, others): (Vec<PathBuf>, Vec<PathBuf>) =
        files(".rs").into_iter().partition(|path| UNSAFE.iter().any(|name| is_of(path, name)));
    assert_eq!(lines_with(&others, is_unsafe), [""; 0]);
    for name in UNSAFE {
        let own: Vec<PathBuf> = kernels.iter().filter(|path| is_of(path, name)).cloned().collect();
        assert!(!lines_with(&own, is_unsafe).is_empty(), "the search finds what there is to find in {name}");
        let manifest = fs::read_to_string(packages()[*name].folder.join("Cargo.toml")).unwrap();
        assert!(manifest.contains("undocumented_unsafe_blocks = \"deny\""), "{name}");
    }
}

#[test]
fn only_the_command_line_reads_the_environment() {
    let readers = [concat!("env::", "var"), concat!("env::", "home_dir")];
    let is_elsewhere = |path: &PathBuf| {
        let path = path.to_string_lossy();
        let is_test = path.contains("src/tests");
        path.contains("src/") && !is_test && !path.contains("lorank-cli/") && !path.contains("lorank-testing/")
    };
    let sources: Vec<PathBuf> = files(".rs").into_iter().filter(is_elsewhere).collect();
    assert!(!sources.is_empty());
    let reads = |line: &str| !is_comment(line) && readers.iter().any(|reader| line.contains(reader));
    assert_eq!(lines_with(&sources, reads), [""; 0]);
}

#[test]
fn the_project_stands_alone() {
    let neighbour = concat!("../", "shared");
    assert_eq!(lines_with(&files(""), |line| line.contains(neighbour)), [""; 0]);
}

/// `path:line: text` of every line that `is_wrong`, in files that are text.
fn lines_with(paths: &[PathBuf], is_wrong: impl Fn(&str) -> bool) -> Vec<String> {
    let mut wrong = Vec::new();
    for path in paths {
        let Ok(content) = fs::read_to_string(path) else { continue };
        for (n, line) in content.lines().enumerate().filter(|(_, line)| is_wrong(line)) {
            let path = path.strip_prefix(root()).unwrap_or(path);
            wrong.push(format!("{}:{}: {}", path.display(), n + 1, line.trim()));
        }
    }
    wrong
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with("//")
}

/// The project's files whose names end in `ending`. Build outputs and hidden folders other than `.ci` are not the project's.
fn files(ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_foreign = name == "target" || (name.starts_with('.') && name != ".ci");
            match entry.file_type().unwrap() {
                kind if kind.is_dir() && !is_foreign => folders.push(entry.path()),
                kind if kind.is_file() && name.ends_with(ending) => found.push(entry.path()),
                _ => {}
            }
        }
    }
    found.sort();
    found
}
