//! `alarms`: what keeps a cluster from writing.

use anyhow::Result;
use etcdsnap_engine::jobs::alarms::{Alarm, alarms};

use super::{Context, say_findings};
use crate::{
    args::{Format, Input},
    exit::Answer,
    input,
    output::{self, Table},
};

/// Lists the alarms.
pub fn run(context: &Context, args: &Input) -> Result<Answer> {
    let reading = input::options(context, &args.path, &args.reading)?;
    let answered = context.told(alarms(&args.path, &reading, &context.ui)?);
    let exit = say_findings(&answered.answer.findings);
    let alarms = &answered.answer.alarms;
    let text = match context.global.format {
        Format::Simple => alarms.iter().map(line).collect(),
        Format::Fields => alarms.iter().map(fields).collect(),
        Format::Table => {
            let mut table = Table::new(&["MEMBER ID", "ALARM"]).left();
            alarms
                .iter()
                .for_each(|one| table.row(vec![one.member_id.to_string(), one.alarm.clone()]));
            table.render()
        }
        Format::Json => output::json(&answered)?,
    };
    Ok(Answer::new(text, exit))
}

/// As `etcdctl alarm list` prints it.
fn line(alarm: &Alarm) -> String {
    format!("memberID:{} alarm:{} \n", alarm.member_id.0, alarm.alarm)
}

fn fields(alarm: &Alarm) -> String {
    let member = alarm.member_id.0.to_string();
    output::fields(&[("MemberID", member), ("AlarmType", alarm.alarm.clone())]) + "\n"
}
