//! One direction's read buffer: filled by the socket, walked frame by frame, given back when idle.

use std::cell::RefCell;

/// Bytes that one read takes at most: the unit of work of the data path.
pub const READ: usize = 64 << 10;

/// Buffers that a worker keeps for its sessions' next reads.
const KEPT: usize = 64;

thread_local! {
    static POOL: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// A read buffer. Holds memory only while it holds bytes or a read is under way.
#[derive(Debug, Default)]
pub struct Reader {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Reader {
    /// What was read and not consumed.
    pub fn unread(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    /// Room for a read: at least `need` bytes in all can be held from the first unread byte on.
    pub fn room(&mut self, need: usize) -> &mut [u8] {
        if self.bytes.is_empty() {
            self.bytes = POOL.with_borrow_mut(Vec::pop).unwrap_or_else(|| vec![0; READ]);
        }
        let held = self.end - self.start;
        if self.start > 0 && (self.start == self.end || self.start + need.max(held + 1) > self.bytes.len()) {
            self.bytes.copy_within(self.start..self.end, 0);
            self.start = 0;
            self.end = held;
        }
        if need > self.bytes.len() || self.end == self.bytes.len() {
            let grown = need.max(self.bytes.len() + READ);
            self.bytes.resize(grown, 0);
        }
        self.bytes.get_mut(self.end..).unwrap_or_default()
    }

    /// Says that `count` bytes were read into the room.
    pub fn filled(&mut self, count: usize) {
        self.end = (self.end + count).min(self.bytes.len());
    }

    /// Puts bytes in front of what will be read, as what a handshake had read too much.
    pub fn preload(&mut self, bytes: &[u8]) {
        let held = self.end - self.start;
        let room = self.room(held + bytes.len());
        if let Some(room) = room.get_mut(..bytes.len()) {
            room.copy_from_slice(bytes);
        }
        self.filled(bytes.len());
    }

    /// Keeps no more memory than the unread bytes need, for as long as little is read.
    pub fn pack(&mut self) {
        let held = self.end - self.start;
        if self.bytes.len() <= held {
            return;
        }
        let packed = self.unread().to_vec();
        (self.start, self.end) = (0, held);
        give_back(std::mem::replace(&mut self.bytes, packed));
    }

    /// Adds what was read elsewhere behind the unread bytes.
    pub fn append(&mut self, bytes: &[u8]) {
        self.bytes.truncate(self.end);
        self.bytes.extend_from_slice(bytes);
        self.end = self.bytes.len();
    }

    /// Says that `count` bytes were dealt with.
    pub fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
    }

    /// Gives the memory back if nothing is in it: an idle session costs its socket alone.
    pub fn rest(&mut self) {
        if self.start < self.end || self.bytes.is_empty() {
            return;
        }
        self.start = 0;
        self.end = 0;
        give_back(std::mem::take(&mut self.bytes));
    }
}

fn give_back(bytes: Vec<u8>) {
    if bytes.len() == READ {
        POOL.with_borrow_mut(|pool| {
            if pool.len() < KEPT {
                pool.push(bytes);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bytes_come_out_in_the_order_they_went_in(steps in proptest::collection::vec((0usize..5000, 0usize..6000, 0usize..200_000), 1..60)) {
            let (mut reader, mut written, mut read) = (Reader::default(), 0u32, 0u32);
            for (fill, take, need) in steps {
                let room = reader.room(need);
                prop_assert!(!room.is_empty());
                let count = fill.min(room.len());
                for byte in &mut room[..count] {
                    *byte = u8::try_from(written % 251).unwrap();
                    written += 1;
                }
                reader.filled(count);
                let take = take.min(reader.unread().len());
                for byte in &reader.unread()[..take] {
                    prop_assert_eq!(u32::from(*byte), read % 251);
                    read += 1;
                }
                reader.consume(take);
                reader.rest();
                prop_assert_eq!(reader.unread().len(), (written - read) as usize);
            }
        }
    }
}
