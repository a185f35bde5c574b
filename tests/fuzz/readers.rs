//! Every reader of files, with files that it reads.

use super::mutate::{self, Random};
use super::{fuzz, structure, turn};
use std::io::Write;
use std::path::{Path, PathBuf};
use wgrad::data::idx::IdxArray;
use wgrad::io::import;
use wgrad::io::{Checkpoint, load_tensors, npz, save_tensors};
use wgrad::nn::{
    BatchNorm, ConvTranspose2d, Embedding, Functional, GlobalAvgPool2d, GroupNorm, Merge, Reshape,
};
use wgrad::prelude::*;

const CPU: Device = Device::Cpu;

fn golden(names: &[&str]) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/weights");
    names.iter().map(|name| std::fs::read(folder.join(name)).unwrap()).collect()
}

/// What `write` writes into a file.
fn written(name: &str, write: impl Fn(&Path) -> Result<()>) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    write(&path).unwrap();
    std::fs::read(path).unwrap()
}

fn tensors() -> Vec<(String, Tensor)> {
    vec![
        ("a".into(), Tensor::new([[1.5f32, -2.0], [0.0, 4.0]], CPU).unwrap()),
        ("b".into(), Tensor::new([1u8, 2, 3], CPU).unwrap()),
        ("same".into(), Tensor::new([7i32], CPU).unwrap()),
        ("e".into(), Tensor::zeros([0, 3], CPU).unwrap()),
    ]
}

fn models() -> Vec<Model> {
    let conv = Sequential::new()
        .add(Conv2d::new(3, [3, 3]).padding(Padding::Same).activation(Activation::Relu))
        .add(BatchNorm::new())
        .add(MaxPool2d::new([2, 2]))
        .add(ConvTranspose2d::new(4, [2, 2]).stride([2, 2]))
        .add(GroupNorm::new(2))
        .add(GlobalAvgPool2d::new())
        .add(Dropout::new(0.5))
        .add(Dense::new(2));
    let words = Sequential::new().add(Embedding::new(5, 3)).add(Flatten::new()).add(Dense::new(2));
    let mut net = Functional::new(CPU);
    let x = net.input("x", [4]).unwrap();
    let a = net.layer(Dense::new(4), x).unwrap();
    let sum = net.merge(Merge::Add, &[a, x]).unwrap();
    let y = net.layer(Reshape::new([2, 2]), sum).unwrap();
    let models = [conv.build([6, 6, 2], CPU), words.build([3], CPU), net.build(&[("y", y)])];
    models.into_iter().map(|model| model.unwrap().with_classes(["cat", "dog"])).collect()
}

fn trainer() -> Trainer<Model> {
    let model = Sequential::new().add(Dense::new(3)).add(Dense::new(2)).build([4], CPU).unwrap();
    Trainer::new(model, Adam::new(1e-3), SparseCategoricalCrossentropy::from_logits()).build().unwrap()
}

#[test]
fn changed_safetensors_files_are_read_or_are_errors() {
    let _turn = turn();
    let own = written("x.safetensors", |path| save_tensors(path, &tensors()));
    let corpus = [vec![own], golden(&["branched.safetensors"])].concat();
    fuzz("x.safetensors", 400, &corpus, structure::safetensors, |path| {
        let own = load_tensors(path, CPU);
        import::pytorch(path)?;
        own.map(drop)
    });
}

#[test]
fn changed_models_are_read_or_are_errors() {
    let _turn = turn();
    let corpus: Vec<Vec<u8>> =
        models().iter().map(|model| written("m.safetensors", |path| model.save_model(path))).collect();
    fuzz("m.safetensors", 400, &corpus, structure::safetensors, |path| {
        Model::load_model(path, CPU).map(drop)
    });
}

