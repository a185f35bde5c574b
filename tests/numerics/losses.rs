//! Losses, metrics and optimizers at extremes: infinite and missing numbers, rows that don't count, nothing to divide by.

use super::common::{assert_close, values};
use crate::on_both_devices;
use wgrad::nn::{
    BinaryCrossentropy, CategoricalCrossentropy, CategoricalHinge, CosineSimilarity, Hinge, Huber,
    KLDivergence, LogCosh, Loss, MeanAbsoluteError, MeanAbsolutePercentageError, MeanSquaredLogarithmicError,
    Poisson, SquaredHinge,
};
use wgrad::optim::{Adagrad, AdamW, Adamax, Ftrl, Lamb, Nadam, RmsProp, clip};
use wgrad::prelude::*;
use wgrad::train::{
    Auc, Average, BinaryAccuracy, Confusion, Curve, F1Score, Mean, Metric, Recall, TopKAccuracy,
};

const INF: f32 = f32::INFINITY;
const NAN: f32 = f32::NAN;

on_both_devices! {
    binary_cross_entropy_of_infinite_logits_was_nan;
    dense_cross_entropy_multiplied_0_by_infinity;
    smoothed_cross_entropy_subtracted_infinities;
    hinges_multiplied_0_by_infinity;
    log_cosh_of_small_errors_cancelled;
    logarithmic_errors_of_small_numbers_cancelled;
    poisson_of_an_infinite_rate_was_nan;
    cosines_of_large_and_small_vectors_vanished;
    rows_that_do_not_count_made_gradients_nan;
    losses_hid_nan;
    clipping_hid_nan;
    optimizers_without_epsilon_divided_0_by_0;
    nan_outputs_counted_as_answers;
    ignored_rows_counted;
}

fn vector(v: &[f32], d: Device) -> Result<Tensor> {
    Tensor::from_slice(v, [v.len()], d)
}

fn floats(v: &[f32]) -> Vec<f64> {
    v.iter().map(|&v| f64::from(v)).collect()
}

/// The loss of each sample, and its gradient by the outputs.
fn run(loss: &dyn Loss, outputs: &Tensor, targets: &Tensor) -> Result<(Vec<f64>, Vec<f64>)> {
    let x = outputs.watch()?;
    let rows = loss.per_sample(&x, targets)?;
    let slope = rows.sum(.., false)?.backward()?.get(&x)?;
    Ok((values(&rows)?, values(&slope)?))
}

fn measure(metric: &dyn Metric, outputs: &Tensor, targets: &Tensor) -> Result<f64> {
    let samples = outputs.dims()[0];
    Ok(metric.result(&metric.sum(outputs, targets)?.to_vec()?, samples))
}

mod checks {
    use super::*;

    pub fn binary_cross_entropy_of_infinite_logits_was_nan(d: Device) -> Result<()> {
        let x = vector(&[INF, INF, -INF, -INF, 0.0, 88.0, -1e4, 1e30, INF], d)?;
        let t = vector(&[1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 0.5], d)?;
        let (rows, slope) = run(&BinaryCrossentropy::from_logits(), &x, &t)?;
        let infinity = f64::INFINITY;
        let ln2 = std::f64::consts::LN_2;
        let want = [0.0, infinity, 0.0, infinity, ln2, 88.0, 1e4, 0.0, infinity];
        assert_close(&rows, &want, 1e-7, "loss");
        assert_close(&slope, &[0.0, 1.0, 0.0, -1.0, -0.5, 1.0, -1.0, 0.0, 0.5], 1e-6, "gradient");
        // by the targets, of which none is left out that counts: log((1 - p) / p) = -x
        let t = vector(&[1.0, 0.0, 0.25], d)?.watch()?;
        let x = vector(&[2.0, -3.0, 0.5], d)?;
        let slope =
            BinaryCrossentropy::from_logits().per_sample(&x, &t)?.sum(.., false)?.backward()?.get(&t)?;
        assert_close(&values(&slope)?, &[-2.0, 3.0, -0.5], 1e-6, "gradient by the targets");
        Ok(())
    }

