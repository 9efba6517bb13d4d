//! The vectors of one model as they are written: which row is which image, what makes
//! room for what, and beside them the partition that makes many rows fast.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::RangeInclusive;

use super::key::Key;
use super::partition::Partition;
use super::view::{RowNumber, SEGMENT_ROWS, View};
use super::{IndexConfig, Kept, MAX_UNSTORED, Row};

/// Rows that are gone, as a share of all (one in so many), from which on the others are
/// moved together.
const GONE_SHARE: usize = 4;
/// Fewest rows that are gone for that.
const GONE_MIN: usize = 16 * SEGMENT_ROWS;

pub(super) struct Matrix {
    config: IndexConfig,
    view: View,
    /// The number of each image's row.
    places: HashMap<Key, RowNumber>,
    /// The same by the database's ids, of those that the database has.
    ids: BTreeMap<i64, RowNumber>,
    /// Where codes alone are kept, the rows that the database has no id for, whose vectors are
    /// kept as well.
    unstored: BTreeSet<RowNumber>,
    /// Images that had to go to make room for others.
    pub(super) made_room: u64,
    /// Images that had to go since the database did not take them.
    pub(super) given_up: u64,
    /// What makes searches of many rows fast, once there are many.
    pub(super) partition: Option<Partition>,
}

impl Matrix {
    pub(super) fn new(dim: usize, config: IndexConfig) -> Self {
        Self {
            config,
            view: View::new(dim, config.kept, 0),
            places: HashMap::new(),
            ids: BTreeMap::new(),
            unstored: BTreeSet::new(),
            made_room: 0,
            given_up: 0,
            partition: None,
        }
    }

