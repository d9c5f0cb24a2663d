//! Moves the bytes of one session, in one task: reads both sides, lets [`Conversation`] work on what came, waits where the
//! record must be durable first, and writes.
//!
//! Every direction has a bounded buffer: while the client does not take its answers, the server is not read; while the
//! server does not take statements, the client is not read. Both directions can always move on their own, so that a
//! client that sends a long pipeline before it reads cannot lock itself up.

use crate::{
    conversation::{Conversation, End, Outbox},
    forward::Flow,
    frames::Reader,
    startup::Stream,
    upstream,
};
use event_log::Log;
use schemas::event::CloseReason;
use std::{
    future::Future,
    io,
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Sleep,
};

/// Bytes that may wait for a side before the other is not read.
const HIGH_WATER: usize = 256 << 10;

/// Bytes that are read at once of a client whose statement is held.
const HEARD: usize = 1 << 10;

/// How often a client is looked at that sent [`HIGH_WATER`] behind a held statement: it is not read then, and reading is how it is
/// noticed that a client leaves. Where more is under way than the system keeps for the gate, its end has not come, and is not noticed.
const LOOK: Duration = Duration::from_secs(1);

/// What ends a session from outside.
pub trait Watch {
    /// Ready when the session must end: expiry, revocation, shutdown.
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<End>;

    /// Looks at once at what may end it, not when it is told of it.
    fn look(&mut self);

    /// Ready with what the client should be told meanwhile, such as that its token ends soon; asked until it is taken.
    fn poll_warning(&mut self, context: &mut Context<'_>) -> Poll<Warning>;

    /// The warning was passed on.
    fn warned(&mut self);
}

/// A word to the client besides its answers: a NoticeResponse of the severity WARNING.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The SQLSTATE.
    pub sqlstate: &'static str,
    /// What.
    pub text: String,
    /// What to do.
    pub hint: String,
}

type Waiting = Pin<Box<dyn Future<Output = Result<(), event_log::Error>> + Send>>;

/// One direction's way out: bytes that may go when their record allows it.
struct Way {
    out: Outbox,
    sent: usize,
    waiting: Option<Waiting>,
    unflushed: bool,
    closed: bool,
}

impl Way {
    fn new() -> Self {
        Self { out: Outbox::default(), sent: 0, waiting: None, unflushed: false, closed: false }
    }

    fn is_empty(&self) -> bool {
        self.out.bytes.is_empty()
    }

    /// Writes what may go. Ready(true) if something moved.
    fn poll_write<W: AsyncWrite + Unpin>(
        &mut self,
        to: &mut W,
        log: &Log,
        context: &mut Context<'_>,
    ) -> io::Result<bool> {
        let mut moved = false;
        while self.sent < self.out.bytes.len() {
            if let Some(receipt) = self.out.gate {
                if !log.is_durable(receipt.position()) {
                    let waiting = self.waiting.get_or_insert_with(|| {
                        let log = log.clone();
                        Box::pin(async move { log.durable(receipt.position()).await })
                    });
                    match waiting.as_mut().poll(context) {
                        Poll::Pending => return Ok(moved),
                        Poll::Ready(done) => {
                            self.waiting = None;
                            done.map_err(io::Error::other)?;
                            continue;
                        }
                    }
                }
                self.out.gate = None;
            }
            if let Some(receipt) = self.out.record.take() {
                log.written(receipt.position()).map_err(io::Error::other)?;
            }
            let rest = self.out.bytes.get(self.sent..).unwrap_or_default();
            match Pin::new(&mut *to).poll_write(context, rest) {
                Poll::Pending => return Ok(moved),
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(count)) => {
                    self.sent += count;
                    self.unflushed = true;
                    moved = true;
                }
                Poll::Ready(Err(error)) => return Err(error),
            }
        }
        if self.sent > 0 {
            self.out.bytes.clear();
            self.sent = 0;
            if self.out.bytes.capacity() > HIGH_WATER {
                self.out.bytes = Vec::new();
            }
        }
        if self.unflushed {
            match Pin::new(to).poll_flush(context) {
                Poll::Ready(done) => {
                    done?;
                    self.unflushed = false;
                }
                Poll::Pending => {}
            }
        }
        Ok(moved)
    }
}

/// One side's socket and read buffer.
struct Side<S> {
    stream: S,
    input: Reader,
    ended: bool,
}

impl<S: AsyncRead + Unpin> Side<S> {
    /// Reads once. Ready(true) if something came.
    fn poll_read(&mut self, wanted: usize, context: &mut Context<'_>) -> io::Result<bool> {
        if self.ended {
            return Ok(false);
        }
        let room = self.input.room(wanted);
        let mut buffer = ReadBuf::new(room);
        match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
            Poll::Pending => {
                self.input.rest();
                Ok(false)
            }
            Poll::Ready(Ok(())) => {
                let count = buffer.filled().len();
                self.ended = count == 0;
                self.input.filled(count);
                Ok(true)
            }
            Poll::Ready(Err(error)) => Err(error),
        }
    }
}

