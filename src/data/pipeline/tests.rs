//! Order, randomness, errors, threads.

use super::*;
use crate::data::{Pass, Sample, Source};
use crate::device::Device;
use crate::dtype::DType;
use crate::nn::{Dense, Model, Module, Sequential, SparseCategoricalCrossentropy};
use crate::optim::Adam;
use crate::tensor::Tensor;
use crate::train::{Fit, Trainer};
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

fn numbers(n: u32) -> Pipeline<u32> {
    (0..n).collect()
}

fn all<T: Send + 'static>(pipeline: &Pipeline<T>) -> Vec<T> {
    pipeline.iter().collect::<Result<_>>().unwrap()
}

/// What a pass gives, with errors as text.
fn words(pipeline: &Pipeline<u32>) -> Vec<String> {
    pipeline.iter().map(|x| x.map_or_else(|e| e.to_string(), |x| x.to_string())).collect()
}

fn odd(x: &u32) -> Result<bool> {
    Ok(x % 2 == 1)
}

#[test]
fn stages_keep_order_and_know_their_length() {
    fn check<T: Send + PartialEq + fmt::Debug + 'static>(pipeline: Pipeline<T>, expected: Vec<T>) {
        // every pass is the same
        for _ in 0..2 {
            assert_eq!(all(&pipeline), expected);
        }
        if pipeline.cardinality() != Cardinality::Unknown {
            assert_eq!(pipeline.cardinality(), Cardinality::Finite(expected.len()));
        }
    }
    check(numbers(4).map(|x| Ok(x * x)), vec![0, 1, 4, 9]);
    check(numbers(40).par_map(3, |x| Ok(x + 1)), (1..41).collect());
    check(numbers(40).par_map(0, |x| Ok(x + 1)), (1..41).collect());
    check(numbers(6).filter(odd), vec![1, 3, 5]);
    check(numbers(3).flat_map(|x| Ok(vec![x; x as usize])), vec![1, 2, 2]);
    check(numbers(6).take(2), vec![0, 1]);
    check(numbers(2).take(6), vec![0, 1]);
    check(numbers(6).skip(4), vec![4, 5]);
    check(numbers(2).skip(4), vec![]);
    check(numbers(2).repeat(3), vec![0, 1, 0, 1, 0, 1]);
    check(numbers(2).repeat(0), vec![]);
    check(numbers(2).repeat_forever().take(5), vec![0, 1, 0, 1, 0]);
    check(numbers(0).repeat_forever(), vec![]);
    // what turns out to be empty ends, whatever was thought
    assert!(all(&numbers(9).filter(|_| Ok(false)).repeat_forever()).is_empty());
    check(numbers(3).chain(numbers(2)), vec![0, 1, 2, 0, 1]);
    check(numbers(3).zip(numbers(5).skip(3)), vec![(0, 3), (1, 4)]);
    check(numbers(2).zip(numbers(1).repeat_forever()), vec![(0, 0), (1, 0)]);
    check(numbers(5).skip(3).enumerate(), vec![(0, 3), (1, 4)]);
    check(numbers(5).chunks(2), vec![vec![0, 1], vec![2, 3], vec![4]]);
    check(numbers(5).chunks_exact(2), vec![vec![0, 1], vec![2, 3]]);
    check(numbers(5).chunks(9), vec![vec![0, 1, 2, 3, 4]]);
    check(numbers(100).prefetch(3), (0..100).collect());
    check(numbers(3).prefetch(0), vec![0, 1, 2]);
    check(Pipeline::generate("three", || [1u32, 2, 3].map(Ok)), vec![1, 2, 3]);
    check(Pipeline::generate("three", || [1u32, 2, 3].map(Ok)).with_len(3), vec![1, 2, 3]);
    assert_eq!(numbers(1).repeat_forever().chunks(2).cardinality(), Cardinality::Infinite);
    assert_eq!(format!("{:?}", numbers(2).named("two")), "Pipeline(two: Finite(2))");
}

