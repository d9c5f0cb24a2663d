//! Keeps what a session said readable to the holders of a key alone, where its resource asks for it.
//!
//! Before: [`crate::record`] is given an event with plain payloads. After: its payloads are sealed under the session's own
//! data key ([`schemas::seal`]), and what stays readable of it has no constant of the client's: the verdict has the text's
//! shape instead, and reasons, which may quote the text, have no values.

use event_log::{Log, Position, Priority};
use schemas::event::{Body, Completed, Payload, PayloadCodec, PayloadRef, Statement, Verdict, VerdictKind};
use schemas::seal::{Error, Sealer, WrappedKey};
use schemas::{Shard, literals};
use std::collections::BTreeMap;

/// Statements whose shapes are kept until they end; of a longer pipeline the oldest go.
const MAX_SHAPES: usize = 4096;

/// The kind of a statement that was not understood.
const UNKNOWN: &str = "UNKNOWN";

/// Whether what a verdict touches has this name.
fn names(verdict: &Verdict, name: &str) -> bool {
    let relations = verdict.relations.iter().map(|relation| &relation.name);
    let columns = verdict.columns.iter().map(|column| &column.name);
    relations.chain(columns).chain(&verdict.functions).any(|full| full.split('.').any(|part| part == name))
}

/// Policies by which a statement is denied that names what is not there, as far as they begin so.
const NAMELESS: &[&str] = &["builtin:unknown", "builtin:opaque", "builtin:grammar", "builtin:name"];

/// Takes out of a verdict what it is said to touch, where that may be a value: names that are not there.
pub(crate) fn without_doubtful_names(verdict: &mut Verdict) {
    if verdict.policies.iter().any(|policy| NAMELESS.iter().any(|start| policy.starts_with(start))) {
        verdict.relations.clear();
        verdict.functions.clear();
    }
}

/// Seals what a session records.
#[derive(Debug)]
pub struct Sealing {
    sealer: Sealer,
    /// The key, until it is in the log twice: a damaged record of the spool must not take what lies in others along.
    key: Option<WrappedKey>,
    copies: u8,
    /// By number: what may be shown of statements that have not ended.
    shapes: BTreeMap<u64, Option<String>>,
    buffer: Vec<u8>,
}

impl Sealing {
    /// With this key, which goes to the log with the first event.
    pub fn new(sealer: Sealer, key: WrappedKey) -> Self {
        Self { sealer, key: Some(key), copies: 2, shapes: BTreeMap::new(), buffer: Vec::new() }
    }

    /// Appends to the log; the first times with the key.
    pub(crate) fn append(
        &mut self,
        log: &Log,
        shard: Shard,
        datums: &[&[u8]],
        priority: Priority,
    ) -> Result<Position, event_log::Error> {
        let position = match &self.key {
            Some(key) => log.append_opening(shard, key, datums, priority)?,
            None => log.append(shard, datums, priority)?,
        };
        self.copies = self.copies.saturating_sub(1);
        if self.copies == 0 {
            self.key = None;
        }
        Ok(position)
    }

    /// An event's body as it may be kept.
    pub(crate) fn body(&mut self, body: Body) -> Result<Body, Error> {
        Ok(match body {
            Body::Statement(statement) => Body::Statement(self.statement(statement)?),
            Body::Verdict(verdict) => Body::Verdict(self.verdict(verdict)),
            Body::SessionClosed(mut closed) => {
                closed.detail = literals::remove_from_reason(&closed.detail);
                Body::SessionClosed(closed)
            }
            Body::HoldEnded(mut ended) => {
                Payload::SEALED.clone_into(&mut ended.reason);
                Body::HoldEnded(ended)
            }
            other => other,
        })
    }

    fn statement(&mut self, statement: Statement) -> Result<Statement, Error> {
        let text = std::str::from_utf8(&statement.text.bytes).ok();
        let shape = text.and_then(literals::remove).map(|text| text.shown).filter(|shown| !shown.is_empty());
        if self.shapes.len() >= MAX_SHAPES {
            self.shapes.pop_first();
        }
        self.shapes.insert(statement.number, shape);
        Ok(Statement {
            text: self.payload(statement.text)?,
            parameters: statement.parameters.map(|parameters| self.payload(parameters)).transpose()?,
            prepared: literals::name(&statement.prepared),
            portal: literals::name(&statement.portal),
            ..statement
        })
    }

    fn payload(&mut self, payload: Payload) -> Result<Payload, Error> {
        if payload.bytes.is_empty() { Ok(payload) } else { self.sealer.payload(&payload.bytes) }
    }

    fn verdict(&self, mut verdict: Verdict) -> Verdict {
        verdict.reason = literals::remove_from_reason(&verdict.reason);
        if verdict.verdict != VerdictKind::Deny && verdict.kind != UNKNOWN {
            let shape = self.shapes.get(&verdict.number).and_then(Option::as_ref);
            verdict.shape = shape.and_then(|shape| literals::known_names(shape, |name| names(&verdict, name)));
            return verdict;
        }
        // names that are not there may be values, and a denial's reason quotes them: the policies tell which it was
        Payload::SEALED.clone_into(&mut verdict.reason);
        without_doubtful_names(&mut verdict);
        verdict
    }

    /// An outcome as it may be kept: the client names the columns of its answers.
    pub(crate) fn completed(&mut self, completed: &Completed) -> Option<Completed> {
        self.shapes.remove(&completed.number);
        (!completed.found.is_empty()).then(|| {
            let mut completed = completed.clone();
            for found in &mut completed.found {
                "?".clone_into(&mut found.column);
            }
            completed
        })
    }

    /// A run of frames, or its digest, sealed.
    pub(crate) fn run(&mut self, payload: PayloadRef<'_>) -> Result<PayloadRef<'_>, Error> {
        self.sealer.seal(payload.bytes, &mut self.buffer)?;
        let codec = match payload.codec {
            PayloadCodec::Digest | PayloadCodec::SealedDigest => PayloadCodec::SealedDigest,
            PayloadCodec::Plain | PayloadCodec::SealedZstd => PayloadCodec::SealedZstd,
        };
        Ok(PayloadRef { codec, key: Some(self.sealer.id()), bytes: &self.buffer })
    }
}
