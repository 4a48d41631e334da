//! An answer that may be as long as the input: nothing of it is shown before all of it can be trusted.

use std::io::{self, Seek as _, Write};

use tempfile::SpooledTempFile;

use super::Table;

/// Bytes that are held in memory; what is longer goes to a file without a name in the temporary directory.
const IN_MEMORY: usize = 64 << 20;

/// Takes an answer piece by piece.
#[derive(Debug)]
pub struct Spool(SpooledTempFile);

impl Default for Spool {
    fn default() -> Self {
        Self(SpooledTempFile::new(IN_MEMORY))
    }
}

impl Spool {
    /// Adds to the answer.
    ///
    /// # Errors
    /// When the temporary directory is full.
    pub fn push(&mut self, text: &[u8]) -> anyhow::Result<()> {
        self.0.write_all(text).map_err(|error| {
            anyhow::Error::new(error).context(format!(
                "write a long answer to {} (TMPDIR names another directory)",
                std::env::temp_dir().display()
            ))
        })
    }

    /// Copies all of it to `out`.
    ///
    /// # Errors
    /// When reading or writing fails.
    pub fn copy_to(mut self, out: &mut impl Write) -> io::Result<()> {
        self.0.rewind()?;
        io::copy(&mut self.0, out).map(|_| ())
    }
}

/// Rows of a table that are held at most: columns are as wide as their cells, so a long table is several ones.
const ROWS: usize = 10_000;

/// A table that goes to a spool.
#[derive(Debug)]
pub struct LongTable {
    headers: Vec<&'static str>,
    left: bool,
    table: Table,
    rows: usize,
    begun: bool,
}

impl LongTable {
    /// A table with these headers, its cells to the left when they are text.
    pub fn new(headers: &[&'static str], left: bool) -> Self {
        let headers = headers.to_vec();
        Self { table: empty(&headers, left), headers, left, rows: 0, begun: false }
    }

    /// Adds a row, a cell for each header.
    ///
    /// # Errors
    /// As [`Spool::push`].
    pub fn row(&mut self, spool: &mut Spool, cells: Vec<String>) -> anyhow::Result<()> {
        if self.rows == ROWS {
            self.flush(spool)?;
        }
        self.table.row(cells);
        self.rows += 1;
        Ok(())
    }

    fn flush(&mut self, spool: &mut Spool) -> anyhow::Result<()> {
        let full = std::mem::replace(&mut self.table, empty(&self.headers, self.left));
        (self.rows, self.begun) = (0, true);
        spool.push(full.render().as_bytes())
    }

    /// Writes what is left; a table without rows has its headers.
    ///
    /// # Errors
    /// As [`Spool::push`].
    pub fn finish(mut self, spool: &mut Spool) -> anyhow::Result<()> {
        if self.rows > 0 || !self.begun { self.flush(spool) } else { Ok(()) }
    }
}

fn empty(headers: &[&'static str], left: bool) -> Table {
    let table = Table::new(headers);
    if left { table.left() } else { table }
}
