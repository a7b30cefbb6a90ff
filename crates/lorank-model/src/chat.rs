//! Chat templates (Jinja) as prompts, in the way that sentence-transformers applies them to a pair.
//!
//! A pair becomes messages of the roles `query` and `document`, and an instruction one of the role `system` before them.
//! The template is rendered once, when the model is loaded, with marks in place of the texts. What it renders around the
//! marks is the prompt, so users' texts never reach the template engine. Templates that change the texts themselves are
//! refused.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, Error, ErrorKind, Value};
use serde_json::{Map, Value as Json, json};

use crate::template::{Template, TemplatePart, TokenNames};
use crate::whole::{Whole, WholeTemplates};

/// The maximum length of a template and of its output, in bytes.
const BYTES_MAX: usize = 256 << 10;
/// The maximum steps of a rendering.
const STEPS_MAX: u64 = 1_000_000;

/// How a chat template is applied.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct ChatSettings {
    /// Whether the content of a message is a list of parts; otherwise it is the text.
    pub(crate) is_structured: bool,
    /// Further variables, such as `add_generation_prompt`.
    pub(crate) variables: Map<String, Json>,
    /// The instruction of `default_prompt_name`.
    pub(crate) instruction: Option<String>,
}

/// The texts of a rendering.
#[derive(Debug, Clone, Copy)]
struct Pair<'a> {
    instruction: Option<&'a str>,
    query: &'a str,
    document: &'a str,
}

/// Marks that no template contains: characters without a meaning (Unicode's private use).
const INSTRUCTION_MARK: &str = "\u{f8f0}\u{f8f1}\u{f8f2}";
const QUERY_MARK: &str = "\u{f8f3}\u{f8f4}\u{f8f5}";
const DOCUMENT_MARK: &str = "\u{f8f6}\u{f8f7}\u{f8f8}";

/// Texts that show whether a template changes them: white space at both ends, several lines, markup, nothing.
const PROBES: [[&str; 2]; 4] = [["alpha", "bravo"], [" a  b ", "\n c\t\n"], ["<a & 'b'>", "{{ x }} \"d\""], ["", ""]];

/// The prompt of a chat template.
///
/// # Errors
/// Why the template cannot be a prompt.
pub(crate) fn templates(
    template: &str,
    settings: &ChatSettings,
    tokens: &TokenNames,
) -> Result<WholeTemplates, String> {
    let engine = Engine::new(template, settings, tokens)?;
    let plain = engine.whole(None);
    let instructed = match engine.whole(Some(INSTRUCTION_MARK)) {
        Ok(whole) if whole.has_instruction() => Some(whole),
        // The template ignores the role `system`, or refuses it.
        Ok(_) | Err(_) => None,
    };
    match (plain, instructed) {
        (Err(why), None) => Err(why),
        (plain, instructed) => Ok(WholeTemplates { instructed, plain: plain.ok() }),
    }
}

/// A template with its environment.
struct Engine<'a> {
    environment: Environment<'a>,
    settings: &'a ChatSettings,
    tokens: &'a TokenNames,
}

