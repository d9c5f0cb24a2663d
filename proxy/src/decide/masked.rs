//! What a decision says of rows: whether they are looked at, and by what plan those of a COPY are.

use super::{Decision, Refused};
use crate::{conversation::End, frames::frontend};
use judge::mask::copy::{Inbound, Stream};
use schemas::event::CloseReason;

impl Decision {
    /// Its rows are masked or searched.
    pub fn walks(&self) -> bool {
        self.walks
    }

    /// Why a Bind with these parameters (format codes, values, result formats) is refused, if it is.
    pub fn refuses_parameters(&self, parameters: &[u8]) -> Option<Refused> {
        let guard = self.guard?;
        let refuses = frontend::values(parameters).any(|value| guard.refuses_value(value));
        refuses.then(Refused::placeholder)
    }

    /// What to hide of the rows of a COPY to the client.
    ///
    /// # Errors
    /// [`End`] where the server sends other columns than the text says.
    pub fn copy_out(&self, columns: usize, binary: bool) -> Result<Stream, End> {
        let facts = self.facts.first().ok_or_else(|| End::desynchronized("a COPY without a meaning"))?;
        let stream = self.view.copy_out(&self.judgement, facts, columns, binary);
        stream.map_err(|text| End::new(CloseReason::InternalError, "42501", text))
    }

    /// What the rows of a COPY from the client may not hold.
    ///
    /// # Errors
    /// [`End`] where they cannot be walked.
    pub fn copy_in(&self) -> Result<Option<Inbound>, End> {
        let Some(facts) = self.facts.first() else { return Ok(None) };
        let inbound = self.view.copy_in(&self.judgement, facts);
        inbound.map_err(|text| End::new(CloseReason::InternalError, "42501", text))
    }
}
