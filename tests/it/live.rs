//! Adapters and experiments on a server that runs: promoted under load, the same for every process, gone from the log to nobody.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::command::Lorank;
use crate::serving::Server;

const DOCUMENTS: &str = "\
{\"id\": 1, \"text\": \"A light bulb burns.\"}
{\"id\": 2, \"text\": \"A tulip bulb grows in light soil.\"}
{\"id\": 3, \"text\": \"Edison sold the light bulb.\"}
{\"id\": 4, \"text\": \"The light of a bulb is warm.\"}
";
const LISTEN: [&str; 4] = ["--index", "i", "--listen", "127.0.0.1:0"];

/// An index, and two adapters in the registry.
fn prepared() -> Lorank {
    let lorank = Lorank::new();
    lorank.run_with(&["index", "--index", "i", "-"], DOCUMENTS);
    lorank.run(&["adapters", "add", "qa", "minilm-qa", "--alias", "default"]);
    lorank.run(&["adapters", "add", "science", "minilm-science"]);
    lorank
}

/// What names an adapter's answer: its digest, and its hits with their scores.
fn scores(answer: &Value) -> (String, Vec<(String, String)>) {
    assert_eq!(answer["reranked"], true, "{answer}");
    let hits = answer["hits"].as_array().unwrap().iter();
    let hits = hits.map(|hit| (hit["id"].to_string(), hit["rerank_score"].to_string())).collect();
    (answer["adapter"]["digest"].as_str().unwrap().to_owned(), hits)
}

#[test]
fn an_alias_has_an_expression_of_its_own_wherever_it_is_asked() {
    let lorank = prepared();
    let server = Server::start(&lorank, &LISTEN);
    let ranked_by =
        |query: &str| server.ask("GET", &format!("/v1/search?q=light+bulb{query}"), "").1["rank_by"].clone();
    assert_eq!(ranked_by(""), Value::Null);
    let body = json!({"adapter": "qa", "rank_by": "0 - first_stage_rank"}).to_string();
    assert_eq!(server.ask("PUT", "/v1/aliases/default", &body).1["rank_by"], "0 - first_stage_rank");
    let aliases = server.ask("GET", "/v1/aliases", "").1;
    assert_eq!(
        aliases,
        json!({"aliases": {"default": "qa"}, "bases": {}, "rank_by": {"default": "0 - first_stage_rank"}})
    );
    assert_eq!(ranked_by(""), "0 - first_stage_rank");
    assert_eq!(ranked_by("&adapter=default"), "0 - first_stage_rank");
    // The adapter's own name has none, and what a request says comes first.
    assert_eq!(ranked_by("&adapter=qa"), Value::Null);
    assert_eq!(ranked_by("&rank_by=first_stage_score"), "first_stage_score");
    assert_eq!(ranked_by("&blend_weight=0.5"), Value::Null);
    let (_, explained) = server.ask("GET", "/v1/search?q=light+bulb&explain=true", "");
    assert_eq!(explained["hits"][0]["explanation"]["rank_by"]["value"], -1.0, "{explained}");

    // The command line keeps it when the alias moves, shows it, follows it and takes it away.
    let moved = lorank.run(&["adapters", "alias", "default", "science"]);
    assert!(moved.contains("its answers are ordered by `0 - first_stage_rank`"), "{moved}");
    assert!(lorank.run(&["adapters", "list"]).ends_with("answers of default are ordered by `0 - first_stage_rank`\n"));
    let answer = lorank.json(&["search", "--index", "i", "--adapter", "default", "--json", "light bulb"]);
    assert_eq!(answer["rank_by"], "0 - first_stage_rank");
    let moved = lorank.json(&["adapters", "alias", "default", "qa", "--no-rank-by", "--json"]);
    assert_eq!((&moved["rank_by"], &moved["checked_on"]), (&Value::Null, &json!(["minilm"])));
    assert_eq!(lorank.json(&["adapters", "list", "--json"])["rank_by"], json!({}));
    let (code, error) = lorank.fail(&["adapters", "alias", "default", "qa", "--rank-by", "1 +"], "");
    assert!(code == 2 && error.contains("--rank-by"), "{error}");
}

#[test]
fn a_hundred_promotions_under_load_fail_no_request_and_mix_no_adapters() {
    let lorank = prepared();
    // Memory for no adapter that is not in use, and none for scores: each promotion meets cold adapters.
    std::fs::write(lorank.path("no-cache.toml"), "[cache]\nentries_max = 0\n").unwrap();
    let more = ["--adapter-bytes-max", "0", "--config", "no-cache.toml"];
    let server = Server::start(&lorank, &[&LISTEN[..], &more].concat());
    let search = |adapter: &str| server.ask("GET", &format!("/v1/search?q=light+bulb{adapter}"), "");
    let expected: BTreeMap<_, _> = ["&adapter=qa", "&adapter=science"].map(|name| scores(&search(name).1)).into();
    assert_eq!(expected.len(), 2);
    let (is_over, n_answers) = (AtomicBool::new(false), AtomicUsize::new(0));
    let digests = std::thread::scope(|scope| {
        let client = || {
            let mut digests = BTreeMap::new();
            while !is_over.load(Ordering::Relaxed) {
                let (status, answer) = search("");
                assert_eq!(status, 200, "{answer}");
                let (digest, hits) = scores(&answer);
                assert_eq!(hits, expected[&digest], "{answer}");
                *digests.entry(digest).or_insert(0) += 1;
                n_answers.fetch_add(1, Ordering::Relaxed);
            }
            digests
        };
        let clients = [(); 3].map(|()| scope.spawn(client));
        for n in 0..100 {
            let adapter = ["science", "qa"][n % 2];
            let body = json!({"adapter": adapter}).to_string();
            assert_eq!(server.ask("PUT", "/v1/aliases/default", &body).0, 200);
            let until = n_answers.load(Ordering::Relaxed) + 1;
            while n_answers.load(Ordering::Relaxed) < until && !clients.iter().any(|client| client.is_finished()) {
                std::thread::yield_now();
            }
        }
        is_over.store(true, Ordering::Relaxed);
        clients.map(|client| client.join().unwrap())
    });
    let n_adapters = digests.iter().flat_map(BTreeMap::keys).collect::<std::collections::BTreeSet<_>>().len();
    assert_eq!(n_adapters, 2, "{digests:?}");
    // What the command line changes, the server notices by itself.
    lorank.run(&["adapters", "alias", "default", "science"]);
    lorank.run(&["adapters", "alias", "canary", "science"]);
    while search("&adapter=canary").0 != 200 {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert_eq!(search("").1["adapter"]["id"], "science");
    let shown = server.ask("GET", "/v1/adapters/science", "").1;
    assert_eq!((&shown["cached_scores"], &shown["aliases"]), (&json!(0), &json!(["canary", "default"])));
    let (_, metrics) = server.ask("GET", "/metrics", "");
    let metrics = metrics.as_str().unwrap();
    let n_loads = metrics.lines().find_map(|line| line.strip_prefix("lorank_adapter_loads_total ")).unwrap();
    assert!(n_loads.parse::<u64>().unwrap() > 2, "{n_loads}");
    assert!(metrics.contains("lorank_adapter_load_seconds "));
}

#[cfg(unix)]
#[test]
fn two_processes_assign_units_alike_and_one_report_has_both() {
    let lorank = prepared();
    lorank.run(&["experiments", "create", "x", "--arm", "control=first-stage", "--arm", "qa=qa:2", "--start"]);
    let servers = [Server::start(&lorank, &LISTEN), Server::start(&lorank, &LISTEN)];
    let mut arms = BTreeMap::new();
    for n in 0..40 {
        let body = json!({"query": "light bulb", "unit_id": format!("u{n}"), "top_k": 2}).to_string();
        let [one, other] = servers.each_ref().map(|server| server.ask("POST", "/v1/search", &body).1);
        assert_eq!(one["experiment"], other["experiment"]);
        assert_eq!(one["reranked"], one["experiment"]["arm"] == "qa");
        *arms.entry(one["experiment"]["arm"].to_string()).or_insert(0) += 1;
        let click = json!({"action_name": "click", "query_id": one["request_id"], "object_id": one["hits"][1]["id"],
            "timestamp": now_millis()});
        // To the other server: it did not answer the search, and need not know of it.
        let (status, kept) = servers[1].ask("POST", "/v1/events", &click.to_string());
        assert_eq!((status, &kept["accepted"], &kept["duplicates"]), (200, &json!(1), &json!(0)), "{kept}");
    }
    assert_eq!(arms.len(), 2, "{arms:?}");
    // A restart changes nothing either.
    let [first, second] = servers;
    drop(second);
    let again = Server::start(&lorank, &LISTEN);
    let body = json!({"query": "light bulb", "unit_id": "u7"}).to_string();
    let [one, other] = [&first, &again].map(|server| server.ask("POST", "/v1/search", &body).1["experiment"].clone());
    assert_eq!(one, other);
    first.end();
    again.end();
    let report = lorank.json(&["experiments", "report", "x", "--json"]);
    let sum = |key: &str| report["arms"].as_array().unwrap().iter().map(|arm| arm[key].as_u64().unwrap()).sum::<u64>();
    assert_eq!((sum("n_units"), sum("n_clicks")), (40, 40), "{report}");
    assert!(sum("n_queries") >= 42, "what was asked of a server that was killed may be lost, of these not: {report}");
}

fn now_millis() -> u128 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis()
}
