//! Requests that change users and roles. Source: etcd `server/auth/store.go`.

use super::{
    Allowed, Auth, ROOT, has_root_role,
    permission::{Held, is_valid},
};
use crate::{
    pb::{
        authpb::{Permission, User, UserAddOptions},
        requestpb::{
            AuthRoleGrantPermissionRequest, AuthRoleRevokePermissionRequest, AuthUserAddRequest,
            AuthUserChangePasswordRequest, AuthUserGrantRoleRequest, AuthUserRevokeRoleRequest,
            InternalRaftRequest,
        },
    },
    replay::{Line, Refusal, password},
};

impl Auth {
    /// Does what `request` asks for if it is about auth; `None` when it is not.
    pub(in crate::replay) fn apply(
        &mut self,
        line: Line,
        request: &InternalRaftRequest,
    ) -> Option<Result<(), Refusal>> {
        let InternalRaftRequest {
            authenticate,
            auth_enable,
            auth_disable,
            auth_status,
            auth_user_add,
            auth_user_delete,
            auth_user_get,
            auth_user_change_password,
            auth_user_grant_role,
            auth_user_revoke_role,
            auth_user_list,
            auth_role_list,
            auth_role_add,
            auth_role_delete,
            auth_role_get,
            auth_role_grant_permission,
            auth_role_revoke_permission,
            ..
        } = request;
        let asks = authenticate.is_some()
            || [auth_status, auth_user_list, auth_role_list].iter().any(|asked| asked.is_some())
            || auth_user_get.is_some()
            || auth_role_get.is_some();
        Some(if asks {
            Ok(())
        } else if auth_enable.is_some() {
            self.enable()
        } else if auth_disable.is_some() {
            self.disable();
            Ok(())
        } else if let Some(add) = auth_user_add {
            self.add_user(line, add)
        } else if let Some(delete) = auth_user_delete {
            self.delete_user(&delete.name)
        } else if let Some(change) = auth_user_change_password {
            self.change_password(line, change)
        } else if let Some(grant) = auth_user_grant_role {
            self.grant_role(grant)
        } else if let Some(revoke) = auth_user_revoke_role {
            self.revoke_role(revoke)
        } else if let Some(add) = auth_role_add {
            self.add_role(&add.name)
        } else if let Some(delete) = auth_role_delete {
            self.delete_role(&delete.role)
        } else if let Some(grant) = auth_role_grant_permission {
            self.grant_permission(line, grant)
        } else if let Some(revoke) = auth_role_revoke_permission {
            self.revoke_permission(revoke)
        } else {
            return None;
        })
    }

    /// Every accepted change but enabling counts.
    fn count(&mut self) {
        self.revision = self.revision.saturating_add(1);
        self.changed = true;
    }

    fn enable(&mut self) -> Result<(), Refusal> {
        if self.is_enabled() {
            return Ok(());
        }
        let root = self.user(ROOT).ok_or(Refusal::RootUserNotFound)?;
        if !has_root_role(root) {
            return Err(Refusal::RootRoleNotFound);
        }
        self.enabled = Some(true);
        self.changed = true;
        Ok(())
    }

    fn disable(&mut self) {
        if self.is_enabled() {
            self.enabled = Some(false);
            self.count();
        }
    }

    fn add_user(&mut self, line: Line, request: &AuthUserAddRequest) -> Result<(), Refusal> {
        if request.name.is_empty() {
            return Err(Refusal::UserEmpty);
        }
        if self.user(&request.name).is_some() {
            return Err(Refusal::UserExists);
        }
        let options = request.options.unwrap_or(UserAddOptions { no_password: false });
        let password = if options.no_password {
            Password::Hashed(Vec::new())
        } else {
            Password::of(line, &request.password, &request.hashed_password)?
        };
        let name = request.name.clone();
        let user = User {
            name: name.clone(),
            password: Vec::new(),
            roles: Vec::new(),
            options: Some(options),
        };
        self.users.insert(name.clone(), user);
        self.set_password(&name, password);
        self.count();
        Ok(())
    }

    /// Gives a user a password, unless it has none on purpose.
    fn set_password(&mut self, name: &[u8], password: Password) {
        self.clear.remove(name);
        let Some(user) = self.users.get_mut(name) else { return };
        user.password = Vec::new();
        match password {
            _ if user.options.is_some_and(|options| options.no_password) => {}
            Password::Hashed(hashed) => user.password = hashed,
            Password::Clear(clear) => {
                self.clear.insert(name.to_vec(), clear);
            }
        }
    }

    fn delete_user(&mut self, name: &[u8]) -> Result<(), Refusal> {
        if self.is_enabled() && name == ROOT {
            return Err(Refusal::AuthManagement);
        }
        let user = self.users.remove(name).ok_or(Refusal::UserNotFound)?;
        self.clear.remove(name);
        self.allowed.get_mut().remove(name);
        for role in &user.roles {
            self.leaves(name, role);
        }
        self.count();
        Ok(())
    }

    /// Notes that a user no longer has a role.
    fn leaves(&mut self, name: &[u8], role: &[u8]) {
        if let Some(holders) = self.holders.get_mut(role) {
            holders.remove(name);
            if holders.is_empty() {
                self.holders.remove(role);
            }
        }
    }

