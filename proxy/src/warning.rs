//! Words to the client between two frames of its answers: that its session ends soon.
//!
//! They are the gate's own and hold nothing of the database; like every byte that a client gets they are in the record
//! before they go (AUD-5).

use crate::{
    conversation::{Conversation, End, Outbox},
    exchange::Warning,
    frames::backend,
};
use event_log::Priority;
use schemas::event::Direction;

impl Conversation {
    /// Appends a notice, if no frame is half way to the client; PostgreSQL's protocol takes one between any two frames.
    ///
    /// # Errors
    /// [`End`]: the record cannot be made.
    pub(crate) fn warn(&mut self, warning: &Warning, out: &mut Outbox) -> Result<bool, End> {
        if self.passing_out > 0 {
            return Ok(false);
        }
        let before = out.bytes.len();
        let fields = [
            (b'S', "WARNING".to_owned()),
            (b'V', "WARNING".to_owned()),
            (b'C', warning.sqlstate.to_owned()),
            (b'M', warning.text.clone()),
            (b'H', warning.hint.clone()),
        ];
        backend::put_report(&mut out.bytes, b'N', &fields);
        let run = out.bytes.get(before..).unwrap_or_default();
        self.record.note_run(Direction::Server, run, 1)?;
        self.commit_answer(out, Priority::Normal)?;
        Ok(true)
    }
}
