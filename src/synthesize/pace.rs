//! How many requests at once, and how long to wait: additive increase, x0.75 at the first 429 of a burst, a pause for all
//! after a 429, and exponential backoff with a jitter that depends on the request alone.

use std::time::{Duration, Instant, SystemTime};

/// The longest pause between two attempts when the teacher names none.
const BACKOFF_MOST: Duration = Duration::from_secs(60);

/// Before attempt `attempt` + 1 of the request `id`: `base * 2^attempt`, at most a minute, times 0.5 to 1.
pub(super) fn backoff(base: Duration, attempt: usize, id: &str) -> Duration {
    let doubled = base.saturating_mul(1u32 << attempt.min(20)).min(BACKOFF_MOST);
    let jitter = crate::math::Random::new(attempt as u64, id.as_bytes()).uniform();
    doubled.mul_f64(0.5 + 0.5 * jitter)
}

/// The limit on requests in flight.
#[derive(Debug)]
pub(super) struct Pace {
    limit: f64,
    most: f64,
    /// No request before this time.
    pause_until: Option<Instant>,
    /// A 429 for something sent before this time belongs to the burst already answered for.
    lowered: Option<Instant>,
}

impl Pace {
    /// Starts at `most` requests at once.
    pub(super) fn new(most: usize) -> Pace {
        let most = most.max(1) as f64;
        Pace { limit: most, most, pause_until: None, lowered: None }
    }
    /// Requests at once, now.
    pub(super) fn limit(&self) -> usize {
        self.limit as usize
    }
    /// One more good answer: a full round of them raises the limit by one.
    pub(super) fn good(&mut self) {
        self.limit = (self.limit + 1.0 / self.limit).min(self.most);
    }
    /// A 429 for a request sent at `sent`: a pause for all, and fewer at once if it is the first of its burst.
    pub(super) fn throttled(&mut self, sent: Instant, now: Instant, pause: Duration) {
        if self.lowered.is_none_or(|at| sent > at) {
            self.limit = (self.limit * 0.75).max(1.0);
            self.lowered = Some(now);
        }
        let until = now + pause;
        self.pause_until = Some(self.pause_until.map_or(until, |p| p.max(until)));
    }
    /// True while everything pauses.
    pub(super) fn paused(&self, now: Instant) -> bool {
        self.pause_until.is_some_and(|until| now < until)
    }
}

/// What `Retry-After` asks for: seconds, or an HTTP date.
pub(super) fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<f64>() {
        return (seconds.is_finite() && seconds >= 0.0).then(|| Duration::from_secs_f64(seconds.min(1e6)));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_burst_lowers_once_and_good_answers_raise_one_a_round() {
        let mut pace = Pace::new(8);
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        for _ in 0..5 {
            pace.throttled(at(0), at(10), Duration::from_millis(100));
        }
        assert_eq!(pace.limit(), 6);
        assert!(pace.paused(at(109)) && !pace.paused(at(110)));
        pace.throttled(at(120), at(130), Duration::ZERO);
        assert_eq!(pace.limit(), 4);
        for _ in 0..5 {
            pace.good();
        }
        assert_eq!(pace.limit(), 5);
        for _ in 0..1000 {
            pace.good();
        }
        assert_eq!(pace.limit(), 8);
        for burst in 0..50u64 {
            pace.throttled(at(200 + burst * 2), at(201 + burst * 2), Duration::ZERO);
        }
        assert_eq!(pace.limit(), 1, "never none");
    }

    #[test]
    fn backoff_doubles_within_its_jitter_and_is_the_same_each_time() {
        let base = Duration::from_millis(500);
        for attempt in 0..30 {
            let wait = backoff(base, attempt, "id");
            let full = base.saturating_mul(1 << attempt.min(20)).min(Duration::from_secs(60));
            assert!(wait >= full / 2 && wait <= full, "{attempt}: {wait:?}");
            assert_eq!(wait, backoff(base, attempt, "id"));
        }
        assert_ne!(backoff(base, 1, "a"), backoff(base, 1, "b"));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        // `date -u -d "2015-10-21 07:28:00" +%s` = 1445412480; 2024-02-29 00:00:00 = 1709164800.
        let at = |seconds: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        // The three forms of RFC 9110, the second and third out of date.
        for date in ["Wed, 21 Oct 2015 07:28:00 GMT", "Wednesday, 21-Oct-15 07:28:00 GMT", "Wed Oct 21 07:28:00 2015"] {
            assert_eq!(retry_after(date, at(1_445_412_480 - 7)), Some(Duration::from_secs(7)), "{date}");
            assert_eq!(retry_after(date, at(1_445_412_480 + 7)), Some(Duration::ZERO), "{date}");
        }
        let leap = "Thu, 29 Feb 2024 00:00:00 GMT";
        assert_eq!(retry_after(leap, at(1_709_164_800 - 1)), Some(Duration::from_secs(1)));
        assert_eq!(retry_after(" 3 ", at(0)), Some(Duration::from_secs(3)));
        assert_eq!(retry_after("0.5", at(0)), Some(Duration::from_millis(500)));
        for bad in ["", "soon", "-1", "NaN", "Wed, 99 Oct 2015 07:28:00 GMT", "Wed, 21 Foo 2015 07:28:00 GMT"] {
            assert_eq!(retry_after(bad, at(0)), None, "{bad}");
        }
    }
}
