//! Package etcdserverpb: transactions (`api/etcdserverpb/rpc.proto`), read and written without recursion.
//!
//! A transaction can hold transactions. Servers up to 3.6 decode any depth, 3.7 decodes
//! [`MAX_MESSAGE_DEPTH`]. Here all of them stand in one list, the outermost first and each before those nested in it,
//! so that no depth costs stack: not when they are read, written, copied, compared or dropped.

use prost::{
    DecodeError, Message,
    bytes::{Buf, BufMut},
    encoding::{
        DecodeContext, WireType, check_wire_type, decode_varint, encode_key, encode_varint,
        encoded_len_varint, key_len, skip_field,
    },
};

use super::{
    kvpb::{Compare, DeleteRangeRequest, PutRequest, RangeRequest},
    wire::{SpanKind, spans},
};

/// Messages in messages that 3.7 decodes, the outermost counted.
pub const MAX_MESSAGE_DEPTH: usize = 10_000;

/// Which transaction of a [`TxnRequest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TxnId(usize);

impl TxnId {
    /// The one that holds all others.
    pub const OUTERMOST: Self = Self(0);

    /// Its place in the list.
    pub fn index(self) -> usize {
        self.0
    }
}

/// One of four requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// A read.
    Range(RangeRequest),
    /// A put.
    Put(PutRequest),
    /// A deletion.
    DeleteRange(DeleteRangeRequest),
    /// A transaction within the transaction.
    Txn(TxnId),
}

/// An operation of a transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestOp {
    /// What is done.
    pub request: Option<Request>,
}

impl From<Request> for RequestOp {
    fn from(request: Request) -> Self {
        Self { request: Some(request) }
    }
}

/// A transaction without those nested in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn {
    /// Conditions, all of which must hold.
    pub compare: Vec<Compare>,
    /// Done when they do.
    pub success: Vec<RequestOp>,
    /// Done when one does not.
    pub failure: Vec<RequestOp>,
}

impl Txn {
    /// The operations of one branch.
    pub fn branch(&self, success: bool) -> &[RequestOp] {
        if success { &self.success } else { &self.failure }
    }

    /// The operations of both branches.
    pub fn ops(&self) -> impl Iterator<Item = &RequestOp> {
        self.success.iter().chain(&self.failure)
    }

    fn nested(&self) -> impl Iterator<Item = TxnId> {
        self.ops().filter_map(|op| match op.request {
            Some(Request::Txn(id)) => Some(id),
            _ => None,
        })
    }
}

/// A transaction and all that are nested in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnRequest {
    /// Never empty; a transaction stands behind the one that holds it.
    all: Vec<Txn>,
}

impl Default for TxnRequest {
    fn default() -> Self {
        Self { all: vec![Txn::default()] }
    }
}

impl From<Txn> for TxnRequest {
    fn from(outermost: Txn) -> Self {
        Self { all: vec![outermost] }
    }
}

impl TxnRequest {
    /// The transaction that holds all others.
    pub fn outermost(&self) -> &Txn {
        // The list is never empty.
        static NONE: Txn = Txn { compare: Vec::new(), success: Vec::new(), failure: Vec::new() };
        self.all.first().unwrap_or(&NONE)
    }

    /// A transaction nested in `holder`; `None` for an id of another request.
    pub fn nested(&self, holder: TxnId, id: TxnId) -> Option<&Txn> {
        // Whoever follows ids comes to an end, whatever they are.
        if id > holder { self.all.get(id.0) } else { None }
    }

    /// Number of transactions.
    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// Nests `inner` as the last operation of a branch of `holder`; gives its id.
    pub fn nest(&mut self, holder: TxnId, success: bool, inner: Txn) -> TxnId {
        let id = TxnId(self.all.len());
        if let Some(holder) = self.all.get_mut(holder.0) {
            let branch = if success { &mut holder.success } else { &mut holder.failure };
            branch.push(Request::Txn(id).into());
        }
        self.all.push(inner);
        id
    }

