//! One connection, from accept to close. This file is the path; the stages are elsewhere.
//!
//! ```text
//! negotiate (TLS, startup packet) -> authenticate (token) -> scope (resource, role) -> upstream (login) -> open (record)
//!   -> exchange (statements and answers) -> close (record)
//! ```
//!
//! On every way out there is an event: SessionRefused before the session opened, SessionClosed after (AUD-4).

use crate::{
    Gate, authenticate, claim,
    conversation::{Conversation, End},
    decide::Decider,
    exchange::{Exchange, Warning, Watch},
    frames,
    hold::Holder,
    interrupt::Interrupt,
    limits::Seat,
    paths::Paths,
    record::{self, Record},
    redact,
    refuse::{self, Refusal},
    resource::Resource,
    rights::{Change, Live},
    scope::Lease,
    sealing::Sealing,
    startup::{Cancel, Started},
    tls::{self, Negotiated},
    upstream::{self, Upstream},
    values::Leaving,
};
use identity::Verified;
use judge::policy::Subject;
use schemas::event::{Body, CloseReason, Direction, SessionClosed, SessionOpened};
use schemas::{SessionId, seal};
use std::{
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    net::TcpStream,
    sync::OwnedSemaphorePermit,
    time::{Instant, Sleep},
};
use tracing::Instrument;

/// A last word to the client may take this long.
const FAREWELL: Duration = Duration::from_secs(2);

/// Serves one connection; `permit` is none where the node is full.
pub async fn serve(socket: TcpStream, peer: SocketAddr, gate: Arc<Gate>, permit: Option<OwnedSemaphorePermit>) {
    // one deadline over the whole start: a client that sends a byte now and then gains nothing
    let deadline = Instant::now() + gate.config.startup_timeout;
    let negotiated = tokio::time::timeout_at(deadline, tls::negotiate(socket, &gate.acceptor)).await;
    let mut started = match negotiated {
        Ok(Ok(Negotiated::Started(started))) => started,
        Ok(Ok(Negotiated::Cancel(cancel))) => {
            return gate.cancels.forward(&cancel, &gate.resources, &gate.elsewhere).await;
        }
        Ok(Err(error)) => return refuse::before_startup(&gate, peer, &error),
        Err(_) => return refuse::too_slow(&gate, peer),
    };
    let opened = tokio::time::timeout_at(deadline, open(&mut started, peer, &gate, permit.is_some())).await;
    let (opening, upstream) = match opened {
        Ok(Ok(opened)) => opened,
        Ok(Err(refusal)) => return refuse::connection(&gate, peer, started, refusal).await,
        Err(_) => return refuse::connection(&gate, peer, started, Refusal::timeout()).await,
    };
    converse(started, opening, upstream, &gate).await;
    drop(permit);
}

/// What is known of a session when it opens.
struct Opening {
    record: Record,
    leaving: Option<Leaving>,
    resource: Arc<Resource>,
    verified: Verified,
    subject: Subject,
    seat: Seat,
    live: Live,
    /// The role that the session runs as, where it is its own; it goes with this.
    lease: Option<Lease>,
}

