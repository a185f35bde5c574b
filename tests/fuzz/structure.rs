//! Changes that keep what readers check first: the lengths of headers, the check sums of archives, the ends of instructions.

use super::mutate::{self, Random};
use serde_json::{Map, Value};
use std::io::{Cursor, Read, Write};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// A safetensors file with another header; JSON in its texts, as the architecture of a model, is changed too.
pub fn safetensors(random: &mut Random, content: &[u8]) -> Vec<u8> {
    if random.one_in(4) {
        return mutate::bytes(random, content);
    }
    let length = u64::from_le_bytes(content[..8].try_into().unwrap()) as usize;
    let (header, data) = content[8..].split_at(length);
    let mut header: Value = serde_json::from_slice(header).unwrap();
    for _ in 0..1 + random.below(2) {
        // All but one in four times in the metadata, where there is one.
        let metadata = header.get_mut("__metadata__").and_then(|m| m.as_object_mut());
        match metadata {
            Some(metadata) if !random.one_in(4) => {
                let names: Vec<String> = metadata.keys().cloned().collect();
                let name = random.pick(&names).cloned().unwrap_or_default();
                let text = metadata.get(&name).and_then(|t| t.as_str()).unwrap_or_default();
                if let Ok(mut inner) = serde_json::from_str::<Value>(text) {
                    json(random, &mut inner);
                    let text = again(random, inner.to_string());
                    metadata.insert(name, text.into());
                }
            }
            _ => json(random, &mut header),
        }
    }
    let header = again(random, header.to_string());
    let mut out = (header.len() as u64).to_le_bytes().to_vec();
    out.extend(header.bytes());
    out.extend(data);
    out
}

/// Now and then a name stands twice.
fn again(random: &mut Random, text: String) -> String {
    let begins: Vec<usize> = text.match_indices(",\"").map(|(at, _)| at).collect();
    match random.pick(&begins) {
        Some(&at) if random.one_in(10) => {
            let end = text[at + 1..].find(",\"").map_or(text.len() - 1, |n| at + 1 + n);
            format!("{}{}{}", &text[..end], &text[at..end], &text[end..])
        }
        _ => text,
    }
}

/// Another value at one place.
pub fn json(random: &mut Random, value: &mut Value) {
    // Down to somewhere.
    let stop = random.one_in(6);
    match value {
        Value::Object(map) if !map.is_empty() && !stop => {
            let names: Vec<String> = map.keys().cloned().collect();
            let Some(name) = random.pick(&names) else { return };
            match random.below(12) {
                0 => drop(map.remove(name)),
                1 => {
                    let taken = map.remove(name).unwrap_or(Value::Null);
                    let other = random.pick(&names).cloned().unwrap_or_default();
                    map.insert(if random.one_in(2) { other } else { format!("{name}x") }, taken);
                }
                _ => json(random, &mut map[name.as_str()]),
            }
        }
        Value::Array(list) if !list.is_empty() && !stop => {
            let at = random.below(list.len());
            match random.below(10) {
                0 => drop(list.remove(at)),
                1 => {
                    let item = list[at].clone();
                    let times = 1 + if random.one_in(4) { random.below(3000) } else { 0 };
                    list.extend(std::iter::repeat_n(item, times));
                }
                2 => {
                    let to = random.below(list.len());
                    list.swap(at, to);
                }
                _ => json(random, &mut list[at]),
            }
        }
        _ => *value = scalar(random, value),
    }
}

fn scalar(random: &mut Random, old: &Value) -> Value {
    match random.below(14) {
        0 => Value::Null,
        1 => Value::Bool(random.one_in(2)),
        2..=5 => random.number(1000).into(),
        6 => (-(random.number(1000) as i64 as i128) as i64).into(),
        7 => (random.next() as f64 / 1e3).into(),
        8 => old.as_f64().map_or(Value::Null, |x| (-x).into()),
        9 => Value::String("x".repeat(random.below(50))),
        10 => Value::Array(vec![old.clone(); random.below(12)]),
        11 => Value::Object(Map::from_iter([("x".to_string(), old.clone())])),
        12 => {
            let mut deep = old.clone();
            for _ in 0..random.below(200) {
                deep = Value::Array(vec![deep]);
            }
            deep
        }
        _ => {
            let texts = [
                "F32", "F64", "I64", "F16", "BOOL", "U8", "C64", "F4", "same", "relu", "", "Dense", "Conv2d",
                "Reshape",
            ];
            Value::String(random.pick(&texts).copied().unwrap_or_default().to_string())
        }
    }
}

/// What changes a file of an archive, given its name and content.
type Change = dyn Fn(&mut Random, &str, &[u8]) -> Vec<u8>;

