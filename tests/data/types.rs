//! Element types of inputs and labels on their way from a data set to a model, and sizes that make no sense.

use wgrad::data::{Augment, Batch, Dataset, Pass, Pipeline, Source};
use wgrad::nn::{Context, Embedding, Functional, Merge, Parameters, Permute, Reshape};
use wgrad::prelude::*;

const WORDS: [[u8; 3]; 4] = [[0, 200, 3], [255, 1, 2], [7, 7, 128], [9, 250, 0]];

fn words<T: wgrad::Element>(of: impl Fn(u8) -> T) -> Result<Tensor> {
    Tensor::from_vec(WORDS.iter().flatten().map(|&w| of(w)).collect(), [4, 3], Device::Cpu)
}

/// Looks up each word's vector: the word itself and its square, both whole.
fn reader(device: Device, flat: bool) -> Result<Trainer<Model>> {
    let mut layers = Sequential::new();
    if flat {
        layers = layers.add(Reshape::new([1, 3])).add(Permute::new([1, 0])).add(Flatten::new());
    }
    let model = layers.add(Embedding::new(256, 2)).build([3], device)?;
    let table: Vec<f32> = (0..256).flat_map(|w| [w as f32, (w * w) as f32]).collect();
    model.parameters()[0].variable.set(Tensor::from_vec(table, [256, 2], device)?)?;
    Trainer::new(model, Sgd::new(0.0), MeanSquaredError::new()).build()
}

#[test]
fn tokens_that_are_bytes_became_floats_which_no_embedding_takes() -> Result<()> {
    let _alone = super::alone();
    let expected: Vec<f32> =
        WORDS.iter().flatten().flat_map(|&w| [f32::from(w), f32::from(w).powi(2)]).collect();
    for device in [Device::Cpu, Device::Gpu] {
        for (x, flat) in [
            (words(|w| w)?, false),
            (words(|w| w)?, true),
            (words(u32::from)?, false),
            (words(i32::from)?, true),
        ] {
            let what = format!("{} on {device}", x.dtype());
            let targets = Tensor::zeros([4, 3, 2], Device::Cpu)?;
            let set = Dataset::from_tensors("words", &x, &targets)?;
            let mut trainer = reader(device, flat)?;
            let samples = set.pipeline()?;
            let sources: [&dyn Source; 4] =
                [&set, &samples, &samples.clone().batch(3), &samples.clone().to_dataset()?];
            for source in sources {
                trainer.fit(source, Fit::epochs(1).batch_size(3).verbose(false))?;
                let outputs = trainer.predict_on(source)?;
                assert_eq!(outputs[0].to_vec::<f32>()?, expected, "{what}");
                // mean of the squares, in float64
                let squares: f64 = expected.iter().map(|v| f64::from(*v).powi(2)).sum();
                let loss = trainer.evaluate(source)?.loss;
                let expected = squares / expected.len() as f64;
                assert!((loss - expected).abs() < 1e-6 * expected, "{what}: {loss}, expected {expected}");
            }
            assert_eq!(trainer.predict(&x)?.to_vec::<f32>()?, expected, "{what}");
            // A loop of one's own.
            let mut found = Vec::new();
            for batch in set.batches(3, device)? {
                let (x, _) = batch?;
                assert_eq!(x.dtype(), set.features().dtype());
                found.extend(trainer.model().infer(&x)?.to_vec::<f32>()?);
            }
            assert_eq!(found, expected, "{what}");
        }
    }
    Ok(())
}

/// The sum of a sample, by a module that is no `Model`.
struct Sum(Variable);

impl Module for Sum {
    fn forward(&self, x: &Tensor, _: &Context) -> Result<Tensor> {
        (x * &self.0)?.sum(1, true)
    }
    fn visit(&self, parameters: &mut Parameters<'_>) {
        parameters.weight("one", &self.0);
    }
}

