//! What was said stays said: a key that is taken out, a topic that was cut, thinned out or made anew, a journal of another
//! day. Each of them would give back rights that were taken; each lets nobody in, with its reason.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may")]

mod support;

use bytes::Bytes;
use control::config::Retired;
use control::testing::{identity, pair};
use control::{Config, Control, OpenError, Silent, Telemetry};
use kit::metrics::Registry;
use ring::signature::KeyPair;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use support::{Broker, Node, config, disable, eventually, forged};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn disables(node: &Node, subject: &str) {
    runtime().block_on(node.control.append(disable(subject))).unwrap();
}

fn is_disabled(node: &Node, subject: &str) -> bool {
    node.control.state().is_disabled(&identity(subject, &[])).is_some()
}

fn refused(config: &Config) -> OpenError {
    let opened = || Control::open(config, Arc::new(Silent), Telemetry::new(&Registry::new())).err();
    eventually("it is refused", || opened().filter(|error| !format!("{error:?}").contains("Locked")))
}

fn key(config: &Config) -> [u8; 32] {
    schemas::chain::from_hexadecimal(&control::public_key(&config.signing_key, &config.kms).unwrap()).unwrap()
}

/// What the start says is to be written into the config: `"name" = "key@offset"`.
fn retire(config: &mut Config, line: &str) {
    let (node, rest) = line.trim().split_once(" = ").unwrap();
    let (key, before) = rest.trim_matches('"').split_once('@').unwrap();
    let key = schemas::chain::from_hexadecimal(key).unwrap();
    let retired = Retired { node: node.trim_matches('"').to_owned(), before: before.parse().unwrap() };
    config.retired.insert(key, retired);
}

#[test]
fn a_key_that_is_taken_out_takes_nothing_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path(), "a");
    let node = Node::open(&config);
    disables(&node, "ada");
    drop(node);
    let old = config.signing_key.clone();
    config.signing_key = folder.path().join("new.pk8");
    let told = refused(&config).to_string();
    let line = told.split(": ").nth(1).unwrap().split(". Write").next().unwrap().to_owned();
    assert!(matches!(refused(&config), OpenError::Forgotten(lines) if lines == line), "{told}");
    retire(&mut config, &line);
    assert_eq!(config.retired.values().next().unwrap(), &Retired { node: "a".to_owned(), before: 1 });
    let node = Node::open(&config);
    assert!(is_disabled(&node, "ada"), "what it signed counts on");
    disables(&node, "eve");
    drop(node);

    // a thief of the old key signs nothing more, whatever time he gives
    let thief = Config { signing_key: old.clone(), directory: folder.path().join("thief"), ..config.clone() };
    std::fs::create_dir_all(&thief.directory).unwrap();
    std::fs::rename(config.directory.join("control.log"), thief.directory.join("control.log")).unwrap();
    let own = Retired { node: "b".to_owned(), before: 9 };
    let stolen = Config {
        retired: [(key(&config), own)].into(),
        trusted: [(key(&config), "a".to_owned())].into(),
        ..thief.clone()
    };
    let node = Node::open(&stolen);
    disables(&node, "bob");
    drop(node);
    std::fs::rename(thief.directory.join("control.log"), config.directory.join("control.log")).unwrap();
    let node = Node::open(&config);
    assert!(is_disabled(&node, "ada") && is_disabled(&node, "eve") && !is_disabled(&node, "bob"));
    let alarms = node.ledger.alarms();
    assert!(alarms.iter().any(|alarm| alarm.contains("was retired before offset 1")), "{alarms:?}");
    drop(node);

    // the key by which it signs cannot be retired; and what the config voids on purpose is void
    let mut own = config.clone();
    own.retired.insert(key(&config), Retired { node: "a".to_owned(), before: 9 });
    assert!(matches!(refused(&own), OpenError::OwnRetired));
    config.retired.values_mut().for_each(|retired| retired.before = 0);
    let node = Node::open(&config);
    assert!(!is_disabled(&node, "ada") && is_disabled(&node, "eve"));
}

