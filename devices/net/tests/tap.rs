//! TAPs of this kernel, in network namespaces of the tests' own. Needs root; else skipped.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::process::Command;
use std::time::{Duration, Instant};

use device_core::scatter::Scatter;
use device_core::testing::ram;
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use net::backend::tap::{
    OpenTapError, Opened, Queue, attach_for_others, open_by_fds, open_by_name,
};
use net::backend::{NetBackend, NetQueue, QueueError, Room};
use net::frame::{Csum, FrameMeta, Gso, GsoKind, MAX_FRAME, Offloads, RxFrame, TxFrame};
use vm_memory::{Bytes, GuestAddress};

fn main() {
    let mut arguments = Arguments::from_args();
    // One after the other: a child that is just starting holds copies of all descriptors.
    arguments.test_threads = Some(1);
    let tests: &[(&str, fn())] = &[
        ("a_missing_tap_is_made_brought_up_and_goes_with_its_last_queue", made),
        ("an_existing_tap_is_used_as_it_was_made", existing),
        ("a_tap_in_use_says_so", busy),
        ("a_single_queue_tap_says_how_to_make_it_multi_queue", single_queue),
        ("what_is_not_a_tap_says_so", not_a_tap),
        ("without_permission_it_says_what_to_do", no_permission),
        ("the_mtu_is_read_or_set", mtu),
        ("open_descriptors_are_checked_and_used", descriptors),
        ("frames_cross_a_bridge_with_and_without_offloads", traffic),
        ("frames_in_batches_come_whole_in_order_and_those_that_are_refused_are_counted", batches),
        ("a_removed_tap_is_gone_for_good", removed),
        ("queues_are_switched_off_and_on", switched),
    ];
    let trials =
        tests.iter().map(|(name, test)| Trial::ignorable_test(*name, || in_namespace(*test)));
    libtest_mimic::run(&arguments, trials.collect()).exit();
}

/// Runs the test on a thread in a new network namespace.
fn in_namespace(test: fn()) -> Result<Completion, Failed> {
    if let Err(error) = File::options().read(true).write(true).open("/dev/net/tun") {
        return Ok(Completion::ignored_with(format!("/dev/net/tun cannot be opened: {error}")));
    }
    let thread = std::thread::spawn(move || {
        // SAFETY: moves this thread, and nothing else, into a new namespace.
        if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
            let error = io::Error::last_os_error();
            return Completion::ignored_with(format!("no network namespace: {error}"));
        }
        test();
        Completion::Completed
    });
    thread.join().map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| text.to_string()));
        Failed::from(text.unwrap_or_default())
    })
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().expect("iproute2");
    assert!(status.success(), "ip {arguments}");
}

