//! What a setting is, and the macro that declares a section of settings.
//!
//! A setting is declared once, in [`settings!`]: its documentation, its type and its default, its flag, and whether a running
//! server takes another value of it. From that come the field of the configuration, its key in a configuration file, the flag
//! with its variable of the environment and its help, and the rows that `lorank config show` prints.

use std::fmt::Display;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;

use lorank_core::AdapterId;
use lorank_http::{AllowedHost, CorsOrigin};
use lorank_model::{DeviceChoice, PrecisionChoice};
use lorank_pipeline::RankBy;
use serde_json::Value;

use crate::allowed_source::AllowedSource;
use crate::index_spec::IndexSpec;
use crate::shadow::ShadowSpec;
use crate::source::{AdapterSpec, ModelSource, OnBaseMismatch};

/// A setting of the server. The default is that of [`ServerConfig`](crate::ServerConfig).
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// The key in the configuration file, the section before it with a dot between them: `search.depth`.
    pub key: &'static str,
    /// What it is, in one or two sentences for people.
    pub help: &'static str,
    /// The flag of the command line, where there is one.
    pub flag: Option<Flag>,
    /// What an unset value means, where no value stands for it.
    pub unset: Option<&'static str>,
    /// Whether [`ServerHandle::reload`](crate::ServerHandle::reload) changes it.
    pub is_live: bool,
}

/// The flag of a setting.
#[derive(Debug, Clone, Copy)]
pub struct Flag {
    /// The name without the dashes.
    pub name: &'static str,
    /// The variable of the environment that stands for the flag.
    pub variable: &'static str,
    /// What the help calls the value; empty for a switch.
    pub value_name: &'static str,
    /// How many values it takes.
    pub arity: Arity,
    /// Reads the text of one value, as the configuration has it.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub parse: fn(&str) -> Result<Value, String>,
}

/// Before the name of every variable.
pub(crate) const VARIABLE_PREFIX: &str = "LORANK_";

/// The bytes of the variable that stands for a flag: the prefix, then the name in capitals with `_` for `-`.
pub(crate) const fn variable<const N: usize>(name: &str) -> [u8; N] {
    let (prefix, name) = (VARIABLE_PREFIX.as_bytes(), name.as_bytes());
    let mut bytes = [0; N];
    let mut i = 0;
    while i < N {
        bytes[i] = match i.checked_sub(prefix.len()) {
            None => prefix[i],
            Some(at) if name[at] == b'-' => b'_',
            Some(at) => name[at].to_ascii_uppercase(),
        };
        i += 1;
    }
    bytes
}

/// How many values a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arity {
    /// None: being there is its value.
    Switch,
    /// One.
    One,
    /// One, and the flag may be repeated. In a variable, commas separate them, where the values cannot have any.
    Repeated {
        /// Whether a comma separates values.
        by_comma: bool,
    },
}

/// A type that a flag can give a value of.
pub(crate) trait FlagValue {
    const ARITY: Arity = Arity::One;

    /// Reads one value as a configuration has it.
    fn parse(text: &str) -> Result<Value, String>;
}

impl FlagValue for bool {
    const ARITY: Arity = Arity::Switch;

    fn parse(text: &str) -> Result<Value, String> {
        parsed::<Self>(text).map(Value::from)
    }
}

impl<T: FlagValue> FlagValue for Option<T> {
    const ARITY: Arity = T::ARITY;

    fn parse(text: &str) -> Result<Value, String> {
        T::parse(text)
    }
}

impl<T: FlagValue + IsRepeated> FlagValue for Vec<T> {
    const ARITY: Arity = Arity::Repeated { by_comma: T::BY_COMMA };

    fn parse(text: &str) -> Result<Value, String> {
        T::parse(text)
    }
}

/// A type of which a setting can have several values.
pub(crate) trait IsRepeated {
    /// Whether a comma separates values: not where a value is a path, which may have one.
    const BY_COMMA: bool;
}