    fn change_password(
        &mut self,
        line: Line,
        request: &AuthUserChangePasswordRequest,
    ) -> Result<(), Refusal> {
        let user = self.user(&request.name).ok_or(Refusal::UserNotFound)?;
        // What is no base64 is refused only where it would be stored.
        let no_password = user.options.is_some_and(|options| options.no_password);
        let password = if no_password {
            Password::Hashed(Vec::new())
        } else {
            Password::of(line, &request.password, &request.hashed_password)?
        };
        self.set_password(&request.name, password);
        self.count();
        Ok(())
    }

    fn grant_role(&mut self, request: &AuthUserGrantRoleRequest) -> Result<(), Refusal> {
        let known = request.role == ROOT || self.roles.contains_key(&request.role);
        let user = self.users.get_mut(&request.user).ok_or(Refusal::UserNotFound)?;
        if !known {
            return Err(Refusal::RoleNotFound);
        }
        if let Err(place) = user.roles.binary_search(&request.role) {
            user.roles.insert(place, request.role.clone());
            self.holders.entry(request.role.clone()).or_default().insert(request.user.clone());
            self.allowed.get_mut().remove(&request.user);
            self.count();
        }
        Ok(())
    }

    fn revoke_role(&mut self, request: &AuthUserRevokeRoleRequest) -> Result<(), Refusal> {
        if self.is_enabled() && request.name == ROOT && request.role == ROOT {
            return Err(Refusal::AuthManagement);
        }
        let user = self.users.get_mut(&request.name).ok_or(Refusal::UserNotFound)?;
        let before = user.roles.len();
        user.roles.retain(|role| *role != request.role);
        if user.roles.len() == before {
            return Err(Refusal::RoleNotGranted);
        }
        self.leaves(&request.name, &request.role);
        self.allowed.get_mut().remove(&request.name);
        self.count();
        Ok(())
    }

    fn add_role(&mut self, name: &[u8]) -> Result<(), Refusal> {
        if name.is_empty() {
            return Err(Refusal::RoleEmpty);
        }
        if self.roles.contains_key(name) {
            return Err(Refusal::RoleExists);
        }
        self.roles.insert(name.to_vec(), Held::default());
        self.count();
        Ok(())
    }

    fn delete_role(&mut self, name: &[u8]) -> Result<(), Refusal> {
        if self.is_enabled() && name == ROOT {
            return Err(Refusal::AuthManagement);
        }
        self.roles.remove(name).ok_or(Refusal::RoleNotFound)?;
        for holder in self.holders.remove(name).into_iter().flatten() {
            if let Some(user) = self.users.get_mut(&holder) {
                user.roles.retain(|role| role != name);
            }
            self.allowed.get_mut().remove(&holder);
        }
        self.count();
        Ok(())
    }

    fn grant_permission(
        &mut self,
        line: Line,
        request: &AuthRoleGrantPermissionRequest,
    ) -> Result<(), Refusal> {
        let permission = request.perm.as_ref().ok_or(Refusal::PermissionNotGiven)?;
        // Checked since 3.5.8; older patch levels took what ever they were given.
        if line >= Line::V3_5 && !is_valid(&permission.key, &permission.range_end) {
            return Err(Refusal::AuthManagement);
        }
        let role = self.roles.get_mut(&request.name).ok_or(Refusal::RoleNotFound)?;
        let added = role.grant(permission);
        self.each_allowed(&request.name, |own, roles| {
            if !added {
                own.renew(permission, roles);
            }
            own.add(permission);
        });
        self.count();
        Ok(())
    }

    fn revoke_permission(
        &mut self,
        request: &AuthRoleRevokePermissionRequest,
    ) -> Result<(), Refusal> {
        let role = self.roles.get_mut(&request.role).ok_or(Refusal::RoleNotFound)?;
        if !role.revoke(&request.key, &request.range_end) {
            return Err(Refusal::PermissionNotGranted);
        }
        let AuthRoleRevokePermissionRequest { key, range_end, .. } = request.clone();
        let revoked = Permission { perm_type: 0, key, range_end };
        self.each_allowed(&request.role, |own, roles| own.renew(&revoked, roles));
        self.count();
        Ok(())
    }

    /// Changes what is known of those who have a role, given all their roles.
    fn each_allowed(&mut self, role: &[u8], change: impl Fn(&mut Allowed, &[&Held])) {
        let allowed = self.allowed.get_mut();
        if allowed.is_empty() {
            return;
        }
        for holder in self.holders.get(role).into_iter().flatten() {
            if let Some(own) = allowed.get_mut(holder)
                && let Some(user) = self.users.get(holder)
            {
                let roles: Vec<&Held> =
                    user.roles.iter().filter_map(|role| self.roles.get(role)).collect();
                change(own, &roles);
            }
        }
    }
}

/// A password as the log has it.
enum Password {
    /// The bcrypt text, from 3.5 on.
    Hashed(Vec<u8>),
    /// The password itself, up to 3.4: each member makes its own text of it.
    Clear(Vec<u8>),
}

impl Password {
    fn of(line: Line, password: &[u8], hashed: &[u8]) -> Result<Self, Refusal> {
        if hashed.is_empty() && (line == Line::V3_4 || !password.is_empty()) {
            return Ok(Password::Clear(password.to_vec()));
        }
        password::from_base64(hashed).map(Password::Hashed).ok_or(Refusal::Password)
    }
}
