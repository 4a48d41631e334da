//! Whether the user of a request may do what it asks for, as servers decide when they apply it.

use std::collections::HashMap;

use super::{
    Auth, has_root_role, permission,
    permission::{Coverage, Held},
};
use crate::{
    mvcc::Error,
    pb::{
        authpb::PermissionType,
        kvpb::PutRequest,
        requestpb::{InternalRaftRequest, RequestHeader},
        txnpb::{Request, RequestOp, TxnRequest},
    },
    replay::{
        Line, Refusal,
        kv::{KeyValues, LeaseKeys},
        txn,
    },
};

/// A damaged db, or a refusal.
enum Stop {
    Error(Error),
    Refused(Refusal),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Stop::Error(error)
    }
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Stop::Refused(refusal)
    }
}

impl Auth {
    /// Whether the user named in the request's header may make it. Source: etcd `apply_auth.go`.
    ///
    /// # Errors
    /// When the db is damaged. `Ok(Err(_))` when the user may not.
    pub(in crate::replay) fn permits(
        &self,
        line: Line,
        request: &InternalRaftRequest,
        keys: &KeyValues<'_>,
    ) -> Result<Result<(), Refusal>, Error> {
        if !self.is_enabled() {
            return Ok(Ok(()));
        }
        let nobody = RequestHeader::default();
        let asking =
            Asking { line, auth: self, keys, who: request.header.as_ref().unwrap_or(&nobody) };
        match asking.request(request) {
            Ok(()) => Ok(Ok(())),
            Err(Stop::Refused(refusal)) => Ok(Err(refusal)),
            Err(Stop::Error(error)) => Err(error),
        }
    }

    fn may_administer(&self, who: &RequestHeader) -> Result<(), Refusal> {
        if who.username.is_empty() {
            return Err(Refusal::UserEmpty);
        }
        match self.user(&who.username) {
            None => Err(Refusal::UserNotFound),
            Some(user) if has_root_role(user) => Ok(()),
            Some(_) => Err(Refusal::PermissionDenied),
        }
    }

    fn may(
        &self,
        who: &RequestHeader,
        key: &[u8],
        range_end: &[u8],
        wanted: PermissionType,
    ) -> Result<(), Refusal> {
        let span = permission::Span::new(key, range_end);
        self.check(who, wanted, |coverage, _| coverage.holds(&span))
    }

    /// As [`Auth::may`] of each key of `lease`, which has some. A key is asked for once, as long as the user keeps what it
    /// is allowed.
    fn may_write_all(
        &self,
        who: &RequestHeader,
        lease: i64,
        own: &LeaseKeys,
    ) -> Result<(), Refusal> {
        self.check(who, PermissionType::Write, |coverage, asked| {
            let done = asked.entry(lease).or_default();
            let new = own.attached.get(*done..).unwrap_or_default().iter();
            let held = new.take_while(|key| {
                coverage.holds(&permission::Span::new(key, &[])) || !own.keys.contains(*key)
            });
            *done = done.saturating_add(held.count());
            *done >= own.attached.len()
        })
    }

    /// Whether the user has signed in since auth last changed, and `holds` is true of what its roles allow together and
    /// of how many keys of each lease it was asked for. What roles allow is gathered once, and again where something was
    /// taken away.
    fn check(
        &self,
        who: &RequestHeader,
        wanted: PermissionType,
        holds: impl FnOnce(&Coverage, &mut HashMap<i64, usize>) -> bool,
    ) -> Result<(), Refusal> {
        if who.auth_revision == 0 {
            return Err(Refusal::UserEmpty);
        }
        if who.auth_revision < self.revision {
            return Err(Refusal::OldRevision);
        }
        let user = self.user(&who.username).ok_or(Refusal::PermissionDenied)?;
        if has_root_role(user) {
            return Ok(());
        }
        let mut allowed = self.allowed.borrow_mut();
        let own = allowed.entry(user.name.clone()).or_default();
        let coverage = if wanted == PermissionType::Write { &mut own.write } else { &mut own.read };
        let coverage = coverage.get_or_insert_with(|| {
            let roles = user.roles.iter().filter_map(|role| self.roles.get(role));
            Coverage::of(roles.flat_map(Held::iter), wanted)
        });
        if holds(coverage, &mut own.leases) { Ok(()) } else { Err(Refusal::PermissionDenied) }
    }
}

/// A request's user, and what the answer depends on.
struct Asking<'q, 'a> {
    line: Line,
    auth: &'q Auth,
    keys: &'q KeyValues<'a>,
    who: &'q RequestHeader,
}

