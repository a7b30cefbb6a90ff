//! Settings, and the macro that declares a section of settings.
//!
//! [`settings!`] declares a setting once: its documentation, type, default and flag, and whether a running server can
//! change it. The macro derives the field of the configuration, the key in the configuration file, the flag with its
//! environment variable and help, and the rows of `lorank config show`.

use std::fmt::Display;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;

use lorank_cache::RedisUrl;
use lorank_core::{AdapterId, PassageRule, RerankStages};
use lorank_elastic::{IndexPattern, NodeUrl, SearchField};
use lorank_experiment_store::StoreUrl;
use lorank_http::{AllowedHost, CorsOrigin, ModelAlias};
use lorank_model::{DeviceChoice, PrecisionChoice};
use lorank_object_registry::RegistryLocation;
use lorank_pipeline::RankBy;
use serde_json::Value;

use crate::allowed_source::AllowedSource;
use crate::first_stage_kind::FirstStageKind;
use crate::index_spec::IndexSpec;
use crate::per_model::PerModel;
use crate::shadow::ShadowSpec;
use crate::source::{AdapterSpec, BaseSpec, OnBaseMismatch};

/// A setting of the server. The default is that of [`ServerConfig`](crate::ServerConfig).
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// The key in the configuration file, prefixed by its section and a dot: `search.depth`.
    pub key: &'static str,
    /// A description in one or two sentences.
    pub help: &'static str,
    /// The command-line flag, if the setting has one.
    pub flag: Option<Flag>,
    /// A description of the default, if no value stands for it.
    pub unset: Option<&'static str>,
    /// Whether [`ServerHandle::reload`](crate::ServerHandle::reload) can change it.
    pub is_live: bool,
}

/// The flag of a setting.
#[derive(Debug, Clone, Copy)]
pub struct Flag {
    /// The name without dashes.
    pub name: &'static str,
    /// The environment variable.
    pub variable: &'static str,
    /// The name of the value in the help; empty for a switch.
    pub value_name: &'static str,
    /// The number of values.
    pub arity: Arity,
    /// Parses one value into its form in the configuration file.
    ///
    /// # Errors
    /// Describes the invalid text.
    pub parse: fn(&str) -> Result<Value, String>,
}

/// The prefix of every environment variable.
pub(crate) const VARIABLE_PREFIX: &str = "LORANK_";

/// The name of a flag's environment variable, as bytes: the prefix, then the name in upper case with `_` for `-`.
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

/// The number of values of a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arity {
    /// No value: the flag's presence sets it.
    Switch,
    /// One value.
    One,
    /// One value per occurrence; the flag may be repeated. In the variable, commas separate values if values cannot
    /// contain them.
    Repeated {
        /// Whether a comma separates values.
        by_comma: bool,
    },
}

/// A type that a flag can set.
pub(crate) trait FlagValue {
    const ARITY: Arity = Arity::One;

    /// Parses one value into its form in the configuration file.
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

/// A type whose setting can have several values.
pub(crate) trait IsRepeated {
    /// Whether commas separate values in the variable; false for paths, which may contain commas.
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
    BaseSpec,
    CorsOrigin,
    DeviceChoice,
    IndexSpec,
    ModelAlias,
    OnBaseMismatch,
    PathBuf
);
texts!(
    FirstStageKind,
    IndexPattern,
    NodeUrl,
    PassageRule,
    PerModel<PrecisionChoice>,
    PerModel<usize>,
    RankBy,
    RedisUrl,
    RegistryLocation,
    RerankStages,
    SearchField,
    ShadowSpec,
    StoreUrl,
    String
);

impl FlagValue for SocketAddr {
    fn parse(text: &str) -> Result<Value, String> {
        let problem = "an IP address with a port is expected, as in `127.0.0.1:7788`; `localhost` is `127.0.0.1`";
        text.parse::<Self>().map(|_| Value::from(text)).map_err(|_| problem.to_owned())
    }
}

impl IsRepeated for AdapterSpec {
    const BY_COMMA: bool = false;
}

impl IsRepeated for BaseSpec {
    const BY_COMMA: bool = true;
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

impl IsRepeated for ModelAlias {
    const BY_COMMA: bool = true;
}

impl IsRepeated for IndexSpec {
    const BY_COMMA: bool = false;
}

impl IsRepeated for CorsOrigin {
    const BY_COMMA: bool = true;
}

impl IsRepeated for NodeUrl {
    const BY_COMMA: bool = true;
}

impl IsRepeated for SearchField {
    const BY_COMMA: bool = true;
}

/// Names of fields.
impl IsRepeated for String {
    const BY_COMMA: bool = true;
}

impl IsRepeated for ShadowSpec {
    const BY_COMMA: bool = true;
}

fn parsed<T: FromStr<Err: Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: T::Err| error.to_string())
}

/// Declares a section of the configuration with its settings. The [module](self) lists what it generates.
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
            /// The settings of this section, without those of nested sections.
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
                    Err(_) => panic!("a flag's name is ASCII"),
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
