//! No import cycles between the files of a crate: each file can be read with only those that it builds on.
//!
//! A file depends on another one of its crate where it imports an item that the other one defines (`use crate::a::Item`), or
//! names one by a path (`super::a::item()`). Re-exports are followed to the file that defines the item, so importing from the
//! crate's root depends on that file and not on `lib.rs`. Not a dependency are:
//!
//! - `mod a;` and `pub use a::Item;`, by which a parent only shows what its children define;
//! - what a module's own file uses of the files in its folder. A module with its folder is one unit to the rest of the crate:
//!   the children build on what the module defines, and the module puts them together;
//! - code under `#[cfg(test)]`.
//!
//! The sources are read as text, without a parser for Rust: comments and literals are blanked, then `use` trees and paths are
//! looked up. A path that is made by a macro is not seen.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The names on the way from a crate's root to a module.
type ModulePath = Vec<String>;

/// A file of a crate.
#[derive(Debug)]
struct SourceFile {
    /// Below `src`, for messages.
    name: String,
    /// The code without comments, literals and tests.
    code: String,
    /// The names of the items that it defines.
    defined: BTreeSet<String>,
    imports: Vec<Import>,
}

/// One name that a `use` brings in.
#[derive(Debug, PartialEq)]
struct Import {
    is_reexport: bool,
    path: Vec<String>,
    /// The name that it has here; `*` for all names.
    name: String,
}

/// The files of a crate by their modules.
type Files = BTreeMap<ModulePath, SourceFile>;

#[test]
fn files_of_a_crate_have_no_import_cycles() {
    let mut wrong = Vec::new();
    for (name, root) in crates() {
        let files = read_crate(&root);
        assert!(files.len() > 1 || name == "lorank-starter" || name == "lorank", "{name}: {files:?}");
        let edges = dependencies(&files);
        for cycle in cycles(&edges) {
            let within = |file: &str| edges[file].intersection(&cycle).cloned().collect::<Vec<_>>().join(", ");
            let lines = cycle.iter().map(|file| format!("\n    {file} uses {}", within(file)));
            wrong.push(format!("{name}:{}", lines.collect::<String>()));
        }
    }
    assert!(wrong.is_empty(), "import cycles between files:\n{}", wrong.join("\n"));
}

/// The names and source folders of the crates.
fn crates() -> Vec<(String, PathBuf)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut crates = vec![("lorank".to_owned(), root.join("src"))];
    for entry in fs::read_dir(root.join("crates")).unwrap().map(Result::unwrap) {
        crates.push((entry.file_name().into_string().unwrap(), entry.path().join("src")));
    }
    crates.sort();
    crates
}

fn read_crate(src: &Path) -> Files {
    let mut files = Files::new();
    read_module(src, &src.join("lib.rs"), Vec::new(), &mut files);
    files
}

fn read_module(src: &Path, path: &Path, module: ModulePath, files: &mut Files) {
    let code = without_tests(&without_comments_and_literals(&fs::read_to_string(path).unwrap()));
    let is_face_of_folder = path.file_stem().is_some_and(|stem| stem == "mod" || stem == "lib");
    let folder = if is_face_of_folder { path.parent().unwrap().to_owned() } else { path.with_extension("") };
    let words: Vec<&str> = tokens(&code).collect();
    for window in words.windows(3).filter(|window| window[0] == "mod" && window[2] == ";") {
        let candidates = [folder.join(format!("{}.rs", window[1])), folder.join(window[1]).join("mod.rs")];
        if let Some(child) = candidates.iter().find(|path| path.exists()) {
            read_module(src, child, [module.clone(), vec![window[1].to_owned()]].concat(), files);
        }
    }
    let name = path.strip_prefix(src).unwrap().to_string_lossy().into_owned();
    let (defined, imports) = (defined(&words), imports(&words));
    files.insert(module, SourceFile { name, code, defined, imports });
}

