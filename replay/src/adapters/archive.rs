//! Sessions, from the archive.

use crate::reconstruct::{Session, Timeline, from_play};
use crate::sources::{Archive, Events, Filter, Later, Sessions, Unavailable};
use recorder::archive::{self, Reader, reader};
use recorder::frames;
use schemas::event::Direction;
use schemas::{Event, SessionId};

pub(super) struct Recorded(pub(super) Reader);

impl Recorded {
    async fn read(&self, id: SessionId) -> Result<Option<Vec<Event>>, Unavailable> {
        known(self.0.events(id).await)
    }

    async fn summary(&self, id: SessionId) -> Result<Option<Session>, Unavailable> {
        Ok(known(self.0.summary(id).await)?.map(Session::from))
    }
}

fn known<T>(found: Result<T, archive::Error>) -> Result<Option<T>, Unavailable> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(archive::Error::UnknownSession(_)) => Ok(None),
        Err(error @ archive::Error::Deleted(_)) => Err(Unavailable::Withheld { reason: format!("{error}.") }),
        Err(error) => Err(Unavailable::failed("reading the archive", error)),
    }
}

impl Archive for Recorded {
    fn sessions<'a>(&'a self, filter: &'a Filter) -> Later<'a, Result<Sessions, Unavailable>> {
        Box::pin(async move {
            // The archive has no cursor: the pages before this one are listed again and left out.
            let limit = if filter.after.is_some() { usize::MAX } else { filter.limit.saturating_add(1) };
            let wanted = reader::Filter {
                identity: filter.identity.clone(),
                resource: filter.resource.clone(),
                since: filter.since,
                until: filter.until,
                open: filter.open,
                limit,
            };
            let found = self.0.sessions(wanted).await;
            let found = found.map_err(|error| Unavailable::failed("reading the archive", error))?;
            // Newest first is by id, which begins with the time of opening; a session that the filter no longer admits
            // may be the cursor all the same.
            let rest = found.into_iter().filter(|summary| filter.after.is_none_or(|last| summary.session < last));
            let mut sessions: Vec<_> = rest.take(filter.limit.saturating_add(1)).map(Session::from).collect();
            let more = sessions.len() > filter.limit;
            sessions.truncate(filter.limit);
            Ok(Sessions { sessions, more })
        })
    }

    fn session(&self, id: SessionId) -> Later<'_, Result<Option<Session>, Unavailable>> {
        Box::pin(self.summary(id))
    }

    fn timeline(&self, id: SessionId, rows: usize) -> Later<'_, Result<Option<Timeline>, Unavailable>> {
        Box::pin(async move {
            let Some(session) = self.summary(id).await? else { return Ok(None) };
            let Some(events) = self.read(id).await? else { return Ok(None) };
            let told = tokio::task::spawn_blocking(move || from_play(session, &events, rows)).await;
            told.map(Some).map_err(|error| Unavailable::failed("telling the session", error))
        })
    }

    fn events(&self, id: SessionId, from: u64, limit: usize) -> Later<'_, Result<Option<Events>, Unavailable>> {
        Box::pin(async move {
            let Some(events) = self.read(id).await? else { return Ok(None) };
            let wanted = events.into_iter().filter(|event| event.sequence >= from);
            let mut events: Vec<_> = wanted.take(limit.saturating_add(1)).collect();
            let more = events.len() > limit;
            events.truncate(limit);
            Ok(Some(Events { events, more }))
        })
    }

    fn frames(&self, id: SessionId, way: Direction, limit: usize) -> Later<'_, Result<Option<Vec<u8>>, Unavailable>> {
        Box::pin(async move {
            let Some(events) = self.read(id).await? else { return Ok(None) };
            let stream = frames::stream(&events, way);
            let bytes = stream.map_err(|error| Unavailable::Withheld { reason: format!("{error}.") })?;
            if bytes.len() > limit { Err(Unavailable::TooLarge { limit }) } else { Ok(Some(bytes)) }
        })
    }
}
