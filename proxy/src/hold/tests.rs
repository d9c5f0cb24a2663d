//! What becomes of a held statement, without IO: the reviewers are a list in memory, the server is played by the test.

use super::{
    digest::{Meaning, Parts, digest},
    *,
};
use crate::{
    conversation::{
        Conversation, End, Outbox,
        tests::{contains, reader, resource},
    },
    decide::Decider,
    forward::Flow,
    paths::Paths,
    record::Record,
    resource::Resource,
};
use schemas::{SessionId, event::IdentityKind};
use std::{
    collections::HashMap,
    num::NonZeroUsize,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::oneshot;

const HELD: &str = "delete from customers";

fn identity(subject: &str, groups: &[&str]) -> Identity {
    Identity {
        kind: IdentityKind::Machine,
        subject: subject.to_owned(),
        issuer: "test".to_owned(),
        name: subject.to_owned(),
        groups: groups.iter().map(|&group| group.to_owned()).collect(),
        on_behalf_of: vec!["ada".to_owned()],
        task: Some("T-1".to_owned()),
    }
}

/// Reviewers who answer when the test says so.
#[derive(Default)]
struct Panel {
    asked: Mutex<Vec<Asked>>,
    open: Mutex<HashMap<String, oneshot::Sender<Answer>>>,
    released: Mutex<Vec<String>>,
    ended: Mutex<Vec<Outcome>>,
    /// Why nobody can be asked.
    away: Option<String>,
    /// Why no approval counts.
    void: Option<String>,
    /// Lets an approval be taken; none where each is taken at once.
    takes: Option<Arc<tokio::sync::Semaphore>>,
}

impl Panel {
    fn answer(&self, answer: Answer) {
        let id = self.asked.lock().unwrap().last().unwrap().id.clone();
        self.open.lock().unwrap().remove(&id).unwrap().send(answer).unwrap();
    }

    fn approve(&self) {
        let reviewer = identity("olga", &["reviewers"]);
        self.answer(Answer::Approved(vec![Review { reviewer, reason: "ticket 7".to_owned() }]));
    }

    fn last(&self) -> Asked {
        self.asked.lock().unwrap().last().unwrap().clone()
    }
}

impl Reviewers for Panel {
    fn ask(&self, asked: Asked) -> Pending<Result<(), String>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(asked);
        let away = self.away.clone();
        Box::pin(async move { away.map_or(Ok(()), Err) })
    }

    fn answer(&self, id: &str) -> Pending<Answer> {
        let (sender, answer) = oneshot::channel();
        self.open.lock().unwrap().insert(id.to_owned(), sender);
        Box::pin(async move { answer.await.unwrap_or(Answer::Ended("gone".to_owned())) })
    }

    fn release(&self, id: &str, digest: &str) -> Pending<Result<(), String>> {
        assert_eq!(digest, self.last().digest);
        self.released.lock().unwrap().push(id.to_owned());
        let (void, takes) = (self.void.clone(), self.takes.clone());
        Box::pin(async move {
            if let Some(takes) = takes {
                takes.acquire().await.unwrap().forget();
            }
            void.map_or(Ok(()), Err)
        })
    }

    fn end(&self, _id: &str, outcome: Outcome, _reason: &str) {
        self.ended.lock().unwrap().push(outcome);
    }
}

/// Without questions to the planner before the hold.
fn unestimated() -> Resource {
    let mut resource = resource();
    resource.estimates.ask = crate::estimate::Ask::Never;
    resource
}

struct Scene {
    conversation: Conversation,
    to_server: Outbox,
    to_client: Outbox,
    panel: Arc<Panel>,
    signal: Arc<Signal>,
    resource: Arc<Resource>,
    _log: (event_log::Log, tempfile::TempDir),
}

