//! What records make of the state: requests, reviews, grants, holds, revocations.

use super::*;
use crate::record::{AccessRequest, Digest, HoldAsk, Review};
use crate::testing::{identity, request};
use schemas::event::RequestKind;

mod bounds;
mod edges;

const MINUTE: i64 = 60_000_000;

/// A fold with a clock, and one writer.
#[derive(Default)]
struct Fold {
    state: State,
    now: i64,
    sequence: u64,
}

impl Fold {
    fn put(&mut self, record: Record) -> Result<Vec<Effect>, Refused> {
        self.sequence += 1;
        let stamp =
            Stamp { author: "a".into(), key: [1; 32], epoch: 1, sequence: self.sequence, time: self.now, seen: None };
        self.state.apply(&stamp, &record)
    }

    fn review(
        &mut self,
        request: &AccessRequest,
        who: &str,
        groups: &[&str],
        yes: bool,
    ) -> Result<Vec<Effect>, Refused> {
        let review = review(request.digest(), who, groups, yes);
        self.put(Record::AccessReviewed { request: request.id, review })
    }

    fn review_hold(&mut self, ask: &HoldAsk, who: &str, yes: bool) -> Result<Vec<Effect>, Refused> {
        self.put(Record::HoldReviewed { hold: ask.id, review: review(ask.digest, who, &["dba"], yes) })
    }

    fn release(&mut self, ask: &HoldAsk) -> Result<Vec<Effect>, Refused> {
        self.put(Record::HoldReleased { hold: ask.id, digest: ask.digest })
    }
}

fn review(digest: Digest, who: &str, groups: &[&str], approved: bool) -> Review {
    Review { digest, reviewer: identity(who, groups), approved, reason: "because".into(), exception: None }
}

fn hold(number: u8) -> HoldAsk {
    HoldAsk {
        id: HoldId::from_bytes([number; 16]),
        session: SessionId::from_bytes([9; 16]),
        statement: 1,
        requester: identity("bot", &["agents"]),
        resource: "shop".into(),
        role: "gate".into(),
        digest: Digest::of(b"delete from t"),
        policy_version: "0011".into(),
        reviewers: vec!["dba".into()],
        approvals: 1,
        needs: Vec::new(),
        expires: 15 * MINUTE,
        shown: serde_json::Value::Null,
        opened: None,
        cancel: None,
    }
}

#[test]
fn an_approved_request_is_a_grant_with_an_end() {
    let mut fold = Fold { now: MINUTE, ..Fold::default() };
    let asked = request(1);
    assert_eq!(fold.put(Record::AccessRequested(asked.clone())), Ok(vec![]));
    fold.now = 5 * MINUTE;
    let grant = GrantId::from_bytes([1; 16]);
    assert_eq!(fold.review(&asked, "ada", &["dba"], true), Ok(vec![Effect::Granted(grant)]));
    let bot = identity("bot", &[]);
    let live = |fold: &Fold, who: &Identity, resource: &str, now| fold.state.live_grants(who, resource, now).count();
    assert_eq!(live(&fold, &bot, "shop", 35 * MINUTE - 1), 1);
    assert_eq!(live(&fold, &bot, "shop", 35 * MINUTE), 0, "it ends by itself");
    assert_eq!(live(&fold, &bot, "other", 6 * MINUTE), 0, "of that resource only");
    assert_eq!(live(&fold, &identity("other-bot", &[]), "shop", 6 * MINUTE), 0, "for that identity only");
    let mut acting = bot.clone();
    acting.on_behalf_of = vec!["eve".into()];
    assert_eq!(live(&fold, &acting, "shop", 6 * MINUTE), 0, "not on behalf of others");
    assert_eq!(fold.review(&asked, "eve", &["dba"], true), Err(Refused::Answered("granted")));
}

