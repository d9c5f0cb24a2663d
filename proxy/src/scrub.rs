//! What the server says besides rows: errors, notices, notifications, changed settings. Of a statement that touches
//! protected data nothing passes that could quote a value; of others, what detectors find is replaced (AUD-2, MSK-1).

use crate::{
    conversation::{Conversation, End, Outbox},
    frames::{self, backend},
    mask,
};
use judge::{
    mask::{detect, findings::Place},
    sql::Effect,
};

impl Conversation {
    /// Shows an ErrorResponse (`E`) or NoticeResponse (`N`).
    ///
    /// # Errors
    /// [`End`] for a malformed one.
    pub(crate) fn show_report(&mut self, kind: u8, protected: bool, frame: &[u8], out: &mut Outbox) -> Result<(), End> {
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
            if let Some((clean, found)) = detect::clean(detectors, text) {
                *text = clean;
                if let Some(running) = self.flight.running() {
                    running.findings.add(Place::Report, found);
                }
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
            let cleaned = detect::clean(detectors, &text).map_or_else(|| text.into_owned(), |(clean, _)| clean);
            clean.extend_from_slice(cleaned.as_bytes());
            clean.push(0);
        }
        frames::put(&mut out.bytes, b'A', &clean);
        Ok(())
    }

    /// Notes the settings that a statement names, once it worked. After a rollback those from before hold again.
    pub(crate) fn name_settings(&mut self, effects: &[Effect]) {
        for effect in effects {
            let name = match effect {
                Effect::Set { name, value: Some(_), .. } => name.as_str(),
                Effect::Set { value: None, .. } | Effect::Rollback { .. } | Effect::Discard => ANY,
                _ => continue,
            };
            // PostgreSQL has some hundreds of them
            if !self.named_settings.iter().any(|named| named == name) {
                self.named_settings.push(name.to_owned());
            }
        }
    }

    /// Whether a changed setting may be shown: where statements touch protected data, only one that their text names. The
    /// server tells it with the statement or, since version 14, right before it is ready again.
    pub(crate) fn may_show_setting(&mut self, name: &str) -> bool {
        let running = self.flight.running().map(|running| running.decision.clone());
        if let Some(decision) = running {
            self.name_settings(&decision.effects);
        }
        let named = |set: &String| set == ANY || set.eq_ignore_ascii_case(name);
        !self.protected_window || self.named_settings.iter().any(named)
    }
}

/// Stands for every setting.
const ANY: &str = "all";
