//! ai.onnx.ml: `Binarizer` (1), `FeatureVectorizer` (1), `Imputer` (1),
//! `LabelEncoder` (2, 4), `OneHotEncoder` (1), `Scaler` (1).

use super::attrs;
use super::native::{Built, Facts, Kernel, Tensors, native};
use super::values::{f32s, f64s, strings, tensor_of};
use std::collections::HashMap;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::{NodeProto, TensorProto};
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ndarray::{ArrayD, Axis, concatenate};

/// An element as something to look up: floats by their bits, all NaN alike.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Text(String),
    Int(i64),
    Float(u64),
}

fn float_key(x: f64) -> Key {
    Key::Float(if x.is_nan() { f64::NAN.to_bits() } else { (x + 0.0).to_bits() })
}

/// The elements of a tensor, as keys.
fn keys(t: &Tensor) -> TractResult<Vec<Key>> {
    let dt = t.datum_type();
    if dt == DatumType::String {
        Ok(strings(t)?.iter().map(|s| Key::Text(s.clone())).collect())
    } else if dt.is_float() {
        Ok(f64s(t)?.iter().map(|x| float_key(*x)).collect())
    } else {
        Ok(super::native::ints(t)?.into_iter().map(Key::Int).collect())
    }
}

/// The attribute `{name}_strings`, `_int64s`, `_floats` or `_tensor`, as a tensor.
fn column(ctx: &ParsingContext, node: &NodeProto, name: &str) -> TractResult<Tensor> {
    if let Some(t) = node.get_attr_opt::<&TensorProto>(&format!("{name}_tensor"))? {
        return ctx.load_tensor(t);
    }
    let text = attrs::strings(node, &format!("{name}_strings"))?;
    if !text.is_empty() {
        return Ok(tensor1(&text));
    }
    if let Some(list) = attrs::ints(node, &format!("{name}_int64s"))? {
        return Ok(tensor1(&list));
    }
    let floats = attrs::floats(node, &format!("{name}_floats"))?;
    ensure!(!floats.is_empty(), "{} has no {name}", node.op_type);
    Ok(tensor1(&floats))
}

#[derive(Debug)]
struct LabelEncoder {
    rows: HashMap<Key, usize>,
    /// The values, the default one last.
    values: Tensor,
}

/// `LabelEncoder`: looks each element up in a table.
pub(super) fn label_encoder(ctx: &ParsingContext, node: &NodeProto) -> Built {
    let found = keys(&column(ctx, node, "keys")?)?;
    let values = column(ctx, node, "values")?;
    ensure!(found.len() == values.len(), "LabelEncoder: keys and values differ in number");
    let default = match node.get_attr_opt::<&TensorProto>("default_tensor")? {
        Some(t) => ctx.load_tensor(t)?,
        None => match values.datum_type() {
            DatumType::String => tensor1(&[attrs::string(node, "default_string", "_Unused")?]),
            dt if dt.is_float() => tensor1(&[attrs::float(node, "default_float", -0.0)?]),
            _ => tensor1(&[attrs::int(node, "default_int64", -1)?]),
        },
    };
    ensure!(default.len() == 1, "LabelEncoder: one default value, not {}", default.len());
    let default = default.into_shape(&[1])?.cast_to_dt(values.datum_type())?.into_owned();
    let count = values.len();
    let values = Tensor::stack_tensors(0, &[values.into_shape(&[count])?, default])?;
    let mut rows = HashMap::new();
    for (ix, key) in found.into_iter().enumerate() {
        rows.entry(key).or_insert(ix);
    }
    native(node, LabelEncoder { rows, values })
}

fn pick<T: Datum>(values: &Tensor, rows: &[usize], dims: &[usize]) -> TractResult<Tensor> {
    let values = values.to_plain_array_view::<T>()?;
    let picked = rows.iter().map(|row| values[[*row]].clone()).collect();
    Ok(ArrayD::from_shape_vec(dims, picked)?.into())
}

