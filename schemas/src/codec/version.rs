//! Versions of the Event schema: each that was ever written has its own reader.
//!
//! A version adds fields with defaults at the ends of records; what an older one lacks is filled with them.

use super::{EVENT_FINGERPRINT, EVENT_READER, EVENT_SCHEMA_JSON, Error, fingerprint, parsed, reader, reason};
use crate::event::Event;
use apache_avro::{Schema, reader::datum::GenericDatumReader};
use std::{io::Cursor, sync::LazyLock};

/// A version of the Event schema that can be read: the present one, or one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// Before an identity had a task, and a session said how it was authenticated.
    V1,
    /// Before access requests, holds that end, revocations, alarms and leased roles.
    V2,
    /// Before a verdict had the shape of a text that is sealed.
    V3,
    /// Before values could be left out of statements.
    V4,
    /// The one that is written.
    Present,
}

impl Version {
    /// The version of this fingerprint.
    ///
    /// # Errors
    /// [`Error::UnknownSchema`].
    pub fn of(fingerprint: u64) -> Result<Self, Error> {
        if fingerprint == *EVENT_FINGERPRINT {
            Ok(Self::Present)
        } else if fingerprint == *EVENT_FINGERPRINT_V4 {
            Ok(Self::V4)
        } else if fingerprint == *EVENT_FINGERPRINT_V3 {
            Ok(Self::V3)
        } else if fingerprint == *EVENT_FINGERPRINT_V2 {
            Ok(Self::V2)
        } else if fingerprint == *EVENT_FINGERPRINT_V1 {
            Ok(Self::V1)
        } else {
            Err(Error::UnknownSchema { fingerprint })
        }
    }

    /// The version under which these datums, which lie in a log that an older program may have written, were encoded:
    /// the latest under which all of them are whole.
    pub fn of_datums(datums: &[&[u8]]) -> Self {
        let all_are = |version: Self| {
            datums.iter().all(|datum| {
                let mut rest = *datum;
                version.decode(&mut rest).is_ok() && rest.is_empty()
            })
        };
        [Self::Present, Self::V4, Self::V3, Self::V2].into_iter().find(|version| all_are(*version)).unwrap_or(Self::V1)
    }

    /// Its CRC-64-AVRO fingerprint.
    pub fn fingerprint(self) -> u64 {
        match self {
            Self::V1 => *EVENT_FINGERPRINT_V1,
            Self::V2 => *EVENT_FINGERPRINT_V2,
            Self::V3 => *EVENT_FINGERPRINT_V3,
            Self::V4 => *EVENT_FINGERPRINT_V4,
            Self::Present => *EVENT_FINGERPRINT,
        }
    }

    /// The schema as one self-contained JSON document.
    pub fn schema_json(self) -> &'static str {
        match self {
            Self::V1 => EVENT_SCHEMA_JSON_V1,
            Self::V2 => EVENT_SCHEMA_JSON_V2,
            Self::V3 => EVENT_SCHEMA_JSON_V3,
            Self::V4 => EVENT_SCHEMA_JSON_V4,
            Self::Present => &EVENT_SCHEMA_JSON,
        }
    }

    /// Reads one event of this version from the front of `input` and moves it on. What the version lacks has the
    /// default that the present schema states.
    ///
    /// # Errors
    /// [`Error::Decode`] if the bytes are not an event; `input` is then where it was.
    pub fn decode(self, input: &mut &[u8]) -> Result<Event, Error> {
        let reader = match self {
            Self::V1 => &EVENT_READER_V1,
            Self::V2 => &EVENT_READER_V2,
            Self::V3 => &EVENT_READER_V3,
            Self::V4 => &EVENT_READER_V4,
            Self::Present => &EVENT_READER,
        };
        let mut cursor = Cursor::new(*input);
        let event = reader
            .read_deser(&mut cursor)
            .map_err(|source| Error::Decode { what: "an event", reason: reason(&source) })?;
        let read = usize::try_from(cursor.position()).map_err(|_| Error::Length { what: "an event" })?;
        *input = input.get(read..).ok_or(Error::Length { what: "an event" })?;
        Ok(event)
    }
}

/// Version 1 of the Event schema, as it was written.
pub static EVENT_SCHEMA_JSON_V1: &str = include_str!("../../avro/before/event_v1.avsc");

static EVENT_SCHEMA_V1: LazyLock<Schema> = LazyLock::new(|| parsed(EVENT_SCHEMA_JSON_V1));
static EVENT_FINGERPRINT_V1: LazyLock<u64> = LazyLock::new(|| fingerprint(&EVENT_SCHEMA_V1));
static EVENT_READER_V1: LazyLock<GenericDatumReader<'static>> = LazyLock::new(|| reader(&EVENT_SCHEMA_V1));

/// Version 2 of the Event schema, as it was written.
pub static EVENT_SCHEMA_JSON_V2: &str = include_str!("../../avro/before/event_v2.avsc");

static EVENT_SCHEMA_V2: LazyLock<Schema> = LazyLock::new(|| parsed(EVENT_SCHEMA_JSON_V2));
static EVENT_FINGERPRINT_V2: LazyLock<u64> = LazyLock::new(|| fingerprint(&EVENT_SCHEMA_V2));
static EVENT_READER_V2: LazyLock<GenericDatumReader<'static>> = LazyLock::new(|| reader(&EVENT_SCHEMA_V2));

/// Version 3 of the Event schema, as it was written.
pub static EVENT_SCHEMA_JSON_V3: &str = include_str!("../../avro/before/event_v3.avsc");

static EVENT_SCHEMA_V3: LazyLock<Schema> = LazyLock::new(|| parsed(EVENT_SCHEMA_JSON_V3));
static EVENT_FINGERPRINT_V3: LazyLock<u64> = LazyLock::new(|| fingerprint(&EVENT_SCHEMA_V3));
static EVENT_READER_V3: LazyLock<GenericDatumReader<'static>> = LazyLock::new(|| reader(&EVENT_SCHEMA_V3));

/// Version 4 of the Event schema, as it was written.
pub static EVENT_SCHEMA_JSON_V4: &str = include_str!("../../avro/before/event_v4.avsc");

static EVENT_SCHEMA_V4: LazyLock<Schema> = LazyLock::new(|| parsed(EVENT_SCHEMA_JSON_V4));
static EVENT_FINGERPRINT_V4: LazyLock<u64> = LazyLock::new(|| fingerprint(&EVENT_SCHEMA_V4));
static EVENT_READER_V4: LazyLock<GenericDatumReader<'static>> = LazyLock::new(|| reader(&EVENT_SCHEMA_V4));