#[test]
fn every_pass_has_an_order_of_its_own_and_every_element_once() {
    let order = |p: &Pipeline<u32>, pass| p.epoch(pass).collect::<Result<Vec<_>>>().unwrap();
    for buffer in [2, 10, 50, 1000] {
        let shuffled = numbers(50).shuffle(buffer, 7);
        let (first, second) = (order(&shuffled, 0), order(&shuffled, 1));
        assert_ne!(first, second);
        assert_eq!(first, order(&shuffled, 0));
        assert_ne!(first, order(&numbers(50).shuffle(buffer, 8), 0));
        for list in [&first, &second] {
            assert_eq!(list.iter().copied().collect::<BTreeSet<_>>().len(), 50);
            // nothing comes before it can be in the buffer
            assert!(list.iter().enumerate().all(|(place, &x)| (x as usize) < place + buffer));
        }
        let once = numbers(50).shuffle_once(buffer, 7);
        assert_eq!(order(&once, 0), order(&once, 1));
    }
    assert_eq!(order(&numbers(50).shuffle(1, 7), 0), (0..50).collect::<Vec<_>>());
    // The rounds of a repetition differ, and the first is the pass itself.
    let rounds = order(&numbers(50).shuffle(50, 7).repeat(2), 3);
    assert_eq!(rounds[..50], order(&numbers(50).shuffle(50, 7), 3)[..]);
    assert_ne!(rounds[..50], rounds[50..]);
    // Both sides of a zip are told the same pass.
    let p = numbers(50).shuffle(50, 7);
    assert!(p.clone().zip(p).epoch(4).all(|pair| pair.is_ok_and(|(a, b)| a == b)));
}

#[test]
fn a_full_buffer_gives_every_order_equally_often() {
    let shuffled = numbers(4).shuffle(4, 3);
    let mut counts: HashMap<Vec<u32>, u32> = HashMap::new();
    for pass in 0..24_000 {
        *counts.entry(shuffled.epoch(pass).collect::<Result<_>>().unwrap()).or_default() += 1;
    }
    // chi squared of 23 degrees
    let chi: f64 = counts.values().map(|&c| (f64::from(c) - 1000.0).powi(2) / 1000.0).sum();
    assert!(counts.len() == 24 && chi < 60.0, "{} orders, chi squared {chi}", counts.len());
}

fn fails_at_3(x: u32) -> Result<u32> {
    if x == 3 { Err(Error::data("three", "is no good")) } else { Ok(x) }
}

#[test]
fn an_error_comes_in_the_place_of_its_element() {
    let expected = ["0", "1", "2", "three: is no good", "4"];
    assert_eq!(words(&numbers(5).map(fails_at_3)), expected);
    assert_eq!(words(&numbers(5).par_map(2, fails_at_3)), expected);
    assert_eq!(words(&numbers(5).map(fails_at_3).par_map(2, Ok)), expected);
    assert_eq!(words(&numbers(5).map(fails_at_3).prefetch(2)), expected);
    assert_eq!(words(&numbers(5).map(fails_at_3).cache()), expected);
    assert_eq!(words(&numbers(5).filter(|&x| fails_at_3(x).map(|_| true))), expected);
    assert_eq!(words(&numbers(5).flat_map(|x| Ok(vec![fails_at_3(x)?]))), expected);
    assert_eq!(words(&numbers(5).map(fails_at_3).ignore_errors()), ["0", "1", "2", "4"]);
    // what is skipped is no hiding place
    assert_eq!(words(&numbers(5).map(fails_at_3).skip(4)), ["three: is no good"]);
    assert!(numbers(5).map(fails_at_3).shuffle(2, 1).iter().any(|x| x.is_err()));
    assert!(numbers(5).map(fails_at_3).chunks(2).iter().collect::<Result<Vec<_>>>().is_err());
}

#[test]
fn a_panic_comes_out_as_an_error() {
    let panics = |x: u32| if x == 1 { panic!("no {x}") } else { Ok(x) };
    for (pipeline, stage) in [
        (numbers(3).map(panics), "map"),
        (numbers(3).par_map(2, panics), "par_map"),
        (numbers(3).filter(move |&x| panics(x).map(|_| true)), "filter"),
        (numbers(3).map(panics).prefetch(1), "map"),
    ] {
        let expected =
            ["0".to_string(), format!("Pipeline::{stage}: the closure panicked: no 1"), "2".into()];
        assert_eq!(words(&pipeline), expected);
    }
    // An iterator that has panicked is not asked again.
    let broken = Pipeline::generate("broken", move || (0..3).map(panics));
    assert_eq!(words(&broken).len(), 2);
    assert_eq!(words(&broken.clone().prefetch(2)).len(), 2);
    let never = Pipeline::<u32>::generate("never", || -> Vec<Result<u32>> { panic!("not today") });
    assert!(words(&never)[0].contains("not today"));
}

#[test]
fn sizes_that_make_no_sense_are_errors() {
    let message = |p: &Pipeline<u32>| words(p).join(" ");
    assert!(message(&numbers(3).shuffle(0, 1)).contains("at least 1"));
    assert!(numbers(3).chunks(0).iter().next().unwrap().unwrap_err().to_string().contains("at least 1"));
    assert!(message(&numbers(3).with_len(4)).ends_with("4 elements were promised, 3 came"));
    assert!(message(&numbers(3).with_len(2)).ends_with("2 elements were promised, more came"));
}

