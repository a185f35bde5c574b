//! What Keras's preprocessing layers make of numbers and words, and what they adapt to (tests/golden/preprocessing.py).

use super::common::{DEVICES, tensor, values};
use super::{numbers as plain, sizes};
use serde_json::Value;
use wgrad::data::{Batch, Pipeline};
use wgrad::nn::{
    Build, CategoryEncoding, Context, Discretization, Functional, IntegerLookup, Layer, Module,
    Normalization, Rescaling,
};
use wgrad::prelude::*;
use wgrad::text::{Hashing, OutputMode, Split, Standardize, StringLookup, TextVectorization};

fn number(v: &Value) -> f64 {
    v.as_f64().unwrap_or_else(|| v.as_str().expect("a number").parse().expect("inf, -inf or nan"))
}

fn numbers(v: &Value) -> Vec<f64> {
    v["values"].as_array().expect("a list").iter().map(number).collect()
}

fn words(v: &Value) -> Vec<String> {
    v["values"].as_array().expect("a list").iter().map(|v| v.as_str().expect("text").to_string()).collect()
}

fn rows(v: &Value) -> Vec<Vec<String>> {
    words(v).chunks(sizes(&v["shape"])[1]).map(<[String]>::to_vec).collect()
}

/// Whole numbers are integers where a layer wants such.
fn array(v: &Value, dtype: DType, device: Device) -> Result<Tensor> {
    tensor(&numbers(v), &sizes(&v["shape"]), dtype, device)
}

fn mode(settings: &Value) -> OutputMode {
    match settings["output"].as_str().unwrap_or("int") {
        "int" => OutputMode::Int,
        "one_hot" => OutputMode::OneHot,
        "multi_hot" => OutputMode::MultiHot,
        "count" => OutputMode::Count,
        "tf_idf" => OutputMode::TfIdf,
        other => panic!("no mode {other}"),
    }
}

fn count(settings: &Value, key: &str) -> Option<usize> {
    settings.get(key).map(|v| v.as_u64().expect("a count") as usize)
}

/// Layers by what they adapt to: one tensor, or batches of a pipeline.
fn adapted<L>(
    entry: &Value,
    layer: L,
    dtype: DType,
    tensor: impl Fn(L, &Tensor) -> Result<L>,
    source: impl Fn(L, &Pipeline<Batch>) -> Result<L>,
) -> Result<L> {
    let batches = entry["adapt"].as_array().expect("a list");
    let arrays = batches.iter().map(|b| array(b, dtype, Device::Cpu)).collect::<Result<Vec<_>>>()?;
    match &arrays[..] {
        [] => Ok(layer),
        [one] => tensor(layer, one),
        _ => {
            let batches =
                arrays.iter().map(|x| Ok(Batch::new(x.clone(), Tensor::zeros([x.dims()[0]], Device::Cpu)?)));
            source(layer, &batches.collect::<Result<Pipeline<Batch>>>()?)
        }
    }
}

fn lookup(settings: &Value) -> IntegerLookup {
    let mut lookup = IntegerLookup::new().output(mode(settings));
    if let Some(n) = count(settings, "num_oov_indices") {
        lookup = lookup.oov_indices(n);
    }
    if let Some(n) = count(settings, "max_tokens") {
        lookup = lookup.max_tokens(n);
    }
    if let Some(mask) = settings.get("mask_token") {
        lookup = lookup.mask(mask.as_i64().expect("an integer"));
    }
    lookup.pad_to_max_tokens(settings["pad_to_max_tokens"] == true)
}

fn string_lookup(settings: &Value) -> StringLookup {
    let mut lookup = StringLookup::new().output(mode(settings));
    if let Some(n) = count(settings, "num_oov_indices") {
        lookup = lookup.oov_indices(n);
    }
    if let Some(n) = count(settings, "max_tokens") {
        lookup = lookup.max_tokens(n);
    }
    if let Some(mask) = settings.get("mask_token") {
        lookup = lookup.mask(mask.as_str().expect("text"));
    }
    lookup.pad_to_max_tokens(settings["pad_to_max_tokens"] == true)
}

fn close(got: &[f64], want: &[f64], what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!(g == w || (g - w).abs() <= 2e-6 * (1.0 + w.abs()), "{what}: element {i}: {g}, expected {w}");
    }
}

