//! Where a consumer starts in a partition that it has not read before.

/// The value of `consumer/offset/reset`, and of the option `--offset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetReset {
    /// At the first record.
    Earliest,
    /// After the records that are already published.
    Latest,
    /// At the record with this offset.
    Offset(u64),
    /// At this number of records before those that [`OffsetReset::Latest`] reads.
    Last(u64),
    /// At the first record that was published at this time or later, in milliseconds since the Unix epoch.
    Time(i64),
}

impl OffsetReset {
    /// What a valid value is.
    pub const VALID: &str = "earliest, latest, an offset, -N for the last N records, or @TIME with a time in milliseconds \
                             since the Unix epoch or as YYYY-MM-DD[THH:MM[:SS]] in UTC";

    /// Returns the meaning of a value; `None` if it is invalid.
    pub fn parse(value: &[u8]) -> Option<OffsetReset> {
        match value {
            b"earliest" => Some(OffsetReset::Earliest),
            b"latest" | b"-0" => Some(OffsetReset::Latest),
            [b'-', count @ ..] => number(count).map(OffsetReset::Last),
            [b'@', time @ ..] => time_ms(time).map(OffsetReset::Time),
            // The last offset that a record can have is one less than the largest number.
            offset => number(offset).filter(|&offset| offset < u64::MAX).map(OffsetReset::Offset),
        }
    }
}

/// A number of digits only.
fn number(digits: &[u8]) -> Option<u64> {
    let is_number = digits.iter().all(u8::is_ascii_digit);
    is_number.then(|| str::from_utf8(digits).ok()?.parse().ok())?
}

/// A time in milliseconds since the Unix epoch.
fn time_ms(time: &[u8]) -> Option<i64> {
    match number(time) {
        Some(ms) => ms.try_into().ok(),
        None => date_ms(time),
    }
}

/// The time of `YYYY-MM-DD[THH:MM[:SS]]`, with or without a `Z` after a time of day.
fn date_ms(text: &[u8]) -> Option<i64> {
    let (date, clock) = text.split_at_checked("YYYY-MM-DD".len())?;
    let [year, month, day] = fields(date, b'-')?;
    let [hour, minute, second] = match clock {
        [] => [0; 3],
        [b'T', clock @ ..] => {
            let clock = clock.strip_suffix(b"Z").unwrap_or(clock);
            match clock.len() {
                5 => fields(&[clock, b":00"].concat(), b':')?,
                8 => fields(clock, b':')?,
                _ => return None,
            }
        }
        _ => return None,
    };
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let lens = [31, if is_leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let month_len = lens.get(usize::try_from(month - 1).ok()?)?;
    if year < 1970 || !(1..=*month_len).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    // The leap years before this year, less those before 1970.
    let before = year - 1;
    let leap_days = before / 4 - before / 100 + before / 400 - 477;
    let month_days: i64 = lens.iter().take(month as usize - 1).sum();
    let days = (year - 1970) * 365 + leap_days + month_days + day - 1;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000)
}

/// Three numbers between separators. The first number of a date has four digits, all others have two.
fn fields(text: &[u8], separator: u8) -> Option<[i64; 3]> {
    let mut parts = text.split(|&octet| octet == separator);
    let fields = [parts.next()?, parts.next()?, parts.next()?];
    let first_len = text.len() - "-MM-DD".len();
    if parts.next().is_some() || fields.map(<[u8]>::len) != [first_len, 2, 2] {
        return None;
    }
    let [first, second, third] = fields.map(|field| number(field).and_then(|number| number.try_into().ok()));
    Some([first?, second?, third?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use OffsetReset::{Earliest, Last, Latest, Offset, Time};

    #[test]
    fn each_form_has_its_meaning() {
        for (value, expected) in [
            ("earliest", Earliest),
            ("latest", Latest),
            ("0", Offset(0)),
            ("18446744073709551614", Offset(u64::MAX - 1)),
            ("-0", Latest),
            ("-18446744073709551615", Last(u64::MAX)),
            ("@0", Time(0)),
            ("@1700000000123", Time(1_700_000_000_123)),
            ("@1970-01-01", Time(0)),
            ("@2000-03-01T00:00", Time(951_868_800_000)),
            ("@2024-02-29T23:59:59Z", Time(1_709_251_199_000)),
            ("@2026-11-30T06:13Z", Time(1_796_019_180_000)),
            ("@2100-03-01", Time(4_107_542_400_000)),
            ("@9999-12-31T23:59:59", Time(253_402_300_799_000)),
        ] {
            assert_eq!(OffsetReset::parse(value.as_bytes()), Some(expected), "{value}");
        }
    }

    #[test]
    fn all_other_values_are_invalid() {
        for value in [
            "",
            "-",
            "@",
            "+1",
            "- 1",
            "1 ",
            "1x",
            "Latest",
            "--1",
            "@-1",
            "@1.5",
            "18446744073709551615",
            "-18446744073709551616",
            "@9223372036854775808",
            "@1969-12-31",
            "@2023-02-29",
            "@2100-02-29",
            "@2023-00-01",
            "@2023-13-01",
            "@2023-01-00",
            "@2023-1-01",
            "@2023-01-01T",
            "@2023-01-01T24:00",
            "@2023-01-01T12",
            "@2023-01-01T12:60",
            "@2023-01-01T12:00:60",
            "@2023-01-01Z",
            "@2023-01-01 12:00",
            "@2023-01-01T12:00+01:00",
        ] {
            assert_eq!(OffsetReset::parse(value.as_bytes()), None, "{value}");
        }
    }
}
