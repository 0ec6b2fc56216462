//! What to run now, or when to look again. Pure: no threads, no clock; nanoseconds
//! come from the caller.
//!
//! - **Order.** A higher priority goes first. Within one, producers take turns, one job
//!   each; a producer's own jobs stay in the order of their arrival.
//! - **Drivers.** A producer that waits and runs a small batch itself begins it with its
//!   own jobs: others do the same with theirs, and nobody has to sleep until a neighbour
//!   has run what one could have run. After 16 batches that left the oldest job behind one
//!   goes by turns.
//! - **Batches.** The first job in that order decides what can join it: jobs of the
//!   same key, which stands for all that has to be alike, taken in the same order until
//!   the rows are full. Lower priorities fill what higher ones leave.
//! - **Delay.** A batch that is not full waits for company until the oldest job that
//!   waits is `max_delay_ns` old, or until a deadline would be missed otherwise; a
//!   learned delay is over as soon as no company is to be expected (`company`).
//! - **Deadlines.** A job whose deadline passes before its turn does not run.
//!
//! Producers are 64 lanes by their number modulo 64; those that share a lane share its
//! turns.

mod company;

use company::Company;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Priorities, 0 the lowest.
pub const LEVELS: usize = 3;
const LANES: usize = 64;
/// No deadline.
pub const NEVER: u64 = u64::MAX;
const NONE: u32 = u32::MAX;
/// So many batches in a row may leave the oldest job behind.
const PATIENCE: u32 = 16;

/// How a queue batches.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Rows of a batch at the most.
    pub max_rows: u32,
    /// How long a job may wait for company.
    pub max_delay_ns: u64,
    /// It waits shorter where none is to be expected.
    pub is_delay_learned: bool,
    /// How many batches may run at once.
    pub concurrency: u32,
}

/// A job, as far as its turn is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// Whose job it is.
    pub producer: u64,
    /// Below [`LEVELS`].
    pub level: u8,
    /// Since when it waits.
    pub at: u64,
    /// When it is not wanted any more; [`NEVER`] for always.
    pub deadline: u64,
    /// Rows that it takes of a batch.
    pub rows: u32,
    /// What has to be alike in a batch.
    pub key: u64,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// A batch is to run: [`Policy::take`] gives it.
    Run,
    /// To look again at this time, or when so many rows more are there.
    Wait(u64, u32),
    /// Nothing can be done before something changes.
    Idle,
}

#[derive(Clone, Copy)]
struct Entry {
    arrival: Arrival,
    /// Neighbours in the lane, and among all by arrival.
    lane: Links,
    age: Links,
    /// Counts the uses of the place.
    stamp: u32,
    is_waiting: bool,
}

#[derive(Clone, Copy)]
struct Links {
    before: u32,
    after: u32,
}

const UNLINKED: Links = Links { before: NONE, after: NONE };

/// What a producer that drives has of its own.
#[derive(Debug, Clone, Copy)]
pub struct Own {
    level: usize,
    lane: usize,
    /// Its rows, up to those of a batch.
    pub rows: u32,
}

/// A batch, as far as it is put together.
struct Batch {
    key: Option<u64>,
    rows: u32,
    most: u32,
}

/// Ends of a list.
#[derive(Clone, Copy)]
struct Ends {
    first: u32,
    last: u32,
}

const EMPTY: Ends = Ends { first: NONE, last: NONE };

/// The jobs that wait, and what runs.
pub struct Policy {
    settings: Settings,
    entries: Box<[Entry]>,
    lanes: Box<[[Ends; LANES]; LEVELS]>,
    /// Lanes with a job, a bit each, and whose turn it is.
    used: [u64; LEVELS],
    turn: [u32; LEVELS],
    ages: Ends,
    company: Company,
    count: u32,
    rows: u64,
    running: u32,
    /// Batches in a row that began with their driver's jobs and left the oldest behind.
    passed: u32,
    /// When, which place, which use of it. Those that went otherwise stay for a while.
    deadlines: BinaryHeap<Reverse<(u64, u32, u32)>>,
    /// Jobs that are tried again, from when on.
    resting: Vec<(u64, u32, Arrival)>,
}

impl Policy {
    /// For so many jobs at once.
    pub fn new(settings: Settings, capacity: usize) -> Policy {
        let arrival = Arrival { producer: 0, level: 0, at: 0, deadline: 0, rows: 0, key: 0 };
        let entry = Entry { arrival, lane: UNLINKED, age: UNLINKED, stamp: 0, is_waiting: false };
        Policy {
            settings,
            entries: vec![entry; capacity].into_boxed_slice(),
            lanes: Box::new([[EMPTY; LANES]; LEVELS]),
            used: [0; LEVELS],
            turn: [0; LEVELS],
            ages: EMPTY,
            company: Company::new(settings.max_delay_ns),
            count: 0,
            rows: 0,
            running: 0,
            passed: 0,
            deadlines: BinaryHeap::new(),
            resting: Vec::new(),
        }
    }

