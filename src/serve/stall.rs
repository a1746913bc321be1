//! A connection that is given up when its client takes nothing of its answer for too long, and that is closed so that what
//! was answered arrives.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

/// A stream whose writes fail after `limit` without a byte taken. Reads have limits of their own, per request.
pub(super) struct Stall {
    stream: TcpStream,
    limit: Duration,
    /// Running while a write waits.
    waiting: Option<Pin<Box<Sleep>>>,
    /// Running once no more is written: how long, and how many bytes more, are taken and thrown away.
    parting: Option<(Pin<Box<Sleep>>, u64)>,
}

/// What a client still sends after its answer is thrown away for so long, and so much of it. Closing over bytes that were
/// not read resets the connection, and the answer to a request that was refused at its head would be lost on the way.
const PARTING: Duration = Duration::from_secs(1);
const PARTING_BYTES: u64 = 16 << 20;

impl Stall {
    pub fn new(stream: TcpStream, limit: Duration) -> Stall {
        Stall { stream, limit, waiting: None, parting: None }
    }

    fn timed<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.waiting = None;
            return polled;
        }
        let limit = self.limit;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(limit)));
        ready!(waiting.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes no bytes")))
    }
}

impl AsyncRead for Stall {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stall {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.timed(cx, polled)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.timed(cx, polled)
    }
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(cx);
        self.timed(cx, polled)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.parting.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            self.parting = Some((Box::pin(sleep(PARTING)), PARTING_BYTES));
        }
        let Stall { stream, parting: Some((over, left)), .. } = &mut *self else { return Poll::Ready(Ok(())) };
        let mut thrown_away = [0; 4096];
        while over.as_mut().poll(cx).is_pending() && *left > 0 {
            let mut buffer = ReadBuf::new(&mut thrown_away);
            // Whatever ends the reading, the connection is over.
            let read = ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer));
            if read.is_err() || buffer.filled().is_empty() {
                break;
            }
            *left = left.saturating_sub(buffer.filled().len() as u64);
        }
        Poll::Ready(Ok(()))
    }
}