    pub(super) fn dim(&self) -> usize {
        self.view.dim
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Rows whose vectors are kept since the database has no id for them.
    pub(super) fn unstored(&self) -> usize {
        self.unstored.len()
    }

    /// The rows as they are now.
    pub(super) fn view(&self) -> &View {
        &self.view
    }

    /// The database's ids of the rows, those within a range.
    pub(super) fn ids(&self, range: RangeInclusive<i64>) -> impl Iterator<Item = i64> {
        self.ids.range(range).map(|(id, _)| *id)
    }

    /// Adds a row of length 1 as a request brings it, or notes what is new of one that is
    /// there. False where the vector has another length than the model's.
    pub(super) fn insert(&mut self, row: Row, age: u64, vector: &[f32]) -> bool {
        if vector.len() != self.view.dim {
            return false;
        }
        match self.find(&Key::of(&row)) {
            None => self.append(None, row, age, vector),
            Some((number, known)) => {
                let asset_id = row.asset_id.clone().or_else(|| known.asset_id.clone());
                let row = Row { asset_id, ..row };
                if *known != row {
                    let id = self.view.id(number);
                    self.view.rename(number, id, row);
                }
            }
        }
        true
    }

    /// Takes in a row of length 1 as the database has it: what the index knew of that id,
    /// or of that image, is as the database says. A row that was written anew, or has
    /// another vector, counts as one that came now. False where the vector has another
    /// length than the model's: then nothing is known of that id.
    pub(super) fn put(&mut self, id: i64, row: Row, age: u64, vector: &[f32]) -> bool {
        let key = Key::of(&row);
        let known = self.find(&key).map(|(number, _)| number);
        if self.ids.get(&id).copied() != known || vector.len() != self.view.dim {
            self.remove(id);
        }
        if vector.len() != self.view.dim {
            return false;
        }
        match known {
            Some(number)
                if self.view.id(number).is_none_or(|known| known == id)
                    && self.view.has_vector(number, vector) =>
            {
                if self.view.id(number).is_none() || self.view.row(number) != Some(&row) {
                    self.name(number, id, row);
                }
            }
            Some(number) => {
                self.take(number);
                self.append(Some(id), row, age, vector);
            }
            None => self.append(Some(id), row, age, vector),
        }
        true
    }

    /// Forgets the row with that id. False where there is none.
    pub(super) fn remove(&mut self, id: i64) -> bool {
        let number = self.ids.get(&id).copied();
        number.is_some_and(|number| self.take(number))
    }

    /// Notes the database's id of an image that has none. False where there is no such image,
    /// or one of that id.
    pub(super) fn number(&mut self, id: i64, key: &Key) -> bool {
        let Some((number, row)) = self.find(key) else {
            return false;
        };
        if self.view.id(number).is_some() || self.ids.contains_key(&id) {
            return false;
        }
        let row = row.clone();
        self.name(number, id, row);
        true
    }

    /// Notes the database's id of a row, and what it is called there.
    fn name(&mut self, number: RowNumber, id: i64, row: Row) {
        self.view.rename(number, Some(id), row);
        self.ids.insert(id, number);
        self.unstored.remove(&number);
    }

    /// Forgets an image that the database has not numbered yet. False where there is none.
    pub(super) fn remove_unnumbered(&mut self, key: &Key) -> bool {
        let number = self.places.get(key).copied();
        let number = number.filter(|number| self.view.id(*number).is_none());
        number.is_some_and(|number| self.take(number))
    }

    /// Forgets every row that is so; how many.
    pub(super) fn remove_where(&mut self, is_so: impl Fn(&Row) -> bool) -> usize {
        let view = &self.view;
        let is_so = |number: &RowNumber| view.row(*number).is_some_and(&is_so);
        let numbers: Vec<_> = view.rows().filter(is_so).collect();
        let taken = numbers.into_iter().filter(|number| self.take(*number));
        taken.count()
    }

    fn find(&self, key: &Key) -> Option<(RowNumber, &Row)> {
        let number = *self.places.get(key)?;
        Some((number, self.view.row(number)?))
    }

    fn append(&mut self, id: Option<i64>, row: Row, age: u64, vector: &[f32]) {
        self.make_room();
        let key = Key::of(&row);
        let (number, fit) = self.view.push(id, row, age, vector);
        if let Some(partition) = &mut self.partition {
            partition.add(number, &key, (vector, 0.0), fit);
        }
        self.places.insert(key, number);
        match id {
            Some(id) => {
                self.ids.insert(id, number);
            }
            None if self.config.kept == Kept::Codes => {
                self.unstored.insert(number);
                self.give_up();
            }
            None => {}
        }
    }

    /// Keeps those that the database does not take from being ever more: the oldest go.
    fn give_up(&mut self) {
        while self.unstored.len() > MAX_UNSTORED
            && let Some(oldest) = self.unstored.pop_first()
        {
            self.given_up += u64::from(self.take(oldest));
        }
    }

    /// Takes a row out. The partition may go on naming it: it is compared with nothing.
    fn take(&mut self, number: RowNumber) -> bool {
        let id = self.view.id(number);
        let Some(row) = self.view.take(number) else {
            return false;
        };
        self.unstored.remove(&number);
        self.forget(&row, id);
        let begun = self.view.rows().start;
        while self.view.is_oldest_gone() {
            self.view.drop_oldest();
        }
        self.leave_lists(begun);
        true
    }

    fn forget(&mut self, row: &Row, id: Option<i64>) {
        self.places.remove(&Key::of(row));
        if let Some(id) = id {
            self.ids.remove(&id);
        }
    }

    /// The partition forgets the rows that were dropped since the first was `begun`.
    fn leave_lists(&mut self, begun: RowNumber) {
        let first = self.view.rows().start;
        if first > begun {
            self.unstored = self.unstored.split_off(&first);
        }
        if first > begun
            && let Some(partition) = &mut self.partition
        {
            partition.forget_before(first);
        }
    }

    fn make_room(&mut self) {
        let begun = self.view.rows().start;
        while self.view.rows().end - self.view.rows().start >= self.config.max_rows as u64 {
            let oldest = self.view.drop_oldest();
            self.made_room += oldest.len() as u64;
            for (row, id) in oldest {
                self.forget(&row, id);
            }
        }
        self.leave_lists(begun);
    }

    /// True where so many rows are gone that their room is worth a copy of the others.
    pub(super) fn is_sparse(&self) -> bool {
        let gone = self.view.gone();
        gone >= GONE_MIN && gone * GONE_SHARE >= self.len()
    }

    /// Moves the rows together that are not gone. They get new numbers.
    pub(super) fn move_together(&mut self) {
        let next = self.view.begun_anew();
        let mut old = std::mem::replace(&mut self.view, next);
        let mut moved = Vec::with_capacity(old.len());
        while old.rows().start < old.rows().end {
            let (start, end) = (old.rows().start, old.rows().end);
            for number in start..end.min(start + SEGMENT_ROWS as u64) {
                let Some(new) = self.view.push_copy(&old, number) else {
                    continue;
                };
                if let Some(row) = self.view.row(new) {
                    self.places.insert(Key::of(row), new);
                }
                if let Some(id) = self.view.id(new) {
                    self.ids.insert(id, new);
                }
                if self.unstored.remove(&number) {
                    self.unstored.insert(new);
                }
                moved.push((number, new));
            }
            old.drop_oldest();
        }
        if let Some(partition) = &mut self.partition {
            partition.renumber(&moved, self.view.rows());
        }
    }

    /// Puts a partition in the place of the present one, and every row that it does not
    /// know yet into it.
    pub(super) fn adopt(&mut self, mut partition: Partition) {
        partition.forget_before(self.view.rows().start);
        for number in partition.next_row()..self.view.rows().end {
            let Some(row) = self.view.row(number) else {
                continue;
            };
            let (segment, place) = self.view.place(number);
            let fit = segment.codes.fit(place);
            let (vector, off) = self.view.vector(number);
            partition.add(number, &Key::of(row), (&vector, off), fit);
        }
        self.partition = Some(partition);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: usize) -> Row {
        Row {
            image_hash: name.to_string().into(),
            content_hash: Some(name.to_string().into()),
            asset_id: None,
        }
    }

    fn at_most(max_rows: usize) -> IndexConfig {
        IndexConfig {
            max_rows,
            ..IndexConfig::default()
        }
    }

    fn names(matrix: &Matrix) -> Vec<String> {
        let view = matrix.view();
        let rows = view.live_rows().filter_map(|number| view.row(number));
        rows.map(|row| row.image_hash.to_string()).collect()
    }

    #[test]
    fn the_oldest_make_room() {
        let mut matrix = Matrix::new(1, at_most(3 * SEGMENT_ROWS));
        for number in 0..10 * SEGMENT_ROWS {
            assert!(matrix.insert(row(number), number as u64, &[1.0]));
            assert!(matrix.len() <= 3 * SEGMENT_ROWS);
        }
        let view = matrix.view();
        let oldest = view.rows().start;
        assert_eq!(oldest as usize, 7 * SEGMENT_ROWS);
        let name = &view.row(oldest).unwrap().image_hash;
        assert_eq!(**name, (7 * SEGMENT_ROWS).to_string());
        assert_eq!(matrix.made_room as usize, 7 * SEGMENT_ROWS);
        // An image that had to go comes again as new, one that stayed does not.
        assert!(matrix.insert(row(10 * SEGMENT_ROWS - 1), 0, &[1.0]));
        assert_eq!(matrix.len(), 3 * SEGMENT_ROWS);
        assert!(matrix.insert(row(0), 0, &[1.0]));
        assert_eq!(matrix.len(), 2 * SEGMENT_ROWS + 1);
    }

    #[test]
    fn a_search_keeps_what_it_began_with() {
        let mut matrix = Matrix::new(1, at_most(1000));
        matrix.put(1, row(1), 1, &[1.0]);
        let held = matrix.view().clone();
        matrix.insert(row(2), 2, &[1.0]);
        assert!(matrix.remove(1));
        assert_eq!((held.rows(), held.len()), (0..1, 1));
        assert_eq!(held.exact(0).unwrap(), [1.0]);
        assert_eq!((matrix.view().rows(), matrix.view().len()), (0..2, 1));
        assert_eq!(
            matrix.view().exact(0).unwrap(),
            [0.0],
            "nothing of it is left"
        );
        assert_eq!(names(&matrix), ["2"]);
    }

    #[test]
    fn the_database_says_what_an_id_is() {
        let mut matrix = Matrix::new(1, at_most(1000));
        matrix.insert(row(1), 0, &[1.0]);
        assert!(!matrix.remove(7), "the database has not said so yet");
        assert!(matrix.remove_unnumbered(&Key::of(&row(1))));
        matrix.insert(row(1), 0, &[1.0]);
        assert!(matrix.number(7, &Key::of(&row(1))));
        assert!(!matrix.number(9, &Key::of(&row(1))), "it has one");
        assert!(!matrix.number(7, &Key::of(&row(2))), "not there");
        matrix.put(7, row(1), 1, &[1.0]);
        assert_eq!(matrix.view().len(), 1, "the same image");
        assert!(!matrix.remove_unnumbered(&Key::of(&row(1))), "it has one");
        // Written anew by another copy: the old id means nothing any more.
        matrix.put(8, row(1), 2, &[1.0]);
        assert!(!matrix.remove(7));
        assert_eq!(matrix.ids(0..=9).collect::<Vec<_>>(), [8]);
        // Changed in place: another vector, another image, a broken vector.
        matrix.put(8, row(1), 3, &[-1.0]);
        let last = matrix.view().rows().end - 1;
        assert_eq!(matrix.view().exact(last).unwrap(), [-1.0]);
        matrix.put(8, row(2), 4, &[-1.0]);
        assert_eq!(names(&matrix), ["2"]);
        assert!(!matrix.put(8, row(2), 5, &[1.0, 0.0]));
        assert_eq!((names(&matrix).len(), matrix.len()), (0, 0));
        assert!(!matrix.remove(8));
    }

    #[test]
    fn the_newest_are_counted_without_those_that_are_gone() {
        let mut matrix = Matrix::new(1, at_most(10_000));
        for number in 0..3 * SEGMENT_ROWS {
            matrix.put(number as i64, row(number), number as u64, &[1.0]);
        }
        for number in (0..3 * SEGMENT_ROWS).filter(|number| number % 3 != 0) {
            assert!(matrix.remove(number as i64));
        }
        let live: Vec<_> = matrix.view().live_rows().rev().collect();
        assert_eq!(live.len(), SEGMENT_ROWS);
        for count in [1, 2, 50, 85, 86, 100, live.len() - 1] {
            let first = matrix.view().newest(count);
            assert!(first <= live[count - 1] && first > live[count], "{count}");
        }
        let all = matrix.view().rows();
        assert_eq!(matrix.view().newest(usize::MAX), all.start);
        assert!(matrix.view().newest(0) > live[0]);
    }

    #[test]
    fn rows_that_are_gone_take_no_room_for_long() {
        let mut matrix = Matrix::new(1, at_most(100_000));
        let all = 4 * GONE_MIN;
        for number in 0..all {
            matrix.put(number as i64, row(number), number as u64, &[1.0]);
        }
        // The oldest go at once, as whole segments.
        for number in 0..GONE_MIN {
            assert!(matrix.remove(number as i64));
        }
        assert_eq!(matrix.view().gone(), 0);
        for number in (GONE_MIN..all).step_by(2) {
            assert!(matrix.remove(number as i64));
        }
        assert!(matrix.is_sparse());
        let before = names(&matrix);
        let end = matrix.view().rows().end;
        matrix.move_together();
        assert_eq!((matrix.view().gone(), matrix.is_sparse()), (0, false));
        assert_eq!(names(&matrix), before);
        assert!(
            matrix.view().rows().start >= end,
            "numbers are never used again"
        );
        for number in (GONE_MIN + 1..all).step_by(2) {
            assert!(matrix.remove(number as i64), "{number}");
        }
        assert_eq!(matrix.len(), 0);
    }
}
