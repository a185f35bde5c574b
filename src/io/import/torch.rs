//! What `torch.save` writes: a zip archive with a pickle that says which tensors there are, and a file for each storage, the
//! memory of one or several tensors; before PyTorch 1.6, pickles and the storages one after the other.

use super::super::budget::{Budget, DEEPEST};
use super::super::elements::Stored;
use super::super::zip::{Archive, Entry};
use super::pickle::{Machine, Object, Storage, TensorParts, Value, damaged};
use crate::cpu::Array;
use crate::shape::Shape;
use std::collections::HashMap;
use std::rc::Rc;

/// What a tensor takes in memory beside its elements, about.
const TENSOR: usize = 512;
/// `torch.serialization.MAGIC_NUMBER`, with which files of the older form begin, in protocols 0 and 1.
const MAGIC_TEXT: &[u8] = b"L119547037146038801333356L\n";
/// The same number in protocols 2 and above.
const MAGIC: &[u8] = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19";

/// The element type of a storage's class.
fn stored_in(class: &str) -> Option<Stored> {
    Some(match class {
        "HalfStorage" => Stored::F16,
        "BFloat16Storage" => Stored::BF16,
        "FloatStorage" => Stored::F32,
        "DoubleStorage" => Stored::F64,
        "CharStorage" => Stored::I8,
        "ShortStorage" => Stored::I16,
        "IntStorage" => Stored::I32,
        "LongStorage" => Stored::I64,
        "ByteStorage" | "UntypedStorage" | "storage.UntypedStorage" => Stored::U8,
        "BoolStorage" => Stored::Bool,
        _ => return None,
    })
}

/// The element type of a `torch.dtype`.
fn stored_as(dtype: &str) -> Option<Stored> {
    Some(match dtype {
        "torch.float8_e4m3fn" => Stored::F8E4M3,
        "torch.float8_e5m2" => Stored::F8E5M2,
        "torch.float16" | "torch.half" => Stored::F16,
        "torch.bfloat16" => Stored::BF16,
        "torch.float32" | "torch.float" => Stored::F32,
        "torch.float64" | "torch.double" => Stored::F64,
        "torch.int8" => Stored::I8,
        "torch.int16" | "torch.short" => Stored::I16,
        "torch.int32" | "torch.int" => Stored::I32,
        "torch.int64" | "torch.long" => Stored::I64,
        "torch.uint8" => Stored::U8,
        "torch.uint16" => Stored::U16,
        "torch.uint32" => Stored::U32,
        "torch.uint64" => Stored::U64,
        "torch.bool" => Stored::Bool,
        _ => return None,
    })
}

/// Bytes of an element of a class of storages, for those too that no tensor can be read from.
fn width(class: &str) -> Option<usize> {
    match class {
        "QInt8Storage" | "QUInt8Storage" | "QUInt4x2Storage" | "QUInt2x4Storage" => Some(1),
        "QInt32Storage" => Some(4),
        "ComplexFloatStorage" => Some(8),
        "ComplexDoubleStorage" => Some(16),
        _ => stored_in(class).map(Stored::size),
    }
}

