//! Disks that are overlays, by a scripted host that ends calls in any order: against a plain list of sectors, and
//! after a cut of its power at any moment.

use std::fs::File;
use std::os::unix::fs::FileExt;

use proptest::prelude::*;

use super::*;
use crate::engine::script::{Answer, Asked};
use crate::image::Alignment;
use crate::port::PortControl;
use crate::request::SECTOR;
use crate::spec::{Cache, DiskSpec};
use crate::testing::{Bench, Guest};

/// Sectors of the base, which is shorter than the disk, and of a cluster.
const BASE: usize = 3 * 128 + 5;
const SECTORS: usize = 4 * 128 + 7;
const LANES: usize = 2;
/// Where requests have their data in the guest's memory, each a part of its own.
const AT: u64 = 0x1_0000;
const ROOM: u64 = 0x5_0000;

/// What is in each sector, by numbers that say who wrote it: 0 for zeroes.
type Sectors = Vec<u32>;

fn of_base() -> Sectors {
    (0..SECTORS).map(|at| if at < BASE { 0x8000_0000 | at as u32 } else { 0 }).collect()
}

fn bytes(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes().repeat(128)).collect()
}

/// The number of each sector; `None` for one that is no writer's, or torn.
fn numbers(bytes: &[u8]) -> Vec<Option<u32>> {
    let sector = |sector: &[u8]| {
        let number = u32::from_le_bytes(sector[..4].try_into().unwrap());
        (*sector == number.to_le_bytes().repeat(128)).then_some(number)
    };
    bytes.chunks(SECTOR as usize).map(sector).collect()
}

fn base() -> Image {
    let image = Image::in_memory(BASE as u64 * SECTOR, true, None);
    image.file().write_all_at(&bytes(&of_base()[..BASE]), 0).unwrap();
    image
}

fn above(file: &File) -> Image {
    Image::above(base(), file.try_clone().unwrap(), SECTORS as u64 * SECTOR, None)
}

/// All that is on the disk whose overlay is in `file`.
fn whole(file: &File) -> Vec<Option<u32>> {
    let mut all = vec![0; SECTORS * SECTOR as usize];
    above(file).read_disk_at(&mut all, 0).unwrap();
    numbers(&all)
}

/// A disk with two queues, and its overlay's file.
struct Disk {
    bench: Bench,
    guests: [Guest; LANES],
    file: File,
}

impl Disk {
    fn new(cache: Cache, alignment: Option<Alignment>) -> Disk {
        let file = tempfile::tempfile().unwrap();
        let spec = DiskSpec { cache, ..DiskSpec::on("test", "memory") };
        let size = SECTORS as u64 * SECTOR;
        let image = Image::above(base(), file.try_clone().unwrap(), size, alignment);
        let bench = Bench::with(&spec, image, LANES as u16);
        let second = Guest::new();
        bench.port.plug(1, second.ring()).unwrap();
        Disk { guests: [bench.guest.clone(), second], bench, file }
    }

    /// Both lanes do what they can.
    fn run(&self) {
        self.guests.iter().for_each(Guest::kick);
        // What one lets go of the other may wait for.
        for _ in 0..3 {
            self.bench.port.settle();
        }
    }

    /// All that was asked for ends well; what has ended in each lane.
    fn finish(&self) -> Vec<(usize, u64, Outcome)> {
        self.bench.stage.forget_answers();
        self.bench.stage.release_all();
        let mut ended = Vec::new();
        for _ in 0..1000 {
            self.run();
            ended.extend(self.ended());
            let is_idle = self.bench.port.stats().iter().all(|lane| lane.in_flight() == 0);
            if is_idle && self.guests.iter().all(|guest| guest.offers() == 0) {
                break;
            }
        }
        ended
    }

    fn ended(&self) -> Vec<(usize, u64, Outcome)> {
        let of = |(lane, guest): (usize, &Guest)| {
            guest.take().into_iter().map(move |(token, outcome)| (lane, token, outcome))
        };
        self.guests.iter().enumerate().flat_map(of).collect::<Vec<_>>()
    }

    /// Asks for a write of `number` to these sectors.
    fn write(&self, lane: usize, sectors: &Range<usize>, number: u32, place: usize, durable: bool) {
        let (at, len) = (AT + place as u64 * ROOM, sectors.len() * SECTOR as usize);
        self.bench.write(at, &bytes(&vec![number; sectors.len()]));
        let offset = sectors.start as u64 * SECTOR;
        self.guests[lane].offer(move |request| {
            request.operation = Operation::Write;
            (request.offset, request.durable) = (offset, durable);
            request.buffers.push(at, len as u32).unwrap();
        });
    }

