//! Tests of the table of connections.

use super::super::connection::Phase;
use super::super::view::Origin;
use super::*;

fn connection() -> Connection {
    Connection::new(Origin::Host, Phase::Greeting, None, 1)
}

#[test]
fn it_is_bounded_and_slots_are_used_again() {
    let mut table = Table::new();
    for _ in 0..MOST_CONNECTIONS {
        assert!(table.insert(connection()).is_some());
    }
    assert!(table.is_full() && table.insert(connection()).is_none());
    assert!(table.remove(7).is_some() && table.remove(7).is_none());
    assert_eq!((table.insert(connection()), table.len()), (Some(7), MOST_CONNECTIONS));
}

#[test]
fn what_is_held_for_all_connections_is_bounded() {
    let mut table = Table::new();
    let mut held = 0;
    while !table.is_full() {
        held += u64::from(table.window());
        table.insert(connection());
    }
    assert_eq!(held, 256 * (256 << 10) + (MOST_CONNECTIONS as u64 - 256) * (64 << 10));
}

#[test]
fn ports_of_the_host_go_round_and_past_those_in_use() {
    let mut table = Table::new();
    table.next_port = LAST_PORT;
    let slots: Vec<u16> = (0..4).map(|_| table.insert(connection()).unwrap()).collect();
    let last = table.name(slots[0], 5).unwrap();
    assert_eq!((last.host, last.guest), (LAST_PORT, 5));
    assert_eq!(table.name(slots[1], 5).unwrap().host, FIRST_PORT);
    table.next_port = LAST_PORT;
    assert_eq!(table.name(slots[2], 5).unwrap().host, FIRST_PORT + 1);
    table.next_port = LAST_PORT;
    assert_eq!(table.name(slots[3], 6).unwrap().host, LAST_PORT, "of another port of the guest");
    assert_eq!(table.find(last), Some(slots[0]));
    table.remove(slots[0]);
    assert_eq!(table.find(last), None);
}

#[test]
fn who_is_woken_has_one_turn_in_order() {
    let mut table = Table::new();
    let slots: Vec<u16> = (0..3).map(|_| table.insert(connection()).unwrap()).collect();
    for slot in [slots[1], slots[0], slots[1], slots[2], 99] {
        table.wake(slot);
    }
    table.remove(slots[0]);
    assert_eq!(table.woken(), 2);
    assert_eq!(table.next_woken(), Some(slots[1]));
    table.wake(slots[1]);
    assert_eq!([table.next_woken(), table.next_woken()], [Some(slots[2]), Some(slots[1])]);
    assert_eq!(table.next_woken(), None);
}

#[test]
fn deadlines_come_in_order_and_stand_still_when_time_does() {
    let (mut table, start) = (Table::new(), Instant::now());
    let after = |seconds| start + Duration::from_secs(seconds);
    let slots: Vec<u16> = (0..3).map(|_| table.insert(connection()).unwrap()).collect();
    for (slot, seconds) in slots.iter().zip([3, 1, 2]) {
        table.set_deadline(*slot, Some(after(seconds)));
    }
    table.set_deadline(slots[2], Some(after(9)));
    assert_eq!(table.due(start), None);
    table.put_off(Duration::from_secs(10));
    assert_eq!(table.due(after(10)), None);
    assert_eq!(table.next_deadline(), Some(after(11)));
    assert_eq!(
        [table.due(after(13)), table.due(after(13)), table.due(after(13))],
        [Some(slots[1]), Some(slots[0]), None]
    );
    table.remove(slots[2]);
    assert_eq!(table.next_deadline(), None);
}
