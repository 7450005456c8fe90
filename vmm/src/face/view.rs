//! The machine's settings as Firecracker shows them: limits as token buckets, and null for what is not set.

use device_core::rate::Quota;
use serde_json::{Map, Value, json};

use crate::dialect::limiter::TokenBucket;

/// What a drive always shows.
const OF_DRIVE: [&str; 9] = [
    "drive_id",
    "partuuid",
    "is_root_device",
    "cache_type",
    "is_read_only",
    "path_on_host",
    "rate_limiter",
    "io_engine",
    "socket",
];

/// What a card always shows.
const OF_CARD: [&str; 5] =
    ["iface_id", "host_dev_name", "guest_mac", "rx_rate_limiter", "tx_rate_limiter"];

/// A limiter's name, and what its buckets are called among our own limits, with the units of a token.
type Limiter = (&'static str, (&'static str, u64), (&'static str, u64));

const OF_DRIVES: &[Limiter] = &[("rate_limiter", ("bw", 1), ("iops", 1))];
const OF_CARDS: &[Limiter] = &[
    ("rx_rate_limiter", ("bw_in", 8), ("pps_in", 1)),
    ("tx_rate_limiter", ("bw_out", 8), ("pps_out", 1)),
];

/// The same settings, in the layout of a configuration file of either face.
pub fn config(mut config: Value) -> Value {
    for (list, fields, limiters) in
        [("drives", &OF_DRIVE[..], OF_DRIVES), ("network-interfaces", &OF_CARD[..], OF_CARDS)]
    {
        let devices = config.get_mut(list).and_then(Value::as_array_mut);
        for device in devices.into_iter().flatten().filter_map(Value::as_object_mut) {
            limiters.iter().for_each(|limiter| as_buckets(device, limiter));
            let allowances = device.get("allowances").and_then(Value::as_object);
            if allowances.is_some_and(Map::is_empty) {
                device.remove("allowances");
            }
            for field in fields {
                device.entry(*field).or_insert(Value::Null);
            }
        }
    }
    config
}

/// Moves two of a device's own limits into one of Firecracker's.
fn as_buckets(device: &mut Map<String, Value>, (limiter, bandwidth, ops): &Limiter) {
    let Some(own) = device.get_mut("allowances").and_then(Value::as_object_mut) else { return };
    let mut bucket = |(name, units): (&str, u64)| {
        let quota = serde_json::from_value::<Quota>(own.remove(name)?).ok()?;
        let TokenBucket { size, refill_time, one_time_burst } = TokenBucket::of(quota, units);
        Some(json!({ "size": size, "one_time_burst": one_time_burst, "refill_time": refill_time }))
    };
    let (bandwidth, ops) = (bucket(*bandwidth), bucket(*ops));
    if bandwidth.is_some() || ops.is_some() {
        let buckets = json!({ "bandwidth": bandwidth, "ops": ops });
        device.insert((*limiter).into(), buckets);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_token_buckets_where_the_dialect_has_them() {
        let shown = config(json!({
            "drives": [
                { "drive_id": "a", "allowances": { "bw": 5, "iops": 7 } },
                { "drive_id": "b", "allowances": { "iops":
                    { "size": 9, "refill_time": 100, "one_time_burst": 4 } } },
                { "drive_id": "c", "serial": "x" },
            ],
            "network-interfaces": [
                { "iface_id": "d", "allowances": { "bw_in": 80, "bw_out": 9, "pps": 3 } },
                { "iface_id": "e", "allowances": { "pps_out": 4 } },
            ],
        }));
        let bucket =
            |size, time| json!({ "size": size, "one_time_burst": null, "refill_time": time });
        let drives = &shown["drives"];
        let both = json!({ "bandwidth": bucket(5, 1000), "ops": bucket(7, 1000) });
        assert_eq!(drives[0]["rate_limiter"], both);
        assert_eq!(drives[0].get("allowances"), None);
        assert_eq!(
            drives[1]["rate_limiter"],
            json!({ "bandwidth": null, "ops":
            { "size": 9, "one_time_burst": 4, "refill_time": 100 } })
        );
        assert_eq!((&drives[2]["rate_limiter"], &drives[2]["serial"]), (&Value::Null, &json!("x")));
        assert_eq!(drives[2].as_object().unwrap().len(), OF_DRIVE.len() + 1);
        let cards = &shown["network-interfaces"];
        assert_eq!(cards[0]["rx_rate_limiter"]["bandwidth"], bucket(10, 1000));
        assert_eq!(cards[0]["tx_rate_limiter"]["bandwidth"], bucket(9, 8000));
        assert_eq!(cards[0]["allowances"], json!({ "pps": 3 }), "the dialect has none of these");
        assert_eq!(cards[1]["tx_rate_limiter"]["ops"], bucket(4, 1000));
        assert_eq!(cards[1]["rx_rate_limiter"], Value::Null);
    }
}
