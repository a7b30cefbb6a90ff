//! Several base models in one process: adapters on each of them, experiments between them, and what is refused.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::command::Lorank;
use crate::int8::is_fast_in_int8_groups;
use crate::serving::Server;

const DOCUMENTS: &str = "\
{\"id\": 1, \"text\": \"A light bulb burns.\"}
{\"id\": 2, \"text\": \"A tulip bulb grows in light soil.\"}
{\"id\": 3, \"text\": \"Edison sold the light bulb.\"}
{\"id\": 4, \"text\": \"The light of a bulb is warm.\"}
{\"id\": 5, \"text\": \"Light rain fell on the bulb.\"}
";
pub(crate) const QUERY: &str = "light bulb";

fn fixture(name: &str) -> String {
    lorank_testing::fixture(name).display().to_string()
}

pub(crate) fn bert() -> String {
    format!("bert={}", fixture("tiny-bert/base"))
}

/// An index, and an adapter on the second base model in the registry, beside the two built-in ones on the first.
pub(crate) fn prepared() -> Lorank {
    let lorank = Lorank::new();
    lorank.run_with(&["index", "--index", "i", "-"], DOCUMENTS);
    lorank.run(&["adapters", "add", "tiny", &fixture("tiny-bert/adapter-a")]);
    lorank
}

pub(crate) fn serve(lorank: &Lorank, more: &[&str]) -> Server {
    let args = ["--index", "i", "--listen", "127.0.0.1:0", "--base", "minilm", "--base", &bert()];
    Server::start(lorank, &[&args, more].concat())
}

/// What a ranker's answer says of it: the base model, the adapter, and the hits with their scores.
type Ranked = (String, Value, Vec<(String, String)>);

fn ranked(answer: &Value) -> Ranked {
    assert_eq!(answer["reranked"], true, "{answer}");
    let hits = answer["hits"].as_array().unwrap().iter();
    let hits = hits.map(|hit| (hit["id"].to_string(), hit["rerank_score"].to_string())).collect();
    (answer["base_model"].as_str().unwrap().to_owned(), answer["adapter"]["id"].clone(), hits)
}

/// The hits of each name, from a process with one base model.
fn expected(lorank: &Lorank) -> BTreeMap<&'static str, Vec<(String, String)>> {
    let alone = |base: &str, adapter: &str| {
        let args = ["search", "--index", "i", "--base", base, "--adapter", adapter, "--json", QUERY];
        ranked(&lorank.json(&args)).2
    };
    let (bert, tiny) = (fixture("tiny-bert/base"), fixture("tiny-bert/adapter-a"));
    BTreeMap::from([
        ("none", alone("minilm", "none")),
        ("bert", alone(&bert, "none")),
        ("tiny", alone(&bert, &tiny)),
        ("minilm-qa", alone("minilm", "minilm-qa")),
        ("minilm-science", alone("minilm", "minilm-science")),
    ])
}

const MINILM: &str = "cross-encoder/ms-marco-MiniLM-L-12-v2";

#[test]
fn two_base_models_and_three_adapters_are_served_by_name() {
    let lorank = prepared();
    let (server, expected) = (serve(&lorank, &["--shadow", "bert"]), expected(&lorank));
    for (name, base, adapter) in [
        ("none", MINILM, Value::Null),
        ("minilm", MINILM, Value::Null),
        ("bert", "bert", Value::Null),
        ("tiny", "bert", json!("tiny")),
        ("minilm-qa", MINILM, json!("minilm-qa")),
        ("minilm-science", MINILM, json!("minilm-science")),
    ] {
        let (status, answer) = server.ask("GET", &format!("/v1/search?q=light+bulb&adapter={name}"), "");
        assert_eq!(status, 200, "{answer}");
        let hits = expected[if name == "minilm" { "none" } else { name }].clone();
        assert_eq!(ranked(&answer), (base.to_owned(), adapter, hits), "{name}");
        let body = json!({"model": name, "query": QUERY, "documents": ["A light bulb burns.", "A tulip bulb."]});
        let (status, answer) = server.ask("POST", "/v1/rerank", &body.to_string());
        assert_eq!((status, answer["results"].as_array().map(Vec::len)), (200, Some(2)), "{answer}");
    }
    // The first base model is the default, and its adapters are no others'.
    let (_, answer) = server.ask("GET", "/v1/search?q=light+bulb", "");
    assert_eq!(ranked(&answer).0, MINILM);
    let (status, error) = server.ask("GET", "/v1/search?q=light+bulb&adapter=ettin", "");
    assert_eq!(status, 404, "{error}");
    assert!(error.to_string().contains("base models: `cross-encoder/ms-marco-MiniLM-L-12-v2`, `bert`"), "{error}");

    let body = json!({"query": QUERY, "adapters": ["none", "bert", "tiny", "minilm-qa", "minilm-science"]});
    let (_, compared) = server.ask("POST", "/v1/compare", &body.to_string());
    for ranker in compared["rankers"].as_array().unwrap().iter().skip(1) {
        let hits = ranker["hits"].as_array().unwrap().iter();
        let hits: Vec<_> = hits.map(|hit| (hit["id"].to_string(), hit["rerank_score"].to_string())).collect();
        assert_eq!(hits, expected[ranker["name"].as_str().unwrap()], "{ranker}");
    }

    let (_, models) = server.ask("GET", "/v1/models", "");
    let names: Vec<&str> =
        models["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
    assert_eq!(names, [MINILM, "none", "bert", "minilm-qa", "minilm-science", "tiny"]);
    let (_, stats) = server.ask("GET", "/v1/stats", "");
    let bases = stats["base_models"].as_array().unwrap();
    assert_eq!((&bases[0]["name"], &bases[1]["name"]), (&json!(MINILM), &json!("bert")));
    assert!(bases.iter().all(|base| base["bytes"].as_u64().unwrap() > 0));
    let (_, metrics) = server.ask("GET", "/metrics", "");
    let of_bert =
        ["lorank_base_model_bytes{base_model=\"bert\"}", "lorank_base_model_tokens_per_second{base_model=\"bert\"}"];
    assert!(of_bert.iter().all(|name| metrics.as_str().unwrap().contains(name)), "{metrics}");
    let (_, tiny) = server.ask("GET", "/v1/adapters/tiny", "");
    assert_eq!((&tiny["served_on"], &tiny["base_model"]), (&json!("bert"), &json!("tiny-bert-fixture/base")));

    // Promoted to the alias of requests that name nothing.
    assert_eq!(server.ask("PUT", "/v1/aliases/default", "{\"adapter\": \"tiny\"}").0, 200);
    let (_, answer) = server.ask("GET", "/v1/search?q=light+bulb", "");
    assert_eq!(ranked(&answer).2, expected["tiny"]);
    let (_, info) = server.ask("GET", "/info", "");
    assert_eq!((&info["model_id"], &info["max_input_length"]), (&json!("bert"), &json!(256)));
    // A bare base model is promoted, and rolled back, in the same way; the command line names the base models of the server.
    let (status, moved) = server.ask("PUT", "/v1/aliases/default", "{\"base\": \"bert\"}");
    assert_eq!((status, &moved["before"], &moved["base"]), (200, &json!("tiny"), &json!("bert")), "{moved}");
    let (_, answer) = server.ask("GET", "/v1/search?q=light+bulb", "");
    assert_eq!(ranked(&answer), ("bert".to_owned(), Value::Null, expected["bert"].clone()));
    assert_eq!(lorank.run(&["adapters", "alias", "next", "bert", "--bare"]), "next points to bert\n");
    let (code, error) = lorank.fail(&["adapters", "alias", "next", "ettin", "--bare"], "");
    assert!(code == 1 && error.contains("has no base model `ettin`; its base models are `minilm`, `bert`"), "{error}");
    let (code, error) = lorank.fail(&["adapters", "alias", "next", "tiny", "--bare"], "");
    assert!(code == 1 && error.contains("`tiny` is an adapter"), "{error}");
    let listed = lorank.run(&["adapters", "list"]);
    assert!(listed.contains("default points to the base model bert\nnext points to the base model bert\n"), "{listed}");
    let (code, error) = lorank.fail(&["search", "--index", "i", "--adapter", "next", QUERY], "");
    assert!(code == 1 && error.contains("the alias `next` points to the base model `bert`"), "{error}");
    loop {
        let (_, shadows) = server.ask("GET", "/v1/shadows", "");
        let shadow = &shadows["shadows"][0];
        if shadow["n_answers"].as_u64().is_some_and(|n| n > 0) {
            assert_eq!(shadow["n_failures"], 0, "{shadows}");
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

#[test]
fn experiments_run_between_base_models() {
    let lorank = prepared();
    let (server, expected) = (serve(&lorank, &[]), expected(&lorank));
    let start = |id: &str, method: &str, layer: &str, models: &[&str]| {
        let arms: Vec<Value> = models.iter().map(|model| json!({"name": model, "model": model})).collect();
        let body = json!({"id": id, "arms": arms, "method": method, "layer": layer});
        let (status, answer) = server.ask("POST", "/v1/experiments", &body.to_string());
        assert_eq!(status, 201, "{answer}");
        let (status, answer) = server.ask("POST", &format!("/v1/experiments/{id}/start"), "");
        assert_eq!(status, 200, "{answer}");
        answer
    };
    let models = ["none", "bert", "tiny", "minilm-qa", "minilm-science"];
    let started = start("split", "split", "a", &models);
    let pinned = |arm: usize| &started["arms"][arm]["pinned"];
    assert_eq!((pinned(0), &pinned(1)["base_model"]["name"]), (&Value::Null, &json!("bert")), "{started}");
    assert_eq!((&pinned(2)["adapter"], pinned(2).get("base_model")), (&json!("tiny"), None));

    // Several clients at once: batches of both base models, one after the other.
    let arms = std::thread::scope(|scope| {
        let client = |client: usize| {
            let (server, expected) = (&server, &expected);
            move || {
                let ask = |n: usize| {
                    let body = json!({"query": QUERY, "unit_id": format!("u{client}-{n}"), "experiment": "split"});
                    let (status, answer) = server.ask("POST", "/v1/search", &body.to_string());
                    assert_eq!(status, 200, "{answer}");
                    let arm = answer["experiment"]["arm"].as_str().unwrap().to_owned();
                    assert_eq!(ranked(&answer).2, expected[&*arm], "{answer}");
                    arm
                };
                (0..20).map(ask).collect::<Vec<_>>()
            }
        };
        let clients = [0, 1, 2].map(|n| scope.spawn(client(n)));
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect::<std::collections::BTreeSet<_>>()
    });
    assert_eq!(arms.len(), models.len(), "{arms:?}");

    start("mixed", "interleave", "b", &["minilm-qa", "bert", "tiny"]);
    for n in 0..20 {
        let body = json!({"query": QUERY, "unit_id": format!("u{n}"), "experiment": "mixed"});
        let (_, answer) = server.ask("POST", "/v1/search", &body.to_string());
        assert_eq!(
            (&answer["reranked"], &answer["experiment"]["interleaved"]),
            (&json!(true), &json!(true)),
            "{answer}"
        );
        assert_eq!(answer["experiment"].get("failed_arms").and_then(Value::as_array).map_or(0, Vec::len), 0);
    }
    // A request that names an arm's base model takes part in the experiment, as one that names its adapter.
    let body = json!({"query": QUERY, "adapter": "bert", "unit_id": "u", "experiment": "split"});
    let (_, answer) = server.ask("POST", "/v1/search", &body.to_string());
    assert_eq!((&answer["experiment"]["arm"], &answer["experiment"]["forced"]), (&json!("bert"), &json!(true)));
    let (_, report) = server.ask("GET", "/v1/experiments/split/report?format=json", "");
    let served = report["served"].as_array().unwrap();
    assert_eq!((&served[1]["arm"], &served[1]["pinned"]["base_model"]["name"]), (&json!("bert"), &json!("bert")));
    assert!(served.iter().all(|arm| arm["versions"].as_array().unwrap().len() == 1), "{report}");
    let shown = lorank.run(&["experiments", "show", "split"]);
    assert!(shown.contains("pinned to bert, digest "), "{shown}");
}

#[test]
fn arms_differ_by_their_settings_and_by_an_alias_of_a_base_model() {
    let lorank = prepared();
    let server = serve(&lorank, &[]);
    assert_eq!(server.ask("PUT", "/v1/aliases/next", "{\"base\": \"bert\"}").0, 200);
    let arms = ["--arm", "control=minilm-qa", "--arm", "two=minilm-qa", "--arm", "next=next"];
    let set = ["--set", "two.depth=2", "--set", "two.blend_weight=0.5", "--set", "next.passages=max"];
    lorank.run(&[&["experiments", "create", "settings"][..], &arms, &set].concat());
    let (status, started) = server.ask("POST", "/v1/experiments/settings/start", "");
    assert_eq!((status, &started["arms"][2]["pinned"]["base_model"]["name"]), (200, &json!("bert")), "{started}");
    // Moving the alias does not move the arm.
    assert_eq!(server.ask("PUT", "/v1/aliases/next", "{\"base\": \"none\"}").0, 200);
    let ask = |arm: &str| {
        let (status, answer) = server.ask("POST", "/v1/search", &json!({"query": QUERY, "arm": arm}).to_string());
        assert_eq!((status, &answer["reranked"]), (200, &json!(true)), "{answer}");
        answer
    };
    let scored =
        |answer: &Value| answer["hits"].as_array().unwrap().iter().filter(|hit| !hit["rerank_score"].is_null()).count();
    let (control, two, next) = (ask("control"), ask("two"), ask("next"));
    assert_eq!([&control, &two, &next].map(scored), [5, 2, 5]);
    assert_eq!((&two["depth"], &two["n_candidates"]), (&json!(2), &json!(2)), "{two}");
    assert_eq!(ranked(&next).0, "bert");
    assert!(next["hits"].as_array().unwrap().iter().all(|hit| hit["passage"].is_object()), "{next}");
    let (_, report) = server.ask("GET", "/v1/experiments/settings/report?format=text", "");
    let part = "; blend_weight 0.5; depth 2\n";
    assert!(report.as_str().unwrap().contains(part), "{report}");
    let shown = lorank.run(&["experiments", "show", "settings"]);
    assert!(shown.contains("two (minilm-qa), weight 1, depth 2, blend_weight 0.5; pinned to minilm-qa"), "{shown}");
    let (code, error) =
        lorank.fail(&["experiments", "create", "x", "--arm", "a=none", "--arm", "b=none", "--set", "c.depth=2"], "");
    assert!(code == 1 && error.contains("--set names the arm `c`, which no --arm has"), "{error}");
    // MiniLM's prompt has no place for an instruction.
    let arms = json!([{"name": "a", "model": "none"}, {"name": "b", "model": "none", "instruction": "Find cases"}]);
    let (status, error) = server.ask("POST", "/v1/experiments", &json!({"id": "i", "arms": arms}).to_string());
    assert_eq!((status, &error["error"]["field"]), (422, &json!("arms[1].instruction")), "{error}");
}

#[test]
fn an_adapter_gets_its_base_model_when_it_is_added() {
    let lorank = prepared();
    let models = fixture("");
    let server = serve(&lorank, &["--adapter-source", &models]);
    let put = |id: &str, body: Value| server.ask("PUT", &format!("/v1/adapters/{id}"), &body.to_string());
    let (status, added) = put("b", json!({"source": fixture("tiny-bert/adapter-b")}));
    assert_eq!((status, &added["served_on"]), (201, &json!("bert")), "{added}");
    let (status, added) = put("c", json!({"source": fixture("tiny-bert/adapter-b"), "base": "bert"}));
    assert_eq!((status, &added["served_on"]), (201, &json!("bert")), "{added}");
    for (id, body, part) in [
        ("d", json!({"source": fixture("tiny-bert/adapter-b"), "base": "minilm"}), "adapter"),
        ("d", json!({"source": fixture("tiny-bert/adapter-b"), "base": "ettin"}), "no base model `ettin` is loaded"),
        (
            "d",
            json!({"source": fixture("tiny-llama/adapter-a")}),
            "does not fit the base model `tiny-bert-fixture/base`",
        ),
        ("bert", json!({"source": fixture("tiny-bert/adapter-b")}), "is the name of a base model"),
    ] {
        let (status, error) = put(id, body);
        assert!((400..500).contains(&status) && error.to_string().contains(part), "{status} {error}");
    }
    // The command line tries the base models of the server, or those that it is given.
    let base = fixture("tiny-llama/base");
    let llama = fixture("tiny-llama/adapter-a");
    let added = lorank.run(&["adapters", "add", "llama", &llama, "--base", &bert(), "--base", &base]);
    assert!(added.contains(&format!("checked on `{base}`\n")), "{added}");
    // It is measured where int8 could be chosen.
    let info = lorank.json(&["info", "--json", "--base", &base, "--adapter", &llama]);
    assert_eq!(added.contains(" its ranking on `base`: "), is_fast_in_int8_groups(&info), "{added}");
    let moved = lorank.json(&["adapters", "alias", "best", "b", "--json"]);
    assert_eq!(moved["checked_on"], json!([bert()]));
    let (code, error) = lorank.fail(&["adapters", "alias", "best", "llama"], "");
    assert!(code == 1 && error.contains("the base models of the server that runs as process"), "{error}");
}

#[test]
fn commands_take_several_base_models() {
    let lorank = prepared();
    let (expected, bert) = (expected(&lorank), bert());
    let with = |args: &[&str]| lorank.json(&[args, &["--base", "minilm", "--base", &bert, "--json"]].concat());
    let compared = with(&["compare", "--index", "i", QUERY]);
    let names: Vec<&str> =
        compared["rankers"].as_array().unwrap().iter().map(|ranker| ranker["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["first-stage", MINILM, "bert"]);
    let compared = with(&["compare", "--index", "i", "--adapter", "tiny", "--adapter", "none", QUERY]);
    assert_eq!(compared["rankers"][1]["name"], "tiny");
    let tiny = ["search", "--index", "i", "--adapter", "tiny", QUERY];
    assert_eq!(ranked(&with(&tiny)), ("bert".to_owned(), json!("tiny"), expected["tiny"].clone()));
    let named = format!("mine@bert={}", fixture("tiny-bert/adapter-a"));
    let searched = with(&["search", "--index", "i", "--adapter", &named, QUERY]);
    assert_eq!(ranked(&searched), ("bert".to_owned(), json!("mine"), expected["tiny"].clone()));

    lorank.write("queries.jsonl", "{\"_id\": \"q\", \"text\": \"light bulb\"}\n");
    lorank.write("qrels.tsv", "query-id\tcorpus-id\tscore\nq\t3\t1\n");
    let eval = with(&["eval", "--index", "i", "--queries", "queries.jsonl", "--qrels", "qrels.tsv"]);
    let bases: Vec<&str> =
        eval["base_models"].as_array().unwrap().iter().map(|base| base["name"].as_str().unwrap()).collect();
    assert_eq!(bases, [MINILM, "bert"]);
    let rankers = eval["rankers"].as_array().unwrap();
    assert!(rankers.iter().skip(1).all(|ranker| ranker["seconds_per_query"].as_f64().is_some()), "{eval}");

    let info = with(&["info"]);
    let models = info["models"].as_array().unwrap();
    let bytes = |model: &Value| model["model"]["n_bytes"].as_u64().unwrap();
    assert_eq!(info["models_bytes"].as_u64().unwrap(), models.iter().map(bytes).sum::<u64>());
    assert_eq!(models[0]["names"][0], MINILM);
    assert!(models[0]["names"].as_array().unwrap().contains(&json!("minilm")));
    let text = lorank.run(&["info", "--base", "minilm", "--base", &bert]);
    assert!(text.contains("of weights in 2 base models\n"), "{text}");
}

#[test]
fn base_models_that_cannot_be_told_apart_are_refused() {
    let lorank = Lorank::new();
    lorank.run_with(&["index", "--index", "i", "-"], DOCUMENTS);
    let bert = fixture("tiny-bert/base");
    let check = |args: &[&str], code: i32, parts: &[&str]| {
        let (found, error) = lorank.fail(&[&["search", "--index", "i"], args, &[QUERY]].concat(), "");
        assert!(found == code && parts.iter().all(|part| error.contains(part)), "{args:?}: {found} {error}");
    };
    let named = |name: &str| format!("{name}={bert}");
    check(&["--base", &named("a"), "--base", &named("b")], 2, &["`a` and `b` are the same model"]);
    check(&["--base", "a=minilm", "--base", &named("a")], 2, &["two base models have the name `a`"]);
    check(&["--base", "minilm", "--base", &named("none")], 2, &["the name `none` of a base model is reserved"]);
    let adapter = format!("b={}", fixture("tiny-bert/adapter-a"));
    check(
        &["--base", "minilm", "--base", &named("b"), "--adapter", &adapter],
        2,
        &["the adapter id `b` is the name of a base model"],
    );
    let adapter = format!("x@c={}", fixture("tiny-bert/adapter-a"));
    check(
        &["--base", "minilm", "--base", &named("b"), "--adapter", &adapter],
        1,
        &["no base model `c` is loaded; the base models are `cross-encoder/ms-marco-MiniLM-L-12-v2`, `b`"],
    );
    let (code, error) = lorank.fail(&["bench", "--base", "minilm", "--base", &bert], "");
    assert!(code == 2 && error.contains("this command uses one base model"), "{error}");
}