#[test]
fn each_review_that_does_not_count_has_its_own_reason() {
    let mut fold = Fold::default();
    let mut asked = request(1);
    asked.approvals = 2;
    fold.put(Record::AccessRequested(asked.clone())).unwrap();
    assert_eq!(fold.put(Record::AccessRequested(asked.clone())), Err(Refused::Exists(asked.id.to_string())));
    assert_eq!(fold.review(&asked, "bot", &["dba"], true), Err(Refused::Requester));
    assert_eq!(fold.review(&asked, "ada", &["agents"], true), Err(Refused::NotReviewer("dba".into())));
    let other = request(7);
    let unknown = fold.review(&other, "ada", &["dba"], true);
    assert_eq!(unknown, Err(Refused::Unknown(other.id.to_string())));
    let record = Record::AccessReviewed { request: asked.id, review: review(other.digest(), "ada", &["dba"], true) };
    assert_eq!(fold.put(record), Err(Refused::OtherDigest));
    assert_eq!(fold.review(&asked, "ada", &["dba"], true), Ok(vec![]), "one of two");
    assert_eq!(fold.state.grants().count(), 0);
    assert_eq!(fold.review(&asked, "ada", &["dba"], true), Err(Refused::Twice("ada".into())));
    let by = identity("root", &[]);
    let disable = |subject: &str| Record::IdentityDisabled {
        subject: subject.into(),
        issuer: None,
        by: by.clone(),
        reason: "left".into(),
    };
    fold.put(disable("eve")).unwrap();
    assert_eq!(fold.review(&asked, "eve", &["dba"], true), Err(Refused::Disabled("eve".into())));
    fold.now = asked.expires;
    assert_eq!(fold.review(&asked, "bob", &["dba"], true), Err(Refused::Expired));
    assert_eq!(fold.state.request(asked.id).unwrap().label(fold.now), "expired");
    fold.now -= 1;
    assert_eq!(fold.review(&asked, "bob", &["dba"], true).unwrap().len(), 1, "the second of two");
}

#[test]
fn who_acts_for_the_requester_is_the_requester() {
    let mut fold = Fold::default();
    let mut asked = request(1);
    asked.requester.on_behalf_of = vec!["ada".into()];
    fold.put(Record::AccessRequested(asked.clone())).unwrap();
    assert_eq!(fold.review(&asked, "ada", &["dba"], true), Err(Refused::Requester));
    let mut agent = review(asked.digest(), "agent", &["dba"], true);
    agent.reviewer.on_behalf_of = vec!["ada".into()];
    let record = |review| Record::AccessReviewed { request: asked.id, review };
    assert_eq!(fold.put(record(agent.clone())), Err(Refused::Requester));
    agent.reviewer.on_behalf_of = vec!["bot".into()];
    assert_eq!(fold.put(record(agent)), Err(Refused::Requester));
}

#[test]
fn a_denied_or_withdrawn_request_stays_so() {
    let mut fold = Fold::default();
    let (denied, withdrawn) = (request(1), request(2));
    fold.put(Record::AccessRequested(denied.clone())).unwrap();
    fold.put(Record::AccessRequested(withdrawn.clone())).unwrap();
    assert_eq!(fold.review(&denied, "ada", &["dba"], false), Ok(vec![]));
    assert_eq!(fold.review(&denied, "bob", &["dba"], true), Err(Refused::Answered("denied")));
    let by = |who: &str| Record::AccessWithdrawn { request: withdrawn.id, by: identity(who, &[]) };
    assert_eq!(fold.put(by("eve")), Err(Refused::NotHolder("bot".into())));
    assert_eq!(fold.put(by("bot")), Ok(vec![]));
    assert_eq!(fold.review(&withdrawn, "ada", &["dba"], true), Err(Refused::Answered("withdrawn")));
    assert_eq!(fold.put(by("bot")), Err(Refused::Answered("withdrawn")));
}

