// SPDX-License-Identifier: GPL-2.0

//! What is in memory, what of it is durable, and what may be left in between.

use std::collections::BTreeMap;

use crate::random::Random;

use super::trace::Event;

/// Size in bytes of a line of the caches, and of what the processor stores as a whole.
pub const LINE: usize = 64;
const WORD: usize = 8;

/// What a line holds.
pub type Bytes = [u8; LINE];

/// A line that is not durable as it is.
#[derive(Default)]
struct Line {
    /// When the first store to it came.
    order: u64,
    /// It lies in the cache: it stays there until it is written back.
    is_dirty: bool,
    /// What a fence makes durable, and whether only programs have stored it.
    arriving: Option<(Bytes, bool)>,
    /// What it held since it was durable, and was stored over.
    earlier: Vec<Bytes>,
}

/// A line with what may be left of it if not what is durable, the last being what it holds now.
struct InFlight {
    at: usize,
    order: u64,
    contents: Vec<Bytes>,
}

/// What is left by a power failure: what is durable, and these lines.
pub type Lines = Vec<(usize, Bytes)>;

/// The states that were chosen of those that there may be.
pub struct Chosen {
    pub states: Vec<Lines>,
    /// Lines that are not durable.
    pub in_flight: usize,
    /// There are no others.
    pub are_all: bool,
}

/// A memory with the caches before it.
pub struct Cache {
    memory: Vec<u8>,
    durable: Vec<u8>,
    lines: BTreeMap<usize, Line>,
    stores: u64,
}

impl Cache {
    /// All is durable.
    pub fn new(memory: Vec<u8>) -> Self {
        Self {
            durable: memory.clone(),
            memory,
            lines: BTreeMap::new(),
            stores: 0,
        }
    }

    /// What the guest sees.
    pub fn memory(&self) -> &[u8] {
        &self.memory
    }

    /// What is left in any case.
    pub fn durable(&self) -> &[u8] {
        &self.durable
    }

    /// Does what the guest did.
    ///
    /// # Panics
    ///
    /// If it is beyond the memory.
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

    /// Stores to one line.
    fn store(&mut self, at: usize, bytes: &[u8], bypasses: bool, is_program: bool) {
        let start = at / LINE * LINE;
        let before = line_of(&self.memory, start);
        let is_new = !self.lines.contains_key(&start);
        let line = self.lines.entry(start).or_default();
        let old = &self.durable[at..at + bytes.len()];
        // A power failure between two stores to the same bytes leaves what the first one stored.
        let hides = old
            .iter()
            .zip(bytes)
            .zip(&self.memory[at..])
            .any(|((old, new), was)| was != old && was != new);

        if is_new {
            line.order = self.stores;
        }
        if hides {
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

    /// What is on its way arrives.
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

    /// The lines that may be left in more than one way.
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

    /// What a power failure may leave now: all of it if that is not more than `limit`, or so many
    /// that follow from `random`.
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

    /// One of the states.
    fn sample(&self, lines: &[InFlight], random: &mut Random) -> Lines {
        let one = random.below(lines.len());
        let percent = [10, 50, 90][random.below(3)];
        let which = random.below(6);
        let mut state = Lines::new();

        for (index, line) in lines.iter().enumerate() {
            let is_there = match which {
                // One is lost, or all but one.
                0 => index != one,
                1 => index == one,
                // What came first is there, or what came last.
                2 => index <= one,
                3 => index >= one,
                _ => random.below(100) < percent,
            };

            if is_there {
                state.push((line.at, self.left_of(line, random)));
            }
        }
        state
    }

    /// What may be left of a line: mostly what it holds, or what it held, or some words of either.
    fn left_of(&self, line: &InFlight, random: &mut Random) -> Bytes {
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

/// The state of that number, in a system of digits that has one for each line.
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

    /// The first bytes of two lines in all states that there may be.
    fn left(cache: &Cache) -> BTreeSet<(u8, u8)> {
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

    fn of(states: &[(u8, u8)]) -> BTreeSet<(u8, u8)> {
        states.iter().copied().collect()
    }

    fn new() -> Cache {
        Cache::new(vec![0; 2 * LINE])
    }

    #[test]
    fn lines_arrive_in_any_order() {
        let mut cache = new();

        assert_eq!(left(&cache), of(&[(0, 0)]));
        store(&mut cache, 0, 1, true, KERNEL);
        store(&mut cache, LINE, 1, false, KERNEL);
        assert_eq!(left(&cache), of(&[(0, 0), (0, 1), (1, 0), (1, 1)]));
    }

    #[test]
    fn fence_makes_durable_what_was_written_back() {
        let mut cache = new();

        store(&mut cache, 0, 1, false, KERNEL);
        store(&mut cache, LINE, 1, false, KERNEL);
        cache.apply(&Event::WriteBack { at: LINE });
        cache.apply(&Event::Fence { is_program: KERNEL });
        assert_eq!(left(&cache), of(&[(0, 1), (1, 1)]));
        cache.apply(&Event::WriteBack { at: 0 });
        assert_eq!(left(&cache), of(&[(0, 1), (1, 1)]));
        cache.apply(&Event::Fence { is_program: KERNEL });
        assert_eq!(left(&cache), of(&[(1, 1)]));
    }

    #[test]
    fn store_behind_a_write_back_is_not_durable() {
        let mut cache = new();

        store(&mut cache, 0, 1, false, KERNEL);
        cache.apply(&Event::WriteBack { at: 0 });
        store(&mut cache, 0, 2, false, KERNEL);
        assert_eq!(left(&cache), of(&[(0, 0), (1, 0), (2, 0)]));
        cache.apply(&Event::Fence { is_program: KERNEL });
        assert_eq!(left(&cache), of(&[(1, 0), (2, 0)]));
    }

    #[test]
    fn fence_of_a_program_counts_for_programs() {
        let mut cache = new();

        store(&mut cache, 0, 1, true, PROGRAM);
        store(&mut cache, LINE, 1, true, KERNEL);
        cache.apply(&Event::Fence {
            is_program: PROGRAM,
        });
        assert_eq!(left(&cache), of(&[(1, 0), (1, 1)]));
        cache.apply(&Event::Fence { is_program: KERNEL });
        assert_eq!(left(&cache), of(&[(1, 1)]));
    }

    #[test]
    fn samples_are_among_what_may_be_left() {
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
