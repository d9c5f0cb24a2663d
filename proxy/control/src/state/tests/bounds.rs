//! What bounds the state, and what an approval, a broken glass and a revocation mean at their edges.

use super::*;

#[test]
fn what_is_shown_of_a_hold_goes_when_it_ends() {
    let mut fold = Fold::default();
    let text = "x".repeat(100_000);
    let ask = |number: u8| HoldAsk { shown: serde_json::json!({ "text": text }), ..hold(number) };
    let shows = |fold: &Fold, number: u8| {
        fold.state.hold(HoldId::from_bytes([number; 16])).unwrap().asked.shown["shortened"] != true
    };
    for number in 1..=6 {
        fold.put(Record::HoldAsked(Box::new(ask(number)))).unwrap();
        assert!(shows(&fold, number));
    }
    fold.review_hold(&ask(1), "ada", false).unwrap();
    fold.put(Record::HoldWithdrawn { hold: ask(2).id, reason: String::new() }).unwrap();
    fold.put(Record::HoldExpired { hold: ask(3).id, reason: String::new() }).unwrap();
    fold.review_hold(&ask(4), "ada", true).unwrap();
    fold.review_hold(&ask(5), "ada", true).unwrap();
    assert!(shows(&fold, 4), "what its gate is to release");
    fold.release(&ask(4)).unwrap();
    assert_eq!([1, 2, 3, 4, 5, 6].map(|number| shows(&fold, number)), [false, false, false, false, true, true]);
    // nobody said that these are over, and any later record does
    fold.now = 20 * MINUTE;
    fold.put(Record::AccessRequested(request(1))).unwrap();
    assert!(!shows(&fold, 5) && !shows(&fold, 6));
    assert_eq!((fold.state.shown_bytes, fold.state.showing.len()), (0, 0));
}

#[test]
fn nobody_can_have_all_of_what_is_bounded() {
    let mut fold = Fold::default();
    let id = |number: u32| {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&number.to_be_bytes());
        id
    };
    let ask = |number: u32, who: &str| AccessRequest {
        id: RequestId::from_bytes(id(number)),
        requester: identity(who, &["agents"]),
        ..request(0)
    };
    let put = |fold: &mut Fold, number, who: &str| fold.put(Record::AccessRequested(ask(number, who)));
    (0..50).for_each(|number| drop(put(&mut fold, number, "greedy").unwrap()));
    let share = |who: &str, limit| Err(Refused::Share { who: who.into(), limit });
    assert_eq!(put(&mut fold, 50, "greedy"), share("\"greedy\"", 50));
    put(&mut fold, 51, "bot").unwrap();
    fold.put(Record::AccessWithdrawn { request: ask(0, "greedy").id, by: identity("greedy", &[]) }).unwrap();
    put(&mut fold, 52, "greedy").unwrap();
    assert_eq!(put(&mut fold, 53, "greedy"), share("\"greedy\"", 50), "one has ended, one came");
    // all subjects of one issuer together, who may be one
    let mut number = 100;
    let refused = loop {
        number += 1;
        if let Err(refused) = put(&mut fold, number, &format!("sock-{}", number % 200)) {
            break refused;
        }
    };
    assert_eq!(
        refused,
        Refused::Share { who: "those of the issuer \"https://issuer.example\" together".into(), limit: 5000 }
    );
    let mut other = ask(number + 1, "else");
    other.requester.issuer = "https://other.example".into();
    fold.put(Record::AccessRequested(other)).unwrap();
    // held statements: by number, and by what they show
    let held = |number: u32, who: &str, bytes: usize| HoldAsk {
        id: HoldId::from_bytes(id(number)),
        requester: identity(who, &[]),
        shown: serde_json::json!("x".repeat(bytes)),
        ..hold(0)
    };
    (0..1000).for_each(|number| drop(fold.put(Record::HoldAsked(Box::new(held(number, "many", 1)))).unwrap()));
    assert_eq!(fold.put(Record::HoldAsked(Box::new(held(1000, "many", 1)))), share("\"many\"", 1000));
    let large = |number| held(number, "large", 16 << 20);
    (2000..2003).for_each(|number| drop(fold.put(Record::HoldAsked(Box::new(large(number)))).unwrap()));
    assert_eq!(fold.put(Record::HoldAsked(Box::new(large(2003)))), share("\"large\"", 1000));
    fold.put(Record::HoldWithdrawn { hold: large(2000).id, reason: String::new() }).unwrap();
    fold.put(Record::HoldAsked(Box::new(large(2004)))).unwrap();
}

