//! The command line to try next: the same with another path, or with a flag more.

use std::{env, ffi::OsString, path::Path};

use etcdsnap_engine::{Cause, Error, Hint, datadir, shell};

/// The command line to try next, for a path that is one level off, and for a log whose good part can be used; `None` for
/// every other error.
pub fn command(error: &anyhow::Error) -> Option<String> {
    let engine = error.chain().find_map(|cause| cause.downcast_ref::<Error>());
    match engine.and_then(Error::next) {
        Some(Hint::GoOnTo(to)) => up_to(env::args_os().skip(1), to),
        _ => elsewhere(error),
    }
}

/// The words with an end for the log. Behind `--` no flag is read.
fn up_to(words: impl Iterator<Item = OsString>, to: u64) -> Option<String> {
    let words: Vec<OsString> = words.collect();
    if words.iter().any(|word| word == "--") {
        return None;
    }
    let ends = ["--to".into(), to.to_string().into()];
    Some(shell::line(["etcdsnap".into()].into_iter().chain(words).chain(ends)))
}

fn elsewhere(error: &anyhow::Error) -> Option<String> {
    let located = error.chain().find_map(|cause| match cause.downcast_ref::<Error>() {
        Some(error) => match error.cause() {
            Cause::Locate(error) => Some(error),
            _ => None,
        },
        None => cause.downcast_ref(),
    });
    let Some(datadir::Error::NoDatabase { path, nearby }) = located else { return None };
    let meant = nearby.meant()?;
    let (mut replaced, mut words) = (false, vec![OsString::from("etcdsnap")]);
    for word in env::args_os().skip(1) {
        let new = with(&word, path, meant);
        replaced |= new.is_some();
        words.push(new.unwrap_or(word));
    }
    replaced.then(|| shell::line(&words))
}

/// `word` with `meant` in the place of `path`, which it is, or is the value of a flag.
fn with(word: &OsString, path: &Path, meant: &Path) -> Option<OsString> {
    if Path::new(word) == path {
        return Some(meant.into());
    }
    let (flag, value) = word.to_str()?.split_once('=')?;
    if !flag.starts_with("--") || Path::new(value) != path {
        return None;
    }
    let mut new = OsString::from(format!("{flag}="));
    new.push(meant);
    Some(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_for_the_log_is_added_where_flags_are_read() {
        let words = |line: &[&str]| up_to(line.iter().map(OsString::from), 35);
        let next = "etcdsnap save 'a b' out.db --to 35";
        assert_eq!(words(&["save", "a b", "out.db"]).as_deref(), Some(next));
        assert_eq!(words(&["save", "--", "a", "out.db"]), None);
    }

    #[test]
    fn the_path_is_replaced_where_it_stands_and_nowhere_else() {
        let replaced = |word: &str| {
            let new = with(&word.into(), Path::new("/a/b"), Path::new("/a/b/etcd"));
            new.map(|new| new.into_string().unwrap())
        };
        assert_eq!(replaced("/a/b").as_deref(), Some("/a/b/etcd"));
        assert_eq!(replaced("/a/b/").as_deref(), Some("/a/b/etcd"));
        assert_eq!(replaced("--data-dir=/a/b").as_deref(), Some("--data-dir=/a/b/etcd"));
        assert_eq!(replaced("/a/b/c"), None);
        assert_eq!(replaced("key=/a/b"), None);
    }
}
