//! Users, roles and the switch, while entries are applied to them.

mod change;
mod permission;
mod permit;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, HashMap},
};

use permission::{Coverage, Held};
use prost::Message as _;
use rayon::prelude::*;

use super::{error, error::Error, password, state::Records};
use crate::{
    pb::authpb::{Permission, PermissionType, Role, User},
    schema::{Store, auth, auth::AuthRecord, bucket},
};

/// The name of the user and of the role that may do everything.
const ROOT: &[u8] = b"root";

/// What a user may read, and what it may write, once it was asked for.
#[derive(Clone, Debug, Default)]
struct Allowed {
    read: Option<Coverage>,
    write: Option<Coverage>,
    /// How many of the keys ever attached to a lease it was found to be allowed to write.
    leases: HashMap<i64, usize>,
}

impl Allowed {
    fn add(&mut self, permission: &Permission) {
        self.each(|coverage, wanted| coverage.add(permission, wanted));
    }

    /// Takes away what `permission` alone allowed, given all roles.
    fn renew(&mut self, permission: &Permission, roles: &[&Held]) {
        self.leases.clear();
        self.each(|coverage, wanted| coverage.renew(permission, roles, wanted));
    }

    fn each(&mut self, change: impl Fn(&mut Coverage, PermissionType)) {
        if let Some(read) = &mut self.read {
            change(read, PermissionType::Read);
        }
        if let Some(write) = &mut self.write {
            change(write, PermissionType::Write);
        }
    }
}

/// Users, roles and the switch.
#[derive(Clone, Debug, Default)]
pub struct Auth {
    /// Absent until auth was enabled once.
    enabled: Option<bool>,
    revision: u64,
    users: BTreeMap<Vec<u8>, User>,
    roles: BTreeMap<Vec<u8>, Held>,
    /// The users that have each role.
    holders: HashMap<Vec<u8>, BTreeSet<Vec<u8>>>,
    changed: bool,
    /// Passwords that came in clear text and are hashed at the end, by user: only a user's last one is.
    clear: BTreeMap<Vec<u8>, Vec<u8>>,
    /// What users may do, once they were asked for. Follows every change of their roles.
    allowed: RefCell<HashMap<Vec<u8>, Allowed>>,
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
        for user in error::all(auth::users(store)?)? {
            for role in &user.roles {
                loaded.holders.entry(role.clone()).or_default().insert(user.name.clone());
            }
            loaded.users.insert(user.name.clone(), user);
        }
        let roles = error::all(auth::roles(store)?)?.into_iter();
        loaded.roles = roles.map(|role| (role.name, Held::new(role.key_permission))).collect();
        Ok(loaded)
    }

    /// Whether users are asked for.
    pub fn is_enabled(&self) -> bool {
        self.enabled == Some(true)
    }

    /// Users whose password came in clear text, as up to 3.4: each member salts it for itself, so that the
    /// stored bytes differ from the member's own. The password works all the same.
    pub fn resalted(&self) -> BTreeSet<Vec<u8>> {
        self.clear.keys().cloned().collect()
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
        // The only work here that takes time: side by side, and at a cost that sinks with their number.
        let cost = password::cost(self.clear.len());
        let clear: Vec<(&Vec<u8>, &Vec<u8>)> = self.clear.iter().collect();
        let hashed: HashMap<&[u8], Vec<u8>> = clear
            .into_par_iter()
            .map(|(name, clear)| (name.as_slice(), password::salted(name, clear, cost)))
            .collect();
        let users = self.users.iter().map(|(name, user)| {
            let record = match hashed.get(name.as_slice()) {
                Some(hashed) => User { password: hashed.clone(), ..user.clone() }.encode_to_vec(),
                None => user.encode_to_vec(),
            };
            (name.clone(), record)
        });
        let roles = self.roles.iter().map(|(name, held)| {
            let key_permission = held.iter().cloned().collect();
            (name.clone(), Role { name: name.clone(), key_permission }.encode_to_vec())
        });
        vec![
            (bucket::AUTH, settings),
            (bucket::AUTH_ROLES, roles.collect()),
            (bucket::AUTH_USERS, users.collect()),
        ]
    }

    fn user(&self, name: &[u8]) -> Option<&User> {
        self.users.get(name)
    }
}

/// Servers look it up in what they keep sorted.
fn has_root_role(user: &User) -> bool {
    user.roles.binary_search_by(|role| role.as_slice().cmp(ROOT)).is_ok()
}
