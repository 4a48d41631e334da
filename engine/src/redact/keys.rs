//! What becomes of users' keys.

use std::hash::Hasher as _;

use sha2::{Digest as _, Sha256};
use siphasher::sip::SipHasher13;

/// What becomes of users' keys, in records and in the permissions of roles.
#[derive(Clone, Debug)]
pub enum Keys {
    /// They stay.
    Keep,
    /// They are replaced.
    Replace(KeyMap),
}

/// Path segments that say what a key is and nothing about anybody: they stay.
const WELL_KNOWN: [&[u8]; 62] = [
    b"",
    b"apiextensions.k8s.io",
    b"apiregistration.k8s.io",
    b"apiservices",
    b"certificatesigningrequests",
    b"clusterrolebindings",
    b"clusterroles",
    b"configmaps",
    b"controllerrevisions",
    b"controllers",
    b"cronjobs",
    b"csidrivers",
    b"csinodes",
    b"customresourcedefinitions",
    b"daemonsets",
    b"default",
    b"deployments",
    b"endpoints",
    b"endpointslices",
    b"events",
    b"flowschemas",
    b"health",
    b"horizontalpodautoscalers",
    b"ingress",
    b"ingressclasses",
    b"ipaddresses",
    b"jobs",
    b"kube-node-lease",
    b"kube-public",
    b"kube-system",
    b"kubernetes.io",
    b"leases",
    b"limitranges",
    b"masterleases",
    b"minions",
    b"mutatingwebhookconfigurations",
    b"namespaces",
    b"networkpolicies",
    b"persistentvolumeclaims",
    b"persistentvolumes",
    b"poddisruptionbudgets",
    b"pods",
    b"podsecuritypolicy",
    b"podtemplates",
    b"priorityclasses",
    b"prioritylevelconfigurations",
    b"ranges",
    b"registry",
    b"replicasets",
    b"resourcequotas",
    b"rolebindings",
    b"roles",
    b"secrets",
    b"serviceaccounts",
    b"servicecidrs",
    b"serviceips",
    b"servicenodeports",
    b"services",
    b"specs",
    b"statefulsets",
    b"storageclasses",
    b"validatingwebhookconfigurations",
];

/// Replaces keys, so that lengths, separators, kinds of characters and common beginnings stay what they are.
///
/// Letters become letters, digits digits, other bytes of ASCII stay. What a byte becomes depends on what stands before it
/// in its path segment and on a secret: equal beginnings stay equal, different keys stay different, and who does not know the
/// secret cannot try names out. The order of keys is not kept.
#[derive(Clone)]
pub struct KeyMap {
    secret: (u64, u64),
}

impl std::fmt::Debug for KeyMap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyMap")
    }
}

impl KeyMap {
    /// A mapping that is the same for the same `secret`.
    pub fn new(secret: &[u8]) -> Self {
        let digest = Sha256::new().chain_update(b"etcdsnap keys").chain_update(secret).finalize();
        let half = |at: usize| {
            digest.iter().skip(at).take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte))
        };
        Self { secret: (half(0), half(8)) }
    }

    /// Replaces `key` in place.
    pub fn replace(&self, key: &mut [u8]) {
        for segment in key.split_mut(|byte| *byte == b'/') {
            if WELL_KNOWN.binary_search(&&*segment).is_ok() {
                continue;
            }
            // The mapping of segments is one to one. Going on from a well-known word ends at one that is not, at the
            // latest where it began, so that it stays one to one without them.
            self.segment(segment);
            while WELL_KNOWN.binary_search(&&*segment).is_ok() {
                self.segment(segment);
            }
        }
    }

    fn segment(&self, segment: &mut [u8]) {
        let mut state = 0;
        for byte in segment {
            let mut hasher = SipHasher13::new_with_keys(self.secret.0, self.secret.1);
            hasher.write_u64(state);
            let random = hasher.finish();
            hasher.write_u8(*byte);
            state = hasher.finish();
            let (first, among) = match *byte {
                b'a'..=b'z' => (b'a', 26),
                b'A'..=b'Z' => (b'A', 26),
                b'0'..=b'9' => (b'0', 10),
                // Within sixteen, so that what was UTF-8 is UTF-8.
                0x80..=0xbf => (*byte & 0xf0, 16),
                _ => continue,
            };
            let turned = (u64::from(*byte - first) + random % among) % among;
            *byte = first + u8::try_from(turned).unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn replaced(map: &KeyMap, key: &[u8]) -> Vec<u8> {
        let mut key = key.to_vec();
        map.replace(&mut key);
        key
    }

    #[test]
    fn the_words_that_stay_are_sorted() {
        assert!(WELL_KNOWN.is_sorted());
    }

    #[test]
    fn keys_keep_their_shape_and_nothing_else() {
        let map = KeyMap::new(b"s");
        let key = replaced(&map, "/registry/secrets/acme-prod/db-password-01 ü".as_bytes());
        let text = String::from_utf8(key).unwrap();
        assert!(text.starts_with("/registry/secrets/") && !text.contains("acme"), "{text}");
        let shape: String = text[18..]
            .chars()
            .map(|c| {
                if c.is_ascii_lowercase() {
                    'a'
                } else if c.is_ascii_digit() {
                    '0'
                } else {
                    c
                }
            })
            .filter(char::is_ascii)
            .collect();
        assert_eq!(shape, "aaaa-aaaa/aa-aaaaaaaa-00 ");
        let other = replaced(&map, b"/registry/pods/acme-prod/db-password-02");
        assert_eq!(
            other.split(|b| *b == b'/').nth(3),
            text.as_bytes().split(|b| *b == b'/').nth(3)
        );
        assert_ne!(replaced(&KeyMap::new(b"t"), b"acme-prod"), replaced(&map, b"acme-prod"));
    }

    #[test]
    fn different_keys_stay_different() {
        let map = KeyMap::new(b"s");
        let mut met = HashSet::new();
        let letters = || b'a'..=b'z';
        for key in
            letters().flat_map(|a| letters().flat_map(move |b| letters().map(move |c| [a, b, c])))
        {
            assert!(met.insert(replaced(&map, &key)), "{key:?}");
        }
        // Every word of four letters, one of which is well known.
        let words: HashSet<Vec<u8>> = (0..26_u32.pow(4))
            .map(|n| (0..4).map(|at| b'a' + (n / 26_u32.pow(at) % 26) as u8).collect::<Vec<u8>>())
            .map(|word| replaced(&map, &word))
            .collect();
        assert_eq!(words.len(), 26_usize.pow(4));
    }
}
