//! A guest that is a host with one address: it tells where it is, and answers who asks for it, and echoes.

use core::hint::spin_loop;

use crate::memory::{copy, read, write};
use crate::nic::{ADDRESS, Pair, Pairs};

/// Its IPv4 address.
const IP: [u8; 4] = [10, 77, 0, 1];
/// Where it finds its generation id, and how long that is.
const GENERATION_ID: u64 = 0xe_e100;
const ID: u64 = 16;

const ARP: [u8; 2] = [8, 6];
const IPV4: [u8; 2] = [8, 0];
/// What an ARP packet for IPv4 over Ethernet begins with, and what it does (RFC 826).
const ARP_BEGIN: [u8; 6] = [0, 1, 8, 0, 6, 4];
const ASKS: [u8; 2] = [0, 1];
const ANSWERS: [u8; 2] = [0, 2];
/// Bytes of an ARP packet in its frame, and of the smallest frame.
const ARP_END: u64 = 42;
const SMALLEST: u32 = 60;
/// Number of ICMP, and its messages (RFC 792).
const ICMP: u8 = 1;
const ECHO: u8 = 8;
const ECHO_REPLY: u8 = 0;
const BROADCAST: [u8; 6] = [0xff; 6];

/// Tells where it is, and answers for ever, on the card as `open` opens it, by a reset for a reason; it does so again when the
/// card has to be reset. Behind an answer to ARP its generation id follows.
pub fn run<P: Pair>(open: impl Fn(u32) -> Pairs<P>) -> ! {
    let mut reason = 0;
    loop {
        reason = serve(open(reason).first());
    }
}

/// Returns why the card has to be reset.
fn serve(nic: &mut impl Pair) -> u32 {
    arp(nic, BROADCAST, ASKS, [0; 6], IP);
    loop {
        if let Some(reason) = nic.reason_to_reset() {
            return reason;
        }
        let Some((from, len)) = nic.take() else {
            spin_loop();
            continue;
        };
        if nic.room() > 0 {
            answer(nic, from, len);
        }
        nic.give();
        nic.show_given();
    }
}

fn answer(nic: &mut impl Pair, from: u64, len: u32) {
    let theirs: [u8; 6] = read(from + 6);
    match read::<[u8; 2]>(from + 12) {
        ARP if read::<[u8; 2]>(from + 20) == ASKS && read::<[u8; 4]>(from + 38) == IP => {
            arp(nic, theirs, ANSWERS, theirs, read(from + 28));
        }
        IPV4 => {
            let is_echo = read::<u8>(from + 14) == 0x45
                && read::<u8>(from + 23) == ICMP
                && read::<[u8; 4]>(from + 30) == IP
                && read::<u8>(from + 34) == ECHO;
            if is_echo {
                echo(nic, from, len, theirs);
            }
        }
        _ => {}
    }
}

/// Sends an ARP packet about its own address.
fn arp(nic: &mut impl Pair, to: [u8; 6], operation: [u8; 2], target: [u8; 6], ip: [u8; 4]) {
    let (at, _) = nic.next();
    write(at, to);
    write(at + 6, ADDRESS);
    write(at + 12, ARP);
    write(at + 14, ARP_BEGIN);
    write(at + 20, operation);
    write(at + 22, ADDRESS);
    write(at + 28, IP);
    write(at + 32, target);
    write(at + 38, ip);
    copy(at + ARP_END, GENERATION_ID, ID);
    nic.put(SMALLEST);
    nic.show();
}

/// Sends an echo back.
fn echo(nic: &mut impl Pair, from: u64, len: u32, to: [u8; 6]) {
    let (at, most) = nic.next();
    let len = len.min(most);
    copy(at, from, u64::from(len));
    write(at, to);
    write(at + 6, ADDRESS);
    write(at + 26, IP);
    write(at + 30, read::<[u8; 4]>(from + 26));
    write(at + 34, ECHO_REPLY);
    // The sum of the message is less by 0x800.
    let sum = u32::from(u16::from_be_bytes(read(from + 36))) + u32::from(ECHO) * 0x100;
    let sum = (sum & 0xffff) + (sum >> 16);
    write(at + 36, (sum as u16).to_be_bytes());
    nic.put(len);
    nic.show();
}
