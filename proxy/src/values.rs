//! Keeps values that a client names out of the record, where its resource asks for it: constants, comments and bound values of
//! statements that may touch protected columns, or of all. Keyed tokens stand for them, so that who holds the key can ask
//! where a value was named.
//!
//! Like secrets ([`crate::redact`]) they are struck out byte by byte, of the client's frames and of Statement events, so that
//! the record is as long as what was sent; the database gets what the client sent. A frame's values stay only where its
//! statement was decided and concerns nothing protected: what is skipped, refused or not understood loses them. What the
//! server says besides rows in such a transaction keeps its codes alone.

use crate::{
    conversation::Conversation,
    decide::{Decision, Refused},
    frames::{
        self, Fields, Violation,
        backend::Transaction,
        frontend::{self, Message, Target},
    },
    redact,
};
use judge::sql::{
    secrets::MARK,
    values::{Names, leave_out},
};
use schemas::{
    literals,
    tokens::{MAX_TOKENS, Tokens},
};
use serde::Deserialize;
use std::{borrow::Cow, collections::HashSet, ops::Range};

/// Which values the record of a resource's sessions keeps, of those that statements name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecordedValues {
    /// All, as they were sent.
    #[default]
    All,
    /// Those of statements that touch no relation with a protected column.
    Unprotected,
    /// None.
    None,
}

impl RecordedValues {
    /// Whether tokens stand for what is left out.
    pub fn leaves_out(self) -> bool {
        self != Self::All
    }
}

/// What stays and what does not of one session.
#[derive(Debug)]
pub(crate) struct Leaving {
    which: RecordedValues,
    tokens: Tokens,
    /// Where the frame stands that is being decided, in the next run.
    at: usize,
    /// Frames of the next run whose values stay, and those of which only they go.
    kept: Vec<usize>,
    understood: Vec<usize>,
    /// Rows of COPY data stay, as of the end of the last run; and from these places of the next on.
    rows: bool,
    copies: Vec<(usize, bool)>,
    /// A statement, or a name, was left out since the session was last idle: errors may quote it.
    open: bool,
    /// Where in what goes to the client something was said in such a transaction.
    said: Vec<Range<usize>>,
    /// An EXPLAIN is under way whose answer quotes what is left out.
    explains: bool,
    /// The frame for the client in which the last run ended.
    row: Row,
}

/// How much of a frame for the client has passed.
#[derive(Debug, Default)]
struct Row {
    kind: u8,
    /// How many values it has, if it is a row.
    count: [u8; 2],
    passed: usize,
    rest: usize,
}

/// Bytes of a row before its first value: type and length, number of values, length of the value.
const BEFORE_VALUE: usize = 11;

impl Leaving {
    /// As the resource wants it; none where everything stays.
    pub(crate) fn new(which: RecordedValues, tokens: Tokens) -> Self {
        Self {
            which,
            tokens,
            at: 0,
            kept: Vec::new(),
            understood: Vec::new(),
            rows: false,
            copies: Vec::new(),
            open: false,
            said: Vec::new(),
            explains: false,
            row: Row::default(),
        }
    }

    /// Whether values of what was decided so are left out.
    fn concerns(&self, decision: &Decision) -> bool {
        self.which == RecordedValues::None || decision.may_name_protected()
    }