fn show(link: &str) -> String {
    let output = Command::new("ip").args(["-d", "link", "show", link]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

fn refusal(name: &str, queues: u16) -> String {
    open_by_name(name, queues, None).err().expect("a refusal").to_string()
}

fn made() {
    for queues in [1, 3] {
        let (tap, opened) = open_by_name("new0", queues, None).unwrap();
        assert_eq!(opened.len(), usize::from(queues));
        let shown = show("new0");
        assert!(shown.contains("UP") && shown.contains("vnet_hdr on"), "{shown}");
        assert_eq!(shown.contains("multi_queue"), queues > 1, "{shown}");
        assert_eq!(tap.name(), "tap new0");
        drop((tap, opened));
        assert_eq!(show("new0"), "");
    }
}

fn existing() {
    ip("tuntap add single0 mode tap");
    ip("tuntap add multi0 mode tap multi_queue");
    let (tap, queues) = open_by_name("single0", 1, None).unwrap();
    assert_eq!(queues.len(), 1);
    let wanted = Offloads::CSUM | Offloads::TSO4 | Offloads::TSO6;
    assert!(tap.limits().rx.contains(wanted) && tap.limits().tx.contains(wanted));
    for count in [1, 4] {
        let (_tap, queues) = open_by_name("multi0", count, None).unwrap();
        assert_eq!(queues.len(), usize::from(count));
    }
}

fn busy() {
    ip("tuntap add single0 mode tap");
    let _first = open_by_name("single0", 1, None).unwrap();
    let refusal = refusal("single0", 1);
    assert!(refusal.contains("tap single0 is in use"), "{refusal}");
    // One with several queues has room for more, but not for somebody's whom a guest may have taken over.
    ip("tuntap add multi0 mode tap multi_queue");
    ip("link set multi0 up");
    let tun = || File::options().read(true).write(true).open("/dev/net/tun");
    let for_others = |name| attach_for_others(name, 1, None, &tun);
    assert_eq!(for_others("multi0").unwrap().queues.len(), 1);
    let (_tap, _queues) = open_by_name("multi0", 1, None).unwrap();
    let refusal = for_others("multi0").unwrap_err().to_string();
    assert!(refusal.contains("tap multi0 is in use"), "{refusal}");
    assert!(for_others("a/b").is_err() && for_others("tap%d").is_err());
}

fn single_queue() {
    ip("tuntap add single0 mode tap");
    let refusal = refusal("single0", 2);
    assert!(refusal.contains("single queue") && refusal.contains("multi_queue"), "{refusal}");
}

fn not_a_tap() {
    ip("tuntap add tun0 mode tun");
    ip("link add br0 type bridge");
    for name in ["lo", "tun0", "br0"] {
        for queues in [1, 2] {
            let refusal = refusal(name, queues);
            assert!(refusal.contains("not a tap") && refusal.contains(name), "{refusal}");
        }
    }
}

fn no_permission() {
    ip("tuntap add single0 mode tap");
    // SAFETY: the bare system call changes this thread's user only.
    assert_eq!(unsafe { libc::syscall(libc::SYS_setresuid, -1, 65534, -1) }, 0);
    let error = open_by_name("single0", 1, None).err().expect("a refusal");
    let missing = open_by_name("two", 2, None).err().expect("a refusal");
    match error {
        // Where the device node itself is not for everyone.
        OpenTapError::NoTun { .. } => {
            assert!(error.to_string().contains("/dev/net/tun"), "{error}");
        }
        _ => {
            assert!(error.to_string().contains("CAP_NET_ADMIN"), "{error}");
            assert!(missing.to_string().contains("multi_queue"), "{missing}");
        }
    }
}

fn mtu() {
    ip("tuntap add single0 mode tap");
    let (tap, queues) = open_by_name("single0", 1, None).unwrap();
    assert_eq!(tap.limits().mtu, Some(1500));
    drop((tap, queues));
    let (tap, _queues) = open_by_name("single0", 1, Some(9000)).unwrap();
    assert_eq!(tap.limits().mtu, Some(9000));
    assert!(show("single0").contains("mtu 9000"));
}

/// A descriptor as a user would pass it.
fn raw_tap(name: &str, flags: libc::c_int) -> File {
    let file = File::options().read(true).write(true).open("/dev/net/tun").unwrap();
    // SAFETY: an ifreq of zeros is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    // SAFETY: the request is an ifreq, as TUNSETIFF takes.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
    file
}

fn descriptors() {
    const GOOD: libc::c_int = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    let fds = |files: &[&File]| files.iter().map(|file| file.as_raw_fd()).collect::<Vec<_>>();
    let refusal = |fds: &[RawFd]| open_by_fds(fds, None).err().expect("a refusal").to_string();

    let many = [0, 1].map(|_| raw_tap("multi0", GOOD | libc::IFF_MULTI_QUEUE));
    let (tap, queues) = open_by_fds(&fds(&[&many[0], &many[1]]), None).unwrap();
    assert_eq!((tap.name(), queues.len()), ("tap multi0", 2));

    let one = raw_tap("single0", GOOD);
    assert_eq!(open_by_fds(&fds(&[&one]), None).unwrap().1.len(), 1);
    let text = refusal(&fds(&[&many[0], &one]));
    assert!(text.contains("tap single0, but the first is tap multi0"), "{text}");
    let text = refusal(&fds(&[&raw_tap("plain", libc::IFF_TAP | libc::IFF_NO_PI)]));
    assert!(text.contains("IFF_VNET_HDR"), "{text}");
    let text = refusal(&fds(&[&raw_tap("tun", libc::IFF_TUN | libc::IFF_NO_PI)]));
    assert!(text.contains("not a tap"), "{text}");
    assert!(refusal(&fds(&[&File::open("/dev/null").unwrap()])).contains("not a tap"));
    assert!(refusal(&[9999]).contains("fd 9999 is not open"));
}

/// Two TAPs on one bridge: what goes into one comes out of the other.
fn bridged() -> [Opened; 2] {
    ip("link add br0 type bridge");
    ip("link set br0 up");
    ["left0", "right0"].map(|name| {
        let opened = open_by_name(name, 1, None).unwrap();
        let quiet = format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6");
        // Absent where the kernel has no IPv6; the test looks for its own frames anyway.
        let _ = std::fs::write(quiet, "1");
        ip(&format!("link set {name} master br0"));
        opened
    })
}

/// TCP over IPv4 to a broadcast Ethernet address, with `len` bytes of payload and a checksum that
/// holds the pseudo header's sum only.
fn tcp_frame(len: usize) -> Vec<u8> {
    let total = (40 + len) as u16;
    let mut ip = [0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    ip[2..4].copy_from_slice(&total.to_be_bytes());
    let checksum = !fold(sum(&ip));
    ip[10..12].copy_from_slice(&checksum.to_be_bytes());
    let mut tcp = [0; 20];
    tcp[1] = 80;
    tcp[3] = 81;
    tcp[12] = 0x50;
    tcp[13] = 0x10;
    let pseudo = fold(sum(&ip[12..20]) + 6 + 20 + len as u32);
    tcp[16..18].copy_from_slice(&pseudo.to_be_bytes());
    let payload: Vec<u8> = (0..len).map(|at| (at % 253) as u8).collect();
    [&[0xff; 6][..], &[2, 0, 0, 0, 0, 1, 8, 0], &ip, &tcp, &payload].concat()
}

fn sum(bytes: &[u8]) -> u32 {
    bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)))
        .sum()
}

