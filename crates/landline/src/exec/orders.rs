//! Orders that wait for a supervisor.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use landline_supervisor::protocol::Order;
use tokio::sync::Notify;

use super::foreground::INPUT_BYTES_MAX;

/// From so many orders on, those that bring nothing new are left out.
const ORDERS_MAX: usize = 256;

/// Orders that a supervisor has not taken, each with what goes with it.
///
/// A supervisor that is stopped takes none, and clients can send more without end. So from
/// [`ORDERS_MAX`] orders on, a new one takes the place of an older one of its kind, or is refused.
/// Input is never left out: how much of it may wait is limited elsewhere.
#[derive(Debug)]
pub(super) struct OrderQueue<T>(VecDeque<(Order, T)>);

impl<T> Default for OrderQueue<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T> OrderQueue<T> {
    /// Adds an order; `false` if it is refused, since too many wait.
    pub(super) fn push(&mut self, order: Order, with: T) -> bool {
        let order = match (order, self.0.back_mut()) {
            (Order::Input { bytes, .. }, Some((Order::Input { bytes: last, .. }, _)))
                if last.len() + bytes.len() <= INPUT_BYTES_MAX =>
            {
                last.extend(bytes);
                return true;
            }
            (order, _) => order,
        };
        if self.0.len() >= ORDERS_MAX {
            // The last one counts, if there are several from before.
            let mut older = self.0.iter_mut().rev().map(|(older, _)| older);
            if let Some(older) = older.find(|older| replaces(&order, older)) {
                *older = match (order, &*older) {
                    (Order::End { grace: new }, Order::End { grace: older }) => Order::End {
                        grace: new.min(*older),
                    },
                    (order, _) => order,
                };
                return true;
            }
            let is_full = self.0.len() >= 2 * ORDERS_MAX && !is_kept(&order);
            if is_full || is_question(&order) {
                return false;
            }
        }
        self.0.push_back((order, with));
        true
    }

    /// Takes the first order.
    pub(super) fn pop(&mut self) -> Option<(Order, T)> {
        self.0.pop_front()
    }
}

/// Where any task leaves orders for the one that has the connection to the supervisor. Cloning
/// gives another handle to the same.
#[derive(Debug)]
pub(super) struct OrderInbox<T>(Arc<Inbox<T>>);

#[derive(Debug)]
struct Inbox<T> {
    /// `None` once the other end is dropped.
    queue: Mutex<Option<OrderQueue<T>>>,
    added: Notify,
}

/// The end at which the orders of an [`OrderInbox`] are taken. Dropping it drops those that wait.
#[derive(Debug)]
pub(super) struct TakenOrders<T>(OrderInbox<T>);

impl<T> Clone for OrderInbox<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> OrderInbox<T> {
    /// An inbox, and its other end.
    pub(super) fn new() -> (Self, TakenOrders<T>) {
        let inbox = Self(Arc::new(Inbox {
            queue: Mutex::new(Some(OrderQueue::default())),
            added: Notify::new(),
        }));
        (inbox.clone(), TakenOrders(inbox))
    }

