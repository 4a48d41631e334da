//! Numbers, times and texts of strangers as the page shows them.

use std::{
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use maud::{Markup, html};

use crate::output::for_terminal;

/// Bytes of a text of strangers that are shown: a page must stay small whatever a file says.
const SHOWN: usize = 600;
/// Bytes of a path that are shown: all that a kernel takes.
pub const PATH: usize = 4096;

/// One of something, or several.
pub fn several(count: u64, one: &str, more: &str) -> String {
    format!("{} {}", grouped(count), if count == 1 { one } else { more })
}

/// A number with its thousands apart.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A revision with its thousands apart; a file may hold a negative one.
pub fn revision(number: i64) -> String {
    let sign = if number < 0 { "-" } else { "" };
    format!("{sign}{}", grouped(number.unsigned_abs()))
}

/// A share of something; what is there is never 0 %.
pub fn percent(part: u64, total: u64) -> String {
    let share = part as f64 / total.max(1) as f64 * 100.0;
    match share {
        _ if part == 0 => "0%".to_owned(),
        share if share < 0.1 => "<0.1%".to_owned(),
        share if share < 9.95 => format!("{share:.1}%"),
        share if part < total => format!("{:.0}%", share.min(99.0)),
        share => format!("{share:.0}%"),
    }
}

/// A moment; seconds before or behind what a calendar shows, as a file's time may be.
pub fn time(at: SystemTime) -> String {
    /// 9999-12-31T23:59:59Z, the last second with a year of four digits.
    const LAST: u64 = 253_402_300_799;
    match at.duration_since(UNIX_EPOCH) {
        Ok(since) if since.as_secs() <= LAST => humantime::format_rfc3339_seconds(at).to_string(),
        Ok(since) => format!("{} s after 1970", grouped(since.as_secs())),
        Err(before) => format!("{} s before 1970", grouped(before.duration().as_secs())),
    }
}

/// A key, a name, an address, a message: text of strangers.
pub fn strange(text: &[u8]) -> Markup {
    html! { bdi { (short(text)) } }
}

/// The same as plain text, for an attribute or a title.
pub fn short(text: &[u8]) -> String {
    cut(text, SHOWN)
}

/// A path.
pub fn path(path: &Path) -> Markup {
    html! { bdi { (cut(path.display().to_string().as_bytes(), PATH)) } }
}

/// A text of strangers without what a browser would obey or hide, and no more than `most` bytes of it.
pub fn cut(text: &[u8], most: usize) -> String {
    let mut shown = for_terminal(text.get(..most).unwrap_or(text));
    if text.len() > most {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn numbers_are_whole_and_shares_are_never_rounded_to_nothing_or_all() {
        assert_eq!((grouped(0), grouped(999)), ("0".to_owned(), "999".to_owned()));
        assert_eq!(revision(1_000_002_292), "1,000,002,292");
        assert_eq!(revision(i64::MIN), "-9,223,372,036,854,775,808");
        let shares = [(0, 10), (1, 100_000), (5, 100), (999, 1000), (10, 10), (3, 0)];
        let shown: Vec<String> = shares.map(|(part, total)| percent(part, total)).to_vec();
        assert_eq!(shown, ["0%", "<0.1%", "5.0%", "99%", "100%", "300%"]);
    }

    #[test]
    fn a_time_that_no_calendar_shows_is_said_all_the_same() {
        assert_eq!(time(UNIX_EPOCH), "1970-01-01T00:00:00Z");
        assert_eq!(time(UNIX_EPOCH - Duration::from_secs(3600)), "3,600 s before 1970");
        let late = UNIX_EPOCH + Duration::from_secs(253_402_300_799);
        assert_eq!(time(late), "9999-12-31T23:59:59Z");
        assert_eq!(time(late + Duration::from_secs(1)), "253,402,300,800 s after 1970");
    }
}
