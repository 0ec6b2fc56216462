//! A clock turned by hand.

use super::*;
use proptest::prelude::*;
use std::collections::HashMap;

const SETTINGS: Settings =
    Settings { max_rows: 4, max_delay_ns: 100, is_delay_learned: false, concurrency: 2 };

fn job(producer: u64, level: u8, at: u64) -> Arrival {
    Arrival { producer, level, at, deadline: NEVER, rows: 1, key: 0 }
}

fn taken(policy: &mut Policy) -> Vec<u32> {
    let mut all = Vec::new();
    policy.take(SETTINGS.max_rows, None, |job| all.push(job));
    all
}

#[test]
fn a_batch_runs_when_it_is_full_or_its_oldest_job_is_old() {
    let mut p = Policy::new(SETTINGS, 8);
    assert_eq!(p.next(0, false, 0), Next::Idle);
    p.add(0, job(0, 1, 10));
    assert_eq!(p.next(10, false, 0), Next::Wait(110, 3));
    p.add(1, job(0, 1, 50));
    assert_eq!(p.next(109, false, 0), Next::Wait(110, 2));
    assert_eq!(p.next(110, false, 0), Next::Run);
    assert_eq!(p.next(20, true, 0), Next::Run, "in a hurry");
    p.add(2, job(0, 1, 60));
    p.add(3, job(0, 1, 60));
    assert_eq!(p.next(60, false, 0), Next::Run, "full");
    assert_eq!(taken(&mut p), [0, 1, 2, 3]);
}

#[test]
fn producers_take_turns_and_priorities_go_first() {
    let mut p = Policy::new(SETTINGS, 16);
    (0..6).for_each(|at| p.add(at, job(1, 1, 0)));
    p.add(6, job(2, 1, 1));
    p.add(7, job(3, 0, 1));
    p.add(8, job(3, 2, 2));
    assert_eq!(taken(&mut p), [8, 0, 6, 1], "the flood of one leaves the other its turn");
    p.add(9, job(2, 1, 3));
    assert_eq!(taken(&mut p), [9, 2, 3, 4], "whose turn it is goes on");
    assert_eq!(p.next(500, false, 0), Next::Idle, "as many run as may");
    p.ended();
    assert_eq!(taken(&mut p), [5, 7]);
}

#[test]
fn who_drives_begins_with_its_own_jobs_and_leaves_nobody_behind_for_long() {
    let settings = Settings { max_rows: 2, ..SETTINGS };
    let mut p = Policy::new(settings, 64);
    p.add(0, job(1, 1, 0));
    p.add(1, job(3, 2, 1));
    assert!(p.own(1).is_none(), "a higher priority waits");
    assert!(p.own(2).is_none(), "it has none");
    assert_eq!(p.own(3).map(|own| own.rows), Some(1));
    assert_eq!(batch(&mut p, 2, Some(3)), [1, 0]);
    p.add(0, job(1, 1, 0));
    p.add(1, Arrival { key: 7, ..job(2, 1, 0) });
    (2..60).for_each(|at| p.add(at, job(2, 1, 1)));
    assert_eq!(p.own(2).map(|own| own.rows), Some(2));
    let mut turns = 0;
    while p.own(2).is_some() {
        assert!(!batch(&mut p, 2, Some(2)).contains(&0));
        turns += 1;
    }
    assert_eq!(turns, PATIENCE);
    assert!(batch(&mut p, 2, Some(2)).contains(&0), "by turns");
    assert!(p.own(2).is_some(), "and again");
}

/// A batch that a producer drives.
fn batch(policy: &mut Policy, most: u32, driver: Option<u64>) -> Vec<u32> {
    let mut all = Vec::new();
    let own = driver.and_then(|producer| policy.own(producer));
    policy.take(most, own, |job| all.push(job));
    policy.ended();
    all
}

#[test]
fn what_is_not_alike_runs_apart() {
    let mut p = Policy::new(SETTINGS, 8);
    p.add(0, Arrival { key: 7, ..job(0, 1, 0) });
    p.add(1, Arrival { key: 8, ..job(1, 1, 0) });
    p.add(2, Arrival { key: 7, rows: 3, ..job(2, 1, 0) });
    p.add(3, Arrival { key: 8, rows: 4, ..job(3, 1, 0) });
    assert_eq!(taken(&mut p), [0, 2]);
    p.ended();
    assert_eq!(taken(&mut p), [3], "it does not fit with the other");
    p.ended();
    assert_eq!(taken(&mut p), [1]);
}