#[test]
fn grants_are_extended_and_revoked() {
    let mut fold = Fold::default();
    let asked = request(1);
    fold.put(Record::AccessRequested(asked.clone())).unwrap();
    fold.review(&asked, "ada", &["dba"], true).unwrap();
    let grant = GrantId::from_bytes([1; 16]);
    let rights = fold.state.rights();
    fold.now = 10 * MINUTE;
    let more = AccessRequest { extends: Some(grant), ..request(2) };
    let stranger = AccessRequest { requester: identity("eve", &[]), extends: Some(grant), ..request(3) };
    assert_eq!(fold.put(Record::AccessRequested(stranger)), Err(Refused::NotHolder("bot".into())));
    fold.put(Record::AccessRequested(more.clone())).unwrap();
    assert_eq!(fold.review(&more, "bob", &["dba"], true), Ok(vec![Effect::Extended(grant)]));
    assert_eq!(fold.state.grant(grant).unwrap().until, 40 * MINUTE);
    let extend = |who: &str, groups: &[&str], until| Record::GrantExtended {
        grant,
        until,
        by: identity(who, groups),
        reason: String::new(),
    };
    assert_eq!(fold.put(extend("bot", &["dba"], 50 * MINUTE)), Err(Refused::Requester));
    assert_eq!(fold.put(extend("ada", &["x"], 50 * MINUTE)), Err(Refused::NotReviewer("dba".into())));
    assert!(matches!(fold.put(extend("ada", &["dba"], MINUTE)), Err(Refused::Invalid(_))));
    assert_eq!(fold.put(extend("ada", &["dba"], 50 * MINUTE)), Ok(vec![Effect::Extended(grant)]));
    assert_eq!(fold.state.rights(), rights + 2, "sessions learn of their new end");
    let revoke = || Record::GrantRevoked { grant, by: identity("ada", &[]), reason: "done".into() };
    assert_eq!(fold.put(revoke()), Ok(vec![Effect::Ended(grant)]));
    assert!(!fold.state.grant(grant).unwrap().is_live(fold.now));
    assert_eq!(fold.put(revoke()), Err(Refused::Ended));
    let late = AccessRequest { extends: Some(grant), ..request(4) };
    assert_eq!(fold.put(Record::AccessRequested(late)), Err(Refused::Ended));
}

#[test]
fn that_the_time_of_a_grant_is_over_is_told_once() {
    let mut fold = Fold::default();
    let asked = request(1);
    fold.put(Record::AccessRequested(asked.clone())).unwrap();
    fold.review(&asked, "ada", &["dba"], true).unwrap();
    let grant = GrantId::from_bytes([1; 16]);
    let lapsed = || Record::GrantLapsed { grant };
    fold.now = 29 * MINUTE;
    assert!(matches!(fold.put(lapsed()), Err(Refused::Invalid(_))));
    assert_eq!(fold.state.lapsing(fold.now).next(), None);
    fold.now = 30 * MINUTE;
    let rights = fold.state.rights();
    assert_eq!(fold.state.lapsing(fold.now).collect::<Vec<_>>(), [grant]);
    assert_eq!(fold.put(lapsed()), Ok(vec![Effect::Ended(grant)]));
    assert_eq!(fold.put(lapsed()), Err(Refused::Ended));
    assert_eq!((fold.state.lapsing(fold.now).next(), fold.state.rights()), (None, rights), "nothing follows from it");
    assert_eq!(fold.state.grant(grant).unwrap().label(fold.now), "ended");
    // one that was revoked has been told of
    let other = request(2);
    fold.put(Record::AccessRequested(other.clone())).unwrap();
    fold.review(&other, "ada", &["dba"], true).unwrap();
    let grant = GrantId::from_bytes([2; 16]);
    fold.put(Record::GrantRevoked { grant, by: identity("ada", &[]), reason: "done".into() }).unwrap();
    fold.now = 90 * MINUTE;
    assert_eq!(fold.state.lapsing(fold.now).next(), None);
    assert_eq!(fold.put(Record::GrantLapsed { grant }), Err(Refused::Ended));
}

