//! Weights: floats on cache lines that nobody changes once they are shared; ours, or
//! in somebody's memory, such as a mapped file.
//!
//! They are serialised by their place: what has them is written with
//! [`collected`], which says what lies where, and read with [`placed`] over
//! memory where it does.

use super::Aligned;
use crate::error;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_128;

/// Bytes of a cache line.
const LINE: usize = 64;

/// Floats on cache lines. A clone is the same floats.
#[derive(Clone)]
pub struct Floats {
    from: *const f32,
    len: usize,
    owner: Owner,
}

#[derive(Clone)]
enum Owner {
    Lines(Arc<Aligned>),
    Blob { _blob: Blob },
    Other { _owner: Arc<dyn Send + Sync> },
}

// SAFETY: the floats are read only, but by `floats_mut`, for which this has to be
// borrowed for writing and their only owner.
unsafe impl Send for Floats {}
// SAFETY: as above.
unsafe impl Sync for Floats {}

impl std::fmt::Debug for Floats {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} floats", self.len)
    }
}

impl From<Aligned> for Floats {
    fn from(lines: Aligned) -> Floats {
        let lines = Arc::new(lines);
        let (from, len) = (lines.floats().as_ptr(), lines.floats().len());
        Floats { from, len, owner: Owner::Lines(lines) }
    }
}

impl std::ops::Deref for Floats {
    type Target = [f32];

    #[inline]
    fn deref(&self) -> &[f32] {
        // SAFETY: so many floats of the owner's, who does not move or change them.
        unsafe { std::slice::from_raw_parts(self.from, self.len) }
    }
}

impl Floats {
    /// The same floats on cache lines of their own, the last of which ends with zeros.
    pub fn copied(floats: &[f32]) -> error::Result<Floats> {
        let mut lines = Aligned::zeros(floats.len())?;
        lines.floats_mut()[..floats.len()].copy_from_slice(floats);
        Ok(lines.into())
    }

    /// Those that `owner` gives, in their place; none where that does not begin with a
    /// cache line.
    pub fn owned_by<T: AsRef<[f32]> + Send + Sync + 'static>(owner: Arc<T>) -> Option<Floats> {
        let floats = T::as_ref(&owner);
        let (from, len) = (floats.as_ptr(), floats.len());
        // (What an `Arc` has stays where it is, and nobody can change it.)
        from.addr().is_multiple_of(LINE).then_some(Floats {
            from,
            len,
            owner: Owner::Other { _owner: owner },
        })
    }

    /// All of them, to write to; none where somebody else has them, too.
    pub fn floats_mut(&mut self) -> Option<&mut [f32]> {
        match &mut self.owner {
            Owner::Lines(lines) => Some(Arc::get_mut(lines)?.floats_mut()),
            Owner::Blob { .. } | Owner::Other { .. } => None,
        }
    }

    /// Whether somebody else has them, too.
    fn is_shared(&self) -> bool {
        match &self.owner {
            Owner::Lines(lines) => Arc::strong_count(lines) > 1,
            // (As far as is known.)
            Owner::Blob { .. } | Owner::Other { .. } => true,
        }
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: floats are bytes.
        unsafe { std::slice::from_raw_parts(self.from.cast(), self.len * size_of::<f32>()) }
    }
}

/// Memory of somebody's that is shared and never changed.
#[derive(Clone)]
pub struct Blob {
    from: *const u8,
    len: usize,
    _owner: Arc<dyn Send + Sync>,
}

// SAFETY: only read, and the owner may be shared.
unsafe impl Send for Blob {}
// SAFETY: as above.
unsafe impl Sync for Blob {}

