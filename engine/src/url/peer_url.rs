//! Peer URLs, accepted and printed as etcd does.
//!
//! A member's id is a hash of its URLs' text, so the text must be the very one etcd would print: that of
//! Go's net/url after reading and printing. Its rules are kept here, as of Go 1.26, with those etcd adds:
//! scheme http, https, unix or unixs; and for http and https `host:port` and no path.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use super::escape::{self, Part};

/// A peer URL. Equality and order are those of its text, which etcd sorts by.
#[derive(Clone, Debug)]
pub struct PeerUrl {
    text: String,
    scheme: String,
    host: Vec<u8>,
    path: Vec<u8>,
}

/// A URL that etcd refuses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {url:?}")]
pub struct UrlError {
    /// The URL as it was given, without surrounding white space.
    pub url: String,
    /// What is wrong with it.
    pub reason: UrlReason,
}

/// Why a URL is refused, in etcd's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlReason {
    /// A byte below 0x20, or 0x7f.
    #[error("invalid control character in URL")]
    ControlCharacter,
    /// Nothing stands before the first colon.
    #[error("missing protocol scheme")]
    MissingScheme,
    /// `host:port` without a scheme in front.
    #[error("first path segment in URL cannot contain colon")]
    ColonInFirstSegment,
    /// None of the four schemes.
    #[error("URL scheme must be http, https, unix, or unixs")]
    Scheme,
    /// http or https without a port.
    #[error("URL address does not have the form \"host:port\"")]
    HostPort,
    /// http or https with a path, if only `/`.
    #[error("URL must not contain a path")]
    Path,
    /// A `%` that is not followed by two hex digits, or that hides a character a host cannot have.
    #[error("invalid URL escape {0:?}")]
    Escape(String),
    /// A character a host cannot have.
    #[error("invalid character {0:?} in host name")]
    HostCharacter(char),
    /// What follows the host is not a colon and digits.
    #[error("invalid port {0:?} after host")]
    Port(String),
    /// Square brackets around something that is not an IPv6 address, or at the wrong place.
    #[error("invalid IP-literal")]
    IpLiteral,
    /// An opening square bracket alone.
    #[error("missing ']' in host")]
    Bracket,
    /// A character a user name or password cannot have.
    #[error("invalid userinfo")]
    Userinfo,
}

impl PeerUrl {
    /// Reads one URL.
    ///
    /// # Errors
    /// When etcd 3.7 would refuse it.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let text = text.trim();
        parse(text).map_err(|reason| UrlError { url: text.to_owned(), reason })
    }

    /// Reads a comma-separated list, such as `--initial-advertise-peer-urls`, and sorts it.
    ///
    /// # Errors
    /// When etcd would refuse one of them; an empty item is one it refuses.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, UrlError> {
        let mut urls = text.split(',').map(Self::parse).collect::<Result<Vec<_>, _>>()?;
        urls.sort();
        Ok(urls)
    }

    /// The URL as etcd prints, stores and hashes it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What must agree for etcd 3.7 to take two URLs for the same address without asking DNS: scheme,
    /// path, and a host whose IP address, if it is one, is written in one way. Users, queries and what
    /// follows `unix:` without a slash do not count there; 3.6 compares them too.
    pub(crate) fn address(&self) -> (&str, Vec<u8>, &[u8]) {
        let over_ip = self.scheme.starts_with("http");
        let host = canonical_ip(&self.host, over_ip).map(String::into_bytes);
        (&self.scheme, host.unwrap_or_else(|| self.host.clone()), &self.path)
    }

    /// Scheme, host without brackets, and port; `None` for one over a Unix socket, and for a port that is no number.
    pub(crate) fn over_ip(&self) -> Option<(&str, &str, u16)> {
        let (host, port) =
            split_host_port(&self.host).filter(|_| self.scheme.starts_with("http"))?;
        let text = |bytes| std::str::from_utf8(bytes).ok();
        Some((&self.scheme, text(host)?, text(port)?.parse().ok()?))
    }
}

impl PartialEq for PeerUrl {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for PeerUrl {}

impl PartialOrd for PeerUrl {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for PeerUrl {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.text.cmp(&other.text)
    }
}

impl fmt::Display for PeerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn parse(text: &str) -> Result<PeerUrl, UrlReason> {
    let (url, fragment) = text.split_once('#').unwrap_or((text, ""));
    if url.bytes().any(|byte| byte < 0x20 || byte == 0x7f) {
        return Err(UrlReason::ControlCharacter);
    }
    let Some((scheme, rest)) = split_scheme(url)? else {
        let before_query = url.split('?').next().unwrap_or_default();
        let segment = before_query.split('/').next().unwrap_or_default();
        // A bare `host:port` is the usual slip and gets Go's word for it.
        let slip = segment.contains(':');
        return Err(if slip { UrlReason::ColonInFirstSegment } else { UrlReason::Scheme });
    };
    let scheme = scheme.to_ascii_lowercase();
    let (rest, query) = match rest.split_once('?') {
        Some((rest, query)) => (rest, Some(query)),
        None => (rest, None),
    };

