//! Everything that can be known of a file without restoring it.

use std::{
    collections::{BTreeSet, HashSet},
    fs::File,
};

use sha2::{Digest as _, Sha256};

use super::{
    causes, marks,
    trailer::{self, Digest, Image, Trailer},
};
use crate::{
    bolt::{self, Db, ReadError, check},
    finding::{self, Cause, Finding, Place, Severity, counted},
    limits::Limits,
    mvcc::{self, KeySpace, Scan, rules},
    progress::{Interrupted, Progress},
    schema::{MetaRecords, RecordError, Store, auth, bucket, compacted, members, small},
};

/// One question that was asked of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// A stable word: `trailer`, `pages`, `keyspace`, `records`, `members`; the program adds `wal`.
    pub name: &'static str,
    /// Whether no damage was found.
    pub sound: bool,
    /// What was looked at, or why it could not be.
    pub detail: String,
}

/// The answer to all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verification {
    /// What was asked, in order.
    pub checks: Vec<Check>,
    /// What was found: causes first, then what follows from them, each by severity and place.
    pub findings: Vec<Finding>,
    /// Keys that exist; `None` when the key space could not be read to its end.
    pub live_keys: Option<u64>,
}

impl Verification {
    /// Whether no damage was found.
    pub fn is_sound(&self) -> bool {
        !self.findings.iter().any(|finding| finding.severity == Severity::Damage)
    }

    /// Whether nothing but the page headers of metas is damaged, which servers and restores do not read and every copy
    /// writes anew.
    pub fn is_usable(&self) -> bool {
        !self.findings.iter().any(check::is_obstacle)
    }

    /// Adds a question that was asked beside these, with what was found.
    pub fn add(&mut self, name: &'static str, detail: String, mut findings: Vec<Finding>) {
        let sound = !findings.iter().any(|finding| finding.severity == Severity::Damage);
        self.checks.push(Check { name, sound, detail });
        self.findings.append(&mut findings);
        finding::sort(&mut self.findings);
    }

    /// What was found, grouped by cause.
    pub fn causes(&self) -> Vec<Cause<'_>> {
        finding::causes(&self.findings)
    }
}

/// Verifies a db file or snapshot: digest and structure side by side.
///
/// # Errors
/// When it is no bbolt file, both metas are gone, or the work was interrupted.
pub fn verify(
    image: &Image<'_>,
    limits: Limits,
    progress: &dyn Progress,
) -> Result<Verification, ReadError> {
    verify_with_scratch(image, limits, None, progress)
}

/// As [`verify`]; with a file as `scratch`, whose content is lost, memory does not grow with the number of keys. 28 bytes
/// a record are written to it; where that fails, it is done without.
///
/// # Errors
/// As [`verify`].
pub fn verify_with_scratch(
    image: &Image<'_>,
    limits: Limits,
    scratch: Option<&File>,
    progress: &dyn Progress,
) -> Result<Verification, ReadError> {
    let db = image.db(limits)?;
    let (digest, structure) = rayon::join(
        || match image.trailer() {
            Trailer::Present(_) => digest(image.database(), progress).map(Some),
            Trailer::Absent | Trailer::Odd { .. } => Ok(None),
        },
        || structure(&db, scratch, progress),
    );
    let (digest, structure) = (digest?, structure?);
    let mut verification = Verification::default();
    let (detail, findings) = trailer(image, &db, digest, structure.is_sound());
    verification.findings = structure.findings;
    verification.add("trailer", detail, findings);
    verification.checks.extend(structure.checks);
    verification.live_keys = structure.live_keys;
    Ok(verification)
}

fn digest(bytes: &[u8], progress: &dyn Progress) -> Result<Digest, Interrupted> {
    const STEP: usize = 4 << 20;
    let mut hasher = Sha256::new();
    for step in bytes.chunks(STEP) {
        progress.go_on()?;
        hasher.update(step);
        progress.advance(step.len() as u64);
    }
    Ok(Digest(hasher.finalize().into()))
}

