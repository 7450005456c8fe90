//! What was measured: figures by load and hypervisor, as a table and as JSON.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::bench::figures::{Figures, row, rule};

/// A figure of a hypervisor under a load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Measure {
    /// Thousand frames a second.
    Rate,
    /// Thousand requests a second.
    Requests,
    /// Millions of bytes a second.
    Megabytes,
    /// Nanoseconds of CPU time a frame.
    Cpu,
    /// And a request.
    RequestCpu,
    /// And a KiB.
    KibCpu,
    /// Exits a frame.
    Exits,
    /// And a request.
    RequestExits,
    /// And a MiB.
    MibExits,
    /// Injected interrupts a frame.
    Interrupts,
    /// Per cent of a CPU that the busiest thread but a vCPU takes.
    Lane,
    /// And the vCPU.
    Vcpu,
    /// Nanoseconds of CPU time of who sends to the guest, a frame that it tried to send.
    Sender,
    /// Microseconds of half of the round trips or requests at most.
    P50,
    /// Of 99 in a hundred.
    P99,
    /// Milliseconds from exec to the first frame.
    FirstFrame,
    /// MiB resident beside guest memory.
    Resident,
    /// Milliseconds of CPU time from exec to the answer that a snapshot is loaded.
    LoadCpu,
    /// Milliseconds from exec to that answer, of half of the runs at most.
    LoadP50,
    /// Of 99 in a hundred.
    LoadP99,
    /// Milliseconds from exec to the first frame of a machine that goes on, of half of the runs at most.
    FrameP50,
    /// Of 99 in a hundred.
    FrameP99,
    /// Milliseconds from exec until the guest has been to each of its pages.
    WorkDone,
    /// Page faults of the threads that run or serve the guest until then.
    Faults,
    /// Those of them that waited for the disk.
    MajorFaults,
    /// Millions of bytes a second that a snapshot is written with, of what is not zero.
    Saved,
}

impl Measure {
    const ALL: [Self; 26] = [
        Self::Rate,
        Self::Requests,
        Self::Megabytes,
        Self::Cpu,
        Self::RequestCpu,
        Self::KibCpu,
        Self::Exits,
        Self::RequestExits,
        Self::MibExits,
        Self::Interrupts,
        Self::Lane,
        Self::Vcpu,
        Self::Sender,
        Self::P50,
        Self::P99,
        Self::FirstFrame,
        Self::Resident,
        Self::LoadCpu,
        Self::LoadP50,
        Self::LoadP99,
        Self::FrameP50,
        Self::FrameP99,
        Self::WorkDone,
        Self::Faults,
        Self::MajorFaults,
        Self::Saved,
    ];

    fn title(self) -> &'static str {
        match self {
            Self::Rate => "1000 frames/s",
            Self::Requests => "1000 requests/s",
            Self::Megabytes => "MB/s",
            Self::Cpu => "ns of CPU a frame",
            Self::RequestCpu => "ns of CPU a request",
            Self::KibCpu => "ns of CPU a KiB",
            Self::Exits => "exits a frame",
            Self::RequestExits => "exits a request",
            Self::MibExits => "exits a MiB",
            Self::Interrupts => "interrupts a frame",
            Self::Lane => "busiest lane, %",
            Self::Vcpu => "vCPU, %",
            Self::Sender => "sender, ns of CPU a frame",
            Self::P50 => "p50, us",
            Self::P99 => "p99, us",
            Self::FirstFrame => "exec to first frame, ms",
            Self::Resident => "resident beside the guest, MiB",
            Self::LoadCpu => "load answered, ms of CPU",
            Self::LoadP50 => "load answered, p50 ms",
            Self::LoadP99 => "p99 ms",
            Self::FrameP50 => "restored to first frame, p50 ms",
            Self::FrameP99 => "p99 ms",
            Self::WorkDone => "to the guest's round of pages, ms",
            Self::Faults => "page faults of the guest until then",
            Self::MajorFaults => "of them from the disk",
            Self::Saved => "saved, MB/s",
        }
    }

    fn key(self) -> &'static str {
        match self {
            Self::Rate => "kframes_per_second",
            Self::Requests => "krequests_per_second",
            Self::Megabytes => "mb_per_second",
            Self::Cpu => "cpu_ns_per_frame",
            Self::RequestCpu => "cpu_ns_per_request",
            Self::KibCpu => "cpu_ns_per_kib",
            Self::Exits => "exits_per_frame",
            Self::RequestExits => "exits_per_request",
            Self::MibExits => "exits_per_mib",
            Self::Interrupts => "interrupts_per_frame",
            Self::Lane => "lane_percent",
            Self::Vcpu => "vcpu_percent",
            Self::Sender => "sender_ns_per_frame",
            Self::P50 => "p50_us",
            Self::P99 => "p99_us",
            Self::FirstFrame => "first_frame_ms",
            Self::Resident => "resident_mib",
            Self::LoadCpu => "load_cpu_ms",
            Self::LoadP50 => "load_p50_ms",
            Self::LoadP99 => "load_p99_ms",
            Self::FrameP50 => "restored_frame_p50_ms",
            Self::FrameP99 => "restored_frame_p99_ms",
            Self::WorkDone => "restored_round_ms",
            Self::Faults => "restored_faults",
            Self::MajorFaults => "restored_major_faults",
            Self::Saved => "saved_mb_per_second",
        }
    }
}

