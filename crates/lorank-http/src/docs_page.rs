//! The API reference at `/docs`: plain HTML without scripts, rendered from the OpenAPI document.

use maud::{DOCTYPE, Markup, html};
use serde_json::{Map, Value as Json};

use crate::curl::samples;

/// Renders an OpenAPI 3.1 document as a page.
pub(crate) fn render(api: &Json) -> String {
    let (title, version) = (text(&api["info"]["title"]), text(&api["info"]["version"]));
    let operations = operations(api);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) ": HTTP API" }
                link rel="stylesheet" href="docs/style.css";
            }
            body {
                h1 { (title) " " (version) ": HTTP API" }
                (prose(&api["info"]["description"]))
                p { "The same as an OpenAPI document: " a href="openapi.json" { code { "openapi.json" } } "." }
                (contents(api, &operations))
                @for tag in list(&api["tags"]) {
                    @let name = text(&tag["name"]);
                    h2 id=(name) { (name) }
                    (prose(&tag["description"]))
                    @for operation in operations.iter().filter(|operation| operation.tag() == &tag["name"]) {
                        (operation.section())
                    }
                }
                h2 id="schemas" { "Schemas" }
                @for (name, schema) in object(&api["components"]["schemas"]) {
                    h3 id={ "schema-" (name) } { code { (name) } }
                    (schema_section(schema))
                }
            }
        }
    };
    page.into_string()
}

/// A method of a path.
struct Operation<'a> {
    path: &'a str,
    method: &'a str,
    json: &'a Json,
}

fn operations(api: &Json) -> Vec<Operation<'_>> {
    let paths = object(&api["paths"]);
    paths.flat_map(|(path, item)| object(item).map(move |(method, json)| Operation { path, method, json })).collect()
}

fn contents(api: &Json, operations: &[Operation<'_>]) -> Markup {
    html! {
        nav {
            @for tag in list(&api["tags"]) {
                @let name = text(&tag["name"]);
                p { a href={ "#" (name) } { (name) } }
                ul {
                    @for operation in operations.iter().filter(|operation| operation.tag() == &tag["name"]) {
                        li { a href={ "#" (operation.id()) } { (operation.name()) } }
                    }
                }
            }
            p { a href="#schemas" { "Schemas" } }
        }
    }
}

impl Operation<'_> {
    fn tag(&self) -> &Json {
        &self.json["tags"][0]
    }

    fn id(&self) -> &str {
        text(&self.json["operationId"])
    }

    fn name(&self) -> Markup {
        html! { span class="method" { (self.method) } " " code { (self.path) } }
    }

    fn section(&self) -> Markup {
        html! {
            h3 id=(self.id()) { (self.name()) " " span class="summary" { (text(&self.json["summary"])) } }
            (prose(&self.json["description"]))
            (self.parameters())
            @for (content_type, content) in object(&self.json["requestBody"]["content"]) {
                p { "Body: " (kind(&content["schema"])) " as " code { (content_type) } "." }
            }
            @for command in self.json.as_object().into_iter().flat_map(samples) {
                pre { (command) }
            }
            (self.responses())
        }
    }

    fn parameters(&self) -> Markup {
        let row = |parameter: &Json| {
            let name = html! { code { (text(&parameter["name"])) } " in " (text(&parameter["in"])) };
            let is_required = parameter["required"] == true;
            [name, kind(&parameter["schema"]), required_mark(is_required), prose(&parameter["description"])]
        };
        table(["parameter", "type", "", "description"], list(&self.json["parameters"]).iter().map(row))
    }

    fn responses(&self) -> Markup {
        let row = |(status, response): (&String, &Json)| {
            let bodies = html! {
                @for (n, (content_type, content)) in object(&response["content"]).enumerate() {
                    @if n > 0 { br; }
                    (kind(&content["schema"])) " as " code { (content_type) }
                }
            };
            [html! { code { (status) } }, prose(&response["description"]), bodies]
        };
        table(["status", "description", "body"], object(&self.json["responses"]).map(row))
    }
}

fn schema_section(schema: &Json) -> Markup {
    let required = list(&schema["required"]);
    let row = |(name, property): (&String, &Json)| {
        let is_required = required.iter().any(|known| known == name);
        [html! { code { (name) } }, kind(property), required_mark(is_required), prose(&property["description"])]
    };
    let properties = object(&schema["properties"]);
    html! {
        (prose(&schema["description"]))
        @if properties.len() == 0 {
            p { (kind(schema)) }
        } @else {
            (table(["key", "type", "", "description"], properties.map(row)))
        }
    }
}

