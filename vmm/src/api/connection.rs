//! A client's connection: it gives up on one who does not read, and lets one who is not heard out read
//! why.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::time::{Instant, Sleep};

use super::refusals;
use crate::dialect::fault;

/// How long one is heard who was answered before his request's end: had the socket been closed, his
/// next write would fail and he might never read the answer.
const LINGER: Duration = Duration::from_secs(1);

/// Whether a client's request has not been read to its end, and will not be.
pub type Unread = Arc<AtomicBool>;

/// A stream whose writes fail when nothing could be written for a while.
pub struct Patient {
    stream: UnixStream,
    patience: Duration,
    /// When patience ends, while a write waits.
    deadline: Option<Pin<Box<Sleep>>>,
    unread: Unread,
    /// When it ends at last, once all has been written.
    lingers: Option<Pin<Box<Sleep>>>,
    /// What is left to write in place of what is being written.
    reworded: Vec<u8>,
}

/// The same with a message as its body, which is logged, if it ends with a refusal that has none. Those
/// are what hyper answers by itself to what is no request; ours all have one.
fn reword(bytes: &[u8]) -> Option<Vec<u8>> {
    const NO_BODY: &str = "\r\ncontent-length: 0\r\n";
    const REFUSAL: &[u8] = b"HTTP/1.1 4";

    if !bytes.ends_with(b"\r\n\r\n") {
        return None;
    }
    let at = bytes.windows(REFUSAL.len()).rposition(|part| part == REFUSAL)?;
    let (before, head) = bytes.split_at(at);
    let head = std::str::from_utf8(head).ok()?;
    let (start, end) = head.split_once(NO_BODY)?;
    let status = StatusCode::from_bytes(head.split(' ').nth(1)?.as_bytes()).ok()?;
    let message = match status {
        StatusCode::URI_TOO_LONG => "the path is too long",
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => "the request's head is too large",
        _ => "this is no request of HTTP/1.1, or its length is none",
    };
    refusals::tell_unread("a request that cannot be read", status, message);
    let body = fault(message);
    let length = body.len();
    let kind = "content-type: application/json";
    let head = format!("{start}\r\n{kind}\r\ncontent-length: {length}\r\n{end}{body}");
    Some([before, head.as_bytes()].concat())
}

impl Patient {
    /// Over `stream`, where a write may wait for at most `patience`.
    pub fn new(stream: UnixStream, patience: Duration, unread: Unread) -> Patient {
        Patient { stream, patience, deadline: None, unread, lingers: None, reworded: Vec::new() }
    }

    /// Says `words` and ends, as far as the client lets it.
    pub async fn say_last(mut self, mut words: &[u8]) {
        while !words.is_empty() {
            match poll_fn(|context| Pin::new(&mut self).poll_write(context, words)).await {
                Ok(len @ 1..) => words = &words[len..],
                _ => return,
            }
        }
        // What is wrong with a client is his trouble alone.
        let _ = poll_fn(|context| Pin::new(&mut self).poll_shutdown(context)).await;
    }

    /// The outcome of a write, or an error if it waits for too long.
    fn judge<T>(
        &mut self,
        context: &mut Context<'_>,
        outcome: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.deadline = None;
            return outcome;
        }
        let patience = self.patience;
        let until = || Box::pin(tokio::time::sleep_until(Instant::now() + patience));
        match self.deadline.get_or_insert_with(until).as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.reworded.is_empty() {
            match reword(bytes) {
                Some(other) => this.reworded = other,
                None => {
                    let outcome = Pin::new(&mut this.stream).poll_write(context, bytes);
                    return this.judge(context, outcome);
                }
            }
        }
        while !this.reworded.is_empty() {
            let outcome = Pin::new(&mut this.stream).poll_write(context, &this.reworded);
            let written = ready!(this.judge(context, outcome))?;
            this.reworded.drain(..written);
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // hyper's own refusals come alone.
        if let [bytes] = slices {
            return self.poll_write(context, bytes);
        }
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.stream).poll_write_vectored(context, slices);
        this.judge(context, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.lingers.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(context))?;
            if !this.unread.load(Ordering::Relaxed) {
                return Poll::Ready(Ok(()));
            }
        }
        let lingers = this.lingers.get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER)));
        while lingers.as_mut().poll(context).is_pending() {
            let mut waste = [0; 4096];
            let mut waste = ReadBuf::new(&mut waste);
            let outcome = ready!(Pin::new(&mut this.stream).poll_read(context, &mut waste));
            if outcome.is_err() || waste.filled().is_empty() {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }
}
