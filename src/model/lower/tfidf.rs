//! `TfIdfVectorizer` (opset 9): counts of known n-grams.

use super::attrs;
use super::native::{Built, Facts, Kernel, Tensors, ints, native};
use super::values::strings;
use std::collections::HashMap;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ndarray::ArrayD;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Weighting {
    Count,
    Presence,
    CountTimesWeight,
}

/// Known n-grams, each with its place in the output.
#[derive(Debug)]
enum Pool {
    Ints(HashMap<Vec<i64>, usize>),
    Strings(HashMap<Vec<String>, usize>),
}

#[derive(Debug)]
struct TfIdf {
    pool: Pool,
    sizes: std::ops::RangeInclusive<usize>,
    /// The largest distance between neighbours of an n-gram.
    reach: usize,
    weighting: Weighting,
    /// One an output place, when there are weights.
    weights: Option<Vec<f32>>,
    width: usize,
}

/// Cuts a pool into its n-grams.
fn grams<T: Clone + Eq + std::hash::Hash>(
    pool: &[T],
    starts: &[i64],
    places: &[i64],
) -> TractResult<HashMap<Vec<T>, usize>> {
    let mut known = HashMap::new();
    let mut places = places.iter();
    for (ix, &from) in starts.iter().enumerate() {
        let to = starts.get(ix + 1).copied().unwrap_or(pool.len() as i64);
        let range = usize::try_from(from)?..usize::try_from(to)?;
        let part = pool.get(range).context("TfIdfVectorizer: ngram_counts leave the pool")?;
        ensure!(
            part.len() % (ix + 1) == 0,
            "TfIdfVectorizer: the pool has a broken {}-gram",
            ix + 1
        );
        for gram in part.chunks(ix + 1) {
            let place = places.next().context("TfIdfVectorizer: ngram_indexes are too few")?;
            known.insert(gram.to_vec(), usize::try_from(*place)?);
        }
    }
    Ok(known)
}

/// Builds the operator.
pub(super) fn tf_idf(_: &ParsingContext, node: &NodeProto) -> Built {
    let need = |name| -> TractResult<Vec<i64>> {
        attrs::ints(node, name)?.with_context(|| format!("TfIdfVectorizer needs {name}"))
    };
    let size = |name| -> TractResult<usize> {
        let v = node.get_attr::<i64>(name)?;
        ensure!((0..1 << 16).contains(&v), "TfIdfVectorizer: {name} {v} is out of range");
        Ok(v as usize)
    };
    let (starts, places) = (need("ngram_counts")?, need("ngram_indexes")?);
    let words = attrs::strings(node, "pool_strings")?;
    let pool = match attrs::ints(node, "pool_int64s")? {
        Some(pool) if words.is_empty() => Pool::Ints(grams(&pool, &starts, &places)?),
        _ => Pool::Strings(grams(&words, &starts, &places)?),
    };
    let width = places.iter().max().map_or(0, |m| m + 1);
    ensure!((1..1 << 30).contains(&width), "TfIdfVectorizer: {width} output places");
    let width = width as usize;
    let given = attrs::floats(node, "weights")?;
    let weights = if given.is_empty() {
        None
    } else {
        ensure!(given.len() == places.len(), "TfIdfVectorizer: one weight for each n-gram");
        let mut weights = vec![1.0; width];
        places.iter().zip(given).for_each(|(place, w)| weights[*place as usize] = w);
        Some(weights)
    };
    let weighting = match &*attrs::string(node, "mode", "")? {
        "TF" => Weighting::Count,
        "IDF" => Weighting::Presence,
        "TFIDF" => Weighting::CountTimesWeight,
        other => bail!("TfIdfVectorizer: unknown mode '{other}'"),
    };
    let (least, most) = (size("min_gram_length")?, size("max_gram_length")?);
    ensure!(least >= 1, "TfIdfVectorizer: min_gram_length must be 1 or more");
    let reach = size("max_skip_count")? + 1;
    native(node, TfIdf { pool, sizes: least..=most, reach, weighting, weights, width })
}

impl TfIdf {
    /// Counts the n-grams of one row.
    fn count<T: Clone + Eq + std::hash::Hash>(
        &self,
        row: &[T],
        known: &HashMap<Vec<T>, usize>,
        counts: &mut [f32],
    ) {
        for n in self.sizes.clone() {
            // Distance means nothing to a 1-gram: it counts once.
            let reach = if n == 1 { 1 } else { self.reach };
            for step in 1..=reach {
                for from in 0..row.len().saturating_sub(step * (n - 1)) {
                    let gram: Vec<T> = (0..n).map(|k| row[from + k * step].clone()).collect();
                    if let Some(&place) = known.get(&gram) {
                        counts[place] += 1.0;
                    }
                }
            }
        }
    }

    fn weigh(&self, counts: &mut [f32]) {
        for (ix, c) in counts.iter_mut().enumerate() {
            let weight = self.weights.as_ref().map_or(1.0, |w| w[ix % self.width]);
            *c = match self.weighting {
                Weighting::Count => *c,
                Weighting::Presence if *c > 0.0 => weight,
                Weighting::Presence => 0.0,
                Weighting::CountTimesWeight => *c * weight,
            };
        }
    }
}

impl Kernel for TfIdf {
    fn outputs(&self, inputs: &Facts) -> TractResult<Vec<TypedFact>> {
        let mut dims = inputs.shape(0)?;
        ensure!(matches!(dims.len(), 1 | 2), "TfIdfVectorizer takes [C] or [N, C]");
        let is_text = inputs.dt(0)? == DatumType::String;
        let fits = is_text == matches!(self.pool, Pool::Strings(_));
        ensure!(fits, "TfIdfVectorizer: input and pool differ in dtype");
        let last = dims.len() - 1;
        dims[last] = self.width.to_dim();
        Ok(vec![f32::fact(&*dims)])
    }

    fn eval(&self, inputs: &Tensors) -> TractResult<Vec<Tensor>> {
        let x = inputs.need(0)?;
        let mut dims = x.shape().to_vec();
        let row = dims.pop().context("TfIdfVectorizer takes [C] or [N, C]")?;
        let rows: usize = dims.iter().product();
        dims.push(self.width);
        let mut counts = vec![0.0; rows * self.width];
        for r in 0..rows {
            let out = &mut counts[r * self.width..(r + 1) * self.width];
            match &self.pool {
                Pool::Ints(known) => self.count(&ints(x)?[r * row..(r + 1) * row], known, out),
                Pool::Strings(known) => {
                    let words: Vec<String> = strings(x)?.iter().cloned().collect();
                    self.count(&words[r * row..(r + 1) * row], known, out);
                }
            }
        }
        self.weigh(&mut counts);
        Ok(vec![ArrayD::from_shape_vec(dims, counts)?.into()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_is_cut_by_gram_size() {
        let known = grams(&[2i64, 3, 5, 4, 5, 6], &[0, 2], &[0, 1, 2, 3]).unwrap();
        assert_eq!(known[&vec![3]], 1);
        assert_eq!(known[&vec![5, 6]], 3);
        assert!(grams(&[1i64, 2, 3], &[0, 2], &[0, 1, 2]).is_err());
    }
}
