//! A client of the server that a command administers: on this machine, or elsewhere with `--on`.

use landline::{
    Error,
    admin::{
        Answer, LocalServer, Request, client,
        messages::{CheckRight, ShowServer},
        passwords::password_record,
    },
    crypto::Fingerprint,
    net::{Channel, HostPort, Target},
    password::Password,
    proto::{ErrorCode, login::UserName, messages::Blob},
    rights::Verdict,
};

use crate::{arguments::On, connect, context::Context, failure::Failure, local_admin};

pub(crate) struct AdminClient {
    accounts: AccountServer,
    /// The server's fingerprint.
    pub(crate) server: Fingerprint,
}

/// The server that has the accounts.
enum AccountServer {
    Local(LocalServer),
    Remote(Box<Channel>),
}

impl AdminClient {
    /// Finds the server on this machine, or logs in to the one of `--on`.
    ///
    /// # Errors
    /// There is no such server, or the login fails.
    pub(crate) async fn open(context: &Context, on: &On) -> Result<Self, Failure> {
        let Some(target) = &on.host else {
            let (server, status) = local_admin::open(context).await?;
            return Ok(Self {
                accounts: AccountServer::Local(server),
                server: status.fingerprint,
            });
        };
        let (channel, server) = connect_to(context, target, on).await?;
        Ok(Self {
            accounts: AccountServer::Remote(Box::new(channel)),
            server,
        })
    }

    /// Asks the server. The error is that of the library.
    pub(crate) async fn try_ask(&mut self, request: &Request) -> Result<Answer, Error> {
        match &mut self.accounts {
            AccountServer::Local(server) => server.ask(request).await,
            AccountServer::Remote(channel) => client::ask(channel, request).await,
        }
    }

    /// Asks the server.
    pub(crate) async fn ask(&mut self, request: impl Into<Request>) -> Result<Answer, Failure> {
        let request = request.into();
        let can_force = matches!(
            request,
            Request::DisableUser(_) | Request::RemoveUser(_) | Request::RemoveSecret(_)
        );
        self.try_ask(&request).await.map_err(|error| match &error {
            Error::Failed {
                code: ErrorCode::LastOwner,
                ..
            } if can_force => {
                Failure::from(error).with_advice("make another admin first, or add --force")
            }
            _ => error.into(),
        })
    }

    /// Asks for a change.
    pub(crate) async fn change(&mut self, request: impl Into<Request>) -> Result<(), Failure> {
        self.ask(request).await.map(drop)
    }

    /// Whether a user may do something. `None` for the server on this machine, whose files say so.
    pub(crate) async fn check(&mut self, request: &CheckRight) -> Result<Option<Verdict>, Failure> {
        match &mut self.accounts {
            AccountServer::Local(_) => Ok(None),
            AccountServer::Remote(channel) => Ok(Some(client::check(channel, request).await?)),
        }
    }

    /// The record to store for a password of `user`.
    pub(crate) async fn password_record(
        &mut self,
        user: &UserName,
        password: &Password,
    ) -> Result<Blob, Failure> {
        let server = self.server;
        let ask = async |request| self.try_ask(&request).await;
        Ok(password_record(ask, user.clone(), server, password).await?)
    }

    /// The addresses of the server: that of `--public-name`, else its own.
    ///
    /// # Errors
    /// `not-found` if they are unknown.
    pub(crate) async fn addresses(
        &mut self,
        public_name: Option<&Target>,
    ) -> Result<Vec<HostPort>, Failure> {
        let Answer::Server(server) = self.ask(ShowServer {}).await? else {
            return Err(unexpected_answer());
        };
        let addresses: Result<Vec<HostPort>, Error> = server
            .addresses
            .iter()
            .map(|address| address.parse())
            .collect();
        let mut addresses = addresses?;
        if let Some(name) = public_name {
            addresses = vec![local_admin::public_address(name, &addresses)];
        }
        if addresses.is_empty() {
            let problem = "the addresses of this server are unknown, because it has not run yet";
            return Err(Error::here(ErrorCode::NotFound, problem).into());
        }
        Ok(addresses)
    }

    /// Ends the connection.
    pub(crate) async fn finish(self) {
        if let AccountServer::Remote(channel) = self.accounts {
            channel.finish().await;
        }
    }
}

/// Logs in to the server of `--on`. Returns the channel of `admin`, and the fingerprint.
///
/// # Errors
/// The server is not known, or the login fails.
pub(crate) async fn connect_to(
    context: &Context,
    target: &Target,
    on: &On,
) -> Result<(Channel, Fingerprint), Failure> {
    let client = context.client()?;
    let (server, credential) = connect::find_server(context, &client, target, &on.access).await?;
    let (connected, _) = landline::client::who(&server, &credential).await?;
    Ok((connected.login.channel, server.fingerprint))
}

/// An answer that does not belong to its request. The library lets none through.
pub(crate) fn unexpected_answer() -> Failure {
    Failure::new(
        ErrorCode::UnexpectedMessage.as_str(),
        "the server answered another request",
    )
}
