//! What a controller does about a machine that goes on in another process.
//!
//! Memory goes in turns of the main loop, so that signals and requests are heard meanwhile; what is left in the end goes
//! at once, while the machine rests.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use devices::net::spec::BackendSpec;

use super::Controller;
use super::later::Migration;
use crate::action::{Action, ActionError, Outcome, Reply};
use crate::dialect::full;
use crate::end::End;
use crate::memory::whole;
use crate::migration::address::Address;
use crate::migration::error::MigrateError;
use crate::migration::line::Line;
use crate::migration::machine::Machine;
use crate::migration::outgoing::{Outgoing, Stage, milliseconds};
use crate::migration::rounds::Next;
use crate::migration::spec::MigrateSpec;
use crate::migration::tls::session::Session;
use crate::migration::view::Migrated;
use crate::migration::words::{self, Kind, WireError};
use crate::observe::events::Event;
use crate::snapshot::kept::Kept;
use crate::vm::Vm;
use crate::vm::config::Config;
use crate::vm::saved::MachineState;
use crate::vm::state::State;

/// For how long memory goes until others have their turn.
const TURN: Duration = Duration::from_millis(10);
/// How long a target may take to be reached, and then to show who it is.
const REACH: Duration = Duration::from_secs(10);
/// How long a target that failed may keep the locks on images.
const LOCKS: Duration = Duration::from_secs(40);
/// Between two looks at them.
const GLANCE: Duration = Duration::from_millis(50);

/// Takes the outcome.
type Waiting = Box<dyn FnOnce(Outcome) + Send>;

impl Controller {
    /// Whether a migration is under way.
    pub(super) fn is_migrating(&self) -> bool {
        self.migration.is_some()
    }

    /// Whether an action can be done beside a migration that is under way. Fails if not.
    pub(super) fn check_migration(&self, action: &Action) -> Result<(), ActionError> {
        match self.is_migrating() && action.disturbs_migration() {
            false => Ok(()),
            true => {
                let why = "the machine is being migrated";
                Err(ActionError::NotNow { action: action.name(), why, state: self.state() })
            }
        }
    }

    /// Begins to migrate the machine; `reply` is told what becomes of it.
    pub(super) fn migrate(&mut self, spec: MigrateSpec, reply: Waiting) {
        match self.begin_migration(spec) {
            Ok(outgoing) => self.migration = Some(Migration { outgoing, reply }),
            Err(error) => reply(Err(error)),
        }
    }

    /// Nothing has been sent when this fails, and nothing is different.
    fn begin_migration(&mut self, spec: MigrateSpec) -> Result<Outgoing, ActionError> {
        let action = Action::Migrate(spec.clone());
        action.allowed_in(self.state())?;
        self.check_migration(&action)?;
        if let (Address::Tcp(_), false) = (&spec.destination, spec.is_insecure) {
            return Err(MigrateError::Insecure(spec.destination).into());
        }
        let session = self.session_for(&spec)?;
        let config = self.live_config();
        let vm = self.vm.as_ref().ok_or(MigrateError::Ending)?;
        check_parts(vm, &config)?;
        let broker = self.walls.late.broker.as_ref().ok_or(MigrateError::NoBroker)?;
        let socket = broker.connect(&spec.destination).map_err(|source| {
            let to = spec.destination.clone();
            MigrateError::Connect { to, source }
        })?;
        Ok(Outgoing::new(spec, Line::new(socket, session)))
    }

    /// TLS with the target, if that is how the machine is to go.
    fn session_for(&self, spec: &MigrateSpec) -> Result<Option<Session>, MigrateError> {
        let Address::Tls(address) = &spec.destination else { return Ok(None) };
        let unnamed = || MigrateError::Unnamed(spec.destination.clone());
        let credentials = self.walls.late.credentials.as_ref().ok_or_else(unnamed)?;
        let name = spec.target_name.clone().unwrap_or_else(|| address.ip().into());
        credentials.to_target(name).map(Some).map_err(MigrateError::Tls)
    }

