//! An event as bytes: Avro datums under the schemas of `schemas/avro/`, and zstd blocks of them.
//!
//! ```text
//! Event --encode--> datum ... datum --compress--> block      (a block is the body of an object container file block)
//! Event <--decode-- datum ... datum <--decompress-- block    (capped: a peer's sizes are never believed)
//! ```
//!
//! Encoding is infallible in practice (the types mirror the schemas, and a test holds them together), but its errors
//! are reported all the same. Decoding reads bytes that may be hostile or damaged: every size has a cap.

mod direct;
pub mod template;
mod version;

pub use direct::{encode_completed, encode_frames};
pub use version::{EVENT_SCHEMA_JSON_V1, EVENT_SCHEMA_JSON_V2, EVENT_SCHEMA_JSON_V3, EVENT_SCHEMA_JSON_V4, Version};

use crate::event::Event;
use crate::id::{SequenceNumber, SessionId};
use apache_avro::{Schema, rabin::Rabin, reader::datum::GenericDatumReader, writer::datum::GenericDatumWriter};
use std::{cell::RefCell, sync::LazyLock};
use zstd::bulk::{Compressor, Decompressor};

/// Largest datum of one event. Statement text is capped at 256 KiB and a run of frames at [`MAX_RUN_BYTES`] before.
pub const MAX_EVENT_BYTES: usize = 1 << 20;

/// Largest run of protocol bytes in one Frames event: one read buffer.
pub const MAX_RUN_BYTES: usize = 256 << 10;

/// Largest block, decompressed. A batch closes at 256 KiB, so one full event beyond that is the most it can hold.
pub const MAX_BLOCK_BYTES: usize = 4 << 20;

/// zstd level of blocks: measured, level 3 gains 0 to 5 % for a quarter of the speed.
pub const ZSTD_LEVEL: i32 = 1;

/// Bytes could not be written or read as what they should be. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The value does not fit its schema: a fault in this package.
    #[error("cannot encode {what}: {reason}")]
    Encode {
        /// What was being encoded.
        what: &'static str,
        /// Avro's reason, without the schema that it repeats.
        reason: String,
    },
    /// The bytes are not what they should be.
    #[error("cannot decode {what}: {reason}")]
    Decode {
        /// What was being decoded.
        what: &'static str,
        /// Avro's reason, without the schema that it repeats.
        reason: String,
    },
    /// zstd refused.
    #[error("cannot {doing} a block")]
    Zstd {
        /// `compress` or `decompress`.
        doing: &'static str,
        /// zstd's reason.
        #[source]
        source: std::io::Error,
    },
    /// A size is over its cap.
    #[error("{what} of {bytes} bytes is over the limit of {limit}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size.
        bytes: usize,
        /// The cap.
        limit: usize,
    },
    /// The bytes end early or go on too long.
    #[error("{what} is cut short or has bytes left over")]
    Length {
        /// What has the wrong length.
        what: &'static str,
    },
    /// The writer's schema is not known here.
    #[error("schema {fingerprint:016x} is not known to this version; upgrade the reader")]
    UnknownSchema {
        /// The fingerprint in the header.
        fingerprint: u64,
    },
}

const SOURCES: &[&str] = &[
    include_str!("../avro/identity.avsc"),
    include_str!("../avro/payload.avsc"),
    include_str!("../avro/session_opened.avsc"),
    include_str!("../avro/session_refused.avsc"),
    include_str!("../avro/statement.avsc"),
    include_str!("../avro/verdict.avsc"),
    include_str!("../avro/frames.avsc"),
    include_str!("../avro/held.avsc"),
    include_str!("../avro/reviewed.avsc"),
    include_str!("../avro/completed.avsc"),
    include_str!("../avro/gap.avsc"),
    include_str!("../avro/session_closed.avsc"),
    include_str!("../avro/access.avsc"),
    include_str!("../avro/access_requested.avsc"),
    include_str!("../avro/access_reviewed.avsc"),
    include_str!("../avro/access_granted.avsc"),
    include_str!("../avro/access_ended.avsc"),
    include_str!("../avro/hold_ended.avsc"),
    include_str!("../avro/revoked.avsc"),
    include_str!("../avro/alarm.avsc"),
    include_str!("../avro/role_leased.avsc"),
    include_str!("../avro/role_dropped.avsc"),
    include_str!("../avro/batch_header.avsc"),
    include_str!("../avro/batch_signature.avsc"),
];

/// The Event schema as one self-contained JSON document, as it stands in an archive object's header.
pub static EVENT_SCHEMA_JSON: LazyLock<String> = LazyLock::new(|| inlined(include_str!("../avro/event.avsc")));