    pub fn dense_cross_entropy_multiplied_0_by_infinity(d: Device) -> Result<()> {
        let loss = CategoricalCrossentropy::from_logits();
        // the entropy of 1/4, 3/4
        let x = Tensor::new([[0.0f32, -INF, 3f32.ln()]], d)?;
        let p = Tensor::new([[0.25f32, 0.0, 0.75]], d)?;
        let (rows, slope) = run(&loss, &x, &p)?;
        assert_close(&rows, &[0.562_335_144_618_808_3], 1e-6, "loss");
        assert!(slope.iter().all(|v| v.abs() < 1e-6), "{slope:?}");
        let expected = Tensor::new([[0.25f32, 0.5, 0.25]], d)?;
        assert_eq!(run(&loss, &x, &expected)?.0, [f64::INFINITY]);
        // rows long enough for teams, most of them impossible
        for cols in [8, 1000, 5003] {
            let x: Vec<f32> = (0..2 * cols).map(|i| if i % 4 == 1 { 0.0 } else { -INF }).collect();
            let possible: Vec<usize> =
                x.chunks(cols).map(|r| r.iter().filter(|v| **v == 0.0).count()).collect();
            let p: Vec<f32> = (0..2 * cols)
                .map(|i| if i % 4 == 1 { 1.0 / possible[i / cols] as f32 } else { 0.0 })
                .collect();
            let (x, p) = (Tensor::from_vec(x, [2, cols], d)?, Tensor::from_vec(p, [2, cols], d)?);
            let want: Vec<f64> = possible.iter().map(|&n| (n as f64).ln()).collect();
            assert_close(&run(&loss, &x, &p)?.0, &want, 1e-5, "masked rows");
        }
        for x in [[NAN, 0.0], [-INF, -INF], [INF, 0.0]] {
            let rows = run(&loss, &Tensor::new([x], d)?, &Tensor::new([[0.0f32, 1.0]], d)?)?.0;
            assert!(rows[0].is_nan(), "{x:?}: {rows:?}");
        }
        Ok(())
    }

    pub fn smoothed_cross_entropy_subtracted_infinities(d: Device) -> Result<()> {
        let x = Tensor::new([[0.0f32, -INF], [0.0, -INF], [0.0, 1.0]], d)?;
        let t = Tensor::new([0u32, 1, 1], d)?;
        let ln = (1.0 + 1f64.exp()).ln();
        for smoothing in [0.1, 1.0] {
            let loss = SparseCategoricalCrossentropy::from_logits().label_smoothing(smoothing);
            let want = (1.0 - 0.5 * smoothing) * (ln - 1.0) + 0.5 * smoothing * ln;
            assert_close(&run(&loss, &x, &t)?.0, &[f64::INFINITY, f64::INFINITY, want], 1e-6, "smoothed");
        }
        Ok(())
    }

    pub fn hinges_multiplied_0_by_infinity(d: Device) -> Result<()> {
        let hot = |rows: [[f32; 3]; 5]| Tensor::new(rows, d);
        let y =
            hot([[-INF, 3.0, 2.0], [INF, 0.0, 0.0], [INF, 0.0, 0.0], [0.5, -INF, -1.0], [-INF, 0.0, 0.0]])?;
        let t = hot([[0., 0., 1.], [1., 0., 0.], [0., 1., 0.], [0., 0., 1.], [1., 0., 0.]])?;
        let (rows, _) = run(&CategoricalHinge::new(), &y, &t)?;
        assert_eq!(rows, [2.0, 0.0, f64::INFINITY, 2.5, f64::INFINITY]);
        let (y, t) = (vector(&[INF, -INF, INF, -INF, 1e30], d)?, vector(&[1.0, 1.0, 0.0, -1.0, 0.0], d)?);
        let infinity = f64::INFINITY;
        assert_close(&run(&Hinge::new(), &y, &t)?.0, &[0.0, infinity, infinity, 0.0, 1e30], 1e-6, "hinge");
        let squared = run(&SquaredHinge::new(), &y, &t)?.0;
        assert_eq!(squared, [0.0, infinity, infinity, 0.0, infinity]); // 1e60 is infinite in f32
        Ok(())
    }