#[test]
fn bytes_are_numbers_to_whatever_computes_with_them() -> Result<()> {
    let _alone = super::alone();
    let sums: Vec<f32> = WORDS.iter().map(|w| w.iter().map(|&v| f32::from(v)).sum()).collect();
    for device in [Device::Cpu, Device::Gpu] {
        let x = words(|w| w)?;
        let set = Dataset::from_tensors("bytes", &x, &Tensor::zeros([4, 1], Device::Cpu)?)?;
        let dense = Sequential::new().add(Flatten::new()).add(Dense::new(1)).build([3], device)?;
        dense.parameters()[0].variable.set(Tensor::ones([3, 1], device)?)?;
        let model = Trainer::new(dense, Sgd::new(0.0), MeanSquaredError::new()).build()?;
        let module = Sum(Variable::new(Tensor::ones([1], device)?));
        let module = Trainer::new(module, Sgd::new(0.0), MeanSquaredError::new()).build()?;
        assert_eq!(model.predict_on(&set)?[0].to_vec::<f32>()?, sums);
        assert_eq!(module.predict_on(&set.pipeline()?)?[0].to_vec::<f32>()?, sums);
        assert_eq!(module.predict(&x)?.to_vec::<f32>()?, sums);
        let pass = Pass::new(4, device);
        for batch in set.clone().scaled(1.0).pass(&pass)? {
            assert_eq!(batch?.inputs[0].dtype(), DType::F32);
        }
        // Both at once: words and their number, of one input, which is looked up and computed with.
        let mut net = Functional::new(device);
        let input = net.input("words", [3])?;
        let vectors = net.layer(Embedding::new(256, 1), input)?;
        let vectors = net.layer(Flatten::new(), vectors)?;
        let both = net.merge(Merge::Add, &[vectors, input])?;
        let model = net.build(&[("both", both)])?;
        model.parameters()[0].variable.set(Tensor::full([256, 1], 0.5f32, device)?)?;
        let expected: Vec<f32> = WORDS.iter().flatten().map(|&w| f32::from(w) + 0.5).collect();
        assert_eq!(model.infer(&x.to_device(device)?)?.to_vec::<f32>()?, expected);
    }
    Ok(())
}

#[test]
fn negative_labels_became_large_ones() -> Result<()> {
    let _alone = super::alone();
    let labels = [2i32, -1, 0, -1, -1, 1];
    let x = Tensor::from_vec((0..12).map(|v| v as f32 / 8.0).collect(), [6, 2], Device::Cpu)?;
    let y = Tensor::new(labels, Device::Cpu)?;
    let set = Dataset::from_tensors("some unknown", &x, &y)?;
    let pairs: Vec<_> = (0..6).map(|i| ([i as f32 / 4.0, i as f32 / 4.0 + 0.125], labels[i])).collect();
    let pipeline = pairs.clone().into_iter().collect::<Pipeline<_>>().map(Ok);
    for device in [Device::Cpu, Device::Gpu] {
        let model = || Sequential::new().add(Dense::new(3)).seed(3).build([2], device);
        let loss = SparseCategoricalCrossentropy::from_logits;
        let ignoring = || Trainer::new(model()?, Sgd::new(0.1), loss().ignore_class(-1)).build();
        // By hand, over the three that count.
        let kernel = model()?.parameters()[0].variable.value().to_vec::<f32>()?;
        let mut expected = 0.0;
        for (i, &label) in labels.iter().enumerate().filter(|(_, l)| **l >= 0) {
            let x = [2 * i, 2 * i + 1].map(|v| v as f64 / 8.0);
            let logit = |k: usize| x[0] * f64::from(kernel[k]) + x[1] * f64::from(kernel[3 + k]);
            let sum: f64 = (0..3).map(|k| logit(k).exp()).sum();
            expected += (sum.ln() - logit(label as usize)) / 3.0;
        }
        let samples = Dataset::from_samples("six", pairs.clone())?;
        let batches = pipeline.clone().batch(4).prefetch(1);
        let sources: [&dyn Source; 5] = [&set, &samples, &pipeline, &batches, &set.pipeline()?];
        for source in sources {
            for batch_size in [2, 4, 6] {
                let mut trainer = ignoring()?;
                trainer.fit(source, Fit::epochs(0).batch_size(batch_size).verbose(false))?;
                let loss = trainer.evaluate(source)?.loss;
                assert!((loss - expected).abs() < 1e-6, "{device}: {loss}, expected {expected}");
            }
            let mut trainer = ignoring()?;
            let fit = Fit::epochs(2).batch_size(4).class_weights([(1, 2.0)]).verbose(false);
            let history = trainer.fit(source, fit)?;
            assert!(history.epochs[1].train.loss < history.epochs[0].train.loss);
            // Without somebody who ignores it, it is a label that is none, and says which.
            let mut strict = Trainer::new(model()?, Sgd::new(0.1), loss()).build()?;
            let fit = Fit::epochs(1).batch_size(6).shuffle(false).verbose(false);
            let message = strict.fit(source, fit).unwrap_err().to_string();
            assert!(message.contains("-1") && message.contains("3 classes"), "{device}: {message}");
        }
        // Labels on a device already.
        let batch = Batch::new(x.to_device(device)?, y.to_device(device)?);
        let made = [batch].into_iter().collect::<Pipeline<_>>();
        let loss = ignoring()?.evaluate(&made)?.loss;
        assert!((loss - expected).abs() < 1e-6, "{device}: {loss}, expected {expected}");
        // A weight for a class that the model doesn't have is a mistake.
        let fit = Fit::epochs(1).class_weights([(3, 2.0)]).verbose(false);
        let message = ignoring()?.fit(&set, fit).unwrap_err().to_string();
        assert!(message.contains("a weight for class 3") && message.contains("3 classes"), "{message}");
    }
    // Where none is negative, labels are u32 as ever.
    let pass = Pass::new(6, Device::Cpu);
    let dtype = |set: &dyn Source| Ok::<_, Error>(set.pass(&pass)?.next().unwrap()?.targets[0].dtype());
    assert_eq!(dtype(&set)?, DType::I32);
    assert_eq!(dtype(&Dataset::from_tensors("all known", &x, &y.abs()?)?)?, DType::U32);
    Ok(())
}

