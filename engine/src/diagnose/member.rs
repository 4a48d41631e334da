//! One member.

use std::collections::BTreeSet;

use super::{Diagnosis, Verdict};
use crate::{
    bolt,
    datadir::MemberFiles,
    finding::{Finding, Place, Severity},
    ids::MemberId,
    pb::{etcdserverpb::AlarmType, etcdserverpb::Metadata},
    replay::{BootError, Error, Report},
    schema::{Store, bucket, members, small},
    snapshot::Verification,
    wal::LogEnd,
};

/// What became of the log.
#[derive(Clone, Copy, Debug)]
pub enum Outcome<'e> {
    /// It was applied.
    Replayed(&'e Report),
    /// It could not be applied.
    Failed(&'e Error),
    /// It was not applied, because the db is damaged.
    DbDamaged,
}

/// What was gathered about a member.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'e> {
    /// Its files.
    pub files: &'e MemberFiles,
    /// What its log says of whose it is.
    pub metadata: Option<Metadata>,
    /// How its log ends.
    pub end: Option<&'e LogEnd>,
    /// What became of its log.
    pub outcome: Outcome<'e>,
    /// What verification found in the db, with the log applied where that was possible; `None` when it cannot
    /// be opened.
    pub verification: Option<&'e Verification>,
    /// The db, with the log applied where that was possible.
    pub store: Option<&'e Store<'e>>,
    /// Whether a server has the files open; `None` when that is not known.
    pub running: Option<bool>,
}

/// Judges a member.
///
/// # Errors
/// When a page of a db that verification called sound is damaged.
pub fn diagnose(evidence: &Evidence<'_>) -> Result<Diagnosis, bolt::Error> {
    let mut found =
        Found { findings: Vec::new(), verdict: Verdict::Healthy, flags: Some(Vec::new()) };
    database(evidence, &mut found);
    log(evidence, &mut found);
    files(evidence, &mut found);
    if let Some(store) = evidence.store
        && found.verdict < Verdict::SalvageOnly
    {
        contents(evidence, store, &mut found)?;
    }
    found.findings.sort();
    found.findings.dedup();
    Ok(Diagnosis { verdict: found.verdict, findings: found.findings, flags: found.flags })
}

struct Found {
    findings: Vec<Finding>,
    verdict: Verdict,
    flags: Option<Vec<String>>,
}

impl Found {
    fn add(&mut self, verdict: Verdict, finding: Finding) {
        self.verdict = self.verdict.max(verdict);
        self.findings.push(finding);
    }

    fn note(&mut self, code: &'static str, message: impl Into<String>) {
        self.add(Verdict::Healthy, Finding::note(code, Place::File, message));
    }
}

/// The db: what verification says, which meta is used.
fn database(evidence: &Evidence<'_>, found: &mut Found) {
    let Some(verification) = evidence.verification else {
        found.flags = None;
        let message = "the db cannot be opened: no valid meta page";
        found.add(Verdict::SalvageOnly, Finding::damage("db-unreadable", Place::File, message));
        return;
    };
    for finding in &verification.findings {
        let verdict = match finding.severity {
            Severity::Damage => Verdict::SalvageOnly,
            Severity::Warning | Severity::Note => Verdict::Healthy,
        };
        // That a db has no digest is no news.
        if finding.code != "no-trailer" {
            found.add(verdict, finding.clone());
        }
    }
    if found.verdict == Verdict::SalvageOnly {
        found.flags = None;
        // Pages of several transactions behind a valid meta are what a plain copy of a db in use gives.
        let message = "were these files copied while the server ran? Such a copy looks like this: take a snapshot from the server, or copy them after it has stopped";
        found.add(Verdict::SalvageOnly, Finding::warning("hot-copy", Place::File, message));
    }
}

/// The log: whether it is whole, and whether it and the db belong together.
fn log(evidence: &Evidence<'_>, found: &mut Found) {
    match evidence.end {
        Some(LogEnd::Torn(at)) => found.note(
            "torn-wal",
            format!("the WAL ends in a record that a crash cut short, at {at}: a server cuts it off, nobody was told of it"),
        ),
        Some(LogEnd::Damaged(at, damage)) => {
            let message = format!("{at}: {damage}: a server refuses this log");
            found.add(Verdict::RecoverableWithLoss, Finding::damage("wal-damaged", Place::File, message));
        }
        Some(LogEnd::Clean(_)) | None => {}
    }
    match evidence.outcome {
        Outcome::DbDamaged => {}
        Outcome::Replayed(report) => replayed(report, found),
        Outcome::Failed(error) => {
            if let Some(flags) = &mut found.flags {
                flags.push("--no-wal".to_owned());
            }
            let (code, severity) = match error {
                Error::Boot(BootError::NoLog { .. }) => ("wal-missing", Severity::Warning),
                Error::Boot(BootError::Damaged { .. }) => return,
                Error::Boot(BootError::Gap(_)) => ("wal-purged", Severity::Damage),
                Error::Boot(BootError::DbBehind { .. }) => ("snap-db-missing", Severity::Damage),
                Error::Boot(BootError::LogBehind { .. }) => ("wal-behind", Severity::Damage),
                Error::Boot(BootError::Foreign { .. }) => ("foreign-wal", Severity::Damage),
                _ => ("replay", Severity::Damage),
            };
            let finding =
                Finding { severity, place: Place::File, code, message: error.to_string() };
            found.add(Verdict::RecoverableWithLoss, finding);
        }
    }
}

