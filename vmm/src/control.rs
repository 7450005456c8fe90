//! The main thread: does what is asked of the machine, waits for whatever ends it, and says why it
//! ended.

pub mod arrivals;
mod asks;
mod builder;
mod forks;
mod images;
pub mod late;
mod later;
mod migrations;
mod plugging;
mod snapshots;
mod start;
mod unplug;
mod wait;

use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Instant;

use devices::DeviceSpec;
use devices::legacy::KeyboardNotReady;
use devices::net::service::store::Store;

use self::builder::Builder;
use self::late::Late;
use self::later::{Flap, HeldKeys, LastDay, Migration, Reminder};
use self::unplug::Unplugs;
use self::wait::Wait;
use crate::action::{Action, ActionError, Call, Instance, Mailbox, Outcome, Reply};
use crate::end::{End, Ends, Leave};
use crate::fork::zygote::Zygote;
use crate::observe::events::{Event, Events};
use crate::observe::logger::Log;
use crate::observe::metrics::{Figures, MetricsFile, Shape, StartTimes};
use crate::observe::requests::Requests;
use crate::shield::Shield;
use crate::signals::Signals;
use crate::snapshot::lineage::Lineage;
use crate::vm::Vm;
use crate::vm::balloon;
use crate::vm::config::Config;
use crate::vm::metadata::Serving;
use crate::vm::state::State;

/// The one who handles actions: asks whether the state allows it, acts, answers.
pub struct Controller {
    id: String,
    config: Config,
    log: Log,
    /// What guests are told.
    metadata: Arc<Store>,
    /// How they are, once there is a machine.
    serving: Option<Arc<Serving>>,
    vm: Option<Vm>,
    ends: Arc<Ends>,
    events: Arc<Events>,
    start_times: StartTimes,
    manners: Manners,
    metrics: Option<MetricsFile>,
    held_keys: Option<HeldKeys>,
    walls: Walls,
    /// Builds what comes later, where main cannot.
    builder: Option<Builder>,
    unplugs: Unplugs,
    reminder: Option<Reminder>,
    /// Snapshots that the machine was written to, or came from.
    lineage: Option<Lineage>,
    flap: Option<Flap>,
    migration: Option<Migration>,
}

/// What the machine and its threads are shut in by.
pub struct Walls {
    /// What threads shut themselves in by.
    pub shield: Arc<Shield>,
    /// How files are opened that are named while the guest runs.
    pub late: Late,
    /// Who starts children of the machine, if anybody does.
    pub zygote: Option<Zygote>,
}

/// What the main thread listens to.
pub struct Hearing {
    wait: Wait,
    mailbox: Option<Arc<Mailbox>>,
    signals: Signals,
}

/// What a controller tells others, and how.
pub struct Manners {
    /// Lines of metrics.
    pub metrics: Shape,
    /// What clients of the API have asked for.
    pub requests: Arc<Requests>,
    /// How the process ends after the machine.
    pub leave: fn(&End) -> Leave,
}

impl Controller {
    /// A machine called `id` that has only its `config`.
    pub fn new(
        id: String,
        config: Config,
        log: Log,
        events: Arc<Events>,
        start_times: StartTimes,
        manners: Manners,
        walls: Walls,
    ) -> io::Result<Self> {
        let ends = Ends::new()?;
        let metadata = Arc::new(Store::new(config.metadata_limit));
        Ok(Controller {
            id,
            config,
            log,
            metadata,
            serving: None,
            vm: None,
            ends,
            events,
            start_times,
            manners,
            metrics: None,
            held_keys: None,
            walls,
            builder: None,
            unplugs: Unplugs::default(),
            reminder: None,
            lineage: None,
            flap: None,
            migration: None,
        })
    }

    fn state(&self) -> State {
        self.vm.as_ref().map_or(State::Configuring, Vm::state)
    }

