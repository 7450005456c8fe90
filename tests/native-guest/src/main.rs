//! A guest that measures its VMM: it finds a network card, a disk and a vsock, or a balloon, or memory that is plugged, leaves kernel mode for
//! good, and drives one of them by polling from user mode, which runs at full speed even on a KVM that emulates kernel mode.
//!
//! What it does is told by its command line ([`options`]); what came of it goes out as a frame ([`report`]), or to
//! the last sectors of the disk ([`disk::report`]). Port access, interrupts and exceptions are not to be had in user mode on such a KVM: an
//! exception ends the machine, which is what a broken guest shall do.

#![no_std]
#![no_main]
#![allow(clippy::missing_safety_doc)]

mod asker;
mod balloon;
mod busy;
mod clock;
mod disk;
mod histogram;
mod host;
mod hot;
mod load;
mod memory;
mod mmio;
mod nic;
mod options;
mod pci;
mod random;
mod report;
mod runtime;
mod storm;
mod targets;
mod virtio;
mod vsock;
mod witness;

use core::arch::{asm, global_asm};
use core::cell::UnsafeCell;
use core::panic::PanicInfo;

use options::{Load, Options};
use pci::{Ground, Kind};

global_asm!(include_str!("entry.s"));

/// A place for one value. There is one CPU and no interrupt, so nothing else can be at it.
struct Place<T>(UnsafeCell<T>);

// SAFETY: one CPU runs this program, and nothing interrupts it.
unsafe impl<T> Sync for Place<T> {}

static CARD_GROUND: Place<Ground> = Place(UnsafeCell::new(Ground::new()));
static DISK_GROUND: Place<Ground> = Place(UnsafeCell::new(Ground::new()));
static VSOCK_GROUND: Place<Ground> = Place(UnsafeCell::new(Ground::new()));
/// Where the command line is.
static LINE: Place<u64> = Place(UnsafeCell::new(0));

/// In kernel mode, on the way down: finds the devices, which takes ports and page tables. No more than that, as it
/// may be emulated. `from` is the physical address of PVH's start info, or of Linux's zero page.
#[unsafe(no_mangle)]
extern "C" fn set_up(from: u32, linux: u32) {
    // hvm_start_info.cmdline_paddr, boot_params.hdr.cmd_line_ptr.
    let line = match linux {
        0 => memory::read::<u64>(u64::from(from) + 24),
        _ => u64::from(memory::read::<u32>(u64::from(from) + 0x228)),
    };
    // SAFETY: nothing else runs.
    unsafe {
        *LINE.0.get() = line;
        (*CARD_GROUND.0.get()).find(Kind::Card, 0);
        (*DISK_GROUND.0.get()).find(Kind::Disk, memory::WINDOWS_EACH);
        (*VSOCK_GROUND.0.get()).find(Kind::Vsock, 2 * memory::WINDOWS_EACH);
    }
    memory::map(memory::HOT_WINDOW, memory::HOT);
}

