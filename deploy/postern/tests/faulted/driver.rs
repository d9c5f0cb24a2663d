//! Deals faults at random, again and again, until time is over and each kind has happened and had its effect.

use super::{
    client::Gates,
    proxy::{FAULTS, Fault, Proxy},
    workers::Worker,
};
use crate::support::{Kafka, START, eventually};
use fastrand::Rng as Random;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Everything that can be broken.
pub struct Site {
    /// Between clients and gates, gates and PostgreSQL, processes and broker.
    pub links: Vec<(&'static str, Vec<Proxy>)>,
    pub workers: Vec<Worker>,
    /// Of these, the one that writes the archive.
    pub recorder: usize,
    pub archive: PathBuf,
    pub kafka: Option<Kafka>,
}

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Card {
    Link(usize, Fault),
    Kill(usize),
    ArchiveAway,
    BrokerKilled,
    BrokerStopped,
}

/// A fault that goes on.
struct Active {
    card: Card,
    /// Of the links of its kind, the one that has it.
    proxy: usize,
    until: Instant,
    /// It had no effect yet: it goes on until then, at most.
    limit: Instant,
    before: u64,
}

/// From one fault to the next.
const PAUSE: (u64, u64) = (400, 1900);

/// How long a fault goes on.
const LENGTH: (u64, u64) = (500, 3500);

/// How long it may go on where it has no effect, such as a refusal while nobody connects.
const LIMIT: Duration = Duration::from_secs(12);

/// Statements that are answered in a run, at least.
const ENOUGH: u64 = 1500;

/// How long the driver rests between two looks.
const TICK: Duration = Duration::from_millis(50);

/// How often each kind happened, by name.
pub type Happened = BTreeMap<String, u64>;

/// Breaks things for so long, and puts them right; each kind has happened then, and clients were answered often enough.
pub fn drive(site: &mut Site, random: &mut Random, time: Duration, gates: &Gates) -> Happened {
    let kinds = site.cards();
    let mut happened: Happened = kinds.iter().map(|card| (site.name(*card), 0)).collect();
    let mut deck: Vec<Card> = Vec::new();
    let mut active: Vec<Active> = Vec::new();
    let begun = Instant::now();
    let (mut next, mut said) = (begun, begun);
    loop {
        let away = active.iter().any(|fault| fault.card == Card::ArchiveAway);
        site.workers.iter_mut().for_each(|worker| worker.tend(away));
        let (ended, going): (Vec<Active>, Vec<Active>) = active.into_iter().partition(|fault| site.is_over(fault));
        active = going;
        for fault in ended {
            let effects = site.end(&fault);
            *happened.get_mut(&site.name(fault.card)).unwrap() += effects.min(1);
        }
        let late = begun.elapsed() > time;
        let missing: Vec<Card> = kinds.iter().copied().filter(|card| happened[&site.name(*card)] == 0).collect();
        if late && missing.is_empty() && gates.answered() > ENOUGH {
            break;
        }
        assert!(begun.elapsed() < time + Duration::from_secs(300), "some fault cannot be brought about: {happened:?}");
        if said.elapsed() > Duration::from_secs(15) {
            said = Instant::now();
            println!("{:>4} s: {}", begun.elapsed().as_secs(), gates.told());
        }
        if Instant::now() >= next {
            next = Instant::now() + Duration::from_millis(random.u64(PAUSE.0..=PAUSE.1));
            if late {
                deck = missing;
                random.shuffle(&mut deck);
            } else if deck.is_empty() {
                deck = kinds.clone();
                random.shuffle(&mut deck);
            }
            // one fault of a link, a process, the broker at a time; what is taken comes again later
            let free = deck.iter().rposition(|card| !active.iter().any(|fault| site.collides(fault.card, *card)));
            if let Some(place) = free {
                let card = deck.remove(place);
                let away = active.iter().any(|fault| fault.card == Card::ArchiveAway);
                active.extend(site.begin(card, random, away));
            }
        }
        for fault in &active {
            if let Card::Link(link, kind) = fault.card
                && random.u64(..8) == 0
            {
                site.links[link].1[fault.proxy].again(kind);
            }
        }
        std::thread::park_timeout(TICK);
    }
    for fault in active {
        let effects = site.end(&fault);
        *happened.get_mut(&site.name(fault.card)).unwrap() += effects.min(1);
    }
    heal(site);
    happened
}

/// Waits until every process is ready again.
fn heal(site: &mut Site) {
    if let Some(kafka) = &mut site.kafka {
        kafka.wait();
    }
    let begun = Instant::now();
    while let Some(worker) = site.workers.iter().find(|worker| !worker.is_ready()) {
        let log = || worker.log();
        assert!(begun.elapsed() < START, "{} did not come back:\n{}", worker.name, log());
        site.workers.iter_mut().for_each(|worker| worker.tend(false));
        std::thread::park_timeout(TICK);
    }
}

impl Site {
    fn cards(&self) -> Vec<Card> {
        let mut cards = vec![Card::ArchiveAway];
        for link in 0..self.links.len() {
            cards.extend(FAULTS.map(|fault| Card::Link(link, fault)));
        }
        // alone it is killed as often as several are together
        for worker in 0..self.workers.len() {
            cards.extend(vec![Card::Kill(worker); if self.workers.len() == 1 { 4 } else { 1 }]);
        }
        if self.kafka.is_some() {
            cards.extend([Card::BrokerKilled, Card::BrokerStopped]);
        }
        cards
    }