#[test]
fn without_an_order_of_its_own_each_epoch_was_augmented_alike() -> Result<()> {
    /// Keeps what comes in.
    struct Seen<S>(S, std::sync::Mutex<Vec<Vec<f32>>>);
    impl<S: Source> Source for Seen<S> {
        fn name(&self) -> &str {
            self.0.name()
        }
        fn pass(&self, pass: &Pass) -> Result<wgrad::data::BatchIter<'_>> {
            self.nth_pass(0, pass)
        }
        fn nth_pass(&self, number: u64, pass: &Pass) -> Result<wgrad::data::BatchIter<'_>> {
            Ok(Box::new(self.0.nth_pass(number, pass)?.map(|batch| {
                let batch = batch?;
                self.1.lock().unwrap().push(batch.inputs[0].to_vec::<f32>()?);
                Ok(batch)
            })))
        }
    }
    let _alone = super::alone();
    let images = Tensor::rand([4, 6, 6, 1], Device::Cpu, 1)?;
    let set = Dataset::from_tensors("noise", &images, &Tensor::zeros([4, 1], Device::Cpu)?)?;
    let epochs = |shuffle: bool, epochs: usize, resumed: Option<usize>| -> Result<Vec<Vec<f32>>> {
        let seen = Seen(set.clone().augmented(Augment::new().rotate(20.0)), std::sync::Mutex::default());
        let model = || Sequential::new().add(Flatten::new()).add(Dense::new(1)).build([6, 6, 1], Device::Cpu);
        let mut trainer = Trainer::new(model()?, Sgd::new(0.0), MeanSquaredError::new()).build()?;
        let fit = |n: usize| Fit::epochs(n).batch_size(4).shuffle(shuffle).verbose(false);
        trainer.fit(&seen, fit(resumed.unwrap_or(epochs)))?;
        if resumed.is_some() {
            let folder = tempfile::tempdir().map_err(|e| Error::io("temporary folder", e))?;
            let path = folder.path().join("run.safetensors");
            trainer.save_checkpoint(&path)?;
            let mut again = Trainer::new(model()?, Sgd::new(0.0), MeanSquaredError::new()).build()?;
            again.resume(&path)?;
            again.fit(&seen, fit(epochs))?;
        }
        Ok(seen.1.into_inner().unwrap())
    };
    for shuffle in [false, true] {
        let first = epochs(shuffle, 3, None)?;
        assert!(first.len() == 3 && first[0] != first[1] && first[1] != first[2] && first[0] != first[2]);
        assert_eq!(first, epochs(shuffle, 3, None)?);
        assert_eq!(first, epochs(shuffle, 3, Some(1))?);
    }
    Ok(())
}

