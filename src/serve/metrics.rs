//! What `/metrics` shows, in the text format of Prometheus.

use super::route::Route;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Upper bounds of the latency buckets, seconds.
const BOUNDS_S: [f64; 14] = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];

#[derive(Default)]
struct Histogram {
    buckets: [AtomicU64; BOUNDS_S.len() + 1],
    sum_us: AtomicU64,
}

/// Counts since the start.
pub(super) struct Metrics {
    requests: Mutex<BTreeMap<(Route, u16), u64>>,
    latency: [Histogram; Route::ALL.len()],
    in_flight: AtomicI64,
    connections: AtomicI64,
    items: AtomicU64,
    streams_failed: AtomicU64,
    /// Loads that failed, loads that did not.
    loads: [AtomicU64; 2],
    started_s: f64,
}

/// GaugeGuard while it lives.
pub(super) struct GaugeGuard<'a>(&'a AtomicI64);

impl Drop for GaugeGuard<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What the server knows beside its counts.
pub(super) struct Now<'a> {
    pub ready: bool,
    pub computing: usize,
    pub waiting: usize,
    /// Model, generation, items in the catalogue, of which withdrawn; none before the first is loaded.
    pub serving: Option<(&'a str, u64, usize, usize)>,
}

impl Metrics {
    pub fn new() -> Metrics {
        let started_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64());
        Metrics {
            requests: Mutex::new(BTreeMap::new()),
            latency: Default::default(),
            in_flight: AtomicI64::new(0),
            connections: AtomicI64::new(0),
            items: AtomicU64::new(0),
            streams_failed: AtomicU64::new(0),
            loads: Default::default(),
            started_s,
        }
    }
    /// A connection is open for as long as the guard lives.
    pub fn connection(&self) -> GaugeGuard<'_> {
        self.connections.fetch_add(1, Ordering::Relaxed);
        GaugeGuard(&self.connections)
    }
    pub fn begin(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }
    /// A request that could not be read, or that was turned away, was answered with `status`.
    pub fn unread(&self, status: u16) {
        self.count(Route::Unknown, status);
    }
    /// A stream broke off.
    pub fn stream_failed(&self) {
        self.streams_failed.fetch_add(1, Ordering::Relaxed);
    }
    /// A load is over.
    pub fn loaded(&self, well: bool) {
        self.loads[usize::from(well)].fetch_add(1, Ordering::Relaxed);
    }
    /// A request is over; `items`: recommended in its answer.
    pub fn end(&self, route: Route, status: u16, took: Duration, items: u64) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.items.fetch_add(items, Ordering::Relaxed);
        let seconds = took.as_secs_f64();
        let bucket = BOUNDS_S.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS_S.len());
        let histogram = &self.latency[route as usize];
        histogram.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        histogram.sum_us.fetch_add(took.as_micros() as u64, Ordering::Relaxed);
        self.count(route, status);
    }
    fn count(&self, route: Route, status: u16) {
        *self.requests.lock().unwrap_or_else(PoisonError::into_inner).entry((route, status)).or_insert(0) += 1;
    }

    /// The page.
    pub fn text(&self, now: &Now) -> String {
        let mut out = String::new();
        let mut family = |name: &str, kind: &str, help: &str, lines: &[(String, String)]| {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for (suffix, value) in lines {
                let _ = writeln!(out, "{name}{suffix} {value}");
            }
        };
        let one = |value: String| vec![(String::new(), value)];
        let counts: Vec<((Route, u16), u64)> =
            self.requests.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|(k, v)| (*k, *v)).collect();
        let lines: Vec<(String, String)> = counts
            .iter()
            .map(|((route, status), n)| (format!("{{route=\"{}\",status=\"{status}\"}}", route.label()), n.to_string()))
            .collect();
        let help =
            "Requests answered, those that could not be read as of route unknown; status 499: the client left first.";
        family("causerie_requests_total", "counter", help, &lines);

        let mut lines = Vec::new();
        for route in Route::ALL {
            let histogram = &self.latency[route as usize];
            let label = route.label();
            let mut total = 0;
            for (n, bucket) in histogram.buckets.iter().enumerate() {
                total += bucket.load(Ordering::Relaxed);
                let bound = BOUNDS_S.get(n).map_or("+Inf".to_string(), f64::to_string);
                lines.push((format!("_bucket{{route=\"{label}\",le=\"{bound}\"}}"), total.to_string()));
            }
            let sum = histogram.sum_us.load(Ordering::Relaxed) as f64 / 1e6;
            lines.push((format!("_sum{{route=\"{label}\"}}"), sum.to_string()));
            lines.push((format!("_count{{route=\"{label}\"}}"), total.to_string()));
        }
        let help = "Time from a request's head to its answer's last byte, as handed to the system.";
        family("causerie_request_seconds", "histogram", help, &lines);

        let gauge = |value: &AtomicI64| one(value.load(Ordering::Relaxed).to_string());
        family("causerie_requests_in_flight", "gauge", "Requests not yet answered.", &gauge(&self.in_flight));
        let help = "Requests that are computed now.";
        family("causerie_requests_computing", "gauge", help, &one(now.computing.to_string()));
        let help = "Requests that wait for their turn to compute.";
        family("causerie_requests_waiting", "gauge", help, &one(now.waiting.to_string()));
        family("causerie_connections", "gauge", "Open connections.", &gauge(&self.connections));
        let items = self.items.load(Ordering::Relaxed).to_string();
        family("causerie_items_recommended_total", "counter", "Items in answers.", &one(items));
        let failed = self.streams_failed.load(Ordering::Relaxed).to_string();
        family("causerie_streams_failed_total", "counter", "Streamed replies that broke off.", &one(failed));
        let loads = ["failed", "ok"].iter().zip(&self.loads);
        let line = |(outcome, n): (&&str, &AtomicU64)| {
            (format!("{{outcome=\"{outcome}\"}}"), n.load(Ordering::Relaxed).to_string())
        };
        let lines: Vec<(String, String)> = loads.map(line).collect();
        family("causerie_loads_total", "counter", "Times that what is served was loaded.", &lines);
        let help = "1 once requests are answered.";
        family("causerie_ready", "gauge", help, &one(u8::from(now.ready).to_string()));
        if let Some((model, generation, items, withdrawn)) = now.serving {
            family("causerie_catalogue_items", "gauge", "Items in the catalogue.", &one(items.to_string()));
            let help = "Items taken out of the catalogue for now.";
            family("causerie_catalogue_withdrawn", "gauge", help, &one(withdrawn.to_string()));
            let help = "Rises with every reload and every change of the catalogue.";
            family("causerie_generation", "gauge", help, &one(generation.to_string()));
            let version = env!("CARGO_PKG_VERSION");
            let line = vec![(format!("{{version=\"{version}\",model=\"{model}\"}}"), "1".to_string())];
            family("causerie_build_info", "gauge", "What serves.", &line);
        }
        let resident = crate::run::memory_bytes();
        if resident > 0 {
            family("process_resident_memory_bytes", "gauge", "Memory in use.", &one(resident.to_string()));
        }
        let help = "Start of the process, seconds since 1970.";
        family("process_start_time_seconds", "gauge", help, &one(self.started_s.to_string()));
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_add_up_from_the_smallest_and_every_family_has_its_type() {
        let metrics = Metrics::new();
        for (ms, status) in [(1, 200), (3, 200), (700, 422), (60_000, 503)] {
            metrics.begin();
            metrics.end(Route::Recommend, status, Duration::from_millis(ms), 5);
        }
        metrics.unread(431);
        metrics.stream_failed();
        metrics.loaded(true);
        let text = metrics.text(&Now { ready: true, computing: 1, waiting: 2, serving: Some(("m", 3, 10, 1)) });
        for line in [
            "causerie_requests_total{route=\"/v1/recommend\",status=\"200\"} 2",
            "causerie_request_seconds_bucket{route=\"/v1/recommend\",le=\"0.0005\"} 0",
            "causerie_request_seconds_bucket{route=\"/v1/recommend\",le=\"0.005\"} 2",
            "causerie_request_seconds_bucket{route=\"/v1/recommend\",le=\"1\"} 3",
            "causerie_request_seconds_bucket{route=\"/v1/recommend\",le=\"+Inf\"} 4",
            "causerie_request_seconds_count{route=\"/v1/recommend\"} 4",
            "causerie_request_seconds_sum{route=\"/v1/recommend\"} 60.704",
            "causerie_requests_in_flight 0",
            "causerie_requests_total{route=\"unknown\",status=\"431\"} 1",
            "causerie_requests_waiting 2",
            "causerie_items_recommended_total 20",
            "causerie_streams_failed_total 1",
            "causerie_loads_total{outcome=\"ok\"} 1",
            "causerie_loads_total{outcome=\"failed\"} 0",
            "causerie_generation 3",
            "causerie_catalogue_withdrawn 1",
        ] {
            assert!(text.lines().any(|l| l == line), "no line {line} in\n{text}");
        }
        for line in text.lines().filter(|l| !l.starts_with('#')) {
            let name = line.split(['{', ' ']).next().unwrap();
            let family = ["_bucket", "_sum", "_count"].iter().fold(name, |n, s| n.strip_suffix(s).unwrap_or(n));
            assert!(text.contains(&format!("# TYPE {family} ")), "{line} has no type");
        }
    }
}
