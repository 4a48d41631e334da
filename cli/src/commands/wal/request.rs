//! Requests of the raft log as JSON, and the keys they touch.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use etcdsnap_engine::pb::{
    authpb::PermissionType,
    entry::Decoded,
    etcdserverpb::AlarmType,
    kvpb::{
        Compare, CompareResult, CompareTarget, DeleteRangeRequest, PutRequest, RangeRequest,
        TargetUnion,
    },
    raftpb::{ConfChange, ConfChangeType},
    requestpb::{AlarmAction, InternalRaftRequest, V2Request},
    txnpb::{Request, RequestOp, TxnRequest},
};
use serde_json::{Map, Value, json};

/// What stands where a password would.
const MASK: &str = "***";
/// Transactions within transactions that are shown, the outermost counted: readers of JSON end at 128 levels, of which
/// each takes three.
const SHOWN_LEVELS: usize = 32;

/// An entry's request: its kind, and its fields under etcd's names.
pub struct Described {
    /// etcd's name of the request, with dashes.
    pub kind: &'static str,
    /// Its fields.
    pub fields: Map<String, Value>,
}

/// Describes a decoded entry. Passwords, tokens and hashes are masked unless `secrets`.
pub fn describe(decoded: &Decoded, secrets: bool) -> Described {
    match decoded {
        Decoded::Empty => Described { kind: "empty", fields: Map::new() },
        Decoded::Request(request) => internal(request, secrets),
        Decoded::V2(request) => v2(request),
        Decoded::ConfChange(change) => conf_change(change),
        Decoded::Unknown => Described { kind: "unknown", fields: Map::new() },
    }
}

fn internal(request: &InternalRaftRequest, secrets: bool) -> Described {
    let mut fields = Map::new();
    let kind = body(request, secrets, &mut fields);
    if let Some(header) = &request.header {
        if !header.username.is_empty() {
            fields.insert("username".into(), text(&header.username));
            fields.insert("authRevision".into(), header.auth_revision.into());
        }
        fields.insert("requestId".into(), format!("{:x}", header.id).into());
    }
    Described { kind, fields }
}

