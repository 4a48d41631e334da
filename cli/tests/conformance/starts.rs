//! The start lines that `restore` prints, in the hands of real servers, word by word. The danger: a command that etcd
//! refuses, at the worst time; etcd listens on no host name, and two members on one host need ports of their own.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::boot;
use crate::dataset::{Dataset, loaded};
use crate::facts;
use crate::gateway::{list, text};
use crate::ours;
use crate::peers::{Line, Needs};
use crate::restore_flags::RestoreFlags;
use crate::server::{Member, free_url};
use crate::suite::Suite;

pub fn trials(suite: &mut Suite) {
    for line in Line::ALL {
        let tag = line.tag();
        suite.add(
            format!("starts::a_peer_url_with_a_host_name_boots_on_{tag}"),
            Needs::lines(&[line]),
            move |dir| host_names(&*loaded(line)?, dir),
        );
        suite.add(
            format!("starts::three_members_on_one_host_boot_on_{tag}"),
            Needs::lines(&[line]),
            move |dir| one_host(&*loaded(line)?, dir),
        );
    }
}

/// What is printed for each member.
fn started(said: &Value) -> Vec<Vec<String>> {
    let restored = list(&said["restored"]).iter();
    restored.map(|one| list(&one["start"]).iter().skip(1).map(text).collect()).collect()
}

/// The value of a flag.
fn value<'w>(words: &'w [String], flag: &str) -> Option<&'w str> {
    let at = words.iter().position(|word| word == flag)?;
    words.get(at + 1).map(String::as_str)
}

fn needed<'w>(words: &'w [String], flag: &str) -> Result<&'w str> {
    value(words, flag).with_context(|| format!("no {flag} in {words:?}"))
}

/// The loopback URL of the port that `url` names.
fn near(url: &str) -> Result<String> {
    let (_, port) = url.rsplit_once(':').with_context(|| url.to_owned())?;
    Ok(format!("http://127.0.0.1:{port}"))
}

/// `advertised`, and the client URLs among `words`, at a port that nobody uses.
fn elsewhere(advertised: &str, words: &mut [String]) -> Result<String> {
    let port = |url: &str| url.rsplit_once(':').map(|(_, port)| format!(":{port}"));
    let old = port(advertised).context("port")?;
    let new = port(&free_url()?).context("port")?;
    for at in 1..words.len() {
        if words[at - 1].ends_with("-client-urls") {
            words[at] = words[at].replace(&old, &new);
        }
    }
    Ok(advertised.replace(&old, &new))
}

fn host_names(set: &Dataset, dir: &Path) -> Result<()> {
    let certificates = certificates(dir)?;
    let hosts = [("http", "localhost"), ("http", "cp1.example"), ("https", "cp1.example")];
    for (number, (scheme, host)) in hosts.into_iter().enumerate() {
        // Another program may take the port between the choice and the start: these members listen on every address.
        for attempt in 0..3 {
            let data = dir.join(format!("data-{number}-{attempt}"));
            match host_name(set, data, scheme, host, certificates.as_deref()) {
                Err(error)
                    if attempt < 2 && format!("{error:#}").contains("address already in use") => {}
                result => {
                    result?;
                    break;
                }
            }
        }
    }
    Ok(())
}