    fn name(&self, card: Card) -> String {
        match card {
            Card::Link(link, fault) => format!("{} {fault:?}", self.links[link].0),
            Card::Kill(worker) => format!("kill -9 {}", self.workers[worker].name),
            Card::ArchiveAway => "archive away".to_owned(),
            Card::BrokerKilled => "broker kill -9".to_owned(),
            Card::BrokerStopped => "broker stopped".to_owned(),
        }
    }

    fn collides(&self, a: Card, b: Card) -> bool {
        let broker = |card: Card| match card {
            Card::BrokerKilled | Card::BrokerStopped => true,
            Card::Link(link, _) => self.links[link].0 == "broker",
            Card::Kill(_) | Card::ArchiveAway => false,
        };
        match (a, b) {
            (Card::Link(a, _), Card::Link(b, _)) => a == b,
            _ => a == b || (broker(a) && broker(b)),
        }
    }

    fn begin(&mut self, card: Card, random: &mut Random, away: bool) -> Option<Active> {
        let now = Instant::now();
        let until = now + Duration::from_millis(random.u64(LENGTH.0..=LENGTH.1));
        let (mut proxy, mut before) = (0, 0);
        match card {
            Card::Link(link, fault) => {
                let proxies = &self.links[link].1;
                proxy = random.usize(..proxies.len());
                before = proxies[proxy].shown(fault);
                proxies[proxy].begin(fault, random);
            }
            Card::Kill(worker) => {
                before = self.workers[worker].kills;
                self.workers[worker].kill(away);
            }
            Card::ArchiveAway => {
                before = self.workers[self.recorder].missed_the_archive();
                exchange(&self.archive);
                // some of the time it must begin without an archive too
                if random.u64(..2) == 0 {
                    self.workers[self.recorder].kill(true);
                }
            }
            Card::BrokerKilled => self.kafka.as_mut().unwrap().stop(),
            Card::BrokerStopped => self.kafka.as_ref().unwrap().signal("-STOP"),
        }
        Some(Active { card, proxy, until, limit: now + LIMIT, before })
    }

    fn is_over(&self, fault: &Active) -> bool {
        let now = Instant::now();
        match fault.card {
            Card::Kill(_) => true,
            Card::Link(..) | Card::ArchiveAway => now > fault.until && (self.effects(fault) > 0 || now > fault.limit),
            Card::BrokerKilled | Card::BrokerStopped => now > fault.until,
        }
    }

    fn effects(&self, fault: &Active) -> u64 {
        match fault.card {
            Card::Link(link, kind) => self.links[link].1[fault.proxy].shown(kind) - fault.before,
            Card::Kill(worker) => self.workers[worker].kills - fault.before,
            Card::ArchiveAway => self.workers[self.recorder].missed_the_archive() - fault.before,
            Card::BrokerKilled | Card::BrokerStopped => 1,
        }
    }

    /// Puts it right; how often it had an effect.
    fn end(&mut self, fault: &Active) -> u64 {
        match fault.card {
            Card::Link(link, kind) => self.links[link].1[fault.proxy].end(kind),
            Card::Kill(_) => {}
            Card::ArchiveAway => exchange(&self.archive),
            Card::BrokerKilled => self.kafka.as_mut().unwrap().launch(),
            Card::BrokerStopped => self.kafka.as_ref().unwrap().signal("-CONT"),
        }
        self.effects(fault)
    }
}

/// Where the archive's folder waits while a file stands in its place, and the file meanwhile.
fn aside(archive: &Path) -> PathBuf {
    archive.with_extension("away")
}

/// Puts a file into the place of the archive's folder, or the folder back: in one step, so that nobody finds the place
/// empty and begins another archive there.
fn exchange(archive: &Path) {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    let aside = aside(archive);
    if !aside.exists() {
        fs::write(&aside, "the archive is away").unwrap();
    }
    // before the first start there is none
    eventually("there is an archive", START, || archive.exists().then_some(()));
    renameat_with(CWD, archive, CWD, &aside, RenameFlags::EXCHANGE).unwrap();
}
