//! Samples as they come, as frames.

use super::guard::{apart, guard, out, slice_arg, slice_mut_arg, struct_prefix};
use super::options::{InitStruct, init_struct};
use super::status::inferno_status;
use crate::error::{self, Result};
use crate::kernels::Isa;
use crate::prep::{Framer, Samples};
use crate::tensor::DType;
use std::ffi::c_void;

/// A ring of samples of one channel, over memory of the caller's, that frames are read from. Made by
/// `inferno_audio_framer_init`; its fields may be read. Copied, it is another framer over the
/// same memory.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct inferno_audio_framer {
    /// Set by `inferno_audio_framer_init`.
    pub struct_size: usize,
    /// Room for `ring_samples` samples; the caller's, as long as the framer is used.
    pub ring: *mut f32,
    /// Samples there is room for.
    pub ring_samples: usize,
    /// Samples of a frame.
    pub frame_samples: usize,
    /// Samples from the start of a frame to that of the next.
    pub hop_samples: usize,
    /// Where in the ring the next frame begins.
    pub begin: usize,
    /// Samples in the ring.
    pub filled: usize,
}

impl InitStruct for inferno_audio_framer {
    const NAME: &'static str = "inferno_audio_framer";
    fn defaults() -> Self {
        inferno_audio_framer {
            struct_size: size_of::<Self>(),
            ring: std::ptr::null_mut(),
            ring_samples: 0,
            frame_samples: 0,
            hop_samples: 0,
            begin: 0,
            filled: 0,
        }
    }
}

/// Makes an empty framer: frames of `frame_samples`, each `hop_samples` after the one before.
///
/// Ownership: `framer` and `ring` are the caller's; nothing is to be freed. `ring` has room for
/// `ring_samples` floats: a frame and the most that is written at once are enough when all
/// frames are read after each write.
/// Threads: any; one at a time for a framer, here and below.
/// Errors: INVALID_ARGUMENT (NULL, no room for a frame, or a hop that is not 1 to
/// `frame_samples`).
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inferno_audio_framer_init(
    framer: *mut inferno_audio_framer,
    struct_size: usize,
    ring: *mut f32,
    ring_samples: usize,
    frame_samples: usize,
    hop_samples: usize,
) -> inferno_status {
    guard(|| {
        Framer { frame: frame_samples, hop: hop_samples, begin: 0, filled: 0 }
            .check(ring_samples)?;
        // SAFETY: the caller gives NULL or so much writable memory.
        unsafe {
            slice_arg("ring", ring.cast_const(), ring_samples)?;
            init_struct(framer, struct_size)?;
            (&raw mut (*framer).ring).write_unaligned(ring);
            (&raw mut (*framer).ring_samples).write_unaligned(ring_samples);
            (&raw mut (*framer).frame_samples).write_unaligned(frame_samples);
            (&raw mut (*framer).hop_samples).write_unaligned(hop_samples);
        }
        Ok(())
    })
}

/// Adds `count` samples: of each the mean of `channels` values, which lie together; the next
/// sample's begin `stride` values further. All of them are added, or none. Nothing is
/// allocated, and no system is called.
///
/// Ownership: `samples` is the caller's, of I16 (each over 32,768) or F32: `dtype`, an
/// `inferno_dtype`. A `stride` of 0 is `channels`; one channel of many is `channels` 1 and
/// their number as the stride.
/// Threads: one at a time for a framer.
/// Errors: INVALID_ARGUMENT, DTYPE_MISMATCH, LIMIT_EXCEEDED (no room: read frames first).
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inferno_audio_framer_write(
    framer: *mut inferno_audio_framer,
    samples: *const c_void,
    dtype: i32,
    channels: usize,
    stride: usize,
    count: usize,
) -> inferno_status {
    guard(|| {
        // SAFETY: the caller gives NULL or a framer over its memory, and as many readable
        // samples as it says.
        unsafe {
            let (mut state, given) = framer_arg(framer)?;
            let stride = if stride == 0 { channels } else { stride };
            let values = values_of(channels, stride, count)?;
            let dtype = DType::from_onnx(dtype)
                .filter(|dtype| matches!(dtype, DType::I16 | DType::F32))
                .ok_or_else(|| error::dtype_mismatch("samples are neither i16 nor f32"))?;
            let size_bytes = values.saturating_mul(dtype.size_bytes());
            apart(&[
                ("samples", samples, size_bytes),
                ("ring", given.ring.cast_const().cast(), given.ring_samples * size_of::<f32>()),
            ])?;
            let samples = match dtype {
                DType::I16 => Samples::Shorts(slice_arg("samples", samples.cast(), values)?),
                _ => Samples::Floats(slice_arg("samples", samples.cast(), values)?),
            };
            let ring = slice_mut_arg("framer.ring", given.ring, given.ring_samples)?;
            state.write(Isa::best(), ring, samples, channels, stride, count)?;
            (&raw mut (*framer).filled).write(state.filled);
        }
        Ok(())
    })
}

