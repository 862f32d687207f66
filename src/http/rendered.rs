//! A cache of what a dialect has rendered from objects that many requests share, such as the devices of a user.

use std::mem::size_of;
use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use foldhash::fast::RandomState;
use quick_cache::Weighter;
use quick_cache::sync::{Cache, DefaultLifecycle};

/// The maximum memory of all entries of one cache.
const BYTES_MAX: u64 = 128 * 1024 * 1024;
/// The expected memory of an entry.
const ENTRY_BYTES: u64 = 1024;
/// The number of new entries after which entries of objects that no longer exist are removed, at least.
const SWEEP_AFTER_MIN: usize = 1024;

/// Something that a dialect renders and that occupies memory.
pub trait Rendering {
    /// The bytes that it has allocated.
    fn heap_bytes(&self) -> usize;
}

/// The cache. An entry belongs to the objects in certain `Arc`s. A changed object is in another `Arc`, so an entry is
/// never stale.
pub struct Rendered<T, R> {
    entries: Cache<Key, Arc<Entry<T, R>>, Weight, RandomState>,
    /// The number of entries that were added since the last sweep.
    added: AtomicUsize,
    /// The number of entries that were left after the last sweep.
    swept: AtomicUsize,
}

/// The address of the first object, and the number of objects.
type Key = (usize, usize);

/// A rendering with the objects that it was made from. The weak pointers ensure that no other object gets their
/// addresses.
pub struct Entry<T, R> {
    objects: Box<[Weak<T>]>,
    rendering: R,
}

impl<T, R> Deref for Entry<T, R> {
    type Target = R;

    fn deref(&self) -> &R {
        &self.rendering
    }
}

/// Weighs an entry by its memory in bytes.
#[derive(Clone)]
struct Weight;

impl<T, R: Rendering> Weighter<Key, Arc<Entry<T, R>>> for Weight {
    fn weight(&self, _: &Key, entry: &Arc<Entry<T, R>>) -> u64 {
        let of_cache = 2 * size_of::<(Key, Arc<Entry<T, R>>)>();
        let bytes = of_cache + size_of::<Entry<T, R>>() + size_of_val(&*entry.objects) + entry.rendering.heap_bytes();
        bytes as u64
    }
}

impl<T, R: Rendering> Default for Rendered<T, R> {
    fn default() -> Self {
        let expected = usize::try_from(BYTES_MAX / ENTRY_BYTES).unwrap_or(usize::MAX);
        let entries = Cache::with(expected, BYTES_MAX, Weight, RandomState::default(), DefaultLifecycle::default());
        Self { entries, added: AtomicUsize::new(0), swept: AtomicUsize::new(0) }
    }
}

impl<T, R: Rendering> Rendered<T, R> {
    /// Returns the cached rendering of these objects, or else the result of `render`. It is cached if others than the
    /// caller hold the objects too, because only then can they occur in another request.
    pub fn get<'a>(
        &self,
        objects: impl ExactSizeIterator<Item = &'a Arc<T>> + Clone,
        render: impl FnOnce() -> R,
    ) -> Arc<Entry<T, R>>
    where
        T: 'a,
    {
        let key = objects.clone().next().map(|first| (Arc::as_ptr(first).addr(), objects.len()));
        if let Some(entry) = key.and_then(|key| self.entries.get(&key))
            && entry.objects.iter().map(Weak::as_ptr).eq(objects.clone().map(Arc::as_ptr))
        {
            return entry;
        }
        let is_shared = objects.clone().all(|object| Arc::strong_count(object) > 1);
        let entry = Arc::new(Entry { objects: objects.map(Arc::downgrade).collect(), rendering: render() });
        if let Some(key) = key.filter(|_| is_shared) {
            self.entries.insert(key, entry.clone());
            self.sweep();
        }
        entry
    }

    /// Removes the entries of objects that no longer exist, once as many were added as the last sweep left.
    fn sweep(&self) {
        let added = self.added.fetch_add(1, Ordering::Relaxed) + 1;
        if added >= self.swept.load(Ordering::Relaxed).max(SWEEP_AFTER_MIN) {
            self.added.store(0, Ordering::Relaxed);
            self.entries.retain(|_, entry| entry.objects.iter().all(|object| object.strong_count() > 0));
            self.swept.store(self.entries.len(), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Rendering for String {
        fn heap_bytes(&self) -> usize {
            self.capacity()
        }
    }

    type Texts = Rendered<String, String>;

    fn object(text: &str) -> Arc<String> {
        Arc::new(text.to_owned())
    }

    /// The rendering of the objects, and whether it was made by this call.
    fn get(texts: &Texts, objects: &[Arc<String>]) -> (String, bool) {
        let mut is_new = false;
        let entry = texts.get(objects.iter(), || {
            is_new = true;
            objects.iter().map(|object| object.as_str()).collect()
        });
        (entry.to_string(), is_new)
    }

    #[test]
    fn the_same_objects_are_rendered_once() {
        let texts = Texts::default();
        let held = ["a", "b", "c"].map(object);
        let _also_held = held.clone();
        let table = [(&held[..], "abc"), (&held[..2], "ab"), (&held[..1], "a"), (&held[1..], "bc")];
        for is_new in [true, false] {
            for (objects, expected) in table {
                assert_eq!(get(&texts, objects), (expected.to_owned(), is_new), "{expected}");
            }
        }
        let changed = object("B");
        let with_changed = [held[0].clone(), changed.clone(), held[2].clone()];
        assert_eq!(get(&texts, &with_changed), ("aBc".to_owned(), true));
        assert_eq!(get(&texts, &with_changed), ("aBc".to_owned(), false));
        for _ in 0..2 {
            assert_eq!(get(&texts, &[]), (String::new(), true));
            assert_eq!(get(&texts, &[object("x")]), ("x".to_owned(), true), "nobody else holds it");
        }
        assert_eq!(texts.entries.len(), 4);
    }

    #[test]
    fn the_entries_of_dropped_objects_are_removed() {
        let texts = Texts::default();
        let stays = [object("stays")];
        let _also_held = stays.clone();
        get(&texts, &stays);
        for _ in 0..4 * SWEEP_AFTER_MIN {
            let dropped = [object("dropped")];
            let _also_held = dropped.clone();
            get(&texts, &dropped);
        }
        assert!(texts.entries.len() <= SWEEP_AFTER_MIN, "{}", texts.entries.len());
        assert_eq!(get(&texts, &stays), ("stays".to_owned(), false));
    }

    #[test]
    fn the_memory_is_limited() {
        let texts = Texts::default();
        let held: Vec<Arc<String>> = (0..300).map(|_| object("")).collect();
        let _also_held = held.clone();
        for object in held.chunks(1) {
            texts.get(object.iter(), || "x".repeat(1024 * 1024));
        }
        assert!(texts.entries.weight() <= BYTES_MAX, "{}", texts.entries.weight());
        assert!(texts.entries.len() > 50, "{}", texts.entries.len());
    }
}
