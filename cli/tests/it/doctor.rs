//! Several members before `doctor`. The dangers: an acknowledged write that the recommended commands leave out, a
//! choice where none is right, a command that cannot be pasted.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use super::{
    crashed::{codes, doctor, rewrite},
    facts::{etcdsnap, json, text, unpack},
};

/// Unpacks a case of `testdata/cases`.
pub fn case(name: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(format!("../testdata/cases/{name}/{name}.tar.zst"));
    let file = File::open(path).unwrap();
    tar::Archive::new(zstd::Decoder::new(file).unwrap()).unpack(dir.path()).unwrap();
    dir
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").args([from, to]).status().unwrap();
    assert!(status.success());
}

/// Runs every `etcdsnap` command of `next`, as it is printed, in `dir`.
fn run_next(found: &Value, dir: &Path) -> Vec<String> {
    let mut ran = Vec::new();
    for step in found["next"].as_array().unwrap() {
        let command = step["command"].as_str().unwrap();
        if !command.starts_with("etcdsnap ") {
            continue;
        }
        let program = env!("CARGO_BIN_EXE_etcdsnap");
        let script = format!("etcdsnap() {{ {program} -q \"$@\"; }}\n{command}");
        let output = Command::new("sh").arg("-c").arg(script).current_dir(dir).output().unwrap();
        assert!(output.status.success(), "{command}: {output:?}");
        ran.push(command.to_owned());
    }
    ran
}

fn keys(path: &Path) -> Vec<Value> {
    json(&["keys", text(path), "-w", "json", "-q"])["kvs"].as_array().unwrap().clone()
}

#[test]
fn the_commands_keep_a_write_that_was_acknowledged_and_is_committed_in_no_log() {
    let dir = case("quorum-committed-37");
    let member = |name: &str| dir.path().join(name);
    for given in [["n1", "n2", "n3"].as_slice(), &["n3", "n1"], &["n2"]] {
        let paths: Vec<PathBuf> = given.iter().map(|name| member(name)).collect();
        let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
        let (exit, found) = doctor(&paths);
        assert_eq!((exit, &found["verdict"]), (Some(0), &"healthy".into()), "{found}");
        assert_eq!(found["recoverFrom"], text(paths[0]));
        assert_eq!(found["entriesUncommitted"], 1);
        let quorum = &found["quorum"];
        assert_eq!((&quorum["voters"], &quorum["here"]), (&3.into(), &given.len().into()));
        assert_eq!(quorum["intact"], given.len());
        let majority = given.len() > 1;
        assert_eq!(quorum["complete"], majority, "{found}");
        assert_eq!(codes(&found).contains(&"no-majority"), !majority, "{found}");
        let first = &found["next"][0];
        assert_eq!(first["command"] == "systemctl start etcd", majority, "{found}");
        let work = tempfile::tempdir().unwrap();
        let ran = run_next(&found, work.path());
        assert_eq!(ran.len(), 2, "{ran:?}");
        assert!(ran[1].contains("--bump-revision 1000000000 --mark-compacted"), "{ran:?}");
        assert!(ran[1].contains("n1=http://127.0.0.1:13011"), "{ran:?}");
        let snapshot = ran[0].rsplit(' ').next().unwrap();
        let restored = work.path().join(snapshot.strip_suffix(".db").unwrap());
        for name in ["n1", "n2", "n3"] {
            let last = keys(&restored.join(name)).pop().unwrap();
            // k8
            assert_eq!(last["key"], "azg=", "{given:?}");
        }
    }
}

