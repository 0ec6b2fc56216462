//! Fused multiplication and addition of floats, one by one.

/// `x * y + z`, rounded once.
///
/// The standard library asks the C library, where the instruction may be missing; that of
/// MinGW rounds twice.
#[inline(always)]
pub fn fused(x: f32, y: f32, z: f32) -> f32 {
    #[cfg(all(windows, target_env = "gnu"))]
    return rounded_once(x, y, z);
    #[cfg(not(all(windows, target_env = "gnu")))]
    x.mul_add(y, z)
}

/// The same without such an instruction: the sum in double precision, rounded to odd, which
/// rounds to the right float (Boldo and Melquiond, "Emulation of a FMA and correctly rounded
/// sums: proved algorithms using rounding to odd", 2008).
#[cfg(any(test, all(windows, target_env = "gnu")))]
fn rounded_once(x: f32, y: f32, z: f32) -> f32 {
    // (Exact: a product of floats has 48 bits.)
    let (product, z) = (f64::from(x) * f64::from(y), f64::from(z));
    let sum = product + z;
    let of_z = sum - product;
    let lost = (product - (sum - of_z)) + (z - of_z);
    let is_even = sum.to_bits() & 1 == 0;
    if lost == 0.0 || !is_even || !sum.is_finite() {
        return sum as f32;
    }
    let away = (lost > 0.0) == (sum > 0.0);
    f64::from_bits(if away { sum.to_bits() + 1 } else { sum.to_bits() - 1 }) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_rounded_once() {
        let special = [0.0, -0.0, 1.0, f32::MAX, f32::MIN_POSITIVE, 1e-45, f32::INFINITY, f32::NAN];
        let mut seed = 88_172_645_463_325_252u64;
        let mut next = |scale: u32| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let bits = seed as u32;
            match (seed >> 40) % 64 {
                0 => special[(seed >> 50) as usize % special.len()],
                1 => f32::from_bits(bits),
                _ => f32::from_bits(bits & 0x80ff_ffff | scale),
            }
        };
        for _ in 0..200_000 {
            // (Products near the sum, and far from it.)
            let [x, y, z] = [next(0x3e00_0000), next(0x3e00_0000), next(0x3c00_0000)];
            let (got, wanted) = (rounded_once(x, y, z), x.mul_add(y, z));
            let same = got.to_bits() == wanted.to_bits() || got.is_nan() && wanted.is_nan();
            assert!(same, "{x:e} * {y:e} + {z:e} is {got:e}, expected {wanted:e}");
        }
    }
}