/// As a model's first layer, from a file, and by itself.
fn check_layer<L: Layer + Clone + 'static>(
    entry: &Value,
    layer: L,
    x: &Tensor,
    alone: &Tensor,
) -> Result<()> {
    let what = format!("{} {} on {}", entry["kind"], entry["settings"], x.device());
    let want = numbers(&entry["output"]);
    assert_eq!(alone.dims(), sizes(&entry["output"]["shape"]), "{what}");
    close(&values(alone)?, &want, &what);
    if x.rank() < 2 {
        return Ok(());
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.safetensors");
    let model = Sequential::new().add(layer).build(&x.dims()[1..], x.device())?;
    model.save_model(&path)?;
    for model in [model, Model::load_model(&path, x.device())?] {
        let y = model.infer(x)?;
        assert_eq!(y.dims(), alone.dims(), "{what}: in a model");
        assert!(model.output_shape().admits(&y.dims()[1..]), "{what}: {}", model.output_shape());
        close(&values(&y)?, &want, &format!("{what}: in a model"));
    }
    Ok(())
}

fn check(entry: &Value, device: Device) -> Result<()> {
    let (settings, kind) = (&entry["settings"], entry["kind"].as_str().expect("a kind"));
    let learnt = |key: &str, got: &[f64]| {
        if !entry[key].is_null() {
            close(got, &numbers(&entry[key]), &format!("{kind} {settings}: {key}"));
        }
    };
    match kind {
        "Normalization" => {
            let layer = match settings.get("mean") {
                Some(mean) => Normalization::with_statistics(&plain(mean), &plain(&settings["variance"])),
                None => {
                    let axes: Vec<isize> = plain(&settings["axes"]).iter().map(|&a| a as isize).collect();
                    let layer = Normalization::new().axes(axes).invert(settings["invert"] == true);
                    adapted(entry, layer, DType::F32, |l, x| l.adapt(x), |l, x| l.adapt(x))?
                }
            };
            learnt("mean", layer.mean());
            learnt("variance", layer.variance());
            let x = array(&entry["input"], DType::F32, device)?;
            check_layer(entry, layer.clone(), &x, &layer.apply(&x)?)
        }
        "Rescaling" => {
            let layer = Rescaling::new(number(&settings["scale"])).offset(number(&settings["offset"]));
            let x = array(&entry["input"], DType::F32, device)?;
            check_layer(entry, layer.clone(), &x, &layer.infer(&x)?)
        }
        "Discretization" => {
            let layer = match settings.get("boundaries") {
                Some(boundaries) => Discretization::with_boundaries(&plain(boundaries)),
                None => {
                    let layer = Discretization::new(count(settings, "bins").expect("bins"));
                    let layer = layer.epsilon(settings["epsilon"].as_f64().unwrap_or(0.01));
                    adapted(entry, layer, DType::F32, |l, x| l.adapt(x), |l, x| l.adapt(x))?
                }
            };
            let layer = layer.output(mode(settings));
            learnt("boundaries", layer.boundaries());
            let x = array(&entry["input"], DType::F32, device)?;
            check_layer(entry, layer.clone(), &x, &layer.apply(&x)?)
        }
        "CategoryEncoding" => {
            let layer =
                CategoryEncoding::new(count(settings, "tokens").expect("tokens")).output(mode(settings));
            let x = array(&entry["input"], DType::U32, device)?;
            if entry["weights"].is_null() {
                return check_layer(entry, layer.clone(), &x, &layer.apply(&x)?);
            }
            let weights = array(&entry["weights"], DType::F32, device)?;
            close(&values(&layer.apply_weighted(&x, &weights)?)?, &numbers(&entry["output"]), kind);
            let mut net = Functional::new(device);
            let (a, b) = (net.input("x", &x.dims()[1..])?, net.input("weights", &x.dims()[1..])?);
            let y = net.layer_all(layer, &[a, b])?;
            let y = net.build(&[("y", y)])?.infer_all(&[x, weights])?;
            close(&values(&y[0])?, &numbers(&entry["output"]), kind);
            Ok(())
        }
        "IntegerLookup" => {
            let layer = match settings.get("vocabulary") {
                Some(v) => lookup(settings).with_vocabulary(plain(v).iter().map(|&v| v as i64))?,
                None => adapted(entry, lookup(settings), DType::I32, |l, x| l.adapt(x), |l, x| l.adapt(x))?,
            };
            learnt("vocabulary", &layer.vocabulary()?.iter().map(|&v| v as f64).collect::<Vec<_>>());
            let x = array(&entry["input"], DType::I32, device)?;
            check_layer(entry, layer.clone(), &x, &layer.apply(&x)?)
        }
        "StringLookup" => {
            let layer = string_lookup(settings).adapt_rows(rows(&entry["adapt"][0]))?;
            assert_eq!(layer.vocabulary()?, words(&entry["vocabulary"]), "{settings}");
            let y = layer.lookup_rows(rows(&entry["input"]))?;
            assert_eq!(y.dims(), sizes(&entry["output"]["shape"]), "{settings}");
            close(&values(&y)?, &numbers(&entry["output"]), &settings.to_string());
            Ok(())
        }
        "Hashing" => {
            let mut layer = Hashing::new(count(settings, "bins").expect("bins"));
            if let Some(mask) = settings.get("mask_value") {
                layer = layer.mask(mask.as_str().expect("text"));
            }
            if let Some(salt) = settings.get("salt") {
                layer = layer.salt([plain(salt)[0] as u64, plain(salt)[1] as u64]);
            }
            let bins = match entry["input"]["values"][0].is_string() {
                true => layer.hash(words(&entry["input"]))?,
                false => layer.hash_tensor(&array(&entry["input"], DType::I32, device)?)?,
            };
            assert_eq!(values(&bins)?, numbers(&entry["output"]), "{settings}");
            Ok(())
        }
        "TextVectorization" => {
            let layer = vectorizer(settings).adapt(words(&entry["adapt"][0]))?;
            assert_eq!(layer.vocabulary()?, words(&entry["vocabulary"]), "{settings}");
            let y = layer.vectorize(words(&entry["input"]))?;
            assert_eq!(y.dims(), sizes(&entry["output"]["shape"]), "{settings}");
            close(&values(&y)?, &numbers(&entry["output"]), &settings.to_string());
            Ok(())
        }
        other => panic!("preprocessing.rs does not know {other}"),
    }
}

fn vectorizer(settings: &Value) -> TextVectorization {
    let mut layer = TextVectorization::new().output(match settings["output_mode"].as_str() {
        None => OutputMode::Int,
        Some("multi_hot") => OutputMode::MultiHot,
        Some("count") => OutputMode::Count,
        _ => OutputMode::TfIdf,
    });
    match settings.get("standardize").map(Value::as_str) {
        None => {}
        Some(Some("lower")) => layer = layer.standardize(Standardize::Lower),
        Some(Some(_)) => layer = layer.standardize(Standardize::StripPunctuation),
        Some(None) => layer = layer.standardize(Standardize::Keep),
    }
    match settings.get("split").map(Value::as_str) {
        None => {}
        Some(Some(_)) => layer = layer.split(Split::Characters),
        Some(None) => layer = layer.split(Split::Never),
    }
    match settings.get("ngrams") {
        None => {}
        Some(Value::Array(lengths)) => {
            layer = layer.ngram_lengths(lengths.iter().map(|v| v.as_u64().expect("a length") as usize));
        }
        Some(n) => layer = layer.ngrams(n.as_u64().expect("a length") as usize),
    }
    if let Some(n) = count(settings, "max_tokens") {
        layer = layer.max_tokens(n);
    }
    if let Some(n) = count(settings, "output_sequence_length") {
        layer = layer.sequence_length(n);
    }
    layer.pad_to_max_tokens(settings["pad_to_max_tokens"] == true)
}

#[test]
fn keras_preprocessing() -> Result<()> {
    let file: Value = serde_json::from_str(include_str!("../golden/preprocessing.json")).expect("valid JSON");
    let cases = file["cases"].as_array().expect("cases");
    assert!(cases.len() > 90, "the file is not whole");
    for entry in cases {
        for device in DEVICES {
            check(entry, device)
                .map_err(|e| e.context(format!("{} {}", entry["kind"], entry["settings"])))?;
        }
    }
    Ok(())
}

/// A mean far from 0, many samples, and batches of other sizes: what f32 or one pass would lose.
#[test]
fn statistics_keep_their_digits() -> Result<()> {
    let rows = 300_000;
    let values: Vec<f64> = (0..rows).map(|i| 1e6 + (i % 7) as f64 * 0.125).collect();
    let x = Tensor::from_slice(&values, [rows, 1], Device::Cpu)?;
    let layer = Normalization::new().adapt(&x)?;
    let mean = values.iter().map(|v| v - 1e6).sum::<f64>() / rows as f64;
    let variance = values.iter().map(|v| (v - 1e6 - mean).powi(2)).sum::<f64>() / rows as f64;
    assert!((layer.mean()[0] - 1e6 - mean).abs() < 1e-9, "{:?}", layer.mean());
    assert!((layer.variance()[0] / variance - 1.0).abs() < 1e-9, "{:?} {variance}", layer.variance());
    // In f64 nothing of it is lost again.
    let y = layer.apply(&x)?;
    assert_eq!(y.dtype(), DType::F64);
    assert!(y.mean(.., false)?.item::<f64>()?.abs() < 1e-9);
    let back = layer.invert(true).apply(&y)?;
    assert!((back - &x)?.abs()?.max(.., false)?.item::<f64>()? < 1e-9);
    Ok(())
}

#[test]
fn integers_of_every_type_and_beyond_a_vocabulary() -> Result<()> {
    let layer = IntegerLookup::new().with_vocabulary([-1_000, 7, i64::from(i32::MAX)])?;
    for device in DEVICES {
        let unsigned = Tensor::new([7u32, u32::MAX - 999, i32::MAX as u32, u32::MAX], device)?; // -1000 as i32 is no u32
        assert_eq!(layer.apply(&unsigned)?.to_vec::<u32>()?, [2, 0, 3, 0]);
        assert_eq!(layer.apply(&Tensor::new([7u8, 8], device)?)?.to_vec::<u32>()?, [2, 0]);
        let signed = Tensor::new([i32::MIN, -1000, i32::MAX, 0], device)?;
        assert_eq!(layer.apply(&signed)?.to_vec::<u32>()?, [0, 1, 3, 0]);
        assert_eq!(layer.apply(&Tensor::zeros([0, 3], device)?.cast(DType::I32)?)?.shape(), [0, 3]);
        let strict = layer.clone().oov_indices(0);
        assert_eq!(strict.apply(&Tensor::new([7], device)?)?.to_vec::<u32>()?, [1]);
        assert!(strict.apply(&Tensor::new([8], device)?)?.to_vec::<u32>().is_err());
        let tokens = CategoryEncoding::new(3);
        assert!(tokens.apply(&Tensor::new([[0u32, 3]], device)?)?.to_vec::<f32>().is_err());
        assert_eq!(
            tokens.apply(&Tensor::zeros([2, 0], device)?.cast(DType::U32)?)?.to_vec::<f32>()?,
            [0.0; 6]
        );
    }
    // Nobody reads values of what is not there yet.
    assert!(IntegerLookup::new().apply(&Tensor::new([1], Device::Cpu)?).is_err());
    Ok(())
}

/// A layer built for samples of one number takes a number alone, and numbers that are samples themselves.
#[test]
fn one_hot_of_samples_without_a_dimension() -> Result<()> {
    let layers: [Box<dyn Layer>; 3] = [
        Box::new(CategoryEncoding::new(3).output(OutputMode::OneHot)),
        Box::new(Discretization::with_boundaries(&[0.5, 1.5]).output(OutputMode::OneHot)),
        Box::new(IntegerLookup::new().output(OutputMode::OneHot).with_vocabulary([1, 2])?),
    ];
    for layer in layers {
        let module = Build::new(Device::Cpu, 1).layer(layer, [1])?;
        for (dims, expected) in [(&[][..], &[3][..]), (&[1], &[1, 3]), (&[1, 1], &[1, 3])] {
            let x = Tensor::new([2], Device::Cpu)?.reshape(dims)?;
            let y = module.forward(&x, &Context::eval())?;
            assert_eq!((y.dims(), y.to_vec::<f32>()?), (expected, vec![0.0, 0.0, 1.0]));
        }
    }
    Ok(())
}

#[test]
fn there_are_numbers_beyond_the_places() -> Result<()> {
    let lookup = IntegerLookup::new().oov_indices(0).with_vocabulary([5])?.pad_to_max_tokens(true);
    for (most, right) in [(u32::MAX as usize - 1, true), (u32::MAX as usize, false)] {
        let padded = lookup.clone().max_tokens(most);
        let found = padded.apply(&Tensor::new([5i32], Device::Cpu)?);
        assert_eq!(found.is_ok(), right, "{most}: {:?}", found.err());
        if right {
            let unknown = padded.apply(&Tensor::new([6i32], Device::Cpu)?)?.eval();
            assert!(unknown.is_err_and(|e| e.to_string().contains(&(most + 1).to_string())));
        }
    }
    Ok(())
}

#[test]
fn what_can_not_be_adapted_to_says_so() -> Result<()> {
    let message = |e: Error| e.to_string();
    let none = Tensor::zeros([0, 2], Device::Cpu)?;
    let nan = Tensor::new([[1.0f32, 2.0], [3.0, f32::NAN]], Device::Cpu)?;
    let text = message(Normalization::new().adapt(&nan).unwrap_err());
    assert!(text.contains("element 1 of a sample of [2] is NaN"), "{text}");
    assert!(message(Discretization::new(2).adapt(&none).unwrap_err()).contains("no samples"));
    assert!(
        message(Normalization::new().axes([3]).adapt(&Tensor::ones([2, 2], Device::Cpu)?).unwrap_err())
            .contains('3')
    );
    let bare = Sequential::new().add(Normalization::new()).build([2], Device::Cpu);
    assert!(message(bare.unwrap_err()).contains("adapt(&train)"));
    let open = Sequential::new()
        .add(Normalization::with_statistics(&[0.0, 1.0], &[1.0, 1.0]))
        .build((None,), Device::Cpu);
    assert!(message(open.unwrap_err()).contains("expects a size"));
    let endless = (0..3).map(|i| ([i as f32], 0u32)).collect::<Pipeline<_>>().repeat_forever();
    assert!(message(Normalization::new().adapt(&endless).unwrap_err()).contains("never ends"));
    let floats = IntegerLookup::new().adapt(&Tensor::ones([2], Device::Cpu)?);
    assert!(message(floats.unwrap_err()).contains("cast"));
    assert!(message(StringLookup::new().with_vocabulary(["a", "b", "a"]).unwrap_err()).contains("twice"));
    assert!(message(StringLookup::new().max_tokens(1).adapt(["a"]).unwrap_err()).contains("max_tokens(1)"));
    assert!(message(StringLookup::new().adapt([""; 0]).unwrap_err()).contains("no words"));
    assert!(message(StringLookup::new().lookup(["a"]).unwrap_err()).contains("no vocabulary"));
    let strict = StringLookup::new().oov_indices(0).with_vocabulary(["a"])?;
    assert!(message(strict.lookup(["b"]).unwrap_err()).contains("\"b\" is not in the vocabulary"));
    assert!(message(Hashing::new(0).hash(["a"]).unwrap_err()).contains("expected 1"));
    let descending = Discretization::with_boundaries(&[1.0, 0.0]).apply(&Tensor::ones([1], Device::Cpu)?);
    assert!(message(descending.unwrap_err()).contains("ascending"));
    Ok(())
}

#[test]
fn lookups_come_back_from_their_files() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let (json, lines) = (folder.path().join("lookup.json"), folder.path().join("words.txt"));
    let lookup =
        StringLookup::new().mask("").output(OutputMode::TfIdf).adapt(["a", "b", "b", "ü\u{1F600}", "a b"])?;
    lookup.save(&json)?;
    assert_eq!(StringLookup::load(&json)?, lookup);
    lookup.save_vocabulary(&lines)?;
    let again = StringLookup::new().mask("").load_vocabulary(&lines)?;
    assert_eq!(again.vocabulary()?, ["", "[UNK]", "b", "ü\u{1F600}", "a b", "a"]);
    let broken = StringLookup::new().adapt(["a\nb"])?;
    assert!(broken.save_vocabulary(&lines).unwrap_err().to_string().contains("line's end"));
    std::fs::write(&lines, b"a\n\xff\n").expect("a file");
    assert!(StringLookup::new().load_vocabulary(&lines).unwrap_err().to_string().contains("no UTF-8"));
    std::fs::write(&lines, b"a\na\n").expect("a file");
    let twice = StringLookup::new().load_vocabulary(&lines).unwrap_err().to_string();
    assert!(twice.contains("words.txt") && twice.contains("twice"), "{twice}");
    std::fs::write(&json, b"{\"kind\":\"Hashing\"}").expect("a file");
    assert!(StringLookup::load(&json).unwrap_err().to_string().contains("holds a Hashing"));
    let missing = StringLookup::load(folder.path().join("no.json")).unwrap_err().to_string();
    assert!(missing.contains("no.json"), "{missing}");
    Ok(())
}