impl<S: AsyncRead + Unpin> Side<S> {
    /// Reads a little, without taking a buffer for what may be long in coming. True if something came.
    fn poll_hear(&mut self, context: &mut Context<'_>) -> io::Result<bool> {
        let mut heard = [0; HEARD];
        let mut buffer = ReadBuf::new(&mut heard);
        match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
            Poll::Pending => Ok(false),
            Poll::Ready(Ok(())) => {
                self.ended = buffer.filled().is_empty();
                self.input.append(buffer.filled());
                Ok(true)
            }
            Poll::Ready(Err(error)) => Err(error),
        }
    }
}

/// The exchange of one session.
pub struct Exchange<W> {
    client: Side<Stream>,
    server: Side<upstream::Stream>,
    to_client: Way,
    to_server: Way,
    conversation: Conversation,
    watch: W,
    terminated: bool,
    blocked: bool,
    /// The next look at a client that is not read.
    look: Option<Pin<Box<Sleep>>>,
    log: Log,
}

/// What must be done outside of the exchange before it goes on.
enum Turn {
    RefreshCatalog,
    End(End),
}

impl<W: Watch> Exchange<W> {
    /// Begins after the startup phase; `early` are bytes that the server's handshake read too much.
    pub fn new(
        client: Stream,
        server: upstream::Stream,
        early: &[u8],
        conversation: Conversation,
        watch: W,
        log: Log,
    ) -> Self {
        let mut input = Reader::default();
        if !early.is_empty() {
            input.preload(early);
        }
        Self {
            client: Side { stream: client, input: Reader::default(), ended: false },
            server: Side { stream: server, input, ended: false },
            to_client: Way::new(),
            to_server: Way::new(),
            conversation,
            watch,
            terminated: false,
            blocked: false,
            look: None,
            log,
        }
    }

    /// Bytes that the client must get first, such as the end of the startup phase; they are recorded by the caller.
    pub fn greet(&mut self, bytes: &[u8]) {
        self.to_client.out.bytes.extend_from_slice(bytes);
    }

    /// Runs the session to its end, and says why it ended.
    pub async fn run(&mut self) -> End {
        loop {
            let turn = {
                let mut this = pin!(&mut *self);
                std::future::poll_fn(move |context| this.poll(context)).await
            };
            match turn {
                Turn::End(end) => return end,
                Turn::RefreshCatalog => {
                    let resource = self.conversation.decider.resource().clone();
                    if let Err(reason) = resource.refresh().await {
                        let text = format!("the catalog of the database cannot be read: {reason}");
                        return End::new(CloseReason::UpstreamGone, "08006", text);
                    }
                    self.conversation.decider.refreshed();
                    self.blocked = false;
                }
            }
        }
    }

    /// The session's state, to close it.
    pub fn conversation(&mut self) -> &mut Conversation {
        &mut self.conversation
    }

