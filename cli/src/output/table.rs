//! Tables as etcdutl 3.7 draws them (tablewriter 1.1): a box, headers centred, cells to the right.

use unicode_width::UnicodeWidthStr;

use super::escape;

/// To which side the cells of a table lean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// As etcdutl and etcdctl do it.
    Right,
    /// For tables of ours that hold sentences.
    Left,
}

/// Draws `rows` under `header`, which is given in capitals. Cells are trimmed, and escaped: a line break in one would
/// tear the box.
pub fn render<const N: usize>(header: [&str; N], rows: &[[String; N]], align: Align) -> String {
    let rows: Vec<[String; N]> = rows
        .iter()
        .map(|row| row.each_ref().map(|cell| escape::for_terminal(cell.trim().as_bytes())))
        .collect();
    let mut widths = header.map(UnicodeWidthStr::width);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.width());
        }
    }
    let mut out = rule(&widths, ["┌", "┬", "┐"]);
    out += &line(&widths, header, |cell, gap| (gap / 2, cell, gap - gap / 2));
    // Without rows there is no line between header and bottom.
    if !rows.is_empty() {
        out += &rule(&widths, ["├", "┼", "┤"]);
    }
    for row in &rows {
        out += &line(&widths, row.each_ref().map(String::as_str), |cell, gap| match align {
            Align::Right => (gap, cell, 0),
            Align::Left => (0, cell, gap),
        });
    }
    out + &rule(&widths, ["└", "┴", "┘"])
}

fn rule(widths: &[usize], [left, middle, right]: [&str; 3]) -> String {
    let parts: Vec<String> = widths.iter().map(|width| "─".repeat(width + 2)).collect();
    format!("{left}{}{right}\n", parts.join(middle))
}

fn line<'a, const N: usize>(
    widths: &[usize; N],
    cells: [&'a str; N],
    place: impl Fn(&'a str, usize) -> (usize, &'a str, usize),
) -> String {
    let parts: Vec<String> = cells
        .into_iter()
        .zip(widths)
        .map(|(cell, width)| {
            let (before, cell, after) = place(cell, width.saturating_sub(cell.width()));
            format!(" {}{cell}{} ", " ".repeat(before), " ".repeat(after))
        })
        .collect();
    format!("│{}│\n", parts.join("│"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMBERS: [&str; 6] = ["ID", "STATUS", "NAME", "PEER ADDRS", "CLIENT ADDRS", "IS LEARNER"];

    // The boxes below were drawn by tablewriter 1.1.4.

    #[test]
    fn wide_cells_widen_their_column_and_centre_its_header() {
        let row = ["4cd0fbd9123", "9223372036854775807", "1234567890123", "688 kB", "3.6.0-alpha"]
            .map(String::from);
        let header = ["HASH", "REVISION", "TOTAL KEYS", "TOTAL SIZE", "VERSION"];
        let expected = "\
┌─────────────┬─────────────────────┬───────────────┬────────────┬─────────────┐
│    HASH     │      REVISION       │  TOTAL KEYS   │ TOTAL SIZE │   VERSION   │
├─────────────┼─────────────────────┼───────────────┼────────────┼─────────────┤
│ 4cd0fbd9123 │ 9223372036854775807 │ 1234567890123 │     688 kB │ 3.6.0-alpha │
└─────────────┴─────────────────────┴───────────────┴────────────┴─────────────┘
";
        assert_eq!(render(header, &[row], Align::Right), expected);
    }

    #[test]
    fn widths_are_counted_in_columns_of_a_terminal() {
        let row = ["日本語", "abcd", "abcde", " x  "].map(String::from);
        let expected = "\
┌────────┬──────┬───────┬──────┐
│  HASH  │  A   │  AB   │ 日本 │
├────────┼──────┼───────┼──────┤
│ 日本語 │ abcd │ abcde │    x │
└────────┴──────┴───────┴──────┘
";
        assert_eq!(render(["HASH", "A", "AB", "日本"], &[row], Align::Right), expected);
    }

    #[test]
    fn a_table_without_rows_is_a_header_in_a_box() {
        let expected = "\
┌────┬────────┬──────┬────────────┬──────────────┬────────────┐
│ ID │ STATUS │ NAME │ PEER ADDRS │ CLIENT ADDRS │ IS LEARNER │
└────┴────────┴──────┴────────────┴──────────────┴────────────┘
";
        assert_eq!(render(MEMBERS, &[], Align::Right), expected);
    }

    #[test]
    fn a_cell_cannot_tear_the_box() {
        let drawn = render(["NAME"], &[["a\nb\x1b[2J".to_string()]], Align::Left);
        let expected = "\
┌─────────────┐
│    NAME     │
├─────────────┤
│ a\\nb\\x1b[2J │
└─────────────┘
";
        assert_eq!(drawn, expected);
    }
}