impl Scene {
    fn with(panel: Panel, expires: Duration) -> Self {
        let settings = Settings {
            expires,
            expires_in_transaction: expires / 2,
            max_held: NonZeroUsize::MIN,
            max_held_per_identity: NonZeroUsize::MIN,
            console: Some("https://postern.example".to_owned()),
        };
        let folder = tempfile::tempdir().unwrap();
        let (log, _) = event_log::Log::open(event_log::testing::config(folder.path()), "gate-1".into()).unwrap();
        let (panel, signal, resource) = (Arc::new(panel), Arc::<Signal>::default(), Arc::new(unestimated()));
        let identity = identity("billing-bot", &["agents"]);
        let decider = Decider::new(resource.clone(), judge::policy::Subject::new(&identity, "test"));
        let record = Record::new(log.clone(), SessionId::generate());
        let holds = Arc::new(Holds::new(panel.clone(), settings, "gate-1", Default::default()));
        let holder = Holder { holds, identity, role: "gate".to_owned(), signal: signal.clone(), cancel: None };
        let conversation = Conversation::new(record, decider, Paths::new("public", "gate")).with_holder(holder);
        let (to_server, to_client) = (Outbox::default(), Outbox::default());
        Self { conversation, to_server, to_client, panel, signal, resource, _log: (log, folder) }
    }

    fn new() -> Self {
        Self::with(Panel::default(), Duration::from_secs(60))
    }

    fn client(&mut self, kind: u8, body: &[u8]) -> Result<Flow, End> {
        self.conversation.client(&mut reader(kind, body), &mut self.to_server)
    }

    fn server(&mut self, kind: u8, body: &[u8]) {
        self.conversation.server(&mut reader(kind, body), &mut self.to_client).unwrap();
    }

    /// Sends a simple message; what comes back is to be sent again.
    fn query(&mut self, text: &str) -> Flow {
        self.client(b'Q', &[text.as_bytes(), &[0]].concat()).unwrap()
    }

    /// Binds text values to the statement `s`.
    fn bind(&mut self, value: &str) -> Flow {
        let length = u32::try_from(value.len()).unwrap().to_be_bytes();
        let body = [&b"\0s\0\0\0\0\x01"[..], &length, value.as_bytes(), &[0, 0]].concat();
        self.client(b'B', &body).unwrap()
    }

    fn prepare(&mut self, text: &str) {
        self.client(b'P', &[b"s\0", text.as_bytes(), &[0, 0, 0]].concat()).unwrap();
    }

    /// Waits until the hold moves on.
    async fn moves_on(&mut self) {
        let (conversation, out) = (&mut self.conversation, &mut self.to_client);
        let polled = std::future::poll_fn(|context| conversation.poll_hold(context, out).unwrap());
        tokio::time::timeout(Duration::from_secs(10), polled).await.expect("the hold moves on");
    }

    /// Lets it come to what it waits for.
    fn turns(&mut self) {
        let waker = std::task::Waker::noop();
        let polled = self.conversation.poll_hold(&mut std::task::Context::from_waker(waker), &mut self.to_client);
        assert!(polled.unwrap().is_pending());
    }

    fn sent(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.to_server.bytes)
    }

    /// The refusal that the client gets in the place of the server's error.
    fn refusal(&mut self) -> String {
        assert!(contains(&self.sent(), "postern refused"));
        self.server(b'E', b"SERROR\0C42601\0Mserver words\0\0");
        String::from_utf8_lossy(&std::mem::take(&mut self.to_client.bytes)).into_owned()
    }
}

#[tokio::test]
async fn an_approval_releases_the_statement_once() {
    let mut scene = Scene::new();
    assert_eq!(scene.query(HELD), Flow::Wait);
    assert!(scene.conversation.is_held() && scene.sent().is_empty());
    scene.turns();
    let asked = scene.panel.last();
    let notice = String::from_utf8_lossy(&std::mem::take(&mut scene.to_client.bytes)).into_owned();
    for part in [&asked.id, "postern review show", "https://postern.example/#/holds/", "reviewers"] {
        assert!(notice.starts_with('N') && notice.contains(part), "{part}: {notice}");
    }
    assert_eq!((asked.text.as_str(), asked.kinds.as_slice()), (HELD, &["DELETE".to_owned()][..]));
    assert_eq!((asked.requester.task.as_deref(), asked.role.as_str()), (Some("T-1"), "gate"));
    assert_eq!(asked.relations[0].name, "public.customers");
    assert!(asked.policies.contains(&"guard:unbounded".to_owned()) && !asked.in_transaction);
    // other messages of the client wait
    assert_eq!(scene.query("select 1"), Flow::Wait);
    scene.panel.approve();
    scene.moves_on().await;
    assert_eq!(scene.query(HELD), Flow::Wait, "the release is on its way");
    scene.moves_on().await;
    assert_eq!(scene.query(HELD), Flow::More);
    assert!(contains(&scene.sent(), HELD));
    assert_eq!(*scene.panel.released.lock().unwrap(), std::slice::from_ref(&asked.id));
    assert_eq!((scene.conversation.statements, scene.conversation.denied), (1, 0));
    scene.server(b'C', b"DELETE 2\0");
    scene.server(b'Z', b"I");
    // a second run needs an approval of its own
    assert_eq!(scene.query(HELD), Flow::Wait);
    scene.turns();
    let second = scene.panel.last();
    assert!(second.id != asked.id && second.digest != asked.digest && scene.sent().is_empty());
}

