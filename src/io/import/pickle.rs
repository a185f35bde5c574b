//! What `torch.save` writes: a zip archive with a pickle that says which tensors there are, and a file for each tensor's
//! memory.
//!
//! A pickle is a program for a stack machine that may call any Python function. Here nothing is ever called: of the
//! functions only those are understood that put tensors and ordered dictionaries together, and whatever else the pickle
//! would make is an unknown thing that is left out.

use super::super::budget::{Budget, DEEPEST};
use super::super::elements::Stored;
use super::super::zip::{Archive, Entry};
use crate::cpu::Array;
use crate::shape::{MAX_RANK, Shape};
use std::collections::HashMap;
use std::rc::Rc;

/// Tensors of a file may take so many times its size in memory: tied weights, half precision that becomes single.
const MOST_SHARED: usize = 64;

#[derive(Clone, Debug)]
enum Value {
    Integer(i64),
    Text(Rc<str>),
    /// One of the machine's objects, by its number: objects may refer to each other in circles.
    Object(usize),
    /// Something that no tensor depends on.
    Other,
    Mark,
}

#[derive(Debug)]
enum Object {
    Tuple(Vec<Value>),
    List(Vec<Value>),
    Dict(Vec<(Value, Value)>),
    /// A function or class by its name, `module.name`.
    Global(String),
    Storage(Rc<Storage>),
    Tensor(TensorParts),
}

#[derive(Debug)]
struct Storage {
    stored: Stored,
    key: String,
}

#[derive(Clone, Debug)]
struct TensorParts {
    storage: Rc<Storage>,
    offset: usize,
    dims: Vec<usize>,
    strides: Vec<usize>,
}

fn damaged(what: &str) -> String {
    format!("its pickle is damaged: {what}")
}

struct Machine<'a> {
    code: &'a [u8],
    stack: Vec<Value>,
    memo: HashMap<u32, Value>,
    objects: Vec<Object>,
}

impl<'a> Machine<'a> {
    fn bytes(&mut self, n: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.code.split_at_checked(n).ok_or_else(|| damaged("it is cut off"))?;
        self.code = rest;
        Ok(taken)
    }