impl<'a> Engine<'a> {
    fn new(template: &'a str, settings: &'a ChatSettings, tokens: &'a TokenNames) -> Result<Self, String> {
        if template.len() > BYTES_MAX {
            return Err(format!("it has {} bytes; the limit is {BYTES_MAX}", template.len()));
        }
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|error| describe(&error))?);
        environment.set_fuel(Some(STEPS_MAX));
        environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        });
        environment.add_template("chat_template", template).map_err(|error| describe(&error))?;
        Ok(Self { environment, settings, tokens })
    }

    fn render(&self, pair: Pair<'_>) -> Result<String, String> {
        let content = |text: &str| match self.settings.is_structured {
            true => json!([{"type": "text", "text": text}]),
            false => json!(text),
        };
        let message = |role: &str, text: &str| json!({"role": role, "content": content(text)});
        let system = pair.instruction.map(|instruction| message("system", instruction));
        let messages: Vec<Json> =
            system.into_iter().chain([message("query", pair.query), message("document", pair.document)]).collect();
        let mut variables = Map::new();
        variables.insert("messages".into(), messages.into());
        variables.insert("add_generation_prompt".into(), false.into());
        variables.extend(self.tokens.iter().map(|(name, token)| (format!("{name}_token"), token.as_str().into())));
        variables.extend(self.settings.variables.clone());
        let template = self.environment.get_template("chat_template").map_err(|error| describe(&error))?;
        let text = template.render(Value::from(Serde(&variables))).map_err(|error| describe(&error))?;
        if text.len() > BYTES_MAX {
            return Err(format!("it renders {} bytes; the limit is {BYTES_MAX}", text.len()));
        }
        Ok(text)
    }

    /// The template with placeholders for the texts, after checking that it inserts all texts unchanged.
    fn whole(&self, instruction: Option<&str>) -> Result<Whole, String> {
        let marked = self.render(Pair { instruction, query: QUERY_MARK, document: DOCUMENT_MARK })?;
        let template = Template::of_marked(
            &marked,
            &[
                (INSTRUCTION_MARK, TemplatePart::Instruction),
                (QUERY_MARK, TemplatePart::Query),
                (DOCUMENT_MARK, TemplatePart::Document),
            ],
        );
        for [query, document] in PROBES {
            let expected = marked.replace(QUERY_MARK, query).replace(DOCUMENT_MARK, document);
            if self.render(Pair { instruction, query, document })? != expected {
                return Err("it changes the query or the document, or depends on them (for example by `trim`); \
                            write the prompt as `template` of a `lorank.json`"
                    .into());
            }
        }
        Whole::of_templates(vec![template])
    }
}

/// An error with its causes.
fn describe(error: &Error) -> String {
    let line = error.line().map_or_else(String::new, |line| format!(" (line {line})"));
    format!("{}{line}", lorank_core::with_causes(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(template: &str, settings: &ChatSettings) -> Result<[Option<Vec<String>>; 2], String> {
        let tokens = [("bos", "<s>".to_owned())];
        let WholeTemplates { instructed, plain } = templates(template, settings, &tokens)?;
        Ok([instructed, plain].map(|whole| whole.map(|whole| whole.sources())))
    }

    const BOTH: &str = "{% for m in messages %}[{{ m.role }}]{{ m.content }}\n{% endfor %}";

    #[test]
    fn roles_are_those_of_a_pair() {
        let [instructed, plain] = parts(BOTH, &ChatSettings::default()).unwrap();
        assert_eq!(plain.unwrap(), ["[query]{query}\n[document]{document}\n"]);
        assert_eq!(instructed.unwrap(), ["[system]{instruction}\n[query]{query}\n[document]{document}\n"]);
    }

    #[test]
    fn variables_and_tokens_are_known() {
        let variables = json!({"add_generation_prompt": true}).as_object().unwrap().clone();
        let settings = ChatSettings { variables, is_structured: true, instruction: None };
        let template = "{{ bos_token }}{{ messages[0].content[0].text }}|{{ messages[1].content[0].text }}\n\
                        {%- if add_generation_prompt %}\n<a>\n{%- endif %}";
        let [instructed, plain] = parts(template, &settings).unwrap();
        assert_eq!(plain.unwrap(), ["<s>{query}|{document}<a>"]);
        assert_eq!(instructed, None, "the document would be missing, so it is no prompt");
    }

    #[test]
    fn unusable_templates_are_refused() {
        for (template, part) in [
            ("{{ messages[0].content }}", "0 of its parts have a placeholder of the document"),
            ("{% for m in messages %}{{ m.content | trim }}{% endfor %}", "changes the query or the document"),
            ("{{ raise_exception('no roles') }}", "no roles"),
            ("{% for m in messages %}", "line 1"),
            ("{% include 'x' %}", "include"),
            ("{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}", "fuel"),
            ("{{ messages[0].content.strip() }}", "strip"),
        ] {
            let why = parts(template, &ChatSettings::default()).unwrap_err();
            assert!(why.contains(part), "{template}: {why}");
        }
    }
}
