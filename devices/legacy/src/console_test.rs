//! Consoles whole: a serial port at one end, a person, pipe, file or client at the other.

use std::fs::File;
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::testing::{Pty, flags_of, one_raw_terminal_at_a_time, read_until};
use super::*;
use crate::testing::*;

const DATA: u64 = 0;
const LSR: u64 = 5;

/// A guest with a running console.
struct Machine {
    serial: Arc<Serial>,
    line: Arc<Line>,
    console: Option<Console>,
    quits: Arc<AtomicU32>,
    _thread: IoThread,
}

fn start(open: OpenConsole) -> Machine {
    let line = open.line();
    let serial = Arc::new(Serial::new(Arc::new(TestLine::default()), line.clone()));
    let thread = IoThread::slow("io-test").unwrap();
    let quits = Arc::new(AtomicU32::new(0));
    let count = quits.clone();
    let quit = move || {
        count.fetch_add(1, Ordering::SeqCst);
    };
    let console = Some(open.start(serial.clone(), &thread, quit).unwrap());
    Machine { serial, line, console, quits, _thread: thread }
}

/// A console on descriptors as a process inherits them.
fn stdio(input: impl Into<OwnedFd>, output: impl Into<OwnedFd>) -> Machine {
    let host = Host::inherited(input.into(), output.into()).unwrap();
    start(OpenConsole { host, line: Line::new(STREAM_ROOM).unwrap() })
}

impl Machine {
    fn says(&self, words: &[u8]) {
        words.iter().for_each(|&byte| self.serial.outb(DATA, byte));
    }

    /// Reads `count` bytes of input.
    fn hears(&self, count: usize) -> Vec<u8> {
        let mut heard = Vec::new();
        wait_until("the guest has its input", || {
            while heard.len() < count && self.serial.inb(LSR) & 1 != 0 {
                heard.push(self.serial.inb(DATA));
            }
            heard.len() == count
        });
        heard
    }

    fn close(&mut self) {
        self.console = None;
    }

    fn quits(&self) -> u32 {
        self.quits.load(Ordering::SeqCst)
    }
}

fn pipe() -> (PipeReader, PipeWriter) {
    std::io::pipe().unwrap()
}

fn null() -> File {
    File::open("/dev/null").unwrap()
}

fn null_out() -> File {
    File::options().write(true).open("/dev/null").unwrap()
}

#[test]
fn a_spec_says_back_what_it_was_made_from() {
    for text in ["stdio", "none", "file=/tmp/a=b", "socket=con.sock"] {
        let spec: ConsoleSpec = text.parse().unwrap();
        assert_eq!(spec.to_string(), text);
        let json = serde_json::to_string(&spec).unwrap();
        assert_eq!(json, format!("{text:?}"));
        assert_eq!(serde_json::from_str::<ConsoleSpec>(&json).unwrap(), spec);
    }
    assert_eq!(ConsoleSpec::default(), ConsoleSpec::Stdio);
}

#[test]
fn a_spec_that_is_none_is_refused_with_a_sentence() {
    let message = |text: &str| text.parse::<ConsoleSpec>().unwrap_err().to_string();
    assert_eq!(message("tty"), "\"tty\" is no console; use stdio, none, file=PATH or socket=PATH");
    assert_eq!(
        message("stdio=1"),
        "\"stdio=1\" is no console; use stdio, none, file=PATH or socket=PATH"
    );
    assert_eq!(message("file"), "file= lacks a path; use file=PATH");
    assert_eq!(message("socket="), "socket= lacks a path; use socket=PATH");
}

#[test]
fn a_terminal_shows_the_guest_and_types_to_it() {
    let _turn = one_raw_terminal_at_a_time();
    let pty = Pty::open();
    let (before, flags) = (pty.settings(), pty.flags());
    let mut m = stdio(pty.terminal(), pty.terminal());
    assert_ne!(pty.settings(), before);

    m.says(b"login: ");
    assert_eq!(pty.shows(b"login: "), b"login: ");
    pty.type_keys(b"root\r\x03");
    assert_eq!(m.hears(6), b"root\r\x03", "untranslated, and Ctrl-C is the guest's");
    m.says(b"x");
    assert_eq!(pty.shows(b"x"), b"x", "no echo but the guest's");

    m.says(b"bye");
    m.close();
    assert_eq!(pty.shows(b"bye"), b"bye");
    assert_eq!(pty.settings(), before);
    assert_eq!(pty.flags(), flags, "the user's open file is as it was");
}