    /// Tokens of these values, each once.
    fn tokens<'a>(&self, values: impl Iterator<Item = Cow<'a, [u8]>>) -> Vec<String> {
        let mut seen = HashSet::new();
        let tokens = values.filter_map(|value| self.tokens.of(&value));
        tokens.filter(|token| seen.insert(token.clone())).take(MAX_TOKENS).collect()
    }

    /// Strikes out of the client's run what does not stay; `begins` bytes at its front belong to a frame of COPY data.
    fn strike_run(&mut self, run: &mut [u8], begins: usize) {
        let (kept, copies) = (std::mem::take(&mut self.kept), std::mem::take(&mut self.copies));
        let understood = std::mem::take(&mut self.understood);
        let (front, mut rest) = run.split_at_mut(begins.min(run.len()));
        if !self.rows {
            front.fill(MARK);
        }
        let (mut at, mut copies) = (begins, copies.into_iter().peekable());
        while let Ok(Some(head)) = frames::head(rest) {
            let Some((frame, behind)) = rest.split_at_mut_checked(head.total.min(rest.len())) else { return };
            while let Some((_, rows)) = copies.next_if(|(from, _)| *from <= at) {
                self.rows = rows;
            }
            match head.kind {
                b'd' | b'f' if self.rows => {}
                b'd' | b'f' => frame.get_mut(frames::HEAD..).unwrap_or_default().fill(MARK),
                _ if kept.binary_search(&at).is_ok() => {}
                kind if understood.binary_search(&at).is_ok() => strike_frame(kind, frame, Names::Kept),
                kind => strike_frame(kind, frame, Names::Doubted),
            }
            (at, rest) = (at.saturating_add(head.total), behind);
        }
        // what is no frame ends the session
        rest.fill(MARK);
        if let Some((_, rows)) = copies.last() {
            self.rows = rows;
        }
    }

    /// Notes where in what goes to the client something was said that may quote a value; `kind` is what the server sent.
    fn said(&mut self, kind: u8, bytes: Range<usize>) {
        // who notifies may be another session
        let open = self.open || (kind == b'A' && self.which == RecordedValues::None);
        if open && !bytes.is_empty() && !matches!(kind, b'D' | b'd') {
            self.said.push(bytes);
        }
    }

    /// What goes to the client, from `before` on, without the words that may quote a value.
    fn strike_said<'a>(&mut self, bytes: &'a [u8], before: usize) -> Cow<'a, [u8]> {
        let mut run = Cow::Borrowed(bytes.get(before..).unwrap_or_default());
        for said in std::mem::take(&mut self.said) {
            let range = said.start.saturating_sub(before)..said.end.saturating_sub(before);
            let mut rest = run.to_mut().get_mut(range).unwrap_or_default();
            while let Ok(Some(head)) = frames::head(rest) {
                let Some((frame, behind)) = rest.split_at_mut_checked(head.total) else { break };
                let body = frame.get_mut(frames::HEAD..).unwrap_or_default();
                redact::each_text(head.kind, body, &mut |text| text.fill(MARK));
                rest = behind;
            }
        }
        self.pass_rows(&mut run);
        run
    }

    /// Follows the frames for the client, and strikes the rows of plans.
    fn pass_rows(&mut self, run: &mut Cow<'_, [u8]>) {
        let mut at = 0;
        while let Some(rest) = run.get(at..).filter(|rest| !rest.is_empty()) {
            if self.row.rest == 0 {
                let Ok(Some(head)) = frames::head(rest) else { return };
                self.row = Row { kind: head.kind, count: [0; 2], passed: 0, rest: head.total };
            }
            let here = self.row.rest.min(rest.len());
            // a run may end between the two bytes that say how many values there are
            for (place, byte) in (frames::HEAD..).zip(&mut self.row.count) {
                if let Some(said) = place.checked_sub(self.row.passed).filter(|place| *place < here) {
                    *byte = rest.get(said).copied().unwrap_or_default();
                }
            }
            if self.explains && self.row.kind == b'D' && self.row.count == [0, 1] {
                let from = at + BEFORE_VALUE.saturating_sub(self.row.passed).min(here);
                run.to_mut().get_mut(from..at + here).unwrap_or_default().fill(MARK);
            }
            self.row.passed += here;
            self.row.rest -= here;
            at += here;
        }
    }
}

/// The names in a message that the client chose.
fn names_of<'a>(message: &Message<'a>) -> impl Iterator<Item = &'a str> {
    let (first, second) = match message {
        Message::Parse { name, .. } => (Some(*name), None),
        Message::Bind { portal, statement, .. } => (Some(*portal), Some(*statement)),
        Message::Describe(Target::Statement(name) | Target::Portal(name))
        | Message::Close(Target::Statement(name) | Target::Portal(name)) => (Some(*name), None),
        Message::Execute { portal, .. } => (Some(*portal), None),
        _ => (None, None),
    };
    first.into_iter().chain(second)
}