    /// ln(cosh(x)) by mpmath with 40 digits.
    pub fn log_cosh_of_small_errors_cancelled(d: Device) -> Result<()> {
        let table: [(f32, f64); 12] = [
            (1e-4, 4.999_999_739_045_422e-9),
            (1e-3, 4.999_999_641_641_255e-7),
            (1e-2, 4.999_916_445_378_856e-5),
            (0.3, 0.044_340_773_398_657_34),
            (0.7, 0.227_270_222_153_880_32),
            (0.999, 0.433_019_456_220_696_3),
            (1.0, 0.433_780_830_483_027_2),
            (3.0, 2.309_328_504_577_785),
            (-5e-4, 1.250_000_066_660_291_3e-7),
            (-2.0, 1.325_002_747_357_864_4),
            (100.0, 99.306_852_819_440_05),
            (1e30, 1e30),
        ];
        for (x, want) in table {
            let (rows, slope) = run(&LogCosh::new(), &vector(&[x], d)?, &vector(&[0.0], d)?)?;
            assert_close(&rows, &[want], 2e-6, &format!("LogCosh of {x}"));
            assert_close(&slope, &[f64::from(x).tanh()], 2e-6, &format!("gradient of LogCosh at {x}"));
        }
        let (rows, slope) = run(&LogCosh::new(), &vector(&[INF, -INF, 0.0], d)?, &vector(&[0.0; 3], d)?)?;
        assert_eq!((rows, slope), (vec![f64::INFINITY, f64::INFINITY, 0.0], vec![1.0, -1.0, 0.0]));
        Ok(())
    }

    pub fn logarithmic_errors_of_small_numbers_cancelled(d: Device) -> Result<()> {
        let (y, t) = (vector(&[1e-5, 0.0, 1e30], d)?, vector(&[1e-6, 0.0, 1e30], d)?);
        let (rows, _) = run(&MeanSquaredLogarithmicError::new(), &y, &t)?;
        assert_close(&rows[..1], &[8.099_910_450_677_758e-11], 2e-6, "MSLE"); // mpmath
        assert_eq!(rows[1..], [0.0, 0.0]);
        Ok(())
    }

    pub fn poisson_of_an_infinite_rate_was_nan(d: Device) -> Result<()> {
        let (y, t) = (vector(&[INF, INF, 0.0, 2.0], d)?, vector(&[3.0, 0.0, 0.0, 0.0], d)?);
        let (rows, slope) = run(&Poisson::new(), &y, &t)?;
        assert_eq!(rows, [f64::INFINITY, f64::INFINITY, 0.0, 2.0]);
        assert_eq!(slope, [1.0; 4]);
        Ok(())
    }

    pub fn cosines_of_large_and_small_vectors_vanished(d: Device) -> Result<()> {
        let y = Tensor::new([[3e30f32, 4e30], [3e-4, -4e-4], [0.0, 0.0]], d)?;
        let t = Tensor::new([[3e25f32, 4e25], [-3.0, 4.0], [1.0, 0.0]], d)?;
        let (rows, slope) = run(&CosineSimilarity::new(), &y, &t)?;
        assert_close(&rows, &[-1.0, 1.0, 0.0], 1e-6, "cosine");
        assert!(slope.iter().all(|v| v.is_finite()), "{slope:?}");
        Ok(())
    }

