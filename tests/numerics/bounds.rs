//! Indices outside their axis, values larger than a binding, memory.

use wgrad::Graph;
use wgrad::data::Dataset;
use wgrad::nn::Embedding;
use wgrad::prelude::*;

const DEVICES: [Device; 2] = [Device::Cpu, Device::Gpu];

/// A synchronization is told what anybody's evaluation met: the tests that make such run one by one.
fn alone() -> std::sync::MutexGuard<'static, ()> {
    static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// That the call failed as an argument outside its range does, with all of these words.
#[track_caller]
fn says<T: std::fmt::Debug>(result: Result<T>, words: &[&str]) {
    match result {
        Err(e @ Error::Argument { .. }) => {
            let text = e.to_string();
            words.iter().for_each(|w| assert!(text.contains(w), "'{text}' lacks '{w}'"));
        }
        other => panic!("{other:?} instead of an error with {words:?}"),
    }
}

/// Nothing of what went wrong is left: the device computes, and waits without an error.
#[track_caller]
fn is_well(device: Device) -> Result<()> {
    let x = Tensor::new([[1.0f32, 2.0], [3.0, 4.0], [5.0, 6.0]], device)?;
    let rows = Tensor::new([2i32, 0], device)?;
    assert_eq!(x.index_select(0, &rows)?.to_vec::<f32>()?, [5.0, 6.0, 1.0, 2.0]);
    device.synchronize()
}

fn table(device: Device) -> Result<Tensor> {
    Tensor::arange(0, 12, device)?.cast(DType::F32)?.reshape([4, 3])
}

#[test]
fn an_index_outside_reads_another_row() -> Result<()> {
    let _alone = alone();
    for device in DEVICES {
        let x = table(device)?;
        for (axis, len) in [(0, 4), (1, 3)] {
            let words = |index: &str| {
                ["index_select".into(), index.to_string(), format!("axis {axis} of length {len}")]
            };
            let check = |indices: Tensor, index: &str| {
                let words = words(index);
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                says(x.index_select(axis, &indices).and_then(|y| y.to_vec::<f32>()), &words);
                // inside of other work
                let y = ((x.index_select(axis, &indices)? * 2.0)? + 1.0)?.relu()?.sum(.., false)?;
                says(y.item::<f32>(), &words);
                let y =
                    x.index_select(axis, &indices)?.matmul(&x.index_select(axis, &indices)?.transpose()?)?;
                says(y.to_vec::<f32>(), &words);
                is_well(device)
            };
            check(Tensor::new([0i32, 1, len], device)?, &format!("index {len} "))?;
            check(Tensor::new([0i32, -1, 1], device)?, "index -1 ")?;
            check(Tensor::new([i32::MIN, 0, 1], device)?, "index -2147483648 ")?;
            check(Tensor::new([0u32, u32::MAX, 1], device)?, "index 4294967295 ")?;
            check(Tensor::new([0u8, 200, 1], device)?, "index 200 ")?;
            check(
                Tensor::from_vec(
                    (0..300).map(|i| i % 3 + 9 * (i / 299)).collect::<Vec<i32>>(),
                    [300],
                    device,
                )?,
                "index 11 ",
            )?;
            // computed ones
            check(
                (Tensor::arange(0, 3, device)? + 2.0)?,
                &format!("index {}", if len == 3 { "" } else { "4" }),
            )?;
        }
    }
    Ok(())
}

