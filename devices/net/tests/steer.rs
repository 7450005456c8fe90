//! What steers frames on this host against the software reference, on random frames: the kernel's
//! program, alone and in a multi-queue TAP, and the sorter. Needs permission to load eBPF programs
//! and to make network namespaces; else skipped.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use device_core::scatter::Scatter;
use device_core::testing::ram;
use device_core::worker::IoThread;
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use net::backend::tap::open_by_name;
use net::backend::{NetBackend, NetQueue, QueueError, Room};
use net::frame::{HEAD, MAX_FRAME, RxFrame};
use net::rss::steer::{SteerError, Steerer, instructions};
use net::rss::{Fields, Hasher, Key, Protocol, Rss, Selection, Steering, Table, sorter};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};

fn main() {
    let arguments = Arguments::from_args();
    type Test = fn(Steerer) -> Result<Completion, Failed>;
    let tests: &[(&str, Test)] = &[
        ("the_program_agrees_with_the_reference_on_random_frames", agreement),
        ("rules_change_while_the_program_is_in_use", live),
        ("a_tap_steers_random_frames_as_the_reference_does", tap),
    ];
    let trials = tests.iter().map(|(name, test)| {
        Trial::ignorable_test(*name, || match Steerer::load() {
            Ok(steerer) => test(steerer),
            Err(why @ SteerError::Permission) => {
                Ok(Completion::ignored_with(format!("SKIPPED: {why}")))
            }
            Err(error) => Err(Failed::from(format!("{error:?}"))),
        })
    });
    let sorted =
        Trial::ignorable_test("frames_of_a_tap_are_sorted_the_same_way", || in_namespace(sorted));
    libtest_mimic::run(&arguments, trials.chain([sorted]).collect()).exit();
}

const PROG_LOAD: i64 = 5;
const PROG_TEST_RUN: i64 = 10;
/// A kind of program that is run on whole frames in the kernel's test; a socket filter gets them
/// there without the Ethernet header, unlike on a TAP.
const PROG_TYPE_SCHED_CLS: u32 = 3;

#[repr(C)]
#[derive(Default)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct TestRun {
    prog_fd: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
}

fn bpf<T>(command: i64, attr: &mut T) -> io::Result<i32> {
    // SAFETY: the structure of the command with its true size; all it points to lives.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}

/// The steering program for the rules of `steerer`, to be run on frames of the test's own.
fn runnable(steerer: &Steerer) -> Result<OwnedFd, Failed> {
    let code = instructions(steerer.map());
    let mut log = vec![0u8; 1 << 20];
    let mut attr = ProgLoad {
        prog_type: PROG_TYPE_SCHED_CLS,
        insn_cnt: code.len() as u32,
        insns: code.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        log_level: 1,
        log_size: log.len() as u32,
        log_buf: log.as_mut_ptr() as u64,
        ..ProgLoad::default()
    };
    match bpf(PROG_LOAD, &mut attr) {
        // SAFETY: fresh descriptor, owned by nobody else.
        Ok(fd) => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        Err(error) => {
            let text = String::from_utf8_lossy(&log);
            let tail: Vec<&str> = text.trim_end_matches('\0').lines().rev().take(40).collect();
            let tail: Vec<&str> = tail.into_iter().rev().collect();
            Err(format!("{error}\n{}", tail.join("\n")).into())
        }
    }
}

/// The queue that the program picks; `None` if the kernel's test takes no frame that is cut off
/// within its IP header.
fn run(program: &OwnedFd, frame: &[u8]) -> Option<u32> {
    let mut attr = TestRun {
        prog_fd: program.as_raw_fd() as u32,
        data_size_in: frame.len() as u32,
        data_in: frame.as_ptr() as u64,
        repeat: 1,
        ..TestRun::default()
    };
    match bpf(PROG_TEST_RUN, &mut attr) {
        Ok(_) => Some(attr.retval),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) && frame.len() < 64 => None,
        Err(error) => panic!("the kernel does not run the program: {error}"),
    }
}

