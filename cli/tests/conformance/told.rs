//! What `restore` tells an admin who must act on it: each sentence is tried on a real server.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::boot;
use crate::dataset::loaded;
use crate::facts;
use crate::gateway::{Gateway, Reply, id, key};
use crate::ours;
use crate::peers::{Line, Needs, etcdctl};
use crate::restore_flags::RestoreFlags;
use crate::restoring::done;
use crate::run::Ran;
use crate::server::{Member, Spec, free_url};
use crate::suite::Suite;

pub fn trials(suite: &mut Suite) {
    for line in Line::ALL {
        suite.add(
            format!("told::the_printed_command_starts_etcd_{}", line.tag()),
            Needs::lines(&[line]),
            move |dir| printed_command_works(line, dir),
        );
    }
    suite.add(
        "told::a_cluster_id_that_comes_back_is_warned_of",
        Needs::lines(&[Line::V36]),
        |dir| {
            let set = loaded(Line::V36)?;
            // The address and the token the source was made with.
            let flags = RestoreFlags::single(dir.join("same"), &set.peer_url);
            let said = words(&done(ours::restore(&set.snapshot, &flags, &[])?)?);
            ensure!(said.contains("--initial-cluster-token"), "no remedy is named: {said}");
            let token = "another".to_owned();
            let flags = RestoreFlags { data_dir: dir.join("new"), token, ..flags };
            let said = words(&done(ours::restore(&set.snapshot, &flags, &[])?)?);
            ensure!(!said.contains("warning"), "warned without need: {said}");
            Ok(())
        },
    );
    suite.add(
        "told::an_alarm_that_will_refuse_writes_is_reported",
        Needs::lines(&[Line::V36]),
        alarm_is_reported,
    );
    suite.add(
        "told::servers_that_refuse_the_data_are_named",
        Needs::lines(&[Line::V36, Line::V37]),
        |dir| {
            let set = loaded(Line::V37)?;
            let flags = RestoreFlags::single(dir.join("data"), &free_url()?);
            let said = words(&done(ours::restore(&set.snapshot, &flags, &[])?)?);
            ensure!(said.contains("3.6"), "3.6 is not named: {said}");
            let refused = Member::start(boot::spec(Line::V36, &flags)).err();
            refused.context("3.6 boots 3.7 data")?;
            Ok(())
        },
    );
}

/// Everything it said, whatever the stream.
fn words(ran: &Ran) -> String {
    ran.stdout_text() + &ran.stderr_text()
}

/// The command is taken as printed; only the client port must not be the one of every other etcd.
fn printed_command_works(line: Line, dir: &Path) -> Result<()> {
    let set = loaded(line)?;
    let flags = RestoreFlags::single(dir.join("data"), &free_url()?);
    let said = words(&done(ours::restore(&set.snapshot, &flags, &[])?)?);
    let command = said
        .lines()
        .find_map(|line| line.trim().strip_prefix("etcd "))
        .with_context(|| format!("no command line in {said}"))?;
    let spec = Spec { data_dir: flags.data_dir.clone(), ..boot::spec(line, &flags) };
    let arguments: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
    let mut member = Member::spawn_as_told(spec, &arguments)?;
    member.wait_until_healthy()?;
    let (_, members) = facts::members(&member.gateway())?;
    ensure!(members.len() == 1 && members[0].name == "m1", "{members:?}");
    ensure!(members[0].peer_urls == [flags.advertise], "{members:?}");
    let content = facts::content(&member.gateway())?;
    boot::compare_content(&content, &set.content)
}

fn alarm_is_reported(dir: &Path) -> Result<()> {
    let line = Line::V36;
    let member = Member::start(Spec::single(line, &dir.join("live"), &free_url()?))?;
    let gateway = member.gateway();
    let status = gateway.call("maintenance/status", &json!({}))?;
    let own = id(&status["header"]["member_id"])?.to_string();
    let alarm = json!({"action": "ACTIVATE", "memberID": own, "alarm": "NOSPACE"});
    gateway.call("maintenance/alarm", &alarm)?;
    let snapshot = dir.join("snapshot.db");
    let args = ["snapshot".as_ref(), "save".as_ref(), snapshot.as_os_str()];
    etcdctl(line, &member.client_url, None, &args)?;
    member.sigkill()?;

    let flags = RestoreFlags::single(dir.join("data"), &free_url()?);
    let said = words(&done(ours::restore(&snapshot, &flags, &[])?)?);
    ensure!(said.contains("NOSPACE"), "the alarm is not named: {said}");
    let member = Member::start(boot::spec(line, &flags))?;
    let refused = put_is_refused(&member.gateway())?;
    ensure!(refused, "the report warns, but the server takes writes");
    Ok(())
}

fn put_is_refused(gateway: &Gateway) -> Result<bool> {
    let put = json!({"key": key(b"k"), "value": key(b"v")});
    Ok(
        matches!(gateway.send("kv/put", &put)?, Reply::Refused(message) if message.contains("space")),
    )
}