#[test]
fn ctrl_a_x_quits_even_with_a_guest_that_reads_nothing() {
    let _turn = one_raw_terminal_at_a_time();
    let pty = Pty::open();
    let m = stdio(pty.terminal(), null_out());
    for _ in 0..5 {
        pty.type_keys(&[b'k'; 1000]);
    }
    pty.type_keys(b"\x01x");
    wait_until("the console quits", || m.quits() == 1);
    assert!(m.hears(64 + 4096).iter().all(|&key| key == b'k'));
}

#[test]
fn ctrl_a_h_helps_and_sends_nothing() {
    let _turn = one_raw_terminal_at_a_time();
    let pty = Pty::open();
    let m = stdio(pty.terminal(), pty.terminal());
    pty.type_keys(b"\x01h\x01\x01");
    assert_eq!(m.hears(1), [1]);
    let help = String::from_utf8(pty.shows(b"to the guest\r\n")).unwrap();
    assert!(help.contains("Ctrl-A x"));
    assert_eq!(m.quits(), 0);
}

#[test]
fn a_pipe_is_read_as_fast_as_the_guest_reads_and_no_faster() {
    const PIPE: usize = 64 << 10;
    let (input, mut pipe_in) = pipe();
    let m = stdio(input, null_out());
    let script: Vec<u8> = (0..200_000_u32).map(|i| i as u8).collect();
    let (sent, to_send) = (Arc::new(AtomicUsize::new(0)), script.clone());
    let count = sent.clone();
    let writer = std::thread::spawn(move || {
        for part in to_send.chunks(64) {
            pipe_in.write_all(part).unwrap();
            count.fetch_add(part.len(), Ordering::SeqCst);
        }
    });
    wait_until("the pipe is full", || sent.load(Ordering::SeqCst) >= PIPE);
    let most = PIPE + 64 + 64; // pipe, FIFO, read ahead
    assert!(sent.load(Ordering::SeqCst) <= most, "the guest reads nothing yet");
    assert_eq!(m.hears(script.len()), script, "all bytes are data: Ctrl-A has no meaning here");
    writer.join().unwrap();
    m.says(b"after the end of the input");
    assert_eq!(m.quits(), 0);
}

#[test]
fn a_terminal_that_hangs_up_does_not_disturb_the_guest() {
    let _turn = one_raw_terminal_at_a_time();
    let pty = Pty::open();
    let (terminal, screen) = (pty.terminal(), pty.terminal());
    let m = stdio(terminal, screen);
    pty.type_keys(b"x");
    assert_eq!(m.hears(1), b"x");
    pty.hang_up();
    m.says(b"to nobody");
    wait_until("the console gives up", || m.line.pending() == 0);
    assert_eq!(m.quits(), 0);
}

#[test]
fn a_file_as_standard_input_is_read_to_its_end() {
    let mut file = tempfile::tempfile().unwrap();
    let script = b"echo hello\n".repeat(1000);
    file.write_all(&script).unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    let m = stdio(file, null_out());
    assert_eq!(m.hears(script.len()), script);
}

#[test]
fn without_any_input_output_works() {
    let (output, pipe_out) = pipe();
    let m = stdio(null(), pipe_out);
    m.says(b"hello\r\n");
    assert_eq!(read_until(&output, b"\r\n"), b"hello\r\n");
}

#[test]
fn three_million_bytes_arrive_whole_and_soon() {
    let (mut output, pipe_out) = pipe();
    let mut m = stdio(null(), pipe_out);
    let reader = std::thread::spawn(move || {
        let mut all = Vec::new();
        output.read_to_end(&mut all).unwrap();
        all
    });
    let start = Instant::now();
    let text: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 251) as u8).collect();
    for part in text.chunks(STREAM_ROOM / 2) {
        m.says(part);
        wait_until("the console caught up", || m.line.pending() == 0);
    }
    m.close();
    assert!(start.elapsed() < Duration::from_secs(5), "took {:?}", start.elapsed());
    assert!(reader.join().unwrap() == text);
}

#[test]
fn a_pipe_that_nobody_reads_stops_no_vcpu_and_keeps_the_latest_output() {
    let (mut output, pipe_out) = pipe();
    let mut m = stdio(null(), pipe_out);
    let start = Instant::now();
    m.says(&vec![b'.'; 3 << 20]);
    assert!(start.elapsed() < Duration::from_secs(5));
    assert!(m.line.pending() <= STREAM_ROOM as u64);
    m.says(b"the last words");

    let reader = std::thread::spawn(move || {
        let mut all = Vec::new();
        output.read_to_end(&mut all).unwrap();
        all
    });
    m.close();
    let all = reader.join().unwrap();
    assert!(all.ends_with(b"the last words"));
    assert!(all.len() < 2 << 20, "some of it was lost");
}

