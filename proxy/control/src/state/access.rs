//! Access requests and the grants that come of them.

use super::review::{Asked, approvals, person};
use super::share::{self, Share};
use super::{Effect, MAX_KEPT, Refused, State, make_room};
use crate::record::{AccessRequest, Digest, Review};
use schemas::event::RequestKind;
use schemas::{GrantId, Identity, RequestId};
use serde::Serialize;
use std::sync::Arc;

/// Open requests of one identity, and of all whom one issuer vouches for.
const SHARE_OF_ONE: Share = Share { number: 50, weight: usize::MAX };
const SHARE_OF_ISSUER: Share = Share { number: MAX_KEPT / 2, weight: usize::MAX };

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answered {
    /// Nothing yet; past its time it has expired.
    Waiting,
    /// It became a grant.
    Granted,
    /// A reviewer said no.
    Denied,
    /// The requester does not want it any more.
    Withdrawn,
}

/// A request, and what was said about it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Request {
    /// What is asked.
    #[serde(flatten)]
    pub asked: AccessRequest,
    /// What a review must name.
    pub digest: Digest,
    /// When it was asked, microseconds since 1970-01-01 UTC.
    pub time: i64,
    /// What became of it.
    pub state: Answered,
    /// Answers that count, in order.
    pub reviews: Vec<Review>,
    /// Somebody broke the glass and nobody has looked at it yet.
    pub needs_review: bool,
}

impl Request {
    /// The grant that it becomes or became.
    pub fn grant(&self) -> GrantId {
        self.asked.extends.unwrap_or_else(|| GrantId::from_bytes(*self.asked.id.as_bytes()))
    }

    /// Whether it waits for reviewers now.
    pub fn is_open(&self, now: i64) -> bool {
        self.needs_review || (self.state == Answered::Waiting && now < self.asked.expires)
    }

    /// Its state in a word.
    pub fn label(&self, now: i64) -> &'static str {
        match self.state {
            Answered::Waiting if now >= self.asked.expires => "expired",
            Answered::Waiting => "waiting",
            Answered::Granted if self.needs_review => "granted, to be reviewed",
            Answered::Granted => "granted",
            Answered::Denied => "denied",
            Answered::Withdrawn => "withdrawn",
        }
    }
}

/// An identity may use a resource in a role until a time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Grant {
    /// Its id.
    pub id: GrantId,
    /// The request that it answers.
    pub request: RequestId,
    /// Who: nobody else, whatever groups they share.
    pub identity: Identity,
    /// The registered database.
    pub resource: String,
    /// The role.
    pub role: String,
    /// Why it was asked for.
    pub reason: String,
    /// How it came about.
    pub kind: RequestKind,
    /// Groups whose members may review, revoke and extend it.
    pub reviewers: Vec<String>,
    /// How many must agree.
    pub approvals: u32,
    /// When it began, microseconds since 1970-01-01 UTC.
    pub from: i64,
    /// When it ends.
    pub until: i64,
    /// Subjects of those who approved, or the rule.
    pub by: Vec<String>,
    /// Who ended it before its time, and why.
    pub revoked: Option<(Identity, String)>,
    /// That its time is over stands in the record.
    #[serde(skip)]
    pub lapsed: bool,
}

impl Grant {
    /// Whether it is this identity's. The chain counts: an agent that acts for somebody has no grants of its own name's.
    pub fn is_of(&self, identity: &Identity) -> bool {
        self.identity.subject == identity.subject
            && self.identity.issuer == identity.issuer
            && self.identity.on_behalf_of == identity.on_behalf_of
    }

    /// Whether it holds now.
    pub fn is_live(&self, now: i64) -> bool {
        self.revoked.is_none() && now < self.until
    }

    /// Its state in a word.
    pub fn label(&self, now: i64) -> &'static str {
        match &self.revoked {
            Some(_) => "revoked",
            None if now >= self.until => "ended",
            None => "live",
        }
    }
}

