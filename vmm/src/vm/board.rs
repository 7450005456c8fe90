//! What every machine has besides devices that are asked for: their bus, serial port, keyboard controller,
//! clock, power registers and button, generation id.

use std::io;
use std::sync::Arc;

use arch::acpi::BoardFacts;
use arch::layout::{self, AddressRange};
use device_core::GuestRam;
use device_core::bus::{Bus, BusDevice, BusError};
use device_core::snapshot::{LoadError, SaveError, Saved, Snapshot};
use device_core::worker::Threads;
use devices::legacy::{
    Absent, BoardEvents, Console, Generation, I8042, OpenConsole, Places, PowerButton, PowerFacts,
    PowerRegisters, ResetControl, Rtc, Serial,
};
use kvm_ioctls::VmFd;
use pci::bus::PciBus;
use pci::hotplug::{self, HotPlug};
use pci::windows::Windows;

use super::saved::PartState;
use super::slots::{MmioSlots, Slots};
use crate::end::{End, Ends};
use crate::kvm::irq::Lines;

/// First of the power registers; the others count from it.
const POWER_PORTS: u16 = layout::SLEEP_CONTROL_PORT;
const POWER: PowerFacts = PowerFacts {
    sleep_control: 0,
    sleep_status: (layout::SLEEP_STATUS_PORT - POWER_PORTS) as u64,
    reset: (layout::RESET_PORT - POWER_PORTS) as u64,
    sleep_into_s5: layout::SLEEP_INTO_S5,
    reset_value: layout::RESET_VALUE,
};
const POWER_PORTS_LEN: u64 = 4;
/// The reset control register is the second byte of PCI's ports.
const RESET_CONTROL: u64 = 1;

/// From the keyboard controller's data port to its command port, 0x60 to 0x64; port B among them, 0x61,
/// is answered by the kernel's timer.
const I8042_PORTS_LEN: u64 = 5;

/// Where a guest finds what tells it of a new identity; ACPI says the same.
const PLACES: Places = Places { id: layout::GENERATION_ID.0, clock: layout::VM_CLOCK.0 };

/// What stock kernels look for at each boot and need not find: COM2 to COM4, the POST diagnostic port,
/// DMA page registers.
const KNOWN_ABSENT: &[(u64, u64)] = &[(0x2e8, 8), (0x2f8, 8), (0x3e8, 8), (0x80, 16)];

