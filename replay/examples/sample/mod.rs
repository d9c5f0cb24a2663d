//! Sessions as an archive would give them, hostile ones among them: for the demonstration and for tests.

use replay::memory::{Doorman, Oracle, Shelf};
use replay::reconstruct::*;
use replay::search::{Found, Hit, Who};
use schemas::event::{self, Direction, IdentityKind, Outcome as Ending, Payload, Protocol, Usage, VerdictKind};
use schemas::{Body, Event, Identity, SessionId};

pub const AUDITOR: &str = "demo-token-of-an-auditor";
pub const STRANGER: &str = "demo-token-of-somebody-else";
pub const HOSTILE: &str = r#"<img src=x onerror="window.pwned=1"><script>window.pwned=1</script>"#;
const OPENED: i64 = 1_795_228_800_000_000;

/// The id of a session: 1 work, 2 hostile, 3 open, 4 refused.
pub fn id(number: u8) -> SessionId {
    format!("ses_01935a00000070008000{number:012x}").parse().unwrap()
}

pub fn identity(name: &str, groups: &[&str]) -> Identity {
    Identity {
        kind: IdentityKind::Machine,
        subject: name.to_owned(),
        issuer: "https://idp.example".to_owned(),
        name: name.to_owned(),
        groups: groups.iter().map(|&g| g.to_owned()).collect(),
        on_behalf_of: vec![],
        task: None,
    }
}

fn session(number: u8, name: &str, resource: &str, status: Status) -> Session {
    let opened = OPENED - i64::from(number) * 3_600_000_000;
    let over = status != Status::Open;
    Session {
        id: id(number),
        status,
        identity: Some(identity(name, &["agents", "billing"])),
        resource: Some(resource.to_owned()),
        database: Some("shop".to_owned()),
        role: Some("postern_l_7f3a".to_owned()),
        node: Some("gate-1".to_owned()),
        peer: Some("10.0.4.17:51422".to_owned()),
        application: Some("psql".to_owned()),
        opened,
        closed: over.then_some(opened + 12_400_000),
        reason: (status == Status::Closed).then_some(event::CloseReason::ClientTerminated),
        detail: (status == Status::Refused).then(|| "the token expired 4 minutes ago".to_owned()),
        sqlstate: (status == Status::Refused).then(|| "28000".to_owned()),
        statements: if status == Status::Refused { 0 } else { 6 },
        denied: u64::from(number == 1),
        rows: 9,
        bytes_in: over.then_some(812),
        bytes_out: over.then_some(5_310),
        faults: vec![],
    }
}

fn decision(verdict: VerdictKind, kind: &str, relations: &[&str], columns: &[(&str, Usage, bool)]) -> Decision {
    Decision {
        verdict,
        reason: String::new(),
        policies: vec!["built-in:masking".to_owned()],
        policy_version: "9f2c41d07be8a365".to_owned(),
        kind: kind.to_owned(),
        read_only: kind == "SELECT",
        opaque: false,
        relations: relations.iter().map(|&r| r.to_owned()).collect(),
        columns: columns
            .iter()
            .map(|&(name, usage, masked)| ColumnUse { name: name.to_owned(), usage: Some(usage), masked })
            .collect(),
        functions: vec![],
        flags: vec![],
    }
}

struct Draft(StatementStep);

fn draft(session: &Session, number: u64, offset_us: i64, text: &str) -> Draft {
    let time = session.opened + offset_us;
    let stm = session.id.to_string().replace("ses_", "stm_");
    Draft(StatementStep {
        id: format!("{stm}_{number}"),
        number,
        time,
        offset_us,
        protocol: Protocol::Simple,
        text: text.to_owned(),
        prepared: String::new(),
        portal: String::new(),
        parameters: vec![],
        decision: None,
        hold: None,
        outcome: None,
        answers: vec![],
        messages: vec![],
    })
}

impl Draft {
    fn decided(mut self, decision: Decision) -> Self {
        self.0.decision = Some(decision);
        self
    }

    fn ended(mut self, outcome: Ending, tag: &str, rows: u64, duration_us: u64, sqlstate: Option<&str>) -> Self {
        let sqlstate = sqlstate.map(str::to_owned);
        self.0.outcome = Some(Outcome {
            outcome,
            tag: tag.to_owned(),
            rows,
            bytes: rows * 90,
            duration_us,
            sqlstate,
            found: vec![],
        });
        self
    }

