//! What operators run: the dashboard and the alerts over the server's metrics, its health from outside, its configuration.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use crate::command::{Lorank, PROGRAM};
use crate::serving::Server;

const KEY: &str =
    "name = 'shop'\nrole = 'search'\nhash = 'af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262'\n";

/// The names under which Prometheus keeps what `/metrics` describes.
fn series(metrics: &str) -> BTreeSet<String> {
    let types = metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let names = types.flat_map(|(name, kind)| {
        let endings: &[&str] = match kind {
            "counter" => &["_total"],
            "histogram" => &["_bucket", "_sum", "_count"],
            "info" => &["_info"],
            _ => &[""],
        };
        endings.iter().map(move |ending| format!("{name}{ending}"))
    });
    names.collect()
}

/// The metrics that a file asks for.
fn asked_for(file: &str) -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("ops").join(file);
    let text = std::fs::read_to_string(path).unwrap();
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words
        .filter(|word| ["lorank_", "process_"].iter().any(|start| word.starts_with(start)))
        .map(str::to_owned)
        .collect()
}

#[test]
fn dashboard_and_alerts_ask_for_metrics_that_there_are() {
    let lorank = Lorank::new();
    lorank.run_with(&["index", "--index", "i", "-"], "{\"id\": 1, \"text\": \"one\"}\n");
    // A registry in a store that is gone, with a copy: one in a folder.
    lorank.run(&["adapters", "add", "qa", "minilm-qa", "--unmeasured", "--registry", "copy"]);
    let registry = ["--registry", "s3://models", "--registry-copy", "copy"];
    let args = ["--index", "i", "--listen", "127.0.0.1:0", "--cache-url", "redis://127.0.0.1:9"];
    let server = Server::start(&lorank, &[&args[..], &registry].concat());
    assert_eq!(server.ask("GET", "/v1/adapters/qa", "").0, 200);
    assert_eq!(server.ask("GET", "/v1/search?q=one", "").0, 200);
    assert_eq!(server.ask("GET", "/v1/search?q=one&stages=none:5,none:1", "").0, 200);
    let (_, metrics) = server.ask("GET", "/metrics", "");
    let metrics = metrics.as_str().unwrap();
    let series = series(metrics);
    let of_stages: BTreeSet<String> =
        series.iter().filter(|name| name.starts_with("lorank_rerank_stage_")).cloned().collect();
    assert_eq!(of_stages.len(), 4, "{of_stages:?}");
    assert!(of_stages.is_subset(&asked_for("grafana/dashboards/lorank.json")), "{of_stages:?}");
    for file in ["grafana/dashboards/lorank.json", "prometheus/alerts.yml"] {
        let asked: BTreeSet<String> = asked_for(file);
        assert!(asked.len() > 3, "{file}");
        assert_eq!(asked.difference(&series).collect::<Vec<_>>(), [""; 0], "{file}");
    }
    for counted in [
        "lorank_batch_size_tokens_count 1",
        "lorank_model_tokens_total ",
        "lorank_connections_ended_total{reason=\"closed\"} ",
        "lorank_build_info{version=",
        "lorank_rerank_stage_duration_seconds_count{stage=\"2\"} 1",
        "lorank_rerank_stage_fallbacks_total{stage=\"2\",reason=\"deadline_passed\"} 0",
        "lorank_registry_readable 0.0",
    ] {
        assert!(metrics.contains(counted), "{counted} is not in\n{metrics}");
    }
    let seconds = |name: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap();
        line.parse::<f64>().unwrap()
    };
    assert!(seconds("lorank_model_tokenise_seconds_total") > 0.0);
    assert!(seconds("lorank_model_forward_seconds_total") > 0.0);
}