impl Blob {
    /// The part of what `owner` gives that begins at `from`, of `len` bytes; none where
    /// there is no such part.
    pub fn new<T: AsRef<[u8]> + Send + Sync + 'static>(
        owner: Arc<T>,
        from: usize,
        len: usize,
    ) -> Option<Blob> {
        let bytes = T::as_ref(&owner).get(from..)?.get(..len)?;
        // (What an `Arc` has stays where it is, and nobody can change it.)
        Some(Blob { from: bytes.as_ptr(), len, _owner: owner })
    }

    fn floats(&self, at: usize, len: usize) -> Option<Floats> {
        let bytes = len.checked_mul(size_of::<f32>())?;
        let inside = at.checked_add(bytes).is_some_and(|end| end <= self.len);
        if !inside || !(self.from.addr() + at).is_multiple_of(LINE) {
            return None;
        }
        // SAFETY: within the bytes.
        let from = unsafe { self.from.add(at) }.cast();
        Some(Floats { from, len, owner: Owner::Blob { _blob: self.clone() } })
    }
}

/// What lies where in a blob.
#[derive(Default)]
pub struct Collected {
    items: Vec<(usize, Floats)>,
    by_content: HashMap<u128, usize>,
    len: usize,
}

impl Collected {
    /// Where these floats are to lie: each content once.
    fn place(&mut self, floats: &Floats) -> usize {
        let (items, len) = (&mut self.items, &mut self.len);
        *self.by_content.entry(xxh3_128(floats.bytes())).or_insert_with(|| {
            let at = *len;
            items.push((at, floats.clone()));
            *len = (at + floats.bytes().len()).next_multiple_of(LINE);
            at
        })
    }

    fn at(&self, at: usize) -> Option<Floats> {
        let index = self.items.binary_search_by_key(&at, |(at, _)| *at).ok()?;
        Some(self.items[index].1.clone())
    }

    /// Bytes of the blob.
    pub fn bytes(&self) -> usize {
        self.len
    }

    /// Calls `write` with each piece of the blob, from its first byte to its last.
    pub fn write<E>(&self, mut write: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        for (at, floats) in &self.items {
            let bytes = floats.bytes();
            write(bytes)?;
            let end = at + bytes.len();
            write(&[0; LINE][..end.next_multiple_of(LINE) - end])?;
        }
        Ok(())
    }
}

/// Floats that several have, by their content.
#[derive(Default)]
pub struct Shared(HashMap<u128, Floats>);

impl Shared {
    /// Those of `new`, but for what was there before in the place of the same. What
    /// nobody else has any more is forgotten.
    pub fn with(&mut self, new: Collected) -> Collected {
        self.0.retain(|_, floats| floats.is_shared());
        let Collected { items, by_content, len } = new;
        let hashes: HashMap<usize, u128> =
            by_content.iter().map(|(hash, at)| (*at, *hash)).collect();
        let known = |(at, floats): (usize, Floats)| {
            let hash = hashes.get(&at).copied().unwrap_or_default();
            let first = self.0.entry(hash).or_insert_with(|| floats.clone());
            (at, if first.bytes() == floats.bytes() { first.clone() } else { floats })
        };
        Collected { items: items.into_iter().map(known).collect(), by_content, len }
    }
}

enum Shelf {
    Collecting(Collected),
    Known(Collected),
    Placed(Blob),
}

thread_local! {
    static SHELF: RefCell<Option<Shelf>> = const { RefCell::new(None) };
}

/// What `write`, which serialises something, gives; and the floats that it has.
pub fn collected<T>(write: impl FnOnce() -> T) -> (T, Collected) {
    SHELF.set(Some(Shelf::Collecting(Collected::default())));
    let written = write();
    match SHELF.take() {
        Some(Shelf::Collecting(collected)) => (written, collected),
        _ => (written, Collected::default()),
    }
}

/// What `read`, which deserialises something, gives, with the floats of a blob.
pub fn placed<T>(blob: Blob, read: impl FnOnce() -> T) -> T {
    read_from(Shelf::Placed(blob), read)
}

/// The same with floats that were collected.
pub fn known<T>(floats: Collected, read: impl FnOnce() -> T) -> T {
    read_from(Shelf::Known(floats), read)
}

fn read_from<T>(shelf: Shelf, read: impl FnOnce() -> T) -> T {
    SHELF.set(Some(shelf));
    let given = read();
    SHELF.set(None);
    given
}

