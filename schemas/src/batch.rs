//! The unit of everything downstream: events of one shard, sealed under a header that is chained to the one before.
//!
//! The log seals batches, Kafka carries them, the recorder splices their blocks into the archive without decoding them,
//! and a proof names one batch and one place in it. [`seal`] makes one, [`EventBatch::open`] checks one and reads it.

use crate::chain::{self, Digest};
use crate::codec::{self, Error};
use crate::event::Event;
use crate::id::{Epoch, NodeId, SequenceNumber, SessionId, Shard};
use crate::seal::WrappedKey;
use crate::signature::{self, Signature, Signer};
use apache_avro::{reader::datum::GenericDatumReader, writer::datum::GenericDatumWriter};
use serde::{Deserialize, Serialize};
use std::{io::Cursor, sync::LazyLock};

/// The events of one session in a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRange {
    /// The session.
    pub session: SessionId,
    /// Sequence of its first event here.
    #[serde(with = "crate::codec::long")]
    pub first: SequenceNumber,
    /// How many of its events are here; their sequence is dense.
    #[serde(with = "crate::codec::int")]
    pub count: u32,
}

/// What a batch claims of itself: what is hashed, chained and signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchHeader {
    /// The node that wrote it.
    pub node: NodeId,
    /// The start of that node.
    #[serde(with = "crate::codec::long")]
    pub epoch: Epoch,
    /// The shard.
    #[serde(with = "crate::codec::int")]
    pub shard: Shard,
    /// Dense per node and shard from 0, over all epochs.
    #[serde(with = "crate::codec::long")]
    pub sequence: u64,
    /// Hash of the previous header of this node and shard; [`chain::GENESIS`] for the first.
    #[serde(with = "codec::fixed")]
    pub previous: Digest,
    /// Merkle root over the salted events.
    #[serde(with = "codec::fixed")]
    pub root: Digest,
    /// Time of the earliest event, microseconds since 1970-01-01 UTC.
    pub first_time: i64,
    /// Time of the latest event, likewise.
    pub last_time: i64,
    /// Fingerprint of the Event schema that wrote the block (two's complement of [`codec::EVENT_FINGERPRINT`]).
    pub schema: i64,
    /// Events in the block.
    #[serde(with = "crate::codec::int")]
    pub count: u32,
    /// Sessions in the batch, in the order of their first event here.
    pub sessions: Vec<SessionRange>,
}

/// A batch as it is shipped and kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventBatch {
    /// What it claims of itself.
    pub header: BatchHeader,
    /// Secret from which the leaf salts follow; never part of an evidence bundle.
    #[serde(with = "codec::fixed")]
    pub salt: [u8; 32],
    /// zstd of concatenated Event datums: the body of an object container file block.
    #[serde(with = "codec::blob")]
    pub block: Vec<u8>,
    /// Of the node, over [`BatchHeader::hash`]; `None` where nodes do not sign.
    #[serde(default)]
    pub signature: Option<Signature>,
    /// Data keys of the sessions whose first events are here and whose payloads are sealed. No hash covers them, so that
    /// they can be erased; each proves itself against the payloads that name it ([`WrappedKey`]).
    #[serde(default)]
    pub keys: Vec<WrappedKey>,
}

/// Where a batch stands in its chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The node.
    pub node: NodeId,
    /// Its start.
    pub epoch: Epoch,
    /// The shard.
    pub shard: Shard,
    /// The batch's sequence number.
    pub sequence: u64,
    /// The hash of the header before it.
    pub previous: Digest,
}

static BATCH_WRITER: LazyLock<GenericDatumWriter<'static>> = LazyLock::new(|| codec::writer(&codec::BATCH_SCHEMA));
static BATCH_READER: LazyLock<GenericDatumReader<'static>> = LazyLock::new(|| codec::reader(&codec::BATCH_SCHEMA));
static HEADER_WRITER: LazyLock<GenericDatumWriter<'static>> = LazyLock::new(|| codec::writer(&codec::HEADER_SCHEMA));
static BATCH_FINGERPRINT: LazyLock<u64> = LazyLock::new(|| codec::fingerprint(&codec::BATCH_SCHEMA));
static BATCH_READER_V1: LazyLock<GenericDatumReader<'static>> =
    LazyLock::new(|| codec::reader(&codec::BATCH_SCHEMA_V1));