/// In user mode, for good.
#[unsafe(no_mangle)]
extern "C" fn work() -> ! {
    // SAFETY: `set_up` has returned, and nobody writes to them any more.
    let (line, card_ground, disk_ground, vsock_ground) = unsafe {
        (*LINE.0.get(), &*CARD_GROUND.0.get(), &*DISK_GROUND.0.get(), &*VSOCK_GROUND.0.get())
    };
    let options = Options::at(line);
    if options.balloon > 0 {
        let find = |kind| mmio::find(&options.pages, kind).map(|(place, _)| place);
        if let (Some(entropy), Some(balloon)) = (find(mmio::RNG), find(mmio::BALLOON)) {
            balloon::run(entropy, balloon, options.balloon)
        }
        end()
    }
    if let Some((memory, _)) = mmio::find(&options.pages, mmio::MEM) {
        hot::run(memory, memory::window(memory::HOT_WINDOW))
    }
    if let Some(task) = options.vsock {
        if let Some(place) = vsock_ground.vsock() {
            drive_vsock(place, task, vsock_ground, &options)
        }
        if let Some((place, ground)) = mmio::find(&options.pages, mmio::VSOCK) {
            drive_vsock(place, task, &ground, &options)
        }
        end()
    }
    match options.disk {
        None => {
            if let Some(card) = card_ground.card() {
                drive_card(card, card_ground, &options)
            }
            if let Some((place, ground)) = mmio::find(&options.pages, mmio::NET) {
                drive_card(nic::Found::Virtio(place), &ground, &options)
            }
        }
        Some(disk::Task::Busy) => {
            if let (Some(disk), Some(card)) = (disk_ground.disk(), card_ground.card()) {
                drive_both(disk, card, &options)
            }
        }
        Some(task) => {
            if let Some(disk) = disk_ground.disk() {
                drive_disk(disk, task, disk_ground, &options)
            }
            if let Some((place, ground)) = mmio::find(&options.pages, mmio::BLK) {
                drive_disk(disk::Found::Virtio(place), task, &ground, &options)
            }
        }
    }
    end()
}

fn drive_card(card: nic::Found, ground: &Ground, options: &Options) -> ! {
    match (card, options.load) {
        (nic::Found::Virtio(place), Load::Storm) => {
            load::weather(|| nic::virtio::open(place, options), ground, options)
        }
        (nic::Found::Ena(place), Load::Storm) => {
            load::weather(|| nic::ena::open(place, options, 0), ground, options)
        }
        (nic::Found::Virtio(place), Load::Witness) => {
            witness::run(nic::virtio::open(place, options), options)
        }
        (nic::Found::Ena(place), Load::Witness) => {
            witness::run(nic::ena::open(place, options, 0), options)
        }
        (nic::Found::Virtio(place), Load::Host) => host::run(|_| nic::virtio::open(place, options)),
        (nic::Found::Ena(place), Load::Host) => {
            host::run(|reason| nic::ena::open(place, options, reason))
        }
        (nic::Found::Virtio(place), _) => load::run(nic::virtio::open(place, options), options),
        (nic::Found::Ena(place), _) => load::run(nic::ena::open(place, options, 0), options),
    }
}

fn drive_disk(found: disk::Found, task: disk::Task, ground: &Ground, options: &Options) -> ! {
    match found {
        disk::Found::Virtio(place) => {
            disk::run(|| disk::virtio::Blk::open(place, options), task, ground, options)
        }
        disk::Found::Nvme(registers) => {
            disk::run(|| disk::nvme::Nvme::open(registers, options), task, ground, options)
        }
    }
}

fn drive_both(disk: disk::Found, card: nic::Found, options: &Options) -> ! {
    use {disk::Found as Disk, nic::Found as Card};
    let blk = |place| disk::virtio::Blk::open(place, options);
    let nvme = |registers| disk::nvme::Nvme::open(registers, options);
    match (disk, card) {
        (Disk::Virtio(disk), Card::Virtio(card)) => {
            busy::run(blk(disk), nic::virtio::open(card, options), options)
        }
        (Disk::Virtio(disk), Card::Ena(card)) => {
            busy::run(blk(disk), nic::ena::open(card, options, 0), options)
        }
        (Disk::Nvme(disk), Card::Virtio(card)) => {
            busy::run(nvme(disk), nic::virtio::open(card, options), options)
        }
        (Disk::Nvme(disk), Card::Ena(card)) => {
            busy::run(nvme(disk), nic::ena::open(card, options, 0), options)
        }
    }
}

fn drive_vsock(place: virtio::Place, task: vsock::Task, ground: &Ground, options: &Options) -> ! {
    match task {
        vsock::Task::Serve => vsock::run(place, options),
        vsock::Task::Storm => vsock::weather(place, ground, options),
    }
}

/// Ends the machine, by an exception that nobody handles.
fn end() -> ! {
    // SAFETY: it does not return.
    unsafe { asm!("ud2", options(noreturn, nomem, nostack)) }
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    end()
}
