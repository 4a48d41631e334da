//! `auth`: the switch, users and roles.

use anyhow::Result;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use etcdsnap_engine::{
    pb::authpb::{Permission, PermissionType, Role, User},
    schema::{
        Store,
        auth::{self, AuthRecord},
    },
};
use serde::Serialize;

use super::{Context, sound};
use crate::{
    args::{Format, Input},
    exit::{Answer, Exit, say},
    input::ask,
    output::{self, Table, escape},
};

#[derive(Serialize)]
struct Json {
    enabled: bool,
    revision: u64,
    users: Vec<UserJson>,
    roles: Vec<RoleJson>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct UserJson {
    name: String,
    roles: Vec<String>,
    /// Whether a password is stored. What is stored is not shown.
    password: bool,
    no_password: bool,
}

#[derive(Serialize)]
struct RoleJson {
    name: String,
    permissions: Vec<PermissionJson>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PermissionJson {
    r#type: String,
    key_base64: String,
    range_end_base64: String,
}

/// Shows all there is about auth, but no password.
pub fn run(context: &Context, args: &Input) -> Result<Answer> {
    let (settings, users, roles) = ask(context, &args.path, &args.reading, |input| {
        let store = Store::new(sound(context, input)?);
        Ok((auth::settings(&store)?, auth::users(&store)?, auth::roles(&store)?))
    })?;
    let findings = [&settings.findings, &users.findings, &roles.findings];
    let mut exit = Exit::Sound;
    for finding in findings.into_iter().flatten() {
        say(&output::finding(finding));
        exit = Exit::Damage;
    }
    let enabled = settings.records.contains(&AuthRecord::Enabled(true));
    let revision = settings
        .records
        .iter()
        .find_map(|record| match record {
            AuthRecord::Revision(revision) => Some(*revision),
            AuthRecord::Enabled(_) => None,
        })
        .unwrap_or_default();
    let (users, roles) = (&users.records, &roles.records);
    let text = match context.global.format {
        Format::Json => output::json_of_state(
            &Json {
                enabled,
                revision,
                users: users.iter().map(user_json).collect(),
                roles: roles.iter().map(role_json).collect(),
            },
            context.committed(),
        )?,
        Format::Table => {
            let mut table = Table::new(&["KIND", "NAME", "ROLES OR PERMISSIONS"]).left();
            for user in users {
                table.row(vec!["user".to_owned(), name(&user.name), role_names(user)]);
            }
            for role in roles {
                table.row(vec!["role".to_owned(), name(&role.name), permissions(role).join("; ")]);
            }
            table.render()
        }
        Format::Fields => output::fields(&[
            ("Enabled", enabled.to_string()),
            ("Revision", revision.to_string()),
            ("Users", users.len().to_string()),
            ("Roles", roles.len().to_string()),
        ]),
        Format::Simple => {
            let mut text = format!(
                "auth {}, revision {revision}\n",
                if enabled { "enabled" } else { "disabled" }
            );
            for user in users {
                let roles = if user.roles.is_empty() {
                    "no roles".to_owned()
                } else {
                    format!("roles {}", role_names(user))
                };
                let password = if user.password.is_empty() { ", no password" } else { "" };
                text += &format!("user {}: {roles}{password}\n", name(&user.name));
            }
            for role in roles {
                text += &format!("role {}:\n", name(&role.name));
                for permission in permissions(role) {
                    text += &format!("  {permission}\n");
                }
            }
            text
        }
    };
    Ok(Answer::new(text, exit))
}

fn name(name: &[u8]) -> String {
    escape(&String::from_utf8_lossy(name))
}

fn role_names(user: &User) -> String {
    user.roles.iter().map(|role| name(role)).collect::<Vec<_>>().join(", ")
}

fn user_json(user: &User) -> UserJson {
    UserJson {
        name: String::from_utf8_lossy(&user.name).into_owned(),
        roles: user.roles.iter().map(|role| String::from_utf8_lossy(role).into_owned()).collect(),
        password: !user.password.is_empty(),
        no_password: user.options.is_some_and(|options| options.no_password),
    }
}

fn role_json(role: &Role) -> RoleJson {
    RoleJson {
        name: String::from_utf8_lossy(&role.name).into_owned(),
        permissions: role
            .key_permission
            .iter()
            .map(|permission| PermissionJson {
                r#type: kind(permission),
                key_base64: STANDARD.encode(&permission.key),
                range_end_base64: STANDARD.encode(&permission.range_end),
            })
            .collect(),
    }
}

fn kind(permission: &Permission) -> String {
    match PermissionType::try_from(permission.perm_type) {
        Ok(PermissionType::Read) => "READ".to_owned(),
        Ok(PermissionType::Write) => "WRITE".to_owned(),
        Ok(PermissionType::ReadWrite) => "READWRITE".to_owned(),
        Err(_) => permission.perm_type.to_string(),
    }
}

/// Permissions as `etcdctl role get` shows them.
fn permissions(role: &Role) -> Vec<String> {
    let show = |permission: &Permission| {
        let key = name(&permission.key);
        let range = match permission.range_end.as_slice() {
            [] => key,
            [0] => format!("[{key}, <open ended>"),
            end => format!("[{key}, {})", name(end)),
        };
        format!("{} {range}", kind(permission))
    };
    role.key_permission.iter().map(show).collect()
}