/// An archive whose files are changed by `inner`, which gets their names, and packed again with check sums that agree.
pub fn archive(random: &mut Random, content: &[u8], inner: &Change) -> Vec<u8> {
    if random.one_in(4) {
        return mutate::bytes(random, content);
    }
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    let mut reader = ZipArchive::new(Cursor::new(content)).unwrap();
    for i in 0..reader.len() {
        let mut file = reader.by_index(i).unwrap();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        files.push((file.name().unwrap().to_string(), bytes));
    }
    let at = random.below(files.len());
    match random.below(16) {
        0 => drop(files.remove(at)),
        1 => files[at].0.push_str(random.pick(&["x", "/", "\0", ".npy", "/../x"]).unwrap()),
        2 => {
            let other = random.below(files.len());
            let taken = std::mem::take(&mut files[at].1);
            files[at].1 = std::mem::replace(&mut files[other].1, taken);
        }
        3 => files[at].1 = vec![0; random.below(3_000_000)],
        _ => files[at].1 = inner(random, &files[at].0, &files[at].1),
    }
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let method = if random.one_in(2) { CompressionMethod::Stored } else { CompressionMethod::Deflated };
    for (name, bytes) in files {
        // A name that stands twice is refused here already.
        if writer.start_file(name, SimpleFileOptions::default().compression_method(method)).is_ok() {
            writer.write_all(&bytes).unwrap();
        }
    }
    writer.finish().unwrap().into_inner()
}

/// The instructions of a pickle: where each begins, up to the end of the last. Of an unknown one none follow.
fn instructions(code: &[u8]) -> Vec<usize> {
    let mut at = 0;
    let mut begins = Vec::new();
    while let Some(&op) = code.get(at) {
        begins.push(at);
        let rest = &code[at + 1..];
        let line = || rest.iter().position(|&b| b == b'\n').map_or(rest.len(), |n| n + 1);
        let counted = |width: usize| {
            let count = rest.iter().take(width).rev().fold(0usize, |n, &b| (n << 8) | usize::from(b));
            width.saturating_add(count)
        };
        let length = match op {
            0x80 | b'K' | b'q' | b'h' | 0x82 => 1,
            b'M' | 0x83 => 2,
            b'J' | b'r' | b'j' | 0x84 => 4,
            b'G' | 0x95 => 8,
            0x8a | 0x8c | b'U' | b'C' => counted(1),
            0x8b | b'X' | b'T' | b'B' => counted(4),
            0x8d | 0x8e | 0x96 => counted(8),
            b'I' | b'L' | b'F' | b'S' | b'V' | b'P' | b'p' | b'g' => line(),
            b'c' | b'i' => {
                let first = line();
                first + rest[first..].iter().position(|&b| b == b'\n').map_or(rest.len() - first, |n| n + 1)
            }
            _ => 0,
        };
        at = at.saturating_add(1).saturating_add(length);
    }
    begins.push(at.min(code.len()));
    begins
}

/// A pickle with instructions lost, repeated, exchanged or new ones, and with other numbers in them.
pub fn pickle(random: &mut Random, code: &[u8]) -> Vec<u8> {
    if random.one_in(4) {
        return mutate::bytes(random, code);
    }
    let mut out = code.to_vec();
    for _ in 0..1 + random.below(3) {
        let begins = instructions(&out);
        let i = random.below(begins.len().saturating_sub(1));
        let last = begins.len() - 1;
        let j = (i + 1 + if random.one_in(3) { random.below(12) } else { 0 }).min(last);
        let (begin, end) = (begins[i.min(last)], begins[j]);
        let to = begins[random.below(begins.len())];
        match random.below(7) {
            0 => drop(out.drain(begin..end)),
            1 => {
                let piece = out[begin..end].to_vec();
                let times = 1 + if random.one_in(6) { random.below(3000) } else { 0 };
                out.splice(to..to, piece.repeat(times));
            }
            // Another place of the memo, size or length.
            2 | 3 => {
                let number = random.number(64).to_le_bytes();
                let width = (end - begin).saturating_sub(1).min(8);
                out.iter_mut().skip(begin + 1).zip(&number[..width]).for_each(|(to, &from)| *to = from);
            }
            4 => {
                let piece = out[begin..end].to_vec();
                out.drain(begin..end);
                let to = to.min(out.len());
                out.splice(to..to, piece);
            }
            5 => {
                let codes = b"()]}NRbsuaet012.Q\x81\x85\x86\x87\x88\x89\x8f\x90\x91\x92\x93\x94\x97\x98lod";
                let code = *random.pick(codes).unwrap();
                let times = 1 + if random.one_in(10) { random.below(100_000) } else { 0 };
                out.splice(to..to, std::iter::repeat_n(code, times));
            }
            _ => {
                let snippets: [&[u8]; 8] = [
                    b"ctorch._utils\n_rebuild_tensor_v2\n",
                    b"ctorch._utils\n_rebuild_parameter\n",
                    b"ctorch._tensor\n_rebuild_from_type_v2\n",
                    b"ccollections\nOrderedDict\n)R",
                    b"h\x00h\x01h\x02\x87",
                    b"J\xff\xff\xff\x7f",
                    b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f",
                    b"2\x86",
                ];
                out.splice(to..to, random.pick(&snippets).unwrap().iter().copied());
            }
        }
    }
    out
}

