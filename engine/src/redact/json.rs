//! JSON as etcd stores it: which of its bytes are structure.

/// Names of fields that etcd writes.
const FIELDS: [&[u8]; 12] = [
    b"id",
    b"peerURLs",
    b"isLearner",
    b"name",
    b"clientURLs",
    b"voters",
    b"learners",
    b"voters_outgoing",
    b"learners_next",
    b"auto_leave",
    b"target-version",
    b"enabled",
];
/// How addresses begin.
const SCHEMES: [&[u8]; 4] = [b"http://", b"https://", b"unix://", b"unixs://"];

/// Replaces what stands in strings, in place: letters by `x`, digits by `0`, other bytes stay. Names of fields stay, and
/// how addresses begin, so that what reads it reads the same kind of thing.
pub(super) fn scrub(text: &mut [u8]) {
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        at += 1;
        if byte != b'"' {
            if let Some(byte) = text.get_mut(at - 1)
                && !is_structure(*byte)
            {
                *byte = b'x';
            }
            continue;
        }
        let end = string_end(text, at);
        let after = text.get(end..).unwrap_or_default().iter().skip(1);
        let is_field = after.copied().find(|byte| !byte.is_ascii_whitespace()) == Some(b':');
        let content = text.get_mut(at..end).unwrap_or_default();
        if !(is_field && FIELDS.contains(&&*content)) {
            string(content);
        }
        at = end + 1;
    }
}

/// What stands outside of strings: punctuation, numbers, `true`, `false`, `null`.
fn is_structure(byte: u8) -> bool {
    byte.is_ascii_digit() || byte.is_ascii_whitespace() || b"{}[],:+-.eEtrufalsn".contains(&byte)
}

/// Where the string that begins at `start` ends: at its quote, or with the text.
fn string_end(text: &[u8], start: usize) -> usize {
    let mut at = start;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => return at,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    text.len()
}

fn string(content: &mut [u8]) {
    let scheme = SCHEMES.iter().find(|scheme| content.starts_with(scheme));
    let mut at = scheme.map_or(0, |scheme| scheme.len());
    while let Some(byte) = content.get_mut(at) {
        at += 1;
        match *byte {
            b'\\' => {
                if content.get(at) == Some(&b'u') {
                    for (digit, of) in content.iter_mut().skip(at + 1).zip(*b"0061") {
                        *digit = of;
                    }
                    at += 4;
                }
                at += 1;
            }
            b'0'..=b'9' => *byte = b'0',
            b'a'..=b'z' | b'A'..=b'Z' | 0x80.. => *byte = b'x',
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_go_and_the_rest_stays() {
        let mut text = br#"{"id":9372538179322589801,"peerURLs":["https://cp1.acme.example:2380"],"name":"n\u00fc\"1","secret":"id"}"#.to_vec();
        scrub(&mut text);
        let expected = r#"{"id":9372538179322589801,"peerURLs":["https://xx0.xxxx.xxxxxxx:0000"],"name":"x\u0061\"0","xxxxxx":"xx"}"#;
        assert_eq!(String::from_utf8(text).unwrap(), expected);
        for damaged in [r#"{"name":"unended"#, r#"{"name":"un\"#, r#"{nothing quoted 12}"#, "{\"\\"]
        {
            let mut text = damaged.as_bytes().to_vec();
            scrub(&mut text);
            assert_eq!(text.len(), damaged.len());
            assert!(!String::from_utf8(text).unwrap().contains("uno"), "{damaged}");
        }
    }
}
