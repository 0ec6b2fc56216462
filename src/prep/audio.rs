//! Samples as they come, as frames of one channel that overlap.

use crate::error::{self, Result};
use crate::kernels::{Isa, from_shorts};

/// Samples of all channels, interleaved.
#[derive(Debug, Clone, Copy)]
pub enum Samples<'a> {
    /// From −32,768 to 32,767.
    Shorts(&'a [i16]),
    /// From −1 to 1.
    Floats(&'a [f32]),
}

/// A ring of samples: where its frames begin, and how many samples there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Framer {
    /// Samples of a frame.
    pub frame: usize,
    /// Samples from the start of a frame to that of the next one, `frame` at most.
    pub hop: usize,
    /// Where in the ring the next frame begins.
    pub begin: usize,
    /// How many samples there are.
    pub filled: usize,
}

impl Framer {
    /// Checks that it is one of a ring of `room` samples.
    pub fn check(&self, room: usize) -> Result<()> {
        if self.frame == 0 || self.frame > room {
            return Err(error::invalid_argument(format!(
                "a frame of {} samples: expected 1 to the {room} there is room for",
                self.frame
            )));
        }
        if self.hop == 0 || self.hop > self.frame {
            return Err(error::invalid_argument(format!(
                "a hop of {} samples: expected 1 to the {} of a frame",
                self.hop, self.frame
            )));
        }
        if self.begin >= room || self.filled > room {
            return Err(error::invalid_argument(format!(
                "{} samples from {} on in a ring of {room}: it was changed from outside",
                self.filled, self.begin
            )));
        }
        Ok(())
    }

    /// Adds `count` samples, the mean of `channels`, which begin `stride` apart: all of them,
    /// or none where there is no room.
    pub fn write(
        &mut self,
        isa: Isa,
        ring: &mut [f32],
        samples: Samples<'_>,
        channels: usize,
        stride: usize,
        count: usize,
    ) -> Result<()> {
        self.check(ring.len())?;
        let room = ring.len() - self.filled;
        if count > room {
            return Err(error::limit_exceeded(format!(
                "{count} samples, there is room for {room} of {}: expected frames to be read",
                ring.len()
            )));
        }
        let at = (self.begin + self.filled) % ring.len();
        let first = count.min(ring.len() - at);
        mono(isa, samples, 0, channels, stride, &mut ring[at..at + first]);
        mono(isa, samples, first, channels, stride, &mut ring[..count - first]);
        self.filled += count;
        Ok(())
    }

    /// Copies the next frame into `to`, of as many samples, and goes a hop on. Says whether
    /// there was one.
    pub fn read(&mut self, ring: &[f32], to: &mut [f32]) -> Result<bool> {
        self.check(ring.len())?;
        if self.filled < self.frame || to.len() != self.frame {
            return Ok(false);
        }
        let first = self.frame.min(ring.len() - self.begin);
        let (head, tail) = to.split_at_mut(first);
        head.copy_from_slice(&ring[self.begin..][..first]);
        tail.copy_from_slice(&ring[..tail.len()]);
        self.begin = (self.begin + self.hop) % ring.len();
        self.filled -= self.hop;
        Ok(true)
    }
}

/// Writes the mean of channels, from the `from`-th sample on.
fn mono(
    isa: Isa,
    samples: Samples<'_>,
    from: usize,
    channels: usize,
    stride: usize,
    to: &mut [f32],
) {
    match samples {
        Samples::Shorts(x) if (channels, stride) == (1, 1) => {
            from_shorts(isa, &x[from..][..to.len()], to);
        }
        Samples::Floats(x) if (channels, stride) == (1, 1) => {
            to.copy_from_slice(&x[from..][..to.len()]);
        }
        Samples::Shorts(x) => {
            for (x, to) in x.chunks(stride).skip(from).zip(to) {
                *to = mean(x[..channels].iter().map(|x| f64::from(*x) / 32768.0), channels);
            }
        }
        Samples::Floats(x) => {
            for (x, to) in x.chunks(stride).skip(from).zip(to) {
                *to = mean(x[..channels].iter().map(|x| f64::from(*x)), channels);
            }
        }
    }
}