#[test]
fn texts_of_all_scripts_go_there_and_back() -> Result<()> {
    let texts = ["ÄRGER über\u{a0}Straße", "\u{1F468}\u{200D}\u{1F469} e\u{301}", "", "東京\u{3000}タワー"];
    let words = TextVectorization::new().adapt(texts)?;
    let x = words.vectorize(texts)?;
    assert_eq!(x.dims(), [4, 3]);
    let back = words.detokenize(&x)?;
    assert_eq!(back, ["ärger über straße", "\u{1F468}\u{200D}\u{1F469} e\u{301}", "", "東京 タワー"]);
    assert_eq!(words.ragged(texts)?.iter().map(Vec::len).collect::<Vec<_>>(), [3, 2, 0, 2]);
    let letters =
        TextVectorization::new().split(Split::Characters).standardize(Standardize::Keep).adapt(texts)?;
    assert_eq!(letters.detokenize(&letters.vectorize(texts)?)?, texts);
    assert_eq!(letters.detokenize(&letters.vectorize(["xÄ"])?.reshape([2])?)?, ["[UNK]Ä"]);
    // None at all, and texts without words.
    assert_eq!(words.vectorize([""; 0])?.shape(), [0, 0]);
    assert_eq!(words.vectorize(["", ""])?.shape(), [2, 0]);
    let hot = words.clone().output(OutputMode::MultiHot);
    assert_eq!(
        hot.vectorize(["", "wer ist das"])?.to_vec::<f32>()?[..words.vocabulary_size()? - 1],
        [0.0; 8][..]
    );
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("words.json");
    letters.save(&path)?;
    assert_eq!(TextVectorization::load(&path)?, letters);
    let lines = folder.path().join("words.txt");
    words.save_vocabulary(&lines)?;
    assert_eq!(TextVectorization::new().load_vocabulary(&lines)?, words);
    Ok(())
}

