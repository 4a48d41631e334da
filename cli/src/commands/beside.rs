//! Writes while the input is verified; nothing gets its name before that has ended well.

use std::{
    io,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use anyhow::{Result, anyhow};
use etcdsnap_engine::progress::{Progress, Step};

use super::Context;
use crate::{input::Input, ui::Ui};

/// Asked by who writes, last: whether everything that was read can be trusted.
pub type Settled<'s> = Box<dyn FnOnce() -> io::Result<()> + 's>;

/// Reports nothing: of two things done at once, the other one is reported. Ends when that has ended badly: what is
/// written of a damaged file may have no end.
struct Unreported<'u> {
    ui: &'u Ui,
    refused: &'u AtomicBool,
}

impl Progress for Unreported<'_> {
    fn begin(&self, _: &'static str, _: u64) {}
    fn advance(&self, _: u64) {}
    fn step(&self, step: Step, path: &Path) {
        self.ui.step(step, path);
    }
    fn interrupted(&self) -> bool {
        self.refused.load(Ordering::Relaxed) || self.ui.interrupted()
    }
}

/// Does `write` and `verify` side by side; what `write` is given as settled waits for `verify`.
pub fn beside<W: Send, V>(
    context: &Context,
    input: &Input,
    write: impl FnOnce(&dyn Progress, Settled<'_>) -> W + Send,
    verify: impl FnOnce() -> Result<V>,
) -> Result<(W, V)> {
    let refused = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (tell, told) = std::sync::mpsc::channel();
        let progress = Unreported { ui: &context.ui, refused: &refused };
        let writer = scope.spawn(move || {
            let settled: Settled<'_> = Box::new(move || match told.recv() {
                Ok(()) => input.settle().map_err(io::Error::other),
                Err(_) => Err(io::Error::other("it is damaged")),
            });
            write(&progress, settled)
        });
        let verified = verify();
        refused.store(verified.is_err(), Ordering::Relaxed);
        match &verified {
            // A writer that failed already listens no more.
            Ok(_) => drop(tell.send(())),
            Err(_) => drop(tell),
        }
        let written = writer.join().map_err(|_| anyhow!("the writing thread stopped"))?;
        Ok((written, verified?))
    })
}