    /// Jobs that wait, those that are to be tried again among them.
    pub fn waiting(&self) -> usize {
        self.count as usize + self.resting.len()
    }

    /// Rows that wait.
    pub fn rows(&self) -> u32 {
        self.rows.min(u64::from(self.settings.max_rows)) as u32
    }

    /// Batches that run.
    pub fn running(&self) -> u32 {
        self.running
    }

    /// When a waiting job came.
    pub fn arrived(&self, job: u32) -> u64 {
        self.entries[job as usize].arrival.at
    }

    /// A job has come, and waits from now on.
    pub fn add(&mut self, job: u32, arrival: Arrival) {
        let lane = (arrival.producer % LANES as u64) as usize;
        self.company.came(arrival.at, lane, self.lanes_used());
        self.wait(job, arrival);
    }

    fn wait(&mut self, job: u32, arrival: Arrival) {
        let (level, lane) =
            (usize::from(arrival.level), (arrival.producer % LANES as u64) as usize);
        let (lane_last, newest) = (self.lanes[level][lane].last, self.ages.last);
        let entry = &mut self.entries[job as usize];
        entry.arrival = arrival;
        entry.is_waiting = true;
        entry.stamp = entry.stamp.wrapping_add(1);
        entry.lane = Links { before: lane_last, after: NONE };
        entry.age = Links { before: newest, after: NONE };
        let stamp = entry.stamp;
        match lane_last {
            NONE => self.lanes[level][lane].first = job,
            last => self.entries[last as usize].lane.after = job,
        }
        match newest {
            NONE => self.ages.first = job,
            last => self.entries[last as usize].age.after = job,
        }
        (self.lanes[level][lane].last, self.ages.last) = (job, job);
        self.used[level] |= 1 << lane;
        self.count += 1;
        self.rows += u64::from(arrival.rows);
        if arrival.deadline != NEVER {
            self.note_deadline(arrival.deadline, job, stamp);
        }
    }

    fn note_deadline(&mut self, deadline: u64, job: u32, stamp: u32) {
        if self.deadlines.len() > 2 * self.entries.len() {
            let entries = &self.entries;
            self.deadlines.retain(|Reverse((_, job, stamp))| is_live(entries, *job, *stamp));
        }
        self.deadlines.push(Reverse((deadline, job, stamp)));
    }

    /// A job that ran is to wait again, from `from` on.
    pub fn add_again(&mut self, job: u32, arrival: Arrival, from: u64) {
        self.resting.push((from, job, arrival));
    }

    /// What a job came with.
    #[cfg(test)]
    fn arrival(&self, job: u32) -> Arrival {
        self.entries[job as usize].arrival
    }

    /// A waiting job goes.
    fn remove(&mut self, job: u32) {
        let Entry { arrival, lane: Links { before, after }, age, .. } = self.entries[job as usize];
        let (level, lane) =
            (usize::from(arrival.level), (arrival.producer % LANES as u64) as usize);
        match before {
            NONE => self.lanes[level][lane].first = after,
            before => self.entries[before as usize].lane.after = after,
        }
        match after {
            NONE => self.lanes[level][lane].last = before,
            after => self.entries[after as usize].lane.before = before,
        }
        match age.before {
            NONE => self.ages.first = age.after,
            before => self.entries[before as usize].age.after = age.after,
        }
        match age.after {
            NONE => self.ages.last = age.before,
            after => self.entries[after as usize].age.before = age.before,
        }
        if self.lanes[level][lane].first == NONE {
            self.used[level] &= !(1 << lane);
        }
        self.entries[job as usize].is_waiting = false;
        self.count -= 1;
        self.rows -= u64::from(arrival.rows);
    }

    /// Takes out the jobs whose deadline has passed, and lets those wait again whose
    /// rest is over.
    pub fn expire(&mut self, now: u64, mut gone: impl FnMut(u32)) {
        while let Some(at) = self.resting.iter().position(|(from, ..)| *from <= now) {
            let (_, job, arrival) = self.resting.swap_remove(at);
            self.wait(job, arrival);
        }
        while let Some(Reverse((deadline, job, stamp))) = self.deadlines.peek().copied() {
            let is_live = is_live(&self.entries, job, stamp);
            if is_live && deadline > now {
                break;
            }
            self.deadlines.pop();
            if is_live {
                self.remove(job);
                gone(job);
            }
        }
    }

    /// Takes out the waiting jobs that `which` picks.
    pub fn drop_where(&mut self, which: impl Fn(u32) -> bool, mut gone: impl FnMut(u32)) {
        let mut at = self.ages.first;
        while at != NONE {
            let job = at;
            at = self.entries[job as usize].age.after;
            if which(job) {
                self.remove(job);
                gone(job);
            }
        }
        self.resting.retain(|(_, job, _)| {
            let goes = which(*job);
            if goes {
                gone(*job);
            }
            !goes
        });
    }

