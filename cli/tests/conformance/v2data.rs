//! Keys of the v2 API: what is read from snapfile and log, and what a server serves that starts on the same files.
//!
//! The danger guarded against: the last copy of data that no db and no snapshot has, listed with keys missing or old; and an
//! upgrade that ends at a server that refuses to start.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use fastrand::Rng;
use serde_json::{Value, json};

use crate::files::copy_tree;
use crate::gateway::{Gateway, key};
use crate::ours;
use crate::peers::{Line, Needs};
use crate::server::{Member, Spec, free_url};
use crate::suite::{Suite, is_long};

pub fn trials(suite: &mut Suite) {
    for line in [Line::V34, Line::V35] {
        for (how, snapshot_count) in [("log", 100_000), ("snapfiles", 50)] {
            suite.add(
                format!("v2data::keys_of_{}_from_{how}_are_those_it_serves", line.tag()),
                Needs::lines(&[line]),
                move |dir| random_requests(line, snapshot_count, dir),
            );
        }
        suite.add(
            format!("v2data::etcd_3_6_starts_on_data_of_{}_as_said", line.tag()),
            Needs::lines(&[line, Line::V36]),
            move |dir| content_decides(line, dir),
        );
    }
}

/// The v2 API of a member.
struct V2 {
    base: String,
    agent: ureq::Agent,
}

impl V2 {
    fn new(member: &Member) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(30)))
            .build();
        V2 { base: format!("{}/v2/keys", member.client_url), agent: config.into() }
    }

    /// Asks for a change; whether it is refused is the server's business.
    fn change(&self, method: &str, path: &str, fields: &[(&str, String)]) -> Result<Value> {
        let form: Vec<String> = fields
            .iter()
            .map(|(name, value)| format!("{name}={}", value.replace(' ', "+")))
            .collect();
        let form = form.join("&");
        let url = format!("{}{path}", self.base);
        let sent = match method {
            "DELETE" => self.agent.delete(format!("{url}?{form}")).call(),
            _ => {
                let request =
                    if method == "PUT" { self.agent.put(&url) } else { self.agent.post(&url) };
                request.header("Content-Type", "application/x-www-form-urlencoded").send(form)
            }
        };
        let mut answer = sent.with_context(|| format!("{method} {url}"))?;
        Ok(answer.body_mut().read_json()?)
    }

    /// The node at `path` with all below it; `None` when there is none.
    fn node(&self, path: &str) -> Result<Option<Value>> {
        let url = format!("{}{path}?recursive=true&sorted=true", self.base);
        let mut answer = self.agent.get(&url).call().with_context(|| format!("GET {url}"))?;
        let answer: Value = answer.body_mut().with_config().limit(1 << 28).read_json()?;
        Ok(answer.get("node").cloned())
    }
}

/// Some path; names that begin with `_` are hidden from lists.
fn path(rng: &mut Rng) -> String {
    let names = ["a", "b", "c", "d-e", "d", "_h", "f.g"];
    (0..rng.usize(1..4)).map(|_| format!("/{}", names[rng.usize(..names.len())])).collect()
}

fn value(rng: &mut Rng) -> String {
    match rng.u8(..12) {
        // Percent-encoded: no UTF-8.
        0 => "%ff%fe".into(),
        1 => "%3c%26%22%0a%e2%80%a8".into(),
        2 => String::new(),
        n => format!("v{}", n % 4),
    }
}

/// One request of a random kind.
fn request(v2: &V2, rng: &mut Rng, index: &mut u64) -> Result<()> {
    let at = path(rng);
    let mut fields: Vec<(&str, String)> = Vec::new();
    let flag = |name| (name, "true".to_owned());
    let near = index.saturating_sub(rng.u64(..4));
    let method = match rng.u8(..100) {
        0..55 => {
            match rng.u8(..10) {
                0 => fields.push(flag("dir")),
                1 => fields.extend([flag("refresh"), flag("prevExist")]),
                _ => fields.push(("value", value(rng))),
            }
            match rng.u8(..12) {
                0 => fields.push(flag("prevExist")),
                1 => fields.push(("prevExist", "false".into())),
                2 => fields.push(("prevValue", format!("v{}", rng.u8(..4)))),
                3 => fields.push(("prevIndex", near.max(1).to_string())),
                _ => {}
            }
            match rng.u8(..10) {
                0 => fields.push(("ttl", "1".into())),
                1 => fields.push(("ttl", "5000".into())),
                2 => fields.push(("ttl", String::new())),
                _ => {}
            }
            "PUT"
        }
        55..75 => {
            fields.push(("value", value(rng)));
            if rng.u8(..6) == 0 {
                fields.push(("ttl", "7000".into()));
            }
            "POST"
        }
        _ => {
            match rng.u8(..8) {
                0 => fields.push(("prevValue", format!("v{}", rng.u8(..4)))),
                1 => fields.push(("prevIndex", near.max(1).to_string())),
                2 => fields.push(flag("dir")),
                3 | 4 => fields.push(flag("recursive")),
                _ => {}
            }
            "DELETE"
        }
    };
    let answer = v2.change(method, &at, &fields)?;
    let now = [&answer["node"]["modifiedIndex"], &answer["index"]].into_iter();
    *index = now.filter_map(Value::as_u64).fold(*index, u64::max);
    Ok(())
}

