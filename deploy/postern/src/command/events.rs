//! `postern events tail`: the raw events as JSON, one a line, for people and for consumers that are not ours.

use crate::arguments::{Events, Global};
use crate::command::block_on;
use crate::config;
use crate::failure::Failure;
use kit::Shutdown;
use recorder::archive::Reader;
use recorder::tail::{Options, tail};
use std::io;

/// Runs the verb. Text and JSON are the same here: an event has one form.
pub fn run(global: &Global, verb: &Events) -> Result<(), Failure> {
    let Events::Tail { from_start, no_follow } = verb;
    let reader = Reader::open(&config::load(global)?.archive)?;
    let options = Options { from_start: *from_start, follow: !no_follow, ..Options::default() };
    let shutdown = Shutdown::on_signals()?;
    block_on(async { Ok(tail(&reader, &options, &mut io::stdout().lock(), &shutdown).await?) })
}
