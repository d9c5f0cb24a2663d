//! The names of the objects: the only place that spells them.
//!
//! Names sort as their numbers do, so that a listing from a name on is a listing from an offset on.

use event_log::{Offset, Partition};
use object_store::path::Path;

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
        assert!(manifest(3, 9) < manifest(3, 10));
        assert!(manifest(3, u64::MAX) < manifest(4, 0));
        for other in ["manifest/x/1.json", "manifest/1/1.json.tmp", "manifest/1", "data/1/2.avro", "data/1/2-3.avro/x"]
        {
            assert_eq!(parse_manifest(&Path::from(other)), None);
            assert_eq!(parse_data_object(&Path::from(other)), None);
        }
    }
}
