//! The values of flags that are addresses, which may have a password: error messages do not repeat them.

use std::ffi::OsStr;

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Arg, Command, Error};
use serde_json::Value;

/// Parses an address.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AddressParser(pub fn(&str) -> Result<Value, String>);

impl TypedValueParser for AddressParser {
    type Value = Value;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<Value, Error> {
        let parsed = value.to_str().ok_or_else(|| "it is not UTF-8".to_owned()).and_then(self.0);
        parsed.map_err(|problem| {
            let flag = arg.map_or_else(|| "an address".to_owned(), |arg| format!("'{arg}'"));
            command.clone().error(ErrorKind::ValueValidation, format!("invalid value for {flag}: {problem}"))
        })
    }
}
