//! Where things are written: mount points, other filesystems, small ones; for whom; from what cannot be written.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;

use crate::boot::{self, Expected};
use crate::dataset::loaded;
use crate::files::{contents, copy_tree, names, traces};
use crate::gateway::{Reply, id, key};
use crate::ours;
use crate::peers::{Line, Needs, etcdctl};
use crate::restore_flags::RestoreFlags;
use crate::restoring::done;
use crate::server::{Member, Spec, free_url};
use crate::suite::Suite;

const SEGMENT: &str = "0000000000000000-0000000000000000.wal";

pub fn trials(suite: &mut Suite) {
    type Test = fn(&Path) -> Result<()>;
    let tests: [(&str, Test); 7] = [
        ("data_dir_and_wal_dir_that_are_mount_points", mount_points),
        ("a_mount_point_takes_all_members", mounted_root),
        ("an_empty_root_keeps_its_owner_and_mode", empty_root),
        ("a_small_filesystem_is_refused_before_the_first_byte", small_filesystem),
        ("a_source_that_cannot_be_written", read_only_source),
        ("everything_belongs_to_whom_it_is_given", owners),
        ("cleared_alarms_let_the_new_cluster_write", cleared_alarms),
    ];
    for (name, test) in tests {
        suite.add(format!("places::{name}"), Needs::lines(&[Line::V36]), test);
    }
}

/// A filesystem in memory, for as long as the test runs.
struct Mounted(PathBuf);