    let mut printed = format!("{scheme}:");
    let mut host = Vec::new();
    let mut path = "";
    if !rest.starts_with('/') {
        // Without a slash everything up to the query is kept as it is; such a URL has no host.
        printed.push_str(rest);
    } else if let Some(authority) = rest.strip_prefix("//") {
        let (authority, after) = authority.split_at(authority.find('/').unwrap_or(authority.len()));
        path = after;
        let user;
        (user, host) = split_authority(authority)?;
        if user.is_some() || !host.is_empty() || !path.is_empty() {
            printed.push_str("//");
        }
        if let Some(user) = user {
            printed.push_str(&user);
            printed.push('@');
        }
        printed.push_str(&escape::escape(&host, Part::Host));
    } else {
        path = rest;
    }
    let decoded_path = escape::unescape(path, Part::Path)?;
    printed.push_str(&escape::reprint(path, Part::Path)?);
    if let Some(query) = query {
        printed.push('?');
        printed.push_str(query);
    }
    if !fragment.is_empty() {
        printed.push('#');
        printed.push_str(&escape::reprint(fragment, Part::Fragment)?);
    }

    match scheme.as_str() {
        "http" | "https" if split_host_port(&host).is_none() => Err(UrlReason::HostPort),
        "http" | "https" if !path.is_empty() => Err(UrlReason::Path),
        "http" | "https" | "unix" | "unixs" => {
            Ok(PeerUrl { text: printed, scheme, host, path: decoded_path })
        }
        _ => Err(UrlReason::Scheme),
    }
}

/// What stands before the first colon, if that can be a scheme, and what follows it.
fn split_scheme(url: &str) -> Result<Option<(&str, &str)>, UrlReason> {
    let end = url.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.')));
    match end.map(|end| url.split_at(end)) {
        Some(("", rest)) if rest.starts_with(':') => Err(UrlReason::MissingScheme),
        Some((scheme, rest)) if scheme.starts_with(|c: char| c.is_ascii_alphabetic()) => {
            Ok(rest.strip_prefix(':').map(|rest| (scheme, rest)))
        }
        _ => Ok(None),
    }
}

/// User as it is printed, and decoded host with port.
fn split_authority(authority: &str) -> Result<(Option<String>, Vec<u8>), UrlReason> {
    let Some((user, host)) = authority.rsplit_once('@') else {
        return Ok((None, decode_host(authority)?));
    };
    let host = decode_host(host)?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-._:~!$&'()*+,;=%@".contains(c);
    if !user.chars().all(allowed) {
        return Err(UrlReason::Userinfo);
    }
    let print = |part| Ok(escape::escape(&escape::unescape(part, Part::User)?, Part::User));
    let printed = match user.split_once(':') {
        Some((name, password)) => format!("{}:{}", print(name)?, print(password)?),
        None => print(user)?,
    };
    Ok((Some(printed), host))
}

fn decode_host(host: &str) -> Result<Vec<u8>, UrlReason> {
    match host.rfind('[') {
        Some(0) => {}
        Some(_) => return Err(UrlReason::IpLiteral),
        None => {
            // With several colons Go takes the first one for http and the last for others; etcd then
            // refuses the former anyway.
            if let Some(colon) = host.rfind(':') {
                check_port(&host[colon..])?;
            }
            return escape::unescape(host, Part::Host);
        }
    }
    let (address, port) = host.rsplit_once(']').ok_or(UrlReason::Bracket)?;
    check_port(port)?;
    let address = address.strip_prefix('[').unwrap_or(address);
    // "%25" introduces the zone of a link-local address, which has looser rules.
    let (address, zone) = address.split_at(address.find("%25").unwrap_or(address.len()));
    let mut literal = escape::unescape(address, Part::Host)?;
    literal.extend(escape::unescape(zone, Part::Zone)?);
    if !is_ipv6(&literal) {
        return Err(UrlReason::IpLiteral);
    }
    Ok([b"[", literal.as_slice(), b"]", port.as_bytes()].concat())
}

fn check_port(colon_port: &str) -> Result<(), UrlReason> {
    let digits = colon_port.strip_prefix(':').or(colon_port.is_empty().then_some(""));
    match digits {
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => Ok(()),
        _ => Err(UrlReason::Port(colon_port.to_owned())),
    }
}

/// An IPv6 address, with or without `%zone`.
fn is_ipv6(literal: &[u8]) -> bool {
    let mut parts = literal.splitn(2, |&byte| byte == b'%');
    let address = parts.next().and_then(|address| std::str::from_utf8(address).ok());
    address.is_some_and(|address| address.parse::<Ipv6Addr>().is_ok())
        && parts.next().is_none_or(|zone| !zone.is_empty())
}

/// Host and port of `host:port` or `[host]:port`, by the rules of Go's `net.SplitHostPort`.
fn split_host_port(host: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = host.iter().rposition(|&byte| byte == b':')?;
    let (name, port) = (&host[..colon], &host[colon + 1..]);
    let name = match name.strip_prefix(b"[") {
        Some(bracketed) => bracketed.strip_suffix(b"]")?,
        None if name.contains(&b':') => return None,
        None => name,
    };
    let is_bracket = |byte: &u8| matches!(byte, b'[' | b']');
    if name.iter().any(is_bracket) || port.iter().any(is_bracket) {
        return None;
    }
    Some((name, port))
}

/// `host:port` with the address in its shortest form, when the host is one; the port loses its zeros
/// where it is a port.
fn canonical_ip(host: &[u8], over_ip: bool) -> Option<String> {
    let (name, port) = split_host_port(host).unwrap_or((host, b""));
    let name = std::str::from_utf8(name).ok()?;
    let address = name.trim_matches(['[', ']']).parse::<IpAddr>().ok()?.to_canonical();
    let port = std::str::from_utf8(port).ok()?;
    let port = if over_ip { port.trim_start_matches('0') } else { port };
    Some(format!("[{address}]:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What etcd 3.7.3, built with Go 1.26, printed for each of these.
    const PRINTED: [(&str, &str); 24] = [
        ("http://localhost:2380", "http://localhost:2380"),
        (" \u{a0}http://h:1\t", "http://h:1"),
        ("HTTPS://Host.Example:02380", "https://Host.Example:02380"),
        ("http://h:", "http://h:"),
        ("http://:80", "http://:80"),
        ("http://h:1?", "http://h:1?"),
        ("http://h:1?a=b&c??#f<g", "http://h:1?a=b&c??#f%3Cg"),
        ("http://h:1#", "http://h:1"),
        ("http://h:1#a%2fb?c", "http://h:1#a%2fb?c"),
        ("http://u:p%41@h:1", "http://u:pA@h:1"),
        ("http://:@h:1", "http://:@h:1"),
        ("http://Ex\u{e9}:80", "http://Ex%C3%A9:80"),
        ("http://ex%c3%a9:80", "http://ex%C3%A9:80"),
        ("http://[::1]:2380", "http://[::1]:2380"),
        ("https://[fe80::1%25eth%30]:1", "https://[fe80::1%25eth0]:1"),
        ("http://[::ffff:1.2.3.4]:80", "http://[::ffff:1.2.3.4]:80"),
        ("unix://localhost:2222", "unix://localhost:2222"),
        ("unix:///a/b c", "unix:///a/b%20c"),
        ("unix:///a/b%2Fc", "unix:///a/b%2Fc"),
        ("unix:/a", "unix:/a"),
        ("unix:a b", "unix:a b"),
        ("unix://", "unix:"),
        ("unixs://a:b:1/x", "unixs://a:b:1/x"),
        ("unix://a%25b", "unix://a%25b"),
    ];

    #[test]
    fn urls_are_printed_as_etcd_prints_them() {
        for (given, printed) in PRINTED {
            assert_eq!(PeerUrl::parse(given).map(|url| url.to_string()), Ok(printed.to_owned()));
        }
    }

    #[test]
    fn urls_etcd_refuses_are_refused_for_its_reason() {
        use UrlReason as R;
        let cases = [
            ("", R::Scheme),
            ("*", R::Scheme),
            ("tcp://h:1", R::Scheme),
            ("localhost:2380", R::Scheme),
            ("10.0.0.1:2380", R::ColonInFirstSegment),
            ("//h:1", R::Scheme),
            (":h", R::MissingScheme),
            ("http:h:1", R::HostPort),
            ("http://h", R::HostPort),
            ("http:///", R::HostPort),
            ("http://[::1]", R::HostPort),
            ("http://a:b:1", R::HostPort),
            ("http://h]:1", R::HostPort),
            ("http://h:1/", R::Path),
            ("http://h:1/a", R::Path),
            ("http://h:x", R::Port(":x".to_owned())),
            ("http://[::1]x", R::Port("x".to_owned())),
            ("http://[::1", R::Bracket),
            ("http://a[::1]:1", R::IpLiteral),
            ("http://[1.2.3.4]:1", R::IpLiteral),
            ("http://[::1%25]:1", R::IpLiteral),
            ("http://a b:1", R::HostCharacter(' ')),
            ("http://a%41:1", R::Escape("%41".to_owned())),
            ("unix:///%z1", R::Escape("%z1".to_owned())),
            ("unix:a#%4", R::Escape("%4".to_owned())),
            ("http://a b@h:1", R::Userinfo),
            ("http://h:1\u{7f}", R::ControlCharacter),
            ("http://h\n:1", R::ControlCharacter),
        ];
        for (url, reason) in cases {
            let error = UrlError { url: url.to_owned(), reason };
            assert_eq!(PeerUrl::parse(url), Err(error), "{url:?}");
        }
    }

    #[test]
    fn a_list_is_sorted_by_text_and_has_no_empty_items() {
        let urls = PeerUrl::parse_list("http://h:2, http://h:10").unwrap();
        assert_eq!(
            urls.iter().map(PeerUrl::as_str).collect::<Vec<_>>(),
            ["http://h:10", "http://h:2"]
        );
        assert!(PeerUrl::parse_list("http://h:2,").is_err());
        assert!(PeerUrl::parse_list("").is_err());
    }
}
