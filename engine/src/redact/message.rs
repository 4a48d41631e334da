//! Messages: which of their bytes are structure.

use std::ops::Range;

use super::record::{Op, Ops};
use crate::pb::wire::{SpanKind, spans};

/// What a field of a message is.
#[derive(Clone, Copy)]
pub(super) enum Field {
    /// A number that stays.
    Number,
    /// A key of a user's.
    Key,
    /// The name of something that other records refer to.
    Name,
    /// What nobody may see.
    Secret,
    /// A message with fields of its own.
    Message(&'static [(u32, Field)]),
}

/// `mvccpb.KeyValue`.
pub(super) const KEY_VALUE: &[(u32, Field)] = &[
    (1, Field::Key),
    (2, Field::Number),
    (3, Field::Number),
    (4, Field::Number),
    (5, Field::Secret),
    (6, Field::Number),
];
/// `leasepb.Lease`.
pub(super) const LEASE: &[(u32, Field)] =
    &[(1, Field::Number), (2, Field::Number), (3, Field::Number)];
/// `etcdserverpb.AlarmMember`.
pub(super) const ALARM: &[(u32, Field)] = &[(1, Field::Number), (2, Field::Number)];
/// `authpb.User`.
pub(super) const USER: &[(u32, Field)] = &[
    (1, Field::Name),
    (2, Field::Secret),
    (3, Field::Name),
    (4, Field::Message(&[(1, Field::Number)])),
];
/// `authpb.Role`.
pub(super) const ROLE: &[(u32, Field)] = &[
    (1, Field::Name),
    (2, Field::Message(&[(1, Field::Number), (2, Field::Key), (3, Field::Key)])),
];

/// Bytes that may stay of a field at which a message stops to be one: its key and a length.
const BROKEN: usize = 6;

/// Says of the message `bytes`, which begins at `base`, what stays and what does not. `sound` is whether it decodes: of
/// one that does not, only the bytes between its values stay. etcd writes no groups; a message ends at one.
pub(super) fn message(
    bytes: &[u8],
    base: usize,
    schema: &[(u32, Field)],
    sound: bool,
    ops: &mut Ops,
) {
    let mut kept = 0;
    for span in spans(bytes) {
        let span = match span {
            Ok(span) if span.kind != SpanKind::Group => span,
            _ => {
                let broken = bytes.len().min(kept + BROKEN);
                ops.push(Op::Keep, shifted(kept..broken, base));
                ops.push(Op::Words, shifted(broken..bytes.len(), base));
                return;
            }
        };
        let field = schema.iter().find(|(number, _)| *number == span.field);
        let field = field.map(|(_, field)| *field).filter(|_| sound);
        let op = match (span.kind, field) {
            (SpanKind::Varint, Some(Field::Number)) => Op::Keep,
            (SpanKind::Varint, _) => Op::ZeroVarint,
            (SpanKind::Fixed | SpanKind::Group, _) => Op::Zero,
            (SpanKind::Bytes, Some(Field::Key)) => Op::Key,
            (SpanKind::Bytes, Some(Field::Name)) => Op::Keep,
            (SpanKind::Bytes, Some(Field::Message(schema))) => {
                ops.push(Op::Keep, shifted(kept..span.value.start, base));
                kept = span.value.end;
                let inner = bytes.get(span.value.clone()).unwrap_or_default();
                message(inner, base + span.value.start, schema, sound, ops);
                continue;
            }
            (SpanKind::Bytes, _) => Op::Words,
        };
        if op != Op::Keep {
            ops.push(Op::Keep, shifted(kept..span.value.start, base));
            ops.push(op, shifted(span.value.clone(), base));
            kept = span.value.end;
        }
    }
    ops.push(Op::Keep, shifted(kept..bytes.len(), base));
}

fn shifted(range: Range<usize>, by: usize) -> Range<usize> {
    range.start + by..range.end + by
}
