//! The services that a server has.

use std::sync::Arc;

use crate::{
    admin::{Administration, server::AdminService},
    files::{Partials, server::FilesService},
    ping::PingService,
    session::{Service, Sessions, Threads},
};

/// What the services of a server work on.
pub(super) struct ServiceParts {
    pub(super) administration: Arc<Administration>,
    pub(super) partials: Partials,
    pub(super) sessions: Sessions,
    pub(super) threads: Threads,
}

/// Every service. A new one is registered here.
pub(super) fn services(parts: ServiceParts) -> Vec<Arc<dyn Service>> {
    let ServiceParts {
        administration,
        partials,
        sessions,
        threads,
    } = parts;
    vec![
        Arc::new(PingService),
        Arc::new(FilesService { partials }),
        Arc::new(AdminService {
            administration,
            sessions,
            threads,
        }),
    ]
}
