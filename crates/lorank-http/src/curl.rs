//! `curl` commands for the operations of the OpenAPI document, made from the examples of their parameters and bodies.

use serde_json::{Map, Value as Json, json};

/// The server's default address.
const SERVER: &str = "http://127.0.0.1:7788";

/// The key of the commands. API reference generators such as Redoc show its entries as code samples.
pub(crate) const SAMPLES: &str = "x-codeSamples";

/// The longest JSON body that is written on one line, in bytes.
const COMPACT_BYTES_MAX: usize = 80;

/// Adds a command to each operation, or one for each content type of its body.
pub(crate) fn add_samples(api: &mut Json) {
    let Some(paths) = api["paths"].as_object_mut() else { return };
    for (path, item) in paths {
        let Some(item) = item.as_object_mut() else { continue };
        for (method, operation) in item {
            let sample = |source: String| json!({"lang": "Shell", "label": "curl", "source": source});
            operation[SAMPLES] = commands(method, path, operation).into_iter().map(sample).collect();
        }
    }
}

fn commands(method: &str, path: &str, operation: &Json) -> Vec<String> {
    let url = quoted(&format!("{SERVER}{}", with_examples(path, operation)));
    let bodies = operation["requestBody"]["content"].as_object();
    let bodies: Vec<(&String, &Json)> = bodies.map_or_else(Vec::new, |content| content.iter().collect());
    if bodies.is_empty() {
        return vec![match method {
            "get" => format!("curl {url}"),
            other => format!("curl -X {} {url}", other.to_uppercase()),
        }];
    }
    // A body makes it a POST.
    let method = if method == "post" { String::new() } else { format!("-X {} ", method.to_uppercase()) };
    let command = |(content_type, content): (&String, &Json)| {
        let header = quoted(&format!("content-type: {content_type}"));
        format!("curl {method}{url} -H {header} {}", data(&content["example"]))
    };
    bodies.into_iter().map(command).collect()
}

/// The path with the examples of its parameters, and the query parameters that have an example.
fn with_examples(path: &str, operation: &Json) -> String {
    let (mut path, mut query) = (path.to_owned(), Vec::new());
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        let (Some(name), Some(example)) = (parameter["name"].as_str(), example_of(parameter)) else { continue };
        match parameter["in"].as_str() {
            Some("path") => path = path.replace(&format!("{{{name}}}"), &example),
            Some("query") => query.push(format!("{name}={}", example.replace(' ', "+"))),
            _ => {}
        }
    }
    if !query.is_empty() {
        path += &format!("?{}", query.join("&"));
    }
    path
}

fn example_of(parameter: &Json) -> Option<String> {
    let schema = &parameter["schema"];
    let examples = [&parameter["example"], &schema["example"], &schema["examples"][0]];
    match examples.into_iter().find(|example| !example.is_null())? {
        Json::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// The option of curl that sends an example. A string is a body with line breaks, which `-d` would remove.
fn data(example: &Json) -> String {
    let compact = example.to_string();
    match example {
        Json::String(text) => format!("--data-binary {}", quoted(text)),
        _ if compact.len() <= COMPACT_BYTES_MAX => format!("-d {}", quoted(&compact)),
        _ => format!("-d {}", quoted(&serde_json::to_string_pretty(example).unwrap_or(compact))),
    }
}

/// A word for a POSIX shell.
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/:._-".contains(c);
    if text.chars().all(is_plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// The commands of an operation.
pub(crate) fn samples(operation: &Map<String, Json>) -> impl Iterator<Item = &str> {
    let samples = operation.get(SAMPLES).and_then(Json::as_array).into_iter().flatten();
    samples.filter_map(|sample| sample["source"].as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: &str, path: &str, operation: Json, expected: &[&str]) {
        let mut api = json!({"paths": {path: {method: operation}}});
        add_samples(&mut api);
        let operation = api["paths"][path][method].as_object().unwrap();
        assert_eq!(samples(operation).collect::<Vec<_>>(), expected, "{method} {path}");
    }

    #[test]
    fn parameters_have_their_examples() {
        let id = json!({"name": "id", "in": "path", "example": "p12"});
        let query = json!({"name": "q", "in": "query", "schema": {"example": "light bulb"}});
        let unset = json!({"name": "force", "in": "query", "schema": {"type": "boolean"}});
        check("get", "/health", json!({}), &["curl http://127.0.0.1:7788/health"]);
        check("get", "/d/{id}", json!({"parameters": [id, unset]}), &["curl http://127.0.0.1:7788/d/p12"]);
        check("delete", "/d/{id}", json!({"parameters": [id]}), &["curl -X DELETE http://127.0.0.1:7788/d/p12"]);
        check("get", "/s", json!({"parameters": [query]}), &["curl 'http://127.0.0.1:7788/s?q=light+bulb'"]);
    }

    #[test]
    fn each_content_type_has_a_command() {
        let body = |content: Json| json!({"requestBody": {"content": content}});
        let json_body = body(json!({"application/json": {"example": {"query": "it's"}}}));
        let expected = "http://127.0.0.1:7788/s -H 'content-type: application/json' -d '{\"query\":\"it'\\''s\"}'";
        check("post", "/s", json_body.clone(), &[&format!("curl {expected}")]);
        check("put", "/s", json_body, &[&format!("curl -X PUT {expected}")]);
        let lines = body(json!({"application/x-ndjson": {"example": "{}\n{}\n"}}));
        let expected = "curl http://127.0.0.1:7788/s -H 'content-type: application/x-ndjson' --data-binary '{}\n{}\n'";
        check("post", "/s", lines, &[expected]);
        let long = "a".repeat(COMPACT_BYTES_MAX);
        let expected = format!(
            "curl http://127.0.0.1:7788/s -H 'content-type: application/json' -d '{{\n  \"query\": \"{long}\"\n}}'"
        );
        check("post", "/s", body(json!({"application/json": {"example": {"query": long}}})), &[&expected]);
    }
}