    fn ranges(&self, lane: usize, operation: Operation, sectors: &Range<usize>, durable: bool) {
        let range = request::Range {
            offset: sectors.start as u64 * SECTOR,
            len: sectors.len() as u64 * SECTOR,
        };
        self.guests[lane].offer(move |request| {
            request.operation = operation;
            request.durable = durable;
            request.ranges.push(range);
        });
    }

    fn read(&self, lane: usize, sectors: &Range<usize>, place: usize) {
        let (at, len) = (AT + place as u64 * ROOM, sectors.len() * SECTOR as usize);
        self.guests[lane].transfer(Operation::Read, sectors.start as u64 * SECTOR, at, len as u32);
    }

    fn got(&self, sectors: &Range<usize>, place: usize) -> Vec<Option<u32>> {
        numbers(&self.bench.read(AT + place as u64 * ROOM, sectors.len() * SECTOR as usize))
    }
}

/// Something that a guest asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Read,
    Write,
    DurableWrite,
    Zero,
    Discard,
    Flush,
}

/// Something that happens.
#[derive(Clone, Debug)]
enum Move {
    Ask(Kind, usize, Range<usize>),
    /// The host does one of the calls that wait, says that it came no further than so many bytes, or fails it.
    Done(usize),
    Short(usize, u32),
    Fails(usize),
}

fn sectors() -> impl Strategy<Value = Range<usize>> {
    let any = (0..SECTORS, 1..400usize).prop_map(|(first, len)| first..(first + len).min(SECTORS));
    let small = (0..SECTORS, 1..20usize).prop_map(|(first, len)| first..(first + len).min(SECTORS));
    let whole = (0..5usize, 1..3usize)
        .prop_map(|(first, len)| first * 128..((first + len) * 128).min(SECTORS));
    prop_oneof![1 => any, 4 => small, 2 => whole]
}

fn ask() -> impl Strategy<Value = Move> {
    let kind = prop_oneof![
        3 => Just(Kind::Read),
        6 => Just(Kind::Write),
        1 => Just(Kind::DurableWrite),
        2 => Just(Kind::Zero),
        1 => Just(Kind::Discard),
        2 => Just(Kind::Flush),
    ];
    (kind, 0..LANES, sectors()).prop_map(|(kind, lane, sectors)| Move::Ask(kind, lane, sectors))
}

fn any_move() -> impl Strategy<Value = Move> {
    prop_oneof![
        6 => ask(),
        9 => any::<usize>().prop_map(Move::Done),
        1 => (any::<usize>(), 1..300u32).prop_map(|(nth, sectors)| Move::Short(nth, sectors * 512)),
    ]
}

/// A request under way.
#[derive(Clone, Debug)]
struct Wish {
    lane: usize,
    token: u64,
    kind: Kind,
    sectors: Range<usize>,
    /// Where its data is.
    place: usize,
    /// What had been written by the time it was asked for, as steps of each sector's history.
    written: Vec<usize>,
}

/// What each sector had, one after the other.
type Histories = Vec<Vec<u32>>;

/// The guest, and what it may expect.
struct Player {
    disk: Disk,
    cache: Cache,
    under_way: Vec<Wish>,
    tokens: [u64; LANES],
    next: u32,
    places: Vec<usize>,
    /// All that may be there: the last is what there is, if nobody writes.
    histories: Histories,
    /// Steps that were completed, and that were promised to stay.
    written: Vec<usize>,
    promised: Vec<usize>,
}

impl Player {
    fn new(cache: Cache, alignment: Option<Alignment>) -> Player {
        let histories = of_base().into_iter().map(|number| vec![number]).collect();
        let disk = Disk::new(cache, alignment);
        disk.bench.stage.hold();
        Player {
            disk,
            cache,
            under_way: Vec::new(),
            tokens: [0; LANES],
            next: 0,
            places: (0..24).collect(),
            histories,
            written: vec![0; SECTORS],
            promised: vec![0; SECTORS],
        }
    }

