//! The figures of `make bench` as one table, at most a hundred columns wide.

use std::fmt;

/// What stands above the columns.
const HEAD: [&str; 8] = ["metric", "unit", "median", "worst", "over", "worst", "goal", ""];
/// What the table is read by.
const LEGEND: &str =
    "over: above the ideal. A goal is held against the worst: of what is over, where there is an ideal.";

/// The table: rows in the order in which they were measured.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<Row>,
}

/// One metric, measured some times. Less is better in all of them.
#[derive(Debug)]
pub struct Row {
    metric: String,
    unit: &'static str,
    values: Vec<f64>,
    over: Vec<f64>,
    goal: Option<f64>,
    /// Why there are no figures.
    skipped: Option<String>,
}

impl Table {
    /// Adds a metric with what was measured of it.
    pub fn row(&mut self, metric: impl Into<String>, unit: &'static str, values: Vec<f64>) -> &mut Row {
        let row = Row { metric: metric.into(), unit, values, over: Vec::new(), goal: None, skipped: None };
        self.rows.push(row);
        self.rows.last_mut().expect("it was pushed")
    }

    /// Adds a metric that was not measured, and why.
    pub fn skipped(&mut self, metric: impl Into<String>, unit: &'static str, why: impl Into<String>) {
        self.row(metric, unit, Vec::new()).skipped = Some(why.into());
    }

    fn goals(&self) -> impl Iterator<Item = bool> {
        self.rows.iter().filter_map(Row::is_met)
    }
}

impl Row {
    /// How much of each value is above its ideal.
    pub fn over(&mut self, over: Vec<f64>) -> &mut Self {
        self.over = over;
        self
    }

    /// What the worst may be at most: of what is over the ideal, where there is one.
    pub fn goal(&mut self, most: f64) -> &mut Self {
        self.goal = Some(most);
        self
    }

    /// Whether the goal is met; `None` where there is none, or nothing was measured.
    fn is_met(&self) -> Option<bool> {
        let judged = if self.over.is_empty() { &self.values } else { &self.over };
        Some(worst(judged)? <= self.goal?)
    }

    fn cells(&self) -> [String; 8] {
        let shown = |value: Option<f64>| value.map(|value| self.shown(value)).unwrap_or_default();
        // Of one figure there is no spread.
        let spread = |values: &[f64]| shown(worst(values).filter(|_| values.len() > 1));
        let verdict = match self.is_met() {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "",
        };
        [
            self.metric.clone(),
            self.unit.to_owned(),
            self.skipped.as_ref().map_or_else(|| shown(median(&self.values)), |why| format!("skipped: {why}")),
            spread(&self.values),
            shown(median(&self.over)),
            spread(&self.over),
            self.goal.map(|goal| format!("<= {goal}")).unwrap_or_default(),
            verdict.to_owned(),
        ]
    }

    fn shown(&self, value: f64) -> String {
        match self.unit {
            "s" => format!("{value:.2}"),
            // What is counted has no fractions, what is measured has.
            _ if self.values.iter().all(|value| value.fract() == 0.0) => format!("{value:.0}"),
            _ => format!("{value:.1}"),
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows: Vec<_> = self.rows.iter().map(|row| (row.cells(), row.skipped.is_some())).collect();
        let mut widths = HEAD.map(str::len);
        for (cells, is_skipped) in &rows {
            for (place, cell) in cells.iter().enumerate() {
                // A reason takes the room of the figures that are not there.
                if !(*is_skipped && place == 2) {
                    widths[place] = widths[place].max(cell.chars().count());
                }
            }
        }
        let mut line = |cells: &[String; 8], is_skipped: bool| {
            let mut text = String::new();
            for (place, (cell, width)) in cells.iter().zip(widths).enumerate() {
                match place {
                    0 => text += &format!("{cell:width$}"),
                    // Words begin where their column begins, figures end where it ends.
                    1 | 7 => text += &format!("  {cell:width$}"),
                    2 if is_skipped => text += &format!("  {cell}"),
                    _ if is_skipped => {}
                    _ => text += &format!("  {cell:>width$}"),
                }
            }
            writeln!(f, "{}", text.trim_end())
        };
        line(&HEAD.map(str::to_owned), false)?;
        line(&widths.map(|width| "-".repeat(width)), false)?;
        for (cells, is_skipped) in &rows {
            line(cells, *is_skipped)?;
        }
        writeln!(f, "{LEGEND}")?;
        let (goals, missed) = (self.goals().count(), self.goals().filter(|is_met| !is_met).count());
        write!(f, "goals: {} met, {missed} missed", goals - missed)
    }
}

/// The middle one; of an even number the greater of the two.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// The greatest.
fn worst(values: &[f64]) -> Option<f64> {
    values.iter().copied().max_by(f64::total_cmp)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::default();
        table.row("API serving, blue", "s", vec![120.0, 117.25, 131.5]).over(vec![1.5, 1.25, 3.25]).goal(3.0);
        table.row("no-op plan of 500: time", "ms", vec![210.0, 250.25, 190.0]).goal(500.0);
        table.row("peak memory", "MiB", vec![31.0]);
        table.skipped("import kr8s", "ms", "not installed");
        table
    }

    #[test]
    fn columns_are_aligned_and_a_missed_goal_is_seen() {
        let expected = "\
metric                   unit  median   worst  over  worst    goal
-----------------------  ----  ------  ------  ----  -----  ------  ------
API serving, blue        s     120.00  131.50  1.50   3.25    <= 3  MISSED
no-op plan of 500: time  ms     210.0   250.2               <= 500  met
peak memory              MiB       31
import kr8s              ms    skipped: not installed
over: above the ideal. A goal is held against the worst: of what is over, where there is an ideal.
goals: 1 met, 1 missed";
        assert_eq!(table().to_string(), expected);
    }

    #[test]
    fn it_fits_a_hundred_columns() {
        let mut table = table();
        table.row("rebirth: handover ready, fortress", "machines", vec![123_456.7; 5]).over(vec![1234.5; 5]).goal(0.25);
        let widest = table.to_string().lines().map(|line| line.chars().count()).max();
        assert!(widest.is_some_and(|widest| widest <= 100), "{table}");
    }

    #[test]
    fn a_goal_is_held_against_the_worst_of_what_is_over() {
        let mut table = Table::default();
        assert_eq!(table.row("a", "s", vec![9.0, 1.0]).goal(8.0).is_met(), Some(false));
        assert_eq!(table.row("b", "s", vec![9.0, 1.0]).over(vec![0.5, 0.25]).goal(8.0).is_met(), Some(true));
        assert_eq!(table.row("c", "s", Vec::new()).goal(8.0).is_met(), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
    }
}
