//! What a service is, and the registry of those that a server has.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    iter,
    pin::Pin,
    sync::Arc,
};

use landline_proto::{ErrorCode, Message, MessageType, ProtocolState, messages::Bundle, state};

use super::ServiceContext;
use crate::{
    Error,
    net::Channel,
    rights::{Right, RightWord, RightWords, WORDS_WITHOUT_SERVICE},
};

/// What a client opens a channel for. A server is given its services when it is built.
///
/// A new service is a module with its messages, one line where the server is built, a section of
/// `docs/protocol.md`, and a command.
pub trait Service: Send + Sync + 'static {
    /// The service's name, messages and rights.
    fn definition(&self) -> &'static ServiceDefinition;

    /// Serves one channel until the client finishes.
    ///
    /// [`ServiceContext::next_request`] gives the requests. It returns an error where the channel
    /// has to end, and the server then tells the client why.
    fn serve<'a>(
        &'a self,
        channel: &'a mut Channel,
        context: &'a ServiceContext,
    ) -> ServiceFuture<'a>;
}

/// What [`Service::serve`] returns.
pub type ServiceFuture<'a> = Pin<Box<dyn Future<Output = Result<(), Error>> + Send + 'a>>;

/// A service's name, messages and rights.
#[derive(Debug)]
pub struct ServiceDefinition {
    /// The name under which a channel is opened.
    pub name: &'static str,
    /// What the greeting says that a server with this service can do.
    pub features: &'static [&'static str],
    /// The types of all its messages, those that a client receives included.
    pub types: &'static [MessageType],
    /// The state between two requests.
    pub requests: &'static ProtocolState,
    /// The other states in which a server of this service waits for a message.
    pub other_states: &'static [&'static ProtocolState],
    /// The right that each message needs.
    pub rights: &'static [(&'static str, Right)],
    /// The keys of `rights.toml` that the service declares.
    pub words: &'static [&'static RightWord],
    /// The feature that a request belongs to, for keys and secrets that may use some features
    /// only. A request that is not listed needs the service as a whole.
    pub request_features: &'static [(&'static str, &'static str)],
    /// The right without which the service is of no use. A session that loses it between two
    /// requests is ended.
    pub kept_by: Right,
}

impl ServiceDefinition {
    /// The right that a message needs; `None` for one that the service does not know.
    pub(crate) fn right(&self, kind: &str) -> Option<Right> {
        self.rights
            .iter()
            .find(|(name, _)| *name == kind)
            .map(|(_, right)| *right)
    }

    /// The feature that a request belongs to; `None` for one that needs the service as a whole.
    pub(crate) fn feature(&self, kind: &str) -> Option<&'static str> {
        self.request_features
            .iter()
            .find(|(name, _)| *name == kind)
            .map(|(_, feature)| *feature)
    }

    /// All states in which a server of this service waits.
    pub(crate) fn states(&self) -> impl Iterator<Item = &'static ProtocolState> {
        [self.requests]
            .into_iter()
            .chain(self.other_states.iter().copied())
    }

    /// Every message in every state with the right that it needs.
    fn rules(&'static self) -> impl Iterator<Item = (&'static ProtocolState, &'static str)> {
        self.states()
            .flat_map(|state| state.kinds().map(move |kind| (state, kind)))
    }
}

/// A row of the table of state, message and right.
#[derive(Debug, Clone, Copy)]
pub struct MessageRight {
    /// The service; `None` before a channel is opened.
    pub service: Option<&'static str>,
    /// The state in which the server waits.
    pub state: &'static ProtocolState,
    /// The type of the message.
    pub kind: &'static str,
    /// The right that it needs.
    pub right: Right,
}

