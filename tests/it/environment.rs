//! What flags, variables and the configuration file come to together, and where log lines go.

use serde_json::Value;

use crate::command::Lorank;

#[test]
fn variables_stand_in_for_flags_and_flags_win() {
    let lorank = Lorank::new();
    for name in ["one", "two"] {
        lorank.run_with(&["index", "--index", name, "-"], &format!("{{\"id\": \"{name}\", \"text\": \"egg\"}}\n"));
    }
    let found = |args: &[&str]| {
        let output = lorank.command(args).env("LORANK_INDEX", "one").output().unwrap();
        serde_json::from_slice::<Value>(&output.stdout).unwrap()["hits"][0]["id"].clone()
    };
    assert_eq!(found(&["search", "--no-rerank", "--json", "egg"]), "one");
    assert_eq!(found(&["search", "--no-rerank", "--json", "--index", "two", "egg"]), "two");
}

#[test]
fn an_empty_variable_is_as_good_as_none() {
    let lorank = Lorank::new();
    lorank.run_with(&["index", "--index", "i", "-"], "{\"id\": \"1\", \"text\": \"egg\"}\n");
    let mut command = lorank.command(&["search", "--index", "i", "--json", "egg"]);
    for name in
        ["ADAPTER", "BASE", "DEVICE", "PRECISION", "MAX_LENGTH", "THREADS", "DATA", "LOG", "LOG_FORMAT", "INDEX"]
    {
        command.env(format!("LORANK_{name}"), "");
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&answer["reranked"], &answer["adapter"]), (&true.into(), &Value::Null));
}

/// A warning is for people who do not know the program's modules.
#[test]
fn warnings_name_no_module() {
    let lorank = Lorank::new();
    lorank.run_with(&["index", "--index", "i", "-"], "{\"id\": \"1\", \"text\": \"egg\"}\n");
    let search = ["search", "--index", "i", "--deadline-millis", "0", "egg"];
    let log = |args: &[&str]| {
        let output = lorank.command(&[&search[..], args].concat()).output().unwrap();
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(log(&[]).contains("WARN") && !log(&[]).contains("lorank_"), "{}", log(&[]));
    assert!(log(&["-vv"]).contains("lorank_pipeline"), "{}", log(&["-vv"]));
}

#[test]
fn data_is_kept_in_the_folder_that_is_named_nearest() {
    let lorank = Lorank::new();
    let made = |args: &[&str], variable: &str| {
        let create = ["experiments", "create", "e", "--arm", "a=none", "--arm", "b=first-stage"];
        let mut command = lorank.command(&[&create[..], args].concat());
        assert!(command.env("LORANK_DATA", variable).output().unwrap().status.success(), "{args:?} {variable}");
    };
    made(&["--data", "flag"], "variable");
    made(&[], "variable");
    lorank.run(&["experiments", "create", "e", "--arm", "a=none", "--arm", "b=first-stage"]);
    let is_made = |name: &str| lorank.path(name).join("experiments/experiments.sqlite").is_file();
    assert_eq!(["flag", "variable", "share/lorank"].map(is_made), [true; 3]);
}

#[test]
fn log_lines_go_to_standard_error() {
    let output = Lorank::new().command(&["info", "-v", "--log-format", "json"]).output().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().any(|line| line["fields"]["message"] == "loaded"), "{log}");
    assert!(String::from_utf8(output.stdout).unwrap().starts_with("version "));

    let output = Lorank::new().command(&["info", "-q"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}
