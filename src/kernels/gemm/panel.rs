//! What a product writes to, of which the rest may be others'.

use std::marker::PhantomData;

/// Rows of floats, so far apart; what lies between them may be somebody else's.
#[derive(Debug)]
pub struct Panel<'a> {
    at: *mut f32,
    rows: usize,
    stride: usize,
    width: usize,
    of: PhantomData<&'a mut [f32]>,
}

// SAFETY: as the `&mut [f32]` that it was: nobody else has its floats.
unsafe impl Send for Panel<'_> {}
// SAFETY: as above; who only looks at it reads and writes none of them.
unsafe impl Sync for Panel<'_> {}

impl<'a> From<&'a mut [f32]> for Panel<'a> {
    #[inline(always)]
    fn from(all: &'a mut [f32]) -> Panel<'a> {
        let (at, width) = (all.as_mut_ptr(), all.len());
        Panel { at, rows: 1, stride: 0, width, of: PhantomData }
    }
}

impl<'a> From<&'a mut Vec<f32>> for Panel<'a> {
    fn from(all: &'a mut Vec<f32>) -> Panel<'a> {
        all.as_mut_slice().into()
    }
}

impl Default for Panel<'_> {
    fn default() -> Self {
        (&mut [][..]).into()
    }
}

impl<'a> Panel<'a> {
    /// The columns of a matrix of `rows` rows, `stride` apart, before column `at` and
    /// from there on. Both end with column `columns`.
    ///
    /// # Panics
    ///
    /// When there is no such matrix, or no such column.
    pub fn split_columns(
        self,
        [rows, stride, columns]: [usize; 3],
        at: usize,
    ) -> (Panel<'a>, Panel<'a>) {
        self.expect(rows, stride, columns);
        assert!(at <= columns, "column {at} of {columns}");
        let of = PhantomData;
        let left = Panel { at: self.at, rows, stride, width: at, of };
        let from = self.at.wrapping_add(at);
        (left, Panel { at: from, rows, stride, width: columns - at, of })
    }

    /// The same for as long as this is borrowed.
    pub fn reborrow(&mut self) -> Panel<'_> {
        Panel { of: PhantomData, ..*self }
    }

    /// The rows from `row` on, of rows `stride` apart.
    ///
    /// # Panics
    ///
    /// When there is no such row.
    pub fn below(self, row: usize, stride: usize) -> Panel<'a> {
        self.expect(row + 1, stride, 0);
        let from = self.at.wrapping_add(row * stride);
        match self.rows {
            1 => {
                let width = self.width.checked_sub(row * stride).expect("a row that there is");
                Panel { at: from, width, ..self }
            }
            rows => {
                assert!(row < rows && stride == self.stride, "row {row} of {rows}");
                Panel { at: from, rows: rows - row, ..self }
            }
        }
    }

    /// Row `index` of rows of `columns`, `stride` apart.
    ///
    /// # Panics
    ///
    /// When there is no such row.
    pub fn row(&mut self, index: usize, stride: usize, columns: usize) -> &mut [f32] {
        self.expect(index + 1, stride, columns);
        // SAFETY: the row is there, and ours.
        unsafe { std::slice::from_raw_parts_mut(self.at.wrapping_add(index * stride), columns) }
    }

    /// # Panics
    ///
    /// When it has not `rows` rows, `stride` apart, of `columns`.
    #[inline(always)]
    pub(in crate::kernels) fn expect(&self, rows: usize, stride: usize, columns: usize) {
        assert!(rows <= 1 || stride >= columns, "rows of {columns}, {stride} apart");
        let fits = match self.rows {
            _ if rows == 0 || columns == 0 => true,
            // All in one piece, which may be seen as any matrix.
            1 => {
                let before = (rows - 1).checked_mul(stride);
                before.and_then(|b| b.checked_add(columns)).is_some_and(|len| len <= self.width)
            }
            _ => rows <= self.rows && (rows == 1 || stride == self.stride) && columns <= self.width,
        };
        let own = [self.rows, self.stride, self.width];
        assert!(fits, "{rows} rows of {columns}, {stride} apart, in {own:?}");
    }

    /// # Panics
    ///
    /// When it has not `rows` rows of bytes, `stride` apart, of `columns`.
    pub(in crate::kernels) fn expect_bytes(&self, rows: usize, stride: usize, columns: usize) {
        const EACH: usize = size_of::<f32>();
        if stride.is_multiple_of(EACH) {
            return self.expect(rows, stride / EACH, columns.div_ceil(EACH));
        }
        // Rows that begin within a float are in one piece.
        let before = rows.saturating_sub(1).checked_mul(stride);
        let end = before.and_then(|b| b.checked_add(columns)).map(|end| end.div_ceil(EACH));
        let fits = self.rows == 1 && stride >= columns && end.is_some_and(|end| end <= self.width);
        assert!(fits || rows == 0, "{rows} rows of {columns} bytes, {stride} apart");
    }

    /// Where it begins.
    #[inline(always)]
    pub(in crate::kernels) fn as_mut_ptr(&mut self) -> *mut f32 {
        self.at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_apart() {
        let mut all: Vec<f32> = (0..20).map(|i| i as f32).collect();
        let whole = Panel::from(&mut all);
        let (mut left, right) = whole.split_columns([4, 5, 4], 1);
        let (mut middle, mut right) = right.split_columns([4, 5, 3], 2);
        left.row(3, 5, 1)[0] = -1.0;
        middle.row(0, 5, 2)[1] = -2.0;
        assert_eq!(middle.row(2, 5, 2), [11.0, 12.0]);
        right.row(1, 5, 1)[0] = -3.0;
        middle.below(3, 5).row(0, 5, 2)[0] = -4.0;
        assert_eq!((all[15], all[2], all[8], all[16]), (-1.0, -2.0, -3.0, -4.0));
        let mut rest = Panel::from(&mut all).below(2, 7);
        assert_eq!(rest.row(0, 7, 6), [14.0, -1.0, -4.0, 17.0, 18.0, 19.0]);
    }

    #[test]
    fn what_is_not_there_is_refused() {
        let refused = |f: &dyn Fn(&mut Panel)| {
            let mut all = vec![0.0f32; 20];
            let (_, mut panel) = Panel::from(&mut all).split_columns([4, 5, 5], 2);
            let run = std::panic::AssertUnwindSafe(|| f(&mut panel));
            std::panic::catch_unwind(run).is_err()
        };
        assert!(!refused(&|p| p.row(3, 5, 3).fill(1.0)));
        assert!(refused(&|p| p.row(4, 5, 3).fill(1.0)));
        assert!(refused(&|p| p.row(3, 5, 4).fill(1.0)));
        assert!(refused(&|p| p.row(1, 4, 3).fill(1.0)));
        assert!(refused(&|p| _ = p.reborrow().split_columns([5, 5, 3], 1)));
        assert!(refused(&|p| _ = p.reborrow().below(4, 5)));
    }
}
