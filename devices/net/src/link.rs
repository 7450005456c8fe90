//! Whether there is a cable, and who is told of what happens to a card.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::event::{Listener, NicEvent};

type OnChange = Box<dyn Fn() + Send>;

/// Whether there is a cable: the backend is there, and nobody has pulled it out.
pub struct Link {
    backend: String,
    lost: AtomicBool,
    pulled: AtomicBool,
    on_change: Mutex<Option<OnChange>>,
    outlook: Arc<Outlook>,
}

impl Link {
    pub(crate) fn new(backend: &str, outlook: Arc<Outlook>) -> Link {
        Link {
            backend: backend.to_string(),
            lost: AtomicBool::new(false),
            pulled: AtomicBool::new(false),
            on_change: Mutex::default(),
            outlook,
        }
    }

    /// The host's side of the cable, for people.
    pub fn backend(&self) -> &str {
        &self.backend
    }

    /// Whether frames can pass.
    pub fn is_up(&self) -> bool {
        !self.is_lost() && !self.is_pulled()
    }

    /// The backend is gone for good.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire) // pairs with `lose`
    }

    /// The cable is out: frames are to be thrown away, both ways.
    pub fn is_pulled(&self) -> bool {
        self.pulled.load(Ordering::Acquire) // pairs with `pull`
    }

    /// Who is told, on the thread that changed it, that the link went up or down; it may not call
    /// the port.
    pub fn set_listener(&self, on_change: Option<OnChange>) {
        *self.on_change.lock().unwrap_or_else(PoisonError::into_inner) = on_change;
    }

    /// Pulls the cable out, or puts it in again; whether that is a change.
    pub(crate) fn pull(&self, pulled: bool) -> bool {
        // Pairs with `is_pulled`: who is told sees the link as it is.
        let changed = self.pulled.swap(pulled, Ordering::AcqRel) != pulled;
        if changed && !self.is_lost() {
            self.tell();
        }
        changed
    }

    /// The backend is gone; logs and tells once.
    pub(crate) fn lose(&self, error: &io::Error) {
        // Pairs with `is_lost`: who is told sees the link down.
        if self.lost.swap(true, Ordering::AcqRel) {
            return;
        }
        tracing::error!("{} is gone, the guest's link is down: {error}", self.backend);
        self.tell();
    }

    fn tell(&self) {
        if let Some(on_change) = &*self.on_change.lock().unwrap_or_else(PoisonError::into_inner) {
            on_change();
        }
        self.outlook.tell(NicEvent::Link { up: self.is_up() });
    }
}

/// Who is told of what happens to a card, if anyone.
#[derive(Default)]
pub struct Outlook(Mutex<Option<Listener>>);

impl Outlook {
    /// Replaces who is told.
    pub fn set_listener(&self, listener: Option<Listener>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = listener;
    }

    /// Tells, at once and on this thread.
    pub fn tell(&self, event: NicEvent) {
        if let Some(listener) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            listener(event);
        }
    }
}