    fn answered(mut self, columns: &[(&str, bool)], rows: &[&[&str]], total: u64) -> Self {
        let value = |text: &&str| if *text == "NULL" { Value::Null } else { Value::Text((*text).to_owned()) };
        self.0.answers.push(Answer {
            columns: columns.iter().map(|&(name, masked)| AnswerColumn { name: name.to_owned(), masked }).collect(),
            rows: rows.iter().map(|row| row.iter().map(value).collect()).collect(),
            total,
            left_out: 0,
        });
        self
    }

    fn said(mut self, severity: &str, sqlstate: &str, message: &str, hint: Option<&str>) -> Self {
        self.0.messages.push(Message {
            severity: severity.to_owned(),
            sqlstate: sqlstate.to_owned(),
            message: message.to_owned(),
            detail: None,
            hint: hint.map(str::to_owned),
        });
        self
    }

    fn step(self) -> Step {
        Step::Statement(Box::new(self.0))
    }
}

fn work() -> Timeline {
    let session = session(1, "billing-bot", "shop", Status::Closed);
    let customers = ["public.customers"];
    let card = [
        ("public.customers.id", Usage::Projected, false),
        ("public.customers.name", Usage::Projected, false),
        ("public.customers.card_number", Usage::Projected, true),
        ("public.customers.created_at", Usage::Filtered, false),
    ];
    let mut parameterized = draft(&session, 2, 1_900_000, "INSERT INTO payments (customer_id, amount) VALUES ($1, $2)")
        .decided(decision(
            VerdictKind::Allow,
            "INSERT",
            &["public.payments"],
            &[("public.payments.amount", Usage::Written, false)],
        ))
        .ended(Ending::Succeeded, "INSERT 0 1", 1, 2_240, None);
    parameterized.0.protocol = Protocol::Extended;
    parameterized.0.parameters = vec![Value::Text("2".to_owned()), Value::Null];
    let mut held = draft(&session, 5, 9_100_000, "DELETE FROM payments WHERE created_at < now() - interval '7 years'")
        .decided(decision(
            VerdictKind::Hold,
            "DELETE",
            &["public.payments"],
            &[("public.payments.created_at", Usage::Filtered, false)],
        ))
        .ended(Ending::Succeeded, "DELETE 41", 0, 2_100_000, None);
    held.0.hold = Some(Hold {
        request: "req_01935a0000007000800000000000abcd".to_owned(),
        reviewers: vec!["data-owners".to_owned()],
        expires: session.opened + 900_000_000,
        reviewer: Some("maria".to_owned()),
        approved: Some(true),
        reason: "agreed in the retention review".to_owned(),
    });
    let mut denial = decision(VerdictKind::Deny, "DROP TABLE", &customers, &[]);
    denial.reason = "DROP is not permitted to billing-bot on shop".to_owned();
    let steps = vec![
        draft(
            &session,
            1,
            180_000,
            "SELECT id, name, card_number\n  FROM customers\n WHERE created_at > '2026-01-01'\n ORDER BY id LIMIT 3",
        )
        .decided(decision(VerdictKind::Mask, "SELECT", &customers, &card))
        .ended(Ending::Succeeded, "SELECT 3", 3, 4_180, None)
        .answered(
            &[("id", false), ("name", false), ("card_number", true)],
            &[
                &["1", "Ada Lovelace", "************4242"],
                &["2", "Grace Hopper", "************1881"],
                &["3", "Katherine Johnson", "NULL"],
            ],
            3,
        )
        .step(),
        parameterized.step(),
        draft(&session, 3, 4_400_000, "DROP TABLE customers")
            .decided(denial)
            .ended(Ending::Denied, "", 0, 310, Some("42501"))
            .said(
                "ERROR",
                "42501",
                "DROP is not permitted to billing-bot on shop",
                Some("Ask for access: postern request create --statement stm_…_3"),
            )
            .step(),
        draft(&session, 4, 6_000_000, "SELECT 1/0")
            .decided(decision(VerdictKind::Allow, "SELECT", &[], &[]))
            .ended(Ending::Failed, "", 0, 640, Some("22012"))
            .said("ERROR", "22012", "division by zero", None)
            .step(),
        held.step(),
        draft(&session, 6, 12_000_000, "VACUUM payments")
            .decided(decision(VerdictKind::Allow, "VACUUM", &["public.payments"], &[]))
            .ended(Ending::Succeeded, "VACUUM", 0, 18_300, None)
            .said("NOTICE", "00000", "41 dead row versions removed", None)
            .step(),
    ];
    Timeline { session, steps, notes: vec![] }
}

