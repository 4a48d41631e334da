//! What is shown while work goes on, and the wish to stop it. All of it on stderr.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use etcdsnap_engine::progress::Progress;
use indicatif::{FormattedDuration, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use serde::Serialize;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::args::ProgressKind;
use crate::output;

/// Work that is done sooner than this shows no bar.
const PATIENCE: Duration = Duration::from_millis(500);
/// Least time between two looks at a bar or two lines of JSON.
const TICK: Duration = Duration::from_millis(200);

/// Shows progress and asks whether somebody wants us to stop.
pub struct Ui {
    quiet: bool,
    started: Instant,
    interrupt: Arc<AtomicBool>,
    /// Bytes done in this stage.
    done: AtomicU64,
    /// When to show something next, in milliseconds since the start.
    next_ms: AtomicU64,
    shown: Mutex<Shown>,
}

struct Shown {
    how: How,
    stage: Option<Stage>,
}

enum How {
    Nothing,
    Bar(Option<ProgressBar>),
    Json(Box<dyn Write + Send>),
}

struct Stage {
    name: &'static str,
    total: u64,
    started: Instant,
}

/// One line of `--progress json`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    event: &'static str,
    stage: &'static str,
    done_bytes: u64,
    total_bytes: u64,
    /// Since the stage began.
    seconds: f64,
    bytes_per_second: u64,
    /// Absent while nothing is done yet.
    seconds_left: Option<f64>,
}

impl Ui {
    /// Shows progress as asked for; `quiet` wins over `mode`.
    pub fn new(mode: ProgressKind, quiet: bool) -> Self {
        let how = match mode {
            _ if quiet => How::Nothing,
            ProgressKind::None => How::Nothing,
            ProgressKind::Json => How::Json(Box::new(io::stderr())),
            ProgressKind::Auto if io::stderr().is_terminal() => How::Bar(None),
            ProgressKind::Auto => How::Nothing,
        };
        Self::showing(how, quiet)
    }

    fn showing(how: How, quiet: bool) -> Self {
        Self {
            quiet,
            started: Instant::now(),
            interrupt: Arc::default(),
            done: AtomicU64::new(0),
            next_ms: AtomicU64::new(0),
            shown: Mutex::new(Shown { how, stage: None }),
        }
    }

