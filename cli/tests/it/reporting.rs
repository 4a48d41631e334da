//! `report` as people open it. The dangers: a page that says something else than the file, one that a hostile key takes
//! over, and one that calls somebody.

use std::{fs, path::Path, process::Command};

use etcdsnap_engine::{
    bolt::{
        TxId,
        write::{BucketOptions, Options, Writer},
    },
    pb::mvccpb::KeyValue,
    schema::{RecordKey, Revision},
    snapshot::Digest,
};
use prost::Message as _;
use serde_json::Value;

use crate::facts::{etcdsnap, json, state, text, unpack};

/// A piece of a page.
#[derive(Debug)]
enum Piece {
    Open(String, Vec<(String, String)>),
    Close,
    Text(String),
}

/// Reads HTML as strictly as XML: what a browser would have to guess at is an error here.
fn parse(html: &str) -> Vec<Piece> {
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
fn shown(html: &str) -> String {
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

fn report(input: &Path, out: &Path, more: &[&str]) -> (Option<i32>, String) {
    let args = [&["report", text(input), "-o", text(out)], more].concat();
    let output = Command::new(env!("CARGO_BIN_EXE_etcdsnap"))
        .args(&args)
        .env("SOURCE_DATE_EPOCH", "1700000000")
        .output()
        .unwrap();
    (output.status.code(), fs::read_to_string(out).unwrap_or_default())
}

/// Loads nothing, sends nothing, runs one script: that of the program.
fn is_alone(html: &str) {
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

#[test]
fn a_sound_member_has_a_page_with_its_evidence() {
    let dir = unpack("crashed-36");
    let (data, out) = (dir.path().join("data"), dir.path().join("report.html"));
    let before = state(&data);
    let (code, html) = report(&data, &out, &[]);
    assert_eq!(code, Some(0));
    assert!(state(&data) == before, "the input changed");
    is_alone(&html);
    let shown = shown(&html);
    let db = fs::read(data.join("member/snap/db")).unwrap();
    let info = json(&["info", text(&data), "-w", "json"]);
    for expected in [
        Digest::of(&db).to_string(),
        db.len().to_string(),
        "2023-11-14T22:13:20Z".to_owned(),
        format!("etcdsnap {}", env!("CARGO_PKG_VERSION")),
        "Sound".to_owned(),
        info["totalKey"].to_string(),
        "this one".to_owned(),
    ] {
        let plain = shown.replace(',', "");
        assert!(plain.contains(&expected), "{expected} is not in the page");
    }
    for entry in fs::read_dir(data.join("member/wal")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "wal") {
            let digest = Digest::of(&fs::read(&path).unwrap()).to_string();
            assert!(shown.contains(&digest), "{}", path.display());
        }
    }
}

#[test]
fn a_page_does_not_depend_on_threads_and_is_written_whole_or_not_at_all() {
    let dir = unpack("kube-36");
    let (snapshot, out) = (dir.path().join("snapshot.db"), dir.path().join("report.html"));
    let (_, one) = report(&snapshot, &out, &["--threads", "1"]);
    assert!(one.len() > 10_000);
    for more in [["--threads", "2"].as_slice(), &["--threads", "8"], &["--no-mmap"]] {
        assert!(report(&snapshot, &out, more).1 == one, "{more:?}");
    }
    fs::remove_file(&out).unwrap();
    let said = json(&["report", text(&snapshot), "-o", text(&out), "--dry-run", "-w", "json"]);
    assert!(said["bytes"].as_u64().unwrap() > 10_000 && said["sound"] == true, "{said}");
    assert!(!out.exists());
    // Nor into a WAL that is read, wherever that is.
    let (data, wal) = (dir.path().join("data"), dir.path().join("wal"));
    fs::rename(data.join("member/wal"), &wal).unwrap();
    let (code, _) = report(&data, &wal.join("report.html"), &["--wal-dir", text(&wal)]);
    assert_eq!((code, wal.join("report.html").exists()), (Some(2), false));
    let inside = dir.path().join("data/report.html");
    let refused = etcdsnap(&["report", text(&dir.path().join("data")), "-o", text(&inside)]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(!inside.exists());
    assert_eq!(etcdsnap(&["report", text(&snapshot)]).status.code(), Some(2), "where to?");
    let none = etcdsnap(&["report", text(&dir.path().join("encryption.json")), "-o", text(&out)]);
    assert_eq!((none.status.code(), out.exists()), (Some(2), false), "no database");
}

#[test]
fn findings_lead_to_the_map_and_back() {
    let dir = unpack("authon-36");
    let (damaged, out) = (dir.path().join("damaged.db"), dir.path().join("report.html"));
    let mut bytes = fs::read(dir.path().join("snapshot.db")).unwrap();
    bytes[20 * 4096] ^= 0x41;
    bytes.truncate(86 * 4096);
    fs::write(&damaged, &bytes).unwrap();
    let (code, html) = report(&damaged, &out, &[]);
    assert_eq!(code, Some(1));
    is_alone(&html);
    let shown = shown(&html);
    let verified = etcdsnap(&["verify", text(&damaged), "-w", "json"]);
    let verified: Value = serde_json::from_slice(&verified.stdout).unwrap();
    for finding in verified["findings"].as_array().unwrap() {
        assert!(shown.contains(finding["message"].as_str().unwrap()), "{finding}");
    }
    let mut ids = Vec::new();
    let mut links = Vec::new();
    for piece in parse(&html) {
        let Piece::Open(_, attributes) = piece else { continue };
        for (attribute, value) in attributes {
            match attribute.as_str() {
                "id" => ids.push(value),
                "href" => links.push(value.trim_start_matches('#').to_owned()),
                _ => {}
            }
        }
    }
    for link in &links {
        assert_eq!(ids.iter().filter(|id| *id == link).count(), 1, "{link}");
    }
    let marks = links.iter().filter(|link| link.starts_with("map-")).count();
    let rows = links.iter().filter(|link| link.starts_with("finding-")).count();
    assert!(marks >= 2 && rows >= 2, "{links:?}");
    // What can be read is shown all the same.
    assert!(shown.contains("records that can be read") && shown.contains("Writes over revisions"));
}

#[test]
fn a_file_whose_metas_are_gone_has_a_page_too() {
    let dir = unpack("authon-36");
    let (damaged, out) = (dir.path().join("damaged.db"), dir.path().join("report.html"));
    let mut bytes = fs::read(dir.path().join("snapshot.db")).unwrap();
    bytes[32] ^= 1;
    bytes[4096 + 32] ^= 1;
    fs::write(&damaged, &bytes).unwrap();
    let (code, html) = report(&damaged, &out, &[]);
    assert_eq!(code, Some(1));
    is_alone(&html);
    let shown = shown(&html);
    assert!(
        shown.contains("both meta pages are damaged")
            && shown.contains(&Digest::of(&bytes).to_string())
    );
    // What can be saved of it, and how.
    let dry = ["salvage", text(&damaged), "--output", "rescued", "--dry-run", "-w", "json"];
    let dry: Value = serde_json::from_slice(&etcdsnap(&dry).stdout).unwrap();
    let revision = dry["revision"].as_u64().unwrap();
    let plain = shown.replace(',', "");
    assert!(plain.contains(&format!("the newest of revision  {revision} ")), "{plain}");
    assert!(plain.contains("No record is missing") == (dry["whole"] == true), "{plain}");
    assert!(plain.contains("etcdsnap salvage  '"), "{plain}");
}

#[test]
fn what_cannot_be_read_is_not_said_to_be_nothing() {
    let dir = unpack("authon-36");
    let (damaged, out) = (dir.path().join("damaged.db"), dir.path().join("report.html"));
    let bytes = fs::read(dir.path().join("snapshot.db")).unwrap();
    // Only the metas are left: the root is gone.
    fs::write(&damaged, &bytes[..2 * 4096]).unwrap();
    let (code, html) = report(&damaged, &out, &[]);
    assert_eq!(code, Some(1));
    is_alone(&html);
    let shown = shown(&html);
    assert!(shown.contains("compaction unknown") && !shown.contains("never compacted"), "{shown}");
}

#[test]
fn what_is_no_database_is_refused_before_all_of_it_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let (zeros, out) = (dir.path().join("zeros"), dir.path().join("report.html"));
    // More than anybody hashes in a test.
    fs::File::create(&zeros).unwrap().set_len(1 << 40).unwrap();
    let (code, html) = report(&zeros, &out, &[]);
    assert_eq!((code, html.len()), (Some(2), 0));
}

/// Keys that would like to be more than text, and what is shown of them.
const HOSTILE: [(&[u8], &str); 9] = [
    (b"<script>document.title='owned'</script>", "<script>document.title='owned'</script>"),
    (b"\"><img src=x onerror=alert(1)>", "\"><img src=x onerror=alert(1)>"),
    (b"</title></style></script><svg onload=1>", "</title></style></script><svg onload=1>"),
    ("gpj.\u{202e}exe".as_bytes(), "gpj.\\u{202e}exe"),
    (b"\x1b]0;owned\x07", "\\x1b]0;owned\\x07"),
    (b"\xff\xfe\xc3(", "\\xff\\xfe\\xc3("),
    (b"a\r\n\tb\x00c", "a\\r\\n\\tb\\x00c"),
    (b"&lt;not&gt; &amp; 'onmouseover='1", "&lt;not&gt; &amp; 'onmouseover='1"),
    (b"--><!--<![CDATA[", "--><!--<![CDATA["),
];

/// A database with these keys, and a bucket of such a name.
fn hostile() -> Vec<u8> {
    let file = std::io::Cursor::new(Vec::new());
    let mut writer = Writer::new(file, Options::default()).unwrap();
    let mut bucket = writer.bucket(b"<b>&\xff", BucketOptions::default()).unwrap();
    bucket.put(b"k", b"v").unwrap();
    bucket.close().unwrap();
    let mut bucket = writer.bucket(b"key", BucketOptions::default()).unwrap();
    for (number, (key, _)) in HOSTILE.iter().enumerate() {
        let main = number as i64 + 2;
        let record = KeyValue {
            key: key.to_vec(),
            create_revision: main,
            mod_revision: main,
            version: 1,
            value: vec![b'<'; 3000 + number],
            lease: 0,
        };
        let at = RecordKey { revision: Revision { main, sub: 0 }, tombstone: false };
        bucket.put(&at.encode(), &record.encode_to_vec()).unwrap();
    }
    bucket.close().unwrap();
    writer.bucket(b"meta", BucketOptions::default()).unwrap().close().unwrap();
    writer.finish().unwrap().seal(TxId(2)).unwrap().0.into_inner()
}

#[test]
fn hostile_keys_are_text_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let (input, out) = (dir.path().join("<i>&\".db"), dir.path().join("report.html"));
    fs::write(&input, hostile()).unwrap();
    let (code, html) = report(&input, &out, &[]);
    assert_eq!(code, Some(0));
    is_alone(&html);
    let pieces = parse(&html);
    for (_, expected) in HOSTILE {
        let exactly = |piece: &&Piece| matches!(piece, Piece::Text(text) if text == expected);
        assert!(pieces.iter().filter(exactly).count() >= 2, "{expected} is in both lists of keys");
    }
    assert!(shown(&html).contains("<b>&\\xff"), "the bucket's name");
}

/// A browser as it comes; skipped aloud where there is none.
#[test]
fn a_browser_runs_nothing_that_keys_say() {
    let found = ["chromium", "chromium-browser", "google-chrome"].into_iter().find(|name| {
        Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success())
    });
    let Some(browser) = found else {
        eprintln!("reporting: SKIPPED a_browser_runs_nothing_that_keys_say: no chromium on PATH");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let (input, out) = (dir.path().join("hostile.db"), dir.path().join("report.html"));
    fs::write(&input, hostile()).unwrap();
    report(&input, &out, &[]);
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .arg(format!("--user-data-dir={}", dir.path().join("profile").display()))
        .args(["--dump-dom", &format!("file://{}", out.display())])
        .output()
        .unwrap();
    let dom = String::from_utf8(output.stdout).unwrap();
    assert!(
        dom.contains("<title>etcd report: "),
        "no page: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        !dom.contains("<title>owned") && !dom.contains("<img") && !dom.contains("<svg onload"),
        "{dom}"
    );
    for (_, expected) in HOSTILE {
        let escaped = expected.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        assert!(dom.contains(&format!("<bdi>{escaped}</bdi>")), "{escaped}");
    }
}

#[test]
fn a_page_stays_small_however_much_there_is_to_say() {
    let dir = tempfile::tempdir().unwrap();
    let (made, out) = (dir.path().join("made.db"), dir.path().join("report.html"));
    let args = ["bench", "--size", "24MiB", "--value-size", "20-40", "--make", text(&made)];
    assert_eq!(etcdsnap(&args).status.code(), Some(0));
    let (code, html) = report(&made, &out, &[]);
    assert_eq!(code, Some(0));
    assert!(html.len() < 1 << 20, "{} bytes", html.len());
    // A finding for nearly every page.
    let mut bytes = fs::read(&made).unwrap();
    let root = usize::from(bytes[32]) + usize::from(bytes[33]) * 256;
    for (id, page) in bytes.chunks_mut(4096).enumerate().skip(2) {
        if id != root && page.get(8) == Some(&2) {
            page[0] ^= 0x80;
        }
    }
    fs::write(&made, &bytes).unwrap();
    let (code, html) = report(&made, &out, &[]);
    assert_eq!(code, Some(1));
    is_alone(&html);
    assert!(html.len() < 2 << 20, "{} bytes", html.len());
    assert!(shown(&html).contains("lists all of them"));
}
