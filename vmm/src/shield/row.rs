//! What a row of the table of system calls is made of.

use device_core::thread::Duty;

/// A kind of thread, by what it does; the broker is a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Does what is asked of the machine.
    Main,
    /// Serves the API.
    Api,
    /// Builds devices that come into a machine that runs, and starts their threads.
    Builder,
    /// Runs a vCPU.
    Vcpu,
    /// Slow devices.
    Io,
    /// Writes captures.
    Capture,
    /// Moves frames from and to a TAP.
    TapLane,
    /// The same for an interface.
    PacketLane,
    /// Lends rings to the host's kernel, and takes them back.
    VhostLane,
    /// Serves a disk's queue.
    DiskLane,
    /// Waits for the host in a disk lane's place.
    DiskHelper,
    /// Carries what guest and host say by sockets.
    Vsock,
    /// Flushes a file that is memory of the guest.
    Pmem,
    /// Brings pages of a restored machine's memory.
    Pager,
    /// Opens what is named while the guest runs.
    Broker,
}

impl Kind {
    /// All kinds, in the order in which people read of them.
    pub const ALL: [Kind; 15] = [
        Kind::Main,
        Kind::Api,
        Kind::Builder,
        Kind::Vcpu,
        Kind::Io,
        Kind::Capture,
        Kind::TapLane,
        Kind::PacketLane,
        Kind::VhostLane,
        Kind::DiskLane,
        Kind::DiskHelper,
        Kind::Vsock,
        Kind::Pmem,
        Kind::Pager,
        Kind::Broker,
    ];

    /// Kinds that threads of this one start. A thread has the filter of who started it besides its own, so that
    /// who starts it may make all of its calls.
    pub fn starts(self) -> &'static [Kind] {
        match self {
            Kind::Builder => &[Kind::TapLane, Kind::DiskLane, Kind::DiskHelper, Kind::Pmem],
            _ => &[],
        }
    }

    /// What people call it.
    #[cfg_attr(
        not(any(test, feature = "intruder", feature = "recorder")),
        expect(dead_code, reason = "read by who prints the manual's page")
    )]
    pub fn name(self) -> &'static str {
        match self {
            Kind::Main => "main",
            Kind::Api => "api",
            Kind::Builder => "builder",
            Kind::Vcpu => "vcpu",
            Kind::Io => "io",
            Kind::Capture => "capture",
            Kind::TapLane => "tap lane",
            Kind::PacketLane => "packet lane",
            Kind::VhostLane => "vhost lane",
            Kind::DiskLane => "disk lane",
            Kind::DiskHelper => "disk helper",
            Kind::Vsock => "vsock",
            Kind::Pmem => "pmem",
            Kind::Pager => "pager",
            Kind::Broker => "broker",
        }
    }
}

impl From<Duty> for Kind {
    fn from(duty: Duty) -> Kind {
        match duty {
            Duty::Io => Kind::Io,
            Duty::Capture => Kind::Capture,
            Duty::TapLane => Kind::TapLane,
            Duty::PacketLane => Kind::PacketLane,
            Duty::VhostLane => Kind::VhostLane,
            Duty::DiskLane => Kind::DiskLane,
            Duty::DiskHelper => Kind::DiskHelper,
            Duty::Vsock => Kind::Vsock,
            Duty::Pmem => Kind::Pmem,
        }
    }
}

/// A value of an argument, and its name.
pub type Value = (u32, &'static str);

/// What an argument, counted from 0, must be like. Of all but [`Check::Null`] the low 32 bits are looked at: the
/// kernel takes no more of them.
#[derive(Clone, Copy, Debug)]
pub enum Check {
    /// One of these.
    In(u8, &'static [Value]),
    /// The number of this process.
    OwnProcess(u8),
    /// 0, all 64 bits.
    Null(u8),
    /// Nothing: the call is answered as by a kernel that has none (ENOSYS), for who then does without.
    Absent,
}

/// The C library that a build is linked to: some of its functions come to other calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Library {
    Glibc,
    Musl,
}

impl Library {
    /// That of this build.
    pub const OF_BUILD: Library =
        if cfg!(target_env = "musl") { Library::Musl } else { Library::Glibc };
}

/// What a row is where the C library is musl.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WithMusl {
    Same,
    /// Of another call.
    Calls(u32),
    Missing,
    /// It is there with no other.
    Alone,
}

