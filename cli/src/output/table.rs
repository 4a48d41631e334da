//! Tables as etcdutl 3.7 draws them.

use unicode_width::UnicodeWidthStr as _;

use super::{for_terminal, terminal, wrap::within};

/// A table: headers in capitals and centred, cells to the right.
#[derive(Debug)]
pub struct Table {
    headers: Vec<String>,
    rows: Vec<Vec<String>>,
    left: bool,
    /// Whether the last column is broken into lines where the terminal is narrower.
    breaks: bool,
}

impl Table {
    /// A table with these headers.
    pub fn new(headers: &[&str]) -> Self {
        Self {
            headers: headers.iter().map(|header| (*header).to_owned()).collect(),
            rows: Vec::new(),
            left: false,
            breaks: false,
        }
    }

    /// One thing's fields, a row each.
    pub fn of_fields<'n>(fields: impl IntoIterator<Item = (&'n str, String)>) -> Self {
        let mut table = Self::new(&["FIELD", "VALUE"]).left();
        table.breaks = true;
        fields.into_iter().for_each(|(name, value)| table.row(vec![name.to_owned(), value]));
        table
    }

    /// Aligns cells to the left: for text.
    pub fn left(mut self) -> Self {
        self.left = true;
        self
    }

    /// Adds a row, a cell for each header. A line break in a cell would tear the frame: cells are escaped.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells.iter().map(|cell| for_terminal(cell.trim().as_bytes())).collect());
    }

    /// The table as lines. Where the terminal is narrower, columns are left out from the right, and that is said; of one
    /// thing's fields, the values are broken into lines.
    pub fn render(&self) -> String {
        self.within(terminal::columns())
    }

    fn within(&self, columns: Option<usize>) -> String {
        let widths = self.widths();
        let shown = columns.map_or(widths.len(), |columns| fitting(&widths, columns));
        if shown < widths.len() && self.breaks {
            return self.broken(columns.unwrap_or_default()).framed_as_it_is();
        }
        let Some(left_out) = self.headers.get(shown..).filter(|headers| !headers.is_empty()) else {
            return self.framed(&widths);
        };
        let narrow = Table {
            headers: self.headers.iter().take(shown).cloned().collect(),
            rows: self.rows.iter().map(|row| row.iter().take(shown).cloned().collect()).collect(),
            left: self.left,
            breaks: false,
        };
        narrow.framed_as_it_is() + &within("left out: ", &left_out.join(", "), columns)
    }

    /// The same with the last column broken at words, so that the frame has `columns` characters where that can be.
    fn broken(&self, columns: usize) -> Self {
        let mut widths = self.widths();
        let last = widths.pop().unwrap_or_default();
        let others: usize = widths.iter().map(|width| width + 3).sum();
        let room = columns.saturating_sub(others + 4).clamp(1, last.max(1));
        let mut rows = Vec::new();
        for row in &self.rows {
            let mut lead: Vec<String> = row.iter().take(widths.len()).cloned().collect();
            let value = row.last().map(String::as_str).unwrap_or_default();
            for line in within("", value, Some(room)).lines() {
                let mut cells = lead.clone();
                cells.push(line.to_owned());
                rows.push(cells);
                lead.iter_mut().for_each(String::clear);
            }
        }
        Self { headers: self.headers.clone(), rows, left: self.left, breaks: false }
    }

    fn framed_as_it_is(&self) -> String {
        self.framed(&self.widths())
    }

    fn widths(&self) -> Vec<usize> {
        let width = |(column, header): (usize, &String)| {
            let cells = self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.width());
            cells.chain([header.width()]).max().unwrap_or_default()
        };
        self.headers.iter().enumerate().map(width).collect()
    }

    fn framed(&self, widths: &[usize]) -> String {
        let rule = |left: &str, middle: &str, right: &str| {
            let bars: Vec<String> = widths.iter().map(|width| "─".repeat(width + 2)).collect();
            format!("{left}{}{right}\n", bars.join(middle))
        };
        let line = |cells: &[String], place: &dyn Fn(&str, usize) -> String| {
            let cells: Vec<String> = cells
                .iter()
                .zip(widths)
                .map(|(cell, width)| format!(" {} ", place(cell, *width)))
                .collect();
            format!("│{}│\n", cells.join("│"))
        };
        let mut out = rule("┌", "┬", "┐");
        out += &line(&self.headers, &|cell, width| centred(cell, width));
        // Without rows there is no line between header and bottom.
        if !self.rows.is_empty() {
            out += &rule("├", "┼", "┤");
        }
        for row in &self.rows {
            out += &line(row, &|cell, width| {
                let gap = " ".repeat(width.saturating_sub(cell.width()));
                if self.left { format!("{cell}{gap}") } else { format!("{gap}{cell}") }
            });
        }
        out + &rule("└", "┴", "┘")
    }
}

/// How many columns of these widths a frame of `columns` characters holds; one at least.
fn fitting(widths: &[usize], columns: usize) -> usize {
    let mut used = 1;
    let fits = widths.iter().take_while(|width| {
        // A space on either side, and the bar.
        used += **width + 3;
        used <= columns
    });
    fits.count().max(1)
}

/// An odd gap is wider on the right.
fn centred(text: &str, width: usize) -> String {
    format!("{text:^width$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_left_out_from_the_right_and_the_first_stays() {
        // Frames of 10, 20 and 34 characters.
        let widths = [6, 7, 11];
        for (columns, shown) in [(80, 3), (34, 3), (33, 2), (20, 2), (19, 1), (10, 1), (3, 1)] {
            assert_eq!(fitting(&widths, columns), shown, "{columns}");
        }
    }

    #[test]
    fn values_of_fields_are_broken_and_not_left_out() {
        let buckets = "alarm auth key lease".to_owned();
        let table = Table::of_fields([("Kind", "db".to_owned()), ("Buckets", buckets)]);
        let expected = "\
┌─────────┬────────────┐
│  FIELD  │   VALUE    │
├─────────┼────────────┤
│ Kind    │ db         │
│ Buckets │ alarm auth │
│         │ key lease  │
└─────────┴────────────┘
";
        assert_eq!(table.within(Some(24)), expected);
        assert_eq!(table.within(None).lines().count(), 6);
    }

    #[test]
    fn the_frame_is_etcdutls() {
        let mut table = Table::new(&["HASH", "REVISION"]);
        table.row(vec!["4cd0fbd".into(), "2579".into()]);
        let expected = "\
┌─────────┬──────────┐
│  HASH   │ REVISION │
├─────────┼──────────┤
│ 4cd0fbd │     2579 │
└─────────┴──────────┘
";
        assert_eq!(table.render(), expected);
    }
}