#[test]
fn deadlines_hurry_a_batch_and_pass() {
    let mut p = Policy::new(SETTINGS, 8);
    p.add(0, Arrival { deadline: 60, ..job(0, 1, 0) });
    p.add(1, job(0, 1, 0));
    p.expire(5, |_| unreachable!());
    assert_eq!(p.next(5, false, 20), Next::Wait(40, 2));
    assert_eq!(p.next(40, false, 20), Next::Run);
    let mut gone = Vec::new();
    p.expire(60, |job| gone.push(job));
    assert_eq!((gone, p.waiting()), (vec![0], 1));
    assert_eq!(p.next(61, false, 20), Next::Wait(100, 3));
}

#[test]
fn a_job_that_is_tried_again_rests_first() {
    let mut p = Policy::new(SETTINGS, 8);
    p.add(0, job(0, 1, 0));
    assert_eq!(taken(&mut p), [0]);
    p.add_again(0, p.arrival(0), 500);
    p.ended();
    assert_eq!((p.next(10, false, 0), p.waiting()), (Next::Wait(500, 1), 1));
    p.expire(500, |_| unreachable!());
    assert_eq!(p.next(500, false, 0), Next::Run);
}

#[test]
fn a_learned_delay_is_over_when_nobody_comes() {
    let settings = Settings { max_delay_ns: 10_000, is_delay_learned: true, ..SETTINGS };
    let mut p = Policy::new(settings, 64);
    p.add(0, job(0, 1, 100_000));
    assert_eq!(p.next(100_000, false, 50), Next::Run, "nothing is known yet");
    taken(&mut p);
    p.ended();
    // A burst: jobs come every 10 ns.
    (1..39).for_each(|at| p.add(at, job(at.into(), 1, 110_000 + u64::from(at) * 10)));
    while p.waiting() > 2 {
        assert_eq!(p.next(110_400, false, 50), Next::Run, "full");
        taken(&mut p);
        p.ended();
    }
    p.add(40, job(0, 1, 110_400));
    let Next::Wait(until, 1) = p.next(110_401, false, 50) else { panic!("the next one is near") };
    assert!((110_420..111_000).contains(&until), "{until}");
    assert_eq!(p.next(until, false, 50), Next::Run, "the burst is over");
    assert_eq!(p.next(110_401, false, 1), Next::Run, "runs of one keep up");
}

#[test]
fn a_smaller_batch_leaves_the_rest() {
    let mut p = Policy::new(SETTINGS, 8);
    (0..3).for_each(|at| p.add(at, job(at.into(), 1, 0)));
    let mut all = Vec::new();
    assert_eq!(p.take(2, None, |job| all.push(job)), 2);
    assert_eq!((all, p.waiting()), (vec![0, 1], 1));
    p.add(3, Arrival { rows: 4, ..job(3, 2, 0) });
    assert_eq!(p.take(2, None, |job| assert_eq!(job, 3)), 4, "the first job goes whole");
}

#[derive(Debug, Clone)]
enum Turn {
    Add {
        producer: u64,
        level: u8,
        rows: u32,
        key: u64,
        deadline: Option<u64>,
    },
    Clock(u64),
    Drop(u32),
    End,
    /// Who drives from now on.
    Drive(Option<u64>),
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let add = (0..5u64, 0..3u8, 1..4u32, 0..2u64, prop::option::of(0..300u64)).prop_map(
        |(producer, level, rows, key, deadline)| Turn::Add { producer, level, rows, key, deadline },
    );
    let turn = prop_oneof![
        6 => add,
        3 => (0..80u64).prop_map(Turn::Clock),
        1 => (0..32u32).prop_map(Turn::Drop),
        3 => Just(Turn::End),
        1 => prop::option::of(0..5u64).prop_map(Turn::Drive),
    ];
    prop::collection::vec(turn, 1..200)
}

/// Jobs as a list, and what must hold of each batch.
#[derive(Default)]
struct Book {
    waiting: Vec<(u32, Arrival)>,
}

impl Book {
    fn leave(&mut self, job: u32) -> Arrival {
        let at = self.waiting.iter().position(|(j, _)| *j == job).expect("it left twice");
        self.waiting.remove(at).1
    }

