//! Pages as a strict reader sees them: what a browser would have to guess at is an error here.

use std::{fs, path::Path, process::Command};

use crate::facts::text;

/// A piece of a page.
#[derive(Debug)]
pub enum Piece {
    Open(String, Vec<(String, String)>),
    Close,
    Text(String),
}

/// Reads HTML as strictly as XML: what a browser would have to guess at is an error here.
pub fn parse(html: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut open: Vec<String> = Vec::new();
    let mut rest = html.strip_prefix("<!DOCTYPE html>").expect("a doctype");
    while !rest.is_empty() {
        let raw = open.last().filter(|name| ["script", "style"].contains(&name.as_str()));
        if let Some(name) = raw {
            let (content, after) = rest.split_once(&format!("</{name}>")).expect("an end");
            pieces.push(Piece::Text(content.to_owned()));
            open.pop();
            pieces.push(Piece::Close);
            rest = after;
            continue;
        }
        let Some(tag) = rest.strip_prefix('<') else {
            let (content, _) = rest.split_once('<').unwrap_or((rest, ""));
            pieces.push(Piece::Text(unescaped(content)));
            rest = &rest[content.len()..];
            continue;
        };
        let (tag, after) = tag_end(tag);
        rest = after;
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "elements overlap");
            pieces.push(Piece::Close);
            continue;
        }
        let (name, mut attributes) = tag.split_once(' ').unwrap_or((tag, ""));
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric()), "{name:?}");
        let mut found = Vec::new();
        while !attributes.is_empty() {
            let (attribute, value) = attributes.split_once("=\"").expect("a quoted value");
            assert!(
                attribute.chars().all(|c| c.is_ascii_alphanumeric() || "-".contains(c)),
                "{attribute:?}"
            );
            assert!(!attribute.starts_with("on"), "{attribute}");
            let (value, after) = value.split_once('"').expect("its end");
            assert!(!value.contains('<'), "{value:?}");
            found.push((attribute.to_owned(), unescaped(value)));
            attributes = after.trim_start_matches(' ');
        }
        if !["meta"].contains(&name) {
            open.push(name.to_owned());
        }
        pieces.push(Piece::Open(name.to_owned(), found));
    }
    assert!(open.is_empty(), "{open:?} are not closed");
    pieces
}

/// The inside of a tag, which may hold `>` in a quoted value, and what is behind it.
fn tag_end(text: &str) -> (&str, &str) {
    let mut quoted = false;
    let end = text.find(|c| {
        quoted ^= c == '"';
        c == '>' && !quoted
    });
    let end = end.expect("a tag ends");
    (&text[..end], &text[end + 1..])
}

fn unescaped(text: &str) -> String {
    assert!(!text.contains('<'));
    for part in text.split('&').skip(1) {
        assert!(
            ["amp;", "lt;", "gt;", "quot;"].iter().any(|name| part.starts_with(name)),
            "{part}"
        );
    }
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&")
}

/// All text outside of scripts and styles.
pub fn shown(html: &str) -> String {
    let mut out = String::new();
    let mut raw = false;
    for piece in parse(html) {
        match piece {
            Piece::Open(name, _) => raw = ["script", "style"].contains(&name.as_str()),
            Piece::Text(text) if !raw => {
                out += &text;
                out.push(' ');
            }
            _ => raw = false,
        }
    }
    out
}

/// All values of attribute `name`.
pub fn attributes(html: &str, name: &str) -> Vec<String> {
    let mut values = Vec::new();
    for piece in parse(html) {
        let Piece::Open(_, attributes) = piece else { continue };
        values.extend(attributes.into_iter().filter(|(of, _)| of == name).map(|(_, value)| value));
    }
    values
}

/// Runs `report` on `inputs`: the exit code and the page.
pub fn report_all(inputs: &[&Path], out: &Path, more: &[&str]) -> (Option<i32>, String) {
    let mut args = vec!["report"];
    args.extend(inputs.iter().map(|input| text(input)));
    args.extend(["-o", text(out)]);
    args.extend(more);
    let output = Command::new(env!("CARGO_BIN_EXE_etcdsnap"))
        .args(&args)
        .env("SOURCE_DATE_EPOCH", "1700000000")
        .output()
        .unwrap();
    (output.status.code(), fs::read_to_string(out).unwrap_or_default())
}

/// The same of one input.
pub fn report(input: &Path, out: &Path, more: &[&str]) -> (Option<i32>, String) {
    report_all(&[input], out, more)
}

/// Loads nothing, sends nothing, runs one script: that of the program.
pub fn is_alone(html: &str) {
    let pieces = parse(html);
    let scripts =
        pieces.iter().filter(|piece| matches!(piece, Piece::Open(name, _) if name == "script"));
    assert_eq!(scripts.count(), 1);
    let mut policy = String::new();
    for piece in &pieces {
        let Piece::Open(name, attributes) = piece else { continue };
        assert!(
            !["img", "link", "iframe", "object", "embed", "base", "form", "video", "audio"]
                .contains(&name.as_str())
        );
        for (attribute, value) in attributes {
            assert!(
                !["src", "srcset", "action", "ping", "srcdoc"].contains(&attribute.as_str()),
                "{attribute}"
            );
            assert!(attribute != "href" || value.starts_with('#'), "{value}");
            if attribute == "content" && value.contains("default-src") {
                policy.clone_from(value);
            }
        }
    }
    assert!(
        policy.contains("default-src 'none'") && policy.contains("script-src 'sha256-"),
        "{policy}"
    );
    assert!(
        !policy.contains("script-src 'unsafe")
            && !html.contains("@import")
            && !html.contains("url(")
    );
    let obeyed = |c: char| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    assert!(!html.contains(obeyed));
}
