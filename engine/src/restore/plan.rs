//! What a restore will do, as far as it can be decided before the input is read.

use std::path::{Path, PathBuf};

use super::{
    Cluster, Error, IdentityError, InitialCluster, Member, PeerUrl,
    place::{Layout, Seats},
};
use crate::{
    mvcc::{LeaseOrphans, Prefixes},
    staging::{Owner, check_parent, followed},
};

/// What may be asked of a restore; the names are etcdutl's where it has them.
#[derive(Clone, Debug)]
pub struct Options {
    /// All members as `name=url,…`.
    pub initial_cluster: String,
    /// Token that enters every id.
    pub initial_cluster_token: String,
    /// Which members' data dirs are made, and where.
    pub target: Target,
    /// What of the input is restored.
    pub contents: Contents,
    /// How much to raise the revision; 0 leaves it.
    pub bump_revision: u64,
    /// Whether to mark the raised revision as compacted.
    pub mark_compacted: bool,
    /// Whom everything that is made belongs to; `None`: to who runs this.
    pub owner: Option<Owner>,
}

/// Which members' data dirs are made, and where.
#[derive(Clone, Debug)]
pub enum Target {
    /// One member's.
    One {
        /// Its name.
        name: String,
        /// Its peer URLs, comma-separated.
        initial_advertise_peer_urls: String,
        /// The data dir to make.
        data_dir: PathBuf,
        /// Where the WAL goes; `None` for its usual place in the data dir.
        wal_dir: Option<PathBuf>,
    },
    /// Every member's, in a directory named after it.
    All {
        /// The directory of the data dirs.
        root: PathBuf,
        /// The directory of the WAL dirs; `None` for their usual places in the data dirs.
        wal_root: Option<PathBuf>,
    },
}

/// What of the input is restored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// The key space as it was at this revision; `None` for the newest.
    pub revision: Option<i64>,
    /// What becomes of keys that hang on a lease that does not exist any more. `None` refuses them where a revision
    /// is asked for and leaves them alone otherwise.
    pub orphans: Option<LeaseOrphans>,
    /// Which keys.
    pub keys: Prefixes,
    /// Write live pages only.
    pub compact: bool,
    /// Leave out alarms.
    pub clear_alarms: bool,
    /// End a downgrade that is under way.
    pub cancel_downgrade: bool,
}

/// A restore that can be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The new cluster.
    pub cluster: Cluster,
    /// The members whose data dirs are made, by name; at least one.
    pub members: Vec<Restoring>,
    /// What of the input is restored.
    pub contents: Contents,
    /// How much to raise the revision; 0 leaves it.
    pub bump_revision: u64,
    /// Whom everything belongs to.
    pub owner: Option<Owner>,
    pub(super) layout: Layout,
}

/// A member whose data dir is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restoring {
    /// Who it is.
    pub member: Member,
    /// Its data dir.
    pub data_dir: PathBuf,
    /// Its WAL dir, when that is not in its usual place.
    pub wal_dir: Option<PathBuf>,
    pub(super) seats: Seats,
}

impl Plan {
    /// Checks everything that can be known before the input is read, in etcdutl's order.
    ///
    /// # Errors
    /// When the flags contradict each other, make no cluster, or a target is not free.
    pub fn new(options: &Options) -> Result<Self, Error> {
        if (options.bump_revision > 0) != options.mark_compacted {
            return Err(Error::BumpWithoutMark);
        }
        let token = &options.initial_cluster_token;
        let (cluster, members, layout) = match &options.target {
            Target::One { name, initial_advertise_peer_urls, data_dir, wal_dir } => {
                let advertised =
                    PeerUrl::parse_list(initial_advertise_peer_urls).map_err(Error::Advertised)?;
                let initial = InitialCluster::parse(&options.initial_cluster)?;
                initial.check_member(name, &advertised)?;
                let cluster = initial.cluster(token)?;
                let usual = data_dir.join("member").join("wal");
                let wal_dir = wal_dir.clone().filter(|wal_dir| *wal_dir != usual);
                let wal_at = wal_dir.as_deref().map(followed).transpose()?;
                let (layout, seats) = Layout::one(&followed(data_dir)?, wal_at.as_deref())?;
                let member = named(&cluster, &initial, name)?;
                let one = Restoring { member, data_dir: data_dir.clone(), wal_dir, seats };
                (cluster, vec![one], layout)
            }
            Target::All { root, wal_root } => {
                let initial = InitialCluster::parse(&options.initial_cluster)?;
                let cluster = initial.cluster(token)?;
                let names: Vec<&str> = initial.names().collect();
                let wals_at = wal_root.as_deref().map(followed).transpose()?;
                let (layout, seats) =
                    Layout::all(&followed(root)?, wals_at.as_deref(), names.iter().copied())?;
                let members = names.iter().zip(seats).map(|(name, seats)| {
                    Ok(Restoring {
                        member: named(&cluster, &initial, name)?,
                        data_dir: root.join(name),
                        wal_dir: wal_root.as_ref().map(|root| root.join(name)),
                        seats,
                    })
                });
                let members = members.collect::<Result<Vec<_>, Error>>()?;
                (cluster, members, layout)
            }
        };
        for unit in layout.units() {
            check_parent(&unit.target)?;
        }
        Ok(Self {
            cluster,
            members,
            contents: options.contents.clone(),
            bump_revision: options.bump_revision,
            owner: options.owner,
            layout,
        })
    }

    /// Whether the database is copied as it stands, with some pages added, and nothing of it left out.
    pub fn is_copy(&self) -> bool {
        let Contents { clear_alarms, cancel_downgrade, .. } = self.contents;
        self.contents == Contents { clear_alarms, cancel_downgrade, ..Contents::default() }
    }

    /// The names of what will appear, and so what remains of a killed run are named after.
    pub fn targets(&self) -> impl Iterator<Item = &Path> {
        self.layout.units().iter().map(|unit| unit.target.as_path())
    }
}

impl Restoring {
    /// Its WAL dir, wherever that is.
    pub fn wal_dir(&self) -> PathBuf {
        self.wal_dir.clone().unwrap_or_else(|| self.data_dir.join("member").join("wal"))
    }
}

fn named(cluster: &Cluster, initial: &InitialCluster, name: &str) -> Result<Member, Error> {
    cluster.member_named(name).cloned().ok_or_else(|| {
        let known = initial.names().map(str::to_owned).collect();
        IdentityError::UnknownName { name: name.to_owned(), known }.into()
    })
}
