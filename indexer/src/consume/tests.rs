use super::*;
use crate::search::{Hit, Question, Searcher};
use crate::testing::{Bus, Script, batches, traffic};
use schemas::event::{Outcome, Usage, VerdictKind};
use std::path::Path;

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn config(directory: &Path) -> Config {
    Config { directory: directory.join("index"), commit_interval: Duration::ZERO, memory_bytes: 16 << 20 }
}

/// Every document, oldest first.
pub(crate) fn everything(directory: &Path) -> Vec<Hit> {
    let searcher = Searcher::open(directory.join("index"));
    let mut hits = searcher.search(&Question::parse("", 0).unwrap(), 10_000, 0).unwrap().hits;
    hits.sort_by(|a, b| (a.time, &a.id).cmp(&(b.time, &b.id)));
    hits
}

/// Runs an indexer until it has read all.
pub(crate) fn index(directory: &Path, bus: &mut Bus) {
    bus.shutdown = Shutdown::new();
    let all = (0..u32::try_from(bus.logs.len()).unwrap()).collect();
    bus.script = [Step::Assigned(all)].into();
    let shutdown = bus.shutdown.clone();
    block_on(run(config(directory), bus, shutdown)).unwrap();
}

/// Says which documents differ, not what all of them are.
pub(crate) fn same(found: &[Hit], expected: &[Hit], when: &str) {
    let ids = |hits: &[Hit]| hits.iter().map(|hit| hit.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(found), ids(expected), "{when}");
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found, expected, "{when}");
    }
}

pub(crate) fn expected() -> Vec<Hit> {
    let folder = tempfile::tempdir().unwrap();
    index(folder.path(), &mut Bus::new(traffic(1_000), Shutdown::new()));
    everything(folder.path())
}

#[test]
fn each_statement_and_session_is_one_document() {
    let hits = expected();
    // 12 sessions of 4 statements
    assert_eq!(hits.len(), 12 * 5);
    assert_eq!(hits.iter().map(|hit| &hit.id).collect::<std::collections::BTreeSet<_>>().len(), 60);
    let count = |outcome: &str| hits.iter().filter(|hit| hit.outcome == outcome).count();
    assert_eq!(count("succeeded"), 12 * 2 + 6);
    assert_eq!(count("denied"), 12);
    assert_eq!(count("running") + count("unknown"), 6);
    assert_eq!((count("open"), count("client_terminated")), (4, 8));
    assert!(hits.iter().all(|hit| hit.identity.is_some() && hit.resource == "shop"));
    let text = hits.iter().find(|hit| hit.outcome == "denied").unwrap().text.clone().unwrap();
    assert_eq!(text, "select amount from hr.salaries where name = ?");
}

#[test]
fn statements_that_span_batches_make_the_same_documents() {
    let expected = expected();
    for size in [1, 2, 3, 7] {
        let folder = tempfile::tempdir().unwrap();
        let mut bus = Bus::new(traffic(size), Shutdown::new());
        bus.doubled = size == 2;
        index(folder.path(), &mut bus);
        same(&everything(folder.path()), &expected, &format!("batches of {size}"));
        let lengths: BTreeMap<_, _> = (0..).zip(bus.logs.iter().map(|log| log.len() as u64)).collect();
        assert_eq!(bus.told, lengths);
    }
}

/// IDX-1: dropped without commit at every batch, and read again from the last commit, nothing is missing or double.
#[test]
fn a_death_between_any_two_commits_loses_and_doubles_nothing() {
    let expected = expected();
    let logs = traffic(5);
    for commit_every in [1, 3, 10] {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("index");
        let end = logs.iter().map(Vec::len).max().unwrap() as u64;
        let mut deaths = 0;
        // each life reads `life` batches of each partition, commits now and then, and dies with what is uncommitted
        let mut life = 1;
        loop {
            let mut committer = Committer::open(&directory, 16 << 20).unwrap();
            let from = [committer.next(0), committer.next(1)];
            let mut read = 0;
            for (partition, log) in (0_u32..).zip(&logs) {
                for offset in (from[partition as usize]..log.len() as u64).take(life) {
                    let batch = log[usize::try_from(offset).unwrap()].clone();
                    committer.apply(&event_log::Delivery { partition, offset, batch }).unwrap();
                    read += 1;
                    if read % commit_every == 0 {
                        committer.commit().unwrap();
                    }
                }
            }
            if read == 0 {
                break;
            }
            if deaths % 4 == 3 {
                // written to the segments, but not committed
                committer.write().unwrap();
            }
            if life as u64 > end {
                committer.commit().unwrap();
            }
            drop(committer);
            deaths += 1;
            life = life % 12 + if deaths > 60 { 50 } else { 1 };
        }
        assert!(deaths > 5, "{deaths}");
        same(&everything(folder.path()), &expected, &format!("a commit every {commit_every} batches"));
    }
}