/// Everything else that changes the store's index: a learner comes and goes, the member moves there and back.
fn membership(gateway: &Gateway, own_url: &str) -> Result<()> {
    let added = json!({"peerURLs": [free_url()?], "isLearner": true});
    let added = gateway.call("cluster/member/add", &added)?;
    gateway.call("cluster/member/remove", &json!({"ID": added["member"]["ID"]}))?;
    let own = gateway.call("cluster/member/list", &json!({}))?["members"][0]["ID"].clone();
    for url in [free_url()?, own_url.to_owned()] {
        gateway.call("cluster/member/update", &json!({"ID": own, "peerURLs": [url]}))?;
    }
    Ok(())
}

fn spec(line: Line, dir: &Path, snapshot_count: u64) -> Result<Spec> {
    let mut spec = Spec::single(line, &dir.join("data"), &free_url()?);
    spec.extra = vec!["--enable-v2=true".into(), format!("--snapshot-count={snapshot_count}")];
    Ok(spec)
}

fn random_requests(line: Line, snapshot_count: u64, dir: &Path) -> Result<()> {
    let spec = spec(line, dir, snapshot_count)?;
    let mut rng = Rng::with_seed(crate::dataset::seed());
    let mut member = Member::start(spec.clone())?;
    let mut index = 0;
    for round in 0..if is_long() { 12 } else { 3 } {
        let (v2, gateway) = (V2::new(&member), member.gateway());
        for n in 0..250 {
            request(&v2, &mut rng, &mut index)?;
            if n % 10 == 0 {
                gateway.call("kv/put", &json!({"key": key(b"k"), "value": key(&[n])}))?;
            }
        }
        if round == 1 {
            membership(&gateway, &spec.peer_url)?;
            request(&v2, &mut rng, &mut index)?;
            // What ends within a second does so while the server runs.
            std::thread::sleep(Duration::from_secs(3));
            for _ in 0..40 {
                request(&v2, &mut rng, &mut index)?;
            }
        }
        member.sigkill()?;
        let exported = exported(&spec.data_dir)?;
        member = Member::start(spec.clone())?;
        std::thread::sleep(Duration::from_secs(3));
        compare(&V2::new(&member), exported).with_context(|| format!("round {round}"))?;
    }
    Ok(())
}

/// What is said of a key: the same of ours and of the server's.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Fact {
    value: Option<String>,
    created: u64,
    modified: u64,
    expiration: Option<String>,
}

fn exported(data_dir: &Path) -> Result<BTreeMap<String, Fact>> {
    let ran = ours::succeed(&ours::words(&["export-v2"], data_dir, &[]))?;
    let answer: Value = serde_json::from_slice(&ran.stdout).with_context(|| format!("{ran}"))?;
    let keys = answer["keys"].as_array().context("no keys")?;
    let mut last = String::new();
    let mut facts = BTreeMap::new();
    for key in keys {
        let path = key["path"].as_str().context("no path")?.to_owned();
        ensure!(last < path, "{path} behind {last}");
        last.clone_from(&path);
        let value = match &key["valueBase64"] {
            // The server shows what is no UTF-8 as Go writes it into JSON.
            Value::String(base64) => {
                Some(String::from_utf8_lossy(&STANDARD.decode(base64)?).into_owned())
            }
            _ => key["value"].as_str().map(str::to_owned),
        };
        ensure!(value.is_none() == (key["dir"] == json!(true)), "{key}");
        let number = |name: &str| key[name].as_u64().with_context(|| format!("no {name}: {key}"));
        let expiration = key["expiration"].as_str().map(str::to_owned);
        let (created, modified) = (number("createdIndex")?, number("modifiedIndex")?);
        facts.insert(path, Fact { value, created, modified, expiration });
    }
    Ok(facts)
}

/// The nodes below `node`, without itself.
fn below(node: &Value, facts: &mut BTreeMap<String, Fact>) -> Result<()> {
    for node in node["nodes"].as_array().into_iter().flatten() {
        insert(node, facts)?;
    }
    Ok(())
}

fn insert(node: &Value, facts: &mut BTreeMap<String, Fact>) -> Result<()> {
    let path = node["key"].as_str().context("no key")?.to_owned();
    let number = |name: &str| node[name].as_u64().with_context(|| format!("no {name}: {node}"));
    let value = node["value"].as_str().map(str::to_owned);
    let expiration = node["expiration"].as_str().map(str::to_owned);
    let (created, modified) = (number("createdIndex")?, number("modifiedIndex")?);
    facts.insert(path, Fact { value, created, modified, expiration });
    below(node, facts)
}

