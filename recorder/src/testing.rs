//! What the tests are made of: a node that seals batches, a bus in memory, a store that dies.

pub(crate) mod faulty;

use bytes::Bytes;
use event_log::{Consume, Delivery, Error, Offset, Partition, Step};
use futures_util::stream::{BoxStream, StreamExt};
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result, path::Path,
};
use ring::signature::Ed25519KeyPair;
use schemas::batch::{Place, seal};
use schemas::chain::{Digest, GENESIS};
use schemas::event::*;
use schemas::{Event, EventBatch, SessionId, Signer, codec};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) const START: i64 = 1_790_000_000_000_000;

pub(crate) fn session(n: u8) -> SessionId {
    let mut bytes = [0x11; 16];
    bytes[6] = 0x71;
    bytes[15] = n;
    SessionId::from_bytes(bytes)
}

pub(crate) fn identity() -> Identity {
    Identity {
        kind: IdentityKind::Machine,
        subject: "billing-bot".into(),
        issuer: "https://issuer.example".into(),
        name: "Billing bot".into(),
        groups: vec!["agents".into()],
        on_behalf_of: vec!["ada@example.com".into()],
        task: None,
    }
}

pub(crate) fn opened() -> Body {
    Body::SessionOpened(SessionOpened {
        identity: identity(),
        resource: "shop".into(),
        database: "shop_production".into(),
        role: "gate".into(),
        node: "gate-1".into(),
        peer: "127.0.0.1:50000".into(),
        tls: None,
        parameters: BTreeMap::from([("application_name".into(), "psql".into())]),
        server_version: "15.18".into(),
        backend_pid: 4711,
        authentication: "token".into(),
        credential: None,
        expires: None,
        grant: None,
        roles: Vec::new(),
    })
}

pub(crate) fn closed(statements: u64) -> Body {
    Body::SessionClosed(SessionClosed {
        reason: CloseReason::ClientTerminated,
        detail: String::new(),
        statements,
        denied: 0,
        rows: statements,
        bytes_in: 100,
        bytes_out: 200,
    })
}

pub(crate) fn statement(number: u64, text: &str) -> Statement {
    Statement {
        number,
        protocol: Protocol::Simple,
        index: 0,
        text: Payload::plain(text),
        prepared: String::new(),
        portal: String::new(),
        parameters: None,
        tokens: None,
    }
}

pub(crate) fn verdict(number: u64, verdict: VerdictKind) -> Verdict {
    Verdict {
        number,
        verdict,
        reason: String::new(),
        policies: vec!["builtin".into()],
        policy_version: "0123456789abcdef".into(),
        kind: "SELECT".into(),
        read_only: true,
        opaque: false,
        relations: vec![Relation { name: "public.customers".into(), actions: vec!["select".into()], indirect: false }],
        columns: vec![],
        functions: vec![],
        fingerprint: String::new(),
        flags: vec![],
        shape: None,
    }
}

pub(crate) fn completed(number: u64, outcome: Outcome, tag: &str, rows: u64, sqlstate: Option<&str>) -> Body {
    let sqlstate = sqlstate.map(str::to_owned);
    Body::Completed(Completed {
        number,
        outcome,
        tag: tag.into(),
        rows,
        bytes: 10,
        duration: 1_234,
        sqlstate,
        found: Vec::new(),
    })
}

/// Events of one session, numbered and timed, each a millisecond after the one before.
pub(crate) fn numbered(session: SessionId, bodies: impl IntoIterator<Item = Body>) -> Vec<Event> {
    (0u64..)
        .zip(bodies)
        .map(|(sequence, body)| Event { session, sequence, time: START + sequence.cast_signed() * 1_000, body })
        .collect()
}

/// A whole session of some statements.
pub(crate) fn whole(session: SessionId, statements: u64) -> Vec<Event> {
    let mut bodies = vec![opened()];
    for number in 1..=statements {
        bodies.push(Body::Statement(statement(number, &format!("select {number}"))));
        bodies.push(Body::Verdict(verdict(number, VerdictKind::Allow)));
        bodies.push(completed(number, Outcome::Succeeded, "SELECT 1", 1, None));
    }
    bodies.push(closed(statements));
    numbered(session, bodies)
}

/// Numbers that look random and come again in every run (splitmix64).
#[derive(Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// One below `end`, which is at least 1.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % end as u64).unwrap()
    }
}

/// A node's shard that seals batches.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) name: &'static str,
    pub(crate) epoch: u64,
    pub(crate) sequence: u64,
    pub(crate) previous: Digest,
    pub(crate) signer: Option<Signer>,
}

/// A key pair of a test's own.
pub(crate) fn signer(seed: u8) -> Signer {
    Signer::new(Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap())
}

