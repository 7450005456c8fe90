//! Counting what test programs report: passed, failed and skipped tests, by name.

/// Results of one step, or of all.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Tally {
    pub passed: Vec<String>,
    pub failed: Vec<String>,
    pub skipped: Vec<String>,
    /// Tests that were run more than once, and why.
    pub repeated: Vec<String>,
    /// A test whose result other output has put on a line of its own.
    pub begun: Option<String>,
}

impl Tally {
    /// Takes in one line of output of libtest or of a runner that prints like it; returns the test
    /// that it tells of.
    pub fn read(&mut self, line: &str) -> Option<String> {
        let begun = self.begun.take();
        let (name, result) =
            match line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... ")) {
                Some((name, result)) => (name.trim().to_owned(), result.trim()),
                None => (begun?, line.trim()),
            };
        if result == "ok" {
            self.passed.push(name.clone());
        } else if result == "FAILED" {
            self.failed.push(name.clone());
        } else if let Some(reason) = result.strip_prefix("ignored") {
            // libtest writes `ignored, why`, libtest-mimic `ignored (why)`.
            let reason = reason.trim_matches([',', ' ', '(', ')']);
            let why = if reason.is_empty() { "no reason given" } else { reason };
            self.skipped.push(format!("{name}: {why}"));
        } else {
            self.begun = Some(name);
            return None;
        }
        Some(name)
    }

    /// What is said of a test that was skipped.
    pub fn why_skipped(&self, name: &str) -> Option<&String> {
        let of_it = |line: &&String| line.strip_prefix(name).is_some_and(|l| l.starts_with(": "));
        self.skipped.iter().find(of_it)
    }

    /// Whether there is a word about this test.
    pub fn has(&self, name: &str) -> bool {
        self.passed.iter().chain(&self.failed).any(|told| told == name)
            || self.why_skipped(name).is_some()
    }

    /// Adds what another one of the same step has.
    pub fn append(&mut self, other: Self) {
        self.passed.extend(other.passed);
        self.failed.extend(other.failed);
        self.skipped.extend(other.skipped);
        self.repeated.extend(other.repeated);
    }

    /// Adds another tally, its names after the step's.
    pub fn add(&mut self, step: &str, other: &Self) {
        let named = |names: &[String]| {
            names.iter().map(|name| format!("{step}: {name}")).collect::<Vec<_>>()
        };
        self.passed.extend(named(&other.passed));
        self.failed.extend(named(&other.failed));
        self.skipped.extend(named(&other.skipped));
        self.repeated.extend(named(&other.repeated));
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} passed, {} failed, {} skipped",
            self.passed.len(),
            self.failed.len(),
            self.skipped.len()
        )
    }
}

#[cfg(test)]
#[path = "tally_test.rs"]
mod tests;