    fn word<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (&word, rest) = self.code.split_first_chunk::<N>().ok_or_else(|| damaged("it is cut off"))?;
        self.code = rest;
        Ok(word)
    }

    fn byte(&mut self) -> Result<u8, String> {
        self.word::<1>().map(|[b]| b)
    }

    fn length(&mut self) -> Result<usize, String> {
        self.word().map(|w| u32::from_le_bytes(w) as usize)
    }

    fn length8(&mut self) -> Result<usize, String> {
        let length = u64::from_le_bytes(self.word()?);
        usize::try_from(length).map_err(|_| damaged("a length is too large"))
    }

    fn line(&mut self) -> Result<&'a str, String> {
        let end = self.code.iter().position(|&b| b == b'\n').ok_or_else(|| damaged("it is cut off"))?;
        let line = self.bytes(end)?;
        self.bytes(1)?;
        std::str::from_utf8(line).map_err(|_| damaged("a name is no text"))
    }

    fn pop(&mut self) -> Result<Value, String> {
        self.stack.pop().ok_or_else(|| damaged("its stack is empty"))
    }

    fn top(&self) -> Result<&Value, String> {
        self.stack.last().ok_or_else(|| damaged("its stack is empty"))
    }

    /// What was put on the stack since the last mark.
    fn marked(&mut self) -> Result<Vec<Value>, String> {
        let mark = self.stack.iter().rposition(|v| matches!(v, Value::Mark));
        let items = self.stack.split_off(mark.ok_or_else(|| damaged("a mark is missing"))?);
        Ok(items.into_iter().skip(1).collect())
    }

    fn push_text(&mut self, bytes: &[u8]) {
        self.stack.push(Value::Text(String::from_utf8_lossy(bytes).into()));
    }

    fn push(&mut self, object: Object) {
        self.objects.push(object);
        self.stack.push(Value::Object(self.objects.len() - 1));
    }

    fn object(&self, value: &Value) -> Option<&Object> {
        match value {
            Value::Object(at) => self.objects.get(*at),
            _ => None,
        }
    }

    fn tuple(&self, value: &Value) -> Result<&[Value], String> {
        match self.object(value) {
            Some(Object::Tuple(items)) => Ok(items),
            _ => Err(damaged("a tuple was expected")),
        }
    }

    fn sizes(&self, value: &Value) -> Result<Vec<usize>, String> {
        let size = |v: &Value| match v {
            Value::Integer(n) => usize::try_from(*n).map_err(|_| damaged("a tensor's size is negative")),
            _ => Err(damaged("a tensor's size is no number")),
        };
        self.tuple(value)?.iter().map(size).collect()
    }

    /// What is on the stack gets these items, if it is a list or a dictionary.
    fn extend(&mut self, items: Vec<Value>) -> Result<(), String> {
        let Value::Object(at) = *self.top()? else { return Ok(()) };
        match self.objects.get_mut(at) {
            Some(Object::List(list)) => list.extend(items),
            Some(Object::Dict(dict)) => {
                let mut items = items.into_iter();
                while let (Some(key), Some(value)) = (items.next(), items.next()) {
                    dict.push((key, value));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn call(&mut self) -> Result<(), String> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let name = match self.object(&function) {
            Some(Object::Global(name)) => name.clone(),
            _ => String::new(),
        };
        match name.as_str() {
            "collections.OrderedDict" => self.push(Object::Dict(Vec::new())),
            "torch.Size" | "torch._utils._rebuild_parameter" => {
                let first = self.tuple(&arguments)?.first().cloned().unwrap_or(Value::Other);
                self.stack.push(first);
            }
            "torch._utils._rebuild_tensor" | "torch._utils._rebuild_tensor_v2" => {
                let [storage, Value::Integer(offset), dims, strides, ..] = self.tuple(&arguments)? else {
                    return Err(damaged("a tensor lacks its parts"));
                };
                let Some(Object::Storage(storage)) = self.object(storage) else {
                    return Err(damaged("a tensor lacks its storage"));
                };
                let offset = usize::try_from(*offset).map_err(|_| damaged("an offset is negative"))?;
                let (dims, strides) = (self.sizes(dims)?, self.sizes(strides)?);
                let tensor = TensorParts { storage: storage.clone(), offset, dims, strides };
                self.push(Object::Tensor(tensor));
            }
            _ => self.stack.push(Value::Other),
        }
        Ok(())
    }

    /// The storage that a persistent id names: `("storage", type, key, device, length)`.
    fn storage(&mut self) -> Result<(), String> {
        let id = self.pop()?;
        let [Value::Text(_), class, Value::Text(key), ..] = self.tuple(&id)? else {
            return Err(damaged("a storage's name has an unknown form"));
        };
        let Some(Object::Global(class)) = self.object(class) else {
            return Err(damaged("a storage has no type"));
        };
        let stored = match class.as_str() {
            "torch.HalfStorage" => Stored::F16,
            "torch.BFloat16Storage" => Stored::BF16,
            "torch.FloatStorage" => Stored::F32,
            "torch.DoubleStorage" => Stored::F64,
            "torch.CharStorage" => Stored::I8,
            "torch.ShortStorage" => Stored::I16,
            "torch.IntStorage" => Stored::I32,
            "torch.LongStorage" => Stored::I64,
            "torch.ByteStorage" => Stored::U8,
            "torch.BoolStorage" => Stored::Bool,
            other => return Err(format!("holds a tensor of {other}, an element type that wgrad lacks")),
        };
        let storage = Rc::new(Storage { stored, key: key.to_string() });
        self.push(Object::Storage(storage));
        Ok(())
    }

    fn store(&mut self, at: u32) -> Result<(), String> {
        let value = self.top()?.clone();
        self.memo.insert(at, value);
        Ok(())
    }

    fn recall(&mut self, at: u32) -> Result<(), String> {
        let value = self.memo.get(&at).cloned().ok_or_else(|| damaged("it refers to nothing"))?;
        self.stack.push(value);
        Ok(())
    }

    /// Runs the program; what it leaves.
    fn run(&mut self) -> Result<Value, String> {
        loop {
            match self.byte()? {
                // PROTO, FRAME: versions and lengths that nothing depends on.
                0x80 => self.bytes(1).map(drop)?,
                0x95 => self.bytes(8).map(drop)?,
                b'(' => self.stack.push(Value::Mark),
                b'.' => return self.pop(),
                b'0' => self.pop().map(drop)?,
                b'1' => self.marked().map(drop)?,
                b'2' => {
                    let top = self.top()?.clone();
                    self.stack.push(top);
                }
                // NONE, NEWTRUE, NEWFALSE
                b'N' | 0x88 | 0x89 => self.stack.push(Value::Other),
                b'J' => {
                    let n = i32::from_le_bytes(self.word()?);
                    self.stack.push(Value::Integer(n.into()));
                }
                b'K' => {
                    let n = self.byte()?;
                    self.stack.push(Value::Integer(n.into()));
                }
                b'M' => {
                    let n = u16::from_le_bytes(self.word()?);
                    self.stack.push(Value::Integer(n.into()));
                }
                // LONG1: little-endian, two's complement
                0x8a => {
                    let n = usize::from(self.byte()?);
                    let bytes = self.bytes(n)?;
                    let negative = bytes.last().is_some_and(|b| b & 0x80 != 0);
                    let mut wide = [if negative { 0xff } else { 0 }; 8];
                    let value = match wide.get_mut(..n) {
                        Some(low) => {
                            low.copy_from_slice(bytes);
                            Value::Integer(i64::from_le_bytes(wide))
                        }
                        None => Value::Other,
                    };
                    self.stack.push(value);
                }
                b'G' => {
                    self.bytes(8)?;
                    self.stack.push(Value::Other);
                }
                // BINUNICODE, BINSTRING; SHORT_BINUNICODE, SHORT_BINSTRING; BINUNICODE8
                b'X' | b'T' => {
                    let n = self.length()?;
                    let text = self.bytes(n)?;
                    self.push_text(text);
                }
                0x8c | b'U' => {
                    let n = usize::from(self.byte()?);
                    let text = self.bytes(n)?;
                    self.push_text(text);
                }
                0x8d => {
                    let n = self.length8()?;
                    let text = self.bytes(n)?;
                    self.push_text(text);
                }
                // BINBYTES, SHORT_BINBYTES, BINBYTES8
                b'B' => {
                    let n = self.length()?;
                    self.bytes(n)?;
                    self.stack.push(Value::Other);
                }
                b'C' => {
                    let n = usize::from(self.byte()?);
                    self.bytes(n)?;
                    self.stack.push(Value::Other);
                }
                0x8e => {
                    let n = self.length8()?;
                    self.bytes(n)?;
                    self.stack.push(Value::Other);
                }
                b')' => self.push(Object::Tuple(Vec::new())),
                // TUPLE1 to TUPLE3
                code @ 0x85..=0x87 => {
                    let n = usize::from(code - 0x84);
                    let at = self.stack.len().checked_sub(n).ok_or_else(|| damaged("its stack is empty"))?;
                    let items = self.stack.split_off(at);
                    self.push(Object::Tuple(items));
                }
                b't' => {
                    let items = self.marked()?;
                    self.push(Object::Tuple(items));
                }
                b']' => self.push(Object::List(Vec::new())),
                b'l' => {
                    let items = self.marked()?;
                    self.push(Object::List(items));
                }
                b'a' => {
                    let item = self.pop()?;
                    self.extend(vec![item])?;
                }
                b'e' | b'u' | 0x90 => {
                    let items = self.marked()?;
                    self.extend(items)?;
                }
                b'}' => self.push(Object::Dict(Vec::new())),
                // EMPTY_SET
                0x8f => self.stack.push(Value::Other),
                b's' => {
                    let (value, key) = (self.pop()?, self.pop()?);
                    self.extend(vec![key, value])?;
                }
                b'c' => {
                    let (module, name) = (self.line()?, self.line()?);
                    self.push(Object::Global(format!("{module}.{name}")));
                }
                // STACK_GLOBAL
                0x93 => {
                    let (name, module) = (self.pop()?, self.pop()?);
                    let (Value::Text(module), Value::Text(name)) = (module, name) else {
                        return Err(damaged("a name is no text"));
                    };
                    self.push(Object::Global(format!("{module}.{name}")));
                }
                // REDUCE, NEWOBJ
                b'R' | 0x81 => self.call()?,
                // BUILD: attributes of an object, such as the versions of a state dictionary's modules.
                b'b' => self.pop().map(drop)?,
                b'Q' => self.storage()?,
                b'q' => {
                    let at = self.byte()?;
                    self.store(at.into())?;
                }
                b'r' => {
                    let at = u32::from_le_bytes(self.word()?);
                    self.store(at)?;
                }
                0x94 => self.store(self.memo.len() as u32)?,
                b'h' => {
                    let at = self.byte()?;
                    self.recall(at.into())?;
                }
                b'j' => {
                    let at = u32::from_le_bytes(self.word()?);
                    self.recall(at)?;
                }
                other => {
                    return Err(format!(
                        "its pickle uses the instruction {other:#04x}, which no state dictionary needs; {ADVICE}"
                    ));
                }
            }
        }
    }

    /// All tensors in dictionaries and lists, with their keys joined by dots.
    fn tensors(
        &self,
        value: &Value,
        path: &str,
        depth: usize,
        left: &mut usize,
        out: &mut Vec<(String, TensorParts)>,
    ) -> Result<(), String> {
        // A pickle that names one dictionary again and again could hold more than memory does.
        *left = left.checked_sub(1).ok_or_else(|| damaged("it repeats itself"))?;
        if depth > DEEPEST {
            return Err(format!("nests dictionaries more than {DEEPEST} deep; {ADVICE}"));
        }
        let join = |key: &str| if path.is_empty() { key.to_string() } else { format!("{path}.{key}") };
        match self.object(value) {
            Some(Object::Tensor(tensor)) => out.push((path.to_string(), tensor.clone())),
            Some(Object::Dict(items)) => {
                for (key, value) in items {
                    let key = match key {
                        Value::Text(key) => join(key),
                        Value::Integer(key) => join(&key.to_string()),
                        _ => continue,
                    };
                    self.tensors(value, &key, depth + 1, left, out)?;
                }
            }
            Some(Object::List(items) | Object::Tuple(items)) => {
                for (i, value) in items.iter().enumerate() {
                    self.tensors(value, &join(&i.to_string()), depth + 1, left, out)?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

const ADVICE: &str = "save the state dictionary alone, torch.save(model.state_dict(), path)";

/// All tensors of a file that `torch.save` wrote, in its order.
pub(super) fn read(content: &[u8], budget: &Budget) -> Result<Vec<(String, Array)>, String> {
    let mut archive = Archive::open(content, budget)?;
    let names = archive.names()?;
    let Some(folder) = names.iter().find_map(|n| n.strip_suffix("data.pkl")) else {
        return Err("is a zip archive without data.pkl: torch.save wrote no such file".into());
    };
    let pickle = archive.read(&format!("{folder}data.pkl"))?;
    let order = format!("{folder}byteorder");
    let big_endian = names.contains(&order) && *archive.read(&order)? == *b"big";
    let mut machine = Machine { code: &pickle, stack: Vec::new(), memo: HashMap::new(), objects: Vec::new() };
    let root = machine.run()?;
    let mut found = Vec::new();
    machine.tensors(&root, "", 0, &mut (pickle.len() * 4), &mut found)?;
    if found.is_empty() {
        return Err(format!("holds no tensors by name (a whole model, saved with its class?); {ADVICE}"));
    }
    let mut storages: HashMap<String, Entry> = HashMap::new();
    let mut tensors = Vec::new();
    // Tensors may share a storage, but a small file must not make memory run out.
    let mut left = content.len().saturating_mul(MOST_SHARED);
    for (name, parts) in found {
        let key = &parts.storage.key;
        if !storages.contains_key(key) {
            storages.insert(key.clone(), archive.read(&format!("{folder}data/{key}"))?);
        }
        let bytes = storages.get(key).map_or(&[][..], |entry| entry);
        let array = parts.array(bytes, big_endian, budget).map_err(|e| format!("{name} {e}"))?;
        left = left
            .checked_sub(array.shape.numel() * array.dtype().size())
            .ok_or("holds tensors of far more elements than the file has; save them contiguous")?;
        tensors.push((name, array));
    }
    Ok(tensors)
}

impl TensorParts {
    /// The tensor's elements out of its storage's bytes.
    fn array(&self, bytes: &[u8], big_endian: bool, budget: &Budget) -> Result<Array, String> {
        let stored = self.storage.stored;
        let shape = Shape::new(&self.dims).map_err(|e| e.to_string())?;
        if self.strides.len() != self.dims.len() {
            return Err(format!("has {} strides for {shape}", self.strides.len()));
        }
        if shape.numel() == 0 {
            return stored.decode(&[], big_endian, shape, budget);
        }
        let outside = || format!("of {shape} reaches beyond its storage of {} bytes", bytes.len());
        // The last element counts from the first; then all elements that a small file can't mean.
        let span = self.dims.iter().zip(&self.strides).try_fold(1usize, |span, (&d, &s)| {
            (d - 1).checked_mul(s).and_then(|reach| span.checked_add(reach))
        });
        let span = span.ok_or_else(outside)?;
        let start = self.offset.checked_mul(stored.size()).ok_or_else(outside)?;
        let length = span.checked_mul(stored.size()).ok_or_else(outside)?;
        let end = start.checked_add(length).ok_or_else(outside)?;
        let used = bytes.get(start..end).ok_or_else(outside)?;
        if shape.numel() > bytes.len() {
            return Err(format!("of {shape} repeats its {} bytes; save it contiguous", bytes.len()));
        }
        let flat =
            stored.decode(used, big_endian, Shape::new(&[span]).map_err(|e| e.to_string())?, budget)?;
        let mut strides = [0; MAX_RANK];
        for (to, &from) in strides.iter_mut().zip(&self.strides) {
            *to = from as isize;
        }
        flat.with_layout(shape, strides, 0).contiguous().map_err(|e| e.to_string())
    }
}
