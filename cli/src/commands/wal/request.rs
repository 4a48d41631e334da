//! Requests of the raft log as JSON, and the keys they touch.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use etcdsnap_engine::pb::{
    authpb::PermissionType,
    entry::Decoded,
    etcdserverpb::AlarmType,
    kvpb::{
        Compare, CompareResult, CompareTarget, DeleteRangeRequest, PutRequest, RangeRequest,
        Request, RequestOp, TargetUnion, TxnRequest,
    },
    raftpb::{ConfChange, ConfChangeType},
    requestpb::{AlarmAction, InternalRaftRequest, V2Request},
};
use serde_json::{Map, Value, json};

/// What stands where a password would.
const MASK: &str = "***";

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
            fields.insert("username".into(), header.username.clone().into());
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
    let secret = |text: &str| -> Value {
        if secrets || text.is_empty() { text.into() } else { MASK.into() }
    };
    if let Some(op) = operation(request) {
        let (kind, described) = self::op(&op);
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
        set("name", authenticate.name.clone().into());
        set("password", secret(&authenticate.password));
        set("simpleToken", secret(&authenticate.simple_token));
        return "authenticate";
    }
    if let Some(add) = &request.auth_user_add {
        set("name", add.name.clone().into());
        set("password", secret(&add.password));
        set("hashedPassword", secret(&add.hashed_password));
        set("noPassword", add.options.is_some_and(|options| options.no_password).into());
        return "auth-user-add";
    }
    if let Some(change) = &request.auth_user_change_password {
        set("name", change.name.clone().into());
        set("password", secret(&change.password));
        set("hashedPassword", secret(&change.hashed_password));
        return "auth-user-change-password";
    }
    if let Some(delete) = &request.auth_user_delete {
        set("name", delete.name.clone().into());
        return "auth-user-delete";
    }
    if let Some(get) = &request.auth_user_get {
        set("name", get.name.clone().into());
        return "auth-user-get";
    }
    if let Some(grant) = &request.auth_user_grant_role {
        set("name", grant.user.clone().into());
        set("role", grant.role.clone().into());
        return "auth-user-grant-role";
    }
    if let Some(revoke) = &request.auth_user_revoke_role {
        set("name", revoke.name.clone().into());
        set("role", revoke.role.clone().into());
        return "auth-user-revoke-role";
    }
    if let Some(add) = &request.auth_role_add {
        set("role", add.name.clone().into());
        return "auth-role-add";
    }
    if let Some(delete) = &request.auth_role_delete {
        set("role", delete.role.clone().into());
        return "auth-role-delete";
    }
    if let Some(get) = &request.auth_role_get {
        set("role", get.role.clone().into());
        return "auth-role-get";
    }
    if let Some(grant) = &request.auth_role_grant_permission {
        set("role", grant.name.clone().into());
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
        set("role", revoke.role.clone().into());
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

/// A request that can also stand in a transaction.
enum Operation<'a> {
    Range(&'a RangeRequest),
    Put(&'a PutRequest),
    DeleteRange(&'a DeleteRangeRequest),
    Txn(&'a TxnRequest),
}

impl<'a> From<&'a Request> for Operation<'a> {
    fn from(request: &'a Request) -> Self {
        match request {
            Request::Range(range) => Self::Range(range),
            Request::Put(put) => Self::Put(put),
            Request::DeleteRange(delete) => Self::DeleteRange(delete),
            Request::Txn(txn) => Self::Txn(txn),
        }
    }
}

fn operation(request: &InternalRaftRequest) -> Option<Operation<'_>> {
    let range = request.range.as_ref().map(Operation::Range);
    let put = || request.put.as_ref().map(Operation::Put);
    let delete = || request.delete_range.as_ref().map(Operation::DeleteRange);
    let txn = || request.txn.as_ref().map(Operation::Txn);
    range.or_else(put).or_else(delete).or_else(txn)
}

fn op(request: &Operation<'_>) -> (&'static str, Map<String, Value>) {
    match request {
        Operation::Range(read) => {
            let mut fields = range(&read.key, &read.range_end);
            if read.revision != 0 {
                fields.insert("revision".into(), read.revision.into());
            }
            ("range", fields)
        }
        Operation::Put(put) => {
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
            ("put", fields)
        }
        Operation::DeleteRange(delete) => {
            let mut fields = range(&delete.key, &delete.range_end);
            if delete.prev_kv {
                fields.insert("prevKv".into(), true.into());
            }
            ("delete-range", fields)
        }
        Operation::Txn(txn) => ("txn", self::txn(txn)),
    }
}

fn txn(txn: &TxnRequest) -> Map<String, Value> {
    let branch = |ops: &[RequestOp]| -> Value {
        ops.iter()
            .map(|each| {
                let op = each.request.as_ref().map(|request| op(&request.into()));
                Value::Object(
                    op.map(|(kind, fields)| (kind.into(), fields.into())).into_iter().collect(),
                )
            })
            .collect()
    };
    let mut fields = Map::new();
    fields.insert("compare".into(), txn.compare.iter().map(compare).collect());
    fields.insert("success".into(), branch(&txn.success));
    fields.insert("failure".into(), branch(&txn.failure));
    fields
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
    fields.insert("method".into(), request.method.clone().into());
    fields.insert("path".into(), request.path.clone().into());
    fields.insert("val".into(), request.val.clone().into());
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
/// bounded by the decoder's.
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
    match decoded {
        Decoded::Request(request) => {
            operation(request).is_some_and(|operation| op_touches(&operation, prefix))
        }
        _ => false,
    }
}

fn op_touches(request: &Operation<'_>, prefix: &[u8]) -> bool {
    match request {
        Operation::Range(range) => meets(&range.key, &range.range_end, prefix),
        Operation::Put(put) => put.key.starts_with(prefix),
        Operation::DeleteRange(delete) => meets(&delete.key, &delete.range_end, prefix),
        Operation::Txn(txn) => {
            let mut ops = txn.success.iter().chain(&txn.failure);
            txn.compare.iter().any(|each| meets(&each.key, &each.range_end, prefix))
                || ops.any(|each| {
                    each.request.as_ref().is_some_and(|own| op_touches(&own.into(), prefix))
                })
        }
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