#[test]
fn broken_glass_is_granted_at_once_and_reviewed_afterwards() {
    let mut fold = Fold::default();
    let asked = AccessRequest { kind: RequestKind::BreakGlass, ..request(1) };
    let grant = GrantId::from_bytes([1; 16]);
    assert_eq!(fold.put(Record::AccessRequested(asked.clone())), Ok(vec![Effect::Granted(grant)]));
    assert!(fold.state.request(asked.id).unwrap().is_open(i64::MAX - 1), "however late it is");
    assert_eq!(fold.review(&asked, "bot", &["dba"], true), Err(Refused::Requester));
    fold.now = 10 * MINUTE;
    assert_eq!(fold.review(&asked, "ada", &["dba"], false), Ok(vec![Effect::Ended(grant)]));
    assert!(!fold.state.grant(grant).unwrap().is_live(fold.now));
    let fine = AccessRequest { kind: RequestKind::BreakGlass, ..request(2) };
    fold.put(Record::AccessRequested(fine.clone())).unwrap();
    assert_eq!(fold.review(&fine, "ada", &["dba"], true), Ok(vec![]));
    assert_eq!(fold.review(&fine, "bob", &["dba"], true), Err(Refused::Answered("granted")));
    assert!(!fold.state.request(fine.id).unwrap().is_open(fold.now));
    let rule = AccessRequest { kind: RequestKind::Automatic, rule: Some("oncall".into()), ..request(3) };
    fold.put(Record::AccessRequested(rule.clone())).unwrap();
    assert_eq!(fold.state.grant(GrantId::from_bytes([3; 16])).unwrap().by, ["rule oncall"]);
    assert_eq!(fold.review(&rule, "ada", &["dba"], true), Err(Refused::Answered("granted")));
}

#[test]
fn an_approval_releases_one_statement_once() {
    let mut fold = Fold::default();
    let ask = HoldAsk { approvals: 2, ..hold(1) };
    assert_eq!(fold.put(Record::HoldAsked(Box::new(ask.clone()))), Ok(vec![]));
    assert_eq!(fold.release(&ask), Err(Refused::TooFew { given: 0, needed: 2 }));
    assert_eq!(fold.review_hold(&ask, "bot", true), Err(Refused::Requester));
    assert_eq!(fold.review_hold(&ask, "ada", true), Ok(vec![]));
    assert_eq!(fold.review_hold(&ask, "ada", true), Err(Refused::Twice("ada".into())));
    assert_eq!(fold.release(&ask), Err(Refused::TooFew { given: 1, needed: 2 }));
    let other = HoldAsk { digest: Digest::of(b"delete from t where true"), ..ask.clone() };
    assert_eq!(fold.review_hold(&other, "bob", true), Err(Refused::OtherDigest));
    assert_eq!(fold.review_hold(&ask, "bob", true), Ok(vec![Effect::Approved(ask.id)]));
    assert_eq!(fold.review_hold(&ask, "eve", true), Err(Refused::Answered("approved")));
    assert_eq!(fold.release(&other), Err(Refused::OtherDigest), "with another bind value");
    assert_eq!(fold.release(&ask), Ok(vec![]));
    assert_eq!(fold.release(&ask), Err(Refused::Released));
    assert_eq!(fold.review_hold(&ask, "eve", true), Err(Refused::Released));
    let ended = fold.put(Record::HoldWithdrawn { hold: ask.id, reason: String::new() });
    assert_eq!(ended, Err(Refused::Released));
}

