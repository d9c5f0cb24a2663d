//! Takes connections: one listener and one single-threaded runtime for each worker, all on the same port.
//!
//! The kernel spreads connections over the workers (`SO_REUSEPORT`), so that a session lives on one core: measured, that
//! costs up to a third less CPU per statement than a runtime that moves tasks between threads. A permit is taken before a
//! connection is accepted into a session; beyond the limit it is refused at once, with the reason.

use crate::{Gate, session};
use kit::Shutdown;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use std::{io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::{JoinSet, LocalSet},
};

/// Connections that the kernel may hold for one listener.
const BACKLOG: i32 = 1024;

/// After accept failed (no file descriptors, mostly) nothing is accepted for this long.
const BACKOFF: Duration = Duration::from_millis(100);

/// Who says nothing is probed after this time: a client whose statement waits for a reviewer, a server that computes.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// Between probes of one that does not answer.
const PROBES: Duration = Duration::from_secs(15);

/// Sessions get this long to end by themselves at shutdown.
const DRAIN: Duration = Duration::from_secs(10);

/// Binds one listener; several may bind the same port.
///
/// # Errors
/// The system's.
pub fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Serves one worker's connections until shutdown, then lets its sessions end.
///
/// # Errors
/// The runtime's or the listener's.
pub fn serve(
    listener: std::net::TcpListener,
    gate: Arc<Gate>,
    permits: Arc<Semaphore>,
    shutdown: &Shutdown,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = LocalSet::new();
    local.block_on(&runtime, async {
        let listener = TcpListener::from_std(listener)?;
        let mut sessions = JoinSet::new();
        tokio::task::spawn_local(gate.log.commit_here());
        loop {
            let accepted = tokio::select! {
                biased;
                () = shutdown.wait() => break,
                Some(_) = sessions.join_next(), if !sessions.is_empty() => continue,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((socket, peer)) => {
                    let (gate, permits) = (gate.clone(), permits.clone());
                    sessions.spawn_local(one(socket, peer, gate, permits));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(BACKOFF).await;
                }
            }
        }
        drop(listener);
        let drained = tokio::time::timeout(DRAIN, async { while sessions.join_next().await.is_some() {} }).await;
        if drained.is_err() {
            tracing::warn!(sessions = sessions.len(), "sessions did not end in time");
        }
        Ok(())
    })
}

/// Sends at once what is written, and finds out that the other end is gone without a word, however silent both are.
///
/// # Errors
/// The system's: the connection is gone already.
pub(crate) fn prepare(socket: &TcpStream) -> io::Result<()> {
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(PROBES);
    socket.set_nodelay(true).and_then(|()| SockRef::from(socket).set_tcp_keepalive(&keepalive))
}

async fn one(socket: TcpStream, peer: SocketAddr, gate: Arc<Gate>, permits: Arc<Semaphore>) {
    if let Err(error) = prepare(&socket) {
        tracing::debug!(%peer, %error, "the connection was gone before it began");
        return;
    }
    let permit = permits.try_acquire_owned().ok();
    session::serve(socket, peer, gate, permit).await;
}
