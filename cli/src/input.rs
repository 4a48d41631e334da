//! Opens what a path names, and makes sure afterwards that it held still.

use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use etcdsnap_engine::{
    bolt::{self, Db},
    datadir::{self, Kind, Located},
    limits::Limits,
    snapshot::{Image, Trailer},
    source::{FaultGuard, Source},
};

/// An opened input.
#[derive(Debug)]
pub struct Input {
    located: Located,
    source: Source,
}

impl Input {
    /// Opens the database behind `path`, mapped or read.
    pub fn open(path: &Path, no_mmap: bool) -> Result<Self> {
        if path == Path::new("-") {
            return Err(anyhow!(
                "standard input cannot be read here: a database is read in any order; save it to a file first"
            ));
        }
        let located = datadir::locate(path)?;
        let source = if no_mmap {
            Source::read(&located.db)
        } else {
            FaultGuard::install().and_then(|guard| Source::map(&located.db, guard))
        };
        let source = source.with_context(|| format!("open {}", located.db.display()))?;
        Ok(Self { located, source })
    }

    /// Its bytes, database and trailer told apart.
    pub fn image(&self) -> Image<'_> {
        Image::split(self.source.bytes())
    }

    /// Its database.
    pub fn db(&self) -> Result<Db<'_>> {
        self.image().db(Limits::default()).map_err(|error| self.explain(error))
    }

    /// An error of the database with the file's name, and what the file is instead when that is known.
    pub fn explain(&self, error: bolt::Error) -> anyhow::Error {
        let path = self.located.db.display();
        let foreign = match error {
            bolt::Error::NotBolt { .. } | bolt::Error::TooSmall { .. } => {
                datadir::foreign(self.source.bytes())
            }
            _ => None,
        };
        match (foreign, &error) {
            (Some(foreign), _) => {
                anyhow!(
                    "{path} is {}, not an etcd database: unpack it first with `{} {path}`",
                    foreign.name,
                    foreign.unpack
                )
            }
            (None, bolt::Error::NotBolt { .. } | bolt::Error::TooSmall { .. }) => {
                anyhow::Error::new(error).context(format!("{path} is not an etcd database"))
            }
            (None, _) => anyhow::Error::new(error).context(path.to_string()),
        }
    }

    /// What kind of input it is.
    pub fn kind(&self) -> Kind {
        match (&self.located.member, self.image().trailer()) {
            (Some((kind, _)), _) => *kind,
            (None, Trailer::Present(_)) => Kind::Snapshot,
            (None, Trailer::Absent | Trailer::Odd { .. }) => Kind::Db,
        }
    }

    /// Bytes of the file, whatever stands behind the database included.
    pub fn file_size(&self) -> u64 {
        self.source.bytes().len() as u64
    }

    /// The files behind it.
    pub fn located(&self) -> &Located {
        &self.located
    }

    /// To be asked before any result is shown: every byte came from the file, and the file held still.
    pub fn settle(&self) -> Result<()> {
        self.source.check().with_context(|| {
            format!(
                "{}: what was read cannot be trusted; if a server is running on it, take the snapshot from the server (etcdctl snapshot save)",
                self.located.db.display()
            )
        })
    }
}

/// Opens `path` and asks `question` of it, again when the file changed meanwhile: a running server commits
/// now and then, and between two commits its file holds still.
pub fn ask<T>(path: &Path, no_mmap: bool, question: impl Fn(&Input) -> Result<T>) -> Result<T> {
    const ATTEMPTS: usize = 3;
    let mut attempt = 1;
    loop {
        let input = Input::open(path, no_mmap)?;
        let answer = question(&input);
        match input.settle() {
            Ok(()) => return answer,
            // What went wrong in a file that changes is no finding about it.
            Err(error) if attempt >= ATTEMPTS => return Err(error),
            Err(_) => attempt += 1,
        }
    }
}
