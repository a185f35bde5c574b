//! Files that are small and say that they are large.

use super::*;
use flate2::{Compression, write::GzEncoder};
use std::io::{Read, Write};
use std::time::{Duration, Instant};
use wgrad::data::{cifar10, idx::IdxArray};
use wgrad::io::{Metadata, save_tensors_with};
use wgrad::nn::{BatchNorm, Embedding, Initializer, Layer};

/// That reading fails, with these words, in no more time than is needed to see it.
fn refused<T>(read: impl FnOnce() -> Result<T>, words: &[&str]) {
    let began = Instant::now();
    let message = message(read());
    for word in words {
        assert!(message.contains(word), "no {word:?} in {message:?}");
    }
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

/// So many zero bytes after others, gzipped.
fn gzip(start: &[u8], zeros: u64) -> Vec<u8> {
    let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
    gz.write_all(start).unwrap();
    std::io::copy(&mut std::io::repeat(0).take(zeros), &mut gz).unwrap();
    gz.finish().unwrap()
}

#[test]
fn a_gzipped_idx_file_of_two_megabytes_became_two_gigabytes() {
    let header = [0, 0, 8, 1, 0x20, 0, 0, 0];
    let bomb = gzip(&header, 0x2000_0000);
    assert!(bomb.len() < 4_000_000);
    refused(|| IdxArray::parse("labels.gz", &bomb), &["labels.gz", "unpacks to more than"]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("labels.gz");
    std::fs::write(&path, &bomb).unwrap();
    refused(|| IdxArray::read(&path), &["labels.gz", "unpacks to more than"]);
    // What compresses as well, and is no larger than small files may be, is read.
    let honest = gzip(&[0, 0, 8, 1, 0x08, 0, 0, 0], 0x0800_0000);
    assert_eq!(IdxArray::parse("labels.gz", &honest).unwrap().data.len(), 0x0800_0000);
}

const FILES: [&str; 6] = [
    "data_batch_1.bin",
    "data_batch_2.bin",
    "data_batch_3.bin",
    "data_batch_4.bin",
    "data_batch_5.bin",
    "test_batch.bin",
];

/// A header of tar (POSIX ustar, with GNU's fields where `sparse` says how large the file is).
fn tar_header(name: &str, size: u64, sparse: Option<u64>) -> [u8; 512] {
    fn octal(field: &mut [u8], value: u64) {
        let digits = field.len() - 1;
        field[..digits].copy_from_slice(format!("{value:0digits$o}").as_bytes());
    }
    let mut header = [0; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    octal(&mut header[100..108], 0o644);
    octal(&mut header[124..136], size);
    header[156] = if sparse.is_some() { b'S' } else { b'0' };
    header[257..265].copy_from_slice(b"ustar  \0");
    if let Some(real) = sparse {
        octal(&mut header[386..398], real - size);
        octal(&mut header[398..410], size);
        octal(&mut header[483..495], real);
    }
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|&b| u32::from(b)).sum();
    octal(&mut header[148..155], u64::from(sum));
    header
}

#[test]
fn sparse_and_bombed_archives_of_cifar10_took_all_memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cifar-10-binary.tar.gz");
    let load = |tar: &[u8], zeros: u64| {
        std::fs::write(&path, gzip(tar, zeros)).unwrap();
        cifar10::load_from(folder.path())
    };
    // As archives are, with a record in each file: all zeros is an airplane.
    let member = |name: &str| [&tar_header(name, 3073, None)[..], &[0; 3584]].concat();
    let whole: Vec<u8> = FILES.iter().flat_map(|name| member(name)).collect();
    let (train, test) = load(&whole, 1024).unwrap();
    assert_eq!((train.len(), test.len()), (5, 1));
    // A sparse file that says 6 GB, with 512 bytes behind it.
    let sparse = [&tar_header(FILES[0], 512, Some(3073 * 2_000_000))[..], &[0; 512]].concat();
    refused(|| load(&sparse, 1024), &["cifar-10-binary.tar.gz", "more memory than its size explains"]);
    // One that is there, compressed a thousand times; and one that nobody asked for.
    let large = tar_header(FILES[0], 512 << 20, None);
    refused(|| load(&large, 512 << 20), &["cifar-10-binary.tar.gz", "more memory than its size explains"]);
    let other = [&whole[..], &tar_header("notes.txt", 512 << 20, None)].concat();
    refused(|| load(&other, 512 << 20), &["cifar-10-binary.tar.gz", "unpacks to more than"]);
    // The check sum stands at the end.
    let mut damaged = gzip(&whole, 1024);
    let at = damaged.len() - 6;
    damaged[at] ^= 1;
    std::fs::write(&path, damaged).unwrap();
    refused(|| cifar10::load_from(folder.path()), &["cifar-10-binary.tar.gz", "damaged archive"]);
}

/// A model file of nothing but an architecture.
fn model_file(path: &Path, layers: &[Value], input: &[u64]) {
    let mut nodes = vec![serde_json::json!({ "name": "input", "inputs": [], "input": input })];
    for (i, layer) in layers.iter().enumerate() {
        nodes.push(serde_json::json!({ "name": format!("layer_{i}"), "inputs": [i], "layer": layer }));
    }
    let outputs = serde_json::json!([{ "name": "output", "node": layers.len() }]);
    let architecture = serde_json::json!({ "nodes": nodes, "outputs": outputs });
    let metadata = Metadata::from([("wgrad.architecture".to_string(), architecture.to_string())]);
    save_tensors_with(path, &[], &metadata).unwrap();
}

fn described(layer: impl Layer) -> Value {
    serde_json::json!({ "kind": layer.kind(), "config": layer.config().unwrap() })
}

#[test]
fn a_model_file_of_half_a_kilobyte_took_16_gigabytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let gain = Initializer::Orthogonal { gain: 1.0 };
    let layers: [(Value, &[u64], &str); 6] = [
        (described(Dense::new(65_000)), &[65_000], "layer_0.weight [65000, 65000] is not in the file"),
        (described(Dense::new(65_000).kernel_initializer(gain)), &[65_000], "layer_0.weight"),
        (described(Embedding::new(4_000_000, 1000)), &[3], "layer_0.weight [4000000, 1000]"),
        (described(BatchNorm::new()), &[4_000_000_000], "layer_0.moving_mean [4000000000]"),
        (described(Conv2d::new(60_000, [1, 1])), &[1, 1, 60_000], "layer_0.weight [1, 1, 60000, 60000]"),
        (described(wgrad::nn::PRelu::new()), &[60_000, 60_000], "layer_0.alpha [60000, 60000]"),
    ];
    for (layer, input, words) in layers {
        model_file(&path, &[layer], input);
        assert!(std::fs::metadata(&path).unwrap().len() < 1200);
        for device in DEVICES {
            refused(|| Model::load_model(&path, device), &["model.safetensors", words]);
        }
    }
}

