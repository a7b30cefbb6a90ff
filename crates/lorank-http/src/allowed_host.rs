//! The allowed values of `Host` for a server without keys.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use axum::http::uri::Authority;

/// A host that requests to a server without keys may name, in addition to the loopback names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowedHost {
    /// Any host: `*`.
    Any,
    /// This address; the unspecified address (`0.0.0.0` or `::`) matches every address.
    Address(IpAddr),
    /// This name, in lowercase.
    Name(String),
}

impl AllowedHost {
    /// Whether a request may name this host: a loopback name or address, or one of those allowed.
    ///
    /// A name of another domain may resolve to this machine (DNS rebinding), so only known names are allowed. Addresses cannot be
    /// rebound.
    pub(crate) fn permits(allowed: &[Self], host: &str) -> bool {
        match address(host) {
            Some(address) => address.is_loopback() || allowed.iter().any(|one| one.permits_address(address)),
            None => {
                let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
                // RFC 6761, section 6.3: these names always resolve to the loopback interface.
                let is_loopback = name == "localhost" || name.ends_with(".localhost");
                is_loopback || allowed.iter().any(|one| one.permits_name(&name))
            }
        }
    }

    fn permits_address(&self, address: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::Address(own) => own.is_unspecified() || own.to_canonical() == address,
            Self::Name(_) => false,
        }
    }

    fn permits_name(&self, name: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Address(_) => false,
            Self::Name(own) => own == name,
        }
    }
}

/// Parses the host of a URI as an address; an IPv6 address may have brackets.
fn address(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    bare.parse().ok().map(|address: IpAddr| address.to_canonical())
}

impl FromStr for AllowedHost {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::Any);
        }
        if let Some(address) = address(text) {
            return Ok(Self::Address(address));
        }
        let is_name = |authority: &Authority| authority.as_str() == authority.host() && !text.contains(['[', '*']);
        let name =
            text.parse().ok().filter(is_name).map(|_| text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase());
        name.filter(|name| !name.is_empty()).map(Self::Name).ok_or_else(|| {
            format!("`{text}` is not a host; give a name or an address without scheme, port and path, or `*`")
        })
    }
}

impl fmt::Display for AllowedHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Address(address) => address.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_and_allowed_hosts_pass_and_no_others() {
        for (allowed, host, passes) in [
            (&[][..], "localhost", true),
            (&[], "LocalHost.", true),
            (&[], "shop.localhost", true),
            (&[], "127.0.0.1", true),
            (&[], "127.1.2.3", true),
            (&[], "[::1]", true),
            (&[], "[::ffff:127.0.0.1]", true),
            (&[], "localhost.example", false),
            (&[], "notlocalhost", false),
            (&[], "127.0.0.1.example", false),
            (&[], "127.1", false),
            (&[], "2130706433", false),
            (&[], "0.0.0.0", false),
            (&[], "192.0.2.1", false),
            (&[], "", false),
            (&["192.0.2.1"], "192.0.2.1", true),
            (&["192.0.2.1"], "[::ffff:192.0.2.1]", true),
            (&["192.0.2.1"], "192.0.2.2", false),
            (&["192.0.2.1"], "evil.example", false),
            (&["0.0.0.0"], "192.0.2.7", true),
            (&["0.0.0.0"], "[2001:db8::1]", true),
            (&["::"], "192.0.2.7", true),
            (&["0.0.0.0"], "evil.example", false),
            (&["[2001:db8::1]"], "[2001:db8:0::1]", true),
            (&["search.example", "lorank"], "Search.Example", true),
            (&["search.example", "lorank"], "lorank", true),
            (&["search.example"], "www.search.example", false),
            (&["search.example"], "search.example.evil.example", false),
            (&["*"], "evil.example", true),
            (&["*"], "192.0.2.1", true),
        ] {
            let allowed: Vec<AllowedHost> = allowed.iter().map(|text| text.parse().unwrap()).collect();
            assert_eq!(AllowedHost::permits(&allowed, host), passes, "{host} under {allowed:?}");
        }
    }

    #[test]
    fn a_host_is_written_without_scheme_port_and_path() {
        for (text, written) in [
            ("*", Some("*")),
            ("Search.Example.", Some("search.example")),
            ("192.0.2.1", Some("192.0.2.1")),
            ("[::1]", Some("::1")),
            ("::1", Some("::1")),
            ("search.example:80", None),
            ("http://search.example", None),
            ("search.example/", None),
            ("user@search.example", None),
            ("*.example", None),
            (".", None),
            ("a b", None),
            ("", None),
        ] {
            let found = text.parse().ok().map(|host: AllowedHost| host.to_string());
            assert_eq!(found.as_deref(), written, "{text}");
        }
    }
}
