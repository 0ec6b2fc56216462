use super::*;
use std::collections::HashSet;
use std::sync::Barrier;

fn squares(threads: usize, count: usize) -> Vec<usize> {
    let mut parts: Vec<usize> = (0..count).collect();
    let mut workers = vec![0usize; threads];
    each(&mut parts, &mut workers, |done, part| {
        *part *= *part;
        *done += 1;
    })
    .unwrap();
    assert_eq!(workers.iter().sum::<usize>(), count);
    parts
}

#[test]
fn every_part_is_done_once() {
    let _turn = TURN.lock();
    let want = |count: usize| (0..count).map(|i| i * i).collect::<Vec<_>>();
    assert_eq!(squares(4, 10), want(10), "without helpers");
    hire(4).unwrap();
    assert_eq!(helpers(), 3);
    for count in 0..MOST_PARTS + 1 {
        assert_eq!(squares(1 + count % 5, count), want(count));
    }
    dismiss();
    assert_eq!(helpers(), 0);
    assert_eq!(squares(4, 10), want(10), "after them");
}

#[test]
fn helpers_do_parts_and_sleep_between() {
    let _turn = TURN.lock();
    hire(2).unwrap();
    for pause in [0, 0, 0, 30] {
        std::thread::sleep(std::time::Duration::from_millis(pause));
        // Two parts that wait for each other are on two threads.
        let both = Barrier::new(2);
        let mut seen = [None; 2];
        each(&mut seen, &mut [(); 2], |(), seen| {
            both.wait();
            *seen = Some(std::thread::current().id());
        })
        .unwrap();
        assert!(seen.iter().flatten().collect::<HashSet<_>>().len() == 2, "{seen:?}");
    }
    dismiss();
}

#[test]
fn a_panic_in_a_part_is_an_error() {
    let _turn = TURN.lock();
    hire(2).unwrap();
    for bad in 0..8 {
        let mut parts: Vec<usize> = (0..8).collect();
        let failed = each(&mut parts, &mut [(); 2], |(), part| assert!(*part != bad, "bad part"));
        let e = failed.unwrap_err();
        assert!(e.kind() == error::Kind::Internal && e.detail().contains("bad part"), "{e}");
        assert_eq!(squares(2, 9).len(), 9);
    }
    dismiss();
}

#[test]
fn callers_share_the_helpers() {
    let _turn = TURN.lock();
    hire(3).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for count in 0..300 {
                    let want: Vec<usize> = (0..count % 40).map(|i| i * i).collect();
                    assert_eq!(squares(3, count % 40), want);
                }
            });
        }
    });
    dismiss();
    hire(2).unwrap();
    assert_eq!((helpers(), squares(2, 3)), (1, vec![0, 1, 4]));
    dismiss();
}

#[test]
fn no_more_than_there_may_be() {
    assert_eq!(hire(MOST_THREADS + 1).unwrap_err().kind(), error::Kind::LimitExceeded);
    assert!(hire(0).and(hire(1)).is_ok());
}
