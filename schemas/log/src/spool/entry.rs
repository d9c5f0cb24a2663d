//! Events on their way into the journal: measured and checked before its lock is taken.

use super::record::{self, HEADER, Kind};
use crate::Error;
use schemas::codec::{self, Head};
use schemas::seal::WrappedKey;
use std::sync::Arc;

/// One event.
pub(crate) struct Entry<'a> {
    pub head: Head,
    /// The key of its session, where it brings it along.
    pub prefix: Vec<u8>,
    pub datum: &'a [u8],
    pub crc: u32,
}

impl Entry<'_> {
    pub(crate) fn kind(&self) -> Kind {
        if self.prefix.is_empty() { Kind::Event } else { Kind::Keyed }
    }
}

/// The events, and the bytes of their records. The key, if there is one, stands before the first.
pub(crate) fn entries<'a>(key: Option<&WrappedKey>, datums: &[&'a [u8]]) -> Result<(Vec<Entry<'a>>, u64), Error> {
    let mut prefix = match key {
        Some(key) => {
            let bytes = key.wrapped.len() as u64;
            record::keyed(key).ok_or(Error::TooLarge { bytes, limit: u64::from(u16::MAX) })?
        }
        None => Vec::new(),
    };
    let (mut entries, mut bytes) = (Vec::with_capacity(datums.len()), 0);
    for datum in datums {
        if datum.len() > codec::MAX_EVENT_BYTES {
            let limit = codec::MAX_EVENT_BYTES as u64;
            return Err(Error::TooLarge { bytes: datum.len() as u64, limit });
        }
        let head = codec::peek(datum).map_err(|source| Error::Event { source: Arc::new(source) })?;
        let prefix = std::mem::take(&mut prefix);
        bytes += (HEADER + prefix.len() + datum.len()) as u64;
        let crc = record::payload_crc(&[&prefix, datum]);
        entries.push(Entry { head, prefix, datum, crc });
    }
    Ok((entries, bytes))
}
