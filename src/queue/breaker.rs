//! The circuit breaker: after so many failures in a row jobs are refused for a while,
//! then one goes through to see. Pure: time comes from the caller.

/// A breaker.
#[derive(Debug, Clone)]
pub struct Breaker {
    /// So many failures in a row open it; 0 for never.
    limit: u32,
    open_ns: u64,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Jobs run; so many failed in a row.
    Closed(u32),
    /// Jobs are refused until then.
    Open(u64),
    /// One job was let through.
    HalfOpen(u32),
}

/// How it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// Jobs run.
    Closed = 0,
    /// Jobs are refused.
    Open = 1,
    /// One job is let through.
    HalfOpen = 2,
}

impl Breaker {
    /// One that is closed.
    pub fn new(limit: u32, open_ns: u64) -> Breaker {
        Breaker { limit, open_ns, state: State::Closed(0) }
    }

    /// How it stands.
    pub fn health(&self) -> Health {
        match self.state {
            State::Closed(_) => Health::Closed,
            State::Open(_) => Health::Open,
            State::HalfOpen(_) => Health::HalfOpen,
        }
    }

    /// Whether `job` may wait for its turn.
    pub fn admit(&mut self, job: u32, now: u64) -> bool {
        match self.state {
            State::Closed(_) => true,
            State::Open(until) if now >= until => {
                self.state = State::HalfOpen(job);
                true
            }
            _ => false,
        }
    }

    /// A job gave what it was to give.
    pub fn succeeded(&mut self, job: u32) {
        match self.state {
            State::Closed(_) => self.state = State::Closed(0),
            State::HalfOpen(probe) if probe == job => self.state = State::Closed(0),
            _ => {}
        }
    }

    /// A job's run failed. True when that opened it.
    pub fn failed(&mut self, job: u32, now: u64) -> bool {
        match self.state {
            State::Closed(before) => {
                let failures = before.saturating_add(1);
                if self.limit == 0 || failures < self.limit {
                    self.state = State::Closed(failures);
                    return false;
                }
            }
            State::HalfOpen(probe) if probe == job => {}
            _ => return false,
        }
        self.state = State::Open(now.saturating_add(self.open_ns));
        true
    }

    /// A job ended without a run, and says nothing: if it was the one that was let
    /// through, the next one is.
    pub fn dropped(&mut self, job: u32, now: u64) {
        if self.state == State::HalfOpen(job) {
            self.state = State::Open(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_lets_one_through_and_closes() {
        let mut b = Breaker::new(3, 100);
        assert!(!b.failed(1, 0) && !b.failed(2, 0));
        b.succeeded(3);
        assert!(!b.failed(1, 0) && !b.failed(2, 0), "a success begins the count anew");
        assert!(b.failed(3, 10));
        assert!(!b.admit(4, 109) && b.health() == Health::Open);
        assert!(b.admit(5, 110) && !b.admit(6, 110), "one alone");
        b.succeeded(7);
        assert_eq!(b.health(), Health::HalfOpen, "another job's success says nothing");
        assert!(b.failed(5, 120) && !b.admit(8, 219) && b.admit(9, 220));
        b.dropped(9, 221);
        assert!(b.admit(10, 221));
        b.succeeded(10);
        assert_eq!(b.health(), Health::Closed);
    }

    #[test]
    fn without_a_limit_it_stays_closed() {
        let mut b = Breaker::new(0, 100);
        assert!((0..1000).all(|at| !b.failed(at, 0) && b.admit(at, 0)));
    }
}