fn hostile() -> Timeline {
    let mut session = session(2, HOSTILE, HOSTILE, Status::Closed);
    session.application = Some(HOSTILE.to_owned());
    session.detail = Some(HOSTILE.to_owned());
    let mut decided = decision(VerdictKind::Mask, HOSTILE, &[HOSTILE], &[(HOSTILE, Usage::Projected, true)]);
    decided.flags = vec![HOSTILE.to_owned()];
    decided.functions = vec![HOSTILE.to_owned()];
    decided.reason = HOSTILE.to_owned();
    let wide = "x".repeat(4_000);
    let steps = vec![
        draft(&session, 1, 100, &format!("SELECT '{HOSTILE}' -- \u{202e}\u{2066}javascript:alert(1)\n{wide}"))
            .decided(decided)
            .ended(Ending::Failed, HOSTILE, 2, 900, Some(HOSTILE))
            .answered(
                &[(HOSTILE, true), ("__proto__", false)],
                &[&[HOSTILE, "constructor"], &[&wide, "\u{0}\u{7}\u{1b}[31m"]],
                70_000,
            )
            .said(HOSTILE, HOSTILE, HOSTILE, Some(HOSTILE))
            .step(),
        Step::Gap { time: session.opened + 1_000, offset_us: 1_000, detail: HOSTILE.to_owned() },
    ];
    Timeline { session, steps, notes: vec![HOSTILE.to_owned()] }
}

fn events(timeline: &Timeline) -> Vec<Event> {
    let id = timeline.session.id;
    let bodies = vec![
        Body::Frames(frames(Direction::Client, 0, b"Q\0\0\0\x0eselect 1;\0")),
        Body::Frames(frames(Direction::Server, 0, b"D\0\0\0\x0b\0\x01\0\0\0\x011C\0\0\0\x0dSELECT 1\0Z\0\0\0\x05I")),
        Body::Frames(frames(Direction::Client, 15, b"X\0\0\0\x04")),
    ];
    let time = timeline.session.opened;
    (0..).zip(bodies).map(|(sequence, body)| Event { session: id, sequence, time, body }).collect()
}

fn frames(direction: Direction, offset: u64, bytes: &[u8]) -> event::Frames {
    event::Frames { direction, offset, frames: 1, payload: Payload::plain(bytes) }
}

pub fn shelf() -> Shelf {
    let open = Timeline { session: session(3, "ci-runner", "warehouse", Status::Open), steps: vec![], notes: vec![] };
    let refused = Timeline { session: session(4, "old-script", "shop", Status::Refused), steps: vec![], notes: vec![] };
    [work(), hostile(), open, refused].into_iter().fold(Shelf::default(), |shelf, timeline| {
        let events = events(&timeline);
        shelf.with(timeline, events)
    })
}

pub fn oracle() -> Oracle {
    let hit = |number: u8, who: &str, text: &str, verdict: &str, masked| Hit {
        r#type: "statement",
        statement: Some(format!("{}_1", id(number).to_string().replace("ses_", "stm_"))),
        session: id(number).to_string(),
        time: OPENED - i64::from(number) * 3_600_000_000,
        identity: who.to_owned(),
        resource: "shop".to_owned(),
        text: text.to_owned(),
        verdict: verdict.to_owned(),
        kind: "SELECT".to_owned(),
        outcome: "succeeded".to_owned(),
        relations: vec!["public.customers".to_owned()],
        columns: vec![ColumnUse {
            name: "public.customers.card_number".to_owned(),
            usage: Some(Usage::Projected),
            masked,
        }],
        rows: Some(3),
        duration_us: Some(4_180),
        sqlstate: None,
        found: vec![],
    };
    Oracle(Found {
        understood: "projected column card_number".to_owned(),
        total: 3,
        opaque: 2,
        who: vec![
            Who {
                identity: "billing-bot".to_owned(),
                issuer: "https://idp.example".to_owned(),
                statements: 2,
                masked: Some(2),
                clear: Some(0),
                first: Some(OPENED - 9_000_000),
                last: Some(OPENED),
            },
            Who {
                identity: HOSTILE.to_owned(),
                issuer: HOSTILE.to_owned(),
                statements: 1,
                masked: Some(0),
                clear: Some(1),
                first: Some(OPENED),
                last: Some(OPENED),
            },
        ],
        hits: vec![
            hit(
                1,
                "billing-bot",
                "SELECT id, name, card_number FROM customers WHERE created_at > ? ORDER BY id LIMIT ?",
                "mask",
                true,
            ),
            hit(1, "billing-bot", "SELECT * FROM customers", "mask", true),
            hit(2, HOSTILE, HOSTILE, "allow", false),
        ],
    })
}

pub fn doorman() -> Doorman {
    let known = [(AUDITOR, identity("olga", &["auditor"])), (STRANGER, identity("billing-bot", &["agents"]))];
    Doorman(known.into_iter().map(|(token, who)| (token.to_owned(), who.into())).collect())
}
