//! The examples, run as they stand. Their `main` is public for this.

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
