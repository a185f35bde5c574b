//! Batches, parts, and what stays together.

use super::*;
use crate::Shape;
use crate::prelude::*;

fn counting(n: usize) -> Dataset {
    let features: Vec<u8> = (0..n * 2).map(|i| i as u8).collect();
    let labels: Vec<u8> = (0..n as u8).collect();
    let d = Device::Cpu;
    let features = Tensor::from_vec(features, [n, 2], d).unwrap();
    let labels = Tensor::from_vec(labels, [n], d).unwrap();
    Dataset::from_tensors("counting", &features, &labels).unwrap().scaled(1.0)
}

fn all(batches: Batches) -> (Vec<usize>, Vec<f32>, Vec<u32>) {
    let (mut sizes, mut features, mut labels) = (Vec::new(), Vec::new(), Vec::new());
    for batch in batches {
        let (x, y) = batch.unwrap();
        sizes.push(y.numel());
        features.extend(x.to_vec::<f32>().unwrap());
        labels.extend(y.to_vec::<u32>().unwrap());
    }
    (sizes, features, labels)
}

#[test]
fn batches_hold_every_sample_once_with_its_label() {
    let set = counting(10).scaled(0.5);
    assert_eq!(set.batches(4, Device::Cpu).unwrap().len(), 3);
    let (sizes, features, labels) = all(set.batches(4, Device::Cpu).unwrap());
    assert_eq!(sizes, [4, 4, 2]);
    assert_eq!(labels, (0..10).collect::<Vec<u32>>());
    assert_eq!(features, (0..20).map(|i| i as f32 * 0.5).collect::<Vec<_>>());
    let shuffled = |seed| all(set.batches(4, Device::Cpu).unwrap().shuffled(seed).unwrap());
    let (sizes, features, labels) = shuffled(3);
    assert_eq!(sizes, [4, 4, 2]);
    for (i, &label) in labels.iter().enumerate() {
        assert_eq!(features[2 * i..2 * i + 2], [label as f32, label as f32 + 0.5]);
    }
    assert_eq!(shuffled(3).2, labels);
    assert_ne!(shuffled(4).2, labels);
    let mut sorted = labels.clone();
    sorted.sort_unstable();
    assert!(labels != sorted && sorted == (0..10).collect::<Vec<_>>());
    assert_eq!(all(set.batches(100, Device::Cpu).unwrap()).0, [10]);
    assert!(set.batches(0, Device::Cpu).is_err());
}

#[test]
fn parts_are_the_samples_they_say() {
    let set = counting(10);
    let (first, rest) = set.split_at(7).unwrap();
    assert_eq!((first.len(), rest.len(), set.take(99).unwrap().len()), (7, 3, 10));
    assert_eq!(all(rest.batches(2, Device::Cpu).unwrap()).2, [7, 8, 9]);
    assert_eq!(all(first.take(2).unwrap().batches(2, Device::Cpu).unwrap()).1, [0.0, 1.0, 2.0, 3.0]);
    let message = set.split_at(11).unwrap_err().to_string();
    assert_eq!(message, "counting: has 10 samples; it can't be split after 11");
    assert!(all(set.take(0).unwrap().batches(2, Device::Cpu).unwrap()).0.is_empty());
}

#[test]
fn features_without_labels_are_an_error() {
    let d = Device::Cpu;
    let (x, y) = (Tensor::new([[1.0f32], [2.0]], d).unwrap(), Tensor::new([1u8, 2, 3], d).unwrap());
    let message = Dataset::from_tensors("odd", &x, &y).unwrap_err().to_string();
    assert!(message.starts_with("odd: features [2, 1] and labels [3]"), "{message}");
    let set = Dataset::from_tensors("even", &x, &Tensor::new([0.5f32, 1.0], d).unwrap()).unwrap();
    let (x, y) = set.batches(2, Device::Cpu).unwrap().next().unwrap().unwrap();
    assert_eq!((x.shape(), y.to_vec::<f32>().unwrap()), (Shape::new(&[2, 1]).unwrap(), vec![0.5, 1.0]));
}

