//! A TCP proxy that breaks what it carries, as networks do: switched while it runs, and counting what it did.
//!
//! Bytes are never lost inside of a connection that lives on: what a fault withholds is delivered when it heals, or the
//! connection is reset.

use crate::support::free_port;
use fastrand::Rng as Random;
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp},
    runtime::Runtime,
    sync::watch,
};

/// What a proxy may do to its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Every piece of data is delayed, each by another time.
    Latency,
    /// Data comes in pieces of some bytes.
    Pieces,
    /// Every connection is reset, several times.
    Resets,
    /// Connections are taken and nothing is carried; what was withheld comes late.
    Late,
    /// Likewise, and the connections are reset in the end.
    Blackhole,
    /// One end of every connection is reset, the other is not told; it is reset in the end.
    HalfOpen,
    /// Every connection is reset, and new ones are as soon as they come.
    Refused,
}

pub const FAULTS: [Fault; 7] =
    [Fault::Latency, Fault::Pieces, Fault::Resets, Fault::Late, Fault::Blackhole, Fault::HalfOpen, Fault::Refused];

/// How things stand for all connections.
#[derive(Debug, Clone, Default)]
struct State {
    /// The longest delay.
    latency: Duration,
    /// Bytes of a piece; 0: as they come.
    piece: usize,
    blackhole: bool,
    refuse: bool,
    /// How often everything was reset, made half open, and rid of its other half.
    resets: u64,
    halved: u64,
    rid: u64,
    /// Whose end is reset when halved.
    client_goes: bool,
}

/// What was done so far.
#[derive(Debug, Default)]
struct Counts {
    delayed: AtomicU64,
    cut: AtomicU64,
    reset: AtomicU64,
    withheld: AtomicU64,
    halved: AtomicU64,
    refused: AtomicU64,
}

/// Carries connections from its port to another one of 127.0.0.1.
pub struct Proxy {
    pub port: u16,
    state: watch::Sender<State>,
    counts: Arc<Counts>,
    _runtime: Runtime,
}

impl Proxy {
    pub fn start(target: u16) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let port = free_port();
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", port))).unwrap();
        let (state, watched) = watch::channel(State::default());
        let counts = Arc::new(Counts::default());
        let told = counts.clone();
        runtime.spawn(async move {
            loop {
                if let Ok((client, _)) = listener.accept().await {
                    let connection = Connection { target, state: watched.clone(), counts: told.clone() };
                    tokio::spawn(connection.serve(client));
                }
            }
        });
        Self { port, state, counts, _runtime: runtime }
    }

    /// How often a fault had an effect so far.
    pub fn shown(&self, fault: Fault) -> u64 {
        let count = match fault {
            Fault::Latency => &self.counts.delayed,
            Fault::Pieces => &self.counts.cut,
            Fault::Resets => &self.counts.reset,
            Fault::Late | Fault::Blackhole => &self.counts.withheld,
            Fault::HalfOpen => &self.counts.halved,
            Fault::Refused => &self.counts.refused,
        };
        count.load(Relaxed)
    }

    pub fn begin(&self, fault: Fault, random: &mut Random) {
        self.state.send_modify(|state| match fault {
            Fault::Latency => state.latency = Duration::from_millis(random.u64(10..=250)),
            Fault::Pieces => state.piece = usize::try_from(random.u64(1..=16)).unwrap(),
            Fault::Resets => state.resets += 1,
            Fault::Late | Fault::Blackhole => state.blackhole = true,
            Fault::HalfOpen => {
                state.halved += 1;
                state.client_goes = random.u64(..2) == 0;
            }
            Fault::Refused => {
                state.resets += 1;
                state.refuse = true;
            }
        });
    }

    /// The fault goes on: resets come again.
    pub fn again(&self, fault: Fault) {
        if fault == Fault::Resets {
            self.state.send_modify(|state| state.resets += 1);
        }
    }

    pub fn end(&self, fault: Fault) {
        self.state.send_modify(|state| match fault {
            Fault::Latency => state.latency = Duration::ZERO,
            Fault::Pieces => state.piece = 0,
            Fault::Resets => {}
            Fault::Late => state.blackhole = false,
            Fault::Blackhole => {
                state.resets += 1;
                state.blackhole = false;
            }
            Fault::HalfOpen => state.rid += 1,
            Fault::Refused => state.refuse = false,
        });
    }
}

