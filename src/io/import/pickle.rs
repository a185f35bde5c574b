//! Pickles, which say what a file of PyTorch's holds: programs for a stack machine that may call any Python function.
//!
//! Here nothing is ever called. Of the functions only those are understood that put tensors and dictionaries together
//! (`torch.rs`), and whatever else a pickle would make is an unknown thing that no tensor depends on. Every instruction of
//! protocols 0 to 5 is known (Python's `pickletools.py` describes them), so that what stands beside the tensors of a
//! checkpoint, such as sets, bytes and objects, never is in the way.

use super::super::budget::Loan;
use std::collections::HashMap;
use std::mem::size_of;
use std::rc::Rc;

#[derive(Clone, Debug)]
pub(super) enum Value {
    None,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(Rc<str>),
    /// One of the machine's objects, by its number: objects may refer to each other in circles.
    Object(usize),
    /// Something that no tensor depends on.
    Other,
    Mark,
}

/// The memory of one or several tensors.
#[derive(Debug)]
pub(super) struct Storage {
    /// The class in Python, without `torch.`: `FloatStorage`.
    pub class: Rc<str>,
    pub key: Rc<str>,
    /// Where it begins in the memory of that key, in elements.
    pub begin: usize,
}

/// A tensor as its call describes it.
#[derive(Clone, Debug)]
pub(super) struct TensorParts {
    pub storage: Rc<Storage>,
    /// The element type by its name in Python, where the storage is one of bytes.
    pub dtype: Option<Rc<str>>,
    pub offset: usize,
    pub dims: Vec<usize>,
    pub strides: Vec<usize>,
}

#[derive(Debug)]
pub(super) enum Object {
    Tuple(Vec<Value>),
    List(Vec<Value>),
    Dict(Vec<(Value, Value)>),
    /// A function or class by its name, `module.name`.
    Global(Rc<str>),
    Storage(Rc<Storage>),
    Tensor(Box<TensorParts>),
    /// A tensor that can't be read, and why.
    Unreadable(Rc<str>),
}

pub(super) fn damaged(what: &str) -> String {
    format!("its pickle is damaged: {what}")
}

/// What a vector's element takes: while a vector grows, it is there beside one of twice its length.
const fn grown<T>() -> usize {
    3 * size_of::<T>()
}
/// Costs are charged together when they are as many bytes.
const BATCH: usize = 1 << 16;

pub(super) struct Machine<'a> {
    /// What is still to be run, and what follows it in the file.
    pub code: &'a [u8],
    pub objects: Vec<Object>,
    stack: Vec<Value>,
    memo: HashMap<u64, Value>,
    loan: Loan<'a>,
    /// Bytes that the loan is still to be charged with.
    spent: usize,
}

