//! Tests of captures, read back block by block.

use std::io::{Read, Seek};
use std::sync::Mutex;

use device_core::GuestRam;
use device_core::testing::ram;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

use super::*;
use crate::control::NicEvent;
use crate::frame::{Csum, FlowHash, Gso, GsoKind, RxFrame, TxFrame};
use crate::rss::Protocol;
use crate::stage::limiter::Way;
use device_core::scatter::Scatter;

/// A block of the file: kind, body, and of a packet its parts.
#[derive(Debug)]
struct Block {
    kind: u32,
    body: Vec<u8>,
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// Code and value of each.
type Options = Vec<(u16, Vec<u8>)>;

impl Block {
    fn options(&self, at: usize) -> Options {
        let (mut at, mut options) = (at, Vec::new());
        loop {
            let half = |at: usize| u16::from_ne_bytes(self.body[at..at + 2].try_into().unwrap());
            let (code, len) = (half(at), usize::from(half(at + 2)));
            if code == 0 {
                assert_eq!(at + 4, self.body.len());
                return options;
            }
            options.push((code, self.body[at + 4..][..len].to_vec()));
            at += 4 + len.next_multiple_of(4);
        }
    }

    /// Bytes kept, length of the frame, options.
    fn packet(&self) -> (Vec<u8>, u32, Options) {
        assert_eq!((self.kind, word(&self.body, 0)), (6, 0));
        let kept = word(&self.body, 12) as usize;
        let options = self.options(20 + kept.next_multiple_of(4));
        (self.body[20..][..kept].to_vec(), word(&self.body, 16), options)
    }

    fn stamp(&self) -> u64 {
        u64::from(word(&self.body, 4)) << 32 | u64::from(word(&self.body, 8))
    }
}

/// Those of a file that was completed.
fn blocks(file: File) -> Vec<Block> {
    let blocks = all_blocks(file);
    assert_eq!(blocks.last().unwrap().kind, 5);
    blocks
}

fn all_blocks(mut file: File) -> Vec<Block> {
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    let (mut rest, mut blocks) = (&bytes[..], Vec::new());
    while !rest.is_empty() {
        let len = word(rest, 4) as usize;
        assert!(len.is_multiple_of(4) && word(rest, len - 4) as usize == len);
        blocks.push(Block { kind: word(rest, 0), body: rest[8..len - 4].to_vec() });
        rest = &rest[len..];
    }
    assert_eq!((blocks[0].kind, word(&blocks[0].body, 0)), (0x0a0d_0d0a, 0x1a2b_3c4d));
    assert_eq!((blocks[1].kind, word(&blocks[1].body, 0)), (1, 1));
    blocks
}

/// Lanes 0 and 3 of a card, captured to a file without a name.
struct Fixture {
    capture: Capture,
    tees: Vec<Tee>,
    file: File,
    memory: GuestRam,
    outlook: Arc<Outlook>,
    _home: IoThread,
}

impl Fixture {
    fn new(spec: CaptureSpec) -> Fixture {
        Fixture::on(tempfile::tempfile().unwrap(), spec)
    }

    fn on(file: File, spec: CaptureSpec) -> Fixture {
        let (home, outlook) = (IoThread::by_hand().unwrap(), Arc::default());
        let subject = Subject { id: "net0", backend: "tap tap0", outlook: &outlook };
        let to = file.try_clone().unwrap();
        let (capture, tees) = Capture::begin(to, spec, &[0, 3], &subject, &home).unwrap();
        Fixture { capture, tees, file, memory: ram(0x2_0000), outlook, _home: home }
    }

    /// What is told from now on.
    fn told(&self) -> Arc<Mutex<Vec<NicEvent>>> {
        let told = Arc::default();
        let to: Arc<Mutex<Vec<NicEvent>>> = Arc::clone(&told);
        self.outlook.set_listener(Some(Box::new(move |event| to.lock().unwrap().push(event))));
        told
    }

    fn send(&mut self, tee: usize, bytes: &[u8]) {
        let mut frame = TxFrame::new(self.memory.clone());
        use vm_memory::{Bytes, GuestAddress};
        self.memory.write_slice(bytes, GuestAddress(0)).unwrap();
        frame.body.push(0, bytes.len() as u32).unwrap();
        frame.pull_head();
        frame.meta.csum = Csum::Needed { start: 34, offset: 16 };
        frame.meta.gso = Some(Gso { kind: GsoKind::Tcp4, ecn: false, segment: 1448, headers: 54 });
        self.tees[tee].sent(&frame);
    }

