//! Tests of what a guest's frames show of its addresses.

use super::*;
use crate::announce;

const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 7]);

fn one(ip: &str) -> Neighbour {
    Neighbour { mac: MAC, ip: ip.parse().unwrap() }
}

fn seen(frames: &[Vec<u8>]) -> Vec<Neighbour> {
    let mut neighbours = Neighbours::default();
    frames.iter().for_each(|frame| neighbours.see(frame));
    neighbours.iter().collect()
}

#[test]
fn what_a_guest_says_of_itself_is_remembered_the_last_first() {
    let all = ["10.0.0.7", "fe80::7", "2001:db8::7"].map(one);
    let frames: Vec<_> = all.iter().map(announce::frame).collect();
    let [v4, local, global] = all;
    assert_eq!(seen(&frames), [global, local, v4]);
    let again = [&frames[..], &frames[..1], &frames[..1]].concat();
    assert_eq!(seen(&again), [v4, global, local]);
}

#[test]
fn who_solicits_has_the_address_it_sends_from_or_wants_the_one_it_names() {
    let mut solicits = announce::frame(&one("fe80::7"));
    solicits[54] = 135;
    solicits[62..78].copy_from_slice(&"fe80::9".parse::<Ipv6Addr>().unwrap().octets());
    assert_eq!(seen(&[solicits.clone()]), [one("fe80::7")]);
    solicits[22..38].fill(0);
    assert_eq!(seen(&[solicits]), [one("fe80::9")]);
}

#[test]
fn what_nobody_can_have_alone_and_what_another_says_is_not() {
    let nobody = ["0.0.0.0", "224.0.0.1", "255.255.255.255", "127.0.0.1", "::", "::1", "ff02::1"];
    let frames: Vec<_> = nobody.iter().map(|ip| announce::frame(&one(ip))).collect();
    assert_eq!(seen(&frames), []);
    let mut relayed = announce::frame(&one("10.0.0.7"));
    relayed[11] = 9; // by a bridge in the guest that answers for others
    let mut echo = announce::frame(&one("fe80::7"));
    echo[54] = 128;
    let cut = announce::frame(&one("10.0.0.7"))[..41].to_vec();
    assert_eq!(seen(&[relayed, echo, cut, vec![], vec![0; 60]]), []);
}

#[test]
fn of_too_many_the_oldest_are_forgotten() {
    let frames: Vec<_> =
        (1..=100).map(|last| announce::frame(&one(&format!("10.0.0.{last}")))).collect();
    let left = seen(&frames);
    assert_eq!((left.len(), left[0], left[MOST - 1]), (MOST, one("10.0.0.100"), one("10.0.0.85")));
    let same = Neighbours::of(left.clone());
    assert_eq!(same.iter().collect::<Vec<_>>(), left);
}
