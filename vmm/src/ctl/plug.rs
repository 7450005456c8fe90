//! `vmm ctl plug` and `unplug`: devices in the words of the command line, for a machine that runs.

use std::error::Error;
use std::fmt;
use std::path::Path;

use clap::{Args, ValueEnum};
use devices::block::spec::DiskSpec;
use devices::net::spec::NicSpec;
use serde_json::{Value, json};

use super::client::Client;
use crate::dialect::drives::Drive;
use crate::dialect::network::NetworkInterface;
use crate::dialect::pmem::Pmem;
use crate::vm::pmem::PmemArgument;

/// What to plug in.
#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Plug {
    /// A network card, as for vmm --net
    #[arg(long, value_name = "CARD")]
    net: Option<NicSpec>,
    /// A disk, as for vmm --disk
    #[arg(long, value_name = "DISK")]
    disk: Option<DiskSpec>,
    /// Persistent memory, as for vmm --pmem
    #[arg(long, value_name = "PMEM")]
    pmem: Option<PmemArgument>,
}

/// What can be unplugged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    Net,
    Disk,
    Pmem,
}

impl Kind {
    const ALL: [Kind; 3] = [Kind::Net, Kind::Disk, Kind::Pmem];

    /// The API's name for all of the kind.
    fn resource(self) -> &'static str {
        match self {
            Kind::Net => "network-interfaces",
            Kind::Disk => "drives",
            Kind::Pmem => "pmem",
        }
    }

    /// What the command line calls one without a name, before its number.
    fn usual(self) -> &'static str {
        match self {
            Kind::Net => "net",
            Kind::Disk => "disk",
            Kind::Pmem => "pmem",
        }
    }
}

/// Why a word for a device was not understood.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unclear {
    #[error(
        "the machine has no disk, network card or persistent memory {0:?}; vmm ctl SOCK devices lists them"
    )]
    NoSuch(String),
    #[error("{id:?} is the name of several: {kinds}; say which one by --kind")]
    Several { id: String, kinds: Kinds },
}

/// Some kinds, for people.
#[derive(Debug, PartialEq, Eq)]
pub struct Kinds(Vec<&'static str>);

impl fmt::Display for Kinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(", "))
    }
}

/// Plugs it in; gives its name, which is a free one if it had none.
pub fn plug(client: &mut Client, what: &Plug) -> Result<String, Box<dyn Error>> {
    let devices = client.get("/devices")?;
    let name = |kind, id: &str| match id {
        "" => free_name(&devices, kind),
        id => id.to_string(),
    };
    let (kind, id, body) = if let Some(nic) = &what.net {
        let id = name(Kind::Net, &nic.id);
        let nic = NicSpec { id: id.clone(), ..nic.clone() };
        (Kind::Net, id, serde_json::to_value(NetworkInterface::from(&nic))?)
    } else if let Some(disk) = &what.disk {
        let id = name(Kind::Disk, &disk.id);
        let path = std::path::absolute(&disk.path)?;
        let bases = disk.bases.iter().map(std::path::absolute).collect::<Result<_, _>>()?;
        let disk = DiskSpec { id: id.clone(), path: utf8(&path)?.into(), bases, ..disk.clone() };
        (Kind::Disk, id, serde_json::to_value(Drive::from(&disk))?)
    } else if let Some(PmemArgument(pmem)) = &what.pmem {
        let id = name(Kind::Pmem, &pmem.id);
        let path = std::path::absolute(&pmem.path)?;
        let mut pmem = Pmem::from(pmem);
        (pmem.id, pmem.path_on_host) = (id.clone(), utf8(&path)?.to_string());
        (Kind::Pmem, id, serde_json::to_value(pmem)?)
    } else {
        return Err("nothing to plug in is given".into());
    };
    client.put(&format!("/{}/{id}", kind.resource()), &body)?;
    Ok(id)
}

/// A JSON text holds no other.
fn utf8(path: &Path) -> Result<&str, &'static str> {
    path.to_str().ok_or("the path is not UTF-8")
}

/// Unplugs the device; returns when it is gone.
pub fn unplug(client: &mut Client, id: &str, kind: Option<Kind>) -> Result<(), Box<dyn Error>> {
    let resource = match kind {
        Some(kind) => kind.resource(),
        None => find(&client.get("/devices")?, id)?.resource(),
    };
    Ok(client.remove(&format!("/{resource}/{id}"))?)
}

/// The kind of the only device of this name.
fn find(devices: &Value, id: &str) -> Result<Kind, Unclear> {
    let found: Vec<_> = Kind::ALL.into_iter().filter(|kind| has(devices, *kind, id)).collect();
    match found[..] {
        [kind] => Ok(kind),
        [] => Err(Unclear::NoSuch(id.to_string())),
        _ => {
            let kinds = Kinds(found.into_iter().map(Kind::usual).collect());
            Err(Unclear::Several { id: id.to_string(), kinds })
        }
    }
}

fn has(devices: &Value, kind: Kind, id: &str) -> bool {
    let wanted = json!(format!("{}/{id}", kind.resource()));
    devices.as_array().into_iter().flatten().any(|known| known["device"] == wanted)
}

/// As the command line names devices: by kind and number.
fn free_name(devices: &Value, kind: Kind) -> String {
    let mut names = (0u32..).map(|number| format!("{}{number}", kind.usual()));
    names.find(|name| !has(devices, kind, name)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn devices() -> Value {
        json!([
            { "device": "drives/disk0" },
            { "device": "drives/x" },
            { "device": "network-interfaces/x" },
            { "device": "vsock" },
        ])
    }

    #[test]
    fn a_device_without_a_name_gets_the_first_that_is_free() {
        let names = Kind::ALL.map(|kind| free_name(&devices(), kind));
        assert_eq!(names, ["net0", "disk1", "pmem0"]);
    }

    #[test]
    fn a_name_stands_for_one_device() {
        assert_eq!(find(&devices(), "disk0"), Ok(Kind::Disk));
        assert_eq!(find(&devices(), "disk9"), Err(Unclear::NoSuch("disk9".into())));
        let several = find(&devices(), "x").unwrap_err().to_string();
        assert_eq!(several, "\"x\" is the name of several: net, disk; say which one by --kind");
        assert!(find(&devices(), "vsock").is_err());
    }
}