impl Kernel for LabelEncoder {
    fn outputs(&self, inputs: &Facts) -> TractResult<Vec<TypedFact>> {
        Ok(vec![self.values.datum_type().fact(&*inputs.shape(0)?)])
    }

    fn eval(&self, inputs: &Tensors) -> TractResult<Vec<Tensor>> {
        let x = inputs.need(0)?;
        let other = self.values.len() - 1;
        let rows: Vec<usize> =
            keys(x)?.iter().map(|key| self.rows.get(key).copied().unwrap_or(other)).collect();
        let dt = self.values.datum_type();
        Ok(vec![dispatch_datum!(pick(dt)(&self.values, &rows, x.shape()))?])
    }
}

#[derive(Debug)]
struct OneHotEncoder {
    rows: HashMap<Key, usize>,
    classes: usize,
    zeros: bool,
}

/// `OneHotEncoder`: one place a category.
pub(super) fn one_hot_encoder(ctx: &ParsingContext, node: &NodeProto) -> Built {
    let found = keys(&column(ctx, node, "cats")?)?;
    let classes = found.len();
    let rows = found.into_iter().enumerate().map(|(ix, key)| (key, ix)).collect();
    native(node, OneHotEncoder { rows, classes, zeros: attrs::flag(node, "zeros", true)? })
}

impl Kernel for OneHotEncoder {
    fn outputs(&self, inputs: &Facts) -> TractResult<Vec<TypedFact>> {
        let mut dims = inputs.shape(0)?;
        dims.push(self.classes.to_dim());
        Ok(vec![f32::fact(&*dims)])
    }

    fn eval(&self, inputs: &Tensors) -> TractResult<Vec<Tensor>> {
        let x = inputs.need(0)?;
        let of_ints = self.rows.keys().all(|k| matches!(k, Key::Int(_)));
        let x_as_keys = if of_ints && x.datum_type().is_float() {
            x.cast_to::<i64>()?
        } else {
            Cow::Borrowed(x)
        };
        let mut out = vec![0f32; x.len() * self.classes];
        for (ix, key) in keys(&x_as_keys)?.iter().enumerate() {
            match self.rows.get(key) {
                Some(row) => out[ix * self.classes + row] = 1.0,
                None => ensure!(self.zeros, "OneHotEncoder: {key:?} is no known category"),
            }
        }
        let mut dims = x.shape().to_vec();
        dims.push(self.classes);
        Ok(vec![ArrayD::from_shape_vec(dims, out)?.into()])
    }
}

/// What happens to each number of a row.
#[derive(Debug)]
enum PerFeature {
    Binarize(f64),
    Scale { offset: Vec<f32>, scale: Vec<f32> },
    Impute { missing: f64, by: Vec<f64> },
}

/// `Binarizer`: 1 above the threshold.
pub(super) fn binarizer(_: &ParsingContext, node: &NodeProto) -> Built {
    native(node, PerFeature::Binarize(attrs::float(node, "threshold", 0.0)? as f64))
}

/// `Scaler`: (x − offset) · scale, in f32.
pub(super) fn scaler(_: &ParsingContext, node: &NodeProto) -> Built {
    let (offset, scale) = (attrs::floats(node, "offset")?, attrs::floats(node, "scale")?);
    ensure!(!offset.is_empty() && !scale.is_empty(), "Scaler needs offset and scale");
    native(node, PerFeature::Scale { offset, scale })
}

/// `Imputer`: replaces one value by others.
pub(super) fn imputer(_: &ParsingContext, node: &NodeProto) -> Built {
    let floats = attrs::floats(node, "imputed_value_floats")?;
    let (missing, by) = if floats.is_empty() {
        let by = attrs::ints(node, "imputed_value_int64s")?.context("Imputer has no values")?;
        let missing = attrs::int(node, "replaced_value_int64", 0)? as f64;
        (missing, by.into_iter().map(|v| v as f64).collect())
    } else {
        let missing = attrs::float(node, "replaced_value_float", 0.0)? as f64;
        (missing, floats.into_iter().map(|v| v as f64).collect())
    };
    native(node, PerFeature::Impute { missing, by })
}

