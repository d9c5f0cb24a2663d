//! Whose keys count: what the reader of evidence knows from elsewhere. The archive is never asked whom to believe.
//!
//! ```text
//! batches      NODE  PUBLIC-KEY  [until=EPOCH]     what this key signed for the node, up to that epoch
//! checkpoints  NODE  PUBLIC-KEY  [until=NUMBER]    checkpoints by this key, up to that number, and entries of the custody log
//!                                                  that one of them covers
//! unsigned     NODE  until=EPOCH                   batches of the node without a signature, up to that epoch
//! ```

use super::checkpoint::Checkpoint;
use super::custody::Note;
use super::manifest::FaultKind;
use schemas::chain::{Digest, from_hexadecimal, hexadecimal};
use schemas::signature::{self, PublicKey};
use schemas::{BatchHeader, NodeId, Signature};
use std::fmt;
use std::str::FromStr;

/// What a line of the file lets somebody do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Batches(PublicKey),
    Checkpoints(PublicKey),
    Unsigned,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    node: NodeId,
    what: Use,
    until: u64,
}

/// The keys that count, and for what.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trust {
    lines: Vec<Line>,
}

/// A file of keys has lines that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError(Vec<String>);

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("; "))
    }
}

impl std::error::Error for ParseError {}

impl FromStr for Trust {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let (mut trust, mut problems) = (Self::default(), Vec::new());
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.split_once('#').map_or(line, |(line, _)| line);
            let words: Vec<&str> = line.split_whitespace().collect();
            match parsed(&words) {
                Ok(line) => trust.lines.extend(line),
                Err(problem) => problems.push(format!("line {number}: {problem}")),
            }
        }
        if trust.lines.is_empty() && problems.is_empty() {
            problems.push("it names no key: `postern audit key` prints a node's lines".to_owned());
        }
        if problems.is_empty() { Ok(trust) } else { Err(ParseError(problems)) }
    }
}

fn parsed(words: &[&str]) -> Result<Option<Line>, String> {
    let (what, node, rest) = match words {
        [] => return Ok(None),
        ["unsigned", node, rest @ ..] => (Use::Unsigned, node, rest),
        [first @ ("batches" | "checkpoints"), node, key, rest @ ..] => {
            let key = from_hexadecimal(key).filter(|read| hexadecimal(read) == **key);
            let key = key.ok_or("a public key has 64 hexadecimal digits, in lower case")?;
            (if *first == "batches" { Use::Batches(key) } else { Use::Checkpoints(key) }, node, rest)
        }
        _ => {
            return Err(
                "a line is `batches NODE KEY`, `checkpoints NODE KEY` or `unsigned NODE until=EPOCH`".to_owned()
            );
        }
    };
    let until = match rest {
        [] if what == Use::Unsigned => return Err("`unsigned` needs until=EPOCH".to_owned()),
        [] => u64::MAX,
        [word] => {
            let number = word.strip_prefix("until=").and_then(|number| number.parse().ok());
            number.ok_or_else(|| format!("{word} is not until= and a number"))?
        }
        [_, more, ..] => return Err(format!("{more} is one word too many")),
    };
    Ok(Some(Line { node: (*node).to_owned(), what, until }))
}

impl Trust {
    fn allows(&self, node: &str, what: Use, at: u64) -> bool {
        self.lines.iter().any(|line| line.node == node && line.what == what && at <= line.until)
    }

    fn checkpoint(&self, checkpoint: &Checkpoint, key: &PublicKey) -> Option<String> {
        let known = self.allows(&checkpoint.node, Use::Checkpoints(*key), checkpoint.number);
        (!known).then(|| format!("no line lets {} sign checkpoints of {}", hexadecimal(key), checkpoint.node))
    }
}

