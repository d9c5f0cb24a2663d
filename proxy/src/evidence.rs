//! How much of results stays in the record: every row, the first ones, or only what proves them.
//!
//! Before: [`crate::record`] is given a run of bytes for the client, after masking. After: it notes the pieces that this gives,
//! as they are or as their SHA-256. Rows are DataRow, and CopyData of a COPY to the client; everything else stays: what was
//! described, command tags, errors, notices. A digest is noted with the run that it stands for, before that reaches the
//! client, so that a record which a crash cuts off still proves every byte that left (AUD-5).

use serde::Deserialize;

/// How much of results a resource's record keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResultEvidence {
    /// All rows.
    #[default]
    All,
    /// Of rows only digests.
    Digest,
    /// So many rows of each answer, and digests of those after them.
    FirstRows(u32),
}

impl ResultEvidence {
    /// What is wrong with it.
    pub fn problem(self) -> Option<String> {
        let wrong = self == Self::FirstRows(0);
        wrong.then(|| "result_evidence: first_rows must be at least 1; \"digest\" keeps none".to_owned())
    }
}

/// A run ends within a frame's head: where rows begin is not known any more, and nothing of them may be noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a run of frames for the record ends within the head of a frame")]
pub struct SplitHead;

/// A part of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece<'a> {
    /// Its bytes.
    pub bytes: &'a [u8],
    /// Whether they stay; else their digest does.
    pub kept: bool,
    /// Frames that begin in it.
    pub frames: u32,
}

/// Cuts the stream of bytes for one client into what stays and what does not.
#[derive(Debug, Default)]
pub struct Cutter {
    /// Rows of an answer that stay; none: all, and nothing is cut.
    limit: Option<u32>,
    /// Rows of the present answer so far.
    rows: u32,
    /// Bytes of the present frame that are still to come, and whether they stay.
    rest: usize,
    keeps: bool,
}

/// A frame's type and length.
const HEAD: usize = 5;

impl Cutter {
    /// Begins with a frame.
    pub fn new(evidence: ResultEvidence) -> Self {
        let limit = match evidence {
            ResultEvidence::All => None,
            ResultEvidence::Digest => Some(0),
            ResultEvidence::FirstRows(rows) => Some(rows),
        };
        Self { limit, ..Self::default() }
    }

    /// Whether all of it stays.
    pub fn keeps_all(&self) -> bool {
        self.limit.is_none()
    }

    /// Takes the next piece from the front of a run; none at its end. A run ends anywhere but within a frame's head.
    ///
    /// # Errors
    /// [`SplitHead`].
    pub fn next<'a>(&mut self, run: &mut &'a [u8]) -> Result<Option<Piece<'a>>, SplitHead> {
        let all = *run;
        let (mut end, mut frames, mut kept) = (0, 0, None);
        while let Some(rest) = all.get(end..).filter(|rest| !rest.is_empty()) {
            let begins = self.rest == 0;
            let (total, keeps) = if begins { self.frame(rest)? } else { (self.rest, self.keeps) };
            if kept.is_some_and(|kept| kept != keeps) {
                break;
            }
            if begins {
                self.passed(rest);
                frames += 1;
            }
            kept = Some(keeps);
            let here = total.min(rest.len());
            (self.rest, self.keeps) = (total - here, keeps);
            end += here;
        }
        let Some(kept) = kept else { return Ok(None) };
        let (bytes, rest) = all.split_at_checked(end).unwrap_or((all, &[]));
        *run = rest;
        Ok(Some(Piece { bytes, kept, frames }))
    }

    /// The length of the frame at the front, and whether it stays.
    fn frame(&self, rest: &[u8]) -> Result<(usize, bool), SplitHead> {
        let Some(([kind], length)) = rest.split_first_chunk::<1>() else { return Err(SplitHead) };
        let (length, _) = length.split_first_chunk::<4>().ok_or(SplitHead)?;
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX).max(HEAD - 1);
        let keeps = !is_row(*kind) || self.limit.is_none_or(|limit| self.rows < limit);
        Ok((length.saturating_add(1), keeps))
    }

    /// Counts the frame at the front.
    fn passed(&mut self, rest: &[u8]) {
        match rest.first() {
            Some(kind) if is_row(*kind) => self.rows = self.rows.saturating_add(1),
            // notices, settings and notifications may come between rows
            Some(b'N' | b'S' | b'A') => {}
            _ => self.rows = 0,
        }
    }
}

