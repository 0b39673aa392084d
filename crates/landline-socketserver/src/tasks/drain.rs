//! The drain signal of async handlers.

use tokio::sync::watch;

/// The signal that the server drains.
///
/// The server then accepts no more connections and waits for its handlers.
///
/// Clones share the signal.
#[derive(Debug, Clone)]
pub struct TaskDrain {
    stage: watch::Receiver<Stage>,
}

/// The stage of a server's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    Serving,
    /// Handlers may finish.
    Draining,
    /// Handlers must return at once.
    Ending,
}

impl TaskDrain {
    pub(crate) fn new(stage: watch::Receiver<Stage>) -> Self {
        Self { stage }
    }

    /// A signal that never comes, for a connection without a server.
    pub fn never() -> Self {
        Self {
            stage: watch::Sender::new(Stage::Serving).subscribe(),
        }
    }

    /// Whether the server drains.
    pub fn has_started(&self) -> bool {
        *self.stage.borrow() >= Stage::Draining
    }

    /// Waits until the server drains.
    ///
    /// # Cancel safety
    /// It can be dropped and called again.
    pub async fn wait_for_start(&mut self) {
        self.wait_for(Stage::Draining).await;
    }

    /// Waits until the drain time is over.
    ///
    /// A handler that has not returned after [`Limits::ending_time`](crate::Limits::ending_time) is
    /// then cut off.
    ///
    /// # Cancel safety
    /// It can be dropped and called again.
    pub async fn wait_for_end(&mut self) {
        self.wait_for(Stage::Ending).await;
    }

    async fn wait_for(&mut self, stage: Stage) {
        if self.stage.wait_for(|now| *now >= stage).await.is_err() {
            // The server is gone without draining.
            std::future::pending().await
        }
    }
}