static BATCH_FINGERPRINT_V1: LazyLock<u64> = LazyLock::new(|| codec::fingerprint(&codec::BATCH_SCHEMA_V1));
static BATCH_READER_V2: LazyLock<GenericDatumReader<'static>> =
    LazyLock::new(|| codec::reader(&codec::BATCH_SCHEMA_V2));
static BATCH_FINGERPRINT_V2: LazyLock<u64> = LazyLock::new(|| codec::fingerprint(&codec::BATCH_SCHEMA_V2));

/// The mark of Avro's single-object encoding.
const SINGLE_OBJECT: [u8; 2] = [0xc3, 0x01];

/// Largest encoded batch: the cap that a Kafka broker's `message.max.bytes` must allow.
pub const MAX_BATCH_BYTES: usize = codec::MAX_BLOCK_BYTES + (1 << 20);

/// Seals datums, in order, into a batch.
///
/// `datums` are the stored bytes of the events, each one datum; `salt` is fresh randomness.
///
/// # Errors
/// [`Error::Length`] if a datum has no head or there is none, [`Error::TooLarge`] over the block's cap.
pub fn seal(place: Place, salt: [u8; 32], datums: &[&[u8]]) -> Result<EventBatch, Error> {
    seal_version(place, salt, datums, codec::Version::Present)
}

/// As [`seal`], for datums that an older program may have written.
///
/// # Errors
/// Likewise.
pub fn seal_version(
    place: Place,
    salt: [u8; 32],
    datums: &[&[u8]],
    version: codec::Version,
) -> Result<EventBatch, Error> {
    let mut block = Vec::with_capacity(datums.iter().map(|d| d.len()).sum());
    let mut leaves = Vec::with_capacity(datums.len());
    let mut sessions: Vec<SessionRange> = Vec::new();
    let (mut first_time, mut last_time) = (i64::MAX, i64::MIN);
    for (index, datum) in (0u32..).zip(datums) {
        let head = codec::peek(datum)?;
        leaves.push(chain::leaf(&chain::leaf_salt(&salt, index), datum));
        block.extend_from_slice(datum);
        first_time = first_time.min(head.time);
        last_time = last_time.max(head.time);
        match sessions.iter_mut().rev().find(|range| range.session == head.session) {
            Some(range) => range.count += 1,
            None => sessions.push(SessionRange { session: head.session, first: head.sequence, count: 1 }),
        }
    }
    let count = u32::try_from(datums.len()).ok().filter(|n| *n > 0).ok_or(Error::Length { what: "a batch" })?;
    let header = BatchHeader {
        node: place.node,
        epoch: place.epoch,
        shard: place.shard,
        sequence: place.sequence,
        previous: place.previous,
        root: chain::root(&leaves),
        first_time,
        last_time,
        schema: version.fingerprint().cast_signed(),
        count,
        sessions,
    };
    Ok(EventBatch { header, salt, block: codec::compress(&block)?, signature: None, keys: Vec::new() })
}

impl BatchHeader {
    /// The bytes that are hashed and signed.
    ///
    /// # Errors
    /// [`Error::Encode`]: a fault in this package.
    pub fn datum(&self) -> Result<Vec<u8>, Error> {
        HEADER_WRITER
            .write_ser_to_vec(self)
            .map_err(|source| Error::Encode { what: "a batch header", reason: codec::reason(&source) })
    }

    /// The hash by which the next header names this one.
    ///
    /// # Errors
    /// As [`BatchHeader::datum`].
    pub fn hash(&self) -> Result<Digest, Error> {
        Ok(chain::header_hash(&self.datum()?))
    }
}

/// What is wrong with a batch's content.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The block cannot be read.
    #[error("the block cannot be read")]
    Unreadable(#[source] Error),
    /// The events are not those that the header was made over.
    #[error("the events do not have the Merkle root that the header states")]
    Root,
    /// The header's list of sessions, times or count is not that of the events.
    #[error("the header's sessions, times or count are not those of the events")]
    Header,
}

/// A batch whose events were checked against its header.
#[derive(Debug, Clone, PartialEq)]
pub struct Opened {
    /// The events, in order.
    pub events: Vec<Event>,
    /// The decompressed block: the events' stored bytes, one after the other.
    pub datums: Vec<u8>,
    /// Where in it each event ends.
    pub ends: Vec<usize>,
    /// The Merkle leaves, in order.
    pub leaves: Vec<Digest>,
}

impl EventBatch {
    /// With the keys of sessions that begin in it.
    #[must_use]
    pub fn with_keys(self, keys: Vec<WrappedKey>) -> Self {
        Self { keys, ..self }
    }

