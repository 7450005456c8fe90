//! Who the controller is: EC2's volumes and instance store, told apart by ids and texts; a serial number
//! and a UUID that stay the same as long as the disk's name.

use block::spec::{DiskSpec, MAX_SERIAL, Model};

/// Amazon, as PCI vendor.
pub const VENDOR: u16 = 0x1d0f;
/// Longest name of the guest's device: the field before the rest of the vendor area.
const MAX_DEVICE: usize = 32;

/// Who the controller says that it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// PCI device id.
    pub device: u16,
    /// Model number.
    pub model: &'static str,
    /// Firmware revision.
    pub firmware: &'static str,
    /// First word of the page of statistics, by which Amazon's tools know it.
    pub magic: u32,
    /// Serial number, at most 20 characters; a volume's id without its dash.
    pub serial: String,
    /// What the guest's udev rules make a link of, at most 32 characters; for volumes only.
    pub name: Option<String>,
    /// The namespace's, and the subsystem's.
    pub uuid: u128,
}

impl Identity {
    /// That of the disk which `spec` describes.
    pub fn of(spec: &DiskSpec) -> Identity {
        let is_volume = spec.model != Model::NvmeInstance;
        let prefix = if is_volume { "vol" } else { "AWS" };
        let made = || format!("{prefix}0{:016x}", hash(&spec.id, 0));
        let mut serial = spec.serial.clone().unwrap_or_else(made);
        serial.truncate(MAX_SERIAL);
        let uuid = u128::from(hash(&serial, 1)) << 64 | u128::from(hash(&serial, 2));
        // Version 8, whose bits are the maker's own (RFC 9562, 5.8).
        let uuid = uuid & !(0xf << 76) & !(0b11 << 62) | 8 << 76 | 0b10 << 62;
        let mut name = format!("/dev/{}", spec.id);
        name.truncate(MAX_DEVICE);
        let common = Identity {
            device: 0x8061,
            model: "Amazon Elastic Block Store",
            firmware: "1.0",
            magic: 0x3c23_b510,
            serial,
            name: Some(name),
            uuid,
        };
        if is_volume {
            return common;
        }
        Identity {
            device: 0xcd01,
            model: "Amazon EC2 NVMe Instance Storage",
            firmware: "0",
            magic: 0xec2c_0d7e,
            name: None,
            ..common
        }
    }

    /// The subsystem's name, from its UUID (NVMe base specification 1.4, 7.9).
    pub fn subsystem(&self) -> String {
        let hex = format!("{:032x}", self.uuid);
        let group = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
        format!(
            "nqn.2014-08.org.nvmexpress:uuid:{}-{}-{}-{}-{}",
            group(0, 8),
            group(8, 12),
            group(12, 16),
            group(16, 20),
            group(20, 32)
        )
    }
}

/// FNV-1a of `text`, begun in one of several ways.
fn hash(text: &str, way: u64) -> u64 {
    let start = 0xcbf2_9ce4_8422_2325u64 ^ way;
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    // The last bytes would reach the lowest bits only.
    text.bytes().chain([0; 4]).fold(start, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(id: &str, model: Model) -> Identity {
        Identity::of(&DiskSpec { model, ..DiskSpec::on(id, "image") })
    }

    #[test]
    fn a_serial_number_is_made_as_ec2_makes_them() {
        for (model, prefix) in [(Model::Nvme, "vol0"), (Model::NvmeInstance, "AWS0")] {
            let Identity { serial, .. } = of("data", model);
            assert_eq!((serial.len(), &serial[..4]), (20, prefix));
            assert_eq!(serial, of("data", model).serial);
            assert_ne!(serial, of("datb", model).serial);
        }
        let given = DiskSpec { serial: Some("vol7".to_string()), ..DiskSpec::on("data", "image") };
        assert_eq!(Identity::of(&given).serial, "vol7");
    }

    #[test]
    fn the_subsystem_has_a_name_of_the_right_form() {
        let name = of("data", Model::Nvme).subsystem();
        let (start, uuid) = name.rsplit_once(':').unwrap();
        assert_eq!(start, "nqn.2014-08.org.nvmexpress:uuid");
        assert_eq!(uuid.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
        assert!(uuid[14..].starts_with('8') && "89ab".contains(&uuid[19..20]), "{uuid}");
    }

    #[test]
    fn a_long_name_is_cut_to_its_field() {
        let name = of(&"x".repeat(64), Model::Nvme).name.unwrap();
        assert_eq!((name.len(), &name[..7]), (32, "/dev/xx"));
        assert_eq!(of("data", Model::NvmeInstance).name, None);
    }
}
