//! Whom what is made belongs to: names of users and groups, and numbers.

use etcdsnap_engine::staging::Owner;
use nix::unistd::{Group, User};

/// Reads `USER:GROUP`, or `USER:` for the user's login group. A name that the system knows comes before a number, as chown
/// has it.
pub fn owner(text: &str) -> Result<Owner, String> {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) if !user.is_empty() => (user, group),
        _ => return Err("expected USER:GROUP, names or numbers".to_owned()),
    };
    let unreadable = |error: nix::errno::Errno| format!("{text}: {error}");
    let known = User::from_name(user).map_err(unreadable)?;
    let uid = match &known {
        Some(user) => user.uid.as_raw(),
        None => number(user).ok_or_else(|| format!("this system knows no user {user:?}"))?,
    };
    let gid = if group.is_empty() {
        let known = known.ok_or_else(|| format!("user {user} has no name here: name the group"))?;
        known.gid.as_raw()
    } else {
        match Group::from_name(group).map_err(unreadable)? {
            Some(group) => group.gid.as_raw(),
            None => number(group).ok_or_else(|| format!("this system knows no group {group:?}"))?,
        }
    };
    Ok(Owner { uid, gid })
}

/// An id. The greatest number means "as it is" to the system.
fn number(text: &str) -> Option<u32> {
    text.parse().ok().filter(|id| *id != u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_owners_and_what_nobody_knows_is_none() {
        let owner_of = |uid, gid| Ok(Owner { uid, gid });
        assert_eq!(owner("root:root"), owner_of(0, 0));
        assert_eq!(owner("root:"), owner_of(0, 0));
        assert_eq!(owner("1234:5678"), owner_of(1234, 5678));
        assert_eq!(owner("root:5678"), owner_of(0, 5678));
        for text in [
            "",
            ":",
            ":0",
            "0",
            "root",
            "no such user:root",
            "root:no such group",
            "4294967295:0",
            "-1:0",
            "987654:",
        ] {
            assert!(owner(text).is_err(), "{text}");
        }
        assert!(owner("nobody-here:root").unwrap_err().contains("no user \"nobody-here\""));
    }
}
