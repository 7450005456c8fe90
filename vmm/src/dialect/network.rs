//! `/network-interfaces/{id}`: cards and their limits.

use std::os::fd::RawFd;

use device_core::rate::{NOTHING, Quota};
use devices::net::mac::MacAddr;
use devices::net::spec::{BackendSpec, Model, Mover, NicSpec, Outside, Rehearsal};
use devices::net::stage::limiter::Allowed;
use serde::{Deserialize, Serialize};

#[cfg(test)]
use super::limiter::QuotaSchema;
use super::limiter::{self, RateLimiter};
use super::{BodyError, bad, check_id};
use crate::vm::patch::LimitPatch;

/// A network card.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NetworkInterface {
    /// The card's name, the same as in the path.
    #[cfg_attr(test, schema(pattern = "^[A-Za-z0-9_.-]{1,64}$", examples("eth0")))]
    pub iface_id: String,
    /// The host's TAP; made if it does not exist and the VMM may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schema(pattern = r"^[^/:%\s]{1,15}$", examples("tap0")))]
    pub host_dev_name: Option<String>,
    /// In place of a TAP: an Ethernet interface of the host, such as one end of a veth pair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schema(pattern = r"^[^/:%\s]{1,15}$", examples("veth0")))]
    pub host_interface: Option<String>,
    /// In place of a name: an open TAP that the VMM inherited, one descriptor for each queue pair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schema(value_type = Option<Vec<i32>>))]
    pub host_fds: Option<Vec<RawFd>>,
    /// Who moves frames: threads of the VMM, or the host's kernel by vhost-net, which then reads the guest's rings
    /// itself. The latter is for virtio cards on TAPs, in machines with PCI, and without all that the VMM does to frames.
    #[serde(default, skip_serializing_if = "Mover::is_vmm")]
    #[cfg_attr(test, schema(value_type = MoverName))]
    pub backend: Mover,
    /// The card's address; a random one if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schema(
        value_type = Option<String>,
        pattern = "^[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}$",
        examples("02:00:00:00:00:01"),
    ))]
    pub guest_mac: Option<MacAddr>,
    /// Largest packet; the host interface's for a virtio card and 9216 for an ENA card if not given.
    /// An ENA card takes 128 to 9216.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schema(minimum = 68))]
    pub mtu: Option<u16>,
    /// What comes to the guest at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rx_rate_limiter: Option<RateLimiter>,
    /// What leaves the guest at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tx_rate_limiter: Option<RateLimiter>,
    /// What the guest sees.
    #[serde(default)]
    #[cfg_attr(test, schema(value_type = ModelName))]
    pub model: Model,
    /// Queue pairs; 1 if not given, or as many as `host_fds`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schema(minimum = 1, maximum = 64))]
    pub queues: Option<u16>,
    /// Limits of the whole card; not together with rate limiters of the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schema(value_type = Option<Allowances>))]
    pub allowances: Option<Allowed>,
    /// Whether an ENA card offers low-latency queues; it does if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub llq: Option<bool>,
    /// What an ENA card does wrong, and when.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(test, schema(value_type = Vec<PlannedFault>))]
    pub faults: Vec<Rehearsal>,
    /// Addresses that the wire sees in place of the guest's; the same if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schema(value_type = Option<OutsideAddresses>))]
    pub outside: Option<Outside>,
}

/// Addresses that the wire sees in place of the guest's.
#[cfg(test)]
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = OutsideAddresses)]
#[expect(dead_code, reason = "describes Outside, which another crate reads")]
pub struct OutsideAddresses {
    /// In place of the card's.
    #[schema(pattern = "^[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}$", examples("02:00:00:00:00:07"))]
    mac: String,
    /// In place of the guest's IPv4 address; that one if not given.
    #[schema(format = "ipv4")]
    ip: Option<String>,
    /// The guest's IPv4 address; without it a machine that does not come from a snapshot is refused.
    #[schema(format = "ipv4")]
    guest_ip: Option<String>,
}

/// What to change of a card that exists; what is not given stays.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NetworkInterfacePatch {
    /// The card's name, the same as in the path.
    #[cfg_attr(test, schema(pattern = "^[A-Za-z0-9_.-]{1,64}$", examples("eth0")))]
    pub iface_id: String,
    /// What comes to the guest at most.
    #[serde(default)]
    pub rx_rate_limiter: Option<RateLimiter>,
    /// What leaves the guest at most.
    #[serde(default)]
    pub tx_rate_limiter: Option<RateLimiter>,
    /// Limits of the whole card, which replace all there were.
    #[serde(default)]
    #[cfg_attr(test, schema(value_type = Option<Allowances>))]
    pub allowances: Option<Allowed>,
}

/// Limits of a whole card; what is not given is not limited.
#[cfg(test)]
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Allowances)]
#[expect(dead_code, reason = "describes Allowed, which another crate reads")]
pub struct Allowances {
    /// Bits to the guest.
    bw_in: Option<QuotaSchema>,
    /// Bits from the guest.
    bw_out: Option<QuotaSchema>,
    /// Packets, both ways together.
    pps: Option<QuotaSchema>,
    /// Packets to the guest.
    pps_in: Option<QuotaSchema>,
    /// Packets from the guest.
    pps_out: Option<QuotaSchema>,
    /// Connections at once.
    #[schema(minimum = 1)]
    conntrack: Option<u32>,
}

