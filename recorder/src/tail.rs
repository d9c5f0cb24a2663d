//! Events as they are archived, one line of JSON each: for other programs, and for eyes.

use crate::archive::{self, Filter, Reader};
use crate::export::{self, json_line};
use crate::verify;
use event_log::{Offset, Partition};
use futures_util::StreamExt;
use kit::Shutdown;
use schemas::{Event, SessionId};
use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::time::Duration;

/// What is shown.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Events of these sessions only. `limit` and `open` do not matter; with no wish at all every event is shown, those
    /// of auditors' accesses and gaps too. `since` and `until` are the events' own times.
    pub filter: Filter,
    /// Begins with what is archived; otherwise with what comes.
    pub from_start: bool,
    /// Goes on with what comes, until the shutdown.
    pub follow: bool,
    /// How often the archive is asked for more.
    pub poll: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { filter: Filter::default(), from_start: true, follow: false, poll: Duration::from_millis(500) }
    }
}

/// The archive could not be followed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The archive cannot be read.
    #[error("reading the archive")]
    Archive(#[source] archive::Error),
    /// The events cannot be written.
    #[error("showing an event")]
    Export(#[source] export::Error),
}

/// Writes events as JSON Lines, in the order of the archive: of each partition in order, and so of each session.
///
/// # Errors
/// [`Error`].
pub async fn tail(reader: &Reader, options: &Options, out: &mut impl Write, shutdown: &Shutdown) -> Result<(), Error> {
    let mut tail = Tail { reader, options, next: BTreeMap::new(), wanted: HashMap::new() };
    if !options.from_start {
        for partition in reader.partitions().await.map_err(Error::Archive)? {
            tail.next.insert(partition, reader.end(partition).await.map_err(Error::Archive)?);
        }
    }
    loop {
        tail.new_ones(out).await?;
        out.flush().map_err(|error| Error::Export(export::Error::Write(error)))?;
        if !options.follow {
            return Ok(());
        }
        tokio::select! {
            () = shutdown.wait() => return Ok(()),
            () = tokio::time::sleep(options.poll) => {}
        }
    }
}

/// Sessions of which is remembered whether they are wanted; forgotten ones are asked for again.
const REMEMBERED: usize = 65_536;

struct Tail<'a> {
    reader: &'a Reader,
    options: &'a Options,
    next: BTreeMap<Partition, Offset>,
    wanted: HashMap<SessionId, bool>,
}

impl Tail<'_> {
    async fn new_ones(&mut self, out: &mut impl Write) -> Result<(), Error> {
        for partition in self.reader.partitions().await.map_err(Error::Archive)? {
            let from = self.next.get(&partition).copied().unwrap_or_default();
            let mut batches = self.reader.batches(partition, from).await.map_err(Error::Archive)?;
            while let Some(archived) = batches.next().await {
                let archived = archived.map_err(Error::Archive)?;
                let mut events = verify::read(&archived.batch).events.unwrap_or_default();
                self.reader.unseal(&mut events).await.map_err(Error::Archive)?;
                for event in &events {
                    if self.wants(event).await? {
                        json_line(event, out).map_err(Error::Export)?;
                    }
                }
                self.next.insert(partition, archived.offset + 1);
            }
        }
        Ok(())
    }

    async fn wants(&mut self, event: &Event) -> Result<bool, Error> {
        let Filter { identity, resource, since, until, .. } = &self.options.filter;
        if since.is_some_and(|since| event.time < since) || until.is_some_and(|until| event.time >= until) {
            return Ok(false);
        }
        if identity.is_none() && resource.is_none() {
            return Ok(true);
        }
        if let Some(wanted) = self.wanted.get(&event.session) {
            return Ok(*wanted);
        }
        let filter = Filter { identity: identity.clone(), resource: resource.clone(), ..Filter::default() };
        let wanted = match self.reader.summary(event.session).await {
            Ok(summary) => filter.admits(&summary),
            Err(archive::Error::UnknownSession(_)) => false,
            Err(error) => return Err(Error::Archive(error)),
        };
        if self.wanted.len() == REMEMBERED {
            self.wanted.clear();
        }
        self.wanted.insert(event.session, wanted);
        Ok(wanted)
    }
}

#[cfg(test)]
mod tests;
