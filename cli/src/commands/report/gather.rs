//! What the page shows of one input: read, added up, and nothing left out because something else is damaged.

use anyhow::Result;
use etcdsnap_engine::{
    bolt::{self, PageId, map::PageMap},
    diagnose::{Diagnosis, Verdict},
    finding::{self, Finding, Place, Severity},
    ids::MemberId,
    mvcc::{
        KeySpace,
        stats::{Grouping, Options, Readable, Usage, readable, usage},
    },
    pb::etcdserverpb::AlarmMember,
    progress::{Interrupted, Progress as _},
    schema::{
        MetaRecords, Store, auth,
        members::{Member, members, removed},
        small,
    },
    snapshot::Verification,
};

use super::{
    files::{FileFact, files},
    saved::Saved,
};
use crate::{
    commands::{Context, verify::wal},
    exit::sentence,
    input::Input,
};

/// Parts of a key that make up a prefix: in Kubernetes kind and namespace.
const DEPTH: usize = 3;
/// Keys in the lists of the largest and of those written most.
const MOST: usize = 12;
/// Stretches of the timeline.
const STRETCHES: usize = 240;
/// Findings whose record is looked up to say on which page it is.
const LOOKED_UP: usize = 2000;

/// All that is known.
pub struct Facts<'a> {
    /// What was read, and how it is known again.
    pub files: Vec<FileFact>,
    /// What was asked, and what was found.
    pub verification: Verification,
    /// The verdict over a member's files; `None` for a file alone or without its log.
    pub verdict: Option<Verdict>,
    /// What was found, each thing once, the worst first, and on which page that is.
    pub findings: Vec<(Finding, Option<u64>)>,
    /// Absent when the database cannot be opened.
    pub db: Option<DbFacts<'a>>,
    /// What salvage would save, where the database is damaged.
    pub saved: Option<Saved>,
}

/// What is known of a database.
pub struct DbFacts<'a> {
    pub store: Store<'a>,
    pub map: PageMap,
    /// Which bytes are live; why that cannot be said otherwise.
    pub usage: Result<Usage<'a>, String>,
    pub readable: Readable<'a>,
    pub meta: MetaRecords,
    /// Whether `meta` could be read.
    pub meta_known: bool,
    pub revision: Option<i64>,
    pub members: Vec<Member>,
    pub removed: Vec<MemberId>,
    pub leases: Option<usize>,
    /// `None` when they cannot be read.
    pub alarms: Option<Vec<AlarmMember>>,
    pub auth: Option<Auth>,
}

/// Who may do what.
pub struct Auth {
    /// Whether the server asks for users and passwords.
    pub enabled: bool,
    pub users: usize,
    pub roles: usize,
}

impl Facts<'_> {
    /// How many findings there are of `severity`.
    pub fn count(&self, severity: Severity) -> u64 {
        self.findings.iter().filter(|(finding, _)| finding.severity == severity).count() as u64
    }
}

/// How keys are put together.
pub fn grouping() -> Grouping {
    Grouping { prefix: Vec::new(), separator: b"/".to_vec(), depth: DEPTH }
}

/// Reads everything of `input`, of which `verified` is what was found in the state that is shown, and `judged` the engine's
/// judgement.
pub fn gather<'a>(
    context: &Context,
    input: &'a Input,
    verified: Option<Verification>,
    judged: &Diagnosis,
) -> Result<Facts<'a>> {
    let files = files(context, input)?;
    let store = match input.file_db() {
        Ok(db) => Some(Store::new(db)),
        Err(_) => None,
    };
    let mut verification = match (verified, input.file_db()) {
        (Some(verified), Ok(_)) => verified,
        // Damage beyond reading is what the page is for.
        (_, Err(error)) => unreadable(&error.into()),
        (None, Ok(_)) => Verification::default(),
    };
    let sound = verification.is_sound();
    if let Some((detail, findings)) = wal(input) {
        verification.add("wal", detail, findings);
    }
    let db = match &store {
        Some(store) => Some(database(context, store, sound)?),
        None => None,
    };
    // The judgement of a member says all that its checks found, and what that means.
    let is_member = input.files().is_some();
    let all = if is_member { &judged.findings } else { &verification.findings };
    let mut found = all.clone();
    finding::sort(&mut found);
    let page_of = |number: usize, finding: &Finding| {
        let store = store.as_ref()?;
        let page = match number {
            0..LOOKED_UP => store.page_of(&finding.place),
            _ => finding.place.page(store.db().page_size()).map(PageId),
        };
        page.filter(|page| *page < store.db().meta().high_water_mark)
    };
    let pages: Vec<Option<u64>> = found
        .iter()
        .enumerate()
        .map(|(number, finding)| page_of(number, finding).map(|page| page.0))
        .collect();
    // A damaged WAL or a wrong digest alone is nothing that salvage could help, nor where nothing was ever stored.
    let damaged = verification
        .checks
        .iter()
        .any(|check| !check.sound && check.name != "wal" && check.name != "trailer");
    let saved = if damaged && judged.verdict != Verdict::Empty {
        Some(Saved::try_out(context, input)?)
    } else {
        None
    };
    let findings = found.into_iter().zip(pages).collect();
    let verdict = is_member.then_some(judged.verdict);
    Ok(Facts { files, verification, verdict, findings, db, saved })
}

/// What there is to say of a database that cannot be opened.
fn unreadable(error: &anyhow::Error) -> Verification {
    let mut verification = Verification::default();
    let finding = Finding::damage("unreadable", Place::File, sentence(error));
    verification.add("pages", "the database cannot be opened".to_owned(), vec![finding]);
    verification
}

fn database<'a>(context: &Context, store: &Store<'a>, sound: bool) -> Result<DbFacts<'a>> {
    let db = store.db();
    let map = PageMap::read(db, &context.ui)?;
    let space = KeySpace::open(store).ok();
    let revision = space.as_ref().map(KeySpace::current_revision);
    let usage = if sound {
        let options =
            Options { grouping: grouping(), revision: None, compaction: None, most: MOST };
        usage(store, &options, &context.ui).map_err(|error| error.to_string())
    } else {
        Err("The file is damaged: which records are live cannot be said for sure".to_owned())
    };
    let readable = readable(db, &map, &grouping(), revision, STRETCHES, &context.ui)?;
    if context.ui.interrupted() {
        return Err(Interrupted.into());
    }
    let listed = members(store).ok();
    let meta = MetaRecords::read(store).map(|(meta, _)| meta).ok();
    Ok(DbFacts {
        store: *store,
        map,
        usage,
        readable,
        meta_known: meta.is_some(),
        meta: meta.unwrap_or_default(),
        revision,
        members: listed.map(|listed| listed.records).unwrap_or_default(),
        removed: removed(store).map(|listed| listed.records).unwrap_or_default(),
        leases: small::leases(store).ok().map(|listed| listed.records.len()),
        alarms: small::alarms(store).ok().map(|listed| listed.records),
        auth: who(store).ok(),
    })
}

fn who(store: &Store<'_>) -> Result<Auth, bolt::Error> {
    Ok(Auth {
        enabled: auth::enabled(store)?,
        users: auth::users(store)?.records.len(),
        roles: auth::roles(store)?.records.len(),
    })
}