    fn receive(&mut self, tee: usize, bytes: &[u8]) {
        let mut frame = RxFrame { len: bytes.len(), ..RxFrame::default() };
        frame.head.set(&bytes[..bytes.len().min(crate::frame::HEAD)]);
        frame.meta.hash = Some(FlowHash { value: 0x0102_0304, protocol: Protocol::Tcp4 });
        frame.meta.csum = Csum::Valid;
        let mut room = Scatter::new(self.memory.clone());
        room.push(0x1_0000, 0x1_0000).unwrap();
        room.write_at(12, bytes);
        self.tees[tee].received(&frame, &room, 12);
    }

    /// Stops, as a port does.
    fn stop(&mut self) -> Vec<Block> {
        self.tees.clear();
        self.capture.finish();
        blocks(self.file.try_clone().unwrap())
    }
}

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7) as u8).collect()
}

#[test]
fn frames_of_all_queues_are_written_with_all_that_is_known_of_them() {
    let mut it = Fixture::new(CaptureSpec { snap_len: 65_535, ..CaptureSpec::default() });
    it.send(0, &bytes(3000));
    it.receive(1, &bytes(61));
    let blocks = it.stop();
    let name = (2, b"net0".to_vec());
    assert!(blocks[1].options(8).contains(&name) && blocks.len() == 5);

    let (sent, len, options) = blocks[2].packet();
    assert_eq!((sent, len), (bytes(3000), 3000));
    assert_eq!(options[0], (2, (2u32 | 1 << 9 | 1 << 11).to_ne_bytes().to_vec()));
    assert_eq!(options[1], (6, 0u32.to_ne_bytes().to_vec()));
    let comment = String::from_utf8(options[2].1.clone()).unwrap();
    assert!(comment.contains("from byte 34") && comment.contains("1448"), "{comment}");

    let (received, len, options) = blocks[3].packet();
    assert_eq!((received, len), (bytes(61), 61));
    assert_eq!(options[0], (2, (1u32 | 1 << 10).to_ne_bytes().to_vec()));
    assert_eq!(options[1], (6, 3u32.to_ne_bytes().to_vec()));
    assert_eq!(options[2], (3, vec![5, 1, 2, 3, 4]));
    assert!(blocks[2].stamp() <= blocks[3].stamp() && blocks[3].stamp() > 1 << 60);

    let received = (4, 2u64.to_ne_bytes().to_vec());
    assert_eq!(blocks[4].options(12), [received, (5, vec![0; 8])]);
    let state = it.capture.state();
    assert_eq!((state.frames, state.dropped, state.ended), (2, 0, Some(CaptureEnd::Stopped)));
    assert_eq!(state.bytes, it.file.metadata().unwrap().len());
}

#[test]
fn of_long_frames_the_snap_length_is_kept_and_of_one_direction_only() {
    let only = Some(Way::In);
    let mut it = Fixture::new(CaptureSpec { direction: only, ..CaptureSpec::default() });
    it.send(0, &bytes(3000));
    it.receive(0, &bytes(3000));
    it.receive(0, &bytes(20));
    let blocks = it.stop();
    assert_eq!(blocks.len(), 5);
    let (kept, len, _) = blocks[2].packet();
    assert_eq!((kept, len), (bytes(128), 3000));
    assert_eq!(blocks[3].packet().0, bytes(20));
}

#[test]
fn a_running_capture_can_be_read() {
    let mut it = Fixture::new(CaptureSpec::default());
    it.receive(0, &bytes(60));
    it.capture.settle();
    assert_eq!(it.file.metadata().unwrap().len(), it.capture.state().bytes);
    assert_eq!((it.capture.state().frames, it.capture.state().ended), (1, None));
}

#[test]
fn a_full_file_ends_the_capture_and_tells() {
    let mut it = Fixture::new(CaptureSpec { max_bytes: 64 << 10, ..CaptureSpec::default() });
    let told = it.told();
    for _ in 0..1000 {
        it.receive(0, &bytes(128));
    }
    it.capture.settle();
    let state = it.capture.state();
    assert_eq!(state.ended, Some(CaptureEnd::Full));
    assert!(state.bytes <= 64 << 10 && state.bytes > 63 << 10, "{}", state.bytes);
    assert_eq!(*told.lock().unwrap(), [NicEvent::CaptureEnded]);
    // What comes now is for nobody.
    it.receive(0, &bytes(128));
    let blocks = it.stop();
    assert_eq!(blocks.len() as u64, 3 + state.frames);
    assert_eq!(it.capture.state(), state);
}

