//! Percent-escapes of URLs, as Go's net/url reads and writes them.

use super::peer_url::UrlReason;

/// The part of a URL that text stands in: what must be escaped differs between them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Host,
    /// The zone of a link-local IPv6 address.
    Zone,
    User,
    Path,
    Fragment,
}

impl Part {
    /// Whether `byte` stands for itself when Go prints this part.
    fn is_plain(self, byte: u8) -> bool {
        let also: &[u8] = match self {
            Part::Host | Part::Zone => b"!$&'()*+,;=:[]<>\"",
            Part::User => b"$&+,;=",
            Part::Path => b"$&+,/:;=@",
            Part::Fragment => b"$&+,/:;=?@!()*",
        };
        byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) || also.contains(&byte)
    }

    /// Whether a byte that must be printed escaped may stand escaped in what is read.
    fn may_be_escaped(self, escape: &[u8], byte: u8) -> bool {
        match self {
            // Only what is not ASCII, and the percent sign.
            Part::Host => byte >= 0x80 || escape == b"%25",
            // Only what could stand there unescaped, and the space Windows puts there.
            Part::Zone => escape == b"%25" || byte == b' ' || Part::Host.is_plain(byte),
            Part::User | Part::Path | Part::Fragment => true,
        }
    }
}

/// Decodes the escapes in `text`.
pub(super) fn unescape(text: &str, part: Part) -> Result<Vec<u8>, UrlReason> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        if byte == b'%' {
            let escape = rest.get(..3).unwrap_or(rest);
            let value = hex_value(escape).filter(|&value| part.may_be_escaped(escape, value));
            let refused = || UrlReason::Escape(String::from_utf8_lossy(escape).into_owned());
            decoded.push(value.ok_or_else(refused)?);
            rest = rest.get(3..).unwrap_or_default();
            continue;
        }
        if matches!(part, Part::Host | Part::Zone) && byte.is_ascii() && !part.is_plain(byte) {
            return Err(UrlReason::HostCharacter(char::from(byte)));
        }
        decoded.push(byte);
        rest = after;
    }
    Ok(decoded)
}

/// The value of `%XY`.
fn hex_value(escape: &[u8]) -> Option<u8> {
    let &[b'%', high, low] = escape else { return None };
    let (high, low) = (char::from(high).to_digit(16)?, char::from(low).to_digit(16)?);
    u8::try_from(high << 4 | low).ok()
}

/// Escapes what does not stand for itself.
pub(super) fn escape(bytes: &[u8], part: Part) -> String {
    let mut escaped = String::with_capacity(bytes.len());
    for &byte in bytes {
        if part.is_plain(byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

/// A path or fragment as Go prints it again: unchanged when the escaping it came with is a legal one,
/// else escaped anew.
pub(super) fn reprint(text: &str, part: Part) -> Result<String, UrlReason> {
    let decoded = unescape(text, part)?;
    let legal = |byte: u8| part.is_plain(byte) || b"!$&'()*+,;=:@[]%".contains(&byte);
    if text.bytes().all(legal) { Ok(text.to_owned()) } else { Ok(escape(&decoded, part)) }
}