impl<'a> Machine<'a> {
    pub fn new(code: &'a [u8], loan: Loan<'a>) -> Machine<'a> {
        Machine { code, objects: Vec::new(), stack: Vec::new(), memo: HashMap::new(), loan, spent: 0 }
    }

    /// Charges memory that is about to be taken.
    pub fn spend(&mut self, bytes: usize) -> Result<(), String> {
        self.spent = self.spent.saturating_add(bytes);
        if self.spent >= BATCH {
            self.loan.try_grow(std::mem::take(&mut self.spent))?;
        }
        Ok(())
    }

    pub fn bytes(&mut self, n: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.code.split_at_checked(n).ok_or_else(|| damaged("it is cut off"))?;
        self.code = rest;
        Ok(taken)
    }

    pub fn word<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (&word, rest) = self.code.split_first_chunk::<N>().ok_or_else(|| damaged("it is cut off"))?;
        self.code = rest;
        Ok(word)
    }

    fn byte(&mut self) -> Result<u8, String> {
        self.word::<1>().map(|[b]| b)
    }

    /// So many bytes as a length of a width in bytes says.
    fn counted(&mut self, width: usize) -> Result<&'a [u8], String> {
        let mut wide = [0; 8];
        let (low, _) = wide.split_at_mut(width);
        low.copy_from_slice(self.bytes(width)?);
        let length = usize::try_from(u64::from_le_bytes(wide));
        self.bytes(length.map_err(|_| damaged("a length is too large"))?)
    }

    fn line(&mut self) -> Result<&'a str, String> {
        std::str::from_utf8(self.line_bytes()?).map_err(|_| damaged("a line is no text"))
    }

    fn line_bytes(&mut self) -> Result<&'a [u8], String> {
        let end = self.code.iter().position(|&b| b == b'\n').ok_or_else(|| damaged("it is cut off"))?;
        let line = self.bytes(end)?;
        self.bytes(1)?;
        // Windows' text files end lines with a carriage return too; protocol 0 is text.
        Ok(line.strip_suffix(b"\r").unwrap_or(line))
    }

    pub fn pop(&mut self) -> Result<Value, String> {
        self.stack.pop().ok_or_else(|| damaged("its stack is empty"))
    }

    fn top(&self) -> Result<&Value, String> {
        self.stack.last().ok_or_else(|| damaged("its stack is empty"))
    }

    /// What was put on the stack since the last mark.
    fn marked(&mut self) -> Result<Vec<Value>, String> {
        let mark = self.stack.iter().rposition(|v| matches!(v, Value::Mark));
        let mark = mark.ok_or_else(|| damaged("a mark is missing"))?;
        self.spend((self.stack.len() - mark) * size_of::<Value>())?;
        let items = self.stack.split_off(mark);
        Ok(items.into_iter().skip(1).collect())
    }

    pub fn push(&mut self, value: Value) -> Result<(), String> {
        self.spend(grown::<Value>())?;
        self.stack.push(value);
        Ok(())
    }

    fn push_text(&mut self, bytes: &[u8]) -> Result<(), String> {
        // A byte that is no text becomes a character of three.
        self.spend(bytes.len().saturating_mul(3))?;
        self.push(Value::Text(String::from_utf8_lossy(bytes).into()))
    }

    pub fn push_object(&mut self, object: Object) -> Result<(), String> {
        self.spend(grown::<Object>())?;
        self.objects.push(object);
        self.push(Value::Object(self.objects.len() - 1))
    }

    pub fn object(&self, value: &Value) -> Option<&Object> {
        match value {
            Value::Object(at) => self.objects.get(*at),
            _ => None,
        }
    }

    pub fn tuple(&self, value: &Value) -> Result<&[Value], String> {
        match self.object(value) {
            Some(Object::Tuple(items)) => Ok(items),
            _ => Err(damaged("a tuple was expected")),
        }
    }

    /// What is on the stack gets these items, if it is a list or a dictionary.
    fn extend(&mut self, items: Vec<Value>) -> Result<(), String> {
        self.spend(items.len() * grown::<Value>())?;
        let Value::Object(at) = *self.top()? else { return Ok(()) };
        match self.objects.get_mut(at) {
            Some(Object::List(list)) => list.extend(items),
            Some(Object::Dict(dict)) => dict.extend(pairs(items)),
            _ => {}
        }
        Ok(())
    }

    fn global(&mut self, module: &str, name: &str) -> Result<(), String> {
        self.spend(2 * (module.len() + name.len()))?;
        self.push_object(Object::Global(format!("{module}.{name}").into()))
    }

    fn store(&mut self, at: u64) -> Result<(), String> {
        self.spend(2 * grown::<(u64, Value)>())?;
        let value = self.top()?.clone();
        self.memo.insert(at, value);
        Ok(())
    }

    fn recall(&mut self, at: u64) -> Result<(), String> {
        let value = self.memo.get(&at).cloned().ok_or_else(|| damaged("it refers to nothing"))?;
        self.push(value)
    }

    /// Runs the program up to its end; what it leaves. Another may follow.
    pub fn run(&mut self) -> Result<Value, String> {
        self.stack.clear();
        self.memo.clear();
        loop {
            match self.byte()? {
                b'.' => return self.pop(),
                code => self.step(code)?,
            }
        }
    }

    fn step(&mut self, code: u8) -> Result<(), String> {
        match code {
            // PROTO, FRAME: versions and lengths that nothing depends on.
            0x80 => self.bytes(1).map(drop),
            0x95 => self.bytes(8).map(drop),
            b'(' => self.push(Value::Mark),
            b'0' => self.pop().map(drop),
            b'1' => self.marked().map(drop),
            b'2' => {
                let top = self.top()?.clone();
                self.push(top)
            }
            // NEXT_BUFFER; READONLY_BUFFER says something about what is on the stack.
            0x97 => self.push(Value::Other),
            0x98 => Ok(()),
            b'N' => self.push(Value::None),
            0x88 => self.push(Value::Bool(true)),
            0x89 => self.push(Value::Bool(false)),
            b'I' | b'J' | b'K' | b'L' | b'M' | 0x8a | 0x8b | b'F' | b'G' => self.number(code),
            b'S' | b'V' | b'T' | b'U' | b'X' | 0x8c | 0x8d | b'B' | b'C' | 0x8e | 0x96 => self.text(code),
            b')'
            | 0x85..=0x87
            | b't'
            | b']'
            | b'l'
            | b'a'
            | b'e'
            | b'}'
            | b'd'
            | b's'
            | b'u'
            | 0x8f
            | 0x90
            | 0x91 => self.collection(code),
            b'p' | b'q' | b'r' | 0x94 | b'g' | b'h' | b'j' => self.memory(code),
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.global(module, name)
            }
            // STACK_GLOBAL
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (Value::Text(module), Value::Text(name)) = (module, name) else {
                    return Err(damaged("a name is no text"));
                };
                self.global(&module, &name)
            }
            // EXT1, EXT2, EXT4: classes by numbers that programs agreed on.
            0x82..=0x84 => {
                self.bytes(1 << (code - 0x82))?;
                self.push(Value::Other)
            }
            // REDUCE, NEWOBJ
            b'R' | 0x81 => {
                let (arguments, function) = (self.pop()?, self.pop()?);
                self.call(&function, &arguments, 0)
            }
            // NEWOBJ_EX, with arguments by name
            0x92 => {
                let (_, arguments, function) = (self.pop()?, self.pop()?, self.pop()?);
                self.call(&function, &arguments, 0)
            }
            // INST, OBJ: a class, and arguments since the last mark
            b'i' => {
                let (module, name) = (self.line()?, self.line()?);
                let arguments = self.marked()?;
                self.global(module, name)?;
                let function = self.pop()?;
                self.call_with(function, arguments)
            }
            b'o' => {
                let mut items = self.marked()?.into_iter();
                let function = items.next().unwrap_or(Value::Other);
                self.call_with(function, items.collect())
            }
            // BUILD: attributes of an object, such as the versions of a state dictionary's modules.
            b'b' => self.pop().map(drop),
            b'P' => {
                let id = self.line()?;
                self.spend(id.len())?;
                self.storage_by_text(id)
            }
            b'Q' => {
                let id = self.pop()?;
                self.storage(&id)
            }
            other => Err(format!("its pickle is damaged: there is no instruction {other:#04x}")),
        }
    }

    fn call_with(&mut self, function: Value, arguments: Vec<Value>) -> Result<(), String> {
        self.push_object(Object::Tuple(arguments))?;
        let arguments = self.pop()?;
        self.call(&function, &arguments, 0)
    }

    fn number(&mut self, code: u8) -> Result<(), String> {
        let value = match code {
            b'J' => Value::Integer(i32::from_le_bytes(self.word()?).into()),
            b'K' => Value::Integer(self.byte()?.into()),
            b'M' => Value::Integer(u16::from_le_bytes(self.word()?).into()),
            // INT: protocol 0 has no other form of a flag
            b'I' => match self.line()? {
                "00" => Value::Bool(false),
                "01" => Value::Bool(true),
                text => text.trim().parse().map_or(Value::Other, Value::Integer),
            },
            b'L' => {
                let text = self.line()?.trim();
                text.strip_suffix('L').unwrap_or(text).parse().map_or(Value::Other, Value::Integer)
            }
            b'F' => self.line()?.trim().parse().map_or(Value::Other, Value::Float),
            b'G' => Value::Float(f64::from_be_bytes(self.word()?)),
            // LONG1, LONG4: little-endian, two's complement
            _ => {
                let bytes = self.counted(if code == 0x8a { 1 } else { 4 })?;
                let fill = if bytes.last().is_some_and(|b| b & 0x80 != 0) { 0xff } else { 0 };
                let (low, high) = bytes.split_at(bytes.len().min(8));
                let mut wide = [fill; 8];
                wide.iter_mut().zip(low).for_each(|(to, &from)| *to = from);
                let value = i64::from_le_bytes(wide);
                // What follows the eighth byte repeats the sign, or the number is too long.
                let fits = high.iter().all(|&b| b == fill) && (high.is_empty() || (value < 0) == (fill != 0));
                if fits { Value::Integer(value) } else { Value::Other }
            }
        };
        self.push(value)
    }

    fn text(&mut self, code: u8) -> Result<(), String> {
        let bytes = match code {
            b'S' => {
                let line = latin(self.line_bytes()?);
                let line = line.trim();
                let quoted = |q| line.strip_prefix(q).and_then(|rest| rest.strip_suffix(q));
                let text =
                    quoted('\'').or_else(|| quoted('"')).ok_or_else(|| damaged("a text has no end"))?;
                self.spend(3 * text.len())?;
                return self.push(Value::Text(unescape(text, true).into()));
            }
            b'V' => {
                let text = latin(self.line_bytes()?);
                self.spend(3 * text.len())?;
                return self.push(Value::Text(unescape(&text, false).into()));
            }
            b'T' | b'X' | b'B' => self.counted(4)?,
            b'U' | 0x8c | b'C' => self.counted(1)?,
            _ => self.counted(8)?,
        };
        match code {
            // BINBYTES, SHORT_BINBYTES, BINBYTES8, BYTEARRAY8
            b'B' | b'C' | 0x8e | 0x96 => self.push(Value::Other),
            _ => self.push_text(bytes),
        }
    }

    fn collection(&mut self, code: u8) -> Result<(), String> {
        match code {
            b')' => self.push_object(Object::Tuple(Vec::new())),
            // TUPLE1 to TUPLE3
            0x85..=0x87 => {
                let n = usize::from(code - 0x84);
                let at = self.stack.len().checked_sub(n).ok_or_else(|| damaged("its stack is empty"))?;
                let items = self.stack.split_off(at);
                self.spend(n * size_of::<Value>())?;
                self.push_object(Object::Tuple(items))
            }
            b't' => {
                let items = self.marked()?;
                self.push_object(Object::Tuple(items))
            }
            b']' => self.push_object(Object::List(Vec::new())),
            b'l' => {
                let items = self.marked()?;
                self.push_object(Object::List(items))
            }
            b'}' => self.push_object(Object::Dict(Vec::new())),
            b'd' => {
                let items = self.marked()?;
                self.push_object(Object::Dict(pairs(items).collect()))
            }
            b'a' => {
                let item = self.pop()?;
                self.extend(vec![item])
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.extend(vec![key, value])
            }
            // APPENDS, SETITEMS
            b'e' | b'u' => {
                let items = self.marked()?;
                self.extend(items)
            }
            // EMPTY_SET, ADDITEMS, FROZENSET: sets can't hold tensors by name.
            0x8f => self.push(Value::Other),
            0x90 => self.marked().map(drop),
            _ => {
                self.marked()?;
                self.push(Value::Other)
            }
        }
    }

    fn memory(&mut self, code: u8) -> Result<(), String> {
        let at = match code {
            b'p' | b'g' => self.line()?.trim().parse().map_err(|_| damaged("a place is no number"))?,
            b'q' | b'h' => self.byte()?.into(),
            0x94 => self.memo.len() as u64,
            _ => u32::from_le_bytes(self.word()?).into(),
        };
        match code {
            b'g' | b'h' | b'j' => self.recall(at),
            _ => self.store(at),
        }
    }
}

