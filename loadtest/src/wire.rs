//! Frames: a kind, a length, a body.

/// Largest frame that is read from a target.
pub(crate) const MAX_FRAME: usize = 1 << 30;

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) body: Vec<u8>,
}

impl Frame {
    pub(crate) fn new(kind: u8, body: impl Into<Vec<u8>>) -> Self {
        Self { kind, body: body.into() }
    }

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.push(self.kind);
        let length = u32::try_from(self.body.len() + 4).unwrap_or(u32::MAX);
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&self.body);
    }

    /// The first text up to a NUL.
    pub(crate) fn text(&self) -> String {
        texts(&self.body).next().unwrap_or_default()
    }

    /// A field of an ErrorResponse.
    pub(crate) fn field(&self, code: u8) -> String {
        let fields = self.body.split(|b| *b == 0);
        let found = fields.filter_map(<[u8]>::split_first).find(|(first, _)| **first == code);
        found.map(|(_, text)| String::from_utf8_lossy(text).into_owned()).unwrap_or_default()
    }
}

/// Texts that end with NUL.
pub(crate) fn texts(body: &[u8]) -> impl Iterator<Item = String> {
    body.split(|b| *b == 0).map(|text| String::from_utf8_lossy(text).into_owned())
}

/// Takes the frame at the front of `bytes`, with its length; `None` if it is not whole, an error text if it cannot be.
pub(crate) fn take(bytes: &[u8]) -> Result<Option<(Frame, usize)>, &'static str> {
    let Some((head, rest)) = bytes.split_first_chunk::<5>() else { return Ok(None) };
    let [kind, length @ ..] = *head;
    let length = usize::try_from(u32::from_be_bytes(length)).map_err(|_| "a frame's length")?;
    let size = length.checked_sub(4).filter(|size| *size <= MAX_FRAME).ok_or("a frame's length")?;
    Ok(rest.get(..size).map(|body| (Frame::new(kind, body), size + 5)))
}