    /// Does a little of a migration that is under way.
    pub(super) fn step_migration(&mut self) {
        let Some(Migration { mut outgoing, reply }) = self.migration.take() else { return };
        match self.advance(&mut outgoing) {
            Ok(None) => self.migration = Some(Migration { outgoing, reply }),
            Ok(Some(told)) => {
                let (downtime_ms, total_ms) = (told.downtime_ms, told.total_ms);
                let destination = outgoing.spec.destination.to_string();
                tracing::info!(
                    "the machine runs at {destination}: it rested for {downtime_ms} ms, all in {total_ms} ms"
                );
                self.events.tell(&Event::Migrated { destination, downtime_ms, total_ms });
                reply(Ok(Reply::Migrated(Box::new(told))));
            }
            // The end of the process tells of it.
            Err(error @ MigrateError::Parted(_)) => reply(Err(error.into())),
            Err(error) => self.stay(outgoing, reply, error),
        }
    }

    /// The machine stays here.
    fn stay(&mut self, mut outgoing: Outgoing, reply: Waiting, error: MigrateError) {
        let line = crate::words::one_line(None, &error);
        outgoing.line.stay(&line);
        if let Some(vm) = &mut self.vm {
            vm.end_tracking();
        }
        tracing::warn!("the machine is not migrated, and stays here: {line}");
        self.events.tell(&Event::MigrationFailed { why: line });
        reply(Err(error.into()));
    }

    /// Gives a migration up that is under way. Fails if there is none.
    pub(super) fn stop_migration(&mut self) -> Result<(), ActionError> {
        let Some(Migration { outgoing, reply }) = self.migration.take() else {
            let (action, why) = ("stopping a migration", "there is none");
            return Err(ActionError::NotNow { action, why, state: self.state() });
        };
        self.stay(outgoing, reply, MigrateError::Stopped);
        Ok(())
    }

    /// The machine ends: it goes nowhere.
    pub(super) fn give_migration_up(&mut self) {
        if let Some(Migration { mut outgoing, reply }) = self.migration.take() {
            let ending = MigrateError::Ending;
            outgoing.line.stay(&ending.to_string());
            reply(Err(ending.into()));
        }
    }

    fn advance(&mut self, outgoing: &mut Outgoing) -> Result<Option<Migrated>, MigrateError> {
        let until = Instant::now() + TURN;
        match outgoing.stage {
            Stage::Connecting if outgoing.line.is_settled() => {
                outgoing.line.await_answer();
                outgoing.stage = Stage::Meeting(Instant::now());
            }
            Stage::Connecting if outgoing.line.rests_for() > REACH => {
                let source = std::io::ErrorKind::TimedOut.into();
                let to = outgoing.spec.destination.clone();
                return Err(MigrateError::Connect { to, source });
            }
            Stage::Connecting => {}
            Stage::Meeting(since) => {
                if meet(outgoing, until)? {
                    self.greet(outgoing)?;
                    outgoing.stage = Stage::Greeting;
                } else if since.elapsed() > REACH {
                    return Err(WireError::Silent.into());
                }
            }
            Stage::Greeting => {
                if outgoing.line.send(until)? && hears(outgoing, Kind::Welcome, until)? {
                    let vm = self.vm.as_ref().ok_or(MigrateError::Ending)?;
                    outgoing.begin_round(&vm.pages_with_something());
                    outgoing.stage = Stage::Sending;
                }
            }
            Stage::Sending => {
                // Nothing, unless it gives up.
                hears(outgoing, Kind::Welcome, Instant::now())?;
                let vm = self.vm.as_mut().ok_or(MigrateError::Ending)?;
                if outgoing.send_pages(vm.ram(), until)? {
                    next_round(vm, outgoing)?;
                }
            }
            Stage::Preparing => {
                let until = until.max(Instant::now() + GLANCE);
                if outgoing.line.send(until)? && hears(outgoing, Kind::Prepared, until)? {
                    return self.hand_over(outgoing).map(Some);
                }
            }
        }
        Ok(None)
    }

    /// Tells the target which machine is to come, and has pages be tracked from then on.
    fn greet(&mut self, outgoing: &mut Outgoing) -> Result<(), MigrateError> {
        let (config, kept) = self.what_it_is()?;
        let vm = self.vm.as_mut().ok_or(MigrateError::Ending)?;
        vm.sync_disks();
        let ran = pause(vm)?;
        let began = vm.save().map_err(MigrateError::from).and_then(|state| {
            vm.begin_tracking().map_err(MigrateError::Tracking)?;
            Ok(state)
        });
        if ran && vm.resume().is_err() {
            return Err(MigrateError::Ending);
        }
        put_machine(vm, outgoing, Kind::Hello, (config, began?, kept, ran))?;
        outgoing.line.await_answer();
        Ok(())
    }

