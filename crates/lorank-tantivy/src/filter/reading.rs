//! A filter's values, read by the types of the field that they are compared with.

use lorank_core::Value;

use crate::columns::FieldTypes;
use crate::dates::{Period, begins_like_a_date, is_shaped_like_a_date, period_of};
use crate::document::name_of;
use crate::number::Number;
use crate::schema::KEYWORD_BYTES_MAX;

/// What a value may stand for in a field.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Readings {
    pub bool: Option<bool>,
    pub number: Option<Number>,
    pub date: Option<Period>,
    pub text: Option<String>,
}

/// What a value is compared for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Role {
    /// Equality: a text may be what it says, and what it spells.
    Equal,
    /// A bound: a text that spells a number or a date is one, since between texts and numbers there is no order.
    Bound,
}

impl Readings {
    /// Reads a value as each type that a field holds.
    ///
    /// # Errors
    /// A value that is of none of these types, or looks like a date and is none.
    pub(super) fn new(value: &Value, types: FieldTypes, role: Role) -> Result<Self, String> {
        let readings = match value {
            Value::Bool(value) => Self { bool: Some(*value).filter(|_| types.bools), ..Self::default() },
            Value::Integer(number) => Self::of_integer((*number).into(), types),
            Value::Unsigned(number) => Self::of_integer((*number).into(), types),
            Value::Float(number) if number.is_nan() => return Err("compares with NaN, which is no number".to_owned()),
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
            return Err("has a boolean as a bound, and booleans have no order".to_owned());
        }
        if readings == Self::default() {
            return Err(format!("compares with {}, and the field holds {types} only", shown(value)));
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
                "compares with `{text}`, which is not a date; write `2024-05-01`, `2024-05`, `2024` or `2024-05-01T10:00:00Z`"
            ));
        }
        let is_value = readings.number.is_some() || readings.date.is_some();
        if types.texts && (role == Role::Equal || !is_value) {
            readings.text = Some(text.to_owned());
        }
        Ok(readings)
    }
}

/// A value as it is shown in a message, with its type.
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
