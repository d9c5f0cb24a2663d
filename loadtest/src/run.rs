//! Sends exchanges, reads their answers, measures and compares.

use crate::{
    Error, Options,
    capture::{Capture, Exchange},
    connect::{self, Reader, Session, Stream},
    report::{Gathered, Report},
    wire::Frame,
};
use std::time::Duration;
use tokio::{
    io::{AsyncWriteExt, WriteHalf},
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
    let Session { reader, writer } = session;
    let (fly, flying) = mpsc::channel::<Flying>(MAX_UNDER_WAY);
    let (answered, landed) = watch::channel(0usize);
    let start = Instant::now();
    let sending = Sending { writer, fly, landed, waits_for: 0, start, options };
    let ((), gathered) =
        tokio::try_join!(sending.all(&capture.exchanges), read(reader, flying, answered, &capture.exchanges, options))?;
    Ok(gathered.report(start.elapsed()))
}

struct Sending<'a> {
    writer: WriteHalf<Box<dyn Stream>>,
    fly: mpsc::Sender<Flying>,
    landed: watch::Receiver<usize>,
    waits_for: usize,
    start: Instant,
    options: &'a Options,
}

impl Sending<'_> {
    async fn all(mut self, exchanges: &[Exchange]) -> Result<(), Error> {
        for (number, exchange) in exchanges.iter().enumerate() {
            let closed = self.options.speed == 0.0;
            let waits_for = self.waits_for;
            if closed && self.landed.wait_for(|landed| *landed >= waits_for).await.is_err() {
                return Ok(());
            }
            if self.options.direct && exchange.statements.iter().any(|s| s.denied) {
                // a failed transaction stays one
                if exchange.answer.last().is_some_and(|f| f.kind == b'Z' && f.body == b"E") {
                    self.announce(Flying { number, intended: Vec::new(), silent: true }).await;
                    self.write(&[Frame::new(b'Q', FAILS)]).await?;
                }
                continue;
            }
            self.exchange(number, exchange).await?;
        }
        let waits_for = self.waits_for;
        // the reader ends when it knows that nothing more will fly
        let Self { fly, mut landed, mut writer, .. } = self;
        drop(fly);
        landed.wait_for(|landed| *landed >= waits_for).await.ok();
        let mut bytes = Vec::new();
        Frame::new(b'X', []).put(&mut bytes);
        // the answers are all there: what becomes of the farewell is of no account
        writer.write_all(&bytes).await.ok();
        Ok(())
    }

    async fn announce(&mut self, flying: Flying) {
        self.waits_for += 1;
        // the reader goes away only with an error, which is the outcome of both
        self.fly.send(flying).await.ok();
    }

    async fn write(&mut self, frames: &[Frame]) -> Result<(), Error> {
        let mut bytes = Vec::new();
        frames.iter().for_each(|frame| frame.put(&mut bytes));
        let sent = self.writer.write_all(&bytes).await;
        sent.map_err(|source| connect::io("send to", &self.options.target, source))
    }

    /// Sends each frame at its time, those of one time together.
    async fn exchange(&mut self, number: usize, exchange: &Exchange) -> Result<(), Error> {
        let (speed, start, now) = (self.options.speed, self.start, Instant::now());
        let when = |at: u64| if speed == 0.0 { now } else { start + scaled(at, speed) };
        let runs = exchange.sent.iter().filter(|s| matches!(s.frame.kind, b'Q' | b'E'));
        let intended = runs.map(|s| when(s.at)).collect();
        if exchange.answered {
            self.announce(Flying { number, intended, silent: false }).await;
        }
        for run in exchange.sent.chunk_by(|a, b| speed == 0.0 || a.at == b.at) {
            let at = run.first().map_or(now, |sent| when(sent.at));
            tokio::time::sleep_until(at).await;
            let frames: Vec<Frame> = run.iter().map(|sent| sent.frame.clone()).collect();
            self.write(&frames).await?;
        }
        Ok(())
    }
}

async fn read(
    mut reader: Reader,
    mut flying: mpsc::Receiver<Flying>,
    answered: watch::Sender<usize>,
    exchanges: &[Exchange],
    options: &Options,
) -> Result<Gathered, Error> {
    let denied = |exchange: &&Exchange| options.direct && exchange.statements.iter().any(|s| s.denied);
    let mut gathered = Gathered::new(options.direct);
    gathered.skipped = exchanges.iter().filter(denied).count();
    let mut landed = 0;
    while let Some(next) = flying.recv().await {
        let Some(exchange) = exchanges.get(next.number) else { break };
        let (mut answer, mut ends) = (Vec::new(), Vec::new());
        while answer.last().is_none_or(|frame: &Frame| frame.kind != b'Z') {
            // the wait for the intended time is not the target's
            let now = Instant::now();
            let late = next.intended.last().map_or(now, |intended| now.max(*intended)) + options.timeout;
            let timeout = Error::Timeout { exchange: next.number, seconds: options.timeout.as_secs() };
            let frame = tokio::time::timeout_at(late, reader.next()).await.map_err(|_| timeout)??;
            if matches!(frame.kind, b'C' | b'I' | b's' | b'E') {
                ends.push(Instant::now());
            }
            answer.push(frame);
        }
        landed += 1;
        answered.send_replace(landed);
        if !next.silent {
            measure(&mut gathered, exchange, next.number, &next.intended, &ends, &answer);
        }
    }
    Ok(gathered)
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