/// A member restored to `data` with a peer URL at `host` starts as printed.
fn host_name(
    set: &Dataset,
    data: PathBuf,
    scheme: &str,
    host: &str,
    certificates: Option<&[(String, String)]>,
) -> Result<()> {
    let url = free_url()?;
    let (_, port) = url.rsplit_once(':').context("port")?;
    let peer_url = format!("{scheme}://{host}:{port}");
    let flags = RestoreFlags::single(data, &peer_url);
    let said = ours::restored(&set.snapshot, &flags, &[])?;
    let mut words = started(&said).pop().with_context(|| said.to_string())?;
    let listens = match host {
        "localhost" => peer_url.clone(),
        _ => format!("{scheme}://0.0.0.0:{port}"),
    };
    ensure!(needed(&words, "--listen-peer-urls")? == listens, "{words:?}");
    ensure!(needed(&words, "--initial-advertise-peer-urls")? == peer_url, "{words:?}");
    // Its peers reached the member at 127.0.0.1, and its clients did. They find it at its new host.
    let advertised = needed(&words, "--advertise-client-urls")?.to_owned();
    let served = if host == "localhost" { "127.0.0.1" } else { host };
    ensure!(advertised.starts_with(&format!("http://{served}:")), "{words:?}");
    let secured = value(&words, "--peer-cert-file").is_some();
    ensure!(secured == (scheme == "https"), "{words:?}");
    if secured {
        let Some(certificates) = certificates else { return Ok(()) };
        for (placeholder, file) in certificates {
            words
                .iter_mut()
                .filter(|word| *word == placeholder)
                .for_each(|word| word.clone_from(file));
        }
    }
    ensure!(!words.iter().any(|word| word.starts_with("/path/to/")), "{words:?}");
    // The member that the data is from may still serve at the printed port.
    let advertised = elsewhere(&advertised, &mut words)?;
    let spec = boot::spec(set.line, &flags);
    let mut member = Member::spawn_exactly(spec, near(&advertised)?, &words)?;
    member.wait_until_healthy().with_context(|| format!("{words:?}"))?;
    let gateway = boot::gateway(&member, set.auth)?;
    let (_, members) = facts::members(&gateway)?;
    ensure!(members.len() == 1 && members[0].peer_urls == [peer_url], "{members:?}");
    let served = &gateway.call("cluster/member/list", &json!({}))?["members"][0];
    ensure!(served["clientURLs"] == json!([advertised]), "{served}");
    boot::compare_content(&facts::content(&gateway)?, &set.content)?;
    member.sigkill()
}

/// Certificates for one member's peers, by their placeholders; `None`, said aloud, without openssl.
fn certificates(dir: &Path) -> Result<Option<Vec<(String, String)>>> {
    let (key, certificate) = (dir.join("peer.key"), dir.join("peer.crt"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=cp1.example",
        ])
        .args(["-addext", "subjectAltName=DNS:cp1.example", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output();
    match made {
        Ok(made) if made.status.success() => {}
        Ok(made) => bail!("openssl: {}", String::from_utf8_lossy(&made.stderr)),
        Err(error) => {
            eprintln!("conformance: SKIPPED the start with https: openssl: {error}");
            return Ok(None);
        }
    }
    let file = |path: &PathBuf| path.display().to_string();
    let files = [
        ("/path/to/peer.crt", file(&certificate)),
        ("/path/to/peer.key", file(&key)),
        ("/path/to/peer-ca.crt", file(&certificate)),
    ];
    Ok(Some(files.map(|(placeholder, file)| (placeholder.to_owned(), file)).to_vec()))
}

fn one_host(set: &Dataset, dir: &Path) -> Result<()> {
    // A host of its own for each line: tests run beside each other.
    let host = format!("127.0.0.{}", 40 + set.line as u8);
    let mut flags = Vec::new();
    for name in ["a", "b", "c"] {
        let url = free_url()?.replace("127.0.0.1", &host);
        flags.push(RestoreFlags {
            name: name.into(),
            ..RestoreFlags::single(dir.join("root").join(name), &url)
        });
    }
    let cluster: Vec<String> =
        flags.iter().map(|one| format!("{}={}", one.name, one.advertise)).collect();
    let cluster = cluster.join(",");
    let mut args: Vec<OsString> = vec!["restore".into(), set.snapshot.clone().into()];
    args.extend(["-w", "json", "--initial-cluster", &cluster, "--all-members"].map(OsString::from));
    args.push(dir.join("root").into());
    let ran = ours::succeed(&args)?;
    let said: Value = serde_json::from_slice(&ran.stdout).with_context(|| format!("{ran}"))?;

    let mut members = Vec::new();
    for (one, words) in flags.iter_mut().zip(started(&said)) {
        one.initial_cluster.clone_from(&cluster);
        let client = needed(&words, "--advertise-client-urls")?.to_owned();
        members.push(Member::spawn_exactly(boot::spec(set.line, one), client, &words)?);
    }
    for member in &mut members {
        member.wait_until_healthy()?;
    }
    for member in &members {
        let gateway = boot::gateway(member, set.auth)?;
        let (_, listed) = facts::members(&gateway)?;
        ensure!(listed.len() == 3, "{listed:?}");
        boot::compare_content(&facts::content(&gateway)?, &set.content)?;
    }
    Ok(())
}
