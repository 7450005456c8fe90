//! The steering program: from a frame to the number of its queue, the way of `classify` and
//! `toeplitz`.
//!
//! ```text
//! r6 frame   r7 where in it   r8 protocol × selector size   r9 rules in use   r0 hash
//! ```

use std::os::fd::{AsRawFd, BorrowedFd};

use super::super::classify::*;
use super::super::table::MAX_ENTRIES;
use super::super::toeplitz::MAX_INPUT;
use super::assembler::*;
use super::rules;
use crate::frame::HEAD;

/// Copies bytes of the frame to the stack, or fails if there are fewer (bpf-helpers(7)).
const SKB_LOAD_BYTES: i32 = 26;

/// Places on the stack.
const IP_HEADER: i16 = -48;
const ETHERNET_HEADER: i16 = -64;
const PORTS: i16 = -72;
const SCRATCH: i16 = -80;

/// The program, for rules in the array `map`.
pub fn instructions(map: BorrowedFd<'_>) -> Vec<u64> {
    let mut code = Assembler::default();
    let out = Ends {
        mac: code.label(),
        ipv4: code.label(),
        ipv6: code.label(),
        lookup: code.label(),
        unhashed: code.label(),
        answer: code.label(),
    };
    prologue(&mut code, map);
    ethernet(&mut code, &out);
    hash(&mut code, out.mac, &out, ETHERNET_HEADER + 6, ETHERNET_HEADER, 6, false);
    hash(&mut code, out.ipv4, &out, IP_HEADER + 12, IP_HEADER + 16, 4, true);
    hash(&mut code, out.ipv6, &out, IP_HEADER + 8, IP_HEADER + 24, 16, true);
    lookup(&mut code, &out);
    code.finish()
}

/// Where the parts of the program meet; r8 is set at the first three.
struct Ends {
    mac: Label,
    ipv4: Label,
    ipv6: Label,
    /// r0 is the hash.
    lookup: Label,
    unhashed: Label,
    /// r0 is the queue.
    answer: Label,
}

fn prologue(code: &mut Assembler, map: BorrowedFd<'_>) {
    code.alu_reg(Alu::Move, R6, R1);
    code.load_map_value(R9, map.as_raw_fd(), 0);
    code.load(Size::Word, R1, R9, 0);
    code.alu(Alu::And, R1, 1);
    code.alu(Alu::Mul, R1, rules::SET as i32);
    code.alu_reg(Alu::Add, R9, R1);
    code.alu(Alu::Add, R9, rules::FIRST as i32);
    for at in (ETHERNET_HEADER..0).step_by(4).chain([PORTS]) {
        code.store_word(STACK, at, 0);
    }
}

/// Copies `len` bytes from r7 on to the stack; r0 is not 0 if there are fewer.
fn fetch(code: &mut Assembler, to: i16, len: usize) {
    code.alu_reg(Alu::Move, R1, R6);
    code.alu_reg(Alu::Move, R2, R7);
    code.alu_reg(Alu::Move, R3, STACK);
    code.alu(Alu::Add, R3, to.into());
    code.alu(Alu::Move, R4, len as i32);
    code.call(SKB_LOAD_BYTES);
}

fn set_protocol(code: &mut Assembler, protocol: Protocol) {
    code.alu(Alu::Move, R8, (protocol as i32).wrapping_mul(rules::SELECTOR as i32));
}

/// A number of 16 bits as it lies in a frame and is loaded from there.
fn in_frame(number: u16) -> i32 {
    u16::from_ne_bytes(number.to_be_bytes()).into()
}