#[test]
fn a_hold_that_ended_is_not_released() {
    let mut fold = Fold::default();
    let [denied, withdrawn, expired, late, disabled] = [1, 2, 3, 4, 5].map(hold);
    for ask in [&denied, &withdrawn, &expired, &late, &disabled] {
        fold.put(Record::HoldAsked(Box::new(ask.clone()))).unwrap();
    }
    fold.review_hold(&denied, "ada", false).unwrap();
    assert_eq!(fold.release(&denied), Err(Refused::Answered("denied")));
    fold.put(Record::HoldWithdrawn { hold: withdrawn.id, reason: "gone".into() }).unwrap();
    assert_eq!(fold.review_hold(&withdrawn, "ada", true), Err(Refused::Answered("withdrawn")));
    fold.put(Record::HoldExpired { hold: expired.id, reason: "policy changed".into() }).unwrap();
    assert_eq!(fold.review_hold(&expired, "ada", true), Err(Refused::Expired));
    assert_eq!(fold.release(&expired), Err(Refused::Expired));
    fold.review_hold(&late, "ada", true).unwrap();
    fold.review_hold(&disabled, "ada", true).unwrap();
    let by = identity("root", &[]);
    fold.put(Record::IdentityDisabled { subject: "bot".into(), issuer: None, by, reason: String::new() }).unwrap();
    assert_eq!(fold.release(&disabled), Err(Refused::Disabled("bot".into())));
    assert_eq!(fold.put(Record::HoldAsked(Box::new(hold(6)))), Err(Refused::Disabled("bot".into())));
    fold.now = 15 * MINUTE;
    assert_eq!(fold.release(&late), Err(Refused::Expired));
}

#[test]
fn the_disabled_are_out_until_they_are_enabled() {
    let mut fold = Fold::default();
    let by = identity("root", &[]);
    let (subject, reason) = ("ada".to_owned(), "left".to_owned());
    let disable = |issuer: Option<&str>| Record::IdentityDisabled {
        subject: subject.clone(),
        issuer: issuer.map(str::to_owned),
        by: by.clone(),
        reason: reason.clone(),
    };
    let enable = |issuer: Option<&str>| Record::IdentityEnabled {
        subject: subject.clone(),
        issuer: issuer.map(str::to_owned),
        by: by.clone(),
        reason: reason.clone(),
    };
    fold.put(disable(Some("https://other.example"))).unwrap();
    assert!(fold.state.is_disabled(&identity("ada", &[])).is_none(), "of another issuer");
    fold.put(disable(Some("https://issuer.example"))).unwrap();
    assert!(fold.state.is_disabled(&identity("ada", &[])).is_some());
    fold.put(enable(Some("https://issuer.example"))).unwrap();
    fold.put(disable(None)).unwrap();
    assert_eq!(fold.put(disable(None)), Err(Refused::Answered("disabled")));
    let mut agent = identity("agent", &[]);
    agent.on_behalf_of = vec!["ada".into()];
    assert!(fold.state.is_disabled(&agent).is_some(), "who acts for somebody disabled is");
    assert_eq!(
        fold.put(Record::AccessRequested(AccessRequest { requester: agent, ..request(1) })),
        Err(Refused::Disabled("agent".into()))
    );
    fold.put(enable(None)).unwrap();
    assert!(fold.state.is_disabled(&identity("ada", &[])).is_none());
    assert!(matches!(fold.put(enable(None)), Err(Refused::Unknown(_))));
    let session = SessionId::from_bytes([1; 16]);
    let kill = || Record::SessionKilled { session, by: by.clone(), reason: reason.clone() };
    fold.put(kill()).unwrap();
    assert!(fold.state.is_killed(session).is_some());
    assert_eq!(fold.put(kill()), Err(Refused::Answered("killed")));
}

