//! Opening the queues of an interface, with errors that say what to do.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use libc::{EINVAL, EPERM, c_int};

use super::queue::Shared;
use super::ring::Ring;
use super::socket::Socket;
use super::{Packet, Queue};
use crate::backend::Limits;
use crate::backend::interface::Interfaces;
use crate::frame::Offloads;

/// Bytes that may be on their way out, and wait beside the ring, for each queue; the kernel doubles it for what it
/// needs beside frames.
const BUFFERS: c_int = 2 * 1024 * 1024;

/// Why an interface could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenPacketError {
    /// There is none of that name in this network namespace.
    #[error(
        "there is no interface {name}; make it first, such as with `ip link add {name} type veth peer name PEER`"
    )]
    Missing {
        /// Name asked for.
        name: String,
    },
    /// It carries something else than Ethernet frames to others.
    #[error(
        "interface {name} is a loopback or not Ethernet; give one end of a veth pair, or a physical interface"
    )]
    NotEthernet {
        /// Name of the interface.
        name: String,
    },
    /// This process may not have packet sockets.
    #[error("no permission to receive and send on interface {name}; give the process CAP_NET_RAW")]
    Permission {
        /// Name of the interface.
        name: String,
    },
    /// The card would take larger packets than the interface.
    #[error(
        "interface {name} has mtu {has}, but mtu is {mtu}; set it with `ip link set {name} mtu {mtu}`, or ask for less"
    )]
    Mtu {
        /// Name of the interface.
        name: String,
        /// Its MTU, in bytes.
        has: u16,
        /// MTU asked for, in bytes.
        mtu: u16,
    },
    /// This kernel, older than 6.13, does not spread frames of an interface that is down.
    #[error(
        "interface {name} is down, and queues are {queues}; bring it up with `ip link set {name} up`"
    )]
    Down {
        /// Name of the interface.
        name: String,
        /// Queue pairs asked for.
        queues: u16,
    },
    /// Any other failure of the host.
    #[error("cannot set up interface {name}: {what} failed")]
    Other {
        /// Name of the interface.
        name: String,
        /// What was being done, in words.
        what: &'static str,
        /// What the host said.
        source: io::Error,
    },
}

/// An open interface and its queues; frames come by the first one until told otherwise.
pub type Opened = (Packet, Vec<Queue>);

/// Opens `queues` queues on the interface `name`, whose name was checked by the spec. `mtu` is in bytes, at most
/// the interface's; without one that is taken. Fails if there is no such Ethernet interface, or this process
/// may not have packet sockets on it.
pub fn open_by_name(name: &str, queues: u16, mtu: Option<u16>) -> Result<Opened, OpenPacketError> {
    let owned = || name.to_string();
    let other =
        |what| move |source| OpenPacketError::Other { name: name.to_string(), what, source };
    let interfaces = Interfaces::open().map_err(other("opening a socket"))?;
    let flags = interfaces.flags(name).map_err(other("asking for its flags"))?;
    let flags = flags.ok_or_else(|| OpenPacketError::Missing { name: owned() })?;
    let hardware = interfaces.hardware(name).map_err(other("asking what it is"))?;
    if flags & libc::IFF_LOOPBACK != 0 || hardware != libc::ARPHRD_ETHER {
        return Err(OpenPacketError::NotEthernet { name: owned() });
    }
    let has = interfaces.mtu(name).map_err(other("asking for its MTU"))?;
    let has = u16::try_from(has).unwrap_or(u16::MAX);
    if let Some(mtu) = mtu.filter(|mtu| *mtu > has) {
        return Err(OpenPacketError::Mtu { name: owned(), has, mtu });
    }
    let down = flags & libc::IFF_UP == 0;
    if down {
        tracing::warn!("interface {name} is down; bring it up with `ip link set {name} up`");
    }
    let accepted = Arc::new(AtomicU32::new(0));
    let (mut all, mut group) = (Vec::with_capacity(queues.into()), None);
    for _ in 0..queues {
        let (socket, index, ring) = open_queue(name, has.into(), all.is_empty())?;
        if queues > 1 {
            match socket.join(group) {
                Err(error) if down && error.raw_os_error() == Some(EINVAL) => {
                    return Err(OpenPacketError::Down { name: owned(), queues });
                }
                result => result.map_err(other("sharing its frames"))?,
            }
            group = Some(socket.group().map_err(other("sharing its frames"))?);
        }
        all.push(Arc::new(Shared { socket, ring, index, accepted: accepted.clone() }));
    }
    let Some(first) = all.first().cloned() else {
        return Err(other("finding a queue")(io::Error::from_raw_os_error(EINVAL)));
    };
    let offloads = offloads(&first.socket);
    let limits = Limits { tx: offloads, rx: offloads, mtu: Some(mtu.unwrap_or(has)) };
    let name = format!("dev {name}");
    let packet = Packet { name, limits, accepted, first, queues, spread: 1 };
    let queue = |shared| Queue::new(shared, queues > 1, down);
    Ok((packet, all.into_iter().map(queue).collect()))
}

/// A socket that receives frames for packets of at most `mtu` bytes, all of the interface or, unless it is the `first`
/// one's, its share. Everything is said before frames may come.
fn open_queue(
    name: &str,
    mtu: usize,
    first: bool,
) -> Result<(Socket, c_int, Ring), OpenPacketError> {
    let other =
        |what| move |source| OpenPacketError::Other { name: name.to_string(), what, source };
    let socket = match Socket::open() {
        Err(error) if error.raw_os_error() == Some(EPERM) => {
            return Err(OpenPacketError::Permission { name: name.to_string() });
        }
        result => result.map_err(other("opening a packet socket"))?,
    };
    let index = socket.index_of(name).map_err(other("asking for its number"))?;
    for (option, what) in [
        (libc::PACKET_VNET_HDR, "asking for vnet headers"),
        (libc::PACKET_IGNORE_OUTGOING, "leaving out what goes out"),
        // What does not fit into the ring is to come beside it.
        (libc::PACKET_COPY_THRESH, "asking for long frames"),
    ] {
        socket.set(option, 1).map_err(other(what))?;
    }
    socket.set_buffers(BUFFERS).map_err(other("setting the length of buffers"))?;
    let ring = Ring::new(&socket, mtu).map_err(other("making a ring of 2 MiB"))?;
    if first {
        socket.be_promiscuous(index).map_err(other("asking for all of its frames"))?;
    }
    socket.bind(index).map_err(other("binding to it"))?;
    // That it is down has been seen already.
    socket.take_error().map_err(other("asking for errors"))?;
    Ok((socket, index, ring))
}

/// What this kernel takes and leaves: segmentation of UDP since 6.2, which none tells but those of 6.5 and later,
/// by knowing another option.
fn offloads(socket: &Socket) -> Offloads {
    match socket.knows(libc::PACKET_VNET_HDR_SZ) {
        true => Offloads::all(),
        false => Offloads::all().difference(Offloads::USO4 | Offloads::USO6),
    }
}
