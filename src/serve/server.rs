//! The server: listens, keeps the connections, computes in turns, ends in order.

use super::access;
use super::admission::Admission;
use super::auth::Token;
use super::handler::handle;
use super::metrics::Metrics;
use super::problem::Problem;
use super::reload;
use super::shared::{LogLine, Shared};
use super::slots::{ConnectionSlot, ConnectionSlots};
use super::stall::Stall;
use crate::config::ServeConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::recommend::service::{LiveService, Service};
use crate::run::{Level, default_threads};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use std::net::{IpAddr, SocketAddr, TcpListener, ToSocketAddrs};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Bytes of a request's head at most.
const HEAD_BYTES: usize = 64 << 10;
/// After the grace, blocking work that was cancelled has this long to notice.
const LAST_CALL: Duration = Duration::from_secs(2);

/// What has reached this machine when the drain is over is still read: a connection that closes over unread bytes resets, and
/// its client cannot know whether it was heard. So long each connection goes on, or half of `serve.shutdown_ms`.
const LAST_WORD: Duration = Duration::from_millis(100);
/// Connections that wait to be accepted and are taken before the listener closes; systems let no more than that wait.
const LAST_ACCEPTED: usize = 4096;

/// How far a server is on its way to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Serving,
    /// It says that it is not ready, and goes on taking connections.
    Draining,
    /// It takes no more of them.
    Closing,
}

/// Ends a server; every clone does.
#[derive(Clone)]
pub struct Stopper(Arc<watch::Sender<Stage>>);

impl Stopper {
    /// Is not ready any more, and goes on taking connections for `serve.drain_ms`; takes no more of them, finishes the
    /// requests under way within `serve.shutdown_ms`, then ends [`Server::run`]. Called again, it ends the first part. False
    /// where that is over as well.
    pub fn stop(&self) -> bool {
        self.0.send_if_modified(|stage| {
            let next = match stage {
                Stage::Serving => Stage::Draining,
                Stage::Draining => Stage::Closing,
                Stage::Closing => return false,
            };
            *stage = next;
            true
        })
    }
}

/// Connections above the limit that are told so at a time; those above that are closed without a word, lest they hold as many
/// open files as there are.
const TURNED_AWAY: usize = 64;

/// A server that listens and does not yet answer.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    config: ServeConfig,
    token: Option<Token>,
    threads: usize,
    stop: Stopper,
    log: Box<LogLine>,
}

impl Server {
    /// Listens on `serve.address` and `serve.port`. `threads`: those of each computation (0: what the quota gives); `log`
    /// takes a JSON line for every request, without what users say unless `serve.log_text`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for an address that other machines reach without a token, unless `serve.allow_no_token`;
    /// [`ErrorKind::Io`] when the port is taken or not allowed.
    pub fn bind(config: &ServeConfig, token: Option<Token>, threads: usize, log: Box<LogLine>) -> Result<Server> {
        // An IPv6 address may stand in brackets, as in a URL.
        let bare = config.address.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
        let name = (bare.unwrap_or(&config.address), u16::try_from(config.port).unwrap_or(0));
        let io = |e: std::io::Error| {
            let what = format!("serve: cannot listen on {}:{}: {e}; set serve.address and serve.port", name.0, name.1);
            Error::new(ErrorKind::Io, what)
        };
        let address = name.to_socket_addrs().map_err(io)?.next().ok_or_else(|| {
            Error::invalid(format!("serve.address = {:?}: no such address; 127.0.0.1 is this machine", config.address))
        })?;
        if token.is_none() && !address.ip().is_loopback() && !config.allow_no_token {
            return Err(Error::invalid(format!(
                "serve: other machines can reach {}, and there is no token: export {}, or set serve.token_file, or listen on 127.0.0.1 (serve.allow_no_token = true lets everybody in)",
                address.ip(),
                if config.token_env.is_empty() { "CAUSERIE_TOKEN" } else { &config.token_env }
            )));
        }
        let listener = TcpListener::bind(address).map_err(io)?;
        listener.set_nonblocking(true).map_err(io)?;
        let address = listener.local_addr().map_err(io)?;
        let stop = Stopper(Arc::new(watch::Sender::new(Stage::Serving)));
        Ok(Server { listener, address, config: config.clone(), token, threads, stop, log })
    }
    /// Where it listens, with the port that was given for port 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
    /// Ends it, from any thread.
    pub fn stopper(&self) -> Stopper {
        self.stop.clone()
    }

