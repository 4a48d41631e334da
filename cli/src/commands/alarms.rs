//! `alarms`: what keeps a cluster from writing.

use anyhow::Result;
use etcdsnap_engine::{
    pb::etcdserverpb::{AlarmMember, AlarmType},
    schema::{Store, small},
};
use serde::Serialize;

use super::{Context, sound};
use crate::{
    args::{Format, Input},
    exit::{Answer, Exit, say},
    input::ask,
    output::{self, Table},
};

#[derive(Serialize)]
struct Json {
    alarms: Vec<AlarmJson>,
}

#[derive(Serialize)]
struct AlarmJson {
    /// Lower-case hex.
    #[serde(rename = "memberId")]
    member_id: String,
    alarm: String,
}

/// Lists the alarms.
pub fn run(context: &Context, args: &Input) -> Result<Answer> {
    let listed = ask(context, &args.path, &args.reading, |input| {
        Ok(small::alarms(&Store::new(sound(context, input)?))?)
    })?;
    listed.findings.iter().for_each(|finding| say(&output::finding(finding)));
    let alarms = &listed.records;
    let text = match context.global.format {
        // As `etcdctl alarm list` prints them.
        Format::Simple => alarms
            .iter()
            .map(|alarm| format!("memberID:{} alarm:{} \n", alarm.member_id, name(alarm)))
            .collect(),
        Format::Fields => alarms
            .iter()
            .map(|alarm| {
                output::fields(&[
                    ("MemberID", alarm.member_id.to_string()),
                    ("AlarmType", name(alarm)),
                ]) + "\n"
            })
            .collect(),
        Format::Table => {
            let mut table = Table::new(&["MEMBER ID", "ALARM"]).left();
            alarms.iter().for_each(|alarm| {
                table.row(vec![format!("{:x}", alarm.member_id), name(alarm)]);
            });
            table.render()
        }
        Format::Json => output::json_of_state(
            &Json {
                alarms: alarms
                    .iter()
                    .map(|alarm| AlarmJson {
                        member_id: format!("{:x}", alarm.member_id),
                        alarm: name(alarm),
                    })
                    .collect(),
            },
            context.committed(),
        )?,
    };
    let exit = if listed.findings.is_empty() { Exit::Sound } else { Exit::Damage };
    Ok(Answer::new(text, exit))
}

fn name(alarm: &AlarmMember) -> String {
    match AlarmType::try_from(alarm.alarm) {
        Ok(AlarmType::None) => "NONE".to_owned(),
        Ok(AlarmType::Nospace) => "NOSPACE".to_owned(),
        Ok(AlarmType::Corrupt) => "CORRUPT".to_owned(),
        Err(_) => alarm.alarm.to_string(),
    }
}
