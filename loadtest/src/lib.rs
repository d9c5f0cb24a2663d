//! Sends a captured session again and measures it: an outsider that speaks the wire.
//!
//! ```text
//! events --capture--> Exchanges (what the client sent up to each ReadyForQuery, when, and the recorded answer)
//!        --run (connect, open loop)--> answers --compare--> report (HDR percentiles per statement shape, equal or not)
//! ```
//!
//! With a speed, frames go at the recorded times divided by it, whether or not answers came (open loop), and a latency
//! counts from when a frame should have gone. With speed 0 each exchange goes as soon as the one before is answered.
//! [`replay`] is the way in.

mod capture;
mod connect;
mod report;
mod run;
mod wire;

pub use report::{Difference, Latency, Report, Shape};

use schemas::Event;
use std::{sync::Arc, time::Duration};

/// Where to, as whom, and how fast.
#[derive(Clone)]
pub struct Options {
    /// `host:port`.
    pub target: String,
    /// The user to log in as.
    pub user: String,
    /// The password or token.
    pub password: String,
    /// The database, or the gate's resource.
    pub database: String,
    /// TLS, with the roots that it trusts; `None` for plaintext.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// Recorded time divided by this; 0: each exchange as soon as the one before is answered.
    pub speed: f64,
    /// The target is PostgreSQL itself: statements that the gate denied are skipped, and rows that it masked may differ.
    pub direct: bool,
    /// Longest wait for one answer.
    pub timeout: Duration,
}

/// Why a session could not be sent again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The recorded bytes are not there (sealed, or digests only) or not whole frames.
    #[error("the recorded session cannot be read: {0}")]
    Capture(&'static str),
    /// A speed that is negative or no number.
    #[error("the speed {0} is not 0 or more")]
    Speed(f64),
    /// The target cannot be reached or talked to.
    #[error("cannot {doing} {target}")]
    Io {
        /// `connect to`, `send to`, `read from`.
        doing: &'static str,
        /// Where to.
        target: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The target refuses the session.
    #[error("the target refused the session: {sqlstate} {message}")]
    Refused {
        /// Its SQLSTATE.
        sqlstate: String,
        /// In its words.
        message: String,
    },
    /// The target asks for a way to log in that is not spoken here.
    #[error("the target asks for authentication method {0}; cleartext password, SCRAM-SHA-256 and none are known")]
    Authentication(i32),
    /// The target broke the protocol.
    #[error("the target broke the protocol: {0}")]
    Protocol(&'static str),
    /// No answer came in time.
    #[error("no answer to exchange {exchange} within {seconds} s")]
    Timeout {
        /// Its number, from 0.
        exchange: usize,
        /// [`Options::timeout`].
        seconds: u64,
    },
}

/// Sends the session again, in order, and reports. Needs a tokio runtime with IO and time.
///
/// # Errors
/// [`Error`]: the capture cannot be read, or the target cannot be talked to. Differing answers are no error.
pub async fn replay(events: &[Event], options: &Options) -> Result<Report, Error> {
    if !(options.speed >= 0.0 && options.speed.is_finite()) {
        return Err(Error::Speed(options.speed));
    }
    let capture = capture::read(events)?;
    let stream = connect::connect(options, &capture.parameters).await?;
    run::run(stream, capture, options).await
}