fn ethernet(code: &mut Assembler, out: &Ends) {
    let (ipv4_header, ipv6_header, typed) = (code.label(), code.label(), code.label());
    code.alu(Alu::Move, R7, 0);
    fetch(code, ETHERNET_HEADER, ETHERNET);
    code.alu(Alu::Move, R7, ETHERNET as i32);
    code.load(Size::Half, R8, STACK, ETHERNET_HEADER + 12);
    for _ in 0..MAX_TAGS {
        let tagged = code.label();
        for tag in ETH_TAGS {
            code.jump_if(If::Equal, R8, in_frame(tag), tagged);
        }
        code.jump(typed);
        code.bind(tagged);
        // Behind the end there is type 0.
        fetch(code, SCRATCH, TAG);
        code.load(Size::Half, R8, STACK, SCRATCH + 2);
        code.alu(Alu::Add, R7, TAG as i32);
    }
    code.bind(typed);
    code.jump_if(If::Equal, R8, in_frame(ETH_IPV4), ipv4_header);
    code.jump_if(If::Equal, R8, in_frame(ETH_IPV6), ipv6_header);
    let not_ip = code.label();
    code.bind(not_ip);
    set_protocol(code, Protocol::NotIp);
    code.jump(out.mac);
    code.bind(ipv4_header);
    ipv4(code, out, not_ip);
    code.bind(ipv6_header);
    ipv6(code, out, not_ip);
}

fn ipv4(code: &mut Assembler, out: &Ends, not_ip: Label) {
    fetch(code, IP_HEADER, IPV4);
    code.jump_if(If::NotEqual, R0, 0, not_ip);
    code.load(Size::Byte, R1, STACK, IP_HEADER);
    code.alu_reg(Alu::Move, R2, R1);
    code.alu(Alu::ShiftRight, R2, 4);
    code.jump_if(If::NotEqual, R2, 4, not_ip);
    code.alu(Alu::And, R1, 0xf);
    code.alu(Alu::ShiftLeft, R1, 2);
    code.jump_if(If::Less, R1, IPV4 as i32, not_ip);
    code.alu_reg(Alu::Add, R7, R1);

    set_protocol(code, Protocol::Ip4Fragment);
    code.load(Size::Half, R1, STACK, IP_HEADER + 6);
    code.jump_if(If::AnyBit, R1, in_frame(FRAGMENT), out.ipv4);

    let ports = code.label();
    code.load(Size::Byte, R1, STACK, IP_HEADER + 9);
    set_protocol(code, Protocol::Tcp4);
    code.jump_if(If::Equal, R1, TCP.into(), ports);
    set_protocol(code, Protocol::Udp4);
    code.jump_if(If::Equal, R1, UDP.into(), ports);
    let other = code.label();
    code.bind(other);
    set_protocol(code, Protocol::Ip4);
    code.jump(out.ipv4);
    code.bind(ports);
    fetch(code, PORTS, 4);
    code.jump_if(If::NotEqual, R0, 0, other);
    code.jump(out.ipv4);
}

fn ipv6(code: &mut Assembler, out: &Ends, not_ip: Label) {
    fetch(code, IP_HEADER, IPV6);
    code.jump_if(If::NotEqual, R0, 0, not_ip);
    code.load(Size::Byte, R1, STACK, IP_HEADER);
    code.alu(Alu::ShiftRight, R1, 4);
    code.jump_if(If::NotEqual, R1, 6, not_ip);
    code.alu(Alu::Add, R7, IPV6 as i32);
    // The next header is in r8 until the protocol is known.
    code.load(Size::Byte, R8, STACK, IP_HEADER + 6);
    let plain = [Protocol::Tcp6, Protocol::Udp6, Protocol::Ip6];
    let extended = [Protocol::Tcp6Extended, Protocol::Udp6Extended, Protocol::Ip6Extended];
    let (walked, other) = (code.label(), code.label());
    for step in 0..MAX_EXTENSIONS {
        let skipped = code.label();
        for header in SKIPPED {
            code.jump_if(If::Equal, R8, header.into(), skipped);
        }
        if step == 0 {
            code.jump_if(If::Equal, R8, IPV6_FRAGMENT.into(), other);
            upper(code, out, plain);
        } else {
            code.jump(walked);
        }
        code.bind(skipped);
        code.jump_if(If::Greater, R7, HEAD.wrapping_sub(2) as i32, other);
        fetch(code, SCRATCH, 2);
        code.jump_if(If::NotEqual, R0, 0, other);
        code.load(Size::Byte, R8, STACK, SCRATCH);
        code.load(Size::Byte, R1, STACK, SCRATCH + 1);
        code.alu(Alu::Add, R1, 1);
        code.alu(Alu::ShiftLeft, R1, 3);
        code.alu_reg(Alu::Add, R7, R1);
    }
    code.bind(walked);
    upper(code, out, extended);
    code.bind(other);
    set_protocol(code, Protocol::Ip6Extended);
    code.jump(out.ipv6);
}