/// From startup packet to a database that is ready and a record that says so.
async fn open(
    started: &mut Started,
    peer: SocketAddr,
    gate: &Gate,
    room: bool,
) -> Result<(Opening, Upstream), Refusal> {
    if !room {
        return Err(Refusal::full(gate.config.max_connections.get()));
    }
    let verified = authenticate::client(started, gate).await?;
    let resource = gate.resource(&started.database).ok_or_else(|| Refusal::unknown_resource(started, &verified))?;
    if !verified.covers(&resource.name) {
        return Err(Refusal::not_covered(&resource.name, &verified));
    }
    let application = started.parameters.get("application_name").map_or("", String::as_str);
    let right = gate.rights.of(&verified, &resource)?;
    let subject = Subject::new(&right.acting(), application);
    resource.may_connect(&subject).map_err(|denial| gate.rights.refused(&denial, &verified, &resource))?;
    resource.ready().await.map_err(|reason| Refusal::catalog(&reason, &verified))?;
    if let Some(refused) = claim::refused(&started.user, &verified.identity, &resource) {
        return Err(Refusal::claim(refused, &verified));
    }
    let seat = resource.usage.enter(&verified.identity, &resource.limits);
    let seat = seat.map_err(|limit| Refusal::many_sessions(limit.get(), &verified))?;
    let mut parameters = started.parameters.clone();
    let asked = parameters.get("statement_timeout").map(String::as_str);
    if let Some(timeout) = resource.limits.timeout(asked) {
        parameters.insert("statement_timeout".to_owned(), timeout);
    }
    let refused = |error| Refusal::upstream(&error, &verified);
    let (lease, upstream) = match &resource.leases {
        None => (None, upstream::connect(&resource.database, &parameters).await.map_err(refused)?),
        Some(leases) => {
            parameters.extend(leases.settings().clone());
            // the server's process starts while the role is made
            let leasing = leases.lease(resource.view(), &subject, None);
            let (lease, reached) = tokio::join!(leasing, upstream::reach(&resource.database));
            let lease = lease.map_err(|error| Refusal::lease(&error, &verified))?;
            let upstream = match &lease {
                Some(lease) => {
                    let (reached, own) = (reached.map_err(refused)?, lease.login(&resource.database));
                    upstream::log_in(reached, &own, &parameters).await
                }
                None => upstream::connect(&resource.database, &parameters).await,
            };
            (lease, upstream.map_err(refused)?)
        }
    };
    let session = SessionId::generate();
    let sealing = sealing(gate, &resource, session).map_err(|error| Refusal::log(&error, &verified))?;
    let leaving = leaving(gate, &resource).map_err(|error| Refusal::log(&error, &verified))?;
    let mut record = Record::new(gate.log.clone(), session).with_evidence(resource.evidence).with_sealing(sealing);
    record
        .note(Body::SessionOpened(SessionOpened {
            identity: verified.identity.clone(),
            resource: resource.name.clone(),
            database: resource.database.database.clone(),
            role: upstream.user.clone(),
            node: gate.config.node.clone(),
            peer: peer.to_string(),
            tls: started.tls.clone(),
            parameters: redact::parameters_of_startup(&started.parameters),
            server_version: upstream.parameter("server_version").unwrap_or_default().to_owned(),
            backend_pid: upstream.backend_pid,
            authentication: verified.method.label().to_owned(),
            credential: verified.credential.clone(),
            expires: Some(verified.expires.saturating_mul(1_000_000)),
            grant: right.grant(),
            roles: right.roles(),
        }))
        .map_err(|error| Refusal::log(&error, &verified))?;
    // SessionOpened is durable before the client is told that it may begin
    let receipt = record.commit(event_log::Priority::Normal).map_err(|error| Refusal::log(&error, &verified))?;
    let unopened = Unopened(Some(record));
    if let Some(receipt) = receipt {
        let durable = gate.log.durable(receipt.position()).await;
        durable.map_err(|error| Refusal::log(&record::Error::Log(error), &verified))?;
    }
    let record = unopened.opens().ok_or_else(Refusal::timeout)?;
    let live = right.enter(record.session());
    Ok((Opening { record, leaving, resource, verified, subject, seat, live, lease }, upstream))
}

/// The record of a session that says that it is open, and is not: the client is refused where it takes too long to get that
/// to the disk, or to the broker. Then the record says that it ended (AUD-4).
struct Unopened(Option<Record>);

impl Unopened {
    fn opens(mut self) -> Option<Record> {
        self.0.take()
    }
}

impl Drop for Unopened {
    fn drop(&mut self) {
        let Some(mut record) = self.0.take() else { return };
        let closed = SessionClosed {
            reason: CloseReason::LogUnavailable,
            detail: "its beginning was not durable in time, and the client was refused".to_owned(),
            statements: 0,
            denied: 0,
            rows: 0,
            bytes_in: 0,
            bytes_out: 0,
        };
        if let Err(error) = record.close(closed) {
            tracing::error!(error = %crate::chain(&error), "cannot close the record of a session that did not open; recovery will");
        }
    }
}

/// What of values stays out of the record, where its resource leaves any out.
fn leaving(gate: &Gate, resource: &Resource) -> Result<Option<Leaving>, record::Error> {
    if !resource.values.leaves_out() {
        return Ok(None);
    }
    let tokens = gate.config.tokens.clone().ok_or(record::Error::Tokens)?;
    Ok(Some(Leaving::new(resource.values, tokens)))
}

/// A fresh key for a session whose resource wants it sealed.
fn sealing(gate: &Gate, resource: &Resource, session: SessionId) -> Result<Option<Sealing>, record::Error> {
    if !resource.sealed {
        return Ok(None);
    }
    let keks = gate.config.keks.as_ref().ok_or(seal::Error::Seal("no key-encryption key is configured"));
    let drawn = keks.and_then(|keks| keks.present().draw(session)).map_err(record::Error::Seal)?;
    let (sealer, key) = drawn;
    Ok(Some(Sealing::new(sealer, key)))
}

