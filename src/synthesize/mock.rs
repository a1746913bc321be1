//! A small HTTP server for tests: it counts what it is asked, and misbehaves to order.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// One request, as the server saw it.
#[derive(Debug, Clone)]
pub struct RecordedRequest {
    pub at: Instant,
    pub body: String,
    pub headers: String,
}

/// What the server does with one request.
pub enum Reply {
    /// Status, headers, body.
    Status(u16, &'static str, String),
    /// A good answer with this text.
    Text(String),
    /// Nothing, until the client closes the connection.
    Never,
    /// These bytes as they are, then the end of the connection.
    Raw(Vec<u8>),
    /// One byte of a body every 20 ms, without end.
    Drip,
}

pub struct Mock {
    pub url: String,
    pub seen: Arc<Mutex<Vec<RecordedRequest>>>,
    pub at_once_most: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

/// A chat completion with this text.
pub fn completion(text: &str, finish: &str) -> String {
    serde_json::json!({
        "choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": finish}],
        "usage": {"prompt_tokens": 50, "completion_tokens": 20},
    })
    .to_string()
}

impl Mock {
    /// Serves `reply(number of the request, its body)`.
    pub fn new(reply: impl Fn(usize, &str) -> Reply + Send + Sync + 'static) -> Mock {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let mock = Mock { url, seen: Default::default(), at_once_most: Default::default(), stop: Default::default() };
        let (seen, most, stop) = (mock.seen.clone(), mock.at_once_most.clone(), mock.stop.clone());
        let reply = Arc::new(reply);
        let now = Arc::new(AtomicUsize::new(0));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let (seen, reply, most, now) = (seen.clone(), reply.clone(), most.clone(), now.clone());
                std::thread::spawn(move || {
                    let _ = serve(stream.unwrap(), &seen, &*reply, &most, &now);
                });
            }
        });
        mock
    }
    pub fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
    /// Waits until `count` requests have come.
    pub fn wait_for(&self, count: usize) {
        let start = Instant::now();
        while self.count() < count {
            assert!(start.elapsed() < Duration::from_secs(120), "{} of {count} requests came", self.count());
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    /// The bodies so far.
    pub fn bodies(&self) -> Vec<serde_json::Value> {
        self.seen.lock().unwrap().iter().map(|s| serde_json::from_str(&s.body).unwrap()).collect()
    }
    /// The values of one header in all requests so far.
    pub fn header(&self, name: &str) -> Vec<String> {
        let value = |headers: &str| {
            let mut lines = headers.lines().filter_map(|l| l.split_once(':'));
            lines.find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.trim().to_string())
        };
        self.seen.lock().unwrap().iter().map(|s| value(&s.headers).unwrap_or_default()).collect()
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.url.trim_start_matches("http://").trim_end_matches("/v1"));
    }
}

fn serve(
    stream: TcpStream,
    seen: &Mutex<Vec<RecordedRequest>>,
    reply: &(dyn Fn(usize, &str) -> Reply + Send + Sync),
    most: &AtomicUsize,
    now: &AtomicUsize,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut out = stream;
    loop {
        let (mut headers, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if line.trim().is_empty() {
                break;
            }
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            headers.push_str(&line);
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let body = String::from_utf8(body).unwrap();
        let number = {
            let mut seen = seen.lock().unwrap();
            seen.push(RecordedRequest { at: Instant::now(), body: body.clone(), headers });
            seen.len() - 1
        };
        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        let reply = reply(number, &body);
        now.fetch_sub(1, Ordering::SeqCst);
        let (status, extra, text) = match reply {
            Reply::Status(status, extra, text) => (status, extra, text),
            Reply::Text(text) => (200, "content-type: application/json\r\n", completion(&text, "stop")),
            Reply::Never => return reader.read(&mut [0]).map(drop),
            Reply::Raw(bytes) => {
                out.write_all(&bytes)?;
                return out.shutdown(std::net::Shutdown::Both);
            }
            Reply::Drip => {
                out.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")?;
                loop {
                    out.write_all(b" ")?;
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        };
        out.write_all(
            format!("HTTP/1.1 {status} X\r\n{extra}content-length: {}\r\n\r\n{text}", text.len()).as_bytes(),
        )?;
    }
}
