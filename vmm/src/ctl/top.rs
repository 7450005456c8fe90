//! `vmm ctl top`: rates, queues, hash table and vCPUs, live on a terminal.

mod rates;
mod screen;

use std::error::Error;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use serde_json::Value;

use super::client::{Client, ClientError};
use super::nic_path;
use rates::{Look, Rates};

/// Watches until the user has seen enough, or the VMM ends.
pub fn run(client: &mut Client, every: Duration) -> Result<(), Box<dyn Error>> {
    if !std::io::stdout().is_terminal() {
        return Err("top needs a terminal; `metrics` is for programs".into());
    }
    let mut before = look(client)?;
    let mut rates = Rates::between(&before, &before);
    let mut terminal = ratatui::try_init()?;
    let end = loop {
        if let Err(error) = terminal.draw(|frame| screen::draw(frame, &before, &rates)) {
            break Err(error.into());
        }
        match wait(every) {
            Ok(true) => break Ok(()),
            Ok(false) => {}
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
    ratatui::restore();
    end
}

/// Waits for the next look; true if the user wants to leave.
fn wait(every: Duration) -> std::io::Result<bool> {
    let deadline = Instant::now() + every;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if !event::poll(left)? {
            return Ok(false);
        }
        match event::read()? {
            Event::Key(key) if key.kind == KeyEventKind::Press => {
                let interrupt = key.modifiers.contains(KeyModifiers::CONTROL);
                match key.code {
                    KeyCode::Char('q') | KeyCode::Esc => return Ok(true),
                    KeyCode::Char('c') if interrupt => return Ok(true),
                    _ => {}
                }
            }
            Event::Resize(..) => return Ok(false),
            _ => {}
        }
    }
}

/// All that is shown, at one moment.
fn look(client: &mut Client) -> Result<Look, ClientError> {
    let instance = client.get("/")?;
    let metrics = client.text("/metrics")?;
    let nics = match instance["state"].as_str() {
        Some("Not started") => Vec::new(),
        _ => {
            let config = client.get("/vm/config")?;
            let ids = config["network-interfaces"].as_array().into_iter().flatten();
            let ids = ids.filter_map(|nic| nic["iface_id"].as_str());
            ids.map(|id| nic(client, id)).collect::<Result<_, _>>()?
        }
    };
    Ok(Look::new(Instant::now(), instance, &metrics, nics))
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