    /// The transactions from the outermost on, each before those nested in it, with their levels: 1 for the outermost.
    /// What is no longer held by any other has level 0.
    fn levels(&self) -> Vec<usize> {
        let mut levels = vec![0_usize; self.all.len()];
        if let Some(outermost) = levels.first_mut() {
            *outermost = 1;
        }
        for (at, txn) in self.all.iter().enumerate() {
            let level = levels.get(at).copied().unwrap_or_default();
            for id in txn.nested().filter(|id| level > 0 && id.0 > at) {
                if let Some(inner) = levels.get_mut(id.0) {
                    *inner = level.saturating_add(1);
                }
            }
        }
        levels
    }

    /// All transactions, those nested in one before it.
    pub fn innermost_first(&self) -> impl Iterator<Item = (TxnId, &Txn)> {
        self.all.iter().enumerate().rev().map(|(at, txn)| (TxnId(at), txn))
    }

    /// All transactions, each before those nested in it, with their levels: 1 for the outermost.
    pub fn iter(&self) -> impl Iterator<Item = (usize, TxnId, &Txn)> {
        let each = self.levels().into_iter().zip(&self.all).enumerate();
        each.filter(|(_, (level, _))| *level > 0).map(|(at, (level, txn))| (level, TxnId(at), txn))
    }

    /// How deeply messages stand in messages, counted from the request that holds the transaction: 2 for one without
    /// conditions and operations.
    pub fn message_depth(&self) -> usize {
        let depth = |(level, _, txn): (usize, TxnId, &Txn)| {
            let own = level.saturating_mul(2);
            let requests = txn.ops().any(|op| op.request.is_some());
            let parts = !txn.compare.is_empty() || txn.ops().next().is_some();
            own.saturating_add(if requests { 2 } else { usize::from(parts) })
        };
        self.iter().map(depth).max().unwrap_or_default()
    }

    /// Whether messages stand in more than `most` messages, counted as by [`TxnRequest::message_depth`].
    pub fn is_deeper_than(&self, most: usize) -> bool {
        // Most transactions hold none, and need not be looked at.
        self.count().saturating_mul(2).saturating_add(2) > most && self.message_depth() > most
    }

    /// Adds what `bytes`, field `tag` of the transaction at `holder`, say, and everything nested in it.
    fn read(&mut self, holder: usize, tag: u32, bytes: &[u8]) -> Result<(), DecodeError> {
        // Nested transactions that are still to be read.
        let mut pending = Vec::new();
        self.field(holder, tag, bytes, &mut pending)?;
        while let Some((at, bytes)) = pending.pop() {
            for span in spans(bytes) {
                let span = span.map_err(|error| DecodeError::new(error.to_string()))?;
                if let 1..=3 = span.field {
                    self.field(at, span.field, inner(bytes, &span)?, &mut pending)?;
                }
            }
        }
        Ok(())
    }

    fn field<'b>(
        &mut self,
        at: usize,
        tag: u32,
        bytes: &'b [u8],
        pending: &mut Vec<(usize, &'b [u8])>,
    ) -> Result<(), DecodeError> {
        let mut op = RequestOp::default();
        if tag != 1 {
            for span in spans(bytes) {
                let span = span.map_err(|error| DecodeError::new(error.to_string()))?;
                let (1..=4, body) = (span.field, inner(bytes, &span)) else { continue };
                let body = body?;
                op.request = Some(match span.field {
                    1 => Request::Range(RangeRequest::decode(body)?),
                    2 => Request::Put(PutRequest::decode(body)?),
                    3 => Request::DeleteRange(DeleteRangeRequest::decode(body)?),
                    _ => {
                        let id = self.all.len();
                        self.all.push(Txn::default());
                        pending.push((id, body));
                        Request::Txn(TxnId(id))
                    }
                });
            }
        }
        let compare = if tag == 1 { Some(Compare::decode(bytes)?) } else { None };
        let Some(txn) = self.all.get_mut(at) else { return Ok(()) };
        match tag {
            1 => txn.compare.extend(compare),
            2 => txn.success.push(op),
            _ => txn.failure.push(op),
        }
        Ok(())
    }