/// The one request that is set; gives its kind.
fn body(
    request: &InternalRaftRequest,
    secrets: bool,
    fields: &mut Map<String, Value>,
) -> &'static str {
    let mut set = |name: &str, value: Value| fields.insert(name.into(), value);
    let secret = |secret: &[u8]| -> Value {
        if secrets || secret.is_empty() { text(secret) } else { MASK.into() }
    };
    let key_request = [
        request.range.as_ref().map(|range| ("range", read(range))),
        request.put.as_ref().map(|put| ("put", self::put(put))),
        request.delete_range.as_ref().map(|delete| ("delete-range", self::delete(delete))),
        request.txn.as_ref().map(|txn| ("txn", self::txn(txn))),
    ];
    if let Some((kind, described)) = key_request.into_iter().flatten().next() {
        fields.extend(described);
        return kind;
    }
    if let Some(compaction) = &request.compaction {
        set("revision", compaction.revision.into());
        set("physical", compaction.physical.into());
        return "compaction";
    }
    if let Some(grant) = &request.lease_grant {
        set("id", format!("{:x}", grant.id).into());
        set("ttl", grant.ttl.into());
        return "lease-grant";
    }
    if let Some(revoke) = &request.lease_revoke {
        set("id", format!("{:x}", revoke.id).into());
        return "lease-revoke";
    }
    if let Some(checkpoint) = &request.lease_checkpoint {
        let each = checkpoint.checkpoints.iter();
        let each = each
            .map(|one| json!({"id": format!("{:x}", one.id), "remainingTTL": one.remaining_ttl}));
        set("checkpoints", each.collect());
        return "lease-checkpoint";
    }
    if let Some(alarm) = &request.alarm {
        let action = match AlarmAction::try_from(alarm.action) {
            Ok(AlarmAction::Get) => "GET".into(),
            Ok(AlarmAction::Activate) => "ACTIVATE".into(),
            Ok(AlarmAction::Deactivate) => "DEACTIVATE".into(),
            Err(_) => Value::from(alarm.action),
        };
        let name = match AlarmType::try_from(alarm.alarm) {
            Ok(AlarmType::None) => "NONE".into(),
            Ok(AlarmType::Nospace) => "NOSPACE".into(),
            Ok(AlarmType::Corrupt) => "CORRUPT".into(),
            Err(_) => Value::from(alarm.alarm),
        };
        set("action", action);
        set("memberId", format!("{:x}", alarm.member_id).into());
        set("alarm", name);
        return "alarm";
    }
    if let Some(authenticate) = &request.authenticate {
        set("name", text(&authenticate.name));
        set("password", secret(&authenticate.password));
        set("simpleToken", secret(&authenticate.simple_token));
        return "authenticate";
    }
    if let Some(add) = &request.auth_user_add {
        set("name", text(&add.name));
        set("password", secret(&add.password));
        set("hashedPassword", secret(&add.hashed_password));
        set("noPassword", add.options.is_some_and(|options| options.no_password).into());
        return "auth-user-add";
    }
    if let Some(change) = &request.auth_user_change_password {
        set("name", text(&change.name));
        set("password", secret(&change.password));
        set("hashedPassword", secret(&change.hashed_password));
        return "auth-user-change-password";
    }
    if let Some(delete) = &request.auth_user_delete {
        set("name", text(&delete.name));
        return "auth-user-delete";
    }
    if let Some(get) = &request.auth_user_get {
        set("name", text(&get.name));
        return "auth-user-get";
    }
    if let Some(grant) = &request.auth_user_grant_role {
        set("name", text(&grant.user));
        set("role", text(&grant.role));
        return "auth-user-grant-role";
    }
    if let Some(revoke) = &request.auth_user_revoke_role {
        set("name", text(&revoke.name));
        set("role", text(&revoke.role));
        return "auth-user-revoke-role";
    }
    if let Some(add) = &request.auth_role_add {
        set("role", text(&add.name));
        return "auth-role-add";
    }
    if let Some(delete) = &request.auth_role_delete {
        set("role", text(&delete.role));
        return "auth-role-delete";
    }
    if let Some(get) = &request.auth_role_get {
        set("role", text(&get.role));
        return "auth-role-get";
    }
    if let Some(grant) = &request.auth_role_grant_permission {
        set("role", text(&grant.name));
        if let Some(permission) = &grant.perm {
            let kind = match PermissionType::try_from(permission.perm_type) {
                Ok(PermissionType::Read) => "READ".into(),
                Ok(PermissionType::Write) => "WRITE".into(),
                Ok(PermissionType::ReadWrite) => "READWRITE".into(),
                Err(_) => Value::from(permission.perm_type),
            };
            set("permission", kind);
            fields.extend(range(&permission.key, &permission.range_end));
        }
        return "auth-role-grant-permission";
    }
    if let Some(revoke) = &request.auth_role_revoke_permission {
        set("role", text(&revoke.role));
        fields.extend(range(&revoke.key, &revoke.range_end));
        return "auth-role-revoke-permission";
    }
    if let Some(version) = &request.cluster_version_set {
        set("version", version.ver.clone().into());
        return "cluster-version-set";
    }
    if let Some(attributes) = &request.cluster_member_attr_set {
        set("memberId", format!("{:x}", attributes.member_id).into());
        let own = attributes.member_attributes.clone().unwrap_or_default();
        set("name", own.name.into());
        set("clientURLs", own.client_urls.into());
        return "cluster-member-attr-set";
    }
    if let Some(downgrade) = &request.downgrade_info_set {
        set("enabled", downgrade.enabled.into());
        set("version", downgrade.ver.clone().into());
        return "downgrade-info-set";
    }
    if request.downgrade_version_test.is_some() {
        return "downgrade-version-test";
    }
    let bare = [
        (request.auth_enable.is_some(), "auth-enable"),
        (request.auth_disable.is_some(), "auth-disable"),
        (request.auth_status.is_some(), "auth-status"),
        (request.auth_user_list.is_some(), "auth-user-list"),
        (request.auth_role_list.is_some(), "auth-role-list"),
    ];
    bare.iter().find(|(is, _)| *is).map_or("unknown", |(_, kind)| kind)
}

fn op(request: &Request) -> (&'static str, Map<String, Value>) {
    match request {
        Request::Range(range) => ("range", read(range)),
        Request::Put(put) => ("put", self::put(put)),
        Request::DeleteRange(delete) => ("delete-range", self::delete(delete)),
        Request::Txn(_) => ("txn", Map::new()),
    }
}

fn read(read: &RangeRequest) -> Map<String, Value> {
    let mut fields = range(&read.key, &read.range_end);
    if read.revision != 0 {
        fields.insert("revision".into(), read.revision.into());
    }
    fields
}