    /// Does one thing. An error means that nothing has changed.
    pub fn act(&mut self, action: Action) -> Outcome {
        action.allowed_in(self.state())?;
        self.check_migration(&action)?;
        match action {
            Action::SetMachine(machine) => self.config.set_machine(machine)?,
            Action::PatchMachine(patch) => {
                self.config.set_machine(patch.apply(&self.config.machine))?;
            }
            Action::SetTemplate(template) => self.config.set_template(template),
            Action::SetBoot(boot) => self.config.set_boot(boot)?,
            Action::SetSerial(serial) => self.config.serial = serial,
            Action::SetDisk(disk) => self.add(DeviceSpec::Disk(*disk))?,
            Action::SetSeed(seed) => self.config.set_seed(seed.disk(&self.id)?)?,
            Action::SetNic(nic) => self.add(DeviceSpec::Nic(*nic))?,
            Action::SetVsock(vsock) => self.config.set_vsock(vsock)?,
            Action::SetMetadata(spec) => self.config.set_metadata(spec)?,
            Action::SetPmem(pmem) => self.add(DeviceSpec::Pmem(*pmem))?,
            Action::LimitPmem(id, patch) => return self.limit_pmem(id, &patch),
            Action::SetBalloon(balloon) => self.config.set_balloon(balloon)?,
            Action::SetEntropy(wish) => self.config.set_entropy(wish)?,
            Action::SetHotMemory(spec) => self.config.set_hot_memory(spec)?,
            Action::SetLog(log) => self.log.set(&log)?,
            Action::SetMetrics(path) => {
                self.metrics = Some(MetricsFile::open(&path, Instant::now())?);
            }
            Action::FlushMetrics => {
                if self.metrics.is_none() {
                    return Err(ActionError::NoMetrics);
                }
                self.write_metrics();
            }
            Action::Start => self.start()?,
            Action::CreateSnapshot(spec) => self.create_snapshot(&spec)?,
            Action::LoadSnapshot(spec) => self.load_snapshot(*spec)?,
            Action::Fork(spec) => return self.fork(&spec),
            Action::BeBorn(newborn) => self.be_born(*newborn)?,
            Action::Migrate(spec) => self.migrate(spec, Box::new(drop)),
            Action::StopMigration => self.stop_migration()?,
            Action::Arrive(arrival) => self.arrive(*arrival)?,
            Action::Pause => self.pause(),
            Action::Resume => {
                self.take_images_back()?;
                self.resume();
            }
            Action::PressPowerButton => self.press_power_button(),
            Action::PressCtrlAltDel => self.press_ctrl_alt_del()?,
            Action::Reset => self.ends.report(End::ResetByUser),
            Action::Kill => self.ends.report(End::Killed),
            Action::ShowDisks(id) => return self.show_disks(id),
            Action::OfDisk(id, ask) => return self.ask_disk(id, *ask),
            Action::OfNic(id, ask) => return self.ask_nic(id, *ask),
            Action::ShowVsock => return self.show_vsock(),
            Action::OfMetadata(ask) => return self.ask_metadata(ask),
            Action::OfBalloon(ask) => return self.ask_balloon(ask),
            Action::OfHotMemory(ask) => return self.ask_hot_memory(ask),
            Action::ShowMemory => return self.show_memory(),
            // Who calls so is told no more than that the guest is asked.
            Action::Unplug(kind, id) => self.unplug_some_time(kind, &id)?,
            Action::ShowDevices => {
                let devices = self.vm.as_ref().map(Vm::devices).unwrap_or_default();
                return Ok(Reply::Devices(devices));
            }
            Action::Describe => return Ok(Reply::Instance(self.instance())),
            Action::ShowFigures => {
                return Ok(Reply::Figures(self.instance(), Box::new(self.figures())));
            }
            Action::ShowConfig => return Ok(Reply::Config(Box::new(self.live_config()))),
        }
        Ok(Reply::Done)
    }

    fn instance(&self) -> Instance {
        Instance { id: self.id.clone(), state: self.state(), shield: self.walls.shield.state() }
    }

