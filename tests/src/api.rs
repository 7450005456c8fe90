//! A client of the vmm's API that waits for each answer, and a vmm to be its server.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::host::PATIENCE;
use crate::process::Owned;

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.body).with_context(|| format!("no JSON: {}", self.body))
    }

    /// The message of a refusal.
    pub fn fault(&self) -> Result<String> {
        let json = self.json()?;
        let message = json["fault_message"].as_str().context("no fault_message")?;
        ensure!(json.as_object().is_some_and(|all| all.len() == 1), "more than a message: {json}");
        Ok(message.to_owned())
    }
}

/// A connection to an API.
pub struct Api {
    stream: BufReader<UnixStream>,
    socket: PathBuf,
    used: Instant,
}

/// After so long a new connection is made: vmm closes one that has asked nothing for a minute, which is not long where all
/// is emulated.
const IDLE: Duration = Duration::from_secs(20);

impl Api {
    pub fn connect(socket: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket)
            .with_context(|| format!("cannot connect to {}", socket.display()))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream: BufReader::new(stream), socket: socket.to_owned(), used: Instant::now() })
    }

    /// Waits so long for each answer on this connection.
    pub fn patient(self, limit: Duration) -> Result<Self> {
        self.stream.get_ref().set_read_timeout(Some(limit))?;
        Ok(self)
    }

    /// Connects as soon as there is an API.
    pub fn wait(socket: &Path, limit: Duration) -> Result<Self> {
        let begin = Instant::now();
        loop {
            match Self::connect(socket) {
                Ok(api) => return Ok(api),
                Err(error) if begin.elapsed() >= limit => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    }

    /// Connects as soon as `process` has an API. Fails if it ends before, or has none in time.
    pub fn of(process: &mut Owned, socket: &Path, limit: Duration) -> Result<Self> {
        let begun = Instant::now();
        loop {
            let ended = process.wait(Duration::ZERO)?;
            ensure!(ended.is_none(), "vmm has ended: {ended:?}");
            match Self::connect(socket) {
                Ok(api) => return Ok(api),
                Err(error) if begun.elapsed() >= limit => return Err(error),
                // Some tests start thousands of processes, each of which is there within milliseconds.
                Err(_) => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    /// Sends a request, and waits for its answer.
    pub fn ask(&mut self, method: &str, path: &str, body: &str) -> Result<Answer> {
        self.send(method, path, body)?;
        self.answer().with_context(|| format!("{method} {path}"))
    }

    /// Sends a request that nobody waits for.
    pub fn send(&mut self, method: &str, path: &str, body: &str) -> Result<()> {
        if self.used.elapsed() > IDLE {
            *self = Self::connect(&self.socket)?;
        }
        self.used = Instant::now();
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}");
        let request = format!("{head}\r\n\r\n{body}");
        self.stream.get_mut().write_all(request.as_bytes()).context("the request was not taken")
    }

    pub fn get(&mut self, path: &str) -> Result<Value> {
        let answer = self.ask("GET", path, "")?;
        ensure!(answer.status == 200, "GET {path}: {answer:?}");
        answer.json()
    }

    /// A request that must be answered with 204.
    pub fn done(&mut self, method: &str, path: &str, body: &Value) -> Result<()> {
        let answer = self.ask(method, path, &body.to_string())?;
        ensure!(answer.status == 204, "{method} {path}: {answer:?}");
        Ok(())
    }

    /// One of the `/actions`.
    pub fn act(&mut self, action: &str) -> Result<()> {
        self.done("PUT", "/actions", &serde_json::json!({ "action_type": action }))
    }

    /// A request whose answer never ends: its lines.
    pub fn follow(mut self, path: &str) -> Result<impl Iterator<Item = Result<Value>>> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        self.stream.get_mut().write_all(request.as_bytes())?;
        while !self.line()?.is_empty() {}
        // Of chunks, which have lines of their own, only those of JSON are taken.
        let json = |line: &str| line.starts_with('{');
        Ok(self
            .stream
            .lines()
            .filter(move |line| line.as_ref().map_or(true, |line| json(line)))
            .map(|line| {
                let line = line?;
                serde_json::from_str(&line).with_context(|| format!("no JSON: {line}"))
            }))
    }

    fn answer(&mut self) -> Result<Answer> {
        let first = self.line()?;
        let status = first.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.with_context(|| format!("no HTTP: {first}"))?;
        let mut length = 0;
        loop {
            let line = self.line()?.to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(count) = line.strip_prefix("content-length:") {
                length = count.trim().parse()?;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok(Answer { status, body: String::from_utf8(body)? })
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        ensure!(self.stream.read_line(&mut line)? > 0, "the connection was closed");
        Ok(line.trim_end().to_owned())
    }
}

/// A vmm that serves an API in a folder of its own.
pub struct Served {
    process: Owned,
    socket: PathBuf,
}

impl Served {
    /// Starts `vmm`, whose other arguments are in it, with its API on `socket`, and waits until it
    /// answers.
    pub fn start(vmm: &mut Command, socket: &Path) -> Result<Self> {
        vmm.arg("--api-sock").arg(socket);
        vmm.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
        let mut process = Owned::spawn(vmm)?;
        let begin = Instant::now();
        while !Api::connect(socket).is_ok_and(|mut api| api.get("/").is_ok()) {
            if let Some(status) = process.wait(Duration::ZERO)? {
                bail!("vmm ended: {status}");
            }
            ensure!(begin.elapsed() < PATIENCE, "the API does not answer");
            std::thread::yield_now();
        }
        Ok(Self { process, socket: socket.to_owned() })
    }

    pub fn api(&self) -> Result<Api> {
        Api::connect(&self.socket)
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Waits for the end.
    pub fn end(mut self) -> Result<ExitStatus> {
        self.process.ended(PATIENCE)
    }
}
