//! Bytes and events are the same both ways, for ever.

use super::*;
use crate::event::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Writes the bytes that this version of the format makes, for `tests/compatibility.rs` to read for ever.
/// Run once for each new version: `POSTERN_WRITE_FORMAT=v6 cargo test -p schemas write_format`.
#[test]
fn write_format() {
    let Ok(version) = std::env::var("POSTERN_WRITE_FORMAT") else { return };
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(version);
    std::fs::create_dir_all(&folder).unwrap();
    for (sequence, body) in (0u64..).zip(one_of_each()) {
        let event = event(sequence, body);
        let mut bytes = Vec::new();
        encode(&event, &mut bytes).unwrap();
        std::fs::write(folder.join(format!("{}.avro", event.body.name())), bytes).unwrap();
        let text = serde_json::to_string_pretty(&event).unwrap();
        std::fs::write(folder.join(format!("{}.expected.json", event.body.name())), text).unwrap();
    }
    std::fs::write(folder.join("batch.bin"), crate::batch::tests::batch().encode().unwrap()).unwrap();
    std::fs::write(folder.join("event.avsc"), EVENT_SCHEMA_JSON.as_str()).unwrap();
}

fn identity() -> Identity {
    Identity {
        kind: IdentityKind::Machine,
        subject: "billing-bot".into(),
        issuer: "https://issuer.example".into(),
        name: "Billing bot".into(),
        groups: vec!["agents".into()],
        on_behalf_of: vec!["ada@example.com".into()],
        task: Some("task-17".into()),
    }
}

/// One of each variant, in the union's order.
pub(crate) fn one_of_each() -> Vec<Body> {
    vec![
        Body::SessionOpened(SessionOpened {
            identity: identity(),
            resource: "shop".into(),
            database: "shop_production".into(),
            role: "gate".into(),
            node: "gate-1".into(),
            peer: "127.0.0.1:50000".into(),
            tls: Some(Tls { version: "TLSv1.3".into(), cipher: "TLS13_AES_256_GCM_SHA384".into() }),
            parameters: BTreeMap::from([("application_name".into(), "psql".into())]),
            server_version: "15.18".into(),
            backend_pid: 4711,
            authentication: "oauthbearer".into(),
            credential: Some("token-4711".into()),
            expires: Some(1_700_000_900_000_000),
            grant: Some("grt_1".into()),
            roles: vec!["billing-read".into()],
        }),
        Body::SessionRefused(SessionRefused {
            node: "gate-1".into(),
            peer: "127.0.0.1:50001".into(),
            user: Some("agent".into()),
            resource: None,
            sqlstate: "28000".into(),
            reason: "the token has expired".into(),
            identity: Some(identity()),
        }),
        Body::Statement(Statement {
            number: 1,
            protocol: Protocol::Extended,
            index: 0,
            text: Payload::plain("select 1"),
            prepared: "s1".into(),
            portal: String::new(),
            parameters: Some(Payload::plain([0, 0])),
            tokens: Some(vec![format!("tok_{}", "c".repeat(32))]),
        }),
        Body::Verdict(Verdict {
            number: 1,
            verdict: VerdictKind::Mask,
            reason: String::new(),
            policies: vec!["builtin:masking".into()],
            policy_version: "0011223344556677".into(),
            kind: "SELECT".into(),
            read_only: true,
            opaque: false,
            relations: vec![Relation {
                name: "public.customers".into(),
                actions: vec!["select".into()],
                indirect: false,
            }],
            columns: vec![Column {
                name: "public.customers.card_number".into(),
                usage: Usage::Projected,
                masked: true,
                label: Some("pan".into()),
            }],
            functions: vec!["pg_catalog.lower".into()],
            fingerprint: "a".repeat(16),
            flags: vec!["tripwire:parsers_differ".into()],
            shape: Some("select ? from t where id = $1".into()),
        }),
        Body::Frames(Frames {
            direction: Direction::Server,
            offset: 42,
            frames: 2,
            payload: Payload::plain(vec![0, 255, 90]),
        }),
        Body::Held(Held {
            number: 2,
            request: "hld_1".into(),
            reviewers: vec!["dba".into()],
            expires: 99,
            digest: "0".repeat(64),
            approvals: 2,
        }),
        Body::Reviewed(Reviewed {
            number: 2,
            request: "req_1".into(),
            reviewer: Some(identity()),
            approved: true,
            reason: "looks right".into(),
        }),
        Body::Completed(Completed {
            number: 2,
            outcome: Outcome::Failed,
            tag: String::new(),
            rows: 0,
            bytes: 0,
            duration: 1200,
            sqlstate: Some("42P01".into()),
            found: vec![Found { detector: "pan".into(), column: "note".into(), values: 3 }],
        }),
        Body::Gap(Gap {
            node: "gate-1".into(),
            shard: Some(1),
            segment: "0000000000000000.log".into(),
            from: 10,
            to: 20,
            detail: "checksum".into(),
        }),
        Body::SessionClosed(SessionClosed {
            reason: CloseReason::ClientTerminated,
            detail: String::new(),
            statements: 2,
            denied: 0,
            rows: 1,
            bytes_in: 100,
            bytes_out: 200,
        }),
        Body::Access(Access {
            identity: identity(),
            node: "replay-1".into(),
            peer: "127.0.0.1:50002".into(),
            method: "GET".into(),
            path: "/api/v1/search".into(),
            query: Some("who read card_number".into()),
            status: 200,
        }),
    ]
    .into_iter()
    .chain(one_of_each_of_control())
    .collect()
}