    /// Loads what is served and answers until stopped. Until `load` is done, and again on every `POST /v1/reload`, requests
    /// are told to come back (`/health/ready` says when). A stop during the first load ends at once.
    ///
    /// # Errors
    /// Those of the first `load`; [`ErrorKind::Io`] when the system gives no threads.
    pub fn run(self, load: impl Fn() -> Result<Service> + Send + Sync + 'static) -> Result<()> {
        let Server { listener, address, config, token, threads, stop, log } = self;
        let voice = config.voice;
        let load = move || {
            let service = load()?;
            voice.check(&service)?;
            Ok(service)
        };
        let places = if config.max_concurrent > 0 { config.max_concurrent } else { default_threads().max(1) };
        let io = |e: std::io::Error| Error::new(ErrorKind::Io, format!("serve: {e}"));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(default_threads().clamp(1, 4))
            // Those that compute, and those of callers who left and do not yet know.
            .max_blocking_threads(places + 1)
            .thread_name("causerie-serve")
            .enable_io()
            .enable_time()
            .build()
            .map_err(io)?;
        let shared = Arc::new(Shared {
            admission: Admission::new(places, config.max_waiting),
            open_loopback: token.is_none() && address.ip().is_loopback(),
            config,
            token,
            metrics: Metrics::new(),
            live: LiveService::default(),
            voice,
            loading: AtomicBool::new(false),
            load: Box::new(load),
            started_s: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()),
            threads,
            log_line: log,
            draining: AtomicBool::new(false),
        });
        shared.log(Level::Info, json!({"event": "listening", "address": address.to_string()}));
        let result = runtime.block_on(serve(shared.clone(), listener, stop));
        runtime.shutdown_timeout(LAST_CALL);
        shared.log(Level::Info, json!({"event": "stopped"}));
        result
    }
}

/// Accepts until stopped and drained, then waits for the connections that have a request under way.
async fn serve(shared: Arc<Shared>, listener: TcpListener, stop: Stopper) -> Result<()> {
    let listener =
        tokio::net::TcpListener::from_std(listener).map_err(|e| Error::new(ErrorKind::Io, format!("serve: {e}")))?;
    let mut stopped = stop.0.subscribe();
    let mut door = Door {
        slots: ConnectionSlots::new(shared.config.max_connections),
        shared: shared.clone(),
        stop: stop.clone(),
        connections: JoinSet::new(),
        turned_away: Arc::new(Semaphore::new(TURNED_AWAY)),
    };
    let loading = reload::begin(&shared).ok_or_else(|| Error::bug("serve: something loads before the first load"))?;
    let mut loading = pin!(loading);
    let mut loaded = false;
    loop {
        tokio::select! {
            _ = stopped.wait_for(|stage| *stage > Stage::Serving) => break,
            done = &mut loading, if !loaded => {
                loaded = true;
                done.map_err(|_| Error::bug("serve: loading ended early"))??;
            }
            () = door.stand(&listener) => {}
        }
    }
    shared.draining.store(true, Ordering::Relaxed);
    // Before the first load nobody was sent here.
    let drain_ms = if loaded { shared.config.drain_ms } else { 0 };
    if drain_ms > 0 {
        shared.log(Level::Info, json!({"event": "draining", "ms": drain_ms, "connections": door.connections.len()}));
        let mut over = pin!(sleep(Duration::from_millis(drain_ms)));
        loop {
            tokio::select! {
                () = over.as_mut() => break,
                _ = stopped.wait_for(|stage| *stage > Stage::Draining) => break,
                () = door.stand(&listener) => {}
            }
        }
    }
    stop.0.send_replace(Stage::Closing);
    let mut connections = door.close(listener);
    let open = connections.len();
    shared.log(Level::Info, json!({"event": "stopping", "connections": open}));
    let grace = Duration::from_millis(shared.config.shutdown_ms);
    let all = async { while connections.join_next().await.is_some() {} };
    if timeout(grace, all).await.is_err() {
        // Dropping their futures cancels their work.
        shared.log(Level::Warn, json!({"event": "cut_off", "connections": connections.len()}));
        connections.shutdown().await;
    }
    Ok(())
}

/// Where connections come in.
struct Door {
    shared: Arc<Shared>,
    slots: Arc<ConnectionSlots>,
    stop: Stopper,
    connections: JoinSet<()>,
    turned_away: Arc<Semaphore>,
}

