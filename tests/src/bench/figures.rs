//! Figures of one thing measured several times, and the lines of a Markdown table they make.

use std::fmt;

/// Figures of several runs.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Figures(Vec<f64>);

impl Figures {
    pub fn add(&mut self, figure: f64) {
        let at = self.0.partition_point(|&other| other < figure);
        self.0.insert(at, figure);
    }

    /// How many runs there were.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    pub fn min(&self) -> f64 {
        self.0.first().copied().unwrap_or(f64::NAN)
    }

    pub fn max(&self) -> f64 {
        self.0.last().copied().unwrap_or(f64::NAN)
    }

    /// The one in the middle, or the mean of the two there; no number of none.
    pub fn median(&self) -> f64 {
        let middle = self.0.len() / 2;
        match (self.0.len() % 2, self.0.get(middle.wrapping_sub(1)..=middle)) {
            (0, Some([low, high])) => f64::midpoint(*low, *high),
            _ => self.0.get(middle).copied().unwrap_or(f64::NAN),
        }
    }
}

impl fmt::Display for Figures {
    /// Median, and least and greatest in brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [min, median, max] = [self.min(), self.median(), self.max()].map(short);
        write!(f, "{median} ({min} to {max})")
    }
}

/// A number with three digits that count.
fn short(number: f64) -> String {
    let digits = match number.abs() {
        n if n >= 100.0 => 0,
        n if n >= 10.0 => 1,
        _ => 2,
    };
    format!("{number:.digits$}")
}

/// A target and whether it is met.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Target {
    AtMost(f64),
    AtLeast(f64),
}

impl Target {
    pub fn met_by(self, figure: f64) -> bool {
        match self {
            Self::AtMost(limit) => figure <= limit,
            Self::AtLeast(limit) => figure >= limit,
        }
    }

    /// The target, and whether `figure` meets it.
    pub fn judge(self, figure: f64) -> String {
        let (sign, limit) = match self {
            Self::AtMost(limit) => ("≤", limit),
            Self::AtLeast(limit) => ("≥", limit),
        };
        let verdict = if self.met_by(figure) { "met" } else { "missed" };
        format!("{sign} {limit}, {verdict}")
    }
}

/// A line of a Markdown table.
pub fn row(cells: &[impl AsRef<str>]) -> String {
    let cells: Vec<_> = cells.iter().map(AsRef::as_ref).collect();
    format!("| {} |", cells.join(" | "))
}

/// The line below the head of a Markdown table.
pub fn rule(columns: usize) -> String {
    format!("|{}", "---|".repeat(columns))
}

#[cfg(test)]
#[path = "figures_test.rs"]
mod tests;