fn any_rss() -> impl Strategy<Value = Rss> {
    let fields = prop::collection::vec(any::<u16>(), Protocol::COUNT);
    let some = fields.prop_map(|fields| {
        let mut selection = Selection::NONE;
        for (protocol, fields) in Protocol::ALL.into_iter().zip(fields) {
            let fields = Fields::from_bits_truncate(fields) & protocol.fields();
            assert!(selection.set(protocol, fields));
        }
        selection
    });
    let fields = prop_oneof![Just(Selection::all()), some];
    let size = prop::sample::select(vec![1usize, 2, 128, 512]);
    let table = (size, 1..64u16).prop_flat_map(|(size, lanes)| {
        (prop::collection::vec(0..lanes, size), 0..lanes)
            .prop_map(move |(entries, unhashed)| Table::with_unhashed(entries, unhashed, lanes))
    });
    let key = prop::collection::vec(any::<u8>(), 40);
    (key, any::<u32>(), fields, table).prop_map(|(key, initial, fields, table)| Rss {
        key: Key(key.try_into().unwrap()),
        initial,
        fields,
        table: table.unwrap(),
    })
}

/// Frames that look like something: each header is chosen to lead on more often than not.
fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let kind = prop::sample::select(vec![0x0800u16, 0x0800, 0x86dd, 0x86dd, 0x86dd, 0x0806]);
    let tags = prop::collection::vec(prop::sample::select(vec![0x8100u16, 0x88a8]), 0..=3);
    let tags = prop_oneof![2 => Just(Vec::new()), 1 => tags];
    let next = prop::sample::select(vec![6u8, 6, 17, 17, 0, 43, 60, 60, 44, 51, 58]);
    let first = prop_oneof![8 => Just(5u8), 2 => 0..16u8];
    let fragment = prop_oneof![3 => Just(0u16), 1 => Just(0x4000), 1 => any::<u16>()];
    let chain = prop::collection::vec((next.clone(), prop_oneof![3 => Just(0u8), 1 => 0..4u8]), 6);
    let bytes = prop::collection::vec(any::<u8>(), 200);
    let len = prop_oneof![3 => Just(200usize), 2 => 14..200usize];
    (kind, tags, next, first, fragment, chain, bytes, len).prop_map(
        |(kind, tags, next, first, fragment, chain, mut frame, len)| {
            let mut at = 12;
            for tag in tags {
                frame[at..at + 2].copy_from_slice(&tag.to_be_bytes());
                at += 4;
            }
            frame[at..at + 2].copy_from_slice(&kind.to_be_bytes());
            at += 2;
            if kind == 0x0800 {
                frame[at] = 0x40 | first;
                frame[at + 6..at + 8].copy_from_slice(&fragment.to_be_bytes());
                frame[at + 9] = next;
            } else if kind == 0x86dd {
                frame[at] = 0x60 | first & 1;
                frame[at + 6] = next;
                at += 40;
                for (next, units) in chain {
                    if at + 2 > frame.len() {
                        break;
                    }
                    frame[at..at + 2].copy_from_slice(&[next, units]);
                    at += 8 + 8 * usize::from(units);
                }
            }
            frame.truncate(len);
            frame
        },
    )
}

fn reference(hasher: &Hasher, frame: &[u8]) -> u32 {
    hasher.lane(hasher.hash(&frame[..frame.len().min(HEAD)])).into()
}

