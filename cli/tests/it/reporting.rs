//! `report` as people open it. The dangers: a page that says something else than the file, one that a hostile key takes
//! over, and one that calls somebody.

use std::{fs, path::Path};

use etcdsnap_engine::snapshot::Digest;
use serde_json::Value;

use crate::{
    facts::{etcdsnap, json, state, text, unpack},
    hostile::{database, puts, written},
    html::{Piece, attributes, is_alone, parse, report, report_all, shown},
};

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
        "Healthy".to_owned(),
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
    assert!(
        plain.contains(&format!("etcdsnap salvage {} --output salvaged-", text(&damaged))),
        "{plain}"
    );
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

#[test]
fn a_page_stays_small_however_much_there_is_to_say() {
    let dir = tempfile::tempdir().unwrap();
    let (made, out) = (dir.path().join("made.db"), dir.path().join("report.html"));
    let args = ["bench", "--size", "24MiB", "--value-size", "20-40", "--make", text(&made)];
    assert_eq!(etcdsnap(&args).status.code(), Some(0));
    let (code, html) = report(&made, &out, &[]);
    assert_eq!(code, Some(0));
    assert!(html.len() < 1 << 19, "{} bytes", html.len());
    // Shares of many pages and not a wall of squares.
    assert!(html.contains(r#"data-shares="yes""#) && html.contains(" strips of "));
    assert!(html.matches("h1V").count() < 600, "areas");
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

#[test]
fn what_decides_comes_first_then_space_then_the_map() {
    let dir = unpack("authon-36");
    let (data, out) = (dir.path().join("data"), dir.path().join("report.html"));
    let (_, html) = report(&data, &out, &[]);
    let html = shown(&html);
    let places: Vec<Option<usize>> = [
        "Healthy",
        "What to do next",
        "Not known to be committed",
        "Alarms",
        "Auth on : 2 users, 3 roles",
        "Revision",
        "Every byte of the database",
        "Every square is a page",
        "Writes over revisions",
        "Evidence",
    ]
    .map(|text| html.rfind(text))
    .to_vec();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?}: {html}");
}

#[test]
fn a_revision_is_whole_and_the_axis_breaks_where_nothing_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let (input, out) = (dir.path().join("bumped.db"), dir.path().join("report.html"));
    let revisions = (2..700).chain(1_000_000_700..1_000_002_293);
    fs::write(&input, written(revisions, 1_000_000_699)).unwrap();
    let (code, html) = report(&input, &out, &[]);
    assert_eq!(code, Some(0));
    let shown = shown(&html);
    assert!(shown.contains("Revision 1,000,002,292 compacted to 1,000,000,699"), "{shown}");
    assert!(shown.contains("The axis is broken: revisions 704 to 1,000,000,"), "{shown}");
    assert!(shown.contains("; 16 revisions a bar"), "{shown}");
    assert!(html.matches(r#"<line class="break""#).count() == 4, "in both pictures");
}

#[test]
fn tiles_are_named_as_keys_begin_and_what_is_left_over_is_not_the_largest() {
    let dir = unpack("kube-36");
    let (snapshot, out) = (dir.path().join("snapshot.db"), dir.path().join("report.html"));
    let (_, html) = report(&snapshot, &out, &[]);
    let titles = attributes(&html, "title");
    let prefixes: Vec<&String> = titles.iter().filter(|title| title.contains("%, ")).collect();
    assert!(prefixes.len() > 40, "{titles:?}");
    for title in &prefixes {
        let rest = title.contains("smaller prefix");
        assert!(title.starts_with("/registry/") || rest, "{title}");
    }
    assert!(
        !shown(&html).contains(" more ") && html.contains("<bdi>/pods/</bdi>"),
        "{}",
        shown(&html)
    );
    // A hundred equal prefixes are no less than a hundred tiles.
    let keys = (0..100).map(|number| format!("/tenant-{number:03}/a/b"));
    fs::write(&snapshot, database(vec![("key", puts(keys)), ("meta", Vec::new())])).unwrap();
    let (_, html) = report(&snapshot, &out, &[]);
    assert!(html.contains("<bdi>/tenant-099/a/</bdi>") || html.contains("<bdi>/tenant-099/</bdi>"));
    assert!(!html.contains("smaller prefix"));
}

#[test]
fn counts_are_those_of_the_lists() {
    let dir = unpack("authon-36");
    let (damaged, out) = (dir.path().join("damaged.db"), dir.path().join("report.html"));
    let mut bytes = fs::read(dir.path().join("snapshot.db")).unwrap();
    for page in [20, 21, 30] {
        bytes[page * 4096] ^= 0x41;
    }
    fs::write(&damaged, &bytes).unwrap();
    let (_, html) = report(&damaged, &out, &[]);
    let rows = attributes(&html, "id").iter().filter(|id| id.starts_with("finding-")).count();
    let severities = attributes(&html, "class");
    let of = |severity: &str| {
        severities.iter().filter(|class| **class == format!("sev {severity}")).count()
    };
    let lead = format!("{} of damage, {} warning", of("damage"), of("warning"));
    assert!(shown(&html).contains(&lead), "{lead} is not in {}", shown(&html));
    let said = etcdsnap(&["report", text(&damaged), "-o", text(&out), "-w", "json"]);
    let said: Value = serde_json::from_slice(&said.stdout).unwrap();
    assert_eq!(said["findings"], rows);
}

#[test]
fn several_members_are_on_one_page_and_a_bad_one_does_not_hide_the_others() {
    let dir = unpack("cluster3-36");
    let (out, missing) = (dir.path().join("report.html"), dir.path().join("missing"));
    let members = ["n0", "n1", "n3"].map(|name| dir.path().join(name));
    let mut inputs: Vec<&Path> = members.iter().map(|path| path.as_path()).collect();
    let (code, html) = report_all(&inputs, &out, &[]);
    assert_eq!(code, Some(0));
    is_alone(&html);
    inputs.insert(1, &missing);
    let (code, html) = report_all(&inputs, &out, &[]);
    assert_eq!(code, Some(1));
    is_alone(&html);
    let ids = attributes(&html, "id");
    for link in attributes(&html, "href") {
        let link = link.trim_start_matches('#');
        assert_eq!(ids.iter().filter(|id| *id == link).count(), 1, "{link}");
    }
    let unique: std::collections::BTreeSet<&String> = ids.iter().collect();
    assert_eq!(unique.len(), ids.len(), "{ids:?}");
    let shown = shown(&html);
    assert!(shown.contains("4 members") && shown.contains("Not read"), "{shown}");
    for member in &members {
        let db = fs::read(member.join("member/snap/db")).unwrap();
        assert!(shown.contains(&Digest::of(&db).to_string()), "{}", member.display());
    }
    let mut args: Vec<&str> = vec!["report"];
    args.extend(inputs.iter().map(|input| text(input)));
    args.extend(["-o", text(&out), "-w", "json"]);
    let said = etcdsnap(&args);
    let said: Value = serde_json::from_slice(&said.stdout).unwrap();
    assert_eq!((said["path"].as_str(), said["sound"].as_bool()), (Some(text(&out)), Some(false)));
    let listed = said["members"].as_array().unwrap();
    let sound: Vec<bool> = listed.iter().map(|member| member["sound"] == true).collect();
    assert_eq!(sound, [true, false, true, true], "{said}");
    assert!(listed[1]["error"].as_str().unwrap().contains("missing"), "{said}");
    // With nothing to show there is no page.
    fs::remove_file(&out).unwrap();
    let (code, html) = report_all(&[&missing, &missing], &out, &[]);
    assert_eq!((code, html.as_str()), (Some(2), ""));
}
