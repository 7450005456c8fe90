//! A guest that measures its VMM: it finds a network card, leaves kernel mode for good, and drives the
//! card by polling from user mode, which runs at full speed even on a KVM that emulates kernel mode.
//!
//! What it does is told by its command line ([`options`]); what came of it goes out as a frame
//! ([`report`]). Port access, interrupts and exceptions are not to be had in user mode on such a KVM: an
//! exception ends the machine, which is what a broken guest shall do.

#![no_std]
#![no_main]
#![allow(clippy::missing_safety_doc)]

mod clock;
mod load;
mod memory;
mod nic;
mod options;
mod pci;
mod report;
mod runtime;
mod storm;

use core::arch::{asm, global_asm};
use core::cell::UnsafeCell;
use core::panic::PanicInfo;

use nic::Found;
use options::{Load, Options};
use pci::Ground;

global_asm!(include_str!("entry.s"));

/// What kernel mode finds out for user mode.
struct Findings {
    /// Where the command line is.
    line: u64,
    card: Option<Found>,
}

/// A place for one value. There is one CPU and no interrupt, so nothing else can be at it.
struct Place<T>(UnsafeCell<T>);

// SAFETY: one CPU runs this program, and nothing interrupts it.
unsafe impl<T> Sync for Place<T> {}

static GROUND: Place<Ground> = Place(UnsafeCell::new(Ground::new()));
static FINDINGS: Place<Option<Findings>> = Place(UnsafeCell::new(None));

/// In kernel mode, on the way down: finds the card, which takes ports and page tables. No more than that,
/// as it may be emulated, and emulators of KVM know few of the instructions that are made of longer
/// programs. `from` is the physical address of PVH's start info, or of Linux's zero page.
#[unsafe(no_mangle)]
extern "C" fn set_up(from: u32, linux: u32) {
    // hvm_start_info.cmdline_paddr, boot_params.hdr.cmd_line_ptr.
    let line = match linux {
        0 => memory::read::<u64>(u64::from(from) + 24),
        _ => u64::from(memory::read::<u32>(u64::from(from) + 0x228)),
    };
    // SAFETY: nothing else runs.
    let card = pci::find(unsafe { &mut *GROUND.0.get() });
    // SAFETY: as above.
    unsafe { *FINDINGS.0.get() = Some(Findings { line, card }) };
}

/// In user mode, for good.
#[unsafe(no_mangle)]
extern "C" fn work() -> ! {
    // SAFETY: `set_up` has returned, and nothing else runs.
    let findings = unsafe { (*FINDINGS.0.get()).take() };
    let Some(Findings { line, card: Some(card) }) = findings else { end() };
    // SAFETY: nobody writes to it any more.
    let ground = unsafe { &*GROUND.0.get() };
    let options = Options::at(line);
    match (card, options.load) {
        (Found::Virtio(place), Load::Storm) => {
            storm::run(|| nic::virtio::Card::new(place, &options), ground, &options)
        }
        (Found::Ena(place), Load::Storm) => {
            storm::run(|| nic::ena::Card::new(place, &options), ground, &options)
        }
        (Found::Virtio(place), _) => load::run(nic::virtio::Card::new(place, &options), &options),
        (Found::Ena(place), _) => load::run(nic::ena::Card::new(place, &options), &options),
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
