//! Texts of kernels: each is kept once, with what was found out about it.
//!
//! A plan has hundreds of kernels and few different texts, and the plan for other sizes has the same texts again. A [`Text`] that
//! was seen before is therefore the one of before: a clone is a handle, equal ones are the same address mostly, and what it takes
//! a walk through thousands of letters to find out (what a part of a joined kernel looks like, say) is found out once.

use super::Module;
use super::epilogue::{scalar_epilogue_is_called, splice_epilogue};
use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// The text of a kernel. Reads as a `str`.
#[derive(Clone)]
pub(crate) struct Text(Arc<Kept>);

struct Kept {
    text: Cow<'static, str>,
    hash: u64,
    found: Found,
}

/// What was found out about a text.
#[derive(Default)]
struct Found {
    part: OnceLock<Option<Module>>,
    calls_for_one: OnceLock<bool>,
    mentions: Mutex<Vec<(&'static str, bool)>>,
    /// With other functions in place of its epilogue, by these.
    spliced: Mutex<HashMap<String, Text>>,
}

/// Bytes of texts that are known, with what was found out about them; beyond, all are forgotten. Whoever has one keeps it.
const MOST: usize = 64 << 20;
/// What a text takes beside its letters, about: itself, its place in a list, what is found out of fixed size.
const EACH: usize = 512;

#[derive(Default)]
struct Known {
    by_hash: HashMap<u64, Vec<Text>>,
    /// Of constants, by their addresses.
    by_address: HashMap<(usize, usize), Text>,
    bytes: usize,
}

static KNOWN: Mutex<Option<Known>> = Mutex::new(None);

impl Known {
    /// Makes room for so many bytes more.
    fn grow(&mut self, bytes: usize) {
        if self.bytes + bytes > MOST {
            *self = Known::default();
        }
        self.bytes += bytes;
    }
}

/// Counts what was found out about a text.
fn grow(bytes: usize) {
    lock(&KNOWN).get_or_insert_default().grow(bytes);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// By a few places of the text; equality compares everything.
fn hash_of(text: &str) -> u64 {
    const PLACES: usize = 32;
    let mix = |h: u64, w: u64| (h ^ w).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
    let word = |chunk: &[u8]| chunk.iter().take(8).fold(0, |w, &b| w << 8 | u64::from(b));
    let chunks = text.as_bytes().chunks(text.len().div_ceil(PLACES).max(1));
    chunks.map(word).fold(text.len() as u64, mix)
}

impl From<Cow<'static, str>> for Text {
    fn from(text: Cow<'static, str>) -> Text {
        let mut known = lock(&KNOWN);
        let known = known.get_or_insert_default();
        let address = match &text {
            Cow::Borrowed(t) => Some((t.as_ptr() as usize, t.len())),
            Cow::Owned(_) => None,
        };
        if let Some(found) = address.and_then(|address| known.by_address.get(&address)) {
            return found.clone();
        }
        let hash = hash_of(&text);
        let found = known.by_hash.get(&hash).and_then(|list| list.iter().find(|t| ***t == *text)).cloned();
        let found = found.unwrap_or_else(|| {
            known.grow(EACH + text.len());
            let new = Text(Arc::new(Kept { text, hash, found: Found::default() }));
            known.by_hash.entry(hash).or_default().push(new.clone());
            new
        });
        if let Some(address) = address {
            known.by_address.insert(address, found.clone());
        }
        found
    }
}

impl From<&'static str> for Text {
    fn from(text: &'static str) -> Text {
        Text::from(Cow::Borrowed(text))
    }
}

impl From<String> for Text {
    fn from(text: String) -> Text {
        Text::from(Cow::Owned(text))
    }
}

impl Text {
    /// As part of another kernel, as `make` finds it to be: always the same function.
    pub fn part(&self, make: impl FnOnce(&str) -> Option<Module>) -> Option<&Module> {
        let found = || make(self).inspect(|module| grow(module.bytes()));
        self.0.found.part.get_or_init(found).as_ref()
    }

    /// Tells texts apart, as long as they are there; equal ones may have several.
    pub fn address(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }

    /// Whether the word occurs.
    pub fn mentions(&self, word: &'static str) -> bool {
        let mut known = lock(&self.0.found.mentions);
        if let Some(found) = known.iter().find(|k| k.0 == word) {
            return found.1;
        }
        let found = self.contains(word);
        known.push((word, found));
        found
    }

    /// Whether it calls `epilogue`, for one element, and not only `epilogue4`.
    pub fn calls_scalar_epilogue(&self) -> bool {
        *self.0.found.calls_for_one.get_or_init(|| scalar_epilogue_is_called(self))
    }

    /// With these declarations, which define both functions of its epilogue, in place of its own.
    pub fn with_epilogue(&self, functions: String) -> Text {
        if let Some(found) = lock(&self.0.found.spliced).get(&functions) {
            return found.clone();
        }
        let spliced = Text::from(splice_epilogue(self, &functions));
        grow(EACH + functions.len());
        lock(&self.0.found.spliced).insert(functions, spliced.clone());
        spliced
    }
}

impl Deref for Text {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0.text
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Text) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.hash == other.0.hash && **self == **other
    }
}

impl Eq for Text {}

impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0.hash);
    }
}

impl std::fmt::Debug for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(&**self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::super::EPILOGUES;
    use super::*;

    #[test]
    fn a_text_is_kept_once() {
        let text = "fn of_this_test() {}";
        let [a, b] = [Text::from(text.to_string()), Text::from(Cow::Borrowed(text))];
        assert!(Arc::ptr_eq(&a.0, &b.0) && a == b);
        assert_eq!(&*a, text);
        let other = Text::from("fn of_this_tesT() {}".to_string());
        assert!(a != other);
        // Of equal hashes too: they are of few places.
        let long = |c: char| Text::from(format!("{}{c}{}", "x".repeat(5_000), "y".repeat(4_999)));
        assert!(long('a') != long('b') && long('a') == long('a'));
    }

    #[test]
    fn what_was_found_out_is_the_text_s_own() {
        let kernel = format!("{}\n{}\nfn f() {{ epilogue4(v, i); }}", EPILOGUES[0], EPILOGUES[1]);
        let kernel = Text::from(kernel);
        assert!(!kernel.calls_scalar_epilogue());
        assert!(
            kernel.mentions("epilogue4(v, i)") && !kernel.mentions("absent") && !kernel.mentions("absent")
        );
        let [one, two] = ["fn epilogue() { 1; }", "fn epilogue() { 2; }"].map(String::from);
        let with = kernel.with_epilogue(one.clone());
        assert!(with.contains(&one) && kernel.with_epilogue(two.clone()).contains(&two));
        assert!(Arc::ptr_eq(&with.0, &kernel.with_epilogue(one).0));
    }

    #[test]
    fn texts_are_forgotten_by_all_that_hangs_on_them() {
        let mut known = Known::default();
        let text = Text::from("fn of_another_test() {}");
        known.by_address.insert((0, 0), text.clone());
        known.grow(MOST);
        assert_eq!(known.by_address.len(), 1);
        known.grow(1);
        assert_eq!((known.by_address.len(), known.bytes), (0, 1));
        // What was found out counts, once.
        let kernel = format!("@compute @workgroup_size(64)\nfn main() {{}}\n{}", "fn f() {}\n".repeat(1000));
        let module = Module::parse(&kernel).unwrap();
        assert!(module.bytes() > kernel.len() - 100, "{}", module.bytes());
    }
}