#[cfg(feature = "ndarray")]
#[test]
fn arrays_of_ndarray_are_features_and_labels() {
    let (x, y) = (ndarray::arr2(&[[1.0f32], [2.0]]), ndarray::arr1(&[1u8, 2, 3]));
    let message = Dataset::from_arrays("odd", &x, &y).unwrap_err().to_string();
    assert!(message.starts_with("odd: features [2, 1] and labels [3]"), "{message}");
    let set = Dataset::from_arrays("even", &x, &ndarray::arr1(&[0.5f32, 1.0])).unwrap();
    let (x, y) = set.batches(2, Device::Cpu).unwrap().next().unwrap().unwrap();
    assert_eq!((x.shape(), y.to_vec::<f32>().unwrap()), (Shape::new(&[2, 1]).unwrap(), vec![0.5, 1.0]));
}

#[test]
fn several_inputs_targets_and_weights_stay_together() {
    let set = counting(6).scaled(0.5);
    let ages = Tensor::new([[10.0f32], [11.0], [12.0], [13.0], [14.0], [15.0]], Device::Cpu).unwrap();
    let words = Tensor::arange(100, 106, Device::Cpu).unwrap();
    let set = set.also_input(&ages).unwrap().also_input(&words).unwrap();
    let set = set.also_target(&words).unwrap().with_weights(&ages.reshape([6]).unwrap()).unwrap();
    assert_eq!((set.inputs().len(), set.targets().len(), set.weights().is_some()), (3, 2, true));
    let check = |source: &dyn Source, shuffle| {
        let pass = Pass { batch_size: 4, shuffle, device: Device::Cpu };
        let mut seen = Vec::new();
        for batch in source.pass(&pass).unwrap() {
            let batch = batch.unwrap();
            let labels = batch.targets[0].to_vec::<u32>().unwrap();
            let features = batch.inputs[0].to_vec::<f32>().unwrap();
            let ages = batch.inputs[1].to_vec::<f32>().unwrap();
            let words = batch.inputs[2].to_vec::<i32>().unwrap();
            let (second, weights) = (batch.targets[1].to_vec::<u32>().unwrap(), batch.weights.unwrap());
            let weights = weights.to_vec::<f32>().unwrap();
            for (i, &label) in labels.iter().enumerate() {
                assert_eq!(features[2 * i], label as f32); // 2 * label * 0.5
                assert_eq!((ages[i], weights[i]), (10.0 + label as f32, 10.0 + label as f32));
                assert_eq!((words[i] as u32, second[i]), (100 + label, 100 + label));
            }
            seen.extend(labels);
        }
        seen
    };
    assert_eq!(check(&set, None), [0, 1, 2, 3, 4, 5]);
    assert_eq!(check(&set.pipeline().unwrap(), None), [0, 1, 2, 3, 4, 5]);
    assert_eq!(check(&set.pipeline().unwrap().to_dataset().unwrap(), None), [0, 1, 2, 3, 4, 5]);
    let mut shuffled = check(&set, Some(3));
    assert_ne!(shuffled, [0, 1, 2, 3, 4, 5]);
    shuffled.sort_unstable();
    assert_eq!(shuffled, [0, 1, 2, 3, 4, 5]);
    // parts and orders in memory
    assert_eq!(check(&set.skip(2).unwrap().take(3).unwrap(), None), [2, 3, 4]);
    let again = set.take(2).unwrap().concat(&set.skip(2).unwrap()).unwrap();
    assert_eq!(check(&again, None), [0, 1, 2, 3, 4, 5]);
    let order = check(&set.shuffled(5).unwrap(), None);
    assert_eq!(order, crate::seed::permutation(6, 5));
    // pairs are for one input and one target
    let message = set.batches(2, Device::Cpu).unwrap().next().unwrap().unwrap_err().to_string();
    assert!(message.contains("3 inputs and 2 targets"), "{message}");
    assert!(set.concat(&counting(3)).is_err());
    let message = counting(6).also_target(&Tensor::zeros([5], Device::Cpu).unwrap()).unwrap_err();
    assert!(message.to_string().contains("[6, ..]"), "{message}");
    assert!(counting(6).with_weights(&ages).is_err() && counting(6).with_targets(&[]).is_err());
}

