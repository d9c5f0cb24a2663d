//! What becomes of a session while the log has no room: new statements are refused, and the session goes on.
//!
//! Nothing of a refused statement goes to the database, so nothing of it needs the record, which could not take it: neither
//! the client's message nor the gate's answer is in it. The server is sent a message that must fail, as for every refusal,
//! so that an open transaction ends up failed on both sides. The log says that it has no room a little before it has none
//! ([`event_log::Log::takes_new`]), which leaves the rest to the answers of statements that run.
//!
//! A window of the extended protocol that begins meanwhile is refused as a whole, its Sync and ReadyForQuery unrecorded too:
//! a client that tries again and again takes no room. In a window that began before, the message alone is.

use crate::{
    conversation::{Conversation, CopyIn, End, Outbox},
    decide::Permit,
    flight::{Awaited, Refusal},
    forward::{Frame, MUST_FAIL, REFUSED_NAME},
    own,
};
use schemas::event::Direction;
use std::ops::Range;

/// Bytes that the record of a statement may take besides its text: a verdict names every column that it touches.
const BESIDES: u64 = 64 << 10;

/// Times that the text of a statement stands in the record, at most: in Frames, Statement and an event's head.
const TIMES: u64 = 3;

/// What is kept out of the record.
#[derive(Default)]
pub(crate) struct Full {
    /// The client's window is refused as a whole.
    window: bool,
    /// The answers that come belong to what is not in the record, up to ReadyForQuery.
    answering: bool,
    /// The answer to the frame at hand is not in the record.
    hides: bool,
    /// Bytes of the client's, and of those for the client, that stay out.
    skipped: Vec<Range<usize>>,
    hidden: Vec<Range<usize>>,
    /// It was logged that the session's statements are refused.
    told: bool,
}

impl Conversation {
    /// The log has no room for what the client sent now.
    pub(crate) fn lacks_room(&self, unread: usize) -> bool {
        !self.record.log().takes_new(TIMES * unread as u64 + BESIDES)
    }

    /// Refuses a frame of the client for want of room in the log, at this place of what was read. True where it did: the
    /// frame is dealt with.
    pub(crate) fn refuses_for_room(
        &mut self,
        full: bool,
        frame: Frame<'_>,
        place: usize,
        out: &mut Outbox,
    ) -> Result<bool, End> {
        if !full && !self.full.window {
            return Ok(false);
        }
        let kind = frame.head.kind;
        let copying = matches!(self.copy_in, CopyIn::Streaming { .. });
        let refused = match kind {
            b'S' if self.full.window => {
                self.full.window = false;
                self.discarding = false;
                self.window += 1;
                self.flight.push(Awaited::Sync);
                out.pass(Permit::plain(), frame.bytes);
                true
            }
            b'X' => false,
            _ if self.full.window => true,
            b'Q' | b'F' if !self.discarding && !copying => {
                self.window += 1;
                let refusal = self.no_room(true);
                self.flight.push(Awaited::SimpleRefused(refusal));
                out.pass(Permit::plain(), &own::simple(MUST_FAIL));
                true
            }
            b'P' | b'B' | b'D' | b'E' | b'C' if !self.discarding && !copying => {
                self.full.window = !self.flight.window_is_open();
                let refusal = self.no_room(self.full.window);
                self.fail_pipeline(refusal, REFUSED_NAME, out)?;
                true
            }
            _ => false,
        };
        if refused {
            self.full.skipped.push(place..place + frame.head.total);
        }
        Ok(refused)
    }

    fn no_room(&mut self, whole: bool) -> Refusal {
        if !std::mem::replace(&mut self.full.told, true) {
            let session = self.record.session();
            tracing::warn!(%session, "the log has no room, statements are refused");
        }
        self.estimating.forget_question();
        let reason = "the audit log cannot take the record of this statement: it has no room";
        let hint = "nothing goes on unrecorded; try again later";
        let report = crate::limits::refused("53100", "builtin:log", reason, hint).report(None);
        Refusal { report, numbers: Vec::new(), unrecorded: Some(whole) }
    }

    /// The answer to a refusal is shown.
    pub(crate) fn shows_refusal(&mut self, whole: Option<bool>) {
        if let Some(whole) = whole {
            self.full.hides = true;
            self.full.answering = whole;
            self.frames_out = self.frames_out.saturating_sub(1);
        }
    }

    /// A frame of the server of this kind became what stands for the client from here on.
    pub(crate) fn became(&mut self, kind: u8, at: usize, out: &mut Outbox) {
        if matches!(kind, b'E' | b'N' | b'S' | b'A') {
            self.redact_said(at, out);
        }
        let bytes = at..out.bytes.len();
        self.said(kind, bytes.clone());
        let ready = kind == b'Z' && !bytes.is_empty();
        let hides = std::mem::take(&mut self.full.hides) || (ready && self.full.answering);
        if ready && std::mem::take(&mut self.full.answering) {
            self.frames_out = self.frames_out.saturating_sub(1);
        }
        if hides {
            self.full.hidden.push(bytes);
        }
    }

    /// Notes a run of the client's bytes but for what stays out of the record.
    pub(crate) fn note_client_run(&mut self, run: &[u8], begun: u32) -> Result<(), End> {
        let skipped = std::mem::take(&mut self.full.skipped);
        let run = &self.redact_client_run(run);
        self.note_but(Direction::Client, run, 0, begun, &skipped)
    }

    /// Notes a run of bytes for the client, from `before` on, but for what stays out of the record.
    pub(crate) fn note_server_run(&mut self, bytes: &[u8], before: usize) -> Result<(), End> {
        let hidden = std::mem::take(&mut self.full.hidden);
        let run = &self.leave_out_of_answer(bytes, before);
        self.note_but(Direction::Server, run, before, self.frames_out, &hidden)
    }

    fn note_but(
        &mut self,
        direction: Direction,
        run: &[u8],
        before: usize,
        mut frames: u32,
        but: &[Range<usize>],
    ) -> Result<(), End> {
        let mut from = 0;
        let ends = but.iter().map(|out| (out.start - before, out.end - before)).chain([(run.len(), run.len())]);
        for (start, end) in ends {
            let piece = run.get(from..start).unwrap_or_default();
            if !piece.is_empty() {
                self.record.note_run(direction, piece, std::mem::take(&mut frames))?;
            }
            from = end;
        }
        Ok(())
    }
}
