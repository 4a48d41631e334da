//! A key in an answer.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Serialize, Serializer, ser::SerializeStruct as _};

/// A key's bytes. In JSON `key` when they are UTF-8, and always `keyBase64`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyName(pub Vec<u8>);

impl Serialize for KeyName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_struct("KeyName", 2)?;
        match std::str::from_utf8(&self.0) {
            Ok(text) => map.serialize_field("key", text)?,
            Err(_) => map.skip_field("key")?,
        }
        map.serialize_field("keyBase64", &STANDARD.encode(&self.0))?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_text_where_it_is_utf_8_and_always_base64() {
        let json = |key: &[u8]| serde_json::to_string(&KeyName(key.to_vec())).unwrap();
        assert_eq!(json(b"a"), r#"{"key":"a","keyBase64":"YQ=="}"#);
        assert_eq!(json(&[0xff]), r#"{"keyBase64":"/w=="}"#);
    }
}