const fn is_row(kind: u8) -> bool {
    matches!(kind, b'D' | b'd')
}

#[cfg(test)]
mod tests {
    //! What stays, however the stream is cut into runs.

    use super::*;
    use proptest::prelude::*;

    fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        [&[kind], &length[..], body].concat()
    }

    /// Everything that stays, everything that does not, and how many frames of both.
    fn cut(evidence: ResultEvidence, runs: &[&[u8]]) -> (Vec<u8>, Vec<u8>, [u32; 2]) {
        let mut cutter = Cutter::new(evidence);
        let (mut kept, mut left, mut frames) = (Vec::new(), Vec::new(), [0, 0]);
        for run in runs {
            let mut rest = *run;
            while let Some(piece) = cutter.next(&mut rest).unwrap() {
                if piece.kept { &mut kept } else { &mut left }.extend_from_slice(piece.bytes);
                frames[usize::from(!piece.kept)] += piece.frames;
            }
            assert!(rest.is_empty());
        }
        (kept, left, frames)
    }

    #[test]
    fn rows_after_the_first_are_left_out_of_each_answer() {
        let [t, c, n, z] = [frame(b'T', b"x"), frame(b'C', b"SELECT 3\0"), frame(b'N', b"n"), frame(b'Z', b"I")];
        let row = |k: u8| frame(b'D', &[k; 9]);
        let answer = [&t, &row(1), &n, &row(2), &row(3), &c].map(|f| f.as_slice()).concat();
        let stream = [answer.clone(), answer, z.clone()].concat();
        let (kept, left, frames) = cut(ResultEvidence::FirstRows(2), &[&stream]);
        let one = [t.clone(), row(1), n.clone(), row(2), c.clone()].concat();
        assert_eq!(kept, [one.clone(), one, z.clone()].concat());
        assert_eq!(left, [row(3), row(3)].concat());
        assert_eq!(frames, [11, 2]);
        let (kept, left, _) = cut(ResultEvidence::Digest, &[&stream]);
        let one = [t, n, c].concat();
        assert_eq!(kept, [one.clone(), one, z].concat());
        assert_eq!(left.len(), 6 * row(1).len());
        assert_eq!(cut(ResultEvidence::All, &[&stream]).0, stream);
    }

    #[test]
    fn a_head_in_two_runs_is_refused() {
        let mut cutter = Cutter::new(ResultEvidence::Digest);
        assert_eq!(cutter.next(&mut &b"D\0\0\0"[..]), Err(SplitHead));
        // and so it is behind a whole frame: what came before is given first
        let run = [frame(b'C', b"SELECT 1\0"), b"D\0\0".to_vec()].concat();
        assert_eq!(Cutter::new(ResultEvidence::Digest).next(&mut run.as_slice()), Err(SplitHead));
    }

    proptest! {
        #[test]
        fn runs_may_end_anywhere_behind_a_head(
            frames in proptest::collection::vec((proptest::sample::select(b"DDDdTCNZEHc".to_vec()), 0..40usize), 1..30),
            cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..12), rows in 1..4u32,
        ) {
            let frames: Vec<Vec<u8>> = frames.iter().map(|(kind, size)| frame(*kind, &vec![*kind; *size])).collect();
            let stream = frames.concat();
            let mut starts = vec![0];
            for frame in &frames {
                starts.push(starts.last().unwrap() + frame.len());
            }
            let allowed: Vec<usize> = (0..=stream.len())
                .filter(|at| starts.iter().all(|start| *at <= *start || *at >= start + HEAD))
                .collect();
            let mut places: Vec<usize> = cuts.iter().map(|cut| allowed[cut.index(allowed.len())]).collect();
            places.extend([0, stream.len()]);
            places.sort_unstable();
            let runs: Vec<&[u8]> = places.windows(2).map(|w| &stream[w[0]..w[1]]).collect();
            for evidence in [ResultEvidence::Digest, ResultEvidence::FirstRows(rows)] {
                let whole = cut(evidence, &[&stream]);
                prop_assert_eq!(whole.2[0] + whole.2[1], u32::try_from(frames.len()).unwrap());
                prop_assert_eq!(&whole, &cut(evidence, &runs));
            }
            let (kept, left, _) = cut(ResultEvidence::Digest, &runs);
            let (rows, rest): (Vec<_>, Vec<_>) = frames.into_iter().partition(|frame| is_row(frame[0]));
            prop_assert_eq!(left, rows.concat());
            prop_assert_eq!(kept, rest.concat());
        }
    }
}
