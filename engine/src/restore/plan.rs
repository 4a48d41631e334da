//! What a restore will do, decided before anything is written.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::{Cluster, Error, InitialCluster, Member, PeerUrl};
use crate::staging::IoError;

/// What may be asked of a restore; the names are etcdutl's.
#[derive(Clone, Debug)]
pub struct Options {
    /// Name of this member.
    pub name: String,
    /// All members as `name=url,…`.
    pub initial_cluster: String,
    /// Token that enters every id.
    pub initial_cluster_token: String,
    /// Peer URLs of this member, comma-separated.
    pub initial_advertise_peer_urls: String,
    /// The data dir to make.
    pub data_dir: PathBuf,
    /// Where the WAL goes; `None` for its usual place in the data dir.
    pub wal_dir: Option<PathBuf>,
    /// How much to raise the revision; 0 leaves it.
    pub bump_revision: u64,
    /// Whether to mark the raised revision as compacted.
    pub mark_compacted: bool,
}

/// A restore that can be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The new cluster.
    pub cluster: Cluster,
    /// The member whose data dir is made.
    pub own: Member,
    /// The data dir to make.
    pub data_dir: PathBuf,
    /// How it will appear.
    pub appearance: Appearance,
    /// Where the WAL goes, when not into the data dir.
    pub wal_dir: Option<PathBuf>,
    /// How much to raise the revision; 0 leaves it.
    pub bump_revision: u64,
}

/// How the finished work gets its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appearance {
    /// The data dir does not exist: it is made beside its place and renamed.
    DataDir,
    /// The data dir exists and is empty, perhaps a mount point: `member` is made in it and renamed.
    Member,
}

impl Plan {
    /// Checks everything that can be known before the input is read, in etcdutl's order.
    ///
    /// # Errors
    /// When the flags contradict each other, make no cluster, or the target is not free.
    pub fn new(options: &Options) -> Result<Self, Error> {
        if (options.bump_revision > 0) != options.mark_compacted {
            return Err(Error::BumpWithoutMark);
        }
        let advertised =
            PeerUrl::parse_list(&options.initial_advertise_peer_urls).map_err(Error::Advertised)?;
        let initial = InitialCluster::parse(&options.initial_cluster)?;
        initial.check_member(&options.name, &advertised)?;
        let cluster = initial.cluster(&options.initial_cluster_token)?;
        let own = cluster.member_named(&options.name).cloned().ok_or_else(|| {
            super::IdentityError::UnknownName {
                name: options.name.clone(),
                known: initial.names().map(str::to_owned).collect(),
            }
        })?;
        let appearance = appearance(&options.data_dir)?;
        if let Some(wal_dir) = &options.wal_dir
            && fs::symlink_metadata(wal_dir).is_ok()
        {
            return Err(Error::WalDir { path: wal_dir.clone() });
        }
        Ok(Self {
            cluster,
            own,
            data_dir: options.data_dir.clone(),
            appearance,
            wal_dir: options.wal_dir.clone(),
            bump_revision: options.bump_revision,
        })
    }

    /// Where the temporary thing stands, and so what its remains are named after.
    pub fn target(&self) -> PathBuf {
        match self.appearance {
            Appearance::DataDir => self.data_dir.clone(),
            Appearance::Member => self.data_dir.join("member"),
        }
    }
}

/// A data dir must be absent or empty; a mount point's `lost+found` does not count.
fn appearance(data_dir: &Path) -> Result<Appearance, Error> {
    let refused = || Error::DataDir { path: data_dir.to_path_buf() };
    match fs::symlink_metadata(data_dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Appearance::DataDir),
        Err(error) => return Err(IoError::at("open", data_dir)(error).into()),
        Ok(_) => {}
    }
    let entries = fs::read_dir(data_dir).map_err(|_| refused())?;
    for entry in entries {
        let name = entry.map_err(|_| refused())?.file_name();
        let remains = name.as_encoded_bytes().starts_with(b"member.tmp-");
        let of_mount = name == "lost+found" && is_mount_point(data_dir);
        if !(remains || of_mount) {
            return Err(refused());
        }
    }
    Ok(Appearance::Member)
}

fn is_mount_point(directory: &Path) -> bool {
    let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev());
    match (device(directory), device(&directory.join(".."))) {
        (Ok(own), Ok(parent)) => own != parent,
        _ => false,
    }
}
