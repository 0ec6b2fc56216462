//! Loops that are written out.

/// `each!(i < COUNT, { body })` is the body for each `i` below a constant that is
/// 9 at most, written out: sums stay in registers at every level of
/// optimization, those for size included, which unroll no loop. With
/// `each!(i < COUNT, 17, { body })` the constant may be 17.
macro_rules! each {
    ($i:ident < $count:expr, $body:block) => {
        each!(@ $i, $count, $body, 0 1 2 3 4 5 6 7 8)
    };
    ($i:ident < $count:expr, 17, $body:block) => {
        each!(@ $i, $count, $body, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16)
    };
    (@ $i:ident, $count:expr, $body:block, $($at:literal)+) => {
        {
            $(if $at < $count {
                let $i: usize = $at;
                $body
            })+
        }
    };
}
pub(super) use each;
