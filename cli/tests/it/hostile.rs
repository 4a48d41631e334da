//! `report` on files that somebody made to break it. The dangers: text that a browser obeys, and numbers that no server
//! writes, at which arithmetic ends.

use std::{
    fs::{self, File, FileTimes},
    io::Cursor,
    path::Path,
    process::Command,
    time::{Duration, SystemTime},
};

use etcdsnap_engine::{
    bolt::{
        TxId,
        write::{BucketOptions, Options, Writer},
    },
    pb::{
        etcdserverpb::Metadata,
        mvccpb::KeyValue,
        raftpb::{Entry, HardState},
        walpb::Snapshot,
    },
    schema::{RecordKey, Revision},
    wal::Encoder,
};
use prost::Message as _;

use crate::{
    facts::{case, text},
    html::{Piece, is_alone, parse, report, shown},
};

/// Keys that would like to be more than text, and what is shown of them.
pub const HOSTILE: [(&[u8], &str); 9] = [
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
pub fn hostile() -> Vec<u8> {
    let file = Cursor::new(Vec::new());
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

/// A record of `key` in bucket `key`.
fn record(key: &[u8], main: i64, version: i64, tombstone: bool) -> (Vec<u8>, Vec<u8>) {
    let kv = KeyValue {
        key: key.to_vec(),
        create_revision: main,
        mod_revision: main,
        version,
        value: vec![b'v'; 40],
        lease: 0,
    };
    let at = RecordKey { revision: Revision { main, sub: 0 }, tombstone };
    (at.encode(), kv.encode_to_vec())
}

/// Pairs of a bucket.
pub type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// A database with these buckets, by name, and their pairs, by key.
pub fn database(mut buckets: Vec<(&str, Pairs)>) -> Vec<u8> {
    buckets.sort_by_key(|(name, _)| *name);
    let mut writer = Writer::new(Cursor::new(Vec::new()), Options::default()).unwrap();
    for (name, pairs) in &mut buckets {
        pairs.sort();
        let mut bucket = writer.bucket(name.as_bytes(), BucketOptions::default()).unwrap();
        pairs.iter().for_each(|(key, value)| bucket.put(key, value).unwrap());
        bucket.close().unwrap();
    }
    writer.finish().unwrap().seal(TxId(2)).unwrap().0.into_inner()
}

/// A put of each key, one revision each from 2 on.
pub fn puts(keys: impl Iterator<Item = String>) -> Pairs {
    (2..).zip(keys).map(|(main, key)| record(key.as_bytes(), main, 1, false)).collect()
}

/// A store in which each of these revisions put a key, compacted to `mark`.
pub fn written(revisions: impl Iterator<Item = i64>, mark: i64) -> Vec<u8> {
    let put = |main: i64| record(format!("/k/{main}").as_bytes(), main, 1, false);
    database(vec![("key", revisions.map(put).collect()), ("meta", meta(9, Some(mark)))])
}

fn pair(key: &str, value: &[u8]) -> (Vec<u8>, Vec<u8>) {
    (key.as_bytes().to_vec(), value.to_vec())
}

/// The records of bucket `meta` with this consistent index and compaction mark.
fn meta(index: u64, mark: Option<i64>) -> Pairs {
    let mut pairs = vec![
        pair("consistent_index", &index.to_be_bytes()),
        pair("term", &u64::MAX.to_be_bytes()),
        pair("confState", br#"{"voters":[1,18446744073709551615],"auto_leave":false}"#),
    ];
    if let Some(main) = mark {
        let mark = Revision { main, sub: 0 }.encode();
        pairs.push(pair("scheduledCompactRev", &mark));
        pairs.push(pair("finishedCompactRev", &mark));
    }
    pairs
}

/// A log whose entries have these indexes.
fn log(indexes: &[u64], commit: u64) -> Vec<u8> {
    let mut encoder = Encoder::new(0);
    encoder.metadata(&Metadata { node_id: Some(1), cluster_id: Some(u64::MAX) });
    encoder.snapshot(&Snapshot { index: Some(0), term: Some(0), conf_state: None });
    for index in indexes {
        let entry = Entry { r#type: Some(0), term: Some(1), index: Some(*index), data: None };
        encoder.entry(&entry);
    }
    encoder.state(&HardState { term: Some(1), vote: Some(1), commit: Some(commit) });
    encoder.finish().0
}

/// A data dir of these bytes.
fn data_dir(root: &Path, db: &[u8], wal: &[u8]) {
    for (path, bytes) in [("snap/db", db), ("wal/0000000000000000-0000000000000000.wal", wal)] {
        let path = root.join("member").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

/// Makes a page of `input`, which must not break the program; the page, where there is one.
fn survives(input: &Path, what: &str) -> Option<String> {
    let out = tempfile::tempdir().unwrap();
    let page = out.path().join("report.html");
    let output = Command::new(env!("CARGO_BIN_EXE_etcdsnap"))
        .args(["report", text(input), "-o", text(&page)])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("panicked"), "{what}: {said}");
    assert!(matches!(output.status.code(), Some(0..=2)), "{what}: {output:?}");
    let html = fs::read_to_string(&page).ok()?;
    is_alone(&html);
    Some(html)
}

#[test]
fn a_log_whose_entries_go_back_has_a_page() {
    let dir = case("fuzz-report-panic");
    let html = survives(&dir.path().join("data-dir"), "fuzz-report-panic");
    // Whether it is damaged is for others to say; here it is shown.
    if let Some(html) = html {
        assert!(shown(&html).contains("Write-ahead log"));
    }
}

#[test]
fn logs_with_hostile_indexes_have_a_page() {
    let dir = tempfile::tempdir().unwrap();
    let mut pages = 0;
    let logs: [&[u64]; 12] = [
        &[],
        &[0],
        &[1],
        &[8, 4],
        &[4, 8],
        &[1, 2, 3, 2, 3],
        &[u64::MAX],
        &[u64::MAX, 0],
        &[0, u64::MAX],
        &[u64::MAX - 1, u64::MAX],
        &[u64::MAX, 1, u64::MAX],
        &[5, 5, 5],
    ];
    for (number, indexes) in logs.into_iter().enumerate() {
        for index in [0, 6, u64::MAX] {
            for commit in [5, u64::MAX] {
                let root = dir.path().join(format!("{number}-{index}-{commit}"));
                let db = database(vec![("key", Vec::new()), ("meta", meta(index, None))]);
                data_dir(&root, &db, &log(indexes, commit));
                let what = format!("{indexes:?}, db at {index}, commit {commit}");
                pages += usize::from(survives(&root, &what).is_some());
                fs::remove_dir_all(&root).unwrap();
            }
        }
    }
    assert!(pages > 50, "{pages} of 72 have a page");
}

#[test]
fn databases_with_hostile_numbers_have_a_page() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hostile.db");
    let histories: [&[i64]; 7] = [
        &[],
        &[0],
        &[i64::MAX],
        &[0, i64::MAX],
        &[2, 3, 1_000_000_003, i64::MAX - 1, i64::MAX],
        &[1, 1 << 20, 1 << 40, 1 << 50, 1 << 60, 1 << 61, 1 << 62, i64::MAX],
        &[i64::MAX / 2, i64::MAX / 2 + 1],
    ];
    for revisions in histories {
        for mark in [None, Some(i64::MIN), Some(-1), Some(0), Some(7), Some(i64::MAX)] {
            for version in [i64::MIN, 0, i64::MAX] {
                let records: Pairs = revisions
                    .iter()
                    .map(|main| record(b"/registry/pods/a/b", *main, version, main % 3 == 1))
                    .collect();
                let db = database(vec![("key", records), ("meta", meta(u64::MAX, mark))]);
                fs::write(&path, db).unwrap();
                let what = format!("{revisions:?}, mark {mark:?}, version {version}");
                let html = survives(&path, &what).expect(&what);
                assert!(!html.contains("NaN") && !html.contains(":inf"), "{what}");
            }
        }
    }
}

#[test]
fn a_page_stays_small_whatever_names_and_addresses_a_file_holds() {
    let dir = tempfile::tempdir().unwrap();
    let (path, long) = (dir.path().join("long.db"), "n".repeat(1 << 20));
    let member = |id: u64| {
        let urls: Vec<String> = (0..200).map(|port| format!("http://h{id}:{port}")).collect();
        let member =
            serde_json::json!({"id": id, "peerURLs": urls, "name": long, "clientURLs": [long]});
        pair(&format!("{id:x}"), member.to_string().as_bytes())
    };
    let keys: Pairs = (2..12)
        .map(|main| record(format!("/{long}{main}/x/y").as_bytes(), main, 1, false))
        .collect();
    let mut buckets = vec![
        ("key", keys),
        ("meta", meta(9, Some(i64::MAX))),
        ("members", (1..=4).map(member).collect()),
        ("auth", vec![pair("authEnabled", &[1])]),
    ];
    let bucket = "b".repeat(4000);
    buckets.push((&bucket, vec![pair("k", b"v")]));
    fs::write(&path, database(buckets)).unwrap();
    let html = survives(&path, "long names").unwrap();
    assert!(html.len() < 1 << 18, "{} bytes", html.len());
    let html = shown(&html);
    assert!(html.contains("and 192 more"), "{html}");
}

#[test]
fn a_file_that_is_older_or_newer_than_calendars_has_a_page() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("old.db");
    fs::write(&path, hostile()).unwrap();
    let file = File::options().write(true).open(&path).unwrap();
    let before = SystemTime::UNIX_EPOCH - Duration::from_secs(86_400);
    file.set_times(FileTimes::new().set_modified(before)).unwrap();
    let html = survives(&path, "a file of 1969").unwrap();
    assert!(shown(&html).contains("86,400 s before 1970"));
    let output = Command::new(env!("CARGO_BIN_EXE_etcdsnap"))
        .args(["report", text(&path), "-o", "-"])
        .env("SOURCE_DATE_EPOCH", "9000000000000")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let html = String::from_utf8(output.stdout).unwrap();
    assert!(shown(&html).contains("9,000,000,000,000 s after 1970"));
}
