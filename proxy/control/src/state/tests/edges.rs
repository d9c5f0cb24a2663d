//! What counts though a clock is wrong, what no longer counts of somebody who is out, and who two people are.

use super::*;
use crate::record::ApiKey;

fn disabled(subject: &str) -> Record {
    let by = identity("root", &[]);
    Record::IdentityDisabled { subject: subject.into(), issuer: None, by, reason: "left".into() }
}

fn issued(id: &str, subject: &str, by: &str) -> Record {
    let key = ApiKey {
        id: id.into(),
        sha256: Digest::of(b"secret"),
        subject: subject.into(),
        kind: schemas::IdentityKind::Machine,
        groups: vec!["dba".into()],
        resources: Vec::new(),
        expires: 1440 * MINUTE,
    };
    Record::KeyIssued { key: Box::new(key), by: identity(by, &["operators"]), reason: String::new() }
}

/// Who comes by an API key of this subject.
fn by_key(subject: &str) -> Identity {
    let kind = schemas::IdentityKind::Machine;
    Identity { kind, issuer: identity::api_key::ISSUER.to_owned(), ..identity(subject, &["dba"]) }
}

fn excepted(digest: Digest, reviewer: Identity) -> Review {
    Review { reviewer, exception: Some("named".into()), ..review(digest, "", &[], true) }
}

#[test]
fn what_takes_a_right_away_counts_however_fast_its_writers_clock_is() {
    let mut fold = Fold::default();
    let (granted, lapsed, denied, withdrawn) = (request(1), request(2), request(3), request(4));
    for asked in [&granted, &lapsed, &denied, &withdrawn] {
        fold.put(Record::AccessRequested(asked.clone())).unwrap();
    }
    let held = hold(1);
    fold.put(Record::HoldAsked(Box::new(held.clone()))).unwrap();
    fold.review(&granted, "ada", &["dba"], true).unwrap();
    fold.review(&lapsed, "ada", &["dba"], true).unwrap();
    fold.now = 90 * MINUTE;
    let revoke = |request: &AccessRequest| Record::GrantRevoked {
        grant: GrantId::from_bytes(*request.id.as_bytes()),
        by: identity("ada", &[]),
        reason: "out".into(),
    };
    let grant = GrantId::from_bytes([1; 16]);
    assert_eq!(fold.put(revoke(&granted)), Ok(vec![Effect::Ended(grant)]));
    assert!(!fold.state.grant(grant).unwrap().is_live(MINUTE), "also by a clock that is right");
    assert_eq!(fold.put(revoke(&granted)), Err(Refused::Ended));
    fold.put(Record::GrantLapsed { grant: GrantId::from_bytes([2; 16]) }).unwrap();
    assert_eq!(fold.put(revoke(&lapsed)), Ok(vec![]), "its end was told");
    assert!(!fold.state.grant(GrantId::from_bytes([2; 16])).unwrap().is_live(MINUTE));

    assert_eq!(fold.review(&denied, "ada", &["dba"], true), Err(Refused::Expired));
    assert_eq!(fold.review(&denied, "ada", &["dba"], false), Ok(vec![]));
    assert_eq!(fold.review_hold(&held, "ada", true), Err(Refused::Expired));
    assert_eq!(fold.review_hold(&held, "ada", false), Ok(vec![]));
    fold.put(Record::AccessWithdrawn { request: withdrawn.id, by: identity("bot", &[]) }).unwrap();
    fold.now = MINUTE;
    assert_eq!(fold.review(&denied, "bob", &["dba"], true), Err(Refused::Answered("denied")));
    assert_eq!(fold.review_hold(&held, "bob", true), Err(Refused::Answered("denied")));
    assert_eq!(fold.review(&withdrawn, "bob", &["dba"], true), Err(Refused::Answered("withdrawn")));
}

