//! One file per command: arguments into an engine call, a report into output.

use crate::args::{Command, GlobalArgs};
use crate::exit::Exit;
use crate::output::Output;
use crate::ui::Ui;

/// What every command is given beside its own arguments.
pub struct Context {
    /// Flags of every command.
    pub global: GlobalArgs,
    /// Where answers go.
    pub output: Output,
    /// Progress, and the wish to stop.
    pub ui: Ui,
}

/// Carries out `command`.
///
/// # Errors
/// Whatever kept the command from an answer; [`crate::exit`] gives it a code.
pub fn run(command: Command, _context: &Context) -> anyhow::Result<Exit> {
    anyhow::bail!("{command:?} is not connected to the engine")
}
