//! What a setting is called where its user said it. Errors tell what they are about as a [`Setting`] and
//! give the reason alone; who tells the user puts the words of his surface before it, once.

use std::error::Error;

use devices::Kind;
use devices::block::spec::Key as DiskKey;
use devices::net::spec::Key;
use devices::vsock::Key as VsockKey;

/// Something that a user sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    Kernel,
    Initrd,
    Cmdline,
    /// What cloud-init is told.
    CloudInit,
    /// What the machine says of itself by metadata.
    Imds,
    /// The disk that the machine boots from, as long as no kernel is given.
    BootDisk,
    Cpus,
    CpuTemplate,
    Memory,
    HugePages,
    Serial,
    LogFile,
    MetricsFile,
    /// The persistent memory of this id.
    Pmem(String),
    Balloon,
    Entropy,
    /// Memory that is plugged while the machine runs.
    HotMemory,
    /// The card of this id, or one of the things said about it.
    Card(String, Option<Key>),
    /// The disk of this id, or one of the things said about it.
    Disk(String, Option<DiskKey>),
    /// The vsock, or one of the things said about it.
    Vsock(Option<VsockKey>),
}

/// One setting's words: the command line's option, the object of a configuration file, and the field in
/// it and in a request's body.
struct Words {
    option: &'static str,
    object: &'static str,
    field: &'static str,
}

impl Setting {
    /// The device as a whole.
    pub fn of_device(kind: Kind, id: &str) -> Setting {
        match kind {
            Kind::Nic => Setting::Card(id.to_string(), None),
            Kind::Disk => Setting::Disk(id.to_string(), None),
            Kind::Vsock => Setting::Vsock(None),
            Kind::Pmem => Setting::Pmem(id.to_string()),
            Kind::Balloon => Setting::Balloon,
            Kind::Entropy => Setting::Entropy,
            Kind::HotMemory => Setting::HotMemory,
        }
    }

    /// The table: a row for each setting.
    fn words(&self) -> Words {
        let words = |option, object, field| Words { option, object, field };
        match self {
            Setting::Kernel => words("--kernel", "boot-source", "kernel_image_path"),
            Setting::Initrd => words("--initrd", "boot-source", "initrd_path"),
            Setting::Cmdline => words("--cmdline", "boot-source", "boot_args"),
            Setting::CloudInit => words("--cloud-init", "drives", ""),
            Setting::Imds => words("--imds", "mmds-config", ""),
            Setting::BootDisk => words("--disk", "drives", "path_on_host"),
            Setting::Cpus => words("--cpus", "machine-config", "vcpu_count"),
            Setting::CpuTemplate => words("", "cpu-config", ""),
            Setting::Memory => words("--mem", "machine-config", "mem_size_mib"),
            Setting::HugePages => words("--huge-pages", "machine-config", "huge_pages"),
            Setting::Serial => words("--serial", "serial", ""),
            Setting::LogFile => words("--log-file", "logger", "log_path"),
            Setting::MetricsFile => words("--metrics-path", "metrics", "metrics_path"),
            Setting::Pmem(_) => words("--pmem", PMEMS, ""),
            Setting::Balloon => words("--balloon", "balloon", ""),
            Setting::Entropy => words("--entropy", "entropy", ""),
            Setting::HotMemory => words("--memory-hotplug", "memory-hotplug", ""),
            Setting::Card(_, key) => words("--net", CARDS, key.map_or("", card_field)),
            Setting::Disk(_, key) => words("--disk", DISKS, key.map_or("", disk_field)),
            Setting::Vsock(key) => words("--vsock", "vsock", key.map_or("", vsock_field)),
        }
    }

    /// As on the command line.
    pub fn option(&self) -> String {
        let option = self.words().option;
        match self {
            Setting::Card(id, Some(key)) => format!("{option}: card {id:?}: {key}"),
            Setting::Card(id, None) => format!("{option}: card {id:?}"),
            Setting::Disk(id, Some(key)) => format!("{option}: disk {id:?}: {key}"),
            Setting::Disk(id, None) => format!("{option}: disk {id:?}"),
            Setting::Vsock(Some(key)) => format!("{option}: {key}"),
            Setting::Pmem(id) => format!("{option}: {id:?}"),
            _ => option.to_string(),
        }
    }

