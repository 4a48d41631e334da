//! Progress on stderr, and the wish to stop.

use std::{
    io::IsTerminal as _,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use etcdsnap_engine::progress::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::{args::ProgressKind, exit::say};

/// Work shorter than this shows no bar.
const PATIENCE: Duration = Duration::from_millis(500);
/// Time between two JSON events of a stage.
const INTERVAL: Duration = Duration::from_millis(500);

/// How far the work is, shown as asked for.
#[derive(Debug)]
pub struct Ui {
    show: Show,
    stop: Arc<AtomicBool>,
}

#[derive(Debug)]
enum Show {
    Nothing,
    Bar { bar: ProgressBar, began: Instant },
    Events { stage: Mutex<Stage>, done: AtomicU64 },
}

#[derive(Debug)]
struct Stage {
    name: &'static str,
    total: u64,
    said: Instant,
}

impl Ui {
    /// Sets up what is shown, and signals: the first Ctrl-C asks the work to stop and clean up, a second
    /// one kills.
    pub fn new(quiet: bool, kind: ProgressKind) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            // Registered in this order, the first signal only sets the flag.
            signal_hook::flag::register_conditional_default(signal, Arc::clone(&stop))
                .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&stop)))
                .context("listen to signals")?;
        }
        let show = match kind {
            ProgressKind::None => Show::Nothing,
            _ if quiet => Show::Nothing,
            ProgressKind::Json => {
                let stage = Stage { name: "", total: 0, said: Instant::now() };
                Show::Events { stage: Mutex::new(stage), done: AtomicU64::new(0) }
            }
            ProgressKind::Auto if std::io::stderr().is_terminal() => {
                let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
                Show::Bar { bar, began: Instant::now() }
            }
            ProgressKind::Auto => Show::Nothing,
        };
        Ok(Self { show, stop })
    }
}

impl Progress for Ui {
    fn begin(&self, stage: &'static str, total_bytes: u64) {
        match &self.show {
            Show::Nothing => {}
            Show::Bar { bar, .. } => {
                bar.set_length(total_bytes);
                bar.set_position(0);
                bar.reset_eta();
                bar.set_message(stage);
            }
            Show::Events { stage: current, done } => {
                let mut current = current.lock().unwrap_or_else(PoisonError::into_inner);
                *current = Stage { name: stage, total: total_bytes, said: Instant::now() };
                done.store(0, Ordering::Relaxed);
                event(&current, 0);
            }
        }
    }

    fn advance(&self, bytes: u64) {
        match &self.show {
            Show::Nothing => {}
            Show::Bar { bar, began } => {
                bar.inc(bytes);
                if bar.is_hidden() && began.elapsed() > PATIENCE {
                    bar.set_draw_target(ProgressDrawTarget::stderr());
                    if let Ok(style) = ProgressStyle::with_template(
                        "{msg:<10} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
                    ) {
                        bar.set_style(style);
                    }
                }
            }
            Show::Events { stage, done } => {
                let done = done.fetch_add(bytes, Ordering::Relaxed) + bytes;
                // Whoever holds the stage is about to say something newer.
                if let Ok(mut stage) = stage.try_lock()
                    && stage.said.elapsed() > INTERVAL
                {
                    stage.said = Instant::now();
                    event(&stage, done);
                }
            }
        }
    }

    fn interrupted(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

fn event(stage: &Stage, done: u64) {
    let event = serde_json::json!({ "event": "progress", "stage": stage.name, "done": done, "total": stage.total });
    say(&event.to_string());
}

impl Drop for Ui {
    fn drop(&mut self) {
        if let Show::Bar { bar, .. } = &self.show {
            bar.finish_and_clear();
        }
    }
}
