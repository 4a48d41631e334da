//! Records: which of their bytes are structure, by what they are.

use std::ops::Range;

use prost::Message as _;

use super::{
    message::{ALARM, Field, KEY_VALUE, LEASE, ROLE, USER, message},
    survey::Class,
};
use crate::{
    pb::{authpb, etcdserverpb::AlarmMember, leasepb, wire::KeyValueRef},
    raw::Raw,
    schema::{RecordKey, SETTINGS, auth, bucket, meta, revision},
};

/// What is done with bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    /// They stay.
    Keep,
    /// A text takes their place.
    Words,
    /// Zeroes take their place.
    Zero,
    /// Zeroes take the place of the number they are, in as many bytes.
    ZeroVarint,
    /// A user's key: it stays or is replaced.
    Key,
    /// JSON: what stands in its strings is replaced.
    Json,
}

/// What is done with the bytes of a page. Bytes that no operation names do not stay.
#[derive(Debug, Default)]
pub(super) struct Ops {
    list: Vec<(Op, Range<usize>)>,
    /// Operations on records that do not decode: they give way to those on records that do.
    broken: Vec<(Op, Range<usize>)>,
    into_broken: bool,
}

impl Ops {
    pub(super) fn push(&mut self, op: Op, range: Range<usize>) {
        if !range.is_empty() {
            if self.into_broken { &mut self.broken } else { &mut self.list }.push((op, range));
        }
    }

    /// In the order in which they are done. What is replaced goes last: bytes that two records claim are replaced.
    pub(super) fn in_order(&self) -> impl Iterator<Item = &(Op, Range<usize>)> {
        let keeps = |(op, _): &&(Op, Range<usize>)| *op == Op::Keep;
        let replaces = move |op: &&(Op, Range<usize>)| !keeps(op);
        let broken = self.broken.iter().filter(replaces).chain(self.broken.iter().filter(keeps));
        broken.chain(self.list.iter().filter(keeps)).chain(self.list.iter().filter(replaces))
    }
}

/// An element of a leaf: its key and value, and where they begin in their page.
#[derive(Clone, Copy)]
pub(super) struct Element<'a> {
    pub(super) key: &'a [u8],
    pub(super) value: &'a [u8],
    pub(super) at: usize,
}

/// Longest name of a bucket, user or role that is taken for one, in bytes.
const NAME: usize = 256;

/// Says what is done with a record of a bucket of class `class`.
pub(super) fn record(class: Class, element: &Element<'_>, ops: &mut Ops) {
    let Element { key, value, at } = *element;
    let class = if class == Class::Unknown { guess(element) } else { class };
    let value_at = at + key.len();
    let Some(what) = value_of(class, key, value) else {
        ops.into_broken = true;
        broken(class, element, ops);
        ops.into_broken = false;
        return;
    };
    ops.push(key_op(class, key), at..value_at);
    match what {
        Value::Message(schema) => message(value, value_at, schema, true, ops),
        Value::Bytes(op) => ops.push(op, value_at..value_at + value.len()),
    }
    if class == Class::Alarm {
        // Here the key is the message.
        message(key, at, ALARM, AlarmMember::decode(key).is_ok(), ops);
    }
}