/// Whether a name is no plain word, so that it may be a value.
fn is_odd(name: &str) -> bool {
    literals::name(name) != name
}

/// Strikes the values out of one frame, and names that are no plain words; all of it where it cannot be read.
fn strike_frame(kind: u8, frame: &mut [u8], names: Names) {
    let Some(body) = frame.get_mut(frames::HEAD..) else { return };
    let (mut struck, mut text) = (Vec::new(), None);
    let Ok(message) = frontend::parse(kind, body) else { return body.fill(MARK) };
    // before the names of Describe and Close stands what they name
    let mut at = usize::from(matches!(message, Message::Describe(_) | Message::Close(_)));
    for name in names_of(&message) {
        if is_odd(name) {
            struck.push(at..at + name.len());
        }
        at += name.len() + 1;
    }
    match message {
        Message::Query(sql) => text = Some(0..sql.len()),
        Message::Parse { text: sql, .. } => text = Some(at..at + sql.len()),
        Message::Bind { parameters, .. } => {
            let values = redact::values(parameters).unwrap_or_else(|| std::iter::once(0..parameters.len()).collect());
            struck.extend(values.into_iter().map(|range| range.start + at..range.end + at));
        }
        Message::Describe(_) | Message::Close(_) | Message::Execute { .. } => {}
        Message::Sync | Message::Flush | Message::CopyDone | Message::Terminate => {}
        Message::FunctionCall | Message::CopyData | Message::CopyFail => struck.push(0..body.len()),
    }
    if let Some(text) = text.and_then(|range| body.get_mut(range)) {
        let left = leave_out(text, names);
        text.copy_from_slice(&left.text);
    }
    for range in struck {
        body.get_mut(range).unwrap_or_default().fill(MARK);
    }
}

/// The values of a Bind as tokens are made of them: what is, or may be, a whole number in binary is written out.
fn bound<'a>(types: &[u8], parameters: &'a [u8]) -> Vec<Cow<'a, [u8]>> {
    read(types, parameters).unwrap_or_default()
}

fn read<'a>(types: &[u8], parameters: &'a [u8]) -> Result<Vec<Cow<'a, [u8]>>, Violation> {
    let mut fields = Fields::of(b'B', parameters);
    let codes = (0..fields.count()?).map(|_| fields.int16()).collect::<Result<Vec<i16>, _>>()?;
    let mut values = Vec::new();
    for at in 0..fields.count()? {
        let Some(value) = fields.value()? else { continue };
        let binary = match codes.as_slice() {
            [] => false,
            [one] => *one == 1,
            all => all.get(at) == Some(&1),
        };
        let type_id = frontend::parameter_type(types, at);
        let number = match value {
            _ if !binary || !matches!(type_id, 0 | 20 | 21 | 23) => None,
            [a, b] => Some(i64::from(i16::from_be_bytes([*a, *b]))),
            [a, b, c, d] => Some(i64::from(i32::from_be_bytes([*a, *b, *c, *d]))),
            [a, b, c, d, e, f, g, h] => Some(i64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h])),
            _ => None,
        };
        values.extend(number.map(|number| Cow::Owned(number.to_string().into_bytes())));
        if number.is_none() || type_id == 0 {
            values.push(Cow::Borrowed(value));
        }
    }
    Ok(values)
}

impl Conversation {
    /// Values that the client names are left out of the record.
    #[must_use]
    pub(crate) fn with_leaving(mut self, leaving: Option<Leaving>) -> Self {
        self.leaving = leaving.map(Box::new);
        self
    }

    /// The next frame of the client stands here, in the run that is being read.
    pub(crate) fn begin_frame(&mut self, at: usize) {
        let idle = self.is_idle() && self.transaction == Transaction::Idle;
        let Some(leaving) = &mut self.leaving else { return };
        leaving.at = at;
        // a frame that comes back is decided again
        leaving.kept.retain(|kept| *kept < at);
        leaving.understood.retain(|understood| *understood < at);
        leaving.copies.retain(|(from, _)| *from < at);
        if idle {
            (leaving.open, leaving.explains) = (false, false);
        }
    }