    fn ask(&mut self, kind: Kind, lane: usize, sectors: Range<usize>) {
        // Of two at once to one place anything may come.
        let meets = |wish: &Wish| {
            wish.kind != Kind::Flush
                && wish.sectors.start < sectors.end
                && sectors.start < wish.sectors.end
                && (wish.kind != Kind::Read || kind != Kind::Read)
        };
        if kind != Kind::Flush && self.under_way.iter().any(meets) {
            return;
        }
        let Some(place) = self.places.pop() else { return };
        self.next += 1;
        let mut number = self.next;
        match kind {
            Kind::Read => self.disk.read(lane, &sectors, place),
            Kind::Write => self.disk.write(lane, &sectors, number, place, false),
            Kind::DurableWrite => self.disk.write(lane, &sectors, number, place, true),
            Kind::Zero => {
                number = 0;
                let unmap = self.next.is_multiple_of(2);
                self.disk.ranges(lane, Operation::WriteZeroes { unmap }, &sectors, false);
            }
            Kind::Discard => {
                number = 0;
                self.disk.ranges(lane, Operation::Discard, &sectors, false);
            }
            Kind::Flush => {
                self.disk.guests[lane].flush();
            }
        }
        if matches!(kind, Kind::Write | Kind::DurableWrite | Kind::Zero | Kind::Discard) {
            self.histories[sectors.clone()].iter_mut().for_each(|history| history.push(number));
        }
        let token = self.tokens[lane];
        self.tokens[lane] += 1;
        let written = self.written.clone();
        self.under_way.push(Wish { lane, token, kind, sectors, place, written });
    }

    /// Takes what is done. Tells of a read that brought what nobody wrote.
    fn hear(&mut self, ended: Vec<(usize, u64, Outcome)>, all_well: bool) {
        for (lane, token, outcome) in ended {
            let is_it = |wish: &Wish| (wish.lane, wish.token) == (lane, token);
            let at = self.under_way.iter().position(is_it).expect("it was asked for");
            let wish = self.under_way.remove(at);
            self.places.push(wish.place);
            assert!(!all_well || outcome == Outcome::Done, "{wish:?}: {outcome:?}");
            if outcome == Outcome::Done {
                self.believe(&wish);
            }
        }
    }

    fn believe(&mut self, wish: &Wish) {
        let steps = |histories: &Histories, at: usize| histories[at].len() - 1;
        match wish.kind {
            Kind::Read => {
                let got = self.disk.got(&wish.sectors, wish.place);
                for (at, got) in wish.sectors.clone().zip(got) {
                    let may = &self.histories[at][self.written[at]..];
                    assert!(
                        got.is_some_and(|got| may.contains(&got)),
                        "sector {at}: {got:?} of {may:x?}"
                    );
                }
            }
            Kind::Write | Kind::DurableWrite | Kind::Zero => {
                for at in wish.sectors.clone() {
                    self.written[at] = steps(&self.histories, at);
                    if wish.kind == Kind::DurableWrite || self.cache == Cache::Writethrough {
                        self.promised[at] = self.written[at];
                    }
                }
            }
            Kind::Flush => {
                for (promised, written) in self.promised.iter_mut().zip(&wish.written) {
                    *promised = (*written).max(*promised);
                }
            }
            // What was there before may be there still.
            Kind::Discard => {}
        }
    }
}

