//! Events, batches and a bus in memory, for the tests of this package.

use bytes::Bytes;
use event_log::{Consume, Delivery, Error, Offset, Partition, Step};
use kit::Shutdown;
use schemas::batch::{Place, seal};
use schemas::event::{
    Body, Column, Completed, Identity, IdentityKind, Outcome, Payload, Protocol, Relation, SessionOpened,
};
use schemas::event::{CloseReason, SessionClosed, Statement, Usage, Verdict, VerdictKind};
use schemas::{Event, SessionId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub(crate) fn identity(subject: &str) -> Identity {
    Identity {
        kind: IdentityKind::Machine,
        subject: subject.into(),
        issuer: "https://issuer.example".into(),
        name: format!("{subject} (agent)"),
        groups: vec!["agents".into()],
        on_behalf_of: vec![],
        task: None,
    }
}

/// Writes the events of one session.
pub(crate) struct Script {
    pub(crate) session: SessionId,
    sequence: u64,
    pub(crate) time: i64,
    pub(crate) events: Vec<Event>,
}

impl Script {
    /// A session, not opened.
    pub(crate) fn bare(number: u8) -> Self {
        let session = SessionId::from_bytes([number; 16]);
        Self { session, sequence: 0, time: 1_767_225_600_000_000 + i64::from(number) * 1_000, events: Vec::new() }
    }

    pub(crate) fn new(number: u8, subject: &str) -> Self {
        let mut script = Self::bare(number);
        script.push(Body::SessionOpened(SessionOpened {
            identity: identity(subject),
            resource: "shop".into(),
            database: "shop".into(),
            role: "gate_1".into(),
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
        }));
        script
    }

    pub(crate) fn push(&mut self, body: Body) {
        self.events.push(Event { session: self.session, sequence: self.sequence, time: self.time, body });
        self.sequence += 1;
        self.time += 1_000_000;
    }

    pub(crate) fn statement(&mut self, number: u64, text: &str) {
        let text = Payload::plain(text);
        let (prepared, portal) = (String::new(), String::new());
        self.push(Body::Statement(Statement {
            number,
            protocol: Protocol::Simple,
            index: 0,
            text,
            prepared,
            portal,
            parameters: None,
            tokens: None,
        }));
    }

    pub(crate) fn verdict(&mut self, number: u64, verdict: VerdictKind, columns: &[(&str, Usage, bool)]) {
        let column = |(name, usage, masked): &(&str, Usage, bool)| Column {
            name: (*name).into(),
            usage: *usage,
            masked: *masked,
            label: masked.then(|| "pan".into()),
        };
        let relations: BTreeSet<_> = columns
            .iter()
            .map(|(name, usage, _)| {
                let actions = vec![if *usage == Usage::Written { "update".to_owned() } else { "select".to_owned() }];
                Relation { name: name.rsplit_once('.').unwrap().0.into(), actions, indirect: false }
            })
            .collect();
        self.push(Body::Verdict(Verdict {
            number,
            verdict,
            reason: if verdict == VerdictKind::Deny {
                "table hr.salaries is closed to agents".into()
            } else {
                String::new()
            },
            policies: vec!["builtin:masking".into()],
            policy_version: "0011223344556677".into(),
            kind: "SELECT".into(),
            read_only: true,
            opaque: false,
            relations: relations.into_iter().collect(),
            columns: columns.iter().map(column).collect(),
            functions: vec![],
            fingerprint: "ab".repeat(8),
            flags: vec![],
            shape: None,
        }));
    }

    pub(crate) fn completed(&mut self, number: u64, outcome: Outcome, rows: u64) {
        let sqlstate = (outcome != Outcome::Succeeded).then(|| "42501".to_owned());
        self.push(Body::Completed(Completed {
            number,
            outcome,
            tag: format!("SELECT {rows}"),
            rows,
            bytes: rows * 10,
            duration: 1_500 * (rows + 1),
            sqlstate,
            found: Vec::new(),
        }));
    }

    pub(crate) fn reads(&mut self, number: u64, column: &str, masked: bool) {
        self.statement(number, &format!("select {} from t where id = {number}", column.rsplit('.').next().unwrap()));
        self.verdict(
            number,
            if masked { VerdictKind::Mask } else { VerdictKind::Allow },
            &[(column, Usage::Projected, masked)],
        );
        self.completed(number, Outcome::Succeeded, number);
    }

    pub(crate) fn closed(&mut self) {
        self.push(Body::SessionClosed(SessionClosed {
            reason: CloseReason::ClientTerminated,
            detail: String::new(),
            statements: 1,
            denied: 0,
            rows: 1,
            bytes_in: 1,
            bytes_out: 1,
        }));
    }
}

/// Seals events into batches of one node and shard, `size` events each.
pub(crate) fn batches(shard: u32, events: &[Event], size: usize) -> Vec<Bytes> {
    let seal = |(sequence, events): (u64, &[Event])| {
        let datums: Vec<Vec<u8>> = events
            .iter()
            .map(|event| {
                let mut bytes = Vec::new();
                schemas::codec::encode(event, &mut bytes).unwrap();
                bytes
            })
            .collect();
        let datums: Vec<&[u8]> = datums.iter().map(Vec::as_slice).collect();
        let place = Place { node: "gate-1".into(), epoch: 1 + sequence / 3, shard, sequence, previous: [0; 32] };
        Bytes::from(seal(place, [3; 32], &datums).unwrap().encode().unwrap())
    };
    (0..).zip(events.chunks(size)).map(seal).collect()
}

/// Sessions of many kinds on two shards: closed, open, denied, held back, over batches of `size` events.
pub(crate) fn traffic(size: usize) -> Vec<Vec<Bytes>> {
    (0..2_u8)
        .map(|shard| {
            let mut scripts = Vec::new();
            for n in 0..6_u8 {
                let mut script =
                    Script::new(shard * 100 + n + 1, ["billing-bot", "report-bot", "ci"][usize::from(n % 3)]);
                script.reads(1, "public.customers.card_number", true);
                script.reads(2, "public.customers.email", false);
                script.statement(3, "select amount from hr.salaries where name = 'Ada'");
                script.verdict(3, VerdictKind::Deny, &[("hr.salaries.amount", Usage::Projected, true)]);
                script.completed(3, Outcome::Denied, 0);
                script.statement(4, "update customers set email = 'x@example.com'");
                script.verdict(4, VerdictKind::Allow, &[("public.customers.email", Usage::Written, false)]);
                if n % 2 == 0 {
                    script.completed(4, Outcome::Succeeded, 3);
                }
                if n % 3 != 0 {
                    script.closed();
                }
                scripts.push(VecDeque::from(script.events));
            }
            let mut mixed = Vec::new();
            while scripts.iter().any(|script| !script.is_empty()) {
                scripts.iter_mut().for_each(|script| mixed.extend(script.pop_front()));
            }
            batches(u32::from(shard), &mixed, size)
        })
        .collect()
}

/// A bus in memory: partition n holds `logs[n]`. Triggers the shutdown when all was read and `linger` steps passed.
pub(crate) struct Bus {
    pub(crate) logs: Vec<Vec<Bytes>>,
    /// First offset that is still there, of every partition.
    pub(crate) oldest: Offset,
    pub(crate) places: BTreeMap<Partition, Offset>,
    pub(crate) told: BTreeMap<Partition, Offset>,
    pub(crate) script: VecDeque<Step>,
    pub(crate) shutdown: Shutdown,
    /// Every delivery is given twice.
    pub(crate) doubled: bool,
    /// It says only while it is read what is not there any more, as Kafka does.
    pub(crate) late: bool,
    again: Option<Delivery>,
}

impl Bus {
    pub(crate) fn new(logs: Vec<Vec<Bytes>>, shutdown: Shutdown) -> Self {
        let all = (0..u32::try_from(logs.len()).unwrap()).collect();
        let script = VecDeque::from([Step::Assigned(all)]);
        Self {
            logs,
            oldest: 0,
            places: BTreeMap::new(),
            told: BTreeMap::new(),
            script,
            shutdown,
            doubled: false,
            late: false,
            again: None,
        }
    }

    fn delivery(&mut self) -> Option<Delivery> {
        for (partition, place) in &mut self.places {
            let found = self.logs[*partition as usize].get(usize::try_from(*place).unwrap()).cloned();
            if let Some(batch) = found {
                *place += 1;
                return Some(Delivery { partition: *partition, offset: *place - 1, batch });
            }
        }
        None
    }
}

impl Consume for &mut Bus {
    async fn next(&mut self) -> Result<Step, Error> {
        tokio::task::yield_now().await;
        if let Some(step) = self.script.pop_front() {
            return Ok(step);
        }
        if let Some(delivery) = self.again.take() {
            return Ok(Step::Batch(delivery));
        }
        let gone = self.places.iter().find(|(_, place)| **place < self.oldest).map(|(id, place)| (*id, *place));
        if let Some((partition, offset)) = gone {
            self.places.remove(&partition);
            return Err(Error::Gone { partition, offset, oldest: self.oldest });
        }
        match self.delivery() {
            Some(delivery) => {
                self.again = self.doubled.then(|| delivery.clone());
                Ok(Step::Batch(delivery))
            }
            None => {
                self.shutdown.trigger();
                Ok(Step::Idle)
            }
        }
    }

    fn start(&mut self, partition: Partition, offset: Offset) -> Result<(), Error> {
        if offset < self.oldest && !self.late {
            return Err(Error::Gone { partition, offset, oldest: self.oldest });
        }
        self.places.insert(partition, offset);
        Ok(())
    }

    fn committed(&mut self, partition: Partition, next: Offset) -> Result<(), Error> {
        self.told.insert(partition, next);
        Ok(())
    }
}