struct Connection {
    target: u16,
    state: watch::Receiver<State>,
    counts: Arc<Counts>,
}

/// Why a connection ends that was carried.
enum End {
    Both,
    Reset,
    Halved { client_goes: bool },
}

impl Connection {
    async fn serve(self, mut client: TcpStream) {
        let born = self.state.borrow().clone();
        if born.refuse {
            self.counts.refused.fetch_add(1, Relaxed);
            return reset(client);
        }
        let opened = async {
            self.passable().await;
            TcpStream::connect(("127.0.0.1", self.target)).await
        };
        let mut server = tokio::select! {
            Ok(server) = opened => server,
            // nobody listens there, or everything is reset
            else => return reset(client),
        };
        if client.set_nodelay(true).and_then(|()| server.set_nodelay(true)).is_err() {
            return;
        }
        let end = {
            let (mut from_client, mut to_client) = client.split();
            let (mut from_server, mut to_server) = server.split();
            let mut watched = self.state.clone();
            let carried = async {
                let up = self.pump(&mut from_client, &mut to_server);
                let down = self.pump(&mut from_server, &mut to_client);
                tokio::try_join!(up, down)
            };
            tokio::select! {
                done = carried => if done.is_ok() { End::Both } else { End::Reset },
                changed = watched.wait_for(|now| now.resets > born.resets || now.halved > born.halved) => {
                    match changed {
                        Ok(now) if now.resets > born.resets => {
                            self.counts.reset.fetch_add(1, Relaxed);
                            End::Reset
                        }
                        Ok(now) => End::Halved { client_goes: now.client_goes },
                        Err(_) => End::Both,
                    }
                }
            }
        };
        match end {
            End::Both => {}
            End::Reset => [client, server].into_iter().for_each(reset),
            End::Halved { client_goes } => {
                self.counts.halved.fetch_add(1, Relaxed);
                let (goes, stays) = if client_goes { (client, server) } else { (server, client) };
                reset(goes);
                let mut watched = self.state.clone();
                // what a keepalive would find out in the end
                let _ended = watched.wait_for(|now| now.rid > born.rid).await;
                reset(stays);
            }
        }
    }

    async fn passable(&self) {
        let mut watched = self.state.clone();
        if watched.borrow_and_update().blackhole {
            self.counts.withheld.fetch_add(1, Relaxed);
            let _healed = watched.wait_for(|now| !now.blackhole).await;
        }
    }

    async fn pump(&self, from: &mut tcp::ReadHalf<'_>, to: &mut tcp::WriteHalf<'_>) -> io::Result<()> {
        let mut buffer = vec![0; 64 << 10];
        let mut random = Random::with_seed(u64::from(self.target) + self.counts.delayed.load(Relaxed));
        loop {
            let count = from.read(&mut buffer).await?;
            let (latency, piece) = {
                let now = self.state.borrow();
                (now.latency, now.piece)
            };
            if !latency.is_zero() {
                self.counts.delayed.fetch_add(1, Relaxed);
                let millis = u64::try_from(latency.as_millis()).unwrap();
                let delay = Duration::from_millis(random.u64(..millis + 1));
                tokio::time::sleep_until(tokio::time::Instant::now() + delay).await;
            }
            self.passable().await;
            if count == 0 {
                return to.shutdown().await;
            }
            let mut rest = &buffer[..count];
            let mut sent = 0;
            while !rest.is_empty() {
                // what is long goes faster after a while: it is where a piece ends that matters
                let size = if piece == 0 { rest.len() } else { piece * (1 + sent / 256) }.min(rest.len());
                if size < rest.len() {
                    self.counts.cut.fetch_add(1, Relaxed);
                }
                let (now, later) = rest.split_at(size);
                to.write_all(now).await?;
                sent += size;
                rest = later;
                if !rest.is_empty() {
                    tokio::task::yield_now().await;
                }
            }
        }
    }
}

/// Ends a connection by RST.
fn reset(stream: TcpStream) {
    // fails only where the other end was faster
    let _gone = stream.set_zero_linger();
    drop(stream);
}