#[test]
fn approvals_of_whom_has_been_disabled_since_do_not_count() {
    let mut fold = Fold::default();
    let asked = AccessRequest { approvals: 2, ..request(1) };
    fold.put(Record::AccessRequested(asked.clone())).unwrap();
    let [waiting, approved, needing] = [1, 2, 3].map(|number| HoldAsk { approvals: 2, ..hold(number) });
    let needing = HoldAsk { needs: vec![crate::record::Needs { group: "dba".into(), count: 2 }], ..needing };
    for ask in [&waiting, &approved, &needing] {
        fold.put(Record::HoldAsked(Box::new(ask.clone()))).unwrap();
        assert_eq!(fold.review_hold(ask, "ada", true), Ok(vec![]));
    }
    assert_eq!(fold.review(&asked, "ada", &["dba"], true), Ok(vec![]));
    assert_eq!(fold.review_hold(&approved, "bob", true), Ok(vec![Effect::Approved(approved.id)]));
    fold.put(disabled("ada")).unwrap();
    assert_eq!(fold.release(&approved), Err(Refused::TooFew { given: 1, needed: 2 }));
    for ask in [&waiting, &needing] {
        assert_eq!(fold.review_hold(ask, "bob", true), Ok(vec![]), "one of two");
        assert_eq!(fold.release(ask), Err(Refused::TooFew { given: 1, needed: 2 }));
        assert_eq!(fold.review_hold(ask, "eve", true), Ok(vec![Effect::Approved(ask.id)]));
        assert_eq!(fold.release(ask), Ok(vec![]));
    }
    assert_eq!(fold.review(&asked, "bob", &["dba"], true), Ok(vec![]), "one of two");
    let grant = GrantId::from_bytes([1; 16]);
    assert_eq!(fold.review(&asked, "eve", &["dba"], true), Ok(vec![Effect::Granted(grant)]));
    assert_eq!(fold.state.grant(grant).unwrap().by, ["bob", "eve"]);
    let (by, reason) = (identity("root", &[]), String::new());
    fold.put(Record::IdentityEnabled { subject: "ada".into(), issuer: None, by, reason }).unwrap();
    assert_eq!(fold.release(&approved), Ok(vec![]), "she is back, and so is her word");
}

#[test]
fn what_a_revoked_key_approved_is_taken_back_and_nothing_of_others() {
    let mut fold = Fold::default();
    fold.put(issued("k1", "risk-bot", "root")).unwrap();
    fold.put(issued("k2", "other-bot", "root")).unwrap();
    let (asked, waiting, approved) = (AccessRequest { approvals: 3, ..request(1) }, hold(1), hold(2));
    let waiting = HoldAsk { approvals: 2, ..waiting };
    fold.put(Record::AccessRequested(asked.clone())).unwrap();
    let by_bot =
        |hold: &HoldAsk| Record::HoldReviewed { hold: hold.id, review: excepted(hold.digest, by_key("risk-bot")) };
    for ask in [&waiting, &approved] {
        fold.put(Record::HoldAsked(Box::new(ask.clone()))).unwrap();
        fold.put(by_bot(ask)).unwrap();
    }
    for bot in ["risk-bot", "other-bot"] {
        let review = excepted(asked.digest(), by_key(bot));
        fold.put(Record::AccessReviewed { request: asked.id, review }).unwrap();
    }
    // a person of the same name is somebody else's word
    fold.review(&asked, "ada", &["dba"], true).unwrap();
    assert_eq!(fold.state.grants().count(), 1);
    let more = AccessRequest { approvals: 2, ..request(2) };
    fold.put(Record::AccessRequested(more.clone())).unwrap();
    let review = |bot| excepted(more.digest(), by_key(bot));
    fold.put(Record::AccessReviewed { request: more.id, review: review("risk-bot") }).unwrap();
    let revoke = Record::KeyRevoked { key: "k1".into(), by: identity("root", &[]), reason: "leaked".into() };
    fold.put(revoke).unwrap();
    assert_eq!(fold.release(&approved), Err(Refused::TooFew { given: 0, needed: 1 }));
    assert_eq!(fold.review_hold(&waiting, "ada", true), Ok(vec![]), "one of two");
    assert_eq!(
        fold.put(by_bot(&waiting)),
        Ok(vec![Effect::Approved(waiting.id)]),
        "by another key of the same program"
    );
    fold.put(Record::AccessReviewed { request: more.id, review: review("other-bot") }).unwrap();
    let live = |request| fold.state.grant(GrantId::from_bytes([request; 16])).is_some();
    assert_eq!((live(1), live(2)), (true, false), "what was granted is, and the rest needs another answer");
}