/// The code with a space for each comment and `""` for each literal text.
fn without_comments_and_literals(text: &str) -> String {
    let (mut code, mut rest) = (String::new(), text);
    while let Some(c) = rest.chars().next() {
        let is_in_word = code.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let raw = rest.strip_prefix('r').map(|rest| rest.trim_start_matches('#')).filter(|_| !is_in_word);
        let n_bytes = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |at| at + 2)
        } else if let Some(content) = raw.and_then(|raw| raw.strip_prefix('"')) {
            let n_hashes = rest.len() - content.len() - 2;
            let end = format!("\"{}", "#".repeat(n_hashes));
            code.push_str("\"\"");
            rest.len() - content.len() + content.find(&end).map_or(content.len(), |at| at + end.len())
        } else if c == '"' {
            code.push_str("\"\"");
            1 + end_of_literal(&rest[1..], '"')
        } else if let Some(n_bytes) = char_literal(rest) {
            code.push_str("\"\"");
            n_bytes
        } else {
            code.push(c);
            c.len_utf8()
        };
        if rest.starts_with('/') && n_bytes > 1 {
            code.push(' ');
        }
        rest = &rest[n_bytes..];
    }
    code
}

/// The bytes up to the end of a literal, its closing quote included.
fn end_of_literal(content: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (at, c) in content.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            c if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    content.len()
}

/// The bytes of a literal character; a lifetime is none.
fn char_literal(text: &str) -> Option<usize> {
    let content = text.strip_prefix('\'')?;
    let first = content.chars().next()?;
    let is_literal = first == '\\' || content[first.len_utf8()..].starts_with('\'');
    is_literal.then(|| 1 + end_of_literal(content, '\''))
}

/// The code without the items under `#[cfg(test)]`.
fn without_tests(code: &str) -> String {
    const TEST: &str = "#[cfg(test)]";
    let (mut kept, mut rest) = (String::new(), code);
    while let Some((before, item)) = rest.split_once(TEST) {
        kept.push_str(before);
        let mut depth = 0;
        let ends = |c: char| {
            depth += i32::from(c == '{') - i32::from(c == '}');
            depth == 0 && matches!(c, ';' | '}')
        };
        rest = item.find(ends).map_or("", |at| &item[at + 1..]);
    }
    kept + rest
}

/// Words (`::` is one) and single characters.
fn tokens(code: &str) -> impl Iterator<Item = &str> {
    let mut rest = code;
    std::iter::from_fn(move || {
        rest = rest.trim_start();
        let first = rest.chars().next()?;
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let n_bytes = if is_word(first) {
            rest.find(|c| !is_word(c)).unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        let (token, after) = rest.split_at(n_bytes);
        rest = after;
        Some(token)
    })
}

fn defined(words: &[&str]) -> BTreeSet<String> {
    const ITEMS: [&str; 8] = ["fn", "struct", "enum", "trait", "type", "const", "static", "union"];
    let of_macro = words.windows(3).filter(|words| words[0] == "macro_rules").map(|words| words[2]);
    let of_item = words.windows(2).filter(|words| ITEMS.contains(&words[0])).map(|words| words[1]);
    of_item.chain(of_macro).map(str::to_owned).collect()
}

fn imports(words: &[&str]) -> Vec<Import> {
    let mut imports = Vec::new();
    for (at, _) in words.iter().enumerate().filter(|(_, word)| **word == "use") {
        // `pub use` and `pub(crate) use`; a `use` that stands after anything else is private.
        let is_reexport = at > 0 && (words[at - 1] == "pub" || words[at - 1] == ")");
        let end = words[at..].iter().position(|word| *word == ";").map_or(words.len(), |n| at + n);
        read_use_tree(&words[at + 1..end], &[], is_reexport, &mut imports);
    }
    imports
}

/// Reads `a::b`, `a::b as c`, `a::*`, `a::{b, c::d}`.
fn read_use_tree(words: &[&str], before: &[String], is_reexport: bool, imports: &mut Vec<Import>) {
    let mut path = before.to_vec();
    let mut rest = words;
    while let [word, after @ ..] = rest {
        match *word {
            "{" => {
                for branch in branches(&after[..after.len().saturating_sub(1)]) {
                    read_use_tree(branch, &path, is_reexport, imports);
                }
                return;
            }
            "::" => {}
            "as" => {
                let name = after.first().map_or_else(String::new, |name| (*name).to_owned());
                imports.push(Import { is_reexport, path, name });
                return;
            }
            // `a::{self}` is `a`.
            "self" if !path.is_empty() => {}
            word => path.push(word.to_owned()),
        }
        rest = after;
    }
    if let Some(name) = path.last().cloned() {
        imports.push(Import { is_reexport, path, name });
    }
}

/// What commas separate, but for those within braces.
fn branches<'a, 'b>(words: &'b [&'a str]) -> Vec<&'b [&'a str]> {
    let mut depth = 0;
    let is_end = |word: &&str| {
        depth += i32::from(*word == "{") - i32::from(*word == "}");
        depth == 0 && *word == ","
    };
    words.split(is_end).filter(|branch| !branch.is_empty()).collect()
}