#[test]
fn a_cache_runs_what_is_before_it_once() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = calls.clone();
    let cached = numbers(10)
        .map(move |x| {
            counter.fetch_add(1, Ordering::Relaxed);
            Ok(x * 2)
        })
        .cache();
    // A pass that is broken off keeps nothing.
    assert_eq!(cached.iter().take(4).count(), 4);
    for calls_then in [14, 14] {
        assert_eq!(all(&cached), (0..20).step_by(2).collect::<Vec<_>>());
        assert_eq!(calls.load(Ordering::Relaxed), calls_then);
    }
    // What comes after it is still anew in each pass.
    let shuffled = cached.shuffle(10, 1);
    assert_ne!(
        shuffled.epoch(0).collect::<Result<Vec<_>>>().unwrap(),
        shuffled.epoch(1).collect::<Result<Vec<_>>>().unwrap()
    );
    assert_eq!(calls.load(Ordering::Relaxed), 14);
}

#[test]
fn prefetch_makes_so_many_ahead_and_its_thread_ends_with_the_iterator() {
    let made = Arc::new(AtomicUsize::new(0));
    let counter = made.clone();
    let endless = numbers(1).repeat_forever().map(move |x| {
        counter.fetch_add(1, Ordering::Relaxed);
        Ok(x)
    });
    // the test's handle, and the closure's
    assert_eq!(Arc::strong_count(&made), 2);
    let ahead = endless.prefetch(3);
    let mut items = ahead.iter();
    while made.load(Ordering::Relaxed) < 3 {
        std::thread::yield_now();
    }
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(made.load(Ordering::Relaxed), 3);
    assert!(items.next().is_some());
    drop(items);
    // Joined: the thread's count doesn't move any more, and dropping the pipeline drops the closure.
    let after = made.load(Ordering::Relaxed);
    assert!(after <= 5, "{after}");
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(made.load(Ordering::Relaxed), after);
    drop(ahead);
    assert_eq!(Arc::strong_count(&made), 1);
}

#[test]
fn par_map_works_on_several_threads_that_end_with_the_iterator() {
    let token = Arc::new(());
    let held = token.clone();
    let here = numbers(1000).repeat_forever().par_map(3, move |_| {
        let _held = &held;
        Ok(std::thread::current().id())
    });
    let mut items = here.iter();
    let threads: BTreeSet<String> = (&mut items).take(9).map(|id| format!("{:?}", id.unwrap())).collect();
    assert_eq!(threads.len(), 3);
    assert!(!threads.contains(&format!("{:?}", std::thread::current().id())));
    drop(items);
    drop(here);
    assert_eq!(Arc::strong_count(&token), 1);
}

#[test]
fn tensor_operations_in_threads_and_in_training_get_on_with_each_other() {
    let source = numbers(64).par_map(4, |i| {
        let x = Tensor::rand([32], Device::Cpu, u64::from(i))?;
        Ok(((x * 2.0)?.sum(.., true)?, i % 2))
    });
    let source = source.batch(8).prefetch(2);
    let model = Sequential::new().add(Dense::new(2)).build([1], Device::Cpu).unwrap();
    let mut trainer =
        Trainer::new(model, Adam::new(1e-2), SparseCategoricalCrossentropy::from_logits()).build().unwrap();
    let history = trainer.fit(&source, Fit::epochs(3).verbose(false)).unwrap();
    assert_eq!(history.epochs[2].train.samples, 64);
}

#[test]
fn batches_have_all_samples_once_and_the_last_may_be_smaller() {
    let samples = numbers(7).map(|i| Ok(([i as f32, -(i as f32)], i, 0.5 * i as f32)));
    let batches = samples.clone().batch(3);
    assert_eq!(batches.cardinality(), Cardinality::Finite(3));
    let list = all(&batches);
    assert_eq!(list.iter().map(Batch::samples).collect::<Vec<_>>(), [3, 3, 1]);
    assert_eq!(list[1].inputs[0].to_vec::<f32>().unwrap(), [3.0, -3.0, 4.0, -4.0, 5.0, -5.0]);
    assert_eq!(list[2].targets[0].to_vec::<u32>().unwrap(), [6]);
    assert_eq!(list[0].weights.as_ref().unwrap().to_vec::<f32>().unwrap(), [0.0, 0.5, 1.0]);
    let exact = all(&samples.clone().batch_exact(3));
    assert_eq!(exact.iter().map(Batch::samples).collect::<Vec<_>>(), [3, 3]);
    let single = all(&batches.unbatch());
    assert_eq!(single.len(), 7);
    assert_eq!(single[6].input().unwrap().to_vec::<f32>().unwrap(), [6.0, -6.0]);
    assert_eq!((single[5].target().unwrap().item::<u32>().unwrap(), single[5].weight), (5, Some(2.5)));
    let set = samples.to_dataset().unwrap();
    assert_eq!((set.len(), set.sample_shape()), (7, &[2][..]));
    assert!(numbers(0).map(|i| Ok((i, i))).to_dataset().is_err());
    assert!(numbers(1).map(|i| Ok((i, i))).repeat_forever().to_dataset().is_err());
}

