//! The danger: an upward `use` that nobody notices, until no room can be read without all the others.
//!
//! The table "room | may use" in `ARCHITECTURE.md` is held against every path in the sources that
//! starts at the crate: `crate::a::b`, `use crate::{a::b, c}` over any number of lines, and `super::`
//! chains that climb out of their room. Comments and strings do not count, unit tests do.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

const ARCHITECTURE: &str = include_str!("../../ARCHITECTURE.md");

/// Room → rooms it may use, in the order of the table's rows.
fn table(text: &str) -> Vec<(String, BTreeSet<String>)> {
    let mut rows = Vec::new();
    let lines = text.lines().skip_while(|line| !line.starts_with("| room | may use |")).skip(2);
    for line in lines.take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let used: BTreeSet<String> =
            words(cells[2]).into_iter().filter(|word| word != "nothing").collect();
        rows.extend(words(cells[1]).into_iter().map(|room| (room, used.clone())));
    }
    rows
}

fn words(cell: &str) -> Vec<String> {
    cell.split(',').map(|word| word.trim().trim_matches('`').to_owned()).collect()
}

/// Every source file: its room, the depth of its module below the crate, its path.
fn sources() -> Vec<(String, usize, PathBuf)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut directories = vec![root.clone()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let module = path.strip_prefix(&root).unwrap().with_extension("");
                let mut names: Vec<&str> =
                    module.iter().map(|name| name.to_str().unwrap()).collect();
                names.pop_if(|name| *name == "mod");
                if names != ["lib"] {
                    found.push((names[0].to_owned(), names.len(), path));
                }
            }
        }
    }
    found.sort();
    found
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Mark(char),
}

/// Words and punctuation of Rust code, without comments, strings and characters.
fn tokens(code: &str) -> Vec<Token> {
    let chars: Vec<char> = code.chars().collect();
    let starts = |at: usize, text: &str| {
        text.chars().enumerate().all(|(i, c)| chars.get(at + i) == Some(&c))
    };
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        if starts(at, "//") {
            at += chars[at..].iter().take_while(|c| **c != '\n').count();
        } else if starts(at, "/*") {
            let mut depth = 0;
            while at < chars.len() {
                depth += usize::from(starts(at, "/*"));
                depth -= usize::from(starts(at, "*/"));
                at += if starts(at, "/*") || starts(at, "*/") { 2 } else { 1 };
                if depth == 0 {
                    break;
                }
            }
        } else if c == '"' {
            let hashes = raw_hashes(&tokens);
            at = string_end(&chars, at + 1, hashes);
        } else if c == '\'' {
            // A character ends in a quote; a lifetime does not.
            let escaped = chars.get(at + 1) == Some(&'\\');
            let skip = if escaped { 3 } else { 2 };
            let close = chars.iter().skip(at + skip).position(|c| *c == '\'').map(|n| n + skip);
            at += match close {
                Some(length) if escaped || length == 2 => length + 1,
                _ => 1,
            };
        } else if c.is_alphanumeric() || c == '_' {
            let word: String =
                chars[at..].iter().take_while(|c| c.is_alphanumeric() || **c == '_').collect();
            at += word.chars().count();
            tokens.push(Token::Word(word));
        } else {
            if !c.is_whitespace() {
                tokens.push(Token::Mark(c));
            }
            at += 1;
        }
    }
    tokens
}

/// Number of `#` between the `r` of a raw string and its quote; `None` for a plain string.
fn raw_hashes(tokens: &[Token]) -> Option<usize> {
    let hashes = tokens.iter().rev().take_while(|token| **token == Token::Mark('#')).count();
    match tokens.iter().rev().nth(hashes) {
        Some(Token::Word(word)) if ["r", "br", "cr"].contains(&word.as_str()) => Some(hashes),
        _ => None,
    }
}

fn string_end(chars: &[char], mut at: usize, raw: Option<usize>) -> usize {
    while let Some(c) = chars.get(at) {
        match (c, raw) {
            ('\\', None) => at += 2,
            ('"', None) => return at + 1,
            ('"', Some(hashes))
                if chars[at + 1..].iter().take_while(|c| **c == '#').count() >= hashes =>
            {
                return at + 1 + hashes;
            }
            _ => at += 1,
        }
    }
    at
}