fn agreement(mut steerer: Steerer) -> Result<Completion, Failed> {
    let program = runnable(&steerer)?;
    let mut seen = std::collections::HashMap::new();
    let mut runner =
        TestRunner::new(Config { cases: 300, failure_persistence: None, ..Config::default() });
    let frames = prop::collection::vec(any_frame(), 40);
    let steerer = std::cell::RefCell::new(&mut steerer);
    let tally = std::cell::RefCell::new(&mut seen);
    runner
        .run(&(any_rss(), frames), |(rss, frames)| {
            let hasher = Hasher::new(rss);
            steerer.borrow_mut().update(&hasher);
            for frame in frames {
                let Some(picked) = run(&program, &frame) else { continue };
                let head = &frame[..frame.len().min(HEAD)];
                let protocol = net::rss::classify::classify(head).protocol;
                prop_assert_eq!(
                    picked,
                    reference(&hasher, &frame),
                    "{:?} {:02x?}",
                    protocol,
                    frame
                );
                *tally.borrow_mut().entry(protocol).or_insert(0u32) += 1;
            }
            Ok(())
        })
        .map_err(|error| Failed::from(error.to_string()))?;
    for protocol in Protocol::ALL {
        let count = seen.get(&protocol).copied().unwrap_or_default();
        assert!(count > 20, "only {count} frames were {protocol:?}: {seen:?}");
    }
    Ok(Completion::Completed)
}

fn live(mut steerer: Steerer) -> Result<Completion, Failed> {
    let program = runnable(&steerer)?;
    let mut frame = vec![0; 60];
    frame[12..15].copy_from_slice(&[8, 0, 0x45]);
    assert_eq!(run(&program, &frame), Some(0), "empty rules steer to queue 0");
    for lane in [1, 2, 3, 1, 0] {
        let table = Table::new(vec![lane; 128], 4).unwrap();
        let rss = Rss { key: Key([1; 40]), initial: 0, fields: Selection::all(), table };
        steerer.update(&Hasher::new(rss));
        assert_eq!(run(&program, &frame), Some(u32::from(lane)));
    }
    Ok(Completion::Completed)
}

/// Runs the test on a thread in a new network namespace, or says why it cannot.
fn in_namespace(test: fn()) -> Result<Completion, Failed> {
    if let Err(error) = File::options().read(true).write(true).open("/dev/net/tun") {
        let why = format!("SKIPPED: /dev/net/tun cannot be opened: {error}");
        return Ok(Completion::ignored_with(why));
    }
    let thread = std::thread::spawn(move || {
        // SAFETY: moves this thread, and nothing else, into a new namespace.
        if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
            return Some(format!("SKIPPED: no network namespace: {}", io::Error::last_os_error()));
        }
        test();
        None
    });
    match thread.join() {
        Ok(None) => Ok(Completion::Completed),
        Ok(Some(skipped)) => Ok(Completion::ignored_with(skipped)),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| text.to_string()));
            Err(Failed::from(text.unwrap_or_default()))
        }
    }
}

const LANES: u16 = 4;

/// Puts frames on an interface, as the host's stack does.
struct Injector(OwnedFd, libc::sockaddr_ll);

impl Injector {
    fn on(name: &str) -> Injector {
        let name = std::ffi::CString::new(name).unwrap();
        // SAFETY: plain numbers and a C string; results are checked.
        unsafe {
            let fd = libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0);
            assert!(fd >= 0, "{}", io::Error::last_os_error());
            let mut to: libc::sockaddr_ll = std::mem::zeroed();
            to.sll_family = libc::AF_PACKET as u16;
            to.sll_ifindex = libc::if_nametoindex(name.as_ptr()) as i32;
            assert_ne!(to.sll_ifindex, 0);
            Injector(OwnedFd::from_raw_fd(fd), to)
        }
    }

    fn send(&self, frame: &[u8]) {
        let Injector(fd, to) = self;
        let len = size_of_val(to) as u32;
        // SAFETY: a frame and an address, both with their true lengths.
        let sent = unsafe {
            let to = std::ptr::from_ref(to).cast();
            libc::sendto(fd.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0, to, len)
        };
        assert_eq!(sent, frame.len() as isize, "{}", io::Error::last_os_error());
    }
}