#[test]
fn samples_that_differ_say_which_and_how() {
    let ragged = numbers(5).map(|i| Ok((vec![1.0f32; 2 + usize::from(i == 3)], i)));
    let mut batches = ragged.batch(5).iter();
    let message = batches.next().unwrap().unwrap_err().to_string();
    assert_eq!(
        message,
        "batch: input 0 of sample 3 of the batch is f32 [3], that of the first is f32 [2]; make them equal with map \
         (resize, pad, crop or cast) before batch"
    );
    let uneven = numbers(3).map(|i| {
        let sample = Sample::new(1.0f32, i)?;
        if i == 1 { Ok(sample.weighted(2.0)) } else { sample.also_target(i) }
    });
    let message = uneven.batch(3).iter().next().unwrap().unwrap_err().to_string();
    assert!(message.contains("sample 1 of the batch has 1 inputs, 1 targets and a weight"), "{message}");
    // bytes stay bytes: what looks them up takes them so, and all else as numbers
    let bytes = numbers(2).map(|i| Ok((Tensor::full([2], 9u8, Device::Cpu)?, i))).batch(2);
    assert_eq!(all(&bytes)[0].inputs[0].dtype(), DType::U8);
    let pass = Pass { batch_size: 1, shuffle: None, device: Device::Cpu };
    let batch = bytes.pass(&pass).unwrap().next().unwrap().unwrap();
    assert_eq!(batch.inputs[0].to_vec::<u8>().unwrap(), [9; 4]);
}

fn model() -> Model {
    let layers = Sequential::new().add(crate::nn::Flatten::new()).add(Dense::new(10)).seed(4);
    layers.build([28, 28, 1], Device::Cpu).unwrap()
}

/// The bits of the weights after two epochs.
fn trained(source: &dyn Source, shuffle: bool) -> Vec<u32> {
    let mut trainer =
        Trainer::new(model(), Adam::new(1e-2), SparseCategoricalCrossentropy::from_logits()).build().unwrap();
    trainer.fit(source, Fit::epochs(2).batch_size(16).shuffle(shuffle).seed(3).verbose(false)).unwrap();
    let parameters = trainer.model().parameters();
    parameters.iter().flat_map(|p| p.variable.value().to_vec::<f32>().unwrap()).map(f32::to_bits).collect()
}

#[test]
fn fitting_a_pipeline_and_a_data_set_in_one_order_gives_the_same_bits() {
    let (set, _) = crate::data::synthetic::digits(100, 1, 2).into_datasets().unwrap();
    let expected = trained(&set, false);
    let pipeline = set.pipeline().unwrap();
    assert_eq!(trained(&pipeline, false), expected);
    // batched by hand, the trainer's batch size has no say; threads change nothing
    let threaded = pipeline.clone().par_map(3, Ok).batch(16).prefetch(2);
    assert_eq!(threaded.steps(99), Some(7));
    assert_eq!(trained(&threaded, true), expected);
    // and through memory again
    assert_eq!(trained(&pipeline.to_dataset().unwrap(), false), expected);
    // Shuffled: the same each time, and not that.
    let shuffled = pipeline.shuffle(100, 1).batch(16);
    assert_eq!(trained(&shuffled, true), trained(&shuffled, true));
    assert_ne!(trained(&shuffled, true), expected);
}

#[test]
fn an_error_ends_the_fit_and_names_its_cause() {
    let source = numbers(50).map(|i| Ok(([fails_at_3(i)? as f32], i % 2)));
    let model = Sequential::new().add(Dense::new(2)).build([1], Device::Cpu).unwrap();
    let mut trainer =
        Trainer::new(model, Adam::new(1e-2), SparseCategoricalCrossentropy::from_logits()).build().unwrap();
    let error = trainer.fit(&source, Fit::epochs(1).batch_size(2).verbose(false)).unwrap_err();
    assert_eq!(error.to_string(), "three: is no good");
}