impl State {
    pub(super) fn requested(&mut self, at: i64, asked: &AccessRequest) -> Result<Vec<Effect>, Refused> {
        if self.requests.contains_key(&asked.id) {
            return Err(Refused::Exists(asked.id.to_string()));
        }
        if self.is_disabled(&asked.requester).is_some() {
            return Err(Refused::Disabled(asked.requester.subject.clone()));
        }
        if asked.duration <= 0 || asked.approvals == 0 {
            return Err(Refused::Invalid("its duration or its number of approvals is not positive"));
        }
        if let Some(id) = asked.extends {
            let grant = self.grants.get(&id).ok_or_else(|| Refused::Unknown(id.to_string()))?;
            if !grant.is_of(&asked.requester) || grant.resource != asked.resource || grant.role != asked.role {
                return Err(Refused::NotHolder(grant.identity.subject.clone()));
            }
            if !grant.is_live(at) {
                return Err(Refused::Ended);
            }
        }
        if asked.kind == RequestKind::BreakGlass {
            self.glass_holds(asked)?;
        }
        let requests = &self.requests;
        let is_open = |id| requests.get(&id).is_some_and(|request| request.is_open(at));
        let (one, all) = (share::one(&asked.requester), share::all(&asked.requester));
        self.asked.admit(&one, &SHARE_OF_ONE, 0, is_open)?;
        self.asked.admit(&all, &SHARE_OF_ISSUER, 0, is_open)?;
        self.asked.enter(one, asked.id, 0, is_open);
        self.asked.enter(all, asked.id, 0, is_open);
        make_room(&mut self.requests, MAX_KEPT, |request| !request.is_open(at))?;
        let at_once = asked.kind != RequestKind::Reviewed;
        let mut request = Request {
            digest: asked.digest(),
            asked: asked.clone(),
            time: at,
            state: Answered::Waiting,
            reviews: Vec::new(),
            needs_review: asked.kind == RequestKind::BreakGlass,
        };
        let mut effects = Vec::new();
        if at_once {
            effects.push(self.grant_of(at, &request)?);
            request.state = Answered::Granted;
        }
        self.requests.insert(asked.id, Arc::new(request));
        Ok(effects)
    }

    /// Whoever broke the glass of a resource breaks it again only after somebody has looked at the first time.
    fn glass_holds(&self, asked: &AccessRequest) -> Result<(), Refused> {
        let who = &asked.requester;
        let is_one = |request: &&Arc<Request>| {
            let before = &request.asked;
            let same = before.requester.subject == who.subject && before.requester.issuer == who.issuer;
            request.needs_review && same && before.resource == asked.resource
        };
        let before = self.requests.values().find(is_one);
        before.map_or(Ok(()), |before| Err(Refused::Unreviewed(before.asked.id.to_string())))
    }

    /// Makes or prolongs the grant of a request that has all it needs.
    fn grant_of(&mut self, at: i64, request: &Request) -> Result<Effect, Refused> {
        let asked = &request.asked;
        let until = at.saturating_add(asked.duration);
        let standing = self.standing(&request.reviews);
        let mut by: Vec<String> = standing.iter().map(|review| review.reviewer.subject.clone()).collect();
        by.extend(asked.rule.iter().map(|rule| format!("rule {rule}")));
        if let Some(id) = asked.extends {
            let grant = self.grants.get_mut(&id).ok_or_else(|| Refused::Unknown(id.to_string()))?;
            if !grant.is_live(at) {
                return Err(Refused::Ended);
            }
            let grant = Arc::make_mut(grant);
            grant.until = grant.until.max(until);
            grant.by.extend(by);
            self.rights += 1;
            return Ok(Effect::Extended(id));
        }
        make_room(&mut self.grants, MAX_KEPT, |grant| !grant.is_live(at))?;
        let grant = Grant {
            id: request.grant(),
            request: asked.id,
            identity: asked.requester.clone(),
            resource: asked.resource.clone(),
            role: asked.role.clone(),
            reason: asked.reason.clone(),
            kind: asked.kind,
            reviewers: asked.reviewers.clone(),
            approvals: asked.approvals,
            from: at,
            until,
            by,
            revoked: None,
            lapsed: false,
        };
        let id = grant.id;
        self.grants.insert(id, Arc::new(grant));
        Ok(Effect::Granted(id))
    }

