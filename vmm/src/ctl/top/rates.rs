//! What changed between two looks at a machine.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::Value;

/// One look.
pub struct Look {
    at: Instant,
    pub instance: Value,
    /// Exits of each vCPU, by reason.
    pub exits: BTreeMap<u32, BTreeMap<String, u64>>,
    pub disks: Vec<Value>,
    pub nics: Vec<Value>,
}

impl Look {
    /// One without disks and cards. `metrics` is OpenMetrics text, of which the exits are taken.
    pub fn new(at: Instant, instance: Value, metrics: &str) -> Look {
        let mut exits: BTreeMap<u32, BTreeMap<String, u64>> = BTreeMap::new();
        for line in metrics.lines() {
            if let Some((vcpu, reason, count)) = exit(line) {
                exits.entry(vcpu).or_default().insert(reason.to_string(), count);
            }
        }
        Look { at, instance, exits, disks: Vec::new(), nics: Vec::new() }
    }
}

/// The parts of `vmm_vcpu_exits_total{vcpu="0",reason="kicks"} 7`.
fn exit(line: &str) -> Option<(u32, &str, u64)> {
    let rest = line.strip_prefix("vmm_vcpu_exits_total{vcpu=\"")?;
    let (vcpu, rest) = rest.split_once("\",reason=\"")?;
    let (reason, count) = rest.split_once("\"} ")?;
    Some((vcpu.parse().ok()?, reason, count.parse().ok()?))
}

/// Rates per second.
#[derive(Debug, Default, PartialEq)]
pub struct Rates {
    /// Of each vCPU, by reason.
    pub exits: BTreeMap<u32, BTreeMap<String, f64>>,
    /// Of each disk: its id, and its counters.
    pub disks: Vec<(String, BTreeMap<String, f64>)>,
    /// Of each queue pair of each card: its id, its index, and its counters.
    pub queues: Vec<(String, u64, BTreeMap<String, f64>)>,
    /// Hits of each bucket of each card that has a table.
    pub buckets: BTreeMap<String, Vec<f64>>,
}

impl Rates {
    pub fn between(before: &Look, after: &Look) -> Rates {
        let seconds = after.at.saturating_duration_since(before.at).as_secs_f64();
        let rate = |old: u64, new: u64| match seconds > 0.0 {
            true => new.saturating_sub(old) as f64 / seconds,
            false => 0.0,
        };
        let exits = after.exits.iter().map(|(vcpu, reasons)| {
            let old =
                |reason: &str| before.exits.get(vcpu).and_then(|old| old.get(reason)).copied();
            let of = |(reason, new): (&String, &u64)| {
                (reason.clone(), rate(old(reason).unwrap_or(0), *new))
            };
            (*vcpu, reasons.iter().map(of).collect())
        });
        let mut rates = Rates { exits: exits.collect(), ..Rates::default() };
        let counters = |was: &Value, now: &Value| {
            let counters = now.as_object().into_iter().flatten().map(|(name, new)| {
                let old = was[name].as_u64().unwrap_or(0);
                (name.clone(), rate(old, new.as_u64().unwrap_or(0)))
            });
            counters.collect::<BTreeMap<_, _>>()
        };
        for disk in &after.disks {
            let id = disk["id"].as_str().unwrap_or_default();
            let was = &of(&before.disks, id)["counters"];
            rates.disks.push((id.to_string(), counters(was, &disk["counters"])));
        }
        for nic in &after.nics {
            let id = nic["id"].as_str().unwrap_or_default();
            let old = of(&before.nics, id);
            for (at, pair) in nic["pairs"].as_array().into_iter().flatten().enumerate() {
                let rates_of_pair = counters(&old["pairs"][at]["counters"], &pair["counters"]);
                rates.queues.push((id.to_string(), at as u64, rates_of_pair));
            }
            if let Some(table) = nic["rss"]["table"].as_array() {
                let hits = |bucket: &Value| bucket["hits"].as_u64().unwrap_or(0);
                let was = |at: usize| hits(&old["rss"]["table"][at]);
                let buckets = table.iter().enumerate().map(|(at, new)| rate(was(at), hits(new)));
                rates.buckets.insert(id.to_string(), buckets.collect());
            }
        }
        rates
    }
}

/// The one of this id; null if there was none.
fn of<'a>(all: &'a [Value], id: &str) -> &'a Value {
    all.iter().find(|one| one["id"] == id).unwrap_or(&Value::Null)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    #[test]
    fn rates_are_what_was_added_in_a_second() {
        let begin = Instant::now();
        let look = |after: u64, exits: u64, frames: u64, hits: u64| {
            let metrics = format!(
                "# HELP x\nvmm_vcpu_exits_total{{vcpu=\"1\",reason=\"kicks\"}} {exits}\n# EOF\n"
            );
            let nic = json!({
                "id": "eth0",
                "pairs": [{ "counters": { "rx_frames": frames } }],
                "rss": { "table": [{ "queue": 0, "hits": hits }, { "queue": 0, "hits": null }] },
            });
            let mut look = Look::new(begin + Duration::from_secs(after), json!({}), &metrics);
            look.disks.push(json!({ "id": "disk0", "counters": { "reads": frames / 2 } }));
            look.nics.push(nic);
            look
        };
        let rates = Rates::between(&look(0, 10, 100, 7), &look(2, 30, 500, 8));
        assert_eq!(rates.exits[&1]["kicks"], 10.0);
        let (id, at, counters) = &rates.queues[0];
        assert_eq!((id.as_str(), *at, counters["rx_frames"]), ("eth0", 0, 200.0));
        assert_eq!(rates.buckets["eth0"], [0.5, 0.0]);
        assert_eq!(rates.disks, [("disk0".into(), [("reads".into(), 100.0)].into())]);
        // A card that was reset, and two looks at the same moment.
        let same = Rates::between(&look(2, 30, 500, 8), &look(2, 0, 0, 0));
        assert_eq!(same.queues[0].2["rx_frames"], 0.0);
    }
}
