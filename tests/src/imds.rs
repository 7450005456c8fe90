//! A client of a metadata service, with as much of HTTP as that speaks.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::host::PATIENCE;

/// What a service answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

/// One connection to a service.
pub struct Client(BufReader<TcpStream>);

impl Client {
    pub fn connect(to: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&to, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// A token that is good for an hour.
    pub fn token(&mut self) -> io::Result<String> {
        let ttl = "X-metadata-token-ttl-seconds: 3600\r\n";
        match self.ask("PUT", "/latest/api/token", ttl)? {
            Answer { status: 200, body } => Ok(body),
            other => Err(io::Error::other(format!("no token: {other:?}"))),
        }
    }

    pub fn get(&mut self, path: &str, token: Option<&str>) -> io::Result<Answer> {
        let header = token.map(|token| format!("X-metadata-token: {token}\r\n"));
        self.ask("GET", path, &header.unwrap_or_default())
    }

    /// Asks with `headers`, of which each has its end, and reads the answer.
    fn ask(&mut self, method: &str, path: &str, headers: &str) -> io::Result<Answer> {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: metadata\r\n{headers}\r\n");
        self.0.get_mut().write_all(request.as_bytes())?;
        let (mut status, mut len) = (None, 0);
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let line = line.trim_end();
            if let Some(rest) = line.strip_prefix("HTTP/1.1 ") {
                status = rest.get(..3).and_then(|code| code.parse().ok());
            }
            if let Some(text) = line.strip_prefix("Content-Length: ") {
                len = text.parse().map_err(io::Error::other)?;
            }
            if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; len];
        self.0.read_exact(&mut body)?;
        let body = String::from_utf8(body).map_err(io::Error::other)?;
        Ok(Answer { status: status.ok_or(io::ErrorKind::InvalidData)?, body })
    }
}