fn mean(values: impl Iterator<Item = f64>, count: usize) -> f32 {
    (values.sum::<f64>() / count as f64) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: Framer = Framer { frame: 0, hop: 0, begin: 0, filled: 0 };

    /// Frames of `x`, written in parts of `part` samples.
    fn frames(frame: usize, hop: usize, room: usize, part: usize, x: &[f32]) -> Vec<Vec<f32>> {
        let (mut framer, mut ring) = (Framer { frame, hop, ..NEW }, vec![9.0; room]);
        let mut found = Vec::new();
        for some in x.chunks(part) {
            let samples = Samples::Floats(some);
            framer.write(Isa::best(), &mut ring, samples, 1, 1, some.len()).unwrap();
            let mut to = vec![8.0; frame];
            while framer.read(&ring, &mut to).unwrap() {
                found.push(to.clone());
            }
        }
        found
    }

    #[test]
    fn frames_overlap_whatever_the_parts() {
        let x: Vec<f32> = (0..200).map(|i| i as f32).collect();
        for (frame, hop) in [(16, 16), (16, 5), (1, 1), (30, 29), (7, 1)] {
            let want: Vec<_> = (0..)
                .map(|n| n * hop)
                .take_while(|at| at + frame <= x.len())
                .map(|at| x[at..at + frame].to_vec())
                .collect();
            for part in [1, 3, 10, 20] {
                for room in [frame + part, frame + part + 13] {
                    assert_eq!(frames(frame, hop, room, part, &x), want, "{frame} {hop} {part}");
                }
            }
        }
    }

    #[test]
    fn channels_are_mixed_and_strides_kept() {
        let of = |samples: Samples<'_>, channels, stride, count| {
            let (mut framer, mut ring) = (Framer { frame: 3, hop: 1, ..NEW }, [0.0; 3]);
            framer.write(Isa::best(), &mut ring, samples, channels, stride, count).unwrap();
            ring
        };
        let shorts = [16384, -16384, 32767, -32768, -32768, 0];
        let floats = [0.5, 0.0, 0.25, -0.25, 1.0, 0.5];
        assert_eq!(of(Samples::Shorts(&shorts), 2, 2, 3), [0.0, -0.5 / 32768.0, -0.5]);
        assert_eq!(of(Samples::Shorts(&shorts), 1, 2, 3), [0.5, 32767.0 / 32768.0, -1.0]);
        assert_eq!(of(Samples::Shorts(&shorts[..5]), 1, 2, 3)[2], -1.0);
        assert_eq!(of(Samples::Floats(&floats), 2, 2, 3), [0.25, 0.0, 0.75]);
        assert_eq!(of(Samples::Floats(&floats), 3, 3, 2), [0.25, 1.25 / 3.0, 0.0]);
        assert_eq!(of(Samples::Shorts(&shorts), 1, 1, 3), [0.5, -0.5, 32767.0 / 32768.0]);
    }

    #[test]
    fn what_has_no_room_is_refused_whole() {
        let (mut framer, mut ring) = (Framer { frame: 4, hop: 2, ..NEW }, [0.0; 6]);
        let samples = Samples::Floats(&[1.0; 7]);
        let e = framer.write(Isa::best(), &mut ring, samples, 1, 1, 7).unwrap_err();
        assert!(e.detail().contains("room for 6 of 6"), "{e}");
        assert_eq!((framer.filled, ring), (0, [0.0; 6]));
    }

    #[test]
    fn a_ring_that_was_changed_is_refused() {
        let good = Framer { frame: 4, hop: 2, begin: 5, filled: 6 };
        assert!(good.check(6).is_ok());
        for bad in [
            Framer { frame: 0, ..good },
            Framer { frame: 7, ..good },
            Framer { hop: 0, ..good },
            Framer { hop: 5, ..good },
            Framer { begin: 6, ..good },
            Framer { filled: 7, ..good },
        ] {
            assert!(bad.check(6).is_err(), "{bad:?}");
        }
    }
}