    /// The machine rests, and is the target's, or goes on here.
    fn hand_over(&mut self, outgoing: &mut Outgoing) -> Result<Migrated, MigrateError> {
        let vm = self.vm.as_mut().ok_or(MigrateError::Ending)?;
        // What it does not write any more in the pause.
        vm.sync_disks();
        let begun = Instant::now();
        let ran = pause(vm)?;
        if let Err(error) = self.try_hand_over(outgoing, ran) {
            let vm = self.vm.as_mut().ok_or(MigrateError::Ending)?;
            // It hears so before it is waited for.
            outgoing.line.stay(&crate::words::one_line(None, &error));
            return Err(go_on(vm, ran, error));
        }
        // The target has it, or whatever is between: here it never runs again.
        let told = outgoing.line.await_kind(Kind::Running, "that it runs");
        let vm = self.vm.as_mut().ok_or(MigrateError::Ending)?;
        if let Err(refused @ MigrateError::Refused(_)) = told {
            return Err(go_on(vm, ran, refused));
        }
        vm.part();
        let downtime_ms = if ran { milliseconds(begun) } else { 0.0 };
        let destination = outgoing.spec.destination.to_string();
        match told {
            Ok(()) => {
                self.ends.report(End::Migrated { destination });
                Ok(outgoing.told(downtime_ms))
            }
            Err(error) => {
                self.ends.report(End::Parted { destination });
                Err(match error {
                    MigrateError::Target(error) => MigrateError::Parted(error),
                    other => other,
                })
            }
        }
    }

    /// Up to the moment from which on it is the target's. Fails before that.
    fn try_hand_over(&mut self, outgoing: &mut Outgoing, ran: bool) -> Result<(), MigrateError> {
        let (config, kept) = self.what_it_is()?;
        let live = self.live_config();
        let vm = self.vm.as_mut().ok_or(MigrateError::Ending)?;
        check_parts(vm, &live)?;
        // Taking it may write to memory.
        let state = vm.save()?;
        let left = vm.take_written().map_err(MigrateError::Tracking)?;
        vm.let_disks_go();
        outgoing.begin_last_round(left);
        while !outgoing.send_pages(vm.ram(), Instant::now() + TURN)? {}
        put_machine(vm, outgoing, Kind::State, (config, state, kept, ran))?;
        outgoing.line.send_all()?;
        outgoing.line.await_kind(Kind::Loaded, "that it could run")?;
        outgoing.line.commit(Kind::LetGo)
    }

    /// What the machine is made of, and what it has in this process alone.
    fn what_it_is(&self) -> Result<(serde_json::Value, Kept), MigrateError> {
        let config = self.lasting_config();
        let kept = Kept::of(config.seed.as_deref(), &self.metadata).map_err(MigrateError::Seed)?;
        Ok((full::shown(&config)?, kept))
    }

    /// Takes the locks on images again that a migration has lost, before the machine goes on. Fails if somebody has one.
    pub(super) fn take_images_back(&self) -> Result<(), ActionError> {
        let Some(vm) = &self.vm else { return Ok(()) };
        match vm.take_disks_back() {
            Ok(None) => Ok(()),
            Ok(Some(disk)) => Err(MigrateError::Taken(disk.to_string()).into()),
            Err(error) => Err(MigrateError::Images(error).into()),
        }
    }
}

/// Whether a machine has only what it can have elsewhere too.
fn check_parts(vm: &Vm, config: &Config) -> Result<(), MigrateError> {
    let stays = |what: String, why| Err(MigrateError::Stays { what, why });
    if let Some((what, why)) = vm.stays_for() {
        return stays(what, why);
    }
    if config.hot_memory.is_some() {
        let why = "what of it is plugged is not told to the target";
        return stays("memory that can be plugged".to_string(), why);
    }
    if let Some(disk) = config.disks.iter().find(|disk| !disk.bases.is_empty()) {
        let why = "what it has is not all in its overlay's file while that is open; vmm disk flatten makes an image of it";
        return stays(format!("the overlay of disk {:?}", disk.id), why);
    }
    let given = |backend: &BackendSpec| matches!(backend, BackendSpec::Fd(_));
    if let Some(nic) = config.nics.iter().find(|nic| given(&nic.backend)) {
        let why = "its TAP was handed over as a descriptor (fd=), which has no name for the target to open";
        return stays(format!("network card {:?}", nic.id), why);
    }
    if let Some(pmem) = config.pmems.iter().find(|pmem| !pmem.read_only) {
        let why = "what is written to it is in this host's page cache alone";
        return stays(format!("persistent memory {:?}", pmem.id), why);
    }
    Ok(())
}

