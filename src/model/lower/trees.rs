//! Trees of ai.onnx.ml: `TreeEnsemble` (5) and `TreeEnsembleRegressor` (1, 3, 5).

use super::attrs;
use super::native::{Built, Facts, Kernel, Tensors, native};
use super::values::{f64s, tensor_of};
use std::collections::{HashMap, HashSet};
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::{NodeProto, TensorProto};
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ndarray::{Array2, ArrayD, ArrayView1, Ix2};

/// The question that a node asks of one feature.
#[derive(Debug, Clone, PartialEq)]
enum Test {
    AtMost(f64),
    Below(f64),
    AtLeast(f64),
    Above(f64),
    Is(f64),
    IsNot(f64),
    In(Vec<f64>),
}

impl Test {
    fn named(name: &str, split: f64) -> TractResult<Test> {
        Ok(match name {
            "BRANCH_LEQ" => Test::AtMost(split),
            "BRANCH_LT" => Test::Below(split),
            "BRANCH_GTE" => Test::AtLeast(split),
            "BRANCH_GT" => Test::Above(split),
            "BRANCH_EQ" => Test::Is(split),
            "BRANCH_NEQ" => Test::IsNot(split),
            other => bail!("unknown node mode '{other}'"),
        })
    }

    fn holds(&self, x: f64) -> bool {
        match self {
            Test::AtMost(s) => x <= *s,
            Test::Below(s) => x < *s,
            Test::AtLeast(s) => x >= *s,
            Test::Above(s) => x > *s,
            Test::Is(s) => x == *s,
            Test::IsNot(s) => x != *s,
            Test::In(set) => set.contains(&x),
        }
    }
}

/// Where to go: another branch, or a leaf.
#[derive(Debug, Clone, Copy)]
enum Next {
    Branch(usize),
    Leaf(usize),
}