fn trailer(
    image: &Image<'_>,
    db: &Db<'_>,
    digest: Option<Digest>,
    structure_sound: bool,
) -> (String, Vec<Finding>) {
    let place = Place::Offset(image.database().len() as u64);
    let behind = (image.behind() > 0).then(|| {
        let message = format!(
            "{} bytes follow the digest, where etcd writes none; a copy from a block device or a tape, or with `dd conv=sync`, looks like this. `etcdutl snapshot restore` expects the digest at the end of the file and refuses this one",
            image.behind()
        );
        Finding::note("behind-digest", Place::Offset(db.size_bytes().saturating_add(32)), message)
    });
    match (image.trailer(), digest) {
        (Trailer::Present(stored), Some(computed)) if stored == computed => {
            let mut findings: Vec<Finding> = behind.into_iter().collect();
            let surplus = (image.database().len() as u64).saturating_sub(db.size_bytes());
            if surplus > 0 {
                let message = format!(
                    "{surplus} bytes lie between the database and its digest, where etcd writes none"
                );
                findings.push(Finding::note("surplus", Place::Offset(db.size_bytes()), message));
            }
            (format!("sha256 {computed} matches"), findings)
        }
        (Trailer::Present(stored), computed) => {
            let mut message = format!(
                "sha256 differs: the trailer says {stored}, the data gives {}",
                computed.map(|digest| digest.to_string()).unwrap_or_default()
            );
            message.push_str(if structure_sound {
                "; digest differs, structure sound: a value, a free page or the digest itself was changed"
            } else {
                "; the structure is damaged too, see the other findings"
            });
            if !trailer::is_untouched(db.metas()) {
                message.push_str("; its meta pages are not those of a fresh snapshot: it was opened for writing after it was saved");
            }
            let differs = Finding::damage("digest", place, message);
            ("sha256 differs".to_owned(), [Some(differs), behind].into_iter().flatten().collect())
        }
        (Trailer::Absent, _) => {
            let message = "no digest: this is a db file, or its digest was cut off. The structure is checked, but a changed value or free page would go unnoticed";
            (
                "no digest: a changed value would go unnoticed".to_owned(),
                vec![Finding::note("no-trailer", place, message)],
            )
        }
        (Trailer::Odd { .. }, _) if image.digest_part().is_some() => {
            let message = format!(
                "the file ends after {} of the 32 bytes of its digest: the snapshot was cut off, and a changed value would go unnoticed",
                image.digest_part().unwrap_or_default()
            );
            let place = Place::Offset(db.size_bytes());
            (
                "the digest is cut off".to_owned(),
                vec![Finding::damage("digest-cut", place, message)],
            )
        }
        (Trailer::Odd { extra }, _) => {
            let message = format!(
                "the file is {extra} bytes longer than a multiple of 512, where a db file has 0 more and a snapshot 32: it was cut off or changed on its way"
            );
            (
                "the file's length is odd".to_owned(),
                vec![Finding::damage("odd-length", place, message)],
            )
        }
    }
}

/// Findings of the page check that say, or may hide, that bytes belong to several records: whatever
/// the records say then was not written by a server.
const SHARING: [&str; 3] = ["multiple-references", "unpacked", "more-findings"];

/// How far the records of a database are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// The records of every bucket but that of the key space.
    Small,
    /// The records of the key space too, and the history that they make together.
    All,
}

/// What is wrong with the records of a database whose pages are sound.
///
/// # Errors
/// When the work was interrupted.
pub fn verify_records(
    db: &Db<'_>,
    depth: Depth,
    progress: &dyn Progress,
) -> Result<Vec<Finding>, Interrupted> {
    let mut verification = Verification::default();
    of_records(&mut verification, db, depth, None, progress)?;
    Ok(verification.findings)
}

/// All but the digest.
fn structure(
    db: &Db<'_>,
    scratch: Option<&File>,
    progress: &dyn Progress,
) -> Result<Verification, ReadError> {
    let mut verification = Verification::default();
    let findings = check::check(db, progress)?;
    let freelist =
        if db.meta().freelist.is_some() { "stored freelist" } else { "no stored freelist" };
    let pages = counted(db.meta().high_water_mark.0, "page", "pages");
    let detail = format!("{pages} of {} bytes, {freelist}", db.page_size());
    verification.add("pages", detail, findings);
    if verification.findings.iter().any(|finding| SHARING.contains(&finding.code)) {
        let detail = "not looked at: pages or elements share their bytes".to_owned();
        let skipped = |name| Check { name, sound: false, detail: detail.clone() };
        verification.checks.extend(["records", "keyspace", "members"].map(skipped));
        return Ok(verification);
    }
    of_records(&mut verification, db, Depth::All, scratch, progress)?;
    Ok(verification)
}