fn put(put: &PutRequest) -> Map<String, Value> {
    let mut fields = range(&put.key, &[]);
    fields.insert("valueBase64".into(), STANDARD.encode(&put.value).into());
    if put.lease != 0 {
        fields.insert("lease".into(), format!("{:x}", put.lease).into());
    }
    for (name, flag) in [
        ("prevKv", put.prev_kv),
        ("ignoreValue", put.ignore_value),
        ("ignoreLease", put.ignore_lease),
    ] {
        if flag {
            fields.insert(name.into(), true.into());
        }
    }
    fields
}

fn delete(delete: &DeleteRangeRequest) -> Map<String, Value> {
    let mut fields = range(&delete.key, &delete.range_end);
    if delete.prev_kv {
        fields.insert("prevKv".into(), true.into());
    }
    fields
}

/// A transaction with those nested in it, as far as they are shown. The innermost are described first, so that no
/// depth costs stack.
fn txn(txn: &TxnRequest) -> Map<String, Value> {
    let mut levels = vec![0; txn.count()];
    for (level, id, _) in txn.iter() {
        if let Some(known) = levels.get_mut(id.index()) {
            *known = level;
        }
    }
    let mut described: Vec<Map<String, Value>> = vec![Map::new(); txn.count()];
    for (id, own) in txn.innermost_first() {
        let level = levels.get(id.index()).copied().unwrap_or_default();
        if !(1..=SHOWN_LEVELS).contains(&level) {
            continue;
        }
        let mut branch = |ops: &[RequestOp]| -> Value {
            let mut each = |each: &RequestOp| {
                let request = each.request.as_ref()?;
                let (kind, mut fields) = op(request);
                if let Request::Txn(nested) = request {
                    if level == SHOWN_LEVELS {
                        fields.insert("notShown".into(), "nested too deeply".into());
                    } else if let Some(inner) = described.get_mut(nested.index()) {
                        fields = std::mem::take(inner);
                    }
                }
                Some((kind.into(), fields.into()))
            };
            ops.iter().map(|op| Value::Object(each(op).into_iter().collect())).collect()
        };
        let (success, failure) = (branch(&own.success), branch(&own.failure));
        let compare = own.compare.iter().map(compare).collect();
        let fields = [("compare", compare), ("success", success), ("failure", failure)];
        if let Some(place) = described.get_mut(id.index()) {
            *place = fields.map(|(name, value)| (name.to_owned(), value)).into_iter().collect();
        }
    }
    described.into_iter().next().unwrap_or_default()
}

fn compare(compare: &Compare) -> Value {
    let mut fields = range(&compare.key, &compare.range_end);
    let target = match CompareTarget::try_from(compare.target) {
        Ok(CompareTarget::Version) => "version".into(),
        Ok(CompareTarget::Create) => "create".into(),
        Ok(CompareTarget::Mod) => "mod".into(),
        Ok(CompareTarget::Value) => "value".into(),
        Ok(CompareTarget::Lease) => "lease".into(),
        Err(_) => Value::from(compare.target),
    };
    let result = match CompareResult::try_from(compare.result) {
        Ok(CompareResult::Equal) => "=".into(),
        Ok(CompareResult::Greater) => ">".into(),
        Ok(CompareResult::Less) => "<".into(),
        Ok(CompareResult::NotEqual) => "!=".into(),
        Err(_) => Value::from(compare.result),
    };
    fields.insert("target".into(), target);
    fields.insert("result".into(), result);
    match &compare.target_union {
        Some(TargetUnion::Value(value)) => {
            fields.insert("wantedBase64".into(), STANDARD.encode(value).into());
        }
        Some(
            TargetUnion::Version(number)
            | TargetUnion::CreateRevision(number)
            | TargetUnion::ModRevision(number)
            | TargetUnion::Lease(number),
        ) => {
            fields.insert("wanted".into(), (*number).into());
        }
        None => {}
    }
    Value::Object(fields)
}

/// What etcd takes for text, and what need not be UTF-8.
fn text(bytes: &[u8]) -> Value {
    String::from_utf8_lossy(bytes).into()
}

fn range(key: &[u8], range_end: &[u8]) -> Map<String, Value> {
    let mut fields = Map::new();
    if let Ok(text) = std::str::from_utf8(key) {
        fields.insert("key".into(), text.into());
    }
    fields.insert("keyBase64".into(), STANDARD.encode(key).into());
    if !range_end.is_empty() {
        fields.insert("rangeEndBase64".into(), STANDARD.encode(range_end).into());
    }
    fields
}

