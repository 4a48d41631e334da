//! Tables as etcdutl 3.7 draws them.

use unicode_width::UnicodeWidthStr as _;

use super::for_terminal;

/// A table: headers in capitals and centred, cells to the right.
#[derive(Debug)]
pub struct Table {
    headers: Vec<String>,
    rows: Vec<Vec<String>>,
    left: bool,
}

impl Table {
    /// A table with these headers.
    pub fn new(headers: &[&str]) -> Self {
        Self {
            headers: headers.iter().map(|header| (*header).to_owned()).collect(),
            rows: Vec::new(),
            left: false,
        }
    }

    /// One thing's fields, a row each.
    pub fn of_fields<'n>(fields: impl IntoIterator<Item = (&'n str, String)>) -> Self {
        let mut table = Self::new(&["FIELD", "VALUE"]).left();
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

    /// The table as lines.
    pub fn render(&self) -> String {
        let widths: Vec<usize> = self
            .headers
            .iter()
            .enumerate()
            .map(|(column, header)| {
                let cells =
                    self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.width());
                cells.chain([header.width()]).max().unwrap_or_default()
            })
            .collect();
        let rule = |left: &str, middle: &str, right: &str| {
            let bars: Vec<String> = widths.iter().map(|width| "─".repeat(width + 2)).collect();
            format!("{left}{}{right}\n", bars.join(middle))
        };
        let line = |cells: &[String], place: &dyn Fn(&str, usize) -> String| {
            let cells: Vec<String> = cells
                .iter()
                .zip(&widths)
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

/// An odd gap is wider on the right.
fn centred(text: &str, width: usize) -> String {
    format!("{text:^width$}")
}

#[cfg(test)]
mod tests {
    use super::*;

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
