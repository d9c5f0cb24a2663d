//! Bytes that were ever written decode for ever: every file of `tests/data/v*/`.

use schemas::{Event, EventBatch, codec};
use std::{fs, path::Path};

#[test]
fn every_event_that_was_ever_written_still_decodes() {
    let mut read = 0;
    for version in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data")).unwrap() {
        for file in fs::read_dir(version.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_some_and(|e| e == "avro") {
                let bytes = fs::read(&path).unwrap();
                let mut rest = bytes.as_slice();
                let event = codec::decode(&mut rest).unwrap();
                assert!(rest.is_empty(), "{}", path.display());
                let expected = fs::read_to_string(path.with_extension("expected.json")).unwrap();
                assert_eq!(event, serde_json::from_str::<Event>(&expected).unwrap(), "{}", path.display());
                read += 1;
            }
        }
    }
    assert!(read >= 11, "the corpus holds one of each event: {read}");
}

#[test]
fn the_first_batch_still_opens() {
    let bytes = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/v1/batch.bin")).unwrap();
    let batch = EventBatch::decode(&bytes).unwrap();
    assert_eq!(batch.open().unwrap().events.len(), 11);
}

#[test]
fn the_schema_of_version_1_is_the_one_that_is_written() {
    let old = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/v1/event.avsc")).unwrap();
    assert_eq!(old, codec::EVENT_SCHEMA_JSON.as_str(), "the format changed: write v2 and keep v1 readable");
}
