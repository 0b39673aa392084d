//! The services that a server has.

use std::sync::Arc;

use landline_proto::{ErrorCode, MessageType, messages, streams};

use crate::{
    Error,
    admin::{self, control, server::AdminService},
    exec::{
        self, ExecOptions, hand_over::HandOver, jobs::JobTable, lost_runs::LostRuns,
        reserve::Reserve, server::ExecService,
    },
    files::{self, ManifestStore, server::FilesService},
    forward::{self, OwnListener, server::ForwardService},
    ping::{self, PingService},
    rights::RightWords,
    session::{Registry, RegistryError, Service, ServiceDefinition, right_words},
};

/// What the services of a server work on.
pub(super) struct ServiceParts {
    pub(super) admin: Arc<AdminService>,
    pub(super) manifests: ManifestStore,
    pub(super) exec: Option<ExecOptions>,
    pub(super) jobs: JobTable,
    pub(super) lost_runs: LostRuns,
    pub(super) hand_over: HandOver,
    pub(super) own_listener: OwnListener,
}

/// A service, and how it is made.
type Registration = (
    &'static ServiceDefinition,
    fn(&ServiceParts) -> Arc<dyn Service>,
);

/// Every service. A new one is registered here.
static SERVICES: [Registration; 5] = [
    (&ping::DEFINITION, |_| Arc::new(PingService)),
    (&files::server::DEFINITION, |parts| {
        Arc::new(FilesService {
            manifests: parts.manifests.clone(),
        })
    }),
    (&exec::server::DEFINITION, |parts| {
        Arc::new(ExecService {
            options: parts.exec.clone(),
            jobs: parts.jobs.clone(),
            lost: parts.lost_runs.clone(),
            hand_over: parts.hand_over.clone(),
            reserve: Reserve::default(),
        })
    }),
    (&forward::server::DEFINITION, |parts| {
        Arc::new(ForwardService::new(parts.own_listener.clone()))
    }),
    (&admin::server::DEFINITION, |parts| parts.admin.clone()),
];

/// The services of this release and `further` ones.
///
/// # Errors
/// `io` for a mistake in the definition of a service.
pub(super) fn registry(
    parts: &ServiceParts,
    further: Vec<Arc<dyn Service>>,
) -> Result<Registry, Error> {
    let own = SERVICES.iter().map(|(_, make)| make(parts));
    Registry::new(own.chain(further).collect()).map_err(|error| refused(&error))
}

/// The words that `rights.toml` may hold with the services of this release and `further` ones.
///
/// # Errors
/// `io` for a word that is declared twice.
pub(super) fn words_with(further: &[Arc<dyn Service>]) -> Result<RightWords, Error> {
    let further = further.iter().map(|service| service.definition());
    let own = SERVICES.iter().map(|(definition, _)| *definition);
    right_words(own.chain(further)).map_err(|error| refused(&error))
}

/// A mistake in the definition of a service.
fn refused(error: &RegistryError) -> Error {
    Error::here(ErrorCode::Io, error.to_string())
}

/// Every type of message, with the service that has it.
///
/// The types that all services share have the service "". The control socket is a service here.
pub fn message_types() -> impl Iterator<Item = (&'static str, MessageType)> {
    let services = SERVICES
        .iter()
        .map(|(definition, _)| (definition.name, definition.types));
    let others = [
        ("", messages::TYPES),
        ("streams", streams::TYPES),
        ("control", control::TYPES),
    ];
    services
        .chain(others)
        .flat_map(|(service, types)| types.iter().map(move |kind| (service, *kind)))
}

/// The words that `rights.toml` may hold with the services of this release.
///
/// # Errors
/// `io` for a word that is declared twice.
pub fn words() -> Result<RightWords, Error> {
    words_with(&[])
}
