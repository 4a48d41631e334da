//! Passwords of the log as bucket `authUsers` holds them.

use base64::Engine as _;
use sha2::{Digest as _, Sha256};

/// The cost etcd hashes with unless told otherwise.
const COST: u32 = 10;

/// The bcrypt text in a request of 3.5 or later; `None` when it is no base64.
pub(super) fn from_base64(hashed: &str) -> Option<Vec<u8>> {
    base64::engine::general_purpose::STANDARD.decode(hashed).ok()
}

/// A bcrypt text of a password in clear text. The salt is made of the user's name and the password, so that
/// the same log always gives the same text; a member would take a random one.
pub(super) fn salted(name: &str, password: &str) -> Option<Vec<u8>> {
    let digest =
        Sha256::new().chain_update(name).chain_update([0]).chain_update(password).finalize();
    let salt = digest.first_chunk::<16>()?;
    let hash = bcrypt::hash_with_salt(password, COST, *salt).ok()?;
    Some(hash.format_for_version(bcrypt::Version::TwoA).into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_clear_text_can_be_used_to_sign_in() {
        let text = String::from_utf8(salted("alice", "secret").unwrap()).unwrap();
        assert!(text.starts_with("$2a$10$") && text.len() == 60, "{text}");
        assert!(
            bcrypt::verify("secret", &text).unwrap() && !bcrypt::verify("Secret", &text).unwrap()
        );
        assert_eq!(salted("alice", "secret").unwrap(), text.into_bytes());
    }

    #[test]
    fn hashes_of_the_log_are_stored_as_they_are() {
        assert_eq!(from_base64("JDJhJDEw").unwrap(), b"$2a$10");
        assert_eq!((from_base64("").unwrap(), from_base64("%")), (Vec::new(), None));
    }
}