    /// Gives the client's stream back, with what was not sent yet and may be sent: for a last word.
    pub fn into_client(self) -> Stream {
        self.client.stream
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Turn> {
        if let Poll::Ready(end) = self.watch.poll_end(context) {
            return Poll::Ready(Turn::End(end));
        }
        if let Poll::Ready(warning) = self.watch.poll_warning(context) {
            match self.conversation.warn(&warning, &mut self.to_client.out) {
                Ok(true) => self.watch.warned(),
                // a row is under way: there is more to read, and then another turn
                Ok(false) => {}
                Err(end) => return Poll::Ready(Turn::End(end)),
            }
        }
        loop {
            match self.step(context) {
                Ok(None) => return Poll::Pending,
                Ok(Some(true)) => {}
                Ok(Some(false)) => return Poll::Ready(Turn::RefreshCatalog),
                Err(end) => return Poll::Ready(Turn::End(end)),
            }
        }
    }

    /// Moves what can move. `Some(true)`: something did; `Some(false)`: the catalog must be refreshed; `None`: nothing can.
    fn step(&mut self, context: &mut Context<'_>) -> Result<Option<bool>, End> {
        let gone = |error: io::Error| failed(&error, CloseReason::ClientGone);
        let lost = |error: io::Error| failed(&error, CloseReason::UpstreamGone);
        let mut moved = self.to_client.poll_write(&mut self.client.stream, &self.log, context).map_err(gone)?;
        if self.server.ended && self.to_client.is_empty() && !self.conversation.waits_for_provider() {
            return Err(self.server_ended());
        }
        if let Some(end) = self.conversation.ending()
            && self.to_client.is_empty()
        {
            return Err(end.clone());
        }
        moved |= self.step_hold(context)?;
        if self.conversation.poll_interrupt(context).is_ready() {
            moved = true;
            self.conversation.proceed(&mut self.to_server.out);
            self.blocked = false;
        }
        if self.conversation.waits_for_provider() {
            if self.conversation.poll_provider(context).is_ready() {
                moved = true;
                self.conversation.server(&mut self.server.input, &mut self.to_client.out)?;
                self.conversation.proceed(&mut self.to_server.out);
                self.blocked = false;
            }
        } else if self.to_client.out.bytes.len() < HIGH_WATER && self.conversation.ending().is_none() {
            let wanted = self.conversation.wanted_from_server();
            if self.server.poll_read(wanted, context).map_err(lost)? {
                moved = true;
                self.conversation.server(&mut self.server.input, &mut self.to_client.out)?;
                self.conversation.proceed(&mut self.to_server.out);
                // an answer may be what the client's next message waited for
                self.blocked = false;
                self.to_client.poll_write(&mut self.client.stream, &self.log, context).map_err(gone)?;
            }
        }
        let unread = !self.client.input.unread().is_empty();
        if !self.terminated && self.to_server.out.bytes.len() < HIGH_WATER && !self.conversation.client_waits() {
            let mut fresh = unread && !self.blocked;
            if !fresh || self.conversation.wanted_from_client() > 0 {
                let wanted = self.conversation.wanted_from_client();
                if self.client.poll_read(wanted, context).map_err(gone)? {
                    moved = true;
                    fresh = true;
                }
            }
            if fresh && !self.client.input.unread().is_empty() {
                match self.conversation.client(&mut self.client.input, &mut self.to_server.out)? {
                    Flow::More | Flow::Wait => self.blocked = true,
                    Flow::RefreshCatalog => return Ok(Some(false)),
                    Flow::Terminate => self.terminated = true,
                }
                // what a hold waits for from now on has not been looked at
                moved |= self.conversation.is_held();
            }
        }
        moved |= self.to_server.poll_write(&mut self.server.stream, &self.log, context).map_err(lost)?;
        let finished = self.terminated || (self.client.ended && !self.conversation.client_waits());
        if finished && self.to_server.is_empty() && !self.to_server.closed {
            // half-close: the server finishes what it was sent, and its answers still go to the client
            match Pin::new(&mut self.server.stream).poll_shutdown(context) {
                Poll::Ready(_) => {
                    self.to_server.closed = true;
                    moved = true;
                }
                Poll::Pending => {}
            }
        }
        Ok(moved.then_some(true))
    }

    /// While a statement is held, the client is heard all the same: what it sends waits, and that it leaves ends the hold.
    fn step_hold(&mut self, context: &mut Context<'_>) -> Result<bool, End> {
        if !self.conversation.is_held() {
            return Ok(false);
        }
        let before = self.to_client.out.bytes.len();
        if self.conversation.poll_hold(context, &mut self.to_client.out)?.is_ready() {
            (self.blocked, self.look) = (false, None);
            // a right that was taken before the approval was used comes first
            self.watch.look();
            if let Poll::Ready(end) = self.watch.poll_end(context) {
                return Err(end);
            }
            return Ok(true);
        }
        let mut moved = self.to_client.out.bytes.len() > before;
        self.client.input.pack();
        while self.client.input.unread().len() < HIGH_WATER {
            let heard = self.client.poll_hear(context).map_err(|error| failed(&error, CloseReason::ClientGone))?;
            if self.client.ended {
                return Err(End::silent(CloseReason::ClientGone));
            }
            if !heard {
                break;
            }
            moved = true;
        }
        if self.client.input.unread().len() >= HIGH_WATER {
            self.look_at_client(context)?;
        }
        Ok(moved)
    }

    /// The client may send no more; that it leaves ends the hold all the same.
    fn look_at_client(&mut self, context: &mut Context<'_>) -> Result<(), End> {
        loop {
            if self.client.stream.has_left() {
                return Err(End::silent(CloseReason::ClientGone));
            }
            let look = self.look.get_or_insert_with(|| Box::pin(tokio::time::sleep(LOOK)));
            if look.as_mut().poll(context).is_pending() {
                return Ok(());
            }
            self.look = None;
        }
    }

    fn server_ended(&self) -> End {
        if self.terminated {
            End::silent(CloseReason::ClientTerminated)
        } else if self.client.ended {
            End::silent(CloseReason::ClientGone)
        } else {
            End::silent(CloseReason::UpstreamGone)
        }
    }
}

fn failed(error: &io::Error, reason: CloseReason) -> End {
    if let Some(log) = error.get_ref().and_then(|inner| inner.downcast_ref::<event_log::Error>()) {
        let text = format!("the audit log cannot take the record of this session: {log}; nothing goes on unrecorded");
        return End::new(CloseReason::LogUnavailable, "53100", text);
    }
    End { reason, farewell: None, detail: error.kind().to_string() }
}