fn v2(request: &V2Request) -> Described {
    let mut fields = Map::new();
    fields.insert("method".into(), text(&request.method));
    fields.insert("path".into(), text(&request.path));
    fields.insert("val".into(), text(&request.val));
    Described { kind: "v2", fields }
}

fn conf_change(change: &ConfChange) -> Described {
    let mut fields = Map::new();
    let kind = match ConfChangeType::try_from(change.r#type.unwrap_or_default()) {
        Ok(ConfChangeType::AddNode) => "AddNode".into(),
        Ok(ConfChangeType::RemoveNode) => "RemoveNode".into(),
        Ok(ConfChangeType::UpdateNode) => "UpdateNode".into(),
        Ok(ConfChangeType::AddLearnerNode) => "AddLearnerNode".into(),
        Err(_) => Value::from(change.r#type.unwrap_or_default()),
    };
    fields.insert("change".into(), kind);
    fields.insert("memberId".into(), format!("{:x}", change.node_id()).into());
    let context = change.context.as_deref().unwrap_or_default();
    // Ids in it are numbers beyond 2^53, so that it is given as it is, as text.
    if !context.is_empty() {
        fields.insert("context".into(), String::from_utf8_lossy(context).into());
    }
    Described { kind: "conf-change", fields }
}

/// Takes the values out of a request, also inside transactions, and says how long they were. The depth is
/// bounded by what [`describe`] shows.
pub fn drop_values(fields: &mut Map<String, Value>) {
    for (name, bytes) in [("valueBase64", "valueBytes"), ("wantedBase64", "wantedBytes")] {
        if let Some(Value::String(encoded)) = fields.remove(name) {
            let padding = encoded.bytes().rev().take_while(|byte| *byte == b'=').count();
            fields.insert(bytes.into(), (encoded.len() / 4 * 3).saturating_sub(padding).into());
        }
    }
    for value in fields.values_mut() {
        match value {
            Value::Object(inner) => drop_values(inner),
            Value::Array(items) => {
                items.iter_mut().filter_map(Value::as_object_mut).for_each(drop_values);
            }
            _ => {}
        }
    }
}

/// Whether an entry touches a key that begins with `prefix`, by name or by range.
pub fn touches(decoded: &Decoded, prefix: &[u8]) -> bool {
    let Decoded::Request(request) = decoded else { return false };
    let meets = |key: &[u8], range_end: &[u8]| meets(key, range_end, prefix);
    if let Some(range) = &request.range {
        meets(&range.key, &range.range_end)
    } else if let Some(put) = &request.put {
        meets(&put.key, &[])
    } else if let Some(delete) = &request.delete_range {
        meets(&delete.key, &delete.range_end)
    } else if let Some(txn) = &request.txn {
        txn.iter().any(|(_, _, own)| {
            own.compare.iter().any(|each| meets(&each.key, &each.range_end))
                || own.ops().any(|op| match &op.request {
                    Some(Request::Range(range)) => meets(&range.key, &range.range_end),
                    Some(Request::Put(put)) => meets(&put.key, &[]),
                    Some(Request::DeleteRange(delete)) => meets(&delete.key, &delete.range_end),
                    Some(Request::Txn(_)) | None => false,
                })
        })
    } else {
        false
    }
}

/// Whether a key or range has a key in common with those that begin with `prefix`.
fn meets(key: &[u8], range_end: &[u8], prefix: &[u8]) -> bool {
    let begins_before_the_end = key < prefix || key.starts_with(prefix);
    match range_end {
        [] => key.starts_with(prefix),
        [0] => begins_before_the_end,
        end => begins_before_the_end && end > prefix,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_meets_a_prefix_when_they_share_a_key() {
        assert!(meets(b"/a/1", b"", b"/a/") && !meets(b"/b", b"", b"/a/"));
        assert!(meets(b"/", b"0", b"/a/") && meets(b"/a/5", b"/a/6", b"/a/"));
        assert!(!meets(b"/a/", b"/a0", b"/b/") && !meets(b"/c", b"/d", b"/b/"));
        assert!(meets(b"/a", b"\0", b"/b/") && !meets(b"/c", b"\0", b"/b/"));
        assert!(!meets(b"/a", b"/b/", b"/b/"));
    }
}