#[test]
fn closing_does_not_wait_for_a_reader_that_is_stuck() {
    let (_output, pipe_out) = pipe();
    let mut m = stdio(null(), pipe_out);
    m.says(&vec![b'.'; 200_000]);
    let start = Instant::now();
    m.close();
    assert!(start.elapsed() < Duration::from_secs(3));
}

#[test]
fn a_reader_that_left_does_not_disturb_the_guest() {
    let (output, pipe_out) = pipe();
    drop(output);
    let m = stdio(null(), pipe_out);
    m.says(b"to nobody");
    wait_until("the console gives up", || m.line.pending() == 0);
    m.says(&vec![b'.'; 100_000]);
    assert_eq!(m.line.pending(), 0);
}

#[test]
fn a_socket_as_standard_output_stays_blocking_and_stalls_nobody() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let shared = theirs.try_clone().unwrap();
    let flags = flags_of(&shared);
    let m = stdio(null(), OwnedFd::from(theirs));
    m.says(b"hello\n");
    assert_eq!(read_until(&ours, b"\n"), b"hello\n");
    m.says(&vec![b'.'; 1_000_000]);
    m.says(b"end");
    assert!(read_until(&ours, b"end").len() > 1000);
    assert_eq!(flags_of(&shared), flags);
}

#[test]
fn nothing_at_all_drops_output() {
    let m = start(ConsoleSpec::None.open().unwrap());
    m.says(&vec![b'x'; 100_000]);
    assert_eq!(m.line.pending(), 0);
}

#[test]
fn a_file_is_emptied_and_private_and_has_every_byte() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("console.log");
    let mut m = start(ConsoleSpec::File(path.clone()).open().unwrap());
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    m.says(b"first boot, with much to say");
    m.close();
    let mut m = start(ConsoleSpec::File(path.clone()).open().unwrap());
    m.says(b"second boot");
    m.close();
    assert_eq!(std::fs::read(&path).unwrap(), b"second boot");
}

#[test]
fn a_file_that_logrotate_cut_short_has_no_hole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("console.log");
    let mut m = start(ConsoleSpec::File(path.clone()).open().unwrap());
    m.says(b"of yesterday");
    wait_until("it is written", || m.line.pending() == 0);
    File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
    m.says(b"of today");
    m.close();
    assert_eq!(std::fs::read(&path).unwrap(), b"of today");
}

#[test]
fn a_fifo_needs_no_reader_and_a_reader_may_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let m = start(ConsoleSpec::File(path.clone()).open().unwrap());
    m.says(b"before any reader\n");
    for word in [&b"one\n"[..], b"two\n"] {
        let reader = File::open(&path).unwrap();
        m.says(word);
        read_until(&reader, word);
    }
}

#[test]
fn a_full_disk_loses_no_more_than_it_must_and_ends_nothing() {
    let mut m = start(ConsoleSpec::File("/dev/full".into()).open().unwrap());
    let start = Instant::now();
    m.says(&vec![b'.'; 3 << 20]);
    assert!(m.line.pending() <= STREAM_ROOM as u64);
    m.close();
    assert!(start.elapsed() < Duration::from_secs(5), "nothing waits for a disk");
    assert_eq!(m.quits(), 0);
}

#[test]
fn a_terminal_that_nobody_watches_stops_no_vcpu() {
    let pty = Pty::open();
    let m = stdio(null(), pty.terminal());
    let start = Instant::now();
    m.says(&vec![b'.'; 3 << 20]);
    assert!(start.elapsed() < Duration::from_secs(5));
    assert!(m.line.pending() > 0);
}

#[test]
fn a_stopped_process_leaves_the_terminal_as_it_was_and_takes_it_again() {
    let _turn = one_raw_terminal_at_a_time();
    let pty = Pty::open();
    let before = pty.settings();
    let m = stdio(pty.terminal(), pty.terminal());
    let raw = pty.settings();
    let console = m.console.as_ref().unwrap();
    console.suspend();
    assert_eq!(pty.settings(), before);
    console.resume();
    wait_until("the terminal is raw again", || pty.settings() == raw);

    // Stopped without a word before; the shell takes its terminal, and gives it back.
    pty.set(&before);
    console.resume();
    wait_until("the terminal is raw again", || pty.settings() == raw);
    pty.type_keys(b"x");
    assert_eq!(m.hears(1), b"x");
    drop(m);
    assert_eq!(pty.settings(), before);
}