fn fold(sum: u32) -> u16 {
    let mut sum = sum;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

fn send(queue: &mut Queue, meta: FrameMeta, bytes: &[u8]) -> Result<(), QueueError> {
    let memory = ram(0x2_0000);
    memory.write_slice(bytes, GuestAddress(0x100)).unwrap();
    let mut frame = TxFrame::new(memory);
    frame.meta = meta;
    // In two pieces.
    frame.body.push(0x100, 9).unwrap();
    frame.body.push(0x109, bytes.len() as u32 - 9).unwrap();
    frame.pull_head();
    queue.send(&frame)?;
    queue.flush().error.map_or(Ok(()), Err)
}

/// Waits for the next TCP frame: its metadata and its bytes, of which all behind 1 KiB spill.
fn receive(queue: &mut Queue) -> (FrameMeta, Vec<u8>) {
    let memory = ram(0x1000);
    let mut buffers = Scatter::new(memory.clone());
    buffers.push(0, 12 + 128 + 1024).unwrap();
    let mut spill = vec![0; MAX_FRAME];
    let begin = Instant::now();
    loop {
        let mut frame = RxFrame::default();
        let room = Room { buffers: &buffers, skip: 140, spill: &mut spill };
        match queue.recv(room, &mut frame) {
            // Not what the kernel itself says to the bridge, such as IGMP.
            Ok(()) if frame.head.bytes().get(12..24).is_some_and(is_tcp) => {
                let mut bytes = frame.head.bytes().to_vec();
                let mut body = vec![0; (frame.len - bytes.len()).min(1024)];
                assert!(buffers.read_at(140, &mut body));
                bytes.extend(body);
                bytes.extend(&spill[..frame.len - bytes.len()]);
                return (frame.meta, bytes);
            }
            Ok(()) => {}
            Err(QueueError::NotReady) => std::thread::sleep(Duration::from_millis(1)),
            Err(error) => panic!("{error}"),
        }
        assert!(begin.elapsed() < Duration::from_secs(20), "no frame came");
    }
}

/// Whether a frame is TCP over IPv4, from its bytes 12 to 24.
fn is_tcp(bytes: &[u8]) -> bool {
    bytes[..2] == [8, 0] && bytes[11] == 6
}

/// Numbered frames of many kinds, and some that the kernel refuses among them.
fn batches() {
    let [(_a, mut from), (mut b, mut to)] = bridged();
    let (from, to) = (&mut from[0], &mut to[0]);
    b.accept(Offloads::empty()).unwrap();
    let memory = ram(0x2_0000);
    let numbered = |number: usize| {
        let mut bytes = tcp_frame(100 + number % 1200);
        // The sequence number; nobody sums here.
        bytes[38..42].copy_from_slice(&(number as u32).to_be_bytes());
        bytes
    };
    let mut frame = TxFrame::new(memory.clone());
    let impossible = Gso { kind: GsoKind::Udp, ecn: false, segment: 1, headers: 9 };
    let (mut sent, mut refused) = (0, 0);
    for number in 0..200 {
        let bytes = numbered(number);
        let at = 0x100 + (number as u64 % 32) * 0x800;
        memory.write_slice(&bytes, GuestAddress(at)).unwrap();
        frame.clear();
        // Most in a few pieces, one in fifty in more than are collected.
        let pieces = if number % 50 == 49 { 60 } else { 1 + number % 4 };
        let (share, mut done) = (bytes.len() / pieces, 0);
        for piece in 0..pieces {
            let len = if piece + 1 == pieces { bytes.len() - done } else { share };
            frame.body.push(at + done as u64, len as u32).unwrap();
            done += len;
        }
        frame.pull_head();
        if number % 20 == 7 {
            // Of a TCP frame.
            frame.meta.gso = Some(impossible);
            frame.meta.csum = Csum::Needed { start: 34, offset: 16 };
        }
        // By itself it is refused at once.
        refused += u64::from(queue_refuses(from.send(&frame)));
        sent += 1;
        if number % 32 == 31 {
            refused += from.flush().frames;
        }
    }
    refused += from.flush().frames;
    assert_eq!((sent, refused), (200, 10));
    for number in (0..200).filter(|number| number % 20 != 7) {
        let (_, bytes) = receive(to);
        assert!(bytes == numbered(number), "frame {number}");
    }
    assert_eq!(from.flush().frames, 0, "all has been told");
}

fn queue_refuses(result: Result<(), QueueError>) -> bool {
    match result {
        Ok(()) => false,
        Err(QueueError::Refused(_)) => true,
        Err(error) => panic!("{error}"),
    }
}

fn traffic() {
    let [(_a, mut from), (mut b, mut to)] = bridged();
    let (from, to) = (&mut from[0], &mut to[0]);
    for len in [60, 128, 129, 1400] {
        send(from, FrameMeta::default(), &tcp_frame(len)).unwrap();
        let (meta, bytes) = receive(to);
        assert_eq!(meta.gso, None);
        assert!(bytes == tcp_frame(len), "{len}");
    }
    let needed = Csum::Needed { start: 34, offset: 16 };
    let gso = Some(Gso { kind: GsoKind::Tcp4, ecn: false, segment: 1000, headers: 54 });
    let whole = FrameMeta { csum: needed, gso, hash: None };

    // The receiver takes none: the kernel cuts and sums.
    send(from, whole, &tcp_frame(60_000)).unwrap();
    for _ in 0..60 {
        let (meta, bytes) = receive(to);
        assert_eq!((meta.gso, bytes.len()), (None, 1054));
        assert!(!matches!(meta.csum, Csum::Needed { .. }));
        let pseudo = sum(&bytes[26..34]) + 6 + 1020;
        assert_eq!(fold(pseudo + sum(&bytes[34..])), 0xffff, "checksum");
    }
    // It takes all: the frame comes in one piece.
    b.accept(Offloads::all()).unwrap();
    send(from, whole, &tcp_frame(60_000)).unwrap();
    let (meta, bytes) = receive(to);
    assert_eq!(meta.csum, needed);
    assert_eq!(meta.gso.map(|gso| (gso.kind, gso.segment)), Some((GsoKind::Tcp4, 1000)));
    assert!(bytes == tcp_frame(60_000));

    // A header that the kernel finds wanting costs this frame only.
    let udp = Some(Gso { kind: GsoKind::Udp, ecn: false, segment: 1000, headers: 54 });
    let error = send(from, FrameMeta { gso: udp, ..whole }, &tcp_frame(3000)).unwrap_err();
    assert!(matches!(error, QueueError::Refused(_)), "{error:?}");
    send(from, FrameMeta::default(), &tcp_frame(60)).unwrap();
    assert_eq!(receive(to).1.len(), 114);
}

fn removed() {
    let (_tap, mut queues) = open_by_name("single0", 1, None).unwrap();
    ip("link set single0 down");
    let error = send(&mut queues[0], FrameMeta::default(), &tcp_frame(60)).unwrap_err();
    assert!(matches!(error, QueueError::Refused(_)), "down is not gone: {error:?}");
    ip("link del single0");
    let error = send(&mut queues[0], FrameMeta::default(), &tcp_frame(60)).unwrap_err();
    assert!(matches!(error, QueueError::Gone(_)), "{error:?}");
    let mut frame = RxFrame::default();
    let buffers = Scatter::new(ram(0x1000));
    let room = Room { buffers: &buffers, skip: 0, spill: &mut vec![0; MAX_FRAME] };
    let error = queues[0].recv(room, &mut frame).unwrap_err();
    assert!(matches!(error, QueueError::Gone(_)), "{error:?}");
}

fn switched() {
    let (_tap, mut queues) = open_by_name("multi0", 3, None).unwrap();
    for on in [false, true, true, false, false] {
        for queue in &mut queues[1..] {
            queue.enable(on).unwrap();
        }
    }
    let (_tap, mut queues) = open_by_name("single0", 1, None).unwrap();
    queues[0].enable(false).unwrap();
    queues[0].enable(true).unwrap();
}
