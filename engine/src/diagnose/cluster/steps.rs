//! What to run next: reasons for people, commands for a shell.

use std::path::{Path, PathBuf};

use super::{
    answer::Step,
    judge::Gathered,
    recover::{base, recover},
    replace::{replace, start},
    roster::etcdctl,
    survey::Kinship,
};
use crate::{
    diagnose::{Verdict, Way},
    shell,
};

/// The steps, the one that costs least first.
pub(super) fn next(gathered: &Gathered<'_>) -> Vec<Step> {
    let mut steps = Vec::new();
    running(gathered, &mut steps);
    match &gathered.survey.kinship {
        Kinship::Clusters(clusters) => {
            let why = |id: String| format!("judge the members of cluster {id} on their own");
            steps.extend(
                clusters
                    .iter()
                    .map(|(id, places)| step(why(id.to_string()), doctor(gathered, places))),
            );
            return steps;
        }
        Kinship::Histories { groups, .. } => {
            let why = "keep copies of all dirs, decide which history is to go on, and judge its members on their own";
            steps.extend(groups.iter().map(|places| step(why, doctor(gathered, places))));
            return steps;
        }
        Kinship::One => {}
    }
    let Some(chosen) = gathered.chosen() else {
        nothing_chosen(gathered, &mut steps);
        return steps;
    };
    let quorum = gathered.survey.quorum.as_ref();
    let majority = quorum.filter(|quorum| quorum.majority && !chosen.is_file);
    if let Some(quorum) = majority {
        start(gathered, quorum, &mut steps);
        replace(gathered, quorum, &mut steps);
    }
    recover(gathered, chosen, majority.is_some(), &mut steps);
    steps
}

pub(super) fn step(why: impl Into<String>, command: impl Into<String>) -> Step {
    Step { why: why.into(), command: command.into() }
}

fn doctor(gathered: &Gathered<'_>, places: &[usize]) -> String {
    let paths = places.iter().filter_map(|place| gathered.facts.get(*place));
    let words = ["etcdsnap", "doctor"].map(PathBuf::from);
    shell::line(words.into_iter().chain(paths.map(|one| one.path.clone())))
}

/// A running server writes to its files: what is read of them is not what it has.
fn running(gathered: &Gathered<'_>, steps: &mut Vec<Step>) {
    for one in gathered.facts.iter().filter(|one| one.running) {
        let path = one.path.display();
        let name = format!("{}.db", base(gathered, one));
        let members = one.state.as_ref().map(|state| state.members.as_slice()).unwrap_or_default();
        let own = members.iter().filter(|member| Some(member.id) == one.member);
        let urls: Vec<String> = own.flat_map(|member| member.client_urls.clone()).collect();
        steps.push(step(
            format!("{path}: {}", crate::diagnose::RUNNING),
            etcdctl(&urls, &["snapshot", "save", &name]),
        ));
    }
}

/// Without a choice: what can be looked at, and what can still be read.
fn nothing_chosen(gathered: &Gathered<'_>, steps: &mut Vec<Step>) {
    if let [one, other, ..] = gathered.contents.groups.as_slice() {
        let path = |group: &Vec<usize>| Some(&gathered.facts.get(*group.first()?)?.path);
        if let (Some(one), Some(other)) = (path(one), path(other)) {
            let words = [Path::new("etcdsnap"), Path::new("diff"), one, other];
            let why = "keep copies of all dirs, and see what the members do not agree on";
            steps.push(step(why, shell::line(words)));
        }
        return;
    }
    for one in gathered.facts {
        let ways = one.judged.as_ref().map(|judged| judged.ways.as_slice()).unwrap_or_default();
        let received = ways.iter().find_map(|way| match way {
            Way::Received(path) => Some(path),
            _ => None,
        });
        if let Some(path) = received {
            let out = Path::new("received.db");
            let save = [Path::new("etcdsnap"), "save".as_ref(), "--data-dir".as_ref(), path, out];
            steps.push(step("save the db that a leader sent", shell::line(save)));
            let doctor = [Path::new("etcdsnap"), "doctor".as_ref(), out];
            steps.push(step("see how it is restored", shell::line(doctor)));
        }
        let foreign_host = one
            .judged
            .as_ref()
            .is_ok_and(|judged| judged.findings.iter().any(|finding| finding.code == "big-endian"));
        // What is whole needs no salvage, which reads no such file either.
        if one.verdict() != Some(Verdict::SalvageOnly) || foreign_host {
            continue;
        }
        let out = one.path.file_name().map(PathBuf::from).unwrap_or_else(|| "member".into());
        let out = format!("salvaged-{}", out.display());
        let words = [
            Path::new("etcdsnap"),
            "salvage".as_ref(),
            &one.path,
            "--output".as_ref(),
            out.as_ref(),
            "--dry-run".as_ref(),
        ];
        steps.push(step(
            "restore the newest backup that `etcdsnap verify` calls sound; without one, see what can still be read of these files",
            shell::line(words),
        ));
    }
}
