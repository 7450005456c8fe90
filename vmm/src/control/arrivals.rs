//! What a controller does about a machine that comes from another process.

use super::Controller;
use super::snapshots::{differing, with_seed};
use crate::action::{Action, ActionError};
use crate::dialect::file;
use crate::end::End;
use crate::memory;
use crate::migration::address::Address;
use crate::migration::carrier::Carrier;
use crate::migration::door;
use crate::migration::error::ReceiveError;
use crate::migration::incoming::{Arrival, Incoming, PATIENCE};
use crate::migration::listening::Listening;
use crate::migration::machine::Machine;
use crate::migration::spec::ReceiveSpec;
use crate::migration::tls::credentials::Credentials;
use crate::observe::events::Event;
use crate::snapshot::error::LoadError;
use crate::snapshot::spec::LoadSpec;
use crate::vm::Vm;
use crate::vm::config::Config;
use crate::vm::restore::{self, Content, GoesOn};
use crate::vm::spec::MachineSpec;
use crate::words::one_line;

/// Waits for a machine, and for its memory, before anything of it is made here, but for `config`, which is there before.
/// Returns once its source is about to pause it. Fails if it could not be here, which its source is told.
/// By TLS only somebody comes whom `credentials` believe.
pub fn receive(
    spec: ReceiveSpec,
    config: &Config,
    credentials: Option<&Credentials>,
) -> Result<Arrival, ActionError> {
    let ReceiveSpec { address, others } = spec;
    let listening = Listening::at(&address)?;
    let mut incoming = loop {
        let came = match (&address, credentials) {
            (Address::Tls(_), None) => return Err(ReceiveError::Unnamed(address).into()),
            (Address::Tls(_), Some(credentials)) => {
                door::meet(&listening, credentials).map(|(socket, session)| (socket, Some(session)))
            }
            _ => listening.accept().map(|socket| (socket, None)),
        };
        let carrier = came.and_then(|(socket, session)| Carrier::new(socket, session, PATIENCE));
        let carrier = carrier.map_err(|source| {
            let address = address.clone();
            ReceiveError::Listen { address, source }
        })?;
        match Incoming::greet(carrier) {
            Ok(incoming) => break incoming,
            // Somebody else may.
            Err(error) => door::tell("sends no machine", &error),
        }
    };
    drop(listening);
    match take_memory(&mut incoming, &others, config) {
        Ok(()) => Ok(Arrival { incoming, others }),
        Err(error) => {
            incoming.refuse(&one_line(None, &error));
            Err(error)
        }
    }
}

fn take_memory(
    incoming: &mut Incoming,
    others: &LoadSpec,
    config: &Config,
) -> Result<(), ActionError> {
    let spec = check(&incoming.machine, others, config)?;
    let ram = memory::map(spec.memory.0, spec.pages).map_err(ReceiveError::Map)?;
    Ok(incoming.take_memory(ram)?)
}

/// Looks whether a machine could be here, as far as can be told before it is; what it is like as a whole. Fails if not.
fn check(
    machine: &Machine,
    others: &LoadSpec,
    config: &Config,
) -> Result<MachineSpec, ActionError> {
    let of_config = |error: crate::dialect::BodyError| LoadError::Config(error.to_string());
    let (actions, _) = file::of_snapshot(machine.config.clone()).map_err(of_config)?;
    let mut config = config.clone();
    for action in differing(actions, others)? {
        if let Action::SetMachine(spec) = action {
            config.set_machine(spec)?;
        }
    }
    let (found, told) = (machine.memory_bytes, config.machine.memory.0);
    if found != told {
        return Err(ReceiveError::Memory { found, told }.into());
    }
    restore::check_host(&machine.state).map_err(|error| LoadError::Arrive(Box::new(error)))?;
    Ok(config.machine)
}

impl Controller {
    /// Makes the machine as the one that comes, and lets it go on as soon as it is nowhere else. If that fails the process
    /// ends.
    pub(super) fn arrive(&mut self, arrival: Arrival) -> Result<(), ActionError> {
        let Arrival { mut incoming, others } = arrival;
        match self.try_arrive(&mut incoming, others) {
            Ok(runs) => {
                // From here on it is here.
                if runs {
                    self.resume();
                }
                incoming.tell_that_it_runs();
                tracing::info!("the machine is here");
                self.events.tell(&Event::Arrived);
                Ok(())
            }
            Err(error) => {
                incoming.refuse(&one_line(None, &error));
                self.ends.report(End::NotLoaded);
                Err(error)
            }
        }
    }

    /// Whether it is to run, once it is here and nowhere else.
    fn try_arrive(
        &mut self,
        incoming: &mut Incoming,
        others: LoadSpec,
    ) -> Result<bool, ActionError> {
        let (machine, ram) = incoming.take_rest()?;
        let Machine { config, state, kept, runs, .. } = machine;
        let (mut actions, boot) =
            file::of_snapshot(config).map_err(|error| LoadError::Config(error.to_string()))?;
        let seed = with_seed(&mut actions, kept.seed)?;
        for action in differing(actions, &others)? {
            self.act(action)?;
        }
        let (found, told) = (memory::whole::bytes(&ram), self.config.machine.memory.0);
        if found != told {
            return Err(ReceiveError::Memory { found, told }.into());
        }
        self.config.machine.track_dirty_pages = others.track;
        (self.config.boot, self.config.seed) = (boot, seed);
        self.metadata.go_on(kept.metadata);
        let spec = self.config.to_spec().ok_or(LoadError::NoBoot)?;
        let how = GoesOn { advance: true, is_itself: true };
        let vm = Vm::restore(&spec, &state, Content::There(ram), how, &self.ends);
        let vm = vm.map_err(|source| {
            // What parts of it reported is no end of a machine.
            self.ends.take();
            LoadError::Arrive(Box::new(source))
        })?;
        self.adopt(vm)?;
        if !self.shut_in() {
            return Err(ActionError::Ending);
        }
        self.announce(others.identities);
        incoming.own()?;
        Ok(runs && others.resume)
    }
}