#[test]
fn a_record_counts_once_and_in_its_writers_order() {
    let mut state = State::default();
    let kill = |number: u8| Record::SessionKilled {
        session: SessionId::from_bytes([number; 16]),
        by: identity("root", &[]),
        reason: String::new(),
    };
    let stamp =
        |key: u8, epoch, sequence| Stamp { author: "a".into(), key: [key; 32], epoch, sequence, time: 0, seen: None };
    assert!(state.apply(&stamp(1, 5, 1), &kill(1)).is_ok());
    assert_eq!(state.apply(&stamp(1, 5, 1), &kill(2)), Err(Refused::Replayed));
    assert!(state.apply(&stamp(1, 5, 3), &kill(3)).is_ok(), "one that was never written leaves a hole");
    assert_eq!(state.apply(&stamp(1, 5, 2), &kill(4)), Err(Refused::Replayed));
    assert!(state.apply(&stamp(1, 4, 1), &kill(5)).is_ok(), "two processes of one node");
    assert!(state.apply(&stamp(2, 5, 1), &kill(6)).is_ok(), "another node");
}

#[test]
fn what_has_ended_makes_room_and_nothing_else_does() {
    let mut map: Map<u8, Arc<bool>> = Map::default();
    [(1, false), (2, true), (3, true)].into_iter().for_each(|(k, v)| map.insert(k, Arc::new(v)));
    assert_eq!(make_room(&mut map, 4, |ended| *ended), Ok(()));
    assert_eq!(map.len(), 3);
    assert_eq!(make_room(&mut map, 3, |ended| *ended), Ok(()));
    assert_eq!(map.keys().copied().collect::<Vec<_>>(), [1, 3]);
    assert_eq!(make_room(&mut map, 1, |_| false), Err(Refused::Full { limit: 1 }));
}

/// Nobody answers through a person, and no program answers for people, unless the config names it.
#[test]
fn only_people_answer_and_extend() {
    let mut fold = Fold::default();
    let asked = request(1);
    fold.put(Record::AccessRequested(asked.clone())).unwrap();
    let ask = hold(1);
    fold.put(Record::HoldAsked(Box::new(ask.clone()))).unwrap();
    let mut through = identity("ada", &["dba"]);
    through.on_behalf_of = vec!["assistant".into()];
    let program = Identity { kind: schemas::IdentityKind::Machine, ..identity("risk-bot", &["dba"]) };
    let key = Identity { issuer: identity::api_key::ISSUER.to_owned(), ..identity("ada", &["dba"]) };
    for reviewer in [&through, &program, &key] {
        let answer = |digest, approved, exception| Review {
            digest,
            reviewer: reviewer.clone(),
            approved,
            reason: String::new(),
            exception,
        };
        for approved in [true, false] {
            let of_request = answer(asked.digest(), approved, None);
            let refused = fold.put(Record::AccessReviewed { request: asked.id, review: of_request });
            assert!(matches!(refused, Err(Refused::NotPerson(_))), "{reviewer:?}");
            let of_hold = answer(ask.digest, approved, None);
            let refused = fold.put(Record::HoldReviewed { hold: ask.id, review: of_hold });
            assert!(matches!(refused, Err(Refused::NotPerson(_))), "{reviewer:?}");
        }
    }
    let named = Review { exception: Some("named".into()), ..review(ask.digest, "risk-bot", &["dba"], true) };
    let named = Review { reviewer: program.clone(), ..named };
    assert_eq!(fold.put(Record::HoldReviewed { hold: ask.id, review: named }), Ok(vec![Effect::Approved(ask.id)]));
    let grant = GrantId::from_bytes([1; 16]);
    assert_eq!(fold.review(&asked, "ada", &["dba"], true), Ok(vec![Effect::Granted(grant)]));
    for by in [through, program, key] {
        let extended = Record::GrantExtended { grant, until: 90 * MINUTE, by, reason: "more".into() };
        assert!(matches!(fold.put(extended), Err(Refused::NotPerson(_))));
    }
}

