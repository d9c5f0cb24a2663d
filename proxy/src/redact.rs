//! Keeps passwords, keys and tokens that statements name out of the record: `ALTER ROLE ... PASSWORD`, user mappings,
//! connection strings.
//!
//! They are struck out byte by byte ([`judge::sql::secrets`]) of the client's frames, of Statement events with their
//! parameters, of what reviewers are shown, and of reports that quote them. The database gets what the client sent.

use crate::{
    conversation::{Conversation, Outbox},
    forward::Frame,
    frames::{
        self, Fields,
        frontend::{self, Message},
    },
};
use judge::sql::secrets::{self, Known};
use schemas::{event::Payload, literals};
use std::{borrow::Cow, collections::BTreeMap, ops::Range};

/// What a session's client said that must not be kept.
#[derive(Default)]
pub(crate) struct Redaction {
    /// Secrets that its statements named.
    known: Known,
    /// Bytes at the front of the next run that belong to a frame of COPY data.
    rest: usize,
    /// A frame of the next run may name a secret.
    named: bool,
}

/// A statement's text, for an event.
pub(crate) fn text(text: &[u8]) -> Payload {
    Payload::plain(secrets::redacted(text))
}

/// The parameters of a Bind without secrets.
pub(crate) fn parameters(parameters: &[u8]) -> Cow<'_, [u8]> {
    let found = secrets_of_parameters(parameters);
    if found.is_empty() {
        return Cow::Borrowed(parameters);
    }
    let mut parameters = parameters.to_vec();
    secrets::strike(&mut parameters, &found);
    Cow::Owned(parameters)
}