/// Copies the next frame into `frame` and goes a hop on, when there are samples enough:
/// `is_read` is then 1, else 0 and nothing is copied. Nothing is allocated, and no system is
/// called.
///
/// Ownership: `frame` is the caller's, such as a session's input, and has `frame_samples` floats:
/// as many as the framer's.
/// Threads: one at a time for a framer.
/// Errors: INVALID_ARGUMENT, SIZE_MISMATCH (`frame_samples` is not the framer's).
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inferno_audio_framer_read(
    framer: *mut inferno_audio_framer,
    frame: *mut f32,
    frame_samples: usize,
    is_read: *mut i32,
) -> inferno_status {
    guard(|| {
        // SAFETY: the caller gives NULL or a framer over its memory, so many writable floats,
        // and a writable place.
        unsafe {
            let place = out("is_read", is_read)?;
            let (mut state, given) = framer_arg(framer)?;
            if frame_samples != state.frame {
                return Err(error::size_mismatch(format!(
                    "frame_samples is {frame_samples}: expected the framer's {}",
                    state.frame
                )));
            }
            let size_bytes = frame_samples.saturating_mul(size_of::<f32>());
            apart(&[
                ("frame", frame.cast_const().cast(), size_bytes),
                ("ring", given.ring.cast_const().cast(), given.ring_samples * size_of::<f32>()),
            ])?;
            let ring = slice_arg("framer.ring", given.ring.cast_const(), given.ring_samples)?;
            let frame = slice_mut_arg("frame", frame, frame_samples)?;
            let is_there = state.read(ring, frame)?;
            (&raw mut (*framer).begin).write(state.begin);
            (&raw mut (*framer).filled).write(state.filled);
            place.write(i32::from(is_there));
        }
        Ok(())
    })
}

/// A framer, and the struct it is in, whose numbers fit each other.
///
/// SAFETY: `framer` is NULL or points to its `struct_size` readable bytes.
unsafe fn framer_arg(framer: *mut inferno_audio_framer) -> Result<(Framer, inferno_audio_framer)> {
    // SAFETY: as this function's own contract.
    let given = unsafe { struct_prefix(framer.cast_const()) }?;
    if given.ring_samples > isize::MAX as usize / size_of::<f32>() {
        return Err(error::invalid_argument(format!(
            "framer.ring_samples is {}: no memory is so large",
            given.ring_samples
        )));
    }
    let state = Framer {
        frame: given.frame_samples,
        hop: given.hop_samples,
        begin: given.begin,
        filled: given.filled,
    };
    state.check(given.ring_samples).map_err(|e| e.at("framer"))?;
    Ok((state, given))
}

/// Values from the first of the first sample to the last of the last one.
fn values_of(channels: usize, stride: usize, count: usize) -> Result<usize> {
    if channels == 0 || stride < channels || channels > 1 << 16 {
        return Err(error::invalid_argument(format!(
            "{channels} channels of samples {stride} apart: expected 1 to 65,536, and a stride \
             of as many at least"
        )));
    }
    if count == 0 {
        return Ok(0);
    }
    let values = (count - 1).checked_mul(stride).and_then(|n| n.checked_add(channels));
    values.ok_or_else(|| {
        error::invalid_argument(format!("{count} samples {stride} apart: no memory holds them"))
    })
}