/// Why a service cannot be registered: a mistake in its definition.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum RegistryError {
    /// Two services have one name.
    #[error("two services are called {0:?}")]
    Duplicate(&'static str),
    /// A message that a state accepts has no right.
    #[error("no right is defined for the message {kind:?} of {service:?}")]
    NoRight {
        /// The service.
        service: &'static str,
        /// The message.
        kind: &'static str,
    },
    /// Two services declare the same word of `rights.toml`.
    #[error("the word {0:?} of rights.toml is declared twice")]
    DuplicateWord(&'static str),
    /// A message needs a word that no service declares.
    #[error("{service:?} needs the word {word:?} of rights.toml, which no service declares")]
    UnknownWord {
        /// The service.
        service: &'static str,
        /// The word.
        word: &'static str,
    },
}

/// The words that `rights.toml` may hold where these services are registered.
///
/// # Errors
/// [`RegistryError::DuplicateWord`].
pub(crate) fn right_words(
    definitions: impl IntoIterator<Item = &'static ServiceDefinition>,
) -> Result<RightWords, RegistryError> {
    let definitions: Vec<&ServiceDefinition> = definitions.into_iter().collect();
    let declared = definitions
        .iter()
        .flat_map(|definition| definition.words.iter().copied());
    let words = RightWords::new(WORDS_WITHOUT_SERVICE.into_iter().chain(declared))
        .map_err(RegistryError::DuplicateWord)?;
    // A service without features of its own has one of the same name.
    let names: BTreeSet<&'static str> = definitions
        .iter()
        .flat_map(|definition| iter::once(&definition.name).chain(definition.features))
        .copied()
        .collect();
    Ok(words.with_services(names.into_iter().collect()))
}

/// The services of a server, and the table of state, message and right that they make up.
#[derive(Clone)]
pub(crate) struct Registry {
    services: BTreeMap<&'static str, Arc<dyn Service>>,
    table: Vec<MessageRight>,
}

impl Registry {
    /// Registers services.
    ///
    /// # Errors
    /// [`RegistryError`] for a mistake in a definition.
    pub(crate) fn new(services: Vec<Arc<dyn Service>>) -> Result<Self, RegistryError> {
        let mut registry = Self {
            services: BTreeMap::new(),
            table: core_rights().collect(),
        };
        let words = right_words(services.iter().map(|service| service.definition()))?;
        for service in services {
            let definition = service.definition();
            let rights = definition.rights.iter().map(|(_, right)| *right);
            for right in rights.chain([definition.kept_by]) {
                if let Right::Word(word) = right
                    && words.find(word).is_none()
                {
                    let service = definition.name;
                    return Err(RegistryError::UnknownWord { service, word });
                }
            }
            for (state, kind) in definition.rules() {
                let Some(right) = definition.right(kind) else {
                    let service = definition.name;
                    return Err(RegistryError::NoRight { service, kind });
                };
                registry.table.push(MessageRight {
                    service: Some(definition.name),
                    state,
                    kind,
                    right,
                });
            }
            if registry.services.insert(definition.name, service).is_some() {
                return Err(RegistryError::Duplicate(definition.name));
            }
        }
        Ok(registry)
    }

    /// The service of this name.
    ///
    /// # Errors
    /// `unknown-service`.
    pub(crate) fn service(&self, name: &str) -> Result<&Arc<dyn Service>, Error> {
        self.services.get(name).ok_or_else(|| {
            let shown: String = name.chars().take(64).collect();
            let message = format!("the server has no service {shown:?}");
            Error::here(ErrorCode::UnknownService, message)
        })
    }

    /// What the greeting says that this server can do.
    pub(crate) fn features(&self) -> Vec<String> {
        self.services
            .values()
            .flat_map(|service| service.definition().features)
            .map(|feature| (*feature).to_owned())
            .collect()
    }

    /// Every message that this server accepts, with its state and the right that it needs.
    pub(crate) fn table(&self) -> &[MessageRight] {
        &self.table
    }
}

/// The messages before a service is opened.
fn core_rights() -> impl Iterator<Item = MessageRight> {
    state::SERVER_STATES.iter().flat_map(|state| {
        state.kinds().map(|kind| MessageRight {
            service: None,
            state,
            kind,
            // The `open` in a bundle needs the right.
            right: if *state == &state::SERVER_CHANNEL && kind != Bundle::TYPE {
                Right::Account
            } else {
                Right::Nothing
            },
        })
    })
}

#[cfg(test)]
mod tests {
    use landline_proto::MessageRule;

    use super::*;
    use crate::rights::Switch;

    static STATE: ProtocolState =
        ProtocolState::new("test-requests", &[MessageRule::new("question")]);

    static COMPLETE: ServiceDefinition = ServiceDefinition {
        name: "test",
        features: &["test.question"],
        types: &[],
        requests: &STATE,
        other_states: &[],
        rights: &[("question", Right::Account)],
        words: &[&WORD],
        request_features: &[("question", "test.question")],
        kept_by: Right::Account,
    };

    static WORD: RightWord = RightWord {
        name: "test",
        description: "ask here",
        arguments: None,
        parse: |item| Switch::parse("test", item),
    };

    static SAME_WORD: ServiceDefinition = ServiceDefinition {
        name: "other",
        ..COMPLETE
    };

    static WITHOUT_WORD: ServiceDefinition = ServiceDefinition {
        words: &[],
        ..COMPLETE
    };

    static CORE_WORD: ServiceDefinition = ServiceDefinition {
        words: &[&RightWord {
            name: "files",
            ..WORD
        }],
        ..COMPLETE
    };

    static UNKNOWN_WORD: ServiceDefinition = ServiceDefinition {
        rights: &[("question", Right::Word("tset"))],
        ..COMPLETE
    };

    static INCOMPLETE: ServiceDefinition = ServiceDefinition {
        rights: &[],
        name: "incomplete",
        ..COMPLETE
    };

    struct Test(&'static ServiceDefinition);

    impl Service for Test {
        fn definition(&self) -> &'static ServiceDefinition {
            self.0
        }

        fn serve<'a>(&'a self, _: &'a mut Channel, _: &'a ServiceContext) -> ServiceFuture<'a> {
            Box::pin(async { Ok(()) })
        }
    }

    fn registry(definitions: &[&'static ServiceDefinition]) -> Result<Registry, RegistryError> {
        let services = definitions
            .iter()
            .map(|definition| Arc::new(Test(definition)) as Arc<dyn Service>);
        Registry::new(services.collect())
    }

    #[test]
    fn table_has_every_message_of_every_service() {
        let registry = registry(&[&COMPLETE]).unwrap();
        let rows: Vec<_> = registry
            .table()
            .iter()
            .filter(|row| row.service == Some("test"))
            .map(|row| (row.state.name(), row.kind, row.right))
            .collect();
        assert_eq!(rows, [("test-requests", "question", Right::Account)]);
        let open = registry.table().iter().find(|row| row.kind == "open");
        assert_eq!(open.map(|row| row.right), Some(Right::Account));
        assert_eq!(registry.features(), ["test.question"]);
        assert!(registry.service("test").is_ok());
        assert!(matches!(
            registry.service("other").err(),
            Some(Error::Failed {
                code: ErrorCode::UnknownService,
                ..
            })
        ));
    }

    /// Proves `rights-fail-open` in docs/faults.md.
    #[test]
    fn mistakes_in_a_definition_are_refused() {
        assert_eq!(
            registry(&[&WITHOUT_WORD, &WITHOUT_WORD]).err(),
            Some(RegistryError::Duplicate("test"))
        );
        for (definitions, word) in [
            (&[&COMPLETE, &SAME_WORD][..], "test"),
            (&[&CORE_WORD], "files"),
        ] {
            assert_eq!(
                registry(definitions).err(),
                Some(RegistryError::DuplicateWord(word))
            );
        }
        assert_eq!(
            registry(&[&UNKNOWN_WORD]).err(),
            Some(RegistryError::UnknownWord {
                service: "test",
                word: "tset"
            })
        );
        let service = "incomplete";
        let kind = "question";
        assert_eq!(
            registry(&[&INCOMPLETE]).err(),
            Some(RegistryError::NoRight { service, kind })
        );
    }
}
