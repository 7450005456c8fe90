//! A guest that would notice if it were not what it was: it keeps all its registers, pages of its memory and counts
//! of frames under its own eyes, and tells what it finds in frames that are numbered.

use core::arch::asm;

use crate::clock::{now, wait};
use crate::memory::{BUFFERS, read, write};
use crate::nic::{ADDRESS, Pair, Pairs};
use crate::options::Options;

/// EtherType of what it tells (IEEE 802, local experiments).
const REPORT: u16 = 0x88b6;
/// Its first bytes behind the Ethernet header.
const MARK: [u8; 8] = *b"nativeW1";
/// Bytes of a frame: Ethernet header, mark, five numbers.
const LEN: u32 = 62;
/// Pages that it keeps, each with words of its own.
const PAGES: u64 = 1024;
const PAGE: u64 = 4096;
/// Turns that registers are held for: most of the time of a frame.
const TURNS: u64 = 50_000;

/// Tells for ever, with `rest=` ticks between two frames. Behind the mark a frame has its number from 0, how often
/// registers were not as they had been, the same of pages, frames received, and the CPU's clock. All have 64 bits,
/// little-endian.
pub fn run(mut pairs: Pairs<impl Pair>, options: &Options) -> ! {
    let nic = pairs.first();
    let (mut number, mut registers, mut pages, mut received) = (0u64, 0u64, 0u64, 0u64);
    loop {
        while nic.take().is_some() {
            nic.give();
            nic.show_given();
            received += 1;
        }
        if nic.room() == 0 {
            continue;
        }
        // Once for each number: pages have been given what is new.
        registers += u64::from(!holds(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 << 40));
        pages += u64::from(!turn(number));
        let (at, _) = nic.next();
        write(at, [0xffu8; 6]);
        write(at + 6, ADDRESS);
        write(at + 12, REPORT.to_be());
        write(at + 14, MARK);
        let numbers = [number, registers, pages, received, now()];
        for (number, offset) in numbers.into_iter().zip((22..).step_by(8)) {
            write(at + offset, number.to_le());
        }
        nic.put(LEN);
        nic.show();
        number += 1;
        wait(options.rest);
    }
}

/// Whether a page still has what it was given when its turn was last; gives it what is new.
fn turn(number: u64) -> bool {
    let (page, round) = (number % PAGES, number / PAGES);
    let words = [0, 8, 2048, PAGE - 8].map(|offset| BUFFERS + page * PAGE + offset);
    let stamp = |round: u64, at: u64| (round << 32 | page).wrapping_mul(0x1_0001) ^ at;
    let is_kept = round == 0 || words.iter().all(|at| read::<u64>(*at) == stamp(round - 1, *at));
    words.iter().for_each(|at| write(*at, stamp(round, *at)));
    is_kept
}

/// Fills all registers but the stack's with what follows from `seed`, does nothing for a while, and tells whether
/// they are as they were.
fn holds(seed: u64) -> bool {
    let differs: u64;
    // SAFETY: it changes registers alone, all of which it says or brings back.
    unsafe {
        asm!(
            "push rbx",
            "push rbp",
            ".irp k,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
            "lea rax, [rdi + \\k]",
            "movq xmm\\k, rax",
            "punpcklqdq xmm\\k, xmm\\k",
            ".endr",
            "lea rbx, [rdi + 1]",
            "lea rcx, [rdi + 2]",
            "lea rdx, [rdi + 3]",
            "lea rbp, [rdi + 4]",
            ".irp k,8,9,10,11,12,13,14,15",
            "lea r\\k, [rdi + \\k]",
            ".endr",
            "2: sub rsi, 1",
            "jnz 2b",
            "sub rbx, 1",
            "sub rcx, 2",
            "sub rdx, 3",
            "sub rbp, 4",
            "xor eax, eax",
            ".irp register,rbx,rcx,rdx,rbp",
            "xor \\register, rdi",
            "or rax, \\register",
            ".endr",
            ".irp k,8,9,10,11,12,13,14,15",
            "sub r\\k, \\k",
            "xor r\\k, rdi",
            "or rax, r\\k",
            ".endr",
            ".irp k,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
            "movq rcx, xmm\\k",
            "movhlps xmm\\k, xmm\\k",
            "movq rdx, xmm\\k",
            "sub rcx, \\k",
            "sub rdx, \\k",
            "xor rcx, rdi",
            "xor rdx, rdi",
            "or rax, rcx",
            "or rax, rdx",
            ".endr",
            "pop rbp",
            "pop rbx",
            in("rdi") seed,
            inout("rsi") TURNS => _,
            out("rax") differs,
            out("rcx") _, out("rdx") _,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
            out("r12") _, out("r13") _, out("r14") _, out("r15") _,
            out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _,
            out("xmm4") _, out("xmm5") _, out("xmm6") _, out("xmm7") _,
            out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _,
            out("xmm12") _, out("xmm13") _, out("xmm14") _, out("xmm15") _,
        );
    }
    differs == 0
}
