//! Connections that do not become sessions: what the client is told, and the event that remembers it.

use crate::{
    Gate, claim,
    frames::backend,
    record, redact, scope,
    startup::{self, Started},
    tls, upstream,
};
use identity::{Rejection, Verified};
use judge::policy::Denial;
use schemas::event::{Body, SessionRefused};
use schemas::{Identity, SessionId};
use std::{net::SocketAddr, time::Duration};
use tokio::io::AsyncWriteExt;

/// A refused client gets this long to take the reason.
const LAST_WORD: Duration = Duration::from_secs(2);

/// Why a connection is refused.
#[derive(Debug, Clone)]
pub struct Refusal {
    sqlstate: &'static str,
    reason: String,
    hint: String,
    identity: Option<Box<Identity>>,
}

impl Refusal {
    fn new(sqlstate: &'static str, reason: impl Into<String>, hint: &str) -> Self {
        Self { sqlstate, reason: reason.into(), hint: hint.to_owned(), identity: None }
    }

    fn of(mut self, verified: &Verified) -> Self {
        self.identity = Some(Box::new(verified.identity.clone()));
        self
    }

    /// The start took too long.
    pub fn timeout() -> Self {
        Self::new(
            "08006",
            "the connection was not established in time",
            "send the token as the password, without delay",
        )
    }

    /// The node is full.
    pub fn full(limit: usize) -> Self {
        Self::new(
            "53300",
            format!("this gate serves its limit of {limit} sessions"),
            "try again later or at another node",
        )
    }

    /// The startup phase went wrong.
    pub fn startup(error: &startup::Error) -> Self {
        Self::new(error.sqlstate(), error.to_string(), "send an OIDC token as the password")
    }

    /// The token is no good.
    pub fn token(rejection: &Rejection) -> Self {
        Self::new(
            rejection.sqlstate(),
            rejection.to_string(),
            "send a current token of a trusted issuer as the password",
        )
    }

    /// The certificate is no good.
    pub fn certificate(rejection: &Rejection) -> Self {
        let hint = "show a current certificate of an accepted authority, or none and a token as the password";
        Self::new(rejection.sqlstate(), rejection.to_string(), hint)
    }

    /// The client asked where to get a token.
    pub fn no_token_yet() -> Self {
        Self::new("28000", "the client has no token yet", "get one from the issuer that was named, and connect again")
    }

    /// There is no such resource.
    pub fn unknown_resource(started: &Started, verified: &Verified) -> Self {
        let text = format!("there is no resource {:?} at this gate", started.database);
        Self::new("3D000", text, "give the name of a registered resource as the database").of(verified)
    }

    /// What was shown is not good for this resource.
    pub fn not_covered(resource: &str, verified: &Verified) -> Self {
        let good_for = verified.resources.as_deref().unwrap_or_default().join(", ");
        let text = format!("what was shown is not good for the resource {resource:?}, but only for: {good_for}");
        Self::new("42501", text, "connect to one of these, or get one with that scope").of(verified)
    }

    /// The identity may not connect.
    pub fn denied(denial: &Denial, verified: &Verified) -> Self {
        Self::new("42501", denial.reason.clone(), &denial.hint).of(verified)
    }

    /// What is known of grants and revocations is too old.
    pub(crate) fn stale(stale: &control::Stale, verified: &Verified) -> Self {
        let text = format!("nobody is let in while grants and revocations are not known: {stale}");
        Self::new("57P03", text, "running sessions go on; try again when the gate reaches its control topic")
            .of(verified)
    }

    /// The identity may do nothing.
    pub(crate) fn disabled(disabled: &control::state::Disabled, verified: &Verified) -> Self {
        let text = format!("{} was disabled by {}: {}", disabled.subject, disabled.by.name, disabled.reason);
        Self::new("28000", text, "an operator can enable it again: postern identity enable").of(verified)
    }

    /// Neither grant nor standing access.
    pub(crate) fn no_grant(reason: String, hint: &str, verified: &Verified) -> Self {
        Self::new("42501", reason, hint).of(verified)
    }

    /// The user name is a claim that the identity may not make.
    pub(crate) fn claim(refused: claim::Refused, verified: &Verified) -> Self {
        Self::new("28000", refused.reason, &refused.hint).of(verified)
    }

