//! Packed weights that are packed later: when what they are made of is in nobody
//! else's hands any more, so that both are there at once for one matrix only.

use super::{Aligned, Floats};
use crate::error::Result;
use serde::{Deserialize, Deserializer, Serialize, Serializer, ser};

type Make = Box<dyn FnOnce(&mut [f32]) + Send + Sync>;

/// Floats that are there, or are made by [`Deferred::make`].
pub(super) enum Deferred {
    There(Floats),
    Later { len: usize, make: Make },
}

impl Deferred {
    /// So many floats, which `make` writes over zeros.
    pub(super) fn later(
        len: usize,
        make: impl FnOnce(&mut [f32]) + Send + Sync + 'static,
    ) -> Deferred {
        Deferred::Later { len, make: Box::new(make) }
    }

    /// How many they are.
    pub(super) fn len(&self) -> usize {
        match self {
            Deferred::There(floats) => floats.len(),
            Deferred::Later { len, .. } => *len,
        }
    }

    /// Does `change` to them: now, or when they are made.
    ///
    /// # Panics
    ///
    /// When somebody else has them already.
    pub(super) fn change(&mut self, change: impl FnOnce(&mut [f32]) + Send + Sync + 'static) {
        match self {
            Deferred::There(floats) => {
                change(floats.floats_mut().expect("weights that nobody else has yet"));
            }
            Deferred::Later { make, .. } => {
                let before = std::mem::replace(make, Box::new(|_| ()));
                *make = Box::new(move |to| {
                    before(to);
                    change(to);
                });
            }
        }
    }

    /// Makes them, unless they are there. What they are made of is let go of.
    ///
    /// Fails when there is no memory.
    pub(super) fn make(&mut self) -> Result<()> {
        if let Deferred::Later { len, make } = self {
            let mut lines = Aligned::zeros(*len)?;
            std::mem::replace(make, Box::new(|_| ()))(lines.floats_mut());
            *self = Deferred::There(lines.into());
        }
        Ok(())
    }
}

impl From<Aligned> for Deferred {
    fn from(lines: Aligned) -> Deferred {
        Deferred::There(lines.into())
    }
}

impl std::ops::Deref for Deferred {
    type Target = [f32];

    /// # Panics
    ///
    /// When they are not made yet.
    #[inline]
    fn deref(&self) -> &[f32] {
        match self {
            Deferred::There(floats) => floats,
            Deferred::Later { len, .. } => unmade(*len),
        }
    }
}

#[cold]
fn unmade(len: usize) -> ! {
    panic!("{len} packed floats are used before they are made")
}

impl std::fmt::Debug for Deferred {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} floats", self.len())
    }
}

impl Serialize for Deferred {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Deferred::There(floats) => floats.serialize(serializer),
            Deferred::Later { .. } => Err(ser::Error::custom("weights that are not made yet")),
        }
    }
}

impl<'de> Deserialize<'de> for Deferred {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Deferred, D::Error> {
        Floats::deserialize(deserializer).map(Deferred::There)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn changes_wait_for_what_they_change() {
        let raw = Arc::new([1.0f32, 2.0]);
        let of = raw.clone();
        let mut floats = Deferred::later(2, move |to| to[..2].copy_from_slice(&*of));
        floats.change(|to| to.iter_mut().for_each(|v| *v *= 3.0));
        assert_eq!((Arc::strong_count(&raw), floats.len()), (2, 2));
        floats.make().unwrap();
        floats.change(|to| to[0] += 1.0);
        floats.make().unwrap();
        assert_eq!((&floats[..2], Arc::strong_count(&raw)), (&[4.0, 6.0][..], 1));
    }

    #[test]
    #[should_panic(expected = "before they are made")]
    fn what_is_not_made_is_not_read() {
        let _ = &Deferred::later(3, |_| ())[..];
    }
}
