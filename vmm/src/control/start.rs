//! How a machine begins: it is built, told of and heard, and shut in before its guest runs.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use devices::balloon::{BalloonEvent, PAGES_PER_MIB};
use devices::memory::MemoryEvent;

use super::builder::Builder;
use super::{Controller, Walls};
use crate::action::ActionError;
use crate::end::End;
use crate::observe::events::{Event, Events, Ready};
use crate::vm::Vm;
use crate::vm::config::Config;
use crate::vm::metadata;
use crate::vm::nic::Nic;
use crate::vm::root;

impl Controller {
    /// Builds the machine that is configured, and has its guest run. Fails if it cannot be built.
    pub(super) fn start(&mut self) -> Result<(), ActionError> {
        let spec = self.config.to_spec().ok_or(ActionError::NoKernel)?;
        if let Some(last) = root::last_of_several(spec.boot.cmdline()) {
            tracing::warn!("the kernel's command line has more than one root=: it takes {last}");
        }
        let vm = Vm::build(&spec, &self.ends).map_err(|error| {
            // What parts of it reported is no end of a machine.
            self.ends.take();
            ActionError::Build(Box::new(error))
        })?;
        self.adopt(vm)?;
        if !self.shut_in() {
            return Ok(());
        }
        if let Some(vm) = &mut self.vm {
            vm.resume().expect("a machine that was just built can run");
        }
        self.events.tell(&Event::Started);
        if self.manners.metrics.at_start {
            self.write_metrics();
        }
        Ok(())
    }

    /// Makes a machine that was just built ours: it is told of, and heard.
    pub(super) fn adopt(&mut self, vm: Vm) -> Result<(), ActionError> {
        let Config { metadata, imds, .. } = &self.config;
        let (metadata, imds) = (metadata.as_ref(), imds.as_ref());
        let serving = metadata::serve(&self.id, metadata, imds, &self.metadata, vm.nics())?;
        self.serving = serving.map(Arc::new);
        let vm = self.vm.insert(vm);
        vm.nics().iter().for_each(|nic| tell_of(nic, &self.events));
        let started = Instant::now();
        if let Some(vsock) = vm.vsock() {
            let ready = ready(self.events.clone(), Ready::Vsock, started);
            vsock.on_first_connection(Box::new(ready));
        }
        if let Some(timer) = vm.boot_timer() {
            timer.on_report(Box::new(ready(self.events.clone(), Ready::BootTimer, started)));
        }
        if let Some(balloon) = vm.balloon() {
            let events = self.events.clone();
            balloon.set_listener(Some(Box::new(move |BalloonEvent::Reached { pages }| {
                events.tell(&Event::BalloonReached { amount_mib: pages / PAGES_PER_MIB });
            })));
        }
        if let Some(memory) = vm.hot_memory() {
            let events = self.events.clone();
            memory.set_listener(Some(Box::new(move |MemoryEvent::Reached { bytes }| {
                events.tell(&Event::MemoryReached { plugged_size_mib: bytes >> 20 });
            })));
        }
        Ok(())
    }

    /// Shuts all threads in, before the guest runs. Whether that is done; if not, the machine ends.
    pub(super) fn shut_in(&mut self) -> bool {
        self.seal_zygote();
        let Some(vm) = &self.vm else { return false };
        let Walls { shield, late, .. } = &self.walls;
        let shut = || -> io::Result<Option<Builder>> {
            let may_plug = vm.can_plug() && late.is_asked;
            late.seal(&self.config, may_plug)?;
            if let (Some(vsock), Some(broker)) = (vm.vsock(), &late.broker) {
                vsock.dial_by(broker.clone());
            }
            let may_come = may_plug && !shield.leaves_main();
            let builder = may_come.then(|| Builder::start(shield)).transpose()?;
            vm.shut(shield)?;
            shield.shut_main()?;
            Ok(builder)
        };
        match shut() {
            Ok(builder) => {
                self.builder = builder;
                true
            }
            Err(source) => {
                // Threads that are shut in can neither run a guest without the others nor be let out again.
                self.ends.report(End::NotShut { source });
                false
            }
        }
    }
}

/// Has followers hear of what happens to a card.
pub fn tell_of(nic: &Nic, events: &Arc<Events>) {
    let (id, events) = (nic.control.id().to_string(), events.clone());
    nic.control.set_listener(Some(Box::new(move |event| events.tell_of_nic(&id, &event))));
}

/// Tells that the guest is up.
fn ready(events: Arc<Events>, by: Ready, started: Instant) -> impl FnOnce() + Send {
    move || {
        let since_start_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        events.tell(&Event::AgentReady { by, since_start_us });
    }
}