    /// A batch was taken: it fits, is alike, keeps each producer's order, and leaves
    /// nobody out whose turn comes before.
    fn batch(&mut self, jobs: &[u32], rows: u32, own: Option<u64>) {
        let before = self.waiting.clone();
        let batch: Vec<Arrival> = jobs.iter().map(|job| self.leave(*job)).collect();
        assert!(!batch.is_empty());
        assert_eq!(rows, batch.iter().map(|a| a.rows).sum::<u32>());
        assert!(rows <= SETTINGS.max_rows);
        assert!(batch.iter().all(|a| a.key == batch[0].key));
        assert!(batch.windows(2).all(|pair| pair[0].level >= pair[1].level));
        let highest = before.iter().map(|(_, a)| a.level).max().unwrap();
        assert_eq!(batch[0].level, highest);
        let mut seen: HashMap<(u64, u8), usize> = HashMap::new();
        for (job, a) in jobs.iter().zip(&batch) {
            // The first so many of its lane.
            let nth = seen.entry((a.producer, a.level)).or_default();
            let mut lane =
                before.iter().filter(|(_, b)| (b.producer, b.level) == (a.producer, a.level));
            assert_eq!(lane.nth(*nth).unwrap().0, *job);
            *nth += 1;
        }
        let level = batch[0].level;
        if let Some(own) = own {
            assert_eq!(batch[0].producer, own);
            let is_own = |a: &&Arrival| (a.producer, a.level) == (own, level);
            let count = batch.iter().filter(is_own).count();
            assert!(batch[..count].iter().all(|a| is_own(&a)), "its own come first");
            return;
        }
        // Nobody whose next job would have joined has two turns fewer than another.
        let most = seen.iter().filter(|((_, l), _)| *l == level).map(|(_, n)| *n).max().unwrap();
        for producer in 0..5 {
            let had = seen.get(&(producer, level)).copied().unwrap_or(0);
            let next =
                self.waiting.iter().find(|(_, a)| (a.producer, a.level) == (producer, level));
            if let Some((_, a)) = next {
                let joins = a.key == batch[0].key && a.rows == 1;
                assert!(!joins || had + 1 >= most, "producer {producer} was passed over");
            }
        }
    }
}

proptest! {
    #[test]
    fn every_job_leaves_once_and_in_order(turns in turns(), is_delay_learned in any::<bool>()) {
        const PLACES: usize = 32;
        let settings = Settings { is_delay_learned, ..SETTINGS };
        let mut policy = Policy::new(settings, PLACES);
        let (mut book, mut free): (Book, Vec<u32>) = (Book::default(), (0..PLACES as u32).collect());
        let (mut now, mut running, mut driver, mut passed) = (0u64, 0u32, None, 0);
        for turn in turns {
            match turn {
                Turn::Add { producer, level, rows, key, deadline } => {
                    let Some(job) = free.pop() else { continue };
                    let deadline = deadline.map_or(NEVER, |more| now + more);
                    let arrival = Arrival { producer, level, at: now, deadline, rows, key };
                    policy.add(job, arrival);
                    book.waiting.push((job, arrival));
                }
                Turn::Clock(more) => now += more,
                Turn::Drop(job) => policy.drop_where(|j| j == job, |job| {
                    book.leave(job);
                    free.push(job);
                }),
                Turn::End if running > 0 => {
                    running -= 1;
                    policy.ended();
                }
                Turn::End => {}
                Turn::Drive(by) => driver = by,
            }
            policy.expire(now, |job| {
                assert!(book.leave(job).deadline <= now);
                free.push(job);
            });
            prop_assert!(book.waiting.iter().all(|(_, a)| a.deadline > now));
            let rows: u32 = book.waiting.iter().map(|(_, a)| a.rows).sum();
            let oldest = book.waiting.first().map(|(_, a)| a.at);
            let deadline = book.waiting.iter().map(|(_, a)| a.deadline).min().unwrap_or(NEVER);
            match policy.next(now, false, 10) {
                Next::Run => {
                    prop_assert!(running < SETTINGS.concurrency);
                    prop_assert!(
                        is_delay_learned
                            || rows >= SETTINGS.max_rows
                            || now >= oldest.unwrap() + SETTINGS.max_delay_ns
                            || now + 10 >= deadline
                    );
                    let mut jobs = Vec::new();
                    let own = driver.filter(|producer| policy.own(*producer).is_some());
                    let rows = policy.take(
                        SETTINGS.max_rows,
                        own.and_then(|producer| policy.own(producer)),
                        |job| jobs.push(job),
                    );
                    let oldest = book.waiting[0].0;
                    book.batch(&jobs, rows, own);
                    passed = if own.is_some() && !jobs.contains(&oldest) { passed + 1 } else { 0 };
                    prop_assert!(passed <= PATIENCE);
                    free.extend(jobs);
                    running += 1;
                }
                Next::Wait(until, missing) => {
                    prop_assert!(until > now && until <= oldest.unwrap() + SETTINGS.max_delay_ns);
                    prop_assert!(until <= deadline.saturating_sub(10));
                    prop_assert_eq!(missing, SETTINGS.max_rows - rows);
                }
                Next::Idle => {
                    prop_assert!(book.waiting.is_empty() || running == SETTINGS.concurrency);
                }
            }
            prop_assert_eq!(policy.waiting(), book.waiting.len());
            prop_assert_eq!(policy.running(), running);
        }
    }
}
