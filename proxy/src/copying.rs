//! COPY on the client's connection: rows on the way out are masked, rows on the way in may not store what masks show.
//!
//! [`crate::answer`] and [`crate::forward`] call it where a COPY begins, for each CopyData, and where it ends. Where
//! nothing is hidden and nothing guarded, CopyData passes without being looked at. What cannot be walked ends the
//! session (out) or the COPY (in).

use crate::{
    conversation::{Conversation, CopyIn, End, Outbox},
    decide::Refused,
    flight::Running,
    frames,
};
use judge::mask::copy::{Inbound, Stream};
use schemas::event::Found;

/// A report for the client: the fields of an ErrorResponse.
type Report = Vec<(u8, String)>;

/// What a running statement knows of its COPY.
#[derive(Debug, Default)]
pub struct Copying {
    outbound: Option<Stream>,
    inbound: Option<Inbound>,
    refused: Option<Report>,
    found: Vec<Found>,
}

impl Copying {
    /// What detectors found in its rows, for the record.
    pub fn found(&self) -> Vec<Found> {
        self.outbound.as_ref().map_or_else(|| self.found.clone(), Stream::found)
    }
}

/// CopyOutResponse came: the plan for its rows is made.
///
/// # Errors
/// [`End`] where the server's columns are not those of the statement's text.
pub fn begin_out(running: &mut Running, body: &[u8]) -> Result<(), End> {
    if !running.decision.walks() {
        return Ok(());
    }
    let mut fields = frames::Fields::of(b'H', body);
    let binary = fields.byte()? == 1;
    let columns = fields.count()?;
    running.copying.outbound = Some(running.decision.copy_out(columns, binary)?);
    Ok(())
}

/// Whether CopyData of a running statement passes as it is.
///
/// # Errors
/// [`End`] for data of a statement that is masked, without its CopyOutResponse.
pub fn passes(running: &Running) -> Result<bool, End> {
    if !running.decision.walks() {
        return Ok(true);
    }
    let stream = running.copying.outbound.as_ref();
    stream.map(Stream::is_identity).ok_or_else(|| End::desynchronized("COPY data came without its description"))
}

/// Masks the body of a CopyData frame into `out`, as one frame with the rows that are whole now.
///
/// # Errors
/// [`End`] for data that does not read as the options of the COPY say.
pub fn data(running: &mut Running, body: &[u8], out: &mut Vec<u8>) -> Result<bool, End> {
    let missing = || End::desynchronized("COPY data came without its description");
    let stream = running.copying.outbound.as_mut().ok_or_else(missing)?;
    let before = out.len();
    out.extend_from_slice(&[b'd', 0, 0, 0, 0]);
    let rows = stream.push(body, out);
    if rows.is_err() || out.len() == before + frames::HEAD {
        out.truncate(before);
    }
    running.rows += rows.map_err(|_| End::desynchronized("COPY data does not read as the options of the COPY say"))?;
    if out.len() == before {
        return Ok(false);
    }
    let length = u32::try_from(out.len() - before - 1).unwrap_or(u32::MAX).to_be_bytes();
    if let Some(place) = out.get_mut(before + 1..before + frames::HEAD) {
        place.copy_from_slice(&length);
    }
    Ok(true)
}

/// CopyDone of the server came.
///
/// # Errors
/// [`End`] where a row is not whole.
pub fn end_out(running: &mut Running) -> Result<(), End> {
    let Some(stream) = running.copying.outbound.take() else { return Ok(()) };
    stream.end().map_err(|_| End::desynchronized("COPY data ended within a row"))?;
    running.copying.found = stream.found();
    Ok(())
}

/// CopyInResponse came: the guard for the client's rows is made.
///
/// # Errors
/// [`End`] where rows into masked columns cannot be walked.
pub fn begin_in(running: &mut Running) -> Result<(), End> {
    running.copying.inbound = running.decision.copy_in()?;
    Ok(())
}

impl Conversation {
    /// The client's CopyData must be looked at, whole frame by whole frame.
    pub(crate) fn guards_copy(&mut self) -> bool {
        matches!(self.copy_in, CopyIn::Streaming { .. })
            && self.flight.running().is_some_and(|running| running.copying.inbound.is_some())
    }

    /// Looks at CopyData (or, with `None`, CopyDone) of the client. Says whether it may go on; where it may not, the
    /// server was told that the COPY failed, and its error will be replaced by ours.
    pub(crate) fn may_copy(&mut self, body: Option<&[u8]>, out: &mut Outbox) -> bool {
        let Some(running) = self.flight.running() else { return true };
        let number = running.number;
        let Some(inbound) = running.copying.inbound.as_mut() else { return true };
        let looked = match body {
            Some(body) => inbound.push(body),
            None => inbound.end(),
        };
        let refused = match looked {
            Ok(false) => return true,
            Ok(true) => Refused::placeholder(),
            Err(error) => Refused::unreadable_copy(&error.to_string()),
        };
        running.copying.inbound = None;
        let id = schemas::StatementId { session: self.record.session(), number };
        running.copying.refused = Some(refused.report(Some(id)));
        self.copy_in = CopyIn::None;
        frames::put(&mut out.bytes, b'f', b"refused by postern\0");
        false
    }

    /// The report that stands in the place of the server's error, if the gate made the statement fail.
    pub(crate) fn own_report(&mut self) -> Option<Report> {
        self.flight.running().and_then(|running| running.copying.refused.take())
    }
}
