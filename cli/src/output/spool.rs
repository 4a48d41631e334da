//! An answer that may be as long as the input: nothing of it is shown before all of it can be trusted.

use std::io::{self, Seek as _, Write};

use tempfile::SpooledTempFile;

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
