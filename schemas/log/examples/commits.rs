//! Durable commits per second of the log, with batches signed and unsigned, beside a raw loop of writes and fdatasync on the
//! same disk. Rounds alternate, and the best of each is told: a disk is never faster than it is.
//!
//! `cargo run --release -p event-log --example commits -- [folder] [seconds] [rounds]`

use event_log::testing::{Session, config};
use event_log::{Config, Log};
use ring::signature::Ed25519KeyPair;
use schemas::Signer;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// Bytes of a statement's text: the record has some 320.
const TEXT: usize = 230;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().unwrap_or_else(|| ".".to_owned());
    let seconds = arguments.next().map_or(Ok(2), |text| text.parse())?;
    let time = Duration::from_secs(seconds);
    let rounds = arguments.next().map_or(Ok(1), |text| text.parse::<usize>())?;
    let signer = Signer::new(Ed25519KeyPair::from_seed_unchecked(&[7; 32]).map_err(|error| error.to_string())?);
    println!("clients  what          commits/s   p50 us   p99 us   of raw");
    for clients in [1, 8, 64] {
        let mut best: [Option<Measured>; 3] = [const { None }; 3];
        for _ in 0..rounds {
            let folder = Path::new(&folder);
            let round = [
                raw(folder, clients, time)?,
                log(folder, clients, time, Some(signer.clone()))?,
                log(folder, clients, time, None)?,
            ];
            for (best, one) in best.iter_mut().zip(round) {
                if best.as_ref().is_none_or(|best| one.rate > best.rate) {
                    *best = Some(one);
                }
            }
        }
        let raw = best.first().and_then(Option::as_ref).map_or(1.0, |raw| raw.rate);
        for (what, one) in ["raw", "log, signed", "log, unsigned"].iter().zip(best.iter().flatten()) {
            let ratio = one.rate / raw;
            println!("{clients:>7}  {what:<13} {:>9.0} {:>8} {:>8} {ratio:>8.2}", one.rate, one.p50, one.p99);
        }
    }
    Ok(())
}

struct Measured {
    rate: f64,
    p50: u64,
    p99: u64,
}

fn measured(mut micros: Vec<u64>, time: Duration) -> Measured {
    micros.sort_unstable();
    let at = |part: usize| micros.get(micros.len() * part / 100).copied().unwrap_or(0);
    Measured { rate: micros.len() as f64 / time.as_secs_f64(), p50: at(50), p99: at(99) }
}

/// Clients that append to a zeroed file, and one thread that syncs for all who wait: no framing, no checksum, no seal.
fn raw(folder: &Path, clients: usize, time: Duration) -> Result<Measured, Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir_in(folder)?;
    let file = Arc::new(std::fs::File::options().create_new(true).write(true).open(folder.path().join("raw"))?);
    let zeros = vec![0; 1 << 20];
    for megabyte in 0..256 {
        file.write_all_at(&zeros, megabyte << 20)?;
    }
    file.sync_all()?;
    let (next, synced) = (Arc::new(AtomicU64::new(0)), Arc::new((Mutex::new(0u64), Condvar::new())));
    let (stop, wanted) = (Arc::new(AtomicBool::new(false)), Arc::new((Mutex::new(0u64), Condvar::new())));
    let syncer = {
        let (file, next, synced, stop, wanted) =
            (file.clone(), next.clone(), synced.clone(), stop.clone(), wanted.clone());
        std::thread::spawn(move || {
            let mut done = 0;
            while !stop.load(Ordering::Relaxed) {
                let mut want = wanted.0.lock().expect("no thread panics");
                while *want <= done && !stop.load(Ordering::Relaxed) {
                    want = wanted.1.wait_timeout(want, Duration::from_millis(50)).expect("no thread panics").0;
                }
                drop(want);
                let through = next.load(Ordering::Acquire);
                file.sync_data().expect("the disk works");
                done = through;
                *synced.0.lock().expect("no thread panics") = through;
                synced.1.notify_all();
            }
        })
    };
    let threads: Vec<_> = (0..clients)
        .map(|_| {
            let (file, next, synced, stop, wanted) =
                (file.clone(), next.clone(), synced.clone(), stop.clone(), wanted.clone());
            std::thread::spawn(move || {
                let (record, mut micros) = (vec![7; 300], Vec::new());
                while !stop.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    let place = next.fetch_add(1, Ordering::AcqRel);
                    file.write_all_at(&record, place * 300 % (255 << 20)).expect("the disk works");
                    {
                        let mut want = wanted.0.lock().expect("no thread panics");
                        *want = (*want).max(place + 1);
                        wanted.1.notify_one();
                    }
                    let mut done = synced.0.lock().expect("no thread panics");
                    while *done <= place && !stop.load(Ordering::Relaxed) {
                        done = synced.1.wait_timeout(done, Duration::from_millis(50)).expect("no thread panics").0;
                    }
                    drop(done);
                    micros.push(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX));
                }
                micros
            })
        })
        .collect();
    std::thread::sleep(time);
    stop.store(true, Ordering::Relaxed);
    let micros = threads.into_iter().flat_map(|thread| thread.join().expect("no thread panics")).collect();
    syncer.join().expect("no thread panics");
    Ok(measured(micros, time))
}

/// Clients as the gate has them: tasks of one current-thread runtime that append and wait.
fn log(
    folder: &Path,
    clients: usize,
    time: Duration,
    signer: Option<Signer>,
) -> Result<Measured, Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir_in(folder)?;
    let settings = Config {
        segment_bytes: 64 << 20,
        limit_bytes: 4 << 30,
        batch_bytes: 256 << 10,
        batch_interval: Duration::from_millis(5),
        shards: Some(1),
        signer,
        ..config(folder.path())
    };
    let (log, _) = Log::open(settings, "bench".to_owned())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let local = tokio::task::LocalSet::new();
    let text = "x".repeat(TEXT);
    let micros = local.block_on(&runtime, async {
        let until = Instant::now() + time;
        let tasks: Vec<_> = (0..clients)
            .map(|_| {
                let (log, text) = (log.clone(), text.clone());
                tokio::task::spawn_local(async move {
                    let (mut session, mut micros) = (Session::new(log.assign()), Vec::new());
                    while Instant::now() < until {
                        let began = Instant::now();
                        let position = session.say(&log, &text)?;
                        log.durable(position).await?;
                        micros.push(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX));
                    }
                    Ok::<_, event_log::Error>(micros)
                })
            })
            .collect();
        let mut all = Vec::new();
        for task in tasks {
            all.extend(task.await??);
        }
        Ok::<_, Box<dyn std::error::Error>>(all)
    })?;
    let stats = log.stats();
    eprintln!("  {clients} clients: {} syncs, {} batches, {} events", stats.syncs, stats.batches, stats.events);
    runtime.block_on(log.close())?;
    Ok(measured(micros, time))
}