/// The EventBatch schema as one self-contained JSON document.
pub static BATCH_SCHEMA_JSON: LazyLock<String> = LazyLock::new(|| inlined(include_str!("../avro/event_batch.avsc")));

/// The EventBatch schema as it was before batches were signed.
pub static BATCH_SCHEMA_JSON_V1: &str = include_str!("../avro/before/event_batch_v1.avsc");

/// The EventBatch schema as it was before batches carried the keys of sealed sessions.
pub static BATCH_SCHEMA_JSON_V2: &str = include_str!("../avro/before/event_batch_v2.avsc");

pub(crate) static HEADER_SCHEMA_JSON: LazyLock<String> =
    LazyLock::new(|| inlined(include_str!("../avro/batch_header.avsc")));

/// The Event schema.
pub static EVENT_SCHEMA: LazyLock<Schema> = LazyLock::new(|| parsed(&EVENT_SCHEMA_JSON));

pub(crate) static BATCH_SCHEMA: LazyLock<Schema> = LazyLock::new(|| parsed(&BATCH_SCHEMA_JSON));
pub(crate) static BATCH_SCHEMA_V1: LazyLock<Schema> = LazyLock::new(|| parsed(BATCH_SCHEMA_JSON_V1));
pub(crate) static BATCH_SCHEMA_V2: LazyLock<Schema> = LazyLock::new(|| parsed(BATCH_SCHEMA_JSON_V2));
pub(crate) static HEADER_SCHEMA: LazyLock<Schema> = LazyLock::new(|| parsed(&HEADER_SCHEMA_JSON));

/// The CRC-64-AVRO fingerprint of the Event schema that this version writes.
pub static EVENT_FINGERPRINT: LazyLock<u64> = LazyLock::new(|| fingerprint(&EVENT_SCHEMA));

static EVENT_WRITER: LazyLock<GenericDatumWriter<'static>> = LazyLock::new(|| writer(&EVENT_SCHEMA));
static EVENT_READER: LazyLock<GenericDatumReader<'static>> = LazyLock::new(|| reader(&EVENT_SCHEMA));

fn parsed(json: &str) -> Schema {
    Schema::parse_str(json).expect("the schemas of this package parse: a test holds it")
}

