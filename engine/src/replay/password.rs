//! Passwords of the log as bucket `authUsers` holds them.

use base64::Engine as _;
use sha2::{Digest as _, Sha256};

/// The cost etcd hashes with unless told otherwise: 2 to the power of it are the rounds.
pub const COST: u32 = 10;
/// The least that servers accept.
const MIN_COST: u32 = 4;
/// Rounds that are spent on all users together, as long as the cost is above the least.
const ROUNDS: usize = 8 << COST;

/// The bcrypt text in a request of 3.5 or later; `None` when it is no base64.
pub(super) fn from_base64(hashed: &[u8]) -> Option<Vec<u8>> {
    base64::engine::general_purpose::STANDARD.decode(hashed).ok()
}

/// The cost at which the passwords of `users` users are hashed. A server spends a twentieth of a second on each; a log
/// can name thousands, and a replay must not take minutes.
pub(super) fn cost(users: usize) -> u32 {
    let affordable = |cost: &u32| users.saturating_mul(1 << *cost) <= ROUNDS;
    (MIN_COST..=COST).rev().find(affordable).unwrap_or(MIN_COST)
}

/// A bcrypt text of a password in clear text. The salt is made of the user's name and the password, so that
/// the same log always gives the same text; a member would take a random one.
pub(super) fn salted(name: &[u8], password: &[u8], cost: u32) -> Vec<u8> {
    let digest =
        Sha256::new().chain_update(name).chain_update([0]).chain_update(password).finalize();
    let salt = digest.first_chunk::<16>().copied().unwrap_or_default();
    let hash = bcrypt::hash_with_salt(password, cost.clamp(MIN_COST, COST), salt);
    // The only error is a cost out of bounds. Nobody signs in with an empty text.
    hash.map(|hash| hash.format_for_version(bcrypt::Version::TwoA).into_bytes()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_clear_text_can_be_used_to_sign_in() {
        let text = String::from_utf8(salted(b"alice", b"secret", COST)).unwrap();
        assert!(text.starts_with("$2a$10$") && text.len() == 60, "{text}");
        assert!(
            bcrypt::verify("secret", &text).unwrap() && !bcrypt::verify("Secret", &text).unwrap()
        );
        assert_eq!(salted(b"alice", b"secret", COST), text.into_bytes());
    }

    #[test]
    fn hashes_of_the_log_are_stored_as_they_are() {
        assert_eq!(from_base64(b"JDJhJDEw").unwrap(), b"$2a$10");
        assert_eq!((from_base64(b"").unwrap(), from_base64(b"%")), (Vec::new(), None));
    }

    #[test]
    fn many_passwords_cost_little_more_than_a_few() {
        assert_eq!([0, 1, 8, 9, 16, 512, 513, 1 << 30].map(cost), [10, 10, 10, 9, 9, 4, 4, 4]);
        let text = String::from_utf8(salted(b"alice", b"secret", MIN_COST)).unwrap();
        assert!(text.starts_with("$2a$04$") && bcrypt::verify("secret", &text).unwrap());
    }
}