#[test]
fn a_retired_key_undoes_nothing_by_a_wrong_offset() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path(), "a");
    let node = Node::open(&config);
    disables(&node, "ada");
    disables(&node, "eve");
    drop(node);
    let old = key(&config);
    config.signing_key = folder.path().join("new.pk8");
    let mut retire = |before| {
        config.retired.insert(old, Retired { node: "a".to_owned(), before });
        config.clone()
    };
    let told = refused(&retire(1));
    assert!(
        matches!(&told, OpenError::Undone(lines) if lines.contains("@1\" is to be") && lines.ends_with("@2\"")),
        "{told}"
    );
    let node = Node::open(&retire(2));
    assert!(is_disabled(&node, "ada") && is_disabled(&node, "eve"));
    drop(node);
    let node = Node::open(&retire(0));
    assert!(!is_disabled(&node, "ada") && !is_disabled(&node, "eve"), "on purpose");
}

#[test]
fn what_a_node_did_not_live_to_tell_is_told_at_its_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "a");
    let told = |node: &Node| {
        eventually("all is told", || {
            let all = node.ledger.0.lock().unwrap();
            let revoked = all.iter().filter(|event| event.body.name() == "Revoked").cloned().collect::<Vec<_>>();
            Some(revoked).filter(|revoked| !revoked.is_empty())
        })
    };
    let node = Node::open(&config);
    let before = std::fs::read(config.seen_file()).unwrap();
    disables(&node, "ada");
    let first = told(&node);
    drop(node);
    // as it was when it was killed: the topic has the record, and of its events nobody knows
    eventually("it has ended", || event_log::control::embedded(&config.directory).ok().map(drop));
    std::fs::write(config.seen_file(), before).unwrap();
    let node = Node::open(&config);
    assert_eq!(told(&node), first, "with the same ids and times");
    drop(node);
    let node = Node::open(&config);
    assert!(is_disabled(&node, "ada") && node.ledger.names().is_empty(), "once is enough: {:?}", node.ledger.names());

    // a log that takes nothing: it is told once it does, here or at the next start
    node.ledger.refuses(true);
    disables(&node, "eve");
    drop(node);
    let node = Node::open(&config);
    assert_eq!(told(&node).len(), 1);
    node.ledger.refuses(true);
    disables(&node, "bob");
    assert_eq!(told(&node).len(), 1);
    node.ledger.refuses(false);
    eventually("it is told", || (told(&node).len() == 2).then_some(()));
}

/// A record of an envelope version that is not there yet.
fn later(seed: u8) -> Bytes {
    let pair = pair(seed);
    let before = [&b"PCT1"[..], &9u16.to_be_bytes(), &[0; 24], pair.public_key().as_ref(), b"later"].concat();
    let signature = pair.sign(&[&b"postern.control.v1\0"[..], &before].concat());
    [&before, signature.as_ref()].concat().into()
}

#[test]
fn what_a_trusted_node_of_a_later_version_wrote_is_not_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path(), "a");
    config.trusted.insert(pair(7).public_key().as_ref().try_into().unwrap(), "b".to_owned());
    drop(Node::open(&config));
    let write = |bytes| {
        let (writer, _steps) = eventually("it is free", || event_log::control::embedded(&config.directory).ok());
        runtime().block_on(writer.append(bytes)).unwrap();
    };
    write(later(66));
    let node = Node::open(&config);
    assert!(node.ledger.alarms()[0].contains("envelope version 9"), "a stranger's stops nobody");
    drop(node);
    write(later(7));
    let (node, why) = Node::open_lost(&config);
    assert!(why.contains("upgrade this node"), "{why}");
    eventually("it is told", || {
        node.ledger.alarms().iter().any(|alarm| alarm.starts_with("ControlLost")).then_some(())
    });
}

