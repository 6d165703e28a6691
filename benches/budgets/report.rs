//! The table: rows with a budget, what was measured, and whether that meets it.
//!
//! A child prints its rows as lines of fields with tabs between them; the parent reads them back
//! and prints the whole.

use std::fmt;
use std::fs;

use crate::numbers::grouped;

const MARK: &str = "row";

/// Percent of the processors that others may take before a row is no longer measured alone.
const OTHERS_PERCENT_MAX: u64 = 10;

/// One row.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    what: String,
    budget: String,
    measured: String,
    verdict: String,
}

/// Which side of a budget is good.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Budget {
    /// The measured value is to be at least so much.
    AtLeast(f64),
    /// The measured value is to be at most so much.
    AtMost(f64),
}

impl Row {
    /// A value against its budget, in `unit`. `note` says what else belongs to it.
    pub(crate) fn against(
        what: &str,
        budget: Budget,
        (value, unit): (f64, &str),
        note: &str,
    ) -> Self {
        let (sign, limit, met) = match budget {
            Budget::AtLeast(limit) => (">=", limit, value >= limit),
            Budget::AtMost(limit) => ("<=", limit, value <= limit),
        };
        let verdict = if met { "met" } else { "missed" };
        Self {
            what: what.to_owned(),
            budget: format!("{sign} {}", amount(limit, unit)),
            measured: with_note(&amount(value, unit), note),
            verdict: format!("{:.2} {verdict}", value / limit),
        }
    }

    /// A value that is reported beside the budgets.
    pub(crate) fn beside(what: &str, (value, unit): (f64, &str), note: &str) -> Self {
        Self {
            what: what.to_owned(),
            budget: "-".to_owned(),
            measured: with_note(&amount(value, unit), note),
            verdict: "-".to_owned(),
        }
    }

    /// A row that was not measured, and why.
    pub(crate) fn not_run(what: &str, budget: &str, why: &str) -> Self {
        Self {
            what: what.to_owned(),
            budget: budget.to_owned(),
            measured: format!("not run: {why}"),
            verdict: "-".to_owned(),
        }
    }

    /// Hands the row to whoever started this process.
    pub(crate) fn print(&self) {
        let Self {
            what,
            budget,
            measured,
            verdict,
        } = self;
        println!("{MARK}\t{what}\t{budget}\t{measured}\t{verdict}");
    }

    /// The row without its verdict, if others took more of the processors than they may.
    pub(crate) fn measured_beside(mut self, others_percent: Option<u64>) -> Self {
        if let Some(percent) = others_percent
            && percent > OTHERS_PERCENT_MAX
            && self.verdict != "-"
        {
            self.verdict = format!("not alone: others took {percent} %");
        }
        self
    }

    /// The row of a line that [`Row::print`] wrote.
    pub(crate) fn from_line(line: &str) -> Option<Self> {
        let mut fields = line.split('\t').map(str::to_owned);
        let (mark, what) = (fields.next()?, fields.next()?);
        let (budget, measured, verdict) = (fields.next()?, fields.next()?, fields.next()?);
        (mark == MARK).then_some(Self {
            what,
            budget,
            measured,
            verdict,
        })
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            what,
            budget,
            measured,
            verdict,
        } = self;
        write!(f, "| {what} | {budget} | {measured} | {verdict} |")
    }
}

/// Ratios have no unit and two digits more than counts.
fn amount(value: f64, unit: &str) -> String {
    match unit {
        "" => format!("{value:.2}"),
        "s" | "ms" => format!("{value:.2} {unit}"),
        _ => format!("{} {unit}", grouped(value)),
    }
}

fn with_note(measured: &str, note: &str) -> String {
    if note.is_empty() {
        measured.to_owned()
    } else {
        format!("{measured}; {note}")
    }
}

/// All rows, with the machine that they were measured on.
#[derive(Debug)]
pub(crate) struct Report {
    rows: Vec<Row>,
    load_before: String,
}

impl Report {
    pub(crate) fn start() -> Self {
        Self {
            rows: Vec::new(),
            load_before: load(),
        }
    }

    pub(crate) fn add(&mut self, row: Row) {
        self.rows.push(row);
    }

    pub(crate) fn print(&self) {
        println!("| what | budget | measured | measured / budget |");
        println!("|---|---|---|---|");
        for row in &self.rows {
            println!("{row}");
        }
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        println!();
        println!(
            "{cores} cores ({}); load average {} before, {} after.",
            processor(),
            self.load_before,
            load(),
        );
    }
}

fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let one_minute = text.split(' ').next().unwrap_or("?");
    one_minute.to_owned()
}

fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let name = name.and_then(|rest| rest.split_once(": "));
    name.map_or("?", |(_, name)| name).to_owned()
}
