//! Queues of packet sockets on veth pairs of this kernel, in network namespaces of the tests' own. Needs root; else
//! skipped.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::process::Command;
use std::time::{Duration, Instant};

use device_core::scatter::Scatter;
use device_core::testing::ram;
use device_core::worker::IoThread;
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use net::backend::packet::{OpenPacketError, Opened, Queue, RING, open_by_name};
use net::backend::{NetBackend, NetQueue, QueueError, Room};
use net::frame::{Csum, FrameMeta, Gso, GsoKind, HEAD, MAX_FRAME, Offloads, RxFrame, TxFrame};
use net::rss::{Hasher, Key, Rss, Selection, Table, sorter};
use std::sync::Arc;
use vm_memory::{Bytes, GuestAddress};

fn main() {
    let mut arguments = Arguments::from_args();
    // One after the other: a child that is just starting holds copies of all descriptors.
    arguments.test_threads = Some(1);
    let tests: &[(&str, fn())] = &[
        ("an_interface_that_is_none_or_not_ethernet_says_so", refusals),
        ("without_permission_it_says_what_to_do", no_permission),
        ("the_mtu_is_the_interfaces_and_no_card_has_more", mtu),
        ("frames_of_all_lengths_pass_both_ways", lengths),
        ("frames_of_a_jumbo_mtu_pass", jumbo),
        ("checksums_and_segments_are_left_to_who_takes_them", offloads),
        ("checksums_and_segments_are_done_for_who_does_not_take_them", finished),
        ("tags_come_as_they_went", tags),
        ("large_frames_with_tags_come_whole_and_in_pieces", tagged_segments),
        ("a_burst_beyond_the_ring_loses_frames_and_none_is_cut_or_moved", burst),
        ("frames_in_batches_come_whole_in_order_and_those_that_are_refused_are_counted", batches),
        ("an_interface_may_go_down_and_come_up", down),
        ("an_interface_that_is_down_at_first_comes_up", down_at_first),
        ("a_removed_interface_is_gone_for_good", removed),
        ("a_removed_interface_is_gone_for_who_only_receives", removed_while_receiving),
        ("frames_that_the_host_sends_itself_do_not_come", outgoing),
        ("each_flow_comes_by_one_queue_in_order", flows),
        ("queues_that_are_off_get_no_frames", switched),
        ("frames_are_sorted_as_a_table_says", sorted),
    ];
    let trials =
        tests.iter().map(|(name, test)| Trial::ignorable_test(*name, || in_namespace(*test)));
    libtest_mimic::run(&arguments, trials.collect()).exit();
}

