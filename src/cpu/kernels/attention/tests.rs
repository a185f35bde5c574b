//! Blocks against plain loops in f64: lengths on both sides of theirs, whole numbers of heads for one, masks of all kinds.

use super::super::float::testing::{assert_close, numbers, to_f32};
use super::*;

struct Problem {
    g: AttentionGeometry,
    /// Query, key, value, bias.
    data: [Vec<f64>; 4],
    lengths: Vec<i32>,
    d_out: Vec<f64>,
}

fn problem(
    [batch, heads, kv_heads]: [usize; 3],
    [queries, keys]: [usize; 2],
    [depth, width]: [usize; 2],
) -> Problem {
    let g = AttentionGeometry {
        batch,
        heads,
        kv_heads,
        queries,
        keys,
        depth,
        width,
        causal: false,
        scale: 0.3f64.to_bits(),
        bias: None,
        lengths: false,
    };
    let [q, k, v] = g.sizes();
    let numbers =
        |len, seed| to_f32(&numbers(len, seed)).iter().map(|&x| f64::from(x) * 2.0).collect::<Vec<_>>();
    let d_out = numbers(g.out_len() + g.rows(), 5);
    let lengths = (0..batch).map(|b| (keys * (b + 1) / (batch + 1)) as i32).collect();
    Problem { data: [numbers(q, 1), numbers(k, 2), numbers(v, 3), Vec::new()], g, lengths, d_out }
}

impl Problem {
    fn causal(mut self) -> Problem {
        self.g.causal = true;
        self
    }

    fn lengths(mut self) -> Problem {
        self.g.lengths = true;
        self
    }

    /// One bias for each query and key of a head, which hides some keys.
    fn bias(mut self) -> Problem {
        let g = &mut self.g;
        g.bias = Some([0, g.queries * g.keys, g.keys, 1]);
        self.data[3] = numbers(g.heads * g.queries * g.keys, 4);
        for b in self.data[3].iter_mut().filter(|b| **b > 0.6) {
            *b = f64::NEG_INFINITY;
        }
        self
    }