    /// Encoded length of each transaction, in bytes.
    fn lengths(&self) -> Vec<usize> {
        let mut lengths = vec![0_usize; self.all.len()];
        // What is nested stands behind its holder, so that its length is known by then.
        for (at, txn) in self.all.iter().enumerate().rev() {
            let compares = txn.compare.iter().map(|compare| field_len(1, compare.encoded_len()));
            let ops = txn.ops().map(|op| field_len(2, op_len(op, at, &lengths)));
            let len = compares.chain(ops).sum();
            if let Some(own) = lengths.get_mut(at) {
                *own = len;
            }
        }
        lengths
    }
}

/// The message in a field that must be one.
fn inner<'b>(bytes: &'b [u8], span: &super::wire::Span) -> Result<&'b [u8], DecodeError> {
    match (span.kind, bytes.get(span.value.clone())) {
        (SpanKind::Bytes, Some(body)) => Ok(body),
        _ => Err(DecodeError::new("a field of a transaction has another wire type")),
    }
}

fn field_len(tag: u32, body: usize) -> usize {
    key_len(tag) + encoded_len_varint(body as u64) + body
}

fn op_len(op: &RequestOp, at: usize, lengths: &[usize]) -> usize {
    match &op.request {
        None => 0,
        Some(Request::Range(range)) => field_len(1, range.encoded_len()),
        Some(Request::Put(put)) => field_len(2, put.encoded_len()),
        Some(Request::DeleteRange(delete)) => field_len(3, delete.encoded_len()),
        Some(Request::Txn(id)) if id.0 > at => {
            field_len(4, lengths.get(id.0).copied().unwrap_or_default())
        }
        Some(Request::Txn(_)) => field_len(4, 0),
    }
}

fn encode_head(tag: u32, len: usize, buf: &mut impl BufMut) {
    encode_key(tag, WireType::LengthDelimited, buf);
    encode_varint(len as u64, buf);
}

