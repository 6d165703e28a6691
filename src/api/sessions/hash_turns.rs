//! Whose hash is next: networks of clients in turn, one hash each.
//!
//! Owns the queue before the few hashes that run at once. However many hashes one network waits
//! for, the first of another one comes after one hash of each. Must never refuse anybody: how many
//! may wait is bounded before.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use tokio::sync::oneshot::error::RecvError;

use crate::web::network::ClientNetwork;

#[derive(Clone, Debug)]
pub(crate) struct HashTurns(Arc<Mutex<Queue>>);

#[derive(Debug)]
struct Queue {
    free: usize,
    /// By the network of those that wait; none of the lists is empty.
    waiting: BTreeMap<ClientNetwork, VecDeque<oneshot::Sender<HashTurn>>>,
    /// The network that had the newest turn.
    served: Option<ClientNetwork>,
}

/// Leave for one hash; the next one has it when this is dropped.
#[derive(Debug)]
pub(crate) struct HashTurn(Option<HashTurns>);

/// A waiter's place in the queue: it leaves when its client goes away.
struct WaitingPlace<'a> {
    turns: &'a HashTurns,
    network: ClientNetwork,
}

impl HashTurns {
    /// With so many hashes at once.
    pub(crate) fn new(at_once: usize) -> Self {
        Self(Arc::new(Mutex::new(Queue {
            free: at_once,
            waiting: BTreeMap::new(),
            served: None,
        })))
    }

    /// Waits for the network's turn.
    pub(crate) async fn next(&self, network: ClientNetwork) -> Result<HashTurn, RecvError> {
        // Dropped after what waits, which is closed by then.
        let _place = WaitingPlace {
            turns: self,
            network,
        };
        let turn = self.line_up(network);
        self.serve();
        turn.await
    }

    fn line_up(&self, network: ClientNetwork) -> oneshot::Receiver<HashTurn> {
        let (sender, turn) = oneshot::channel();
        let mut queue = self.lock();
        queue.waiting.entry(network).or_default().push_back(sender);
        turn
    }

    /// Gives the turns that are free. One whose waiter has gone away goes to the next.
    fn serve(&self) {
        loop {
            let next = self.lock().take();
            let Some(sender) = next else {
                return;
            };
            if let Err(mut unused) = sender.send(HashTurn(Some(self.clone()))) {
                // Not by dropping it, which would come back here for each that has gone away.
                unused.0 = None;
                self.lock().free += 1;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// Takes a free turn for the network behind the one that was served last.
    fn take(&mut self) -> Option<oneshot::Sender<HashTurn>> {
        if self.free == 0 {
            return None;
        }
        let behind = self.served.map_or(Bound::Unbounded, Bound::Excluded);
        let next = self.waiting.range((behind, Bound::Unbounded)).next();
        let network = *next.or_else(|| self.waiting.iter().next())?.0;
        let line = self.waiting.get_mut(&network)?;
        let first = line.pop_front();
        if line.is_empty() {
            self.waiting.remove(&network);
        }
        self.served = Some(network);
        self.free -= usize::from(first.is_some());
        first
    }
}

impl Drop for HashTurn {
    fn drop(&mut self) {
        if let Some(turns) = self.0.take() {
            turns.lock().free += 1;
            turns.serve();
        }
    }
}

impl Drop for WaitingPlace<'_> {
    fn drop(&mut self) {
        let mut queue = self.turns.lock();
        if let Some(line) = queue.waiting.get_mut(&self.network) {
            line.retain(|waiter| !waiter.is_closed());
            if line.is_empty() {
                queue.waiting.remove(&self.network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn network(last: u8) -> ClientNetwork {
        ClientNetwork::of(Some([192, 0, 2, last].into()))
    }

    /// Looks once whether a turn has come.
    fn poll<F: Future>(future: &mut std::pin::Pin<Box<F>>) -> Poll<F::Output> {
        future
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn networks_take_turns_and_who_has_gone_away_is_passed_over() {
        let turns = HashTurns::new(1);
        // One network waits five times before others come; its third has gone away.
        let asked = [1, 1, 1, 1, 1, 2, 3, 2];
        let mut waiting: Vec<_> = asked
            .iter()
            .map(|last| Some(Box::pin(turns.next(network(*last)))))
            .collect();
        let mut held = Vec::new();
        for waiter in waiting.iter_mut().flatten() {
            if let Poll::Ready(turn) = poll(waiter) {
                held.push(turn.unwrap());
            }
        }
        assert_eq!(held.len(), 1);
        waiting[0] = None;
        waiting[2] = None;
        let mut order = vec![asked[0]];
        while held.pop().is_some() {
            for (waiter, last) in waiting.iter_mut().zip(asked) {
                if let Some(Poll::Ready(turn)) = waiter.as_mut().map(poll) {
                    held.push(turn.unwrap());
                    order.push(last);
                    *waiter = None;
                }
            }
            assert!(held.len() <= 1);
        }
        assert_eq!(order, [1, 2, 3, 1, 2, 1, 1]);
        let queue = turns.lock();
        assert_eq!((queue.free, queue.waiting.len()), (1, 0));
    }

    #[test]
    fn waiters_that_go_away_leave_nothing_behind_and_nest_nothing() {
        let turns = HashTurns::new(1);
        let mut first = Box::pin(turns.next(network(1)));
        let Poll::Ready(Ok(held)) = poll(&mut first) else {
            panic!("the first turn is free");
        };
        let gone = (0..2_000).map(|_| Box::pin(turns.next(network(2))));
        let mut gone: Vec<_> = gone.collect();
        for waiter in &mut gone {
            assert!(poll(waiter).is_pending());
        }
        drop(gone);
        assert!(turns.lock().waiting.is_empty());
        // Those that are gone without having left the queue are passed over one after another.
        let line = (0..100_000).map(|_| oneshot::channel().0).collect();
        turns.lock().waiting.insert(network(3), line);
        drop(held);
        let queue = turns.lock();
        assert_eq!((queue.free, queue.waiting.len()), (1, 0));
    }
}