    /// What was asked for, as far as it is still so: limits of cards and disks, images, and the balloon's amount,
    /// are what these say.
    fn live_config(&self) -> Config {
        let mut config = self.config.clone();
        for disk in self.vm.iter().flat_map(Vm::disks) {
            let now = disk.inspect();
            if let Some(spec) = config.disks.iter_mut().find(|spec| spec.id == now.id) {
                (spec.path, spec.bases, spec.limits) = (now.path, now.bases, now.limits);
            }
        }
        for nic in self.vm.iter().flat_map(Vm::nics) {
            let id = nic.control.id();
            if let Some(spec) = config.nics.iter_mut().find(|spec| spec.id == id) {
                spec.limits = nic.control.allowed();
                spec.outside = nic.control.outside();
            }
        }
        for pmem in self.vm.iter().flat_map(Vm::pmems) {
            if let Some(spec) = config.pmems.iter_mut().find(|spec| spec.id == pmem.name()) {
                spec.limits = pmem.limits();
            }
        }
        if let (Some(spec), Some(live)) =
            (&mut config.balloon, self.vm.as_ref().and_then(Vm::balloon))
        {
            *spec = balloon::live(spec, live);
        }
        if let Some(live) = self.vm.as_ref().and_then(Vm::hot_memory) {
            config.hot_memory = Some(live.spec());
        }
        config
    }

    fn figures(&self) -> Figures {
        let mut figures = Figures::empty(self.start_times);
        figures.requests = self.manners.requests.counts();
        figures.deprecated_requests = self.manners.requests.deprecated();
        if let Some(vm) = &self.vm {
            vm.figures(&mut figures);
        }
        figures
    }

    fn write_metrics(&mut self) {
        let figures = self.figures();
        if let Some(metrics) = &mut self.metrics {
            metrics.write(self.manners.metrics, &figures, Instant::now());
        }
    }

    /// A paused machine stays so.
    fn pause(&mut self) {
        if self.vm.as_mut().is_some_and(|vm| vm.pause().is_ok()) {
            self.events.tell(&Event::Paused);
        }
    }

    /// A running machine goes on.
    fn resume(&mut self) {
        // Of others it can only rest.
        let is_ours = self.take_images_back().is_ok();
        if is_ours && self.vm.as_mut().is_some_and(|vm| vm.resume().is_ok()) {
            self.events.tell(&Event::Resumed);
            self.begin_flap();
        }
    }

    fn begin_flap(&mut self) {
        if let (Some(flap), Some(vm)) = (&mut self.flap, &self.vm) {
            let ids = flap.begin(Instant::now(), |id| vm.is_link_up(id));
            vm.set_links(ids, false);
        }
    }

    fn end_flap(&mut self) {
        let ids = self.flap.as_ref().and_then(|flap| flap.end(Instant::now()));
        let Some(ids) = ids else { return };
        if let Some(vm) = &self.vm {
            vm.set_links(ids, true);
        }
        self.flap = None;
    }

    /// Presses it now, or when the guest that still boots has a driver to read it.
    fn press_ctrl_alt_del(&mut self) -> Result<(), KeyboardNotReady> {
        match self.vm.as_ref().map_or(Ok(()), Vm::press_ctrl_alt_del) {
            Err(KeyboardNotReady::NotSetUp) => {
                self.held_keys = Some(HeldKeys::since(Instant::now()));
            }
            done => done?,
        }
        self.events.tell(&Event::CtrlAltDel);
        Ok(())
    }

    fn try_held_keys(&mut self) {
        let now = Instant::now();
        let (Some(held), Some(vm)) = (&mut self.held_keys, &self.vm) else { return };
        if held.is_over(now) {
            tracing::warn!("the guest has set no keyboard up: Ctrl-Alt-Del is given up");
            self.held_keys = None;
        } else if held.may_be_typed(now, vm.has_keyboard_driver())
            && vm.press_ctrl_alt_del().is_ok()
        {
            self.held_keys = None;
        }
    }

    fn press_power_button(&self) {
        if let Some(vm) = &self.vm {
            vm.press_power_button();
            self.events.tell(&Event::PowerButton);
        }
    }

    /// Begins to listen to `signals`, to `mailbox`, and to the machine's end. Fails if the host has no descriptor
    /// left.
    pub fn hearing(&self, mailbox: Option<Arc<Mailbox>>, signals: Signals) -> io::Result<Hearing> {
        let mail = mailbox.as_ref().map(|mailbox| mailbox.event().as_raw_fd());
        let fds = [self.ends.event.as_raw_fd(), signals.as_raw_fd()].into_iter().chain(mail);
        let wait = Wait::on(fds.collect())?;
        Ok(Hearing { wait, mailbox, signals })
    }

