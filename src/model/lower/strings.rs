//! Strings: `StringConcat` (20), `StringNormalizer` (10), `StringSplit` (20).

use super::attrs;
use super::native::{Built, Facts, Kernel, Tensors, native};
use super::values::{broadcast, known, strings};
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ndarray::{ArrayD, Zip};

fn need_strings(inputs: &Facts, ix: usize) -> TractResult<TVec<TDim>> {
    let dt = inputs.dt(ix)?;
    ensure!(dt == DatumType::String, "strings expected, found {dt:?}");
    inputs.shape(ix)
}

#[derive(Debug)]
struct Concat;

/// `StringConcat`: joins two tensors element by element.
pub(super) fn string_concat(_: &ParsingContext, node: &NodeProto) -> Built {
    native(node, Concat)
}

impl Kernel for Concat {
    fn outputs(&self, inputs: &Facts) -> TractResult<Vec<TypedFact>> {
        let dims = broadcast(&need_strings(inputs, 0)?, &need_strings(inputs, 1)?)?;
        Ok(vec![DatumType::String.fact(&*dims)])
    }

    fn eval(&self, inputs: &Tensors) -> TractResult<Vec<Tensor>> {
        let (a, b) = (strings(inputs.need(0)?)?, strings(inputs.need(1)?)?);
        let dims = |a: &ArrayD<String>| a.shape().iter().map(|d| d.to_dim()).collect::<Vec<_>>();
        let dims = known(&broadcast(&dims(&a), &dims(&b))?)?;
        let both = a.broadcast(&*dims).zip(b.broadcast(&*dims));
        let (a, b) = both.context("StringConcat: dims do not broadcast")?;
        Ok(vec![Zip::from(&a).and(&b).map_collect(|a, b| format!("{a}{b}")).into()])
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Case {
    Keep,
    Lower,
    Upper,
}

impl Case {
    fn of(self, s: &str) -> String {
        match self {
            Case::Keep => s.to_string(),
            Case::Lower => s.to_lowercase(),
            Case::Upper => s.to_uppercase(),
        }
    }
}

#[derive(Debug)]
struct Normalizer {
    case: Case,
    case_sensitive: bool,
    stopwords: Vec<String>,
    count: Symbol,
}

/// `StringNormalizer`: drops stop words and changes case.
pub(super) fn string_normalizer(ctx: &ParsingContext, node: &NodeProto) -> Built {
    let case = match &*attrs::string(node, "case_change_action", "NONE")? {
        "NONE" => Case::Keep,
        "LOWER" => Case::Lower,
        "UPPER" => Case::Upper,
        other => bail!("StringNormalizer: unknown case_change_action '{other}'"),
    };
    let locale = attrs::string(node, "locale", "")?;
    ensure!(
        !["tr", "az", "lt"].iter().any(|l| locale.starts_with(l)),
        "StringNormalizer: the case rules of locale '{locale}' are not supported"
    );
    let kernel = Normalizer {
        case,
        case_sensitive: attrs::flag(node, "is_case_sensitive", false)?,
        stopwords: attrs::strings(node, "stopwords")?,
        count: ctx.template.symbols.new_with_prefix("words"),
    };
    native(node, kernel)
}

impl Normalizer {
    fn stops(&self, word: &str) -> bool {
        if self.case_sensitive {
            return self.stopwords.iter().any(|s| s == word);
        }
        let word = word.to_lowercase();
        self.stopwords.iter().any(|s| s.to_lowercase() == word)
    }
}

impl Kernel for Normalizer {
    fn mints(&self) -> Option<&Symbol> {
        Some(&self.count)
    }

    fn outputs(&self, inputs: &Facts) -> TractResult<Vec<TypedFact>> {
        let mut dims = need_strings(inputs, 0)?;
        ensure!(
            dims.len() == 1 || dims.len() == 2 && dims[0].is_one(),
            "StringNormalizer takes [C] or [1, C], not {dims:?}"
        );
        if let Some(last) = dims.last_mut() {
            *last = self.count.clone().into();
        }
        Ok(vec![DatumType::String.fact(&*dims)])
    }

    fn eval(&self, inputs: &Tensors) -> TractResult<Vec<Tensor>> {
        let x = strings(inputs.need(0)?)?;
        let mut kept: Vec<String> =
            x.iter().filter(|w| !self.stops(w)).map(|w| self.case.of(w)).collect();
        if kept.is_empty() {
            kept.push(String::new());
        }
        let dims = if x.ndim() == 2 { vec![1, kept.len()] } else { vec![kept.len()] };
        Ok(vec![ArrayD::from_shape_vec(dims, kept)?.into()])
    }
}

#[derive(Debug)]
struct Split {
    delimiter: String,
    most: Option<usize>,
    count: Symbol,
}

/// `StringSplit`: cuts each string at a delimiter; short rows are filled with "".
pub(super) fn string_split(ctx: &ParsingContext, node: &NodeProto) -> Built {
    let most = match node.get_attr_opt::<i64>("maxsplit")? {
        None => None,
        Some(n) if n >= 0 => Some(n as usize),
        Some(n) => bail!("StringSplit: maxsplit must not be negative, found {n}"),
    };
    let delimiter = attrs::string(node, "delimiter", "")?;
    native(node, Split { delimiter, most, count: ctx.template.symbols.new_with_prefix("parts") })
}

/// Cuts `s` at white space, at most `most` times.
fn at_spaces(s: &str, most: Option<usize>) -> Vec<String> {
    let mut parts = vec![];
    let mut rest = s.trim_start();
    while !rest.is_empty() {
        if most.is_some_and(|most| parts.len() >= most) {
            parts.push(rest.trim_end().to_string());
            break;
        }
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        parts.push(rest[..end].to_string());
        rest = rest[end..].trim_start();
    }
    parts
}

impl Split {
    fn cut(&self, s: &str) -> Vec<String> {
        if self.delimiter.is_empty() {
            return at_spaces(s, self.most);
        }
        let most = self.most.map_or(usize::MAX, |m| m.saturating_add(1));
        s.splitn(most, &*self.delimiter).map(|p| p.to_string()).collect()
    }
}

impl Kernel for Split {
    fn mints(&self) -> Option<&Symbol> {
        Some(&self.count)
    }

    fn outputs(&self, inputs: &Facts) -> TractResult<Vec<TypedFact>> {
        let dims = need_strings(inputs, 0)?;
        let mut parts = dims.clone();
        parts.push(self.count.clone().into());
        Ok(vec![DatumType::String.fact(&*parts), i64::fact(&*dims)])
    }

    fn eval(&self, inputs: &Tensors) -> TractResult<Vec<Tensor>> {
        let x = strings(inputs.need(0)?)?;
        let cuts: Vec<Vec<String>> = x.iter().map(|s| self.cut(s)).collect();
        let width = cuts.iter().map(|c| c.len()).max().unwrap_or(0);
        let counts: Vec<i64> = cuts.iter().map(|c| c.len() as i64).collect();
        let mut dims = x.shape().to_vec();
        let counts = ArrayD::from_shape_vec(dims.clone(), counts)?;
        dims.push(width);
        let parts: Vec<String> = cuts
            .into_iter()
            .flat_map(|mut c| {
                c.resize(width, String::new());
                c
            })
            .collect();
        Ok(vec![ArrayD::from_shape_vec(dims, parts)?.into(), counts.into()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_is_one_delimiter_and_the_rest_stays_whole() {
        assert_eq!(at_spaces("  a b   c ", None), ["a", "b", "c"]);
        assert_eq!(at_spaces(" a b   c ", Some(1)), ["a", "b   c"]);
        assert!(at_spaces("  ", None).is_empty());
    }
}
