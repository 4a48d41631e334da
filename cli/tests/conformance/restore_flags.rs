//! The flags of `restore`, spelled the same for etcdutl and for etcdsnap.

use std::ffi::OsString;
use std::path::PathBuf;

/// One restore of one member.
#[derive(Clone, Debug)]
pub struct RestoreFlags {
    pub name: String,
    pub data_dir: PathBuf,
    /// `name=url,…`
    pub initial_cluster: String,
    pub token: String,
    pub advertise: String,
    pub wal_dir: Option<PathBuf>,
    /// `--bump-revision N --mark-compacted`
    pub bump: Option<u64>,
}

impl RestoreFlags {
    /// A cluster of one, as etcd's own defaults would name it.
    pub fn single(data_dir: PathBuf, peer_url: &str) -> Self {
        RestoreFlags {
            name: "m1".into(),
            data_dir,
            initial_cluster: format!("m1={peer_url}"),
            token: "conformance".into(),
            advertise: peer_url.into(),
            wal_dir: None,
            bump: None,
        }
    }

    pub fn args(&self) -> Vec<OsString> {
        let mut args: Vec<OsString> = vec![
            "--name".into(),
            self.name.clone().into(),
            "--data-dir".into(),
            self.data_dir.clone().into(),
            "--initial-cluster".into(),
            self.initial_cluster.clone().into(),
            "--initial-cluster-token".into(),
            self.token.clone().into(),
            "--initial-advertise-peer-urls".into(),
            self.advertise.clone().into(),
        ];
        if let Some(dir) = &self.wal_dir {
            args.extend(["--wal-dir".into(), dir.clone().into()]);
        }
        if let Some(bump) = self.bump {
            args.extend([
                "--bump-revision".into(),
                bump.to_string().into(),
                "--mark-compacted".into(),
            ]);
        }
        args
    }
}