#[tokio::test]
async fn a_denial_an_end_and_a_withdrawal_have_their_own_words() {
    let mut scene = Scene::new();
    scene.query(HELD);
    scene.turns();
    let reviewer = identity("olga", &["reviewers"]);
    scene.panel.answer(Answer::Denied(Review { reviewer, reason: "not today".to_owned() }));
    scene.moves_on().await;
    assert_eq!(scene.query(HELD), Flow::More);
    let refusal = scene.refusal();
    assert!(refusal.contains("C42501") && refusal.contains("olga denied it: not today"), "{refusal}");
    scene.server(b'Z', b"I");
    assert!(scene.panel.ended.lock().unwrap().is_empty(), "the reviewers know");

    scene.query(HELD);
    assert!(scene.signal.cancel(), "a cancel request is for the hold");
    scene.moves_on().await;
    assert_eq!(scene.query(HELD), Flow::More);
    assert!(!scene.signal.cancel(), "and later ones are for the database");
    let refusal = scene.refusal();
    assert!(refusal.contains("C57014") && refusal.contains("canceling statement due to user request"), "{refusal}");
    scene.server(b'Z', b"I");
    assert_eq!(*scene.panel.ended.lock().unwrap(), [Outcome::Withdrawn]);
    assert_eq!(scene.conversation.denied, 2);

    // by another node it is the same
    scene.query(HELD);
    scene.turns();
    scene.panel.answer(Answer::Withdrawn);
    scene.moves_on().await;
    assert_eq!(scene.query(HELD), Flow::More);
    let refusal = scene.refusal();
    assert!(refusal.contains("C57014") && refusal.contains("canceling statement due to user request"), "{refusal}");
    scene.server(b'Z', b"I");
    scene.panel.ended.lock().unwrap().pop();

    scene.query(HELD);
    scene.turns();
    scene.conversation.abandon_all();
    assert_eq!(*scene.panel.ended.lock().unwrap(), [Outcome::Withdrawn, Outcome::Withdrawn]);
}

#[tokio::test]
async fn nobody_answers_in_time() {
    let mut scene = Scene::with(Panel::default(), Duration::from_millis(40));
    scene.query(HELD);
    scene.moves_on().await;
    assert_eq!(scene.query(HELD), Flow::More);
    let refusal = scene.refusal();
    assert!(refusal.contains("C42501") && refusal.contains("nobody approved it within 40 ms"), "{refusal}");
    assert_eq!(*scene.panel.ended.lock().unwrap(), [Outcome::Expired]);
    // in a transaction, sooner
    scene.server(b'Z', b"T");
    scene.query(HELD);
    assert!(scene.panel.last().in_transaction);
    scene.moves_on().await;
    scene.query(HELD);
    assert!(scene.refusal().contains("within 20 ms"));
}

#[tokio::test]
async fn who_cannot_be_asked_or_takes_back_what_was_said_releases_nothing() {
    let away = Panel { away: Some("the topic is silent".to_owned()), ..Panel::default() };
    let mut scene = Scene::with(away, Duration::from_secs(60));
    scene.query(HELD);
    scene.moves_on().await;
    scene.query(HELD);
    assert!(scene.refusal().contains("nobody can be asked: the topic is silent"));

    let void = Panel { void: Some("it was used".to_owned()), ..Panel::default() };
    let mut scene = Scene::with(void, Duration::from_secs(60));
    scene.query(HELD);
    scene.turns();
    scene.panel.approve();
    scene.moves_on().await;
    scene.query(HELD);
    scene.moves_on().await;
    scene.query(HELD);
    assert!(scene.refusal().contains("its approval does not count: it was used"));
}

