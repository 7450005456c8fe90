//! Which received frames the guest's driver wants to see (virtio 1.2, 5.1.6.5.1 and 5.1.6.5.2).

use crate::mac::MacAddr;

/// Most addresses of either kind that are compared one by one; with more, all of that kind pass.
pub const MAX_TABLE: usize = 64;

/// The receive mode of a card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiveFilter {
    /// The card's own address.
    pub own: MacAddr,
    /// Everything passes, whatever else is said.
    pub promiscuous: bool,
    /// All groups pass.
    pub all_multicast: bool,
    /// All unicast addresses pass.
    pub all_unicast: bool,
    /// No group passes, `all_multicast` or not; broadcast is apart.
    pub no_multicast: bool,
    /// No unicast address passes, `all_unicast` or not, not even the card's own.
    pub no_unicast: bool,
    /// Broadcast does not pass.
    pub no_broadcast: bool,
    /// Further unicast addresses, and wanted groups; at most [`MAX_TABLE`] each.
    unicast: Vec<MacAddr>,
    multicast: Vec<MacAddr>,
    unicast_overflow: bool,
    multicast_overflow: bool,
}

impl ReceiveFilter {
    /// As after power-on, before a driver has said anything: everything passes.
    pub fn promiscuous(own: MacAddr) -> ReceiveFilter {
        ReceiveFilter {
            own,
            promiscuous: true,
            all_multicast: false,
            all_unicast: false,
            no_multicast: false,
            no_unicast: false,
            no_broadcast: false,
            unicast: Vec::new(),
            multicast: Vec::new(),
            unicast_overflow: false,
            multicast_overflow: false,
        }
    }

    /// Replaces both tables; `None` stands for more addresses than are compared, so that all of
    /// that kind pass.
    pub fn set_tables(&mut self, unicast: Option<Vec<MacAddr>>, multicast: Option<Vec<MacAddr>>) {
        self.unicast_overflow = unicast.is_none();
        self.multicast_overflow = multicast.is_none();
        self.unicast = unicast.unwrap_or_default();
        self.multicast = multicast.unwrap_or_default();
    }

    /// Both tables: unicast addresses and groups.
    pub fn tables(&self) -> (Option<&[MacAddr]>, Option<&[MacAddr]>) {
        let table = |table, overflow: bool| (!overflow).then_some(table);
        (
            table(&*self.unicast, self.unicast_overflow),
            table(&*self.multicast, self.multicast_overflow),
        )
    }

    /// Whether a frame with this head passes.
    pub fn passes(&self, head: &[u8]) -> bool {
        if self.promiscuous {
            return true;
        }
        let Some(to) = MacAddr::of_destination(head) else { return false };
        if to == MacAddr::BROADCAST {
            !self.no_broadcast
        } else if to.is_group() {
            let all = self.all_multicast || self.multicast_overflow;
            !self.no_multicast && (all || self.multicast.contains(&to))
        } else {
            let all = self.all_unicast || self.unicast_overflow;
            !self.no_unicast && (all || to == self.own || self.unicast.contains(&to))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    const OTHER: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
    const GROUP: MacAddr = MacAddr([1, 0, 0x5e, 0, 0, 1]);

    fn quiet() -> ReceiveFilter {
        ReceiveFilter { promiscuous: false, ..ReceiveFilter::promiscuous(OWN) }
    }

    /// Which of own, other, group and broadcast pass.
    fn passing(filter: &ReceiveFilter) -> [bool; 4] {
        [OWN, OTHER, GROUP, MacAddr::BROADCAST].map(|to| filter.passes(&to.0))
    }

    #[test]
    fn a_fresh_card_lets_everything_through() {
        assert_eq!(passing(&ReceiveFilter::promiscuous(OWN)), [true; 4]);
    }

    #[test]
    fn an_ordinary_card_takes_its_own_frames_and_broadcasts() {
        assert_eq!(passing(&quiet()), [true, false, false, true]);
        assert!(!quiet().passes(&[2, 0, 0]));
    }

    #[test]
    fn tables_and_modes_widen_what_passes() {
        let listed = ReceiveFilter { unicast: vec![OTHER], multicast: vec![GROUP], ..quiet() };
        assert_eq!(passing(&listed), [true; 4]);
        assert_eq!(
            passing(&ReceiveFilter { all_multicast: true, ..quiet() }),
            [true, false, true, true]
        );
        assert_eq!(
            passing(&ReceiveFilter { all_unicast: true, ..quiet() }),
            [true, true, false, true]
        );
    }

    #[test]
    fn a_table_too_long_lets_all_of_its_kind_through() {
        let mut filter = quiet();
        filter.set_tables(None, Some(vec![]));
        assert_eq!(passing(&filter), [true, true, false, true]);
        filter.set_tables(Some(vec![]), None);
        assert_eq!(passing(&filter), [true, false, true, true]);
    }

    #[test]
    fn exclusions_win_over_tables() {
        let none = ReceiveFilter {
            no_unicast: true,
            no_multicast: true,
            no_broadcast: true,
            unicast: vec![OTHER],
            multicast: vec![GROUP],
            ..quiet()
        };
        assert_eq!(passing(&none), [false; 4]);
    }
}
