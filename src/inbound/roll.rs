//! What a mailbox holds, in little memory: forty bytes a message, however many there are.

use super::upstream::Item;

/// Listed messages, in the order of the listing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roll {
    lines: Vec<Line>,
    /// All ids, one behind the other.
    ids: String,
    /// Empty, or one for each line.
    arrived: Vec<Option<i64>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Line {
    handle: u32,
    /// Of the id; it ends where the next begins.
    start: u32,
    ordinal: u32,
    /// In bytes, or [`UNKNOWN`].
    size: u64,
}

/// The listing told no size.
const UNKNOWN: u64 = u64::MAX;

impl Roll {
    /// How many messages.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Nothing is there.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Adds a message. Ids beyond 4 GB in all are an attack: such a message is passed over, and waits.
    pub fn push(&mut self, handle: u32, id: (&str, u32), size: Option<u64>, arrived: Option<i64>) {
        let Ok(start) = u32::try_from(self.ids.len()) else { return };
        if arrived.is_some() || !self.arrived.is_empty() {
            self.arrived.resize(self.lines.len(), None);
            self.arrived.push(arrived);
        }
        self.ids.push_str(id.0);
        self.lines.push(Line { handle, start, ordinal: id.1, size: size.unwrap_or(UNKNOWN) });
    }

    /// The id of the message at a place.
    pub fn id(&self, place: usize) -> (&str, u32) {
        let end = self.lines.get(place + 1).map_or(self.ids.len(), |next| next.start as usize);
        self.lines.get(place).map_or(("", 0), |line| (&self.ids[line.start as usize..end], line.ordinal))
    }

    /// The size of the message at a place, if the listing told it.
    pub fn size(&self, place: usize) -> Option<u64> {
        self.lines.get(place).map(|line| line.size).filter(|size| *size != UNKNOWN)
    }

    /// Tells equal ids apart: an ordinal for each, in the order of the listing.
    pub fn number_equal_ids(&mut self) {
        let places = self.by_id();
        for pair in places.windows(2) {
            let (before, this) = (pair[0] as usize, pair[1] as usize);
            if self.id(before).0 == self.id(this).0 {
                self.lines[this].ordinal = self.lines[before].ordinal + 1;
            }
        }
    }

    /// All places, in the order of their ids; equal ones in that of the listing.
    pub fn by_id(&self) -> Vec<u32> {
        let mut places: Vec<u32> = (0..).take(self.len()).collect();
        places.sort_unstable_by(|a, b| (self.id(*a as usize), a).cmp(&(self.id(*b as usize), b)));
        places
    }

    /// The message at a place.
    pub fn item(&self, place: usize) -> Item {
        let line = self.lines.get(place).copied().unwrap_or(Line { handle: 0, start: 0, ordinal: 0, size: UNKNOWN });
        let (id, ordinal) = self.id(place);
        Item {
            handle: line.handle,
            id: (id.to_owned(), ordinal),
            size: self.size(place),
            arrived: self.arrived.get(place).copied().flatten(),
        }
    }

    /// All messages, one after the other.
    pub fn items(&self) -> impl Iterator<Item = Item> + '_ {
        (0..self.len()).map(|place| self.item(place))
    }
}

impl FromIterator<Item> for Roll {
    fn from_iter<I: IntoIterator<Item = Item>>(items: I) -> Self {
        let mut roll = Self::default();
        items.into_iter().for_each(|item| roll.push(item.handle, (&item.id.0, item.id.1), item.size, item.arrived));
        roll
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out() {
        let item = |handle, id: &str, size, arrived| Item { handle, id: (id.into(), 0), size, arrived };
        let items = [item(1, "b", Some(5), None), item(2, "", None, None), item(9, "ä b", Some(0), Some(7)), item(10, "b", None, None)];
        let mut roll: Roll = items.iter().cloned().collect();
        assert_eq!(roll.items().collect::<Vec<_>>(), items);
        roll.number_equal_ids();
        assert_eq!((roll.id(0), roll.id(3)), (("b", 0), ("b", 1)));
        assert_eq!(roll.by_id(), [1, 0, 3, 2]);
        assert_eq!((Roll::default().len(), Roll::default().id(0)), (0, ("", 0)));
    }
}
