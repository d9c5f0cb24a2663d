//! The names of the objects: the only place that spells them.
//!
//! Names sort as their numbers do, so that a listing from a name on is a listing from an offset on.

use event_log::{Offset, Partition};
use object_store::path::Path;
use schemas::SessionId;

/// The folder of all manifests.
pub fn manifests() -> Path {
    Path::from("manifest")
}

/// The folder of all data objects.
pub fn data() -> Path {
    Path::from("data")
}

/// The folder of one partition's manifests.
pub fn partition_manifests(partition: Partition) -> Path {
    Path::from(format!("manifest/{partition:06}"))
}

/// The manifest that begins at an offset.
pub fn manifest(partition: Partition, first: Offset) -> Path {
    Path::from(format!("manifest/{partition:06}/{first:020}.json"))
}

/// The data object of a range of offsets.
pub fn data_object(partition: Partition, first: Offset, last: Offset) -> Path {
    Path::from(format!("data/{partition:06}/{first:020}-{last:020}.avro"))
}

/// Where a batch is kept that cannot stand in a data object.
pub fn quarantine(partition: Partition, offset: Offset) -> Path {
    Path::from(format!("quarantine/{partition:06}/{offset:020}.bin"))
}

/// What an archive in a bucket says of itself. A folder has none.
pub fn marker() -> Path {
    Path::from("archive.json")
}

/// The bytes of [`marker`]: always the same.
pub const MARKER: &[u8] = b"{\"format\":\"postern archive\",\"version\":1}\n";

/// The folder of what is kept aside.
pub fn quarantined() -> Path {
    Path::from("quarantine")
}

/// The folder of all checkpoints.
pub fn checkpoints() -> Path {
    Path::from("checkpoint")
}

/// A checkpoint.
pub fn checkpoint(number: u64) -> Path {
    Path::from(format!("checkpoint/{number:020}.json"))
}

/// The folder of all session keys.
pub fn keys() -> Path {
    Path::from("key")
}

/// The folder of the custody log.
pub fn custody() -> Path {
    Path::from("custody")
}

/// An entry of the custody log.
pub fn custody_entry(number: u64) -> Path {
    Path::from(format!("custody/{number:020}.json"))
}

/// The number of a name of the custody log; `None` for a name of another form.
pub fn parse_custody_entry(path: &Path) -> Option<u64> {
    let number = path.as_ref().strip_prefix("custody/")?.strip_suffix(".json")?.parse().ok()?;
    (custody_entry(number) == *path).then_some(number)
}

/// The wrapped key of a session whose payloads are sealed. The folder is the end of the session's id, which is random, so
/// that no folder grows much more than others.
pub fn session_key(session: SessionId) -> Path {
    let [.., last] = *session.as_bytes();
    Path::from(format!("key/{last:02x}/{session}.json"))
}

/// The session of a key's name; `None` for a name of another form.
pub fn parse_session_key(path: &Path) -> Option<SessionId> {
    let session = path.as_ref().strip_prefix("key/")?.split_once('/')?.1.strip_suffix(".json")?.parse().ok()?;
    (session_key(session) == *path).then_some(session)
}

/// The number of a checkpoint's name; `None` for a name of another form.
pub fn parse_checkpoint(path: &Path) -> Option<u64> {
    let number = path.as_ref().strip_prefix("checkpoint/")?.strip_suffix(".json")?.parse().ok()?;
    (checkpoint(number) == *path).then_some(number)
}

/// Partition and offset of a name of what is kept aside; `None` for a name of another form.
pub fn parse_quarantine(path: &Path) -> Option<(Partition, Offset)> {
    let mut parts = path.as_ref().strip_prefix("quarantine/")?.split('/');
    let (partition, name) = (parts.next()?.parse().ok()?, parts.next()?);
    let offset = name.strip_suffix(".bin")?.parse().ok()?;
    (quarantine(partition, offset) == *path).then_some((partition, offset))
}

/// Whether a name is that of an object which a local file system was writing when its process died.
pub fn is_staged(path: &Path) -> bool {
    let digits = path.as_ref().rsplit_once('#').map(|(_, digits)| digits);
    digits.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The partition of a folder of manifests.
pub fn parse_partition(folder: &Path) -> Option<Partition> {
    folder.filename()?.parse().ok()
}

/// Partition and first offset of a manifest's name; `None` for a name of another form.
pub fn parse_manifest(path: &Path) -> Option<(Partition, Offset)> {
    let mut parts = path.as_ref().split('/');
    let (Some("manifest"), Some(partition), Some(name), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return None;
    };
    Some((partition.parse().ok()?, name.strip_suffix(".json")?.parse().ok()?))
}

/// Partition, first and last offset of a data object's name; `None` for a name of another form.
pub fn parse_data_object(path: &Path) -> Option<(Partition, Offset, Offset)> {
    let mut parts = path.as_ref().split('/');
    let (Some("data"), Some(partition), Some(name), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return None;
    };
    let (first, last) = name.strip_suffix(".avro")?.split_once('-')?;
    Some((partition.parse().ok()?, first.parse().ok()?, last.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_return_their_numbers_and_sort_like_them() {
        assert_eq!(parse_manifest(&manifest(3, 70)), Some((3, 70)));
        assert_eq!(parse_data_object(&data_object(3, 70, u64::MAX)), Some((3, 70, u64::MAX)));
        assert_eq!(parse_partition(&partition_manifests(12)), Some(12));
        assert_eq!(parse_checkpoint(&checkpoint(7)), Some(7));
        assert_eq!(parse_quarantine(&quarantine(3, 7)), Some((3, 7)));
        assert!(is_staged(&Path::parse("data/000000/x.avro#12").unwrap()) && !is_staged(&data_object(1, 2, 3)));
        assert_eq!(parse_checkpoint(&Path::from("checkpoint/7.json")), None);
        let session = SessionId::generate();
        assert_eq!(parse_session_key(&session_key(session)), Some(session));
        assert_eq!(parse_custody_entry(&custody_entry(7)), Some(7));
        assert_eq!(parse_custody_entry(&Path::from("custody/7.json")), None);
        assert_eq!(parse_session_key(&Path::from(format!("key/{session}.json"))), None);
        assert_eq!(parse_quarantine(&Path::from("quarantine/3/7.bin")), None);
        assert!(manifest(3, 9) < manifest(3, 10));
        assert!(manifest(3, u64::MAX) < manifest(4, 0));
        for other in ["manifest/x/1.json", "manifest/1/1.json.tmp", "manifest/1", "data/1/2.avro", "data/1/2-3.avro/x"]
        {
            assert_eq!(parse_manifest(&Path::from(other)), None);
            assert_eq!(parse_data_object(&Path::from(other)), None);
        }
    }
}