#[test]
fn health_is_asked_from_outside() {
    let lorank = Lorank::new();
    lorank.run_with(&["index", "--index", "i", "-"], "{\"id\": 1, \"text\": \"one\"}\n");
    let server = Server::start(&lorank, &["--index", "i", "--listen", "127.0.0.1:0"]);
    let address = format!("http://{}", server.address());
    assert!(lorank.run(&["health", &address]).contains("\"status\":\"ok\""));
    assert_eq!(
        server.ask("GET", "/ready", ""),
        (
            200,
            json!({
                "status": "ready", "checks": {"server": "ok", "index": "ok", "model": "ok", "queue": "ok"}
            })
        )
    );
    assert!(lorank.run(&["health", "--ready", "--server", &address]).contains("\"status\":\"ready\""));
    let without_scheme = address.trim_start_matches("http://");
    assert!(lorank.run(&["health", "--server", without_scheme]).contains("\"status\":\"ok\""));
    drop(server);
    let (code, stderr) = lorank.fail(&["health", &address], "");
    assert_eq!(code, 1);
    assert!(stderr.contains("could not reach"), "{stderr}");
}

#[test]
fn config_show_tells_where_each_value_comes_from() {
    let lorank = Lorank::new();
    lorank.write(
        "lorank.toml",
        &format!("[search]\ndepth = 7\ntop_k = 3\n[server]\nn_searches_max = 5\n[[keys]]\n{KEY}"),
    );
    let output = std::process::Command::new(PROGRAM)
        .args(["config", "show", "--config", "lorank.toml", "--top-k", "4", "--json"])
        .env("LORANK_N_SEARCHES_MAX", "6")
        .env("LORANK_CORS_ORIGIN", "https://a.example,https://b.example")
        .current_dir(lorank.folder.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let rows: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let origins = json!(["https://a.example", "https://b.example"]);
    for (key, value, origin) in [
        ("search.depth", json!(7), "file lorank.toml"),
        ("search.top_k", json!(4), "flag --top-k"),
        ("search.depth_max", json!(1000), "default"),
        ("server.n_searches_max", json!(6), "environment LORANK_N_SEARCHES_MAX"),
        ("server.cors_origins", origins, "environment LORANK_CORS_ORIGIN"),
        ("keys", json!([{"name": "shop", "role": "search"}]), "file lorank.toml"),
    ] {
        let expected = json!({"key": key, "value": value, "origin": origin});
        assert!(rows.contains(&expected), "{expected} is not in {rows:?}");
    }
    let table = lorank.run(&["config", "show", "--config", "lorank.toml"]);
    assert!(table.contains("shop (search)") && !table.contains("af1349b9"), "{table}");
}

#[test]
fn config_check_names_what_is_wrong() {
    let lorank = Lorank::new();
    lorank.write("good.toml", &format!("[search]\ndepth = 7\n[[keys]]\n{KEY}"));
    assert_eq!(lorank.run(&["config", "check", "good.toml"]), "`good.toml` is a valid configuration\n");
    for (text, part) in [
        ("[search]\ndept = 7", "`dept` is unknown; did you mean `depth`?"),
        ("[server]\ncors_origins = ['shop']", "`shop` is not an origin"),
        ("[[keys]]\nname = 'a'\nrole = 'search'\nhash = '12'", "invalid key `a`"),
    ] {
        lorank.write("bad.toml", text);
        let (code, stderr) = lorank.fail(&["config", "check", "bad.toml"], "");
        assert!(code == 1 && stderr.contains(part), "{text}: {stderr}");
    }
}

#[test]
fn a_listen_address_that_is_none_says_what_one_is() {
    let lorank = Lorank::new();
    for address in ["localhost:7788", "7788", "127.0.0.1", "127.0.0.1:99999", "[::1]", "http://127.0.0.1:7788", ""] {
        let (code, error) = lorank.fail(&["serve", "--listen", address], "");
        let expected = "an IP address with a port is expected, as in `127.0.0.1:7788`; `localhost` is `127.0.0.1`";
        assert!(code == 2 && error.contains(expected), "{address}: {error}");
    }
}
