//! The figures as OpenMetrics text.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use super::metrics::{Counts, Figures};

/// Kind of the text (OpenMetrics 1.0, content type).
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Writes the figures of the machine `id`, which is in `state`.
pub fn text(id: &str, state: &str, figures: Figures) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    let (id, state) = (id.to_string(), state.to_string());
    registry.register_collector(Box::new(Shown { id, state, figures }));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct Shown {
    id: String,
    state: String,
    figures: Figures,
}

/// A value and its labels.
type Sample<'a> = (Vec<(&'a str, String)>, u64);

impl Collector for Shown {
    fn encode(&self, mut out: DescriptorEncoder<'_>) -> fmt::Result {
        let labels = [("id", self.id.clone()), ("state", self.state.clone())];
        let about = "1 for the machine's name and state";
        let mut family = out.encode_descriptor("vmm_state", about, None, MetricType::Gauge)?;
        ConstGauge::new(1i64).encode(family.encode_family(&labels)?)?;

        let vmm = &self.figures.vmm;
        let access = |kind: &str, count| (vec![("access", kind.to_string())], count);
        let unmapped = [access("read", vmm.unmapped_reads), access("write", vmm.unmapped_writes)];
        counter(&mut out, "vmm_unmapped_accesses", "Accesses that no device covers", &unmapped)?;
        counter(&mut out, "vmm_pauses", "Pauses of the machine", &[(Vec::new(), vmm.pauses)])?;

        let exits: Vec<Sample<'_>> = (0..)
            .zip(&self.figures.vcpus)
            .flat_map(|(vcpu, counts): (u32, _)| {
                let labels =
                    move |why: &str| vec![("vcpu", vcpu.to_string()), ("reason", why.to_string())];
                counts.iter().map(move |(why, count)| (labels(why), *count))
            })
            .collect();
        counter(&mut out, "vmm_vcpu_exits", "Times that a vCPU left the guest", &exits)?;
        self.encode_single(&mut out)?;
        self.encode_pmem(&mut out)?;
        self.encode_block(&mut out)?;
        self.encode_timings(&mut out)?;
        self.encode_network(&mut out)?;
        let parts = [
            ("vsock", "vsock", &self.figures.vsock),
            ("mmds", "metadata service", &self.figures.mmds),
        ];
        for (part, whose, counts) in parts {
            for (name, count) in counts {
                let about = format!("{} of the {whose}", name.replace('_', " "));
                counter(&mut out, &format!("vmm_{part}_{name}"), &about, &[(vec![], *count)])?;
            }
        }
        Ok(())
    }
}

impl Shown {
    /// One family for each counter of what a machine has one of.
    fn encode_single(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let parts = [
            ("balloon", &self.figures.balloon),
            ("entropy", &self.figures.entropy),
            ("memory", &self.figures.hot_memory),
        ];
        for (part, counts) in parts {
            for (name, count) in counts.iter().flatten() {
                let about = format!("{} of the {part} device", name.replace('_', " "));
                counter(out, &format!("vmm_{part}_{name}"), &about, &[(Vec::new(), *count)])?;
            }
        }
        Ok(())
    }

    /// One family for each counter, whatever persistent memory it is of.
    fn encode_pmem(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let pmem = &self.figures.pmem;
        let names: BTreeSet<&str> =
            pmem.values().flat_map(|counts| counts.keys().copied()).collect();
        for name in names {
            let of = |(id, counts): (&String, &Counts)| {
                Some((vec![("pmem", id.clone())], *counts.get(name)?))
            };
            let samples: Vec<Sample<'_>> = pmem.iter().filter_map(of).collect();
            let about = format!("{} of persistent memory", name.replace('_', " "));
            counter(out, &format!("vmm_pmem_{name}"), &about, &samples)?;
        }
        Ok(())
    }

    /// One family for each counter, whatever disk it is of.
    fn encode_block(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let names: BTreeSet<&String> =
            self.figures.block.values().flat_map(BTreeMap::keys).collect();
        for name in names {
            let of = |(disk, counts): (&String, &BTreeMap<String, u64>)| {
                let count = counts.get(name).copied();
                count.map(|count| (vec![("drive", disk.clone())], count))
            };
            let samples: Vec<Sample<'_>> = self.figures.block.iter().filter_map(of).collect();
            let about = format!("{} of one disk", name.replace('_', " "));
            counter(out, &format!("vmm_block_{name}"), &about, &samples)?;
        }
        Ok(())
    }