#[test]
fn an_architecture_of_many_small_parts_is_within_the_budget_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    // Eight bytes that become 600 each.
    let text = format!("{{\"nodes\":[{}{{}}]}}", "{\"a\":0},".repeat(2_000_000));
    let metadata = Metadata::from([("wgrad.architecture".to_string(), text)]);
    save_tensors_with(&path, &[], &metadata).unwrap();
    refused(
        || Model::load_model(&path, Device::Cpu),
        &["model.safetensors", "more memory than its size explains"],
    );
}

#[test]
fn a_model_of_a_hundred_thousand_layers_takes_seconds() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let began = Instant::now();
    let step = |what: &str| {
        let so_far = began.elapsed();
        assert!(so_far < Duration::from_secs(60), "{what} after {so_far:?}");
    };
    let mut stack = Sequential::new().add(Dense::new(2));
    for _ in 0..100_000 {
        stack = stack.add(Activation::Relu);
    }
    for _ in 0..1000 {
        stack = stack.add(Dense::new(2));
    }
    let model = stack.build([3], Device::Cpu).unwrap();
    step("built");
    model.save_model(&path).unwrap();
    step("saved");
    let again = Model::load_model(&path, Device::Cpu).unwrap();
    step("loaded");
    assert_eq!((all(&again), again.layer_names().len()), (all(&model), 101_002));
    assert_eq!(model.summary().lines().count(), 101_007);
    step("summarised");
    let x = inputs(&[2, 3], Device::Cpu);
    assert_eq!(values(&again.infer(&x).unwrap()), values(&model.infer(&x).unwrap()));
    step("computed");
    again
        .import_weights(
            &wgrad::io::import::pytorch(&{
                model.export_pytorch(&path).unwrap();
                path
            })
            .unwrap(),
            &wgrad::io::import::Mapping::pytorch(),
        )
        .unwrap();
    step("exported and imported");
}

#[test]
fn no_number_in_a_checkpoint_makes_going_on_panic() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.safetensors");
    let trainer = || {
        let model = Sequential::new().add(Dense::new(2)).build([3], Device::Cpu).unwrap();
        Trainer::new(model, Adam::new(1e-3), MeanSquaredError::new()).build().unwrap()
    };
    let set = data::Dataset::from_tensors("x", &inputs(&[8, 3], Device::Cpu), &inputs(&[8, 2], Device::Cpu))
        .unwrap();
    let fit = |epochs| Fit::epochs(epochs).batch_size(2).verbose(false);
    let mut first = trainer();
    let stop = fit(2).callback(|event| match event {
        wgrad::train::Event::Step(step) if step.step == 3 => Ok(wgrad::train::Flow::Stop),
        _ => Ok(wgrad::train::Flow::Continue),
    });
    first.fit(&set, stop).unwrap();
    first.save_checkpoint(&path).unwrap();
    let whole = wgrad::io::Checkpoint::load(&path).unwrap();
    let facts: serde_json::Map<String, Value> = whole.facts.read().unwrap();
    let names: Vec<String> = facts.keys().cloned().collect();
    assert!(
        ["epoch", "step", "passes", "batches_of_pass", "seed", "batch_size"]
            .iter()
            .all(|n| names.contains(&n.to_string()))
    );
    let mut refused = 0;
    for name in &names {
        for value in [
            serde_json::json!(u64::MAX),
            serde_json::json!(1u64 << 47),
            serde_json::json!(0),
            serde_json::json!(-1),
            serde_json::json!(0.5),
            serde_json::json!("text"),
            serde_json::json!([[["loss"]]]),
            Value::Null,
        ] {
            let mut checkpoint = whole.clone();
            checkpoint.facts = checkpoint.facts.with(name, &value).unwrap();
            checkpoint.save(&path).unwrap();
            let mut trainer = trainer();
            match trainer.resume(&path) {
                Err(e) => {
                    assert!(e.to_string().contains("run.safetensors"), "{name}: {e}");
                    refused += 1;
                }
                Ok(()) => drop(trainer.fit(&set, fit(3))),
            }
        }
    }
    assert!(refused > 20, "{refused}");
}
