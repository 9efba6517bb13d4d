//! Attention with Burn's own operations: all sequences as one padded batch.

use burn::tensor::{Tensor, TensorData, activation};

use super::sequences::{Queries, Sequences};
use crate::net::ops::rows::rows_stock;

/// `queries`, `keys` and `values`: `[rows, channels]`, each row's heads one after the other.
pub(super) fn attend(
    queries: Tensor<2>,
    keys: Tensor<2>,
    values: Tensor<2>,
    sequences: &Sequences,
    asking: &Queries,
    heads: usize,
    scale: f32,
) -> Tensor<2> {
    let shape @ [_, channels] = queries.dims();
    let (n, head) = (sequences.count(), channels / heads);
    let longest = |lengths: &mut dyn Iterator<Item = usize>| lengths.max().unwrap_or(0);
    let most_queries = longest(&mut asking.rows.iter().map(ExactSizeIterator::len));
    let most_keys = longest(&mut (0..n).map(|number| sequences.length(number)));
    if most_queries == 0 {
        return queries;
    }
    let device = queries.device();

    // Places that are filled up hold some row; a query there asks and is left out again.
    let (mut asking_rows, mut places) = (Vec::new(), Vec::new());
    let mut key_rows = Vec::with_capacity(n * most_keys);
    let mut mask = Vec::with_capacity(n * most_queries * most_keys);
    for (number, rows) in asking.rows.iter().enumerate() {
        places.extend((0..rows.len()).map(|i| number * most_queries + i));
        asking_rows.extend(rows.clone().chain(std::iter::repeat(0)).take(most_queries));
        key_rows.extend(
            sequences
                .keys(number)
                .chain(std::iter::repeat(0))
                .take(most_keys),
        );
        let length = sequences.length(number);
        for query in 0..most_queries {
            let seen = match &asking.seen {
                Some(seen) => length.min(seen[number] + query),
                None => length,
            };
            mask.extend((0..most_keys).map(|key| match key < seen {
                true => 0.0,
                false => f32::NEG_INFINITY,
            }));
        }
    }

    let heads_of = |rows: Tensor<2>, numbers: &[usize], length: usize| {
        let rows = select(rows, numbers);
        let rows = rows.reshape([n, length, heads, head]);
        rows.permute([0, 2, 1, 3])
    };
    let queries = heads_of(queries, &asking_rows, most_queries) * scale;
    let scores = queries.matmul(heads_of(keys, &key_rows, most_keys).transpose());
    let scores = match mask.iter().all(|&value| value == 0.0) {
        true => scores,
        false => {
            let mask = TensorData::new(mask, [n, 1, most_queries, most_keys]);
            scores + Tensor::<4>::from_data(mask, &device)
        }
    };
    let mixed = activation::softmax(scores, 3).matmul(heads_of(values, &key_rows, most_keys));
    let mixed = mixed.permute([0, 2, 1, 3]);
    let mixed = mixed.reshape([n * most_queries, channels]);
    let mixed = select(mixed, &places);
    debug_assert_eq!(mixed.dims(), shape);
    mixed
}

/// Rows by their numbers.
fn select(rows: Tensor<2>, numbers: &[usize]) -> Tensor<2> {
    match numbers.iter().copied().eq(0..rows.dims()[0]) {
        true => rows,
        false => rows_stock(rows, numbers),
    }
}
