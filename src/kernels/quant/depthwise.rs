//! Convolutions of bytes in which each channel has a kernel of its own, over images
//! whose channels lie together.

use super::QOut;
use super::finish::Finish;
use crate::kernels::Isa;
use crate::kernels::lanes::{Lanes, Scalar, WIDTH};
use crate::kernels::window::{Axis, floats};

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

/// For each tap, what it reads: a byte for each channel.
pub(super) type Taps<'a> = [&'a [u8]; QDepthwise::MOST_TAPS];

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
        let (rows, columns) = (self.axis(0), self.axis(1));
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
            #[cfg(not(target_arch = "x86_64"))]
            _ => job.scalar(),
        }
    }

    fn axis(&self, at: usize) -> Axis {
        let ends = [self.from[at], self.to[at]];
        Axis::new(ends, self.kernel[at], self.stride[at], self.dilation[at], self.pad[at])
    }
}

impl Job<'_> {
    /// Calls `each` for all windows, with their number and what their taps read.
    #[inline(always)]
    pub(super) fn windows(&self, mut each: impl FnMut(usize, &Taps)) {
        let QDepthwise { x, from, channels, kernel, ground, .. } = *self.d;
        let mut taps: Taps = [ground; QDepthwise::MOST_TAPS];
        let mut window = 0;
        for row in 0..self.rows.windows() {
            for column in 0..self.columns.windows() {
                for i in 0..kernel[0] {
                    // (What is before the image is, as a number, far behind it.)
                    let y = self.rows.place(row, i);
                    for j in 0..kernel[1] {
                        let at = self.columns.place(column, j);
                        taps[i * kernel[1] + j] = match y < from[0] && at < from[1] {
                            true => &x[(y * from[1] + at) * channels..][..channels],
                            false => ground,
                        };
                    }
                }
                each(window, &taps);
                window += 1;
            }
        }
    }

    pub(super) fn taps(&self) -> usize {
        self.d.kernel[0] * self.d.kernel[1]
    }

    /// The reference.
    fn scalar(&self) {
        let count = self.taps();
        self.windows(|window, taps| {

            let sums = |channel: usize, sums: &mut [i32; WIDTH], some: usize| {
                self.sums(&taps[..count], channel, &mut sums[..some]);
            };
            self.write::<Scalar>(window, sums);
        });
    }

    /// Writes a window, for whose channels `sums_of` gives the sums: from a channel on,
    /// so many.
    #[inline(always)]
    pub(super) fn write<V: Lanes>(
        &self,
        window: usize,
        sums_of: impl Fn(usize, &mut [i32; WIDTH], usize),
    ) {
        let channels = self.d.channels;
        for channel in (0..channels).step_by(WIDTH) {
            let (mut sums, count) = ([0; WIDTH], (channels - channel).min(WIDTH));
            sums_of(channel, &mut sums, count);
            // SAFETY: `run` has measured where they go.
            unsafe { self.finish.write::<V>(window, channel, &sums, count) };
        }
    }

    /// The sums of some channels.
    pub(super) fn sums(&self, taps: &[&[u8]], channel: usize, sums: &mut [i32]) {
        let QDepthwise { weights, start, channels, .. } = *self.d;
        for (i, sum) in sums.iter_mut().enumerate() {
            let of = |tap: usize| {
                let weight = weights[tap * channels + channel + i];
                i32::from(taps[tap][channel + i]) * i32::from(weight)
            };
            let first = start[channel + i];
            *sum = (0..taps.len()).fold(first, |sum, tap| sum.wrapping_add(of(tap)));
        }
    }
}