    /// Does what is asked until the machine is over, and ends it.
    ///
    /// A first signal presses the power button, and the guest has its grace to power off; a second
    /// one, or the end of the grace, ends the machine hard, as the first does without a grace. After half
    /// of it the button is pressed again: the first press is lost on a guest that still boots, and only
    /// wakes one that sleeps.
    pub fn serve(mut self, hearing: Hearing) -> io::Result<End> {
        let Hearing { mut wait, mailbox, signals } = hearing;
        let mut last_day = LastDay::default();
        let end = loop {
            if let Some(end) = self.ends.take().or_else(|| last_day.is_over(Instant::now())) {
                break end;
            }
            let due = self.metrics.as_ref().map(MetricsFile::due);
            let keys = self.held_keys.as_ref().map(HeldKeys::due);
            let unplugs = self.unplugs.due();
            let reminder = self.reminder.as_ref().and_then(Reminder::due);
            let flap = self.flap.as_ref().and_then(Flap::due);
            let step = self.is_migrating().then(Instant::now);
            let dues = last_day
                .deadline()
                .into_iter()
                .chain(due)
                .chain(keys)
                .chain(unplugs)
                .chain(reminder)
                .chain(flap)
                .chain(step);
            wait.until(dues.min())?;
            self.try_held_keys();
            self.settle_unplugs();
            self.remind();
            self.end_flap();
            if due.is_some_and(|due| due <= Instant::now()) {
                self.write_metrics();
            }
            if last_day.is_half_over(Instant::now())
                && let Some(vm) = &self.vm
            {
                tracing::info!("the guest still runs: pressing its power button again");
                vm.press_power_button();
            }
            // Readiness only: what they stand for is taken below.
            let _ = self.ends.event.read();
            while let Some(number) = signals.next() {
                match number {
                    libc::SIGTSTP => self.stop_process(&signals),
                    libc::SIGCONT => self.vm.iter().for_each(Vm::take_terminal),
                    _ => self.heed(number, &mut last_day),
                }
            }
            if let Some(mailbox) = &mailbox {
                let _ = mailbox.event().read();
                mailbox.take().into_iter().for_each(|call| self.answer(call));
            }
            // Last: what ends the machine here is looked at before anything else is done.
            self.step_migration();
        };
        self.finish(&end);
        mailbox.iter().for_each(|mailbox| mailbox.close());
        Ok(end)
    }

    /// Does what a call asks for. What the guest has to agree to is answered later.
    fn answer(&mut self, call: Call) {
        let Call { action, reply } = call;
        match action {
            Action::Unplug(kind, id) if !self.is_migrating() => self.unplug(kind, &id, reply),
            Action::Migrate(spec) => self.migrate(spec, reply),
            action => reply(self.act(action)),
        }
    }

    /// Stops with the terminal as its shell expects it.
    fn stop_process(&self, signals: &Signals) {
        self.vm.iter().for_each(Vm::give_terminal_back);
        signals.stop_process();
        self.vm.iter().for_each(Vm::take_terminal);
    }

    fn heed(&mut self, number: i32, last_day: &mut LastDay) {
        if self.vm.is_none() || last_day.began() || self.config.grace.is_zero() {
            self.ends.report(End::Signal(number));
            return;
        }
        tracing::info!("signal {number}: pressing the guest's power button");
        last_day.begin(number, Instant::now(), self.config.grace);
        // A guest that rests cannot power off.
        self.resume();
        self.press_power_button();
    }

    fn finish(&mut self, end: &End) {
        self.unplugs.give_up();
        self.give_migration_up();
        self.write_metrics();
        match self.vm.take() {
            // Its threads may wait for memory, and would be waited for.
            Some(vm) if end.has_lost_pages() => std::mem::forget(vm),
            Some(vm) => {
                if let Err(error) = vm.stop(end.event()) {
                    tracing::error!("{error}");
                }
            }
            None => {}
        }
        let reason = end.to_string();
        let exit_code = (self.manners.leave)(end).code();
        self.events.tell(&Event::Stopped { reason, exit_code });
        self.events.close();
    }
}

#[cfg(test)]
#[path = "control_test.rs"]
mod tests;
