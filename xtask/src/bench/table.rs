//! Rows of measurements: how they are summed up and printed. Measures nothing itself.

use std::fmt::{self, Display, Formatter};

use anyhow::Result;
use serde_json::{Value, json};

/// One measured thing.
pub struct Row {
    /// What was measured.
    pub what: String,
    /// The median.
    pub median: f64,
    /// The smallest and the largest sample.
    pub spread: (f64, f64),
    /// How many samples.
    pub samples: usize,
    /// `ns`, `ms`, `×`.
    pub unit: String,
    /// What the median should be, where somebody has said so.
    pub bar: Option<Bar>,
}

/// What a median should be.
#[derive(Clone, Copy)]
pub enum Bar {
    /// No more than this.
    AtMost(f64),
    /// No less than this.
    AtLeast(f64),
}

impl Bar {
    fn is_met(self, value: f64) -> bool {
        match self {
            Bar::AtMost(most) => value <= most,
            Bar::AtLeast(least) => value >= least,
        }
    }
}

impl Display for Bar {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Bar::AtMost(most) => write!(f, "≤ {most}"),
            Bar::AtLeast(least) => write!(f, "≥ {least}"),
        }
    }
}

impl Row {
    /// Sums up samples.
    pub fn from_samples(what: impl Into<String>, unit: &str, bar: Option<Bar>, mut samples: Vec<f64>) -> Row {
        samples.sort_by(f64::total_cmp);
        let at = |n: usize| samples.get(n).copied().unwrap_or(f64::NAN);
        let (median, spread) = (at(samples.len() / 2), (at(0), at(samples.len().saturating_sub(1))));
        Row { what: what.into(), median, spread, samples: samples.len(), unit: unit.to_owned(), bar }
    }

    fn to_json(&self) -> Value {
        json!({"what": self.what, "median": self.median, "min": self.spread.0, "max": self.spread.1,
               "samples": self.samples, "unit": self.unit, "bar": self.bar.map(|bar| bar.to_string()),
               "verdict": self.bar.map(|bar| self.verdict(bar))})
    }

    /// A bar that was not tried is neither met nor missed.
    fn verdict(&self, bar: Bar) -> &'static str {
        match (self.samples, bar.is_met(self.median)) {
            (0, _) => "not measured",
            (_, true) => "met",
            (_, false) => "MISSED",
        }
    }
}

/// Prints rows, as JSON lines or as a table.
///
/// # Errors
/// None today.
pub fn print(rows: &[Row], as_json: bool) -> Result<()> {
    if as_json {
        rows.iter().for_each(|row| println!("{}", row.to_json()));
        return Ok(());
    }
    let width = rows.iter().map(|row| row.what.chars().count()).max().unwrap_or(0);
    println!("{:<width$} {:>9} {:<5} {:>22} {:>4}  bar", "what", "median", "", "min … max", "n");
    for row in rows {
        let bar = row.bar.map_or(String::new(), |bar| format!("{bar} {}", row.verdict(bar)));
        println!(
            "{:<width$} {:>9.3} {:<5} {:>9.3} … {:<9.3} {:>5}  {bar}",
            row.what, row.median, row.unit, row.spread.0, row.spread.1, row.samples
        );
    }
    Ok(())
}
