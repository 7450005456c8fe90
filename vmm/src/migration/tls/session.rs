//! One end of TLS, between the bytes of a connection and what is said over it.

use std::io::{self, Read, Write};

use rustls::Connection;

/// It keeps what came and is no whole record yet, one record that was opened, and of what is to go nothing.
#[derive(Debug)]
pub struct Session(Connection);

impl Session {
    /// Over a connection that has just been made.
    pub fn new(mut connection: Connection) -> Session {
        // All of it is taken out at once.
        connection.set_buffer_limit(None);
        Session(connection)
    }

    /// Whether both ends know who the other is, as far as this one can tell: a source may still hear that it is not believed.
    pub fn is_known(&self) -> bool {
        !self.0.is_handshaking()
    }

    /// Adds what TLS itself has to say to `wire`.
    pub fn add_own(&mut self, wire: &mut Vec<u8>) -> io::Result<()> {
        while self.0.wants_write() {
            self.0.write_tls(wire)?;
        }
        Ok(())
    }

    /// Adds `plain` to `wire`, behind what TLS itself has to say. Fails if the other end is not known yet.
    pub fn seal(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> io::Result<()> {
        if !self.is_known() {
            return Err(io::ErrorKind::NotConnected.into());
        }
        self.0.writer().write_all(plain)?;
        self.add_own(wire)
    }

    /// Takes bytes of the connection, by one read of `from`; how many, none at its end. Fails if they are not the other
    /// end's, or it is not believed: what is to be said about that is TLS's own.
    pub fn take(&mut self, from: &mut dyn Read) -> io::Result<usize> {
        let count = self.0.read_tls(from)?;
        let taken = self.0.process_new_packets();
        taken.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        Ok(count)
    }

    /// What was said, as far as it fits into `into`, and no bytes once the other end has said that it ends. Fails with
    /// [`io::ErrorKind::WouldBlock`] if there is nothing yet, and if the connection ended without a word of that.
    pub fn open(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.reader().read(into)
    }
}

#[cfg(test)]
#[path = "session_test.rs"]
mod tests;