impl Serialize for Floats {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let at = SHELF.with_borrow_mut(|shelf| match shelf {
            Some(Shelf::Collecting(collected)) => Some(collected.place(self)),
            _ => None,
        });
        let at = at.ok_or_else(|| ser::Error::custom("nobody collects the floats"))?;
        (at, self.len).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Floats {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Floats, D::Error> {
        let (at, len) = <(usize, usize)>::deserialize(deserializer)?;
        let floats = SHELF.with_borrow(|shelf| match shelf {
            Some(Shelf::Placed(blob)) => blob.floats(at, len),
            Some(Shelf::Known(known)) => known.at(at).filter(|floats| floats.len() == len),
            _ => None,
        });
        floats.ok_or_else(|| de::Error::custom(format!("no {len} floats at byte {at}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(values: &[f32]) -> Floats {
        Floats::copied(values).unwrap()
    }

    #[test]
    fn floats_come_back_from_where_they_were_put() {
        let all = [floats(&[1.0, 2.0]), floats(&[3.0; 40]), floats(&[1.0, 2.0])];
        let (written, collected) = collected(|| postcard::to_allocvec(&all).unwrap());
        assert_eq!(collected.items.len(), 2, "the same content once");
        let mut bytes = Aligned::zeros(collected.bytes() / 4).unwrap();
        let mut lines = Vec::new();
        let mut add = |part: &[u8]| -> Result<(), ()> {
            lines.extend_from_slice(part);
            Ok(())
        };
        collected.write(&mut add).unwrap();
        assert_eq!(lines.len(), collected.bytes());
        for (to, from) in bytes.floats_mut().iter_mut().zip(lines.as_chunks::<4>().0) {
            *to = f32::from_le_bytes(*from);
        }
        struct Lines(Aligned);
        impl AsRef<[u8]> for Lines {
            fn as_ref(&self) -> &[u8] {
                let floats = self.0.floats();
                // SAFETY: floats are bytes.
                unsafe { std::slice::from_raw_parts(floats.as_ptr().cast(), 4 * floats.len()) }
            }
        }
        let owner = Arc::new(Lines(bytes));
        let blob = |len| Blob::new(owner.clone(), 0, len).unwrap();
        let read = |len| placed(blob(len), || postcard::from_bytes::<[Floats; 3]>(&written));
        let back = read(lines.len()).unwrap();
        assert!(back.iter().zip(&all).all(|(a, b)| **a == **b));
        assert!(read(64).is_err(), "past the end");
        assert!(Blob::new(owner.clone(), 64, lines.len()).is_none());
        assert!(postcard::from_bytes::<[Floats; 3]>(&written).is_err(), "without a blob");
    }

    #[test]
    fn the_same_content_is_there_once() {
        let written = |all: &[Floats; 2]| collected(|| postcard::to_allocvec(all).unwrap());
        let mut shared = Shared::default();
        let mut of = |all: [Floats; 2]| {
            let (written, floats) = written(&all);
            let floats = shared.with(floats);
            known(floats, || postcard::from_bytes::<[Floats; 2]>(&written)).unwrap()
        };
        let one = of([floats(&[1.0]), floats(&[2.0; 30])]);
        let two = of([floats(&[2.0; 30]), floats(&[3.0])]);
        assert_eq!(one[1].as_ptr(), two[0].as_ptr());
        assert_eq!((one[0][0], two[1][0]), (1.0, 3.0));
        drop((one, two));
        assert_eq!(of([floats(&[2.0; 30]), floats(&[5.0])])[1][0], 5.0);
        assert_eq!(shared.0.len(), 2, "what nobody has is forgotten");
    }

    #[test]
    fn only_what_is_ones_own_is_written_to() {
        let mut one = floats(&[1.0]);
        one.floats_mut().unwrap()[0] = 2.0;
        let two = one.clone();
        assert!(one.floats_mut().is_none());
        drop(two);
        assert_eq!(one.floats_mut().unwrap()[0], 2.0);
    }
}
