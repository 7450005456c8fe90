//! `push-buffer`: sets a card's `tx-push-buf-len`, which Debian 12's ethtool does not know yet.
#![forbid(unsafe_code)]

use std::os::fd::OwnedFd;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use rustix::net::netlink::{GENERIC, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, recv, sendto, socket};

/// Set how many bytes of a frame the driver writes to the card itself.
#[derive(Parser)]
struct Arguments {
    card: String,
    bytes: u32,
}

// Linux, include/uapi/linux/netlink.h and genetlink.h.
const REQUEST_AND_ACKNOWLEDGE: u16 = 1 | 4;
const ERROR: u16 = 2;
const NESTED: u16 = 1 << 15;
const CONTROL: u16 = 0x10;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;
// Linux, include/uapi/linux/ethtool_netlink.h.
const SET_RINGS: u8 = 16;
const RINGS_HEADER: u16 = 1;
const DEVICE_NAME: u16 = 2;
const PUSH_BUFFER: u16 = 15;

/// Bytes of the headers of a message, and of an attribute.
const HEADERS: usize = 20;
const ATTRIBUTE: usize = 4;

/// One attribute, as long as its padding makes it.
fn attribute(kind: u16, payload: &[u8]) -> Result<Vec<u8>> {
    let length = u16::try_from(ATTRIBUTE + payload.len())?.to_ne_bytes();
    let mut bytes = [&length, &kind.to_ne_bytes(), payload].concat();
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    Ok(bytes)
}

fn text(kind: u16, text: &str) -> Result<Vec<u8>> {
    attribute(kind, &[text.as_bytes(), &[0]].concat())
}

/// Sends a message to the kernel and returns the first of its answers.
fn ask(socket: &OwnedFd, family: u16, command: u8, attributes: &[u8]) -> Result<Vec<u8>> {
    let length = u32::try_from(HEADERS + attributes.len())?.to_ne_bytes();
    let (family, flags) = (family.to_ne_bytes(), REQUEST_AND_ACKNOWLEDGE.to_ne_bytes());
    let message = [&length, &family[..], &flags, &[0; 8], &[command, 1, 0, 0], attributes].concat();
    sendto(socket, &message, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let mut answer = vec![0; 8192];
    let (length, _) = recv(socket, &mut answer[..], RecvFlags::empty())?;
    answer.truncate(length);
    let kind = half(&answer, 4).context("the kernel's answer is too short")?;
    if kind == ERROR {
        let code = answer.get(16..HEADERS).context("an error without a number")?;
        let code = i32::from_ne_bytes(code.try_into()?);
        ensure!(code == 0, std::io::Error::from_raw_os_error(-code));
    }
    Ok(answer)
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// The number of a family among the attributes of an answer.
fn family_id(answer: &[u8]) -> Option<u16> {
    let mut at = HEADERS;
    loop {
        let length = usize::from(half(answer, at)?);
        if half(answer, at + 2)? == FAMILY_ID {
            return half(answer, at + ATTRIBUTE);
        }
        at += length.max(ATTRIBUTE).next_multiple_of(4);
    }
}

fn main() -> Result<()> {
    let Arguments { card, bytes } = Arguments::parse();
    let control = socket(AddressFamily::NETLINK, SocketType::RAW, Some(GENERIC))?;
    let answer = ask(&control, CONTROL, GET_FAMILY, &text(FAMILY_NAME, "ethtool")?);
    let family = family_id(&answer.context("cannot ask for ethtool")?);
    // The answer comes before its acknowledgement; that of the next must be read from a new socket.
    let family = family.context("the kernel has no ethtool")?;
    let socket = socket(AddressFamily::NETLINK, SocketType::RAW, Some(GENERIC))?;
    let header = attribute(RINGS_HEADER | NESTED, &text(DEVICE_NAME, &card)?)?;
    let wish = [header, attribute(PUSH_BUFFER, &bytes.to_ne_bytes())?].concat();
    ask(&socket, family, SET_RINGS, &wish).context("the card refuses")?;
    Ok(())
}