/// A call that some threads may make, if all of `checks` hold. Rows of one call are alternatives.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Its number.
    pub call: u32,
    /// What its arguments must be like.
    pub checks: &'static [Check],
    /// Who may make it.
    pub kinds: &'static [Kind],
    /// What for, as the manual says it.
    #[cfg_attr(not(test), expect(dead_code, reason = "read by who prints the manual's page"))]
    pub why: &'static str,
    /// What it is with another C library than glibc.
    pub musl: WithMusl,
    /// It is of threads that were there before the guest: those that come later never make it.
    pub early: bool,
    /// Who has it and was never seen to make it, and why they have it.
    #[cfg_attr(not(test), expect(dead_code, reason = "read by who looks at what runs have used"))]
    pub unseen: &'static [Unseen],
}

/// Kinds of threads that no run of the tests has seen to make a call, and what they may make it for.
pub type Unseen = (&'static [Kind], &'static str);

impl Row {
    /// Whether threads of `kind` have it.
    pub fn is_for(&self, kind: Kind) -> bool {
        let has = |kind: &Kind| self.kinds.contains(kind);
        has(&kind) || !self.early && kind.starts().iter().any(has)
    }

    /// The row as it is with `library`, if it is there.
    pub fn with(&self, library: Library) -> Option<Row> {
        let call = match (library, self.musl) {
            (Library::Glibc, WithMusl::Alone) | (Library::Musl, WithMusl::Missing) => return None,
            (Library::Musl, WithMusl::Calls(call)) => call,
            _ => self.call,
        };
        Some(Row { call, ..*self })
    }

    /// The same row, which is of another call with musl.
    pub const fn musl_calls(self, call: libc::c_long) -> Row {
        Row { musl: WithMusl::Calls(call as u32), ..self }
    }

    /// The same row, of glibc alone.
    pub const fn not_musl(self) -> Row {
        Row { musl: WithMusl::Missing, ..self }
    }

    /// The same row, of musl alone.
    pub const fn only_musl(self) -> Row {
        Row { musl: WithMusl::Alone, ..self }
    }

    /// The same row, of threads that were there before the guest.
    pub const fn early(self) -> Row {
        Row { early: true, ..self }
    }

    /// The same row, which some of its kinds were never seen to use.
    pub const fn unseen(self, unseen: &'static [Unseen]) -> Row {
        Row { unseen, ..self }
    }

    /// Whether the call is allowed whatever its arguments are.
    pub fn is_free(&self) -> bool {
        self.checks.is_empty()
    }

    /// Whether the call is not made.
    pub fn is_absent(&self) -> bool {
        matches!(self.checks, [Check::Absent])
    }
}

/// A row; `call` is one of `libc`'s `SYS_...`.
pub const fn row(
    call: libc::c_long,
    checks: &'static [Check],
    kinds: &'static [Kind],
    why: &'static str,
) -> Row {
    let (musl, early) = (WithMusl::Same, false);
    Row { call: call as u32, checks, kinds, why, musl, early, unseen: &[] }
}

/// Why a row is there that no run of the tests has used, where many have the same reason.
pub mod reasons {
    pub const VHOST: &str =
        "where the host has vhost-net; those of the tests have it in the testbed";
    pub const MUSL: &str = "a build with musl; runs of these are not recorded";
    pub const FLUSHES: &str =
        "a driver of persistent memory, as Linux has; native guests have none";
    pub const BLOCK_DEVICE: &str = "a disk that is a block device";
    pub const LAST: &str = "it is the last that has a card or an image that goes";
    pub const LINGERS: &str = "waits for a guest that lately was quick to answer";
}

/// The kernel has none, whatever the arguments.
pub const ABSENT: &[Check] = &[Check::Absent];
/// Whatever the arguments.
pub const ANY: &[Check] = &[];

/// Values with the names that `libc` has for them.
macro_rules! values {
    ($($name:ident),* $(,)?) => { &[$((libc::$name as u32, stringify!($name))),*] };
}
pub(super) use values;