#[test]
fn texts_that_can_not_be_had_say_so() -> Result<()> {
    let message = |e: Error| e.to_string();
    let words = TextVectorization::new();
    assert!(message(words.vectorize(["a"]).unwrap_err()).contains("adapt"));
    assert!(message(words.clone().adapt(["", " . "]).unwrap_err()).contains("no words"));
    assert!(message(words.clone().ngram_lengths([0]).adapt(["a"]).unwrap_err()).contains("at least 1"));
    let fixed = words.clone().output(OutputMode::Count).sequence_length(3).with_vocabulary(["a"])?;
    assert!(message(fixed.vectorize(["a"]).unwrap_err()).contains("sequence_length(3)"));
    let pairs = words.clone().ngrams(2).adapt(["a b c"])?;
    let x = pairs.vectorize(["a b"])?;
    assert!(message(pairs.detokenize(&x).unwrap_err()).contains("no way back"));
    let one = words.with_vocabulary(["", "[UNK]", "a"])?;
    assert_eq!(one.vocabulary()?, ["", "[UNK]", "a"]);
    assert!(message(one.detokenize(&Tensor::ones([1, 2], Device::Cpu)?).unwrap_err()).contains("integers"));
    assert!(message(one.clone().output(OutputMode::TfIdf).vectorize(["a"]).unwrap_err()).contains("tf_idf"));
    let long = one.sequence_length(usize::MAX).vectorize(["a", "b"]);
    assert!(long.is_err());
    Ok(())
}