#[test]
fn a_file_that_cannot_be_made_is_an_error_that_names_it() {
    let spec = ConsoleSpec::File("/no/such/folder/console.log".into());
    let message = spec.open().err().unwrap().to_string();
    assert_eq!(message, "cannot open /no/such/folder/console.log for the console's output");
}

struct Socket {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

fn socket_path() -> Socket {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("console.sock");
    Socket { _folder: folder, path }
}

impl Socket {
    fn open(&self) -> Result<OpenConsole, OpenConsoleError> {
        ConsoleSpec::Socket(self.path.clone()).open()
    }

    fn connect(&self) -> UnixStream {
        UnixStream::connect(&self.path).unwrap()
    }
}

#[test]
fn a_client_sees_what_came_before_it_and_types_to_the_guest() {
    let socket = socket_path();
    let m = start(socket.open().unwrap());
    m.says(b"booted\n");
    let mut client = socket.connect();
    assert_eq!(read_until(&client, b"booted\n"), b"booted\n");
    client.write_all(b"\x01x").unwrap();
    assert_eq!(m.hears(2), b"\x01x", "a client has no escapes");
    m.says(b"$ ");
    assert_eq!(read_until(&client, b"$ "), b"$ ");

    drop(client);
    wait_until("the next client is let in", || {
        let next = socket.connect();
        read_until(&next, b" ") == b"booted\n$ "
    });
}

#[test]
fn a_client_gets_no_more_of_the_past_than_fits() {
    let socket = socket_path();
    let m = start(socket.open().unwrap());
    m.says(&vec![b'.'; 3 * REPLAY_ROOM]);
    m.says(b"end");
    assert_eq!(read_until(&socket.connect(), b"end").len(), REPLAY_ROOM);
}

#[test]
fn a_second_client_is_turned_away() {
    let socket = socket_path();
    let m = start(socket.open().unwrap());
    let first = socket.connect();
    m.says(b"one\n");
    read_until(&first, b"one\n");
    let mut second = socket.connect();
    let mut words = String::new();
    second.read_to_string(&mut words).unwrap();
    assert_eq!(words, "the console is in use by another client\r\n");
    m.says(b"two\n");
    assert_eq!(read_until(&first, b"two\n"), b"two\n");
}

#[test]
fn input_of_a_client_that_left_at_once_still_arrives() {
    let socket = socket_path();
    let m = start(socket.open().unwrap());
    socket.connect().write_all(b"poweroff\n").unwrap();
    assert_eq!(m.hears(9), b"poweroff\n");
}

#[test]
fn a_client_that_only_listens_may_close_its_own_half() {
    let socket = socket_path();
    let m = start(socket.open().unwrap());
    let client = socket.connect();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    m.says(b"still here\n");
    assert_eq!(read_until(&client, b"\n"), b"still here\n");
}

#[test]
fn a_client_that_reads_nothing_stops_no_vcpu() {
    let socket = socket_path();
    let m = start(socket.open().unwrap());
    let client = socket.connect();
    m.says(b"first\n");
    read_until(&client, b"first\n");
    let start = Instant::now();
    m.says(&vec![b'.'; 3 << 20]);
    m.says(b"end");
    assert!(start.elapsed() < Duration::from_secs(5));
    read_until(&client, b"end");
}

#[test]
fn the_socket_is_private_and_removed_at_the_end() {
    let socket = socket_path();
    let mut m = start(socket.open().unwrap());
    let mode = std::fs::symlink_metadata(&socket.path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    m.close();
    assert!(!socket.path.exists());
    drop(socket.open().unwrap());
    assert!(!socket.path.exists(), "also if it was never started");
}

#[test]
fn a_stale_socket_is_replaced_and_nothing_else_is() {
    let socket = socket_path();
    drop(UnixListener::bind(&socket.path).unwrap());
    let open = socket.open().unwrap();
    let message = socket.open().err().unwrap().to_string();
    assert_eq!(message, format!("{} is in use by another process", socket.path.display()));
    drop(open);

    std::fs::write(&socket.path, "precious").unwrap();
    let message = socket.open().err().unwrap().to_string();
    assert!(message.contains("exists and is not a socket"), "{message}");
    assert_eq!(std::fs::read(&socket.path).unwrap(), b"precious");
}

#[test]
fn a_socket_that_another_took_over_is_left_to_it() {
    let socket = socket_path();
    let open = socket.open().unwrap();
    std::fs::remove_file(&socket.path).unwrap();
    let _other = UnixListener::bind(&socket.path).unwrap();
    drop(open);
    assert!(socket.path.exists());
}
