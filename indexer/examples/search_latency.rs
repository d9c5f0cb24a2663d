//! How long a question takes over 100,000 statements: `cargo run --release -p indexer --example search_latency`.

use event_log::Delivery;
use indexer::commit::Committer;
use indexer::search::{Question, Searcher};
use schemas::batch::{Place, seal};
use schemas::event::{Body, Column, Completed, Identity, IdentityKind, Outcome, Payload, Protocol, Relation};
use schemas::event::{SessionOpened, Statement, Usage, Verdict, VerdictKind};
use schemas::{Event, SessionId};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const SESSIONS: u64 = 1_000;
const STATEMENTS: u64 = 100;
const ROUNDS: usize = 200;

fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let directory = folder.path().join("index");
    let began = Instant::now();
    let mut committer = Committer::open(&directory, 64 << 20)?;
    for session in 0..SESSIONS {
        let batch = seal(
            Place { node: "gate-1".into(), epoch: 1, shard: 0, sequence: session, previous: [0; 32] },
            [1; 32],
            &datums(session)?.iter().map(Vec::as_slice).collect::<Vec<_>>(),
        )?;
        committer.apply(&Delivery { partition: 0, offset: session, batch: batch.encode()?.into() })?;
        if session % 20 == 19 {
            committer.commit()?;
        }
    }
    committer.commit()?;
    println!("indexed {} statements in {:.1?}", SESSIONS * STATEMENTS, began.elapsed());
    committer.close()?;
    let searcher = Searcher::open(&directory);
    for text in [
        "who read card_number",
        "who read card_number since:1h",
        "who was denied",
        "identity:agent-7 verdict:deny",
        "\"where id = 5\" rows:>3",
        "relation:hr.salaries OR email",
    ] {
        let question = Question::parse(text, 1_767_225_600_000_000)?;
        let mut times: Vec<Duration> = Vec::with_capacity(ROUNDS);
        let mut total = 0;
        for _ in 0..ROUNDS {
            let began = Instant::now();
            total = searcher.search(&question, 100, 0)?.total;
            times.push(began.elapsed());
        }
        times.sort_unstable();
        let at = |part: usize| times.get(ROUNDS * part / 100).copied().unwrap_or_default();
        println!("{text:40} {total:>7} hits  p50 {:>9.2?}  p99 {:>9.2?}", at(50), at(99));
    }
    Ok(())
}

fn datums(session: u64) -> anyhow::Result<Vec<Vec<u8>>> {
    let mut id = [0; 16];
    id.iter_mut().zip(session.to_be_bytes()).for_each(|(to, from)| *to = from);
    let mut bodies = vec![opened(session)];
    for number in 1..=STATEMENTS {
        bodies.extend(statement(session, number));
    }
    let mut datums = Vec::new();
    for (sequence, body) in (0..).zip(bodies) {
        let time = 1_767_225_600_000_000 - i64::try_from((SESSIONS - session) * 20_000_000)? + i64::try_from(sequence)?;
        let mut bytes = Vec::new();
        schemas::codec::encode(&Event { session: SessionId::from_bytes(id), sequence, time, body }, &mut bytes)?;
        datums.push(bytes);
    }
    Ok(datums)
}

fn opened(session: u64) -> Body {
    let subject = format!("agent-{}", session % 50);
    let identity = Identity {
        kind: IdentityKind::Machine,
        name: subject.clone(),
        subject,
        issuer: "https://issuer.example".into(),
        groups: vec!["agents".into()],
        on_behalf_of: vec![],
        task: None,
    };
    Body::SessionOpened(SessionOpened {
        identity,
        resource: "shop".into(),
        database: "shop".into(),
        role: "gate".into(),
        node: "gate-1".into(),
        peer: "127.0.0.1:5000".into(),
        tls: None,
        parameters: BTreeMap::new(),
        server_version: "15.0".into(),
        backend_pid: 1,
        authentication: "token".into(),
        credential: None,
        expires: None,
        grant: None,
        roles: Vec::new(),
    })
}

fn statement(session: u64, number: u64) -> [Body; 3] {
    let columns =
        ["public.customers.card_number", "public.customers.email", "hr.salaries.amount", "public.payments.id"];
    let pick = usize::try_from((session + number) % 4).unwrap_or_default();
    let column = columns.get(pick).copied().unwrap_or("public.t.c");
    let (relation, name) = column.rsplit_once('.').unwrap_or(("public.t", "c"));
    let denied = pick == 2;
    [
        Body::Statement(Statement {
            number,
            protocol: Protocol::Simple,
            index: 0,
            text: Payload::plain(format!("select {name} from {relation} where id = {number} order by {name} limit 10")),
            prepared: String::new(),
            portal: String::new(),
            parameters: None,
            tokens: None,
        }),
        Body::Verdict(Verdict {
            number,
            verdict: if denied { VerdictKind::Deny } else { VerdictKind::Mask },
            reason: if denied { format!("{relation} is closed to agents") } else { String::new() },
            policies: vec!["builtin:masking".into()],
            policy_version: "0011223344556677".into(),
            kind: "SELECT".into(),
            read_only: true,
            opaque: false,
            relations: vec![Relation { name: relation.into(), actions: vec!["select".into()], indirect: false }],
            columns: vec![Column { name: column.into(), usage: Usage::Projected, masked: pick == 0, label: None }],
            functions: vec![],
            fingerprint: format!("{pick:016x}"),
            flags: vec![],
            shape: None,
        }),
        Body::Completed(Completed {
            number,
            outcome: if denied { Outcome::Denied } else { Outcome::Succeeded },
            tag: "SELECT 5".into(),
            rows: number % 10,
            bytes: 100,
            duration: 1_000 + number,
            sqlstate: denied.then(|| "42501".into()),
            found: Vec::new(),
        }),
    ]
}
