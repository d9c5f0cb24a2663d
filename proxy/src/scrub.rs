//! What the server says besides rows: errors, notices, notifications, changed settings. Of a statement that touches
//! protected data nothing passes that could quote a value; of others, what detectors find is replaced (AUD-2, MSK-1).

use crate::{
    conversation::{Conversation, End, Outbox},
    frames::{self, backend},
    mask,
};
use judge::{mask::detect, sql::Effect};

impl Conversation {
    /// Shows an ErrorResponse (`E`) or NoticeResponse (`N`).
    ///
    /// # Errors
    /// [`End`] for a malformed one.
    pub(crate) fn show_report(
        &mut self,
        kind: u8,
        protected: bool,
        frame: &[u8],
        out: &mut Outbox,
    ) -> Result<(), End> {
        let body = frame.get(frames::HEAD..).unwrap_or_default();
        if protected || self.protected_window {
            backend::put_report(&mut out.bytes, kind, &mask::report(&backend::report(kind, body)?));
            return Ok(());
        }
        let detectors = self.decider.detectors();
        if detectors.is_empty() || !detect::suspicious(detectors, body) {
            out.bytes.extend_from_slice(frame);
            return Ok(());
        }
        let mut report = backend::report(kind, body)?;
        for (_, text) in &mut report {
            if let Some(clean) = detect::clean(detectors, text) {
                *text = clean;
            }
        }
        backend::put_report(&mut out.bytes, kind, &report);
        Ok(())
    }

    /// Shows a NotificationResponse: its payload is another session's text.
    ///
    /// # Errors
    /// [`End`] for a malformed one.
    pub(crate) fn show_notification(&mut self, frame: &[u8], out: &mut Outbox) -> Result<(), End> {
        let body = frame.get(frames::HEAD..).unwrap_or_default();
        let detectors = self.decider.detectors();
        if detectors.is_empty() || !detect::suspicious(detectors, body) {
            out.bytes.extend_from_slice(frame);
            return Ok(());
        }
        let mut fields = frames::Fields::of(b'A', body);
        let process = fields.int32()?;
        let (channel, payload) = (fields.text()?, fields.text()?);
        fields.end()?;
        let mut clean = process.to_be_bytes().to_vec();
        for text in [channel, payload] {
            let text = String::from_utf8_lossy(text);
            clean.extend_from_slice(detect::clean(detectors, &text).unwrap_or_else(|| text.into_owned()).as_bytes());
            clean.push(0);
        }
        frames::put(&mut out.bytes, b'A', &clean);
        Ok(())
    }

    /// Whether a changed setting may be shown: where a statement touches protected data, only one that its text names.
    pub(crate) fn may_show_setting(&mut self, name: &str) -> bool {
        let Some(running) = self.flight.running() else { return true };
        if !running.decision.touches_protected() {
            return true;
        }
        let names = |effect: &Effect| matches!(effect, Effect::Set { name: set, value: Some(_), .. } if set.eq_ignore_ascii_case(name));
        running.decision.effects.iter().any(names)
    }
}
