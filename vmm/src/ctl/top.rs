//! `vmm ctl top`: rates, disks, queues, hash table and vCPUs, live on a terminal.

mod rates;
mod screen;

use std::error::Error;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use serde_json::Value;

use super::client::{Client, ClientError, nic_path};
use crate::signals::{self, Signals};
use rates::{Look, Rates};

/// Watches until the user has seen enough, or the VMM ends.
pub fn run(client: &mut Client, every: Duration) -> Result<(), Box<dyn Error>> {
    if !std::io::stdout().is_terminal() {
        return Err("top needs a terminal; `metrics` is for programs".into());
    }
    let mut before = look(client)?;
    let mut rates = Rates::between(&before, &before);
    let signals = Signals::block()?;
    let mut terminal = ratatui::try_init()?;
    let end = loop {
        if let Err(error) = terminal.draw(|frame| screen::draw(frame, &before, &rates)) {
            break Err(error.into());
        }
        match wait(every, &signals) {
            Ok(Wish::Look) => {}
            Ok(Wish::Leave) => break Ok(None),
            Ok(Wish::Die(signal)) => break Ok(Some(signal)),
            Ok(Wish::Stop) => {
                give_back(terminal);
                signals.stop_process();
                terminal = ratatui::try_init()?;
            }
            Err(error) => break Err(error.into()),
        }
        match look(client) {
            Ok(now) => {
                rates = Rates::between(&before, &now);
                before = now;
            }
            Err(error) => break Err(error.into()),
        }
    };
    give_back(terminal);
    end.map(|signal| signal.into_iter().for_each(signals::die_by))
}

/// Brings the terminal back as it was.
fn give_back(mut terminal: DefaultTerminal) {
    // Dropped with a cursor that it cannot show, it would say so by a macro that panics.
    if terminal.show_cursor().is_err() {
        std::mem::forget(terminal);
    }
    // Fails if the terminal is gone, and then there is nothing to bring back.
    let _ = ratatui::try_restore();
}

/// What comes next.
enum Wish {
    Look,
    Leave,
    /// Someone stops the process.
    Stop,
    /// Someone ends it by this signal.
    Die(i32),
}

/// Between two looks at signals, which do not end a wait for keys.
const SIGNALS: Duration = Duration::from_millis(100);

/// Waits for the time of the next look, or for what the user or a signal wants instead.
fn wait(every: Duration, signals: &Signals) -> std::io::Result<Wish> {
    let deadline = Instant::now() + every;
    loop {
        match signals.next() {
            None => {}
            Some(libc::SIGTSTP) => return Ok(Wish::Stop),
            Some(libc::SIGCONT) => return Ok(Wish::Look),
            Some(signal) => return Ok(Wish::Die(signal)),
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(Wish::Look);
        }
        if !event::poll(left.min(SIGNALS))? {
            continue;
        }
        match event::read()? {
            Event::Key(key) if key.kind == KeyEventKind::Press => {
                let interrupt = key.modifiers.contains(KeyModifiers::CONTROL);
                match key.code {
                    KeyCode::Char('q') | KeyCode::Esc => return Ok(Wish::Leave),
                    KeyCode::Char('c') if interrupt => return Ok(Wish::Leave),
                    _ => {}
                }
            }
            Event::Resize(..) => return Ok(Wish::Look),
            _ => {}
        }
    }
}

/// All that is shown, at one moment.
fn look(client: &mut Client) -> Result<Look, ClientError> {
    let instance = client.get("/")?;
    let metrics = client.text("/metrics")?;
    let mut look = Look::new(Instant::now(), instance, &metrics);
    if look.instance["state"] != "Not started" {
        let config = client.get("/vm/config")?;
        let nics = config["network-interfaces"].as_array().into_iter().flatten();
        for id in nics.filter_map(|nic| nic["iface_id"].as_str()) {
            look.nics.push(nic(client, id)?);
        }
        if let Value::Array(disks) = client.get("/drives")? {
            look.disks = disks;
        }
    }
    Ok(look)
}

/// A card with its table and its latencies, if it has them.
fn nic(client: &mut Client, id: &str) -> Result<Value, ClientError> {
    let mut nic = client.get(&nic_path(id, ""))?;
    for part in ["rss", "latency"] {
        nic[part] = match client.get(&nic_path(id, &format!("/{part}"))) {
            Ok(value) => value,
            Err(ClientError::Refused(_)) => Value::Null,
            Err(error) => return Err(error),
        };
    }
    Ok(nic)
}
