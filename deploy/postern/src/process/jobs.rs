//! Several jobs in one process: each on a thread and a runtime of its own; the first that ends badly ends all.

use crate::failure::Failure;
use anyhow::Context as _;
use kit::Shutdown;
use std::thread::JoinHandle;

type Outcome = Result<(), anyhow::Error>;

/// The jobs of a process.
pub struct Jobs {
    shutdown: Shutdown,
    running: Vec<(&'static str, JoinHandle<Outcome>)>,
}

impl Jobs {
    /// None yet; all are to end by this shutdown.
    pub fn new(shutdown: Shutdown) -> Self {
        Self { shutdown, running: Vec::new() }
    }

    /// What ends them.
    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    /// Starts an asynchronous job. It is told to end by the shutdown that it gets.
    pub fn spawn<F>(
        &mut self,
        name: &'static str,
        job: impl FnOnce(Shutdown) -> F + Send + 'static,
    ) -> Result<(), Failure>
    where
        F: Future<Output = Outcome>,
    {
        self.spawn_blocking(name, move |shutdown| {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().context("making a runtime")?;
            runtime.block_on(job(shutdown))
        })
    }

    /// Starts a job that has its own threads.
    pub fn spawn_blocking(
        &mut self,
        name: &'static str,
        job: impl FnOnce(Shutdown) -> Outcome + Send + 'static,
    ) -> Result<(), Failure> {
        let shutdown = self.shutdown.clone();
        let body = move || {
            let outcome = job(shutdown.clone());
            match &outcome {
                Ok(()) if shutdown.is_triggered() => tracing::debug!(job = name, "job ended"),
                Ok(()) => tracing::error!(job = name, "job ended by itself, ending the others"),
                Err(error) => {
                    tracing::error!(job = name, error = format!("{error:#}"), "job failed, ending the others")
                }
            }
            shutdown.trigger();
            outcome
        };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(body).context("starting a thread")?;
        self.running.push((name, thread));
        Ok(())
    }

    /// Waits for all; gives the first failure.
    pub fn join(self) -> Result<(), Failure> {
        let mut first = Ok(());
        for (name, thread) in self.running {
            let outcome = thread.join().unwrap_or_else(|_| Err(anyhow::anyhow!("it panicked")));
            // A panic ends no shutdown by itself: the thread is gone before it could.
            self.shutdown.trigger();
            first = first.and(outcome.with_context(|| format!("running the {name}")));
        }
        first.map_err(Failure::Failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_ends_all_and_is_told() {
        let mut jobs = Jobs::new(Shutdown::new());
        jobs.spawn("waiting", |shutdown| async move {
            shutdown.wait().await;
            Ok(())
        })
        .unwrap();
        jobs.spawn_blocking("failing", |_| Err(anyhow::anyhow!("out of luck"))).unwrap();
        let Err(Failure::Failed(error)) = jobs.join() else { panic!("a job failed") };
        assert_eq!(format!("{error:#}"), "running the failing: out of luck");
    }
}
