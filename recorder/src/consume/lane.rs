//! What a recorder knows of a partition, and what it says of places where the bus has nothing.

use crate::archive::writer::Pending;
use crate::telemetry::Telemetry;
use crate::verify::State;
use event_log::{Offset, Partition};
use schemas::chain::Digest;
use tokio::time::Instant;

/// A partition while it is this recorder's.
#[derive(Debug)]
pub(super) struct Lane {
    /// The offset after the last one that was taken.
    pub(super) next: Offset,
    /// The SHA-256 of the last manifest.
    pub(super) previous: Option<Digest>,
    pub(super) state: State,
    pub(super) pending: Option<(Pending, Instant)>,
    /// Holes below this offset were told of.
    pub(super) passed: Offset,
}

impl Lane {
    /// Tells of offsets that the bus passed over: what was there was removed before it was archived. Their chains say what is
    /// missing, as soon as any of them goes on.
    pub(super) fn hole(&mut self, partition: Partition, offset: Offset, telemetry: &Telemetry) {
        let lost = offset.saturating_sub(self.next.max(self.passed));
        if lost > 0 {
            telemetry.lost.inc_by(lost);
            let text = "the bus has nothing at these offsets any more: what was there is not in the archive";
            tracing::error!(partition, from = self.next, to = offset - 1, "{text}");
            // a delivery that is taken again is told of once
            self.passed = offset;
        }
    }
}
