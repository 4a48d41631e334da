//! `repair-membership`. The danger: a data dir that is changed in more than what the raft log proves wrong.

use std::fs;

use crate::facts::{case, etcdsnap, json, state, text};

#[test]
fn learners_that_raft_promoted_vote_in_the_mended_dir_and_all_else_stays() {
    let dir = case("learner-promotion-3515");
    for name in ["n1", "n2", "n3"] {
        let (data, mended) = (dir.path().join(name), dir.path().join(format!("{name}-mended")));
        let before = state(&data);
        let said = json(&["repair-membership", text(&data), text(&mended), "-w", "json"]);
        assert_eq!(said["changes"].as_array().unwrap().len(), 2, "{name}: {said}");
        let members = json(&["members", text(&mended), "-w", "json"]);
        for member in members["members"].as_array().unwrap() {
            assert_eq!(member["isLearner"], false, "{name}: {members}");
        }
        assert_eq!(state(&data), before, "{name}: what is read stays as it is");
        for part in ["member/wal", "member/snap"] {
            for entry in fs::read_dir(data.join(part)).unwrap() {
                let path = entry.unwrap().path();
                let file = path.file_name().unwrap();
                if file == "db" || path.extension().is_some_and(|extension| extension == "tmp") {
                    continue;
                }
                let copy = mended.join(part).join(file);
                assert_eq!(fs::read(&path).unwrap(), fs::read(&copy).unwrap(), "{name}");
            }
        }
        let hash = |path| json(&["hashkv", text(path), "-w", "json"]);
        assert_eq!(hash(&data), hash(&mended), "{name}");
        let verified = etcdsnap(&["verify", text(&mended)]);
        assert_eq!(verified.status.code(), Some(0), "{name}: {verified:?}");
        // There is nothing left to mend.
        let again = dir.path().join("again");
        let said = json(&["repair-membership", text(&mended), text(&again), "-w", "json"]);
        assert_eq!(said["changes"].as_array().unwrap().len(), 0, "{name}: {said}");
        assert!(!again.exists());
    }
}
