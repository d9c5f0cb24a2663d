//! Hashes and proofs: why a third party can tell that nothing was changed, removed, added or reordered.
//!
//! Two structures. Within a batch a **Merkle tree** (RFC 6962's shape) whose leaves are the stored bytes of the events,
//! so that one event can be proved without showing its neighbours. Between batches a **chain**: each header holds the
//! hash of the one before it of the same node and shard, so that a batch cannot be taken out or put in.
//!
//! ```text
//! leaf  = SHA-256(0x00 || salt_i || datum)        salt_i = first 16 bytes of SHA-256("postern.salt.v1" || batch salt || i)
//! node  = SHA-256(0x01 || left || right)          header hash = SHA-256("postern.batch.v1" || header datum)
//! ```
//!
//! The salts keep a holder of a proof from guessing the events beside it (a command tag has few values).
//! Source: RFC 6962 section 2.1; SHA-256 because every language's standard library can check it.

use ring::digest::{Context, SHA256};

/// A SHA-256 digest.
pub type Digest = [u8; 32];

/// What stands before the first batch of a node's shard.
pub const GENESIS: Digest = [0; 32];

/// The salt of one leaf: revealed with that event, and with no other.
pub type LeafSalt = [u8; 16];

fn sha256(parts: &[&[u8]]) -> Digest {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(part);
    }
    context.finish().as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// The salt of the event at `index` of a batch.
pub fn leaf_salt(batch_salt: &[u8; 32], index: u32) -> LeafSalt {
    let digest = sha256(&[b"postern.salt.v1", batch_salt, &index.to_be_bytes()]);
    *digest.first_chunk().expect("32 bytes hold 16")
}

/// The leaf of one event: its stored bytes under its salt.
pub fn leaf(salt: &LeafSalt, datum: &[u8]) -> Digest {
    sha256(&[&[0], salt, datum])
}

fn node(left: &Digest, right: &Digest) -> Digest {
    sha256(&[&[1], left, right])
}

/// The hash by which the next header names this one.
pub fn header_hash(header_datum: &[u8]) -> Digest {
    sha256(&[b"postern.batch.v1", header_datum])
}

/// The root over leaves in order; [`GENESIS`] for none.
pub fn root(leaves: &[Digest]) -> Digest {
    match leaves {
        [] => GENESIS,
        [only] => *only,
        more => {
            let (left, right) = more.split_at(split(more.len()));
            node(&root(left), &root(right))
        }
    }
}

/// The largest power of two smaller than `n`.
fn split(n: usize) -> usize {
    n.next_power_of_two() / 2
}

/// The siblings from the leaf at `index` up to the root; `None` if there is no such leaf.
pub fn prove(leaves: &[Digest], index: usize) -> Option<Vec<Digest>> {
    if index >= leaves.len() {
        return None;
    }
    let mut path = Vec::new();
    collect(leaves, index, &mut path);
    Some(path)
}

/// The paths of all leaves, as [`prove`] gives that of one, in one walk.
pub fn prove_all(leaves: &[Digest]) -> Vec<Vec<Digest>> {
    let mut paths = vec![Vec::new(); leaves.len()];
    climb(leaves, &mut paths);
    paths
}

/// Gives the root over leaves, and each leaf the siblings on its way there.
fn climb(leaves: &[Digest], paths: &mut [Vec<Digest>]) -> Digest {
    match leaves {
        [] => GENESIS,
        [only] => *only,
        more => {
            let middle = split(more.len());
            let (left, right) = more.split_at(middle);
            let (left_paths, right_paths) = paths.split_at_mut(middle);
            let (left, right) = (climb(left, left_paths), climb(right, right_paths));
            left_paths.iter_mut().for_each(|path| path.push(right));
            right_paths.iter_mut().for_each(|path| path.push(left));
            node(&left, &right)
        }
    }
}

fn collect(leaves: &[Digest], index: usize, path: &mut Vec<Digest>) {
    if leaves.len() <= 1 {
        return;
    }
    let middle = split(leaves.len());
    let (left, right) = leaves.split_at(middle);
    if index < middle {
        collect(left, index, path);
        path.push(root(right));
    } else {
        collect(right, index - middle, path);
        path.push(root(left));
    }
}

/// Whether `leaf` stands at `index` among `count` leaves under `expected`.
pub fn verify(leaf: &Digest, index: usize, count: usize, path: &[Digest], expected: &Digest) -> bool {
    index < count && rebuild(leaf, index, count, path) == Some(*expected)
}

fn rebuild(leaf: &Digest, index: usize, count: usize, path: &[Digest]) -> Option<Digest> {
    if count == 1 {
        return path.is_empty().then_some(*leaf);
    }
    let (sibling, below) = path.split_last()?;
    let middle = split(count);
    if index < middle {
        Some(node(&rebuild(leaf, index, middle, below)?, sibling))
    } else {
        Some(node(sibling, &rebuild(leaf, index - middle, count - middle, below)?))
    }
}

/// Lower-case hexadecimal.
pub fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a String cannot fail");
        text
    })
}

/// Reads exactly `N` bytes of hexadecimal.
pub fn from_hexadecimal<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != N * 2 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; N];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(index * 2..index * 2 + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_leaf_is_proved_and_no_other(count in 1usize..70, seed: u8) {
            let leaves: Vec<Digest> = (0..count).map(|i| sha256(&[&[seed], &i.to_be_bytes()])).collect();
            let top = root(&leaves);
            let paths: Vec<_> = (0..count).map(|index| prove(&leaves, index).unwrap()).collect();
            prop_assert_eq!(prove_all(&leaves), paths);
            for (index, leaf) in leaves.iter().enumerate() {
                let path = prove(&leaves, index).unwrap();
                prop_assert!(verify(leaf, index, count, &path, &top));
                prop_assert!(!verify(leaf, index + 1, count, &path, &top));
                prop_assert!(!verify(&GENESIS, index, count, &path, &top));
                let mut forged = path.clone();
                forged.push(GENESIS);
                prop_assert!(!verify(leaf, index, count, &forged, &top));
            }
        }

        #[test]
        fn hexadecimal_returns(bytes: [u8; 32]) {
            prop_assert_eq!(from_hexadecimal::<32>(&hexadecimal(&bytes)), Some(bytes));
        }
    }

    #[test]
    fn a_known_root_never_changes() {
        let leaves = [leaf(&[7; 16], b"a"), leaf(&[8; 16], b"b"), leaf(&[9; 16], b"c")];
        assert_eq!(
            hexadecimal(&root(&leaves)),
            hexadecimal(&sha256(&[&[1], &sha256(&[&[1], &leaves[0], &leaves[1]]), &leaves[2]]))
        );
    }
}