    /// Signs it as the node's. `hash` is that of its header.
    #[must_use]
    pub fn signed(self, signer: &Signer, hash: &Digest) -> Self {
        Self { signature: Some(signer.sign(&signature::of_batch(hash))), ..self }
    }

    /// Encodes for the wire: Avro single-object encoding.
    ///
    /// # Errors
    /// [`Error::Encode`]: a fault in this package.
    pub fn encode(&self) -> Result<Vec<u8>, Error> {
        let mut out = Vec::with_capacity(self.block.len() + 512);
        out.extend_from_slice(&SINGLE_OBJECT);
        out.extend_from_slice(&BATCH_FINGERPRINT.to_le_bytes());
        BATCH_WRITER
            .write_ser(&mut out, self)
            .map_err(|source| Error::Encode { what: "a batch", reason: codec::reason(&source) })?;
        Ok(out)
    }

    /// Reads what [`EventBatch::encode`] wrote. The content is not checked: see [`EventBatch::open`].
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::UnknownSchema`], [`Error::Decode`], [`Error::Length`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() > MAX_BATCH_BYTES {
            return Err(Error::TooLarge { what: "a batch", bytes: bytes.len(), limit: MAX_BATCH_BYTES });
        }
        let short = || Error::Length { what: "a batch" };
        let (mark, rest) = bytes.split_first_chunk::<2>().ok_or_else(short)?;
        let (fingerprint, body) = rest.split_first_chunk::<8>().ok_or_else(short)?;
        let fingerprint = u64::from_le_bytes(*fingerprint);
        let reader = match fingerprint {
            _ if *mark != SINGLE_OBJECT => return Err(Error::UnknownSchema { fingerprint }),
            present if present == *BATCH_FINGERPRINT => &BATCH_READER,
            before if before == *BATCH_FINGERPRINT_V2 => &BATCH_READER_V2,
            before if before == *BATCH_FINGERPRINT_V1 => &BATCH_READER_V1,
            _ => return Err(Error::UnknownSchema { fingerprint }),
        };
        let mut cursor = Cursor::new(body);
        let batch = reader
            .read_deser(&mut cursor)
            .map_err(|source| Error::Decode { what: "a batch", reason: codec::reason(&source) })?;
        if cursor.position() == body.len() as u64 { Ok(batch) } else { Err(short()) }
    }

    /// Expands the block, recomputes every leaf from the stored bytes, and reads the events.
    ///
    /// # Errors
    /// [`Fault`], naming what does not hold. The chain to the batch before is the caller's to check.
    pub fn open(&self) -> Result<Opened, Fault> {
        let datums = codec::decompress(&self.block).map_err(Fault::Unreadable)?;
        let version = codec::Version::of(self.header.schema.cast_unsigned()).map_err(Fault::Unreadable)?;
        let mut rest = datums.as_slice();
        let (mut events, mut ends, mut leaves) = (Vec::new(), Vec::new(), Vec::new());
        for index in 0..self.header.count {
            let before = rest;
            events.push(version.decode(&mut rest).map_err(Fault::Unreadable)?);
            let datum = before.get(..before.len() - rest.len()).unwrap_or_default();
            leaves.push(chain::leaf(&chain::leaf_salt(&self.salt, index), datum));
            ends.push(datums.len().saturating_sub(rest.len()));
        }
        if !rest.is_empty() {
            return Err(Fault::Unreadable(Error::Length { what: "a block" }));
        }
        if chain::root(&leaves) != self.header.root {
            return Err(Fault::Root);
        }
        if !header_agrees(&self.header, &events) {
            return Err(Fault::Header);
        }
        Ok(Opened { events, datums, ends, leaves })
    }
}

fn header_agrees(header: &BatchHeader, events: &[Event]) -> bool {
    let mut ranges: Vec<SessionRange> = Vec::new();
    for event in events {
        match ranges.iter_mut().rev().find(|range| range.session == event.session) {
            Some(range) if range.first + u64::from(range.count) == event.sequence => range.count += 1,
            Some(_) => return false,
            None => ranges.push(SessionRange { session: event.session, first: event.sequence, count: 1 }),
        }
    }
    let first = events.iter().map(|e| e.time).min();
    let last = events.iter().map(|e| e.time).max();
    ranges == header.sessions && first == Some(header.first_time) && last == Some(header.last_time)
}

#[cfg(test)]
pub(crate) mod tests;