    /// NaN in, NaN out: of outputs, and where floats are expected of targets.
    pub fn losses_hid_nan(d: Device) -> Result<()> {
        let losses: Vec<(&str, Box<dyn Loss>)> = vec![
            ("binary from logits", Box::new(BinaryCrossentropy::from_logits())),
            ("binary", Box::new(BinaryCrossentropy::from_probabilities())),
            ("categorical from logits", Box::new(CategoricalCrossentropy::from_logits())),
            ("categorical", Box::new(CategoricalCrossentropy::from_probabilities())),
            ("mean squared", Box::new(MeanSquaredError::new())),
            ("mean absolute", Box::new(MeanAbsoluteError::new())),
            ("percentage", Box::new(MeanAbsolutePercentageError::new())),
            ("logarithmic", Box::new(MeanSquaredLogarithmicError::new())),
            ("Huber", Box::new(Huber::new(1.0))),
            ("LogCosh", Box::new(LogCosh::new())),
            ("Poisson", Box::new(Poisson::new())),
            ("hinge", Box::new(Hinge::new())),
            ("squared hinge", Box::new(SquaredHinge::new())),
            ("categorical hinge", Box::new(CategoricalHinge::new())),
            ("Kullback-Leibler", Box::new(KLDivergence::new())),
            ("cosine", Box::new(CosineSimilarity::new())),
        ];
        let good = Tensor::new([[0.25f32, 0.5, 0.25], [0.0, 1.0, 0.0], [0.125, 0.125, 0.75]], d)?;
        for place in [0, 1, 2] {
            let bad: Vec<f32> = (0..9).map(|i| if i == 3 + place { NAN } else { 1.0 / 3.0 }).collect();
            let bad = Tensor::from_vec(bad, [3, 3], d)?;
            for (name, loss) in &losses {
                for (what, y, t) in [("outputs", &bad, &good), ("targets", &good, &bad)] {
                    let rows = values(&loss.per_sample(y, t)?)?;
                    let nan: Vec<bool> = rows.iter().map(|v| v.is_nan()).collect();
                    assert_eq!(nan, [false, true, false], "{name}, {what} {place}: {rows:?}");
                    assert!(loss.compute(y, t)?.item::<f32>()?.is_nan(), "{name}, {what}");
                }
            }
            let labels = Tensor::new([0u32, 1, 2], d)?;
            for loss in [
                SparseCategoricalCrossentropy::from_logits(),
                SparseCategoricalCrossentropy::from_probabilities(),
                SparseCategoricalCrossentropy::from_logits().label_smoothing(0.1),
            ] {
                assert!(values(&loss.per_sample(&bad, &labels)?)?[1].is_nan(), "sparse {loss:?}");
            }
        }
        Ok(())
    }

    /// Rows that don't count, by their label or their weight, whatever is in them.
    pub fn rows_that_do_not_count_made_gradients_nan(d: Device) -> Result<()> {
        let x = Tensor::new([[0.0f32, 1.0], [NAN, 1.0], [INF, 0.0], [1.0, 0.0]], d)?.watch()?;
        let labels = Tensor::new([0i32, -1, -1, 1], d)?;
        let loss = SparseCategoricalCrossentropy::from_logits().ignore_class(-1);
        let mean = loss.compute(&x, &labels)?;
        let want = 1f64.exp().ln_1p();
        assert_close(&values(&mean)?, &[want], 1e-6, "loss without rows");
        let p = 0.5 / (1.0 + (-1f64).exp());
        let slope = values(&mean.backward()?.get(&x)?)?;
        assert_close(&slope, &[-p, p, 0.0, 0.0, 0.0, 0.0, p, -p], 1e-6, "gradient without rows");
        // a weight of 0 for an infinite loss, dense and by elements
        let x = Tensor::new([[-INF, 0.0f32], [0.0, 0.0]], d)?.watch()?;
        let t = Tensor::new([[1.0f32, 0.0], [1.0, 0.0]], d)?;
        let weights = vector(&[0.0, 1.0], d)?;
        let losses: [(Box<dyn Loss>, f64); 2] = [
            (Box::new(CategoricalCrossentropy::from_logits()), 0.25),
            (Box::new(BinaryCrossentropy::from_logits()), 0.125),
        ];
        for (loss, slope) in losses {
            let mean = loss.weighted(&x, &t, &weights)?;
            assert_close(&values(&mean)?, &[0.5 * std::f64::consts::LN_2], 1e-6, "weighted");
            let got = values(&mean.backward()?.get(&x)?)?;
            assert_close(&got, &[0.0, 0.0, -slope, slope], 1e-6, "gradient of the weighted");
        }
        Ok(())
    }