/// Keys with their values, out of both in turn.
fn pairs(items: Vec<Value>) -> impl Iterator<Item = (Value, Value)> {
    let mut items = items.into_iter();
    std::iter::from_fn(move || Some((items.next()?, items.next()?)))
}

/// Latin-1, in which protocol 0 writes texts; what that lacks is escaped.
fn latin(bytes: &[u8]) -> String {
    bytes.iter().map(|&b| char::from(b)).collect()
}

/// A text without Python's escapes: of `repr` (protocol 0's bytes), or those of `\uXXXX` alone.
fn unescape(text: &str, all: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        let mut chars = after.chars();
        let Some(kind) = chars.next() else {
            out.push('\\');
            return out;
        };
        let digits = match kind {
            'u' => 4,
            'U' => 8,
            'x' if all => 2,
            _ => 0,
        };
        let simple = match kind {
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            '0' => '\0',
            other => other,
        };
        let code = after.get(1..1 + digits).and_then(|hex| u32::from_str_radix(hex, 16).ok());
        match code.and_then(char::from_u32) {
            Some(c) if digits > 0 => {
                out.push(c);
                rest = after.get(1 + digits..).unwrap_or_default();
            }
            _ => {
                if all {
                    out.push(simple);
                } else {
                    out.push('\\');
                    out.push(kind);
                }
                rest = chars.as_str();
            }
        }
    }
    out.push_str(rest);
    out
}
