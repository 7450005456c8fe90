//! How frames are spread over a card's queues: a program for PACKET_FANOUT_CBPF, which needs no privilege to be
//! changed, unlike one of eBPF.
//!
//! The kernel's own spreading (PACKET_FANOUT_HASH) goes to all sockets of a group, and none leaves a group without
//! being closed.

use libc::{
    BPF_ABS, BPF_ALU, BPF_B, BPF_H, BPF_IND, BPF_JA, BPF_JEQ, BPF_JMP, BPF_JSET, BPF_K, BPF_LD,
    BPF_LDX, BPF_MEM, BPF_MISC, BPF_MOD, BPF_MSH, BPF_MUL, BPF_RET, BPF_RSH, BPF_ST, BPF_TAX,
    BPF_W, BPF_X, BPF_XOR, sock_filter,
};

use crate::wire::{ethernet, tcp, udp};

/// Where the kernel's programs find the EtherType (linux/filter.h).
const PROTOCOL: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_PROTOCOL) as u32;
/// More fragments, or the offset of one.
const FRAGMENT: u32 = 0x3fff;
/// 2^32 by the golden ratio: its product's upper bits depend on all of a number's.
const GOLDEN: u32 = 0x9e37_79b1;
/// A return value that is a register.
const ACCUMULATOR: u32 = libc::BPF_A;
/// Where the program keeps the hash.
const HASH: u32 = 0;

/// Instructions that are still to be told where others are.
enum Step {
    Do(u32, u32),
    /// On to the label if it holds; else, on.
    If(u32, u32, Label),
    Go(Label),
    Here(Label),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Label {
    V4,
    V6,
    PortsV4,
    PortsV6,
    End,
}

use Label::{End, PortsV4, PortsV6, V4, V6};
use Step::{Do, Go, Here, If};

/// The program that spreads flows over the first `queues` queues: by addresses, and ports where there are any.
/// What is not IP goes to the first. Offsets are from the network header, where the kernel runs it.
pub fn program(queues: u16) -> Vec<sock_filter> {
    let byte = BPF_LD | BPF_B | BPF_ABS;
    let half = BPF_LD | BPF_H | BPF_ABS;
    let word = BPF_LD | BPF_W | BPF_ABS;
    let equals = BPF_JMP | BPF_JEQ | BPF_K;
    let mix = BPF_ALU | BPF_XOR | BPF_X;
    let (tcp, udp) = (u32::from(tcp::PROTOCOL), u32::from(udp::PROTOCOL));
    let aside = || Do(BPF_MISC | BPF_TAX, 0);
    let keep = || Do(BPF_ST, HASH);
    let recall = || Do(BPF_LD | BPF_W | BPF_MEM, HASH);
    let mut steps = vec![
        Do(half, PROTOCOL),
        If(equals, ethernet::IPV4.into(), V4),
        If(equals, ethernet::IPV6.into(), V6),
        Do(BPF_RET | BPF_K, 0),
        Here(V4),
        Do(word, 12),
        aside(),
        Do(word, 16),
        Do(mix, 0),
        keep(),
        Do(half, 6),
        If(BPF_JMP | BPF_JSET | BPF_K, FRAGMENT, End),
        Do(byte, 9),
        If(equals, tcp, PortsV4),
        If(equals, udp, PortsV4),
        Go(End),
        Here(PortsV4),
        Do(BPF_LDX | BPF_B | BPF_MSH, 0),
        Do(BPF_LD | BPF_W | BPF_IND, 0),
        aside(),
        recall(),
        Do(mix, 0),
        keep(),
        Go(End),
        Here(V6),
        Do(word, 8),
    ];
    for at in (12..40).step_by(4) {
        steps.extend([aside(), Do(word, at), Do(mix, 0)]);
    }
    steps.extend([
        keep(),
        Do(byte, 6),
        If(equals, tcp, PortsV6),
        If(equals, udp, PortsV6),
        Go(End),
        Here(PortsV6),
        Do(word, 40),
        aside(),
        recall(),
        Do(mix, 0),
        keep(),
        Here(End),
        recall(),
        Do(BPF_ALU | BPF_MUL | BPF_K, GOLDEN),
        Do(BPF_ALU | BPF_RSH | BPF_K, 16),
        Do(BPF_ALU | BPF_MOD | BPF_K, queues.max(1).into()),
        Do(BPF_RET | ACCUMULATOR, 0),
    ]);
    assemble(&steps)
}

/// Labels become distances: those of branches are short, as the program is.
fn assemble(steps: &[Step]) -> Vec<sock_filter> {
    let is_code = |step: &&Step| !matches!(step, Here(_));
    let place = |label: Label| {
        let before = steps.iter().take_while(|step| !matches!(step, Here(at) if *at == label));
        before.filter(is_code).count()
    };
    let code = steps.iter().filter(is_code).enumerate();
    code.map(|(at, step)| {
        let distance = |label| place(label).saturating_sub(at.saturating_add(1)) as u32;
        match *step {
            Do(code, k) => instruction(code, 0, k),
            If(code, k, label) => instruction(code, distance(label) as u8, k),
            Go(label) => instruction(BPF_JMP | BPF_JA, 0, distance(label)),
            Here(_) => instruction(BPF_RET | BPF_K, 0, 0), // filtered out
        }
    })
    .collect()
}

fn instruction(code: u32, jt: u8, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt, jf: 0, k } // codes are of 16 bits
}
