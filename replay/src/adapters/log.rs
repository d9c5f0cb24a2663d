//! The record of accesses, in the same log as what agents do.

use crate::sources::{Later, Record, Unavailable};
use event_log::{Log, Priority};
use schemas::{Event, codec};

pub(super) struct Durable(pub(super) Log);

impl Record for Durable {
    fn record(&self, event: Event) -> Later<'_, Result<(), Unavailable>> {
        Box::pin(async move {
            let failed = |source| Unavailable::failed("recording an access", source);
            let mut datum = Vec::new();
            codec::encode(&event, &mut datum).map_err(|error| Unavailable::failed("recording an access", error))?;
            let position = self.0.append(self.0.assign(), &[&datum], Priority::Normal).map_err(failed)?;
            self.0.durable(position).await.map_err(failed)
        })
    }
}
