//! What can be measured.

use crate::native::guest::Load;

/// Something to be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Frames one way or both, of so many bytes.
    Stream(Load, u32),
    /// Round trips of frames of so many bytes.
    RoundTrips(u32),
    /// Exec to the first frame; memory.
    Start,
    /// Requests to a disk.
    Disk(DiskLoad, Medium),
    /// A machine goes on from a snapshot.
    Restore(Restore),
    /// A snapshot is written of a guest that has used so many MiB.
    Save(u32),
    /// Streams and round trips by vsock.
    Vsock(VsockLoad),
    /// Frames one way, of so many bytes, beside a thousand requests a second to the metadata service.
    Metadata(Load, u32),
}

/// What goes by vsock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VsockLoad {
    /// The guest sends on one connection.
    Send,
    /// It receives on one.
    Receive,
    /// So many bytes to the guest and back, one after the other.
    RoundTrips(u32),
    /// Connections to the guest, one after the other, for a byte and its echo.
    Calls,
}

/// Requests of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskLoad {
    pub writes: bool,
    /// Each goes on where the one before ended.
    pub is_sequential: bool,
    /// KiB of each.
    pub kib: u32,
    /// How many are in flight in each queue.
    pub in_flight: u16,
}

/// How machines go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restore {
    /// MiB of each.
    pub mib: u32,
    /// How many start in the same moment, from one snapshot.
    pub at_once: u16,
    /// Whether the host has read nothing of it.
    pub is_cold: bool,
}

/// Where an image is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Medium {
    /// On a file system of memory.
    Memory,
    /// In a file on a disk of the host.
    File,
    /// A new overlay on that in memory, beside it.
    Overlay,
}

/// Such a thing on so many queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Job {
    pub task: Task,
    pub queues: u16,
}

impl Task {
    /// All of them.
    pub fn all() -> Vec<Self> {
        let cards = [
            Self::Stream(Load::Send, 60),
            Self::Stream(Load::Send, 1514),
            Self::Stream(Load::Receive, 60),
            Self::Stream(Load::Receive, 1514),
            Self::Stream(Load::Both, 60),
            Self::Stream(Load::Both, 1514),
            Self::RoundTrips(60),
            Self::Start,
        ];
        let kinds = [(false, 4, 1), (false, 4, 32), (true, 128, 8)];
        let loads = kinds.into_iter().flat_map(|(is_sequential, kib, in_flight)| {
            [false, true].map(|writes| DiskLoad { writes, is_sequential, kib, in_flight })
        });
        let disks = loads.flat_map(|load| {
            [Medium::Memory, Medium::File, Medium::Overlay].map(|medium| Self::Disk(load, medium))
        });
        let restores = [
            (128, 1, false),
            (512, 1, false),
            (4096, 1, false),
            (512, 1, true),
            (512, 10, false),
            (512, 10, true),
        ];
        let snapshots = restores.into_iter().map(Restore::of).map(Self::Restore);
        let vsocks =
            [VsockLoad::Send, VsockLoad::Receive, VsockLoad::RoundTrips(60), VsockLoad::Calls];
        let all = cards.into_iter().chain(disks).chain(snapshots).chain([Self::Save(1024)]);
        let served = [(Load::Send, 60), (Load::Send, 1514), (Load::Receive, 1514)];
        let served = served.map(|(load, len)| Self::Metadata(load, len));
        all.chain(vsocks.map(Self::Vsock)).chain(served).collect()
    }

    /// What takes longer, and is measured only if it is asked for.
    pub fn long() -> Vec<Self> {
        let restores = [(1024, 1, false), (2048, 1, false), (4096, 1, true), (128, 100, false)];
        restores.into_iter().map(Restore::of).map(Self::Restore).collect()
    }

    /// Whether it is of a disk.
    pub fn is_of_disk(self) -> bool {
        matches!(self, Self::Disk(..))
    }

    /// Whether it is of a vsock.
    pub fn is_of_vsock(self) -> bool {
        matches!(self, Self::Vsock(..))
    }

    /// Whether it is of a snapshot.
    pub fn is_of_snapshot(self) -> bool {
        matches!(self, Self::Restore(..) | Self::Save(..))
    }

    /// Whether it is of a card, which it is if it is of nothing else.
    pub fn is_of_card(self) -> bool {
        !self.is_of_disk() && !self.is_of_snapshot() && !self.is_of_vsock()
    }
}

impl Restore {
    fn of((mib, at_once, is_cold): (u32, u16, bool)) -> Self {
        Self { mib, at_once, is_cold }
    }
}

impl DiskLoad {
    /// `read` or `write`.
    pub fn way(self) -> &'static str {
        if self.writes { "write" } else { "read" }
    }

    /// `sequential` or `random`.
    pub fn order(self) -> &'static str {
        if self.is_sequential { "sequential" } else { "random" }
    }

    /// Bytes of each request.
    pub fn bytes(self) -> u32 {
        self.kib << 10
    }
}

impl Job {
    /// As tables have it, and `--load`.
    pub fn name(self) -> String {
        let name = match self.task {
            Task::Stream(load, len) => format!("{} {len}", load.word()),
            Task::RoundTrips(len) => format!("round-trip {len}"),
            Task::Start => "start".to_owned(),
            Task::Disk(load, medium) => {
                let medium = match medium {
                    Medium::Memory => "memory",
                    Medium::File => "file",
                    Medium::Overlay => "overlay",
                };
                let DiskLoad { kib, in_flight, .. } = load;
                format!("disk {} {} {kib}k depth {in_flight} {medium}", load.order(), load.way())
            }
            Task::Restore(Restore { mib, at_once, is_cold }) => {
                let many = if at_once == 1 { String::new() } else { format!(" {at_once} at once") };
                format!("snapshot load {mib}M{many}{}", if is_cold { " cold" } else { "" })
            }
            Task::Save(mib) => format!("snapshot save {mib}M"),
            Task::Metadata(load, len) => format!("metadata beside {} {len}", load.word()),
            Task::Vsock(VsockLoad::Send) => "vsock send".to_owned(),
            Task::Vsock(VsockLoad::Receive) => "vsock receive".to_owned(),
            Task::Vsock(VsockLoad::RoundTrips(len)) => format!("vsock round-trip {len}"),
            Task::Vsock(VsockLoad::Calls) => "vsock calls".to_owned(),
        };
        match self.queues {
            1 => name,
            queues => format!("{name} queues={queues}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_job_has_a_name_of_its_own() {
        let tasks = Task::all().into_iter().chain(Task::long());
        let jobs = tasks.flat_map(|task| [1, 2].map(|queues| Job { task, queues }));
        let mut names: Vec<_> = jobs.map(Job::name).collect();
        let count = names.len();
        assert!(names.contains(&"send 60".to_owned()));
        assert!(names.contains(&"disk random read 4k depth 32 memory queues=2".to_owned()));
        assert!(names.contains(&"snapshot load 512M 10 at once cold".to_owned()));
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
