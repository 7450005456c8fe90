//! The i8042 keyboard controller with a PS/2 keyboard: reset of the machine, Ctrl-Alt-Del, and the
//! key that wakes a sleeping guest.
//!
//! ```text
//!  0x60 data            answers of controller and keyboard; bytes for either
//!  0x64 status/command  buffer flags; commands to the controller
//! ```
//! Port B between them belongs to the timer. There is no mouse port. The keyboard has no keys but
//! those four; it answers its driver's probe at once, as a driver that gets no answer waits for half
//! a second at each step of its own.

pub mod saved;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use device_core::bus::{BusDevice, Width};
use device_core::interrupt::IrqLine;
use serde::{Deserialize, Serialize};

use crate::ports::{read_bytes, write_bytes};
use crate::power::BoardEvents;

/// Offsets of the ports from 0x60.
const DATA: u64 = 0;
const COMMAND: u64 = 4;

/// Status: output buffer full, system flag (self-test passed), last write was a command, keyboard
/// not locked.
const STATUS_OUTPUT_FULL: u8 = 1 << 0;
const STATUS_SYSTEM: u8 = 1 << 2;
const STATUS_COMMAND: u8 = 1 << 3;
const STATUS_UNLOCKED: u8 = 1 << 4;

/// Configuration byte: keyboard interrupt, system flag, keyboard clock off, mouse clock off,
/// translation to scan code set 1.
const CONFIG_INTERRUPT: u8 = 1 << 0;
const CONFIG_SYSTEM: u8 = 1 << 2;
const CONFIG_KEYBOARD_OFF: u8 = 1 << 4;
const CONFIG_MOUSE_OFF: u8 = 1 << 5;
const CONFIG_TRANSLATE: u8 = 1 << 6;

/// Output port: not in reset, A20 on.
const OUTPUT_PORT: u8 = 0b11;
const OUTPUT_NOT_RESET: u8 = 1 << 0;

/// Bytes that the keyboard holds until the guest reads them, as a real one does.
const KEYBOARD_FIFO: usize = 16;

const ACK: u8 = 0xfa;
const RESEND: u8 = 0xfe;

/// A driver that has its interrupt on and speaks to no keyboard is given so long to listen to it: it
/// may be one that never will speak (Linux's with `i8042.dumbkbd`), or one that is about to.
const SILENT_DRIVER: Duration = Duration::from_secs(3);

/// Press of Ctrl, Alt, Del and their releases, in scan code sets 1 and 2.
const CTRL_ALT_DEL_SET1: [u8; 8] = [0x1d, 0x38, 0xe0, 0x53, 0xe0, 0xd3, 0xb8, 0x9d];
const CTRL_ALT_DEL_SET2: [u8; 11] =
    [0x14, 0x11, 0xe0, 0x71, 0xe0, 0xf0, 0x71, 0xf0, 0x11, 0xf0, 0x14];

/// Press and release of the wake key, which Linux lets wake it from its sleep.
const WAKE_SET1: [u8; 4] = [0xe0, 0x63, 0xe0, 0xe3];
const WAKE_SET2: [u8; 5] = [0xe0, 0x5e, 0xe0, 0xf0, 0x5e];

/// Why keys could not be pressed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum KeyboardNotReady {
    /// The controller's clock for the keyboard, or the keyboard's scanning, is off.
    #[error("the guest has the keyboard turned off; does it run a keyboard driver?")]
    Off,
    /// No driver has set the keyboard up since the last reset.
    #[error("the guest has not set the keyboard up yet, and would lose the keys")]
    NotSetUp,
    /// Keys of before still wait to be read.
    #[error("the guest has not read the keys pressed before")]
    Busy,
}

/// Controller and keyboard, at ports 0x60 to 0x64.
pub struct I8042 {
    core: Mutex<Core>,
    irq: Arc<dyn IrqLine>,
    events: Arc<dyn BoardEvents>,
}

impl I8042 {
    /// A controller and keyboard as after power-on, with the keyboard's interrupt line.
    pub fn new(irq: Arc<dyn IrqLine>, events: Arc<dyn BoardEvents>) -> I8042 {
        I8042 { core: Mutex::new(Core::new()), irq, events }
    }

    /// Presses and releases Ctrl-Alt-Del, all or nothing. Keys that the guest has not read are
    /// announced to it once more. Fails, with no key pressed, if nobody would read them.
    pub fn press_ctrl_alt_del(&self) -> Result<(), KeyboardNotReady> {
        self.with_core(|core| core.press(&CTRL_ALT_DEL_SET1, &CTRL_ALT_DEL_SET2))
    }

    /// Whether keys would find somebody who reads them; if not, the error says why.
    pub fn is_ready(&self) -> Result<(), KeyboardNotReady> {
        self.with_core(|core| core.is_ready(Instant::now()))
    }

    /// Presses and releases the wake key, all or nothing. It means nothing to a guest that is awake.
    /// Fails as Ctrl-Alt-Del does.
    pub fn press_wake(&self) -> Result<(), KeyboardNotReady> {
        self.with_core(|core| core.press(&WAKE_SET1, &WAKE_SET2))
    }