#[derive(Debug)]
struct Branch {
    feature: usize,
    test: Test,
    missing_is_true: bool,
    yes: Next,
    no: Next,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Aggregate {
    Average,
    Sum,
    Min,
    Max,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Post {
    None,
    Softmax,
    Logistic,
}

#[derive(Debug)]
struct Trees {
    branches: Vec<Branch>,
    /// What each leaf adds: pairs of a target and a weight.
    leaves: Vec<Vec<(usize, f64)>>,
    roots: Vec<Next>,
    targets: usize,
    base: Vec<f64>,
    aggregate: Aggregate,
    post: Post,
    /// dtype of the output, that of the input when absent.
    out: Option<DatumType>,
}

impl Trees {
    /// Every link inside, every branch entered from one place only, so that no walk is endless.
    fn checked(self) -> TractResult<Self> {
        let mut entered = HashSet::new();
        let links = self.branches.iter().flat_map(|b| [b.yes, b.no]);
        for next in links.chain(self.roots.iter().copied()) {
            match next {
                Next::Branch(ix) => ensure!(
                    ix < self.branches.len() && entered.insert(ix),
                    "branch {ix} is missing or shared"
                ),
                Next::Leaf(ix) => ensure!(ix < self.leaves.len(), "leaf {ix} is missing"),
            }
        }
        let mut targets = self.leaves.iter().flatten().map(|leaf| leaf.0);
        ensure!(targets.all(|t| t < self.targets), "a leaf names a target of none");
        ensure!(
            self.base.is_empty() || self.base.len() == self.targets,
            "{} base values for {} targets",
            self.base.len(),
            self.targets
        );
        Ok(self)
    }

    fn leaf(&self, root: Next, row: ArrayView1<f64>) -> usize {
        let mut at = root;
        loop {
            match at {
                Next::Leaf(ix) => return ix,
                Next::Branch(ix) => {
                    let branch = &self.branches[ix];
                    let x = row[branch.feature];
                    let yes = branch.test.holds(x) || branch.missing_is_true && x.is_nan();
                    at = if yes { branch.yes } else { branch.no };
                }
            }
        }
    }

    fn row(&self, row: ArrayView1<f64>) -> Vec<f64> {
        let mut out: Vec<Option<f64>> = vec![None; self.targets];
        for &root in &self.roots {
            for &(target, weight) in &self.leaves[self.leaf(root, row)] {
                out[target] = Some(match (out[target], self.aggregate) {
                    (None, _) => weight,
                    (Some(x), Aggregate::Min) => x.min(weight),
                    (Some(x), Aggregate::Max) => x.max(weight),
                    (Some(x), _) => x + weight,
                });
            }
        }
        let count =
            if self.aggregate == Aggregate::Average { self.roots.len() as f64 } else { 1.0 };
        let base = |ix| self.base.get(ix).copied().unwrap_or(0.0);
        let out = out.iter().enumerate().map(|(ix, x)| x.unwrap_or(0.0) / count + base(ix));
        self.finish(out.collect())
    }

    fn finish(&self, mut out: Vec<f64>) -> Vec<f64> {
        match self.post {
            Post::None => {}
            Post::Logistic => out.iter_mut().for_each(|x| *x = 1.0 / (1.0 + (-*x).exp())),
            Post::Softmax => {
                let max = out.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                out.iter_mut().for_each(|x| *x = (*x - max).exp());
                let sum: f64 = out.iter().sum();
                out.iter_mut().for_each(|x| *x /= sum);
            }
        }
        out
    }
}

impl Kernel for Trees {
    fn outputs(&self, inputs: &Facts) -> TractResult<Vec<TypedFact>> {
        let dims = inputs.shape(0)?;
        ensure!(dims.len() == 2, "trees take [N, features], not {dims:?}");
        let dt = match self.out {
            Some(dt) => dt,
            None => inputs.dt(0)?,
        };
        Ok(vec![dt.fact([dims[0].clone(), self.targets.to_dim()])])
    }

    fn eval(&self, inputs: &Tensors) -> TractResult<Vec<Tensor>> {
        let x = inputs.need(0)?;
        let rows: Array2<f64> = f64s(x)?.into_dimensionality::<Ix2>()?;
        let needed = self.branches.iter().map(|b| b.feature + 1).max().unwrap_or(0);
        ensure!(rows.ncols() >= needed, "{} features, {needed} needed", rows.ncols());
        let out = rows.rows().into_iter().flat_map(|row| self.row(row)).collect();
        let out = ArrayD::from_shape_vec(vec![rows.nrows(), self.targets], out)?;
        Ok(vec![tensor_of(out, self.out.unwrap_or(x.datum_type()))?])
    }
}

/// A list of indices, none negative.
fn indices(node: &NodeProto, name: &str) -> TractResult<Vec<usize>> {
    let list = attrs::ints(node, name)?.unwrap_or_default();
    list.into_iter().map(|v| usize::try_from(v).with_context(|| format!("{name}: {v}"))).collect()
}

/// A list of numbers given as a tensor.
fn numbers(ctx: &ParsingContext, node: &NodeProto, name: &str) -> TractResult<Option<Vec<f64>>> {
    let Some(t) = node.get_attr_opt::<&TensorProto>(name)? else {
        return Ok(None);
    };
    Ok(Some(f64s(&ctx.load_tensor(t)?)?.iter().copied().collect()))
}

fn at<T: Clone>(list: &[T], ix: usize, name: &str) -> TractResult<T> {
    list.get(ix).cloned().with_context(|| format!("{name} has no entry {ix}"))
}

/// `TreeEnsemble`.
pub(super) fn tree_ensemble(ctx: &ParsingContext, node: &NodeProto) -> Built {
    let need = |name| -> TractResult<Vec<f64>> {
        numbers(ctx, node, name)?.with_context(|| format!("TreeEnsemble needs {name}"))
    };
    let (features, modes, splits) =
        (indices(node, "nodes_featureids")?, need("nodes_modes")?, need("nodes_splits")?);
    let (yes, yes_leaf) = (indices(node, "nodes_truenodeids")?, indices(node, "nodes_trueleafs")?);
    let (no, no_leaf) = (indices(node, "nodes_falsenodeids")?, indices(node, "nodes_falseleafs")?);
    let missing = indices(node, "nodes_missing_value_tracks_true")?;
    let members = numbers(ctx, node, "membership_values")?.unwrap_or_default();
    // One set a membership node, in the order of the nodes, each ended by NaN.
    let mut sets = members.split(|x| x.is_nan()).map(|set| set.to_vec());
    let next = |to: &[usize], leaf: &[usize], ix| -> TractResult<Next> {
        let to = at(to, ix, "node ids")?;
        Ok(if at(leaf, ix, "leaf flags")? == 1 { Next::Leaf(to) } else { Next::Branch(to) })
    };
    let mut branches = vec![];
    for (ix, &feature) in features.iter().enumerate() {
        let split = at(&splits, ix, "nodes_splits")?;
        let test = match at(&modes, ix, "nodes_modes")? as u8 {
            0 => Test::AtMost(split),
            1 => Test::Below(split),
            2 => Test::AtLeast(split),
            3 => Test::Above(split),
            4 => Test::Is(split),
            5 => Test::IsNot(split),
            6 => Test::In(sets.next().context("membership_values lack a set")?),
            other => bail!("TreeEnsemble: unknown mode {other}"),
        };
        branches.push(Branch {
            feature,
            test,
            missing_is_true: missing.get(ix) == Some(&1),
            yes: next(&yes, &yes_leaf, ix)?,
            no: next(&no, &no_leaf, ix)?,
        });
    }
    let targets = indices(node, "leaf_targetids")?;
    let weights = need("leaf_weights")?;
    ensure!(targets.len() == weights.len(), "TreeEnsemble: a target and a weight for each leaf");
    // A tree that is one leaf: its root names the same leaf on both sides.
    let lone = |root: &usize| match branches.get(*root).map(|b| (b.yes, b.no)) {
        Some((Next::Leaf(a), Next::Leaf(b))) if a == b => Next::Leaf(a),
        _ => Next::Branch(*root),
    };
    let trees = Trees {
        roots: indices(node, "tree_roots")?.iter().map(lone).collect(),
        leaves: targets.into_iter().zip(weights).map(|leaf| vec![leaf]).collect(),
        branches,
        targets: usize::try_from(node.get_attr::<i64>("n_targets")?)?,
        base: vec![],
        aggregate: match attrs::int(node, "aggregate_function", 1)? {
            0 => Aggregate::Average,
            1 => Aggregate::Sum,
            2 => Aggregate::Min,
            3 => Aggregate::Max,
            other => bail!("TreeEnsemble: unknown aggregate_function {other}"),
        },
        post: match attrs::int(node, "post_transform", 0)? {
            0 => Post::None,
            1 => Post::Softmax,
            2 => Post::Logistic,
            other => bail!("TreeEnsemble: post_transform {other} is not supported"),
        },
        out: None,
    };
    native(node, trees.checked()?)
}

/// `TreeEnsembleRegressor`.
pub(super) fn tree_regressor(ctx: &ParsingContext, node: &NodeProto) -> Built {
    let list = |name: &str| -> TractResult<Vec<f64>> {
        let floats = attrs::floats(node, name)?.into_iter().map(|v| v as f64).collect();
        Ok(numbers(ctx, node, &format!("{name}_as_tensor"))?.unwrap_or(floats))
    };
    let ids: Vec<(usize, usize)> =
        indices(node, "nodes_treeids")?.into_iter().zip(indices(node, "nodes_nodeids")?).collect();
    let modes = attrs::strings(node, "nodes_modes")?;
    let (features, splits) = (indices(node, "nodes_featureids")?, list("nodes_values")?);
    let (yes, no) = (indices(node, "nodes_truenodeids")?, indices(node, "nodes_falsenodeids")?);
    let missing = indices(node, "nodes_missing_value_tracks_true")?;
    let mut places: HashMap<(usize, usize), Next> = HashMap::new();
    let (mut inner, mut leaf_count) = (vec![], 0);
    for (ix, id) in ids.iter().enumerate() {
        let place = if at(&modes, ix, "nodes_modes")? == "LEAF" {
            leaf_count += 1;
            Next::Leaf(leaf_count - 1)
        } else {
            inner.push(ix);
            Next::Branch(inner.len() - 1)
        };
        ensure!(places.insert(*id, place).is_none(), "TreeEnsembleRegressor: node {id:?} twice");
    }
    let to = |tree: usize, id: usize| {
        places.get(&(tree, id)).copied().with_context(|| format!("tree {tree} has no node {id}"))
    };
    let branches = inner
        .iter()
        .map(|&ix| {
            Ok(Branch {
                feature: at(&features, ix, "nodes_featureids")?,
                test: Test::named(&modes[ix], at(&splits, ix, "nodes_values")?)?,
                missing_is_true: missing.get(ix) == Some(&1),
                yes: to(ids[ix].0, at(&yes, ix, "nodes_truenodeids")?)?,
                no: to(ids[ix].0, at(&no, ix, "nodes_falsenodeids")?)?,
            })
        })
        .collect::<TractResult<Vec<Branch>>>()?;
    let mut leaves = vec![vec![]; leaf_count];
    let weights = list("target_weights")?;
    let targets = indices(node, "target_ids")?;
    let (trees, nodes) = (indices(node, "target_treeids")?, indices(node, "target_nodeids")?);
    for (ix, &weight) in weights.iter().enumerate() {
        let place = to(at(&trees, ix, "target_treeids")?, at(&nodes, ix, "target_nodeids")?)?;
        let Next::Leaf(leaf) = place else { bail!("target {ix} is not at a leaf") };
        leaves[leaf].push((at(&targets, ix, "target_ids")?, weight));
    }
    let mut seen = HashSet::new();
    let firsts = ids.iter().filter(|id| seen.insert(id.0));
    let kernel = Trees {
        roots: firsts.map(|id| places[id]).collect(),
        branches,
        leaves,
        targets: usize::try_from(attrs::int(node, "n_targets", 1)?)?,
        base: list("base_values")?,
        aggregate: match &*attrs::string(node, "aggregate_function", "SUM")? {
            "AVERAGE" => Aggregate::Average,
            "SUM" => Aggregate::Sum,
            "MIN" => Aggregate::Min,
            "MAX" => Aggregate::Max,
            other => bail!("TreeEnsembleRegressor: unknown aggregate_function '{other}'"),
        },
        post: match &*attrs::string(node, "post_transform", "NONE")? {
            "NONE" => Post::None,
            "SOFTMAX" => Post::Softmax,
            "LOGISTIC" => Post::Logistic,
            other => bail!("TreeEnsembleRegressor: post_transform '{other}' is not supported"),
        },
        out: Some(f32::datum_type()),
    };
    native(node, kernel.checked()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stump(yes: Next) -> Trees {
        let test = Test::named("BRANCH_LEQ", 1.0).unwrap();
        let branch = Branch { feature: 0, test, missing_is_true: false, yes, no: Next::Leaf(1) };
        Trees {
            branches: vec![branch],
            leaves: vec![vec![(0, 5.0)], vec![(0, 7.0)]],
            roots: vec![Next::Branch(0)],
            targets: 1,
            base: vec![0.5],
            aggregate: Aggregate::Sum,
            post: Post::None,
            out: None,
        }
    }

    #[test]
    fn a_row_falls_to_its_leaf() {
        let trees = stump(Next::Leaf(0)).checked().unwrap();
        assert_eq!(trees.row(ArrayView1::from(&[1.0])), [5.5]);
        assert_eq!(trees.row(ArrayView1::from(&[f64::NAN])), [7.5]);
    }

    #[test]
    fn a_loop_is_refused() {
        assert!(stump(Next::Branch(0)).checked().is_err());
        assert!(stump(Next::Leaf(9)).checked().is_err());
    }
}