    /// Makes the first SIGINT or SIGTERM a wish to stop, so that nothing half-made is left behind, and the second the
    /// end of the process.
    ///
    /// # Errors
    /// When the system refuses the handlers.
    pub fn catch_signals(&self) -> anyhow::Result<()> {
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first signal finds the flag unset and sets it.
            signal_hook::flag::register_conditional_default(signal, Arc::clone(&self.interrupt))
                .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&self.interrupt)))
                .context("install the handlers of SIGINT and SIGTERM")?;
        }
        Ok(())
    }

    /// A sentence for people beside the answer; nothing with `-q`.
    pub fn note(&self, sentence: &str) {
        if self.quiet {
            return;
        }
        let lines = output::error_line(&output::for_terminal(sentence.as_bytes()));
        let say = || {
            let _ = io::stderr().lock().write_all(lines.as_bytes());
        };
        match &self.lock().how {
            How::Bar(Some(bar)) => bar.suspend(say),
            _ => say(),
        }
    }

    /// The work has ended well: the last stage is done to its end, however much of its total that took.
    pub fn complete(&self) {
        self.done.store(0, Ordering::Relaxed);
        self.lock().complete_stage();
    }

    /// Clears the bar, or closes the last stage. Called before an answer is printed.
    fn finish(&self) {
        self.lock().end_stage(self.done.load(Ordering::Relaxed));
    }

    fn lock(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Progress for Ui {
    fn begin(&self, stage: &'static str, total_bytes: u64) {
        let mut shown = self.lock();
        self.done.store(0, Ordering::Relaxed);
        shown.complete_stage();
        if matches!(shown.how, How::Nothing) {
            return;
        }
        shown.stage = Some(Stage { name: stage, total: total_bytes, started: Instant::now() });
        shown.emit("begin", 0);
        self.next_ms
            .store(self.elapsed_ms().saturating_add(TICK.as_millis() as u64), Ordering::Relaxed);
    }

    fn advance(&self, bytes: u64) {
        let done = self.done.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        let (now, next) = (self.elapsed_ms(), self.next_ms.load(Ordering::Relaxed));
        if now < next {
            return;
        }
        // One of the threads that come at the same time shows it; the others go on working.
        let later = now.saturating_add(TICK.as_millis() as u64);
        if self.next_ms.compare_exchange(next, later, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            let mut shown = self.lock();
            if self.started.elapsed() >= PATIENCE {
                shown.show_bar();
            }
            shown.emit("progress", done);
        }
    }

    fn interrupted(&self) -> bool {
        self.interrupt.load(Ordering::Relaxed)
    }
}

impl Drop for Ui {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Shown {
    fn show_bar(&mut self) {
        let (How::Bar(bar @ None), Some(stage)) = (&mut self.how, &self.stage) else { return };
        // Rate and time left are those of the whole stage: indicatif's own start when the bar appears, and take what
        // was done before that for the work of an instant.
        let began = stage.started;
        let style = ProgressStyle::with_template(
            "{msg} {wide_bar} {decimal_bytes}/{decimal_total_bytes} {rate} {left} left",
        )
        .expect("the template is a constant")
        .with_key("rate", move |state: &ProgressState, out: &mut dyn fmt::Write| {
            let _ = write!(out, "{}/s", output::bytes(rate(state.pos(), began) as u64));
        })
        .with_key("left", move |state: &ProgressState, out: &mut dyn fmt::Write| {
            let _ = match seconds_left(state.pos(), state.len().unwrap_or(0), began) {
                Some(seconds) => {
                    write!(out, "{}", FormattedDuration(Duration::from_secs_f64(seconds.min(1e9))))
                }
                None => out.write_str("?"),
            };
        });
        let new = ProgressBar::with_draw_target(Some(stage.total), ProgressDrawTarget::stderr())
            .with_style(style)
            .with_message(stage.name);
        // Ticks on while a slow disk gives nothing.
        new.enable_steady_tick(TICK);
        *bar = Some(new);
    }

    fn emit(&mut self, event: &'static str, done: u64) {
        let Some(stage) = &self.stage else { return };
        // A total is what a stage has to do at most, or about that.
        let done = done.min(stage.total);
        match &mut self.how {
            How::Nothing | How::Bar(None) => {}
            How::Bar(Some(bar)) => bar.set_position(done),
            How::Json(out) => {
                let line = serde_json::to_string(&Event::new(event, stage, done));
                // Nobody reads it any more: the work goes on.
                let _ = writeln!(out, "{}", line.expect("an event has no failing serializer"));
            }
        }
    }

    /// Ends a stage whose work is done.
    fn complete_stage(&mut self) {
        let total = self.stage.as_ref().map_or(0, |stage| stage.total);
        self.end_stage(total);
    }

    fn end_stage(&mut self, done: u64) {
        self.emit("end", done);
        self.stage = None;
        if let How::Bar(bar) = &mut self.how
            && let Some(bar) = bar.take()
        {
            bar.finish_and_clear();
        }
    }
}

impl Event {
    fn new(event: &'static str, stage: &Stage, done: u64) -> Self {
        let millis = |seconds: f64| (seconds * 1000.0).round() / 1000.0;
        Self {
            event,
            stage: stage.name,
            done_bytes: done,
            total_bytes: stage.total,
            seconds: millis(stage.started.elapsed().as_secs_f64()),
            bytes_per_second: rate(done, stage.started) as u64,
            seconds_left: seconds_left(done, stage.total, stage.started).map(millis),
        }
    }
}

/// Bytes a second since `began`.
fn rate(done: u64, began: Instant) -> f64 {
    let seconds = began.elapsed().as_secs_f64();
    if seconds > 0.0 { done as f64 / seconds } else { 0.0 }
}

/// How long the rest takes at the rate so far; absent while nothing is done.
fn seconds_left(done: u64, total: u64, began: Instant) -> Option<f64> {
    let rate = rate(done, began);
    (rate > 0.0).then(|| total.saturating_sub(done) as f64 / rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Written {
        fn events(&self) -> Vec<serde_json::Value> {
            let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
        }
    }

    #[test]
    fn json_progress_frames_each_stage_and_counts_what_all_threads_did() {
        let written = Written::default();
        let ui = Ui::showing(How::Json(Box::new(written.clone())), false);
        ui.begin("pages", 1000);
        std::thread::scope(|scope| {
            for _ in 0..10 {
                scope.spawn(|| (0..100).for_each(|_| ui.advance(1)));
            }
        });
        ui.begin("keys", 5);
        drop(ui);
        let events = written.events();
        let framing: Vec<_> = events
            .iter()
            .filter(|event| event["event"] != "progress")
            .map(|event| {
                (
                    event["event"].as_str().unwrap(),
                    event["stage"].as_str().unwrap(),
                    event["doneBytes"].as_u64().unwrap(),
                )
            })
            .collect();
        assert_eq!(
            framing,
            [
                ("begin", "pages", 0),
                ("end", "pages", 1000),
                ("begin", "keys", 0),
                ("end", "keys", 0)
            ]
        );
        assert_eq!(events[0]["totalBytes"], 1000);
        assert!(events[0]["secondsLeft"].is_null());
    }

    #[test]
    fn progress_ends_at_its_total_where_the_work_ended_well() {
        for (advanced, complete, expected) in
            [(700, true, 1000), (700, false, 700), (1300, false, 1000)]
        {
            let written = Written::default();
            let ui = Ui::showing(How::Json(Box::new(written.clone())), false);
            ui.begin("pages", 1000);
            ui.advance(advanced);
            if complete {
                ui.complete();
            }
            drop(ui);
            let events = written.events();
            let ends: Vec<_> = events.iter().filter(|event| event["event"] == "end").collect();
            assert_eq!(ends.len(), 1, "{advanced} {complete}");
            assert_eq!(ends[0]["doneBytes"], expected);
        }
    }

    #[test]
    fn json_progress_comes_while_work_goes_on_but_not_for_every_byte() {
        let written = Written::default();
        let ui = Ui::showing(How::Json(Box::new(written.clone())), false);
        ui.begin("pages", 1 << 40);
        let until = Instant::now() + 3 * TICK;
        while Instant::now() < until {
            ui.advance(1);
        }
        let count = written.events().iter().filter(|event| event["event"] == "progress").count();
        assert!((1..=3).contains(&count), "{count}");
    }

    #[test]
    fn quiet_wins_over_every_way_to_show_progress() {
        for mode in [ProgressKind::Auto, ProgressKind::Json, ProgressKind::None] {
            assert!(matches!(Ui::new(mode, true).lock().how, How::Nothing));
        }
    }

    #[test]
    fn the_first_signal_is_a_wish_to_stop() {
        let ui = Ui::showing(How::Nothing, true);
        ui.catch_signals().unwrap();
        assert!(!ui.interrupted());
        signal_hook::low_level::raise(SIGTERM).unwrap();
        assert!(ui.interrupted());
    }
}
