//! A stream of text in blocks of whole lines: so that several cores can work on them, and memory is bounded by their size.

use std::io::{self, Read};

/// A block ends with the last line that ends in so many bytes; a longer line makes it longer.
pub(crate) const BLOCK_BYTES: usize = 1 << 20;

/// Cuts a stream at ends of lines.
#[derive(Debug)]
pub(crate) struct Blocks<R> {
    input: R,
    /// The beginning of a line whose end was not yet read.
    begun: Vec<u8>,
    size: usize,
    /// Room to begin with: little, until it is known that the text is long.
    expected: usize,
}

/// Short texts are not worth a block's memory.
const SHORT_BYTES: usize = 4096;

impl<R: Read> Blocks<R> {
    pub(crate) fn new(input: R, size: usize) -> Self {
        Self {
            input,
            begun: Vec::new(),
            size,
            expected: SHORT_BYTES,
        }
    }

    /// The next block; empty at the end. Only the last one may end without a newline.
    pub(crate) fn next(&mut self) -> io::Result<Vec<u8>> {
        let mut block = Vec::with_capacity(self.begun.len() + self.expected);
        block.append(&mut self.begun);
        loop {
            let before = block.len();
            let mut input = self.input.by_ref().take(self.size as u64);
            if input.read_to_end(&mut block)? == 0 {
                return Ok(block);
            }
            if block.len() > self.expected {
                self.expected = self.size + 1;
            }
            if let Some(at) = memchr::memrchr(b'\n', &block[before..]) {
                self.begun = block.split_off(before + at + 1);
                return Ok(block);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_whole_lines_and_together_the_text() {
        let text = b"a\nbc\n\ndefghijklmn\no\np";
        for size in 1..30 {
            let mut blocks = Blocks::new(&text[..], size);
            let mut all: Vec<u8> = Vec::new();
            loop {
                let block = blocks.next().unwrap();
                if block.is_empty() {
                    break;
                }
                all.extend(&block);
                assert!(block.ends_with(b"\n") || all.len() == text.len(), "{size}");
            }
            assert_eq!(all, text, "{size}");
        }
    }
}