/// An HDF5 file with other addresses, such as those of its other structures, and other sizes.
pub fn hdf5(random: &mut Random, content: &[u8]) -> Vec<u8> {
    if random.one_in(4) {
        return mutate::bytes(random, content);
    }
    let names: [&[u8]; 16] = [
        b"TREE", b"SNOD", b"HEAP", b"OHDR", b"OCHK", b"FRHP", b"FHDB", b"FHIB", b"BTHD", b"BTLF", b"BTIN",
        b"FAHD", b"FADB", b"EAHD", b"EAIB", b"GCOL",
    ];
    let mut out = content.to_vec();
    let places: Vec<usize> =
        (0..out.len().saturating_sub(4)).filter(|&i| names.contains(&&out[i..i + 4])).collect();
    for _ in 0..1 + random.below(2) {
        // Near a structure's begin, where its fields are, or anywhere.
        let near = random.pick(&places).copied().unwrap_or(0);
        let at = if random.one_in(4) { random.below(out.len()) } else { near + 4 + random.below(160) };
        let width = [1, 2, 4, 8][random.below(4)];
        let number = match random.below(3) {
            0 => random.pick(&places).copied().unwrap_or(0) as u64,
            _ => random.number(out.len()),
        };
        out.iter_mut().skip(at).zip(&number.to_le_bytes()[..width]).for_each(|(to, &from)| *to = from);
    }
    out
}

/// A .npy file with another header.
pub fn npy(random: &mut Random, content: &[u8]) -> Vec<u8> {
    if random.one_in(4) {
        return mutate::bytes(random, content);
    }
    let length = usize::from(u16::from_le_bytes([content[8], content[9]]));
    let header = mutate::text(random, &content[10..10 + length]);
    let mut out = content[..8].to_vec();
    out.extend((header.len() as u16).to_le_bytes());
    out.extend(header);
    out.extend(&content[10 + length..]);
    out
}

/// A gzipped file whose content is changed, with its check sum.
pub fn gzip(random: &mut Random, content: &[u8], inner: &dyn Fn(&mut Random, &[u8]) -> Vec<u8>) -> Vec<u8> {
    if random.one_in(4) {
        return mutate::bytes(random, content);
    }
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(content).read_to_end(&mut plain).unwrap();
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    writer.write_all(&inner(random, &plain)).unwrap();
    writer.finish().unwrap()
}

/// A tar archive whose headers are changed in their fields, with check sums that agree.
pub fn tar(random: &mut Random, content: &[u8]) -> Vec<u8> {
    let mut out = content.to_vec();
    let headers: Vec<usize> = (0..out.len() / 512)
        .map(|i| i * 512)
        .filter(|&at| out[at..].get(257..262) == Some(b"ustar"))
        .collect();
    let Some(&at) = random.pick(&headers) else { return out };
    let Some(header) = out.get_mut(at..at + 512) else { return out };
    match random.below(4) {
        // The size, in octal digits or in binary.
        0 => {
            let text = format!("{:011o}\0", random.number(4000) & 0x1_ffff_ffff);
            header[124..136].copy_from_slice(text.as_bytes());
        }
        1 => {
            header[124] = 0x80;
            header[128..136].copy_from_slice(&random.number(4000).to_be_bytes());
        }
        // What kind of entry it is: a file, a link, a sparse file, a long name.
        2 => header[156] = *random.pick(b"0123456LKSgx\0D").unwrap(),
        _ => return mutate::bytes(random, content),
    }
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|&b| u32::from(b)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    out
}

/// A PNG file whose chunks are changed, with check sums that agree.
pub fn png(random: &mut Random, content: &[u8]) -> Vec<u8> {
    if random.one_in(3) {
        return mutate::bytes(random, content);
    }
    let mut chunks: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let mut rest = &content[8..];
    while rest.len() >= 12 {
        let length = u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
        chunks.push((rest[4..8].to_vec(), rest[8..8 + length].to_vec()));
        rest = &rest[12 + length..];
    }
    let at = random.below(chunks.len());
    let kind = random.below(5);
    match kind {
        0 => drop(chunks.remove(at)),
        1 => {
            let copy = chunks[at].clone();
            chunks.push(copy);
        }
        // Sizes first of all.
        2 | 3 => {
            let header = &mut chunks[0].1;
            let field = random.below(header.len());
            let number = (random.number(5000) as u32).to_be_bytes();
            let from = if field < 8 { field / 4 * 4 } else { field };
            let width = if field < 8 { 4 } else { 1 };
            header.iter_mut().skip(from).zip(&number[4 - width..]).for_each(|(to, &from)| *to = from);
        }
        _ => chunks[at].1 = mutate::bytes(random, &chunks[at].1),
    }
    let mut out = content[..8].to_vec();
    for (kind, data) in chunks {
        out.extend((data.len() as u32).to_be_bytes());
        let mut sum = flate2::Crc::new();
        sum.update(&kind);
        sum.update(&data);
        out.extend(&kind);
        out.extend(&data);
        out.extend(sum.sum().to_be_bytes());
    }
    out
}