impl Message for TxnRequest {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        let lengths = self.lengths();
        /// A transaction that is being written: its next operation, of success and then of failure.
        struct Open<'t> {
            at: usize,
            txn: &'t Txn,
            next: usize,
        }
        let begin = |at: usize, txn: &Txn, buf: &mut _| {
            for compare in &txn.compare {
                prost::encoding::message::encode(1, compare, buf);
            }
            at
        };
        let outermost = self.outermost();
        let mut open = vec![Open { at: begin(0, outermost, buf), txn: outermost, next: 0 }];
        while let Some(Open { at, txn, next }) = open.last_mut() {
            let (at, place) = (*at, *next);
            *next = place.saturating_add(1);
            let (tag, op) = match place.checked_sub(txn.success.len()) {
                None => (2, txn.success.get(place)),
                Some(place) => (3, txn.failure.get(place)),
            };
            let Some(op) = op else {
                open.pop();
                continue;
            };
            encode_head(tag, op_len(op, at, &lengths), buf);
            match &op.request {
                None => {}
                Some(Request::Range(range)) => prost::encoding::message::encode(1, range, buf),
                Some(Request::Put(put)) => prost::encoding::message::encode(2, put, buf),
                Some(Request::DeleteRange(delete)) => {
                    prost::encoding::message::encode(3, delete, buf);
                }
                Some(Request::Txn(id)) => match self.nested(TxnId(at), *id) {
                    Some(txn) => {
                        encode_head(4, lengths.get(id.0).copied().unwrap_or_default(), buf);
                        open.push(Open { at: begin(id.0, txn, buf), txn, next: 0 });
                    }
                    None => encode_head(4, 0, buf),
                },
            }
        }
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        if !(1..=3).contains(&tag) {
            return skip_field(wire_type, tag, buf, ctx);
        }
        check_wire_type(WireType::LengthDelimited, wire_type)?;
        let len = decode_varint(buf)?;
        match usize::try_from(len) {
            Ok(len) if len <= buf.remaining() => {
                let bytes = buf.copy_to_bytes(len);
                self.read(0, tag, &bytes)
            }
            _ => Err(DecodeError::new("buffer underflow")),
        }
    }

    fn encoded_len(&self) -> usize {
        self.lengths().first().copied().unwrap_or_default()
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::requestpb::InternalRaftRequest;

    fn put(key: &[u8]) -> RequestOp {
        Request::Put(PutRequest { key: key.to_vec(), ..PutRequest::default() }).into()
    }

    /// A put within `levels` transactions.
    fn chain(levels: usize) -> TxnRequest {
        let mut request = TxnRequest::default();
        let mut at = TxnId::OUTERMOST;
        for level in 1..levels {
            at = request.nest(at, level % 2 == 0, Txn::default());
        }
        request.all[at.0].success.push(put(b"k"));
        request
    }

    #[test]
    fn a_nested_transaction_is_read_as_servers_write_it() {
        // success [txn {compare [key a], failure [put b, range c]}, delete d].
        let bytes = b"\x12\x18\x22\x16\x0a\x03\x1a\x01a\x1a\x07\x12\x05\x0a\x01b\x18\x00\x1a\x06\x0a\x04\x0a\x01c\x10\x12\x05\x1a\x03\x0a\x01d";
        assert!(TxnRequest::decode(&bytes[..]).is_err(), "a message that ends inside a field");
        let bytes = b"\x12\x17\x22\x15\x0a\x03\x1a\x01a\x1a\x07\x12\x05\x0a\x01b\x18\x05\x1a\x05\x0a\x03\x0a\x01c\x12\x05\x1a\x03\x0a\x01d";
        let request = TxnRequest::decode(&bytes[..]).unwrap();
        let [Some(Request::Txn(id)), Some(Request::DeleteRange(delete))] =
            [0, 1].map(|at| request.outermost().success[at].request.clone())
        else {
            panic!("{request:?}");
        };
        assert_eq!(delete.key, b"d");
        let inner = request.nested(TxnId::OUTERMOST, id).unwrap();
        assert_eq!((inner.compare.len(), inner.success.len(), inner.failure.len()), (1, 0, 2));
        assert_eq!(request.encode_to_vec(), bytes);
    }

    #[test]
    fn any_depth_is_read_written_copied_and_dropped() {
        for levels in [1, 2, 48, 60, 1000, 100_000] {
            let txn = chain(levels);
            let request = InternalRaftRequest { txn: Some(txn.clone()), ..Default::default() };
            let bytes = request.encode_to_vec();
            let read = InternalRaftRequest::decode(&bytes[..]).unwrap();
            assert_eq!(read.txn, Some(txn), "{levels} levels");
            assert_eq!(read.encode_to_vec(), bytes);
        }
    }

    #[test]
    fn depth_is_counted_in_messages() {
        assert_eq!(TxnRequest::default().message_depth(), 2);
        assert_eq!((chain(1).message_depth(), chain(4_999).message_depth()), (4, 10_000));
        let mut empty = chain(2);
        empty.all[1].success = vec![RequestOp::default()];
        assert_eq!(empty.message_depth(), 5);
    }

    #[test]
    fn fields_of_another_type_are_refused_at_any_depth() {
        let mut bytes = vec![0x08, 0x01];
        for _ in 0..200 {
            assert!(TxnRequest::decode(&bytes[..]).is_err());
            for tag in [0x22, 0x12] {
                let mut outer = vec![tag];
                encode_varint(bytes.len() as u64, &mut outer);
                outer.append(&mut bytes);
                bytes = outer;
            }
        }
    }

    #[test]
    fn ids_of_another_request_lead_nowhere() {
        let mut request = TxnRequest::default();
        for id in [TxnId::OUTERMOST, TxnId(7)] {
            request.all[0].success.push(Request::Txn(id).into());
        }
        assert_eq!((request.message_depth(), request.iter().count()), (4, 1));
        assert_eq!(request.encode_to_vec(), b"\x12\x02\x22\0\x12\x02\x22\0");
        assert_eq!(request.encoded_len(), 8);
    }
}