#[test]
fn the_last_part_is_for_validation() {
    let labels = |set: &Dataset| set.labels().to_vec::<u8>().unwrap();
    let (train, validation) = counting(10).validation_split(0.25).unwrap();
    assert_eq!((labels(&train), labels(&validation)), ((0..7).collect(), vec![7, 8, 9]));
    for fraction in [0.0, 1.0, -0.5, f64::NAN] {
        assert!(counting(10).validation_split(fraction).is_err(), "{fraction}");
    }
}

#[test]
fn data_without_labels_go_everywhere_but_to_a_loss() {
    let x = Tensor::from_vec((0..12).map(|v| v as f32).collect(), [6, 2], Device::Cpu).unwrap();
    let set = Dataset::unlabeled("new", &x).unwrap();
    assert_eq!((set.len(), set.targets().len(), set.labels().dims()), (6, 0, &[0][..]));
    assert_eq!(set.shuffled(1).unwrap().concat(&set.take(2).unwrap()).unwrap().len(), 8);
    let batch = set.pass(&Pass::new(4, Device::Cpu)).unwrap().next().unwrap().unwrap();
    assert!(batch.targets.is_empty() && batch.samples() == 4);
    let again = set.pipeline().unwrap().map(|s| s.map_input(|x| x * 2.0)).to_dataset().unwrap();
    assert_eq!(again.features().to_vec::<f32>().unwrap()[11], 22.0);
    assert!(set.map_labels(|y| Ok(y.clone())).unwrap_err().to_string().contains("no labels"));
    let labeled = set.with_targets(&[&Tensor::zeros([6], Device::Cpu).unwrap()]).unwrap();
    assert_eq!(labeled.labels().dims(), [6]);
    let none = Dataset::from_tensor_slices("none", &[&x], &[]).unwrap_err().to_string();
    assert!(none.contains("Dataset::unlabeled"), "{none}");
    let samples =
        Dataset::from_samples("texts", [crate::data::Sample::unlabeled([1.0f32]).unwrap()]).unwrap();
    assert!(samples.targets().is_empty());
}

#[test]
fn what_is_mapped_keeps_its_rows_and_names() {
    let x = Tensor::from_vec((0..12).map(|v| v as u8).collect(), [6, 2], Device::Cpu).unwrap();
    let y = Tensor::zeros([6], Device::Cpu).unwrap();
    let set = Dataset::from_tensors("bytes", &x, &y).unwrap().scaled(0.5).with_classes(&["a", "b"]);
    // What is mapped is what a batch would have: scaled, and not once more afterwards.
    let mapped = set.map_features(|x| x + 1.0).unwrap();
    assert_eq!(mapped.features().to_vec::<f32>().unwrap()[..3], [1.0, 1.5, 2.0]);
    let batch = mapped.pass(&Pass::new(2, Device::Cpu)).unwrap().next().unwrap().unwrap();
    assert_eq!(batch.inputs[0].to_vec::<f32>().unwrap(), [1.0, 1.5, 2.0, 2.5]);
    assert_eq!(Source::classes(&mapped), ["a", "b"]);
    let fewer = set.map_features(|x| x.slice(0, 0, 3)).unwrap_err().to_string();
    assert!(fewer.contains("the mapped input [3, 2]") && fewer.contains("[6, ..]"), "{fewer}");
    assert!(set.map_inputs(|_| Ok(Vec::new())).is_err());
    assert!(set.map_labels(|y| y.slice(0, 0, 1)).is_err());
}

