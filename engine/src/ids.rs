//! Ids that name members and clusters in every format of etcd.
//!
//! Both are 64 bits of a SHA-1 and are shown as etcd shows them: lower-case hex without padding. The
//! numbers that name raft's files are hex too, but padded.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

use serde::{Serialize, Serializer};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({:x})", stringify!($name), self.0)
            }
        }

        /// As a string of hex digits: numbers beyond 2^53 do not survive every JSON reader.
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl FromStr for $name {
            type Err = ParseIntError;

            /// Reads hex digits of either case, padded or not.
            fn from_str(text: &str) -> Result<Self, ParseIntError> {
                // from_str_radix takes a sign; etcd's parser does not.
                let digits = if text.starts_with(['+', '-']) { "" } else { text };
                u64::from_str_radix(digits, 16).map(Self)
            }
        }
    };
}

id! {
    /// Id of a member (raft calls it a node id). 0 is "no member" and never given to one.
    MemberId
}
id! {
    /// Id of a cluster.
    ClusterId
}

/// Reads `<16 digits>-<16 digits>`, lower-case hex: the pairs of numbers that name etcd's raft files.
pub(crate) fn hex_pair(text: &str) -> Option<(u64, u64)> {
    let (first, second) = text.split_once('-')?;
    Some((hex_16(first)?, hex_16(second)?))
}

fn hex_16(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if text.len() == 16 && digits { u64::from_str_radix(text, 16).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_print_as_hex_without_padding_and_read_back() {
        assert_eq!(MemberId(0x0123_4567_89ab_cdef).to_string(), "123456789abcdef");
        assert_eq!("8e9e05c52164694d".parse(), Ok(MemberId(0x8e9e_05c5_2164_694d)));
        assert_eq!("00Ff".parse(), Ok(ClusterId(0xff)));
        assert_eq!(format!("{:?}", ClusterId(255)), "ClusterId(ff)");
    }

    #[test]
    fn a_signed_empty_or_overlong_id_is_refused() {
        for text in ["", "+1", "-1", "0x1", "10000000000000000", "g"] {
            assert!(text.parse::<MemberId>().is_err(), "{text}");
        }
    }
}
