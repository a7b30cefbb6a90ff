//! Filters as they are typed: `lang=en`, `year>=1990`.

use lorank_core::{Filter, Test, Value};

/// Reads a filter. A value reads as a number or as `true` or `false` if it can, else as text; in double quotes it is text
/// in any case. Several values stand between commas: `lang=en,de`.
pub(crate) fn parse_filter(text: &str) -> Result<Filter, String> {
    let bad = || {
        format!("`{text}` is not a filter; write `field=value`, `field=one,other`, or a bound such as `field>=value`")
    };
    let at = text.find(['=', '<', '>']).ok_or_else(bad)?;
    let (field, rest) = (text[..at].trim(), &text[at..]);
    let operators = [">=", "<=", ">", "<", "="];
    let (operator, value) =
        operators.iter().find_map(|op| Some((*op, rest.strip_prefix(op)?.trim()))).ok_or_else(bad)?;
    if field.is_empty() || value.is_empty() {
        return Err(bad());
    }
    let bound = |is_included| Some((read(value), is_included));
    let test = match operator {
        ">=" => Test::Range { lower: bound(true), upper: None },
        ">" => Test::Range { lower: bound(false), upper: None },
        "<=" => Test::Range { lower: None, upper: bound(true) },
        "<" => Test::Range { lower: None, upper: bound(false) },
        _ => Test::AnyOf(values(value)),
    };
    Ok(Filter { field: field.to_owned(), test })
}

/// The values between the commas that stand outside of quotes.
fn values(text: &str) -> Vec<Value> {
    let mut is_quoted = false;
    let parts = text.split(|c| {
        is_quoted ^= c == '"';
        c == ',' && !is_quoted
    });
    parts.map(|part| read(part.trim())).collect()
}

/// A value as it is typed.
pub(crate) fn read(text: &str) -> Value {
    let unquoted = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    if let Some(text) = unquoted {
        return text.into();
    }
    match text {
        "true" => return Value::Bool(true),
        "false" => return Value::Bool(false),
        _ => {}
    }
    let float = || text.parse().ok().filter(|number: &f64| number.is_finite()).map(Value::Float);
    let integer = text.parse().map(Value::Integer).or_else(|_| text.parse().map(Value::Unsigned));
    integer.ok().or_else(float).unwrap_or_else(|| text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, field: &str, test: Test) {
        assert_eq!(parse_filter(text), Ok(Filter { field: field.into(), test }), "{text}");
    }

    #[test]
    fn values_read_as_what_they_look_like() {
        check("lang=en", "lang", Test::AnyOf(vec!["en".into()]));
        check("lang = en, de", "lang", Test::AnyOf(vec!["en".into(), "de".into()]));
        check("name=\"Smith, J.\",1", "name", Test::AnyOf(vec!["Smith, J.".into(), Value::Integer(1)]));
        check("year=\"1990\"", "year", Test::AnyOf(vec!["1990".into()]));
        check("ok=true", "ok", Test::AnyOf(vec![Value::Bool(true)]));
        check("n=18446744073709551615", "n", Test::AnyOf(vec![Value::Unsigned(u64::MAX)]));
        check("expr=a=b", "expr", Test::AnyOf(vec!["a=b".into()]));
    }

    #[test]
    fn bounds_are_included_or_not() {
        let range = |lower, upper| Test::Range { lower, upper };
        check("year>=1990", "year", range(Some((Value::Integer(1990), true)), None));
        check("author.age < 3.5", "author.age", range(None, Some((Value::Float(3.5), false))));
        check("date>2020-01-31", "date", range(Some(("2020-01-31".into(), false)), None));
        check("year<=0", "year", range(None, Some((Value::Integer(0), true))));
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        for text in ["", "lang", "=en", "lang=", "year>"] {
            assert!(parse_filter(text).unwrap_err().contains("is not a filter"), "{text}");
        }
    }
}