/// Pauses a machine; whether it ran.
fn pause(vm: &mut Vm) -> Result<bool, MigrateError> {
    let ran = vm.state() == State::Running;
    match ran && vm.pause().is_err() {
        true => Err(MigrateError::Ending),
        false => Ok(ran),
    }
}

/// What is told of a machine.
type Parts = (serde_json::Value, MachineState, Kept, bool);

fn put_machine(
    vm: &Vm,
    outgoing: &mut Outgoing,
    kind: Kind,
    (config, state, kept, runs): Parts,
) -> Result<(), MigrateError> {
    let machine = Machine::here(whole::bytes(vm.ram()), config, state, kept, runs);
    outgoing.line.put(kind, 0, &serde_json::to_vec(&machine)?)
}

/// Has pages go that were written to meanwhile, or the target get ready for the rest of them.
fn next_round(vm: &mut Vm, outgoing: &mut Outgoing) -> Result<(), MigrateError> {
    let written = vm.take_written().map_err(MigrateError::Tracking)?;
    match outgoing.end_round(written.count()) {
        Next::Round => outgoing.begin_round(&written),
        Next::Pause => {
            // They go with those that are written to until it rests.
            outgoing.keep_for_last(written);
            outgoing.line.put(Kind::Prepare, 0, &[])?;
            outgoing.line.await_answer();
            outgoing.stage = Stage::Preparing;
        }
        Next::GiveUp(needs) => {
            let limits = outgoing.spec.limits;
            let (needs_ms, most_ms) = (needs.as_millis(), limits.downtime.as_millis());
            return Err(MigrateError::TooFast { rounds: limits.rounds, needs_ms, most_ms });
        }
    }
    Ok(())
}

/// Begins to talk to the target, once both ends know each other; whether they do.
fn meet(outgoing: &mut Outgoing, until: Instant) -> Result<bool, MigrateError> {
    let to = &outgoing.spec.destination;
    let line = &mut outgoing.line;
    let met = line.shake(until).and_then(|known| {
        if known {
            line.put_bytes(&words::greeting())?;
            line.send_all()?;
        }
        Ok(known)
    });
    met.map_err(|error| not_reached(error, to))
}

/// Whether the target has said this. Fails if it says something else.
fn hears(outgoing: &mut Outgoing, wanted: Kind, until: Instant) -> Result<bool, MigrateError> {
    match outgoing.line.hear(until)? {
        None => Ok(false),
        Some(found) if found == wanted => Ok(true),
        Some(found) => Err(WireError::Unexpected { found, wanted: "that it is ready" }.into()),
    }
}

/// The target could not be reached, if that is what a failure to send is.
fn not_reached(error: MigrateError, to: &Address) -> MigrateError {
    match error {
        // Whom it reached, and who then went away, is another matter.
        MigrateError::Target(WireError::Io(source))
            if !matches!(source.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) =>
        {
            MigrateError::Connect { to: to.clone(), source }
        }
        other => other,
    }
}

/// Lets a machine go on here that was not handed over, for this reason. Tells why it is not migrated, or, if it is worse,
/// why it cannot go on.
fn go_on(vm: &mut Vm, ran: bool, why: MigrateError) -> MigrateError {
    if let Err(taken) = take_disks_back(vm) {
        tracing::error!("{}", crate::words::one_line(None, &why));
        return taken;
    }
    match ran && vm.resume().is_err() {
        true => MigrateError::Ending,
        false => why,
    }
}

/// Takes the locks on images again, which the target may have as long as it does not know that the machine stays. Fails
/// if somebody keeps one.
fn take_disks_back(vm: &Vm) -> Result<(), MigrateError> {
    let begun = Instant::now();
    loop {
        match vm.take_disks_back().map_err(MigrateError::Images)? {
            None => return Ok(()),
            Some(disk) if begun.elapsed() > LOCKS => {
                return Err(MigrateError::Taken(disk.to_string()));
            }
            Some(_) => std::thread::sleep(GLANCE),
        }
    }
}
