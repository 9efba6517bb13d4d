//! Some rows of many.

use burn::tensor::{Int, Tensor, TensorData};

use super::flex;

/// The rows of these numbers, in their order: `[rows, channels]` to `[numbers, channels]`.
pub(crate) fn rows(x: Tensor<2>, numbers: &[usize]) -> Tensor<2> {
    let [_, channels] = x.dims();
    match flex::open(x) {
        Ok(x) => {
            let x = x.read();
            let mut output = Vec::with_capacity(numbers.len() * channels);
            for number in numbers {
                output.extend_from_slice(&x[number * channels..][..channels]);
            }
            flex::tensor(output, [numbers.len(), channels])
        }
        Err(x) => rows_stock(x, numbers),
    }
}

/// The same with Burn's own operations.
pub(super) fn rows_stock(x: Tensor<2>, numbers: &[usize]) -> Tensor<2> {
    let device = x.device();
    let count = numbers.len();
    let numbers = numbers.iter().map(|&number| number as i32).collect();
    let numbers = TensorData::new(numbers, [count]);
    x.select(0, Tensor::<1, Int>::from_data(numbers, &device))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, random};
    use super::*;

    #[test]
    fn rows_are_burns() {
        let x = random([9, 5], 1);
        for numbers in [&[8, 0, 3, 3][..], &[4], &[]] {
            let ours = rows(x.clone(), numbers);
            assert_eq!(ours.dims(), [numbers.len(), 5]);
            if !numbers.is_empty() {
                assert_close(ours, rows_stock(x.clone(), numbers), "rows");
            }
        }
        // A part of a tensor is read where it begins.
        let part = x.clone().narrow(0, 2, 4);
        assert_close(rows(part, &[1]), rows_stock(x, &[3]), "a part");
    }
}
