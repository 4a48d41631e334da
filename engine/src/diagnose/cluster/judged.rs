//! Answers over made-up members. The danger: a command that starts what must not start, or that cannot be pasted.

use super::{Answer, Conf, Contents, Facts, Gathered, LogFacts, Mark, StateFacts, Survey, judge};
use crate::{
    diagnose::{Diagnosis, Verdict, Way},
    ids::{ClusterId, MemberId},
    schema::members::Member,
};

/// A member of three whose log has the entries of these terms, and knows `known` of them to be committed.
fn member(id: u64, terms: &[u64], known: u64, scheme: &str) -> Facts {
    let listed = |id: u64| Member {
        id: MemberId(id),
        peer_urls: vec![format!("{scheme}://host-{id}:2380")],
        is_learner: false,
        name: format!("n{id}"),
        client_urls: vec![format!("{scheme}://10.0.0.{id}:2379")],
    };
    let last = terms.len() as u64;
    Facts {
        path: format!("it's n{id}").into(),
        is_file: false,
        member: Some(MemberId(id)),
        cluster: Some(ClusterId(7)),
        log: Some(LogFacts {
            first: 1,
            marks: terms.iter().map(|term| Mark { term: *term, digest: *term }).collect(),
            term: terms.last().copied().unwrap_or_default(),
            known,
            whole: true,
            conf: Conf { voters: vec![1, 2, 3], learners: Vec::new() },
            ..LogFacts::default()
        }),
        wal_dir: Some("wal".into()),
        state: Some(StateFacts {
            applied: Some(last),
            revision: last as i64,
            members: (1..=3).map(listed).collect(),
            ..StateFacts::default()
        }),
        judged: Ok(Diagnosis {
            verdict: Verdict::Healthy,
            findings: Vec::new(),
            ways: vec![Way::Plain],
        }),
        starts: Some(Vec::new()),
        stranger: false,
        running: false,
        modified: None,
    }
}

fn answer(facts: &[Facts]) -> Answer {
    let survey = Survey::new(facts);
    let contents = Contents::default();
    judge(&Gathered {
        facts,
        survey: &survey,
        contents: &contents,
        alone: &[],
        paired: None,
        files: &[],
    })
}

fn codes(answer: &Answer) -> Vec<&str> {
    answer.findings.iter().map(|finding| finding.code).collect()
}

#[test]
fn members_that_lack_what_was_committed_are_not_started() {
    let long = member(1, &[1, 1, 1, 1, 1], 5, "http");
    let short = |id| member(id, &[1, 1], 2, "http");
    // Entry 5 was committed, and one voter of three has it: the two others are older copies.
    let judged = answer(&[short(2), long.clone(), short(3)]);
    assert_eq!(codes(&judged), ["no-majority", "rolled-back", "behind", "rolled-back", "behind"]);
    assert_eq!(judged.recover_from.as_deref(), Some("it's n1"));
    assert!(!judged.sound);
    assert!(judged.next.iter().all(|step| !step.command.starts_with("systemctl")));
    assert!(judged.next[0].command.starts_with(r"etcdsnap save --data-dir 'it'\''s n1' "));
    // With one of them missing it may be the other that has it.
    let judged = answer(&[short(2), long]);
    assert_eq!(codes(&judged), ["behind"]);
    assert!(judged.sound && judged.next[0].command == "systemctl start etcd");
}

#[test]
fn tls_needs_files_that_only_the_operator_knows() {
    let judged = answer(&[member(1, &[1], 1, "https"), member(2, &[1], 1, "https")]);
    let commands: Vec<&str> = judged.next.iter().map(|step| step.command.as_str()).collect();
    let remove = commands.iter().find(|command| command.contains("member remove")).unwrap();
    assert!(remove.contains("--cacert=ca.crt --cert=client.crt --key=client.key"), "{remove}");
    let start = commands.iter().rfind(|command| command.starts_with("etcd ")).unwrap();
    // etcd listens on addresses, and is reached under names.
    assert!(start.contains("--listen-peer-urls https://0.0.0.0:2380"), "{start}");
    assert!(start.contains("--listen-client-urls https://10.0.0.3:2379"), "{start}");
    assert!(start.contains("--peer-cert-file /path/to/peer.crt"), "{start}");
}

#[test]
fn a_majority_of_an_even_number_and_what_covers_it_are_told_apart() {
    let mut one = member(1, &[1, 1], 2, "http");
    if let Some(log) = &mut one.log {
        log.conf.voters = vec![1, 2];
    }
    // Each of two voters acknowledged every write: nothing is lost, though one cannot elect itself.
    let judged = answer(&[one]);
    let quorum = judged.quorum.as_ref().unwrap();
    assert_eq!((quorum.voters, quorum.intact, quorum.needed), (2, 1, 2));
    assert!(quorum.complete && judged.sound);
    assert!(judged.next[0].why.contains("nothing that was acknowledged is lost"));
}

/// What all steps print, after `change` was made to every member that a lone member's db lists.
fn printed(count: u64, change: impl Fn(&mut Member)) -> Vec<String> {
    let mut one = member(1, &[1], 1, "http");
    let state = one.state.as_mut().unwrap();
    let like = state.members[0].clone();
    state.members = (1..=count).map(|id| Member { id: MemberId(id), ..like.clone() }).collect();
    state.members.iter_mut().for_each(change);
    one.log.as_mut().unwrap().conf.voters = (1..=count).collect();
    answer(&[one]).next.into_iter().map(|step| step.command).collect()
}