/// A file that takes so many bytes and no more, as on a full disk.
fn bounded(bytes: u64) -> File {
    let file: File = memfd_create(c"bounded", MFdFlags::MFD_ALLOW_SEALING).unwrap().into();
    file.set_len(bytes).unwrap();
    fcntl(&file, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_GROW)).unwrap();
    file
}

#[test]
fn a_disk_that_fills_up_leaves_the_frames_that_are_whole_there() {
    for ring in [false, true] {
        let spec = CaptureSpec { ring, ..CaptureSpec::default() };
        let mut it = Fixture::on(bounded(12 << 10), spec);
        let told = it.told();
        for _ in 0..100 {
            it.receive(0, &bytes(128));
            it.capture.settle();
        }
        it.tees.clear();
        it.capture.finish();
        let state = it.capture.state();
        assert!(matches!(state.ended, Some(CaptureEnd::Failed(_))), "{state:?}");
        assert_eq!(*told.lock().unwrap(), [NicEvent::CaptureEnded]);
        // All that there was room for but the block that was begun.
        let blocks = all_blocks(it.file.try_clone().unwrap());
        assert_eq!(blocks.len() as u64, 2 + state.frames, "{ring}");
        assert!((30..60).contains(&state.frames), "{state:?}");
        assert!(blocks[2..].iter().all(|block| block.packet().0 == bytes(128)));
        assert_eq!(it.file.metadata().unwrap().len(), state.bytes);
        // What comes now is for nobody.
        it.capture.finish();
        assert_eq!(it.capture.state(), state);
    }
}

#[test]
fn a_ring_keeps_the_newest_frames() {
    let spec = CaptureSpec { max_bytes: 64 << 10, ring: true, ..CaptureSpec::default() };
    let mut it = Fixture::new(spec);
    for n in 0..1000u32 {
        it.receive(0, &[&n.to_ne_bytes()[..], &bytes(100)].concat());
        it.capture.settle();
    }
    assert_eq!(it.file.metadata().unwrap().len(), 0, "all is in memory");
    let blocks = it.stop();
    let state = it.capture.state();
    let kept = &blocks[2..blocks.len() - 1];
    assert_eq!((kept.len() as u64, state.frames + state.overwritten), (state.frames, 1000));
    for (block, n) in kept.iter().zip(state.overwritten as u32..) {
        assert_eq!(word(&block.packet().0, 0), n);
    }
    let len = it.file.metadata().unwrap().len();
    assert!(len == state.bytes && len <= 64 << 10 && len > 63 << 10, "{len}");
}

#[test]
fn what_the_writer_is_too_slow_for_is_counted() {
    let mut it = Fixture::new(CaptureSpec { snap_len: 65_535, ..CaptureSpec::default() });
    // 2 MiB of room, and nobody reads.
    for _ in 0..100 {
        it.receive(0, &bytes(60_000));
    }
    let dropped = it.capture.state().dropped;
    assert!((60..80).contains(&dropped), "{dropped}");
    let blocks = it.stop();
    assert_eq!(blocks.len() as u64, 3 + 100 - dropped);
    let end = blocks.last().unwrap().options(12);
    assert_eq!(end[1], (5, dropped.to_ne_bytes().to_vec()));
}

#[test]
fn a_capture_ends_when_its_time_is_up() {
    let progress = Arc::new(Progress::new(Vec::new()));
    let wake = Arc::new(EventFd::new(EFD_NONBLOCK).unwrap());
    let now = Instant::now();
    let file = tempfile::tempfile().unwrap();
    let spec = CaptureSpec::default();
    let writer = Writer::new(file, Vec::new(), spec, Vec::new(), wake, progress.clone(), now);
    let home = IoThread::by_hand().unwrap();
    let post = home.host(writer).unwrap();
    post.settle();
    assert_eq!(progress.state(spec).ended, Some(CaptureEnd::TimeUp));
}

#[test]
fn a_file_that_cannot_be_written_ends_the_capture_with_the_reason() {
    let file = File::options().write(true).open("/dev/full").unwrap();
    let (home, outlook) = (IoThread::by_hand().unwrap(), Arc::default());
    let subject = Subject { id: "net0", backend: "tap tap0", outlook: &outlook };
    let to = file.try_clone().unwrap();
    let refused = Capture::begin(to, CaptureSpec::default(), &[0], &subject, &home);
    assert_eq!(refused.err().unwrap().raw_os_error(), Some(libc::ENOSPC));
    let ring = CaptureSpec { ring: true, ..CaptureSpec::default() };
    let (mut capture, _) = Capture::begin(file, ring, &[0], &subject, &home).unwrap();
    capture.finish();
    assert!(matches!(capture.state().ended, Some(CaptureEnd::Failed(_))));
}
