//! A batch returns whole, signed or not, and no change of it goes unnoticed.

use super::*;
use crate::codec::tests::{event, one_of_each};

fn datums() -> Vec<Vec<u8>> {
    (0u64..)
        .zip(one_of_each())
        .map(|(sequence, body)| {
            let mut bytes = Vec::new();
            codec::encode(&event(sequence, body), &mut bytes).unwrap();
            bytes
        })
        .collect()
}

pub(crate) fn batch() -> EventBatch {
    let datums = datums();
    let place = Place { node: "gate-1".into(), epoch: 3, shard: 1, sequence: 9, previous: [5; 32] };
    let session = crate::id::SessionId::from_bytes([7; 16]);
    let key = WrappedKey { session, key: "a".repeat(32), kek: "b".repeat(16), wrapped: vec![9; 60] };
    let sealed = seal(place, [1; 32], &datums.iter().map(Vec::as_slice).collect::<Vec<_>>()).unwrap();
    sealed.with_keys(vec![key])
}

#[test]
fn a_sealed_batch_opens_to_the_same_events() {
    let batch = batch();
    let read = EventBatch::decode(&batch.encode().unwrap()).unwrap();
    assert_eq!(read, batch);
    let opened = read.open().unwrap();
    assert_eq!(opened.datums, datums().concat());
    assert_eq!(opened.events.len(), 20);
    assert_eq!(batch.header.sessions, [SessionRange { session: opened.events[0].session, first: 0, count: 20 }]);
}

#[test]
fn a_signature_is_over_the_header_and_comes_along() {
    let (batch, signer) = (batch(), crate::signature::tests::signer(7));
    let hash = batch.header.hash().unwrap();
    let signed = batch.signed(&signer, &hash);
    let read = EventBatch::decode(&signed.encode().unwrap()).unwrap();
    assert_eq!(read, signed);
    let signature = read.signature.unwrap();
    assert_eq!(&signature.key, signer.public());
    assert!(signature.verifies(&signature::of_batch(&hash)));
    assert!(!signature.verifies(&signature::of_batch(&[0; 32])));
}

#[test]
fn every_changed_byte_of_the_block_or_header_is_noticed() {
    let batch = batch();
    let hash = batch.header.hash().unwrap();
    for index in 0..batch.block.len() {
        let mut changed = batch.clone();
        changed.block[index] ^= 1;
        assert!(changed.open().map_or(true, |opened| opened.datums == datums().concat()), "byte {index}");
    }
    for change in [
        |b: &mut EventBatch| b.header.count -= 1,
        |b: &mut EventBatch| b.header.first_time += 1,
        |b: &mut EventBatch| b.header.sessions[0].first += 1,
        |b: &mut EventBatch| b.header.root[0] ^= 1,
        |b: &mut EventBatch| b.salt[0] ^= 1,
    ] {
        let mut changed = batch.clone();
        change(&mut changed);
        assert!(changed.open().is_err());
        assert!(changed.header.hash().unwrap() != hash || changed.salt != batch.salt);
    }
}

#[test]
fn a_batch_cut_anywhere_is_refused() {
    let bytes = batch().encode().unwrap();
    for end in 0..bytes.len() {
        assert!(EventBatch::decode(&bytes[..end]).is_err(), "cut at {end}");
    }
    let mut longer = bytes;
    longer.push(0);
    assert!(EventBatch::decode(&longer).is_err());
}