/// The session itself: tells the client that it may begin, exchanges until an end, closes the record.
async fn converse(started: Started, opening: Opening, upstream: Upstream, gate: &Gate) {
    // the role is dropped after everything else, on every way out (SCP-1)
    let Opening { mut record, leaving, resource, verified, subject, seat, live, lease: _lease } = opening;
    // not around the exchange, which logs nothing: entering it at every turn costs more than a turn
    let span = tracing::info_span!("session", session = %record.session(), resource = %resource.name);
    gate.metrics.opened();
    let paths = Paths::new(&upstream.search_path, &upstream.user);
    let (secret, shown) = greeting(&upstream);
    if let Err(error) = record.note_run(Direction::Server, &shown, 0) {
        tracing::error!(error = %crate::chain(&error), "cannot record the greeting");
    }
    let registered = gate.cancels.register(&upstream, &resource);
    let (backend_pid, cancel_key) = (upstream.backend_pid, upstream.cancel_key.clone());
    let interrupt = Interrupt::of(&upstream, &resource);
    let mut conversation = Conversation::new(record, Decider::new(resource.clone(), subject), paths)
        .with_seat(seat)
        .with_leaving(leaving)
        .with_interrupt(interrupt);
    if let Some(holds) = gate.holds.clone() {
        let (identity, role) = (verified.identity.clone(), upstream.user.clone());
        conversation = conversation.with_holder(Holder {
            holds,
            identity,
            role,
            signal: registered.signal(),
            cancel: Some(Cancel { backend_pid: upstream.backend_pid, key: upstream.cancel_key.clone() }),
        });
    }
    let watch = Ending::new(&verified, live, gate);
    let mut exchange =
        Exchange::new(started.stream, upstream.stream, &upstream.early, conversation, watch, gate.log.clone());
    exchange.greet(&secret);
    exchange.greet(&shown);
    let end = exchange.run().await;
    drop(registered);
    let interrupts = interrupts(end.reason);
    let close = close(exchange, end, gate).instrument(span);
    if interrupts {
        // a backend that sleeps or computes does not notice that its client is gone
        let (cancelled, ()) = tokio::join!(upstream::cancel(&resource.database, backend_pid, &cancel_key), close);
        if let Err(error) = cancelled {
            tracing::warn!(resource = %resource.name, error = %crate::chain(&error), "a running statement could not be cancelled");
        }
    } else {
        close.await;
    }
}

/// Whether what runs in the database must not go on after this end.
fn interrupts(reason: CloseReason) -> bool {
    match reason {
        CloseReason::Expired
        | CloseReason::Revoked
        | CloseReason::Shutdown
        | CloseReason::LogUnavailable
        | CloseReason::LimitReached
        | CloseReason::ProtocolViolation
        | CloseReason::InternalError => true,
        CloseReason::ClientTerminated
        | CloseReason::ClientGone
        | CloseReason::UpstreamGone
        | CloseReason::NodeCrashed => false,
    }
}

/// The end of the startup phase as the client sees it: what is never recorded, and what is.
fn greeting(upstream: &Upstream) -> (Vec<u8>, Vec<u8>) {
    let (mut secret, mut shown) = (Vec::new(), Vec::new());
    frames::put(&mut secret, b'R', &[0, 0, 0, 0]);
    let mut key = upstream.backend_pid.to_be_bytes().to_vec();
    key.extend_from_slice(&upstream.cancel_key);
    frames::put(&mut secret, b'K', &key);
    for (name, value) in &upstream.parameters {
        let body = [name.as_bytes(), &[0], value.as_bytes(), &[0]].concat();
        frames::put(&mut shown, b'S', &body);
    }
    frames::put(&mut shown, b'Z', b"I");
    (secret, shown)
}

