//! Makes the record of one session: events in order, with a dense sequence (AUD-3), into the durable log.
//!
//! Before: every stage notes what it saw or decided. After: [`crate::exchange`] lets bytes go only with a [`Receipt`]:
//! frames to the database when the statement's record is durable (or, for what provably changes nothing, under way),
//! bytes to the client when their own record is written and their statement's is durable (AUD-5).

use crate::{
    evidence::{Cutter, ResultEvidence, SplitHead},
    redact,
    sealing::Sealing,
    statement::Prepared,
};
use event_log::{Log, Position, Priority};
use schemas::codec::{
    self,
    template::{Run, Template},
};
use schemas::event::{
    Body, Completed, Direction, Event, FramesEventRef, FramesRef, PayloadCodec, PayloadRef, SessionClosed,
};
use schemas::{SessionId, Shard, seal};
use sha2::{Digest, Sha256};
use std::time::{SystemTime, UNIX_EPOCH};

/// The record cannot be made: nothing goes on (fail closed).
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An event does not fit its schema or its cap.
    #[error("cannot encode an event of the session")]
    Encode(#[source] codec::Error),
    /// What of a run may stay cannot be told.
    #[error("cannot tell rows from the rest of what the session records")]
    Evidence(#[source] SplitHead),
    /// What the resource wants sealed cannot be.
    #[error("cannot seal the record of the session")]
    Seal(#[source] seal::Error),
    /// What the resource leaves out of the record has no tokens.
    #[error("no key of tokens is configured: [tokens] key_file")]
    Tokens,
    /// The log refuses: full, or its disk failed.
    #[error("cannot write the record of the session")]
    Log(#[source] event_log::Error),
}

/// Proof that everything noted so far was handed to the log, up to this position. Only [`Record`] makes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Receipt(Position);

impl Receipt {
    /// The log's position that must be written or durable.
    pub fn position(self) -> Position {
        self.0
    }
}

/// Microseconds since 1970-01-01 UTC, by the wall clock.
#[allow(clippy::disallowed_methods, reason = "the one place of the gate that reads the wall clock for events")]
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// The record of one session.
pub struct Record {
    log: Log,
    shard: Shard,
    session: SessionId,
    sequence: u64,
    offsets: [u64; 2],
    /// Datums noted and not yet handed to the log, one after the other, and where each ends.
    datums: Vec<u8>,
    ends: Vec<usize>,
    /// Statements of held messages: their event was noted before they ran.
    early: Vec<u64>,
    /// What of results stays.
    cutter: Cutter,
    /// Who may read it, where that is not everybody who may read the archive.
    sealing: Option<Sealing>,
}

impl Record {
    /// Begins the record of a session, with all rows of its results; nothing is written yet.
    pub fn new(log: Log, session: SessionId) -> Self {
        let shard = log.assign();
        Self {
            log,
            shard,
            session,
            sequence: 0,
            offsets: [0, 0],
            datums: Vec::new(),
            ends: Vec::new(),
            early: Vec::new(),
            cutter: Cutter::default(),
            sealing: None,
        }
    }

    /// Seals its payloads. Before the first event.
    #[must_use]
    pub fn with_sealing(mut self, sealing: Option<Sealing>) -> Self {
        self.sealing = sealing;
        self
    }

    /// Whether its payloads are sealed.
    pub fn is_sealed(&self) -> bool {
        self.sealing.is_some()
    }

    /// Keeps so much of results.
    #[must_use]
    pub fn with_evidence(mut self, evidence: ResultEvidence) -> Self {
        self.cutter = Cutter::new(evidence);
        self
    }

    /// The session's id.
    pub fn session(&self) -> SessionId {
        self.session
    }

    /// Bytes recorded so far: from the client, to the client.
    pub fn totals(&self) -> (u64, u64) {
        let [client, server] = self.offsets;
        (client, server)
    }

    /// Notes one run of a prepared statement. Its Statement event is encoded once but for what changes, unless it is sealed.
    ///
    /// # Errors
    /// [`Error::Encode`]; the session ends.
    pub fn note_statement(
        &mut self,
        prepared: &Prepared,
        number: u64,
        portal: &str,
        parameters: Option<&[u8]>,
    ) -> Result<(), Error> {
        let parameters = parameters.map(redact::parameters);
        if self.is_sealed() {
            return self.note(Body::Statement(prepared.statement(number, portal, parameters.as_deref())));
        }
        if self.was_noted(number) {
            return Ok(());
        }
        let (template, run) = (prepared.event().map_err(Error::Encode)?, self.run(number));
        let parameters = parameters.as_deref().map(PayloadRef::plain);
        template.put_statement(&run, portal, parameters, &mut self.datums).map_err(Error::Encode)?;
        self.noted();
        Ok(())
    }

    /// Notes an event of one run of a statement that was encoded before but for what changes.
    ///
    /// # Errors
    /// [`Error::Encode`]; the session ends.
    pub fn note_template(&mut self, template: &Template, number: u64) -> Result<(), Error> {
        template.put(&self.run(number), &mut self.datums).map_err(Error::Encode)?;
        self.noted();
        Ok(())
    }

    /// Notes how a statement ended.
    ///
    /// # Errors
    /// [`Error::Encode`]; the session ends.
    pub fn note_completed(&mut self, completed: &Completed) -> Result<(), Error> {
        let cleaned = self.sealing.as_mut().and_then(|sealing| sealing.completed(completed));
        let completed = cleaned.as_ref().unwrap_or(completed);
        codec::encode_completed(&self.run(completed.number), completed, &mut self.datums).map_err(Error::Encode)?;
        self.noted();
        Ok(())
    }

    /// The Statement of this number was noted, and will be noted again when it runs: once is enough.
    pub(crate) fn noted_early(&mut self, number: u64) {
        self.early.push(number);
    }

    fn was_noted(&mut self, number: u64) -> bool {
        let before = self.early.len();
        if before > 0 {
            self.early.retain(|early| *early != number);
        }
        self.early.len() < before
    }

    fn run(&self, number: u64) -> Run {
        Run { session: self.session, sequence: self.sequence, time: now(), number }
    }

    /// Notes an event.
    ///
    /// # Errors
    /// [`Error::Encode`]; the session ends.
    pub fn note(&mut self, body: Body) -> Result<(), Error> {
        if let Body::Statement(statement) = &body
            && self.was_noted(statement.number)
        {
            return Ok(());
        }
        let body = match &mut self.sealing {
            Some(sealing) => sealing.body(body).map_err(Error::Seal)?,
            None => body,
        };
        let event = Event { session: self.session, sequence: self.sequence, time: now(), body };
        codec::encode(&event, &mut self.datums).map_err(Error::Encode)?;
        self.noted();
        Ok(())
    }

    /// Notes a run of protocol bytes in which so many frames begin, in pieces that fit an event; of rows what the
    /// resource's record keeps.
    ///
    /// # Errors
    /// [`Error::Encode`], [`Error::Evidence`]; the session ends.
    pub fn note_run(&mut self, direction: Direction, bytes: &[u8], frames: u32) -> Result<(), Error> {
        if direction == Direction::Client || self.cutter.keeps_all() {
            return self.note_plain(direction, bytes, frames);
        }
        let mut rest = bytes;
        while let Some(piece) = self.cutter.next(&mut rest).map_err(Error::Evidence)? {
            if piece.kept {
                self.note_plain(direction, piece.bytes, piece.frames)?;
            } else {
                let digest = Sha256::digest(piece.bytes);
                self.note_frames(direction, PayloadCodec::Digest, &digest, piece.bytes.len(), piece.frames)?;
            }
        }
        Ok(())
    }

    /// Notes a run of which everything stays, wherever the run before it ended.
    ///
    /// # Errors
    /// [`Error::Encode`]; the session ends.
    pub fn note_plain(&mut self, direction: Direction, bytes: &[u8], mut frames: u32) -> Result<(), Error> {
        for piece in bytes.chunks(codec::MAX_RUN_BYTES) {
            self.note_frames(direction, PayloadCodec::Plain, piece, piece.len(), std::mem::take(&mut frames))?;
        }
        Ok(())
    }

    fn note_frames(
        &mut self,
        direction: Direction,
        codec: PayloadCodec,
        payload: &[u8],
        length: usize,
        frames: u32,
    ) -> Result<(), Error> {
        let Some(offset) = self.offsets.get_mut(usize::from(direction == Direction::Server)) else { return Ok(()) };
        let mut payload = PayloadRef { codec, key: None, bytes: payload };
        if let Some(sealing) = &mut self.sealing {
            payload = sealing.run(payload).map_err(Error::Seal)?;
        }
        let body = FramesRef { direction, offset: *offset, frames, payload };
        *offset += length as u64;
        let event = FramesEventRef { session: self.session, sequence: self.sequence, time: now(), body };
        codec::encode_frames(&event, &mut self.datums).map_err(Error::Encode)?;
        self.noted();
        Ok(())
    }

    fn noted(&mut self) {
        self.sequence += 1;
        self.ends.push(self.datums.len());
    }

    /// Hands what was noted to the log; `None` if nothing was.
    ///
    /// # Errors
    /// [`Error::Log`]; the session ends, since what follows could not be recorded.
    pub fn commit(&mut self, priority: Priority) -> Result<Option<Receipt>, Error> {
        if self.ends.is_empty() {
            return Ok(None);
        }
        let mut begin = 0;
        let mut pieces: Vec<&[u8]> = Vec::with_capacity(self.ends.len());
        for end in &self.ends {
            pieces.push(self.datums.get(begin..*end).unwrap_or_default());
            begin = *end;
        }
        let position = match &mut self.sealing {
            Some(sealing) => sealing.append(&self.log, self.shard, &pieces, priority),
            None => self.log.append(self.shard, &pieces, priority),
        };
        let position = position.map_err(Error::Log)?;
        self.datums.clear();
        self.ends.clear();
        Ok(Some(Receipt(position)))
    }

    /// Ends the record. Uses the reserve that the log keeps back for this (AUD-4).
    ///
    /// # Errors
    /// [`Error`]; the log's recovery then closes the session.
    pub fn close(&mut self, closed: SessionClosed) -> Result<(), Error> {
        self.note(Body::SessionClosed(closed))?;
        if let Some(receipt) = self.commit(Priority::Closing)? {
            self.log.written(receipt.0).map_err(Error::Log)?;
            self.log.want_durable(receipt.0);
        }
        Ok(())
    }

    /// The log, to wait for.
    pub fn log(&self) -> &Log {
        &self.log
    }
}
