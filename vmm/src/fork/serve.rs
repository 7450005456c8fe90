//! The zygote's process: as its owner's was before it opened anything, with one thread, and a socket.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;

use super::brood;
use super::descriptors::keep_only;
use super::images::{self, NoCopies};
use super::nature::Nature;
use super::words::{self, Answer, Ask};
use crate::shield;

/// Forks the zygote, which serves until the other end of `socket` is closed. Call it while there is one thread.
/// Where the host has no process left there is none, which its owner notices when he asks.
pub fn spawn(socket: File, nature: Nature) {
    // SAFETY: there is one thread, so that the child finds everything in order.
    if unsafe { libc::fork() } == 0 {
        serve(&socket, nature)
    }
}

fn serve(socket: &File, mut nature: Nature) -> ! {
    begin(socket);
    let mut is_sealed = false;
    while let Ok(Some((text, files))) = words::hear(socket) {
        let answer = match text.starts_with(b"{\"Seal\"") {
            true if !is_sealed => {
                let answer = seal(&text);
                is_sealed = matches!(answer, Answer::Done);
                Some(answer)
            }
            false if is_sealed => match raise(socket, &text, files, &mut nature) {
                Ok(()) => None,
                Err(error) => Some(Answer::Refused(format!("it cannot be forked: {error}"))),
            },
            _ => Some(Answer::Refused("not now".to_string())),
        };
        if answer.is_some_and(|answer| tell(socket, &answer).is_err()) {
            break;
        }
    }
    // SAFETY: ends the process; what its owner wants done at its end is the owner's.
    unsafe { libc::_exit(0) }
}

/// Nothing that the owner has open but for its standard output and error, where children's logs go; a session of its
/// own, so that keys of a terminal end its owner alone; children that end are nobody's.
fn begin(socket: &File) {
    keep_only(&[socket]);
    // SAFETY: no handler is installed, and numbers are plain.
    unsafe {
        for signal in 1..=libc::SIGRTMAX() {
            libc::signal(signal, libc::SIG_DFL);
        }
        for signal in [libc::SIGPIPE, libc::SIGXFSZ, libc::SIGCHLD] {
            libc::signal(signal, libc::SIG_IGN);
        }
        libc::setsid();
        libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1);
        libc::prctl(libc::PR_SET_NAME, c"zygote".as_ptr());
    }
    // Who types there means the owner.
    if let Ok(null) = File::open("/dev/null") {
        // SAFETY: both are open.
        unsafe { libc::dup2(null.as_raw_fd(), libc::STDIN_FILENO) };
    }
}

fn tell(socket: &File, answer: &Answer) -> io::Result<()> {
    words::say(socket, &serde_json::to_vec(answer)?, &[])
}

/// Shuts the process, and all that it will fork, in to the machine's places.
fn seal(text: &[u8]) -> Answer {
    let Ok(Ask::Seal(places)) = serde_json::from_slice(text) else {
        return Answer::Refused("not understood".to_string());
    };
    match shield::nursery::confine(&places) {
        Ok(()) => Answer::Done,
        Err(error) => Answer::Refused(error.to_string()),
    }
}

/// Has a process of its own read a request and answer it: whatever is in that, the zygote has not looked at it. Fails
/// if there is none, and nobody has answered.
fn raise(socket: &File, text: &[u8], files: Vec<OwnedFd>, nature: &mut Nature) -> io::Result<()> {
    let (mut ended, its_end) = io::pipe()?;
    // SAFETY: there is one thread, so that the child finds everything in order.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            drop(ended);
            let answer = match (serde_json::from_slice(text), files.into_iter().next()) {
                (Ok(Ask::Fork(brood)), Some(memory)) => {
                    brood::raise(*brood, &File::from(memory), nature)
                }
                (Ok(Ask::Copy(copies)), None) => match images::copy(&copies) {
                    Ok(()) => Answer::Done,
                    Err(NoCopies::Shares(why)) => Answer::NoSharing(why),
                    Err(NoCopies::Others(why)) => Answer::Refused(why),
                },
                (Ok(Ask::Make(files)), None) => match images::make(&files) {
                    Ok(()) => Answer::Done,
                    Err(why) => Answer::Refused(why),
                },
                (Ok(Ask::Remove(copies)), None) => {
                    images::remove(copies.iter().map(PathBuf::as_path));
                    Answer::Done
                }
                (Err(error), _) => Answer::Refused(format!("not understood: {error}")),
                _ => Answer::Refused("not understood".to_string()),
            };
            if tell(socket, &answer).is_ok() {
                let _ = (&its_end).write_all(b".");
            }
            // SAFETY: ends the process, which has nothing more to do.
            unsafe { libc::_exit(0) }
        }
        _ => {
            drop(its_end);
            let mut told = [0];
            match ended.read(&mut told)? {
                0 => Err(io::Error::other("the process that reads the request has died")),
                _ => Ok(()),
            }
        }
    }
}
