//! What stands in files, as its bytes are and within what is compressed there.

use std::{fs, path::Path};

/// Every file below that holds these bytes, as they are or within a zstd frame.
pub fn holding(folder: &Path, what: &str) -> Vec<String> {
    let mut found = Vec::new();
    search(folder, what.as_bytes(), &mut found);
    found
}

fn search(folder: &Path, what: &[u8], found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            search(&path, what, found);
            continue;
        }
        // a segment may go while the gate runs
        let bytes = fs::read(&path).unwrap_or_default();
        if contains(&bytes, what) || expanded(&bytes).any(|bytes| contains(&bytes, what)) {
            found.push(path.display().to_string());
        }
    }
}

fn contains(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}

/// RFC 8878: the magic number of a frame.
const FRAME: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

fn expanded(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let places = bytes.windows(4).enumerate().filter(|(_, window)| *window == FRAME).map(|(at, _)| at);
    places.filter_map(|at| {
        let rest = &bytes[at..];
        let size = zstd::zstd_safe::find_frame_compressed_size(rest).ok()?;
        zstd::bulk::decompress(rest.get(..size)?, 8 << 20).ok()
    })
}
