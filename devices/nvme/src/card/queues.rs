//! The I/O submission queues that a host has made, and where their rings are.

use device_core::kick::Binding;

use crate::ring::QueueRing;

/// Where a ring is.
pub enum Place {
    /// On its lane.
    Lane,
    /// On its way from there: requests in flight end.
    Leaving,
    /// Here.
    Home(QueueRing),
    /// The host did not take it.
    Lost,
}

impl Place {
    /// Whether no request of it is in flight.
    pub fn is_home(&self) -> bool {
        matches!(self, Place::Home(_) | Place::Lost)
    }
}

/// A submission queue, on the lane of its number.
pub struct Sq {
    /// Number of its completion queue.
    pub cq: u16,
    /// Where its ring is.
    pub place: Place,
    /// Id of the command that ends it.
    pub deletion: Option<u16>,
    /// Its register, bound to its kick.
    pub binding: Option<Binding>,
}

/// All submission queues, by number from 1 on.
pub struct Queues(Vec<Option<Sq>>);

impl Queues {
    /// None, with room for `count`.
    pub fn new(count: u16) -> Queues {
        Queues((0..count).map(|_| None).collect())
    }

    /// Where queue `id` is or can be; nothing for a number that no queue can have.
    pub fn place(&mut self, id: u16) -> Option<&mut Option<Sq>> {
        self.0.get_mut(usize::from(id.checked_sub(1)?))
    }

    /// Queue `id`, if there is one.
    pub fn get(&mut self, id: u16) -> Option<&mut Sq> {
        self.place(id)?.as_mut()
    }

    /// All that there are, with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (u16, &Sq)> {
        (1..).zip(&self.0).filter_map(|(id, sq)| Some((id, sq.as_ref()?)))
    }

    /// All that there are, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (u16, &mut Sq)> {
        (1..).zip(&mut self.0).filter_map(|(id, sq)| Some((id, sq.as_mut()?)))
    }

    /// Whether all rings are home.
    pub fn are_home(&self) -> bool {
        self.iter().all(|(_, sq)| sq.place.is_home())
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        self.0.fill_with(|| None);
    }
}