/// The files that each file depends on, by their names.
fn dependencies(files: &Files) -> BTreeMap<String, BTreeSet<String>> {
    let of_file = |(module, file): (&ModulePath, &SourceFile)| {
        let of_imports = file.imports.iter().filter(|import| !import.is_reexport).map(|import| import.path.clone());
        let targets: BTreeSet<String> = of_imports
            .chain(paths(&file.code))
            .filter_map(|path| absolute(files, module, &path))
            .filter(|path| !files.contains_key(path))
            .map(|path| defining_module(files, &path, &mut BTreeSet::new()))
            // Itself, and the files of its own folder.
            .filter(|target| !target.starts_with(module))
            .map(|target| files[&target].name.clone())
            .collect();
        (file.name.clone(), targets)
    };
    files.iter().map(of_file).collect()
}

/// The paths of two names and more outside of `use`.
fn paths(code: &str) -> Vec<Vec<String>> {
    let words: Vec<&str> = tokens(code).collect();
    let (mut paths, mut at) = (Vec::new(), 0);
    while at < words.len() {
        if words[at] == "use" {
            at += words[at..].iter().position(|word| *word == ";").unwrap_or(words.len() - at);
        }
        let mut path = Vec::new();
        while at + 1 < words.len() && words[at + 1] == "::" && is_name(words[at]) {
            path.push(words[at].to_owned());
            at += 2;
        }
        if !path.is_empty() && at < words.len() && is_name(words[at]) {
            path.push(words[at].to_owned());
            paths.push(path);
        }
        at += 1;
    }
    paths
}

