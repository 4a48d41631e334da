//! A downgrade of the cluster that was begun. The danger: a restored cluster that goes on with it, unasked, and servers that
//! do not start on it.

use serde_json::Value;

use crate::facts::{case, etcdsnap, json, text};

#[test]
fn a_downgrade_under_way_is_shown_and_can_be_ended() {
    let dir = case("downgrade-in-progress");
    for (name, target) in
        [("s3.6.16-down.db", Some("3.5.0")), ("s3.7.3-down.db", Some("3.6.0")), ("s3.7.3.db", None)]
    {
        let snapshot = dir.path().join(name);
        let info = json(&["info", text(&snapshot), "-w", "json"]);
        assert_eq!(info["downgrade"].as_str(), target, "{info}");
        let restored = |to: &str, flags: &[&str]| -> (Value, Vec<String>) {
            let to = dir.path().join(format!("{name}-{to}"));
            let args = ["restore", text(&snapshot), "--data-dir", text(&to), "-w", "json"];
            let output = etcdsnap(&[&args, flags].concat());
            assert_eq!(output.status.code(), Some(0), "{output:?}");
            let done: Value = serde_json::from_slice(&output.stdout).unwrap();
            let warnings = done["warnings"].as_array().or(done["findings"].as_array()).unwrap();
            let codes = warnings.iter().map(|one| one["code"].as_str().unwrap().to_owned());
            (json(&["info", text(&to), "-w", "json"]), codes.collect())
        };
        let (info, codes) = restored("kept", &[]);
        assert_eq!(info["downgrade"].as_str(), target, "{info}");
        assert_eq!(codes.iter().any(|code| code == "downgrade"), target.is_some(), "{codes:?}");
        let (info, codes) = restored("ended", &["--cancel-downgrade"]);
        assert_eq!(info["downgrade"], Value::Null, "{info}");
        assert!(!codes.iter().any(|code| code == "downgrade"), "{codes:?}");
        let doctor = etcdsnap(&["doctor", text(&dir.path().join(format!("{name}-kept")))]);
        let said = String::from_utf8(doctor.stdout).unwrap();
        assert_eq!(said.contains("a downgrade of the cluster to"), target.is_some(), "{said}");
    }
}
