//! What to do next, in the words and flags of this program.

use etcdsnap_engine::{Hint, diagnose};

const SALVAGE: &str = "`etcdsnap salvage` saves what can still be read";

/// `hint` as a sentence with the commands and flags of this program.
pub fn said(hint: Hint) -> String {
    match hint {
        Hint::Salvage => SALVAGE.to_owned(),
        Hint::CheckAndSalvage => format!("see `etcdsnap check`; {SALVAGE}"),
        Hint::VerifyAndSalvage => format!("see `etcdsnap verify`; {SALVAGE}"),
        Hint::Verify => "see `etcdsnap verify`".to_owned(),
        Hint::DbAlone => "--no-wal shows the db alone".to_owned(),
        Hint::DbOrLog => "--no-wal reads the db alone, which is what was restored; --from-wal reads the old log alone".to_owned(),
        Hint::LogAlone => "--from-wal reads what was written since the restore; the snapshot that was restored has the rest".to_owned(),
        Hint::OtherEnd => "choose another --to".to_owned(),
        Hint::GoOnTo(to) => format!("add --to {to} to go on with what is good"),
        Hint::PagesOnly => "of such a file `etcdsnap check`, `pages`, `page` and `buckets` show pages and buckets".to_owned(),
        Hint::NoLogOptions => "--wal-dir, --commit, --to and --from-wal are for a data dir or a member dir".to_owned(),
        Hint::StopServer => diagnose::RUNNING.to_owned(),
        _ => "see `etcdsnap help`".to_owned(),
    }
}