    /// One family for all stretches of requests' way.
    fn encode_timings(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        if self.figures.block_timings.is_empty() {
            return Ok(());
        }
        let about = "Time that requests of one disk took on one stretch of their way";
        let (unit, kind) = (Some(&Unit::Seconds), MetricType::Histogram);
        let mut family = out.encode_descriptor("vmm_block_latency", about, unit, kind)?;
        for (disk, stretches) in &self.figures.block_timings {
            for (stretch, times) in stretches.clone().named() {
                let labels = [("drive", disk.as_str()), ("stretch", stretch)];
                let end = |ns: Option<u64>| ns.map_or(f64::INFINITY, seconds);
                let steps: Vec<_> = times.steps().map(|(ns, count)| (end(ns), count)).collect();
                let count = steps.iter().fold(0, |sum: u64, (_, count)| sum.wrapping_add(*count));
                let mut metric = family.encode_family(&labels)?;
                let sum = seconds(times.total_ns());
                metric.encode_histogram::<NoLabelSet>(sum, count, &steps, None)?;
            }
        }
        Ok(())
    }

    /// One family for each counter, whatever card and queue it is of.
    fn encode_network(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let blocks = || self.figures.network.values().flatten();
        let mut names: Vec<&str> = blocks().flat_map(|block| block.keys().copied()).collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            let mut samples: Vec<Sample<'_>> = Vec::new();
            for (card, queues) in &self.figures.network {
                for (queue, block) in queues.iter().enumerate() {
                    let Some(count) = block.get(name) else { continue };
                    let labels = vec![("iface", card.clone()), ("queue", queue.to_string())];
                    samples.push((labels, *count));
                }
            }
            let about = format!("{} of one queue pair", name.replace('_', " "));
            counter(out, &format!("vmm_net_{name}"), &about, &samples)?;
        }
        Ok(())
    }
}

/// Nanoseconds in seconds.
fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

fn counter(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    about: &str,
    samples: &[Sample<'_>],
) -> fmt::Result {
    let mut family = out.encode_descriptor(name, about, None, MetricType::Counter)?;
    for (labels, count) in samples {
        if labels.is_empty() {
            return ConstCounter::new(*count).encode(family);
        }
        let labels: &[(&str, String)] = labels;
        ConstCounter::new(*count).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use device_core::histogram::{Histogram, Summary};
    use devices::block::stats::Stretches;

    use super::*;
    use crate::observe::metrics::StartTimes;

    #[test]
    fn each_disk_card_queue_and_vcpu_has_its_labels() {
        let mut figures = Figures::empty(StartTimes::default());
        figures.vcpus = vec![[("mmio_reads", 3)].into(), [("mmio_reads", 4)].into()];
        let queues = vec![[("tx_frames", 1)].into(), [("tx_frames", 2), ("rx_bytes", 9)].into()];
        figures.network.insert("eth0".into(), queues);
        let counts = |reads| [("reads".to_string(), reads)].into();
        figures.block = [("root".to_string(), counts(6)), ("data".to_string(), counts(7))].into();
        let took = Histogram::default();
        for ns in [1000, 3000, 1 << 40] {
            took.record(ns, 1);
        }
        let mut stretches: Stretches<Summary> = Stretches::default();
        stretches.queue_to_submit.add(&took);
        figures.block_timings = [("root".to_string(), stretches)].into();
        figures.vmm.pauses = 5;
        figures.vsock = [("rx_bytes", 8)].into();
        figures.mmds = [("rx_count", 8)].into();
        figures.pmem = [("p".to_string(), [("flushes", 3)].into())].into();
        figures.balloon = Some([("reports", 8)].into());
        figures.entropy = Some([("bytes", 64)].into());
        let text = text("vm-1", "Running", figures).unwrap();
        for line in [
            r#"vmm_state{id="vm-1",state="Running"} 1"#,
            r#"vmm_vcpu_exits_total{vcpu="1",reason="mmio_reads"} 4"#,
            r#"vmm_net_tx_frames_total{iface="eth0",queue="1"} 2"#,
            r#"vmm_net_rx_bytes_total{iface="eth0",queue="1"} 9"#,
            r#"vmm_block_reads_total{drive="root"} 6"#,
            r#"vmm_block_reads_total{drive="data"} 7"#,
            "# TYPE vmm_block_reads counter",
            "# TYPE vmm_block_latency_seconds histogram",
            r#"vmm_block_latency_seconds_bucket{le="0.000001024",drive="root",stretch="queue_to_submit"} 1"#,
            r#"vmm_block_latency_seconds_bucket{le="0.000004096",drive="root",stretch="queue_to_submit"} 2"#,
            r#"vmm_block_latency_seconds_bucket{le="+Inf",drive="root",stretch="queue_to_submit"} 3"#,
            r#"vmm_block_latency_seconds_count{drive="root",stretch="submit_to_completion"} 0"#,
            "vmm_pauses_total 5",
            "vmm_vsock_rx_bytes_total 8",
            "vmm_mmds_rx_count_total 8",
            r#"vmm_pmem_flushes_total{pmem="p"} 3"#,
            "vmm_balloon_reports_total 8",
            "vmm_entropy_bytes_total 64",
            "# TYPE vmm_net_tx_frames counter",
        ] {
            assert!(text.lines().any(|given| given == line), "{line} is not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
