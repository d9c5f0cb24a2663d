//! The processes under test, as an init system keeps them: started again when they end, and killed with -9.

use crate::support::{Postern, Process};
use std::time::{Duration, Instant};

/// One process.
pub struct Worker {
    pub name: String,
    pub postern: Postern,
    subcommand: &'static str,
    process: Process,
    /// Since when it runs.
    launched: Instant,
    /// Since when it is gone, and is to be started again.
    gone: Option<Instant>,
    /// Something that it needs to start was missing while it started: it may end by itself.
    excused: bool,
    pub kills: u64,
    /// How often it ended by itself because of what was missing.
    pub gave_up: u64,
}

/// How long a start may take: an archive that goes away later must end no process.
const STARTS: Duration = Duration::from_secs(15);

/// An init system waits that long before it starts a process that ended by itself.
const PAUSE: Duration = Duration::from_millis(300);

impl Worker {
    pub fn start(postern: Postern, name: &str, subcommand: &'static str) -> Self {
        let process = postern.start(subcommand);
        let (name, launched) = (name.to_owned(), Instant::now());
        Self { name, postern, subcommand, process, launched, gone: None, excused: false, kills: 0, gave_up: 0 }
    }

    /// kill -9, and starts it again at once; false if it is not there to be killed.
    pub fn kill(&mut self, archive_is_away: bool) -> bool {
        if self.gone.is_some() || self.process.has_ended() {
            return false;
        }
        self.process.kill();
        self.kills += 1;
        self.launch(archive_is_away);
        true
    }

    /// Starts it again if it ended by itself, which it may only where the archive was away.
    pub fn tend(&mut self, archive_is_away: bool) {
        self.excused |= archive_is_away && self.launched.elapsed() < STARTS;
        if self.gone.is_none() && self.process.has_ended() {
            assert!(self.excused, "{} ended by itself:\n{}", self.name, last(&self.process.output()));
            self.gave_up += 1;
            self.gone = Some(Instant::now());
        }
        if self.gone.is_some_and(|since| since.elapsed() > PAUSE) {
            self.launch(archive_is_away);
        }
    }

    fn launch(&mut self, archive_is_away: bool) {
        (self.gone, self.launched) = (None, Instant::now());
        self.excused = archive_is_away;
        self.process = self.postern.launch(self.subcommand, &[]);
    }

    pub fn is_ready(&self) -> bool {
        self.gone.is_none() && self.postern.is_ready()
    }

    /// An orderly end.
    pub fn stop(self) {
        self.process.stop();
    }

    /// How often it said that it cannot write the archive, or that there is none to begin with.
    pub fn missed_the_archive(&self) -> u64 {
        let log = self.process.output();
        log.lines().filter(|line| line.contains("cannot record") || line.contains("opening the archive")).count() as u64
    }

    /// The end of what it logged.
    pub fn log(&self) -> String {
        last(&self.process.output())
    }
}

fn last(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}