impl Mounted {
    /// `None`, and a word about it, where mounting is not permitted.
    fn new(at: &Path, options: &str) -> Result<Option<Self>> {
        fs::create_dir_all(at)?;
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", options, "none"]).arg(at);
        let permitted = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        if !permitted {
            eprintln!("conformance: SKIPPED a case of places: mounting is not permitted here");
            return Ok(None);
        }
        Ok(Some(Mounted(at.to_path_buf())))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Busy: it goes when the last of its files is closed.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn mount_points(dir: &Path) -> Result<()> {
    let set = loaded(Line::V36)?;
    let data_dir = dir.join("data");
    let wal_dir = dir.join("wal");
    let Some(data) = Mounted::new(&data_dir, "size=200m")? else { return Ok(()) };
    let Some(wal) = Mounted::new(&wal_dir, "size=200m,mode=700")? else { return Ok(()) };
    for mounted in [&data_dir, &wal_dir] {
        fs::create_dir(mounted.join("lost+found"))?;
    }
    let mut flags = RestoreFlags::single(data_dir.clone(), &free_url()?);
    flags.wal_dir = Some(wal_dir.clone());
    done(ours::restore(&set.snapshot, &flags, &[])?)?;
    ensure!(names(&data_dir)? == ["lost+found", "member"], "{:?}", names(&data_dir)?);
    ensure!(names(&wal_dir)? == [SEGMENT, "lost+found"], "{:?}", names(&wal_dir)?);
    boot::single_member_serves(Line::V36, &flags, &Expected::from(&*set))?;
    // A second one finds them taken.
    let ran = ours::restore(&set.snapshot, &flags, &[])?;
    ensure!(ran.code == Some(2), "{ran}");
    drop((data, wal));
    Ok(())
}

fn mounted_root(dir: &Path) -> Result<()> {
    let set = loaded(Line::V36)?;
    let root = dir.join("root");
    let Some(_mounted) = Mounted::new(&root, "size=300m")? else { return Ok(()) };
    fs::create_dir(root.join("lost+found"))?;
    done(all(&set.snapshot, &root, &[])?)?;
    ensure!(names(&root)? == ["a", "b", "lost+found"], "{:?}", names(&root)?);
    let elsewhere = dir.join("elsewhere");
    done(all(&set.snapshot, &elsewhere, &[])?)?;
    for name in ["a", "b"] {
        let (is, wanted) = (contents(&root.join(name))?, contents(&elsewhere.join(name))?);
        ensure!(is == wanted, "{name} differs on a mount point");
    }
    Ok(())
}

/// Restores members `a` and `b`.
fn all(source: &Path, root: &Path, more: &[&str]) -> Result<crate::run::Ran> {
    let mut args: Vec<OsString> = vec!["restore".into(), source.into()];
    args.extend(
        ["--initial-cluster", "a=http://h:1,b=http://h:2", "--all-members"].map(Into::into),
    );
    args.push(root.into());
    args.extend(more.iter().map(OsString::from));
    ours::etcdsnap(&args)
}

fn empty_root(dir: &Path) -> Result<()> {
    let set = loaded(Line::V36)?;
    let root = dir.join("root");
    fs::create_dir(&root)?;
    fs::set_permissions(&root, Permissions::from_mode(0o2751))?;
    // As whoever else is not root, it stays our own.
    let _ = std::os::unix::fs::chown(&root, Some(4321), Some(1234));
    let before = fs::metadata(&root)?;
    done(all(&set.snapshot, &root, &[])?)?;
    let after = fs::metadata(&root)?;
    let facts = |meta: &fs::Metadata| (meta.mode(), meta.uid(), meta.gid());
    ensure!(facts(&before) == facts(&after), "{:?} became {:?}", facts(&before), facts(&after));
    ensure!(names(&root)? == ["a", "b"], "{:?}", names(&root)?);
    Ok(())
}

fn small_filesystem(dir: &Path) -> Result<()> {
    let set = loaded(Line::V36)?;
    let small = dir.join("small");
    let Some(_mounted) = Mounted::new(&small, "size=64k")? else { return Ok(()) };
    let out = small.join("out");
    let out = out.to_str().context("a path of this test is text")?;
    let snapshot = set.snapshot.to_str().context("a path of this test is text")?;
    let data = set.data_dir.to_str().context("a path of this test is text")?;
    for command in [
        vec!["restore", snapshot, "--data-dir", out],
        vec!["restore", snapshot, "--data-dir", out, "--compact"],
        vec!["restore", snapshot, "--all-members", out],
        vec!["save", "--data-dir", data, out],
        vec!["save", "--data-dir", data, out, "--compact"],
        vec!["compact", snapshot, out],
    ] {
        for more in [None, Some("--dry-run")] {
            let ran = ours::etcdsnap(&[&command[..], more.as_slice()].concat())?;
            let said = ran.stderr_text();
            let named = said.contains("are needed") && said.contains("are free");
            ensure!(ran.code == Some(2) && named, "{command:?} {more:?}: {ran}");
            ensure!(names(&small)?.is_empty(), "{command:?} left {:?}", names(&small)?);
        }
    }
    // The WAL alone is too large for it.
    let apart = dir.join("data");
    let mut flags = RestoreFlags::single(apart.clone(), &free_url()?);
    flags.wal_dir = Some(small.join("wal"));
    let ran = ours::restore(&set.snapshot, &flags, &[])?;
    ensure!(ran.code == Some(2) && !apart.exists(), "{ran}");
    ensure!(names(&small)?.is_empty(), "{:?}", names(&small)?);
    Ok(())
}

/// Modes that forbid writing, and where that is permitted a mount that does.
fn read_only_source(dir: &Path) -> Result<()> {
    let set = loaded(Line::V36)?;
    let source = dir.join("source");
    copy_tree(&set.data_dir, &source)?;
    for (path, _) in traces(&source)? {
        let path = source.join(path);
        let mode = if path.is_dir() { 0o555 } else { 0o444 };
        fs::set_permissions(&path, Permissions::from_mode(mode))?;
    }
    let mut sources = vec![source.clone()];
    let mounted = Mounted::new(&dir.join("mounted"), "size=200m")?;
    if let Some(Mounted(at)) = &mounted {
        copy_tree(&set.data_dir, &at.join("data"))?;
        let remounted = Command::new("mount").args(["-o", "remount,ro"]).arg(at).status()?;
        ensure!(remounted.success(), "the mount cannot be made read-only");
        sources.push(at.join("data"));
    }
    let before = traces(&source)?;
    for (number, source) in sources.iter().enumerate() {
        let flags = RestoreFlags::single(dir.join(format!("data-{number}")), &free_url()?);
        done(ours::restore(source, &flags, &[])?)?;
        let out = dir.join(format!("out-{number}.db"));
        done(ours::save(source, &out, &["--compact"])?)?;
        ensure!(
            crate::peers::status(Line::V36, &out)?.revision == set.content.revision,
            "{number}"
        );
    }
    ensure!(before == traces(&source)?, "the source changed");
    Ok(())
}

fn owners(dir: &Path) -> Result<()> {
    let set = loaded(Line::V36)?;
    let mine = fs::metadata(dir)?;
    // Only root gives files away.
    let (uid, gid) = if mine.uid() == 0 { (12345, 23456) } else { (mine.uid(), mine.gid()) };
    let owner = format!("{uid}:{gid}");
    let before = fs::metadata(&set.snapshot)?;
    let mut flags = RestoreFlags::single(dir.join("deep/er/data"), &free_url()?);
    flags.wal_dir = Some(dir.join("wal/dir"));
    done(ours::restore(&set.snapshot, &flags, &["--owner", &owner])?)?;
    fs::create_dir(dir.join("empty"))?;
    done(all(&set.snapshot, &dir.join("empty"), &["--owner", &owner, "--compact"])?)?;
    for root in ["deep", "wal", "empty"] {
        for (path, _) in traces(&dir.join(root))? {
            let path = dir.join(root).join(path);
            let meta = fs::metadata(&path)?;
            ensure!((meta.uid(), meta.gid()) == (uid, gid), "{} is {}", path.display(), meta.uid());
        }
    }
    let after = fs::metadata(&set.snapshot)?;
    ensure!((before.uid(), before.gid()) == (after.uid(), after.gid()), "the input was given away");
    for wrong in ["etcd", "1", "1:", ":1", "-1:1", "4294967295:1", "1:2:3"] {
        let flags = RestoreFlags::single(dir.join("wrong"), &free_url()?);
        let ran = ours::restore(&set.snapshot, &flags, &["--owner", wrong])?;
        ensure!(ran.code == Some(2), "{wrong}: {ran}");
    }
    Ok(())
}

fn cleared_alarms(dir: &Path) -> Result<()> {
    let line = Line::V36;
    let member = Member::start(Spec::single(line, &dir.join("live"), &free_url()?))?;
    let status = member.gateway().call("maintenance/status", &json!({}))?;
    let own = id(&status["header"]["member_id"])?.to_string();
    let alarm = json!({"action": "ACTIVATE", "memberID": own, "alarm": "NOSPACE"});
    member.gateway().call("maintenance/alarm", &alarm)?;
    let snapshot = dir.join("snapshot.db");
    let args = ["snapshot".as_ref(), "save".as_ref(), snapshot.as_os_str()];
    etcdctl(line, &member.client_url, None, &args)?;
    member.sigkill()?;
    for (more, writes) in
        [(&[][..], false), (&["--clear-alarms"], true), (&["--clear-alarms", "--compact"], true)]
    {
        let flags = RestoreFlags::single(dir.join(format!("data{}", more.len())), &free_url()?);
        let ran = done(ours::restore(&snapshot, &flags, more)?)?;
        let told = ran.stdout_text();
        ensure!(told.contains("NOSPACE") != writes, "{ran}");
        ensure!(told.contains("left out: 1 alarm\n") == writes, "{ran}");
        let member = Member::start(boot::spec(line, &flags))?;
        let put = json!({"key": key(b"k"), "value": key(b"v")});
        match member.gateway().send("kv/put", &put)? {
            Reply::Done(_) if writes => {}
            Reply::Refused(message) if !writes && message.contains("space") => {}
            other => bail!("{more:?}: {other:?}"),
        }
    }
    Ok(())
}
