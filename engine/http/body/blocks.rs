//! Bytes that come one after the other, in blocks: a buffer that grows is copied, and leaves holes
//! of all sizes behind, so that many of them have twice the memory of what they hold.

/// The size of a block, in bytes.
const BLOCK: usize = 64 << 10;

/// What has come so far.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    /// All but the last are full.
    blocks: Vec<Vec<u8>>,
    len: usize,
}

impl Blocks {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn push(&mut self, mut piece: &[u8]) {
        self.len += piece.len();
        while !piece.is_empty() {
            match self.blocks.last_mut() {
                Some(last) if last.len() < BLOCK => {
                    let (now, later) = piece.split_at(piece.len().min(BLOCK - last.len()));
                    last.extend_from_slice(now);
                    piece = later;
                }
                // Most bodies are small.
                None => self.blocks.push(Vec::new()),
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