#[test]
fn nobody_answers_what_their_own_api_key_asks() {
    let mut fold = Fold::default();
    fold.put(issued("k1", "legacy", "ada")).unwrap();
    fold.put(issued("k2", "risk-bot", "ada")).unwrap();
    let asked = AccessRequest { requester: by_key("legacy"), ..request(1) };
    fold.put(Record::AccessRequested(asked.clone())).unwrap();
    for approved in [true, false] {
        assert_eq!(fold.review(&asked, "ada", &["dba"], approved), Err(Refused::KeyIssuer));
    }
    let ask = HoldAsk { requester: by_key("legacy"), ..hold(1) };
    fold.put(Record::HoldAsked(Box::new(ask.clone()))).unwrap();
    assert_eq!(fold.review_hold(&ask, "ada", true), Err(Refused::KeyIssuer));
    let revoke = Record::KeyRevoked { key: "k1".into(), by: identity("ada", &[]), reason: "done".into() };
    fold.put(revoke).unwrap();
    assert_eq!(fold.review_hold(&ask, "ada", true), Err(Refused::KeyIssuer), "it was asked while she had the key");
    assert_eq!(fold.review_hold(&ask, "bob", true), Ok(vec![Effect::Approved(ask.id)]));
    let grant = GrantId::from_bytes([1; 16]);
    assert_eq!(fold.review(&asked, "bob", &["dba"], true), Ok(vec![Effect::Granted(grant)]));
    let by = identity("ada", &["dba"]);
    let extended = Record::GrantExtended { grant, until: 90 * MINUTE, by, reason: "more".into() };
    assert_eq!(fold.put(extended), Err(Refused::KeyIssuer));
    // nor does the program answer for who holds its key
    let own = AccessRequest { requester: identity("ada", &[]), ..request(2) };
    fold.put(Record::AccessRequested(own.clone())).unwrap();
    let review = excepted(own.digest(), by_key("risk-bot"));
    assert_eq!(fold.put(Record::AccessReviewed { request: own.id, review }), Err(Refused::KeyIssuer));
    // a person of the key's name at another issuer is nobody's key
    let person = AccessRequest { requester: identity("legacy", &[]), ..request(3) };
    fold.put(Record::AccessRequested(person.clone())).unwrap();
    assert_eq!(fold.review(&person, "ada", &["dba"], true).unwrap().len(), 1);
}

#[test]
fn a_wrong_clock_ends_nothing_of_others_and_nobody_approves_what_is_not_shown() {
    let mut fold = Fold::default();
    let shown = serde_json::json!({"text": "x".repeat(20_000), "reason": "why", "kinds": ["DELETE"]});
    let [approved, denied] = [1, 2].map(|number| HoldAsk { shown: shown.clone(), ..hold(number) });
    for ask in [&approved, &denied] {
        fold.put(Record::HoldAsked(Box::new(ask.clone()))).unwrap();
    }
    let fast = Stamp { author: "b".into(), key: [2; 32], epoch: 1, sequence: 1, time: 9_000 * MINUTE, seen: None };
    fold.state.apply_untimely(&fast, &disabled("eve")).unwrap();
    assert_eq!(fold.state.apply_untimely(&fast, &disabled("eve")), Err(Refused::Replayed));
    assert!(fold.state.is_disabled(&identity("eve", &[])).is_some());
    assert_eq!(fold.state.hold(approved.id).unwrap().asked.shown, shown);
    let late = Stamp { sequence: 2, time: 17 * MINUTE, ..fast };
    fold.state.apply(&late, &disabled("dan")).unwrap();
    assert_eq!(fold.state.hold(approved.id).unwrap().asked.shown["shortened"], true);
    assert_eq!(fold.review_hold(&approved, "ada", true), Err(Refused::Shortened), "by a clock that is slow");
    assert_eq!(fold.review_hold(&denied, "ada", false), Ok(vec![]));
}

#[test]
fn there_is_always_room_for_one_more_who_is_out() {
    let mut fold = Fold::default();
    for number in 0..=MAX_KEPT {
        fold.put(disabled(&format!("bot-{number}"))).unwrap();
    }
    assert_eq!(fold.state.disabled_of(), (MAX_KEPT + 1, 1_000_000));
}

#[test]
fn the_identities_of_one_issuer_cannot_hold_all_that_can_be_held() {
    let mut fold = Fold::default();
    let ask = |number: u16, issuer: &str, bytes: usize| {
        let mut id = [0; 16];
        id[..2].copy_from_slice(&number.to_be_bytes());
        let requester = identity(&format!("bot-{}", number % 100), &[]);
        HoldAsk {
            id: HoldId::from_bytes(id),
            requester: Identity { issuer: issuer.to_owned(), ..requester },
            shown: serde_json::json!("x".repeat(bytes)),
            ..hold(0)
        }
    };
    let mut put = |number, issuer: &str, bytes| fold.put(Record::HoldAsked(Box::new(ask(number, issuer, bytes))));
    (0..5000).for_each(|number| drop(put(number, "https://one.example", 1).unwrap()));
    let share = |issuer: &str| Refused::Share { who: format!("those of the issuer {issuer:?} together"), limit: 5000 };
    assert_eq!(put(5000, "https://one.example", 1), Err(share("https://one.example")));
    (6000..6007).for_each(|number| drop(put(number, "https://two.example", 16 << 20).unwrap()));
    assert_eq!(put(6007, "https://two.example", 16 << 20), Err(share("https://two.example")), "by what they show");
    assert_eq!(put(6008, "https://three.example", 16 << 20), Ok(vec![]), "there is room for others");
}