fn replayed(report: &Report, found: &mut Found) {
    let target = &report.target;
    if report.applied > 0 {
        found.note(
            "db-behind",
            format!("the db lags the WAL by {} entries, which are applied by every command and by a server that starts", report.applied),
        );
    }
    if target.last > target.index {
        found.note(
            "uncommitted",
            format!(
                "entries {} to {} are not known to be committed: other members decide about them",
                target.index.saturating_add(1),
                target.last
            ),
        );
    }
    if !report.resalted.is_empty() {
        found.note(
            "clear-passwords",
            format!(
                "the WAL has the passwords of {} users in clear text, as etcd 3.4 writes them",
                report.resalted.len()
            ),
        );
    }
}

/// What lies about, and who has it open.
fn files(evidence: &Evidence<'_>, found: &mut Found) {
    if evidence.running == Some(true) {
        let message = "a process holds a lock on these files: a server is running, and what is read may change underneath";
        found.add(Verdict::Healthy, Finding::warning("running", Place::File, message));
    }
    for path in &evidence.files.leftovers {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let (code, what) = if name.starts_with("db.tmp.") {
            (
                "interrupted-defrag",
                "left by a defragmentation that was interrupted; the db is the old one",
            )
        } else if name.contains(".broken") {
            ("broken-file", "set aside by a server as broken")
        } else if name.starts_with("tmp") || name == "wal.tmp" {
            ("partial-file", "left by something that was interrupted")
        } else {
            ("unknown-file", "no file of etcd's")
        };
        found.note(code, format!("{}: {what}", path.display()));
    }
    for (index, path) in &evidence.files.received {
        found.note(
            "received-db",
            format!("{}: a db received from a leader, up to entry {index}", path.display()),
        );
    }
}

/// What the records say: members and alarms.
fn contents(
    evidence: &Evidence<'_>,
    store: &Store<'_>,
    found: &mut Found,
) -> Result<(), bolt::Error> {
    for alarm in small::alarms(store)?.records {
        let place = Place::Record { bucket: bucket::ALARM, key: Vec::new() };
        let member = MemberId(alarm.member_id);
        match alarm.alarm() {
            AlarmType::Nospace => found.add(
                Verdict::Recoverable,
                Finding::warning("nospace", place, format!("alarm NOSPACE of member {member}: the cluster refuses writes until it is compacted, defragmented and disarmed")),
            ),
            AlarmType::Corrupt => found.add(
                Verdict::Recoverable,
                Finding::warning("corrupt", place, format!("alarm CORRUPT of member {member}: members differ; compare all data dirs before one is used")),
            ),
            AlarmType::None => {}
        }
    }
    let listed: BTreeSet<MemberId> =
        members::members(store)?.records.into_iter().map(|member| member.id).collect();
    let removed: BTreeSet<MemberId> = members::removed(store)?.records.into_iter().collect();
    let own = evidence.metadata.map(|metadata| MemberId(metadata.node_id()));
    if let Some(own) = own.filter(|own| removed.contains(own)) {
        let message = format!(
            "member {own}, whose files these are, was removed from its cluster: the cluster went on without it"
        );
        found.add(Verdict::Recoverable, Finding::warning("removed", Place::File, message));
    }
    if let Outcome::Replayed(report) = evidence.outcome {
        let conf = report.conf();
        let raft: BTreeSet<MemberId> =
            conf.voters.iter().chain(&conf.learners).map(|id| MemberId(*id)).collect();
        if own.is_some_and(|own| conf.learners.contains(&own.0)) {
            found.note("learner", "this member is a learner: it may lag behind those that vote");
        }
        let place = || Place::Record { bucket: bucket::MEMBERS, key: Vec::new() };
        for zombie in listed.difference(&raft) {
            let message = format!(
                "the db lists member {zombie}, raft does not: a zombie, as restores by etcd 3.4 and some 3.5 releases leave"
            );
            found.add(Verdict::Healthy, Finding::warning("zombie-member", place(), message));
        }
        for missing in raft.difference(&listed) {
            let message = format!("raft has member {missing}, the db does not list it");
            found.add(Verdict::Healthy, Finding::warning("missing-member", place(), message));
        }
    }
    Ok(())
}