/// Words, or a name, for the record.
pub(crate) fn words(words: &str) -> String {
    let mut bytes = words.as_bytes().to_vec();
    let found = secrets::secrets_of_words(&bytes);
    secrets::strike(&mut bytes, &found);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The startup parameters as they may be kept: some give an address with its password as their name.
pub(crate) fn parameters_of_startup(parameters: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    parameters.iter().map(|(name, text)| (name.clone(), words(text))).collect()
}

/// A statement for people; none where more is a secret than a word of it, so that it could hide what runs.
pub(crate) fn shown(text: &str) -> Option<String> {
    struck(text, &secrets::secrets(text.as_bytes()))
}

/// A value for people, likewise.
pub(crate) fn value(value: &str) -> Option<String> {
    struck(value, &secrets::secrets_of_value(value.as_bytes()))
}

fn struck(text: &str, found: &[Range<usize>]) -> Option<String> {
    let mut bytes = text.as_bytes().to_vec();
    let hides = |range: &Range<usize>| {
        let hidden = bytes.get(range.clone()).unwrap_or_default();
        hidden.iter().any(|byte| matches!(byte, b'\n' | b'\r' | b';' | b'('))
    };
    if found.iter().any(hides) {
        return None;
    }
    secrets::strike(&mut bytes, found);
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn secrets_of_parameters(parameters: &[u8]) -> Vec<Range<usize>> {
    if !secrets::may_hold(parameters) {
        return Vec::new();
    }
    values(parameters).map_or_else(
        || std::iter::once(0..parameters.len()).collect(),
        |values| {
            let within = |value: Range<usize>| {
                let found = secrets::secrets_of_value(parameters.get(value.clone()).unwrap_or_default());
                found.into_iter().map(move |range| range.start + value.start..range.end + value.start)
            };
            values.into_iter().flat_map(within).collect()
        },
    )
}

/// Where the values of a Bind stand behind its names; none where they cannot be read.
pub(crate) fn values(parameters: &[u8]) -> Option<Vec<Range<usize>>> {
    let mut fields = Fields::of(b'B', parameters);
    for _ in 0..fields.count().ok()? {
        fields.int16().ok()?;
    }
    let mut values = Vec::new();
    for _ in 0..fields.count().ok()? {
        if let Some(value) = fields.value().ok()? {
            let end = parameters.len() - fields.rest().len();
            values.push(end - value.len()..end);
        }
    }
    Some(values)
}

/// Where secrets stand in a frame of the client.
fn secrets_of_frame(kind: u8, frame: &[u8]) -> Vec<Range<usize>> {
    let body = frame.get(frames::HEAD..).unwrap_or_default();
    let (at, found) = match frontend::parse(kind, body) {
        Ok(Message::Query(text)) => (frames::HEAD, secrets::secrets(text)),
        Ok(Message::Parse { name, text }) => (frames::HEAD + name.len() + 1, secrets::secrets(text)),
        Ok(Message::Bind { portal, statement, parameters, .. }) => {
            (frames::HEAD + portal.len() + statement.len() + 2, secrets_of_parameters(parameters))
        }
        // what cannot be read ends the session, and what calls a function is refused
        Ok(Message::FunctionCall) | Err(_) => (frames::HEAD, std::iter::once(0..body.len()).collect()),
        Ok(_) => return Vec::new(),
    };
    found.into_iter().map(|range| range.start + at..range.end + at).collect()
}

/// Each text of a frame of the server that may quote somebody; codes and names stay, and so does what is no report.
pub(crate) fn each_text(kind: u8, body: &mut [u8], change: &mut dyn FnMut(&mut [u8])) {
    match kind {
        b'E' | b'N' => body.split_mut(|byte| *byte == 0).for_each(|field| {
            if let Some((code, text)) = field.split_first_mut()
                && !matches!(*code, b'S' | b'V' | b'C' | b'P' | b'p' | b'L')
            {
                change(text);
            }
        }),
        // the name of a setting stays, and so does who notifies
        b'S' => body.split_mut(|byte| *byte == 0).skip(1).for_each(change),
        b'A' => body.get_mut(4..).unwrap_or_default().split_mut(|byte| *byte == 0).for_each(change),
        _ => {}
    }
}

impl Conversation {
    /// Remembers the secrets of a frame of the client's, before anybody can quote it. Every frame passes here before it is
    /// recorded, but for COPY data, which is no statement.
    pub(crate) fn learn_secrets(&mut self, frame: Frame<'_>) {
        if frame.head.kind != b'd' && secrets::may_hold(frame.bytes) {
            self.redaction.named = true;
            let found = secrets_of_frame(frame.head.kind, frame.bytes);
            self.redaction.known.learn(frame.bytes, &found);
        }
    }

    /// The client's run as it may be kept.
    pub(crate) fn redact_client_run<'a>(&mut self, run: &'a [u8]) -> Cow<'a, [u8]> {
        let begins = std::mem::replace(&mut self.redaction.rest, self.passing_in);
        let run = self.without_secrets(run, begins);
        self.leave_out_of_run(run, begins)
    }

    fn without_secrets<'a>(&mut self, run: &'a [u8], begins: usize) -> Cow<'a, [u8]> {
        if !std::mem::take(&mut self.redaction.named) {
            return Cow::Borrowed(run);
        }
        let (mut at, mut found) = (begins, Vec::new());
        while let Ok(Some(head)) = frames::head(run.get(at..).unwrap_or_default()) {
            let frame = run.get(at..run.len().min(at.saturating_add(head.total))).unwrap_or_default();
            found.extend(secrets_of_frame(head.kind, frame).into_iter().map(|range| range.start + at..range.end + at));
            at = at.saturating_add(head.total);
        }
        // what is no frame ends the session, and stands in its record
        let rest = secrets::secrets(run.get(at..).unwrap_or_default());
        found.extend(rest.into_iter().map(|range| range.start + at..range.end + at));
        if found.is_empty() {
            return Cow::Borrowed(run);
        }
        let mut run = run.to_vec();
        secrets::strike(&mut run, &found);
        Cow::Owned(run)
    }

    /// Strikes what the client named as a secret out of what the server says besides rows, from here on: of texts only,
    /// so that each frame stays one and says the same SQLSTATE.
    pub(crate) fn redact_said(&mut self, at: usize, out: &mut Outbox) {
        if self.redaction.known.is_empty() {
            return;
        }
        let known = &mut self.redaction.known;
        let mut rest = out.bytes.get_mut(at..).unwrap_or_default();
        while let Ok(Some(head)) = frames::head(rest) {
            let Some((frame, behind)) = rest.split_at_mut_checked(head.total) else { return };
            let body = frame.get_mut(frames::HEAD..).unwrap_or_default();
            each_text(head.kind, body, &mut |text| known.strike(text));
            rest = behind;
        }
    }

    /// A reason for the record, which may quote what the client sent.
    pub(crate) fn redact_reason(&mut self, mut reason: String) -> String {
        if self.leaves_reasons() {
            reason = literals::remove_from_reason(&reason);
        }
        if self.redaction.known.is_empty() {
            return reason;
        }
        let mut bytes = reason.into_bytes();
        self.redaction.known.strike(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Whether the client named a secret in this session.
    pub(crate) fn knows_secrets(&self) -> bool {
        !self.redaction.known.is_empty()
    }
}
