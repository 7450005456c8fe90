//! From the table to the program that the kernel runs at each system call (linux/seccomp.h, linux/filter.h).
//!
//! Calls with arguments to be checked come first, in the table's order: first those of the data path. The others the
//! kernel (5.11) knows by heart after it has read the program, which takes as long as the program is.

use libc::{
    BPF_ABS, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, SECCOMP_RET_ALLOW,
    SECCOMP_RET_ERRNO, sock_filter,
};

#[cfg(feature = "recorder")]
use super::recorder;
use super::row::{Check, Kind, Row};
use super::table;

/// `AUDIT_ARCH_X86_64` (linux/audit.h).
const ARCH: u32 = 0xc000_003e;
/// What a call gets that the kernel does not have.
const ABSENT: u32 = SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs();
/// Numbers from here on are of the x32 ABI.
const X32: u32 = 0x4000_0000;
/// Instructions of the longest program, more or less.
const MOST_USUAL: usize = 256;
/// Places in `struct seccomp_data`.
const AT_CALL: u32 = 0;
const AT_ARCH: u32 = 4;
const AT_ARGS: u32 = 16;

/// A row, and the answer if all of it holds.
type Answered = (Row, u32);

fn op(code: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code: code as u16, jt, jf, k }
}

fn load(at: u32) -> sock_filter {
    op(BPF_LD | BPF_W | BPF_ABS, at, 0, 0)
}

/// Jumps over `then` or `other` instructions.
fn if_equal(value: u32, then: u8, other: u8) -> sock_filter {
    op(BPF_JMP | BPF_JEQ | BPF_K, value, then, other)
}

fn answer(action: u32) -> sock_filter {
    op(BPF_RET | BPF_K, action, 0, 0)
}

/// The program for threads of `kind` of this build, in the process `pid`: other calls get the answer `refusal`.
pub fn of_build(kind: Kind, pid: u32, refusal: u32) -> Vec<sock_filter> {
    #[cfg(feature = "recorder")]
    let allowed = |place| recorder::answer(kind, place).unwrap_or(SECCOMP_RET_ALLOW);
    #[cfg(not(feature = "recorder"))]
    let allowed = |_| SECCOMP_RET_ALLOW;
    program(table::of_build(), kind, pid, refusal, allowed)
}

/// The program for threads of `kind` in the process `pid`: what a row of `table` allows gets the answer that `allowed` has
/// for the row's place in it, and the rest the answer `refusal`.
fn program(
    table: impl Iterator<Item = Row>,
    kind: Kind,
    pid: u32,
    refusal: u32,
    allowed: impl Fn(usize) -> u32,
) -> Vec<sock_filter> {
    // Each start waits for several of these.
    let rows = table.enumerate().filter(|(_, row)| row.is_for(kind));
    let rows: Vec<Answered> = rows
        .map(|(place, row)| (row, if row.is_absent() { ABSENT } else { allowed(place) }))
        .collect();
    let is_new = |(at, (row, _)): &(usize, &Answered)| {
        !rows.iter().take(*at).any(|(had, _)| had.call == row.call)
    };
    let calls = rows.iter().enumerate().filter(is_new).map(|(_, first)| first);
    let is_plain = |(row, answer): &&Answered| row.is_free() && *answer == SECCOMP_RET_ALLOW;
    let (free, checked): (Vec<&Answered>, Vec<&Answered>) = calls.partition(is_plain);
    let mut program = Vec::with_capacity(MOST_USUAL);
    program.extend([
        load(AT_ARCH),
        if_equal(ARCH, 1, 0),
        answer(refusal),
        load(AT_CALL),
        op(BPF_JMP | BPF_JGE | BPF_K, X32, 0, 1),
        answer(refusal),
    ]);
    for (Row { call, .. }, _) in checked {
        let body = body(rows.iter().filter(|(row, _)| row.call == *call), pid, refusal);
        program.push(if_equal(*call, 1, 0));
        program.push(op(BPF_JMP | BPF_JA, body.len() as u32, 0, 0)); // far below the kernel's limit
        program.extend(body);
    }
    // One answer serves as many as can jump to it.
    for calls in free.chunks(usize::from(u8::MAX)) {
        for (left, (Row { call, .. }, _)) in (0..calls.len()).rev().zip(calls) {
            // If it was none of them, on behind the answer.
            program.push(if_equal(*call, left as u8, u8::from(left == 0)));
        }
        program.push(answer(SECCOMP_RET_ALLOW));
    }
    program.push(answer(refusal));
    program
}

/// Answers for one call, in any case.
fn body<'a>(rows: impl Iterator<Item = &'a Answered>, pid: u32, refusal: u32) -> Vec<sock_filter> {
    let mut body = Vec::new();
    for (row, holds) in rows {
        if row.is_free() || row.is_absent() {
            body.push(answer(*holds));
            return body;
        }
        let mut steps = Vec::new();
        for check in row.checks.iter().rev() {
            // What comes behind it, if it does not hold: the rest of this row, with its answer.
            let rest = steps.len() as u8 + 1;
            let mut check = steps_of(check, pid, rest);
            check.extend(steps);
            steps = check;
        }
        body.extend(steps);
        body.push(answer(*holds));
    }
    body.push(answer(refusal));
    body
}

/// Goes on behind itself if the check holds, and jumps over `rest` more instructions if not.
fn steps_of(check: &Check, pid: u32, rest: u8) -> Vec<sock_filter> {
    let low = |arg: u8| load(AT_ARGS + 8 * u32::from(arg));
    match *check {
        Check::In(arg, values) => {
            let mut steps = vec![low(arg)];
            for (nth, (value, _)) in (1..).zip(values) {
                let left = values.len() as u8 - nth;
                steps.push(if_equal(*value, left, if left == 0 { rest } else { 0 }));
            }
            steps
        }
        Check::OwnProcess(arg) => vec![low(arg), if_equal(pid, 0, rest)],
        Check::Null(arg) => vec![
            low(arg),
            if_equal(0, 0, rest + 2),
            load(AT_ARGS + 8 * u32::from(arg) + 4),
            if_equal(0, 0, rest),
        ],
        // Answered before any other is looked at.
        Check::Absent => Vec::new(),
    }
}

#[cfg(test)]
#[path = "filter_test.rs"]
mod tests;
