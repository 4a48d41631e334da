//! What is kept of a key's newest record, so that most successions can be judged without reading it again.

use super::{Record, index::Words};

/// Enough of a record to see that the next one of its key follows from it, as nearly all do: its version and the
/// revision that created its generation. What does not fit in here, or does not agree with itself, is unknown.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Known {
    /// Create revision of a put.
    create: u32,
    /// Version of a put, [`Known::DELETED`] of a deletion, 0 of what is unknown; [`Known::BELOW`] at or below the mark.
    version: u32,
}

/// What a [`Known`] is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Unknown,
    Deletion,
    Put { create: u32, version: u32 },
}

impl Words for Known {
    fn words(self) -> [u32; 2] {
        [self.create, self.version]
    }

    fn of_words([create, version]: [u32; 2]) -> Self {
        Self { create, version }
    }
}

impl Known {
    const BELOW: u32 = 1 << 31;
    const DELETED: u32 = Self::BELOW - 1;

    /// What is known of `record` in a store compacted to `compact`.
    pub(super) fn of(record: &Record<'_>, compact: i64) -> Self {
        let (main, kv) = (record.key.revision.main, &record.kv);
        let below = if main <= compact { Self::BELOW } else { 0 };
        if record.key.tombstone {
            return Self { create: 0, version: Self::DELETED | below };
        }
        let regular = kv.create_revision <= main && (kv.version != 1 || kv.create_revision == main);
        let version = u32::try_from(kv.version).ok().filter(|version| *version < Self::DELETED);
        match (u32::try_from(kv.create_revision), version) {
            (Ok(create), Some(version)) if regular => Self { create, version: version | below },
            _ => Self { create: 0, version: below },
        }
    }

    /// Whether this, which comes right after `previous` among the records of its key, is as it should be. If not, or
    /// when not enough is known, the records themselves have to be looked at.
    pub(super) fn follows(self, previous: Option<Self>) -> bool {
        match (previous.map(Known::kind), self.kind()) {
            (None, Kind::Put { version: 1, .. }) => true,
            (None, _) => self.is_below(),
            (Some(Kind::Unknown), _) | (_, Kind::Unknown) => false,
            (Some(Kind::Deletion), Kind::Deletion) => self.is_below(),
            (Some(Kind::Put { .. }), Kind::Deletion) => true,
            (Some(Kind::Deletion), Kind::Put { version, .. }) => version == 1,
            (Some(Kind::Put { create: was, version: before }), Kind::Put { create, version }) => {
                was == create && before + 1 == version
            }
        }
    }

    fn is_below(self) -> bool {
        self.version & Self::BELOW != 0
    }

    fn kind(self) -> Kind {
        match self.version & !Self::BELOW {
            0 => Kind::Unknown,
            Self::DELETED => Kind::Deletion,
            version => Kind::Put { create: self.create, version },
        }
    }
}
