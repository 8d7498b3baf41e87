// SPDX-License-Identifier: GPL-2.0

//! A model of memory and its caches: the current contents, the durable contents, and the contents
//! that a power failure can leave.

use std::collections::BTreeMap;

use crate::random::Random;

use super::trace::Event;

/// The size of a cache line in bytes.
pub const LINE: usize = 64;

/// The size of a store that a power failure cannot tear, in bytes.
const WORD: usize = 8;

/// The contents of a line.
pub type Bytes = [u8; LINE];

/// A line with contents that are not durable.
#[derive(Default)]
struct Line {
    /// The number of the first store to the line.
    order: u64,
    /// Whether the line is in the cache, and was not written back.
    is_dirty: bool,
    /// The contents that the next fence makes durable, and whether only programs have stored them.
    arriving: Option<(Bytes, bool)>,
    /// Earlier contents since the line was durable, which later stores have overwritten.
    earlier: Vec<Bytes>,
}

/// A line that is not durable, with all contents that a power failure can leave instead of the
/// durable contents. The current contents are last.
struct InFlight {
    at: usize,
    order: u64,
    contents: Vec<Bytes>,
}

/// A state after a power failure: the durable contents, in which these lines are replaced.
pub type Lines = Vec<(usize, Bytes)>;

/// The states that were chosen from all possible ones.
pub struct Chosen {
    pub states: Vec<Lines>,
    /// The number of lines that are not durable.
    pub in_flight: usize,
    /// Whether these are all possible states.
    pub are_all: bool,
}

/// A memory with caches.
pub struct Cache {
    memory: Vec<u8>,
    durable: Vec<u8>,
    lines: BTreeMap<usize, Line>,
    stores: u64,
}

impl Cache {
    /// Makes a cache without lines: all of `memory` is durable.
    pub fn new(memory: Vec<u8>) -> Self {
        Self {
            durable: memory.clone(),
            memory,
            lines: BTreeMap::new(),
            stores: 0,
        }
    }

    /// The contents that the guest sees.
    pub fn memory(&self) -> &[u8] {
        &self.memory
    }

    /// The durable contents.
    pub fn durable(&self) -> &[u8] {
        &self.durable
    }

    /// Replays an event of the guest.
    ///
    /// # Panics
    ///
    /// If its address is beyond the memory.
    pub fn apply(&mut self, event: &Event<'_>) {
        match *event {
            Event::Store {
                at,
                bytes,
                bypasses,
                is_program,
            } => self.store(at, bytes, bypasses, is_program),
            Event::WriteBack { at } => {
                let bytes = line_of(&self.memory, at);

                if let Some(line) = self.lines.get_mut(&at).filter(|line| line.is_dirty) {
                    line.is_dirty = false;
                    line.arriving = Some((bytes, false));
                }
            }
            Event::Fence { is_program } => self.fence(is_program),
            Event::Mark(_) => {}
        }
    }

    /// Stores bytes, all in one line.
    fn store(&mut self, at: usize, bytes: &[u8], bypasses: bool, is_program: bool) {
        let start = at / LINE * LINE;
        let before = line_of(&self.memory, start);
        let is_new = !self.lines.contains_key(&start);
        let line = self.lines.entry(start).or_default();
        let old = &self.durable[at..at + bytes.len()];
        // A power failure between two stores to the same bytes can leave the bytes of the first
        // store.
        let overwrites = old
            .iter()
            .zip(bytes)
            .zip(&self.memory[at..])
            .any(|((old, new), was)| was != old && was != new);

        if is_new {
            line.order = self.stores;
        }
        if overwrites {
            line.earlier.push(before);
        }
        self.stores += 1;
        self.memory[at..at + bytes.len()].copy_from_slice(bytes);
        if bypasses {
            let only_programs = line.arriving.is_none_or(|(_, only)| only) && is_program;

            line.arriving = Some((line_of(&self.memory, start), only_programs));
        } else {
            line.is_dirty = true;
        }
    }

