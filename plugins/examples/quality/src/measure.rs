//! What is measured, on luminance (ITU-R BT.601) at the size at which pictures are looked at: a
//! picture with a side above [`MAX_SIDE`] is first averaged over square cells. Otherwise the same
//! photograph would be called blurred at 12 megapixels and sharp at one. Alpha is ignored.
//!
//! - Sharpness: the variance of the Laplacian (4 neighbours), a focus measure. J. L. Pech-Pacheco
//!   et al., "Diatom autofocusing in brightfield microscopy: a comparative study", ICPR 2000. It
//!   has no upper bound; `v / (v + 100)` brings it to 0..1, one half at 100, the threshold that
//!   A. Rosebrock, "Blur detection with OpenCV" (2015), made customary for 8-bit luminance.
//! - Contrast: the standard deviation of luminance, RMS contrast. E. Peli, "Contrast in complex
//!   images", JOSA A 7(10), 1990. Twice, because it is at most one half.
//! - Well-exposedness: the mean of `exp(-(l - 0.5)² / (2 * 0.2²))` over luminance `l` in 0..1.
//!   T. Mertens, J. Kautz, F. Van Reeth, "Exposure Fusion", Pacific Graphics 2007.
//! - Quality: the geometric mean of the three: as in Exposure Fusion a product, so that what is
//!   bad in one respect is not good.

use omnizap_plugin::ImageView;

/// Longest side that is measured as it is, in pixels.
const MAX_SIDE: usize = 512;
/// The variance of the Laplacian at which sharpness is one half.
const HALF_SHARP: f64 = 100.0;
/// The standard deviation of well-exposedness.
const EXPOSED_WITHIN: f64 = 0.2;

/// The measures of a picture.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Measures {
    /// Variance of the Laplacian of luminance in 0..255; 0 below 3x3 cells.
    pub(crate) laplacian: f64,
    /// Mean luminance, 0 to 1.
    pub(crate) exposure: f64,
    /// Standard deviation of luminance, twice, 0 to 1.
    pub(crate) contrast: f64,
    /// Mean well-exposedness, 0 to 1.
    pub(crate) well_exposed: f64,
}

impl Measures {
    pub(crate) fn sharpness(&self) -> f64 {
        self.laplacian / (self.laplacian + HALF_SHARP)
    }

    pub(crate) fn quality(&self) -> f64 {
        (self.sharpness() * self.contrast * self.well_exposed).cbrt()
    }
}

/// Buffers that one picture leaves to the next.
#[derive(Default)]
pub(crate) struct Scratch {
    /// Sums of the cells of a row, in thousandths of luminance.
    sums: Vec<u64>,
    /// The last three rows of cells, in luminance 0..255; the newest last.
    rows: [Vec<f64>; 3],
}

/// Sum and sum of squares: what mean and variance need.
#[derive(Default)]
struct Moments {
    count: f64,
    sum: f64,
    squares: f64,
}

impl Moments {
    fn add(&mut self, value: f64) {
        self.count += 1.0;
        self.sum += value;
        self.squares += value * value;
    }

    fn mean(&self) -> f64 {
        if self.count > 0.0 {
            self.sum / self.count
        } else {
            0.0
        }
    }

    fn variance(&self) -> f64 {
        let mean = self.mean();
        if self.count > 0.0 {
            (self.squares / self.count - mean * mean).max(0.0)
        } else {
            0.0
        }
    }
}

/// Measures a picture; `None` where it was given up, because `wanted`, asked before each row of
/// cells, said no. An empty picture has 0 of everything.
pub(crate) fn measure(
    image: &ImageView<'_>,
    scratch: &mut Scratch,
    wanted: &dyn Fn() -> bool,
) -> Option<Measures> {
    let side = image.width.max(image.height).div_ceil(MAX_SIDE).max(1);
    let (mut laplacian, mut luminance) = (Moments::default(), Moments::default());
    let mut well_exposed = 0.0;
    let mut rows = 0;
    for top in (0..image.height).step_by(side) {
        if !wanted() {
            return None;
        }
        scratch.rows.rotate_left(1);
        let bottom = (top + side).min(image.height);
        read_cells(image, (top..bottom, side), scratch);
        let [above, middle, below] = &scratch.rows;
        for cell in below {
            luminance.add(*cell);
            let off = (cell / 255.0 - 0.5) / EXPOSED_WITHIN;
            well_exposed += (-off * off / 2.0).exp();
        }
        rows += 1;
        if rows >= 3 {
            let neighbours = above.iter().zip(below).skip(1);
            for (triple, (above, below)) in middle.windows(3).zip(neighbours) {
                laplacian.add(above + below + triple[0] + triple[2] - 4.0 * triple[1]);
            }
        }
    }
    Some(Measures {
        laplacian: laplacian.variance(),
        exposure: luminance.mean() / 255.0,
        contrast: (2.0 * luminance.variance().sqrt() / 255.0).min(1.0),
        well_exposed: well_exposed / luminance.count.max(1.0),
    })
}

/// Averages a band of rows over cells of that side, into the newest row of the scratch.
fn read_cells(
    image: &ImageView<'_>,
    (band, side): (std::ops::Range<usize>, usize),
    scratch: &mut Scratch,
) {
    let samples = image.channels.count();
    let height = band.len();
    scratch.sums.clear();
    scratch.sums.resize(image.width.div_ceil(side), 0);
    for y in band {
        let cells = image.row(y).chunks(side * samples);
        for (sum, cell) in scratch.sums.iter_mut().zip(cells) {
            let pixels = cell.chunks_exact(samples);
            *sum += pixels.map(|pixel| image.luminance_of(pixel)).sum::<u64>();
        }
    }
    let row = &mut scratch.rows[2];
    row.clear();
    for (column, sum) in scratch.sums.iter().enumerate() {
        let width = side.min(image.width - column * side);
        row.push(*sum as f64 / (1000 * width * height) as f64);
    }
}

/// What a batch came to.
pub(crate) struct Measured {
    /// For each picture, as [`measure`] says it.
    pub(crate) measures: Vec<Option<Measures>>,
    /// Pictures that differ from all before them.
    pub(crate) distinct: usize,
}

/// Measures several pictures with the same buffers, those that are equal once. `wanted` says
/// whether anybody waits for the picture with that index; one that several calls send is given up
/// only once nobody waits for any of them.
pub(crate) fn measure_all(images: &[ImageView<'_>], wanted: &dyn Fn(usize) -> bool) -> Measured {
    let mut scratch = Scratch::default();
    let first_of: Vec<usize> = (0..images.len())
        .map(|index| {
            let mut earlier = 0..index;
            let equal = earlier.find(|other| is_same(&images[*other], &images[index]));
            equal.unwrap_or(index)
        })
        .collect();
    let mut measures: Vec<Option<Measures>> = Vec::with_capacity(images.len());
    let mut distinct = 0;
    for (index, image) in images.iter().enumerate() {
        let first = first_of[index];
        if first < index {
            measures.push(measures[first]);
            continue;
        }
        distinct += 1;
        let somebody_waits = || {
            let mut members = index..images.len();
            members.any(|member| first_of[member] == index && wanted(member))
        };
        measures.push(measure(image, &mut scratch, &somebody_waits));
    }
    Measured { measures, distinct }
}

fn is_same(left: &ImageView<'_>, right: &ImageView<'_>) -> bool {
    (left.width, left.height, left.channels) == (right.width, right.height, right.channels)
        && (std::ptr::eq(left.pixels, right.pixels) || left.pixels == right.pixels)
}

#[cfg(test)]
mod tests;