    fn inputs<'a, T: Float>(&'a self, data: &'a [Vec<T>; 4]) -> Inputs<'a, T> {
        let g = &self.g;
        let rows = |data: &'a [T], heads: usize, rows: usize, columns: usize| Rows {
            data,
            strides: [heads * rows * columns, rows * columns, columns],
        };
        Inputs {
            query: rows(&data[0], g.heads, g.queries, g.depth),
            key: rows(&data[1], g.kv_heads, g.keys, g.depth),
            value: rows(&data[2], g.kv_heads, g.keys, g.width),
            bias: g.bias.map(|_| &data[3][..]),
            lengths: g.lengths.then_some(&self.lengths[..]),
        }
    }

    /// Output and logarithms; gradients of query, key and value.
    fn naive(&self) -> (Vec<f64>, Vec<f64>) {
        let g = &self.g;
        let [q, k, v, bias] = &self.data;
        let (mut out, mut logs) = (vec![0.0; g.out_len()], Vec::new());
        let [mut dq, mut dk, mut dv] = g.sizes().map(|n| vec![0.0; n]);
        for row in 0..g.rows() {
            let (head, i) = (row / g.queries, row % g.queries);
            let (b, h) = (head / g.heads, head % g.heads);
            let first = (b * g.kv_heads + h / g.group()) * g.keys;
            let scores: Vec<f64> = (0..g.keys)
                .map(|j| {
                    let dot: f64 =
                        (0..g.depth).map(|c| q[row * g.depth + c] * k[(first + j) * g.depth + c]).sum();
                    let added = g.bias.map_or(0.0, |s| bias[h * s[1] + i * s[2] + j * s[3]]);
                    let hidden = g.causal && j > i || g.lengths && j as i32 >= self.lengths[b];
                    if hidden { f64::NEG_INFINITY } else { dot * 0.3 + added }
                })
                .collect();
            let peak = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sees = peak > f64::NEG_INFINITY;
            let sum: f64 = scores.iter().map(|s| if sees { (s - peak).exp() } else { 0.0 }).sum();
            logs.push(if sees { peak + sum.ln() } else { f64::INFINITY });
            let p: Vec<f64> =
                scores.iter().map(|s| if sees { (s - peak).exp() / sum } else { 0.0 }).collect();
            let up = &self.d_out[row * g.width..][..g.width];
            let value = |j: usize| &v[(first + j) * g.width..][..g.width];
            let dp: Vec<f64> =
                (0..g.keys).map(|j| value(j).iter().zip(up).map(|(v, u)| v * u).sum()).collect();
            let mean: f64 = p.iter().zip(&dp).map(|(p, d)| p * d).sum();
            for j in 0..g.keys {
                let ds = p[j] * (dp[j] - mean) * 0.3;
                for c in 0..g.width {
                    out[row * g.width + c] += p[j] * value(j)[c];
                    dv[(first + j) * g.width + c] += p[j] * up[c];
                }
                for c in 0..g.depth {
                    dq[row * g.depth + c] += ds * k[(first + j) * g.depth + c];
                    dk[(first + j) * g.depth + c] += ds * q[row * g.depth + c];
                }
            }
        }
        ([out, logs].concat(), [dq, dk, dv].concat())
    }

    fn run<T: Float>(&self, data: &[Vec<T>; 4], d_out: &[T], threads: usize) -> (Vec<T>, Vec<T>) {
        let nan = T::from_f64(f64::NAN);
        let inputs = self.inputs(data);
        let mut out = vec![nan; self.g.out_len() + self.g.rows()];
        let mut grads = vec![nan; self.g.sizes().iter().sum()];
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            forward(&self.g, &inputs, &mut out);
            backward(&self.g, &inputs, &out, d_out, &mut grads);
        });
        (out, grads)
    }

    #[track_caller]
    fn check(&self) {
        let (out, grads) = self.naive();
        let what = format!("{:?}", self.g);
        let got = self.run(&self.data, &self.d_out, 1);
        let finite = |x: &[f64]| x.iter().map(|v| v.min(1e300)).collect::<Vec<_>>();
        assert_close(&finite(&got.0), &finite(&out), 1e-11, &what);
        assert_close(&got.1, &grads, 1e-10, &what);
        let data = self.data.each_ref().map(|x| to_f32(x));
        let d_out = to_f32(&self.d_out);
        let got = self.run(&data, &d_out, 1);
        let (same, low) =
            (self.run(&data, &d_out, 3), |x: &[f32]| x.iter().map(|v| v.min(1e30)).collect::<Vec<_>>());
        assert!(low(&got.0) == low(&same.0) && got.1 == same.1, "depends on the number of threads: {what}");
        let out: Vec<f64> = out.iter().map(|v| v.min(1e30)).collect();
        assert_close(&low(&got.0), &out, 1e-5, &what);
        assert_close(&got.1, &grads, 5e-5, &what);
    }
}

#[test]
fn lengths_on_both_sides_of_blocks() {
    for (queries, keys) in [(1, 1), (1, 300), (64, 256), (65, 257), (130, 40), (3, 513)] {
        problem([1, 2, 1], [queries, keys], [5, 3]).check();
        problem([1, 1, 1], [queries, keys], [4, 17]).causal().check();
    }
}

#[test]
fn masks_of_all_kinds() {
    for kv_heads in [1, 2, 4] {
        let some = || problem([2, 4, kv_heads], [70, 261], [3, 4]);
        some().bias().check();
        some().lengths().check();
        some().bias().causal().lengths().check();
    }
    // One head, whose queries are cut into pieces: sums of their parts.
    problem([1, 1, 1], [1000, 300], [2, 2]).causal().check();
    problem([1, 3, 1], [200, 30], [2, 2]).bias().check();
}

#[test]
fn broken_scores_break_their_rows_alone() {
    let p = problem([1, 1, 1], [4, 300], [1, 1]).causal();
    let mut data = p.data.each_ref().map(|x| to_f32(x));
    data[0] = vec![1.0, f32::NAN, 1.0, 1.0];
    data[1].fill(1.0);
    data[1][2] = f32::INFINITY;
    let (out, _) = p.run(&data, &to_f32(&p.d_out), 1);
    assert!(out[0] == data[2][0] && out[1].is_nan() && out[2].is_nan() && out[3].is_nan(), "{out:?}");
    // Of minus infinity alone there is no softmax; a hidden one changes nothing.
    data[0] = vec![-1.0; 4];
    data[1][0] = f32::INFINITY;
    let (out, _) = p.run(&data, &to_f32(&p.d_out), 1);
    assert!(out[0].is_nan() && out[1] == data[2][1] && out[2] == data[2][1], "{out:?}");
}