    pub(super) fn reviewed(&mut self, at: i64, id: RequestId, review: &Review) -> Result<Vec<Effect>, Refused> {
        let request = self.requests.get(&id).ok_or_else(|| Refused::Unknown(id.to_string()))?;
        // what was granted in an emergency stays to be reviewed, however late
        let expires = if request.needs_review { i64::MAX } else { request.asked.expires };
        let asked = Asked {
            requester: &request.asked.requester,
            reviewers: &request.asked.reviewers,
            digest: request.digest,
            expires,
            reviews: &request.reviews,
        };
        match request.state {
            Answered::Waiting => {}
            Answered::Granted if request.needs_review => {}
            Answered::Granted => return Err(Refused::Answered("granted")),
            Answered::Denied => return Err(Refused::Answered("denied")),
            Answered::Withdrawn => return Err(Refused::Answered("withdrawn")),
        }
        self.counts(at, &asked, review)?;
        let mut request = Request::clone(request);
        request.reviews.push(review.clone());
        let mut effects = Vec::new();
        if request.needs_review {
            request.needs_review = false;
            if !review.approved {
                request.state = Answered::Denied;
                effects.extend(self.end(request.grant(), &review.reviewer, &review.reason));
            }
        } else if !review.approved {
            request.state = Answered::Denied;
        } else if approvals(&self.standing(&request.reviews)) >= request.asked.approvals {
            effects.push(self.grant_of(at, &request)?);
            request.state = Answered::Granted;
        }
        self.requests.insert(id, Arc::new(request));
        Ok(effects)
    }

    pub(super) fn withdrawn(&mut self, id: RequestId, by: &Identity) -> Result<Vec<Effect>, Refused> {
        let request = self.requests.get_mut(&id).ok_or_else(|| Refused::Unknown(id.to_string()))?;
        if request.asked.requester.subject != by.subject || request.asked.requester.issuer != by.issuer {
            return Err(Refused::NotHolder(request.asked.requester.subject.clone()));
        }
        match request.state {
            // however late by the writer's clock: it takes something back
            Answered::Waiting => {
                Arc::make_mut(request).state = Answered::Withdrawn;
                Ok(Vec::new())
            }
            Answered::Granted => Err(Refused::Answered("granted")),
            Answered::Denied => Err(Refused::Answered("denied")),
            Answered::Withdrawn => Err(Refused::Answered("withdrawn")),
        }
    }

    /// Also of a grant whose time is over by the writer's clock: that clock may be fast, and for others the grant goes on.
    pub(super) fn revoked(&mut self, id: GrantId, by: &Identity, reason: &str) -> Result<Vec<Effect>, Refused> {
        let grant = self.grants.get(&id).ok_or_else(|| Refused::Unknown(id.to_string()))?;
        if grant.revoked.is_some() {
            return Err(Refused::Ended);
        }
        Ok(self.end(id, by, reason).into_iter().collect())
    }

    /// Nothing follows from it but its event: readers compare with their clock.
    pub(super) fn lapsed(&mut self, at: i64, id: GrantId) -> Result<Vec<Effect>, Refused> {
        let grant = self.grants.get_mut(&id).ok_or_else(|| Refused::Unknown(id.to_string()))?;
        if grant.revoked.is_some() || grant.lapsed {
            return Err(Refused::Ended);
        }
        if at < grant.until {
            return Err(Refused::Invalid("the grant has not ended"));
        }
        Arc::make_mut(grant).lapsed = true;
        Ok(vec![Effect::Ended(id)])
    }

    fn end(&mut self, id: GrantId, by: &Identity, reason: &str) -> Option<Effect> {
        let grant = self.grants.get_mut(&id).filter(|grant| grant.revoked.is_none())?;
        Arc::make_mut(grant).revoked = Some((by.clone(), reason.to_owned()));
        self.rights += 1;
        // of one that was over already that was told
        (!grant.lapsed).then_some(Effect::Ended(id))
    }

    pub(super) fn extended(&mut self, at: i64, id: GrantId, until: i64, by: &Identity) -> Result<Vec<Effect>, Refused> {
        let grant = self.grants.get(&id).ok_or_else(|| Refused::Unknown(id.to_string()))?;
        if !grant.is_live(at) {
            return Err(Refused::Ended);
        }
        if self.is_disabled(by).is_some() {
            return Err(Refused::Disabled(by.subject.clone()));
        }
        self.apart(&grant.identity, by)?;
        person(by)?;
        if !by.groups.iter().any(|group| grant.reviewers.contains(group)) {
            return Err(Refused::NotReviewer(grant.reviewers.join(", ")));
        }
        if grant.approvals > 1 {
            return Err(Refused::TooFew { given: 1, needed: grant.approvals });
        }
        if until <= grant.until {
            return Err(Refused::Invalid("the new end is not after the present one"));
        }
        if let Some(grant) = self.grants.get_mut(&id) {
            let grant = Arc::make_mut(grant);
            grant.until = until;
            grant.by.push(by.subject.clone());
        }
        self.rights += 1;
        Ok(vec![Effect::Extended(id)])
    }
}