/// Tells the client why, and closes the record: exactly one SessionClosed (AUD-4).
async fn close(mut exchange: Exchange<Ending>, end: End, gate: &Gate) {
    let conversation = exchange.conversation();
    let (bytes_in, bytes_out) = conversation.record.totals();
    let abandoned = conversation.abandon_all();
    for completed in abandoned {
        if let Err(error) = conversation.record.note_completed(&completed) {
            tracing::error!(error = %crate::chain(&error), "cannot record an outcome");
        }
    }
    let (statements, denied, rows) = (conversation.statements, conversation.denied, conversation.rows);
    let mut last_word = Vec::new();
    if let Some((sqlstate, text)) = &end.farewell {
        frames::backend::put_report(&mut last_word, b'E', &refuse::fatal(sqlstate, text, ""));
        if let Err(error) = conversation.record.note_plain(Direction::Server, &last_word, 1) {
            tracing::error!(error = %crate::chain(&error), "cannot record the last word");
        }
    }
    let closed = SessionClosed {
        reason: end.reason,
        detail: end.detail.clone(),
        statements,
        denied,
        rows,
        bytes_in,
        bytes_out: bytes_out + last_word.len() as u64,
    };
    if let Err(error) = conversation.record.close(closed) {
        tracing::error!(error = %crate::chain(&error), "cannot close the session's record; recovery will");
    }
    gate.metrics.closed(end.reason, statements, denied, rows);
    tracing::info!(reason = ?end.reason, detail = %end.detail, statements, denied, rows, "session closed");
    let mut stream = exchange.into_client();
    let farewell = async {
        use tokio::io::AsyncWriteExt;
        stream.write_all(&last_word).await?;
        stream.shutdown().await
    };
    match tokio::time::timeout(FAREWELL, farewell).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "the client was gone before its last word"),
        Err(_) => tracing::debug!("the client did not take its last word"),
    }
}

/// What ends a session from outside: the end of its token or grant, with a warning before, a revocation, and shutdown.
struct Ending {
    live: Live,
    /// Of the token or of the grant, whichever comes first.
    expiry: Pin<Box<Sleep>>,
    token: Instant,
    warning: Option<Pin<Box<Sleep>>>,
    /// From the warning to the end.
    notice: Duration,
    /// What the session was opened with is void.
    void: Pin<Box<dyn Future<Output = ()>>>,
    shutdown: Pin<Box<dyn Future<Output = ()>>>,
}

impl Ending {
    fn new(verified: &Verified, live: Live, gate: &Gate) -> Self {
        let shutdown = gate.shutdown.clone();
        let token = verified.remaining();
        let remaining = live.remaining().map_or(token, |grant| grant.min(token));
        let now = Instant::now();
        // a session that is shorter than that is warned half way
        let notice = gate.config.expiry_warning.min(remaining / 2);
        let warning = (!notice.is_zero()).then(|| Box::pin(tokio::time::sleep(remaining - notice)));
        Self {
            live,
            // from one moment: which of the two ends it is told by comparing them
            expiry: Box::pin(tokio::time::sleep_until(now + remaining)),
            token: now + token,
            warning,
            notice,
            void: Box::pin({
                let (verifier, verified) = (gate.verifier.clone(), verified.clone());
                async move { verifier.ended(&verified).await }
            }),
            shutdown: Box::pin(async move { shutdown.wait().await }),
        }
    }
}

impl Watch for Ending {
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<End> {
        if self.shutdown.as_mut().poll(context).is_ready() {
            let text = "the gate is shutting down; connect again";
            return Poll::Ready(End::new(CloseReason::Shutdown, "57P01", text));
        }
        if self.void.as_mut().poll(context).is_ready() {
            let text = "what this session was opened with has been revoked";
            return Poll::Ready(End::new(CloseReason::Revoked, "28000", text));
        }
        match self.live.poll_change(context) {
            Poll::Ready(Change::Ended(end)) => return Poll::Ready(end),
            Poll::Ready(Change::Until(left)) => {
                let grant = left.map_or(self.token, |left| Instant::now() + left);
                let end = grant.min(self.token);
                self.expiry.as_mut().reset(end);
                let warned = end.checked_sub(self.notice).filter(|at| !self.notice.is_zero() && *at > Instant::now());
                self.warning = warned.map(|at| Box::pin(tokio::time::sleep_until(at)));
            }
            Poll::Pending => {}
        }
        if self.expiry.as_mut().poll(context).is_ready() {
            let text = if self.expiry.deadline() < self.token {
                "the access that this session was granted has ended; ask for it again: postern request create"
            } else {
                "what this session was opened with has expired; connect again with a fresh token"
            };
            return Poll::Ready(End::new(CloseReason::Expired, "28000", text));
        }
        Poll::Pending
    }

    fn look(&mut self) {
        self.live.look();
    }

    fn poll_warning(&mut self, context: &mut Context<'_>) -> Poll<Warning> {
        let Some(warning) = &mut self.warning else { return Poll::Pending };
        if !warning.is_elapsed() && warning.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        let seconds = self.notice.as_secs().max(1);
        Poll::Ready(Warning {
            // warning: what holds now will not hold for long
            sqlstate: "01000",
            text: format!("this session ends in {seconds} seconds, when what it was opened with expires"),
            hint: "finish what is open, then connect again with a fresh token".to_owned(),
        })
    }

    fn warned(&mut self) {
        self.warning = None;
    }
}
