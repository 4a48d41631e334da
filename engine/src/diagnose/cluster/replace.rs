//! A majority is here: its members are started where they are, and those that are lost are replaced.

use std::path::PathBuf;

use super::{
    answer::Step,
    facts::Facts,
    judge::{Gathered, listed},
    roster::{Roster, etcdctl},
    steps::step,
    survey::{Quorum, Standing},
};
use crate::{
    ids::MemberId,
    schema::members::Member,
    shell,
    start::{Node, Start},
};

/// Members whose contents are not those of most.
fn wrong(gathered: &Gathered<'_>) -> Vec<MemberId> {
    let Some(right) = gathered.contents.right() else { return Vec::new() };
    let places = gathered.contents.groups.iter().flatten();
    let places = places.filter(|place| !right.contains(place));
    places.filter_map(|place| gathered.facts.get(*place)?.member).collect()
}

/// Starts the voters that are intact.
pub(super) fn start(gathered: &Gathered<'_>, quorum: &Quorum, steps: &mut Vec<Step>) {
    let voters = quorum.conf.voters.len();
    let roster = Roster::new(gathered);
    let wrong = wrong(gathered);
    let good: Vec<MemberId> =
        roster.sorted(quorum.intact.iter().filter(|id| !wrong.contains(id)).copied());
    let names: Vec<String> = good.iter().map(|id| roster.shown(*id)).collect();
    let all = match voters {
        1 => "the only voter is intact".to_owned(),
        _ => format!("{} of {voters} voters are intact, which is a majority", good.len()),
    };
    let mut first = format!(
        "{all}: nothing is lost. Start {} on {}, with {}, not these copies. ",
        listed(&names),
        if names.len() == 1 { "its node" } else { "their nodes" },
        if names.len() == 1 { "its own unit or manifest" } else { "their own units or manifests" },
    );
    for id in good {
        let shown = roster.shown(id);
        let counting = |(one, standing): &(&Facts, &Standing)| {
            one.member == Some(id) && one.starts.is_some() && standing.discount.is_none()
        };
        let dir = gathered.facts.iter().zip(&gathered.survey.standings).find(counting);
        for path in dir.and_then(|(one, _)| one.starts.as_ref()).into_iter().flatten() {
            let mut aside = path.clone().into_os_string();
            aside.push(".aside");
            steps.push(step(
                format!("{first}On the node of {shown}: move this file away; the server makes it anew from its log"),
                shell::line(["mv".as_ref(), path.as_os_str(), &aside]),
            ));
            first.clear();
        }
        steps.push(step(
            format!(
                "{first}On the node of {shown}; for a static pod, put its manifest back instead"
            ),
            "systemctl start etcd",
        ));
        first.clear();
    }
}

/// Members that are lost are replaced one at a time, once a majority runs.
pub(super) fn replace(gathered: &Gathered<'_>, quorum: &Quorum, steps: &mut Vec<Step>) {
    let roster = Roster::new(gathered);
    let wrong = wrong(gathered);
    let lost = quorum.conf.voters.iter().map(|id| MemberId(*id));
    let lost = roster.sorted(lost.filter(|id| !quorum.intact.contains(id) || wrong.contains(id)));
    let good = roster.sorted(quorum.intact.iter().filter(|id| !wrong.contains(id)).copied());
    let endpoints: Vec<String> = good
        .iter()
        .filter_map(|id| roster.member(*id))
        .flat_map(|member| member.client_urls.iter().cloned())
        .collect();
    for id in lost {
        let here = gathered.facts.iter().find(|one| one.member == Some(id) && !one.is_file);
        let shown = roster.shown(id);
        let when = match here {
            None => format!(
                "only if the data dir of {shown} is lost for good; if it is not, just start it"
            ),
            Some(_) if wrong.contains(&id) => {
                format!("{shown} holds other contents than most members")
            }
            Some(one) if one.log.as_ref().is_some_and(|log| log.from_db) => {
                format!("{} is the data dir of {shown}, and its log is lost", one.path.display())
            }
            Some(_) => format!("the data dir of {shown} is damaged"),
        };
        steps.push(step(
            format!(
                "{when}: once the others run, remove it from the cluster, one member at a time"
            ),
            again(&etcdctl(&endpoints, &["member", "remove", &id.to_string()])),
        ));
        let Some(member) = roster.member(id) else { continue };
        let data_dir = here.map_or_else(
            || PathBuf::from(format!("{}.etcd", roster.name(id))),
            |one| one.path.clone(),
        );
        if here.is_some() {
            let mut aside = data_dir.clone().into_os_string();
            aside.push(".damaged");
            steps.push(step(
                format!("on the node of {shown}: move its old data dir away"),
                shell::line(["mv".as_ref(), data_dir.as_os_str(), &aside]),
            ));
        }
        let peer_urls = member.peer_urls.join(",");
        let name = roster.name(id);
        let peer = format!("--peer-urls={peer_urls}");
        steps.push(step(
            format!("add {shown} anew, as a learner. Every version refuses this for about five seconds after a start, so it is tried again"),
            again(&etcdctl(&endpoints, &["member", "add", &name, "--learner", &peer])),
        ));
        let conf = roster.sorted(quorum.conf.voters.iter().map(|id| MemberId(*id)));
        let nodes: Vec<Node> =
            conf.iter().filter_map(|id| roster.member(*id)).map(|one| roster.node(one)).collect();
        let known: Vec<Member> = roster.known().collect();
        let initial = roster.initial_cluster(&conf);
        let start = Start::new(&nodes, &known, &initial);
        let words = start.words(&roster.node(member), &data_dir, None);
        steps.push(step(
            format!("on the node of {shown}: start it with an empty data dir and --initial-cluster-state existing, in its unit or manifest or like this"),
            shell::line(words),
        ));
        let list = etcdctl(&endpoints, &["member", "list"]);
        let url = member.peer_urls.first().cloned().unwrap_or_default();
        let find =
            shell::line(["awk", "-F, ", "-v", &format!("url={url}"), "$4 == url { print $1 }"]);
        let promote = etcdctl(&endpoints, &["member", "promote"]);
        steps.push(step(
            format!("let {shown} vote, once it has caught up; before that this is refused and tried again"),
            again(&format!("{promote} $({list} | {find})")),
        ));
    }
}

/// Tries a command again for about a minute.
fn again(command: &str) -> String {
    format!("for try in 1 2 3 4 5 6 7 8 9 10 11 12; do {command} && break; sleep 5; done")
}