fn is_name(word: &str) -> bool {
    word.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// A path from the crate's root; `None` where it leads to another crate.
fn absolute(files: &Files, module: &[String], path: &[String]) -> Option<ModulePath> {
    let (first, rest) = path.split_first()?;
    match first.as_str() {
        "crate" => Some(rest.to_vec()),
        "self" => Some([module, rest].concat()),
        "super" => {
            let n_up = path.iter().take_while(|name| *name == "super").count();
            Some([&module[..module.len().checked_sub(n_up)?], &path[n_up..]].concat())
        }
        name => {
            let child = [module, std::slice::from_ref(first)].concat();
            if files.contains_key(&child) {
                return Some([module, path].concat());
            }
            // A module that was imported by its name.
            let import = files[module].imports.iter().find(|import| import.name == name && import.path[..] != *path)?;
            if import.path.len() == 1 {
                return None;
            }
            let module = absolute(files, module, &import.path).filter(|module| files.contains_key(module))?;
            Some([&module[..], rest].concat())
        }
    }
}

/// The module whose file defines what a path names, through re-exports.
fn defining_module(files: &Files, path: &[String], seen: &mut BTreeSet<ModulePath>) -> ModulePath {
    let n_names = (0..=path.len()).rev().find(|n| files.contains_key(&path[..*n])).unwrap_or(0);
    let (module, rest) = path.split_at(n_names);
    let file = &files[module];
    let Some(name) = rest.first().filter(|name| !file.defined.contains(*name)) else { return module.to_vec() };
    if !seen.insert(path.to_vec()) {
        return module.to_vec();
    }
    let named = file.imports.iter().find(|import| import.name == *name);
    if let Some(target) = named.and_then(|import| absolute(files, module, &import.path)) {
        return defining_module(files, &[&target[..], &rest[1..]].concat(), seen);
    }
    for import in file.imports.iter().filter(|import| import.name == "*") {
        let target = absolute(files, module, &import.path[..import.path.len() - 1]);
        if let Some(target) = target.filter(|target| files.get(target).is_some_and(|file| file.defined.contains(name)))
        {
            return target;
        }
    }
    module.to_vec()
}

/// The groups of files that reach each other.
fn cycles(edges: &BTreeMap<String, BTreeSet<String>>) -> Vec<BTreeSet<String>> {
    let reached: BTreeMap<&String, BTreeSet<String>> =
        edges.keys().map(|file| (file, reached_from(edges, file))).collect();
    let mut cycles: Vec<BTreeSet<String>> = Vec::new();
    for (file, targets) in &reached {
        let back = |target: &&String| reached[target].contains(*file);
        let cycle: BTreeSet<String> = targets.iter().filter(back).cloned().collect();
        if !cycle.is_empty() && !cycles.contains(&cycle) {
            cycles.push(cycle);
        }
    }
    cycles
}

/// The files that a file reaches in one step and more.
fn reached_from(edges: &BTreeMap<String, BTreeSet<String>>, file: &str) -> BTreeSet<String> {
    let (mut reached, mut next) = (BTreeSet::new(), vec![file]);
    while let Some(file) = next.pop() {
        for target in &edges[file] {
            if reached.insert(target.clone()) {
                next.push(target);
            }
        }
    }
    reached
}

/// A crate of files given as text, by their names below `src`.
fn crate_of(files: &[(&str, &str)]) -> Vec<BTreeSet<String>> {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    cycles(&dependencies(&read_crate(folder.path())))
}

fn check(files: &[(&str, &str)], expected: &[&[&str]]) {
    let expected: Vec<BTreeSet<String>> =
        expected.iter().map(|cycle| cycle.iter().map(|file| (*file).to_owned()).collect()).collect();
    assert_eq!(crate_of(files), expected, "{files:?}");
}

#[test]
fn a_cycle_is_found_by_imports_by_paths_and_through_reexports() {
    let lib = ("lib.rs", "mod a;\nmod b;\npub use a::A;\npub use b::{B, make as make_b};\n");
    check(&[lib, ("a.rs", "use crate::b::B;\npub struct A(B);"), ("b.rs", "pub struct B;")], &[]);
    check(
        &[lib, ("a.rs", "use crate::b::B;\npub struct A(B);"), ("b.rs", "use super::a::A;\npub struct B(A);")],
        &[&["a.rs", "b.rs"]],
    );
    check(
        &[lib, ("a.rs", "use crate::{B, other};\npub struct A(B);"), ("b.rs", "pub struct B(crate::A);")],
        &[&["a.rs", "b.rs"]],
    );
    check(
        &[lib, ("a.rs", "use crate::make_b;\npub struct A;"), ("b.rs", "use crate::a;\nfn make() { a::A }")],
        &[&["a.rs", "b.rs"]],
    );
}

#[test]
fn tests_comments_literals_and_a_modules_own_folder_close_no_cycle() {
    let lib = ("lib.rs", "mod a;\nmod b;\n");
    let a = ("a.rs", "use crate::b::B;\npub struct A(B);");
    check(&[lib, a, ("b.rs", "pub struct B;\n#[cfg(test)]\nmod tests { use crate::a::A; }")], &[]);
    check(&[lib, a, ("b.rs", "/// As crate::a::A.\npub struct B;\nconst C: &str = \"crate::a::A\";")], &[]);
    check(
        &[
            ("lib.rs", "mod a;\n"),
            ("a/mod.rs", "mod inner;\nuse inner::make;\npub struct A;"),
            ("a/inner.rs", "use super::A;\nfn make() -> A { A }"),
        ],
        &[],
    );
}
