//! `landline join`: redeems an invite, or logs in with a secret, and saves the server.

use std::{
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use landline::{
    Client, Error,
    client::{JoinOptions, Routes},
    keys::CredentialId,
    login::{Invite, MachineName, Secret},
    net::{HostPort, Target},
    proto::{ErrorCode, login::UserName},
    ssh_config::ProxyJump,
};
use zeroize::Zeroizing;

use crate::{
    arguments::VIA,
    connect,
    context::{Context, ExitStatus, Run},
    failure::Failure,
    registration::{choose_key, explain, report, report_key},
};

/// The longest invite that is read from standard input, in bytes.
const INVITE_BYTES_MAX: u64 = 64 * 1024;

/// Redeem an invite and remember the server
///
/// From then on this client knows the server, and the server knows this client's key.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  landline join 'landline://192.0.2.7:5263/#FINGERPRINT.TOKEN' --name nas"
)]
pub(crate) struct Join {
    /// Invite (landline://...), or - for standard input
    #[arg(required_unless_present = "secret_file")]
    invite: Option<String>,
    /// Log in with the secret in FILE instead of an invite
    ///
    /// An admin makes the secret with `landline secret add`. Later commands log in with this file,
    /// so do not move it.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["invite", "user", "identity"])]
    secret_file: Option<PathBuf>,
    /// User name on the server [default: your local user name]
    #[arg(long = "as", value_name = "NAME")]
    user: Option<UserName>,
    /// Name of the machine on this client
    ///
    /// All commands then take NAME for the server: `landline cp photo.jpg nas:`. It has at most 63
    /// letters, digits, dots, dashes and underscores.
    #[arg(long, value_name = "NAME")]
    name: Option<MachineName>,
    /// Replace another server that is known at this address
    #[arg(long)]
    replace: bool,
    /// Register this key [default: a key made for this client]
    ///
    /// FILE is a private key of OpenSSH (ed25519, ECDSA, RSA), or the public half of a key in
    /// ssh-agent.
    #[arg(short, long, value_name = "FILE")]
    identity: Option<PathBuf>,
    /// Connect through ssh jump hosts, now and from then on
    #[arg(long, value_name = VIA)]
    via_ssh: Option<ProxyJump>,
}

impl Run for Join {
    async fn run(self, context: &Context) -> Result<ExitStatus, Failure> {
        let client = context.client()?;
        match (&self.invite, &self.secret_file) {
            (_, Some(path)) => self.join_with_secret(context, &client, path).await?,
            (invite, None) => {
                let invite = invite.as_deref().unwrap_or_default();
                self.join_with_invite(context, &client, invite).await?;
            }
        }
        Ok(ExitStatus::SUCCESS)
    }
}

impl Join {
    async fn join_with_invite(
        &self,
        context: &Context,
        client: &Client,
        invite: &str,
    ) -> Result<(), Failure> {
        let text = match invite {
            "-" => read_invite(context)?,
            text => Zeroizing::new(text.to_owned()),
        };
        let invite: Invite = text.parse()?;
        let user = match &self.user {
            Some(user) => user.clone(),
            None => context.environment.user("--as NAME")?,
        };
        let host = invite
            .addresses
            .first()
            .map(|address| address.host.as_str())
            .unwrap_or_default();
        let key = choose_key(context, client, self.identity.as_deref(), host)?;
        let options = self.options(context, &invite.addresses)?;
        let joined = client
            .join(&invite, user.clone(), key.clone(), &options)
            .await;
        let (server, connected) = joined.map_err(|error| {
            let is_name = matches!(
                error,
                Error::Failed {
                    code: ErrorCode::InviteUser,
                    ..
                }
            );
            match explain(error, &invite.fingerprint, "invite") {
                failure if is_name => failure.with_advice(&format!(
                    "it was asked for {user}; name another with --as NAME"
                )),
                failure => failure,
            }
        })?;
        connected.login.channel.finish().await;
        report_key(context, &server, &key);
        Ok(())
    }

    async fn join_with_secret(
        &self,
        context: &Context,
        client: &Client,
        path: &Path,
    ) -> Result<(), Failure> {
        let secret = Arc::new(Secret::load(path)?);
        let path = std::path::absolute(path).unwrap_or(path.to_owned());
        let options = self.options(context, &secret.addresses)?;
        let joined = client
            .join_by_secret(secret.clone(), path.clone(), &options)
            .await;
        let (server, connected) =
            joined.map_err(|error| explain(error, &secret.fingerprint, "secret"))?;
        connected.login.channel.finish().await;
        let credential = CredentialId::Secret(secret.key().id());
        report(context, &server, &credential, &path.display().to_string());
        Ok(())
    }

    fn options(&self, context: &Context, addresses: &[HostPort]) -> Result<JoinOptions, Failure> {
        Ok(JoinOptions {
            name: self.name.clone(),
            replace: self.replace,
            routes: self.routes(context, addresses)?,
        })
    }

    /// The jump hosts to these addresses: those of `--via-ssh`, else those of ssh's configuration.
    fn routes(&self, context: &Context, addresses: &[HostPort]) -> Result<Routes, Failure> {
        let mut ways = Routes {
            explicit: self.via_ssh.clone(),
            from_ssh_config: Vec::new(),
        };
        if ways.explicit.is_none() {
            for HostPort { host, .. } in addresses {
                let target = Target {
                    user: None,
                    host: host.clone(),
                    port: None,
                };
                let config = connect::read_ssh_config(context, &target)?;
                let way = connect::choose_route(None, &config)?;
                ways.from_ssh_config
                    .extend(way.map(|way| (host.clone(), way)));
            }
        }
        Ok(ways)
    }
}

fn read_invite(context: &Context) -> Result<Zeroizing<String>, Failure> {
    let mut text = Zeroizing::new(String::new());
    let read = |input: Box<dyn Read + Send>, text: &mut String| {
        input.take(INVITE_BYTES_MAX).read_to_string(text)
    };
    context
        .input
        .open()
        .and_then(|input| read(input, &mut text))
        .map_err(|error| Error::io("standard input", &error))?;
    if text.trim().is_empty() {
        return Err(Failure::usage(
            "standard input is empty; an invite is needed",
        ));
    }
    Ok(text)
}
