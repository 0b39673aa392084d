//! Memory for content, with a limit for each user and one for all.

use std::{
    collections::HashMap,
    mem,
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, PoisonError, Weak},
};

use landline_proto::login::UserName;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The default limit for all users, in bytes.
const MEMORY_MAX: usize = 256 << 20;
/// The default limit for one user, in bytes.
const USER_MEMORY_MAX: usize = 64 << 20;
/// The most buffers that are kept for the next caller.
const SPARE_MAX: usize = 16;

/// All memory for content.
#[derive(Clone)]
pub(crate) struct BufferPool(Arc<PoolState>);

struct PoolState {
    /// One permit for each byte.
    all: Arc<Semaphore>,
    user_max: usize,
    users: Mutex<HashMap<UserName, Weak<Semaphore>>>,
    memory: Arc<Mutex<Memory>>,
}

/// Buffers that were used before. They are kept while content flows, so that an idle server holds
/// none.
#[derive(Default)]
struct Memory {
    /// Transfers whose content flows.
    flowing: usize,
    spare: Vec<Vec<u8>>,
}

/// Content flows: buffers are kept to be used again while this lives.
pub(crate) struct Flow(Arc<Mutex<Memory>>);

impl Drop for Flow {
    fn drop(&mut self) {
        let mut memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        memory.flowing -= 1;
        if memory.flowing == 0 {
            memory.spare = Vec::new();
        }
    }
}

/// The buffers of one user, or of a client.
#[derive(Clone)]
pub(crate) struct Buffers {
    user: Arc<Semaphore>,
    all: Arc<Semaphore>,
    memory: Arc<Mutex<Memory>>,
}

/// A buffer whose memory is returned to its pool, if it has one, when it is dropped.
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    pooled: Option<Pooled>,
}

/// A buffer's part of its pool.
struct Pooled {
    memory: Arc<Mutex<Memory>>,
    _permits: [OwnedSemaphorePermit; 2],
}

impl BufferPool {
    /// A pool with these limits, in bytes.
    pub(crate) fn new(all_max: usize, user_max: usize) -> Self {
        Self(Arc::new(PoolState {
            all: Arc::new(Semaphore::new(all_max)),
            user_max,
            users: Mutex::default(),
            memory: Arc::default(),
        }))
    }

    /// The buffers of this user. All connections of a user share one limit.
    pub(crate) fn of(&self, user: &UserName) -> Buffers {
        let mut users = self.0.users.lock().unwrap_or_else(PoisonError::into_inner);
        users.retain(|_, semaphore| semaphore.strong_count() > 0);
        let known = users.get(user).and_then(Weak::upgrade);
        let semaphore = known.unwrap_or_else(|| {
            let semaphore = Arc::new(Semaphore::new(self.0.user_max));
            users.insert(user.clone(), Arc::downgrade(&semaphore));
            semaphore
        });
        Buffers {
            user: semaphore,
            all: self.0.all.clone(),
            memory: self.0.memory.clone(),
        }
    }
}

impl Default for BufferPool {
    fn default() -> Self {
        Self::new(MEMORY_MAX, USER_MEMORY_MAX)
    }
}

impl Buffers {
    /// The buffers of a client.
    pub(crate) fn of_client() -> Self {
        Self {
            user: Arc::new(Semaphore::new(USER_MEMORY_MAX)),
            all: Arc::new(Semaphore::new(USER_MEMORY_MAX)),
            memory: Arc::default(),
        }
    }

    /// Keeps buffers to be used again, while content flows.
    pub(crate) fn flow(&self) -> Flow {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.flowing += 1;
        Flow(self.memory.clone())
    }

    /// Takes an empty buffer with this capacity, once the limits allow it.
    ///
    /// A caller that waits must hold no buffer that it returns only after this one.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(crate) async fn take(&self, bytes: usize) -> Buffer {
        let count = u32::try_from(bytes).unwrap_or(u32::MAX);
        // Neither semaphore is ever closed.
        let (Ok(user), Ok(all)) = (
            self.user.clone().acquire_many_owned(count).await,
            self.all.clone().acquire_many_owned(count).await,
        ) else {
            return std::future::pending().await;
        };
        self.buffer(bytes, [user, all])
    }

    /// Takes an empty buffer, if the limits allow it now.
    pub(crate) fn try_take(&self, bytes: usize) -> Option<Buffer> {
        let count = u32::try_from(bytes).ok()?;
        let user = self.user.clone().try_acquire_many_owned(count).ok()?;
        let all = self.all.clone().try_acquire_many_owned(count).ok()?;
        Some(self.buffer(bytes, [user, all]))
    }

    fn buffer(&self, bytes: usize, permits: [OwnedSemaphorePermit; 2]) -> Buffer {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |spare: &Vec<u8>| (bytes..=2 * bytes).contains(&spare.capacity());
        let index = memory.spare.iter().position(fits);
        let spare = index.map(|index| memory.spare.swap_remove(index));
        drop(memory);
        Buffer {
            bytes: spare.unwrap_or_else(|| Vec::with_capacity(bytes)),
            pooled: Some(Pooled {
                memory: self.memory.clone(),
                _permits: permits,
            }),
        }
    }
}

impl Buffer {
    /// A buffer without a pool.
    pub(crate) fn unpooled(bytes: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(bytes),
            pooled: None,
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let Some(Pooled { memory, .. }) = &self.pooled else {
            return;
        };
        let mut bytes = mem::take(&mut self.bytes);
        bytes.clear();
        let mut memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
        if memory.flowing > 0 && memory.spare.len() < SPARE_MAX {
            memory.spare.push(bytes);
        }
    }
}

impl Deref for Buffer {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.bytes
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> UserName {
        text.parse().unwrap()
    }

    /// Proves `one-account-takes-all` in docs/faults.md.
    #[tokio::test]
    async fn user_waits_at_own_limit_and_all_at_theirs() {
        let pool = BufferPool::new(250, 100);
        let (alice, bob, carol) = (
            pool.of(&name("alice")),
            pool.of(&name("bob")),
            pool.of(&name("carol")),
        );
        let first = alice.take(60).await;
        assert!(alice.try_take(60).is_none(), "alice has 40 left");
        assert!(
            pool.of(&name("alice")).try_take(60).is_none(),
            "however she comes"
        );
        let second = bob.take(100).await;
        assert!(carol.try_take(100).is_none(), "all have 90 left");
        let third = carol.try_take(90);
        assert!(third.is_some());
        drop(first);
        let waiting = alice.take(60);
        drop(second);
        assert!(waiting.await.is_empty());
    }

    /// Proves `one-account-takes-all` in docs/faults.md.
    #[test]
    fn idle_pool_holds_no_memory() {
        let buffers = BufferPool::new(1000, 1000).of(&name("alice"));
        let spare = || buffers.memory.lock().unwrap().spare.len();
        let flow = buffers.flow();
        let mut taken = buffers.try_take(10).unwrap();
        taken.extend_from_slice(b"content");
        let address = taken.as_ptr();
        drop(taken);
        assert_eq!(spare(), 1);
        let again = buffers.try_take(10).unwrap();
        assert!(
            again.is_empty() && again.as_ptr() == address,
            "it is used again"
        );
        drop(again);
        drop(flow);
        assert_eq!(spare(), 0);
        drop(buffers.try_take(10));
        assert_eq!(spare(), 0);
    }
}
