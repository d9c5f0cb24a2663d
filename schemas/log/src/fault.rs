//! Named places at which a test kills the process, to see that nothing is lost or doubled there.
//!
//! With `POSTERN_FAULT=name:n` the process kills itself with SIGKILL at the n-th pass of that point, after appending
//! the name to the file that `POSTERN_FAULT_LOG` names. Unset, a point costs one relaxed load.

use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

const UNKNOWN: u8 = 0;
const OFF: u8 = 1;
const ON: u8 = 2;

static STATE: AtomicU8 = AtomicU8::new(UNKNOWN);
static FAULT: OnceLock<Option<Fault>> = OnceLock::new();

struct Fault {
    name: String,
    at: u64,
    passes: AtomicU64,
}

/// Passes a point. Does nothing unless the environment asks for a death here.
pub fn point(name: &'static str) {
    if STATE.load(Ordering::Relaxed) != OFF {
        pass(name);
    }
}

#[cold]
fn pass(name: &'static str) {
    let fault = FAULT.get_or_init(|| parse(&std::env::var("POSTERN_FAULT").ok()?));
    STATE.store(if fault.is_some() { ON } else { OFF }, Ordering::Relaxed);
    let Some(fault) = fault.as_ref().filter(|fault| fault.name == name) else { return };
    if fault.passes.fetch_add(1, Ordering::Relaxed) + 1 == fault.at {
        die(name);
    }
}

fn parse(text: &str) -> Option<Fault> {
    let (name, at) = text.rsplit_once(':')?;
    Some(Fault { name: name.to_owned(), at: at.parse().ok()?, passes: AtomicU64::new(0) })
}

fn die(name: &'static str) {
    if let Ok(path) = std::env::var("POSTERN_FAULT_LOG") {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
        if let Err(error) = file.and_then(|mut file| writeln!(file, "{name}")) {
            tracing::error!(%error, point = name, "cannot note the fault point");
        }
    }
    if let Err(error) = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL) {
        tracing::error!(%error, point = name, "cannot kill this process");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_a_name_and_a_count() {
        let fault = parse("ship.cursor:3").unwrap();
        assert_eq!((fault.name.as_str(), fault.at), ("ship.cursor", 3));
        assert!(parse("ship.cursor").is_none());
        assert!(parse("ship.cursor:x").is_none());
    }
}
