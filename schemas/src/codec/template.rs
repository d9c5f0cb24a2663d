//! Events that a statement emits again for each run, encoded but for what changes: the session, the sequence, the time
//! and the statement's number.
//!
//! A prepared statement may run fifty thousand times a second; its Statement and Verdict events differ in a few bytes. A
//! [`Template`] keeps the rest as it was encoded once by the ordinary way ([`super::encode`]), and a test holds that
//! both ways write the same bytes.

use super::{
    Error, MAX_EVENT_BYTES,
    direct::{put_bytes, put_long, put_payload},
    encode,
};
use crate::event::{Body, Event, PayloadRef};
use crate::id::{SequenceNumber, SessionId};

/// Bytes of the head of an encoded event whose sequence, time and number are 0: 16, then one each for the sequence, the
/// time, the union's branch and the number.
const HEAD: usize = 20;

/// Bytes with which a Statement ends that has no portal, no parameters and no tokens: an empty string and two unions' nulls.
const STATEMENT_END: usize = 3;

/// An encoded event, but for what changes from run to run. Its body begins with the statement's number.
#[derive(Debug, Clone)]
pub struct Template {
    /// The union's branch, as encoded.
    branch: u8,
    rest: Vec<u8>,
}

impl Template {
    /// Encodes a body whose first field is the statement's number; its number is set to 0 here.
    ///
    /// # Errors
    /// As [`encode`]; [`Error::Length`] for a body that does not begin with a number.
    pub fn new(mut body: Body) -> Result<Self, Error> {
        let number = match &mut body {
            Body::Statement(statement) => &mut statement.number,
            Body::Verdict(verdict) => &mut verdict.number,
            Body::Completed(completed) => &mut completed.number,
            _ => return Err(Error::Length { what: "a template" }),
        };
        *number = 0;
        let mut bytes = Vec::new();
        encode(&Event { session: SessionId::from_bytes([0; 16]), sequence: 0, time: 0, body }, &mut bytes)?;
        let (branch, rest) = match (bytes.get(18), bytes.get(HEAD..)) {
            (Some(branch), Some(rest)) => (*branch, rest.to_vec()),
            _ => return Err(Error::Length { what: "a template" }),
        };
        Ok(Self { branch, rest })
    }

    /// Appends the event of one run.
    ///
    /// # Errors
    /// [`Error::TooLarge`]; the buffer is then as it was.
    pub fn put(&self, run: &Run, out: &mut Vec<u8>) -> Result<(), Error> {
        self.within(0)?;
        self.head(run, out);
        out.extend_from_slice(&self.rest);
        Ok(())
    }

    /// Appends the Statement event of one run, through a portal and with parameters.
    ///
    /// The template must be of a Statement without portal, parameters and tokens.
    ///
    /// # Errors
    /// [`Error::TooLarge`]; the buffer is then as it was.
    pub fn put_statement(
        &self,
        run: &Run,
        portal: &str,
        parameters: Option<PayloadRef<'_>>,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let more = parameters.map_or(0, |payload| payload.bytes.len() + payload.key.map_or(0, str::len));
        self.within(portal.len() + more + 32)?;
        self.head(run, out);
        let kept = self.rest.len().saturating_sub(STATEMENT_END);
        out.extend_from_slice(self.rest.get(..kept).unwrap_or_default());
        put_bytes(portal.as_bytes(), out);
        match parameters {
            None => put_long(0, out),
            Some(payload) => {
                put_long(1, out);
                put_payload(&payload, out);
            }
        }
        put_long(0, out);
        Ok(())
    }

    fn within(&self, more: usize) -> Result<(), Error> {
        let bytes = self.rest.len() + more + 48;
        if bytes > MAX_EVENT_BYTES {
            return Err(Error::TooLarge { what: "an event", bytes, limit: MAX_EVENT_BYTES });
        }
        Ok(())
    }

    fn head(&self, run: &Run, out: &mut Vec<u8>) {
        out.extend_from_slice(run.session.as_bytes());
        put_long(run.sequence.cast_signed(), out);
        put_long(run.time, out);
        out.push(self.branch);
        put_long(run.number.cast_signed(), out);
    }
}

/// What changes from run to run.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    /// The session.
    pub session: SessionId,
    /// The event's sequence number.
    pub sequence: SequenceNumber,
    /// Microseconds since 1970-01-01 UTC.
    pub time: i64,
    /// The statement's number.
    pub number: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::tests::one_of_each;
    use crate::event::{Payload, PayloadCodec};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_template_writes_what_the_schema_says(
            session: [u8; 16], sequence in 0..i64::MAX.cast_unsigned(), time: i64, number in 0..i64::MAX.cast_unsigned(),
            portal in "[a-z]{0,200}", parameters in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..300)), sealed: bool,
        ) {
            let parameters = parameters.map(|bytes| match sealed {
                true => Payload { codec: PayloadCodec::SealedZstd, key: Some("0123456789abcdef".to_owned()), bytes },
                false => Payload::plain(bytes),
            });
            let run = Run { session: SessionId::from_bytes(session), sequence, time, number };
            for body in one_of_each() {
                let (template, expected) = match body {
                    Body::Statement(mut statement) => {
                        statement.portal = String::new();
                        (statement.parameters, statement.tokens) = (None, None);
                        let template = Template::new(Body::Statement(statement.clone())).unwrap();
                        statement.portal.clone_from(&portal);
                        statement.parameters.clone_from(&parameters);
                        statement.number = number;
                        (template, Body::Statement(statement))
                    }
                    Body::Verdict(mut verdict) => {
                        let template = Template::new(Body::Verdict(verdict.clone())).unwrap();
                        verdict.number = number;
                        (template, Body::Verdict(verdict))
                    }
                    _ => continue,
                };
                let (mut fast, mut plain) = (Vec::new(), Vec::new());
                match &expected {
                    Body::Statement(_) => {
                        template.put_statement(&run, &portal, parameters.as_ref().map(Into::into), &mut fast).unwrap();
                    },
                    _ => template.put(&run, &mut fast).unwrap(),
                }
                encode(&Event { session: run.session, sequence, time, body: expected }, &mut plain).unwrap();
                prop_assert_eq!(fast, plain);
            }
        }
    }
}