    /// What to do at `now`, after [`Policy::expire`]. `is_hurried`: nobody waits for
    /// company. A batch takes `expected_ns`.
    pub fn next(&self, now: u64, is_hurried: bool, expected_ns: u64) -> Next {
        let rested = self.resting.iter().map(|(from, ..)| *from).min().unwrap_or(NEVER);
        let most = self.settings.max_rows;
        if self.running >= self.settings.concurrency {
            return Next::Idle;
        }
        if self.count == 0 {
            return if rested == NEVER { Next::Idle } else { Next::Wait(rested, 1) };
        }
        if is_hurried || self.settings.max_delay_ns == 0 || self.rows >= u64::from(most) {
            return Next::Run;
        }
        let oldest = self.entries[self.ages.first as usize].arrival.at;
        let deadline = self.deadlines.peek().map_or(NEVER, |Reverse((at, ..))| *at);
        let due = oldest.saturating_add(self.settings.max_delay_ns);
        let due =
            due.min(deadline.saturating_sub(expected_ns)).min(self.company_until(expected_ns));
        if now >= due {
            return Next::Run;
        }
        Next::Wait(due.min(rested), most - self.rows as u32)
    }

    /// Lanes with a job of any priority, a bit each.
    fn lanes_used(&self) -> u64 {
        self.used.iter().fold(0, |all, used| all | used)
    }

    /// Until when company is to be expected for a batch that takes so long.
    fn company_until(&self, expected_ns: u64) -> u64 {
        if !self.settings.is_delay_learned {
            return NEVER;
        }
        let one_by_one_ns = expected_ns / u64::from(self.settings.concurrency);
        self.company.expected_until(one_by_one_ns, self.lanes_used())
    }

    /// The jobs of a producer that may begin the next batch, since it runs it: none of them
    /// where higher priorities wait, or others have waited too long.
    pub fn own(&self, producer: u64) -> Option<Own> {
        let lane = (producer % LANES as u64) as usize;
        let level = (0..LEVELS).rev().find(|level| self.used[*level] != 0)?;
        if self.used[level] & 1 << lane == 0 || self.passed >= PATIENCE {
            return None;
        }
        let (mut rows, mut job) = (0, self.lanes[level][lane].first);
        while job != NONE && rows < self.settings.max_rows {
            let entry = &self.entries[job as usize];
            (rows, job) = (rows + entry.arrival.rows, entry.lane.after);
        }
        Some(Own { level, lane, rows: rows.min(self.settings.max_rows) })
    }

    /// The jobs of the next batch, which begins to run now, of about so many rows: of more
    /// only where its first job has more. Says its rows.
    pub fn take(&mut self, most: u32, own: Option<Own>, mut each: impl FnMut(u32)) -> u32 {
        let oldest = self.ages.first;
        let mut batch = Batch { key: None, rows: 0, most };
        if let Some(Own { level, lane, .. }) = own {
            while batch.rows < most && self.join(level, lane, &mut batch, &mut each) {}
        }
        for level in (0..LEVELS).rev() {
            while self.round(level, &mut batch, &mut each) {}
        }
        let leaves_oldest = own.is_some() && self.ages.first == oldest;
        self.passed = if leaves_oldest { self.passed + 1 } else { 0 };
        self.running += 1;
        batch.rows
    }

    /// One turn of each producer. False when nobody had a job that joins.
    fn round(&mut self, level: usize, batch: &mut Batch, each: &mut impl FnMut(u32)) -> bool {
        let from = self.turn[level];
        let mut todo = self.used[level].rotate_right(from);
        let mut joined = false;
        while todo != 0 && batch.rows < batch.most {
            let lane = (from + todo.trailing_zeros()) % LANES as u32;
            todo &= todo - 1;
            if self.join(level, lane as usize, batch, each) {
                joined = true;
                self.turn[level] = (lane + 1) % LANES as u32;
            }
        }
        joined
    }

    /// The first job of a lane joins a batch, if there is one that may.
    fn join(
        &mut self,
        level: usize,
        lane: usize,
        batch: &mut Batch,
        each: &mut impl FnMut(u32),
    ) -> bool {
        let job = self.lanes[level][lane].first;
        if job == NONE {
            return false;
        }
        let Arrival { key, rows, .. } = self.entries[job as usize].arrival;
        let joins = match batch.key {
            None => true,
            Some(all) => all == key && batch.rows + rows <= batch.most,
        };
        if joins {
            (batch.key, batch.rows) = (Some(key), batch.rows + rows);
            self.remove(job);
            each(job);
        }
        joins
    }

    /// A batch has ended.
    pub fn ended(&mut self) {
        self.running -= 1;
    }
}

fn is_live(entries: &[Entry], job: u32, stamp: u32) -> bool {
    let entry = &entries[job as usize];
    entry.is_waiting && entry.stamp == stamp
}

#[cfg(test)]
mod tests;
