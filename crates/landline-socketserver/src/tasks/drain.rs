//! Learning, in an async handler, that the server drains.

use tokio::sync::watch;

/// Tells a handler that the server takes no more connections and waits for those it has. Clones
/// tell the same.
#[derive(Debug, Clone)]
pub struct Drain {
    stage: watch::Receiver<Stage>,
}

/// How far a server has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    Serving,
    /// What runs may end, nothing begins.
    Draining,
    /// What still runs is to end at once.
    Ending,
}

impl Drain {
    pub(crate) fn new(stage: watch::Receiver<Stage>) -> Self {
        Self { stage }
    }

    /// One that tells nothing, for a connection that is served without a server.
    pub fn never() -> Self {
        Self {
            stage: watch::Sender::new(Stage::Serving).subscribe(),
        }
    }

    /// Whether the server drains.
    pub fn has_begun(&self) -> bool {
        *self.stage.borrow() >= Stage::Draining
    }

    /// Returns once the server drains. Cancel-safe.
    pub async fn begun(&mut self) {
        self.reached(Stage::Draining).await;
    }

    /// Returns once the time for draining is over: what is not done within
    /// [`Limits::ending_time`](crate::Limits::ending_time) from now is cut off. Cancel-safe.
    pub async fn over(&mut self) {
        self.reached(Stage::Ending).await;
    }

    async fn reached(&mut self, stage: Stage) {
        if self.stage.wait_for(|now| *now >= stage).await.is_err() {
            // Nobody is left to tell.
            std::future::pending().await
        }
    }
}
