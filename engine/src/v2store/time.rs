//! Times of the v2 store: nanoseconds since 1970 here, RFC 3339 in JSON.

const DAY: i64 = 86_400;
const NANOS: i64 = 1_000_000_000;

/// Expirations before this, the year 2000, mean that a new node has none (etcd's `minExpireTime`).
pub(super) const EARLIEST: i64 = 946_684_800 * NANOS;

/// `nanos` since 1970 in UTC, as Go's `time.RFC3339Nano` prints it.
pub fn rfc3339(nanos: i64) -> String {
    let (seconds, fraction) = (nanos.div_euclid(NANOS), nanos.rem_euclid(NANOS));
    let (days, second) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let mut text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    if fraction != 0 {
        text += format!(".{fraction:09}").trim_end_matches('0');
    }
    text + "Z"
}

/// Nanoseconds since 1970 of an RFC 3339 time; `None` when it is none, or too far away for 64 bits.
pub(super) fn parse(text: &str) -> Option<i64> {
    let (date, time) = text.split_once('T')?;
    let mut parts = date.splitn(3, '-').map(str::parse::<i64>);
    let (year, month, day) = (parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?);
    let zone_at = time.find(['Z', '+', '-'])?;
    let (clock, zone) = time.split_at(zone_at);
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let mut parts = clock.splitn(3, ':').map(str::parse::<i64>);
    let (hour, minute, second) = (parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?);
    let offset = match zone.as_bytes().first()? {
        b'Z' => 0,
        sign => {
            let (hours, minutes) = zone.get(1..)?.split_once(':')?;
            let (hours, minutes) = (hours.parse::<u8>().ok()?, minutes.parse::<u8>().ok()?);
            let minutes = i64::from(hours) * 60 + i64::from(minutes);
            if *sign == b'-' { -minutes } else { minutes }
        }
    };
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || fraction.len() > 9 {
        return None;
    }
    let nanos = format!("{fraction:0<9}").parse::<i64>().ok()?;
    let seconds = days(year, month, day)?
        .checked_mul(DAY)?
        .checked_add(hour.checked_mul(3600)?)?
        .checked_add(minute.checked_sub(offset)?.checked_mul(60)?)?
        .checked_add(second)?;
    seconds.checked_mul(NANOS)?.checked_add(nanos)
}

/// Year, month and day of a day counted from 1970. Source: H. Hinnant, "chrono-compatible low-level date algorithms".
fn date(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

/// The day counted from 1970 of a year, month and day.
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    let year = year.checked_sub(i64::from(month <= 2))?;
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let shifted_month = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * shifted_month + 2) / 5 + day - 1;
    let of_era = of_era * 365 + of_era / 4 - of_era / 100 + of_year;
    era.checked_mul(146_097)?.checked_add(of_era)?.checked_sub(719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_printed_as_go_does() {
        for (text, nanos) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-01-01T00:00:00Z", EARLIEST),
            ("2026-11-28T06:15:02.123456789Z", 1_795_846_502_123_456_789),
            ("2024-02-29T23:59:59.5Z", 1_709_251_199_500_000_000),
            ("1969-12-31T23:59:59Z", -NANOS),
        ] {
            assert_eq!((rfc3339(nanos).as_str(), parse(text)), (text, Some(nanos)));
        }
        assert_eq!(parse("2026-11-28T07:15:02+01:00"), parse("2026-11-28T06:15:02Z"));
        assert_eq!(parse("2026-11-28T00:45:02-05:30"), parse("2026-11-28T06:15:02Z"));
        // Go's zero time, which means that there is none, is too long ago for 64 bits of nanoseconds.
        for text in [
            "0001-01-01T00:00:00Z",
            "",
            "2026",
            "2026-13-01T00:00:00Z",
            "x-1-1T1:1:1Z",
            "2026-11-28T06:15:02+9223372036854775807:00",
            "9223372036854775807-11-28T06:15:02Z",
            "-9223372036854775808-01-28T06:15:02Z",
            "2026-11-28T9223372036854775807:9223372036854775807:9223372036854775807Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
