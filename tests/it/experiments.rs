//! `experiments`: from a draft to a report, on the command line.

use lorank_experiment_store::{ExperimentStore, StoreConfig};
use lorank_experiments::{Assigned, Event, Exposure};
use serde_json::json;

use crate::command::Lorank;

const CREATE: [&str; 7] = ["experiments", "create", "qa-or-not", "--arm", "control=none", "--arm", "qa=minilm-qa:2"];

/// What a server would have written: `n` answers, every second one in the second arm, where each is clicked.
fn serve(lorank: &Lorank, n: usize) {
    let store = ExperimentStore::open(&lorank.path("share/lorank/experiments"), StoreConfig::default()).unwrap();
    let answer = |n: usize| Exposure {
        request_id: format!("r{n}"),
        index: "default".into(),
        query: "boil an egg, softly".into(),
        unit_id: None,
        assigned: Some(Assigned {
            experiment: "qa-or-not".into(),
            unit: format!("u{n}"),
            arm: n % 2,
            arm_name: ["control", "qa"][n % 2].into(),
            forced: false,
            teams: Vec::new(),
            arms: Vec::new(),
        }),
        hits: vec!["a".into(), "b".into()],
        first_rank: 1,
        latency_micros: 1_000,
        fallback: None,
        model: None,
        at_millis: n as i64,
    };
    store.submit_exposures((0..n).map(answer).collect()).unwrap();
    let click = |n: usize| {
        let json = json!({"action_name": "click", "query_id": format!("r{n}"), "object_id": "b", "timestamp": n});
        Event::from_json(json).unwrap()
    };
    store.submit((1..n).step_by(2).map(click).collect(), 1).unwrap();
}

#[test]
fn an_experiment_goes_from_draft_to_report() {
    let lorank = Lorank::new();
    assert!(lorank.run(&["experiments", "list"]).contains("has no experiments"));
    assert!(!lorank.path("share").exists(), "who only reads leaves nothing behind");

    let text = lorank.run(&[&CREATE[..], &["--share", "0.5", "--ends", "2099-12-24T18:00:00+01:00"]].concat());
    assert_eq!(
        text,
        "qa-or-not (draft): control (none) against qa (minilm-qa) on 50 % of the units; \
         start it with `lorank experiments start qa-or-not`\n"
    );
    let shown = lorank.run(&["experiments", "show", "qa-or-not"]);
    assert!(shown.contains("\nends      2099-12-24T17:00:00Z\ncontrol   control (none), weight 1\n"), "{shown}");
    assert!(shown.ends_with("\narm       qa (minilm-qa), weight 2\n"), "{shown}");
    let started = lorank.json(&["experiments", "start", "qa-or-not", "--json"]);
    assert_eq!((&started["state"], &started["buckets"].as_array().map(Vec::len)), (&json!("running"), &Some(1)));

    let report = lorank.run(&["experiments", "report", "qa-or-not"]);
    let verdict = "not yet: each comparison needs 30 units, and the smallest has 0\n";
    assert!(report.starts_with("experiment qa-or-not: traffic split by unit") && report.ends_with(verdict), "{report}");
    let export = lorank.run(&["experiments", "export", "qa-or-not"]);
    assert!(export.starts_with("request_id,at_millis,query,") && export.lines().count() == 1, "{export}");

    let raised = lorank.run(&["experiments", "share", "qa-or-not", "0.75"]);
    assert_eq!(raised, "qa-or-not (running): control (none) against qa (minilm-qa) on 75 % of the units\n");
    let table = lorank.run(&["experiments", "list"]);
    assert!(table.contains("\nqa-or-not  running  split   75 %   main   "), "{table}");
    assert!(lorank.run(&["experiments", "stop", "qa-or-not"]).starts_with("qa-or-not (stopped): "));
    for (command, part) in
        [("start", "only a draft can be"), ("stop", "only a running"), ("delete", "records refer to it")]
    {
        let (code, error) = lorank.fail(&["experiments", command, "qa-or-not"], "");
        assert!(code == 1 && error.contains(part), "{error}");
    }
}