    /// The identity has as many sessions as it may have.
    pub fn many_sessions(limit: usize, verified: &Verified) -> Self {
        let text = format!("this identity may have {limit} sessions on this resource at once, and has them");
        Self::new("53300", text, "close one of them, or use one connection for more").of(verified)
    }

    /// The database cannot be reached or refuses the gate.
    pub fn upstream(error: &upstream::Error, verified: &Verified) -> Self {
        Self::new(error.sqlstate(), error.to_client(), "the gate could not open the database for you; try again later")
            .of(verified)
    }

    /// The session gets no role.
    pub fn lease(error: &scope::Error, verified: &Verified) -> Self {
        Self::new(error.sqlstate(), error.to_client(), error.hint()).of(verified)
    }

    /// The catalog has not been read.
    pub fn catalog(reason: &str, verified: &Verified) -> Self {
        Self::new("08006", format!("the catalog of the database cannot be read: {reason}"), "try again later")
            .of(verified)
    }

    /// The record cannot be made.
    pub fn log(error: &record::Error, verified: &Verified) -> Self {
        let text = format!("the audit log cannot take the record of this session: {}", crate::chain(error));
        Self::new("53100", text, "nothing goes on unrecorded; try again later").of(verified)
    }
}

/// The fields of a FATAL ErrorResponse.
pub fn fatal(sqlstate: &str, text: &str, hint: &str) -> Vec<(u8, String)> {
    let mut fields = vec![
        (b'S', "FATAL".to_owned()),
        (b'V', "FATAL".to_owned()),
        (b'C', sqlstate.to_owned()),
        (b'M', text.to_owned()),
    ];
    if !hint.is_empty() {
        fields.push((b'H', hint.to_owned()));
    }
    fields
}

/// Refuses a connection whose startup packet was read.
pub async fn connection(gate: &Gate, peer: SocketAddr, mut started: Started, refusal: Refusal) {
    let user = Some(started.user.clone());
    let resource = Some(started.database.clone());
    record(gate, peer, user, resource, &refusal);
    let mut bytes = Vec::new();
    backend::put_report(&mut bytes, b'E', &fatal(refusal.sqlstate, &refusal.reason, &refusal.hint));
    let last_word = async {
        started.stream.write_all(&bytes).await?;
        started.stream.shutdown().await
    };
    if !matches!(tokio::time::timeout(LAST_WORD, last_word).await, Ok(Ok(()))) {
        tracing::debug!(%peer, "a refused client did not take the reason");
    }
}

/// Refuses a connection that broke off or broke the rules before its startup packet was read; it was told already.
/// One that ended without a word, as a load balancer's check does, is no refusal and no event.
pub fn before_startup(gate: &Gate, peer: SocketAddr, error: &tls::Error) {
    if error.is_gone() {
        tracing::debug!(%peer, error = %crate::chain(error), "a connection ended before it began");
        return;
    }
    record(gate, peer, None, None, &Refusal::new(error.sqlstate(), crate::chain(error), ""));
}

/// Refuses a connection that did not get through its start in time.
pub fn too_slow(gate: &Gate, peer: SocketAddr) {
    record(gate, peer, None, None, &Refusal::timeout());
}

fn record(gate: &Gate, peer: SocketAddr, user: Option<String>, resource: Option<String>, refusal: &Refusal) {
    gate.metrics.refused(refusal.sqlstate);
    // some give a token or a whole address as a name
    let [user, resource] = [user, resource].map(|name| name.map(|name| redact::words(&name)));
    let reason = redact::words(&refusal.reason);
    tracing::info!(%peer, sqlstate = refusal.sqlstate, %reason, "connection refused");
    let mut record = record::Record::new(gate.log.clone(), SessionId::generate());
    let event = Body::SessionRefused(SessionRefused {
        node: gate.config.node.clone(),
        peer: peer.to_string(),
        user,
        resource,
        sqlstate: refusal.sqlstate.to_owned(),
        reason,
        identity: refusal.identity.as_deref().cloned(),
    });
    let written = record.note(event).and_then(|()| record.commit(event_log::Priority::Closing));
    match written {
        Ok(Some(receipt)) => gate.log.want_durable(receipt.position()),
        Ok(None) => {}
        Err(error) => tracing::error!(error = %crate::chain(&error), "cannot record a refused connection"),
    }
}
