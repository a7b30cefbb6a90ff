//! What the program says and which status it leaves when something is wrong.

use crate::command::Lorank;

fn check(args: &[&str], stdin: &str, code: i32, parts_of_error: &[&str]) {
    let (found, error) = Lorank::new().fail(args, stdin);
    assert_eq!(found, code, "{args:?}: {error}");
    for part in parts_of_error {
        assert!(error.contains(part), "{args:?}: no `{part}` in\n{error}");
    }
}

#[test]
fn wrong_usage_is_status_2() {
    for (args, part) in [
        (&["serch"][..], "unrecognized subcommand"),
        (&["search", "egg"], "--index"),
        (&["search", "--index", "i", "--depth", "0", "egg"], "'--depth <N>': it must be at least 1"),
        (&["search", "--index", "i", "--depth", "1.5", "egg"], "'--depth <N>': it must be a whole number"),
        (&["search", "--index", "i", "--offset", "-1", "egg"], "'-1'"),
        (&["search", "--index", "i", "--deadline-millis", "99999999999999999999", "egg"], "it is too large"),
        (&["serve", "--depth", "0"], "'--depth <N>': it must be at least 1"),
        (&["serve", "--queue-max", "many"], "'--queue-max <N>': it must be a whole number"),
        (&["health", "--timeout-millis", "soon"], "it must be a whole number"),
        (&["rerank", "--query", "egg", "--activation", "tanh", "-"], "`tanh` is not an activation"),
        (&["search", "--index", "i", "--filter", "lang", "egg"], "`lang` is not a filter"),
        (&["search", "--index", "i", "--adapter", "hf://x", "egg"], "`hf://x` is not a model source"),
        (&["rerank", "--query", "egg", "--device", "gpu", "-"], "`gpu` is not a device"),
        (&["index", "--index", "i"], "INPUT"),
        (&["index", "--index", "i", "--rejects", "r", "-"], "--on-error skip"),
        (&["info", "--log", "lorank=loud"], "--log"),
        (&["score"], "--pairs"),
        (&["completions", "tcl"], "tcl"),
        (&["adapters"], "Usage: lorank adapters"),
        (&["adapters", "add", "qa"], "SOURCE"),
        (&["adapters", "add", "my adapter", "minilm-qa"], "`my adapter`"),
        (&["adapters", "add", "qa", "hf://x"], "`hf://x` is not a model source"),
        (&["adapters", "alias", "default"], "ID"),
        (&["adapters", "list", "--registry", "ftp://models"], "`ftp` is not a known scheme of a registry"),
        (&["experiments", "create"], "NAME=MODEL[:WEIGHT]"),
        (&["experiments", "create", "e", "--arm", "qa"], "`qa` is not an arm"),
        (&["experiments", "create", "e", "--arm", "a=none:0"], "the weight `0` is not a whole number above 0"),
        (&["experiments", "create", "e", "--arm", "a=none", "--method", "mix"], "possible values: split, interleave"),
        (&["experiments", "create", "e", "--arm", "a=none", "--ends", "soon"], "`soon` is not a time in ISO 8601"),
        (&["experiments", "create", "e", "--file", "e.json"], "--file"),
        (&["experiments", "report", "e", "--json", "--html", "e.html"], "--html"),
        (&["experiments", "report", "e", "--alpha", "5"], "`5` is not a number between 0 and 1"),
        (&["experiments", "forget"], "--before"),
        (&["adapters", "list", "--registry-copy", "copy"], "`registry_copy` is set, but the registry is in no store"),
    ] {
        check(args, "", 2, &[part]);
    }
}

#[test]
fn a_failure_is_status_1_and_says_what_failed_and_why() {
    check(&["search", "--index", "nowhere", "--no-rerank", "egg"], "", 1, &["error: there is no index in `nowhere`"]);
    check(
        &["adapters", "list", "--registry", "s3://models"],
        "",
        1,
        &["error: could not read the registry at `s3://models`; check its address", "\n  because: "],
    );
    check(
        &["index", "--index", "i", "missing.jsonl"],
        "",
        1,
        &["error: could not open `missing.jsonl`", "\n  because: "],
    );
    check(&["rerank", "--query", "egg", "--base", "./nowhere", "-"], "", 1, &["no model folder at `./nowhere`"]);
    check(
        &["rerank", "--query", "egg", "--base", "minilm2", "-"],
        "",
        1,
        &["`minilm2` is neither a folder nor", "minilm"],
    );
    check(&["score", "--pairs", "-", "--base", "hf://owner/name"], "", 1, &["owner/name", "HF_HUB_OFFLINE"]);
    check(
        &["rerank", "--query", "egg", "-"],
        "{\"text\": 3}\n",
        1,
        &["line 1 of standard input", "\n  because: `text` must be a string, not `3`"],
    );
    check(
        &["rerank", "--query", "egg", "-"],
        "[\"a\", \"b\"]\n",
        1,
        &["line 1 of standard input", "\n  because: it must be an object, not an array"],
    );
    check(
        &["rerank", "--query", "egg", "--base", "owner/name", "-"],
        "{\"text\": \"a\"}",
        1,
        &["for a repository on the hub, write `hf://owner/name`"],
    );
    check(&["serve", "--config", "lorank.toml"], "", 1, &["could not read `lorank.toml`"]);
}

#[test]
fn a_bad_configuration_is_named_with_its_line() {
    let lorank = Lorank::new();
    lorank.write("lorank.toml", "[search]\ndepht = 5\n");
    let (code, error) = lorank.fail(&["serve", "--config", "lorank.toml"], "");
    assert_eq!(code, 1);
    assert!(error.contains("`lorank.toml` is not a valid configuration"), "{error}");
    // With the line and a mark below what is wrong in it.
    assert!(error.contains("\n    2 | depht = 5\n      | ^^^^^\n"), "{error}");
    assert!(error.contains("`depht` is unknown; did you mean `depth`?"), "{error}");
}

#[test]
fn help_and_version_are_no_failures() {
    let lorank = Lorank::new();
    assert_eq!(lorank.run(&["--version"]), format!("lorank {}\n", env!("CARGO_PKG_VERSION")));
    for command in
        ["demo", "index", "delete", "search", "rerank", "score", "eval", "serve", "info", "completions", "notices"]
    {
        assert!(lorank.run(&[command, "--help"]).contains("Usage: lorank"), "{command}");
    }
    for (command, subcommands) in [
        ("adapters", &["add", "list", "show", "alias", "unalias", "remove", "verify"][..]),
        (
            "experiments",
            &["create", "start", "stop", "share", "delete", "list", "show", "report", "export", "forget"][..],
        ),
    ] {
        for subcommand in subcommands {
            let help = lorank.run(&[command, subcommand, "--help"]);
            assert!(
                help.contains(&format!("Usage: lorank {command} {subcommand}")) && help.contains("--data"),
                "{help}"
            );
        }
    }
}

#[test]
fn a_reader_that_has_enough_is_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = crate::command::std_command(folder.path());
    command.arg("notices").stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
}

#[test]
fn completions_name_the_commands() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = Lorank::new().run(&["completions", shell]);
        assert!(["rerank", "on-error", "unalias"].iter().all(|word| script.contains(word)), "{shell}");
    }
}