/// Runs the test on a thread in a new network namespace.
fn in_namespace(test: fn()) -> Result<Completion, Failed> {
    let thread = std::thread::spawn(move || {
        // SAFETY: moves this thread, and nothing else, into a new namespace.
        if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
            let error = io::Error::last_os_error();
            return Completion::ignored_with(format!("no network namespace: {error}"));
        }
        // Absent where the kernel has no IPv6; the tests look for their own frames anyway.
        let _ = std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
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

/// A veth pair, both ends up.
fn pair() {
    ip("link add left0 type veth peer name right0");
    for name in ["left0", "right0"] {
        ip(&format!("link set {name} up"));
    }
}

/// One queue at each end of a pair.
fn ends() -> [Opened; 2] {
    pair();
    ["left0", "right0"].map(|name| open_by_name(name, 1, None).unwrap())
}

fn refusal(name: &str, mtu: Option<u16>) -> String {
    open_by_name(name, 1, mtu).err().expect("a refusal").to_string()
}

fn refusals() {
    ip("tuntap add tun0 mode tun");
    let missing = refusal("nowhere0", None);
    assert!(missing.starts_with("there is no interface nowhere0;"), "{missing}");
    for name in ["lo", "tun0"] {
        let text = refusal(name, None);
        assert!(
            text.contains(&format!("interface {name} is a loopback or not Ethernet")),
            "{text}"
        );
    }
}

fn no_permission() {
    pair();
    // SAFETY: the bare system call changes this thread's user only.
    assert_eq!(unsafe { libc::syscall(libc::SYS_setresuid, -1, 65534, -1) }, 0);
    let error = open_by_name("left0", 1, None).err().expect("a refusal");
    assert!(matches!(error, OpenPacketError::Permission { .. }), "{error:?}");
    assert!(error.to_string().contains("CAP_NET_RAW"), "{error}");
}

fn mtu() {
    pair();
    let (packet, queues) = open_by_name("left0", 1, None).unwrap();
    assert_eq!((packet.limits().mtu, packet.name(), queues.len()), (Some(1500), "dev left0", 1));
    assert_eq!(open_by_name("left0", 1, Some(1400)).unwrap().0.limits().mtu, Some(1400));
    let text = refusal("left0", Some(1501));
    assert!(text.contains("has mtu 1500, but mtu is 1501"), "{text}");
}

/// A frame to a station that nobody is, of `len` bytes, with a number.
fn numbered(number: u32, len: usize) -> Vec<u8> {
    let mut frame = vec![2, 9, 9, 9, 9, 9, 2, 0, 0, 0, 0, 1, 0x88, 0xb5];
    frame.extend(number.to_be_bytes());
    frame.extend((frame.len()..len).map(|at| (at as u32 ^ number) as u8));
    frame.truncate(len);
    frame
}

fn number_of(frame: &[u8]) -> u32 {
    u32::from_be_bytes(frame[14..18].try_into().unwrap())
}

/// TCP or UDP over IPv4 with `len` bytes of payload, and a checksum that holds the pseudo header's sum only.
fn ip_frame(udp: bool, len: usize, port: u16) -> Vec<u8> {
    let headers = if udp { 28 } else { 40 };
    let mut ip = [0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    ip[2..4].copy_from_slice(&((headers + len) as u16).to_be_bytes());
    ip[9] = if udp { 17 } else { 6 };
    let checksum = !fold(sum(&ip));
    ip[10..12].copy_from_slice(&checksum.to_be_bytes());
    let mut transport = vec![0; headers - 20];
    transport[..2].copy_from_slice(&port.to_be_bytes());
    transport[3] = 81;
    if !udp {
        transport[12..14].copy_from_slice(&[0x50, 0x10]);
    } else {
        transport[4..6].copy_from_slice(&((8 + len) as u16).to_be_bytes());
    }
    let pseudo = fold(sum(&ip[12..20]) + u32::from(ip[9]) + (headers - 20 + len) as u32);
    let at = if udp { 6 } else { 16 };
    transport[at..at + 2].copy_from_slice(&pseudo.to_be_bytes());
    let payload: Vec<u8> = (0..len).map(|at| (at % 253) as u8).collect();
    let link = [2, 9, 9, 9, 9, 9, 2, 0, 0, 0, 0, 1, 8, 0];
    [&link[..], &ip, &transport, &payload].concat()
}

fn sum(bytes: &[u8]) -> u32 {
    let pairs = bytes.chunks(2);
    pairs.map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum()
}

fn fold(sum: u32) -> u16 {
    let mut sum = sum;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// Whether TCP's or UDP's checksum of a frame without tags is right.
fn is_summed(frame: &[u8]) -> bool {
    let pseudo = sum(&frame[26..34]) + u32::from(frame[23]) + (frame.len() - 34) as u32;
    fold(pseudo + sum(&frame[34..])) == 0xffff
}

fn with_tag(frame: &[u8], tag: [u8; 4]) -> Vec<u8> {
    [&frame[..12], &tag, &frame[12..]].concat()
}

fn to_send(meta: FrameMeta, bytes: &[u8], pieces: usize) -> TxFrame {
    let memory = ram(0x2_0000);
    memory.write_slice(bytes, GuestAddress(0x100)).unwrap();
    let mut frame = TxFrame::new(memory);
    frame.meta = meta;
    let (share, mut done) = (bytes.len() / pieces, 0);
    for piece in 0..pieces {
        let len = if piece + 1 == pieces { bytes.len() - done } else { share };
        frame.body.push(0x100 + done as u64, len as u32).unwrap();
        done += len;
    }
    frame.pull_head();
    frame
}

fn send(queue: &mut Queue, meta: FrameMeta, bytes: &[u8]) -> Result<(), QueueError> {
    queue.send(&to_send(meta, bytes, 2))?;
    queue.flush().error.map_or(Ok(()), Err)
}

/// The next frame, if there is one, to buffers of `buffered` bytes behind the head; the rest spills.
fn take(
    queue: &mut dyn NetQueue,
    buffered: usize,
) -> Result<Option<(FrameMeta, Vec<u8>)>, QueueError> {
    const SKIP: usize = 12 + HEAD;
    let mut buffers = Scatter::new(ram(0x2_0000));
    buffers.push(0, (SKIP + buffered) as u32).unwrap();
    let (mut spill, mut frame) = (vec![0; MAX_FRAME], RxFrame::default());
    let room = Room { buffers: &buffers, skip: SKIP, spill: &mut spill };
    match queue.recv(room, &mut frame) {
        Ok(()) => {}
        Err(QueueError::NotReady) => return Ok(None),
        Err(error) => return Err(error),
    }
    let mut bytes = frame.head.bytes().to_vec();
    assert_eq!(bytes.len(), frame.len.min(HEAD));
    let mut body = vec![0; (frame.len - bytes.len()).min(buffered)];
    assert!(buffers.read_at(SKIP, &mut body));
    bytes.extend(body);
    bytes.extend(&spill[..frame.len - bytes.len()]);
    Ok(Some((frame.meta, bytes)))
}

/// Waits for the next frame of the tests.
fn receive(queue: &mut dyn NetQueue) -> (FrameMeta, Vec<u8>) {
    let begin = Instant::now();
    loop {
        match take(queue, 1024).unwrap() {
            Some((meta, bytes)) if is_ours(&bytes) => return (meta, bytes),
            Some(_) => {}
            None => std::thread::yield_now(),
        }
        assert!(begin.elapsed() < Duration::from_secs(20), "no frame came");
    }
}

fn is_ours(bytes: &[u8]) -> bool {
    bytes.starts_with(&[2, 9, 9, 9, 9, 9])
}

fn lengths() {
    let [(_a, mut a), (_b, mut b)] = ends();
    let all = (18..=300).chain([511, 512, 513, 1023, 1024, 1025, 1500, 1513, 1514]);
    for (number, len) in (0..).zip(all) {
        for back in [false, true] {
            let (from, to) = match back {
                false => (&mut a[0], &mut b[0]),
                true => (&mut b[0], &mut a[0]),
            };
            let frame = numbered(number, len);
            send(from, FrameMeta::default(), &frame).unwrap();
            let (meta, bytes) = receive(to);
            assert!(bytes == frame, "{len}: {bytes:02x?}");
            assert_eq!(meta.gso, None);
        }
    }
    // Longer than the interface takes, and shorter than a header.
    for len in [1519, 13] {
        let error = send(&mut a[0], FrameMeta::default(), &numbered(1, len)).unwrap_err();
        assert!(matches!(error, QueueError::Refused(_)), "{len}: {error:?}");
    }
}

fn jumbo() {
    pair();
    for name in ["left0", "right0"] {
        ip(&format!("link set {name} mtu 40000"));
    }
    let [(_a, mut a), (_b, mut b)] =
        ["left0", "right0"].map(|name| open_by_name(name, 1, None).unwrap());
    // Below a slot and beyond.
    for len in [60, 9014, 16_000, 16_300, 16_384, 17_000, 40_014] {
        let frame = numbered(7, len);
        send(&mut a[0], FrameMeta::default(), &frame).unwrap();
        assert!(receive(&mut b[0]).1 == frame, "{len}");
        // As what comes beside the ring has to wait its turn.
        send(&mut a[0], FrameMeta::default(), &numbered(8, 64)).unwrap();
        send(&mut a[0], FrameMeta::default(), &frame).unwrap();
        send(&mut a[0], FrameMeta::default(), &numbered(9, 64)).unwrap();
        for expected in [numbered(8, 64), frame, numbered(9, 64)] {
            assert!(receive(&mut b[0]).1 == expected, "{len}");
        }
    }
    // A checksum that is left to who does not take it, beside the ring.
    let needed = Csum::Needed { start: 34, offset: 16 };
    let meta = FrameMeta { csum: needed, ..FrameMeta::default() };
    send(&mut a[0], meta, &ip_frame(false, 30_000, 1)).unwrap();
    let (meta, bytes) = receive(&mut b[0]);
    assert!(!matches!(meta.csum, Csum::Needed { .. }) && is_summed(&bytes), "{meta:?}");
}

/// Metadata of TCP that is to be cut, and of UDP.
fn large(udp: bool) -> FrameMeta {
    let (offset, headers) = if udp { (6, 42) } else { (16, 54) };
    let kind = if udp { GsoKind::Udp } else { GsoKind::Tcp4 };
    let gso = Some(Gso { kind, ecn: false, segment: 1000, headers });
    FrameMeta { csum: Csum::Needed { start: 34, offset }, gso, hash: None }
}

fn offloads() {
    let [(_a, mut a), (mut b, mut b_queues)] = ends();
    b.accept(Offloads::all()).unwrap();
    let (from, to) = (&mut a[0], &mut b_queues[0]);
    for len in [60, 1400] {
        let meta = FrameMeta { gso: None, ..large(false) };
        send(from, meta, &ip_frame(false, len, 1)).unwrap();
        let (received, bytes) = receive(to);
        assert_eq!(received, meta);
        assert!(bytes == ip_frame(false, len, 1), "{len}");
    }
    for (udp, len) in
        [(false, 1500), (false, 20_000), (false, 65_400), (true, 5000), (true, 50_000)]
    {
        send(from, large(udp), &ip_frame(udp, len, 1)).unwrap();
        let (received, bytes) = receive(to);
        let kind = large(udp).gso.unwrap().kind;
        assert_eq!(received.gso.map(|gso| (gso.kind, gso.segment)), Some((kind, 1000)), "{len}");
        assert_eq!(received.csum, large(udp).csum);
        assert!(bytes == ip_frame(udp, len, 1), "{len}");
    }
    // A header that the kernel finds wanting costs this frame only.
    let wrong = FrameMeta { gso: large(true).gso, ..large(false) };
    let error = send(from, wrong, &ip_frame(false, 3000, 1)).unwrap_err();
    assert!(matches!(error, QueueError::Refused(_)), "{error:?}");
    send(from, FrameMeta::default(), &numbered(1, 60)).unwrap();
    assert_eq!(receive(to).1.len(), 60);
}

fn finished() {
    let [(_a, mut a), (_b, mut b)] = ends();
    let (from, to) = (&mut a[0], &mut b[0]);
    for len in [0, 1, 60, 61, 1400] {
        let meta = FrameMeta { gso: None, ..large(false) };
        send(from, meta, &ip_frame(false, len, 1)).unwrap();
        let (meta, bytes) = receive(to);
        assert!(!matches!(meta.csum, Csum::Needed { .. }) && is_summed(&bytes), "{len}");
    }
    for (udp, len) in [(false, 1500), (false, 60_001), (true, 1500), (true, 60_001)] {
        send(from, large(udp), &ip_frame(udp, len, 1)).unwrap();
        let (headers, mut payload) = (if udp { 42 } else { 54 }, Vec::new());
        while payload.len() < len {
            let (meta, bytes) = receive(to);
            assert!(meta.gso.is_none() && !matches!(meta.csum, Csum::Needed { .. }), "{meta:?}");
            assert!(is_summed(&bytes) && fold(sum(&bytes[14..34])) == 0xffff, "{bytes:02x?}");
            assert_eq!(usize::from(u16::from_be_bytes([bytes[16], bytes[17]])), bytes.len() - 14);
            assert_eq!(bytes.len() - headers, (len - payload.len()).min(1000));
            payload.extend_from_slice(&bytes[headers..]);
        }
        assert!(payload == ip_frame(udp, len, 1)[headers..], "udp {udp}, {len}");
    }
}

const TAGS: [[u8; 4]; 3] = [[0x81, 0, 0x20, 5], [0x88, 0xa8, 0x0f, 0xff], [0x81, 0, 0, 0]];

fn tags() {
    let [(_a, mut a), (_b, mut b)] = ends();
    for tag in TAGS {
        for len in [18, 60, 120, 126, 130, 1000, 1514] {
            let plain = numbered(3, len);
            for frame in [with_tag(&plain, tag), with_tag(&with_tag(&plain, TAGS[0]), tag)] {
                // Beside the longest the kernel lets one tag pass, of a customer.
                if frame.len() > 1518 || (frame.len() > 1514 && frame[12] != 0x81) {
                    continue;
                }
                send(&mut a[0], FrameMeta::default(), &frame).unwrap();
                let (_, bytes) = receive(&mut b[0]);
                assert!(bytes == frame, "{tag:02x?} {len}: {bytes:02x?}");
            }
        }
    }
}

fn tagged_segments() {
    let [(_a, mut a), (mut b, mut b_queues)] = ends();
    let (from, to) = (&mut a[0], &mut b_queues[0]);
    let frame = with_tag(&ip_frame(false, 20_000, 1), TAGS[0]);
    let mut meta = large(false);
    meta.csum = Csum::Needed { start: 38, offset: 16 };
    meta.gso.as_mut().unwrap().headers = 58;
    b.accept(Offloads::all()).unwrap();
    send(from, meta, &frame).unwrap();
    let (received, bytes) = receive(to);
    assert_eq!((received.csum, received.gso.unwrap().segment), (meta.csum, 1000));
    assert!(bytes == frame);
    b.accept(Offloads::empty()).unwrap();
    send(from, meta, &frame).unwrap();
    for _ in 0..20 {
        let (received, bytes) = receive(to);
        assert!(received.gso.is_none() && bytes[12..16] == TAGS[0]);
        let plain = [&bytes[..12], &bytes[16..]].concat();
        assert!(plain.len() == 1054 && is_summed(&plain));
    }
}

fn burst() {
    let [(_a, mut a), (_b, mut b)] = ends();
    // Far more than there are slots.
    let count = (RING / 2048 * 3) as u32;
    for round in 0..3 {
        let numbers = round * count..(round + 1) * count;
        for number in numbers.clone() {
            a[0].send(&to_send(
                FrameMeta::default(),
                &numbered(number, 60 + number as usize % 1400),
                3,
            ))
            .unwrap();
        }
        assert_eq!(a[0].flush().frames, 0);
        let mut got = Vec::new();
        while let Some((_, bytes)) = take(&mut b[0], 512).unwrap() {
            let number = number_of(&bytes);
            assert!(bytes == numbered(number, 60 + number as usize % 1400), "{number}");
            got.push(number);
        }
        assert!(got.len() >= RING / 2048 / 2 && got.len() < count as usize, "{} came", got.len());
        assert!(got.is_sorted() && numbers.contains(got.last().unwrap()), "{got:?}");
        // Those that were lost are told by the next frame.
        send(&mut a[0], FrameMeta::default(), &numbered(numbers.end, 60)).unwrap();
        assert_eq!(number_of(&receive(&mut b[0]).1), numbers.end);
        assert_eq!((b[0].lost(), b[0].lost()), (u64::from(count) - got.len() as u64, 0));
    }
    // Large ones, of which less wait beside the ring than there are slots.
    b[0].enable(true).unwrap();
    let frame = ip_frame(false, 60_000, 1);
    for _ in 0..300 {
        send(&mut a[0], large(false), &frame).unwrap();
    }
    send(&mut a[0], FrameMeta::default(), &numbered(1, 60)).unwrap();
    let (mut whole, mut lost) = (0, 0);
    loop {
        match take(&mut b[0], 512) {
            Ok(Some((_, bytes))) if number_of(&bytes) == 1 && bytes.len() == 60 => break,
            Ok(Some((_, bytes))) => whole += bytes.len() - 54,
            Ok(None) => panic!("the last one is missing"),
            Err(QueueError::Refused(_)) => lost += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(whole % 60_000 == 0 && whole > 0 && lost > 0, "{whole} bytes, {lost} frames lost");
    assert_eq!(whole / 60_000 + lost, 300);
}

/// Numbered frames of many kinds, and some that the kernel refuses among them.
fn batches() {
    let [(_a, mut a), (_b, mut b)] = ends();
    let (from, to) = (&mut a[0], &mut b[0]);
    let memory = ram(0x2_0000);
    let mut frame = TxFrame::new(memory.clone());
    let mut refused = 0;
    for number in 0..200u32 {
        let mut bytes = numbered(number, 100 + number as usize % 1200);
        if number % 20 == 7 {
            bytes.resize(1600, 0);
        }
        let at = 0x100 + (u64::from(number) % 32) * 0x800;
        memory.write_slice(&bytes, GuestAddress(at)).unwrap();
        frame.clear();
        // Most in a few pieces, one in fifty in more than are collected.
        let pieces = if number % 50 == 49 { 60 } else { 1 + number as usize % 4 };
        let (share, mut done) = (bytes.len() / pieces, 0);
        for piece in 0..pieces {
            let len = if piece + 1 == pieces { bytes.len() - done } else { share };
            frame.body.push(at + done as u64, len as u32).unwrap();
            done += len;
        }
        frame.pull_head();
        from.send(&frame).unwrap();
        if number % 32 == 31 {
            refused += from.flush().frames;
        }
    }
    refused += from.flush().frames;
    assert_eq!(refused, 10);
    for number in (0..200).filter(|number| number % 20 != 7) {
        let (_, bytes) = receive(to);
        assert!(bytes == numbered(number, 100 + number as usize % 1200), "frame {number}");
    }
    assert_eq!(from.flush().frames, 0, "all has been told");
}

fn down() {
    let [(_a, mut a), (_b, mut b)] = ends();
    send(&mut a[0], FrameMeta::default(), &numbered(1, 60)).unwrap();
    ip("link set right0 down");
    // What had come is still there.
    b[0].suspect();
    assert_eq!(number_of(&receive(&mut b[0]).1), 1);
    let error = take(&mut b[0], 0).unwrap_err();
    assert!(matches!(error, QueueError::Transient(_)), "{error:?}");
    let error = send(&mut b[0], FrameMeta::default(), &numbered(1, 60)).unwrap_err();
    assert!(matches!(error, QueueError::Refused(_)), "down is not gone: {error:?}");
    ip("link set right0 up");
    assert!(matches!(take(&mut b[0], 0), Ok(None)));
    send(&mut a[0], FrameMeta::default(), &numbered(2, 60)).unwrap();
    assert_eq!(number_of(&receive(&mut b[0]).1), 2);
    send(&mut b[0], FrameMeta::default(), &numbered(3, 60)).unwrap();
    assert_eq!(number_of(&receive(&mut a[0]).1), 3);
}

fn down_at_first() {
    ip("link add left0 type veth peer name right0");
    match open_by_name("left0", 2, None) {
        Ok(_) => {}
        // Before Linux 6.13.
        Err(error @ OpenPacketError::Down { .. }) => {
            assert!(error.to_string().contains("ip link set left0 up"), "{error}");
        }
        Err(error) => panic!("{error}"),
    }
    let [(_a, mut a), (_b, mut b)] =
        ["left0", "right0"].map(|name| open_by_name(name, 1, None).unwrap());
    assert!(matches!(take(&mut b[0], 0), Err(QueueError::Transient(_))));
    ip("link set left0 up");
    ip("link set right0 up");
    assert!(matches!(take(&mut b[0], 0), Ok(None)));
    send(&mut a[0], FrameMeta::default(), &numbered(2, 60)).unwrap();
    assert_eq!(number_of(&receive(&mut b[0]).1), 2);
}

fn removed() {
    let [(_a, mut a), _] = ends();
    ip("link del left0");
    let error = send(&mut a[0], FrameMeta::default(), &numbered(1, 60)).unwrap_err();
    assert!(matches!(error, QueueError::Gone(_)), "{error:?}");
}

fn removed_while_receiving() {
    let [(_a, mut a), _] = ends();
    let mut waits =
        libc::pollfd { fd: a[0].poll_fd().unwrap().as_raw_fd(), events: libc::POLLIN, revents: 0 };
    ip("link del left0");
    // SAFETY: one entry, as its length says.
    assert_eq!(unsafe { libc::poll(&mut waits, 1, 5000) }, 1);
    assert!(waits.revents & libc::POLLERR != 0, "{:x}", waits.revents);
    a[0].suspect();
    let error = take(&mut a[0], 0).unwrap_err();
    assert!(matches!(error, QueueError::Gone(_)), "{error:?}");
}

fn outgoing() {
    pair();
    for queues in [1, 2] {
        let (_a, mut a) = open_by_name("left0", queues, None).unwrap();
        let (_other, mut other) = open_by_name("left0", 1, None).unwrap();
        send(&mut other[0], FrameMeta::default(), &numbered(1, 60)).unwrap();
        let (_b, mut b) = open_by_name("right0", 1, None).unwrap();
        send(&mut b[0], FrameMeta::default(), &numbered(2, 60)).unwrap();
        assert_eq!(number_of(&receive(&mut a[0]).1), 2);
    }
}

/// All frames that wait, by queue.
fn waiting(queues: &mut [impl NetQueue]) -> Vec<Vec<Vec<u8>>> {
    let all = |queue: &mut dyn NetQueue| -> Vec<Vec<u8>> {
        let next = || take(queue, 512).unwrap().map(|(_, bytes)| bytes);
        std::iter::from_fn(next).filter(|bytes| is_ours(bytes)).collect()
    };
    queues.iter_mut().map(|queue| all(queue)).collect()
}

/// Sends frames of as many flows as there are ports, in turns; each has a number in its payload.
fn send_flows(from: &mut Queue, ports: std::ops::Range<u16>) {
    for number in 0..4u8 {
        for port in ports.clone() {
            for udp in [false, true] {
                let mut frame = ip_frame(udp, 100, port);
                *frame.last_mut().unwrap() = number;
                from.send(&to_send(FrameMeta::default(), &frame, 2)).unwrap();
            }
        }
        assert_eq!(from.flush().frames, 0);
    }
}

fn flows() {
    pair();
    let (mut packet, mut queues) = open_by_name("left0", 4, None).unwrap();
    let (_b, mut b) = open_by_name("right0", 1, None).unwrap();
    assert_eq!(queues.len(), 4);
    for count in [4, 3] {
        packet.spread(count).unwrap();
        send_flows(&mut b[0], 1000..1032);
        let mut homes = std::collections::HashMap::new();
        let by_queue = waiting(&mut queues);
        for (queue, frames) in by_queue.iter().enumerate() {
            assert_eq!(frames.is_empty(), queue >= count.into(), "{queue} of {count}");
            for frame in frames {
                let (home, last) = homes.entry(frame[23..36].to_vec()).or_insert((queue, None));
                assert_eq!(*home, queue);
                assert!(last.is_none_or(|last| last < frame.last().copied()), "out of order");
                *last = Some(frame.last().copied());
            }
        }
        assert_eq!(by_queue.iter().map(Vec::len).sum::<usize>(), 4 * 32 * 2);
        assert_eq!(homes.len(), 64);
        // The order of queues outlives the interface's going down.
        ip("link set left0 down");
        ip("link set left0 up");
        queues.iter_mut().for_each(|queue| queue.suspect());
        send_flows(&mut b[0], 1000..1032);
        for (queue, frames) in waiting(&mut queues).iter().enumerate() {
            for frame in frames {
                assert_eq!(homes[&frame[23..36]].0, queue, "after it was down");
            }
        }
    }
}

fn switched() {
    pair();
    let (mut packet, mut queues) = open_by_name("left0", 3, None).unwrap();
    let (_b, mut b) = open_by_name("right0", 1, None).unwrap();
    // The first only, before anything was said.
    send_flows(&mut b[0], 1..9);
    assert_eq!(waiting(&mut queues).iter().map(Vec::len).collect::<Vec<_>>(), [64, 0, 0]);
    packet.spread(3).unwrap();
    send_flows(&mut b[0], 1..9);
    // What waits in a queue that is turned off, or on, is not for later.
    for queue in &mut queues[1..] {
        queue.enable(false).unwrap();
    }
    packet.spread(1).unwrap();
    let lens: Vec<_> = waiting(&mut queues).iter().map(Vec::len).collect();
    assert!(lens[0] > 0 && lens[0] < 64 && lens[1..] == [0, 0], "{lens:?}");
    send_flows(&mut b[0], 1..9);
    assert_eq!(waiting(&mut queues).iter().map(Vec::len).collect::<Vec<_>>(), [64, 0, 0]);
    // What is not IP goes to the first.
    packet.spread(3).unwrap();
    for number in 0..32 {
        send(&mut b[0], FrameMeta::default(), &numbered(number, 60)).unwrap();
    }
    assert_eq!(waiting(&mut queues).iter().map(Vec::len).collect::<Vec<_>>(), [32, 0, 0]);
}

fn sorted() {
    const LANES: u16 = 4;
    pair();
    let (mut packet, queues) = open_by_name("left0", LANES, None).unwrap();
    let (_b, mut b) = open_by_name("right0", 1, None).unwrap();
    assert!(!packet.steers());
    packet.spread(LANES).unwrap();
    let queues = queues.into_iter().map(|queue| Box::new(queue) as Box<dyn NetQueue>).collect();
    let (sorter, mut queues) = sorter::wrap(queues, ram(0x1000));
    // All may be watched by one thread, and a sorter beside them.
    let share = queues[0].share().unwrap();
    let fd = |(fd, _): (BorrowedFd<'_>, _)| fd.as_raw_fd();
    let mut watched: Vec<_> = queues.iter().flat_map(|queue| queue.watches()).map(fd).collect();
    watched.extend(share.poll_fd().map(|fd| fd.as_raw_fd()));
    let count = watched.len();
    watched.sort();
    watched.dedup();
    assert_eq!(watched.len(), count);
    for queue in queues.iter_mut().rev() {
        queue.sort(true).unwrap();
    }
    packet.spread(1).unwrap();
    let thread = IoThread::by_hand().unwrap();
    let post = thread.host(sorter.expect("it can be shared")).unwrap();
    let table = Table::spread(128, LANES).unwrap();
    let rss = Rss { key: Key([0x6d; 40]), initial: 0, fields: Selection::all(), table };
    let hasher = Arc::new(Hasher::new(rss));
    let rules = hasher.clone();
    post.ask(|sorter, interest| sorter.sort(Some(rules), interest)).unwrap();
    send_flows(&mut b[0], 1..65);
    for _ in 0..20 {
        post.settle();
    }
    let mut total = 0;
    for (lane, queue) in queues.iter_mut().enumerate() {
        let next = || take(&mut **queue, 512).unwrap().map(|(_, bytes)| bytes);
        let frames: Vec<_> = std::iter::from_fn(next).filter(|bytes| is_ours(bytes)).collect();
        for frame in &frames {
            assert_eq!(usize::from(hasher.lane(hasher.hash(&frame[..HEAD]))), lane);
        }
        assert!(!frames.is_empty(), "lane {lane}");
        total += frames.len();
    }
    assert_eq!(total, 4 * 64 * 2);
}
