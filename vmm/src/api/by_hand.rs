//! One client of the API without socket, thread and machine, for fuzzing.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use super::server::{Server, Service};
use crate::action::Mailbox;
use crate::face;
use crate::observe::events::Events;

/// What a client gets who sends `bytes` and nothing more. Whatever he asks the machine for is refused.
pub fn answer(bytes: &[u8]) -> Vec<u8> {
    let run = || -> std::io::Result<Vec<u8>> {
        let mailbox = Mailbox::new()?;
        mailbox.close();
        let manner = face::OURS.api;
        let service = Service { manner, requests: Arc::default(), max_body: None };
        let server = Server::new(mailbox, Arc::new(Events::default()), service);
        let (mut client, served) = UnixStream::pair()?;
        served.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let bytes = bytes.to_vec();
        let sending = std::thread::spawn(move || {
            // A server that has had enough closes.
            let _ = client.write_all(&bytes);
            let _ = client.shutdown(std::net::Shutdown::Write);
            let mut answers = Vec::new();
            let _ = client.read_to_end(&mut answers);
            answers
        });
        runtime.block_on(async {
            let stream = tokio::net::UnixStream::from_std(served)?;
            server.attend_alone(stream).await;
            std::io::Result::Ok(())
        })?;
        Ok(sending.join().unwrap_or_default())
    };
    run().expect("a process has a few descriptors and a thread to spare")
}
