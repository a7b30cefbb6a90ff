//! The description of the API as a page: plain HTML, without a script.

use std::fmt::Write;

use serde_json::{Map, Value as Json};

/// The page of a description in OpenAPI 3.1.
pub(crate) fn render(api: &Json) -> String {
    let info = &api["info"];
    let operations = operations(api);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>{title}: HTTP API</title><link rel=\"stylesheet\" href=\"docs/style.css\"></head>\n\
         <body><h1>{title} {version}: HTTP API</h1>\n{description}\
         <p>For machines it is in <a href=\"openapi.json\"><code>openapi.json</code></a>.</p>\n",
        title = text(&info["title"]),
        version = text(&info["version"]),
        description = prose(&info["description"]),
    );
    page += &contents(api, &operations);
    for tag in list(&api["tags"]) {
        let _ = write!(page, "<h2 id=\"{0}\">{0}</h2>\n{1}", text(&tag["name"]), prose(&tag["description"]));
        for operation in operations.iter().filter(|operation| operation.tag() == &tag["name"]) {
            page += &operation.render();
        }
    }
    page += "<h2 id=\"schemas\">Schemas</h2>\n";
    for (name, schema) in object(&api["components"]["schemas"]) {
        let _ = write!(page, "<h3 id=\"schema-{0}\"><code>{0}</code></h3>\n{1}", escape(name), schema_section(schema));
    }
    page + "</body></html>\n"
}

/// One method of one path.
struct Operation<'a> {
    path: &'a str,
    method: &'a str,
    json: &'a Json,
}

fn operations(api: &Json) -> Vec<Operation<'_>> {
    let paths = object(&api["paths"]);
    paths.flat_map(|(path, item)| object(item).map(move |(method, json)| Operation { path, method, json })).collect()
}

fn contents(api: &Json, operations: &[Operation<'_>]) -> String {
    let mut nav = "<nav>\n".to_owned();
    for tag in list(&api["tags"]) {
        let _ = write!(nav, "<p><a href=\"#{0}\">{0}</a></p>\n<ul>\n", text(&tag["name"]));
        for operation in operations.iter().filter(|operation| operation.tag() == &tag["name"]) {
            let (id, name) = (text(&operation.json["operationId"]), operation.name());
            let _ = writeln!(nav, "<li><a href=\"#{id}\">{name}</a></li>");
        }
        nav += "</ul>\n";
    }
    nav + "<p><a href=\"#schemas\">Schemas</a></p>\n</nav>\n"
}

impl Operation<'_> {
    fn tag(&self) -> &Json {
        &self.json["tags"][0]
    }

    fn name(&self) -> String {
        format!("<span class=\"method\">{}</span> <code>{}</code>", escape(self.method), escape(self.path))
    }

    fn render(&self) -> String {
        let (name, summary) = (self.name(), text(&self.json["summary"]));
        let mut section = format!(
            "<h3 id=\"{}\">{name} <span class=\"summary\">{summary}</span></h3>\n{}",
            text(&self.json["operationId"]),
            prose(&self.json["description"]),
        );
        section += &self.parameters();
        for (content_type, content) in object(&self.json["requestBody"]["content"]) {
            let (kind, content_type) = (kind(&content["schema"]), escape(content_type));
            let _ = write!(
                section,
                "<p>Body: {kind} as <code>{content_type}</code>.</p>\n{}",
                example(&content["example"])
            );
        }
        section + &self.responses()
    }

    fn parameters(&self) -> String {
        let row = |parameter: &Json| {
            let name = format!("<code>{}</code> in {}", text(&parameter["name"]), text(&parameter["in"]));
            let is_needed = parameter["required"] == true;
            [name, kind(&parameter["schema"]), needed(is_needed), prose(&parameter["description"])]
        };
        table(["parameter", "type", "", "meaning"], list(&self.json["parameters"]).iter().map(row))
    }

    fn responses(&self) -> String {
        let row = |(status, response): (&String, &Json)| {
            let content = object(&response["content"]);
            let bodies =
                content.map(|(name, content)| format!("{} as <code>{}</code>", kind(&content["schema"]), escape(name)));
            let bodies: Vec<String> = bodies.collect();
            [format!("<code>{}</code>", escape(status)), prose(&response["description"]), bodies.join("<br>")]
        };
        table(["status", "meaning", "body"], object(&self.json["responses"]).map(row))
    }
}

fn schema_section(schema: &Json) -> String {
    let required = list(&schema["required"]);
    let row = |(name, property): (&String, &Json)| {
        let is_needed = required.iter().any(|known| known == name);
        [format!("<code>{}</code>", escape(name)), kind(property), needed(is_needed), prose(&property["description"])]
    };
    let properties = object(&schema["properties"]);
    let described = prose(&schema["description"]);
    if properties.len() == 0 {
        return format!("{described}<p>{}</p>\n", kind(schema));
    }
    described + &table(["key", "type", "", "meaning"], properties.map(row))
}

