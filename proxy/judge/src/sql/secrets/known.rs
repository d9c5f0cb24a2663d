//! Secrets that were named, to be found where somebody quotes them.

use super::{MARK, strike};
use aho_corasick::{AhoCorasick, MatchKind};
use std::{collections::VecDeque, ops::Range};

/// The shortest and the longest secret that texts of others are searched for.
const KNOWN_BYTES: std::ops::RangeInclusive<usize> = 4..=4096;

/// How many secrets are remembered.
const KNOWN: usize = 64;

/// Secrets that were named, to be found where somebody quotes them.
#[derive(Debug, Default)]
pub struct Known {
    secrets: VecDeque<Vec<u8>>,
    finder: Option<AhoCorasick>,
}

impl Known {
    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.secrets.is_empty()
    }

    /// Remembers what stands in these places of a text, as it stands there and as it is meant.
    pub fn learn(&mut self, text: &[u8], places: &[Range<usize>]) {
        for place in places {
            let secret = text.get(place.clone()).unwrap_or_default();
            if !KNOWN_BYTES.contains(&secret.len()) || secret.contains(&0) {
                continue;
            }
            let plain = String::from_utf8_lossy(secret).replace("''", "'").into_bytes();
            for one in [secret.to_vec(), plain] {
                if KNOWN_BYTES.contains(&one.len()) && !self.secrets.contains(&one) {
                    self.secrets.push_back(one);
                    self.finder = None;
                }
            }
        }
        while self.secrets.len() > KNOWN {
            self.secrets.pop_front();
        }
    }

    /// Strikes them out of a text.
    pub fn strike(&mut self, text: &mut [u8]) {
        if self.secrets.is_empty() {
            return;
        }
        if self.finder.is_none() {
            self.finder = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&self.secrets).ok();
        }
        match &self.finder {
            Some(finder) => {
                let found: Vec<_> = finder.find_iter(&*text).map(|hit| hit.range()).collect();
                strike(text, &found);
            }
            None => text.fill(MARK),
        }
    }
}
