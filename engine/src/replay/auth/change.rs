//! Requests that change users and roles. Source: etcd `server/auth/store.go`.

use super::{Auth, ROOT, has_root_role, permission::is_valid};
use crate::{
    pb::{
        authpb::{Permission, Role, User, UserAddOptions},
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
            Vec::new()
        } else {
            self.password(line, &request.name, &request.password, &request.hashed_password)?
        };
        let name = request.name.clone().into_bytes();
        let user = User { name: name.clone(), password, roles: Vec::new(), options: Some(options) };
        self.users.insert(name, user);
        self.count();
        Ok(())
    }

    /// The bcrypt text to store. Up to 3.4 each member makes its own of the password in the log.
    fn password(
        &mut self,
        line: Line,
        name: &str,
        password: &str,
        hashed: &str,
    ) -> Result<Vec<u8>, Refusal> {
        if hashed.is_empty() && (line == Line::V3_4 || !password.is_empty()) {
            self.resalted.insert(name.as_bytes().to_vec());
            return password::salted(name, password).ok_or(Refusal::Password);
        }
        self.resalted.remove(name.as_bytes());
        password::from_base64(hashed).ok_or(Refusal::Password)
    }

    fn delete_user(&mut self, name: &str) -> Result<(), Refusal> {
        if self.is_enabled() && name == ROOT {
            return Err(Refusal::AuthManagement);
        }
        self.users.remove(name.as_bytes()).ok_or(Refusal::UserNotFound)?;
        self.resalted.remove(name.as_bytes());
        self.count();
        Ok(())
    }

    fn change_password(
        &mut self,
        line: Line,
        request: &AuthUserChangePasswordRequest,
    ) -> Result<(), Refusal> {
        let user = self.user(&request.name).ok_or(Refusal::UserNotFound)?;
        let no_password = user.options.is_some_and(|options| options.no_password);
        let password = if no_password {
            Vec::new()
        } else {
            self.password(line, &request.name, &request.password, &request.hashed_password)?
        };
        if let Some(user) = self.users.get_mut(request.name.as_bytes()) {
            user.password = password;
        }
        self.count();
        Ok(())
    }

    fn grant_role(&mut self, request: &AuthUserGrantRoleRequest) -> Result<(), Refusal> {
        let known = request.role == ROOT || self.roles.contains_key(request.role.as_bytes());
        let user = self.users.get_mut(request.user.as_bytes()).ok_or(Refusal::UserNotFound)?;
        if !known {
            return Err(Refusal::RoleNotFound);
        }
        if !user.roles.contains(&request.role) {
            user.roles.push(request.role.clone());
            user.roles.sort();
            self.count();
        }
        Ok(())
    }

    fn revoke_role(&mut self, request: &AuthUserRevokeRoleRequest) -> Result<(), Refusal> {
        if self.is_enabled() && request.name == ROOT && request.role == ROOT {
            return Err(Refusal::AuthManagement);
        }
        let user = self.users.get_mut(request.name.as_bytes()).ok_or(Refusal::UserNotFound)?;
        let before = user.roles.len();
        user.roles.retain(|role| *role != request.role);
        if user.roles.len() == before {
            return Err(Refusal::RoleNotGranted);
        }
        self.count();
        Ok(())
    }

    fn add_role(&mut self, name: &str) -> Result<(), Refusal> {
        if name.is_empty() {
            return Err(Refusal::RoleEmpty);
        }
        if self.roles.contains_key(name.as_bytes()) {
            return Err(Refusal::RoleExists);
        }
        let name = name.as_bytes().to_vec();
        self.roles.insert(name.clone(), Role { name, key_permission: Vec::new() });
        self.count();
        Ok(())
    }

    fn delete_role(&mut self, name: &str) -> Result<(), Refusal> {
        if self.is_enabled() && name == ROOT {
            return Err(Refusal::AuthManagement);
        }
        self.roles.remove(name.as_bytes()).ok_or(Refusal::RoleNotFound)?;
        for user in self.users.values_mut() {
            user.roles.retain(|role| role != name);
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
        let Permission { perm_type, key, range_end } = permission;
        // Checked since 3.5.8; older patch levels took what ever they were given.
        if line >= Line::V3_5 && !is_valid(key, range_end) {
            return Err(Refusal::AuthManagement);
        }
        let role = self.roles.get_mut(request.name.as_bytes()).ok_or(Refusal::RoleNotFound)?;
        let held = &mut role.key_permission;
        let at = held.partition_point(|own| own.key < *key);
        match held.get_mut(at).filter(|own| own.key == *key && own.range_end == *range_end) {
            Some(own) => own.perm_type = *perm_type,
            None => {
                held.push(permission.clone());
                // Go's sort keeps the order of equal keys in short lists, which these are.
                held.sort_by(|a, b| a.key.cmp(&b.key));
            }
        }
        self.count();
        Ok(())
    }

    fn revoke_permission(
        &mut self,
        request: &AuthRoleRevokePermissionRequest,
    ) -> Result<(), Refusal> {
        let role = self.roles.get_mut(request.role.as_bytes()).ok_or(Refusal::RoleNotFound)?;
        let before = role.key_permission.len();
        role.key_permission
            .retain(|own| own.key != request.key || own.range_end != request.range_end);
        if role.key_permission.len() == before {
            return Err(Refusal::PermissionNotGranted);
        }
        self.count();
        Ok(())
    }
}