#[test]
fn sizes_without_measure_panicked_aborted_or_waited_for_ever() -> Result<()> {
    const MAX: usize = usize::MAX;
    let numbers = |n: u32| (0..n).collect::<Pipeline<u32>>();
    let all = |p: Pipeline<u32>| p.iter().collect::<Result<Vec<u32>>>();
    let expected: Vec<u32> = (0..50).collect();
    assert_eq!(all(numbers(50).prefetch(MAX))?, expected);
    assert_eq!(all(numbers(50).prefetch(MAX / 2))?, expected);
    assert_eq!(all(numbers(50).par_map(MAX, Ok))?, expected);
    assert_eq!(all(numbers(5000).par_map(100_000, Ok))?, (0..5000).collect::<Vec<_>>());
    assert_eq!(all(numbers(50).take(MAX))?, expected);
    assert!(all(numbers(50).skip(MAX))?.is_empty());
    assert_eq!(all(numbers(50).repeat(MAX).take(50))?, expected);
    assert_eq!(all(numbers(50).chunks(MAX).flat_map(Ok))?, expected);
    assert!(all(numbers(50).chunks_exact(MAX).flat_map(Ok))?.is_empty());
    let mut shuffled = all(numbers(50).shuffle(MAX, 1))?;
    shuffled.sort_unstable();
    assert_eq!(shuffled, expected);
    // Elements of 80 kB each: no channel has room for 65,536 of them.
    let large = numbers(50).map(|i| Ok([u64::from(i); 10_000])).prefetch(MAX);
    assert_eq!(large.iter().count(), 50);
    let pairs = numbers(9).map(|i| Ok(([i as f32], i)));
    assert_eq!(pairs.clone().batch(MAX).iter().count(), 1);
    let message = |p: Pipeline<u32>| p.iter().next().map(|x| x.unwrap_err().to_string()).unwrap_or_default();
    let endless = || numbers(3).repeat_forever();
    assert!(
        message(endless().shuffle(MAX, 1)).contains("which a pipeline that never ends would fill for ever")
    );
    assert!(
        message(endless().chunks(MAX).flat_map(Ok)).contains("the batch has 18446744073709551615 elements")
    );
    assert!(message(endless().skip(MAX)).contains("of a pipeline that never ends"));
    assert!(message(endless().filter(|_| Ok(false))).contains("Pipeline::filter: dropped 4194304 elements"));
    assert!(message(endless().flat_map(|_| Ok(Vec::new()))).contains("Pipeline::flat_map: dropped"));
    let broken = endless().map(|_| Err(Error::argument("test", "no")));
    assert!(message(broken.ignore_errors()).contains("Pipeline::ignore_errors: dropped"));
    let uncountable = pairs.repeat(MAX);
    assert!(uncountable.to_dataset().unwrap_err().to_string().contains("never ends"));
    assert_eq!(Source::samples(&uncountable), None);

    let set = Dataset::from_samples("nine", (0..9).map(|i| ([i as f32], i)))?;
    assert_eq!(set.batches(MAX, Device::Cpu)?.len(), 1);
    assert_eq!((set.take(MAX)?.len(), set.skip(MAX)?.len()), (9, 0));
    assert!(set.split_at(MAX).is_err());
    for count in [MAX, MAX / 784, 1 << 50] {
        for digits in [data::synthetic::digits(count, 1, 1), data::synthetic::digits(1, count, 1)] {
            let error = digits.into_datasets().unwrap_err();
            assert!(matches!(error, Error::OutOfMemory { .. }), "{error}");
        }
    }
    Ok(())
}