    /// As in the body of a request.
    pub fn field(&self) -> String {
        match (self, self.words()) {
            (
                Setting::Card(id, None) | Setting::Disk(id, None) | Setting::Pmem(id),
                Words { object, .. },
            ) => {
                format!("{object}/{id}")
            }
            (_, Words { object, field: "", .. }) => object.to_string(),
            (_, Words { field, .. }) => field.to_string(),
        }
    }

    /// As in a configuration file that lists `listed`.
    pub fn place(&self, listed: &Listed) -> String {
        let Words { object, field, .. } = self.words();
        let at = |ids: &[String], id| ids.iter().position(|known| known == id);
        let index = match self {
            Setting::Card(id, _) => at(&listed.cards, id),
            Setting::Disk(id, _) => at(&listed.disks, id),
            Setting::Pmem(id) => at(&listed.pmems, id),
            _ => None,
        };
        let object = index.map_or_else(|| object.to_string(), |index| item(object, index));
        if field.is_empty() { object } else { format!("{object}.{field}") }
    }
}

/// Ids of what a configuration file lists, in order.
#[derive(Debug, Default)]
pub struct Listed {
    pub cards: Vec<String>,
    pub disks: Vec<String>,
    pub pmems: Vec<String>,
}

const CARDS: &str = "network-interfaces";
const DISKS: &str = "drives";
const PMEMS: &str = "pmem";

/// A configuration file's card, counted from 0.
pub fn card_of_file(index: usize) -> String {
    item(CARDS, index)
}

/// A configuration file's disk, counted from 0.
pub fn disk_of_file(index: usize) -> String {
    item(DISKS, index)
}

/// A configuration file's persistent memory, counted from 0.
pub fn pmem_of_file(index: usize) -> String {
    item(PMEMS, index)
}

fn item(list: &str, index: usize) -> String {
    format!("{list}[{index}]")
}

/// Firecracker's names, and ours beside them.
fn card_field(key: Key) -> &'static str {
    match key {
        Key::Tap => "host_dev_name",
        Key::Dev => "host_interface",
        Key::Fd => "host_fds",
        Key::Model => "model",
        Key::Mac => "guest_mac",
        Key::Queues => "queues",
        Key::Mtu => "mtu",
        Key::Id => "iface_id",
        Key::BwIn => "allowances.bw_in",
        Key::BwOut => "allowances.bw_out",
        Key::Pps => "allowances.pps",
        Key::Backend => "backend",
        Key::Conntrack => "allowances.conntrack",
        Key::Llq => "llq",
        Key::Fault => "faults",
    }
}

fn disk_field(key: DiskKey) -> &'static str {
    match key {
        DiskKey::Path => "path_on_host",
        DiskKey::Base => "base_paths_on_host",
        DiskKey::Id => "drive_id",
        DiskKey::ReadOnly => "is_read_only",
        DiskKey::Root => "is_root_device",
        DiskKey::PartUuid => "partuuid",
        DiskKey::Model => "model",
        DiskKey::Queues => "queues",
        DiskKey::Cache => "cache",
        DiskKey::Direct => "direct",
        DiskKey::Engine => "engine",
        DiskKey::Serial => "serial",
        DiskKey::Bw => "allowances.bw",
        DiskKey::Iops => "allowances.iops",
        DiskKey::Fault => "faults",
    }
}

fn vsock_field(key: VsockKey) -> &'static str {
    match key {
        VsockKey::Cid => "guest_cid",
        VsockKey::Path => "uds_path",
    }
}

/// One line: where, if that is known, what failed, and why.
pub fn one_line(place: Option<String>, error: &dyn Error) -> String {
    let mut line = place.map_or_else(String::new, |place| format!("{place}: "));
    line.push_str(&error.to_string());
    let mut source = error.source();
    while let Some(cause) = source {
        line.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    // Names in it may come from a file that anybody wrote: they are no lines of their own, and command no terminal.
    line.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
#[path = "words_test.rs"]
mod tests;