fn one_of_each_of_control() -> Vec<Body> {
    let (request, grant, node, resource) =
        ("req_1".to_owned(), "grt_1".to_owned(), "gate-1".to_owned(), "shop".to_owned());
    let (role, reason) = ("billing-read".to_owned(), "ticket 4711".to_owned());
    vec![
        Body::AccessRequested(AccessRequested {
            request: request.clone(),
            requester: identity(),
            resource: resource.clone(),
            role: role.clone(),
            duration: 1_800_000_000,
            reason: reason.clone(),
            kind: RequestKind::BreakGlass,
            rule: Some("oncall".into()),
            extends: Some(grant.clone()),
            reviewers: vec!["dba".into()],
            approvals: 2,
            expires: 1_700_000_900_000_000,
            node: node.clone(),
        }),
        Body::AccessReviewed(AccessReviewed {
            request: request.clone(),
            reviewer: Some(identity()),
            approved: true,
            reason: reason.clone(),
            refused: Some("the requester may not answer".into()),
            node: node.clone(),
        }),
        Body::AccessGranted(AccessGranted {
            grant: grant.clone(),
            request: request.clone(),
            identity: identity(),
            resource: resource.clone(),
            role: role.clone(),
            from: 1,
            until: 2,
            by: vec!["ada".into()],
            extended: true,
            node: node.clone(),
        }),
        Body::AccessEnded(AccessEnded {
            grant: grant.clone(),
            identity: identity(),
            resource: resource.clone(),
            reason: reason.clone(),
            by: Some(identity()),
            node: node.clone(),
        }),
        Body::HoldEnded(HoldEnded {
            number: 2,
            request: "hld_1".into(),
            outcome: HoldOutcome::Refused,
            reason: reason.clone(),
            digest: "0".repeat(64),
        }),
        Body::Revoked(Revoked {
            kind: RevocationKind::Identity,
            target: "billing-bot".into(),
            issuer: Some("https://issuer.example".into()),
            restored: false,
            by: identity(),
            reason,
            node: node.clone(),
        }),
        Body::Alarm(Alarm { kind: AlarmKind::ForgedRecord, detail: "offset 7".into(), node: node.clone() }),
        Body::RoleLeased(RoleLeased {
            resource: resource.clone(),
            role: "postern_lease_1".into(),
            scope: "postern_scope_1".into(),
            until: Some(3),
            node: node.clone(),
        }),
        Body::RoleDropped(RoleDropped {
            resource,
            role: "postern_lease_1".into(),
            scope: "postern_scope_1".into(),
            outcome: RoleDrop::Dropped,
            detail: String::new(),
            node,
        }),
    ]
}

pub(crate) fn event(sequence: u64, body: Body) -> Event {
    Event { session: SessionId::from_bytes([7; 16]), sequence, time: 1_700_000_000_000_000, body }
}

#[test]
fn every_variant_returns_and_has_the_head_that_peek_reads() {
    for (variant, body) in (0u32..).zip(one_of_each()) {
        let event = event(u64::from(variant) + 300, body);
        let mut bytes = Vec::new();
        encode(&event, &mut bytes).unwrap();
        let head = peek(&bytes).unwrap();
        assert_eq!(head, Head { session: event.session, sequence: event.sequence, time: event.time, variant });
        let mut rest = bytes.as_slice();
        assert_eq!(decode(&mut rest).unwrap(), event);
        assert!(rest.is_empty());
    }
}

#[test]
fn the_schema_names_every_variant_in_order_and_documents_every_field() {
    let document: serde_json::Value = serde_json::from_str(&EVENT_SCHEMA_JSON).unwrap();
    let variants: Vec<&str> =
        document["fields"][3]["type"].as_array().unwrap().iter().map(|v| v["name"].as_str().unwrap()).collect();
    assert_eq!(variants, one_of_each().iter().map(Body::name).collect::<Vec<_>>());
    for source in SOURCES {
        let record: serde_json::Value = serde_json::from_str(source).unwrap();
        for field in record["fields"].as_array().unwrap() {
            assert!(field["doc"].as_str().unwrap().contains("Privacy: "), "{} {}", record["name"], field["name"]);
        }
    }
}

#[test]
fn borrowed_frames_are_written_as_owned_ones_are() {
    let Some(Body::Frames(frames)) = one_of_each().into_iter().nth(4) else { unreachable!() };
    let (mut owned, mut borrowed) = (Vec::new(), Vec::new());
    let event = event(5, Body::Frames(frames.clone()));
    encode(&event, &mut owned).unwrap();
    let body = FramesRef {
        direction: frames.direction,
        offset: frames.offset,
        frames: frames.frames,
        payload: (&frames.payload).into(),
    };
    let reference = FramesEventRef { session: event.session, sequence: event.sequence, time: event.time, body };
    encode_frames(&reference, &mut borrowed).unwrap();
    assert_eq!(owned, borrowed);
}

#[test]
fn json_keeps_every_event() {
    for body in one_of_each() {
        let event = event(1, body);
        let text = serde_json::to_string(&event).unwrap();
        assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event, "{text}");
    }
}

#[test]
fn a_block_that_expands_beyond_the_cap_is_refused() {
    let bomb = zstd::bulk::compress(&vec![0; MAX_BLOCK_BYTES + 1], 1).unwrap();
    assert!(matches!(decompress(&bomb), Err(Error::Zstd { .. })));
    assert!(matches!(compress(&vec![0; MAX_BLOCK_BYTES + 1]), Err(Error::TooLarge { .. })));
}

proptest! {
    #[test]
    fn damaged_events_are_refused_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let mut rest = bytes.as_slice();
        if decode(&mut rest).is_err() {
            prop_assert_eq!(rest.len(), bytes.len());
        }
        let decoded = decode(&mut bytes.as_slice()).is_ok();
        prop_assert!(!decoded || peek(&bytes).is_ok());
    }
}