#[test]
fn changed_checkpoints_are_read_or_are_errors() {
    let _turn = turn();
    let mut own = trainer();
    let x = Tensor::randn([6, 4], CPU, 1).unwrap();
    let y = Tensor::new([0u32, 1, 0, 1, 1, 0], CPU).unwrap();
    let data = data::Dataset::from_tensors("six", &x, &y).unwrap();
    own.fit(&data, Fit::epochs(2).batch_size(2).verbose(false)).unwrap();
    let corpus = vec![written("c.safetensors", |path| own.save_checkpoint(path))];
    let other = std::cell::RefCell::new(trainer());
    fuzz("c.safetensors", 400, &corpus, structure::safetensors, |path| {
        Checkpoint::load(path)?;
        other.borrow_mut().resume(path)
    });
}

#[test]
fn changed_npy_files_are_read_or_are_errors() {
    let _turn = turn();
    let mut corpus: Vec<Vec<u8>> =
        tensors().iter().map(|(_, t)| written("x.npy", |path| t.save_npy(path))).collect();
    // In Fortran's order, of 64-bit integers.
    let header = "{'descr': '>i8', 'fortran_order': True, 'shape': (2, 3), }\n";
    let mut fortran = b"\x93NUMPY\x01\x00".to_vec();
    fortran.extend((header.len() as u16).to_le_bytes());
    fortran.extend(header.bytes());
    fortran.extend((0..6u64).flat_map(|n| n.to_be_bytes()));
    corpus.push(fortran);
    fuzz("x.npy", 1000, &corpus, structure::npy, |path| Tensor::load_npy(path, CPU).map(drop));
}

#[test]
fn changed_npz_files_are_read_or_are_errors() {
    let _turn = turn();
    let own = written("x.npz", |path| npz::save(path, &tensors()));
    let corpus = [vec![own], golden(&["stack.npz"])].concat();
    let change = |random: &mut Random, content: &[u8]| {
        structure::archive(random, content, &|random, _, bytes| structure::npy(random, bytes))
    };
    fuzz("x.npz", 400, &corpus, change, |path| {
        npz::load(path, CPU)?;
        import::keras(path).map(drop)
    });
}

fn torch(random: &mut Random, name: &str, content: &[u8]) -> Vec<u8> {
    if name.ends_with("data.pkl") {
        structure::pickle(random, content)
    } else {
        mutate::bytes(random, content)
    }
}

#[test]
fn changed_files_of_pytorch_are_read_or_are_errors() {
    let _turn = turn();
    let corpus = golden(&[
        "branched.pt",
        "kinds.pt",
        "words.pt",
        "forms/new0.pt",
        "forms/new1.pt",
        "forms/new2.pt",
        "forms/new4.pt",
        "forms/dtypes.pt",
    ]);
    let change = |random: &mut Random, content: &[u8]| structure::archive(random, content, &torch);
    fuzz("x.pt", 1000, &corpus, change, |path| import::pytorch(path).map(drop));
}

#[test]
fn changed_files_of_older_pytorch_are_read_or_are_errors() {
    let _turn = turn();
    let corpus = golden(&["forms/old0.pt", "forms/old2.pt", "forms/old5.pt"]);
    fuzz("old.pt", 1000, &corpus, structure::pickle, |path| import::pytorch(path).map(drop));
}

#[test]
fn changed_hdf5_files_are_read_or_are_errors() {
    let _turn = turn();
    let corpus = golden(&[
        "older.h5",
        "branched.weights.h5",
        "hdf5/block.h5",
        "hdf5/earliest.h5",
        "hdf5/v110.h5",
        "hdf5/latest.h5",
        "hdf5/indexes.h5",
    ]);
    // Its arrays are long: once among many.
    let corpus = [corpus.clone(), corpus, golden(&["hdf5/pages.h5"])].concat();
    fuzz("x.h5", 600, &corpus, structure::hdf5, |path| import::keras(path).map(drop));
}

#[test]
fn changed_keras_archives_are_read_or_are_errors() {
    let _turn = turn();
    let corpus = golden(&["stack.keras"]);
    let inner = |random: &mut Random, name: &str, content: &[u8]| {
        if name.ends_with(".h5") { structure::hdf5(random, content) } else { mutate::text(random, content) }
    };
    let change = |random: &mut Random, content: &[u8]| structure::archive(random, content, &inner);
    fuzz("x.keras", 200, &corpus, change, |path| import::keras(path).map(drop));
}

