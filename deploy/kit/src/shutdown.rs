//! One word to stop, heard by every task on every runtime.

use std::io;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Tells every holder of a clone that the process is to end. It can be awaited on several runtimes at once, and a wait
/// that begins after the trigger returns at once. It is triggered once and for good.
#[derive(Debug, Clone)]
pub struct Shutdown(watch::Sender<bool>);

impl Shutdown {
    /// One that only [`Shutdown::trigger`] triggers.
    pub fn new() -> Self {
        Self(watch::Sender::new(false))
    }

    /// One that SIGINT or SIGTERM triggers, on a thread of its own so that it needs no runtime of the caller's. The
    /// second such signal ends the process at once with status 130: whoever asks twice does not want to wait for the
    /// drain.
    ///
    /// # Errors
    /// If the thread, its runtime or the signal handlers cannot be set up.
    pub fn on_signals() -> io::Result<Self> {
        let shutdown = Self::new();
        let told = shutdown.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (mut interrupt, mut terminate) = {
            let _entered = runtime.enter();
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
        };
        std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            runtime.block_on(async move {
                for number in 1_u32.. {
                    let name = tokio::select! {
                        _ = interrupt.recv() => "SIGINT",
                        _ = terminate.recv() => "SIGTERM",
                    };
                    if number > 1 {
                        tracing::warn!(signal = name, "second signal, ending without drain");
                        std::process::exit(130);
                    }
                    tracing::info!(signal = name, "shutting down");
                    told.trigger();
                }
            });
        })?;
        Ok(shutdown)
    }

    /// Tells everybody. Further calls do nothing.
    pub fn trigger(&self) {
        self.0.send_replace(true);
    }

    /// Whether it was triggered.
    pub fn is_triggered(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until it is triggered. Cancel safe.
    pub async fn wait(&self) {
        let mut word = self.0.subscribe();
        // The sender lives as long as `self`, so that the wait cannot end early.
        if word.wait_for(|triggered| *triggered).await.is_err() {
            tracing::error!("a shutdown handle outlived its own sender");
        }
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn block_on<F: Future>(future: F) -> F::Output {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { tokio::time::timeout(Duration::from_secs(10), future).await.unwrap() })
    }

    #[test]
    fn every_runtime_hears_it() {
        let shutdown = Shutdown::new();
        let waiting: Vec<_> = (0..4)
            .map(|_| {
                let shutdown = shutdown.clone();
                std::thread::spawn(move || block_on(shutdown.wait()))
            })
            .collect();
        assert!(!shutdown.is_triggered());
        shutdown.trigger();
        waiting.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(shutdown.is_triggered());
        block_on(shutdown.wait()); // later waits return at once
    }

    #[test]
    fn a_signal_triggers_it() {
        let shutdown = Shutdown::on_signals().unwrap();
        let own = std::process::id().to_string();
        assert!(std::process::Command::new("kill").args(["-TERM", &own]).status().unwrap().success());
        block_on(shutdown.wait());
    }
}
