//! Replays a trace, or a load of several threads, on the allocator that this
//! program was built with.
//!
//!     replay trace FILE MILLISECONDS      the median time of one pass, and what stays resident at most
//!     replay threads COUNT MILLISECONDS   blocks taken by one thread and given back by the next
//!     replay accounts COUNT MILLISECONDS  the same within budgets, of accounts that come and go
//!
//! One byte of each page of a block is written when it is taken, as whatever
//! uses it would. A line of `key=value` pairs is the answer.

use std::alloc::{Layout, alloc, dealloc};
use std::hint::black_box;
use std::sync::mpsc;
use std::time::{Duration, Instant};

#[cfg(feature = "mimalloc")]
#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[cfg(feature = "jemalloc")]
#[global_allocator]
static GLOBAL: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

// The library's own sources: the pool and what it stands on.
#[cfg(feature = "capi")]
#[allow(dead_code, unused_imports, unexpected_cfgs)]
#[path = "../../../src/error.rs"]
mod error;
#[cfg(feature = "capi")]
#[allow(dead_code, unused_imports, unexpected_cfgs)]
#[path = "../../../src/host/mod.rs"]
mod host;
#[cfg(feature = "capi")]
#[allow(dead_code, unused_imports, unexpected_cfgs)]
#[path = "../../../src/pool/mod.rs"]
mod pool;
#[cfg(feature = "capi")]
#[allow(dead_code, unused_imports, unexpected_cfgs)]
#[path = "../../../src/sync.rs"]
mod sync;
#[cfg(feature = "capi")]
use pool::block_bytes;
/// Others do not say what a block takes.
#[cfg(not(feature = "capi"))]
fn block_bytes(layout: Layout) -> usize {
    layout.size()
}

enum Event {
    Take(usize, Layout),
    Give(usize),
}

/// A live block of a replay.
#[derive(Clone, Copy)]
struct Block(*mut u8, Layout);

// SAFETY: a block is its holder's, on whatever thread.
unsafe impl Send for Block {}

fn take(layout: Layout) -> Block {
    // SAFETY: no layout of a trace is empty.
    let block = unsafe { alloc(layout) };
    assert!(!block.is_null(), "no memory for {layout:?}");
    for at in (0..layout.size()).step_by(4096) {
        // SAFETY: inside the block.
        unsafe { block.add(at).write_volatile(1) };
    }
    Block(block, layout)
}

fn give(block: Block) {
    // SAFETY: taken with this layout, and given back once.
    unsafe { dealloc(block.0, block.1) };
}

fn read(path: &str) -> (Vec<Event>, usize) {
    let text = std::fs::read_to_string(path).expect("a trace");
    let mut count = 0;
    let events = text.lines().map(|line| {
        let mut words = line.split(' ');
        let taken = words.next() == Some("+");
        let mut number = || words.next().and_then(|w| w.parse().ok()).expect("a number");
        let id = number();
        if !taken {
            return Event::Give(id);
        }
        count = count.max(id + 1);
        Event::Take(id, Layout::from_size_align(number(), number()).expect("a layout"))
    });
    (events.collect(), count)
}

/// A line of /proc/self/status, in KiB.
fn status(key: &str) -> usize {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find(|l| l.starts_with(key)).unwrap_or("");
    line.split_whitespace().nth(1).and_then(|w| w.parse().ok()).unwrap_or(0)
}

fn trace(path: &str, time: Duration) {
    let (events, count) = read(path);
    let mut live: Vec<Option<Block>> = vec![None; count];
    let mut times = vec![1; 10_000];
    times.clear();
    let (mut bytes, mut most, mut blocks, mut asked, mut given) = (0, 0, 0usize, 0, 0);
    let begun = Instant::now();
    while begun.elapsed() < time || times.len() < 5 {
        let pass = Instant::now();
        for event in &events {
            match event {
                Event::Take(id, layout) => live[*id] = Some(take(*layout)),
                Event::Give(id) => {
                    if let Some(block) = live[*id].take() {
                        give(block);
                    }
                }
            }
        }
        live.iter_mut().filter_map(Option::take).for_each(give);
        if times.len() < times.capacity() {
            times.push(pass.elapsed().as_nanos() as u64);
        }
    }
    let resident = status("VmHWM");
    for event in &events {
        match event {
            Event::Take(id, layout) => {
                blocks += 1;
                asked += layout.size();
                given += block_bytes(*layout);
                bytes += layout.size();
                most = most.max(bytes);
                live[*id] = Some(Block(std::ptr::null_mut(), *layout));
            }
            Event::Give(id) => bytes -= live[*id].take().map_or(0, |b| b.1.size()),
        }
    }
    times.sort_unstable();
    let median = times[times.len() / 2];
    let waste = 100.0 * (given - asked) as f64 / asked as f64;
    println!(
        "ns={median} blocks={blocks} resident_kib={resident} live_kib={} waste_percent={waste:.1}",
        most / 1024
    );
}

