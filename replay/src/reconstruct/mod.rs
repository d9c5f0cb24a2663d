//! A session as people read it: the JSON shapes of summaries and timelines.
//!
//! The archive's reader decodes frames and puts statements, verdicts and answers together; here they get their names
//! in JSON, and each value of a result becomes text, null or hexadecimal digits.

pub mod frames;
mod played;
mod session;
mod timeline;

pub use played::from_play;
pub use session::{Session, Status};
pub use timeline::{
    Answer, AnswerColumn, ColumnUse, Decision, Hold, Message, Outcome, StatementStep, Step, Timeline, Value,
};
