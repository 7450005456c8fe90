//! Counting what test programs report: passed, failed and skipped tests, by name.

/// Results of one step, or of all.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Tally {
    pub passed: Vec<String>,
    pub failed: Vec<String>,
    pub skipped: Vec<String>,
    /// Tests that were run more than once, and why.
    pub repeated: Vec<String>,
}

impl Tally {
    /// Takes in one line of output of libtest or of a runner that prints like it.
    pub fn read(&mut self, line: &str) {
        let Some((name, result)) =
            line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... "))
        else {
            return;
        };
        let name = name.trim();
        let result = result.trim();
        if result == "ok" {
            self.passed.push(name.to_owned());
        } else if result == "FAILED" {
            self.failed.push(name.to_owned());
        } else if let Some(reason) = result.strip_prefix("ignored") {
            // libtest writes `ignored, why`, libtest-mimic `ignored (why)`.
            let reason = reason.trim_matches([',', ' ', '(', ')']);
            let why = if reason.is_empty() { "no reason given" } else { reason };
            self.skipped.push(format!("{name}: {why}"));
        }
    }

    /// Whether there is a word about this test.
    pub fn has(&self, name: &str) -> bool {
        let skipped = |line: &String| line.strip_prefix(name).is_some_and(|l| l.starts_with(": "));
        self.passed.iter().chain(&self.failed).any(|told| told == name)
            || self.skipped.iter().any(skipped)
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
