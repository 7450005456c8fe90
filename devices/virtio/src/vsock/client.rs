//! What a client of the socket says first, and what he hears.

use std::io::ErrorKind;

use device_core::stream::Stream;

/// Most bytes of the line, with its end.
const LONGEST: usize = 32;

/// What has come of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Greeting {
    /// Where to in the guest.
    Port(u32),
    /// Its end is not here.
    NotYet,
    /// Something else, or the client has gone.
    Bad,
}

/// Reads `CONNECT PORT` and a line feed, once all of it is there; what follows stays for the guest.
pub(super) fn read(stream: &Stream) -> Greeting {
    let mut bytes = [0; LONGEST];
    let count = match stream.peek(&mut bytes) {
        Ok(0) => return Greeting::Bad,
        Ok(count) => count,
        Err(error) if error.kind() == ErrorKind::WouldBlock => return Greeting::NotYet,
        Err(_) => return Greeting::Bad,
    };
    let come = bytes.get(..count).unwrap_or_default();
    let Some(end) = come.iter().position(|byte| *byte == b'\n') else {
        return if count == LONGEST { Greeting::Bad } else { Greeting::NotYet };
    };
    let greeting = parse(come.get(..end).unwrap_or_default());
    // All of it is there, in one piece or several.
    let mut left = end.saturating_add(1);
    while let Some(place) = bytes.get_mut(..left).filter(|place| !place.is_empty()) {
        match stream.take(place) {
            Ok(taken @ 1..) => left = left.saturating_sub(taken),
            _ => return Greeting::Bad,
        }
    }
    greeting
}

/// What a client hears when the guest has accepted.
pub(super) fn welcome(host_port: u32) -> String {
    format!("OK {host_port}\n")
}

/// The port that a line without its end names.
fn parse(line: &[u8]) -> Greeting {
    let Ok(line) = std::str::from_utf8(line) else { return Greeting::Bad };
    let mut words = line.split_ascii_whitespace();
    let (Some(verb), Some(port), None) = (words.next(), words.next(), words.next()) else {
        return Greeting::Bad;
    };
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    match port.parse() {
        Ok(port) if digits && verb.eq_ignore_ascii_case("connect") => Greeting::Port(port),
        _ => Greeting::Bad,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_line_is_the_word_in_any_case_and_a_port() {
        for (line, wanted) in [
            ("CONNECT 52", Greeting::Port(52)),
            ("connect 0", Greeting::Port(0)),
            ("  Connect\t4294967295  ", Greeting::Port(u32::MAX)),
            ("CONNECT 1\r", Greeting::Port(1)),
            ("CONNECT 4294967296", Greeting::Bad),
            ("CONNECT -1", Greeting::Bad),
            ("CONNECT +1", Greeting::Bad),
            ("CONNECT 0x1", Greeting::Bad),
            ("CONNECT", Greeting::Bad),
            ("CONNECT 1 2", Greeting::Bad),
            ("CONNECT1", Greeting::Bad),
            ("GET / HTTP/1.1", Greeting::Bad),
            ("", Greeting::Bad),
        ] {
            assert_eq!(parse(line.as_bytes()), wanted, "{line:?}");
        }
        assert_eq!(parse(b"CONNECT \xff"), Greeting::Bad);
    }

    #[test]
    fn a_line_may_come_in_pieces_and_what_follows_is_left() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let stream = Stream::of(ours);
        assert_eq!(read(&stream), Greeting::NotYet);
        for piece in ["CON", "NECT", " 5"] {
            theirs.write_all(piece.as_bytes()).unwrap();
            assert_eq!(read(&stream), Greeting::NotYet);
        }
        theirs.write_all(b"2\nhello\n").unwrap();
        assert_eq!(read(&stream), Greeting::Port(52));
        let mut rest = [0; 16];
        assert_eq!(stream.take(&mut rest).unwrap(), 6);
        assert_eq!(&rest[..6], b"hello\n");
    }

    #[test]
    fn no_line_is_longer_than_it_need_be_and_no_end_is_waited_for_in_vain() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(&[b' '; LONGEST - 1]).unwrap();
        let stream = Stream::of(ours);
        assert_eq!(read(&stream), Greeting::NotYet);
        theirs.write_all(b" ").unwrap();
        assert_eq!(read(&stream), Greeting::Bad);
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        assert_eq!(read(&Stream::of(ours)), Greeting::Bad);
    }

    #[test]
    fn the_welcome_names_the_hosts_port() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        Stream::of(ours).send(welcome(1 << 30).as_bytes()).unwrap();
        let mut heard = String::new();
        theirs.read_to_string(&mut heard).unwrap();
        assert_eq!(heard, "OK 1073741824\n");
    }
}