#[test]
fn a_gathered_index_outside_reads_another_row() -> Result<()> {
    let _alone = alone();
    for device in DEVICES {
        let x = table(device)?.watch()?;
        for (axis, rows, word) in [
            (1, [[0i32, 3, 1], [2, 2, 2]], "index 3"),
            (1, [[0, -3, 1], [2, 2, 2]], "index -3"),
            (0, [[0, 3, 1], [2, 2, 4]], "index 4"),
            (-2, [[0, 3, 1], [-1, 2, 0]], "index -1"),
        ] {
            let indices = Tensor::new(rows, device)?;
            let (axis_word, length) = if axis == 1 { ("axis 1", "length 3") } else { ("axis 0", "length 4") };
            let words = ["gather", axis_word, length, word];
            says(x.gather(axis, &indices).and_then(|y| y.to_vec::<f32>()), &words);
            // the gradient alone
            let y = x.gather(axis, &indices)?;
            let dx = y.square()?.sum(.., false)?.backward().and_then(|g| g.get(&x)?.to_vec::<f32>());
            says(dx, &words);
            is_well(device)?;
        }
        // What is within is read, and its gradient is right: d(sum of squares) = 2 x, twice where an element is read twice.
        let indices = Tensor::new([[0i32, 0], [2, 1]], device)?;
        let y = x.gather(1, &indices)?;
        assert_eq!(y.to_vec::<f32>()?, [0.0, 0.0, 5.0, 4.0]);
        let dx = y.square()?.sum(.., false)?.backward()?.get(&x)?.to_vec::<f32>()?;
        assert_eq!(dx, [0.0, 0.0, 0.0, 0.0, 8.0, 10.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    }
    Ok(())
}

#[test]
fn a_word_outside_the_vocabulary_is_zeros() -> Result<()> {
    let _alone = alone();
    for device in DEVICES {
        let model = Sequential::new().add(Embedding::new(5, 4)).build([3], device)?;
        let words = ["Embedding", "index_select", "axis 0", "length 5"];
        let good = Tensor::new([[0i32, 4, 1]], device)?;
        let first = model.infer(&good)?.to_vec::<f32>()?;
        for (bad, word) in [
            (Tensor::new([[0i32, 5, 1]], device)?, "index 5"),
            (Tensor::new([[-1i32, 0, 1]], device)?, "index -1"),
            (Tensor::new([[0u8, 2, 255]], device)?, "index 255"),
            (Tensor::new([[0u32, 2, 77]], device)?, "index 77"),
        ] {
            says(model.infer(&bad).and_then(|y| y.to_vec::<f32>()), &[&words[..], &[word]].concat());
            assert_eq!(model.infer(&good)?.to_vec::<f32>()?, first);
        }
    }
    Ok(())
}

#[test]
fn a_label_outside_makes_the_loss_nan() -> Result<()> {
    let _alone = alone();
    for device in DEVICES {
        let logits = table(device)?.watch()?;
        let losses = [
            SparseCategoricalCrossentropy::from_logits(),
            SparseCategoricalCrossentropy::from_probabilities(),
            SparseCategoricalCrossentropy::from_logits().label_smoothing(0.1),
            SparseCategoricalCrossentropy::from_logits().ignore_class(2),
        ];
        let bad = [
            (Tensor::new([0i32, 1, 3, 0], device)?, "label 3"),
            (Tensor::new([0i32, 1, -1, 0], device)?, "label -1"),
            (Tensor::new([0u8, 1, 3, 0], device)?, "label 3"),
            (Tensor::new([0u32, 1, 70_000, 0], device)?, "label 70000"),
        ];
        for loss in &losses {
            for (labels, word) in &bad {
                let words = ["cross_entropy", word, "3 classes", "axis 1"];
                let value = loss.compute(&logits, labels);
                says(value.and_then(|l| l.item::<f32>()), &words);
                let gradient =
                    loss.compute(&logits, labels)?.backward().and_then(|g| g.get(&logits)?.to_vec::<f32>());
                says(gradient, &words);
            }
            let good = Tensor::new([0i32, 1, 2, 0], device)?;
            assert!(loss.compute(&logits, &good)?.item::<f32>()?.is_finite());
        }
        // A class that is left out need not be one.
        for (labels, ignored) in [
            (Tensor::new([0i32, -1, 1, 0], device)?, -1),
            (Tensor::new([0u8, 255, 1, 0], device)?, 255),
            (Tensor::new([0u32, 255, 1, 0], device)?, 255),
        ] {
            let loss = SparseCategoricalCrossentropy::from_logits().ignore_class(ignored);
            assert!(loss.compute(&logits, &labels)?.item::<f32>()?.is_finite());
            device.synchronize()?;
        }
        is_well(device)?;
    }
    Ok(())
}

#[test]
fn an_error_is_of_the_values_that_it_went_into() -> Result<()> {
    let _alone = alone();
    let device = Device::Gpu;
    let (x, bad) = (table(device)?, Tensor::new([9i32], device)?);
    let words = ["index_select", "index 9", "axis 0 of length 4"];
    // again at every read
    let y = x.index_select(0, &bad)?;
    for _ in 0..3 {
        says(y.to_vec::<f32>(), &words);
    }
    // of what was computed from it before anybody was told, and of nothing else
    let (y, other) = (x.index_select(0, &bad)?, (&x + 1.0)?);
    y.eval()?;
    let z = (&y * 2.0)?;
    z.eval()?;
    assert_eq!(other.to_vec::<f32>()?[0], 1.0);
    says(z.sum(.., false)?.item::<f32>(), &words);
    is_well(device)?;
    // a synchronization, where nobody holds the value any more, or still does
    x.index_select(0, &bad)?.eval()?;
    says(device.synchronize(), &words);
    is_well(device)?;
    let y = x.index_select(0, &bad)?;
    y.eval()?;
    says(device.synchronize(), &words);
    says(y.to_vec::<f32>(), &words);
    is_well(device)?;
    // a read that does not block
    says(pollster::block_on(x.index_select(0, &bad)?.to_vec_async::<f32>()), &words);
    is_well(device)?;
    // kernel by kernel
    let y = x.index_select(0, &bad)?;
    device.profile(|| y.eval()).map(drop).or_else(|e| match e {
        Error::Argument { .. } => Ok(()),
        e => Err(e),
    })?;
    says(y.to_vec::<f32>(), &words);
    is_well(device)?;
    // recorded once, called with other indices
    let good = Tensor::new([3i32], device)?;
    let graph = Graph::trace(&[(&x).into(), (&good).into()], |inputs| {
        Ok(vec![inputs[0].index_select(0, &inputs[1])?])
    })?;
    assert_eq!(graph.call(&[&x, &good])?[0].to_vec::<f32>()?, [9.0, 10.0, 11.0]);
    says(graph.call(&[&x, &bad]).and_then(|y| y[0].to_vec::<f32>()), &words);
    is_well(device)
}

#[test]
fn many_evaluations_that_nobody_waits_for_have_their_records() -> Result<()> {
    let _alone = alone();
    let device = Device::Gpu;
    let x = table(device)?;
    let (good, bad) = (Tensor::new([3i32], device)?, Tensor::new([-7i32], device)?);
    let mut values = Vec::new();
    for i in 0..100 {
        let y = x.index_select(0, if i == 41 { &bad } else { &good })?;
        y.eval()?;
        values.push(y);
    }
    for (i, y) in values.iter().enumerate() {
        match i {
            41 => says(y.to_vec::<f32>(), &["index -7"]),
            _ => assert_eq!(
                y.to_vec::<f32>().map_err(|e| Error::argument("test", format!("{i}: {e}")))?,
                [9.0, 10.0, 11.0]
            ),
        }
    }
    // a chain
    let mut sum = x.index_select(0, &good)?;
    for i in 0..100 {
        sum = (sum + x.index_select(0, if i == 41 { &bad } else { &good })?)?;
        sum.eval()?;
    }
    says(sum.to_vec::<f32>(), &["index -7"]);
    is_well(device)
}

#[test]
fn training_on_a_label_outside_ends_in_nan() -> Result<()> {
    let _alone = alone();
    for device in DEVICES {
        let set = |last: i32| {
            let labels: Vec<i32> = (0..40).map(|i| if i == 37 { last } else { i % 3 }).collect();
            let x = Tensor::rand([40, 5], Device::Cpu, 1)?;
            Dataset::from_tensors("rows", &x, &Tensor::from_vec(labels, [40], Device::Cpu)?)
        };
        let model = Sequential::new().add(Dense::new(3)).build([5], device)?;
        let mut trainer =
            Trainer::new(model, Adam::new(1e-2), SparseCategoricalCrossentropy::from_logits()).build()?;
        let result = trainer.fit(&set(3)?, Fit::epochs(1).batch_size(8).verbose(false));
        says(result.map(drop), &["cross_entropy", "label 3", "3 classes"]);
        // and another run goes well
        let model = Sequential::new().add(Dense::new(3)).build([5], device)?;
        let mut trainer =
            Trainer::new(model, Adam::new(1e-2), SparseCategoricalCrossentropy::from_logits()).build()?;
        let history = trainer.fit(&set(2)?, Fit::epochs(1).batch_size(8).verbose(false))?;
        assert!(history.epochs.last().is_some_and(|e| e.train.loss.is_finite()));
    }
    Ok(())
}

/// The first position of the largest (smallest) of every line along an axis of `[outer, axis, inner]`.
fn first_extremes<T: PartialOrd + Copy>(x: &[T], [outer, axis, inner]: [usize; 3], min: bool) -> Vec<i32> {
    let mut places = Vec::new();
    for o in 0..outer {
        for i in 0..inner {
            let at = |a: usize| x[(o * axis + a) * inner + i];
            let better = |a: usize, b: usize| if min { at(a) < at(b) } else { at(a) > at(b) };
            places.push((1..axis).fold(0, |best, a| if better(a, best) { a } else { best }) as i32);
        }
    }
    places
}

#[test]
fn argmax_of_integers_is_refused_on_gpus() -> Result<()> {
    fn check<T: wgrad::Element + PartialOrd>(
        values: impl Fn(usize) -> T,
        dims: [usize; 3],
        device: Device,
    ) -> Result<()> {
        let data: Vec<T> = (0..dims.iter().product()).map(values).collect();
        let x = Tensor::from_slice(&data, dims, device)?;
        let what = format!("{:?} {dims:?} on {device}", x.dtype());
        assert_eq!(
            x.argmax(1, false)?.to_vec::<i32>()?,
            first_extremes(&data, dims, false),
            "argmax of {what}"
        );
        assert_eq!(
            x.argmin(1, false)?.to_vec::<i32>()?,
            first_extremes(&data, dims, true),
            "argmin of {what}"
        );
        Ok(())
    }
    // Neighbours that are one f32, both ends of the range, and many ties.
    let hash = |i: usize| (i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
    let signed = [i32::MIN, i32::MIN + 1, -1, 0, 1, 16_777_216, 16_777_217, i32::MAX - 1, i32::MAX];
    let unsigned = [0, 1, 16_777_216, 16_777_217, 1 << 31, (1 << 31) + 1, u32::MAX - 1, u32::MAX];
    for device in DEVICES {
        for dims in
            [[1, 1, 1], [2, 5, 3], [3, 7, 8], [40, 9, 1], [2, 3000, 4], [1, 40_000, 1], [1, 70_001, 3]]
        {
            check(|i| signed[hash(i) as usize % signed.len()], dims, device)?;
            check(|i| -(hash(i) as i32 % 1000), dims, device)?;
            check(|i| unsigned[hash(i) as usize % unsigned.len()], dims, device)?;
            check(|i| (hash(i) % 256) as u8, dims, device)?;
            check(|_| 7u8, dims, device)?;
        }
    }
    Ok(())
}