enum Value {
    Message(&'static [(u32, Field)]),
    Bytes(Op),
}

/// What a sound record's value is; `None` when it is not one of this class.
fn value_of(class: Class, key: &[u8], value: &[u8]) -> Option<Value> {
    let name = |name: &str| key == name.as_bytes();
    Some(match class {
        Class::Key => {
            RecordKey::parse(key).ok()?;
            KeyValueRef::decode(value).ok()?;
            Value::Message(KEY_VALUE)
        }
        Class::Lease => {
            leasepb::Lease::decode(value).ok()?;
            Value::Message(LEASE)
        }
        Class::Users => {
            authpb::User::decode(value).ok()?;
            Value::Message(USER)
        }
        Class::Roles => {
            authpb::Role::decode(value).ok()?;
            Value::Message(ROLE)
        }
        Class::Alarm => Value::Bytes(Op::Words),
        Class::Members => Value::Bytes(json_or_words(value)),
        Class::Removed if value == b"removed" => Value::Bytes(Op::Keep),
        Class::Meta if name(meta::CONSISTENT_INDEX) || name(meta::TERM) => number(value, 8),
        Class::Auth if name(auth::REVISION) => number(value, 8),
        Class::Auth if name(auth::ENABLED) => number(value, 1),
        Class::Meta if name(meta::CONF_STATE) => Value::Bytes(json_or_words(value)),
        Class::Meta if name(meta::SCHEDULED_COMPACT) || name(meta::FINISHED_COMPACT) => {
            Value::Bytes(if is_revision(value) { Op::Keep } else { Op::Words })
        }
        Class::Meta if name(meta::STORAGE_VERSION) => version(value),
        Class::Cluster if name(meta::CLUSTER_VERSION) => version(value),
        // Versions in JSON, which nobody but a server writes.
        Class::Cluster if name(meta::DOWNGRADE) => {
            let plain = value.len() <= 64 && json_or_words(value) == Op::Json;
            Value::Bytes(if plain { Op::Keep } else { Op::Words })
        }
        _ => Value::Bytes(Op::Words),
    })
}

/// Whether this is a sound record of bucket `key`.
pub(super) fn is_record(element: &Element<'_>) -> bool {
    value_of(Class::Key, element.key, element.value).is_some()
}

/// A record that does not decode: as much of it stays as says why.
fn broken(class: Class, element: &Element<'_>, ops: &mut Ops) {
    let Element { key, value, at } = *element;
    let value_at = at + key.len();
    ops.push(key_op(class, key), at..value_at);
    let schema = match class {
        Class::Key => KEY_VALUE,
        Class::Lease => LEASE,
        Class::Users => USER,
        Class::Roles => ROLE,
        _ => return ops.push(Op::Words, value_at..value_at + value.len()),
    };
    message(value, value_at, schema, false, ops);
}

/// What is done with an element's key, of a leaf or of a branch.
pub(super) fn key_op(class: Class, key: &[u8]) -> Op {
    let stays = match class {
        Class::Key => is_revision(key),
        Class::Lease => key.len() == 8,
        Class::Members | Class::Removed => key.len() <= 16 && key.iter().all(u8::is_ascii_hexdigit),
        Class::Meta | Class::Cluster | Class::Auth => {
            SETTINGS.iter().any(|name| key == name.as_bytes())
        }
        Class::Buckets | Class::Users | Class::Roles => key.len() <= NAME,
        Class::Other => true,
        Class::Alarm => return Op::Zero,
        Class::Unknown => {
            is_revision(key)
                || SETTINGS.iter().chain(&bucket::ALL).any(|name| key == name.as_bytes())
        }
        Class::Freelist => false,
    };
    if stays { Op::Keep } else { Op::Words }
}

/// Whether `key` is a revision, or was one before a byte of it was damaged: revisions are small numbers in many bytes.
fn is_revision(key: &[u8]) -> bool {
    let length = revision::REVISION_LEN;
    RecordKey::parse(key).is_ok()
        || ((length..=length + 1).contains(&key.len())
            && key.iter().filter(|byte| **byte == 0).count() >= 6)
}

fn number(value: &[u8], len: usize) -> Value {
    Value::Bytes(if value.len() == len { Op::Keep } else { Op::Words })
}

fn version(value: &[u8]) -> Value {
    let plain = value.len() <= 20 && value.first().is_some_and(u8::is_ascii_digit);
    Value::Bytes(if plain { Op::Keep } else { Op::Words })
}

fn json_or_words(value: &[u8]) -> Op {
    if value.starts_with(b"{") { Op::Json } else { Op::Words }
}

/// What a record is that stands on a page no tree reaches.
fn guess(element: &Element<'_>) -> Class {
    let Element { key, value, .. } = *element;
    let named = |name: &str| key == name.as_bytes();
    if RecordKey::parse(key).is_ok() {
        return Class::Key;
    }
    if named(meta::CLUSTER_VERSION) || named(meta::DOWNGRADE) {
        return Class::Cluster;
    }
    if named(auth::ENABLED) || named(auth::REVISION) {
        return Class::Auth;
    }
    if SETTINGS.iter().any(|name| named(name)) {
        return Class::Meta;
    }
    let id = (key.len() == 8).then(|| Raw::new(key).u64_be(0)).flatten();
    if id.is_some_and(|id| {
        leasepb::Lease::decode(value).is_ok_and(|lease| lease.id.cast_unsigned() == id)
    }) {
        return Class::Lease;
    }
    if key_op(Class::Members, key) == Op::Keep {
        if value == b"removed" {
            return Class::Removed;
        }
        if value.starts_with(b"{\"id\":") {
            return Class::Members;
        }
    }
    if !key.is_empty() && authpb::User::decode(value).is_ok_and(|user| user.name == key) {
        return Class::Users;
    }
    if !key.is_empty() && authpb::Role::decode(value).is_ok_and(|role| role.name == key) {
        return Class::Roles;
    }
    Class::Unknown
}