/// Each thread takes blocks of a mix of sizes and hands them to the next one,
/// which gives them back.
fn threads(count: usize, time: Duration) {
    const BATCH: usize = 64;
    let (senders, receivers): (Vec<_>, Vec<_>) =
        (0..count).map(|_| mpsc::sync_channel::<Vec<Block>>(4)).unzip();
    let begun = Instant::now();
    let workers: Vec<_> = receivers
        .into_iter()
        .enumerate()
        .map(|(at, receiver)| {
            let next = senders[(at + 1) % count].clone();
            std::thread::spawn(move || {
                let (mut state, mut done) = (at as u64 * 77 + 1, 0u64);
                while begun.elapsed() < time {
                    let batch = (0..BATCH).map(|_| {
                        state = state.wrapping_mul(6364136223846793005).wrapping_add(1);
                        let size = 64usize << (state >> 33) % 13;
                        take(Layout::from_size_align(size + size / 3, 64).expect("a layout"))
                    });
                    let batch = batch.collect();
                    done += BATCH as u64;
                    // (A full neighbour is not waited for.)
                    if let Err(e) = next.try_send(batch) {
                        let (mpsc::TrySendError::Full(batch)
                        | mpsc::TrySendError::Disconnected(batch)) = e;
                        batch.into_iter().for_each(give);
                    }
                    for batch in receiver.try_iter() {
                        batch.into_iter().for_each(give);
                    }
                }
                drop(next);
                receiver.try_iter().flatten().for_each(give);
                done
            })
        })
        .collect();
    drop(senders);
    let done: u64 = workers.into_iter().map(|w| w.join().expect("a worker")).sum();
    let ns = begun.elapsed().as_nanos() as f64 * count as f64 / done as f64;
    println!("ns={} blocks={done} resident_kib={}", ns.round(), status("VmHWM"));
}

/// As [`threads`], but each thread takes its blocks for an account of its own,
/// below one that has a budget; another one looks at the counts, sets budgets
/// and trims meanwhile.
#[cfg(feature = "capi")]
fn accounts(count: usize, time: Duration) {
    use pool::{Account, Budget, Scope};
    let model = Account::open(None, "model", Budget { soft_bytes: 1 << 20, hard_bytes: 4 << 20 })
        .expect("an account");
    let (senders, receivers): (Vec<_>, Vec<_>) =
        (0..count).map(|_| mpsc::sync_channel::<Vec<Block>>(4)).unzip();
    let begun = Instant::now();
    let (mut blocks, mut refused) = (0u64, 0u64);
    std::thread::scope(|scope| {
        let (model, senders) = (&model, senders);
        let workers = receivers.into_iter().enumerate().map(|(at, receiver)| {
            let next = senders[(at + 1) % count].clone();
            scope.spawn(move || {
                let (mut state, mut done, mut refused) = (at as u64 * 77 + 1, 0u64, 0u64);
                while begun.elapsed() < time {
                    let session = Account::open(Some(model), "session", Budget::default());
                    let session = session.expect("an account");
                    let mut batch = Vec::with_capacity(64);
                    {
                        let _charge = session.charge();
                        let _scope = Scope::open(u64::MAX);
                        for _ in 0..64 {
                            state = state.wrapping_mul(6364136223846793005).wrapping_add(1);
                            let size = 64usize << ((state >> 33) % 13);
                            let layout = Layout::from_size_align(size, 64).expect("a layout");
                            // SAFETY: the layout is not empty.
                            let block = unsafe { black_box(alloc(layout)) };
                            refused += u64::from(block.is_null());
                            if !block.is_null() {
                                batch.push(Block(block, layout));
                            }
                        }
                    }
                    done += batch.len() as u64;
                    if let Err(e) = next.try_send(batch) {
                        let (mpsc::TrySendError::Full(batch)
                        | mpsc::TrySendError::Disconnected(batch)) = e;
                        batch.into_iter().for_each(give);
                    }
                    for batch in receiver.try_iter() {
                        batch.into_iter().for_each(give);
                    }
                }
                drop(next);
                receiver.try_iter().flatten().for_each(give);
                (done, refused)
            })
        });
        let workers: Vec<_> = workers.collect();
        drop(senders);
        let mut turn = 0u64;
        while begun.elapsed() < time {
            turn += 1;
            let stats = model.stats();
            assert!(stats.peak_bytes <= 4 << 20, "{stats:?}");
            let hard_bytes = (1 << 20) + (turn % 4) * (1 << 20);
            model.set_budget(Budget { soft_bytes: 1 << 19, hard_bytes }).expect("a budget");
            assert!(pool::stats().live_bytes > 0);
            if turn % 16 == 0 {
                pool::trim();
            }
        }
        for worker in workers {
            let (done, no) = worker.join().expect("a worker");
            (blocks, refused) = (blocks + done, refused + no);
        }
    });
    let left = model.stats();
    assert_eq!((left.live_bytes, left.committed_bytes), (0, 0), "everything went back");
    println!("blocks={blocks} refused={refused}");
}

#[cfg(not(feature = "capi"))]
fn accounts(_: usize, _: Duration) {
    panic!("only the pool has accounts");
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [what, of, time] = &arguments[..] else {
        panic!("replay trace FILE MILLISECONDS | replay threads|accounts COUNT MILLISECONDS");
    };
    let time = Duration::from_millis(time.parse().expect("milliseconds"));
    match what.as_str() {
        "trace" => trace(of, time),
        "threads" => threads(of.parse().expect("a count"), time),
        "accounts" => accounts(of.parse().expect("a count"), time),
        _ => panic!("trace, threads or accounts"),
    }
    black_box(());
}
