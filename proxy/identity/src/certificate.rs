//! Who holds a client certificate: trusted authorities, revocation lists, and which names are whose.
//!
//! The TLS handshake proves that the client has the certificate's key, and nothing else. What the certificate is worth is
//! judged here, after it: so that a client whose certificate has expired or was revoked is told so in words, and an event
//! says so too, where a failed handshake would leave both with an alert's number.
//!
//! The files are looked at again at most every [`LOOK_AGAIN`]; files that have become wrong leave the last good ones in
//! force (a revocation that is known stays known), and say so in the log.

mod files;
mod mapping;
mod name;

pub use mapping::{File, IdentityFile};

use crate::{
    rejection::{Kind, Rejection},
    verifier::{Method, Verified},
};
use files::{Files, Trust};
use kit::Clock;
use mapping::Config;
use rustls_pki_types::{CertificateDer, UnixTime};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use webpki::{
    CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage, RevocationCheckDepth, RevocationOptionsBuilder,
    UnknownStatusPolicy,
};

pub use files::Error;
pub(crate) use mapping::Config as Settings;

/// Judges client certificates.
pub(crate) struct Authority {
    config: Config,
    clock: Clock,
    state: Mutex<State>,
}

struct State {
    files: Files,
    trust: Arc<Trust>,
    looked: Instant,
}

impl Authority {
    /// Reads the files.
    pub(crate) fn new(config: Config, clock: Clock) -> Result<Self, Error> {
        let mut files = Files::new(config.ca_file.clone(), config.crl_file.clone());
        let trust = Arc::new(files.read()?);
        Ok(Self { config, clock, state: Mutex::new(State { files, trust, looked: Instant::now() }) })
    }

    /// Judges the chain that a client showed, its own certificate first.
    pub(crate) fn verify(&self, chain: &[CertificateDer<'_>]) -> Result<Verified, Rejection> {
        let (own, intermediates) = chain.split_first().ok_or_else(|| rejected("the client showed no certificate"))?;
        if intermediates.len() > MAX_INTERMEDIATES {
            return Err(rejected("the client certificate's chain is too long"));
        }
        let certificate = EndEntityCert::try_from(own).map_err(|_| rejected("the client certificate is malformed"))?;
        let now = u64::try_from(self.clock.now_seconds()).unwrap_or(0);
        let trust = self.trust();
        let lists: Vec<&CertRevocationList<'_>> = trust.lists.iter().collect();
        let revocation = match self.config.crl_file {
            None => None,
            Some(_) => Some(
                RevocationOptionsBuilder::new(&lists)
                    .map_err(|_| rejected("the gate has no revocation list"))?
                    .with_depth(RevocationCheckDepth::Chain)
                    .with_status_policy(UnknownStatusPolicy::Deny)
                    .with_expiration_policy(ExpirationPolicy::Enforce)
                    .build(),
            ),
        };
        let time = UnixTime::since_unix_epoch(Duration::from_secs(now));
        let algorithms = webpki::ALL_VERIFICATION_ALGS;
        certificate
            .verify_for_usage(
                algorithms,
                &trust.anchors,
                intermediates,
                time,
                KeyUsage::client_auth(),
                revocation,
                None,
            )
            .map_err(|error| rejected(&reason(&error)))?;
        let identity = self.config.identity(&certificate)?;
        Ok(Verified {
            identity,
            expires: expires(&certificate),
            method: Method::Certificate,
            credential: Some(serial(certificate.serial())),
            resources: None,
            token_issuer: String::new(),
            may_act: None,
        })
    }

    fn trust(&self) -> Arc<Trust> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.looked.elapsed() >= LOOK_AGAIN {
            state.looked = Instant::now();
            if state.files.changed() {
                match state.files.read() {
                    Ok(trust) => {
                        tracing::info!(lists = trust.lists.len(), "authorities and revocation lists were read again");
                        state.trust = Arc::new(trust);
                    }
                    Err(error) => {
                        tracing::error!(
                            error = crate::chain(&error),
                            "the files of client certificates are wrong; the last ones hold"
                        );
                    }
                }
            }
        }
        state.trust.clone()
    }
}

/// When the certificate ends. webpki tells it only where it is past: it is asked about the end of all time, and looks at
/// the times of the client's own certificate before anything else.
fn expires(certificate: &EndEntityCert<'_>) -> i64 {
    let end = UnixTime::since_unix_epoch(Duration::from_secs(END_OF_TIME));
    let asked = certificate.verify_for_usage(&[], &[], &[], end, KeyUsage::client_auth(), None, None);
    let after = match asked.err() {
        Some(webpki::Error::CertExpired { not_after, .. }) => not_after.as_secs(),
        _ => END_OF_TIME,
    };
    i64::try_from(after).unwrap_or(i64::MAX)
}

fn reason(error: &webpki::Error) -> String {
    use webpki::Error as E;
    match error {
        E::CertExpired { .. } => "the client certificate, or one of its chain, has expired: get a new one".to_owned(),
        E::CertNotValidYet { .. } => "the client certificate is not valid yet".to_owned(),
        E::CertRevoked => "the client certificate has been revoked".to_owned(),
        E::UnknownIssuer => "the client certificate is not of an authority that is accepted here".to_owned(),
        E::CrlExpired { .. } => {
            "the gate's revocation list is out of date, so that no certificate can be accepted".to_owned()
        }
        E::UnknownRevocationStatus => "the gate has no revocation list of this certificate's authority".to_owned(),
        other => format!("the client certificate is not acceptable ({other:?})"),
    }
}

fn rejected(text: &str) -> Rejection {
    Rejection::new(Kind::Certificate, text)
}

fn serial(bytes: &[u8]) -> String {
    bytes.iter().take(MAX_SERIAL_BYTES).map(|byte| format!("{byte:02x}")).collect()
}

/// A revocation is in force this long after its list was put in place, at the latest.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Signature checks are bounded by webpki too.
const MAX_INTERMEDIATES: usize = 8;

/// RFC 5280: at most 20.
const MAX_SERIAL_BYTES: usize = 20;

/// The year 9999, which X.509 writes for no end.
const END_OF_TIME: u64 = 253_402_300_799;

#[cfg(test)]
mod tests;
