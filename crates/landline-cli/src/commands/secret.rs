//! `landline secret`: manages the secrets by which machines log in to this machine's server.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use landline::{
    Error,
    admin::LocalServer,
    keys::ServiceSet,
    login,
    net::Target,
    paths::{create_secret_file, local},
    proto::{
        ErrorCode,
        login::{BindingType, SecretId, UserName},
    },
};
use serde_json::json;
use zeroize::Zeroizing;

use crate::{
    context::{Context, ExitStatus, Run},
    failure::Failure,
    local_admin,
    terminal::shown_line,
};

/// Manage the secrets that machines log in with
///
/// Works on this machine's server, running or not.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  landline secret add backup --out backup.secret")]
pub(crate) struct Secret {
    #[command(subcommand)]
    action: SecretAction,
}

#[derive(Debug, Subcommand)]
enum SecretAction {
    /// Make a secret for USER and print it once
    Add(SecretAdd),
    /// List the secrets, without their secret part
    List {
        /// Only those of this user
        user: Option<UserName>,
    },
    /// Remove a secret; it no longer logs in
    Remove {
        /// Id, from `landline secret list`
        id: SecretId,
        /// Remove it even if the last owner has no other way in
        #[arg(long)]
        force: bool,
    },
}

#[derive(Debug, Args)]
struct SecretAdd {
    /// Account that the machine logs in as
    user: UserName,
    /// What a login is bound to
    ///
    /// `exporter` binds it to the connection. `server-end-point` binds it to this server, for
    /// clients whose TLS library has no exporter, such as Python's.
    #[arg(long, value_name = "BINDING", default_value = "exporter")]
    binding: Binding,
    /// Allow only these services and features [default: all]
    ///
    /// Names such as files.get and ping, with commas between them. The name of a service includes
    /// all its features. `landline join` needs ping.
    #[arg(long, value_name = "NAMES")]
    services: Option<ServiceSet>,
    /// Label for people, such as the machine's name
    #[arg(long, default_value = "")]
    label: String,
    /// Write the secret to the new file FILE, with mode 600
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Address of this server for the machine [default: as when the server last ran]
    #[arg(long, value_name = "HOST[:PORT]")]
    public_name: Option<Target>,
}

/// What a login by secret is bound to.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Binding {
    Exporter,
    ServerEndPoint,
}

impl Run for Secret {
    async fn run(self, context: &Context) -> Result<ExitStatus, Failure> {
        match self.action {
            SecretAction::Add(options) => add(context, options).await?,
            SecretAction::List { user } => {
                let (server, _) = local_admin::open(context).await?;
                for secret in server.secrets(user).await? {
                    if context.json {
                        context.out.print_json(&json!(secret));
                        continue;
                    }
                    let label = shown_line(&secret.label);
                    let binding = secret.binding.as_str();
                    let services = secret.services.map(|names| format!("  may use {names}"));
                    let services = services.unwrap_or_default();
                    let (id, user) = (secret.id, secret.user);
                    let row = format!("{id}  {user}  {binding}{services}  {label}");
                    context.out.print(row.trim_end());
                }
            }
            SecretAction::Remove { id, force } => {
                let (server, _) = local_admin::open(context).await?;
                let removed = server.remove_secret(id, force).await?;
                if context.json {
                    context.out.print_json(&json!(removed));
                } else {
                    let user = removed.user;
                    context
                        .out
                        .print(&format!("the secret {id} of {user} is forgotten"));
                }
            }
        }
        Ok(ExitStatus::SUCCESS)
    }
}

async fn add(context: &Context, options: SecretAdd) -> Result<(), Failure> {
    local_admin::check_public_name(options.public_name.as_ref())?;
    let (server, status) = local_admin::open(context).await?;
    let mut addresses = status.addresses;
    if let Some(name) = &options.public_name {
        addresses = vec![local_admin::public_address(name, &addresses)];
    }
    if addresses.is_empty() {
        let problem = "the addresses of this server are unknown, because it has not run yet";
        return Err(Error::here(ErrorCode::NotFound, problem).into());
    }
    let binding = match options.binding {
        Binding::Exporter => BindingType::TlsExporter,
        Binding::ServerEndPoint => BindingType::TlsServerEndPoint,
    };
    let secret = login::Secret::new(addresses, status.fingerprint, options.user, binding);
    let id = secret.key().id();
    let line = Zeroizing::new(format!("{}\n", *secret.reveal()));
    let Some(out) = options.out else {
        server
            .add_secret(&secret, options.services.as_ref(), &options.label)
            .await?;
        return show(context, &server, id, &line).await;
    };
    // The file comes first. If this command is interrupted, the server has no lost secret, which
    // would count as a login of the last admin.
    create_secret_file(&out, line.as_bytes()).map_err(|error| Error::io(out.display(), &error))?;
    let added = server
        .add_secret(&secret, options.services.as_ref(), &options.label)
        .await;
    if let Err(error) = added {
        let _ = local::remove(&out);
        return Err(error.into());
    }
    if context.json {
        context
            .out
            .print_json(&json!({"id": id, "file": out.display().to_string()}));
    } else {
        context
            .out
            .print(&format!("the secret {id} is in {}", out.display()));
    }
    Ok(())
}

async fn show(
    context: &Context,
    server: &LocalServer,
    id: SecretId,
    line: &str,
) -> Result<(), Failure> {
    if context.json {
        context
            .out
            .print_json(&json!({"id": id, "secret": line.trim_end()}));
    } else {
        context.out.print(line.trim_end());
    }
    if let Some(error) = context.out.take_error() {
        // The secret is lost, so the last admin cannot log in by it. Remove it even so.
        server.remove_secret(id, true).await?;
        return Err(Error::io("standard output", &error).into());
    }
    if context.json {
        return Ok(());
    }
    context.err.print(&format!(
        "this is the secret {id}; it is not shown again. Keep it in a file of mode 600 on the machine that uses it:\n  landline join --secret-file FILE"
    ));
    Ok(())
}
