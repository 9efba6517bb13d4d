//! Planes of samples, and rows of them brought to the picture's width: jdsample.c of libjpeg.

use super::frame::{Component, Extent, Frame};

/// The samples of a component.
pub(super) struct Plane {
    pub(super) samples: Vec<u8>,
    /// Samples from one row to the next.
    pub(super) stride: usize,
    /// That belong to the picture.
    pub(super) width: usize,
    /// That belong to the picture.
    pub(super) height: usize,
    how: How,
}

/// How a plane's rows become those of the picture.
#[derive(Clone, Copy)]
enum How {
    AsIs,
    /// "Fancy": between the centres of samples.
    Across,
    Down,
    Both,
    /// Each sample is repeated.
    Repeated {
        across: usize,
        down: usize,
    },
}

impl Plane {
    /// A plane of gray.
    pub(super) fn new(frame: &Frame, component: &Component, extent: &Extent) -> Self {
        let most = frame.most();
        let across = most.0 / usize::from(component.across).max(1);
        let down = most.1 / usize::from(component.down).max(1);
        let how = match (across, down) {
            (1, 1) => How::AsIs,
            (2, 1) if extent.width > 2 => How::Across,
            (1, 2) => How::Down,
            (2, 2) if extent.width > 2 => How::Both,
            _ => How::Repeated { across, down },
        };
        Self {
            samples: vec![128; 64 * extent.padded_across * extent.padded_down],
            stride: 8 * extent.padded_across,
            width: extent.width,
            height: extent.height,
            how,
        }
    }

    /// Where a block of samples is written.
    pub(super) fn block(&mut self, across: usize, down: usize) -> &mut [u8] {
        &mut self.samples[8 * down * self.stride + 8 * across..]
    }

    fn row(&self, at: usize) -> &[u8] {
        let start = at.min(self.height - 1) * self.stride;
        &self.samples[start..start + self.width]
    }

    /// A row of the picture. `spare` is at least two longer than the picture is wide.
    pub(super) fn picture_row<'a>(&'a self, at: usize, spare: &'a mut [u8]) -> &'a [u8] {
        // The row above or below that is mixed in.
        let other = if at.is_multiple_of(2) {
            (at / 2).saturating_sub(1)
        } else {
            at / 2 + 1
        };
        match self.how {
            How::AsIs => return self.row(at),
            How::Across => across(self.row(at), spare),
            How::Down => {
                let bias = if at.is_multiple_of(2) { 1 } else { 2 };
                let rows = self.row(at / 2).iter().zip(self.row(other));
                for (to, (&near, &far)) in spare.iter_mut().zip(rows) {
                    *to = ((3 * u16::from(near) + u16::from(far) + bias) >> 2) as u8;
                }
            }
            How::Both => both(self.row(at / 2), self.row(other), spare),
            How::Repeated { across, down } => {
                let row = self.row(at / down);
                for (to, &sample) in spare.chunks_mut(across).zip(row) {
                    to.fill(sample);
                }
            }
        }
        spare
    }
}

/// `row` has at least three samples.
fn across(row: &[u8], out: &mut [u8]) {
    let (pairs, _) = out.as_chunks_mut::<2>();
    let last = row.len() - 1;
    for (pair, near) in pairs[1..last].iter_mut().zip(row.windows(3)) {
        let [left, here, right] = [near[0], near[1], near[2]].map(u16::from);
        *pair = [
            ((3 * here + left + 1) >> 2) as u8,
            ((3 * here + right + 2) >> 2) as u8,
        ];
    }
    let [first, second] = [row[0], row[1]].map(u16::from);
    pairs[0] = [row[0], ((3 * first + second + 2) >> 2) as u8];
    let [before, end] = [row[last - 1], row[last]].map(u16::from);
    pairs[last] = [((3 * end + before + 1) >> 2) as u8, row[last]];
}

/// Both rows have the same length, at least three.
fn both(near: &[u8], far: &[u8], out: &mut [u8]) {
    let (pairs, _) = out.as_chunks_mut::<2>();
    let last = near.len() - 1;
    let sum = |near: u8, far: u8| 3 * u16::from(near) + u16::from(far);
    for (pair, (near, far)) in pairs[1..last]
        .iter_mut()
        .zip(near.windows(3).zip(far.windows(3)))
    {
        let (left, here, right) = (
            sum(near[0], far[0]),
            sum(near[1], far[1]),
            sum(near[2], far[2]),
        );
        *pair = [
            ((3 * here + left + 8) >> 4) as u8,
            ((3 * here + right + 7) >> 4) as u8,
        ];
    }
    let (first, second) = (sum(near[0], far[0]), sum(near[1], far[1]));
    pairs[0] = [
        ((4 * first + 8) >> 4) as u8,
        ((3 * first + second + 7) >> 4) as u8,
    ];
    let (before, end) = (
        sum(near[last - 1], far[last - 1]),
        sum(near[last], far[last]),
    );
    pairs[last] = [
        ((3 * end + before + 8) >> 4) as u8,
        ((4 * end + 7) >> 4) as u8,
    ];
}