impl Asking<'_, '_> {
    fn request(&self, request: &InternalRaftRequest) -> Result<(), Stop> {
        if administers(request) {
            self.auth.may_administer(self.who)?;
        } else if let Some(range) = &request.range {
            self.read(&range.key, &range.range_end)?;
        } else if let Some(put) = &request.put {
            self.put(put)?;
        } else if let Some(delete) = &request.delete_range {
            self.delete(&delete.key, &delete.range_end, delete.prev_kv)?;
        } else if let Some(txn) = &request.txn {
            self.txn(txn)?;
        } else if let Some(revoke) = &request.lease_revoke {
            self.lease(revoke.id)?;
        } else if let Some(get) = &request.auth_user_get {
            if get.name != self.who.username {
                self.auth.may_administer(self.who)?;
            }
        } else if let Some(get) = &request.auth_role_get {
            let own = self.auth.user(&self.who.username);
            if !own.is_some_and(|user| user.roles.contains(&get.role)) {
                self.auth.may_administer(self.who)?;
            }
        }
        Ok(())
    }

    fn read(&self, key: &[u8], range_end: &[u8]) -> Result<(), Refusal> {
        self.auth.may(self.who, key, range_end, PermissionType::Read)
    }

    fn write(&self, key: &[u8], range_end: &[u8]) -> Result<(), Refusal> {
        self.auth.may(self.who, key, range_end, PermissionType::Write)
    }

    fn put(&self, put: &PutRequest) -> Result<(), Stop> {
        self.write(&put.key, &[])?;
        self.lease(put.lease)?;
        if put.prev_kv {
            self.read(&put.key, &[])?;
        }
        Ok(())
    }

    fn delete(&self, key: &[u8], range_end: &[u8], prev_kv: bool) -> Result<(), Refusal> {
        self.write(key, range_end)?;
        if prev_kv { self.read(key, range_end) } else { Ok(()) }
    }

    /// Whoever attaches a key to a lease, or ends it, may write every key on it. Root may without being asked,
    /// but to 3.4.23 and older even root must have signed in since auth last changed.
    fn lease(&self, lease: i64) -> Result<(), Stop> {
        let root = self.line >= Line::V3_5 && self.auth.may_administer(self.who).is_ok();
        if lease == 0 || root {
            return Ok(());
        }
        match self.keys.keys_of_lease(lease)? {
            Some(own) if !own.keys.is_empty() => {
                Ok(self.auth.may_write_all(self.who, lease, own)?)
            }
            _ => Ok(()),
        }
    }

    fn txn(&self, txn: &TxnRequest) -> Result<(), Stop> {
        // 3.4 looks into nested transactions from 3.4.42 on, and what is kept of older ones does not tell
        // which patch wrote it. Refusing less can not lose a write that was acknowledged.
        let levels = if self.line > Line::V3_4 { usize::MAX } else { 1 };
        for (_, id, own) in txn.iter().filter(|(level, ..)| *level <= levels) {
            for compare in &own.compare {
                self.read(&compare.key, &compare.range_end)?;
            }
            for op in own.ops() {
                // What is dropped is not asked permission for either.
                if !txn::is_dropped(self.line, id, op) {
                    self.op(op)?;
                }
            }
        }
        Ok(())
    }

    /// A nested transaction is asked for by itself.
    fn op(&self, op: &RequestOp) -> Result<(), Stop> {
        match &op.request {
            Some(Request::Range(range)) => self.read(&range.key, &range.range_end)?,
            Some(Request::Put(put)) => self.put(put)?,
            Some(Request::DeleteRange(delete)) => {
                self.delete(&delete.key, &delete.range_end, delete.prev_kv)?;
            }
            Some(Request::Txn(_)) | None => {}
        }
        Ok(())
    }
}

/// Whether only the role `root` may make such a request.
fn administers(request: &InternalRaftRequest) -> bool {
    request.auth_enable.is_some()
        || request.auth_disable.is_some()
        || request.auth_status.is_some()
        || request.auth_user_add.is_some()
        || request.auth_user_delete.is_some()
        || request.auth_user_change_password.is_some()
        || request.auth_user_grant_role.is_some()
        || request.auth_user_revoke_role.is_some()
        || request.auth_user_list.is_some()
        || request.auth_role_add.is_some()
        || request.auth_role_delete.is_some()
        || request.auth_role_grant_permission.is_some()
        || request.auth_role_revoke_permission.is_some()
        || request.auth_role_list.is_some()
}