#[test]
fn each_group_that_must_agree_does_by_people_of_its_own() {
    let needs = |list: &[(&str, u32)]| {
        list.iter().map(|(group, count)| crate::record::Needs { group: (*group).into(), count: *count }).collect()
    };
    let ask = HoldAsk {
        approvals: 3,
        reviewers: vec!["dba".into(), "owners".into()],
        needs: needs(&[("dba", 1), ("owners", 2)]),
        ..hold(1)
    };
    let agree = |fold: &mut Fold, who: &str, groups: &[&str]| {
        fold.put(Record::HoldReviewed { hold: ask.id, review: review(ask.digest, who, groups, true) })
    };
    let mut fold = Fold::default();
    fold.put(Record::HoldAsked(Box::new(ask.clone()))).unwrap();
    for who in ["ada", "bob", "cy", "dan"] {
        assert_eq!(agree(&mut fold, who, &["dba"]), Ok(vec![]), "as many as it needs, and of one group");
    }
    assert_eq!(agree(&mut fold, "eve", &["owners"]), Ok(vec![]));
    assert_eq!(agree(&mut fold, "fay", &["owners"]), Ok(vec![Effect::Approved(ask.id)]));
    // one who is in both groups is one person, wherever that helps
    let mut fold = Fold::default();
    fold.put(Record::HoldAsked(Box::new(ask.clone()))).unwrap();
    assert_eq!(agree(&mut fold, "ada", &["dba", "owners"]), Ok(vec![]));
    assert_eq!(agree(&mut fold, "bob", &["owners", "dba"]), Ok(vec![]));
    assert_eq!(agree(&mut fold, "cy", &["dba"]), Ok(vec![Effect::Approved(ask.id)]));
    let many = HoldAsk { needs: needs(&[("dba", 65)]), ..hold(2) };
    assert!(matches!(fold.put(Record::HoldAsked(Box::new(many))), Err(Refused::Invalid(_))));
}

#[test]
fn a_broken_glass_is_looked_at_before_it_is_broken_again() {
    let mut fold = Fold::default();
    let glass = |number| AccessRequest { kind: RequestKind::BreakGlass, ..request(number) };
    fold.put(Record::AccessRequested(glass(1))).unwrap();
    fold.now = 40 * MINUTE;
    assert_eq!(fold.put(Record::AccessRequested(glass(2))), Err(Refused::Unreviewed(glass(1).id.to_string())));
    let other = AccessRequest { resource: "other".into(), ..glass(3) };
    fold.put(Record::AccessRequested(other)).unwrap();
    fold.review(&glass(1), "ada", &["dba"], true).unwrap();
    fold.put(Record::AccessRequested(glass(2))).unwrap();
}

#[test]
fn a_killed_sessions_statement_is_not_released() {
    let mut fold = Fold::default();
    let ask = hold(1);
    fold.put(Record::HoldAsked(Box::new(ask.clone()))).unwrap();
    fold.review_hold(&ask, "ada", true).unwrap();
    let (session, by) = (ask.session, identity("root", &[]));
    fold.put(Record::SessionKilled { session, by, reason: "out".into() }).unwrap();
    assert_eq!(fold.release(&ask), Err(Refused::Killed));
    assert_eq!(fold.put(Record::HoldAsked(Box::new(hold(2)))), Err(Refused::Killed));
}

#[test]
fn an_actor_of_any_issuer_is_disabled_with_its_name() {
    let mut fold = Fold::default();
    let by = identity("root", &[]);
    let issuer = Some("https://other.example".to_owned());
    fold.put(Record::IdentityDisabled { subject: "agent".into(), issuer, by, reason: "left".into() }).unwrap();
    let mut acting = identity("ada", &[]);
    acting.on_behalf_of = vec!["tool".into(), "agent".into()];
    assert!(fold.state.is_disabled(&acting).is_some(), "a token does not say who vouches for an actor");
    assert!(fold.state.is_disabled(&identity("agent", &[])).is_none(), "itself at another issuer is somebody else");
    acting.on_behalf_of = vec!["agen".into(), "agents".into()];
    assert!(fold.state.is_disabled(&acting).is_none());
}