/// TCP, UDP or another protocol behind IPv6 headers, by its number in r8.
fn upper(code: &mut Assembler, out: &Ends, [tcp, udp, other]: [Protocol; 3]) {
    let (is_tcp, ports, without) = (code.label(), code.label(), code.label());
    code.jump_if(If::Equal, R8, TCP.into(), is_tcp);
    code.jump_if(If::NotEqual, R8, UDP.into(), without);
    set_protocol(code, udp);
    code.jump(ports);
    code.bind(is_tcp);
    set_protocol(code, tcp);
    code.bind(ports);
    code.jump_if(If::Greater, R7, HEAD.wrapping_sub(4) as i32, without);
    fetch(code, PORTS, 4);
    code.jump_if(If::Equal, R0, 0, out.ipv6);
    code.bind(without);
    set_protocol(code, other);
    code.jump(out.ipv6);
}

/// Hashes what the selector of r8 names: two addresses of `len` bytes at these places of the stack,
/// and the ports.
fn hash(
    code: &mut Assembler,
    entry: Label,
    out: &Ends,
    source: i16,
    destination: i16,
    len: i16,
    ports: bool,
) {
    code.bind(entry);
    code.alu_reg(Alu::Add, R8, R9);
    code.load(Size::Word, R1, R8, rules::HASHED);
    code.jump_if(If::Equal, R1, 0, out.unhashed);
    code.load(Size::Word, R0, R9, rules::INITIAL as i16);
    field(code, rules::SOURCE, source, len);
    field(code, rules::DESTINATION, destination, len);
    if ports {
        field(code, rules::SOURCE_PORT, PORTS, 2);
        field(code, rules::DESTINATION_PORT, PORTS + 2, 2);
    }
    code.jump(out.lookup);
}

fn field(code: &mut Assembler, selector: i16, at: i16, len: i16) {
    let unselected = code.label();
    let last_row = (MAX_INPUT as i32).wrapping_sub(len.into());
    code.load(Size::Word, R1, R8, selector);
    // Keeps within the rows what the verifier cannot know to be there.
    code.jump_if(If::Greater, R1, last_row.wrapping_mul(rules::ROW as i32), unselected);
    code.alu_reg(Alu::Add, R1, R9);
    for byte in 0..len {
        let row = byte.wrapping_mul(rules::ROW as i16).wrapping_add(rules::ROWS as i16);
        code.load(Size::Byte, R2, STACK, at.wrapping_add(byte));
        code.alu(Alu::ShiftLeft, R2, 2);
        code.alu_reg(Alu::Add, R2, R1);
        code.load(Size::Word, R3, R2, row);
        code.alu_reg(Alu::Xor, R0, R3);
    }
    code.bind(unselected);
}

fn lookup(code: &mut Assembler, out: &Ends) {
    code.bind(out.lookup);
    code.load(Size::Word, R1, R9, rules::MASK as i16);
    code.alu(Alu::And, R1, MAX_ENTRIES.wrapping_sub(1) as i32);
    // No mask is larger, which the verifier cannot know.
    code.alu_reg(Alu::And, R1, R0);
    code.alu(Alu::ShiftLeft, R1, 2);
    code.alu_reg(Alu::Add, R1, R9);
    code.load(Size::Word, R0, R1, rules::BUCKETS as i16);
    code.jump(out.answer);
    code.bind(out.unhashed);
    code.load(Size::Word, R0, R9, rules::UNHASHED as i16);
    code.bind(out.answer);
    code.exit();
}
