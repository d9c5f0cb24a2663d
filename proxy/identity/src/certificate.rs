//! Who holds a client certificate: trusted authorities, revocation lists, and which names are whose.
//!
//! The TLS handshake proves that the client has the certificate's key, and nothing else. What the certificate is worth is
//! judged here, after it: so that a client whose certificate has expired or was revoked is told so in words, and an event
//! says so too, where a failed handshake would leave both with an alert's number.
//!
//! The files are looked at every [`LOOK_AGAIN`], and what is revoked then ends the sessions that it opened; files that have become wrong leave the last good ones in
//! force (a revocation that is known stays known), and say so in the log.

mod files;
mod mapping;
mod name;

pub use mapping::{File, IdentityFile};

use crate::{
    rejection::{Kind, Rejection},
    verifier::{Method, Verified, Watched},
};
use files::{Files, Trust};
use kit::Clock;
use mapping::Config;
use rustls_pki_types::{CertificateDer, UnixTime};
use std::{
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};
use tokio::sync::watch;
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
    files: Mutex<Files>,
    trust: watch::Sender<Arc<Trust>>,
}

impl Authority {
    /// Reads the files and begins to watch them.
    pub(crate) fn open(config: Config, clock: Clock) -> Result<Arc<Self>, Error> {
        let authority = Arc::new(Self::new(config, clock)?);
        let watched = Arc::downgrade(&authority);
        let spawned = std::thread::Builder::new().name("certificates".to_owned()).spawn(move || watch(&watched));
        spawned.map_err(Error::Watch)?;
        Ok(authority)
    }

    /// Reads the files.
    fn new(config: Config, clock: Clock) -> Result<Self, Error> {
        let mut files = Files::new(config.ca_file.clone(), config.crl_file.clone());
        let trust = watch::Sender::new(Arc::new(files.read()?));
        Ok(Self { config, clock, files: Mutex::new(files), trust })
    }

    /// Ready when one of this chain's certificates has been revoked, or its authority is not accepted any more. A list that
    /// is out of date lets nobody in, and ends nothing that runs.
    pub(crate) async fn ended(&self, chain: &[CertificateDer<'static>]) {
        let mut trust = self.trust.subscribe();
        let is_over = |trust: &Arc<Trust>| {
            use webpki::Error as E;
            let Some((own, intermediates)) = chain.split_first() else { return true };
            let Ok(certificate) = EndEntityCert::try_from(own) else { return true };
            let judged = self.judge(trust, &certificate, intermediates);
            matches!(judged, Err(Judged::NoList | Judged::Bad(E::CertRevoked | E::UnknownIssuer)))
        };
        // the sender lives as long as this
        let over = trust.wait_for(is_over).await.is_ok();
        debug_assert!(over);
    }

    /// Judges the chain that a client showed, its own certificate first.
    pub(crate) fn verify(&self, chain: &[CertificateDer<'_>]) -> Result<Verified, Rejection> {
        let (own, intermediates) = chain.split_first().ok_or_else(|| rejected("the client showed no certificate"))?;
        if intermediates.len() > MAX_INTERMEDIATES {
            return Err(rejected("the client certificate's chain is too long"));
        }
        let certificate = EndEntityCert::try_from(own).map_err(|_| rejected("the client certificate is malformed"))?;
        let trust = self.trust.borrow().clone();
        self.judge(&trust, &certificate, intermediates).map_err(|judged| match judged {
            Judged::NoList => rejected("the gate has no revocation list"),
            Judged::Bad(error) => rejected(&reason(&error)),
        })?;
        let identity = self.config.identity(&certificate)?;
        Ok(Verified {
            identity,
            expires: expires(&certificate),
            method: Method::Certificate,
            credential: Some(serial(certificate.serial())),
            resources: None,
            token_issuer: String::new(),
            may_act: None,
            watch: Watched::Certificates(Arc::new(chain.iter().map(|one| one.clone().into_owned()).collect())),
        })
    }

    fn judge(
        &self,
        trust: &Trust,
        certificate: &EndEntityCert<'_>,
        intermediates: &[CertificateDer<'_>],
    ) -> Result<(), Judged> {
        let now = u64::try_from(self.clock.now_seconds()).unwrap_or(0);
        let lists: Vec<&CertRevocationList<'_>> = trust.lists.iter().collect();
        let revocation = match self.config.crl_file {
            None => None,
            Some(_) => Some(
                RevocationOptionsBuilder::new(&lists)
                    .map_err(|_| Judged::NoList)?
                    .with_depth(RevocationCheckDepth::Chain)
                    .with_status_policy(UnknownStatusPolicy::Deny)
                    .with_expiration_policy(ExpirationPolicy::Enforce)
                    .build(),
            ),
        };
        let time = UnixTime::since_unix_epoch(Duration::from_secs(now));
        let (algorithms, usage) = (webpki::ALL_VERIFICATION_ALGS, KeyUsage::client_auth());
        let verified =
            certificate.verify_for_usage(algorithms, &trust.anchors, intermediates, time, usage, revocation, None);
        verified.map(drop).map_err(Judged::Bad)
    }

    /// Reads the files again, if they changed.
    fn look(&self) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if !files.changed() {
            return;
        }
        match files.read() {
            Ok(trust) => {
                tracing::info!(lists = trust.lists.len(), "authorities and revocation lists were read again");
                self.trust.send_replace(Arc::new(trust));
            }
            Err(error) => {
                let error = crate::chain(&error);
                tracing::error!(error, "the files of client certificates are wrong; the last ones hold");
            }
        }
    }
}

fn watch(authority: &Weak<Authority>) {
    while let Some(authority) = authority.upgrade() {
        authority.look();
        drop(authority);
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// Why a chain is not good.
enum Judged {
    /// No revocation list is there.
    NoList,
    /// One of its certificates is not acceptable.
    Bad(webpki::Error),
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

/// A revocation is in force this long after its list was put in place, at the latest; running sessions end with it.
const LOOK_AGAIN: Duration = Duration::from_millis(300);

/// Signature checks are bounded by webpki too.
const MAX_INTERMEDIATES: usize = 8;

/// RFC 5280: at most 20.
const MAX_SERIAL_BYTES: usize = 20;

/// The year 9999, which X.509 writes for no end.
const END_OF_TIME: u64 = 253_402_300_799;

#[cfg(test)]
mod tests;
