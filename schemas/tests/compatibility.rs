//! Bytes that were ever written decode for ever: every file of `tests/data/v*/`.

use schemas::{
    Event, EventBatch,
    codec::{self, Version},
};
use std::{
    fs,
    path::{Path, PathBuf},
};

#[test]
fn every_event_that_was_ever_written_still_decodes() {
    let mut read = 0;
    let versions =
        [("v1", Version::V1), ("v2", Version::V2), ("v3", Version::V3), ("v4", Version::V4), ("v5", Version::Present)];
    for (folder, version) in versions {
        for file in fs::read_dir(data(folder)).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_some_and(|e| e == "avro") {
                let bytes = fs::read(&path).unwrap();
                let mut rest = bytes.as_slice();
                assert_eq!(Version::of_datums(&[&bytes[..]]), guessed(&path, version), "{}", path.display());
                let event = version.decode(&mut rest).unwrap();
                assert!(rest.is_empty(), "{}", path.display());
                let expected = fs::read_to_string(path.with_extension("expected.json")).unwrap();
                assert_eq!(event, serde_json::from_str::<Event>(&expected).unwrap(), "{}", path.display());
                read += 1;
            }
        }
    }
    assert!(read >= 82, "the corpus holds one of each event: {read}");
}

/// Only events that a later version changed can be told from it.
fn guessed(path: &Path, version: Version) -> Version {
    let is = |names: &[&str]| path.file_name().is_some_and(|name| names.iter().any(|one| *one == name));
    let changed = ["Access.avro", "Completed.avro", "Reviewed.avro", "SessionOpened.avro", "SessionRefused.avro"];
    match version {
        Version::V1 if is(&["Held.avro"]) => Version::V2,
        Version::V1 if is(&changed) => Version::V1,
        Version::V2 if is(&["SessionOpened.avro", "Held.avro"]) => Version::V2,
        Version::V1 | Version::V2 | Version::V3 if is(&["Verdict.avro"]) => Version::V3,
        Version::V1 | Version::V2 | Version::V3 | Version::V4 if is(&["Statement.avro"]) => Version::V4,
        _ => Version::Present,
    }
}

fn data(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(folder)
}

#[test]
fn the_first_batch_of_each_version_still_opens() {
    for (folder, count) in [("v1", 11), ("v2", 11), ("v3", 20), ("v4", 20), ("v5", 20)] {
        let batch = EventBatch::decode(&fs::read(data(folder).join("batch.bin")).unwrap()).unwrap();
        let opened = batch.open().unwrap();
        assert_eq!(opened.events.len(), usize::try_from(count).unwrap());
        let datums = &opened.datums;
        assert_eq!(codec::decode_all(datums, count, batch.header.schema.cast_unsigned()).unwrap(), opened.events);
    }
}

#[test]
fn the_schema_of_version_5_is_the_one_that_is_written() {
    let old = fs::read_to_string(data("v5").join("event.avsc")).unwrap();
    assert_eq!(old, codec::EVENT_SCHEMA_JSON.as_str(), "the format changed: write v6 and keep v5 readable");
    assert_eq!(fs::read_to_string(data("v1").join("event.avsc")).unwrap(), codec::EVENT_SCHEMA_JSON_V1);
    assert_eq!(fs::read_to_string(data("v2").join("event.avsc")).unwrap(), codec::EVENT_SCHEMA_JSON_V2);
    assert_eq!(fs::read_to_string(data("v3").join("event.avsc")).unwrap(), codec::EVENT_SCHEMA_JSON_V3);
    assert_eq!(fs::read_to_string(data("v4").join("event.avsc")).unwrap(), codec::EVENT_SCHEMA_JSON_V4);
}