/// Adds what there is to say of the records, behind what was found in the pages.
fn of_records(
    verification: &mut Verification,
    db: &Db<'_>,
    depth: Depth,
    scratch: Option<&File>,
    progress: &dyn Progress,
) -> Result<(), Interrupted> {
    let scan = if verification.is_sound() { Scan::Parallel } else { Scan::InOrder };
    let in_tree = causes::in_tree(&verification.findings).cloned();
    let store = Store::new(*db);
    part(verification, "records", &in_tree, || records(&store))?;
    if depth == Depth::All {
        let leases = causes::in_leases(&verification.findings).cloned();
        let mut live_keys = None;
        part(verification, "keyspace", &in_tree, || {
            let (detail, mut findings) =
                key_space(&store, scan, scratch, progress, &mut live_keys)?;
            causes::link_history(&mut findings, leases.as_ref());
            Ok((detail, findings))
        })?;
        verification.live_keys = live_keys;
    }
    part(verification, "members", &in_tree, || membership(&store))
}

/// Adds one check; damage that ends it is its finding, so that the others still run. Damage follows from what is
/// wrong with the page tree, `in_tree`.
fn part(
    verification: &mut Verification,
    name: &'static str,
    in_tree: &Option<Place>,
    look: impl FnOnce() -> Result<(String, Vec<Finding>), mvcc::Error>,
) -> Result<(), Interrupted> {
    let (detail, mut findings) = match look() {
        Ok(found) => found,
        Err(mvcc::Error::Interrupted(interrupted)) => return Err(interrupted),
        Err(error) => {
            let finding = match &error {
                mvcc::Error::Bolt(bolt) => {
                    Finding::damage(bolt.code(), bolt.place(), bolt.to_string())
                }
                mvcc::Error::Record { place, error } => {
                    Finding::damage("undecodable", place.clone(), error.to_string())
                }
                other => Finding::damage("unreadable", Place::File, other.to_string()),
            };
            (format!("not finished: {error}"), vec![finding])
        }
    };
    if let Some(place) = in_tree {
        causes::link_all(&mut findings, place);
    }
    verification.add(name, detail, findings);
    Ok(())
}

/// Which buckets there are, and whether every small record decodes.
fn records(store: &Store<'_>) -> Result<(String, Vec<Finding>), mvcc::Error> {
    let mut findings = buckets(store)?;
    let (meta, of_meta) = MetaRecords::read(store)?;
    findings.extend(of_meta);
    findings.extend(marks::plausible(&meta));
    let leases = small::leases(store)?;
    let alarms = small::alarms(store)?;
    let users = auth::users(store)?;
    let roles = auth::roles(store)?;
    let detail = format!(
        "{}, {}, {}, {} decoded",
        counted(leases.records.len() as u64, "lease", "leases"),
        counted(alarms.records.len() as u64, "alarm", "alarms"),
        counted(users.records.len() as u64, "user", "users"),
        counted(roles.records.len() as u64, "role", "roles")
    );
    let known: BTreeSet<&[u8]> = roles.records.iter().map(|role| role.name.as_slice()).collect();
    for user in &users.records {
        for role in
            user.roles.iter().filter(|role| *role != b"root" && !known.contains(role.as_slice()))
        {
            let place = Place::Record { bucket: bucket::AUTH_USERS, key: user.name.clone() };
            let message = format!(
                "user {} has role {}, which does not exist",
                user.name.escape_ascii(),
                role.escape_ascii()
            );
            findings.push(Finding::warning("role-missing", place, message));
        }
    }
    for alarm in &alarms.records {
        let message = format!("alarm {:?} of member {:x} is on", alarm.alarm(), alarm.member_id);
        findings.push(Finding::warning(
            "alarm",
            Place::Record { bucket: bucket::ALARM, key: Vec::new() },
            message,
        ));
    }
    findings.extend(leases.findings);
    findings.extend(alarms.findings);
    findings.extend(users.findings);
    findings.extend(roles.findings);
    findings.extend(auth::settings(store)?.findings);
    Ok((detail, findings))
}