/// All figures; loads and names come out in the order they came in.
#[derive(Default)]
pub struct Results {
    order: Vec<(String, String)>,
    figures: BTreeMap<(String, String), BTreeMap<Measure, Figures>>,
    failures: BTreeMap<(String, String), String>,
    absences: BTreeMap<(String, String), String>,
}

impl Results {
    fn key(&mut self, load: &str, name: &str) -> (String, String) {
        let key = (load.to_owned(), name.to_owned());
        if !self.order.contains(&key) {
            self.order.push(key.clone());
        }
        key
    }

    pub fn add(&mut self, load: &str, name: &str, measure: Measure, figure: f64) {
        let key = self.key(load, name);
        self.figures.entry(key).or_default().entry(measure).or_default().add(figure);
    }

    /// A run that gave no figures, and why.
    pub fn failed(&mut self, load: &str, name: &str, why: String) {
        let key = self.key(load, name);
        self.failures.insert(key, why);
    }

    /// Somebody for whom there is no such load, and why.
    pub fn absent(&mut self, load: &str, name: &str, why: &str) {
        let key = self.key(load, name);
        self.absences.insert(key, why.to_owned());
    }

    /// Whether every run gave figures.
    pub fn is_complete(&self) -> bool {
        self.failures.is_empty()
    }

    fn loads(&self) -> Vec<&str> {
        let mut loads: Vec<&str> = Vec::new();
        for (load, _) in &self.order {
            if !loads.contains(&load.as_str()) {
                loads.push(load);
            }
        }
        loads
    }

    fn of(&self, load: &str) -> impl Iterator<Item = &(String, String)> {
        self.order.iter().filter(move |(other, _)| other == load)
    }

    /// A table for each load: medians, least and greatest in brackets.
    pub fn tell(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for load in self.loads() {
            let measured = |measure: &Measure| {
                self.of(load).any(|key| {
                    self.figures.get(key).is_some_and(|figures| figures.contains_key(measure))
                })
            };
            let measures: Vec<_> = Measure::ALL.into_iter().filter(measured).collect();
            let mut head = vec![load.to_owned()];
            head.extend(measures.iter().map(|measure| measure.title().to_owned()));
            lines.extend([String::new(), row(&head), rule(head.len())]);
            for key in self.of(load) {
                let figures = self.figures.get(key);
                let cell = |measure| figures?.get(measure).map(Figures::to_string);
                let mut cells = vec![key.1.clone()];
                cells.extend(measures.iter().map(|m| cell(m).unwrap_or_else(|| "–".to_owned())));
                lines.push(row(&cells));
            }
            for key in self.of(load) {
                if let Some(why) = self.failures.get(key) {
                    lines.push(format!("{} did not run: {why}", key.1));
                }
                if let Some(why) = self.absences.get(key) {
                    lines.push(format!("{}: {why}", key.1));
                }
            }
        }
        lines
    }

    /// The same, for programs.
    pub fn json(&self) -> Value {
        let runs = self.order.iter().map(|key| {
            let figures = self.figures.get(key).into_iter().flatten().map(|(measure, figures)| {
                let value = json!({
                    "median": figures.median(),
                    "min": figures.min(),
                    "max": figures.max(),
                    "runs": figures.count(),
                });
                (measure.key().to_owned(), value)
            });
            json!({
                "load": key.0,
                "name": key.1,
                "failed": self.failures.get(key),
                "absent": self.absences.get(key),
                "figures": figures.collect::<serde_json::Map<_, _>>(),
            })
        });
        json!({ "results": runs.collect::<Vec<_>>() })
    }
}

#[cfg(test)]
#[path = "table_test.rs"]
mod tests;
