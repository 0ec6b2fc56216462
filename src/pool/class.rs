//! Size classes: four to a power of two, so that at most a quarter is wasted.
//!
//! The spacing is that of jemalloc's size classes (J. Evans, "A Scalable
//! Concurrent malloc(3) Implementation for FreeBSD", 2006). Everything is a
//! multiple of 64 bytes: no two tensors share a cache line.

/// The largest block that has a class; it shares its pages with others.
pub(super) const SMALL_MAX: usize = 16 << 10;
/// How many classes there are.
pub(super) const CLASSES: usize = 4 + 4 * (SMALL_MAX / 256).ilog2() as usize;

/// The class of a request of 1 to [`SMALL_MAX`] bytes.
pub(super) const fn of(bytes: usize) -> usize {
    let last = bytes - 1;
    if last < 256 {
        return last / 64;
    }
    let log = last.ilog2() as usize;
    4 + (log - 8) * 4 + ((last >> (log - 2)) & 3)
}

/// How many bytes a block of `class` has.
pub(super) const fn bytes(class: usize) -> usize {
    if class < 4 {
        return 64 * (class + 1);
    }
    let (octave, step) = ((class - 4) / 4, (class - 4) % 4);
    (64 << octave) * (5 + step)
}

/// Whether more than one block of `class` may begin in a page.
pub(super) const fn shares_pages(class: usize) -> bool {
    class < of(4 << 10)
}

/// No slab has fewer pages.
pub(super) const LEAST_PAGES: usize = 4;

/// How many pages a slab of a class has: at least eight blocks.
pub(super) const fn slab_pages(class: usize, page: usize) -> usize {
    let pages = (bytes(class) * 8).div_ceil(page).next_power_of_two();
    if pages < LEAST_PAGES { LEAST_PAGES } else { pages }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_holds_its_requests_and_wastes_at_most_a_quarter() {
        for size in 1..=SMALL_MAX {
            let class = of(size);
            assert!(bytes(class) >= size && (class == 0 || bytes(class - 1) < size), "{size}");
            assert!(size <= 256 || bytes(class) - size <= size / 4, "{size}");
        }
        assert_eq!((of(SMALL_MAX), bytes(CLASSES - 1)), (CLASSES - 1, SMALL_MAX));
        assert!((0..CLASSES).all(|class| bytes(class).is_multiple_of(64)));
        assert!((0..CLASSES).all(|class| shares_pages(class) == (bytes(class) < 4096)));
    }
}
