//! Hands over to the witness what the archive has and it has not: after each checkpoint, and after each failure again.
//!
//! It begins with the last one that the witness has, which must be the archive's: so an archive that was cut off or written
//! anew is noticed with the first request, not with the first checkpoint that does not fit.

use super::{Client, Error, Put, Settings};
use crate::archive::{self, checkpoint, layout, writer};
use crate::telemetry::Telemetry;
use crate::verify::chain_of;
use bytes::Bytes;
use kit::Shutdown;
use object_store::ObjectStore;
use std::time::Duration;
use tokio::sync::{Notify, oneshot};

/// The pause after a failure: doubled from the first to the second.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// How long it may take at the end; what is left is handed over at the next start.
const LAST: Duration = Duration::from_secs(3);

/// Why the witness has not all that the archive has.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    /// It did not answer as it should. It passes.
    #[error("handing checkpoints to the witness")]
    Witness(#[source] Error),
    /// The archive cannot be read. It passes.
    #[error("reading the checkpoints for the witness")]
    Archive(#[source] archive::Error),
    /// The two contradict each other. Somebody was at one of them.
    #[error("the witness does not take checkpoint {number}: {said}: keep both, and run postern audit verify --witness")]
    Refused { number: u64, said: String },
    /// Likewise.
    #[error(
        "the witness has checkpoints up to {kept}, and the archive {archived}: it was cut off; keep it as it is, and run \
         postern audit verify --witness"
    )]
    CutOff { kept: u64, archived: String },
    /// Likewise, within the archive.
    #[error("the archive lacks checkpoint {0}, and the witness takes none after it: run postern audit verify")]
    Missing(u64),
    /// The request ended without an outcome.
    #[error("the request to the witness broke off")]
    BrokenOff,
}

/// Hands over checkpoints until `ended`, and once more then. `made` tells that there may be a new one.
pub(crate) async fn tell(
    store: &dyn ObjectStore,
    settings: Option<&Settings>,
    telemetry: &Telemetry,
    made: &Notify,
    ended: &Shutdown,
) {
    telemetry.witness_last.set(-1);
    let Some(settings) = settings else { return };
    let mut teller = Teller { store, settings, telemetry, last: None };
    let telling = async {
        let mut pause = PAUSES.0;
        loop {
            if teller.catch_up().await {
                pause = PAUSES.0;
                made.notified().await;
            } else {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSES.1);
            }
        }
    };
    tokio::select! {
        // a recorder that ends begins nothing that it would break off
        biased;
        () = ended.wait() => {}
        () = telling => {}
    }
    if tokio::time::timeout(LAST, teller.catch_up()).await.is_err() {
        tracing::warn!("the witness takes too long, what it lacks is left to the next start");
    }
}

struct Teller<'a> {
    store: &'a dyn ObjectStore,
    settings: &'a Settings,
    telemetry: &'a Telemetry,
    /// What the witness has, where that is known.
    last: Option<u64>,
}

impl Teller<'_> {
    /// Whether the witness has all that the archive has.
    async fn catch_up(&mut self) -> bool {
        let Err(trouble) = self.hand_over().await else {
            self.telemetry.witness_failing.set(0);
            self.telemetry.witness_refused.set(0);
            return true;
        };
        // it may be another one by the next time
        self.last = None;
        self.telemetry.witness_failures.inc();
        self.telemetry.witness_failing.set(1);
        match trouble {
            Trouble::Refused { .. } | Trouble::CutOff { .. } | Trouble::Missing(_) => {
                self.telemetry.witness_refused.set(1);
                tracing::error!(error = chain_of(&trouble), "the archive and its witness contradict each other");
            }
            Trouble::Witness(_) | Trouble::Archive(_) | Trouble::BrokenOff => {
                tracing::error!(error = chain_of(&trouble), "the witness lacks checkpoints, will try again");
            }
        }
        false
    }

    async fn hand_over(&mut self) -> Result<(), Trouble> {
        let client = Client::new(self.settings).map_err(Trouble::Witness)?;
        if self.last.is_none() {
            let asked = client.clone();
            // asked first: what it has then was in the archive before
            if let Some(kept) = apart(move || asked.last()).await? {
                self.confirm(&client, kept).await?;
            }
        }
        let numbers = checkpoint::numbers(self.store, self.last).await.map_err(Trouble::Archive)?;
        for number in numbers {
            let expected = self.last.map_or(0, |last| last.saturating_add(1));
            if number != expected {
                return Err(Trouble::Missing(expected));
            }
            let bytes = self.fetch(number).await?;
            self.put(&client, number, bytes).await?;
        }
        Ok(())
    }

    /// The last one that the witness has must be the archive's.
    async fn confirm(&mut self, client: &Client, kept: u64) -> Result<(), Trouble> {
        match self.fetch(kept).await {
            Ok(bytes) => self.put(client, kept, bytes).await,
            Err(Trouble::Archive(archive::Error::Store { source: object_store::Error::NotFound { .. }, .. })) => {
                let numbers = checkpoint::numbers(self.store, None).await.map_err(Trouble::Archive)?;
                let archived = match numbers.last() {
                    Some(number) if *number > kept => return Err(Trouble::Missing(kept)),
                    Some(number) => format!("up to {number}"),
                    None => "none".to_owned(),
                };
                Err(Trouble::CutOff { kept, archived })
            }
            Err(trouble) => Err(trouble),
        }
    }

    async fn fetch(&self, number: u64) -> Result<Bytes, Trouble> {
        writer::fetch(self.store, &layout::checkpoint(number)).await.map_err(Trouble::Archive)
    }

    async fn put(&mut self, client: &Client, number: u64, bytes: Bytes) -> Result<(), Trouble> {
        let client = client.clone();
        match apart(move || client.put(number, &bytes)).await? {
            Put::Kept | Put::Known => {
                self.last = Some(number);
                self.telemetry.witness_last.set(i64::try_from(number).unwrap_or(i64::MAX));
                tracing::debug!(number, "the witness has the checkpoint");
                Ok(())
            }
            Put::Refused(said) => Err(Trouble::Refused { number, said }),
        }
    }
}

/// Runs what blocks on a thread of its own, which no end of the runtime waits for. One that is not waited for any more ends
/// by its own limit of time.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Trouble> {
    let (sender, done) = oneshot::channel();
    let body = move || {
        // who waited may be gone with the shutdown
        drop(sender.send(work()));
    };
    let thread = std::thread::Builder::new().name("witness".to_owned()).spawn(body);
    thread.map_err(|_| Trouble::BrokenOff)?;
    done.await.map_err(|_| Trouble::BrokenOff)?.map_err(Trouble::Witness)
}