/// Plays it, until all has ended; what is on the disk then is what was written last.
fn check_against_a_list(alignment: Option<Alignment>, moves: &[Move]) {
    let mut player = Player::new(Cache::Writeback, alignment);
    for step in moves {
        let held = player.disk.bench.stage.held();
        let end = |nth: usize, answer| {
            if let Some(nth) = nth.checked_rem(held) {
                player.disk.bench.stage.answer(&[answer]);
                player.disk.bench.stage.release(nth);
            }
        };
        match step {
            Move::Ask(kind, lane, sectors) => player.ask(*kind, *lane, sectors.clone()),
            Move::Done(nth) => end(*nth, Answer::Do),
            Move::Short(nth, bytes) => end(*nth, Answer::Short(*bytes)),
            Move::Fails(nth) => end(*nth, Answer::Fail(libc::EIO)),
        }
        player.disk.run();
        let ended = player.disk.ended();
        player.hear(ended, false);
    }
    let ended = player.disk.finish();
    player.hear(ended, true);
    assert!(player.under_way.is_empty(), "all ends: {:?}", player.under_way);
    player.disk.bench.port.unplug_all();
    let Player { disk, histories, written, .. } = player;
    let Disk { bench, file, .. } = disk;
    // The disk goes, and what only its memory had is in the file.
    drop(bench);
    for (at, got) in whole(&file).into_iter().enumerate() {
        let may = &histories[at][written[at]..];
        assert!(got.is_some_and(|got| may.contains(&got)), "sector {at}: {got:?} of {may:x?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_disk_above_a_base_is_a_list_of_sectors(
        direct in any::<bool>(),
        moves in prop::collection::vec(any_move(), 1..100),
    ) {
        let alignment = direct.then_some(Alignment { memory: 4096, block: 4096 });
        check_against_a_list(alignment, &moves);
    }
}

/// The host: what it has on its medium, and what it has in its cache only.
struct Host {
    medium: Vec<u8>,
    /// Written, not yet on the medium, and in which order.
    cached: Vec<(u64, u64, Vec<u8>)>,
    order: u64,
    asked: Vec<(Asked, u64)>,
}

impl Host {
    fn new(file: &File) -> Host {
        let mut medium = vec![0; file.metadata().unwrap().len() as usize];
        file.read_exact_at(&mut medium, 0).unwrap();
        Host { medium, cached: Vec::new(), order: 0, asked: Vec::new() }
    }

    fn hear(&mut self, disk: &Disk) {
        let order = self.order;
        self.asked.extend(disk.bench.stage.asked().into_iter().map(|asked| (asked, order)));
        assert_eq!(self.asked.len(), disk.bench.stage.held());
    }

    fn end(&mut self, disk: &Disk, nth: usize, answer: Answer) {
        let (asked, order) = self.asked.remove(nth);
        disk.bench.stage.answer(&[answer]);
        disk.bench.stage.release(nth);
        let (is_done, len) = match answer {
            Answer::Do => (true, asked.len),
            // Of calls that write; others do all or nothing.
            Answer::Short(bytes) => (true, asked.len.min(bytes.into())),
            Answer::Fail(_) => (false, 0),
        };
        match asked.call {
            Call::Write { .. } | Call::Punch | Call::Zero if is_done => {
                assert_eq!(asked.below, 0, "a base is never written");
                let len = if let Call::Write { .. } = asked.call { len } else { asked.len };
                let mut bytes = vec![0; len as usize];
                disk.file.read_exact_at(&mut bytes, asked.offset).unwrap();
                if asked.call == (Call::Write { durable: true }) {
                    put(&mut self.medium, asked.offset, &bytes);
                    // What was there before is in no cache any more.
                    for (_, offset, older) in &mut self.cached {
                        lay_over(older, *offset, asked.offset, &bytes);
                    }
                }
                self.order += 1;
                self.cached.push((self.order, asked.offset, bytes));
            }
            // Nobody can tell what came later. And if it fails, Linux forgets what it could not write.
            Call::Sync => {
                let (synced, rest): (Vec<_>, Vec<_>) =
                    self.cached.drain(..).partition(|(at, ..)| *at <= order);
                self.cached = rest;
                for (_, offset, bytes) in synced.into_iter().filter(|_| is_done) {
                    put(&mut self.medium, offset, &bytes);
                }
            }
            _ => {}
        }
    }

    /// What is left if the power fails now: of what was in the cache, sectors that `luck` says.
    fn after_a_cut(&self, luck: u64) -> File {
        let (mut left, mut dice) = (self.medium.clone(), luck | 1);
        for (_, offset, bytes) in &self.cached {
            for (nth, sector) in bytes.chunks(SECTOR as usize).enumerate() {
                dice ^= dice << 13;
                dice ^= dice >> 7;
                dice ^= dice << 17;
                // All of it, or some, or nothing.
                if luck.is_multiple_of(4) || luck % 4 != 1 && dice & 1 == 0 {
                    put(&mut left, offset + nth as u64 * SECTOR, sector);
                }
            }
        }
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&left, 0).unwrap();
        file
    }
}

/// Puts what of `bytes`, at `offset`, is in a part that begins at `from` there.
fn lay_over(part: &mut [u8], from: u64, offset: u64, bytes: &[u8]) {
    let end = (from + part.len() as u64).min(offset + bytes.len() as u64);
    let begin = from.max(offset);
    if begin < end {
        let (to, of) = ((begin - from) as usize, (begin - offset) as usize);
        let len = (end - begin) as usize;
        part[to..to + len].copy_from_slice(&bytes[of..of + len]);
    }
}

fn put(medium: &mut [u8], offset: u64, bytes: &[u8]) {
    medium[offset as usize..offset as usize + bytes.len()].copy_from_slice(bytes);
}

