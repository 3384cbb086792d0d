//! Rows of measurements: how they are summed up and printed. Measures nothing itself.

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
    pub unit: &'static str,
    /// What it should not exceed, where there is such a bar.
    pub bar: Option<f64>,
}

impl Row {
    /// Sums up samples.
    pub fn from_samples(
        what: impl Into<String>,
        unit: &'static str,
        bar: Option<f64>,
        mut samples: Vec<f64>,
    ) -> Row {
        samples.sort_by(f64::total_cmp);
        let at = |n: usize| samples.get(n).copied().unwrap_or(f64::NAN);
        let (median, spread) = (at(samples.len() / 2), (at(0), at(samples.len().saturating_sub(1))));
        Row { what: what.into(), median, spread, samples: samples.len(), unit, bar }
    }

    fn to_json(&self) -> Value {
        json!({"what": self.what, "median": self.median, "min": self.spread.0, "max": self.spread.1,
               "samples": self.samples, "unit": self.unit, "bar": self.bar})
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
    println!("{:<64} {:>10} {:>23} {:>4}  bar", "what", "median", "min … max", "n");
    for row in rows {
        let bar = row.bar.map_or(String::new(), |bar| {
            format!("≤ {bar} {}", if row.median <= bar { "met" } else { "MISSED" })
        });
        println!(
            "{:<64} {:>7.2} {:<2} {:>10.2} … {:<10.2} {:>4}  {bar}",
            row.what, row.median, row.unit, row.spread.0, row.spread.1, row.samples
        );
    }
    Ok(())
}
