//! The lock-free parts of the library, compiled over loom's atomics and cells:
//! every interleaving of the threads below is run.
#![allow(dead_code, missing_docs)]

#[path = "../../../src/pool/balance.rs"]
mod balance;
#[cfg(all(test, loom))]
mod crew;
#[path = "../../../src/crew/desk.rs"]
mod desk;
#[path = "../../../src/error.rs"]
pub mod error;
#[path = "../../../src/ffi/handle.rs"]
pub mod handle;
#[cfg(all(test, loom))]
mod memory;
#[path = "../../../src/crew/place.rs"]
mod place;
#[cfg(all(test, loom))]
mod queue;
#[path = "../../../src/pool/regions.rs"]
mod regions;
#[path = "../../../src/pool/reserve.rs"]
mod reserve;
#[path = "../../../src/sync.rs"]
mod sync;
#[path = "../../../src/queue"]
mod words {
    pub mod free;
    pub mod inbox;
    pub mod phase;
}

#[cfg(all(test, loom))]
mod tests {
    use crate::handle::{Kind, Table};
    use loom::thread;
    use std::sync::Arc;

    fn handle(bits: usize) -> *const std::ffi::c_void {
        std::ptr::without_provenance(bits)
    }

    #[test]
    fn resolve_against_remove() {
        loom::model(|| {
            let table = Arc::new(Table::new(Kind::Session));
            let value = Arc::new(7u32);
            let h = table.insert(value.clone()).unwrap().addr();
            let reader = {
                let table = table.clone();
                thread::spawn(move || table.resolve(handle(h)).map(|v| *v).unwrap_or(7))
            };
            table.remove(handle(h)).unwrap();
            assert_eq!(reader.join().unwrap(), 7);
            assert!(table.resolve(handle(h)).is_err());
            assert_eq!(Arc::strong_count(&value), 1, "the table let go of it");
        });
    }

    /// What is written to when it ends.
    struct Watched(loom::cell::UnsafeCell<u32>);

    // SAFETY: loom sees whether it is read and written at once.
    unsafe impl Sync for Watched {}

    impl Drop for Watched {
        fn drop(&mut self) {
            // SAFETY: nobody else has it any more, which loom checks.
            self.0.with_mut(|v| unsafe { *v = 0 });
        }
    }

    #[test]
    fn what_is_pinned_stays() {
        loom::model(|| {
            let table = Arc::new(Table::new(Kind::Session));
            let value = Arc::new(Watched(loom::cell::UnsafeCell::new(7)));
            let h = table.insert(value).unwrap().addr();
            let reader = {
                let table = table.clone();
                thread::spawn(move || match table.pin(handle(h)) {
                    // SAFETY: it is read only, which loom checks.
                    Ok(pinned) => pinned.0.with(|v| unsafe { *v }),
                    Err(_) => 7,
                })
            };
            table.remove(handle(h)).unwrap();
            assert_eq!(reader.join().unwrap(), 7);
            assert!(table.pin(handle(h)).is_err());
        });
    }

    #[test]
    fn a_kept_slot_is_its_pools_once_its_handle_and_pins_are_gone() {
        loom::model(|| {
            use loom::sync::atomic::{AtomicUsize, Ordering};
            struct Pooled(AtomicUsize);
            let table = Table::new(Kind::Job).keeping(|value: &Pooled| {
                value.0.fetch_add(1, Ordering::AcqRel);
                true
            });
            let (table, value) = (Arc::new(table), Arc::new(Pooled(AtomicUsize::new(0))));
            let slot = table.reserve(value.clone()).unwrap();
            let old = table.open(slot).addr();
            let reader = {
                let table = table.clone();
                thread::spawn(move || table.pin(handle(old)).is_ok_and(|v| {
                    assert_eq!(v.0.load(Ordering::Acquire), 0, "still there");
                    true
                }))
            };
            table.remove(handle(old)).unwrap();
            let seen = reader.join().unwrap();
            assert_eq!(value.0.load(Ordering::Acquire), 1, "told once, pinned or not: {seen}");
            let new = table.open(slot).addr();
            assert!(table.pin(handle(old)).is_err() && table.pin(handle(new)).is_ok());
        });
    }

    #[test]
    fn two_removes_one_wins() {
        loom::model(|| {
            let table = Arc::new(Table::new(Kind::Session));
            let h = table.insert(Arc::new(1u32)).unwrap().addr();
            let other = {
                let table = table.clone();
                thread::spawn(move || table.remove(handle(h)).is_ok())
            };
            let mine = table.remove(handle(h)).is_ok();
            assert!(mine ^ other.join().unwrap());
        });
    }

    #[test]
    fn a_slot_used_again_never_answers_the_old_handle() {
        loom::model(|| {
            let table = Arc::new(Table::new(Kind::Session));
            let old = table.insert(Arc::new(1u32)).unwrap().addr();
            let reader = {
                let table = table.clone();
                thread::spawn(move || table.resolve(handle(old)).map(|v| *v).unwrap_or(1))
            };
            table.remove(handle(old)).unwrap();
            let new = table.insert(Arc::new(2u32)).unwrap().addr();
            assert_ne!(old, new);
            assert_eq!(reader.join().unwrap(), 1);
            assert_eq!(*table.resolve(handle(new)).unwrap(), 2);
        });
    }
}