/// What becomes of an approval that is being taken is waited for: neither the clock nor the client is faster.
#[tokio::test]
async fn an_approval_that_is_being_taken_is_waited_for() {
    for cancels in [false, true] {
        let takes = Arc::new(tokio::sync::Semaphore::new(0));
        let panel = Panel { takes: Some(takes.clone()), ..Panel::default() };
        let mut scene = Scene::with(panel, Duration::from_secs(1));
        scene.query(HELD);
        scene.turns();
        scene.panel.approve();
        scene.moves_on().await;
        assert_eq!(scene.query(HELD), Flow::Wait);
        scene.conversation.holding.hold.as_mut().unwrap().expiry.as_mut().await;
        assert!(!cancels || scene.signal.cancel());
        scene.turns();
        assert!(scene.panel.ended.lock().unwrap().is_empty(), "it is not over");
        takes.add_permits(1);
        scene.moves_on().await;
        assert_eq!(scene.query(HELD), Flow::More);
        if cancels {
            assert!(scene.refusal().contains("C57014"));
            assert_eq!(*scene.panel.ended.lock().unwrap(), [Outcome::Withdrawn]);
        } else {
            assert!(contains(&scene.sent(), HELD), "it was approved in time");
            assert!(scene.panel.ended.lock().unwrap().is_empty());
        }
    }
}

/// CTL-1: what was approved under other policies, or for something else, does not run.
#[tokio::test]
async fn what_changed_since_is_refused() {
    let mut scene = Scene::new();
    scene.query(HELD);
    scene.turns();
    scene.panel.approve();
    scene.moves_on().await;
    let mut rules = judge::policy::Rules::default();
    rules.connect_groups = vec!["agents".to_owned(), "others".to_owned()];
    scene.resource.take(rules);
    assert_eq!(scene.query(HELD), Flow::More);
    let refusal = scene.refusal();
    assert!(refusal.contains("the policies have changed since"), "{refusal}");
    assert!(scene.panel.released.lock().unwrap().is_empty());
    assert_eq!(*scene.panel.ended.lock().unwrap(), [Outcome::Refused]);
    scene.server(b'Z', b"I");

    scene.query(HELD);
    scene.turns();
    scene.panel.approve();
    scene.moves_on().await;
    assert_eq!(scene.query("delete from customers -- more"), Flow::More);
    assert!(scene.refusal().contains("it is not what was approved"));
}

#[tokio::test]
async fn a_bind_waits_with_its_values_and_its_run_has_one_number() {
    let mut scene = Scene::new();
    scene.prepare("delete from customers where id > $1 or true");
    assert!(contains(&scene.sent(), "delete from"), "a Parse runs nothing");
    // the server is asked to close the window, so that no lock stays behind
    assert_eq!(scene.bind("5"), Flow::Wait);
    assert_eq!(scene.sent(), [b'S', 0, 0, 0, 4]);
    scene.server(b'1', b"");
    scene.server(b'Z', b"I");
    assert_eq!(scene.to_client.bytes, [b'1', 0, 0, 0, 4], "the client sees its own answers alone");
    assert_eq!(scene.bind("5"), Flow::Wait);
    assert!(scene.conversation.is_held());
    scene.turns();
    let asked = scene.panel.last();
    // the statement touches a table with masked columns: no value is shown
    assert_eq!(asked.values, [Bound { shown: Some("****".to_owned()), bytes: 1 }]);
    scene.panel.approve();
    scene.moves_on().await;
    scene.bind("5");
    scene.moves_on().await;
    assert_eq!(scene.bind("5"), Flow::More);
    assert_eq!(scene.sent().first(), Some(&b'B'));
    scene.client(b'E', b"\0\0\0\0\0").unwrap();
    assert_eq!(scene.conversation.statements, 1, "the run is the statement that was approved");
    scene.client(b'S', b"").unwrap();
    // the gate asks for the columns before the run, to mask them
    for (kind, body) in [(b'2', &b""[..]), (b'n', b""), (b'C', b"DELETE 2\0"), (b'Z', b"I")] {
        scene.server(kind, body);
    }
    assert!(scene.conversation.is_idle());

    // the approval was for these values
    scene.bind("5");
    scene.server(b'Z', b"I");
    scene.sent();
    scene.bind("5");
    scene.turns();
    scene.panel.approve();
    scene.moves_on().await;
    scene.to_client.bytes.clear();
    assert_eq!(scene.bind("6"), Flow::More);
    let refusal = scene.refusal();
    assert!(refusal.contains("it is not what was approved"), "{refusal}");
}

