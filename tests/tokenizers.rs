//! Files `tokenizer.json` of the kinds that models come with: the numbers are those of Hugging Face's library for Python
//! (tests/golden/tokenizers.py), and what is wrong is an error.

use serde_json::Value;
use wgrad::prelude::*;
use wgrad::text::{Tokenizer, Tokens};

fn golden() -> Value {
    serde_json::from_str(include_str!("golden/tokenizers.json")).expect("valid JSON")
}

fn strings(of: &Value) -> Vec<String> {
    of.as_array().expect("a list").iter().map(|s| s.as_str().expect("a string").to_string()).collect()
}

fn numbers(of: &Value) -> Vec<u32> {
    of.as_array().expect("a list").iter().map(|n| n.as_u64().expect("a number") as u32).collect()
}

fn assert_rows(found: &Tokens, expected: &Value, what: &str) -> Result<()> {
    for (name, tensor) in [("ids", &found.ids), ("mask", &found.mask), ("types", &found.types)] {
        let rows: Vec<Vec<u32>> = expected[name].as_array().expect("rows").iter().map(numbers).collect();
        assert_eq!(tensor.dims(), [rows.len(), rows[0].len()], "{what}: {name}");
        assert_eq!(tensor.cast(DType::U32)?.to_vec::<u32>()?, rows.concat(), "{what}: {name}");
    }
    assert_eq!(
        (found.ids.dtype(), found.mask.dtype(), found.types.dtype()),
        (DType::U32, DType::U8, DType::U32)
    );
    Ok(())
}

/// A file's tokenizer, with GPT-2's token for padding where it has none.
fn tokenizer(case: &Value) -> Result<Tokenizer> {
    let made = Tokenizer::from_json(&case["tokenizer"].to_string())?;
    if case["name"] == "gpt" { made.padding("<|endoftext|>") } else { Ok(made) }
}

#[test]
fn the_numbers_are_those_of_hugging_face() -> Result<()> {
    let golden = golden();
    let texts = strings(&golden["texts"]);
    let pairs: Vec<Vec<String>> = golden["pairs"].as_array().expect("pairs").iter().map(strings).collect();
    let pairs = || pairs.iter().map(|pair| (&pair[0], &pair[1]));
    for case in golden["cases"].as_array().expect("cases") {
        let name = case["name"].as_str().expect("a name");
        let all = tokenizer(case)?;
        assert_eq!(all.vocabulary_size() as u64, case["size"].as_u64().expect("a size"), "{name}");
        for (text, expected) in texts.iter().zip(case["single"].as_array().expect("single")) {
            let ids = all.encode(text)?;
            assert_eq!(ids, numbers(&expected["ids"]), "{name}: {text:?}");
            let plain = all.clone().special_tokens(false).encode(text)?;
            assert_eq!(plain, numbers(&expected["plain"]), "{name}: {text:?} without special tokens");
            assert_eq!(all.decode(&ids)?, expected["text"].as_str().expect("a text"), "{name}: {text:?}");
            for id in ids {
                let token = all.token(id).expect("a token for each number that was given");
                assert_eq!(all.number(&token), Some(id), "{name}: {token:?}");
            }
        }
        let batch = all.vectorize(&texts)?;
        assert_rows(&batch, &case["batch"], name)?;
        let back = all.detokenize(&batch.ids)?;
        assert_eq!(back.len(), texts.len());
        let expected = case["single"].as_array().expect("single");
        for (text, expected) in back.iter().zip(expected) {
            assert_eq!(text, expected["text"].as_str().expect("a text"), "{name}: padding is left out");
        }
        assert_rows(&all.vectorize_pairs(pairs())?, &case["pairs"], &format!("{name}, pairs"))?;
        for length in [5, 40] {
            let cut = all.clone().sequence_length(length)?;
            let what = format!("{name}, cut to {length}");
            assert_rows(&cut.vectorize(&texts)?, &case[format!("cut_{length}")], &what)?;
            assert_rows(
                &cut.vectorize_pairs(pairs())?,
                &case[format!("pairs_{length}")],
                &format!("{what}, pairs"),
            )?;
        }
    }
    Ok(())
}

#[test]
fn batches_of_none_and_of_empty_texts_have_their_shapes() -> Result<()> {
    let golden = golden();
    for case in golden["cases"].as_array().expect("cases") {
        let all = tokenizer(case)?.special_tokens(false);
        assert_eq!(all.vectorize([""; 0])?.ids.dims(), [0, 0]);
        assert_eq!(all.detokenize(&Tensor::zeros([3, 0], Device::Cpu)?.cast(DType::U32)?)?, ["", "", ""]);
    }
    let bytes = tokenizer(&golden["cases"][1])?;
    assert_eq!(bytes.vectorize(["", ""])?.ids.dims(), [2, 0]);
    let one = Tensor::new([51u32, 80, 69, 319], Device::Cpu)?;
    assert_eq!(bytes.detokenize(&one)?, ["Speak"]);
    // On a device, numbers of another type.
    let on_gpu = one.cast(DType::I32)?.to_device(Device::Gpu)?;
    assert_eq!(bytes.detokenize(&on_gpu)?, ["Speak"]);
    Ok(())
}

