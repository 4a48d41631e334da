//! The command lines that start restored members.

use super::{Options, Outcome, Plan};
use crate::{
    schema::members,
    start::{Node, Start},
};

/// The command line of each member of `plan`, which was made from `options` and came to `outcome`. `old` are the members
/// the source lists: a member of the same name serves clients where it did.
pub fn start(
    plan: &Plan,
    options: &Options,
    outcome: &Outcome,
    old: &[members::Member],
) -> Vec<Vec<String>> {
    let node = |member: &super::Member| Node {
        id: member.id,
        name: member.name.clone(),
        peer_urls: member.peer_urls.clone(),
    };
    let nodes: Vec<Node> = plan.cluster.members.iter().map(node).collect();
    let mut start = Start::new(&nodes, old, &options.initial_cluster);
    start.token = Some(&options.initial_cluster_token);
    start.db_bytes = outcome.db_bytes;
    let members = plan.members.iter();
    members
        .map(|one| start.words(&node(&one.member), &one.data_dir, one.wal_dir.as_deref()))
        .collect()
}