/// Who moves a card's frames.
#[cfg(test)]
#[derive(utoipa::ToSchema)]
#[schema(as = Mover, rename_all = "lowercase")]
#[expect(dead_code, reason = "describes Mover, which another crate reads")]
pub enum MoverName {
    Vmm,
    Vhost,
}

/// What a card is to the guest.
#[cfg(test)]
#[derive(utoipa::ToSchema)]
#[schema(as = Model, rename_all = "lowercase")]
#[expect(dead_code, reason = "describes Model, which another crate reads")]
pub enum ModelName {
    Virtio,
    Ena,
}

/// Something that an ENA card will do wrong once.
#[cfg(test)]
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PlannedFault)]
#[expect(dead_code, reason = "describes Rehearsal, which another crate reads")]
pub struct PlannedFault {
    kind: super::flow::FaultSchema,
    /// Seconds after the driver brought the card up.
    #[serde(default)]
    after_s: u32,
}

/// What limiters and allowances together say to change, checked against each other.
fn limit_patch(
    rx: Option<RateLimiter>,
    tx: Option<RateLimiter>,
    allowances: Option<Allowed>,
) -> Result<LimitPatch, BodyError> {
    if allowances.is_some_and(|allowed| allowed.conntrack == Some(0)) {
        return Err(bad("allowances.conntrack", NOTHING));
    }
    let (rx, tx) = (rx.unwrap_or_default(), tx.unwrap_or_default());
    let given = |limit: fn(&Allowed) -> Option<Quota>| allowances.as_ref().and_then(limit);
    for (bucket, field, twin, allowance) in [
        (rx.bandwidth, RX, "allowances.bw_in", given(|allowed| allowed.bw_in)),
        (tx.bandwidth, TX, "allowances.bw_out", given(|allowed| allowed.bw_out)),
        (rx.ops, RX, "allowances.pps_in", given(|allowed| allowed.pps_in)),
        (tx.ops, TX, "allowances.pps_out", given(|allowed| allowed.pps_out)),
    ] {
        if bucket.is_some() && allowance.is_some() {
            return Err(bad(field, format!("{twin} says the same; give one of them")));
        }
    }
    let bits =
        |field, limiter: RateLimiter| limiter::quota(field, "bandwidth", limiter.bandwidth, 8);
    let packets = |field, limiter: RateLimiter| limiter::quota(field, "ops", limiter.ops, 1);
    Ok(LimitPatch {
        all: allowances,
        bw_in: bits(RX, rx)?,
        bw_out: bits(TX, tx)?,
        pps_in: packets(RX, rx)?,
        pps_out: packets(TX, tx)?,
    })
}

const RX: &str = "rx_rate_limiter";
const TX: &str = "tx_rate_limiter";

impl NetworkInterface {
    /// The card that was asked for under `path_id`.
    pub fn into_spec(self, path_id: &str) -> Result<NicSpec, BodyError> {
        check_id("iface_id", path_id, &self.iface_id)?;
        let given = (self.host_dev_name, self.host_interface, self.host_fds);
        let (backend, queues) = match given {
            (Some(name), None, None) => (BackendSpec::Tap(name), 1),
            (None, Some(name), None) => (BackendSpec::Dev(name), 1),
            (None, None, Some(fds)) => {
                let queues = u16::try_from(fds.len()).unwrap_or(u16::MAX);
                (BackendSpec::Fd(fds), queues)
            }
            (None, None, None) => return Err(bad("host_dev_name", "it is missing")),
            (Some(_), _, Some(_)) => {
                return Err(bad("host_fds", "host_dev_name is given too; give one of them"));
            }
            (Some(_), Some(_), None) => {
                return Err(bad("host_interface", "host_dev_name is given too; give one of them"));
            }
            (None, Some(_), Some(_)) => {
                return Err(bad("host_fds", "host_interface is given too; give one of them"));
            }
        };
        let limits = limit_patch(self.rx_rate_limiter, self.tx_rate_limiter, self.allowances)?;
        Ok(NicSpec {
            id: self.iface_id,
            backend,
            mover: self.backend,
            model: self.model,
            mac: self.guest_mac,
            queues: self.queues.unwrap_or(queues),
            mtu: self.mtu,
            limits: limits.apply(&Allowed::default()),
            llq: self.llq,
            faults: self.faults,
            outside: self.outside,
        })
    }
}

impl From<&NicSpec> for NetworkInterface {
    fn from(nic: &NicSpec) -> NetworkInterface {
        let (host_dev_name, host_interface, host_fds) = match &nic.backend {
            BackendSpec::Tap(name) => (Some(name.clone()), None, None),
            BackendSpec::Dev(name) => (None, Some(name.clone()), None),
            BackendSpec::Fd(fds) => (None, None, Some(fds.clone())),
        };
        NetworkInterface {
            iface_id: nic.id.clone(),
            host_dev_name,
            host_interface,
            host_fds,
            backend: nic.mover,
            guest_mac: nic.mac,
            mtu: nic.mtu,
            rx_rate_limiter: None,
            tx_rate_limiter: None,
            model: nic.model,
            queues: Some(nic.queues),
            allowances: Some(nic.limits).filter(|limits| *limits != Allowed::default()),
            llq: nic.llq,
            faults: nic.faults.clone(),
            outside: nic.outside,
        }
    }
}

impl NetworkInterfacePatch {
    /// The change that was asked for under `path_id`.
    pub fn into_patch(self, path_id: &str) -> Result<LimitPatch, BodyError> {
        check_id("iface_id", path_id, &self.iface_id)?;
        limit_patch(self.rx_rate_limiter, self.tx_rate_limiter, self.allowances)
    }
}
