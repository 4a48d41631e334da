//! Alarms, and what they keep from being applied.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;

use super::{Line, error::Error};
use crate::{
    pb::{
        etcdserverpb::{AlarmMember, AlarmType},
        requestpb::{AlarmAction, AlarmRequest},
    },
    schema::{Store, small},
};

/// The alarms of a cluster, and the gate they make of the applier.
#[derive(Clone, Debug)]
pub struct Alarms {
    line: Line,
    /// Raised alarms: which, and of which member.
    on: BTreeSet<(i32, u64)>,
    /// How many members have raised each.
    counts: BTreeMap<i32, usize>,
    gate: Gate,
    changed: bool,
}

/// What is refused, and whether users are asked for their permissions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gate {
    /// Puts and grants are refused.
    pub no_space: bool,
    /// Every request on keys and leases is refused.
    pub corrupt: bool,
    /// Permissions are checked. Up to 3.5 an alarm raised while the server runs puts its gate in the place
    /// of the one that checks them, until an alarm is disarmed or the server restarts.
    pub auth: bool,
}

impl Alarms {
    /// The alarms of a db, as a server finds them at boot.
    ///
    /// # Errors
    /// When a page or record is damaged.
    pub fn load(store: &Store<'_>, line: Line) -> Result<Self, Error> {
        let on = super::error::all(small::alarms(store)?)?;
        Ok(Self::new(line, on))
    }

    fn new(line: Line, on: Vec<AlarmMember>) -> Self {
        let gate = Gate { no_space: false, corrupt: false, auth: true };
        let on = on.into_iter().map(|on| (on.alarm, on.member_id)).collect();
        let mut alarms = Self { line, on, counts: BTreeMap::new(), gate, changed: false };
        for (alarm, _) in &alarms.on {
            *alarms.counts.entry(*alarm).or_default() += 1;
        }
        alarms.gate = alarms.gate_at_boot();
        alarms
    }

    /// What is refused now.
    pub fn gate(&self) -> Gate {
        self.gate
    }

    fn gate_at_boot(&self) -> Gate {
        Gate {
            no_space: self.count(AlarmType::Nospace as i32) > 0,
            corrupt: self.count(AlarmType::Corrupt as i32) > 0,
            auth: true,
        }
    }

    fn count(&self, alarm: i32) -> usize {
        self.counts.get(&alarm).copied().unwrap_or_default()
    }

    /// Raises or disarms an alarm. Source: etcd `apply.go` up to 3.5, `uber_applier.go` from 3.6 on.
    pub fn apply(&mut self, request: &AlarmRequest) {
        let (alarm, member) = (request.alarm, request.member_id);
        let before = self.count(alarm);
        match AlarmAction::try_from(request.action) {
            Ok(AlarmAction::Activate) if alarm != AlarmType::None as i32 => {
                if self.on.insert((alarm, member)) {
                    self.counts.insert(alarm, before.saturating_add(1));
                    self.changed = true;
                }
            }
            Ok(AlarmAction::Deactivate) => {
                if !self.on.remove(&(alarm, member)) {
                    return;
                }
                self.counts.insert(alarm, before.saturating_sub(1));
                self.changed = true;
            }
            _ => return,
        }
        if self.line >= Line::V3_6 {
            self.gate = self.gate_at_boot();
            return;
        }
        match (before, self.count(alarm)) {
            (0, 1) => {
                self.gate = Gate {
                    no_space: alarm == AlarmType::Nospace as i32,
                    corrupt: alarm == AlarmType::Corrupt as i32,
                    auth: false,
                };
            }
            (1.., 0) => self.gate = Gate { no_space: false, corrupt: false, auth: true },
            _ => {}
        }
    }

    /// The contents of bucket `alarm`; `None` when they are what the db has.
    pub fn records(&self) -> Option<BTreeSet<Vec<u8>>> {
        let encode = |(alarm, member_id): &(i32, u64)| {
            AlarmMember { member_id: *member_id, alarm: *alarm }.encode_to_vec()
        };
        self.changed.then(|| self.on.iter().map(encode).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(action: AlarmAction, member_id: u64, alarm: AlarmType) -> AlarmRequest {
        AlarmRequest { action: action.into(), member_id, alarm: alarm.into() }
    }

    fn gate(no_space: bool, corrupt: bool, auth: bool) -> Gate {
        Gate { no_space, corrupt, auth }
    }

    #[test]
    fn from_3_6_on_the_gate_is_what_the_alarms_say() {
        let mut alarms = Alarms::new(Line::V3_6, Vec::new());
        alarms.apply(&request(AlarmAction::Activate, 1, AlarmType::Corrupt));
        alarms.apply(&request(AlarmAction::Activate, 1, AlarmType::Nospace));
        assert_eq!(alarms.gate(), gate(true, true, true));
        alarms.apply(&request(AlarmAction::Deactivate, 1, AlarmType::Nospace));
        assert_eq!(alarms.gate(), gate(false, true, true));
    }

    #[test]
    fn up_to_3_5_the_newest_alarm_replaces_every_gate_and_disarming_opens_all() {
        let mut alarms = Alarms::new(Line::V3_5, Vec::new());
        alarms.apply(&request(AlarmAction::Activate, 1, AlarmType::Corrupt));
        assert_eq!(alarms.gate(), gate(false, true, false));
        alarms.apply(&request(AlarmAction::Activate, 1, AlarmType::Nospace));
        assert_eq!(alarms.gate(), gate(true, false, false));
        // A second member with the same alarm changes nothing.
        alarms.apply(&request(AlarmAction::Activate, 2, AlarmType::Nospace));
        alarms.apply(&request(AlarmAction::Deactivate, 1, AlarmType::Nospace));
        assert_eq!(alarms.gate(), gate(true, false, false));
        alarms.apply(&request(AlarmAction::Deactivate, 2, AlarmType::Nospace));
        assert_eq!(alarms.gate(), gate(false, false, true));
        assert_eq!(alarms.records().unwrap().len(), 1);
    }

    #[test]
    fn at_boot_alarms_keep_the_check_of_permissions() {
        let on = AlarmMember { member_id: 1, alarm: AlarmType::Nospace.into() };
        assert_eq!(Alarms::new(Line::V3_5, vec![on]).gate(), gate(true, false, true));
    }

    #[test]
    fn no_alarm_and_repeats_change_nothing() {
        let mut alarms = Alarms::new(Line::V3_5, Vec::new());
        alarms.apply(&request(AlarmAction::Activate, 1, AlarmType::None));
        alarms.apply(&request(AlarmAction::Deactivate, 1, AlarmType::Corrupt));
        alarms.apply(&request(AlarmAction::Get, 1, AlarmType::Corrupt));
        assert_eq!((alarms.gate(), alarms.records()), (gate(false, false, true), None));
    }
}
