//! The main thread: does what is asked of the machine, waits for whatever ends it, and says why it
//! ended.

pub mod arrivals;
mod builder;
mod forks;
mod images;
pub mod late;
mod later;
mod migrations;
mod plugging;
mod snapshots;
mod unplug;

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::Instant;

use device_core::worker::EventSet;
use devices::DeviceSpec;
use devices::balloon::{BalloonEvent, PAGES_PER_MIB};
use devices::block::spec::DiskSpec;
use devices::legacy::KeyboardNotReady;
use devices::memory::MemoryEvent;
use devices::net::service::store::{Store, StoreError};
use event_manager::{EventManager, EventOps, Events as Ready, MutEventSubscriber, SubscriberOps};

use self::builder::Builder;
use self::late::Late;
use self::later::{Flap, HeldKeys, LastDay, Migration, Reminder};
use self::unplug::Unplugs;
use crate::action::{Action, ActionError, Call, Instance, Mailbox, Outcome, Reply};
use crate::end::{End, Ends, Leave};
use crate::fork::zygote::Zygote;
use crate::observe::events::{DiskEvent, Event, Events, Ready as ReadyBy};
use crate::observe::logger::Log;
use crate::observe::metrics::{Figures, MetricsFile, Shape, StartTimes};
use crate::observe::requests::Requests;
use crate::shield::Shield;
use crate::signals::Signals;
use crate::snapshot::lineage::Lineage;
use crate::vm::Vm;
use crate::vm::balloon::{self, BalloonAsk, BalloonError, BalloonReply};
use crate::vm::config::Config;
use crate::vm::disk::{self, DiskAsk, DiskReply, DiskView};
use crate::vm::hot_memory::{self, HotMemoryAsk, HotMemoryError};
use crate::vm::memory_report::MemoryReport;
use crate::vm::metadata::{self, MetadataAsk, MetadataError, Serving};
use crate::vm::nic::{Nic, NicAsk, NicReply};
use crate::vm::patch::DiskPatch;
use crate::vm::root;
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
            Action::LimitPmem(id, patch) => {
                let mut pmems = self.vm.iter().flat_map(Vm::pmems);
                let pmem = pmems.find(|pmem| pmem.name() == id);
                let pmem = pmem.ok_or(ActionError::NoSuchPmem(id))?;
                pmem.limit(patch.apply(pmem.limits()));
            }
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
            Action::ShowVsock => {
                let vsock = self.vm.as_ref().and_then(Vm::vsock).ok_or(ActionError::NoVsock)?;
                return Ok(Reply::Vsock(Box::new(vsock.view())));
            }
            Action::OfMetadata(ask) => return self.ask_metadata(ask),
            Action::OfBalloon(ask) => return self.ask_balloon(ask),
            Action::OfHotMemory(ask) => return self.ask_hot_memory(ask),
            Action::ShowMemory => {
                let balloon = self.vm.as_ref().and_then(Vm::balloon);
                let hot = self.vm.as_ref().and_then(Vm::hot_memory);
                let memory = self.config.machine.memory;
                return Ok(Reply::Memory(MemoryReport::now(memory, balloon, hot)));
            }
            Action::Unplug(kind, id) => {
                if let Some(asked) = self.begin_unplug(kind, &id)? {
                    // Who calls so is told no more.
                    self.unplugs.begin(asked, Instant::now(), Box::new(drop));
                }
            }
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

    fn start(&mut self) -> Result<(), ActionError> {
        let spec = self.config.to_spec().ok_or(ActionError::NoKernel)?;
        if let Some(last) = root::last_of_several(spec.boot.cmdline()) {
            tracing::warn!("the kernel's command line has more than one root=: it takes {last}");
        }
        let vm = Vm::build(&spec, &self.ends).map_err(|error| {
            // What parts of it reported is no end of a machine.
            self.ends.take();
            ActionError::Build(Box::new(error))
        })?;
        self.config.settle();
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
    fn adopt(&mut self, vm: Vm) -> Result<(), ActionError> {
        let Config { metadata, imds, .. } = &self.config;
        let (metadata, imds) = (metadata.as_ref(), imds.as_ref());
        let serving = metadata::serve(&self.id, metadata, imds, &self.metadata, vm.nics())?;
        self.serving = serving.map(Arc::new);
        let vm = self.vm.insert(vm);
        vm.nics().iter().for_each(|nic| tell_of(nic, &self.events));
        let started = Instant::now();
        if let Some(vsock) = vm.vsock() {
            let ready = ready(self.events.clone(), ReadyBy::Vsock, started);
            vsock.on_first_connection(Box::new(ready));
        }
        if let Some(timer) = vm.boot_timer() {
            timer.on_report(Box::new(ready(self.events.clone(), ReadyBy::BootTimer, started)));
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
    fn shut_in(&mut self) -> bool {
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

    fn show_disks(&self, id: Option<String>) -> Outcome {
        let mut disks = self.live_config().disks;
        if let Some(id) = id {
            disks.retain(|spec| spec.id == id);
            if disks.is_empty() {
                return Err(ActionError::NoSuchDisk(id));
            }
        }
        let view = |spec: DiskSpec| {
            let mut live = self.vm.iter().flat_map(Vm::disks);
            let state = live.find(|disk| disk.id() == spec.id).map(|disk| disk.inspect());
            DiskView { spec, state }
        };
        Ok(Reply::Disks(disks.into_iter().map(view).collect()))
    }

    fn ask_disk(&self, id: String, ask: DiskAsk) -> Outcome {
        let mut disks = self.vm.iter().flat_map(Vm::disks);
        let Some(disk) = disks.find(|disk| disk.id() == id) else {
            return Err(ActionError::NoSuchDisk(id));
        };
        if let DiskAsk::Change(DiskPatch { path: Some(path), bases, .. }) = &ask {
            self.live_config().check_replaced(&id, path, bases)?;
        }
        let before = disk.inspect();
        let injected = match ask {
            DiskAsk::Inject(fault) => Some(fault),
            _ => None,
        };
        let reply = match disk::answer(&**disk, ask, self.walls.late.files()) {
            Ok(reply) => reply,
            Err(source) => return Err(ActionError::Disk { id, source }),
        };
        let now = disk.inspect();
        let (path, size) = (now.path.display().to_string(), now.size);
        if before.path != now.path || before.size != now.size {
            self.events.tell_of_disk(&id, &DiskEvent::Image { path, size });
        }
        if let Some(fault) = injected {
            self.events.tell_of_disk(&id, &DiskEvent::Fault { fault });
        }
        Ok(match reply {
            DiskReply::Done => Reply::Done,
            reply => Reply::Disk(reply),
        })
    }

    fn ask_nic(&self, id: String, ask: NicAsk) -> Outcome {
        let mut nics = self.vm.iter().flat_map(Vm::nics);
        let Some(nic) = nics.find(|nic| nic.control.id() == id) else {
            return Err(ActionError::NoSuchNic(id));
        };
        match nic.answer(ask, self.walls.late.files()) {
            Ok(NicReply::Done) => Ok(Reply::Done),
            Ok(reply) => Ok(Reply::Nic(reply)),
            Err(source) => Err(ActionError::Nic { id, source }),
        }
    }

    fn ask_metadata(&self, ask: MetadataAsk) -> Outcome {
        let reached = self.config.metadata.is_some() || self.config.imds.is_some();
        if self.vm.is_some() && !reached {
            return Err(MetadataError::from(StoreError::NotInitialized).into());
        }
        let content = metadata::answer(&self.metadata, ask)?;
        Ok(content.map_or(Reply::Done, Reply::Metadata))
    }

    fn ask_balloon(&self, ask: BalloonAsk) -> Outcome {
        let Some(spec) = &self.config.balloon else { return Err(BalloonError::None.into()) };
        let memory = self.config.most_memory();
        let reply = match (self.vm.as_ref().and_then(Vm::balloon), ask) {
            (Some(balloon), ask) => balloon::answer(spec, balloon, memory, ask)?,
            (None, BalloonAsk::Describe) => BalloonReply::Spec(spec.clone()),
            (None, _) => return Err(BalloonError::None.into()),
        };
        if let BalloonAsk::SetAmount(amount_mib) = ask {
            self.events.tell(&Event::BalloonTarget { amount_mib });
        }
        Ok(match reply {
            BalloonReply::Done => Reply::Done,
            reply => Reply::Balloon(reply),
        })
    }

    fn ask_hot_memory(&self, ask: HotMemoryAsk) -> Outcome {
        let memory = self.vm.as_ref().and_then(Vm::hot_memory).ok_or(HotMemoryError::None)?;
        if let HotMemoryAsk::Request(mib) = ask {
            memory.request(mib).map_err(HotMemoryError::from)?;
            self.events.tell(&Event::MemoryTarget { requested_size_mib: mib });
            return Ok(Reply::Done);
        }
        Ok(Reply::HotMemory(hot_memory::view(memory)))
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
        let (kind, id) = match action {
            Action::Unplug(kind, id) if !self.is_migrating() => (kind, id),
            Action::Migrate(spec) => return self.migrate(spec, reply),
            action => return reply(self.act(action)),
        };
        match self.begin_unplug(kind, &id) {
            Ok(Some(asked)) => self.unplugs.begin(asked, Instant::now(), reply),
            Ok(None) => reply(Ok(Reply::Done)),
            Err(error) => reply(Err(error)),
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

/// Has followers hear of what happens to a card.
fn tell_of(nic: &Nic, events: &Arc<Events>) {
    let (id, events) = (nic.control.id().to_string(), events.clone());
    nic.control.set_listener(Some(Box::new(move |event| events.tell_of_nic(&id, &event))));
}

/// Tells that the guest is up.
fn ready(events: Arc<Events>, by: ReadyBy, started: Instant) -> impl FnOnce() + Send {
    move || {
        let since_start_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        events.tell(&Event::AgentReady { by, since_start_us });
    }
}

/// Waits for any of a few descriptors.
struct Wait(EventManager<Sources>);

impl Wait {
    fn on(fds: Vec<RawFd>) -> io::Result<Wait> {
        let mut manager = EventManager::new().map_err(to_io)?;
        let id = manager.add_subscriber(Sources { fds, refused: None });
        match manager.subscriber_mut(id).map_err(to_io)?.refused.take() {
            Some(refused) => Err(to_io(refused)),
            None => Ok(Wait(manager)),
        }
    }

    fn until(&mut self, deadline: Option<Instant>) -> io::Result<()> {
        let wait = deadline.map_or(-1, |deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            i32::try_from(left.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX)
        });
        self.0.run_with_timeout(wait).map(drop).map_err(to_io)
    }
}

fn to_io(error: event_manager::Error) -> io::Error {
    io::Error::other(error.to_string())
}

struct Sources {
    fds: Vec<RawFd>,
    refused: Option<event_manager::Error>,
}

impl MutEventSubscriber for Sources {
    fn init(&mut self, ops: &mut EventOps<'_>) {
        for &fd in &self.fds {
            if let Err(error) = ops.add(Ready::new_raw(fd, EventSet::IN)) {
                self.refused = Some(error);
            }
        }
    }

    /// Who waits looks at what they stand for himself.
    fn process(&mut self, _: Ready, _: &mut EventOps<'_>) {}
}

#[cfg(test)]
#[path = "control_test.rs"]
mod tests;
