//! The checkpoints of an archive that is asked many questions at once.

use super::Reader;
use crate::archive::{Error, checkpoint, layout, writer};
use bytes::Bytes;
use std::collections::HashMap;

/// The numbers of an archive's checkpoints, and those that were read.
#[derive(Default)]
pub(super) struct Attested {
    numbers: Option<Vec<u64>>,
    read: HashMap<u64, Bytes>,
}

impl Reader {
    /// The numbers of the checkpoints, in order.
    pub(crate) async fn checkpoints(&self) -> Result<Vec<u64>, Error> {
        let list = checkpoint::numbers(&*self.store, None);
        let Some(attested) = &self.at_rest else { return list.await };
        let mut attested = attested.lock().await;
        if attested.numbers.is_none() {
            attested.numbers = Some(list.await?);
        }
        Ok(attested.numbers.clone().unwrap_or_default())
    }

    /// A checkpoint, byte for byte.
    pub(crate) async fn checkpoint(&self, number: u64) -> Result<Bytes, Error> {
        let path = layout::checkpoint(number);
        let Some(attested) = &self.at_rest else { return writer::fetch(&*self.store, &path).await };
        let mut attested = attested.lock().await;
        if let Some(bytes) = attested.read.get(&number) {
            return Ok(bytes.clone());
        }
        let bytes = writer::fetch(&*self.store, &path).await?;
        attested.read.insert(number, bytes.clone());
        Ok(bytes)
    }
}