    /// Adds an order as [`OrderQueue::push`] does. What goes with an order that is refused, or
    /// comes after the end, is dropped.
    pub(super) fn push(&self, order: Order, with: T) {
        if let Some(queue) = self.lock().as_mut() {
            queue.push(order, with);
            self.0.added.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<OrderQueue<T>>> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> TakenOrders<T> {
    /// Takes the next order, once there is one.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(super) async fn next(&mut self) -> (Order, T) {
        loop {
            if let Some(taken) = self.take() {
                return taken;
            }
            self.0.0.added.notified().await;
        }
    }

    /// Takes the next order, if there is one.
    pub(super) fn take(&mut self) -> Option<(Order, T)> {
        self.0.lock().as_mut()?.pop()
    }
}

impl<T> Drop for TakenOrders<T> {
    fn drop(&mut self) {
        *self.0.lock() = None;
    }
}

/// Whether the order is never refused. There is only a limited number of these.
fn is_kept(order: &Order) -> bool {
    matches!(
        order,
        Order::Input { .. }
            | Order::InputEnd { .. }
            | Order::OutputStop { .. }
            | Order::End { .. }
            | Order::Leave
    )
}

/// Whether a client waits for the answer to this order.
fn is_question(order: &Order) -> bool {
    matches!(order, Order::Screen { .. } | Order::Confirm)
}

/// Whether the new order can stand in the place of the older one.
fn replaces(new: &Order, older: &Order) -> bool {
    match (new, older) {
        (Order::Signal { signal: new }, Order::Signal { signal: older }) => new == older,
        (Order::OutputAck { stream: new, .. }, Order::OutputAck { stream: older, .. })
        | (Order::OutputStop { stream: new }, Order::OutputStop { stream: older }) => new == older,
        (Order::End { .. }, Order::End { .. })
        | (Order::Resize(_), Order::Resize(_))
        | (Order::Attended(_), Order::Attended(_))
        | (Order::Leave, Order::Leave) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use landline_supervisor::protocol::{OutputStream, Size};

    use super::*;

    fn size(rows: u16) -> Order {
        Order::Resize(Size { rows, columns: 80 })
    }

    fn all(mut queue: OrderQueue<u32>) -> Vec<Order> {
        std::iter::from_fn(|| queue.pop())
            .map(|(order, _)| order)
            .collect()
    }

    /// A client can send these without end, and the supervisor may be stopped.
    #[test]
    fn orders_to_a_silent_supervisor_are_limited() {
        let mut queue = OrderQueue::default();
        let mut refused = 0;
        for round in 0..10_000_u32 {
            for order in [
                Order::Signal { signal: 2 },
                Order::Signal {
                    signal: (round % 64) as u8,
                },
                size(round as u16),
                Order::OutputAck {
                    stream: OutputStream::Stdout,
                    offset: 0,
                    limit: round.into(),
                },
                Order::Attended(round % 2 == 0),
                Order::End {
                    grace: Duration::from_millis(500),
                },
                Order::Confirm,
            ] {
                refused += u32::from(!queue.push(order, round));
            }
        }
        assert!(refused >= 9_900, "{refused}");
        queue.push(
            Order::End {
                grace: Duration::ZERO,
            },
            0,
        );
        let left = all(queue);
        assert!(left.len() <= 2 * ORDERS_MAX + 1, "{}", left.len());
        // The last of each kind is obeyed.
        let last_size = left.iter().rfind(|order| matches!(order, Order::Resize(_)));
        assert_eq!(last_size, Some(&size(9_999)));
        assert!(left.contains(&Order::End {
            grace: Duration::ZERO
        }));
    }

    #[test]
    fn no_input_is_left_out() {
        let mut queue = OrderQueue::default();
        for offset in 0..100_000_u64 {
            let bytes = vec![offset as u8];
            assert!(queue.push(Order::Input { offset, bytes }, 0));
            if offset % 100 == 0 {
                queue.push(Order::Signal { signal: 2 }, 0);
            }
        }
        let mut expected = 0;
        let left = all(queue);
        assert!(left.len() <= 2 * ORDERS_MAX, "{}", left.len());
        for order in left {
            if let Order::Input { offset, bytes } = order {
                assert_eq!(offset, expected);
                assert!(
                    bytes
                        .iter()
                        .zip(offset..)
                        .all(|(byte, at)| *byte == at as u8)
                );
                expected += bytes.len() as u64;
            }
        }
        assert_eq!(expected, 100_000);
    }

    #[test]
    fn few_orders_stay_as_they_are() {
        let mut queue = OrderQueue::default();
        let orders = [
            size(1),
            size(2),
            Order::Signal { signal: 2 },
            Order::Signal { signal: 2 },
        ];
        for order in orders.clone() {
            assert!(queue.push(order, 0));
        }
        assert_eq!(all(queue), orders);
    }
}
