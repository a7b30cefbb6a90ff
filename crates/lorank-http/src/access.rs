//! Access control: bearer keys with roles.

use std::fmt;
use std::str::FromStr;

use axum::http::{HeaderMap, header};

use crate::ServerError;

/// The role of a key. Each role includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Submit events, and nothing else. Such a key may be public.
    Events,
    /// Search and compare.
    Search,
    /// Change documents.
    Write,
    /// Read and change adapters, aliases and experiments.
    Admin,
}

impl Role {
    /// All roles in increasing order.
    pub const ALL: [Self; 4] = [Self::Events, Self::Search, Self::Write, Self::Admin];

    /// The name of the role.
    pub fn name(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Search => "search",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|role| role.name() == text);
        found.ok_or_else(|| format!("`{text}` is not a role; roles are `events`, `search`, `write` and `admin`"))
    }
}

/// A key, of which only the hash is stored.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    /// A descriptive name.
    pub name: String,
    /// The role.
    pub role: Role,
    hash: blake3::Hash,
}

impl Key {
    /// A key with the hash of its text in 64 hexadecimal digits.
    ///
    /// # Errors
    /// An invalid hash.
    pub fn new(name: impl Into<String>, role: Role, hash: &str) -> Result<Self, String> {
        let hash =
            blake3::Hash::from_hex(hash).map_err(|error| format!("`{hash}` is not the hash of a key: {error}"))?;
        Ok(Self { name: name.into(), role, hash })
    }

    /// The hash of a key's text. Keys are long and random, so neither a salt nor a work factor is needed.
    pub fn hash_of(text: &str) -> String {
        blake3::hash(text.as_bytes()).to_hex().to_string()
    }
}

/// Omits the hash, which should not be logged.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("name", &self.name).field("role", &self.role).finish_non_exhaustive()
    }
}

/// The keys of a service. Without keys, everyone may do everything, which suits a service that only its own machine can reach.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// The keys.
    pub keys: Vec<Key>,
}

impl Access {
    /// Checks that a request with these headers has a key with the role.
    pub(crate) fn check(&self, headers: &HeaderMap, needed: Role) -> Result<(), ServerError> {
        self.check_role(bearer(headers).and_then(|text| self.role_of(text)), needed)
    }

    /// The same for events, whose key may be in the query string, because `navigator.sendBeacon` cannot set headers. Keys of other roles
    /// may not, because URLs are stored in logs and histories.
    pub(crate) fn check_events(&self, headers: &HeaderMap, key: Option<&str>) -> Result<(), ServerError> {
        let role = key.filter(|_| bearer(headers).is_none()).and_then(|text| self.role_of(text));
        match role {
            None => self.check(headers, Role::Events),
            Some(Role::Events) => Ok(()),
            Some(other) => Err(ServerError::KeyInAddress { role: other.name() }),
        }
    }

    fn check_role(&self, role: Option<Role>, needed: Role) -> Result<(), ServerError> {
        if self.keys.is_empty() {
            return Ok(());
        }
        match role {
            None => Err(ServerError::Unauthorized { role: needed.name() }),
            Some(found) if found < needed => Err(ServerError::Forbidden { found: found.name(), needed: needed.name() }),
            Some(_) => Ok(()),
        }
    }

    /// Compares all keys, each in constant time, so that the duration reveals nothing.
    fn role_of(&self, text: &str) -> Option<Role> {
        let hash = blake3::hash(text.as_bytes());
        let mut found = None;
        for key in &self.keys {
            if key.hash == hash {
                found = found.max(Some(key.role));
            }
        }
        found
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, key) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire_word;

    #[test]
    fn a_role_may_do_what_lower_ones_may() {
        let key = |name: &str, role| Key::new(name, role, &Key::hash_of(name)).unwrap();
        let access = Access { keys: Role::ALL.map(|role| key(role.name(), role)).into() };
        let check = |sent: Option<&str>, needed| {
            let headers = sent.map(|sent| (header::AUTHORIZATION, sent.parse().unwrap()));
            access.check(&headers.into_iter().collect(), needed).map_err(|error| wire_word(error.kind()))
        };
        for needed in Role::ALL {
            for held in Role::ALL {
                let expected = if held >= needed { Ok(()) } else { Err("forbidden") };
                assert_eq!(
                    check(Some(&format!("Bearer {}", held.name())), needed),
                    expected,
                    "{held:?} for {needed:?}"
                );
            }
            for none in [None, Some("Bearer other"), Some("Basic admin"), Some("admin"), Some("Bearer")] {
                assert_eq!(check(none, needed), Err("unauthorized"), "{none:?}");
            }
        }
        for (bearer, key, expected) in [
            (None, Some("events"), Ok(())),
            (None, Some("search"), Err("forbidden")),
            (None, Some("admin"), Err("forbidden")),
            (None, Some("other"), Err("unauthorized")),
            (None, Some(""), Err("unauthorized")),
            (None, None, Err("unauthorized")),
            (Some("Bearer search"), None, Ok(())),
            (Some("Bearer search"), Some("other"), Ok(())),
            (Some("Bearer other"), Some("events"), Err("unauthorized")),
        ] {
            let headers = bearer.map(|sent| (header::AUTHORIZATION, sent.parse().unwrap())).into_iter().collect();
            let found = access.check_events(&headers, key).map_err(|error| wire_word(error.kind()));
            assert_eq!(found, expected, "{bearer:?} {key:?}");
        }
        assert!(Access::default().check_events(&HeaderMap::new(), None).is_ok());
        assert!(Access::default().check(&HeaderMap::new(), Role::Admin).is_ok());
        assert!(!format!("{access:?}").contains(&Key::hash_of("admin")));
    }
}
