//! The API keys of the control plane, for whoever verifies keys: as they are now, on every node.

use crate::plane::Control;
use crate::state::Issued;
use identity::api_key::{Book, Entry};

/// Microseconds of a second.
const SECOND: i64 = 1_000_000;

impl Book for Control {
    fn find(&self, id: &str) -> Result<Option<Entry>, String> {
        // what was revoked meanwhile must be known to be
        self.fresh().map_err(|stale| stale.to_string())?;
        Ok(self.state().api_key(id).map(|issued| entry(issued)))
    }
}

fn entry(issued: &Issued) -> Entry {
    let key = &issued.key;
    Entry {
        id: key.id.clone(),
        subject: key.subject.clone(),
        kind: key.kind,
        groups: key.groups.clone(),
        resources: key.resources.clone(),
        created: issued.time / SECOND,
        expires: key.expires / SECOND,
        revoked: issued.revoked.as_ref().map(|(time, _, _)| time / SECOND),
        sha256: key.sha256.to_string(),
    }
}
