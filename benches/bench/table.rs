//! The results of all rounds, and the table that shows them.

/// The unit of a value.
#[derive(Clone, Copy)]
pub(crate) enum Unit {
    RecordsPerSecond,
    Microseconds,
    Nanoseconds,
    Bytes,
    /// A value divided by the value of raw libzmq.
    Part,
}

/// A row: the values of all rounds.
struct Row {
    name: String,
    unit: Unit,
    ours: Vec<f64>,
    /// The values of raw libzmq, or of the other thing to compare with, in the same rounds. Empty when there is nothing
    /// to compare with.
    raw: Vec<f64>,
}

/// The results, in the order in which the first round measured them.
pub(crate) struct Table {
    /// The names of the columns: to compare with, measured, and the ratio of both.
    columns: [&'static str; 3],
    rows: Vec<Row>,
    /// What could not be measured, and why.
    notes: Vec<String>,
}

impl Table {
    pub(crate) fn new(columns: [&'static str; 3]) -> Table {
        Table { columns, rows: Vec::new(), notes: Vec::new() }
    }

    /// Adds a value of this round, and the value to compare with.
    pub(crate) fn add(&mut self, name: &str, unit: Unit, ours: f64, raw: Option<f64>) {
        let part = raw.map_or(String::new(), |raw| format!(" ({}: {:.3})", self.columns[2], ours / raw));
        eprintln!("{name}: {}{part}", cells(&[ours], unit)[0]);
        let at = self.rows.iter().position(|row| row.name == name).unwrap_or_else(|| {
            self.rows.push(Row { name: name.to_owned(), unit, ours: Vec::new(), raw: Vec::new() });
            self.rows.len() - 1
        });
        self.rows[at].ours.push(ours);
        self.rows[at].raw.extend(raw);
    }

    /// Notes that something cannot be measured here.
    pub(crate) fn note(&mut self, text: String) {
        if !self.notes.contains(&text) {
            eprintln!("{text}");
            self.notes.push(text);
        }
    }

    /// Prints the table in Markdown, unless it is empty.
    pub(crate) fn print(&self) {
        if self.rows.is_empty() {
            return;
        }
        let [raw, ours, part] = self.columns;
        println!("| measurement | {raw} | {ours} | min..max | {part} | min..max |");
        println!("| --- | ---: | ---: | ---: | ---: | ---: |");
        for Row { name, unit, ours, raw } in &self.rows {
            let parts: Vec<f64> = ours.iter().zip(raw).map(|(ours, raw)| ours / raw).collect();
            let [raw, _] = cells(raw, *unit);
            let [ours, spread] = cells(ours, *unit);
            let [part, part_spread] = cells(&parts, Unit::Part);
            println!("| {name} | {raw} | {ours} | {spread} | {part} | {part_spread} |");
        }
        for note in &self.notes {
            println!("\n{note}");
        }
        println!();
    }
}

/// The median of the values, and their minimum and maximum in the same unit. Both texts are empty if there are no
/// values.
fn cells(values: &[f64], unit: Unit) -> [String; 2] {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(&median) = sorted.get(sorted.len() / 2) else { return Default::default() };
    let scale = Scale::of(median, unit);
    let (min, max) = (scale.number(sorted[0]), scale.number(sorted[sorted.len() - 1]));
    [format!("{}{}", scale.number(median), scale.unit), format!("{min}..{max}")]
}

/// How a value is written.
struct Scale {
    divisor: f64,
    decimals: usize,
    unit: &'static str,
}

impl Scale {
    /// The scale in which `value` is readable.
    fn of(value: f64, unit: Unit) -> Scale {
        let (divisor, decimals, unit) = match unit {
            Unit::RecordsPerSecond if value >= 1e6 => (1e6, 2, " M/s"),
            Unit::RecordsPerSecond if value >= 1e4 => (1e3, 0, " k/s"),
            Unit::RecordsPerSecond => (1e3, 1, " k/s"),
            Unit::Microseconds if value >= 1e3 => (1e3, 1, " ms"),
            Unit::Microseconds => (1.0, 0, " us"),
            Unit::Nanoseconds => (1.0, 0, " ns"),
            Unit::Bytes => (1e6, 0, " MB"),
            Unit::Part => (1.0, 2, ""),
        };
        Scale { divisor, decimals, unit }
    }

    fn number(&self, value: f64) -> String {
        format!("{:.*}", self.decimals, value / self.divisor)
    }
}

/// A number with commas between thousands.
pub(crate) fn grouped(number: u64) -> String {
    if number < 1_000 {
        number.to_string()
    } else {
        format!("{},{:03}", grouped(number / 1_000), number % 1_000)
    }
}
