//! Which instructions the kernels may use.

use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicU8, Ordering};

/// No later one than this is chosen, by its place in [`Isa::ALL`].
static CAP: AtomicU8 = AtomicU8::new(u8::MAX);

/// An instruction set that kernels are written for; of those of one processor, a
/// later one has all of an earlier one. Whichever is used, results are the same to
/// the bit, but where a kernel says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Isa {
    /// What every processor has.
    Scalar,
    /// AVX2 and FMA: 16 registers of 8 floats.
    Avx2,
    /// AVX-512 F: 32 registers of 16 floats.
    Avx512,
    /// NEON of 64-bit ARM: 32 registers of 4 floats.
    Neon,
}

impl Isa {
    /// All of them.
    pub const ALL: [Isa; 4] = [Isa::Scalar, Isa::Avx2, Isa::Avx512, Isa::Neon];

    /// The last one that this processor has, up to the cap.
    pub fn best() -> Isa {
        let cap = CAP.load(Ordering::Relaxed);
        let allowed = |isa: &Isa| *isa as u8 <= cap && isa.is_there();
        Isa::ALL.into_iter().rfind(allowed).unwrap_or(Isa::Scalar)
    }

    /// From now on what is compiled uses nothing beyond `isa`; none for no cap, which
    /// one of other processors is, too.
    pub fn cap(isa: Option<Isa>) {
        let isa = isa.filter(|isa| isa.is_of_these_processors());
        CAP.store(isa.map_or(u8::MAX, |isa| isa as u8), Ordering::Relaxed);
    }

    /// Whether processors that this was compiled for may have it.
    fn is_of_these_processors(self) -> bool {
        match self {
            Isa::Scalar => true,
            Isa::Avx2 | Isa::Avx512 => cfg!(target_arch = "x86_64"),
            Isa::Neon => cfg!(target_arch = "aarch64"),
        }
    }

    /// Whether this processor has it.
    #[inline]
    pub fn is_there(self) -> bool {
        match self {
            Isa::Scalar => true,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => {
                std::arch::is_x86_feature_detected!("avx2")
                    && std::arch::is_x86_feature_detected!("fma")
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => Isa::Avx2.is_there() && std::arch::is_x86_feature_detected!("avx512f"),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => std::arch::is_aarch64_feature_detected!("neon"),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_what_the_earlier_ones_have() {
        assert!(Isa::Scalar.is_there() && Isa::best().is_there());
        for isa in Isa::ALL {
            let earlier = Isa::ALL.into_iter().filter(|other| *other <= isa);
            let mut earlier = earlier.filter(|other| other.is_of_these_processors());
            assert!(!isa.is_there() || earlier.all(Isa::is_there), "{isa:?}");
            assert!(isa.is_of_these_processors() || !isa.is_there(), "{isa:?}");
        }
    }
}
