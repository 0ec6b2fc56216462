//! Windows that slide over an image, and over the padding around it.

use std::ops::Range;

/// Rows or columns that a window slides over.
#[derive(Debug, Clone, Copy)]
pub(super) struct Axis {
    from: usize,
    to: usize,
    kernel: usize,
    stride: usize,
    dilation: usize,
    pad: usize,
}

impl Axis {
    /// `to` windows of `kernel` taps, `dilation` apart, over `from` places; each
    /// begins `stride` after the one before it, the first one `pad` before the
    /// places.
    ///
    /// # Panics
    ///
    /// When stride or dilation is 0, or a place has no number.
    pub(super) fn new(
        [from, to]: [usize; 2],
        kernel: usize,
        stride: usize,
        dilation: usize,
        pad: usize,
    ) -> Axis {
        assert!(stride > 0 && dilation > 0, "stride {stride}, dilation {dilation}");
        let last = to.checked_mul(stride).zip(kernel.checked_mul(dilation));
        let last = last.and_then(|(begin, reach)| begin.checked_add(reach));
        assert!(last.is_some() && from.checked_add(pad).is_some(), "{to} windows of {kernel}");
        Axis { from, to, kernel, stride, dilation, pad }
    }

    /// How many windows there are.
    #[inline(always)]
    pub(super) fn windows(self) -> usize {
        self.to
    }

    /// Places.
    #[inline(always)]
    pub(super) fn places(self) -> usize {
        self.from
    }

    /// The place of a window's tap; what is no place is past the last one.
    #[inline(always)]
    pub(super) fn place(self, window: usize, tap: usize) -> usize {
        (window * self.stride + tap * self.dilation).wrapping_sub(self.pad)
    }

    /// The taps of a window that are before a place: the first `end` places, with
    /// the padding.
    #[inline(always)]
    fn before(self, window: usize, end: usize) -> usize {
        let left = end.saturating_sub(window * self.stride);
        if self.dilation == 1 {
            left.min(self.kernel)
        } else {
            left.div_ceil(self.dilation).min(self.kernel)
        }
    }

    /// The taps of a window that are places.
    #[inline(always)]
    pub(super) fn taps(self, window: usize) -> Range<usize> {
        let end = self.before(window, self.pad + self.from);
        self.before(window, self.pad).min(end)..end
    }

    /// How many taps of a window are places, or padding, of which `after` places
    /// follow the last one.
    #[inline(always)]
    pub(super) fn padded(self, window: usize, after: usize) -> usize {
        self.before(window, (self.pad + self.from).saturating_add(after))
    }

    /// The windows all of whose taps are places.
    #[inline(always)]
    pub(super) fn all_inside(self) -> Range<usize> {
        let begin = self.pad.div_ceil(self.stride);
        let reach = self.kernel.saturating_sub(1) * self.dilation;
        let left = (self.pad + self.from).saturating_sub(reach);
        let end = left.div_ceil(self.stride).min(self.to);
        begin.min(end)..end
    }

    /// Whether all taps of `count` windows are places.
    #[inline(always)]
    pub(super) fn inside(self, window: usize, count: usize) -> bool {
        let reach = self.kernel.saturating_sub(1) * self.dilation;
        let last = (window + count - 1) * self.stride + reach;
        window * self.stride >= self.pad && last - self.pad < self.from
    }
}

/// The axes of what has `from`, `to`, `kernel`, `stride`, `dilation` and `pad`, pairs of
/// rows and columns.
macro_rules! axes {
    ($windows:expr) => {{
        let w = &$windows;
        [0, 1].map(|i: usize| {
            let ends = [w.from[i], w.to[i]];
            Axis::new(ends, w.kernel[i], w.stride[i], w.dilation[i], w.pad[i])
        })
    }};
}
pub(super) use axes;

/// The floats of an image.
///
/// # Panics
///
/// When there are more than can be numbered.
pub(super) fn floats([rows, columns]: [usize; 2], channels: usize) -> usize {
    let floats = rows.checked_mul(columns).and_then(|n| n.checked_mul(channels));
    floats.unwrap_or_else(|| panic!("{rows} × {columns} × {channels} floats"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taps_are_the_ones_inside() {
        for (from, kernel, stride, dilation, pad) in
            [(5, 3, 1, 1, 1), (4, 3, 2, 2, 7), (0, 2, 1, 1, 1), (9, 1, 3, 4, 0), (6, 0, 1, 1, 2)]
        {
            let axis = Axis::new([from, 8], kernel, stride, dilation, pad);
            for window in 0..8 {
                let of = |k: usize| (window * stride + k * dilation) as isize - pad as isize;
                let inside = |k: &usize| (0..from as isize).contains(&of(*k));
                let want: Vec<_> = (0..kernel).filter(inside).collect();
                assert_eq!(axis.taps(window).collect::<Vec<_>>(), want);
                assert!(want.iter().all(|k| axis.place(window, *k) == of(*k) as usize));
                let all = want.len() == kernel && kernel > 0;
                assert!(axis.inside(window, 1) == all || kernel == 0);
                assert!(axis.all_inside().contains(&window) == all || kernel == 0);
                let padded = (0..kernel).filter(|k| of(*k) < from as isize + 2).count();
                assert_eq!(axis.padded(window, 2), padded);
            }
        }
    }
}
