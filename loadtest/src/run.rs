//! Sends exchanges, reads their answers, measures and compares.

use crate::{
    Error, Options,
    capture::{Capture, Exchange},
    connect::{self, Session},
    report::{Gathered, Report},
    wire::Frame,
};
use std::time::Duration;
use tokio::{
    io::AsyncWriteExt,
    sync::{mpsc, watch},
    time::Instant,
};

/// Exchanges that may be under way at once.
const MAX_UNDER_WAY: usize = 1024;

/// Stands for a denied statement at a target that would not deny it: it fails, and so does the transaction around it.
const FAILS: &[u8] = b"select 1/0\0";

/// An exchange on its way.
struct Flying {
    number: usize,
    /// When each of its statements should have gone.
    intended: Vec<Instant>,
    /// Its answer is not compared or measured.
    silent: bool,
}

/// Sends all of it and gathers the report.
pub(crate) async fn run(session: Session, capture: Capture, options: &Options) -> Result<Report, Error> {
    let Session { mut reader, mut writer } = session;
    let exchanges = &capture.exchanges;
    let (fly, mut flying) = mpsc::channel::<Flying>(MAX_UNDER_WAY);
    let (answered, mut landed) = watch::channel(0usize);
    let start = Instant::now();
    let failed = |source| connect::io("send to", &options.target, source);
    let send = async move {
        let mut waits_for = 0;
        for (number, exchange) in exchanges.iter().enumerate() {
            let denied = options.direct && exchange.statements.iter().any(|s| s.denied);
            if options.speed == 0.0 && landed.wait_for(|landed| *landed >= waits_for).await.is_err() {
                return Ok(());
            }
            let now = if options.speed == 0.0 { Instant::now() } else { start };
            let when = |at: u64| if options.speed == 0.0 { now } else { start + scaled(at, options.speed) };
            if denied {
                // a failed transaction stays one
                if exchange.answer.last().is_some_and(|f| f.kind == b'Z' && f.body == b"E") {
                    let mut bytes = Vec::new();
                    Frame::new(b'Q', FAILS).put(&mut bytes);
                    waits_for += 1;
                    if fly.send(Flying { number, intended: Vec::new(), silent: true }).await.is_err() {
                        return Ok(());
                    }
                    writer.write_all(&bytes).await.map_err(failed)?;
                }
                continue;
            }
            let runs = exchange.sent.iter().filter(|s| matches!(s.frame.kind, b'Q' | b'E'));
            let intended = runs.map(|s| when(s.at)).collect();
            if exchange.answered {
                waits_for += 1;
                if fly.send(Flying { number, intended, silent: false }).await.is_err() {
                    return Ok(());
                }
            }
            let mut bytes = Vec::new();
            let mut due = None;
            for sent in &exchange.sent {
                let at = when(sent.at);
                if due.is_some_and(|due| at > due) {
                    writer.write_all(&bytes).await.map_err(failed)?;
                    bytes.clear();
                }
                tokio::time::sleep_until(at).await;
                due = Some(at);
                sent.frame.put(&mut bytes);
            }
            writer.write_all(&bytes).await.map_err(failed)?;
        }
        drop(fly);
        landed.wait_for(|landed| *landed >= waits_for).await.ok();
        let mut bytes = Vec::new();
        Frame::new(b'X', []).put(&mut bytes);
        // the answers are all there: what becomes of the farewell is of no account
        writer.write_all(&bytes).await.ok();
        Ok::<(), Error>(())
    };
    let read = async move {
        let mut gathered = Gathered::new(options.direct);
        gathered.skipped = if options.direct { exchanges.iter().filter(|e| e.statements.iter().any(|s| s.denied)).count() } else { 0 };
        let mut landed = 0;
        while let Some(next) = flying.recv().await {
            let Some(exchange) = exchanges.get(next.number) else { break };
            let mut answer = Vec::new();
            let mut ends = Vec::new();
            loop {
                // the wait for the intended time is not the target's
                let late = next.intended.last().copied().unwrap_or_else(Instant::now).max(Instant::now()) + options.timeout;
                let frame = tokio::time::timeout_at(late, reader.next()).await;
                let timeout = Error::Timeout { exchange: next.number, seconds: options.timeout.as_secs() };
                let frame = frame.map_err(|_| timeout)??;
                let done = frame.kind == b'Z';
                if matches!(frame.kind, b'C' | b'I' | b's' | b'E') {
                    ends.push(Instant::now());
                }
                answer.push(frame);
                if done {
                    break;
                }
            }
            landed += 1;
            answered.send_replace(landed);
            if !next.silent {
                measure(&mut gathered, exchange, next.number, &next.intended, &ends, &answer);
            }
        }
        Ok::<_, Error>(gathered)
    };
    let both = tokio::try_join!(send, read);
    let ((), gathered) = both?;
    Ok(gathered.report(start.elapsed()))
}

fn scaled(at: u64, speed: f64) -> Duration {
    Duration::try_from_secs_f64(Duration::from_micros(at).as_secs_f64() / speed).unwrap_or(Duration::MAX / 4)
}

fn measure(
    gathered: &mut Gathered,
    exchange: &Exchange,
    number: usize,
    intended: &[Instant],
    ends: &[Instant],
    answer: &[Frame],
) {
    let failed = answer.iter().any(|f| f.kind == b'E');
    for (place, end) in ends.iter().enumerate() {
        let from = intended.get(place).or(intended.last());
        let shape = exchange.statements.get(place).or(exchange.statements.last());
        let shape = shape.map_or("(not judged)", |s| s.shape.as_str());
        let error = failed && place + 1 == ends.len();
        let latency = from.map_or(Duration::ZERO, |from| end.saturating_duration_since(*from));
        gathered.latency(shape, latency, error);
    }
    gathered.compare(number, exchange, answer);
}
