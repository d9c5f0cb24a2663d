//! A listener with a limit of open connections: beyond it, clients wait in the system's queue; and with a share for each
//! address, so that none takes all.

use crate::crowd::{Crowd, Place};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;

/// Waits before it accepts again when the process is out of file descriptors or the like.
const BACKOFF: Duration = Duration::from_millis(100);
/// A client that takes nothing of its answer for so long is cut off.
const STALLED: Duration = Duration::from_secs(30);

pub(crate) struct Limited {
    listener: TcpListener,
    open: Arc<Semaphore>,
    addresses: Crowd<IpAddr>,
}

impl Limited {
    /// With so many connections in all, and so many from one address.
    pub(crate) fn new(listener: TcpListener, connections: usize, each: usize) -> Self {
        let addresses = Crowd::new(each, usize::MAX);
        Self { listener, open: Arc::new(Semaphore::new(connections)), addresses }
    }

    /// The next connection. One of an address that has its share already is closed at once.
    pub(crate) async fn accept(&self) -> (Connection, Peer) {
        let permit = self.open.clone().acquire_owned().await.ok();
        loop {
            match self.listener.accept().await {
                Ok((stream, address)) => match self.addresses.enter(address.ip()) {
                    Some(place) => {
                        let connection = Connection { stream, stalled: None, _permit: permit, _place: place };
                        return (connection, Peer(address));
                    }
                    None => tracing::debug!(%address, "a connection was closed: its address has its share already"),
                },
                Err(error) => {
                    tracing::warn!(%error, "accepting a connection failed");
                    tokio::time::sleep(BACKOFF).await;
                }
            }
        }
    }
}

/// The address of a client, as requests carry it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// A connection, and its place among those that may be open.
pub(crate) struct Connection {
    stream: TcpStream,
    /// Since when the client has taken nothing of what it is sent.
    stalled: Option<Pin<Box<Sleep>>>,
    _permit: Option<OwnedSemaphorePermit>,
    _place: Place<IpAddr>,
}

impl Connection {
    /// Fails where the client takes nothing for too long: an answer that nobody reads keeps a place.
    fn patient<T>(&mut self, polled: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.stalled = None;
            return polled;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(STALLED)));
        match stalled.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.patient(polled, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.patient(polled, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
