//! The text form of filters: `lang=en`, `lang=en,de`, `year>=1990`, `year!=2023`.

use std::str::FromStr;

use crate::{Filter, Test, Value};

/// A text that is not a valid filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a filter: {problem}")]
pub struct FilterSyntaxError {
    text: String,
    problem: String,
}

/// The operators. Those that start with another operator come first.
const OPERATORS: [(&str, Operator); 7] = [
    ("!=", Operator::NotEqual),
    (">=", Operator::AtLeast),
    ("<=", Operator::AtMost),
    ("==", Operator::Equal),
    ("=", Operator::Equal),
    (">", Operator::Above),
    ("<", Operator::Below),
];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Operator {
    Equal,
    NotEqual,
    AtLeast,
    Above,
    AtMost,
    Below,
}

/// Parses a filter: a field, an operator (`=`, `!=`, `>`, `>=`, `<`, `<=`) and a value, with optional spaces between
/// them.
///
/// `=` and `!=` take several values, separated by commas: `lang=en,de` matches one of them, `lang!=en,de` none of them.
/// A name or value with a comma, an operator or leading or trailing spaces needs double quotes, in which `\"` is a
/// quote and `\\` a backslash; the empty text is `""`. Quotes do not change a value's type: the field decides it.
///
/// # Errors
/// Describes what is missing or invalid.
impl FromStr for Filter {
    type Err = FilterSyntaxError;

    fn from_str(text: &str) -> Result<Self, FilterSyntaxError> {
        let refused = |problem: String| FilterSyntaxError { text: text.to_owned(), problem };
        let (field, rest) = field(text.trim()).map_err(refused)?;
        let (operator, rest) = operator(rest).map_err(refused)?;
        if field.is_empty() {
            return Err(refused("the field before the operator is missing".to_owned()));
        }
        let values = values(rest).map_err(refused)?;
        let test = test(operator, values).map_err(refused)?;
        Ok(Self { field, test })
    }
}

/// The field's name, and the rest of the text.
fn field(text: &str) -> Result<(String, &str), String> {
    if text.starts_with('"') {
        return quoted(text);
    }
    let no_operator = || "it has no operator; write `field=value`, `field!=value` or `field>=value`".to_owned();
    let at = text.find(['=', '<', '>']).ok_or_else(no_operator)?;
    let at = if text[..at].ends_with('!') { at - 1 } else { at };
    let name = text[..at].trim();
    if name.ends_with('!') {
        return Err(format!("put the field's name in double quotes if it is `{name}`, or write `!=` without a space"));
    }
    Ok((name.to_owned(), &text[at..]))
}

fn operator(rest: &str) -> Result<(Operator, &str), String> {
    const KNOWN: &str = "the operators are `=`, `!=`, `>`, `>=`, `<` and `<=`";
    let rest = rest.trim_start();
    let found = OPERATORS.iter().find_map(|(sign, operator)| Some((*operator, rest.strip_prefix(sign)?)));
    let (operator, values) = found.ok_or_else(|| format!("no operator follows the field; {KNOWN}"))?;
    if values.starts_with(['=', '<', '>']) {
        let signs: String = rest.chars().take_while(|c| "!=<>".contains(*c)).collect();
        return Err(format!("`{signs}` is not an operator; {KNOWN}, and a value that starts with one needs quotes"));
    }
    Ok((operator, values))
}

/// The values, separated by commas outside of quotes.
fn values(mut rest: &str) -> Result<Vec<Value>, String> {
    let mut values = Vec::new();
    loop {
        rest = rest.trim_start();
        let (value, after) = if rest.starts_with('"') {
            let (value, after) = quoted(rest)?;
            (value, after.trim_start())
        } else {
            let (value, after) = rest.split_at(rest.find(',').unwrap_or(rest.len()));
            if value.trim().is_empty() {
                return Err("a value is missing; write `\"\"` for an empty text".to_owned());
            }
            (value.trim_end().to_owned(), after)
        };
        values.push(Value::Text(value.into()));
        match after.strip_prefix(',') {
            Some(after) => rest = after,
            None if after.is_empty() => return Ok(values),
            None => return Err(format!("`{after}` follows a closing quote; separate values with a comma")),
        }
    }
}

/// The text in the double quotes at the start of `text`, and the rest.
fn quoted(text: &str) -> Result<(String, &str), String> {
    let mut unquoted = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((unquoted, &text[at + 1..])),
            '\\' => match chars.next() {
                Some((_, c @ ('"' | '\\'))) => unquoted.push(c),
                Some((_, c)) => unquoted.extend(['\\', c]),
                None => break,
            },
            c => unquoted.push(c),
        }
    }
    Err("unclosed double quote".to_owned())
}

