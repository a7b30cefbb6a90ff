//! The examples, run as they stand. Their `main` is public for this.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

#[path = "../../examples/async_search.rs"]
mod async_search;
#[path = "../../examples/basic_search/main.rs"]
mod basic_search;
#[path = "../../examples/embed.rs"]
mod embed;
#[path = "../../examples/embedded_server.rs"]
mod embedded_server;
#[path = "../../examples/evaluate.rs"]
mod evaluate;
#[path = "../../examples/experiment.rs"]
mod experiment;
#[path = "../../examples/own_server.rs"]
mod own_server;
#[path = "../../examples/own_stages.rs"]
mod own_stages;
#[path = "../../examples/swap_adapters.rs"]
mod swap_adapters;
#[path = "../../examples/threads.rs"]
mod threads;

#[test]
fn async_search() {
    async_search::main().unwrap();
}

#[test]
fn basic_search() {
    basic_search::main().unwrap();
}

#[test]
fn embed() {
    embed::main().unwrap();
}

#[test]
fn embedded_server() {
    embedded_server::main().unwrap();
}

#[test]
fn evaluate() {
    evaluate::main().unwrap();
}

#[test]
fn experiment() {
    experiment::main().unwrap();
}

#[test]
fn own_server() {
    own_server::main().unwrap();
}

#[test]
fn own_stages() {
    own_stages::main().unwrap();
}

#[test]
fn swap_adapters() {
    swap_adapters::main().unwrap();
}

#[test]
fn threads() {
    threads::main().unwrap();
}

/// The features that a text in quotation marks and commas names.
fn quoted(list: &str) -> BTreeSet<&str> {
    list.split('"').skip(1).step_by(2).collect()
}

/// What a feature brings with it, itself among them.
fn with_implied<'a>(feature: &'a str, manifest: &'a str) -> BTreeSet<&'a str> {
    let line = manifest.lines().find_map(|line| line.strip_prefix(feature)?.strip_prefix(" = ["));
    let implied = line.map(quoted).unwrap_or_default().into_iter().filter(|name| !name.contains([':', '/']));
    implied.flat_map(|name| with_implied(name, manifest)).chain([feature]).collect()
}

/// The modules of `lorank` that a build without their feature does not have are those whose feature the manifest requires. So each example
/// builds with what its entry names, which another build for each would show more slowly.
#[test]
fn examples_require_the_features_that_they_use() {
    let read = |path: &str| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    let (manifest, library) = (read("Cargo.toml"), read("src/lib.rs"));
    let gates = library.split("#[cfg(feature = \"").skip(1).map(|rest| {
        let (feature, rest) = rest.split_once("\")]\npub use ").unwrap();
        let module = rest.split_once(" as ").and_then(|(_, rest)| rest.split_once(';')).unwrap().0;
        (module, feature)
    });
    let gates: Vec<(&str, &str)> = gates.collect();
    assert!(gates.len() >= 5, "{gates:?}");
    let required_by = |name: &str| {
        let entry = manifest.split("[[example]]\n").find(|entry| entry.starts_with(&format!("name = \"{name}\"")));
        let features = entry.and_then(|entry| entry.lines().nth(1)?.strip_prefix("required-features = "));
        features.map(quoted).unwrap_or_default()
    };
    let mut n_examples = 0;
    for file in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = match path.extension() {
            Some(extension) if extension == "rs" => fs::read_to_string(&path).unwrap(),
            None if path.join("main.rs").exists() => {
                ["main.rs", "before.rs", "after.rs"].map(|file| fs::read_to_string(path.join(file)).unwrap()).concat()
            }
            _ => continue,
        };
        let is_used = |module: &str| {
            text.split("lorank::").skip(1).any(|rest| {
                let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
                rest[..end] == *module
            })
        };
        let needed: BTreeSet<&str> =
            gates.iter().filter(|(module, _)| is_used(module)).map(|(_, feature)| *feature).collect();
        let required = required_by(&name);
        let given: BTreeSet<&str> = required.iter().flat_map(|feature| with_implied(feature, &manifest)).collect();
        assert!(needed.is_subset(&given), "{name} needs {needed:?}, and its entry requires {required:?}");
        n_examples += 1;
    }
    assert!(n_examples >= 10, "{n_examples}");
}

/// The lines that only one of two texts has, those of the first with `-` before them and those of the second with `+`, in
/// the order of a diff: what is not in the longest common subsequence.
fn difference(before: &str, after: &str) -> Vec<String> {
    let (before, after): (Vec<_>, Vec<_>) = (before.lines().collect(), after.lines().collect());
    let mut n_common = vec![vec![0; after.len() + 1]; before.len() + 1];
    for b in (0..before.len()).rev() {
        for a in (0..after.len()).rev() {
            let if_one_is_left_out = n_common[b + 1][a].max(n_common[b][a + 1]);
            n_common[b][a] = if before[b] == after[a] { n_common[b + 1][a + 1] + 1 } else { if_one_is_left_out };
        }
    }
    let (mut b, mut a, mut lines) = (0, 0, Vec::new());
    while b < before.len() || a < after.len() {
        if b < before.len() && a < after.len() && before[b] == after[a] {
            (b, a) = (b + 1, a + 1);
        } else if a == after.len() || (b < before.len() && n_common[b + 1][a] >= n_common[b][a + 1]) {
            lines.push(format!("-{}", before[b]));
            b += 1;
        } else {
            lines.push(format!("+{}", after[a]));
            a += 1;
        }
    }
    lines
}

/// The program of the crate's page is compiled as a doc test, so what the guide shows compiles word for word.
#[test]
fn the_guide_shows_the_program_of_the_crates_page() {
    let read = |path: &str| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    let page = read("src/lib.rs");
    let lines = page.lines().skip_while(|line| *line != "//! ```no_run").skip(1).take_while(|line| *line != "//! ```");
    let program: String = lines.map(|line| format!("{}\n", line.strip_prefix("//! ").unwrap_or_default())).collect();
    assert!(program.contains("fn main()"), "{program}");
    let guide = read("docs/embedding.md");
    let shown: Vec<&str> = guide.split("```rust\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert_eq!(shown, [program]);
}

/// The README's Rust block consists of lines of an example, which compiles.
#[test]
fn the_readme_shows_lines_of_an_example() {
    let read = |path: &str| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    let (readme, example) = (read("README.md"), read("examples/basic_search/after.rs"));
    let block = readme.lines().skip_while(|line| !line.starts_with("    let ")).take_while(|line| !line.is_empty());
    let block: Vec<&str> = block.map(|line| line.strip_prefix("    ").unwrap()).collect();
    assert!(block.len() >= 4 && block.iter().any(|line| line.contains("RerankCollector::new")), "{block:#?}");
    for line in block {
        assert!(example.lines().any(|known| known.trim() == line.trim()), "`{line}` is in no example");
    }
}

#[test]
fn the_guide_shows_what_a_tantivy_application_changes() {
    let read = |path: &str| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    let changed = difference(&read("examples/basic_search/before.rs"), &read("examples/basic_search/after.rs"));
    assert!(changed.len() <= 15, "{} lines: {changed:#?}", changed.len());
    let guide = read("docs/embedding.md");
    let (_, from_diff) = guide.split_once("```diff\n").expect("the guide shows a diff");
    let shown: Vec<&str> =
        from_diff.lines().take_while(|line| *line != "```").filter(|line| !line.is_empty()).collect();
    assert_eq!(shown, changed);
}
