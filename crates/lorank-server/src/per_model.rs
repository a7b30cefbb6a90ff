//! Settings that base models and adapters can have of their own.

use std::fmt::{self, Display};
use std::marker::PhantomData;
use std::str::FromStr;

use lorank_core::AdapterId;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A value for all models, and others for those that are named: base models or adapters.
///
/// Its text form is `VALUE,NAME=VALUE,..`, as in `auto,minilm-qa=f32`; the value for all models may be left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PerModel<T> {
    /// The value for the models that are not named.
    pub all: Option<T>,
    /// The values of named models; no name occurs twice.
    pub named: Vec<(AdapterId, T)>,
}

impl<T> PerModel<T> {
    /// The value of the model with a name that has one of its own.
    pub fn own(&self, is_name: impl Fn(&AdapterId) -> bool) -> Option<&T> {
        self.named.iter().find(|(name, _)| is_name(name)).map(|(_, value)| value)
    }

    /// The names that have a value of their own.
    pub fn names(&self) -> impl Iterator<Item = &AdapterId> {
        self.named.iter().map(|(name, _)| name)
    }
}

impl<T> Default for PerModel<T> {
    fn default() -> Self {
        Self { all: None, named: Vec::new() }
    }
}

impl<T> From<T> for PerModel<T> {
    /// The same value for all models.
    fn from(value: T) -> Self {
        Self { all: Some(value), named: Vec::new() }
    }
}

impl<T: FromStr<Err: Display>> FromStr for PerModel<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parsed = Self::default();
        for part in text.split(',').map(str::trim) {
            let Some((name, value)) = part.split_once('=') else {
                let value = part.parse().map_err(|error: T::Err| error.to_string())?;
                if parsed.all.replace(value).is_some() {
                    return Err(format!("`{text}` has two values without a name; write `NAME=VALUE` for one model"));
                }
                continue;
            };
            let name: AdapterId = name.trim().parse().map_err(|error| format!("{error}"))?;
            let value = value.trim().parse().map_err(|error: T::Err| format!("`{name}`: {error}"))?;
            if parsed.names().any(|earlier| *earlier == name) {
                return Err(format!("`{text}` has two values for `{name}`; give each name once"));
            }
            parsed.named.push((name, value));
        }
        Ok(parsed)
    }
}

impl<T: Display> Display for PerModel<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.all.iter().map(ToString::to_string);
        let named = self.named.iter().map(|(name, value)| format!("{name}={value}"));
        f.pad(&all.chain(named).collect::<Vec<_>>().join(","))
    }
}

impl<T: Display> Serialize for PerModel<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, T: FromStr<Err: Display>> Deserialize<'de> for PerModel<T> {
    /// Reads the text form, or a number for all models.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text<T>(PhantomData<T>);
        impl<T: FromStr<Err: Display>> Visitor<'_> for Text<T> {
            type Value = PerModel<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value, or a string such as `VALUE,NAME=VALUE`")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<PerModel<T>, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<PerModel<T>, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<PerModel<T>, E> {
                self.visit_str(&number.to_string())
            }
        }
        deserializer.deserialize_any(Text(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use lorank_core::Precision;
    use lorank_model::PrecisionChoice;

    use super::*;

    #[test]
    fn a_text_has_a_value_for_all_and_values_for_some() {
        let value: PerModel<PrecisionChoice> = "int8, minilm-qa = f32,ettin=auto".parse().unwrap();
        assert_eq!(value.all, Some(Precision::Int8.into()));
        let of = |name: &str| value.own(|own| own.as_str() == name).copied();
        assert_eq!(of("minilm-qa"), Some(Precision::F32.into()));
        assert_eq!((of("ettin"), of("other")), (Some(PrecisionChoice::Auto), None));
        assert_eq!(value.to_string(), "int8,minilm-qa=f32,ettin=auto");
        assert_eq!(value.to_string().parse(), Ok(value));
        assert_eq!("minilm-qa=f32".parse::<PerModel<PrecisionChoice>>().map(|value| value.all), Ok(None));
    }

    #[test]
    fn a_wrong_text_is_refused_with_the_name() {
        for (text, part) in [
            ("", "`` is not a precision"),
            ("f32,int8", "two values without a name"),
            ("a=f32,a=int8", "two values for `a`"),
            ("a=f16", "`a`: `f16` is not a precision"),
            ("a b=f32", "a b"),
            ("f32,", "`` is not a precision"),
        ] {
            let error = text.parse::<PerModel<PrecisionChoice>>().unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn a_number_is_read_as_a_value_for_all() {
        let read = |json: serde_json::Value| serde_json::from_value::<PerModel<usize>>(json);
        assert_eq!(read(256.into()).unwrap(), 256.into());
        assert_eq!(read("256,slow=512".into()).unwrap().own(|name| name.as_str() == "slow"), Some(&512));
        assert!(read((-1).into()).is_err());
        assert!(read(true.into()).unwrap_err().to_string().contains("VALUE,NAME=VALUE"));
    }
}