#[test]
fn a_journal_of_another_day_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "a");
    let node = Node::open(&config);
    disables(&node, "ada");
    drop(node);
    let journal = config.directory.join("control.log");
    let node = Node::open(&config);
    let early = std::fs::read(&journal).unwrap();
    disables(&node, "eve");
    drop(node);
    drop(Node::open(&config));
    let late = std::fs::read(&journal).unwrap();
    std::fs::write(&journal, &early).unwrap();
    let (node, why) = Node::open_lost(&config);
    assert!(why.contains("ends at offset 1, and this node has read it to 2"), "{why}");
    assert!(node.ledger.alarms().iter().any(|alarm| alarm.starts_with("ControlLost")));
    eventually("the metric says so", || node.registry.encode().contains("postern_control_fresh 0").then_some(()));
    assert!(
        node.registry.encode().contains("postern_control_journal_limit_bytes 4294967296"),
        "{}",
        node.registry.encode()
    );
    drop(node);
    // a stranger's record does not stop anybody, before a cut or behind it
    std::fs::write(&journal, &late).unwrap();
    let node = Node::open(&config);
    drop(node);
    {
        let (writer, _steps) = eventually("it is free", || event_log::control::embedded(&config.directory).ok());
        runtime().block_on(writer.append(forged("a", 1))).unwrap();
    }
    let node = Node::open(&config);
    assert!(is_disabled(&node, "ada") && is_disabled(&node, "eve"));
    assert!(node.ledger.alarms().iter().any(|alarm| alarm.starts_with("ForgedRecord")));
}

/// Three nodes whose configs name each other.
fn cluster(folder: &Path, broker: &Broker) -> [Config; 3] {
    let mut configs = ["a", "b", "c"].map(|node| config(folder, node));
    let keys = configs.each_ref().map(|config| (key(config), config.node.clone()));
    for config in &mut configs {
        config.trusted = keys.iter().filter(|(_, node)| *node != config.node).cloned().collect();
        config.kafka = Some(broker.config());
    }
    configs
}

#[test]
fn over_kafka_nothing_that_was_said_is_unsaid() {
    let folder = tempfile::tempdir().unwrap();
    let mut broker = Broker::new(folder.path());
    let [a, b, c] = cluster(folder.path(), &broker);

    // a node that has never read the topic, and whose config lacks the key of one that took rights away
    let (first, second) = (Node::open(&a), Node::open(&b));
    disables(&second, "ada");
    eventually("the other knows", || is_disabled(&first, "ada").then_some(()));
    let mut lacking = c.clone();
    lacking.trusted.remove(&key(&b));
    let (node, why) = Node::open_lost(&lacking);
    assert!(why.contains("the node \"a\" counts what the key") && why.contains("for the node \"b\""), "{why}");
    drop(node);
    let third = Node::open(&c);
    assert!(is_disabled(&third, "ada"));
    drop(third);
    // the same with a retired key: a place for it in the config is enough
    let mut late = c.clone();
    let before = second.control.state().disabled_identities().count() as u64 + 10;
    late.trusted.remove(&key(&b));
    late.retired.insert(key(&b), Retired { node: "b".to_owned(), before });
    let third = Node::open(&late);
    assert!(is_disabled(&third, "ada"));
    drop(third);
    // strangers stop nobody
    let (writer, _steps) = event_log::control::in_kafka(&broker.config(), Duration::from_secs(1)).unwrap();
    runtime().block_on(writer.append(forged("a", 1))).unwrap();
    eventually("the alarm", || first.ledger.alarms().first().cloned());
    assert!(first.control.fresh().is_ok());
    drop(writer);

    // a topic that somebody lets go of what is old
    broker.keep("retention.ms=604800000");
    let mut other = c.clone();
    other.directory = folder.path().join("other");
    let (node, why) = Node::open_lost(&other);
    assert!(why.contains("retention.ms is 604800000") && why.contains("--add-config retention.ms=-1"), "{why}");
    broker.keep("retention.ms=-1");
    eventually("it is mended", || node.control.fresh().ok());
    assert!(is_disabled(&node, "ada"));
    drop(node);

    // made anew: who starts remembers, and who runs notices once it is there again
    drop(second);
    broker.wipe();
    let (node, why) = Node::open_lost(&b);
    assert!(why.contains("this node has read it to"), "{why}");
    let why = eventually("it is lost", || match first.control.fresh() {
        Err(control::Stale::Lost(why)) => Some(why),
        _ => None,
    });
    assert!(why.contains("control topic"), "{why}");
    assert!(is_disabled(&first, "ada"), "what is known stays known");
    drop(node);
}