    /// The present frame is this: an error may quote a name of it that is no plain word.
    pub(crate) fn note_names(&mut self, message: &Message<'_>) {
        if let Some(leaving) = &mut self.leaving {
            leaving.open |= names_of(message).any(is_odd);
        }
    }

    /// The present frame is decided so; what is not decided names values that do not stay.
    pub(crate) fn note_decided<'a>(&mut self, decisions: impl IntoIterator<Item = &'a Decision>) {
        let Some(leaving) = &mut self.leaving else { return };
        let decisions: Vec<&Decision> = decisions.into_iter().collect();
        let concerned = decisions.is_empty() || decisions.iter().any(|decision| leaving.concerns(decision));
        if decisions.iter().any(|decision| decision.copies_in) {
            leaving.copies.push((leaving.at, !concerned));
        }
        if !concerned {
            leaving.kept.push(leaving.at);
            return;
        }
        leaving.open = true;
        leaving.explains |= decisions.iter().flat_map(|decision| &decision.facts).any(|facts| facts.kind == "EXPLAIN");
        if !decisions.is_empty() && decisions.iter().all(|decision| Refused::of(decision).is_none()) {
            leaving.understood.push(leaving.at);
        }
    }

    /// The client's run, of which secrets are struck out already.
    pub(crate) fn leave_out_of_run<'a>(&mut self, run: Cow<'a, [u8]>, begins: usize) -> Cow<'a, [u8]> {
        let Some(leaving) = &mut self.leaving else { return run };
        let mut run = run;
        leaving.strike_run(run.to_mut(), begins);
        run
    }

    /// A frame of the server of this kind became these bytes for the client.
    pub(crate) fn said(&mut self, kind: u8, bytes: Range<usize>) {
        if let Some(leaving) = &mut self.leaving {
            leaving.said(kind, bytes);
        }
    }

    /// What goes to the client, from `before` on, as the record has it.
    pub(crate) fn leave_out_of_answer<'a>(&mut self, bytes: &'a [u8], before: usize) -> Cow<'a, [u8]> {
        match &mut self.leaving {
            Some(leaving) => leaving.strike_said(bytes, before),
            None => Cow::Borrowed(bytes.get(before..).unwrap_or_default()),
        }
    }

    /// Whether errors and reasons may quote what is left out.
    pub(crate) fn leaves_reasons(&self) -> bool {
        self.leaving.as_ref().is_some_and(|leaving| leaving.open)
    }

    /// Whether the values of a statement of this decision are left out.
    pub(crate) fn leaves_out(&self, decision: &Decision) -> bool {
        self.leaving.as_ref().is_some_and(|leaving| leaving.concerns(decision))
    }

    /// A statement's text without its values, and their tokens; none where they stay.
    pub(crate) fn left_out(&mut self, said: Said<'_>) -> Option<(Vec<u8>, Vec<String>)> {
        let leaving = self.leaving.as_mut()?;
        if said.decision.is_some_and(|decision| !leaving.concerns(decision)) {
            return None;
        }
        leaving.open = true;
        let understood = said.decision.is_some_and(|decision| Refused::of(decision).is_none());
        let left = leave_out(said.text, if understood { Names::Kept } else { Names::Doubted });
        let values = said.parameters.map(|parameters| bound(said.types, parameters)).unwrap_or_default();
        let tokens = leaving.tokens(left.values.into_iter().map(Cow::Owned).chain(values));
        Some((left.text, tokens))
    }
}

/// What a client said of one statement.
#[derive(Clone, Copy, Default)]
pub(crate) struct Said<'a> {
    /// What was decided of it; none where it was not understood.
    pub(crate) decision: Option<&'a Decision>,
    /// Its text.
    pub(crate) text: &'a [u8],
    /// The types of its parameters, as they stand in Parse.
    pub(crate) types: &'a [u8],
    /// Its parameters, as they stand in Bind.
    pub(crate) parameters: Option<&'a [u8]>,
}