/// Rooms named by paths that reach the crate's root, in code of a module `depth` below it.
fn rooms_used(code: &str, depth: usize) -> BTreeSet<String> {
    let tokens = tokens(code);
    let word = |at: usize, text: &str| tokens.get(at) == Some(&Token::Word(text.to_owned()));
    let mark = |at: usize, c: char| tokens.get(at) == Some(&Token::Mark(c));
    let colons = |at: usize| mark(at, ':') && mark(at + 1, ':');
    let mut used = BTreeSet::new();
    // Braces that are open; true for those of a module.
    let mut open = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if mark(at, '{') {
            open.push(at >= 2 && word(at - 2, "mod"));
        } else if mark(at, '}') {
            open.pop();
        }
        let mut end = at;
        let root = if word(at, "crate") {
            end += 1;
            true
        } else {
            let depth = depth + open.iter().filter(|module| **module).count();
            let mut climbed = 0;
            while word(end, "super") && climbed < depth {
                climbed += 1;
                end += if climbed < depth && word(end + 3, "super") { 3 } else { 1 };
            }
            climbed > 0 && climbed == depth
        };
        if root && colons(end) {
            used.extend(heads(&tokens, end + 2));
        }
        at = end.max(at + 1);
    }
    used
}

/// First words of the path, or of each path of the group, at `at`.
fn heads(tokens: &[Token], mut at: usize) -> Vec<String> {
    let mut heads = Vec::new();
    let mut depth = 0;
    while let Some(token) = tokens.get(at) {
        let opens = [Token::Mark('{'), Token::Mark(',')].contains(&tokens[at - 1]);
        let head = depth == 0 || depth == 1 && opens;
        match token {
            Token::Mark('{') => depth += 1,
            Token::Mark('}') => depth -= 1,
            Token::Mark('*') if head => heads.push("*".to_owned()),
            Token::Word(word) if head => heads.push(word.clone()),
            _ => {}
        }
        if depth == 0 {
            break;
        }
        at += 1;
    }
    heads
}

#[test]
fn every_room_uses_only_rooms_that_the_table_allows() {
    let table: BTreeMap<_, _> = table(ARCHITECTURE).into_iter().collect();
    let mut wrong = Vec::new();
    for (room, depth, path) in sources() {
        let code = fs::read_to_string(&path).unwrap();
        for used in rooms_used(&code, depth) {
            if used != room && !table.get(&room).is_some_and(|allowed| allowed.contains(&used)) {
                wrong.push(format!("{}: room {room} uses {used}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "against the table in ARCHITECTURE.md:\n{}", wrong.join("\n"));
}

#[test]
fn the_table_names_the_rooms_that_exist_and_each_looks_down_only() {
    let table = table(ARCHITECTURE);
    let named: BTreeSet<_> = table.iter().map(|(room, _)| room.clone()).collect();
    let exist: BTreeSet<_> = sources().into_iter().map(|(room, ..)| room).collect();
    assert_eq!(named, exist);
    let mut below = BTreeSet::new();
    for (room, allowed) in table {
        assert!(allowed.is_subset(&below), "{room} may use {allowed:?}, of {below:?} below it");
        below.insert(room);
    }
}

#[test]
fn paths_are_found_in_every_form_and_not_in_comments_or_strings() {
    let found = |code: &str| rooms_used(code, 2).into_iter().collect::<Vec<_>>();
    assert_eq!(found("use crate::bolt::Db;"), ["bolt"]);
    assert_eq!(found("use crate::{bolt::{self, Db, page::{Item, Leaf}}, raw};"), ["bolt", "raw"]);
    assert_eq!(found("use crate::{\n    schema as s,\n    wal::*,\n};"), ["schema", "wal"]);
    assert_eq!(found("fn f<'a>(x: &'a crate::ids::MemberId) -> char { '\"' }"), ["ids"]);
    assert_eq!(found("use super::super::{mvcc, wal};"), ["mvcc", "wal"]);
    assert_eq!(found("use super::meta; mod tests { use super::super::page; }"), [""; 0]);
    assert_eq!(found("mod tests { use super::super::super::finding; }"), ["finding"]);
    assert_eq!(found("use crate::*;"), ["*"]);
    assert_eq!(found("// crate::a\n/* crate::b /* */ crate::c */ \"crate::d\""), [""; 0]);
    assert_eq!(found("r#\"a \" crate::e\"#; b'\\''; crate::raw::Raw"), ["raw"]);
}