    fn with_core<R>(&self, access: impl FnOnce(&mut Core) -> R) -> R {
        let mut core = self.core.lock().unwrap_or_else(PoisonError::into_inner);
        let result = access(&mut core);
        let interrupt = std::mem::take(&mut core.interrupt);
        let reset = std::mem::take(&mut core.reset);
        drop(core);
        if interrupt {
            self.irq.pulse();
        }
        if reset {
            self.events.guest_reset();
        }
        result
    }
}

impl BusDevice for I8042 {
    fn read(&self, offset: u64, width: Width) -> u64 {
        read_bytes(offset, width, |port| match port {
            DATA => self.with_core(Core::read_data),
            COMMAND => self.with_core(|core| core.status()),
            _ => 0xff,
        })
    }

    fn write(&self, offset: u64, width: Width, value: u64) {
        write_bytes(offset, width, value, |port, byte| match port {
            DATA => self.with_core(|core| core.write_data(byte)),
            COMMAND => self.with_core(|core| core.command(byte)),
            _ => {}
        });
    }
}

/// Who gets the next byte written to the data port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Next {
    /// The keyboard.
    Keyboard,
    /// A cell of the controller's RAM; cell 0 is the configuration byte.
    Ram(u8),
    /// The lines of the controller.
    OutputPort,
    /// Comes back as if the keyboard had sent it.
    KeyboardBuffer,
    /// Comes back as a controller's answer, without the mouse flag: there is no mouse port.
    Loopback,
    /// It is lost.
    Nobody,
}

struct Core {
    ram: [u8; 32],
    next: Next,
    last_was_command: bool,
    /// The controller's own answer: read before anything of the keyboard.
    answer: Option<u8>,
    keyboard: Keyboard,
    /// When the guest asked for the keyboard's interrupt: until then what is typed is thrown away by a
    /// driver that finds its controller.
    driven_since: Option<Instant>,
    interrupt: bool,
    reset: bool,
}

impl Core {
    fn new() -> Core {
        let mut ram = [0; 32];
        if let Some(config) = ram.first_mut() {
            *config = CONFIG_INTERRUPT | CONFIG_SYSTEM | CONFIG_MOUSE_OFF | CONFIG_TRANSLATE;
        }
        Core {
            ram,
            next: Next::Keyboard,
            last_was_command: false,
            answer: None,
            keyboard: Keyboard::new(),
            driven_since: None,
            interrupt: false,
            reset: false,
        }
    }

    fn config(&self) -> u8 {
        self.ram.first().copied().unwrap_or_default()
    }

    fn change_config(&mut self, change: impl FnOnce(u8) -> u8) {
        if let Some(config) = self.ram.first_mut() {
            *config = change(*config);
        }
        self.announce_key();
    }

    fn has_key(&self) -> bool {
        self.config() & CONFIG_KEYBOARD_OFF == 0 && !self.keyboard.fifo.is_empty()
    }

    /// One edge per byte: drivers take one byte per interrupt.
    fn announce_key(&mut self) {
        if self.answer.is_none() && self.has_key() && self.config() & CONFIG_INTERRUPT != 0 {
            self.interrupt = true;
        }
    }

    fn status(&self) -> u8 {
        let mut status = STATUS_UNLOCKED | (self.config() & CONFIG_SYSTEM & STATUS_SYSTEM);
        if self.answer.is_some() || self.has_key() {
            status |= STATUS_OUTPUT_FULL;
        }
        if self.last_was_command {
            status |= STATUS_COMMAND;
        }
        status
    }

    fn read_data(&mut self) -> u8 {
        let byte = match self.answer.take() {
            Some(answer) => answer,
            None if self.has_key() => self.keyboard.fifo.pop_front().unwrap_or_default(),
            None => 0,
        };
        self.announce_key();
        byte
    }

    fn command(&mut self, command: u8) {
        self.last_was_command = true;
        self.next = Next::Keyboard;
        let answer = match command {
            0x20..=0x3f => self.ram.get(usize::from(command & 0x1f)).copied(),
            0x60..=0x7f => return self.next = Next::Ram(command & 0x1f),
            0xa7 => return self.change_config(|config| config | CONFIG_MOUSE_OFF),
            0xa8 => return self.change_config(|config| config & !CONFIG_MOUSE_OFF),
            0xa9 => Some(0x01), // test of the mouse port: clock line stuck low
            0xaa => {
                self.change_config(|config| config | CONFIG_SYSTEM);
                Some(0x55) // self-test passed
            }
            0xab => Some(0x00), // test of the keyboard port passed
            0xad => return self.change_config(|config| config | CONFIG_KEYBOARD_OFF),
            0xae => return self.change_config(|config| config & !CONFIG_KEYBOARD_OFF),
            0xc0 => Some(0x80), // input port: keyboard not locked
            0xd0 => Some(OUTPUT_PORT),
            0xd1 => return self.next = Next::OutputPort,
            0xd2 => return self.next = Next::KeyboardBuffer,
            0xd3 => return self.next = Next::Loopback,
            0xd4 => return self.next = Next::Nobody, // a byte for the mouse
            // Pulses of the output port's lines, low where a bit is clear; bit 0 is the reset.
            0xf0..=0xff => return self.reset |= command & OUTPUT_NOT_RESET == 0,
            _ => return,
        };
        self.answer = answer;
    }

