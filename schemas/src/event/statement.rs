//! Events about one statement: what came, what went, how it ended.

use serde::{Deserialize, Serialize};

/// How a payload's bytes are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PayloadCodec {
    /// As they were on the wire.
    Plain,
    /// Compressed with zstd, then sealed with AES-256-GCM under the key that `key` names: see [`crate::seal`].
    SealedZstd,
    /// Left out by the resource's setting; `bytes` is the SHA-256 digest of what was there.
    Digest,
    /// Likewise, and the digest is sealed: one of few or short rows could be guessed. Since version 4.
    SealedDigest,
}

/// Bytes that may be sensitive, carried so that encryption needs no new format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload {
    /// How to read `bytes`.
    pub codec: PayloadCodec,
    /// The id of the key that sealed them; null where they are not sealed.
    pub key: Option<String>,
    /// The bytes.
    #[serde(with = "crate::codec::blob")]
    pub bytes: Vec<u8>,
}

impl Payload {
    /// What stands in the place of a text that is sealed.
    pub const SEALED: &str = "(sealed)";

    /// What stands in the place of words that may be a value which is left out.
    pub const LEFT_OUT: &str = "(left out)";

    /// Carries bytes as they are.
    pub fn plain(bytes: impl Into<Vec<u8>>) -> Self {
        Self { codec: PayloadCodec::Plain, key: None, bytes: bytes.into() }
    }

    /// The text of a plain payload; what is not UTF-8 in it is replaced, what is sealed is named.
    pub fn to_text(&self) -> String {
        match self.codec {
            PayloadCodec::Plain => String::from_utf8_lossy(&self.bytes).into_owned(),
            PayloadCodec::SealedZstd => Self::SEALED.to_owned(),
            PayloadCodec::Digest | PayloadCodec::SealedDigest => "(digest only)".to_owned(),
        }
    }
}

/// A [`Payload`] over borrowed bytes, for the data path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PayloadRef<'a> {
    /// See [`Payload::codec`].
    pub codec: PayloadCodec,
    /// See [`Payload::key`].
    pub key: Option<&'a str>,
    /// See [`Payload::bytes`].
    pub bytes: &'a [u8],
}

impl<'a> PayloadRef<'a> {
    /// Carries bytes as they are.
    pub const fn plain(bytes: &'a [u8]) -> Self {
        Self { codec: PayloadCodec::Plain, key: None, bytes }
    }
}

impl<'a> From<&'a Payload> for PayloadRef<'a> {
    fn from(payload: &'a Payload) -> Self {
        Self { codec: payload.codec, key: payload.key.as_deref(), bytes: &payload.bytes }
    }
}

/// The sub-protocol by which a statement came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// A Query message.
    Simple,
    /// Parse, Bind, Execute: one Statement event for each Execute, and one for a Parse that was denied.
    Extended,
    /// A FunctionCall message: always refused.
    FunctionCall,
}

/// A statement arrived. Recorded before it is forwarded if it can change anything (AUD-1, AUD-5).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Statement {
    /// Its number in the session, from 1: `stm_<session>_<number>`.
    #[serde(with = "crate::codec::long")]
    pub number: u64,
    /// How it came.
    pub protocol: Protocol,
    /// Its place in a simple message of several statements, from 0.
    #[serde(with = "crate::codec::int")]
    pub index: u32,
    /// The SQL text as the client sent it.
    pub text: Payload,
    /// The prepared statement's name; empty for the unnamed one and for simple messages.
    pub prepared: String,
    /// The portal's name; empty for the unnamed one and for simple messages.
    pub portal: String,
    /// Format codes, parameters and result formats as they stand in the Bind message; null where none came or they exceed the limit for this field (the Frames have them).
    pub parameters: Option<Payload>,
    /// Where the resource leaves values out of the record: keyed tokens ([`crate::tokens`]) of the constants and values that
    /// stood here, each once, as many as [`crate::tokens::MAX_TOKENS`]; null where all is as it was sent. Since version 5.
    #[serde(default)]
    pub tokens: Option<Vec<String>>,
}

