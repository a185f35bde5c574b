//! What makes two operations the same for the plan cache: their type and all of their fields.
//!
//! A name does not: two operations may share one, and a field that was left out of a key would be a wrong plan, replayed one day.
//! So nobody writes keys. An operation derives `Hash`, which can't leave a field out, and a [`Key`] keeps what it is fed instead
//! of mixing it. What may change from step to step (a scalar, a random key) feeds nothing: it is an argument of the plan.

use std::any::{Any, TypeId};
use std::hash::{Hash, Hasher};

/// What identifies operations and their graph. Whole keys are compared, never their hash alone.
#[derive(Default, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Key {
    words: Vec<u64>,
    types: Vec<TypeId>,
}

impl Key {
    pub fn clear(&mut self) {
        self.words.clear();
        self.types.clear();
    }

    /// Bytes that it holds.
    pub fn bytes(&self) -> usize {
        self.words.capacity() * size_of::<u64>() + self.types.capacity() * size_of::<TypeId>()
    }

    /// Adds all that another has.
    pub fn extend(&mut self, other: &Key) {
        self.words.push(other.words.len() as u64);
        self.words.extend_from_slice(&other.words);
        self.types.extend_from_slice(&other.types);
    }

    pub fn push(&mut self, word: u64) {
        self.words.push(word);
    }

    /// The type itself; only half of its bits would be among the words that `Hash` feeds.
    pub fn push_type(&mut self, id: TypeId) {
        self.types.push(id);
        id.hash(self);
    }
}

/// Keeps what is hashed. Every value takes whole words and bytes begin with their number, so that two operations don't give the
/// same words by chance of where fields end.
impl Hasher for Key {
    fn finish(&self) -> u64 {
        let mix = |h: u64, &w: &u64| (h ^ w).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
        self.words.iter().fold(self.words.len() as u64, mix)
    }

    fn write(&mut self, bytes: &[u8]) {
        self.words.push(bytes.len() as u64);
        for part in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            self.words.push(u64::from_ne_bytes(word));
        }
    }

    fn write_u8(&mut self, v: u8) {
        self.words.push(v.into());
    }

    fn write_u32(&mut self, v: u32) {
        self.words.push(v.into());
    }

    fn write_u64(&mut self, v: u64) {
        self.words.push(v);
    }

    fn write_usize(&mut self, v: usize) {
        self.words.push(v as u64);
    }
}

/// What an operation is: every type that derives `Hash` has it.
pub(crate) trait Identity {
    /// Adds the type and the fields.
    fn identify(&self, key: &mut Key);

    /// For those who have to know one type among all.
    fn as_any(&self) -> &dyn Any;
}

impl<T: Any + Hash> Identity for T {
    fn identify(&self, key: &mut Key) {
        key.push_type(TypeId::of::<T>());
        self.hash(key);
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn key(of: &(impl Identity + ?Sized)) -> Key {
        let mut key = Key::default();
        of.identify(&mut key);
        key
    }

    #[derive(Hash)]
    struct Scale {
        axis: usize,
        by: [u32; 2],
        reversed: bool,
    }

    /// The same fields under another name.
    #[derive(Hash)]
    struct Shift {
        axis: usize,
        by: [u32; 2],
        reversed: bool,
    }

    #[test]
    fn every_field_and_the_type_count() {
        let scale = |axis, by, reversed| key(&Scale { axis, by, reversed });
        let one = scale(1, [2, 3], false);
        assert_eq!(one, scale(1, [2, 3], false));
        for other in [scale(0, [2, 3], false), scale(1, [2, 4], false), scale(1, [2, 3], true)] {
            assert_ne!(one, other);
            assert_ne!(one.finish(), other.finish());
        }
        assert_ne!(one, key(&Shift { axis: 1, by: [2, 3], reversed: false }));
    }

    #[test]
    fn types_count_where_their_hashes_are_equal() {
        let key = |id: TypeId| Key { words: vec![7], types: vec![id] };
        assert_ne!(key(TypeId::of::<Scale>()), key(TypeId::of::<Shift>()));
    }

    /// The pass of a convolution, the kind of a pooling and of a cross-entropy, the logarithm of a softmax are fields, too.
    #[test]
    fn operations_of_equal_sizes_differ() -> crate::Result<()> {
        use crate::{Conv2dOptions, Device, Padding, Pool2dOptions, Tensor};
        let x = Tensor::randn([1, 3, 3, 1], Device::Cpu, 1)?.watch()?;
        let w = Tensor::randn([3, 3, 1, 1], Device::Cpu, 2)?.watch()?;
        let options = Conv2dOptions { padding: Padding::Same, ..Default::default() };
        let pool = Pool2dOptions { stride: [1, 1], ..Pool2dOptions::new([1, 1]) };
        let weight_grad = x.conv2d(&w, options)?.sum(.., false)?.backward()?.get(&w)?;
        let mut all = vec![x.conv2d(&w, options)?, x.max_pool2d(pool)?, x.avg_pool2d(pool)?];
        for y in all.clone() {
            all.push(y.sum(.., false)?.backward()?.get(&x)?);
        }
        all.push(weight_grad);
        all.extend([x.softmax(-1)?, x.log_softmax(-1)?, x.sum(-1, true)?, x.max(-1, true)?]);
        all.extend([x.argmax(-1, true)?, x.argmin(-1, true)?, x.exp()?, x.log()?, x.eq(&x)?, x.ne(&x)?]);
        let (mut keys, mut stack) = (BTreeMap::new(), all);
        while let Some(t) = stack.pop() {
            keys.insert(t.0.op.name(), key(&*t.0.op));
            stack.extend(t.0.inputs());
        }
        let passes = ["conv2d", "conv2d_input_grad", "conv2d_weight_grad", "max_pool2d", "max_pool2d_grad"];
        let kinds = ["avg_pool2d", "avg_pool2d_grad", "softmax", "log_softmax", "argmax", "argmin"];
        assert!(passes.iter().chain(&kinds).all(|name| keys.contains_key(name)), "{:?}", keys.keys());
        for (name, key) in &keys {
            assert!(keys.iter().all(|(other, k)| name == other || k != key), "{name}");
        }
        Ok(())
    }

    #[test]
    fn fields_end_where_they_end() {
        let pairs: [(&dyn Identity, &dyn Identity); 3] = [
            (&(vec![1u64], vec![2u64, 3]), &(vec![1u64, 2], vec![3u64])),
            (&("ab".to_string(), "c".to_string()), &("a".to_string(), "bc".to_string())),
            (&vec![0u8; 7], &vec![0u8; 8]),
        ];
        for (a, b) in pairs {
            assert_ne!(key(a), key(b));
        }
    }
}
