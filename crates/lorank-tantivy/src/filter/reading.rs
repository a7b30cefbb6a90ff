//! Parsing of a filter's values by the types of the field.

use lorank_core::Value;

use crate::columns::FieldTypes;
use crate::dates::{Period, begins_like_a_date, is_shaped_like_a_date, period_of};
use crate::document::name_of;
use crate::number::Number;
use crate::schema::KEYWORD_BYTES_MAX;

/// The interpretations of a value in a field.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Readings {
    pub bool: Option<bool>,
    pub number: Option<Number>,
    pub date: Option<Period>,
    pub text: Option<String>,
}

/// The role of a value in a comparison.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Role {
    /// Equality: a text is compared as text, and as the number or date that it represents.
    Equal,
    /// A bound: a text that represents a number or date is compared only as such, because texts and numbers have no common order.
    Bound,
}

impl Readings {
    /// Parses a value as each type of the field.
    ///
    /// # Errors
    /// A value that has none of these types, or an invalid date.
    pub(super) fn new(value: &Value, types: FieldTypes, role: Role) -> Result<Self, String> {
        let readings = match value {
            Value::Bool(value) => Self { bool: Some(*value).filter(|_| types.bools), ..Self::default() },
            Value::Integer(number) => Self::of_integer((*number).into(), types),
            Value::Unsigned(number) => Self::of_integer((*number).into(), types),
            Value::Float(number) if number.is_nan() => {
                return Err("compares with NaN, which is not a number".to_owned());
            }
            Value::Float(number) => {
                Self { number: Some(Number::Float(*number)).filter(|_| types.numbers), ..Self::default() }
            }
            Value::Decimal(number) => {
                Self { number: Number::from_json(number.as_str()).filter(|_| types.numbers), ..Self::default() }
            }
            Value::Text(text) => Self::of_text(text, types, role)?,
            other => {
                return Err(format!("compares with {}, where it needs a text, a number or a boolean", name_of(other)));
            }
        };
        if role == Role::Bound
            && readings.bool.is_some()
            && readings == (Self { bool: readings.bool, ..Self::default() })
        {
            return Err("has a boolean as a bound, but booleans have no order".to_owned());
        }
        if readings == Self::default() {
            return Err(format!("compares with {}, but the field only has {types}", shown(value)));
        }
        Ok(readings)
    }

    fn of_integer(number: i128, types: FieldTypes) -> Self {
        let year = || period_of(&number.to_string());
        Self {
            number: Some(Number::Integer(number)).filter(|_| types.numbers),
            date: if types.dates { year() } else { None },
            ..Self::default()
        }
    }

    fn of_text(text: &str, types: FieldTypes, role: Role) -> Result<Self, String> {
        if text.len() > KEYWORD_BYTES_MAX {
            return Err(format!(
                "compares with a text longer than the {KEYWORD_BYTES_MAX} bytes that can be filtered on"
            ));
        }
        let bool = match text {
            "true" | "True" | "TRUE" => Some(true),
            "false" | "False" | "FALSE" => Some(false),
            _ => None,
        };
        let mut readings = Self {
            bool: bool.filter(|_| types.bools),
            number: Number::from_json(text).filter(|_| types.numbers),
            date: period_of(text).filter(|_| types.dates),
            text: None,
        };
        let is_bad_date = match role {
            Role::Equal => is_shaped_like_a_date(text),
            Role::Bound => begins_like_a_date(text),
        };
        if types.dates && readings.date.is_none() && is_bad_date {
            return Err(format!(
                "compares with `{text}`, which is not a date; use `2024-05-01`, `2024-05`, `2024` or `2024-05-01T10:00:00Z`"
            ));
        }
        let is_value = readings.number.is_some() || readings.date.is_some();
        if types.texts && (role == Role::Equal || !is_value) {
            readings.text = Some(text.to_owned());
        }
        Ok(readings)
    }
}

/// A value with its type, for messages.
fn shown(value: &Value) -> String {
    match value {
        Value::Bool(value) => format!("`{value}`, a boolean"),
        Value::Integer(number) => format!("`{number}`, a number"),
        Value::Unsigned(number) => format!("`{number}`, a number"),
        Value::Float(number) => format!("`{number}`, a number"),
        Value::Decimal(number) => format!("`{number}`, a number"),
        Value::Text(text) => format!("`{}`", text.chars().take(100).collect::<String>()),
        other => name_of(other).to_owned(),
    }
}