    pub fn clipping_hid_nan(d: Device) -> Result<()> {
        let gradients = || {
            let w = Variable::new(vector(&[1.0, 2.0, 3.0], d)?);
            let slope = vector(&[NAN, 5.0, -INF], d)?;
            let grads = (w.value() * slope)?.sum(.., false)?.backward()?;
            Ok::<_, wgrad::Error>((w, grads))
        };
        let (w, grads) = gradients()?;
        let clipped = clip::by_value(grads, 1.0)?.get(&w)?.to_vec::<f32>()?;
        assert!(clipped[0].is_nan() && clipped[1..] == [1.0, -1.0], "{clipped:?}");
        let (w, grads) = gradients()?;
        Sgd::new(1.0).clip_value(1.0).step(&grads)?;
        let after = w.value().to_vec::<f32>()?;
        assert!(after[0].is_nan() && after[1..] == [1.0, 4.0], "{after:?}");
        let (w, grads) = gradients()?;
        let (grads, norm) = clip::by_global_norm(grads, 1.0)?;
        assert!(norm.item::<f32>()?.is_nan());
        assert!(grads.get(&w)?.to_vec::<f32>()?.iter().all(|v| v.is_nan()));
        Ok(())
    }

    pub fn optimizers_without_epsilon_divided_0_by_0(d: Device) -> Result<()> {
        let optimizers: Vec<(&str, Box<dyn Optimizer>)> = vec![
            ("Adam", Box::new(Adam::new(0.5).epsilon(0.0))),
            ("Adam with too small an epsilon", Box::new(Adam::new(0.5).epsilon(1e-60))),
            ("AMSGrad", Box::new(Adam::new(0.5).epsilon(0.0).amsgrad(true))),
            ("AdamW", Box::new(AdamW::new(0.5).epsilon(0.0).weight_decay(0.0))),
            ("Nadam", Box::new(Nadam::new(0.5).epsilon(0.0))),
            ("RmsProp", Box::new(RmsProp::new(0.5).epsilon(0.0))),
            ("centered RmsProp", Box::new(RmsProp::new(0.5).epsilon(0.0).centered(true))),
            ("Adagrad", Box::new(Adagrad::new(0.5).epsilon(0.0).initial_accumulator(0.0))),
            ("Adamax", Box::new(Adamax::new(0.5).epsilon(0.0))),
            ("Lamb", Box::new(Lamb::new(0.5).epsilon(0.0))),
            ("Ftrl", Box::new(Ftrl::new(0.5).initial_accumulator(0.0))),
        ];
        for (name, mut optimizer) in optimizers {
            let w = Variable::new(vector(&[1.0, 2.0, 3.0], d)?);
            for _ in 0..3 {
                let slope = vector(&[0.0, 2.0, -2.0], d)?;
                optimizer.step(&(w.value() * slope)?.sum(.., false)?.backward()?)?;
            }
            let after = w.value().to_vec::<f32>()?;
            assert!(after[0] == 1.0 && after[1] < 2.0 && after[2] > 3.0, "{name}: {after:?}");
            assert!(after.iter().all(|v| v.is_finite()), "{name}: {after:?}");
        }
        Ok(())
    }

