//! etcd's JSON gateway: `POST /v3/…`, one call a request, no process started.
//!
//! Numbers of 64 bits are strings in this JSON and zero fields are left out;
//! [`int`] reads both forms.

use std::io::{BufRead, BufReader};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// What the server made of a request.
#[derive(Clone, Debug)]
pub enum Reply {
    Done(Value),
    /// The request was understood and refused, with etcd's message.
    Refused(String),
}

/// One connection to one member.
pub struct Gateway {
    base: String,
    agent: ureq::Agent,
    token: Option<String>,
}

impl Gateway {
    pub fn new(client_url: &str) -> Self {
        Self::with_timeout(client_url, Duration::from_secs(30))
    }

    /// A connection whose requests fail when no answer has come after `timeout`.
    pub fn with_timeout(client_url: &str, timeout: Duration) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(timeout))
            .build();
        Gateway { base: client_url.to_owned(), agent: config.into(), token: None }
    }

    /// From here on requests carry this user's token.
    pub fn log_in(&mut self, user: &str, password: &str) -> Result<()> {
        self.token = None;
        let answer =
            self.call("auth/authenticate", &json!({"name": user, "password": password}))?;
        let token = answer["token"].as_str().context("authenticate answered without a token")?;
        self.token = Some(token.to_owned());
        Ok(())
    }

    /// As [`Gateway::log_in`], where a refusal is no error; true when it was accepted.
    pub fn try_log_in(&mut self, user: &str, password: &str) -> Result<bool> {
        self.token = None;
        let who = json!({"name": user, "password": password});
        if let Reply::Done(answer) = self.send("auth/authenticate", &who)? {
            self.token = answer["token"].as_str().map(str::to_owned);
        }
        Ok(self.token.is_some())
    }

    pub fn log_out(&mut self) {
        self.token = None;
    }

    /// Sends `body` to `/v3/{path}`.
    pub fn send(&self, path: &str, body: &Value) -> Result<Reply> {
        let url = format!("{}/v3/{path}", self.base);
        let mut request = self.agent.post(&url);
        if let Some(token) = &self.token {
            request = request.header("Authorization", token);
        }
        let mut response = request.send_json(body).with_context(|| format!("POST {url}"))?;
        let status = response.status().as_u16();
        let text = response
            .body_mut()
            .with_config()
            .limit(1 << 30)
            .read_to_string()
            .with_context(|| format!("reading the answer of {url}"))?;
        // What is not there is also etcd's answer about leases, with a sentence of its own.
        ensure!(status != 404 || text.contains("etcdserver: "), "{url} is not served");
        let answer: Value = serde_json::from_str(text.trim())
            .with_context(|| format!("{url} answered {status} {text:?}"))?;
        if status == 200 && answer.get("error").is_none() {
            return Ok(Reply::Done(answer));
        }
        let message = answer["message"].as_str().or(answer["error"].as_str());
        Ok(Reply::Refused(message.map_or_else(|| text.clone(), str::to_owned)))
    }

    /// Sends `body` and takes a refusal for an error.
    pub fn call(&self, path: &str, body: &Value) -> Result<Value> {
        match self.send(path, body)? {
            Reply::Done(answer) => Ok(answer),
            Reply::Refused(message) => bail!("/v3/{path} {body}: {message}"),
        }
    }

    /// Watches every key from `start_revision` and returns the answers up to the first that
    /// carries events or ends the watch.
    pub fn watch_all_from(&self, start_revision: i64) -> Result<Vec<Value>> {
        let mut answers = Vec::new();
        self.watch(start_revision, |answer| {
            let last = answer["canceled"] == json!(true) || answer["events"].is_array();
            answers.push(answer);
            Ok(last)
        })?;
        Ok(answers)
    }

    /// The events of every key from revision `from` to revision `to`, which there must be.
    pub fn events(&self, from: i64, to: i64) -> Result<Vec<Value>> {
        let mut events = Vec::new();
        self.watch(from, |answer| {
            ensure!(answer["canceled"] != json!(true), "a watch from {from}: {answer}");
            events.extend(list(&answer["events"]).iter().cloned());
            let last = events.last().map_or(Ok(0), |event| int(&event["kv"]["mod_revision"]))?;
            Ok(last >= to)
        })?;
        // An answer may hold events of later revisions.
        events.retain(|event| int(&event["kv"]["mod_revision"]).is_ok_and(|at| at <= to));
        Ok(events)
    }

    /// Watches every key from `start_revision` until `take` says that it was the last answer.
    fn watch(
        &self,
        start_revision: i64,
        mut take: impl FnMut(Value) -> Result<bool>,
    ) -> Result<()> {
        let create = json!({"create_request": {
            "key": key(b"\0"), "range_end": key(b"\0"), "start_revision": start_revision.to_string()
        }});
        let url = format!("{}/v3/watch", self.base);
        let mut request = self.agent.post(&url);
        if let Some(token) = &self.token {
            request = request.header("Authorization", token);
        }
        let mut response = request.send_json(&create)?;
        ensure!(response.status() == 200, "{url} answered {}", response.status());
        for line in BufReader::new(response.body_mut().as_reader()).lines() {
            let mut line: Value = serde_json::from_str(&line.context("reading a watch")?)?;
            if take(line["result"].take())? {
                return Ok(());
            }
        }
        bail!("the watch from {start_revision} ended")
    }
}

/// Bytes as the gateway takes and gives them.
pub fn key(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// The bytes behind [`key`].
pub fn bytes(key: &str) -> Result<Vec<u8>> {
    STANDARD.decode(key).with_context(|| format!("{key:?} as base64"))
}

/// A field that may be a number, a string of digits, or left out because it is zero.
pub fn int(value: &Value) -> Result<i64> {
    match value {
        Value::Null => Ok(0),
        Value::String(digits) => digits.parse().with_context(|| format!("{digits:?} as a number")),
        other => other.as_i64().with_context(|| format!("{other} as a number")),
    }
}

/// As [`int`], for ids that use all 64 bits.
pub fn id(value: &Value) -> Result<u64> {
    match value {
        Value::Null => Ok(0),
        Value::String(digits) => digits.parse().with_context(|| format!("{digits:?} as an id")),
        other => other.as_u64().with_context(|| format!("{other} as an id")),
    }
}

/// The elements of a list that is left out when it is empty.
pub fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A text field that is left out when it is empty.
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
