//! The address of a database.

use std::fmt;
use std::str::FromStr;

/// The address of a database of PostgreSQL, such as `postgres://user:password@host/database`. `Display` and `Debug` do
/// not show the password.
#[derive(Clone, PartialEq, Eq)]
pub struct StoreUrl {
    url: String,
    shown: String,
}

impl StoreUrl {
    pub(super) fn config(&self) -> postgres::Config {
        self.url.parse().expect("it was read before")
    }
}

impl FromStr for StoreUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // The text is not repeated in the message, because it may have a password.
        let problem = "the address of the experiment store must be a URL such as `postgres://user@host/database`";
        let rest = text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://")).ok_or(problem)?;
        if text.parse::<postgres::Config>().is_err() {
            return Err(format!("{problem}, with parameters of PostgreSQL's libpq"));
        }
        Ok(Self { url: text.to_owned(), shown: format!("postgres://{}", without_password(rest)) })
    }
}

/// An address without its scheme, without the password before the host or among the parameters.
fn without_password(rest: &str) -> String {
    let (before, parameters) = rest.split_once('?').map_or((rest, None), |(before, after)| (before, Some(after)));
    let end = before.find('/').unwrap_or(before.len());
    let before = match before[..end].rfind('@') {
        Some(at) => match before[..at].split_once(':') {
            Some((user, _)) => format!("{user}:***{}", &before[at..]),
            None => before.to_owned(),
        },
        None => before.to_owned(),
    };
    let hide = |parameter: &str| match parameter.split_once('=') {
        Some(("password", _)) => "password=***".to_owned(),
        _ => parameter.to_owned(),
    };
    match parameters {
        None => before,
        Some(parameters) => format!("{before}?{}", parameters.split('&').map(hide).collect::<Vec<_>>().join("&")),
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_shown_without_the_password() {
        for (text, shown) in [
            ("postgres://localhost/lorank", "postgres://localhost/lorank"),
            (
                "postgresql://ali@db.example:5433/lorank?sslmode=require",
                "postgres://ali@db.example:5433/lorank?sslmode=require",
            ),
            ("postgres://ali:open%20sesame@[::1]/lorank", "postgres://ali:***@[::1]/lorank"),
            (
                "postgres:///lorank?host=/run/postgresql&password=sesame&user=ali",
                "postgres:///lorank?host=/run/postgresql&password=***&user=ali",
            ),
        ] {
            let url: StoreUrl = text.parse().unwrap();
            assert_eq!((url.to_string().as_str(), format!("{url:?}").as_str()), (shown, shown));
        }
    }

    #[test]
    fn other_addresses_are_refused_without_being_repeated() {
        for text in [
            "sqlite:sesame",
            "host=localhost password=sesame",
            "mysql://ali:sesame@localhost",
            "postgres://ali:sesame@localhost/?nonsense=1",
        ] {
            let problem = text.parse::<StoreUrl>().unwrap_err();
            assert!(problem.contains("must be a URL") && !problem.contains("sesame"), "{problem}");
        }
    }
}
