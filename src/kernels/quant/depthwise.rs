//! Convolutions of bytes in which each channel has a kernel of its own, over images
//! whose channels lie together.

use super::QOut;
use super::finish::Finish;
use crate::kernels::Isa;
use crate::kernels::lanes::{Lanes, Scalar, WIDTH};
use crate::kernels::window::{Axis, axes, floats};

/// A convolution of each channel with a kernel of its own. Pairs are of rows and
/// columns.
#[derive(Debug)]
pub struct QDepthwise<'a> {
    /// The image: rows of columns of channels.
    pub x: &'a [u8],
    /// Rows and columns of `x`.
    pub from: [usize; 2],
    /// Rows and columns that are written.
    pub to: [usize; 2],
    /// Channels of both.
    pub channels: usize,
    /// Taps: [`QDepthwise::MOST_TAPS`] at most.
    pub kernel: [usize; 2],
    /// From one window to the next one.
    pub stride: [usize; 2],
    /// From one tap to the next one.
    pub dilation: [usize; 2],
    /// How far before the image the first window begins.
    pub pad: [usize; 2],
    /// What lies around the image: a byte for each channel.
    pub ground: &'a [u8],
    /// Of each tap, row by row: one of each channel.
    pub weights: &'a [i8],
    /// What the sums of each channel begin with.
    pub start: &'a [i32],
    /// What they become.
    pub y: QOut<'a>,
}

/// A convolution that has been measured.
pub(super) struct Job<'a> {
    pub(super) d: &'a QDepthwise<'a>,
    rows: Axis,
    columns: Axis,
    pub(super) finish: Finish,
}

/// What a tap of the windows of a span reads: for each window a byte for each channel,
/// `step` after those of the one before.
#[derive(Clone, Copy)]
pub(super) struct Tap<'a> {
    pub(super) x: &'a [u8],
    pub(super) step: usize,
}

/// Windows of a row that follow each other, and their taps.
pub(super) struct Span<'a> {
    pub(super) first: usize,
    pub(super) count: usize,
    pub(super) taps: [Tap<'a>; QDepthwise::MOST_TAPS],
}

impl QDepthwise<'_> {
    /// Taps that there may be.
    pub const MOST_TAPS: usize = 52;

    /// Writes `y`.
    ///
    /// # Panics
    ///
    /// When a slice has another length than it says, a stride or dilation is 0, there
    /// are too many taps, or the processor has not `isa`.
    pub fn run(mut self, isa: Isa) {
        assert!(isa.is_there(), "{isa:?} is not there");
        let QDepthwise { x, from, to, channels, kernel, ground, weights, start, .. } = self;
        let len = |name, got: usize, image, channels| {
            let want = floats(image, channels);
            assert!(got == want, "{name} of {got}, not {want}");
        };
        len("x", x.len(), from, channels);
        len("weights", weights.len(), kernel, channels);
        len("start", start.len(), [1, 1], channels);
        len("ground", ground.len(), [1, 1], channels);
        assert!(kernel[0] * kernel[1] <= Self::MOST_TAPS, "{kernel:?} taps");
        let [rows, columns] = axes!(self);
        let windows = floats(to, 1);
        if windows == 0 || channels == 0 {
            return;
        }
        let finish = self.y.measured(windows, channels, channels);
        let job = Job { d: &self, rows, columns, finish };
        match isa {
            Isa::Scalar => job.scalar(),
            // SAFETY: `isa` is there, and has what an earlier one has; the slices were
            // measured.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 if super::x86::has_vnni() => unsafe { super::x86::depthwise_512(&job) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            _ => unsafe { super::x86::depthwise_256(&job) },
            // SAFETY: as above.
            #[cfg(target_arch = "aarch64")]
            _ => unsafe { super::neon::depthwise(&job) },
            #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
            _ => job.scalar(),
        }
    }
}

impl<'a> Job<'a> {
    /// Calls `each` for all windows: for those of a row together whose taps are on
    /// columns of the image, and for each of the others.
    #[inline(always)]
    pub(super) fn spans(&self, mut each: impl FnMut(&Span)) {
        let (all, inside) = (self.columns.windows(), self.columns.all_inside());
        let taps = [Tap { x: self.d.ground, step: 0 }; QDepthwise::MOST_TAPS];
        let mut span = Span { first: 0, count: 0, taps };
        for row in 0..self.rows.windows() {
            let mut column = 0;
            while column < all {
                let count = if column == inside.start { inside.len().max(1) } else { 1 };
                self.aim(row, column, count, &mut span);
                each(&span);
                column += count;
            }
        }
    }

    /// Makes a span of so many windows.
    #[inline]
    fn aim(&self, row: usize, column: usize, count: usize, span: &mut Span<'a>) {
        let QDepthwise { x, from, channels, kernel, stride, ground, .. } = *self.d;
        (span.first, span.count) = (row * self.columns.windows() + column, count);
        for i in 0..kernel[0] {
            // (What is before the image is, as a number, far behind it.)
            let y = self.rows.place(row, i);
            for j in 0..kernel[1] {
                let at = self.columns.place(column, j);
                span.taps[i * kernel[1] + j] = match y < from[0] && at < from[1] {
                    true => {
                        let step = stride[1] * channels;
                        let len = (count - 1) * step + channels;
                        Tap { x: &x[(y * from[1] + at) * channels..][..len], step }
                    }
                    false => Tap { x: ground, step: 0 },
                };
            }
        }
    }

    #[inline(always)]
    pub(super) fn taps(&self) -> usize {
        self.d.kernel[0] * self.d.kernel[1]
    }

    /// The reference.
    fn scalar(&self) {
        self.spans(|span| {
            self.write::<Scalar>(span, |window, channel, sums, some| {
                self.sums(span, window, channel, &mut sums[..some]);
            });
        });
    }

    /// Writes the windows of a span, for whose channels `sums_of` gives the sums: of a
    /// window of it, from a channel on, so many.
    #[inline(always)]
    pub(super) fn write<V: Lanes>(
        &self,
        span: &Span,
        sums_of: impl Fn(usize, usize, &mut [i32; WIDTH], usize),
    ) {
        let channels = self.d.channels;
        for window in 0..span.count {
            for channel in (0..channels).step_by(WIDTH) {
                let (mut sums, count) = ([0; WIDTH], (channels - channel).min(WIDTH));
                sums_of(window, channel, &mut sums, count);
                // SAFETY: `run` has measured where they go.
                unsafe { self.finish.write::<V>(span.first + window, channel, &sums, count) };
            }
        }
    }

    /// The sums of some channels of a window of a span.
    pub(super) fn sums(&self, span: &Span, window: usize, channel: usize, sums: &mut [i32]) {
        let QDepthwise { weights, start, channels, .. } = *self.d;
        let taps = &span.taps[..self.taps()];
        for (i, sum) in sums.iter_mut().enumerate() {
            *sum = start[channel + i];
            for (tap, Tap { x, step }) in taps.iter().enumerate() {
                let x = i32::from(x[window * step + channel + i]);
                let weight = i32::from(weights[tap * channels + channel + i]);
                *sum = sum.wrapping_add(x * weight);
            }
        }
    }
}