#[test]
fn samples_are_chosen_by_place() {
    let set = counting(6).scaled(0.5).with_classes(&["a", "b", "c", "d", "e", "f"]);
    let set = set.with_weights(&Tensor::arange(0, 6, Device::Cpu).unwrap()).unwrap();
    let chosen = set.select(&[4, 1, 4]).unwrap();
    assert_eq!(chosen.labels().to_vec::<u8>().unwrap(), [4, 1, 4]);
    assert_eq!(chosen.weights().unwrap().to_vec::<f32>().unwrap(), [4.0, 1.0, 4.0]);
    assert_eq!((chosen.classes().len(), chosen.name()), (6, "counting"));
    // on a device, as a step sees them; the stored bytes are what they were
    for device in [Device::Cpu, Device::Gpu] {
        let batch = chosen.to_batch(device).unwrap();
        assert_eq!(batch.inputs[0].to_vec::<f32>().unwrap(), [4.0, 4.5, 1.0, 1.5, 4.0, 4.5]);
        assert_eq!(batch.targets[0].to_vec::<u32>().unwrap(), [4, 1, 4]);
        assert_eq!(batch.weights.unwrap().to_vec::<f32>().unwrap(), [4.0, 1.0, 4.0]);
        let features = chosen.scaled_features(device).unwrap();
        assert_eq!((features.device(), features.to_vec::<f32>().unwrap()[1]), (device, 4.5));
    }
    assert_eq!(chosen.features().to_vec::<u8>().unwrap(), [8, 9, 2, 3, 8, 9]);
    let none = set.select(&[]).unwrap();
    for device in [Device::Cpu, Device::Gpu] {
        assert_eq!((none.len(), none.to_batch(device).unwrap().samples()), (0, 0));
        assert!(none.scaled_features(device).unwrap().to_vec::<f32>().unwrap().is_empty());
    }
    let message = set.select(&[0, 6]).unwrap_err().to_string();
    assert_eq!(message, "counting: select: there is no sample 6; it has 6 samples");
    // without a scale, bytes stay bytes
    let plain = Dataset::unlabeled("bytes", set.features()).unwrap();
    assert_eq!(plain.scaled_features(Device::Cpu).unwrap().dtype(), DType::U8);
    assert!(plain.to_batch(Device::Cpu).unwrap().targets.is_empty());
}

#[test]
fn samples_are_chosen_by_class() {
    let x = Tensor::arange(0, 6, Device::Cpu).unwrap();
    let set = |labels: &[i32]| {
        let labels = Tensor::from_slice(labels, [6], Device::Cpu).unwrap();
        Dataset::from_tensors("things", &x, &labels).unwrap()
    };
    let labels = |set: &Dataset| set.labels().to_vec::<i32>().unwrap();
    let places = |set: &Dataset| set.features().to_vec::<i32>().unwrap();
    let mixed = set(&[2, 0, -1, 1, 2, 7]);
    let kept = mixed.of_classes([2, 1]).unwrap();
    assert_eq!((labels(&kept), places(&kept), kept.classes().len()), (vec![2, 1, 2], vec![0, 3, 4], 0));
    let anew = mixed.of_classes_renumbered([2, 1]).unwrap();
    assert_eq!((labels(&anew), places(&anew)), (vec![0, 1, 0], vec![0, 3, 4]));
    assert_eq!(anew.classes(), ["2", "1"]);
    // More classes than bytes can number.
    let bytes = mixed.map_labels(|y| y.maximum(0)?.cast(DType::U8)).unwrap();
    let anew = |first: usize| bytes.of_classes_renumbered((0..first).rev()).unwrap();
    assert_eq!(anew(256).labels().to_vec::<u8>().unwrap(), [253, 255, 255, 254, 253, 248]);
    assert_eq!(anew(300).labels().to_vec::<u32>().unwrap(), [297, 299, 299, 298, 297, 292]);
    let named = set(&[2, 0, 1, 1, 2, 0]).with_classes(&["a", "b", "c"]);
    assert_eq!(named.of_classes([1]).unwrap().classes(), ["a", "b", "c"]);
    assert_eq!(named.of_classes_renumbered([2, 0]).unwrap().classes(), ["c", "a"]);
    // a class without samples is no error where it may be one; nothing chosen is nothing
    assert_eq!(mixed.of_classes([5]).unwrap().len(), 0);
    assert_eq!(mixed.of_classes([]).unwrap().len(), 0);
    let message = named.of_classes([3]).unwrap_err().to_string();
    assert_eq!(message, "things: of_classes: there is no class 3; it has 3 classes");
    let message = mixed.of_classes(1..).unwrap_err().to_string();
    assert_eq!(message, "things: of_classes: got more than 65536 classes; of a range say where it ends");
    let message = mixed.of_classes_renumbered([1, 1]).unwrap_err().to_string();
    assert_eq!(message, "things: of_classes_renumbered: class 1 is given twice");
    let rows = mixed.map_labels(|y| y.maximum(0)?.one_hot(8)).unwrap();
    let message = rows.of_classes([1]).unwrap_err().to_string();
    assert!(message.contains("the labels are f32 [6, 8]; expected integers [6]"), "{message}");
    assert!(Dataset::unlabeled("new", &x).unwrap().of_classes([1]).is_err());
}