macro_rules! numbers {
    ($($type:ty),*) => {$(
        impl FlagValue for $type {
            fn parse(text: &str) -> Result<Value, String> {
                let number = parsed::<Self>(text)?;
                serde_json::to_value(number).map_err(|error| error.to_string())
            }
        }
    )*};
}

macro_rules! texts {
    ($($type:ty),*) => {$(
        impl FlagValue for $type {
            fn parse(text: &str) -> Result<Value, String> {
                parsed::<Self>(text).map(|_| Value::from(text))
            }
        }
    )*};
}

numbers!(u64, usize, NonZeroUsize);
texts!(
    AdapterId,
    AdapterSpec,
    AllowedHost,
    AllowedSource,
    CorsOrigin,
    DeviceChoice,
    IndexSpec,
    ModelSource,
    OnBaseMismatch,
    PathBuf
);
texts!(PrecisionChoice, RankBy, ShadowSpec, SocketAddr);

impl IsRepeated for AdapterSpec {
    const BY_COMMA: bool = false;
}

impl IsRepeated for AdapterId {
    const BY_COMMA: bool = true;
}

impl IsRepeated for AllowedSource {
    const BY_COMMA: bool = true;
}

impl IsRepeated for AllowedHost {
    const BY_COMMA: bool = true;
}

impl IsRepeated for IndexSpec {
    const BY_COMMA: bool = false;
}

impl IsRepeated for CorsOrigin {
    const BY_COMMA: bool = true;
}

impl IsRepeated for ShadowSpec {
    const BY_COMMA: bool = true;
}

fn parsed<T: FromStr<Err: Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: T::Err| error.to_string())
}

/// Declares a section of the configuration with its settings. See the [module](self) for what is made of them.
macro_rules! settings {
    (
        $(#[$about:meta])+
        pub struct $name:ident, keys $prefix:literal {
            $(
                $(#[doc = $help:literal])+
                $(#[serde($($serde:tt)*)])?
                $field:ident: $type:ty = $default:expr
                    $(, flag $flag:literal $value_name:literal)?
                    $(, unset $unset:literal)?
                    $(, live $live:literal)?;
            )*
        }
        $(sections {
            $(
                $(#[doc = $section_help:literal])+
                $(#[serde($($section_serde:tt)*)])?
                $section:ident: $section_type:ty,
            )*
        })?
    ) => {
        $(#[$about])+
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name {
            $(
                $(#[doc = $help])+
                $(#[serde($($serde)*)])?
                pub $field: $type,
            )*
            $($(
                $(#[doc = $section_help])+
                $(#[serde($($section_serde)*)])?
                pub $section: $section_type,
            )*)?
        }

        impl Default for $name {
            fn default() -> Self {
                Self {
                    $($field: $default,)*
                    $($($section: Default::default(),)*)?
                }
            }
        }

        impl $name {
            /// The settings that stand in this section itself.
            pub const SETTINGS: &'static [$crate::settings::Setting] = &[$(
                $crate::settings::Setting {
                    key: concat!($prefix, stringify!($field)),
                    help: concat!($($help),+),
                    flag: $crate::settings::settings!(@flag $type $(, $flag $value_name)?),
                    unset: $crate::settings::settings!(@option $($unset)?),
                    is_live: $crate::settings::settings!(@switch $($live)?),
                },
            )*];
        }
    };
    (@flag $type:ty) => { None };
    (@flag $type:ty, $name:literal $value_name:literal) => {
        Some($crate::settings::Flag {
            name: $name,
            variable: {
                const N_BYTES: usize = $crate::settings::VARIABLE_PREFIX.len() + $name.len();
                const BYTES: [u8; N_BYTES] = $crate::settings::variable($name);
                match std::str::from_utf8(&BYTES) {
                    Ok(variable) => variable,
                    Err(_) => panic!("the name of a flag is ASCII"),
                }
            },
            value_name: $value_name,
            arity: <$type as $crate::settings::FlagValue>::ARITY,
            parse: <$type as $crate::settings::FlagValue>::parse,
        })
    };
    (@option) => { None };
    (@option $value:literal) => { Some($value) };
    (@switch) => { false };
    (@switch $value:literal) => { $value };
}

pub(crate) use settings;
