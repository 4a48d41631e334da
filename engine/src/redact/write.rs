//! Writes the copy, and looks at it as it looked at the original.

use std::{
    io::{self, Read as _, Write as _},
    ops::Range,
    path::Path,
};

use rayon::prelude::*;
use sha2::{Digest as _, Sha256};

use super::{
    keys::Keys,
    page::{blank, rendered},
    survey::{Segment, Survey, View},
};
use crate::{
    bolt::{self, ReadError},
    bulk::Bulk,
    finding::{Finding, Severity},
    limits::Limits,
    progress::{Interrupted, Progress, Step},
    snapshot::{self, Digest, Image, Trailer, Verification},
    source::{self, Access, Source},
    staging::{self, Filesystem, IoError, Space, SpaceError, Stage, Staged, TargetError},
};

/// Bytes of pages rendered side by side.
const BATCH: usize = 16 << 20;
/// Ranges of blanked pages that are kept to be told.
const TOLD: usize = 1000;

/// Why no copy was made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The caller stopped the operation.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
    /// This is no bbolt file, or the work was interrupted.
    #[error(transparent)]
    Bolt(#[from] bolt::Error),
    /// The filesystem is too small.
    #[error(transparent)]
    Space(#[from] SpaceError),
    /// Nothing can be written under that name.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The system refused.
    #[error(transparent)]
    Io(#[from] IoError),
    /// What was written cannot be read back.
    #[error(transparent)]
    Source(#[from] source::Error),
    /// The original is sound and its copy is not: a mistake in the program.
    #[error("the copy of a sound file is not sound, and was not kept: {}", finding.message)]
    NotSound {
        /// What was found in it first.
        finding: Box<Finding>,
    },
}

bolt::from_read_error!(Error);

/// A copy, and how it compares with the original.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redacted {
    /// Bytes of the copy, which are those of the original.
    pub bytes: u64,
    /// SHA-256 of the copy's database, of a snapshot whose digest is right.
    pub digest: Option<Digest>,
    /// Pages that were not understood and of which at most the header stays, the first thousand ranges.
    pub blanked: Vec<Range<u64>>,
    /// How many pages that are.
    pub blanked_pages: u64,
    /// What was found in the original, the digest apart; when it cannot be opened the one reason.
    pub findings: Vec<Finding>,
    /// Of what was found in the original, what the copy does not show.
    pub lost: Vec<Finding>,
    /// What the copy shows and the original does not.
    pub gained: Vec<Finding>,
    /// Whether the original is damaged.
    pub damaged: bool,
}

/// Writes the copy of `image` as file `target`: whole or not at all. It is synced, verified and compared with the
/// original by what is found in both. `access` is how it is read back. The caller publishes it once the original is
/// known to have held still.
///
/// A snapshot's digest is computed anew when it was right, and is a wrong one when it was wrong.
///
/// # Errors
/// When this is no bbolt file, the space does not suffice, the system refuses, or the caller stopped the operation.
pub fn redact_file(
    image: &Image<'_>,
    keys: &Keys,
    target: &Path,
    access: Access,
    progress: &dyn Progress,
) -> Result<Staged<Redacted>, Error> {
    let survey = Survey::new(image.database(), Limits::default(), progress)?;
    let (before, mut redacted) = foreseen(image, &survey, progress)?;
    let target = staging::Target::find(target)?;
    let path = target.require_file()?;
    Space::of([(&Filesystem::of(path), redacted.bytes)]).iter().try_for_each(Space::check)?;
    progress.step(Step::Create, path);
    let stage = Stage::of(&target)?;
    progress.step(Step::Write, stage.path());
    let mut file =
        Bulk::new(stage.handle(), redacted.bytes).map_err(IoError::at("open", stage.path()))?;
    let written = write(image, &survey, keys, before.digest_right, &mut file, progress);
    redacted.digest = written.map_err(|error| match error {
        Stopped::Io(source) => Error::Io(IoError::at("write", stage.path())(source)),
        Stopped::Interrupted(interrupted) => interrupted.into(),
    })?;
    drop(file);
    progress.step(Step::Sync, stage.path());
    stage.handle().sync_all().map_err(IoError::at("sync", stage.path()))?;
    let copy = Source::open(stage.path(), access)?;
    let after = judged(&Image::split(copy.bytes()), progress)?;
    copy.check()?;
    if after.damaged && !before.damaged {
        let first = after.findings.into_iter().find(|found| found.severity == Severity::Damage);
        let unknown = || Finding::damage("digest", crate::finding::Place::File, "its digest");
        return Err(Error::NotSound { finding: Box::new(first.unwrap_or_else(unknown)) });
    }
    let same = |a: &Finding, b: &Finding| match keys {
        Keys::Keep => a == b,
        // Messages name keys.
        Keys::Replace(_) => (a.severity, a.code, &a.place) == (b.severity, b.code, &b.place),
    };
    let missing = |from: &[Finding], among: &[Finding]| -> Vec<Finding> {
        let order = |a: &Finding, b: &Finding| (&a.place, a.code).cmp(&(&b.place, b.code));
        let mut sorted: Vec<&Finding> = among.iter().collect();
        sorted.sort_by(|a, b| order(a, b));
        let is_among = |finding: &&Finding| {
            let start = sorted.partition_point(|other| order(other, finding).is_lt());
            let near = sorted.iter().skip(start);
            near.take_while(|other| order(other, finding).is_eq()).any(|other| same(other, finding))
        };
        from.iter().filter(|finding| !is_among(finding)).cloned().collect()
    };
    redacted.lost = missing(&before.findings, &after.findings);
    redacted.gained = missing(&after.findings, &before.findings);
    Ok(Staged::new(stage, path.to_path_buf(), redacted))
}

/// What [`redact_file`] would write, as far as that is known without writing it: nothing is compared.
///
/// # Errors
/// When this is no bbolt file, or the caller stopped the operation.
pub fn redact_nothing(image: &Image<'_>, progress: &dyn Progress) -> Result<Redacted, Error> {
    let survey = Survey::new(image.database(), Limits::default(), progress)?;
    Ok(foreseen(image, &survey, progress)?.1)
}

/// What is found in the original, and what is known of the copy before it is written.
fn foreseen(
    image: &Image<'_>,
    survey: &Survey<'_>,
    progress: &dyn Progress,
) -> Result<(Judged, Redacted), Interrupted> {
    let before = judged(image, progress)?;
    let mut redacted = Redacted {
        bytes: length(image),
        findings: before.findings.clone(),
        damaged: before.damaged,
        ..Redacted::default()
    };
    for segment in survey.segments() {
        if matches!(segment.view, View::Blank | View::Header) && !is_zero(survey.bytes(&segment)) {
            redacted.blanked_pages += segment.pages;
            let range = segment.first..segment.first + segment.pages;
            if let Some(last) = redacted.blanked.last_mut()
                && last.end == range.start
            {
                last.end = range.end;
            } else if redacted.blanked.len() < TOLD {
                redacted.blanked.push(range);
            }
        }
    }
    Ok((before, redacted))
}

/// Bytes of the whole file.
fn length(image: &Image<'_>) -> u64 {
    image.database().len() as u64
        + match image.trailer() {
            Trailer::Present(digest) => digest.0.len() as u64 + image.behind(),
            Trailer::Absent | Trailer::Odd { .. } => 0,
        }
}

/// What is found in a file, the digest apart.
struct Judged {
    findings: Vec<Finding>,
    damaged: bool,
    digest_right: bool,
}

fn judged(image: &Image<'_>, progress: &dyn Progress) -> Result<Judged, Interrupted> {
    match snapshot::verify(image, Limits::default(), progress) {
        Ok(mut verification) => {
            let is_digest = |finding: &Finding| finding.code == "digest";
            let digest_right = !verification.findings.iter().any(is_digest);
            let damaged = !Verification::is_sound(&verification);
            verification.findings.retain(|finding| !is_digest(finding));
            Ok(Judged { findings: verification.findings, damaged, digest_right })
        }
        Err(ReadError::Interrupted(interrupted)) => Err(interrupted),
        Err(ReadError::Bolt(error)) => {
            let digest_right = match image.trailer() {
                Trailer::Present(digest) => Digest::of(image.database()) == digest,
                Trailer::Absent | Trailer::Odd { .. } => false,
            };
            let finding = Finding::damage(error.code(), error.place(), error.to_string());
            Ok(Judged { findings: vec![finding], damaged: true, digest_right })
        }
    }
}

enum Stopped {
    Io(io::Error),
    Interrupted(Interrupted),
}

impl From<Interrupted> for Stopped {
    fn from(interrupted: Interrupted) -> Self {
        Stopped::Interrupted(interrupted)
    }
}

impl From<io::Error> for Stopped {
    fn from(error: io::Error) -> Self {
        Stopped::Io(error)
    }
}

/// Writes all bytes; the digest where there is a right one.
fn write(
    image: &Image<'_>,
    survey: &Survey<'_>,
    keys: &Keys,
    digest_right: bool,
    file: &mut Bulk<'_>,
    progress: &dyn Progress,
) -> Result<Option<Digest>, Stopped> {
    progress.begin("redact", image.database().len() as u64);
    let mut hasher = Sha256::new();
    let mut batch: Vec<Segment> = Vec::new();
    let mut bytes = 0;
    let mut segments = survey.segments().peekable();
    while let Some(segment) = segments.next() {
        bytes += survey.bytes(&segment).len();
        batch.push(segment);
        if bytes < BATCH && segments.peek().is_some() {
            continue;
        }
        progress.go_on()?;
        let pages: Vec<Vec<u8>> = batch
            .par_iter()
            .map(|segment| rendered(segment.view, segment.first, survey.bytes(segment), keys))
            .collect();
        for page in &pages {
            file.write_all(page)?;
            hasher.update(page);
        }
        progress.advance(bytes as u64);
        batch.clear();
        bytes = 0;
    }
    // What is left is less than a page: a file that was cut.
    let rest = usize::try_from(survey.paged_bytes()).unwrap_or(usize::MAX);
    let rest = image.database().get(rest..).unwrap_or_default();
    let mut blanked = vec![0; rest.len()];
    blank(rest, &mut blanked);
    file.write_all(&blanked)?;
    hasher.update(&blanked);
    let digest = Digest(hasher.finalize().into());
    let digest = match image.trailer() {
        Trailer::Present(_) if digest_right => {
            file.write_all(&digest.0)?;
            Some(digest)
        }
        // What stands in its place may be anything; another wrong one shows the same.
        Trailer::Present(_) => {
            file.write_all(&digest.0.map(|byte| !byte))?;
            None
        }
        Trailer::Absent | Trailer::Odd { .. } => None,
    };
    // What stands behind the digest may be anything.
    io::copy(&mut io::repeat(0).take(image.behind()), file)?;
    file.flush()?;
    Ok(digest)
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}