impl Node {
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, epoch: 1, sequence: 0, previous: GENESIS, signer: None }
    }

    pub(crate) fn signing(name: &'static str, seed: u8) -> Self {
        Self { signer: Some(signer(seed)), ..Self::new(name) }
    }

    pub(crate) fn seal(&mut self, events: &[Event]) -> EventBatch {
        let datums: Vec<Vec<u8>> = events
            .iter()
            .map(|event| {
                let mut bytes = Vec::new();
                codec::encode(event, &mut bytes).unwrap();
                bytes
            })
            .collect();
        let (node, epoch, sequence, previous) = (self.name.to_owned(), self.epoch, self.sequence, self.previous);
        let place = Place { node, epoch, shard: 0, sequence, previous };
        let salt = [u8::try_from(sequence % 251).unwrap(); 32];
        let batch = seal(place, salt, &datums.iter().map(Vec::as_slice).collect::<Vec<_>>()).unwrap();
        self.sequence += 1;
        self.previous = batch.header.hash().unwrap();
        match &self.signer {
            Some(signer) => batch.signed(signer, &self.previous),
            None => batch,
        }
    }

    /// Cuts events into batches of so many events.
    pub(crate) fn cut(&mut self, events: &[Event], size: usize) -> Vec<EventBatch> {
        events.chunks(size).map(|chunk| self.seal(chunk)).collect()
    }
}

/// A bus in memory. It gives what `start` asked for, and Idle at the end.
#[derive(Debug, Default)]
pub(crate) struct Bus {
    pub(crate) partitions: BTreeMap<Partition, Vec<Bytes>>,
    pub(crate) committed: BTreeMap<Partition, Offset>,
    pub(crate) steps: VecDeque<Step>,
    next: BTreeMap<Partition, Offset>,
    /// What lies before it was removed.
    pub(crate) first: Offset,
}

impl Bus {
    pub(crate) fn of(partitions: impl IntoIterator<Item = (Partition, Vec<EventBatch>)>) -> Self {
        let mut bus = Self::default();
        for (partition, batches) in partitions {
            bus.extend(partition, &batches);
        }
        bus.assign();
        bus
    }

    pub(crate) fn extend(&mut self, partition: Partition, batches: &[EventBatch]) {
        let lane = self.partitions.entry(partition).or_default();
        lane.extend(batches.iter().map(|batch| Bytes::from(batch.encode().unwrap())));
    }

    /// What a new consumer is told.
    pub(crate) fn assign(&mut self) {
        self.next.clear();
        self.steps = VecDeque::from([Step::Assigned(self.partitions.keys().copied().collect())]);
    }
}

impl Consume for Bus {
    async fn next(&mut self) -> std::result::Result<Step, Error> {
        if let Some(step) = self.steps.pop_front() {
            return Ok(step);
        }
        tokio::task::yield_now().await;
        for (partition, next) in &mut self.next {
            let place = usize::try_from(*next).unwrap();
            if let Some(batch) = self.partitions[partition].get(place) {
                let delivery = Delivery { partition: *partition, offset: *next, batch: batch.clone() };
                *next += 1;
                return Ok(Step::Batch(delivery));
            }
        }
        Ok(Step::Idle)
    }

    fn start(&mut self, partition: Partition, offset: Offset) -> std::result::Result<(), Error> {
        self.next.insert(partition, offset.max(self.first));
        Ok(())
    }

    fn committed(&mut self, partition: Partition, next: Offset) -> std::result::Result<(), Error> {
        self.committed.insert(partition, next);
        Ok(())
    }
}

/// A store that dies at its n-th write: before it does anything, or after it is done but before it is told.
#[derive(Debug, Clone)]
pub(crate) struct Mortal {
    inner: Arc<dyn ObjectStore>,
    writes: Arc<AtomicU64>,
    at: u64,
    done_first: bool,
}

impl Mortal {
    pub(crate) fn new(inner: Arc<dyn ObjectStore>, at: u64, done_first: bool) -> Self {
        Self { inner, writes: Arc::default(), at, done_first }
    }

    pub(crate) fn died(&self) -> bool {
        self.writes.load(Ordering::SeqCst) >= self.at
    }

    fn alive(&self) -> Result<()> {
        if self.died() { Err(dead()) } else { Ok(()) }
    }
}

fn dead() -> object_store::Error {
    object_store::Error::Generic { store: "mortal", source: "dead".into() }
}

impl std::fmt::Display for Mortal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("mortal")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Mortal {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.alive()?;
        if self.writes.fetch_add(1, Ordering::SeqCst) + 1 == self.at {
            if self.done_first {
                self.inner.put_opts(path, payload, options).await?;
            }
            return Err(dead());
        }
        self.inner.put_opts(path, payload, options).await
    }

    async fn put_multipart_opts(&self, path: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.alive()?;
        self.inner.get_opts(path, options).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        if self.died() {
            return futures_util::stream::once(async { Err(dead()) }).boxed();
        }
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.alive()?;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