impl Door {
    /// Waits for a connection to come or to end, and sees to it. May be dropped at any time.
    async fn stand(&mut self, listener: &tokio::net::TcpListener) {
        let (stream, peer) = tokio::select! {
            Some(_) = self.connections.join_next() => return,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(e) => {
                    // Too many open files, most likely: it passes, and a tight loop would not help.
                    self.shared.log(Level::Error, json!({"event": "accept", "cause": e.to_string()}));
                    return sleep(Duration::from_millis(100)).await;
                }
            },
        };
        self.let_in(stream, peer.ip());
    }

    fn let_in(&mut self, stream: TcpStream, peer: IpAddr) {
        let shared = self.shared.clone();
        match self.slots.take(std::time::Instant::now()) {
            Some(slot) => drop(self.connections.spawn(connection(shared, stream, peer, slot, self.stop.0.subscribe()))),
            None => {
                access::unread(&shared, peer, 503, "too_many_connections", None);
                if let Ok(permit) = self.turned_away.clone().try_acquire_owned() {
                    drop(tokio::spawn(turn_away(stream, permit)));
                }
            }
        }
    }

    /// Takes the connections that wait, which the system would reset, then no more; those that are open.
    fn close(mut self, listener: tokio::net::TcpListener) -> JoinSet<()> {
        // The system is asked itself: the runtime may not have heard yet of one that waits.
        let Ok(listener) = listener.into_std() else { return self.connections };
        for _ in 0..LAST_ACCEPTED {
            let (stream, peer) = match listener.accept() {
                Ok(accepted) => accepted,
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => break,
                // One that gave up meanwhile; the next may not have.
                Err(_) => continue,
            };
            if let Ok(stream) = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream)) {
                self.let_in(stream, peer.ip());
            }
        }
        self.connections
    }
}

/// What hyper answers of itself to a request that it cannot read: its status, and a name for it; none where it says nothing.
fn refused_by_hyper(error: &hyper::Error) -> Option<(u16, &'static str)> {
    match () {
        () if !error.is_parse() => None,
        // This one is closed without an answer.
        () if error.is_parse_version_h2() => Some((400, "http2")),
        // It tells the two apart by their words alone; the tests see whether it still does.
        () if error.is_parse_too_large() && error.to_string().contains("URI") => Some((414, "uri_too_long")),
        () if error.is_parse_too_large() => Some((431, "head_too_large")),
        () => Some((400, "bad_request")),
    }
}

/// One connection, from its first request to its last.
async fn connection(
    shared: Arc<Shared>,
    stream: TcpStream,
    peer: IpAddr,
    slot: ConnectionSlot,
    mut stopped: watch::Receiver<Stage>,
) {
    let _counted = shared.metrics.connection();
    // An event of a stream leaves when it is made.
    let _ = stream.set_nodelay(true);
    let io = TokioIo::new(Stall::new(stream, Duration::from_millis(shared.config.write_timeout_ms)));
    let slot = Arc::new(slot);
    let (answering, at) = (shared.clone(), slot.clone());
    let service = service_fn(move |request| handle(answering.clone(), peer, at.clone(), request));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(shared.config.read_timeout_ms))
        .max_buf_size(HEAD_BYTES)
        .max_header_size(HEAD_BYTES)
        .serve_connection(io, service);
    let mut served = pin!(served);
    let ended = tokio::select! {
        // What has arrived is read before anything ends.
        biased;
        ended = served.as_mut() => Some(ended),
        () = async {
            // Without a server there is nobody to wait for.
            let _ = stopped.wait_for(|stage| *stage == Stage::Closing).await;
            sleep(LAST_WORD.min(Duration::from_millis(shared.config.shutdown_ms) / 2)).await;
        } => None,
        () = slot.lost() => {
            shared.log(Level::Warn, json!({"event": "made_room", "peer": peer.to_string()}));
            return;
        }
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    // A broken connection is the client's affair: its request says so in the log. One that could not be read has none.
    if let Err(e) = ended
        && let Some((status, code)) = refused_by_hyper(&e)
    {
        access::unread(&shared, peer, status, code, Some(e.to_string()));
    }
}

/// A connection above the limit is told so, and closed.
async fn turn_away(mut stream: TcpStream, _permit: OwnedSemaphorePermit) {
    let problem =
        Problem::new(503, "too_many_connections", "too many connections: try again, or raise serve.max_connections");
    let body = format!("{}\n", problem.body());
    let text = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: {}\r\nretry-after: 1\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let said = async {
        // What was sent is taken first: closing over unread bytes would throw the answer away.
        let mut asked = [0; 4096];
        let _ = stream.read(&mut asked).await?;
        stream.write_all(text.as_bytes()).await?;
        stream.shutdown().await
    };
    // Whether it was heard makes no difference.
    let _ = timeout(Duration::from_secs(1), said).await;
}
