//! A process of a test: started with its log, watched, and ended by its own pid.

use super::{START, eventually};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

/// A process that ends with its owner.
pub struct Process {
    pub child: Child,
    pub log: PathBuf,
    name: String,
}

impl Process {
    pub fn start(name: &str, command: &mut Command, log: &Path) -> Self {
        let file = fs::File::options().create(true).append(true).open(log).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        Self { child, log: log.to_owned(), name: name.to_owned() }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// kill -9, and waits for the end.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn signal(&self, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.pid().to_string()]).status().unwrap().success());
    }

    /// Asks it to end, and expects that it does so soon and well.
    pub fn stop(mut self) {
        self.signal("-TERM");
        let status = eventually(&format!("{}: the end after SIGTERM", self.name), Duration::from_secs(20), || {
            self.child.try_wait().unwrap()
        });
        assert!(status.success(), "{} ended with {status}:\n{}", self.name, self.output());
    }

    /// The process ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    pub fn output(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn wait_for(&mut self, what: &str, mut ready: impl FnMut() -> bool) {
        let name = self.name.clone();
        eventually(&format!("{name}: {what}"), START, || {
            assert!(self.child.try_wait().unwrap().is_none(), "{name} ended early:\n{}", self.output());
            ready().then_some(())
        });
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.child.try_wait().ok().flatten().is_none() {
            let _gone = self.child.kill();
            let _status = self.child.wait();
        }
    }
}