/// What is wrong with a batch's signature. Without `trust` it counts for whatever key it names.
pub(crate) fn of_batch(
    trust: Option<&Trust>,
    header: &BatchHeader,
    hash: &Digest,
    signature: Option<&Signature>,
) -> Option<(FaultKind, String)> {
    let (node, epoch) = (&header.node, header.epoch);
    match signature {
        None => {
            let allowed = trust.is_none_or(|trust| trust.allows(node, Use::Unsigned, epoch));
            (!allowed).then(|| (FaultKind::Unsigned, format!("no line lets {node} leave epoch {epoch} unsigned")))
        }
        Some(made) if !made.verifies(&signature::of_batch(hash)) => {
            Some((FaultKind::Signature, format!("{} did not sign its header", hexadecimal(&made.key))))
        }
        Some(made) => {
            let known = trust.is_none_or(|trust| trust.allows(node, Use::Batches(made.key), epoch));
            let detail = || format!("no line lets {} sign epoch {epoch} of {node}", hexadecimal(&made.key));
            (!known).then(|| (FaultKind::UnknownKey, detail()))
        }
    }
}

/// What is wrong with the key of a checkpoint, which signed it.
pub(crate) fn of_checkpoint(trust: Option<&Trust>, checkpoint: &Checkpoint, key: &PublicKey) -> Option<String> {
    trust.and_then(|trust| trust.checkpoint(checkpoint, key))
}

/// What is wrong with the key of an entry of the custody log, which signed it. `at` is the number of the first checkpoint that
/// covers it: with the end of a key's line ends what it may say, and no number of an entry tells when that was.
pub(crate) fn of_custody(trust: &Trust, note: &Note, key: &PublicKey, at: u64) -> Option<String> {
    let known = trust.allows(&note.node, Use::Checkpoints(*key), at);
    (!known).then(|| format!("no line lets {} sign for {} at checkpoint {at}", hexadecimal(key), note.node))
}

/// The lines of a node: for its gate, where it signs, and for its recorder, where it signs.
pub fn lines(node: &str, batches: Option<&PublicKey>, checkpoints: Option<&PublicKey>) -> String {
    let line = |what: &str, key: &PublicKey| format!("{what:<12} {node}  {}", hexadecimal(key));
    let batches = batches.map(|key| line("batches", key) + "   # only if a gate runs on this node");
    let checkpoints = checkpoints.map(|key| line("checkpoints", key) + "   # only if the recorder runs on this node");
    batches.into_iter().chain(checkpoints).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_are_printed_are_read() {
        let text = lines("gate-1", Some(&[1; 32]), Some(&[2; 32]));
        let trust: Trust = text.parse().unwrap();
        assert!(trust.allows("gate-1", Use::Batches([1; 32]), u64::MAX));
        assert!(trust.allows("gate-1", Use::Checkpoints([2; 32]), 0));
        for (node, what) in [
            ("gate-2", Use::Batches([1; 32])),
            ("gate-1", Use::Batches([2; 32])),
            ("gate-1", Use::Checkpoints([1; 32])),
            ("gate-1", Use::Unsigned),
        ] {
            assert!(!trust.allows(node, what, 0), "{node} {what:?}");
        }
    }

    #[test]
    fn a_key_counts_until_its_end() {
        let key = "01".repeat(32);
        let text = format!("# old\nbatches a {key} until=7 # retired\n\nunsigned b until=3\n");
        let trust: Trust = text.parse().unwrap();
        assert!(trust.allows("a", Use::Batches([1; 32]), 7) && !trust.allows("a", Use::Batches([1; 32]), 8));
        assert!(trust.allows("b", Use::Unsigned, 3) && !trust.allows("b", Use::Unsigned, 4));
    }

    #[test]
    fn all_lines_that_cannot_be_read_are_told() {
        let key = "AB".repeat(32);
        let text =
            format!("batches a {key}\nbatches a\nunsigned a\nkeys a\nunsigned a until=x\nunsigned a until=1 2\n");
        let error = text.parse::<Trust>().unwrap_err().to_string();
        for line in 1..=6 {
            assert!(error.contains(&format!("line {line}: ")), "{error}");
        }
        assert!("# nothing\n".parse::<Trust>().is_err());
    }
}