#[test]
fn a_dir_that_cannot_be_opened_is_one_members_verdict() {
    let dir = case("quorum-committed-37");
    let n1 = dir.path().join("n1");
    let (empty, missing) = (dir.path().join("empty"), dir.path().join("missing"));
    fs::create_dir(&empty).unwrap();
    let (exit, found) = doctor(&[&empty, &n1, &missing]);
    assert_eq!((exit, found["recoverFrom"].as_str()), (Some(1), Some(text(&n1))), "{found}");
    let verdicts: Vec<&Value> =
        found["members"].as_array().unwrap().iter().map(|member| &member["verdict"]).collect();
    assert_eq!(verdicts[1], "healthy");
    assert_eq!(verdicts[2], "unreadable");
    assert_ne!(verdicts[0], "healthy");
    let output = etcdsnap(&["doctor", text(&missing), text(&dir.path().join("nor-this"))]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{output:?}");
}

#[test]
fn members_of_several_clusters_are_not_compared() {
    let dir = case("quorum-committed-37");
    let other = case("learner-promotion-3515");
    let (one, two) = (dir.path().join("n1"), other.path().join("n1"));
    let (exit, found) = doctor(&[&one, &two]);
    assert_eq!((exit, &found["recoverFrom"]), (Some(1), &Value::Null), "{found}");
    assert_eq!(found["findings"][0]["code"], "several-clusters");
    assert_eq!(found["differences"], Value::Array(Vec::new()));
    let commands: Vec<&str> = found["next"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["command"].as_str().unwrap())
        .collect();
    let doctors =
        [format!("etcdsnap doctor {}", text(&one)), format!("etcdsnap doctor {}", text(&two))];
    assert_eq!(commands, doctors);
}

/// Changes the value of the newest record of bucket `key`.
fn alter(data: &Path) {
    rewrite(data, "key", |records| {
        let (_, value) = records.iter_mut().next_back().unwrap();
        *value.last_mut().unwrap() ^= 1;
    });
}

#[test]
fn the_contents_of_the_majority_are_right() {
    let dir = case("quorum-committed-37");
    let member = |name: &str| dir.path().join(name);
    alter(&member("n1"));
    let (exit, found) = doctor(&[&member("n1"), &member("n2"), &member("n3")]);
    assert_eq!((exit, found["recoverFrom"].as_str()), (Some(1), Some(text(&member("n2")))));
    let difference = &found["differences"][0];
    assert_eq!(difference["path"], text(&member("n1")), "{found}");
    assert_eq!(
        (&difference["keysDiffering"], &difference["keys"][0]["key"]),
        (&1.into(), &"k7".into())
    );
    assert_eq!(difference["firstRevision"], 8);
    // The one that is wrong is replaced once the others run.
    let next = found["next"].to_string();
    assert!(next.contains("member remove"), "{next}");
    let (exit, found) = doctor(&[&member("n1"), &member("n2")]);
    assert_eq!((exit, &found["recoverFrom"]), (Some(1), &Value::Null), "{found}");
    assert!(codes(&found).contains(&"content-undecided"), "{found}");
}

#[test]
fn a_damaged_member_is_replaced_once_the_others_run() {
    let dir = case("quorum-committed-37");
    let member = |name: &str| dir.path().join(name);
    fs::remove_dir_all(member("n2").join("member/wal")).unwrap();
    let (exit, found) = doctor(&[&member("n1"), &member("n2"), &member("n3")]);
    assert_eq!(exit, Some(1), "{found}");
    assert_eq!((&found["quorum"]["voters"], &found["quorum"]["intact"]), (&3.into(), &2.into()));
    let commands: Vec<&str> = found["next"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["command"].as_str().unwrap())
        .collect();
    assert_eq!(commands[..2], ["systemctl start etcd"; 2]);
    let endpoints = "--endpoints=http://127.0.0.1:13001,http://127.0.0.1:13003";
    let remove = format!("etcdctl {endpoints} member remove 36f16b5659794bc0");
    assert!(commands[2].contains(&remove), "{commands:?}");
    let add =
        format!("etcdctl {endpoints} member add n2 --learner --peer-urls=http://127.0.0.1:13012");
    assert!(commands[3..].iter().any(|command| command.contains(&add)), "{commands:?}");
    assert!(commands.iter().any(|command| command.ends_with("--initial-cluster-state existing")));
    assert!(commands.iter().any(|command| command.contains("member promote")));
}

#[test]
fn two_dirs_of_a_member_vote_once_and_the_newer_counts() {
    let dir = case("quorum-committed-37");
    let (n1, old) = (dir.path().join("n1"), dir.path().join("old n1's"));
    copy(&n1, &old);
    // Without its last record the copy ends at entry 18.
    cut_before(&old, 19);
    let (exit, found) = doctor(&[&old, &n1]);
    assert_eq!((exit, found["recoverFrom"].as_str()), (Some(0), Some(text(&n1))), "{found}");
    assert_eq!((&found["quorum"]["here"], &found["quorum"]["intact"]), (&1.into(), &1.into()));
    assert!(codes(&found).contains(&"older-copy"), "{found}");
    assert_eq!(found["members"][0]["entriesBehind"], 1);
    // A quote in a path is pasted as well as any other.
    let (_, found) = doctor(&[&old]);
    let work = tempfile::tempdir().unwrap();
    assert_eq!(run_next(&found, work.path()).len(), 2);
}

fn json_lines(args: &[&str]) -> Vec<Value> {
    let output = etcdsnap(args);
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn snapshots_beside_dirs_are_said_to_be_older_or_newer() {
    let dir = case("quorum-committed-37");
    let (n1, n2) = (dir.path().join("n1"), dir.path().join("n2"));
    let (old, new) = (dir.path().join("old.db"), dir.path().join("new.db"));
    for (out, flags) in [(&old, ["--to", "18"].as_slice()), (&new, &[])] {
        let mut args = vec!["save", "--data-dir", text(&n1), text(out), "-q"];
        args.extend(flags);
        assert_eq!(etcdsnap(&args).status.code(), Some(0));
    }
    let (exit, found) = doctor(&[&n2, &old]);
    assert_eq!((exit, found["recoverFrom"].as_str()), (Some(0), Some(text(&n2))), "{found}");
    assert!(codes(&found).contains(&"snapshot-older"), "{found}");
    let lacking = &found["lacking"][0];
    assert_eq!((&lacking["path"], &lacking["keys"][0]["key"]), (&text(&old).into(), &"k8".into()));
    let (exit, found) = doctor(&[&old, &new]);
    assert_eq!((exit, found["recoverFrom"].as_str()), (Some(0), Some(text(&new))), "{found}");
    assert_eq!(found["quorum"], Value::Null);
    let (_, found) = doctor(&[&new]);
    assert_eq!(found["verdict"], "recoverable");
    let work = tempfile::tempdir().unwrap();
    assert_eq!(run_next(&found, work.path()).len(), 1);
}

#[test]
fn membership_is_what_raft_says() {
    let dir = case("learner-promotion-3515");
    let member = |name: &str| dir.path().join(name);
    let (exit, found) = doctor(&[&member("n1"), &member("n2"), &member("n3")]);
    assert_eq!(exit, Some(0), "{found}");
    assert_eq!((&found["quorum"]["voters"], &found["quorum"]["intact"]), (&3.into(), &3.into()));
    let members = found["members"].as_array().unwrap();
    assert!(members.iter().all(|member| member["role"] == "voter"), "{found}");
    assert!(members.iter().all(|member| member["verdict"] == "recoverable"), "{found}");
    assert_eq!(members[1]["name"], "n2", "the name is in the log alone");
    let codes = codes(&found);
    assert!(codes.contains(&"learner-flag"), "{found}");
    let said = found.to_string();
    assert!(said.contains("newest 3.5") && said.contains("etcd 3.6"), "{said}");
    // A restore makes voters of them, under their own names.
    let work = tempfile::tempdir().unwrap();
    let ran = run_next(&found, work.path());
    assert!(ran[1].contains("n3=http://127.0.0.1:13013"), "{ran:?}");
    let restored =
        work.path().join(ran[0].rsplit(' ').next().unwrap().strip_suffix(".db").unwrap());
    let n2 = restored.join("n2");
    let listed = json(&["members", text(&n2), "-w", "json", "-q"]);
    let learners =
        listed["members"].as_array().unwrap().iter().filter(|one| one["isLearner"] == true);
    assert_eq!(learners.count(), 0, "{listed}");
}

#[test]
fn one_history_that_others_left_behind_is_not_chosen_over_them() {
    // A learner, two voters and a member that was removed: it ends earlier and does not vote.
    let dir = unpack("cluster3-36");
    let member = |name: &str| dir.path().join(name);
    let (exit, found) = doctor(&[&member("n2"), &member("n3"), &member("n0"), &member("n1")]);
    assert_eq!(exit, Some(0), "{found}");
    let roles: Vec<&str> = found["members"]
        .as_array()
        .unwrap()
        .iter()
        .map(|member| member["role"].as_str().unwrap())
        .collect();
    assert_eq!(roles, ["former", "learner", "voter", "voter"]);
    assert_eq!((&found["quorum"]["voters"], &found["quorum"]["intact"]), (&2.into(), &2.into()));
}

#[test]
fn a_running_member_is_said_to_run_and_its_server_makes_the_snapshot() {
    let dir = case("quorum-committed-37");
    let n1 = dir.path().join("n1");
    let db = File::options().write(true).open(n1.join("member/snap/db")).unwrap();
    rustix::fs::flock(&db, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let (_, found) = doctor(&[&n1]);
    let first = &found["next"][0];
    assert!(first["why"].as_str().unwrap().contains("stop it first"), "{found}");
    let command = first["command"].as_str().unwrap();
    assert!(
        command.starts_with("etcdctl --endpoints=http://127.0.0.1:13001 snapshot save "),
        "{command}"
    );
    assert_eq!(found["members"][0]["running"], true);
}

#[test]
fn a_member_that_was_forced_into_a_cluster_of_its_own_and_the_others_have_two_histories() {
    // n1 was started with --force-new-cluster and written to, then n2 and n3 went on together.
    let dir = case("forced-new-cluster-37");
    let member = |name: &str| dir.path().join(name);
    let (exit, found) = doctor(&[&member("n2"), &member("n1"), &member("n3")]);
    assert_eq!((exit, &found["recoverFrom"]), (Some(1), &Value::Null), "{found}");
    assert_eq!(found["findings"][0]["code"], "two-histories", "{found}");
    assert_eq!(codes(&found).iter().filter(|code| **code == "two-histories").count(), 1);
    let commands: Vec<&str> = found["next"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["command"].as_str().unwrap())
        .collect();
    let together = format!("etcdsnap doctor {} {}", text(&member("n2")), text(&member("n3")));
    assert_eq!(commands, [together, format!("etcdsnap doctor {}", text(&member("n1")))]);
    // What each holds alone, and which was written last.
    let held: Vec<&Value> = found["lacking"]
        .as_array()
        .unwrap()
        .iter()
        .map(|lacking| &lacking["keys"][0]["key"])
        .collect();
    assert_eq!(held, ["k19", "forced"], "{found}");
    let last = found["findings"].as_array().unwrap();
    let last = last.iter().find(|one| one["code"] == "written-last").unwrap();
    assert!(last["message"].as_str().unwrap().contains(text(&member("n3"))), "{last}");
    // On their own they are a cluster each, and n1's log says that it votes alone.
    let (exit, found) = doctor(&[&member("n1")]);
    assert_eq!((exit, &found["quorum"]["voters"]), (Some(0), &1.into()), "{found}");
    let (exit, found) = doctor(&[&member("n2"), &member("n3")]);
    assert_eq!((exit, &found["quorum"]["voters"]), (Some(0), &3.into()), "{found}");
    assert_eq!(found["next"][0]["command"], "systemctl start etcd");
}

#[test]
fn a_full_members_alarm_is_cleared_where_it_would_stop_the_new_cluster() {
    let dir = case("quorum-committed-37");
    let n1 = dir.path().join("n1");
    // AlarmMember {memberID 7, alarm NOSPACE}.
    rewrite(&n1, "alarm", |records| {
        records.insert(vec![8, 7, 16, 1], Vec::new());
    });
    let (_, found) = doctor(&[&n1]);
    assert_eq!(found.to_string().matches("NOSPACE of member").count(), 2, "once in each list");
    assert!(!codes(&found).contains(&"alarm"), "told twice: {found}");
    let work = tempfile::tempdir().unwrap();
    let ran = run_next(&found, work.path());
    assert!(ran[1].ends_with("--mark-compacted --clear-alarms --compact"), "{ran:?}");
}

#[test]
fn a_wrong_page_header_of_a_meta_keeps_no_server_from_starting() {
    use std::os::unix::fs::FileExt as _;
    let dir = case("quorum-committed-37");
    let n1 = dir.path().join("n1");
    let db = File::options().write(true).open(n1.join("member/snap/db")).unwrap();
    // The id of page 1.
    db.write_all_at(&[7], 4096).unwrap();
    let (exit, found) = doctor(&[&n1]);
    assert_eq!((exit, &found["verdict"]), (Some(1), &"recoverable".into()), "{found}");
    assert_eq!(codes(&found).iter().filter(|code| **code == "meta-header").count(), 1, "{found}");
    assert!(found.to_string().contains("a server starts on this file"), "{found}");
    assert_eq!(found["quorum"]["intact"], 1);
    let work = tempfile::tempdir().unwrap();
    let ran = run_next(&found, work.path());
    let snapshot = work.path().join(ran[0].rsplit(' ').next().unwrap());
    assert_eq!(etcdsnap(&["check", text(&snapshot)]).status.code(), Some(0));
    assert_eq!(keys(&snapshot).pop().unwrap()["key"], "azg=");
    // A snapshot with such a header is restored, as etcdutl restores it.
    let headers = super::facts::case("fuzz-meta-header");
    let file = headers.path().join("p0-id7.db");
    let (exit, found) = doctor(&[&file]);
    assert_eq!((exit, &found["verdict"]), (Some(1), &"recoverable".into()), "{found}");
    let ran = run_next(&found, work.path());
    let root = work.path().join(ran[0].split(' ').nth(4).unwrap());
    let restored = fs::read_dir(root).unwrap().next().unwrap().unwrap().path();
    assert_eq!(etcdsnap(&["verify", text(&restored)]).status.code(), Some(0));
}

#[test]
fn a_db_without_a_log_is_that_of_the_member_that_is_missing() {
    let dir = case("quorum-committed-37");
    let member = |name: &str| dir.path().join(name);
    let without_log = |name: &str| fs::remove_dir_all(member(name).join("member/wal")).unwrap();
    without_log("n3");
    let (exit, found) = doctor(&[&member("n3"), &member("n1"), &member("n2")]);
    assert_eq!((exit, found["recoverFrom"].as_str()), (Some(1), Some(text(&member("n1")))));
    let quorum = &found["quorum"];
    assert_eq!((&quorum["here"], &quorum["intact"]), (&3.into(), &2.into()), "{found}");
    assert_eq!(quorum["missingIds"], Value::Array(Vec::new()));
    assert_eq!(
        (&found["members"][0]["name"], &found["members"][0]["lastIndex"]),
        (&"n3".into(), &Value::Null)
    );
    let why = found["next"].to_string();
    assert!(why.contains("is the data dir of n3, and its log is lost"), "{why}");
    // Two of them are of two members, and nothing tells which is whose.
    without_log("n2");
    let (exit, found) = doctor(&[&member("n3"), &member("n1"), &member("n2")]);
    assert_eq!((exit, found["recoverFrom"].as_str()), (Some(1), Some(text(&member("n1")))));
    assert_eq!((&found["quorum"]["here"], &found["quorum"]["intact"]), (&1.into(), &1.into()));
    assert!(found.to_string().contains("nothing tells which member's it is"), "{found}");
    // That of another cluster is not compared.
    let other = case("learner-promotion-3515");
    let stranger = other.path().join("n1");
    fs::remove_dir_all(stranger.join("member/wal")).unwrap();
    let (exit, found) = doctor(&[&stranger, &member("n1")]);
    assert_eq!((exit, found["recoverFrom"].as_str()), (Some(1), Some(text(&member("n1")))));
    assert!(codes(&found).contains(&"stranger"), "{found}");
    assert_eq!(found["quorum"]["here"], 1);
}

#[test]
fn a_snapshot_that_is_newer_than_the_only_dir_loses_less() {
    let dir = case("quorum-committed-37");
    let (n1, new) = (dir.path().join("n1"), dir.path().join("new.db"));
    assert_eq!(
        etcdsnap(&["save", "--data-dir", text(&n1), text(&new), "-q"]).status.code(),
        Some(0)
    );
    // Without its last entries n1 is older than the snapshot.
    cut_before(&n1, 19);
    let (exit, found) = doctor(&[&n1, &new]);
    assert_eq!((exit, found["recoverFrom"].as_str()), (Some(0), Some(text(&new))), "{found}");
    assert!(codes(&found).contains(&"snapshot-newer"), "{found}");
    let lacking = &found["lacking"][0];
    assert_eq!((&lacking["path"], &lacking["heldBy"]), (&text(&n1).into(), &text(&new).into()));
    assert!(found["reason"].as_str().unwrap().contains("same history"), "{found}");
    let work = tempfile::tempdir().unwrap();
    let ran = run_next(&found, work.path());
    assert!(ran[0].starts_with(&format!("etcdsnap restore {}", text(&new))), "{ran:?}");
    let restored = work.path().join(ran[0].split(' ').nth(4).unwrap()).join("n2");
    assert_eq!(keys(&restored).pop().unwrap()["key"], "azg=");
}

/// Cuts the log of a member before its entry `index`.
fn cut_before(data: &Path, index: u64) {
    let wal = fs::read_dir(data.join("member/wal")).unwrap().map(|entry| entry.unwrap().path());
    let wal = wal.filter(|path| path.extension().is_some_and(|end| end == "wal")).max().unwrap();
    let listed = json_lines(&["wal", text(&wal), "-w", "json", "--from", &index.to_string()]);
    let offset = listed[0]["offset"].as_u64().unwrap();
    File::options().write(true).open(&wal).unwrap().set_len(offset).unwrap();
}

#[test]
fn what_people_read_fits_their_terminal() {
    let dir = case("quorum-committed-37");
    for columns in ["60", "80"] {
        let output = Command::new(env!("CARGO_BIN_EXE_etcdsnap"))
            .args(["doctor", "n1", "n2", "n4"])
            .current_dir(dir.path())
            .env("COLUMNS", columns)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        let text = String::from_utf8(output.stdout).unwrap();
        let wide = columns.parse().unwrap();
        // Commands are pasted, and stay one line each.
        let command = |line: &&str| line.starts_with("     ") && (line.contains("etcd"));
        let long =
            text.lines().filter(|line| !command(line)).find(|line| line.chars().count() > wide);
        assert_eq!(long, None);
        super::golden::assert_golden(&format!("doctor/{columns}.txt"), &text);
    }
}