/// The entry of feature `ix`: one for all, or one each.
fn of_feature<T: Copy>(list: &[T], ix: usize) -> T {
    if list.len() == 1 { list[0] } else { list[ix] }
}

impl PerFeature {
    fn lists(&self) -> Vec<usize> {
        match self {
            PerFeature::Binarize(_) => vec![],
            PerFeature::Scale { offset, scale } => vec![offset.len(), scale.len()],
            PerFeature::Impute { by, .. } => vec![by.len()],
        }
    }

    fn apply(&self, x: f64, feature: usize) -> f64 {
        match self {
            PerFeature::Binarize(threshold) => (x > *threshold) as u8 as f64,
            PerFeature::Scale { offset, scale } => {
                ((x as f32 - of_feature(offset, feature)) * of_feature(scale, feature)) as f64
            }
            PerFeature::Impute { missing, by } => {
                let gone = if missing.is_nan() { x.is_nan() } else { x == *missing };
                if gone { of_feature(by, feature) } else { x }
            }
        }
    }
}

impl Kernel for PerFeature {
    fn outputs(&self, inputs: &Facts) -> TractResult<Vec<TypedFact>> {
        let scaled = matches!(self, PerFeature::Scale { .. });
        let dt = if scaled { f32::datum_type() } else { inputs.dt(0)? };
        Ok(vec![dt.fact(&*inputs.shape(0)?)])
    }

    fn eval(&self, inputs: &Tensors) -> TractResult<Vec<Tensor>> {
        let x = inputs.need(0)?;
        let features = x.shape().last().copied().unwrap_or(1);
        let fits = self.lists().iter().all(|len| *len == 1 || *len == features);
        ensure!(fits, "{:?} entries for {features} features", self.lists());
        let mut y = f64s(x)?;
        y.iter_mut().enumerate().for_each(|(ix, v)| *v = self.apply(*v, ix % features.max(1)));
        let scaled = matches!(self, PerFeature::Scale { .. });
        Ok(vec![tensor_of(y, if scaled { f32::datum_type() } else { x.datum_type() })?])
    }
}

#[derive(Debug)]
struct FeatureVectorizer {
    count: usize,
}

/// `FeatureVectorizer`: rows of numbers side by side.
pub(super) fn feature_vectorizer(_: &ParsingContext, node: &NodeProto) -> Built {
    native(node, FeatureVectorizer { count: node.input.len() })
}

impl Kernel for FeatureVectorizer {
    fn outputs(&self, inputs: &Facts) -> TractResult<Vec<TypedFact>> {
        let mut width = 0.to_dim();
        for ix in 0..self.count {
            let dims = inputs.shape(ix)?;
            ensure!(dims.len() == 2, "FeatureVectorizer takes [N, C], not {dims:?}");
            width += &dims[1];
        }
        Ok(vec![f32::fact([inputs.shape(0)?[0].clone(), width])])
    }

    fn eval(&self, inputs: &Tensors) -> TractResult<Vec<Tensor>> {
        let rows: Vec<ArrayD<f32>> =
            (0..self.count).map(|ix| f32s(inputs.need(ix)?)).collect::<TractResult<_>>()?;
        let views: Vec<_> = rows.iter().map(|r| r.view()).collect();
        Ok(vec![concatenate(Axis(1), &views)?.into()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nan_is_a_key_like_any_other() {
        assert_eq!(float_key(f64::NAN), float_key(-f64::NAN));
        assert_eq!(float_key(0.0), float_key(-0.0));
        assert_eq!(PerFeature::Impute { missing: f64::NAN, by: vec![7.0] }.apply(f64::NAN, 3), 7.0);
    }
}