/// Plays it. The power may fail after each step: the first sector, if there is one, that has something else than what
/// was promised, or what somebody wrote later.
fn lost(cache: Cache, moves: &[(Move, u64)]) -> Option<String> {
    let mut player = Player::new(cache, None);
    let mut host = Host::new(&player.disk.file);
    let mut found = None;
    for (step, luck) in moves {
        let held = host.asked.len();
        let disk = &player.disk;
        let mut end = |nth: usize, answer| {
            if let Some(nth) = nth.checked_rem(held) {
                host.end(disk, nth, answer);
            }
        };
        match step {
            Move::Ask(kind, lane, sectors) => player.ask(*kind, *lane, sectors.clone()),
            Move::Done(nth) => end(*nth, Answer::Do),
            Move::Short(nth, bytes) => end(*nth, Answer::Short(*bytes)),
            Move::Fails(nth) => end(*nth, Answer::Fail(libc::EIO)),
        }
        player.disk.run();
        host.hear(&player.disk);
        let ended = player.disk.ended();
        player.hear(ended, false);
        if luck % 3 != 0 {
            continue;
        }
        let left = whole(&host.after_a_cut(*luck));
        let wrong = left.into_iter().enumerate().find(|(at, got)| {
            let may = &player.histories[*at][player.promised[*at]..];
            !got.is_some_and(|got| may.contains(&got))
        });
        if let Some((at, got)) = wrong {
            let may = &player.histories[at][player.promised[at]..];
            found = Some(format!("sector {at} has {got:x?}, and may have {may:x?}"));
            break;
        }
    }
    player.disk.finish();
    found
}