fn test(operator: Operator, values: Vec<Value>) -> Result<Test, String> {
    let n_values = values.len();
    let bound = |is_included: bool| match <[Value; 1]>::try_from(values.clone()) {
        Ok([value]) => Ok(Some((value, is_included))),
        Err(_) => Err(format!("a bound takes one value, not {n_values}; a value with a comma needs double quotes")),
    };
    Ok(match operator {
        Operator::Equal => Test::AnyOf(values),
        Operator::NotEqual => Test::NoneOf(values),
        Operator::AtLeast => Test::Range { lower: bound(true)?, upper: None },
        Operator::Above => Test::Range { lower: bound(false)?, upper: None },
        Operator::AtMost => Test::Range { lower: None, upper: bound(true)? },
        Operator::Below => Test::Range { lower: None, upper: bound(false)? },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, field: &str, test: Test) {
        assert_eq!(text.parse(), Ok(Filter { field: field.into(), test }), "{text}");
    }

    fn any_of<const N: usize>(values: [&str; N]) -> Test {
        Test::AnyOf(values.map(Value::from).to_vec())
    }

    fn none_of<const N: usize>(values: [&str; N]) -> Test {
        Test::NoneOf(values.map(Value::from).to_vec())
    }

    #[test]
    fn values_keep_their_digits_and_quotes_delimit_them() {
        check("lang=en", "lang", any_of(["en"]));
        check(" lang = en, de ", "lang", any_of(["en", "de"]));
        check("sku=04433", "sku", any_of(["04433"]));
        check("n=+1e5", "n", any_of(["+1e5"]));
        check("name=\"Smith, J.\",1", "name", any_of(["Smith, J.", "1"]));
        check("year=\"1990\" , x", "year", any_of(["1990", "x"]));
        check("a=\"\"", "a", any_of([""]));
        check(r#"a=" x ","say \"hi\"","c:\\d","\n""#, "a", any_of([" x ", "say \"hi\"", "c:\\d", "\\n"]));
        check("size=5\"", "size", any_of(["5\""]));
        check("expr=a=b", "expr", any_of(["a=b"]));
        check("year==2023", "year", any_of(["2023"]));
        check("when=2024-05-01 10:00:00", "when", any_of(["2024-05-01 10:00:00"]));
        check("\"a=b, c\"=d", "a=b, c", any_of(["d"]));
        check("é.ü=ß", "é.ü", any_of(["ß"]));
    }

    #[test]
    fn not_equal_is_understood_wherever_it_stands() {
        for text in
            ["year!=2023", "year !=2023", "year != 2023", "year!= 2023", "\"year\"!=2023", "\"year\" != \"2023\""]
        {
            check(text, "year", none_of(["2023"]));
        }
        check("year!=2023,2024", "year", none_of(["2023", "2024"]));
        check("wow\"!=1", "wow\"", none_of(["1"]));
        check("\"wow!\"=1", "wow!", any_of(["1"]));
    }

    #[test]
    fn bounds_are_included_or_not() {
        let range = |lower: Option<(&str, bool)>, upper: Option<(&str, bool)>| Test::Range {
            lower: lower.map(|(value, is_included)| (value.into(), is_included)),
            upper: upper.map(|(value, is_included)| (value.into(), is_included)),
        };
        check("year>=1990", "year", range(Some(("1990", true)), None));
        check("author.age < 3.5", "author.age", range(None, Some(("3.5", false))));
        check("date>2020-01-31", "date", range(Some(("2020-01-31", false)), None));
        check("year<=0", "year", range(None, Some(("0", true))));
        check("name>=\"a,b\"", "name", range(Some(("a,b", true)), None));
    }

    #[test]
    fn what_is_no_filter_says_why() {
        for (text, problem) in [
            ("", "it has no operator"),
            ("lang", "it has no operator"),
            ("lang en", "it has no operator"),
            ("lang:en", "it has no operator"),
            ("\"lang\"", "no operator follows the field"),
            ("\"lang\" en", "no operator follows the field"),
            ("=en", "the field before the operator is missing"),
            ("!=en", "the field before the operator is missing"),
            ("\"\"=en", "the field before the operator is missing"),
            ("lang=", "a value is missing"),
            ("lang= ", "a value is missing"),
            ("year>", "a value is missing"),
            ("lang=en,", "a value is missing"),
            ("lang=,en", "a value is missing"),
            ("year=>2023", "`=>` is not an operator"),
            ("year=<2023", "`=<` is not an operator"),
            ("year<>2023", "`<>` is not an operator"),
            ("year!>2023", "no operator follows the field"),
            ("year===2023", "`===` is not an operator"),
            ("year!==2023", "`!==` is not an operator"),
            ("year! =2023", "in double quotes if it is `year!`"),
            ("a=\"b", "unclosed double quote"),
            ("a=\"b\\", "unclosed double quote"),
            ("a=\"b\"c", "`c` follows a closing quote"),
            ("price>=3,50", "a bound takes one value, not 2"),
        ] {
            let error = text.parse::<Filter>().unwrap_err().to_string();
            assert!(error.contains(&format!("`{text}` is not a filter")) && error.contains(problem), "{text}: {error}");
        }
    }
}
