//! The alarms that keep a cluster from writing.

use std::path::Path;

use serde::Serialize;

use super::{Answered, Input, ask_about_few};
use crate::{
    error::Error,
    finding::Finding,
    ids::MemberId,
    member::Options,
    pb::etcdserverpb::AlarmType,
    progress::Progress,
    schema::{Store, small},
};

/// Alarms by member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Alarms {
    /// In the order of the bucket.
    pub alarms: Vec<Alarm>,
    /// Records that do not decode.
    #[serde(skip)]
    pub findings: Vec<Finding>,
}

/// An alarm that a member raised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Alarm {
    /// The member.
    pub member_id: MemberId,
    /// etcd's name of the alarm, such as `NOSPACE`; a number that etcd does not know as it is.
    pub alarm: String,
}

/// Lists the alarms.
///
/// # Errors
/// When the input cannot be read or a page is damaged.
pub fn alarms(
    path: &Path,
    reading: &Options,
    progress: &dyn Progress,
) -> Result<Answered<Alarms>, Error> {
    let question = |input: &Input| {
        let listed = small::alarms(&Store::new(input.sound_db(progress)?))?;
        let alarms = listed
            .records
            .iter()
            .map(|one| Alarm { member_id: MemberId(one.member_id), alarm: name(one.alarm) })
            .collect();
        Ok(Alarms { alarms, findings: listed.findings })
    };
    ask_about_few(path, reading, progress, question, |_| false)
}

fn name(alarm: i32) -> String {
    match AlarmType::try_from(alarm) {
        Ok(AlarmType::None) => "NONE".to_owned(),
        Ok(AlarmType::Nospace) => "NOSPACE".to_owned(),
        Ok(AlarmType::Corrupt) => "CORRUPT".to_owned(),
        Err(_) => alarm.to_string(),
    }
}