/// The type of a value as text with links to schemas.
fn kind(schema: &Json) -> Markup {
    if let Some(target) = schema["$ref"].as_str() {
        let name = target.rsplit('/').next().unwrap_or_default();
        return html! { a href={ "#schema-" (name) } { (name) } };
    }
    let choices = ["oneOf", "anyOf", "allOf"].into_iter().find_map(|key| schema[key].as_array());
    if let Some(choices) = choices {
        return either(choices.iter().map(kind));
    }
    if let Some(values) = schema["enum"].as_array() {
        return either(values.iter().map(|value| html! { code { (value.to_string()) } }));
    }
    match &schema["type"] {
        Json::String(name) if name == "array" => html! { "array of " (kind(&schema["items"])) },
        Json::String(name) => html! { (name) },
        Json::Array(names) => either(names.iter().map(|name| kind(&Json::Object(with_type(schema, name))))),
        _ => html! { "any" },
    }
}

fn either(kinds: impl Iterator<Item = Markup>) -> Markup {
    html! {
        @for (n, kind) in kinds.enumerate() {
            @if n > 0 { " or " }
            (kind)
        }
    }
}

/// A schema of several types, reduced to one of them.
fn with_type(schema: &Json, name: &Json) -> Map<String, Json> {
    let mut one = Map::from_iter([("type".to_owned(), name.clone())]);
    one.extend(schema.get("items").map(|items| ("items".to_owned(), items.clone())));
    one
}

fn required_mark(is_required: bool) -> Markup {
    html! { @if is_required { "required" } }
}

fn table<const N: usize>(names: [&str; N], rows: impl Iterator<Item = [Markup; N]>) -> Markup {
    let mut rows = rows.peekable();
    if rows.peek().is_none() {
        return Markup::default();
    }
    html! {
        div class="table" {
            table {
                tr { @for name in names { th { (name) } } }
                @for row in rows {
                    tr { @for cell in row { td { (cell) } } }
                }
            }
        }
    }
}

/// Paragraphs, with text in backticks as code.
fn prose(json: &Json) -> Markup {
    html! {
        @for paragraph in text(json).split("\n\n").filter(|paragraph| !paragraph.trim().is_empty()) {
            p {
                @for (n, span) in paragraph.split('`').enumerate() {
                    @if n % 2 == 1 { code { (span) } } @else { (span) }
                }
            }
        }
    }
}

fn text(json: &Json) -> &str {
    json.as_str().unwrap_or_default()
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
    fn types_are_shown_as_text() {
        for (schema, expected) in [
            (json!({"type": "string"}), "string"),
            (json!({"type": ["integer", "null"]}), "integer or null"),
            (json!({"type": ["array", "null"], "items": {"type": "string"}}), "array of string or null"),
            (json!({"$ref": "#/components/schemas/Hit"}), "<a href=\"#schema-Hit\">Hit</a>"),
            (json!({"oneOf": [{"type": "null"}, {"type": "number"}]}), "null or number"),
            (json!({"type": "string", "enum": ["a<b"]}), "<code>&quot;a&lt;b&quot;</code>"),
            (json!({}), "any"),
        ] {
            assert_eq!(kind(&schema).into_string(), expected, "{schema}");
        }
    }

    #[test]
    fn prose_is_escaped() {
        let prose = |json: &Json| prose(json).into_string();
        assert_eq!(prose(&json!("a `<b>` & c\n\nd")), "<p>a <code>&lt;b&gt;</code> &amp; c</p><p>d</p>");
        assert_eq!(prose(&Json::Null), "");
    }

    #[test]
    fn markup_in_the_document_is_escaped() {
        let hostile = "<script>alert(\"1\")</script>";
        let parameter = json!({"name": hostile, "in": "query", "description": hostile, "schema": {"type": hostile}});
        let content = json!({"a/b<": {"schema": {"$ref": hostile}, "example": {"key": hostile}}});
        let operation = json!({
            "tags": ["one"], "operationId": hostile, "summary": hostile, "description": hostile, "parameters": [parameter],
            "x-codeSamples": [{"source": hostile}],
            "requestBody": {"content": content}, "responses": {"200": {"description": hostile, "content": content}},
        });
        let page = render(&json!({
            "info": {"title": hostile, "version": hostile, "description": hostile},
            "tags": [{"name": "one", "description": hostile}],
            "paths": {hostile: {"get": operation}},
            "components": {"schemas": {hostile: {"properties": {hostile: {"enum": [hostile]}}}}},
        }));
        assert!(
            !page.contains("<script") && page.contains("&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;"),
            "{page}"
        );
        for fragment in
            ["<h2 id=\"one\">one</h2>", "<th>parameter</th>", "<td><code>200</code></td>", "<pre>&lt;script", "a/b&lt;"]
        {
            assert!(page.contains(fragment), "{fragment} is not in {page}");
        }
    }
}