fn buckets(store: &Store<'_>) -> Result<Vec<Finding>, bolt::Error> {
    let mut findings = Vec::new();
    let mut present = BTreeSet::new();
    for item in store.db().root().items() {
        let item = item?;
        let name = String::from_utf8_lossy(item.key).into_owned();
        let place = Place::Element { page: item.page.0, index: item.index };
        if !item.is_bucket() {
            let message =
                format!("{name:?} is a plain value among the buckets; {}", RecordError::Bucket);
            findings.push(Finding::damage("bucket", place, message));
        } else if !bucket::ALL.contains(&name.as_str()) {
            findings.push(Finding::note(
                "unknown-bucket",
                place,
                format!("bucket {name:?} is not one of etcd's"),
            ));
        }
        present.insert(name);
    }
    let bare = is_bare(store)?;
    for name in bucket::ALL.iter().filter(|name| !present.contains(**name)) {
        let message = format!("bucket {name:?} is missing");
        findings.push(if !bare && [bucket::KEY, bucket::META].contains(name) {
            Finding::damage(
                "bucket-missing",
                Place::File,
                message + ": this is no etcd database, or it was cut down",
            )
        } else {
            Finding::note("bucket-missing", Place::File, message + ": a server creates it at boot")
        });
    }
    Ok(findings)
}

/// Whether no bucket has a record: a server that never joined its cluster leaves such a db, without its key space.
fn is_bare(store: &Store<'_>) -> Result<bool, bolt::Error> {
    for name in bucket::ALL {
        if let Some(bucket) = store.bucket(name)?
            && bucket.items().next().transpose()?.is_some()
        {
            return Ok(false);
        }
    }
    Ok(true)
}

fn key_space(
    store: &Store<'_>,
    scan: Scan,
    scratch: Option<&File>,
    progress: &dyn Progress,
    live_keys: &mut Option<u64>,
) -> Result<(String, Vec<Finding>), mvcc::Error> {
    let space = KeySpace::open(store)?;
    let leases: HashSet<i64> = small::leases(store)?.records.iter().map(|lease| lease.id).collect();
    progress.begin("key space", store.db().bytes_in_file());
    let most = store.db().limits().max_findings;
    let judged = rules::judge(&space, &leases, most, scan, scratch, progress)?;
    *live_keys = Some(judged.live_keys);
    let detail = format!(
        "{}, {}, revision {}, {}",
        counted(judged.records, "record", "records"),
        counted(judged.live_keys, "live key", "live keys"),
        space.last_record(),
        compacted(space.compact_revision())
    );
    let at_mark = marks::record_at_mark(store, &space, &judged, progress)?;
    let mut findings = judged.findings;
    findings.extend(at_mark);
    if space.last_record() > 0 && space.last_record() < space.compact_revision() {
        // Sound: the compaction removed the deletions at the end of history.
        let message = format!(
            "the last record is of revision {}, and history is compacted to {}: what lay between was deletions, which the compaction removed",
            space.last_record(),
            space.compact_revision()
        );
        findings.push(Finding::note(
            "compacted-end",
            Place::Record { bucket: bucket::KEY, key: Vec::new() },
            message,
        ));
    }
    Ok((detail, findings))
}

fn membership(store: &Store<'_>) -> Result<(String, Vec<Finding>), mvcc::Error> {
    let members = members::members(store)?;
    let removed = members::removed(store)?;
    let mut findings = members.findings;
    findings.extend(removed.findings);
    let place = |key: String| Place::Record { bucket: bucket::MEMBERS, key: key.into_bytes() };
    for member in members.records.iter().filter(|member| removed.records.contains(&member.id)) {
        let message = format!("member {} is listed although it was removed", member.id);
        findings.push(Finding::warning("zombie-member", place(member.id.to_string()), message));
    }
    let (meta, _) = MetaRecords::read(store)?;
    if let Some(conf) = meta.conf_state {
        let raft: BTreeSet<u64> =
            [&conf.voters, &conf.learners, &conf.voters_outgoing, &conf.learners_next]
                .into_iter()
                .flatten()
                .copied()
                .collect();
        let db: BTreeSet<u64> = members.records.iter().map(|member| member.id.0).collect();
        if raft != db {
            let message = format!(
                "the db lists members {}, and its conf state has {}; this is normal after a restore",
                hex_list(&db),
                hex_list(&raft)
            );
            findings.push(Finding::note("conf-state", place(String::new()), message));
        }
    }
    let listed = counted(members.records.len() as u64, "member", "members");
    Ok((format!("{listed}, {} removed", removed.records.len()), findings))
}

fn hex_list(ids: &BTreeSet<u64>) -> String {
    let ids: Vec<String> = ids.iter().map(|id| format!("{id:x}")).collect();
    format!("[{}]", ids.join(" "))
}
