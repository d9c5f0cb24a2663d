//! Asks the database on the gate's own account: the catalog, the search path of a fresh session.
//!
//! Only before a session begins or on a connection of the gate's own, so that no answer of it can mix with a client's.

use crate::{
    frames::{self, Fields, Reader, Violation, backend},
    upstream::Upstream,
};
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Rows that one question may return: the largest part of a catalog.
const MAX_ROWS: usize = 4_000_000;

/// The database did not answer as it should.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection failed.
    #[error("the connection to the database failed")]
    Connection(#[source] io::Error),
    /// The answer is not the protocol's.
    #[error("the database broke the protocol")]
    Protocol(#[source] Violation),
    /// PostgreSQL refused the question.
    #[error("the database answered {sqlstate}: {message}")]
    Refused {
        /// SQLSTATE.
        sqlstate: String,
        /// Its message.
        message: String,
    },
    /// More rows than the limit.
    #[error("the database returned more than {MAX_ROWS} rows")]
    TooMany,
}

/// The rows of one answer, in text.
pub type Rows = Vec<Vec<Option<String>>>;

/// Sends statements as one simple message and returns the rows of each that returns some.
///
/// # Errors
/// [`Error`]; the connection cannot be used again.
pub async fn ask(upstream: &mut Upstream, sql: &str) -> Result<Vec<Rows>, Error> {
    let mut message = Vec::new();
    let body = [sql.as_bytes(), &[0]].concat();
    frames::put(&mut message, b'Q', &body);
    upstream.stream.write_all(&message).await.map_err(Error::Connection)?;
    upstream.stream.flush().await.map_err(Error::Connection)?;
    let mut input = Reader::default();
    if !upstream.early.is_empty() {
        input.preload(&std::mem::take(&mut upstream.early));
    }
    let mut answers: Vec<Rows> = Vec::new();
    let mut refused = None;
    loop {
        let head = frames::head(input.unread()).map_err(Error::Protocol)?;
        let frame = head.and_then(|head| Some((head, input.unread().get(..head.total)?)));
        let Some((head, frame)) = frame else {
            let room = input.room(head.map_or(frames::HEAD, |head| head.total.min(frames::MAX_HELD_FRAME)));
            let count = upstream.stream.read(room).await.map_err(Error::Connection)?;
            if count == 0 {
                return Err(Error::Connection(io::ErrorKind::UnexpectedEof.into()));
            }
            input.filled(count);
            continue;
        };
        let body = frame.get(frames::HEAD..).unwrap_or_default();
        match head.kind {
            b'T' => answers.push(Vec::new()),
            b'D' => {
                let Some(rows) = answers.last_mut() else { continue };
                if rows.len() >= MAX_ROWS {
                    return Err(Error::TooMany);
                }
                rows.push(row(body).map_err(Error::Protocol)?);
            }
            b'E' => {
                let report = backend::report(b'E', body).map_err(Error::Protocol)?;
                let message = report.iter().find(|(code, _)| *code == b'M').map(|(_, text)| text.clone());
                refused = Some((backend::sqlstate(&report), message.unwrap_or_default()));
            }
            b'Z' => {
                input.consume(head.total);
                upstream.early = input.unread().to_vec();
                return match refused {
                    Some((sqlstate, message)) => Err(Error::Refused { sqlstate, message }),
                    None => Ok(answers),
                };
            }
            _ => {}
        }
        input.consume(head.total);
    }
}

fn row(body: &[u8]) -> Result<Vec<Option<String>>, Violation> {
    let mut fields = Fields::of(b'D', body);
    let mut row = Vec::new();
    for _ in 0..fields.count()? {
        row.push(fields.value()?.map(|value| String::from_utf8_lossy(value).into_owned()));
    }
    fields.end()?;
    Ok(row)
}
