//! Users, roles and the switch, while entries are applied to them.

mod change;
mod permission;
mod permit;

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;

use super::{error, error::Error, state::Records};
use crate::{
    pb::authpb::{Role, User},
    schema::{Store, auth, auth::AuthRecord, bucket},
};

/// The name of the user and of the role that may do everything.
const ROOT: &str = "root";

/// Users, roles and the switch.
#[derive(Clone, Debug, Default)]
pub struct Auth {
    /// Absent until auth was enabled once.
    enabled: Option<bool>,
    revision: u64,
    users: BTreeMap<Vec<u8>, User>,
    roles: BTreeMap<Vec<u8>, Role>,
    changed: bool,
    resalted: BTreeSet<Vec<u8>>,
}

impl Auth {
    /// What a db says.
    ///
    /// # Errors
    /// When a page or record is damaged.
    pub fn load(store: &Store<'_>) -> Result<Self, Error> {
        let mut loaded = Self::default();
        for record in error::all(auth::settings(store)?)? {
            match record {
                AuthRecord::Enabled(enabled) => loaded.enabled = Some(enabled),
                AuthRecord::Revision(revision) => loaded.revision = revision,
            }
        }
        let users = error::all(auth::users(store)?)?.into_iter();
        loaded.users = users.map(|user| (user.name.clone(), user)).collect();
        let roles = error::all(auth::roles(store)?)?.into_iter();
        loaded.roles = roles.map(|role| (role.name.clone(), role)).collect();
        Ok(loaded)
    }

    /// Whether users are asked for.
    pub fn is_enabled(&self) -> bool {
        self.enabled == Some(true)
    }

    /// Users whose password came in clear text, as up to 3.4: each member salts it for itself, so that the
    /// stored bytes differ from the member's own. The password works all the same.
    pub fn resalted(&self) -> &BTreeSet<Vec<u8>> {
        &self.resalted
    }

    /// Contents of the buckets that the entries changed.
    pub(super) fn changed_buckets(&self) -> Vec<(&'static str, Records)> {
        if !self.changed {
            return Vec::new();
        }
        let mut settings: Records = Vec::new();
        if let Some(enabled) = self.enabled {
            settings.push((auth::ENABLED.as_bytes().to_vec(), vec![u8::from(enabled)]));
        }
        settings.push((auth::REVISION.as_bytes().to_vec(), self.revision.to_be_bytes().to_vec()));
        let users = self.users.iter().map(|(name, user)| (name.clone(), user.encode_to_vec()));
        let roles = self.roles.iter().map(|(name, role)| (name.clone(), role.encode_to_vec()));
        vec![
            (bucket::AUTH, settings),
            (bucket::AUTH_ROLES, roles.collect()),
            (bucket::AUTH_USERS, users.collect()),
        ]
    }

    fn user(&self, name: &str) -> Option<&User> {
        self.users.get(name.as_bytes())
    }
}

fn has_root_role(user: &User) -> bool {
    user.roles.iter().any(|role| role == ROOT)
}
