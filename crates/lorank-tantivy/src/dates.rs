//! Dates in texts.

use tantivy::time::format_description::well_known::Rfc3339;
use tantivy::time::{Date, Month, OffsetDateTime, Time};

/// The point in time that a text names in RFC 3339 form: `2024-05-01T10:00:00+02:00`, or `2024-05-01` for the beginning
/// of that day in UTC.
pub(crate) fn nanos_since_1970(text: &str) -> Option<i128> {
    let bytes = text.as_bytes();
    // Nearly every text is no date: tell so by its fifth byte.
    if bytes.len() < 10 || bytes[4] != b'-' {
        return None;
    }
    let moment = if bytes.len() == 10 {
        OffsetDateTime::new_utc(full_date(text)?, Time::MIDNIGHT)
    } else {
        OffsetDateTime::parse(text, &Rfc3339).ok()?
    };
    Some(moment.unix_timestamp_nanos())
}

fn full_date(text: &str) -> Option<Date> {
    let is_written_as_date = text.bytes().enumerate().all(|(n, byte)| match n {
        4 | 7 => byte == b'-',
        _ => byte.is_ascii_digit(),
    });
    if !is_written_as_date {
        return None;
    }
    let month: u8 = text[5..7].parse().ok()?;
    let month = Month::try_from(month).ok()?;
    Date::from_calendar_date(text[..4].parse().ok()?, month, text[8..].parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_rfc_3339() {
        check("1970-01-01T00:00:00Z", Some(0));
        check("1970-01-01T02:00:00.000000001+02:00", Some(1));
        check("1970-01-02", Some(86_400_000_000_000));
        check("0001-01-01T00:00:00Z", Some(-62_135_596_800_000_000_000));
        for no_date in
            ["", "1970", "1970-13-01", "1970-02-30", "1970-1-1-1-", "+970-01-01", "1970-01-01T00:00:00", "héé-"]
        {
            check(no_date, None);
        }
    }

    fn check(text: &str, nanos: Option<i128>) {
        assert_eq!(nanos_since_1970(text), nanos, "{text}");
    }
}