/// Why the board could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BoardError {
    #[error("cannot start the console")]
    Console(#[source] io::Error),
    #[error("KVM refused interrupt line {gsi}")]
    Line { gsi: u32, source: io::Error },
    #[error("the board's address map is wrong")]
    Map(#[from] BusError),
    #[error(transparent)]
    Pci(#[from] pci::bus::AttachError),
}

/// The parts that the rest of the machine speaks to.
pub struct Board {
    /// Where devices go.
    pub slots: Slots,
    /// Asks the guest to power off.
    pub power_button: PowerButton,
    /// Types for the guest.
    pub keyboard: Arc<I8042>,
    /// Interrupt lines of all that.
    pub lines: Lines,
    /// Tells the guest when it is another machine.
    pub generation: Generation,
    serial: Arc<Serial>,
    clock: Arc<Rtc>,
}

/// A part that has a state.
trait Part {
    fn save(&self) -> Result<Saved, SaveError>;
    fn load(&self, saved: &Saved) -> Result<(), LoadError>;
}

impl<T: Snapshot> Part for T {
    fn save(&self) -> Result<Saved, SaveError> {
        self.to_saved()
    }

    fn load(&self, saved: &Saved) -> Result<(), LoadError> {
        self.load_saved(saved)
    }
}

impl Board {
    /// What ACPI must know; the rest differs from machine to machine.
    pub const FACTS: BoardFacts = BoardFacts {
        cpus: 1,
        pci_mmio64: None,
        virtio_mmio: 0,
        serial: true,
        keyboard: true,
        rtc: true,
    };

    /// Builds the parts and puts them on the buses; without a window for 64-bit BARs there is no PCI.
    pub fn build(
        vm: &Arc<VmFd>,
        memory: &GuestRam,
        ports: &Bus,
        mmio: &Arc<Bus>,
        pci_mmio64: Option<AddressRange>,
        console: &OpenConsole,
        ends: &Arc<Ends>,
    ) -> Result<Board, BoardError> {
        let lines = Lines::new(vm.clone());
        let line = |gsi| lines.line(gsi).map_err(|source| BoardError::Line { gsi, source });
        let events: Arc<dyn BoardEvents> = Arc::new(Report(ends.clone()));

        let com1 = Arc::new(Serial::new(line(layout::COM1_GSI)?, console.line()));
        let keyboard = Arc::new(I8042::new(line(layout::I8042_KEYBOARD_GSI)?, events.clone()));
        let power = PowerRegisters::new(POWER, events.clone());
        let reset = Arc::new(ResetControl::new(RESET_CONTROL, events));
        let (slots, pci_ports): (_, Arc<dyn BusDevice>) = match pci_mmio64 {
            Some(window) => {
                let windows = Windows {
                    low: layout::PCI_MMIO32.start..layout::PCI_MMIO32.end,
                    high: window.start..window.end,
                };
                let pci = PciBus::new(mmio.clone(), windows)?;
                mmio.insert(layout::PCI_ECAM.start, layout::PCI_ECAM.len(), pci.ecam())?;
                let pci_ports = pci.ports(reset);
                let ends = ends.clone();
                let hotplug =
                    HotPlug::new(pci, line(layout::HOTPLUG_GSI)?, Box::new(move || ends.nudge()));
                ports.insert(layout::HOTPLUG_PORT.into(), hotplug::LEN, hotplug.clone())?;
                (Slots::Pci(hotplug), pci_ports)
            }
            None => (Slots::Mmio(MmioSlots::new(lines.clone(), mmio.clone())), reset),
        };

        let clock = Arc::new(Rtc::new());
        let on_ports: [(u16, u64, Arc<dyn BusDevice>); 5] = [
            (layout::COM1_PORT, layout::COM1_PORTS.into(), com1.clone()),
            (layout::I8042_DATA_PORT, I8042_PORTS_LEN, keyboard.clone()),
            (layout::RTC_PORT, layout::RTC_PORTS.into(), clock.clone()),
            (POWER_PORTS, POWER_PORTS_LEN, Arc::new(power)),
            (layout::PCI_CONFIG_PORT, layout::PCI_CONFIG_PORTS.into(), pci_ports),
        ];
        for (port, len, device) in on_ports {
            ports.insert(port.into(), len, device)?;
        }
        for &(port, len) in KNOWN_ABSENT {
            ports.insert(port, len, Arc::new(Absent))?;
        }
        let power_button = PowerButton::new(line(layout::GED_GSI)?);
        let generation = Generation::new(memory, PLACES, line(layout::IDENTITY_GSI)?);
        Ok(Board { slots, power_button, keyboard, lines, generation, serial: com1, clock })
    }

    /// What of it has a state, by its name, in the order in which it is saved and loaded: the bus comes before the
    /// cards on it.
    fn parts(&self) -> Vec<(&'static str, &dyn Part)> {
        let mut parts: Vec<(&str, &dyn Part)> = Vec::new();
        if let Slots::Pci(hot_plug) = &self.slots {
            parts.extend([("pci", &**hot_plug.bus() as &dyn Part), ("hot-plug", &**hot_plug)]);
        }
        parts.extend([
            ("com1", &*self.serial as &dyn Part),
            ("keyboard", &*self.keyboard),
            ("clock", &*self.clock),
            ("generation", &self.generation),
        ]);
        parts
    }

    /// The names of its parts, in the order of their states.
    pub fn part_names(&self) -> Vec<String> {
        self.parts().iter().map(|(name, _)| name.to_string()).collect()
    }

    /// The states of its parts. Fails with the name of one that has none.
    pub fn save(&self) -> Result<Vec<PartState>, (&'static str, SaveError)> {
        let state = |(name, part): (&'static str, &dyn Part)| {
            let saved = part.save().map_err(|error| (name, error))?;
            Ok(PartState { id: name.to_string(), saved })
        };
        self.parts().into_iter().map(state).collect()
    }

    /// Gives its parts their states, behind the interrupt controllers and before the devices. Fails with the name of
    /// one that refuses.
    pub fn load(&self, states: &[PartState]) -> Result<(), (&'static str, LoadError)> {
        let mut parts = self.parts().into_iter().zip(states);
        parts.try_for_each(|((name, part), state)| {
            part.load(&state.saved).map_err(|error| (name, error))
        })
    }

    /// Lets `console`, which it was built with, carry bytes: from now on the serial port has input. A port that is
    /// to be given a state has it by then, as that would take the place of what came before.
    pub fn connect(
        &self,
        console: OpenConsole,
        threads: &Threads,
        ends: &Arc<Ends>,
    ) -> Result<Console, BoardError> {
        let quit = ends.clone();
        console
            .start(self.serial.clone(), threads.slow(), move || quit.report(End::Quit))
            .map_err(BoardError::Console)
    }
}

/// What a guest does to its whole machine goes to the main thread.
struct Report(Arc<Ends>);

impl BoardEvents for Report {
    fn guest_off(&self) {
        self.0.report(End::GuestOff);
    }

    fn guest_reset(&self) {
        self.0.report(End::GuestReset);
    }
}

#[cfg(test)]
#[path = "board_test.rs"]
mod tests;
