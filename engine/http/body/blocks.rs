//! Bytes that come one after the other, in blocks: a buffer that grows is copied, and leaves holes
//! of all sizes behind, so that many of them have twice the memory of what they hold. What says how
//! long it is, and is not long, has one block.

/// The size of a block, in bytes.
const BLOCK: usize = 64 << 10;
/// The longest that has one block, in bytes. It has all of that from its first byte on, and who
/// promises more than comes has that much memory for it.
const MAX_WHOLE: usize = 256 << 10;

/// What has come so far.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    /// All but the last are full.
    blocks: Vec<Vec<u8>>,
    len: usize,
    /// The size of the first block, where that is known.
    first: Option<usize>,
}

impl Blocks {
    /// For as many bytes as were promised, where they were.
    pub(super) fn for_len(promised: Option<usize>) -> Self {
        Self {
            first: promised.filter(|len| (1..=MAX_WHOLE).contains(len)),
            ..Self::default()
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn push(&mut self, mut piece: &[u8]) {
        self.len += piece.len();
        while !piece.is_empty() {
            let size = match (self.blocks.len(), self.first) {
                (1, Some(first)) => first,
                _ => BLOCK,
            };
            match self.blocks.last_mut() {
                Some(last) if last.len() < size => {
                    let (now, later) = piece.split_at(piece.len().min(size - last.len()));
                    last.extend_from_slice(now);
                    piece = later;
                }
                // Most bodies are small.
                None => self
                    .blocks
                    .push(Vec::with_capacity(self.first.unwrap_or(0))),
                Some(_) => self.blocks.push(Vec::with_capacity(BLOCK)),
            }
        }
    }

    /// All of it as one; each block goes as it is copied.
    pub(super) fn whole(mut self) -> Vec<u8> {
        if self.blocks.len() <= 1 {
            return self.blocks.pop().unwrap_or_default();
        }
        let mut whole = Vec::with_capacity(self.len);
        for block in self.blocks {
            whole.extend_from_slice(&block);
        }
        whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_promised_has_one_block() {
        for promised in [1, BLOCK + 1, MAX_WHOLE, MAX_WHOLE + 1] {
            for came in [promised, promised - 1, promised + 1, promised + BLOCK] {
                let mut blocks = Blocks::for_len(Some(promised));
                let bytes: Vec<u8> = (0..came).map(|at| at as u8).collect();
                for piece in bytes.chunks(1000) {
                    blocks.push(piece);
                }
                if came <= promised && promised <= MAX_WHOLE {
                    assert!(blocks.blocks.len() <= 1, "{promised} {came}");
                }
                assert_eq!(blocks.len(), came);
                assert_eq!(blocks.whole(), bytes, "{promised} {came}");
            }
        }
    }

    #[test]
    fn what_came_in_pieces_is_whole() {
        for lens in [
            &[][..],
            &[0],
            &[5],
            &[1, 2, 3],
            &[BLOCK],
            &[BLOCK, 1],
            &[BLOCK - 1, 2],
            &[3 * BLOCK + 7, 0, BLOCK, 1],
        ] {
            let mut blocks = Blocks::default();
            let mut expected = Vec::new();
            for (number, len) in lens.iter().enumerate() {
                let piece: Vec<u8> = (0..*len).map(|at| (at + number) as u8).collect();
                blocks.push(&piece);
                expected.extend(piece);
            }
            assert_eq!(blocks.len(), expected.len());
            let full = blocks.blocks.iter().rev().skip(1);
            assert!(full.into_iter().all(|block| block.len() == BLOCK));
            assert_eq!(blocks.whole(), expected);
        }
    }
}