    /// Makes all arriving lines durable. The fence of a program does so only for lines that
    /// programs have stored.
    fn fence(&mut self, is_program: bool) {
        let (memory, durable) = (&self.memory, &mut self.durable);

        self.lines.retain(|at, line| {
            match line.arriving {
                Some((bytes, only_programs)) if only_programs || !is_program => {
                    durable[*at..*at + LINE].copy_from_slice(&bytes);
                    line.arriving = None;
                    line.earlier.clear();
                }
                _ => {}
            }
            line.is_dirty
                || line.arriving.is_some()
                || line_of(memory, *at) != line_of(durable, *at)
        });
    }

    /// The lines for which a power failure can leave different contents.
    fn in_flight(&self) -> Vec<InFlight> {
        let mut lines: Vec<_> = self
            .lines
            .iter()
            .filter_map(|(at, line)| {
                let old = line_of(&self.durable, *at);
                let now = line_of(&self.memory, *at);
                let mut contents: Vec<_> = line.earlier.clone();

                contents.retain(|bytes| *bytes != old && *bytes != now);
                contents.dedup();
                if now != old {
                    contents.push(now);
                }
                (!contents.is_empty()).then_some(InFlight {
                    at: *at,
                    order: line.order,
                    contents,
                })
            })
            .collect();

        lines.sort_by_key(|line| line.order);
        lines
    }

    /// Returns states that a power failure can leave now. If there are at most `limit`, these are
    /// all states. Otherwise they are the state without the lines, the state with all lines, and
    /// random states.
    pub fn choose(&self, limit: usize, random: &mut Random) -> Chosen {
        let lines = self.in_flight();
        let count = lines.iter().try_fold(1_usize, |count, line| {
            count.checked_mul(1 + line.contents.len())
        });
        let all = count.filter(|count| *count <= limit);
        let states = match all {
            Some(count) => (0..count).map(|number| nth(&lines, number)).collect(),
            None => [Vec::new(), newest(&lines)]
                .into_iter()
                .chain((2..limit).map(|_| self.sample(&lines, random)))
                .collect(),
        };

        Chosen {
            states,
            in_flight: lines.len(),
            are_all: all.is_some(),
        }
    }

    /// Returns a random state.
    fn sample(&self, lines: &[InFlight], random: &mut Random) -> Lines {
        let one = random.below(lines.len());
        let percent = [10, 50, 90][random.below(3)];
        let which = random.below(6);
        let mut state = Lines::new();

        for (index, line) in lines.iter().enumerate() {
            let has_arrived = match which {
                // All lines but one line have arrived, or only one line.
                0 => index != one,
                1 => index == one,
                // The first lines have arrived, or the last ones.
                2 => index <= one,
                3 => index >= one,
                _ => random.below(100) < percent,
            };

            if has_arrived {
                state.push((line.at, self.contents_after_failure(line, random)));
            }
        }
        state
    }

    /// Returns random contents of a line after a power failure: mostly the current contents,
    /// sometimes earlier contents, and sometimes only some words of such contents.
    fn contents_after_failure(&self, line: &InFlight, random: &mut Random) -> Bytes {
        let last = line.contents.len() - 1;
        let bytes = match random.once_in(4) {
            true => line.contents[random.below(last + 1)],
            false => line.contents[last],
        };

        if !random.once_in(8) {
            return bytes;
        }

        let mut torn = line_of(&self.durable, line.at);

        for (to, from) in torn.chunks_mut(WORD).zip(bytes.chunks(WORD)) {
            if random.once_in(2) {
                to.copy_from_slice(from);
            }
        }
        torn
    }
}

fn line_of(memory: &[u8], at: usize) -> Bytes {
    let mut bytes = [0; LINE];

    bytes.copy_from_slice(&memory[at..at + LINE]);
    bytes
}

/// The state with this number. The number is read as one digit for each line, which selects the
/// contents of the line.
fn nth(lines: &[InFlight], mut number: usize) -> Lines {
    let mut state = Lines::new();

    for line in lines {
        let base = line.contents.len() + 1;

        if let Some(which) = (number % base).checked_sub(1) {
            state.push((line.at, line.contents[which]));
        }
        number /= base;
    }
    state
}