impl Machine<'_> {
    fn sizes(&self, value: &Value) -> Result<Vec<usize>, String> {
        let size = |v: &Value| match v {
            Value::Integer(n) => usize::try_from(*n).map_err(|_| damaged("a tensor's size is negative")),
            _ => Err(damaged("a tensor's size is no number")),
        };
        // A list where a size was put together by hand.
        let items = match self.object(value) {
            Some(Object::List(items)) => items,
            _ => self.tuple(value)?,
        };
        items.iter().map(size).collect()
    }

    fn name_of(&self, value: &Value) -> Option<Rc<str>> {
        match self.object(value) {
            Some(Object::Global(name)) => Some(name.clone()),
            _ => None,
        }
    }

    /// Puts on the stack what a function gives for these arguments.
    pub fn call(&mut self, function: &Value, arguments: &Value, depth: usize) -> Result<(), String> {
        let name = self.name_of(function).unwrap_or_default();
        let first = |machine: &Self| Ok::<_, String>(machine.tuple(arguments)?.first().cloned());
        match &*name {
            "collections.OrderedDict" | "collections.defaultdict" | "builtins.dict" | "__builtin__.dict" => {
                let items = first(self)?.map_or(Vec::new(), |items| self.dictionary(&items));
                self.spend(items.len() * size_of::<(Value, Value)>())?;
                self.push_object(Object::Dict(items))
            }
            "torch.Size"
            | "torch._utils._rebuild_parameter"
            | "torch._utils._rebuild_parameter_with_state"
            | "torch.nn.parameter.Parameter" => {
                let first = first(self)?.unwrap_or(Value::Other);
                self.push(first)
            }
            // (function, class, arguments, attributes): a subclass of Tensor, or a tensor with attributes of its own.
            "torch._tensor._rebuild_from_type" | "torch._tensor._rebuild_from_type_v2" => {
                let [function, _, arguments, ..] = self.tuple(arguments)? else {
                    return Err(damaged("a tensor lacks its parts"));
                };
                if depth > DEEPEST {
                    return Err(damaged("its calls nest too deep"));
                }
                let (function, arguments) = (function.clone(), arguments.clone());
                self.call(&function, &arguments, depth + 1)
            }
            "torch._utils._rebuild_tensor" | "torch._utils._rebuild_tensor_v2" => {
                self.tensor(arguments, None, 6)
            }
            "torch._utils._rebuild_tensor_v3" => {
                let dtype = self.tuple(arguments)?.get(6).and_then(|dtype| self.name_of(dtype));
                let dtype = dtype.ok_or_else(|| damaged("a tensor lacks its type"))?;
                self.tensor(arguments, Some(dtype), 7)
            }
            // Sparse, quantised, nested, ...: tensors, but none that has its elements in a row.
            other
                if other.starts_with("torch._utils._rebuild")
                    || other.starts_with("torch._tensor._rebuild") =>
            {
                let kind = other.rsplit('.').next().unwrap_or(other);
                let kind = kind.trim_start_matches("_rebuild_").trim_end_matches("_tensor");
                let text =
                    format!("is a tensor of a kind that wgrad lacks ({kind}); make it dense in PyTorch");
                self.push_object(Object::Unreadable(text.into()))
            }
            _ => self.push(Value::Other),
        }
    }

    /// The items that a dictionary is made from: a dictionary, or a list of keys with values.
    fn dictionary(&self, items: &Value) -> Vec<(Value, Value)> {
        match self.object(items) {
            Some(Object::Dict(items)) => items.clone(),
            Some(Object::List(list) | Object::Tuple(list)) => {
                let pair = |value: &Value| match self.object(value) {
                    Some(Object::List(pair) | Object::Tuple(pair)) => match &pair[..] {
                        [key, value] => Some((key.clone(), value.clone())),
                        _ => None,
                    },
                    _ => None,
                };
                list.iter().filter_map(pair).collect()
            }
            _ => Vec::new(),
        }
    }

    fn tensor(&mut self, arguments: &Value, dtype: Option<Rc<str>>, metadata: usize) -> Result<(), String> {
        let parts = self.tuple(arguments)?;
        let [storage, Value::Integer(offset), dims, strides, ..] = parts else {
            return Err(damaged("a tensor lacks its parts"));
        };
        let Some(Object::Storage(storage)) = self.object(storage) else {
            // As `torch.storage._load_from_bytes`: of `pickle.dump` instead of `torch.save`.
            let text = "keeps its elements in another pickle; save it with torch.save";
            return self.push_object(Object::Unreadable(text.into()));
        };
        // Elements that are to be negated or conjugated when they are read.
        if let Some(Object::Dict(bits)) = parts.get(metadata).and_then(|bits| self.object(bits))
            && bits.iter().any(|(_, set)| !matches!(set, Value::Bool(false)))
        {
            let text = "is a view that negates or conjugates; save it with resolve_neg() and resolve_conj()";
            return self.push_object(Object::Unreadable(text.into()));
        }
        let offset = usize::try_from(*offset).map_err(|_| damaged("an offset is negative"))?;
        let (dims, strides) = (self.sizes(dims)?, self.sizes(strides)?);
        let tensor = TensorParts { storage: storage.clone(), dtype, offset, dims, strides };
        self.spend(size_of::<TensorParts>() + 8 * (tensor.dims.len() + tensor.strides.len()))?;
        self.push_object(Object::Tensor(Box::new(tensor)))
    }

    /// The storage that a persistent id names: `("storage", type, key, device, length)`, and in the older form what it is a
    /// part of, `(key, offset, length)`.
    pub fn storage(&mut self, id: &Value) -> Result<(), String> {
        match self.tuple(id)? {
            [Value::Text(kind), class, Value::Text(key), rest @ ..] if &**kind == "storage" => {
                let class = self.name_of(class).ok_or_else(|| damaged("a storage has no type"))?;
                let begin = match rest.get(2).map(|view| self.tuple(view)) {
                    Some(Ok([_, Value::Integer(begin), ..])) => usize::try_from(*begin),
                    _ => Ok(0),
                };
                let begin = begin.map_err(|_| damaged("an offset is negative"))?;
                let key = key.clone();
                self.push_storage(&class, key, begin)
            }
            // ("module", class, source file, source text), of whole models in the older form
            [Value::Text(kind), ..] if &**kind == "module" => self.push(Value::Other),
            _ => Err(damaged("a storage's name has an unknown form")),
        }
    }

    /// As [`storage`](Self::storage), with the id as text, which is all that protocol 0 has:
    /// `('storage', <class 'torch.FloatStorage'>, '0', 'cpu', 4)`.
    pub fn storage_by_text(&mut self, id: &str) -> Result<(), String> {
        let quoted: Vec<&str> = id.split('\'').skip(1).step_by(2).take(3).collect();
        match quoted[..] {
            ["storage", class, key] => self.push_storage(class, key.into(), 0),
            _ => Err(damaged("a storage's name has an unknown form")),
        }
    }

    fn push_storage(&mut self, class: &str, key: Rc<str>, begin: usize) -> Result<(), String> {
        let class = class.strip_prefix("torch.").unwrap_or(class);
        let class = class.strip_prefix("cuda.").unwrap_or(class).into();
        self.spend(size_of::<Storage>() + key.len() + 64)?;
        self.push_object(Object::Storage(Rc::new(Storage { class, key, begin })))
    }
}

