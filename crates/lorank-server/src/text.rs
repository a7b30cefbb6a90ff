//! Serializes values as strings in configuration files, for `#[serde(with = ..)]`.

use std::fmt::Display;
use std::str::FromStr;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serializer};

/// Writes one value as a string.
pub(crate) fn serialize<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// Reads one value from a string.
pub(crate) fn deserialize<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    parse(&String::deserialize(deserializer)?)
}

fn parse<T: FromStr<Err: Display>, E: Error>(text: &str) -> Result<T, E> {
    text.parse().map_err(E::custom)
}

/// An optional value.
pub(crate) mod option {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<T: Display, S: Serializer>(value: &Option<T>, serializer: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => serializer.collect_str(value),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<T>, D::Error> {
        Option::<String>::deserialize(deserializer)?.map(|text| super::parse(&text)).transpose()
    }
}

/// A list of values, or a single value.
pub(crate) mod one_or_list {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer};

    pub(crate) use super::list::serialize;

    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a string or a list of strings")]
    pub(super) enum OneOrList {
        One(String),
        List(Vec<String>),
    }

    pub(crate) fn deserialize<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<T>, D::Error> {
        OneOrList::deserialize(deserializer)?.parsed()
    }

    impl OneOrList {
        pub(super) fn parsed<T: FromStr<Err: Display>, E: Error>(self) -> Result<Vec<T>, E> {
            let texts = match self {
                Self::One(text) => vec![text],
                Self::List(texts) => texts,
            };
            texts.iter().map(|text| super::parse(text)).collect()
        }
    }
}

/// A list of values, or a single value; a single value is written without a list.
pub(crate) mod one_if_one {
    use std::fmt::Display;

    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serializer};

    use super::one_or_list::OneOrList;

    pub(crate) fn serialize<T: Display, S: Serializer>(values: &[T], serializer: S) -> Result<S::Ok, S::Error> {
        match values {
            [] => serializer.serialize_none(),
            [one] => serializer.collect_str(one),
            several => super::list::serialize(several, serializer),
        }
    }

    pub(crate) fn deserialize<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<T>, D::Error> {
        Option::<OneOrList>::deserialize(deserializer)?.map_or_else(|| Ok(Vec::new()), OneOrList::parsed)
    }
}

/// A list of values.
pub(crate) mod list {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<T: Display, S: Serializer>(values: &[T], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(values.iter().map(ToString::to_string))
    }

    pub(crate) fn deserialize<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<T>, D::Error> {
        Vec::<String>::deserialize(deserializer)?.iter().map(|text| super::parse(text)).collect()
    }
}

/// A table of strings.
pub(crate) mod map {
    use std::collections::BTreeMap;
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<K: Display, V: Display, S: Serializer>(
        map: &BTreeMap<K, V>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_map(map.iter().map(|(key, value)| (key.to_string(), value.to_string())))
    }

    pub(crate) fn deserialize<'de, K, V, D>(deserializer: D) -> Result<BTreeMap<K, V>, D::Error>
    where
        K: FromStr<Err: Display> + Ord,
        V: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        let map = BTreeMap::<String, String>::deserialize(deserializer)?;
        map.iter().map(|(key, value)| Ok((super::parse(key)?, super::parse(value)?))).collect()
    }
}

/// API keys with name, role and hash. Serialization omits the hash.
pub(crate) mod keys {
    use lorank_http::Key;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct KeyTable {
        name: String,
        role: String,
        #[serde(skip_serializing)]
        hash: String,
    }

    pub(crate) fn serialize<S: Serializer>(keys: &[Key], serializer: S) -> Result<S::Ok, S::Error> {
        let table =
            |key: &Key| KeyTable { name: key.name.clone(), role: key.role.name().to_owned(), hash: String::new() };
        serializer.collect_seq(keys.iter().map(table))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Key>, D::Error> {
        let read = |table: KeyTable| {
            let role =
                table.role.parse().map_err(|why| D::Error::custom(format!("invalid key `{}`: {why}", table.name)))?;
            Key::new(&table.name, role, &table.hash)
                .map_err(|why| D::Error::custom(format!("invalid key `{}`: {why}", table.name)))
        };
        Vec::<KeyTable>::deserialize(deserializer)?.into_iter().map(read).collect()
    }
}