    pub fn nan_outputs_counted_as_answers(d: Device) -> Result<()> {
        let labels = Tensor::new([0u32, 0, 1, 2], d)?;
        let all = Tensor::full([4, 3], NAN, d)?;
        assert_eq!(measure(&Accuracy::new(), &all, &labels)?, 0.0);
        assert_eq!(measure(&TopKAccuracy::new(2), &all, &labels)?, 0.0);
        assert_eq!(measure(&Recall::of_classes(3, Average::Class(0)), &all, &labels)?, 0.0);
        assert_eq!(measure(&F1Score::of_classes(3, Average::Micro), &all, &labels)?, 0.0);
        assert!(measure(&Confusion::new(3), &all, &labels)?.is_nan());
        let sum = Confusion::new(3).sum(&all, &labels)?.to_vec()?;
        assert!(Confusion::new(3).matrix(&sum).unwrap_err().to_string().contains("NaN"));
        // of one row, at its label and beside it, the others being right
        for place in 0..3 {
            let mut some = vec![9.0f32, 0., 0., 9., 0., 0., 0., 9., 0., 0., 0., 9.];
            some[place] = NAN;
            let some = Tensor::from_vec(some, [4, 3], d)?;
            assert_eq!(measure(&Accuracy::new(), &some, &labels)?, 0.75, "NaN at {place}");
            let hot = labels.one_hot(3)?;
            assert_eq!(measure(&Accuracy::new(), &some, &hot)?, 0.75, "NaN at {place}");
        }
        let (yes, no) = (Tensor::ones([3], d)?, Tensor::zeros([3], d)?);
        let nan = vector(&[NAN; 3], d)?;
        for targets in [&yes, &no] {
            assert_eq!(measure(&BinaryAccuracy::from_logits(), &nan, targets)?, 0.0);
            assert_eq!(measure(&BinaryAccuracy::from_probabilities(), &nan, targets)?, 0.0);
        }
        let targets = vector(&[0.0, 1.0, 1.0, 0.0], d)?;
        for outputs in [[NAN; 4], [0.25, NAN, 0.75, 0.5]] {
            for metric in [Auc::from_logits(), Auc::from_probabilities().curve(Curve::PrecisionRecall)] {
                assert!(measure(&metric, &vector(&outputs, d)?, &targets)?.is_nan(), "{outputs:?}");
            }
        }
        let infinite = vector(&[-INF, INF, 1.0, 0.0], d)?;
        assert!((measure(&Auc::from_logits(), &infinite, &targets)? - 1.0).abs() < 1e-6);
        Ok(())
    }

    /// Two batches of four rows, of which 1 and 4 count; labels of another class, of none, and one that is a class.
    pub fn ignored_rows_counted(d: Device) -> Result<()> {
        let outputs = Tensor::new(
            [
                [0.0f32, 9.0],
                [9.0, 0.0],
                [9.0, 0.0],
                [9.0, 0.0],
                [9.0, 0.0],
                [9.0, 0.0],
                [0.0, 9.0],
                [9.0, 0.0],
            ],
            d,
        )?;
        for ignored in [-1i32, 255, 7] {
            // the first batch: one row that counts, wrong; the second: four, of which three are right
            let labels = [0, ignored, ignored, ignored, 0, 0, 1, 1];
            let labels = Tensor::new(labels, d)?;
            let class = i64::from(ignored);
            let x = outputs.clone();
            let set = wgrad::data::Dataset::from_tensors(
                "rows",
                &x.to_device(Device::Cpu)?,
                &labels.to_device(Device::Cpu)?,
            );
            let metrics: [(f64, Box<dyn Metric>); 4] = [
                (0.6, Box::new(Accuracy::new().ignore_class(class))),
                (0.6, Box::new(TopKAccuracy::new(1).ignore_class(class))),
                (0.6, Box::new(Confusion::new(2).ignore_class(class))),
                (0.5, Box::new(Recall::of_classes(2, Average::Class(1)).ignore_class(class))),
            ];
            for (want, metric) in metrics {
                let mut total: Option<Tensor> = None;
                for start in [0, 4] {
                    let sum = metric.sum(&x.slice(0, start, 4)?, &labels.slice(0, start, 4)?)?;
                    assert_eq!(sum.dims(), metric.shape());
                    total = Some(match total {
                        Some(total) => (total + sum)?,
                        None => sum,
                    });
                }
                let total = total.map(|t| t.to_vec::<f32>()).transpose()?.unwrap_or_default();
                assert!((metric.result(&total, 8) - want).abs() < 1e-6, "{}", metric.name());
            }
            // of a loss: ln(1 + e^9) of two rows, ln(1 + e^-9) of three
            let loss = || SparseCategoricalCrossentropy::from_logits().ignore_class(class);
            let want = (2.0 * (9.0 + (-9f64).exp().ln_1p()) + 3.0 * (-9f64).exp().ln_1p()) / 5.0;
            for metric in [Box::new(loss()) as Box<dyn Metric>, Box::new(Mean::of("loss", loss()))] {
                let sums = [0, 4].map(|at| metric.sum(&x.slice(0, at, 4)?, &labels.slice(0, at, 4)?));
                let [a, b] = sums;
                let got = metric.result(&(a? + b?)?.to_vec()?, 8);
                assert!((got - want).abs() < 1e-5, "{got}, expected {want}");
            }
            // a trainer's metrics follow its loss
            // (that labels below 0 reach a trainer is tested with its data)
            let (Ok(set), 0..) = (set, ignored) else { continue };
            let model = Sequential::new().add(wgrad::nn::Flatten::new()).build([2], d)?;
            let mut trainer =
                Trainer::new(model, Sgd::new(0.1), loss()).metric(Accuracy::new()).metric(loss()).build()?;
            drop(trainer.fit(&set, Fit::epochs(0).batch_size(4).shuffle(false).verbose(false)));
            let evaluation = trainer.evaluate(&set)?;
            let accuracy = evaluation.metric("accuracy").unwrap_or(f64::NAN);
            assert!((accuracy - 0.6).abs() < 1e-6, "{evaluation}");
            let of_metric = evaluation.metric("sparse_categorical_crossentropy").unwrap_or(f64::NAN);
            assert!((of_metric - want).abs() < 1e-5, "{of_metric}, expected {want}");
        }
        // nothing left
        let none = Tensor::new([5i32; 8], d)?;
        assert_eq!(measure(&Accuracy::new().ignore_class(5), &outputs, &none)?, 0.0);
        let e = Accuracy::new().ignore_class(1 << 40).sum(&outputs, &none).unwrap_err().to_string();
        assert!(e.contains("ignore_class is 1099511627776"), "{e}");
        Ok(())
    }
}

