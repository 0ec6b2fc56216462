//! Where an image goes in a tensor: pure geometry.

/// How an image of another shape fits into a tensor's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// All of the image over all of the tensor; its shape is not kept.
    Stretch,
    /// All of the image in the middle of the tensor, its shape kept; the rest is padded.
    Letterbox,
    /// The same at the top left.
    LetterboxTopLeft,
    /// All of the tensor from the middle of the image, its shape kept; the rest is cut off.
    Cover,
}

/// From an image to a tensor: x · scale + offset, pixels in, pixels out. Coordinates are
/// those of edges: the first pixel goes from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Map {
    /// Of x and y.
    pub scale: [f64; 2],
    /// Of x and y.
    pub offset: [f64; 2],
}

impl Map {
    /// Nothing moves.
    pub const SAME: Map = Map { scale: [1.0; 2], offset: [0.0; 2] };

    /// A place of the tensor, in the image.
    pub fn back(&self, axis: usize, place: f32) -> f32 {
        ((f64::from(place) - self.offset[axis]) / self.scale[axis]) as f32
    }
}

/// One axis: which places of the tensor are made of which places of the image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Axis {
    /// The first place of the tensor.
    pub(super) begin: usize,
    /// How many there are.
    pub(super) count: usize,
    /// Where in the image the first one begins.
    pub(super) start: f64,
    /// Of how many places so many pixels are: quotients are taken last, which makes whole
    /// ones exact.
    pub(super) of: (usize, usize),
    /// How many pixels the image has.
    pub(super) len: usize,
}

impl Axis {
    /// Where in the image the middle of the `i`-th place is.
    pub(super) fn middle(&self, i: usize) -> f64 {
        let (places, pixels) = self.of;
        self.start + (i as f64 + 0.5) * pixels as f64 / places as f64
    }

    /// How much of the image a place is.
    pub(super) fn step(&self) -> f64 {
        self.of.1 as f64 / self.of.0 as f64
    }

    fn scale(&self) -> f64 {
        1.0 / self.step()
    }

    fn offset(&self) -> f64 {
        self.begin as f64 - self.start * self.scale()
    }
}

/// Fits an image of `from` pixels, x and y, into a tensor of `to`; none of them 0.
pub(super) fn fit(how: Fit, from: [usize; 2], to: [usize; 2]) -> [Axis; 2] {
    // Which axis has fewer places for a pixel: in whole numbers, so that it is exact.
    let is_tighter = |axis: usize| {
        let across = 1 - axis;
        to[axis] as u128 * from[across] as u128 <= to[across] as u128 * from[axis] as u128
    };
    let (tight, loose) = if is_tighter(0) { (0, 1) } else { (1, 0) };
    [0, 1].map(|axis| {
        let whole = |begin: usize, count: usize| Axis {
            begin,
            count,
            start: 0.0,
            of: (count, from[axis]),
            len: from[axis],
        };
        let boxed = from[axis] as f64 * to[tight] as f64 / from[tight] as f64;
        let boxed = (boxed.round() as usize).clamp(1, to[axis]);
        match how {
            Fit::Stretch => whole(0, to[axis]),
            Fit::Letterbox => whole((to[axis] - boxed) / 2, boxed),
            Fit::LetterboxTopLeft => whole(0, boxed),
            Fit::Cover => {
                let of = (to[loose], from[loose]);
                let used = to[axis] as f64 * of.1 as f64 / of.0 as f64;
                let start = (from[axis] as f64 - used) / 2.0;
                Axis { begin: 0, count: to[axis], start, of, len: from[axis] }
            }
        }
    })
}

/// The map of two axes.
pub(super) fn map(axes: &[Axis; 2]) -> Map {
    Map { scale: [axes[0].scale(), axes[1].scale()], offset: [axes[0].offset(), axes[1].offset()] }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(how: Fit, from: [usize; 2], to: [usize; 2]) -> [(usize, usize); 2] {
        fit(how, from, to).map(|axis| (axis.begin, axis.count))
    }

    #[test]
    fn a_letterbox_is_in_the_middle() {
        assert_eq!(places(Fit::Letterbox, [1280, 720], [640, 640]), [(0, 640), (140, 360)]);
        assert_eq!(places(Fit::Letterbox, [3, 5], [10, 10]), [(2, 6), (0, 10)]);
        assert_eq!(places(Fit::LetterboxTopLeft, [3, 5], [10, 10]), [(0, 6), (0, 10)]);
        // One side may come to nothing: it keeps a pixel.
        assert_eq!(places(Fit::Letterbox, [10_000, 1], [32, 32]), [(0, 32), (15, 1)]);
        assert_eq!(places(Fit::Stretch, [1280, 720], [224, 224]), [(0, 224), (0, 224)]);
    }

    #[test]
    fn a_cover_cuts_off_both_ends_alike() {
        let [x, y] = fit(Fit::Cover, [1280, 720], [224, 224]);
        assert_eq!((x.begin, x.count, y.start), (0, 224, 0.0));
        assert!((x.start - 280.0).abs() < 1e-9 && x.of == (224, 720));
    }

    #[test]
    fn a_map_leads_there_and_back() {
        for how in [Fit::Stretch, Fit::Letterbox, Fit::LetterboxTopLeft, Fit::Cover] {
            let axes = fit(how, [1280, 720], [416, 640]);
            let map = map(&axes);
            for (axis, of) in axes.iter().enumerate() {
                let place = (of.begin + 3) as f32 + 0.5;
                let back = f64::from(map.back(axis, place));
                assert!((back - of.middle(3)).abs() < 1e-3, "{how:?} {axis}");
            }
        }
        assert_eq!(Map::SAME.back(1, 7.5), 7.5);
    }
}