    fn write_data(&mut self, byte: u8) {
        self.last_was_command = false;
        match std::mem::replace(&mut self.next, Next::Keyboard) {
            Next::Keyboard => {
                // A byte for the keyboard turns its clock on.
                self.change_config(|config| config & !CONFIG_KEYBOARD_OFF);
                let translated = self.config() & CONFIG_TRANSLATE != 0;
                self.keyboard.take(byte, translated);
            }
            Next::Ram(0) => {
                if byte & CONFIG_INTERRUPT == 0 {
                    self.driven_since = None;
                } else {
                    self.driven_since.get_or_insert_with(Instant::now);
                }
                self.change_config(|_| byte);
            }
            Next::Ram(cell) => {
                if let Some(cell) = self.ram.get_mut(usize::from(cell)) {
                    *cell = byte;
                }
            }
            Next::OutputPort => self.reset |= byte & OUTPUT_NOT_RESET == 0,
            Next::KeyboardBuffer => self.keyboard.send(&[byte]),
            Next::Loopback => self.answer = Some(byte),
            Next::Nobody => {}
        }
        self.announce_key();
    }

    fn is_ready(&self, now: Instant) -> Result<(), KeyboardNotReady> {
        let is_set_up = self.driven_since.is_some_and(|since| match self.keyboard.told {
            Told::Nothing => now.saturating_duration_since(since) >= SILENT_DRIVER,
            Told::ToWait => false,
            Told::ToScan => true,
        });
        if !is_set_up {
            Err(KeyboardNotReady::NotSetUp)
        } else if self.config() & CONFIG_KEYBOARD_OFF != 0 || !self.keyboard.scanning {
            Err(KeyboardNotReady::Off)
        } else {
            Ok(())
        }
    }

    fn press(&mut self, set1: &[u8], set2: &[u8]) -> Result<(), KeyboardNotReady> {
        self.is_ready(Instant::now())?;
        if !self.keyboard.fifo.is_empty() {
            // Should the interrupt have been lost, this one makes the guest read them.
            self.announce_key();
            return Err(KeyboardNotReady::Busy);
        }
        self.keyboard.send(if self.config() & CONFIG_TRANSLATE != 0 { set1 } else { set2 });
        self.announce_key();
        Ok(())
    }
}

/// What a driver has told its keyboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Told {
    /// Nothing since its reset.
    Nothing,
    /// It has asked what the keyboard is, and goes on asking: keys would be wrong answers, or nobody's.
    ToWait,
    /// It has asked for keys.
    ToScan,
}

/// The keyboard at the far end of the wire.
struct Keyboard {
    fifo: VecDeque<u8>,
    scanning: bool,
    told: Told,
    /// The command whose parameter comes next.
    awaits: Option<u8>,
}

impl Keyboard {
    fn new() -> Keyboard {
        Keyboard {
            fifo: VecDeque::with_capacity(KEYBOARD_FIFO),
            scanning: true,
            told: Told::Nothing,
            awaits: None,
        }
    }

    /// Queues an answer whole, or not at all if the guest left no room for it.
    fn send(&mut self, bytes: &[u8]) {
        if self.fifo.len().saturating_add(bytes.len()) <= KEYBOARD_FIFO {
            self.fifo.extend(bytes);
        }
    }

    fn take(&mut self, byte: u8, translated: bool) {
        if let Some(command) = self.awaits.take()
            && byte < 0xed
        {
            return match (command, byte) {
                // Which scan code set? Set 2, the only one.
                (0xf0, 0) => self.send(&[ACK, if translated { 0x41 } else { 0x02 }]),
                _ => self.send(&[ACK]),
            };
        }
        match byte {
            // Lamps, scan code set, repeat rate: accepted and of no effect.
            0xed | 0xf0 | 0xf3 => {
                self.awaits = Some(byte);
                self.send(&[ACK]);
            }
            0xee => self.send(&[0xee]), // echo
            0xf2 => {
                self.told = Told::ToWait;
                self.send(&[ACK, 0xab, if translated { 0x41 } else { 0x83 }]); // identify
            }
            0xf4 => {
                self.scanning = true;
                self.told = Told::ToScan;
                self.send(&[ACK]);
            }
            0xf5 => {
                self.scanning = false;
                self.send(&[ACK]);
            }
            0xf6 => self.send(&[ACK]), // defaults
            0xff => {
                self.fifo.clear();
                self.scanning = true;
                self.told = Told::Nothing;
                self.send(&[ACK, 0xaa]); // reset, self-test passed
            }
            _ => self.send(&[RESEND]),
        }
    }
}

#[cfg(test)]
#[path = "i8042_test.rs"]
mod tests;
