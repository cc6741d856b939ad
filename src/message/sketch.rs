//! Which threes of bytes stand in the words of a message, as bits in a small table: tells of most messages that a text is not in them
//! (a Bloom filter with one function). Made while a message comes in, in a few hundredths of a millisecond.

use super::fold;
use super::layout::Layout;
use super::searched::{self, Text};
use std::convert::Infallible;
use std::ops::ControlFlow;

/// Bits of the table that is filled; it is then made as small as what is in it allows.
const MOST: usize = 1 << 16;
/// Bits of the smallest table.
const LEAST: usize = 1 << 9;

/// Every three bytes of a text that stand side by side in a word of it, as [`fold::fold`] makes them. Those with a space between are
/// left out: they are many and tell little.
pub fn threes(folded: &str) -> impl Iterator<Item = u32> {
    let threes = folded.as_bytes().windows(3).filter(|three| !three.contains(&b' '));
    threes.map(|three| u32::from(three[0]) << 16 | u32::from(three[1]) << 8 | u32::from(three[2]))
}

/// The sketch of a message that is in memory, from all texts that are searched.
pub fn of(layout: &Layout, message: &[u8]) -> Vec<u8> {
    let mut table = Table(Box::new([0; MOST / 64]));
    let read = |from: u64, to: u64| -> Result<&[u8], Infallible> {
        let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX).min(message.len());
        Ok(message.get(at(from)..at(to)).unwrap_or_default())
    };
    let drawn = searched::texts(layout, read, &mut |text| {
        table.add(text);
        ControlFlow::Continue(())
    });
    match drawn {
        Ok(()) => table.small(),
    }
}

/// Whether what a sketch is of may hold a text with these [`threes`].
pub fn may_hold(sketch: &[u8], threes: &[u32]) -> bool {
    let bits = sketch.len() * 8;
    if !bits.is_power_of_two() {
        return true;
    }
    threes.iter().all(|three| {
        let bit = place(three << 8) & (bits - 1);
        sketch[bit / 8] & 1 << (bit % 8) != 0
    })
}

/// Where a three, times 256, has its bit: multiplied by what spreads neighbours over the whole table (Knuth, The Art of Computer
/// Programming 3, §6.4).
#[inline]
fn place(three: u32) -> usize {
    usize::from((three.wrapping_mul(0x9e37_79b1) >> 16) as u16)
}

struct Table(Box<[u64; MOST / 64]>);

impl Table {
    fn add(&mut self, text: &Text<'_>) {
        // The last three bytes, above a byte that is free for the next one; and of each whether it is a space.
        let (mut last, mut spaces) = (0, 0b111);
        fold::pieces(text.as_read(), |piece| {
            let mut here = (last, spaces);
            for byte in piece {
                let byte = fold::small(*byte);
                here = ((here.0 | u32::from(byte)) << 8, here.1 << 1 | u32::from(byte == b' '));
                let place = place(here.0);
                // Without a branch: words are short.
                self.0[place / 64] |= u64::from(here.1 & 0b111 == 0) << (place % 64);
            }
            (last, spaces) = here;
        });
    }

    /// As few bytes as leave two bits of three unset.
    fn small(self) -> Vec<u8> {
        let mut words = self.0.to_vec();
        while words.len() > LEAST / 64 {
            let (one, other) = words.split_at(words.len() / 2);
            let half: Vec<u64> = one.iter().zip(other).map(|(one, other)| one | other).collect();
            let set: usize = half.iter().map(|word| word.count_ones() as usize).sum();
            if set * 3 > half.len() * 64 {
                break;
            }
            words = half;
        }
        words.into_iter().flat_map(u64::to_le_bytes).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::facts::Facts;
    use crate::message::fold::fold;
    use proptest::prelude::*;

    fn drawn(message: &str) -> Vec<u8> {
        of(&Facts::of(message.as_bytes()).layout(), message.as_bytes())
    }

    fn asked(sketch: &[u8], text: &str) -> bool {
        may_hold(sketch, &threes(&fold(text)).collect::<Vec<_>>())
    }

    #[test]
    fn what_a_sketch_tells() {
        let sketch =
            drawn("Subject: =?utf-8?q?=C3=96lwechsel?=\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>Steam<b>boat</b>\r\n trip");
        assert_eq!(sketch.len(), LEAST / 8);
        for text in ["ölwechsel", "ÖLW", "eambo", "trip", "boat trip", "wechsel steamboat trip", "ab"] {
            assert!(asked(&sketch, text), "{text}");
        }
        for text in ["sailboat", "trips", "tripartite", "zymurgy"] {
            assert!(!asked(&sketch, text), "{text}");
        }
        assert!(asked(&[], "whatever") && asked(&[0; 65], "whatever"), "what is no sketch tells nothing");
    }

    #[test]
    fn a_third_of_its_bits_is_set_at_most() {
        for words in [0, 100, 1000, 5000] {
            let text: String = (0..words).map(|word: u32| format!("{:x} ", word.wrapping_mul(2_654_435_761))).collect();
            let sketch = drawn(&format!("Subject: x\r\n\r\n{text}"));
            let set: u32 = sketch.iter().map(|byte| byte.count_ones()).sum();
            assert!(
                sketch.len() == MOST / 8 || set as usize * 3 <= sketch.len() * 8,
                "{set} of {} bits for {words} words",
                sketch.len() * 8
            );
        }
    }

    proptest! {
        /// Nothing is missed: what stands in a text as it is searched is in the sketch.
        #[test]
        fn every_part_of_every_text(
            subject in "(a|B|ab|K|\u{212a}|<|@| |\t|=\\?utf-8\\?q\\?=C3=84b\\?=|ä){0,12}",
            from in "(a|B|<|>|@|,|\\(|\\)|\"| |=\\?utf-8\\?q\\?=C3=84b\\?=){0,12}",
            body in "(a|B|ab|K|k|\u{212a}|\u{130}|i|\u{307}|\u{308}|\u{338}| |\t|\r\n|ä|Ä|ß|ς|\u{2003}|<b>|<p>|&auml;|=C3){0,24}",
            kind in "text/(plain|html)",
            encoding in "(8bit|quoted-printable)",
            from_byte in 0usize..40,
            length in 3usize..12,
        ) {
            let message = format!("From: {from}\r\nSubject: {subject}\r\nContent-Type: {kind}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n{body}");
            let sketch = drawn(&message);
            let layout = Facts::of(message.as_bytes()).layout();
            let read = |from: u64, to: u64| Ok::<_, Infallible>(&message.as_bytes()[from as usize..to as usize]);
            let mut missed = Vec::new();
            let _ = searched::texts(&layout, read, &mut |text| {
                let part: String = text.folded().chars().skip(from_byte).take(length).collect();
                if !may_hold(&sketch, &threes(&part).collect::<Vec<_>>()) {
                    missed.push(part);
                }
                ControlFlow::Continue(())
            });
            prop_assert!(missed.is_empty(), "{:?} in {:?}", missed, message);
        }
    }
}