#[tokio::test]
async fn what_stands_behind_an_error_is_not_asked_about() {
    let mut scene = Scene::new();
    scene.prepare("delete from customers where id > $1 or true");
    scene.bind("5");
    scene.server(b'E', b"SERROR\0C42P01\0Mno such table\0\0");
    scene.server(b'Z', b"I");
    scene.sent();
    assert_eq!(scene.bind("5"), Flow::More);
    assert!(scene.sent().is_empty() && scene.panel.asked.lock().unwrap().is_empty());
    scene.client(b'S', b"").unwrap();
    scene.server(b'Z', b"I");
    assert!(scene.conversation.is_idle() && scene.to_client.bytes.ends_with(&[b'Z', 0, 0, 0, 5, b'I']));
}

#[tokio::test]
async fn a_node_holds_so_many_and_denies_more() {
    let mut scene = Scene::new();
    scene.query(HELD);
    let identity = identity("other-bot", &["agents"]);
    let decider = Decider::new(scene.resource.clone(), judge::policy::Subject::new(&identity, "test"));
    let holds = scene.conversation.holding.holder.as_ref().unwrap().holds.clone();
    let holder = Holder { holds, identity, role: "gate".to_owned(), signal: Arc::default(), cancel: None };
    let record = Record::new(scene.conversation.record.log().clone(), SessionId::generate());
    let mut other = Conversation::new(record, decider, Paths::new("public", "gate")).with_holder(holder);
    let mut out = Outbox::default();
    let body = [HELD.as_bytes(), &[0]].concat();
    assert_eq!(other.client(&mut reader(b'Q', &body), &mut out).unwrap(), Flow::More);
    assert!(contains(&out.bytes, "postern refused") && !other.is_held());
}

#[test]
fn every_part_counts() {
    let meaning = Meaning { policy_version: "p1".to_owned(), definitions: [7; 32], objects: [1; 32] };
    let (types, values) = (&b"\0\0"[..], &b"\0\0\0\x01\0\0\0\x015"[..]);
    let both = [types, values];
    let parts = Parts {
        text: b"delete from t",
        values: &both,
        meaning: &meaning,
        role: "gate",
        statement: "stm_1_1",
        resource: "shop",
    };
    let original = digest(&parts);
    assert_eq!(original, digest(&parts));
    let policies = Meaning { policy_version: "p2".to_owned(), ..meaning.clone() };
    let catalog = Meaning { definitions: [8; 32], ..meaning.clone() };
    let objects = Meaning { objects: [2; 32], ..meaning.clone() };
    let other = [types, &b"\0\0\0\x01\0\0\0\x016"[..]];
    // the same bytes, divided in another way
    let (head, tail) = values.split_at(2);
    let joined = [types, head].concat();
    let shifted = [joined.as_slice(), tail];
    for changed in [
        Parts { text: b"delete from u", ..parts },
        Parts { values: &other, ..parts },
        Parts { values: &shifted, ..parts },
        Parts { meaning: &policies, ..parts },
        Parts { meaning: &catalog, ..parts },
        Parts { meaning: &objects, ..parts },
        Parts { role: "owner", ..parts },
        Parts { statement: "stm_1_2", ..parts },
        Parts { resource: "billing", ..parts },
    ] {
        assert_ne!(digest(&changed), original, "{changed:?}");
    }
}
