//! Multi-headed attention within each image or text of a batch.
//!
//! The rows of all of them lie one after the other, each as long as it is: nothing is padded. For
//! each sequence and head the keys are turned and the values laid out once; then a few queries at a
//! time get their scores, the softmax of those, and the mean of the values, while the scores stay in
//! the first cache.

mod kernel;
mod sequences;
mod stock;

use burn::tensor::Tensor;

use super::flex;
use kernel::{Attend, Part};

pub(crate) use sequences::Sequences;

/// Self-attention: `qkv [rows, 3 * channels]` holds queries, keys and values, each with its heads
/// one after the other. Gives `[rows, channels]`.
/// <https://arxiv.org/abs/1706.03762>
pub(crate) fn attention(qkv: Tensor<2>, sequences: &Sequences, heads: usize) -> Tensor<2> {
    let [rows, columns] = qkv.dims();
    let channels = columns / 3;
    let scale = scale(channels / heads);
    match flex::open(qkv) {
        Ok(qkv) => {
            let part = |number| Part {
                values: qkv.read(),
                stride: columns,
                first: number * channels,
            };
            let attend = Attend {
                queries: part(0),
                keys: part(1),
                values: part(2),
                sequences,
                one_query: false,
                heads,
                channels,
                scale,
            };
            let output = attend.run();
            qkv.leave();
            flex::tensor(output, [rows, channels])
        }
        Err(qkv) => {
            let part = |number| qkv.clone().narrow(1, number * channels, channels);
            let queries = sequences.own_queries();
            stock::attend(part(0), part(1), part(2), sequences, &queries, heads, scale)
        }
    }
}

/// Attention of one query a sequence, `[sequences, channels]`, to all of its rows, whose keys and
/// values are `[rows, 2 * channels]`. Gives `[sequences, channels]`. Without a `scale` scores are
/// divided by the square root of a head's channels.
pub(crate) fn attention_of_one(
    queries: Tensor<2>,
    keys_values: Tensor<2>,
    sequences: &Sequences,
    heads: usize,
    factor: Option<f32>,
) -> Tensor<2> {
    let shape @ [_, channels] = queries.dims();
    let scale = factor.unwrap_or_else(|| scale(channels / heads));
    match (flex::open(queries), flex::open(keys_values)) {
        (Ok(queries), Ok(keys_values)) => {
            let part = |number| Part {
                values: keys_values.read(),
                stride: 2 * channels,
                first: number * channels,
            };
            let attend = Attend {
                queries: Part {
                    values: queries.read(),
                    stride: channels,
                    first: 0,
                },
                keys: part(0),
                values: part(1),
                sequences,
                one_query: true,
                heads,
                channels,
                scale,
            };
            flex::tensor(attend.run(), shape)
        }
        (queries, keys_values) => {
            let back = |buffer: flex::Buffer| buffer.close::<2>();
            let queries = queries.map_or_else(|tensor| tensor, back);
            let keys_values = keys_values.map_or_else(|tensor| tensor, back);
            let part = |number| keys_values.clone().narrow(1, number * channels, channels);
            let one = sequences.one_query();
            stock::attend(queries, part(0), part(1), sequences, &one, heads, scale)
        }
    }
}

/// What scores are multiplied by.
fn scale(head: usize) -> f32 {
    (head as f32).powf(-0.5)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, random};
    use super::*;
    use crate::net::ops::with_stock_operations;

    /// Texts of 1 to 40 tokens, some of which continue others or are the same.
    fn texts() -> Sequences {
        let mut texts = Sequences::causal();
        let rows = |rows: std::ops::Range<usize>| rows.collect::<Vec<_>>();
        texts.push(&[], 5);
        texts.push(&rows(0..3), 2);
        texts.push(&[0, 1, 2, 5, 6], 0);
        texts.push(&[0, 1, 2, 5], 13);
        texts.push(&[], 1);
        texts.push(&[], 40);
        texts.push(&rows(21..50), 3);
        texts
    }

    #[test]
    fn attention_is_burns() {
        // Whole and broken vectors, few and many rows, below and above what threads share.
        let batches = [
            ("one token", Sequences::equal(1, 1)),
            ("images", Sequences::equal(3, 64)),
            ("many", Sequences::equal(70, 9)),
            ("long", Sequences::equal(1, 257)),
            ("texts", texts()),
        ];
        for (what, sequences) in &batches {
            for (heads, head) in [(1, 64), (2, 32), (3, 5), (4, 16)] {
                let rows = sequences.rows();
                let qkv = random([rows, 3 * heads * head], 1) * 3.0;
                let stock = with_stock_operations(|| attention(qkv.clone(), sequences, heads));
                let what = format!("{what}, {heads} heads of {head}");
                assert_close(attention(qkv, sequences, heads), stock, &what);

                let queries = random([sequences.count(), heads * head], 2) * 3.0;
                let keys_values = random([rows, 2 * heads * head], 3);
                for factor in [None, Some(1.0)] {
                    let one = || {
                        let (queries, keys_values) = (queries.clone(), keys_values.clone());
                        attention_of_one(queries, keys_values, sequences, heads, factor)
                    };
                    let what = format!("{what}, one query");
                    assert_close(one(), with_stock_operations(one), &what);
                }
            }
        }
    }

    #[test]
    fn stock_attention_is_its_definition() {
        let (sequences, heads, head) = (texts(), 2, 3);
        let channels = heads * head;
        let qkv = random([sequences.rows(), 3 * channels], 5);
        let values: Vec<f32> = qkv.clone().into_data().try_into_vec().unwrap();
        let at = |row: usize, part: usize, channel: usize| {
            f64::from(values[row * 3 * channels + part * channels + channel])
        };
        let found = with_stock_operations(|| attention(qkv, &sequences, heads));
        let found: Vec<f32> = found.into_data().try_into_vec().unwrap();
        for number in 0..sequences.count() {
            let keys: Vec<usize> = sequences.keys(number).collect();
            for row in sequences.own(number) {
                let seen = &keys[..=keys.iter().position(|&key| key == row).unwrap()];
                for channel in 0..channels {
                    let of_head = channel / head * head..(channel / head + 1) * head;
                    let weight = |key: usize| {
                        let products = of_head.clone().map(|i| at(row, 0, i) * at(key, 1, i));
                        (products.sum::<f64>() / (head as f64).sqrt()).exp()
                    };
                    let all: f64 = seen.iter().map(|&key| weight(key)).sum();
                    let sum = seen.iter().map(|&key| weight(key) * at(key, 2, channel));
                    let exact = sum.sum::<f64>() / all;
                    let error = (f64::from(found[row * channels + channel]) - exact).abs();
                    assert!(error < 1e-5, "row {row}, channel {channel}: {error}");
                }
            }
        }
    }

    #[test]
    fn large_scores_do_not_overflow() {
        let sequences = Sequences::equal(1, 20);
        let qkv = random([20, 3 * 32], 1) * 300.0;
        let mixed = attention(qkv, &sequences, 1);
        let values: Vec<f32> = mixed.into_data().try_into_vec().unwrap();
        assert!(values.iter().all(|value| value.abs() <= 300.0));
    }
}
