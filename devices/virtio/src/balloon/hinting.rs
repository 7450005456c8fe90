//! A run of free page hints (virtio 1.2, 5.5.6.6): the host asks by a number, the guest tells of free pages under
//! that number and keeps them until the host is done.

use serde::{Deserialize, Serialize};

/// VIRTIO_BALLOON_CMD_ID_STOP: no run; of the guest, its end of one.
const STOP: u32 = 0;
/// VIRTIO_BALLOON_CMD_ID_DONE: the guest may use all pages again.
const DONE: u32 = 1;
/// First number of a run.
const FIRST: u32 = 2;

/// Where hinting stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HintStatus {
    /// What the guest reads: 0 before the first run, 1 when the host is done, else the run's number.
    pub host_cmd: u32,
    /// What the guest said last: a run's number as it begins, 0 as it ends; `None` if it said nothing yet.
    pub guest_cmd: Option<u32>,
}

/// A run of hints, the last one, or none yet, as it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HintingState {
    /// What the guest reads: 0 before the first run, 1 when the host is done, else the run's number.
    pub host_cmd: u32,
    /// What the guest said last.
    pub guest_cmd: Option<u32>,
    /// Number of the last run; 1 before the first.
    pub last: u32,
    /// The host is done as soon as the guest is.
    pub acknowledges: bool,
}

/// A run, the last one, or none yet.
#[derive(Debug)]
pub(super) struct Hinting {
    status: HintStatus,
    /// Number of the last run.
    last: u32,
    /// The host is done as soon as the guest is.
    acknowledges: bool,
}

impl Hinting {
    /// As after power-on.
    pub fn new() -> Hinting {
        let status = HintStatus { host_cmd: STOP, guest_cmd: None };
        Hinting { status, last: DONE, acknowledges: true }
    }

    /// What is kept of it.
    pub fn saved(&self) -> HintingState {
        let HintStatus { host_cmd, guest_cmd } = self.status;
        HintingState { host_cmd, guest_cmd, last: self.last, acknowledges: self.acknowledges }
    }

    /// As it was kept; `None` if it cannot have been so.
    pub fn restored(state: HintingState) -> Option<Hinting> {
        let HintingState { host_cmd, guest_cmd, last, acknowledges } = state;
        let known = match host_cmd {
            STOP => last == DONE,
            DONE => last >= DONE,
            run => run == last,
        };
        let status = HintStatus { host_cmd, guest_cmd };
        known.then_some(Hinting { status, last, acknowledges })
    }

    /// Where it stands.
    pub fn status(&self) -> HintStatus {
        self.status
    }

    /// Begins a run. If it `acknowledges`, pages are the guest's again as soon as it has told of all.
    pub fn start(&mut self, acknowledges: bool) {
        self.last = self.last.checked_add(1).unwrap_or(FIRST);
        self.status.host_cmd = self.last;
        self.acknowledges = acknowledges;
    }

    /// Ends a run: all pages are the guest's again.
    pub fn stop(&mut self) {
        self.status.host_cmd = DONE;
    }

    /// Takes what the guest says; whether the guest is to be told something.
    pub fn heard(&mut self, command: u32) -> bool {
        let was_on = self.is_on();
        self.status.guest_cmd = Some(command);
        let ends = was_on && command == STOP && self.acknowledges;
        if ends {
            self.stop();
        }
        ends
    }

    /// Whether pages that come now are free: the guest tells of them in the run that the host asked for.
    pub fn is_on(&self) -> bool {
        self.status.host_cmd >= FIRST && self.status.guest_cmd == Some(self.status.host_cmd)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_on_while_both_say_its_number() {
        let mut hinting = Hinting::new();
        assert!(!hinting.is_on() && !hinting.heard(STOP) && !hinting.is_on());
        hinting.start(true);
        assert_eq!(hinting.status(), HintStatus { host_cmd: 2, guest_cmd: Some(0) });
        assert!(!hinting.is_on(), "the guest has not heard of it");
        assert!(!hinting.heard(2) && hinting.is_on());
        assert!(hinting.heard(STOP), "the guest is told that the host is done");
        assert_eq!(hinting.status(), HintStatus { host_cmd: DONE, guest_cmd: Some(0) });
        assert!(!hinting.heard(STOP) && !hinting.is_on());
    }

    #[test]
    fn one_that_does_not_acknowledge_lasts_until_it_is_stopped() {
        let mut hinting = Hinting::new();
        hinting.start(false);
        assert!(!hinting.heard(2) && !hinting.heard(STOP));
        assert_eq!(hinting.status().host_cmd, 2);
        hinting.stop();
        assert_eq!(hinting.status().host_cmd, DONE);
    }

    #[test]
    fn hints_of_an_earlier_run_count_no_more() {
        let mut hinting = Hinting::new();
        hinting.start(true);
        hinting.heard(2);
        hinting.start(true);
        assert!(!hinting.is_on() && !hinting.heard(STOP), "that was the end of the earlier one");
        assert_eq!(hinting.status().host_cmd, 3);
        for command in [DONE, 2, 4, u32::MAX] {
            assert!(!hinting.heard(command) && !hinting.is_on());
        }
    }

    #[test]
    fn numbers_come_round_without_those_that_mean_something_else() {
        let mut hinting = Hinting { last: u32::MAX - 1, ..Hinting::new() };
        hinting.start(true);
        assert_eq!(hinting.status().host_cmd, u32::MAX);
        hinting.start(true);
        assert_eq!(hinting.status().host_cmd, FIRST);
    }
}