#[test]
fn commands_that_cannot_be_run_fill_no_memory() {
    let long = "n".repeat(1 << 20);
    let commands = printed(3, |member| member.name.clone_from(&long));
    let pairs = "member-1=http://host-1:2380,member-2=http://host-1:2380";
    assert!(commands.iter().any(|command| command.contains(pairs)), "{commands:?}");
    let commands = printed(3, |member| member.peer_urls.push(long.clone()));
    assert!(commands.iter().all(|command| command.len() < 1000), "{commands:?}");
    // One start line for each of them would name all of them.
    let commands = printed(1000, |member| member.name = format!("n{}", member.id));
    assert!(commands.iter().any(|command| command.starts_with("etcdsnap restore ")));
    assert!(commands.concat().len() < 1000, "{commands:?}");
    let url = "http://127.0.0.1:2380";
    let commands = printed(3, |member| member.peer_urls = vec![url.to_owned(); 10_000]);
    assert!(commands.concat().len() < 1000, "{}", commands.concat().len());
}

#[test]
fn what_diverged_is_called_overruled_only_where_nobody_missing_can_have_committed_it() {
    let voters = |mut one: Facts, voters: u64| {
        if let Some(log) = &mut one.log {
            log.conf.voters = (1..=voters).collect();
        }
        one
    };
    let pair = |size| {
        [
            voters(member(1, &[1, 1, 3, 3], 2, "http"), size),
            voters(member(2, &[1, 1, 4], 2, "http"), size),
        ]
    };
    // Of five, the three others may have a leader of term 5 that had entries 3 and 4, and committed them.
    for (size, certain) in [(3, true), (5, false)] {
        let facts = pair(size);
        let survey = Survey::new(&facts);
        assert_eq!(survey.chosen, Some(1));
        assert_eq!(survey.standings[0].diverged, Some((3, 4)));
        assert_eq!(survey.standings[0].overruled.is_some(), certain, "{size}");
        assert_eq!(codes(&answer(&facts)).contains(&"overruled"), certain, "{size}");
    }
}

#[test]
fn revisions_that_were_overruled_make_no_second_history() {
    // n1 led alone and wrote 8 revisions that nobody took; n2 received a snapshot of what came after.
    let mut alone = member(1, &[1; 20], 10, "http");
    if let Some(state) = &mut alone.state {
        (state.revision_committed, state.entries_uncommitted) = (Some(10), 10);
    }
    let mut later = member(2, &[2; 5], 30, "http");
    if let Some(log) = &mut later.log {
        log.start = super::Position { term: 2, index: 25 };
        log.first = 26;
    }
    if let Some(state) = &mut later.state {
        (state.applied, state.revision) = (Some(30), 12);
    }
    let facts = [alone, later];
    assert_eq!(Survey::new(&facts).kinship, super::Kinship::One);
}

#[test]
fn dbs_without_a_log_are_not_compared_across_clusters() {
    let db = |id: u64, voters: &[u64]| {
        let mut one = member(id, &[], 0, "http");
        let position = super::Position { term: 2, index: 10 + id };
        let conf = Conf { voters: voters.to_vec(), learners: Vec::new() };
        (one.member, one.cluster) = (None, None);
        one.log = Some(LogFacts::of_db(position, conf));
        if let Some(state) = &mut one.state {
            (state.applied, state.term) = (Some(10 + id), Some(2));
        }
        one
    };
    let chosen = |facts: &[Facts]| answer(facts).recover_from;
    assert_eq!(chosen(&[db(1, &[1, 2, 3]), db(2, &[1, 2, 3])]).as_deref(), Some("it's n2"));
    assert_eq!(chosen(&[db(1, &[1, 2, 3]), db(2, &[4, 5, 6])]), None);
}

#[test]
fn what_the_db_of_one_member_contains_is_under_every_choice() {
    // n1 lost the end of its log, which its db contains; n2 has a later term, and not what was committed.
    let mut ahead = member(1, &[1, 1], 8, "http");
    if let Some(log) = &mut ahead.log {
        (log.db, log.whole) = (super::Position { term: 2, index: 8 }, false);
    }
    if let Some(state) = &mut ahead.state {
        (state.applied, state.term) = (Some(8), Some(2));
    }
    ahead.starts = None;
    if let Ok(judged) = &mut ahead.judged {
        (judged.verdict, judged.ways) = (Verdict::RecoverableWithLoss, vec![Way::NoWal]);
    }
    let facts = [member(2, &[1, 1, 1, 1, 3], 2, "http"), ahead.clone()];
    let judged = answer(&facts);
    assert_eq!(judged.recover_from.as_deref(), Some("it's n1"));
    assert!(judged.next.iter().any(|step| step.command.contains("--no-wal")));
    // Two of three lack what must have been committed with them: neither is started.
    let short = |id| member(id, &[1, 1, 1], 2, "http");
    let facts = [short(2), ahead, short(3)];
    let judged = answer(&facts);
    assert_eq!(judged.recover_from.as_deref(), Some("it's n1"));
    assert_eq!(codes(&judged).iter().filter(|code| **code == "rolled-back").count(), 2);
}