/// Rows of bytes: a label of 255 is one, and left out.
#[test]
fn bytes_can_be_ignored() -> Result<()> {
    let outputs = Tensor::new([[0.0f32, 9.0], [9.0, 0.0]], Device::Cpu)?;
    let labels = Tensor::new([1u8, 255], Device::Cpu)?;
    assert_eq!(measure(&Accuracy::new().ignore_class(255), &outputs, &labels)?, 1.0);
    let hot = floats(&labels.one_hot(2)?.to_vec::<f32>()?);
    assert_eq!(hot, [0.0, 1.0, 0.0, 0.0]);
    Ok(())
}

/// A parameter that is not finite ends the training by name, whatever the loss says.
#[test]
fn weights_that_were_not_finite_went_on_training() -> Result<()> {
    let model = || Sequential::new().add(Dense::new(3)).add(Dense::new(1)).build([2], Device::Cpu);
    let clean = model()?;
    assert_eq!(clean.first_not_finite()?, None);
    for (name, value) in
        [("dense.weight", NAN), ("dense.bias", INF), ("dense_1.weight", -INF), ("dense_1.bias", NAN)]
    {
        let model = model()?;
        let variable = model.parameter(name)?.variable;
        let mut elements = variable.value().to_vec::<f32>()?;
        if let Some(last) = elements.last_mut() {
            *last = value;
        }
        variable.set(Tensor::from_vec(elements, variable.shape(), Device::Cpu)?)?;
        assert_eq!(model.first_not_finite()?.as_deref(), Some(name));
    }
    for device in super::common::DEVICES {
        // One step, whose loss is finite and whose update is not.
        let (x, y) = (Tensor::new([[1e5f32]], Device::Cpu)?, Tensor::new([[0.0f32]], Device::Cpu)?);
        let set = data::Dataset::from_tensors("large", &x, &y)?;
        let trainer = || {
            let model = Sequential::new().add(Dense::new(1).bias(false)).build([1], device)?;
            model.parameter("dense.weight")?.variable.set(Tensor::ones([1, 1], device)?)?;
            Trainer::new(model, Sgd::new(1e30), MeanSquaredError::new()).build()
        };
        let fit = || Fit::epochs(1).verbose(false);
        match trainer()?.fit(&set, fit()) {
            Err(wgrad::Error::Diverged { epoch: 1, loss, parameter, .. }) => {
                assert!(loss.is_finite(), "{loss}");
                assert_eq!(parameter.as_deref(), Some("dense.weight"));
            }
            other => panic!("{:?}", other.map(|h| h.epochs.len())),
        }
        let stopped = trainer()?.fit(&set, fit().with(wgrad::train::TerminateOnNan::new()))?;
        assert_eq!(stopped.epochs.len(), 1);
    }
    Ok(())
}