/// The type of a value, in words and links.
fn kind(schema: &Json) -> String {
    if let Some(target) = schema["$ref"].as_str() {
        let name = escape(target.rsplit('/').next().unwrap_or_default());
        return format!("<a href=\"#schema-{name}\">{name}</a>");
    }
    let choices = ["oneOf", "anyOf", "allOf"].into_iter().find_map(|key| schema[key].as_array());
    if let Some(choices) = choices {
        return choices.iter().map(kind).collect::<Vec<_>>().join(" or ");
    }
    if let Some(values) = schema["enum"].as_array() {
        return values
            .iter()
            .map(|value| format!("<code>{}</code>", escape(&value.to_string())))
            .collect::<Vec<_>>()
            .join(" or ");
    }
    match &schema["type"] {
        Json::String(name) if name == "array" => format!("list of {}", kind(&schema["items"])),
        Json::String(name) => escape(name),
        Json::Array(names) => {
            let one = |name: &Json| kind(&Json::Object(with_type(schema, name)));
            names.iter().map(one).collect::<Vec<_>>().join(" or ")
        }
        _ => "anything".to_owned(),
    }
}

/// A schema of several types, as one of them.
fn with_type(schema: &Json, name: &Json) -> Map<String, Json> {
    let mut one = Map::from_iter([("type".to_owned(), name.clone())]);
    one.extend(schema.get("items").map(|items| ("items".to_owned(), items.clone())));
    one
}

fn needed(is_needed: bool) -> String {
    if is_needed { "needed".to_owned() } else { String::new() }
}

/// JSON is written out; a text is a body of another type.
fn example(example: &Json) -> String {
    let written = match example {
        Json::Null => return String::new(),
        Json::String(text) => text.clone(),
        other => serde_json::to_string_pretty(other).unwrap_or_default(),
    };
    format!("<pre>{}</pre>\n", escape(&written))
}

fn table<const N: usize>(names: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let cells = |cells: [String; N], tag: &str| cells.map(|cell| format!("<{tag}>{cell}</{tag}>")).concat();
    let rows: Vec<String> = rows.map(|row| format!("<tr>{}</tr>\n", cells(row, "td"))).collect();
    if rows.is_empty() {
        return String::new();
    }
    let head = cells(names.map(str::to_owned), "th");
    format!("<div class=\"table\"><table><tr>{head}</tr>\n{}</table></div>\n", rows.concat())
}

/// Paragraphs, with what stands in backticks as code.
fn prose(json: &Json) -> String {
    let paragraph = |text: &str| {
        let mut html = String::new();
        for (n, part) in text.split('`').enumerate() {
            let part = escape(part);
            html += &if n % 2 == 1 { format!("<code>{part}</code>") } else { part };
        }
        format!("<p>{html}</p>\n")
    };
    let text = json.as_str().unwrap_or_default();
    text.split("\n\n").filter(|text| !text.trim().is_empty()).map(paragraph).collect()
}

fn text(json: &Json) -> String {
    escape(json.as_str().unwrap_or_default())
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn list(json: &Json) -> &[Json] {
    json.as_array().map_or(&[], Vec::as_slice)
}

fn object(json: &Json) -> serde_json::map::Iter<'_> {
    static NOTHING: std::sync::LazyLock<Map<String, Json>> = std::sync::LazyLock::new(Map::new);
    json.as_object().unwrap_or(&NOTHING).iter()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn types_are_said_in_words() {
        for (schema, expected) in [
            (json!({"type": "string"}), "string"),
            (json!({"type": ["integer", "null"]}), "integer or null"),
            (json!({"type": ["array", "null"], "items": {"type": "string"}}), "list of string or null"),
            (json!({"$ref": "#/components/schemas/Hit"}), "<a href=\"#schema-Hit\">Hit</a>"),
            (json!({"oneOf": [{"type": "null"}, {"type": "number"}]}), "null or number"),
            (json!({"type": "string", "enum": ["a<b"]}), "<code>&quot;a&lt;b&quot;</code>"),
            (json!({}), "anything"),
        ] {
            assert_eq!(kind(&schema), expected, "{schema}");
        }
    }

    #[test]
    fn prose_is_made_harmless() {
        assert_eq!(prose(&json!("a `<b>` & c\n\nd")), "<p>a <code>&lt;b&gt;</code> &amp; c</p>\n<p>d</p>\n");
        assert_eq!(prose(&Json::Null), "");
    }
}
