//! The verifier with the development issuer: no network is needed.

use super::*;
use crate::{
    config::{DevelopmentFile, File},
    development::{Issuer, Request},
};
use proptest::prelude::*;
use schemas::IdentityKind;
use std::path::Path;

fn verifier(folder: &Path, clock: &Clock) -> Verifier {
    let development_issuer = DevelopmentFile { enabled: true, ..DevelopmentFile::default() };
    let config = File { development_issuer, ..File::default() }.check(folder).unwrap();
    Verifier::with_clock(config, clock.clone()).unwrap()
}

fn verify(verifier: &Verifier, token: &str) -> Result<Verified, Rejection> {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(verifier.verify(token))
}

fn request(actors: &[String]) -> Request<'_> {
    Request {
        subject: "ada",
        kind: IdentityKind::Human,
        groups: &[],
        audience: "postern",
        actors,
        task: Some("task-1"),
        lifetime: Duration::from_secs(60),
    }
}

#[test]
fn a_development_token_says_who_and_until_when() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::fixed(1_700_000_000_000_000);
    let (verifier, issuer) =
        (verifier(folder.path(), &clock), Issuer::with_clock(folder.path(), clock.clone()).unwrap());
    let actors = ["bot".to_owned(), "planner".to_owned()];
    let groups = ["analysts".to_owned()];
    let token = issuer.mint(&Request { groups: &groups, ..request(&actors) }).unwrap();
    for time in 0..2 {
        let verified = verify(&verifier, token.expose()).unwrap();
        assert_eq!(verified.expires, 1_700_000_060);
        let identity = verified.identity;
        assert_eq!(
            (identity.kind, identity.subject.as_str(), identity.name.as_str()),
            (IdentityKind::Human, "ada", "ada")
        );
        assert_eq!((identity.groups, identity.on_behalf_of), (groups.to_vec(), actors.to_vec()));
        assert_eq!(identity.task.as_deref(), Some("task-1"));
        assert_eq!(verifier.cached(), 1, "{time}");
    }
    // the cache does not outlive the token
    clock.advance(Duration::from_secs(60 + 30));
    assert_eq!(verify(&verifier, token.expose()).unwrap_err().kind(), Kind::Expired);
}

#[test]
fn a_token_before_its_time_is_refused_even_if_it_is_cached() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), Clock::fixed(1_700_000_000_000_000));
    let verifier = verifier(folder.path(), &clock);
    let later = Clock::fixed(1_700_000_020_000_000);
    let token = Issuer::with_clock(folder.path(), later).unwrap().mint(&request(&[])).unwrap();
    assert!(verify(&verifier, token.expose()).is_ok());
    let much_later = Clock::fixed(1_700_000_031_000_000);
    let token = Issuer::with_clock(folder.path(), much_later).unwrap().mint(&request(&[])).unwrap();
    assert_eq!(verify(&verifier, token.expose()).unwrap_err().kind(), Kind::NotYetValid);
    clock.advance(Duration::from_secs(1));
    assert!(verify(&verifier, token.expose()).is_ok());
}

#[test]
fn another_folders_issuer_and_a_disabled_one_are_not_accepted() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let clock = Clock::system();
    let token = Issuer::open_or_create(theirs.path()).unwrap().mint(&request(&[])).unwrap();
    assert_eq!(verify(&verifier(ours.path(), &clock), token.expose()).unwrap_err().kind(), Kind::UnknownKey);
    let nobody = Verifier::new(Config::default()).unwrap();
    let rejection = verify(&nobody, token.expose()).unwrap_err();
    assert_eq!(rejection.kind(), Kind::Issuer);
    assert!(rejection.to_string().contains("none is configured"));
}

#[test]
fn the_cache_has_a_limit() {
    let entry = |until| Entry {
        key: [0; 32],
        verified: Verified {
            identity: Identity {
                kind: IdentityKind::Machine,
                subject: String::new(),
                issuer: String::new(),
                name: String::new(),
                groups: Vec::new(),
                on_behalf_of: Vec::new(),
                task: None,
            },
            expires: until,
            method: Method::Token,
            credential: None,
            resources: None,
            token_issuer: String::new(),
            may_act: None,
            watch: Watched::Elsewhere,
        },
        valid: (0, until),
    };
    let cache = Cache::default();
    let name = |n: u32| crate::cache::name(&n.to_string());
    for n in 0..20_000 {
        cache.keep(name(n), entry(if n % 2 == 0 { 5 } else { 50 }), 10);
        assert!(cache.len() <= 8192);
    }
    assert!(cache.find(&name(19_999), 10).is_some());
    assert!(cache.find(&name(19_999), 50).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_text_is_a_token_and_none_panics(text in prop_oneof![
        any::<String>(),
        "[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,40}",
        "[eyJ.A]{0,60}",
    ]) {
        let folder = tempfile::tempdir().unwrap();
        prop_assert!(verify(&verifier(folder.path(), &Clock::system()), &text).is_err());
    }

    #[test]
    fn any_json_in_its_parts_is_refused(header in json(), claims in json(), signature in any::<Vec<u8>>()) {
        use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
        let token = format!("{}.{}.{}", BASE64.encode(header), BASE64.encode(claims), BASE64.encode(signature));
        let folder = tempfile::tempdir().unwrap();
        prop_assert!(verify(&verifier(folder.path(), &Clock::system()), &token).is_err());
    }

    #[test]
    fn a_changed_token_is_refused(at in any::<prop::sample::Index>(), by in 1_u8..64) {
        const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let folder = tempfile::tempdir().unwrap();
        let token = Issuer::open_or_create(folder.path()).unwrap().mint(&request(&[])).unwrap();
        let mut bytes = token.expose().clone().into_bytes();
        let at = at.index(bytes.len());
        if let Some(place) = LETTERS.iter().position(|letter| *letter == bytes[at]) {
            bytes[at] = LETTERS[(place + usize::from(by)) % 64];
            let changed = String::from_utf8(bytes).unwrap();
            prop_assert!(verify(&verifier(folder.path(), &Clock::system()), &changed).is_err(), "{}", changed);
        }
    }
}

fn json() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        Just(r#"{"alg":"EdDSA"}"#.to_owned()),
        Just(r#"{"alg":"EdDSA","kid":"x"}"#.to_owned()),
        Just(r#"{"iss":"urn:postern:development","exp":1e400}"#.to_owned()),
        Just(r#"{"iss":"urn:postern:development","exp":9999999999,"sub":"a","aud":"postern"}"#.to_owned()),
        Just("[".repeat(5000)),
    ]
}
