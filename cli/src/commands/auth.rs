//! `auth`: the switch, users and roles.

use anyhow::Result;
use etcdsnap_engine::jobs::auth::{Auth, Permission, Role, User, auth};

use super::{Context, say_findings};
use crate::{
    args::{Format, Input},
    exit::Answer,
    input,
    output::{self, Table, escape},
};

/// Shows all there is about authentication, but no password.
pub fn run(context: &Context, args: &Input) -> Result<Answer> {
    let reading = input::options(context, &args.path, &args.reading)?;
    let answered = context.told(auth(&args.path, &reading, &context.ui)?);
    let exit = say_findings(&answered.answer.findings);
    let auth = &answered.answer;
    let text = match context.global.format {
        Format::Simple => simple(auth),
        Format::Table => table(auth),
        Format::Fields => output::fields(&[
            ("Enabled", auth.enabled.to_string()),
            ("Revision", auth.revision.to_string()),
            ("Users", auth.users.len().to_string()),
            ("Roles", auth.roles.len().to_string()),
        ]),
        Format::Json => output::json(&answered)?,
    };
    Ok(Answer::new(text, exit))
}

fn simple(auth: &Auth) -> String {
    let switch = if auth.enabled { "enabled" } else { "disabled" };
    let mut text = format!("auth {switch}, revision {}\n", auth.revision);
    for user in &auth.users {
        let roles = match user.roles.as_slice() {
            [] => "no roles".to_owned(),
            _ => format!("roles {}", roles(user)),
        };
        let password = if user.password { "" } else { ", no password" };
        text += &format!("user {}: {roles}{password}\n", escape(&user.name));
    }
    for role in &auth.roles {
        text += &format!("role {}:\n", escape(&role.name));
        text.extend(permissions(role).into_iter().map(|line| format!("  {line}\n")));
    }
    text
}

fn table(auth: &Auth) -> String {
    let mut table = Table::new(&["KIND", "NAME", "ROLES OR PERMISSIONS"]).left();
    for user in &auth.users {
        table.row(vec!["user".to_owned(), escape(&user.name), roles(user)]);
    }
    for role in &auth.roles {
        table.row(vec!["role".to_owned(), escape(&role.name), permissions(role).join("; ")]);
    }
    table.render()
}

fn roles(user: &User) -> String {
    user.roles.iter().map(|role| escape(role)).collect::<Vec<_>>().join(", ")
}

/// Permissions as `etcdctl role get` shows them.
fn permissions(role: &Role) -> Vec<String> {
    let shown = |bytes: &[u8]| escape(&String::from_utf8_lossy(bytes));
    let line = |permission: &Permission| {
        let key = shown(&permission.key);
        let range = match permission.range_end.as_slice() {
            [] => key,
            [0] => format!("[{key}, <open ended>"),
            end => format!("[{key}, {})", shown(end)),
        };
        format!("{} {range}", permission.r#type)
    };
    role.permissions.iter().map(line).collect()
}