fn compare(v2: &V2, mut exported: BTreeMap<String, Fact>) -> Result<()> {
    // What ends within 5 seconds of being made has ended: the server has deleted it by now, with all below it.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_nanos();
    let now = etcdsnap_engine::v2store::rfc3339(i64::try_from(now)?);
    let ended: Vec<String> = exported
        .iter()
        .filter(|(_, fact)| fact.expiration.as_ref().is_some_and(|end| *end < now))
        .map(|(path, _)| path.clone())
        .collect();
    exported.retain(|path, _| {
        !ended.iter().any(|end| path == end || path.starts_with(&format!("{end}/")))
    });
    let mut served = BTreeMap::new();
    below(&v2.node("/")?.context("no root")?, &mut served)?;
    // Hidden keys are in no list, and answered when they are asked for.
    for path in exported.keys().filter(|path| path.contains("/_")) {
        if path.rsplit('/').next().is_some_and(|name| name.starts_with('_')) {
            let node = v2.node(path)?.with_context(|| format!("{path} is not served"))?;
            insert(&node, &mut served)?;
        }
    }
    ensure!(exported.len() > 5, "hardly a key: {exported:?}");
    for (path, fact) in &served {
        ensure!(
            exported.get(path) == Some(fact),
            "{path}: {:?}, served {fact:?}",
            exported.get(path)
        );
    }
    let more = exported.keys().find(|path| !served.contains_key(*path));
    ensure!(more.is_none(), "{more:?} is not served");
    Ok(())
}

/// What a client does before the last snapshot of the server, and behind it.
struct Story {
    name: &'static str,
    before: &'static [(&'static str, &'static str, &'static str)],
    behind: &'static [(&'static str, &'static str, &'static str)],
    /// What `doctor` says of v2 data.
    said: &'static str,
}

const STORIES: [Story; 5] = [
    Story { name: "nothing", before: &[], behind: &[], said: "" },
    Story {
        name: "key",
        before: &[("PUT", "/foo/bar", "1")],
        behind: &[],
        said: "1 key and 1 directory of the v2 API",
    },
    Story {
        name: "deleted",
        before: &[("PUT", "/foo", "1"), ("DELETE", "/foo", "")],
        behind: &[],
        said: "",
    },
    Story {
        name: "log",
        before: &[],
        behind: &[("PUT", "/foo", "1")],
        said: "1 key of the v2 API",
    },
    Story {
        name: "deleted-log",
        before: &[],
        behind: &[("PUT", "/foo", "1"), ("DELETE", "/foo", "")],
        said: "the v2 store is empty, but the log has 2 requests of the v2 API",
    },
];

fn content_decides(line: Line, dir: &Path) -> Result<()> {
    for story in &STORIES {
        let place = dir.join(story.name);
        std::fs::create_dir(&place)?;
        held_against_3_6(line, story, &place).with_context(|| story.name.to_owned())?;
    }
    Ok(())
}

fn held_against_3_6(line: Line, story: &Story, dir: &Path) -> Result<()> {
    let spec = spec(line, dir, 20)?;
    let member = Member::start(spec.clone())?;
    let (v2, gateway) = (V2::new(&member), member.gateway());
    let requests = |list: &[(&str, &str, &str)]| -> Result<()> {
        for (method, path, value) in list {
            v2.change(method, path, &[("value", (*value).to_owned())])?;
        }
        Ok(())
    };
    requests(story.before)?;
    for n in 0..30 {
        gateway.call("kv/put", &json!({"key": key(b"k"), "value": key(&[n])}))?;
    }
    std::thread::sleep(Duration::from_secs(1));
    requests(story.behind)?;
    member.sigkill()?;
    let info = ours::succeed(&ours::words(&["info", "-w", "json"], &spec.data_dir, &[]))?;
    let info: Value = serde_json::from_slice(&info.stdout)?;
    let servers = info["servers"].as_array().context("no servers")?;
    let of_36 = servers.iter().find(|server| server["version"] == json!("3.6.16"));
    let starts = of_36.context("3.6.16 is not listed")?["starts"] == json!(true);
    ensure!(starts == story.said.is_empty(), "info says of 3.6.16: {of_36:?}");
    for command in ["doctor", "verify"] {
        let ran = ours::succeed(&ours::words(&[command, "-w", "json"], &spec.data_dir, &[]))?;
        let answer: Value = serde_json::from_slice(&ran.stdout)?;
        let findings = answer["findings"].as_array().context("no findings")?.iter();
        let mut found = findings.filter(|finding| finding["code"] == json!("v2-data"));
        let message = found.next().map(|finding| finding["message"].to_string());
        let said = message.unwrap_or_default().contains(story.said);
        ensure!(said, "{command} says nothing of v2 data: {ran}");
        ensure!(!story.said.is_empty() || !ran.stdout_text().contains("v2-data"), "{ran}");
    }
    let copy = dir.join("copy");
    copy_tree(&spec.data_dir, &copy)?;
    let mut member =
        Member::spawn(Spec { line: Line::V36, data_dir: copy, extra: Vec::new(), ..spec })?;
    let healthy = member.wait_until_healthy();
    ensure!(healthy.is_ok() == starts, "3.6.16 starts: {}, said {starts}", healthy.is_ok());
    if !starts {
        let log = member.log()?;
        let why = ["disallowed custom content in v2store", "disallowed v2 WAL"];
        ensure!(why.iter().any(|why| log.contains(why)), "refused for another reason:\n{log}");
    }
    Ok(())
}