fn newest(lines: &[InFlight]) -> Lines {
    lines
        .iter()
        .filter_map(|line| Some((line.at, *line.contents.last()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const KERNEL: bool = false;
    const PROGRAM: bool = true;

    fn store(cache: &mut Cache, at: usize, byte: u8, bypasses: bool, is_program: bool) {
        cache.apply(&Event::Store {
            at,
            bytes: &[byte; WORD],
            bypasses,
            is_program,
        });
    }

    /// The first bytes of the two lines in all possible states.
    fn states(cache: &Cache) -> BTreeSet<(u8, u8)> {
        let chosen = cache.choose(100, &mut Random::new(1));

        assert!(chosen.are_all);
        chosen
            .states
            .iter()
            .map(|lines| {
                let mut durable = cache.durable().to_vec();

                for (at, bytes) in lines {
                    durable[*at..*at + LINE].copy_from_slice(bytes);
                }
                (durable[0], durable[LINE])
            })
            .collect()
    }

    fn set(states: &[(u8, u8)]) -> BTreeSet<(u8, u8)> {
        states.iter().copied().collect()
    }

    fn new() -> Cache {
        Cache::new(vec![0; 2 * LINE])
    }

    #[test]
    fn lines_arrive_in_any_order() {
        let mut cache = new();

        assert_eq!(states(&cache), set(&[(0, 0)]));
        store(&mut cache, 0, 1, true, KERNEL);
        store(&mut cache, LINE, 1, false, KERNEL);
        assert_eq!(states(&cache), set(&[(0, 0), (0, 1), (1, 0), (1, 1)]));
    }

    #[test]
    fn fence_makes_durable_what_was_written_back() {
        let mut cache = new();

        store(&mut cache, 0, 1, false, KERNEL);
        store(&mut cache, LINE, 1, false, KERNEL);
        cache.apply(&Event::WriteBack { at: LINE });
        cache.apply(&Event::Fence { is_program: KERNEL });
        assert_eq!(states(&cache), set(&[(0, 1), (1, 1)]));
        cache.apply(&Event::WriteBack { at: 0 });
        assert_eq!(states(&cache), set(&[(0, 1), (1, 1)]));
        cache.apply(&Event::Fence { is_program: KERNEL });
        assert_eq!(states(&cache), set(&[(1, 1)]));
    }

    #[test]
    fn store_after_a_write_back_is_not_durable() {
        let mut cache = new();

        store(&mut cache, 0, 1, false, KERNEL);
        cache.apply(&Event::WriteBack { at: 0 });
        store(&mut cache, 0, 2, false, KERNEL);
        assert_eq!(states(&cache), set(&[(0, 0), (1, 0), (2, 0)]));
        cache.apply(&Event::Fence { is_program: KERNEL });
        assert_eq!(states(&cache), set(&[(1, 0), (2, 0)]));
    }

    #[test]
    fn fence_of_a_program_is_only_for_stores_of_programs() {
        let mut cache = new();

        store(&mut cache, 0, 1, true, PROGRAM);
        store(&mut cache, LINE, 1, true, KERNEL);
        cache.apply(&Event::Fence {
            is_program: PROGRAM,
        });
        assert_eq!(states(&cache), set(&[(1, 0), (1, 1)]));
        cache.apply(&Event::Fence { is_program: KERNEL });
        assert_eq!(states(&cache), set(&[(1, 1)]));
    }

    #[test]
    fn samples_include_the_extremes() {
        let mut cache = Cache::new(vec![0; 20 * LINE]);

        for line in 0..20 {
            store(&mut cache, line * LINE, 1, line % 2 == 0, KERNEL);
        }

        let chosen = cache.choose(50, &mut Random::new(1));

        assert!(!chosen.are_all);
        assert_eq!((chosen.states.len(), chosen.in_flight), (50, 20));
        assert!(chosen.states.contains(&Vec::new()));
        assert!(chosen.states.iter().any(|lines| lines.len() == 20));
        assert!(chosen.states.iter().any(|lines| lines.len() == 19));
    }
}