#[test]
fn what_was_served_is_reported_exported_and_forgotten() {
    let lorank = Lorank::new();
    lorank.run(&[&CREATE[..], &["--start"]].concat());
    serve(&lorank, 400);
    let (one, html) = ("qa-or-not", lorank.path("report.html"));

    let report = lorank.json(&["experiments", "report", one, "--json", "--smallest-difference", "0.02"]);
    assert_eq!((&report["arms"][1]["n_units"], &report["arms"][1]["click_through"]), (&json!(200), &json!(1.0)));
    assert_eq!(report["smallest_difference"], 0.02);
    let said = lorank.run(&["experiments", "report", one, "--html", "report.html"]);
    assert!(said.ends_with("the report is in `report.html`\n"), "{said}");
    let page = std::fs::read_to_string(html).unwrap();
    assert!(page.contains("<html") && page.contains("<svg"), "{page}");

    let n_lines = |args: &[&str]| lorank.run(&[&["experiments", "export", one], args].concat()).lines().count();
    assert_eq!((n_lines(&[]), n_lines(&["--events"])), (401, 201));
    assert_eq!(
        lorank.run(&["experiments", "export", one, "--out", "answers.csv"]),
        "wrote 400 rows to `answers.csv`\n"
    );
    assert_eq!(std::fs::read_to_string(lorank.path("answers.csv")).unwrap().lines().count(), 401);

    let forgotten = lorank.run(&["experiments", "forget", "--before", "1970-01-02"]);
    assert_eq!(forgotten, "deleted 400 answers, 200 events and 0 shadow results from before 1970-01-02T00:00:00Z\n");
    assert_eq!(lorank.json(&["experiments", "report", one, "--json"])["arms"][1]["n_units"], 0);
}

#[test]
fn a_definition_may_come_from_a_file() {
    let lorank = Lorank::new();
    lorank.run(&CREATE);
    let mut definition = lorank.json(&["experiments", "show", "qa-or-not", "--json"]);
    assert_eq!((&definition["salt"], &definition["traffic_share"]), (&json!("qa-or-not"), &json!(1.0)));
    definition["id"] = json!("again");
    let created = lorank.run_with(&["experiments", "create", "--file", "-", "--json"], &definition.to_string());
    assert_eq!(serde_json::from_str::<serde_json::Value>(&created).unwrap(), definition);

    lorank.write("e.json", "{\"id\": \"e\"}");
    let (code, error) = lorank.fail(&["experiments", "create", "--file", "e.json"], "");
    assert!(code == 1 && error.contains("`e.json` is not a valid experiment definition"), "{error}");
    assert_eq!(lorank.run(&["experiments", "delete", "again"]), "deleted the draft again\n");
    let list = lorank.json(&["experiments", "list", "--json"]);
    assert_eq!(list["experiments"].as_array().map(Vec::len), Some(1));
}

#[test]
fn what_cannot_be_done_says_why() {
    let lorank = Lorank::new();
    for command in ["show", "start", "stop", "delete", "report", "export"] {
        let (code, error) = lorank.fail(&["experiments", command, "e"], "");
        assert_eq!((code, error.as_str()), (1, "error: there is no experiment `e`\n"), "{command}");
    }
    let create = ["experiments", "create", "e", "--arm", "a=none"];
    for (args, part) in [
        (&[][..], "`arms` of experiment `e` has 1 entries; give 2 to 16"),
        (&["--arm", "b=science"], "arm `b` names `science`, which the registry"),
        (&["--arm", "a=first-stage"], "has the duplicate `a`"),
        (&["--arm", "b=first-stage", "--share", "1.5"], "`traffic_share` of experiment `e` cannot be 1.5"),
        (&["--arm", "b=first-stage:2", "--method", "interleave"], "which interleaving does not support"),
    ] {
        let (code, error) = lorank.fail(&[&create[..], args].concat(), "");
        assert!(code == 1 && error.contains(part), "{args:?}: {error}");
    }
    assert!(!lorank.path("share").exists(), "what failed has made nothing");

    lorank.run(&[&create[..], &["--arm", "b=science", "--any-model"]].concat());
    let (_, error) = lorank.fail(&["experiments", "start", "e"], "");
    assert!(error.contains("arm `b` names `science`"), "{error}");
    lorank.run(&["experiments", "start", "e", "--any-model"]);
    let (code, error) = lorank.fail(&[&CREATE[..], &["--start"]].concat(), "");
    assert_eq!(code, 1);
    assert!(error.contains("the draft `qa-or-not` was created, but not started"), "{error}");
    assert!(error.contains("needs 100 % of layer `main`, of which 0 % is free"), "{error}");
}