pub(crate) fn writer(schema: &'static Schema) -> GenericDatumWriter<'static> {
    GenericDatumWriter::builder(schema).human_readable(false).build().expect("a parsed schema resolves")
}

pub(crate) fn reader(schema: &'static Schema) -> GenericDatumReader<'static> {
    GenericDatumReader::builder(schema).human_readable(false).build().expect("a parsed schema resolves")
}

pub(crate) fn fingerprint(schema: &Schema) -> u64 {
    let bytes = schema.fingerprint::<Rabin>().bytes;
    bytes.try_into().map(u64::from_le_bytes).expect("a Rabin fingerprint has eight bytes")
}

/// Puts the definition of each named type where it is first used, so that the document stands alone.
fn inlined(root: &str) -> String {
    use serde_json::Value;
    use std::collections::{BTreeMap, BTreeSet};
    fn name_of(definition: &Value) -> Option<&str> {
        definition.get("name").and_then(Value::as_str)
    }
    fn walk(node: &mut Value, named: &BTreeMap<String, Value>, seen: &mut BTreeSet<String>) {
        match node {
            Value::String(name) => {
                if let Some(definition) = named.get(name.as_str()).filter(|_| seen.insert(name.clone())) {
                    let mut definition = definition.clone();
                    descend(&mut definition, named, seen);
                    *node = definition;
                }
            }
            Value::Array(variants) => variants.iter_mut().for_each(|v| walk(v, named, seen)),
            Value::Object(_) => {
                if let Some(name) = name_of(node) {
                    seen.insert(name.to_owned());
                }
                descend(node, named, seen);
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    fn descend(node: &mut Value, named: &BTreeMap<String, Value>, seen: &mut BTreeSet<String>) {
        for key in ["type", "items", "values"] {
            if let Some(inner) = node.get_mut(key).filter(|v| !v.is_string() || key != "type" || is_reference(v)) {
                walk(inner, named, seen);
            }
        }
        if let Some(Value::Array(fields)) = node.get_mut("fields") {
            for field in fields {
                if let Some(inner) = field.get_mut("type") {
                    walk(inner, named, seen);
                }
            }
        }
    }
    fn is_reference(value: &Value) -> bool {
        value.as_str().is_some_and(|name| name.starts_with(char::is_uppercase))
    }
    let named: BTreeMap<String, Value> = SOURCES
        .iter()
        .map(|source| serde_json::from_str::<Value>(source).expect("the schemas of this package are JSON"))
        .filter_map(|definition| Some((name_of(&definition)?.to_owned(), definition)))
        .collect();
    let mut document = serde_json::from_str(root).expect("the schemas of this package are JSON");
    walk(&mut document, &named, &mut BTreeSet::new());
    sorted(&document).to_string()
}

/// The same with every object's keys in alphabetical order, whatever features of serde_json other packages switch on: the
/// text stands in every archived file.
fn sorted(value: &serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::Object(fields) => {
            let ordered: std::collections::BTreeMap<_, _> = fields.iter().collect();
            Value::Object(ordered.into_iter().map(|(key, inner)| (key.clone(), sorted(inner))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

/// Appends the datum of one event to a buffer.
///
/// # Errors
/// [`Error::Encode`] if a value does not fit its schema, [`Error::TooLarge`] over [`MAX_EVENT_BYTES`]; the buffer is
/// then as it was.
pub fn encode(event: &Event, out: &mut Vec<u8>) -> Result<(), Error> {
    encode_serde(event, "an event", out)
}

fn encode_serde<T: serde::Serialize>(value: &T, what: &'static str, out: &mut Vec<u8>) -> Result<(), Error> {
    let before = out.len();
    if let Err(source) = EVENT_WRITER.write_ser(out, value) {
        out.truncate(before);
        return Err(Error::Encode { what, reason: reason(&source) });
    }
    let bytes = out.len() - before;
    if bytes > MAX_EVENT_BYTES {
        out.truncate(before);
        return Err(Error::TooLarge { what, bytes, limit: MAX_EVENT_BYTES });
    }
    Ok(())
}

/// Reads one event of the present version from the front of `input` and moves it on.
///
/// # Errors
/// [`Error::Decode`] if the bytes are not an event; `input` is then where it was.
pub fn decode(input: &mut &[u8]) -> Result<Event, Error> {
    Version::Present.decode(input)
}

/// Reads every event of a decompressed block that was written under the schema `fingerprint`.
///
/// # Errors
/// [`Error::UnknownSchema`], [`Error::Decode`], and [`Error::Length`] if the count differs.
pub fn decode_all(datums: &[u8], count: u32, fingerprint: u64) -> Result<Vec<Event>, Error> {
    let version = Version::of(fingerprint)?;
    let mut rest = datums;
    let mut events = Vec::new();
    for _ in 0..count {
        events.push(version.decode(&mut rest)?);
    }
    if rest.is_empty() { Ok(events) } else { Err(Error::Length { what: "a block" }) }
}

/// The head of an event: what a log needs to know without decoding the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The session.
    pub session: SessionId,
    /// Its sequence number.
    pub sequence: SequenceNumber,
    /// Microseconds since 1970-01-01 UTC.
    pub time: i64,
    /// The place of the body in the union.
    pub variant: u32,
}

/// Reads the head of a datum: the first three fields and the union's branch, at fixed places in the format.
///
/// # Errors
/// [`Error::Length`] if the bytes are too short.
pub fn peek(datum: &[u8]) -> Result<Head, Error> {
    let short = || Error::Length { what: "an event's head" };
    let (session, rest) = datum.split_first_chunk::<16>().ok_or_else(short)?;
    let mut rest = rest;
    let sequence = varint(&mut rest).and_then(|n| u64::try_from(n).ok()).ok_or_else(short)?;
    let time = varint(&mut rest).ok_or_else(short)?;
    let variant = varint(&mut rest).and_then(|n| u32::try_from(n).ok()).ok_or_else(short)?;
    Ok(Head { session: SessionId::from_bytes(*session), sequence, time, variant })
}

/// An Avro long: zigzag, seven bits a byte, lowest first.
fn varint(input: &mut &[u8]) -> Option<i64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = input.split_first()?;
        *input = rest;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some((value >> 1).cast_signed() ^ -((value & 1).cast_signed()));
        }
    }
    None
}

thread_local! {
    // a context costs more to make than a small batch to compress
    static COMPRESSOR: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Compresses concatenated datums into a block.
///
/// # Errors
/// [`Error::TooLarge`] over [`MAX_BLOCK_BYTES`], [`Error::Zstd`].
pub fn compress(datums: &[u8]) -> Result<Vec<u8>, Error> {
    within(datums.len(), "a block")?;
    let failed = |source| Error::Zstd { doing: "compress", source };
    COMPRESSOR.with_borrow_mut(|kept| match kept {
        Some(compressor) => compressor.compress(datums).map_err(failed),
        None => kept.insert(Compressor::new(ZSTD_LEVEL).map_err(failed)?).compress(datums).map_err(failed),
    })
}

/// Expands a block to at most [`MAX_BLOCK_BYTES`].
///
/// # Errors
/// [`Error::Zstd`] if the bytes are damaged or expand beyond the cap.
pub fn decompress(block: &[u8]) -> Result<Vec<u8>, Error> {
    let failed = |source| Error::Zstd { doing: "decompress", source };
    DECOMPRESSOR.with_borrow_mut(|kept| match kept {
        Some(decompressor) => decompressor.decompress(block, MAX_BLOCK_BYTES).map_err(failed),
        None => kept.insert(Decompressor::new().map_err(failed)?).decompress(block, MAX_BLOCK_BYTES).map_err(failed),
    })
}

/// The end of Avro's message: it begins by printing the whole schema.
pub(crate) fn reason(error: &apache_avro::Error) -> String {
    const LENGTH: usize = 160;
    let text = error.to_string();
    let skip = text.chars().count().saturating_sub(LENGTH);
    text.chars().skip(skip).collect()
}

fn within(bytes: usize, what: &'static str) -> Result<(), Error> {
    if bytes > MAX_BLOCK_BYTES { Err(Error::TooLarge { what, bytes, limit: MAX_BLOCK_BYTES }) } else { Ok(()) }
}

macro_rules! unsigned_as {
    ($name:ident, $unsigned:ty, $signed:ty, $avro:literal) => {
        #[doc = concat!("Serde for an unsigned number in Avro's `", $avro, "`, which has no unsigned type.")]
        pub mod $name {
            use serde::{Deserialize, Deserializer, Serializer, de, ser};

            /// Writes the number.
            ///
            /// # Errors
            /// The serializer's, and a number that the signed type cannot hold.
            pub fn serialize<S: Serializer>(number: &$unsigned, serializer: S) -> Result<S::Ok, S::Error> {
                serde::Serialize::serialize(&<$signed>::try_from(*number).map_err(ser::Error::custom)?, serializer)
            }

            /// Reads the number.
            ///
            /// # Errors
            /// The deserializer's, and a negative number.
            pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<$unsigned, D::Error> {
                <$unsigned>::try_from(<$signed>::deserialize(deserializer)?).map_err(de::Error::custom)
            }
        }
    };
}
unsigned_as!(long, u64, i64, "long");
unsigned_as!(int, u32, i32, "int");

/// Serde for `fixed(N)`: bytes in Avro, hexadecimal text in JSON.
pub mod fixed {
    use serde::{Deserialize, Deserializer, Serializer, de};

    /// Writes the bytes.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<S: Serializer, const N: usize>(bytes: &[u8; N], serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(&crate::chain::hexadecimal(bytes))
        } else {
            serializer.serialize_bytes(bytes)
        }
    }

    /// Reads exactly `N` bytes.
    ///
    /// # Errors
    /// The deserializer's, and another length than `N`.
    pub fn deserialize<'de, D: Deserializer<'de>, const N: usize>(deserializer: D) -> Result<[u8; N], D::Error> {
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            return crate::chain::from_hexadecimal(&text).ok_or_else(|| de::Error::custom("not hexadecimal"));
        }
        let bytes = deserializer.deserialize_byte_buf(super::BytesVisitor)?;
        bytes.try_into().map_err(|b: Vec<u8>| de::Error::invalid_length(b.len(), &"the fixed size"))
    }
}

/// Serde for `bytes`: bytes in Avro, base64 text in JSON.
pub mod blob {
    use base64::{Engine, prelude::BASE64_STANDARD};
    use serde::{Deserialize, Deserializer, Serializer, de};

    /// Writes the bytes.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(&BASE64_STANDARD.encode(bytes))
        } else {
            serializer.serialize_bytes(bytes)
        }
    }

    /// Reads the bytes.
    ///
    /// # Errors
    /// The deserializer's.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            return BASE64_STANDARD.decode(text).map_err(de::Error::custom);
        }
        deserializer.deserialize_byte_buf(super::BytesVisitor)
    }
}

struct BytesVisitor;

impl<'de> serde::de::Visitor<'de> for BytesVisitor {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
        Ok(bytes.to_vec())
    }

    fn visit_byte_buf<E: serde::de::Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
        Ok(bytes)
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<u8>, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = seq.next_element()? {
            bytes.push(byte);
        }
        Ok(bytes)
    }
}

#[cfg(test)]
pub(crate) mod tests;