fn with_luck(step: impl Strategy<Value = Move>) -> impl Strategy<Value = (Move, u64)> {
    (step, any::<u64>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nothing_that_was_promised_is_lost_and_nothing_comes_up_that_nobody_wrote(
        writethrough in any::<bool>(),
        moves in prop::collection::vec(with_luck(prop_oneof![
            30 => any_move(),
            1 => any::<usize>().prop_map(Move::Fails),
        ]), 1..100),
    ) {
        let cache = if writethrough { Cache::Writethrough } else { Cache::Writeback };
        prop_assert_eq!(lost(cache, &moves), None);
    }
}

/// The same model finds what an unsafe disk loses.
#[test]
fn what_an_unsafe_disk_calls_flushed_may_be_lost() {
    let ask = |kind| (Move::Ask(kind, 0, 0..2), 1);
    let done = (Move::Done(0), 1);
    let mut moves = vec![ask(Kind::Write)];
    moves.extend([done.clone(), done.clone()]);
    moves.push(ask(Kind::Flush));
    moves.extend(vec![done.clone(); 4]);
    // A cut after which nothing is left of the cache.
    moves.push((Move::Done(0), 9));
    assert!(lost(Cache::Unsafe, &moves).is_some_and(|line| line.contains("sector 0")));
    assert_eq!(lost(Cache::Writeback, &moves), None);
}

fn calls(disk: &Disk) -> Vec<(Call, usize, u64)> {
    disk.bench.stage.asked().into_iter().map(|it| (it.call, it.below, it.len)).collect()
}

const PLAIN: Call = Call::Write { durable: false };
const DSYNC: Call = Call::Write { durable: true };
const WHOLE: u64 = 64 << 10;

#[test]
fn the_host_is_called_as_often_as_it_has_to_be() {
    let disk = Disk::new(Cache::Writeback, None);
    let ask = |what: &dyn Fn()| {
        what();
        let ended = disk.finish();
        assert!(ended.iter().all(|(.., outcome)| *outcome == Outcome::Done) && ended.len() == 1);
        calls(&disk)
    };
    let write = |sectors: Range<usize>, durable| ask(&|| disk.write(0, &sectors, 7, 0, durable));
    let flush = || {
        ask(&|| {
            disk.guests[0].flush();
        })
    };
    assert_eq!(flush(), [(Call::Sync, 0, 0)], "nothing is new");
    assert_eq!(write(3..5, false), [(Call::Read, 1, WHOLE), (PLAIN, 0, WHOLE)]);
    assert_eq!(write(5..9, false), [(PLAIN, 0, 4 * 512)], "the overlay has it");
    assert_eq!(write(128..384, false), [(PLAIN, 0, 2 * WHOLE)], "whole clusters");
    assert_eq!(flush(), [(Call::Sync, 0, 0), (PLAIN, 0, 4096), (Call::Sync, 0, 0)]);
    assert_eq!(flush(), [(Call::Sync, 0, 0)]);
    assert_eq!(write(5..9, true), [(DSYNC, 0, 4 * 512)], "the map has it");
    let last = write(515..517, true);
    let map = [(Call::Sync, 0, 0), (PLAIN, 0, 4096), (Call::Sync, 0, 0)];
    assert_eq!(
        last,
        [&[(PLAIN, 0, 7 * 512)][..], &map].concat(),
        "behind the base's end nothing is read"
    );
    let read = ask(&|| disk.read(1, &(0..SECTORS), 1));
    assert_eq!(
        read,
        [(Call::Read, 0, 3 * WHOLE), (Call::Read, 1, 5 * 512), (Call::Read, 0, 7 * 512)]
    );
}

#[test]
fn an_unsafe_disk_leaves_its_map_to_who_opens_it_next() {
    let disk = Disk::new(Cache::Unsafe, None);
    disk.write(0, &(3..5), 7, 0, false);
    disk.finish();
    disk.bench.stage.asked();
    disk.guests[0].flush();
    assert_eq!(disk.finish().len(), 1);
    assert_eq!(calls(&disk), [(PLAIN, 0, 4096)], "nobody waits for the medium");
    assert_eq!(whole(&disk.file)[2..6], [2 | 1 << 31, 7, 7, 5 | 1 << 31].map(Some));
}

#[test]
fn one_who_waits_for_another_lane_goes_on_when_that_is_done() {
    let disk = Disk::new(Cache::Writeback, None);
    disk.bench.stage.hold();
    disk.write(0, &(3..5), 1, 0, false);
    disk.run();
    disk.write(1, &(7..9), 2, 1, false);
    disk.run();
    assert_eq!(disk.bench.stage.held(), 1, "the other waits for the cluster");
    // Its lane brings its ring home only when all has ended.
    let (home, arrival) = std::sync::mpsc::channel();
    disk.bench.port.unplug_then(1, move |ring| home.send(ring.is_some()).unwrap());
    disk.run();
    assert!(arrival.try_recv().is_err());
    disk.bench.stage.release_all();
    let ended = disk.finish();
    assert_eq!(ended.len(), 2);
    assert!(arrival.try_recv().unwrap());
    disk.bench.port.sync();
    let now = whole(&disk.file);
    assert_eq!([now[3], now[4], now[7], now[8]], [1, 1, 2, 2].map(Some));
}

#[test]
fn many_that_need_buffers_and_are_to_be_on_disk_do_not_wait_for_each_other_for_ever() {
    let disk = Disk::new(Cache::Writeback, None);
    disk.bench.stage.hold();
    for nth in 0..40 {
        let sectors = nth * 12..nth * 12 + 2;
        disk.write(nth % 2, &sectors, 9, nth % 20, true);
        disk.guests[nth % 2].flush();
    }
    disk.run();
    assert_eq!(disk.finish().len(), 80);
}

#[test]
fn a_write_that_the_host_has_no_room_for_leaves_the_base() {
    let disk = Disk::new(Cache::Writeback, None);
    disk.bench.stage.answer(&[Answer::Do, Answer::Fail(libc::ENOSPC)]);
    disk.write(0, &(3..5), 1, 0, false);
    disk.run();
    assert_eq!(disk.ended(), [(0, 0, Outcome::NoSpace)]);
    disk.write(1, &(3..5), 2, 0, false);
    assert_eq!(disk.finish(), [(1, 0, Outcome::Done)], "the cluster was let go of");
}

#[test]
fn a_map_that_cannot_be_written_is_a_flush_that_failed() {
    let disk = Disk::new(Cache::Writeback, None);
    disk.write(0, &(3..5), 1, 0, false);
    disk.finish();
    disk.bench.stage.answer(&[Answer::Do, Answer::Fail(libc::EIO)]);
    disk.guests[0].flush();
    disk.run();
    assert_eq!(disk.ended(), [(0, 1, Outcome::Medium)]);
    disk.guests[1].flush();
    disk.write(1, &(3..5), 1, 0, true);
    let ended = disk.finish();
    assert!(ended.iter().all(|(.., outcome)| *outcome == Outcome::Medium), "{ended:?}");
    assert_eq!(ended.len(), 2);
}