#[test]
fn a_key_is_issued_by_a_person_and_revoked_once() {
    let mut fold = Fold { now: MINUTE, ..Fold::default() };
    let key = |id: &str, expires| {
        Box::new(crate::record::ApiKey {
            id: id.into(),
            sha256: Digest::of(b"secret"),
            subject: "legacy".into(),
            kind: schemas::IdentityKind::Machine,
            groups: vec!["agents".into()],
            resources: vec!["shop".into()],
            expires,
        })
    };
    let issue = |key, by: &Identity| Record::KeyIssued { key, by: by.clone(), reason: String::new() };
    let revoke = |id: &str| Record::KeyRevoked { key: id.into(), by: identity("root", &[]), reason: "leaked".into() };
    let root = identity("root", &["operators"]);
    let mut through = root.clone();
    through.on_behalf_of = vec!["assistant".into()];
    assert!(matches!(fold.put(issue(key("a", 5 * MINUTE), &through)), Err(Refused::NotPerson(_))));
    assert!(matches!(fold.put(issue(key("a", MINUTE), &root)), Err(Refused::Invalid(_))), "it has ended already");
    assert!(matches!(fold.put(issue(key("a", 400 * 1440 * MINUTE), &root)), Err(Refused::Invalid(_))));
    assert_eq!(fold.put(issue(key("a", 5 * MINUTE), &root)), Ok(vec![]));
    assert_eq!(fold.put(issue(key("a", 5 * MINUTE), &root)), Err(Refused::Exists("a".into())));
    assert!(fold.state.api_key("a").unwrap().is_good(4 * MINUTE));
    assert!(!fold.state.api_key("a").unwrap().is_good(5 * MINUTE));
    let rights = fold.state.rights();
    assert!(matches!(fold.put(revoke("b")), Err(Refused::Unknown(_))));
    assert_eq!(fold.put(revoke("a")), Ok(vec![]));
    assert!(!fold.state.api_key("a").unwrap().is_good(2 * MINUTE) && fold.state.rights() > rights);
    assert_eq!(fold.put(revoke("a")), Err(Refused::Answered("revoked")));
    let disabled =
        Record::IdentityDisabled { subject: "root".into(), issuer: None, by: root.clone(), reason: "".into() };
    fold.put(disabled).unwrap();
    assert_eq!(fold.put(issue(key("c", 5 * MINUTE), &root)), Err(Refused::Disabled("root".into())));
}

#[test]
fn of_a_large_hold_that_has_ended_the_beginning_is_kept() {
    let mut fold = Fold::default();
    let shown = serde_json::json!({"text": "x".repeat(20_000), "values": [], "reason": "why", "kinds": ["DELETE"]});
    for (number, end) in [(1, true), (2, false)] {
        let ask = HoldAsk { shown: shown.clone(), ..hold(number) };
        fold.put(Record::HoldAsked(Box::new(ask.clone()))).unwrap();
        assert_eq!(fold.state.hold(ask.id).unwrap().asked.shown, shown, "reviewers see all of it");
        fold.review_hold(&ask, "ada", end).unwrap();
        if end {
            assert_eq!(fold.state.hold(ask.id).unwrap().asked.shown, shown, "and its gate does");
            fold.release(&ask).unwrap();
        }
        let kept = &fold.state.hold(ask.id).unwrap().asked.shown;
        assert!(kept.to_string().len() < 2_000 && kept["shortened"] == true && kept["reason"] == "why", "{kept}");
    }
}

#[test]
fn what_is_sealed_for_others_is_readable_only_where_it_was_opened() {
    let (plain, sealed) = (hold(1), HoldAsk { shown: serde_json::json!({"kek": "a", "sealed": "b"}), ..hold(1) });
    let opened = HoldAsk { opened: Some(serde_json::json!({"text": "delete from t"})), ..sealed.clone() };
    assert_eq!([&plain, &sealed, &opened].map(HoldAsk::is_readable), [true, false, true]);
    assert_eq!((opened.shown()["text"].as_str(), sealed.shown()), (Some("delete from t"), &sealed.shown));
}
