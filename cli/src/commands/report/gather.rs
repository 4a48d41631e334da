//! What the page shows: read, added up, and nothing left out because something else is damaged.

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
    time::SystemTime,
};

use anyhow::{Context as _, Result};
use etcdsnap_engine::{
    bolt::{self, map::PageMap},
    finding::{Finding, Place},
    ids::MemberId,
    mvcc::{
        KeySpace,
        stats::{Grouping, Options, Readable, Usage, readable, usage},
    },
    progress::Progress as _,
    schema::{
        MetaRecords, Revision, Store, bucket,
        members::{Member, members, removed},
        small,
    },
    snapshot::{Digest, Verification},
};
use rayon::prelude::*;
use sha2::{Digest as _, Sha256};

use super::saved::Saved;
use crate::{
    commands::{Context, verify::judged},
    exit::{Exit, fail_code},
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
    /// Where findings are, by their number: the page.
    pub pages: Vec<Option<u64>>,
    /// Absent when the database cannot be opened.
    pub db: Option<DbFacts<'a>>,
    /// What salvage would save, where the database is damaged.
    pub saved: Option<Saved>,
}

/// A file that was read.
pub struct FileFact {
    pub path: PathBuf,
    pub bytes: u64,
    pub modified: Option<SystemTime>,
    pub sha256: Digest,
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
    pub alarms: Vec<String>,
}

/// How keys are put together.
pub fn grouping() -> Grouping {
    Grouping { prefix: Vec::new(), separator: b"/".to_vec(), depth: DEPTH }
}

/// Reads everything.
pub fn gather<'a>(context: &Context, input: &'a Input) -> Result<Facts<'a>> {
    if let Err(error) = input.file_db()
        && fail_code(&error) != Exit::Damage
    {
        // No database: before all of its bytes are hashed.
        return Err(error);
    }
    let files = files(context, input)?;
    let verification = match judged(context, input) {
        Ok(verification) => verification,
        // Damage beyond reading is what the page is for.
        Err(error) if fail_code(&error) == Exit::Damage => {
            let mut verification = Verification::default();
            let message = format!("{error:#}");
            let finding = Finding::damage("unreadable", Place::File, message);
            verification.add("pages", "the database cannot be opened".to_owned(), vec![finding]);
            verification
        }
        Err(error) => return Err(error),
    };
    let db = match input.file_db() {
        Ok(db) => Some(database(context, &Store::new(db), verification.is_sound())?),
        Err(_) => None,
    };
    let page_size = db.as_ref().map_or(4096, |facts| facts.store.db().page_size());
    let store = db.as_ref().map(|facts| &facts.store);
    let known = store.map_or(u64::MAX, |store| store.db().meta().high_water_mark.0);
    let pages = verification
        .findings
        .iter()
        .enumerate()
        .map(|(number, finding)| {
            let store = store.filter(|_| number < LOOKED_UP);
            page_of(&finding.place, page_size, store).filter(|page| *page < known)
        })
        .collect();
    // A damaged WAL or a wrong digest alone is nothing that salvage could help.
    let damaged = verification
        .checks
        .iter()
        .any(|check| !check.sound && check.name != "wal" && check.name != "trailer");
    let saved = if damaged { Some(Saved::try_out(context, input)?) } else { None };
    Ok(Facts { files, verification, pages, db, saved })
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
        return Err(bolt::Error::Interrupted.into());
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
        alarms: small::alarms(store)
            .map(|listed| listed.records)
            .unwrap_or_default()
            .iter()
            .map(|alarm| format!("{:?} of member {:x}", alarm.alarm(), alarm.member_id))
            .collect(),
    })
}

/// The page a finding is about.
fn page_of(place: &Place, page_size: u64, store: Option<&Store<'_>>) -> Option<u64> {
    let record = |name: &str, keys: &[&[u8]]| {
        let bucket = store?.bucket(name).ok().flatten()?;
        keys.iter().find_map(|key| Some(bucket.item(key).ok().flatten()?.page.0))
    };
    match place {
        Place::Page(page) | Place::Element { page, .. } => Some(*page),
        Place::Offset(offset) => offset.checked_div(page_size),
        Place::Revision { main, sub } => {
            let put = Revision { main: *main, sub: *sub }.encode();
            let deletion = [put.as_slice(), b"t"].concat();
            record(bucket::KEY, &[&put, &deletion])
        }
        Place::Record { bucket, key } if !key.is_empty() => record(bucket, &[key]),
        Place::Record { .. } | Place::File => None,
    }
}

/// The files behind `input`, hashed side by side.
fn files(context: &Context, input: &Input) -> Result<Vec<FileFact>> {
    let mut paths = vec![input.located().db.clone()];
    if let Some(member) = input.files() {
        paths.extend(member.snapfiles.iter().rev().map(|(_, path)| path.clone()));
        paths.extend(member.segments.iter().map(|(_, path)| path.clone()));
    }
    let bytes = |path: &PathBuf| path.metadata().map_or(0, |file| file.len());
    context.ui.begin("hash", paths.iter().map(bytes).sum());
    paths.par_iter().map(|path| hashed(context, path)).collect()
}

fn hashed(context: &Context, path: &Path) -> Result<FileFact> {
    let at = || path.display().to_string();
    let mut file = File::open(path).with_context(at)?;
    let modified = file.metadata().and_then(|file| file.modified()).ok();
    let (mut hasher, mut buffer, mut bytes) = (Sha256::new(), vec![0; 4 << 20], 0);
    loop {
        if context.ui.interrupted() {
            return Err(bolt::Error::Interrupted.into());
        }
        let read = file.read(&mut buffer).with_context(at)?;
        if read == 0 {
            break;
        }
        hasher.update(buffer.get(..read).unwrap_or_default());
        bytes += read as u64;
        context.ui.advance(read as u64);
    }
    let sha256 = Digest(hasher.finalize().into());
    Ok(FileFact { path: path.to_path_buf(), bytes, modified, sha256 })
}