/// A walk over dictionaries and lists.
struct Walk<'a> {
    machine: &'a Machine<'a>,
    budget: &'a Budget,
    /// Steps that are left: a pickle that names one dictionary again and again could take for ever.
    left: usize,
    path: String,
    found: Vec<(String, &'a TensorParts)>,
}

impl<'a> Walk<'a> {
    /// Finds all tensors below a value, with their keys joined by dots.
    fn tensors(&mut self, value: &Value, depth: usize) -> Result<(), String> {
        self.step()?;
        if depth > DEEPEST {
            return Err(format!("nests dictionaries more than {DEEPEST} deep; {ADVICE}"));
        }
        match self.machine.object(value) {
            Some(Object::Tensor(tensor)) => {
                self.budget.try_charge(self.path.len() + TENSOR)?;
                self.found.push((self.path.clone(), tensor));
            }
            Some(Object::Unreadable(why)) => return Err(format!("{} {why}", self.path)),
            Some(Object::Dict(items)) => {
                // A key that is set again has its last value, at its first place.
                let mut last: HashMap<String, usize> = HashMap::new();
                let mut order: Vec<(String, &Value)> = Vec::new();
                for (key, value) in items {
                    self.step()?;
                    if !self.leads_somewhere(value) {
                        continue;
                    }
                    let key = self.key(key, order.len());
                    self.budget.try_charge(2 * key.len() + 128)?;
                    match last.get(&key) {
                        Some(&at) => order[at].1 = value,
                        None => {
                            last.insert(key.clone(), order.len());
                            order.push((key, value));
                        }
                    }
                }
                drop(last);
                for (key, value) in order {
                    self.inside(&key, value, depth)?;
                }
            }
            Some(Object::List(items) | Object::Tuple(items)) => {
                for (i, value) in items.iter().enumerate() {
                    self.step()?;
                    if self.leads_somewhere(value) {
                        self.inside(&i.to_string(), value, depth)?;
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn step(&mut self) -> Result<(), String> {
        self.left = self.left.checked_sub(1).ok_or_else(|| damaged("it repeats itself"))?;
        Ok(())
    }

    fn leads_somewhere(&self, value: &Value) -> bool {
        !matches!(self.machine.object(value), None | Some(Object::Global(_) | Object::Storage(_)))
    }

    fn inside(&mut self, key: &str, value: &Value, depth: usize) -> Result<(), String> {
        let length = self.path.len();
        if length > 0 {
            self.path.push('.');
        }
        self.path.push_str(key);
        self.tensors(value, depth + 1)?;
        self.path.truncate(length);
        Ok(())
    }

    /// A key as text, as Python shows it.
    fn key(&self, key: &Value, place: usize) -> String {
        match key {
            Value::Text(text) => text.to_string(),
            Value::Integer(n) => n.to_string(),
            Value::Float(x) => format!("{x:?}"),
            Value::Bool(true) => "True".into(),
            Value::Bool(false) => "False".into(),
            Value::None => "None".into(),
            _ => match self.machine.object(key) {
                Some(Object::Tuple(parts)) => {
                    let parts = parts.iter().take(8).map(|part| match part {
                        Value::Object(_) => "_".to_string(),
                        part => self.key(part, place),
                    });
                    parts.collect::<Vec<_>>().join("_")
                }
                _ => format!("key_{place}"),
            },
        }
    }
}

const ADVICE: &str = "save the state dictionary alone, torch.save(model.state_dict(), path)";

/// All tensors of what a pickle left.
fn tensors<'a>(
    machine: &'a Machine<'a>,
    root: &Value,
    size: usize,
    budget: &'a Budget,
) -> Result<Vec<(String, &'a TensorParts)>, String> {
    let left = size.saturating_mul(4);
    let mut walk = Walk { machine, budget, left, path: String::new(), found: Vec::new() };
    walk.tensors(root, 0)?;
    if walk.found.is_empty() {
        return Err(format!("holds no tensors by name (a whole model, saved with its class?); {ADVICE}"));
    }
    Ok(walk.found)
}

/// All tensors of a zip archive that `torch.save` wrote, in its order.
pub(super) fn read(content: &[u8], budget: &Budget) -> Result<Vec<(String, Array)>, String> {
    let mut archive = Archive::open(content, budget)?;
    let names = archive.names()?;
    let Some(folder) = names.iter().find_map(|n| n.strip_suffix("data.pkl")) else {
        return Err("is a zip archive without data.pkl: torch.save wrote no such file".into());
    };
    let pickle = archive.read(&format!("{folder}data.pkl"))?;
    let order = format!("{folder}byteorder");
    let big_endian = names.contains(&order) && *archive.read(&order)? == *b"big";
    let mut machine = Machine::new(&pickle, budget.try_lend(0)?);
    let root = machine.run()?;
    let mut storages: HashMap<&str, Entry> = HashMap::new();
    let mut arrays = Vec::new();
    for (name, parts) in tensors(&machine, &root, pickle.len(), budget)? {
        let key = &*parts.storage.key;
        if !storages.contains_key(key) {
            let name = format!("{folder}data/{key}");
            // A key may be long, and shared by all tensors.
            budget.try_lend(name.len())?;
            storages.insert(key, archive.read(&name)?);
        }
        let bytes = storages.get(key).map_or(&[][..], |entry| entry);
        let array = parts.array(bytes, big_endian, budget).map_err(|e| format!("{name} {e}"))?;
        arrays.push((name, array));
    }
    Ok(arrays)
}

/// All tensors of a file of the older form: a magic number, a version, facts about the machine, the object, the keys of the
/// storages, and for each its length and its elements, which are little-endian always.
pub(super) fn read_older(content: &[u8], budget: &Budget) -> Result<Vec<(String, Array)>, String> {
    // Behind the version stands, since protocol 4, the length of a frame.
    let binary = [2, 11].iter().any(|&at| content.get(at..).is_some_and(|rest| rest.starts_with(MAGIC)));
    if !binary && !content.starts_with(MAGIC_TEXT) {
        return Err("is a pickle, but none of torch.save; save it with torch.save".into());
    }
    let mut machine = Machine::new(content, budget.try_lend(0)?);
    machine.run()?;
    if !matches!(machine.run()?, Value::Integer(1001)) {
        return Err(
            "is a file of torch.save of an unknown version; load and save it with a newer PyTorch".into()
        );
    }
    machine.run()?;
    let root = machine.run()?;
    let keys = machine.run()?;
    let Some(Object::List(keys)) = machine.object(&keys) else {
        return Err(damaged("the list of its storages is missing"));
    };
    let keys: Vec<Rc<str>> = keys
        .iter()
        .map(|key| match key {
            Value::Text(key) => Ok(key.clone()),
            _ => Err(damaged("the name of a storage is no text")),
        })
        .collect::<Result<_, _>>()?;
    let mut classes: HashMap<Rc<str>, Rc<str>> = HashMap::new();
    for object in &machine.objects {
        if let Object::Storage(storage) = object {
            classes.insert(storage.key.clone(), storage.class.clone());
        }
    }
    let mut storages: HashMap<&str, &[u8]> = HashMap::new();
    for key in &keys {
        let class = classes.get(key).ok_or_else(|| damaged("a storage belongs to nothing"))?;
        let width = width(class).ok_or_else(|| format!("holds a tensor of {class}; {ADVICE}"))?;
        let count = usize::try_from(u64::from_le_bytes(machine.word()?)).ok();
        let length = count.and_then(|count| count.checked_mul(width));
        storages.insert(key, machine.bytes(length.ok_or_else(|| damaged("a length is too large"))?)?);
    }
    let mut arrays = Vec::new();
    for (name, parts) in tensors(&machine, &root, content.len(), budget)? {
        let bytes = storages.get(&*parts.storage.key).ok_or_else(|| format!("{name} lacks its storage"))?;
        let array = parts.array(bytes, false, budget).map_err(|e| format!("{name} {e}"))?;
        arrays.push((name, array));
    }
    Ok(arrays)
}

impl TensorParts {
    fn stored(&self) -> Result<Stored, String> {
        let (found, name) = match &self.dtype {
            Some(dtype) => (stored_as(dtype), dtype.to_string()),
            None => (stored_in(&self.storage.class), format!("torch.{}", self.storage.class)),
        };
        found.ok_or_else(|| format!("holds {name}, an element type that wgrad lacks; convert it in PyTorch"))
    }

    /// The tensor's elements out of its storage's bytes.
    fn array(&self, bytes: &[u8], big_endian: bool, budget: &Budget) -> Result<Array, String> {
        let stored = self.stored()?;
        let shape = Shape::new(&self.dims).map_err(|e| e.to_string())?;
        if self.strides.len() != self.dims.len() {
            return Err(format!("has {} strides for {shape}", self.strides.len()));
        }
        if shape.numel() == 0 {
            return stored.decode(&[], big_endian, shape, budget);
        }
        let outside = || format!("of {shape} reaches beyond its storage of {} bytes", bytes.len());
        // From the first element to the last.
        let span = self.dims.iter().zip(&self.strides).try_fold(1usize, |span, (&d, &s)| {
            (d - 1).checked_mul(s).and_then(|reach| span.checked_add(reach))
        });
        let size = stored.size();
        let begin = self.offset.checked_add(self.storage.begin).and_then(|at| at.checked_mul(size));
        let length = span.and_then(|span| span.checked_mul(size));
        let (Some(begin), Some(length)) = (begin, length) else { return Err(outside()) };
        let used = begin.checked_add(length).and_then(|end| bytes.get(begin..end)).ok_or_else(outside)?;
        let contiguous = shape.strides();
        let in_order = (0..shape.rank()).all(|d| shape[d] == 1 || self.strides[d] == contiguous[d]);
        if in_order {
            return stored.decode(used, big_endian, shape, budget);
        }
        // A view, such as a transposed matrix or one row for all: its elements one after the other.
        let gathered = budget.try_lend(shape.numel().saturating_mul(size))?;
        let mut out = Vec::new();
        let no_memory = |e| format!("of {shape} can't be put in order: there is no memory: {e}");
        out.try_reserve_exact(shape.numel() * size).map_err(no_memory)?;
        let mut index = vec![0; shape.rank()];
        let mut at = 0;
        'elements: loop {
            out.extend_from_slice(used.get(at * size..(at + 1) * size).ok_or_else(outside)?);
            for d in (0..shape.rank()).rev() {
                index[d] += 1;
                at += self.strides[d];
                if index[d] < shape[d] {
                    continue 'elements;
                }
                at -= self.strides[d] * shape[d];
                index[d] = 0;
            }
            break;
        }
        let array = stored.decode(&out, big_endian, shape, budget)?;
        drop(gathered);
        Ok(array)
    }
}