/// Which way bytes went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From the client, as received.
    Client,
    /// To the client, after masking.
    Server,
}

/// A run of protocol bytes in one direction. Runs of one direction, in order, are that direction's stream. Of a run that was
/// left out, the codec is [`PayloadCodec::Digest`]; it is as long as the next run of the direction begins after it, or
/// as the totals of [`super::SessionClosed`] say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Frames {
    /// Which way.
    pub direction: Direction,
    /// Where the run begins in that direction's recorded stream, in bytes.
    #[serde(with = "crate::codec::long")]
    pub offset: u64,
    /// How many frames begin in the run.
    #[serde(with = "crate::codec::int")]
    pub frames: u32,
    /// The bytes. The startup packet, authentication messages and BackendKeyData are never part of the stream.
    pub payload: Payload,
}

/// [`Frames`] over borrowed bytes, for the data path.
#[derive(Debug, Clone, Copy)]
pub struct FramesRef<'a> {
    /// See [`Frames::direction`].
    pub direction: Direction,
    /// See [`Frames::offset`].
    pub offset: u64,
    /// See [`Frames::frames`].
    pub frames: u32,
    /// See [`Frames::payload`].
    pub payload: PayloadRef<'a>,
}

/// The statement waits for a reviewer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Held {
    /// The statement.
    #[serde(with = "crate::codec::long")]
    pub number: u64,
    /// The hold that asks for its release, `hld_...`.
    pub request: String,
    /// The groups that may answer.
    pub reviewers: Vec<String>,
    /// Microseconds since 1970-01-01 UTC after which it is denied.
    pub expires: i64,
    /// SHA-256 of what an approval would release, hexadecimal. Since version 3.
    #[serde(default)]
    pub digest: String,
    /// How many reviewers must agree. Since version 3.
    #[serde(default = "one", with = "crate::codec::int")]
    pub approvals: u32,
}

/// As many as agreed before version 3.
const fn one() -> u32 {
    1
}

/// A reviewer answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reviewed {
    /// The statement.
    #[serde(with = "crate::codec::long")]
    pub number: u64,
    /// The access request.
    pub request: String,
    /// Who answered; null where time or the client's leaving ended the hold.
    pub reviewer: Option<super::Identity>,
    /// Whether it was released.
    pub approved: bool,
    /// The reviewer's or the gate's reason.
    pub reason: String,
}

/// How a statement ended, as the client was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// CommandComplete or EmptyQueryResponse.
    Succeeded,
    /// PostgreSQL answered with an error.
    Failed,
    /// The gate denied it; PostgreSQL never saw it.
    Denied,
    /// PortalSuspended: the client took part of the rows.
    Suspended,
    /// Skipped after an earlier error of the same pipeline, or the session ended first.
    Abandoned,
}

/// The statement's outcome. Written before the client sees it (AUD-5).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Completed {
    /// The statement.
    #[serde(with = "crate::codec::long")]
    pub number: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// The command tag, such as `SELECT 5`; empty where none came.
    pub tag: String,
    /// Rows that the client received, or COPY rows that it sent or received.
    #[serde(with = "crate::codec::long")]
    pub rows: u64,
    /// Bytes of those rows on the client's wire.
    #[serde(with = "crate::codec::long")]
    pub bytes: u64,
    /// Microseconds from the statement's arrival to its outcome.
    #[serde(with = "crate::codec::long")]
    pub duration: u64,
    /// The error's SQLSTATE, if it failed or was denied.
    pub sqlstate: Option<String>,
    /// What was found in values that no rule hides, and hidden.
    #[serde(default)]
    pub found: Vec<Found>,
}

/// What a detector or provider found in an answer and hid; never the value itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// The detector, such as `pan` or `secret`; `provider` for an external one.
    pub detector: String,
    /// The column's name in the answer; `(report)` for errors and notices.
    pub column: String,
    /// Values in which it found something.
    #[serde(with = "crate::codec::long")]
    pub values: u64,
}