fn gzipped(content: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    writer.write_all(content).unwrap();
    writer.finish().unwrap()
}

#[test]
fn changed_idx_files_are_read_or_are_errors() {
    let _turn = turn();
    let mut plain = vec![0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4];
    plain.extend(0..24);
    let labels = vec![0, 0, 8, 1, 0, 0, 0, 3, 7, 8, 9];
    fuzz("x.idx", 1000, &[plain.clone(), labels], mutate::bytes, |path| IdxArray::read(path).map(drop));
    let change = |random: &mut Random, content: &[u8]| structure::gzip(random, content, &mutate::bytes);
    fuzz("x.idx.gz", 400, &[gzipped(&plain)], change, |path| IdxArray::read(path).map(drop));
}

#[test]
fn changed_csv_files_are_read_or_are_errors() {
    let _turn = turn();
    let corpus = [
        &b"a,b,label\n1,2.5,cat\n-3,4e2,dog\n\"5\",6,\"cat\"\n"[..],
        b"label,x\r\n1.0,\"1\"\r\n10.0,2\r\n2.0,3\r\n",
        b"\xef\xbb\xbfx,label,\"a \"\"b\"\"\"\n1,0,3\n2,1,4\n",
    ];
    let corpus: Vec<Vec<u8>> = corpus.iter().map(|c| c.to_vec()).collect();
    fuzz("x.csv", 1000, &corpus, mutate::text, |path| data::csv(path).label("label").load().map(drop));
}

#[test]
fn changed_archives_of_cifar_are_read_or_are_errors() {
    let _turn = turn();
    let mut builder = tar::Builder::new(Vec::new());
    let names = (1..=5).map(|i| format!("data_batch_{i}.bin")).chain(["test_batch.bin".to_string()]);
    for name in names {
        let mut header = tar::Header::new_ustar();
        header.set_size(2 * 3073);
        header.set_cksum();
        let content: Vec<u8> =
            (0..2 * 3073).map(|i| if i % 3073 == 0 { 3 } else { (i % 256) as u8 }).collect();
        builder.append_data(&mut header, format!("cifar-10-batches-bin/{name}"), &content[..]).unwrap();
    }
    let corpus = [gzipped(&builder.into_inner().unwrap())];
    let change = |random: &mut Random, content: &[u8]| structure::gzip(random, content, &structure::tar);
    fuzz("cifar-10-binary.tar.gz", 150, &corpus, change, |path| {
        data::cifar10::load_from(path.parent().unwrap()).map(drop)
    });
}

/// Moves the file into a folder of classes and loads that.
fn images(path: &Path) -> Result<()> {
    let set = path.parent().unwrap().join("set");
    let class: PathBuf = set.join("class");
    std::fs::create_dir_all(&class).unwrap();
    std::fs::copy(path, class.join(path.file_name().unwrap())).unwrap();
    data::image_folder(&set)?.size([4, 4]).threads(1).load().map(drop)
}

#[test]
fn changed_images_are_read_or_are_errors() {
    let _turn = turn();
    let picture = image::RgbImage::from_fn(9, 7, |x, y| image::Rgb([(x * 20) as u8, (y * 30) as u8, 99]));
    let grey = image::GrayImage::from_fn(5, 5, |x, y| image::Luma([(x * y) as u8]));
    let encoded = |format: image::ImageFormat| {
        let mut out = std::io::Cursor::new(Vec::new());
        picture.write_to(&mut out, format).unwrap();
        out.into_inner()
    };
    let mut small = std::io::Cursor::new(Vec::new());
    grey.write_to(&mut small, image::ImageFormat::Png).unwrap();
    let corpus = [encoded(image::ImageFormat::Png), small.into_inner()];
    fuzz("x.png", 300, &corpus, structure::png, images);
    fuzz("x.jpg", 300, &[encoded(image::ImageFormat::Jpeg)], mutate::bytes, images);
    fuzz("x.bmp", 300, &[encoded(image::ImageFormat::Bmp)], mutate::bytes, images);
    fuzz("x.gif", 300, &[encoded(image::ImageFormat::Gif)], mutate::bytes, images);
}