#[test]
fn what_was_revoked_is_forgotten_and_what_stays_begins_again() {
    let expected = expected();
    let folder = tempfile::tempdir().unwrap();
    let mut bus = Bus::new(traffic(4), Shutdown::new());
    let mut indexer = Indexer {
        config: Config { commit_interval: Duration::from_secs(3_600), ..config(folder.path()) },
        metrics: Metrics::unregistered(),
        archive: None,
        consumer: &mut bus,
        committer: Committer::open(&folder.path().join("index"), 16 << 20).unwrap(),
        assigned: BTreeMap::new(),
        last_commit: Instant::now(),
    };
    block_on(async {
        indexer = indexer.step(Step::Assigned(vec![0, 1])).await.unwrap();
        for at in 0..25 {
            let step = indexer.consumer.next().await.unwrap();
            indexer = if matches!(step, Step::Assigned(_)) { indexer } else { indexer.step(step).await.unwrap() };
            if at == 8 {
                indexer = indexer.commit().await.unwrap();
            }
        }
        assert!(indexer.committer.is_pending());
        indexer = indexer.step(Step::Revoked(vec![1])).await.unwrap();
        assert!(!indexer.committer.is_pending());
        assert_eq!(indexer.assigned.keys().collect::<Vec<_>>(), [&0]);
        assert_eq!(indexer.consumer.places[&0], indexer.committer.next(0));
        indexer.committer.close().unwrap();
    });
    index(folder.path(), &mut bus);
    same(&everything(folder.path()), &expected, "after it");
}

#[test]
fn a_bus_that_let_go_of_what_is_needed_is_an_error_that_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let shutdown = Shutdown::new();
    let mut bus = Bus::new(traffic(4), shutdown.clone());
    bus.oldest = 3;
    let error = block_on(run(config(folder.path()), &mut bus, shutdown)).unwrap_err();
    assert!(
        matches!(error, Error::Start { partition: 0, offset: 0, source: event_log::Error::Gone { .. } }),
        "{error:?}"
    );
}

#[test]
fn an_unreadable_batch_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let mut logs = traffic(4);
    logs[0].insert(2, bytes::Bytes::from_static(b"not a batch"));
    index(folder.path(), &mut Bus::new(logs, Shutdown::new()));
    same(&everything(folder.path()), &expected(), "after it");
}

#[test]
fn a_damaged_index_is_put_aside_and_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let mut bus = Bus::new(traffic(4), Shutdown::new());
    index(folder.path(), &mut bus);
    std::fs::write(folder.path().join("index/meta.json"), b"{ damaged").unwrap();
    index(folder.path(), &mut bus);
    same(&everything(folder.path()), &expected(), "after it");
    assert!(folder.path().join("index.aside-1").exists());
}

#[test]
fn a_running_statement_is_found_and_replaced_when_it_completes_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut script = Script::new(1, "billing-bot");
    script.statement(1, "select card_number from customers where name = 'Ada'");
    script.verdict(1, VerdictKind::Mask, &[("public.customers.card_number", Usage::Projected, true)]);
    let before = script.events.len();
    script.completed(1, Outcome::Succeeded, 5);
    script.closed();
    let sealed = batches(0, &script.events, 1);
    let mut bus = Bus::new(vec![sealed[..before].to_vec()], Shutdown::new());
    index(folder.path(), &mut bus);
    let searcher = Searcher::open(folder.path().join("index"));
    let ask = |text: &str| searcher.search(&Question::parse(text, 0).unwrap(), 10, 0).unwrap();
    let found = ask("who read card_number outcome:running");
    assert_eq!((found.total, found.identities[0].masked, found.identities[0].clear), (1, 1, 0));
    bus.logs = vec![sealed];
    index(folder.path(), &mut bus);
    let found = ask("\"where name = 'Grace'\" type:statement");
    assert_eq!((found.total, found.hits[0].outcome.as_str(), found.hits[0].rows), (1, "succeeded", Some(5)));
    assert_eq!(ask("state:open").total, 0);
}