fn error<T>(result: Result<T>) -> String {
    match result {
        Ok(_) => panic!("there is no error"),
        Err(e) => e.to_string(),
    }
}

#[test]
fn what_is_wrong_is_an_error() -> Result<()> {
    let golden = golden();
    let case = |at: usize| Tokenizer::from_json(&golden["cases"][at]["tokenizer"].to_string());
    let expect = |found: String, wanted: &[&str]| {
        for wanted in wanted {
            assert!(found.contains(wanted), "{wanted:?} is not in: {found}");
        }
    };
    expect(error(case(1)?.vectorize(["Speak", "Speak, speak"])), &["token to pad with", "padding("]);
    // Of one length there is nothing to pad.
    assert_eq!(case(1)?.vectorize(["Speak", "Speak"])?.ids.dims(), [2, 4]);
    expect(error(case(1)?.sequence_length(4)), &["token to pad with"]);
    expect(error(case(1)?.padding("[PAD]")), &["\"[PAD]\"", "320 tokens"]);
    for length in [0, 2] {
        expect(error(case(0)?.sequence_length(length)), &["2 special tokens", "at least 3"]);
    }
    expect(error(case(1)?.max_length(0)), &["a length of 0"]);
    let short = case(0)?.sequence_length(3)?;
    assert_eq!(short.vectorize(["Speak"])?.ids.dims(), [1, 3]);
    expect(error(short.vectorize_pairs([("a", "b")])), &["a pair of texts", "3 special tokens"]);
    assert_eq!(short.special_tokens(false).vectorize_pairs([("a", "b")])?.ids.dims(), [1, 3]);
    let floats = Tensor::zeros([2, 3], Device::Cpu)?;
    expect(error(case(0)?.detokenize(&floats)), &["expects integers", "f32"]);
    assert_eq!(case(0)?.decode(&[4_000_000_000])?, "", "what no token has is left out");
    assert_eq!((case(0)?.token(4_000_000_000), case(0)?.number("no such token")), (None, None));

    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("tokenizer.json");
    expect(error(Tokenizer::load(&file)), &["tokenizer.json", "No such file"]);
    std::fs::write(&file, "{\"model\": 3}").expect("a file");
    expect(error(Tokenizer::load(&file)), &["tokenizer.json", "holds no tokenizer"]);
    std::fs::write(&file, golden["cases"][0]["tokenizer"].to_string()).expect("a file");
    assert_eq!(Tokenizer::load(&file)?.encode("Speak")?, case(0)?.encode("Speak")?);
    // Lengths in the file itself that contradict each other: an error when used, not a panic nor rows of different lengths.
    let mut odd = golden["cases"][0]["tokenizer"].clone();
    odd["truncation"] =
        serde_json::json!({"direction": "Right", "max_length": 1, "strategy": "LongestFirst", "stride": 0});
    expect(error(Tokenizer::from_json(&odd.to_string())?.encode("Speak")), &["2 special tokens"]);
    odd["truncation"] = Value::Null;
    odd["padding"]["strategy"] = serde_json::json!({"Fixed": 4});
    let odd = Tokenizer::from_json(&odd.to_string())?;
    expect(error(odd.vectorize(["Speak", "Speak, speak, speak"])), &["sequence_length"]);
    Ok(())
}

/// A file that was damaged is an error or another tokenizer, never a panic.
#[test]
fn damaged_files_do_not_panic() {
    let golden = golden();
    let mut random = 1u64;
    let mut next = |below: usize| {
        random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (random >> 33) as usize % below
    };
    let (mut read, mut refused) = (0, 0);
    for case in golden["cases"].as_array().expect("cases") {
        let whole = case["tokenizer"].to_string();
        for _ in 0..60 {
            let mut bytes = whole.clone().into_bytes();
            // Digits and letters change, so that many stay JSON.
            for _ in 0..1 + next(4) {
                let at = next(bytes.len());
                if bytes[at].is_ascii_digit() {
                    bytes[at] = b'0' + next(10) as u8;
                } else if bytes[at].is_ascii_alphabetic() {
                    bytes[at] = b'a' + next(26) as u8;
                }
            }
            let Ok(text) = String::from_utf8(bytes) else { continue };
            match Tokenizer::from_json(&text) {
                Ok(made) => {
                    read += 1;
                    let _ = made.encode("Speak, speak.").and_then(|ids| made.decode(&ids));
                    let _ = made.vectorize_pairs([("Speak", "famish"), ("", "naïve")]);
                }
                Err(_) => refused += 1,
            }
        }
    }
    assert!(read > 20 && refused > 10, "{read} read, {refused} refused: the damage should give some of both");
}
