//! The lock-free parts of the pool.

use crate::balance::{Balance, Budget, UNBOUNDED, draw};
use crate::regions::Regions;
use crate::reserve::Bump;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use std::alloc::Layout;
use std::sync::Arc;

fn bounded(soft_bytes: u64, hard_bytes: u64) -> Balance {
    let balance = Balance::new();
    balance.set_budget(Budget { soft_bytes, hard_bytes });
    balance
}

#[test]
fn two_sessions_never_hold_more_than_their_model_may() {
    loom::model(|| {
        let model = Arc::new(bounded(UNBOUNDED, 10));
        let session = |model: Arc<Balance>| {
            move || {
                let own = Balance::new();
                let drawn = draw(&[&own, &model], 6, 6, |_| ()).is_ok();
                assert_eq!(own.live(), if drawn { 6 } else { 0 }, "all of the chain or nothing");
                drawn
            }
        };
        let other = thread::spawn(session(model.clone()));
        let mine = session(model.clone())();
        let both = [mine, other.join().unwrap()];
        assert_eq!(both.into_iter().filter(|drawn| *drawn).count(), 1, "one has room");
        assert_eq!((model.live(), model.peak()), (6, 6));
    });
}

#[test]
fn what_is_given_back_can_be_drawn_again() {
    loom::model(|| {
        let account = Arc::new(bounded(UNBOUNDED, 10));
        draw(&[&account], 10, 10, |_| ()).unwrap();
        let other = {
            let account = account.clone();
            thread::spawn(move || account.add(-10))
        };
        let drawn = draw(&[&account], 4, 4, |_| ()).is_ok();
        other.join().unwrap();
        assert_eq!(account.live(), if drawn { 4 } else { 0 });
        assert_eq!(account.peak(), 10);
    });
}

#[test]
fn a_soft_budget_is_told_once() {
    loom::model(|| {
        let account = Arc::new(bounded(10, UNBOUNDED));
        let told = Arc::new(AtomicUsize::new(0));
        let take = |account: Arc<Balance>, told: Arc<AtomicUsize>| {
            move || {
                let count = |_| drop(told.fetch_add(1, Ordering::Relaxed));
                draw(&[&account], 8, 8, count).unwrap();
            }
        };
        let other = thread::spawn(take(account.clone(), told.clone()));
        take(account.clone(), told.clone())();
        other.join().unwrap();
        assert_eq!((told.load(Ordering::Relaxed), account.passed()), (1, 1));
        assert_eq!((account.live(), account.peak()), (16, 16));
    });
}

#[test]
fn parts_of_the_reserve_are_one_blocks_at_a_time() {
    loom::model(|| {
        let room = Arc::new((Bump::new(), [const { std::sync::Mutex::new(()) }; 2]));
        let layout = Layout::from_size_align(64, 64).unwrap();
        let work = |room: Arc<(Bump, [std::sync::Mutex<()>; 2])>| {
            move || {
                for _ in 0..2 {
                    if let Some(at) = room.0.take(0, 128, layout) {
                        // Nobody else has this part now, nor while others run.
                        let part = room.1[at / 64].try_lock().expect("a part of two blocks");
                        thread::yield_now();
                        drop(part);
                        room.0.give();
                    }
                }
            }
        };
        let other = thread::spawn(work(room.clone()));
        work(room.clone())();
        other.join().unwrap();
        assert_eq!(room.0.take(0, 128, layout), Some(0), "it starts over");
    });
}

#[test]
fn a_region_with_a_block_is_found_whatever_others_do() {
    loom::model(|| {
        let regions = Arc::new(Regions::<2>::new());
        let work = |regions: Arc<Regions<2>>, mine: usize| {
            move || {
                for _ in 0..2 {
                    assert!(regions.add(mine), "there is a place for both");
                    assert!(regions.has(mine));
                    regions.remove(mine);
                    assert!(!regions.has(mine));
                }
            }
        };
        let other = thread::spawn(work(regions.clone(), 0x1000));
        work(regions, 0x2000)();
        other.join().unwrap();
    });
}