/// The next frame of the test's own in a queue; others are of the host's stack.
fn receive(queue: &mut dyn NetQueue, no_room: &Scatter, spill: &mut [u8]) -> Option<Vec<u8>> {
    loop {
        let mut frame = RxFrame::default();
        match queue.recv(Room { buffers: no_room, skip: HEAD, spill }, &mut frame) {
            Ok(()) if frame.head.bytes().starts_with(&MARK) => {
                let rest = frame.len - frame.head.bytes().len();
                return Some([frame.head.bytes(), &spill[..rest]].concat());
            }
            Ok(()) => {}
            Err(QueueError::NotReady) => return None,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Destination of the test's frames.
const MARK: [u8; 6] = [2, 0xaa, 0xbb, 0xcc, 0xdd, 0xee];

/// Frames to send, with rules for them; always the same.
fn samples() -> Vec<(Rss, Vec<Vec<u8>>)> {
    let mut runner = TestRunner::deterministic();
    let rules = any_rss().prop_map(|rss| {
        let entries = rss.table.entries().iter().map(|entry| entry % LANES).collect();
        let unhashed = rss.table.unhashed() % LANES;
        Rss { table: Table::with_unhashed(entries, unhashed, LANES).unwrap(), ..rss }
    });
    let frames = any_frame().prop_map(|mut frame| {
        frame[..6].copy_from_slice(&MARK);
        frame.resize(frame.len().max(16), 0);
        frame
    });
    let all = (rules, prop::collection::vec(frames, 40));
    (0..20).map(|_| all.new_tree(&mut runner).unwrap().current()).collect()
}

/// Sends all samples; every frame must come, once, from the queue that `lane` names.
fn check(
    queues: &mut [Box<dyn NetQueue>],
    name: &str,
    mut steer: impl FnMut(Arc<Hasher>),
    turn: impl Fn(),
) {
    let injector = Injector::on(name);
    let (no_room, mut spill) = (Scatter::new(ram(0x1000)), vec![0; MAX_FRAME]);
    let mut lanes = [0; LANES as usize];
    for (rss, frames) in samples() {
        let hasher = Arc::new(Hasher::new(rss));
        steer(hasher.clone());
        for frame in frames {
            injector.send(&frame);
            let deadline = Instant::now() + Duration::from_secs(5);
            let (lane, received) = loop {
                turn();
                let found = queues.iter_mut().enumerate().find_map(|(lane, queue)| {
                    Some((lane, receive(&mut **queue, &no_room, &mut spill)?))
                });
                match found {
                    Some(found) => break found,
                    None => assert!(Instant::now() < deadline, "lost: {frame:02x?}"),
                }
            };
            assert_eq!(received, frame);
            assert_eq!(lane as u32, reference(&hasher, &frame), "{frame:02x?}");
            lanes[lane] += 1;
        }
    }
    assert!(lanes.iter().all(|count| *count > 20), "{lanes:?}");
}

fn boxed(queues: Vec<net::backend::tap::Queue>) -> Vec<Box<dyn NetQueue>> {
    queues.into_iter().map(|queue| Box::new(queue) as Box<dyn NetQueue>).collect()
}

fn tap(_: Steerer) -> Result<Completion, Failed> {
    in_namespace(|| {
        let (mut tap, queues) = open_by_name("rss0", LANES, None).unwrap();
        assert!(tap.steers());
        let mut queues = boxed(queues);
        let steer = |hasher: Arc<Hasher>| {
            assert_eq!(tap.steer(Some(&hasher)).unwrap(), Steering::Exact);
        };
        check(&mut queues, "rss0", steer, || {});
        assert_eq!(tap.steer(None).unwrap(), Steering::ByFlow);
    })
}

fn sorted() {
    let (_tap, queues) = open_by_name("sort0", LANES, None).unwrap();
    let (sorter, mut queues) = sorter::wrap(boxed(queues), ram(0x1000));
    for queue in queues.iter_mut().rev() {
        queue.sort(true).unwrap();
    }
    let thread = IoThread::by_hand().unwrap();
    let post = thread.host(sorter.expect("a tap can be shared")).unwrap();
    let steer = |hasher: Arc<Hasher>| {
        post.ask(|sorter, interest| sorter.sort(Some(hasher), interest)).unwrap();
    };
    check(&mut queues, "sort0", steer, || post.settle());
}
