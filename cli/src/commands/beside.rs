//! Writes an output and verifies the input at once.

use std::{
    path::Path,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::{Result, anyhow};
use etcdsnap_engine::progress::{Progress, Step};

use super::Context;
use crate::ui::Ui;

/// Of two things done at once one is shown: the verification, and when that has ended what is left of the writing. Ends
/// when the verification has ended badly: what is written of a damaged file may have no end.
struct Behind<'u> {
    ui: &'u Ui,
    refused: &'u AtomicBool,
    writing: Mutex<Writing>,
}

/// How far the writing is.
#[derive(Default)]
struct Writing {
    shown: bool,
    /// The stages so far, the last of them under way, with their totals in bytes.
    stages: Vec<(&'static str, u64)>,
    /// Bytes done of the last one.
    done: u64,
}

impl<'u> Behind<'u> {
    fn new(ui: &'u Ui, refused: &'u AtomicBool) -> Self {
        Self { ui, refused, writing: Mutex::default() }
    }

    fn writing(&self) -> MutexGuard<'_, Writing> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows the writing from now on, and what is done of it.
    fn show(&self) {
        let mut writing = self.writing();
        writing.shown = true;
        writing.stages.iter().for_each(|(stage, total_bytes)| self.ui.begin(stage, *total_bytes));
        self.ui.advance(writing.done);
    }
}

impl Progress for Behind<'_> {
    fn begin(&self, stage: &'static str, total_bytes: u64) {
        let mut writing = self.writing();
        writing.stages.push((stage, total_bytes));
        writing.done = 0;
        if writing.shown {
            self.ui.begin(stage, total_bytes);
        }
    }
    fn advance(&self, bytes: u64) {
        let mut writing = self.writing();
        writing.done = writing.done.saturating_add(bytes);
        if writing.shown {
            self.ui.advance(bytes);
        }
    }
    fn step(&self, step: Step, path: &Path) {
        self.ui.step(step, path);
    }
    fn interrupted(&self) -> bool {
        self.refused.load(Ordering::Relaxed) || self.ui.interrupted()
    }
}

/// Runs `write` and `verify` at once. A bad verification stops the writing, whose result is then lost.
///
/// # Errors
/// As `verify`. The inner result is that of `write`.
pub fn beside<W: Send, V>(
    context: &Context,
    write: impl FnOnce(&dyn Progress) -> W + Send,
    verify: impl FnOnce() -> Result<V>,
) -> Result<(W, V)> {
    let refused = AtomicBool::new(false);
    let progress = &Behind::new(&context.ui, &refused);
    std::thread::scope(|scope| {
        let writer = scope.spawn(move || write(progress));
        let verified = verify();
        refused.store(verified.is_err(), Ordering::Relaxed);
        if verified.is_ok() {
            progress.show();
        }
        let written = writer.join().map_err(|_| anyhow!("the writing thread stopped"))?;
        Ok((written, verified?))
    })
}
