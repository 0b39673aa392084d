//! `landline secret`: manages the secrets that machines log in with.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use landline::{
    Error,
    admin::{
        Answer,
        paging::SecretRow,
        secrets::{AddSecret, ListSecrets, RemoveSecret},
    },
    keys::ServiceSet,
    login,
    net::Target,
    paths::{create_secret_file, local},
    proto::login::{BindingType, SecretId, UserName},
};
use serde_json::json;
use zeroize::Zeroizing;

use crate::{
    admin_client::{AdminClient, unexpected_answer},
    arguments::On,
    context::{Context, ExitStatus, Run},
    failure::Failure,
    local_admin,
    terminal::shown_line,
};

/// Manage the secrets that machines log in with
///
/// Works on this machine's server, running or not. With --on, it works on another server, where
/// you must be an admin.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  landline secret add backup --out backup.secret
  landline secret list --on nas")]
pub(crate) struct Secret {
    #[command(flatten)]
    on: On,
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
    /// Remove a secret and end its sessions
    Remove {
        /// Id, from `landline secret list`
        id: SecretId,
        /// Remove it even if no owner can then log in
        #[arg(long)]
        force: bool,
    },
}

#[derive(Debug, Args)]
struct SecretAdd {
    /// Account that the machine logs in as
    user: UserName,
    /// What the proof of a login is valid for
    ///
    /// With `exporter` a proof is valid for one connection. With `server-end-point` it is valid
    /// for this server, for clients whose TLS library has no exporter, such as Python's.
    #[arg(long, value_name = "BINDING", default_value = "exporter")]
    binding: Binding,
    /// Allow only these services and features [default: all]
    ///
    /// NAMES is a list with commas, such as files.get,ping. The name of a service includes all its
    /// features. `landline join` needs ping.
    #[arg(long, value_name = "NAMES")]
    services: Option<ServiceSet>,
    /// Label for people, such as the machine's name
    #[arg(long, default_value = "")]
    label: String,
    /// Write the secret to the new file FILE, with mode 600
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Address of this server for the machine [default: its addresses when it last ran]
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
        if let SecretAction::Add(options) = &self.action {
            local_admin::check_public_name(options.public_name.as_ref())?;
        }
        let mut client = AdminClient::open(context, &self.on).await?;
        let done = run(context, &mut client, self.action).await;
        client.finish().await;
        done.map(|()| ExitStatus::SUCCESS)
    }
}

async fn run(
    context: &Context,
    client: &mut AdminClient,
    action: SecretAction,
) -> Result<(), Failure> {
    match action {
        SecretAction::Add(options) => add(context, client, options).await,
        SecretAction::List { user } => {
            for secret in secrets(client.ask(ListSecrets { user }).await?)? {
                if context.json {
                    context.out.print_json(&json!(secret));
                } else {
                    context.out.print(&secret_text(&secret));
                }
            }
            Ok(())
        }
        SecretAction::Remove { id, force } => {
            for removed in secrets(client.ask(RemoveSecret { id, force }).await?)? {
                if context.json {
                    context.out.print_json(&json!(removed));
                } else {
                    let text = format!("removed the secret {id} of {}", removed.user);
                    context.out.print(&text);
                }
            }
            Ok(())
        }
    }
}

fn secrets(answer: Answer) -> Result<Vec<SecretRow>, Failure> {
    match answer {
        Answer::Secrets(rows) => Ok(rows),
        _ => Err(unexpected_answer()),
    }
}

fn secret_text(secret: &SecretRow) -> String {
    let services = secret.services.as_ref();
    let services = services.map(|names| format!("  may use {names}"));
    let text = format!(
        "{}  {}  {}{}  {}",
        secret.id,
        secret.user,
        secret.binding.as_str(),
        services.unwrap_or_default(),
        secret.label
    );
    shown_line(text.trim_end())
}

async fn add(
    context: &Context,
    client: &mut AdminClient,
    options: SecretAdd,
) -> Result<(), Failure> {
    let addresses = client.addresses(options.public_name.as_ref()).await?;
    let binding = match options.binding {
        Binding::Exporter => BindingType::TlsExporter,
        Binding::ServerEndPoint => BindingType::TlsServerEndPoint,
    };
    let secret = login::Secret::new(addresses, client.server, options.user, binding);
    let id = secret.key().id();
    let line = Zeroizing::new(format!("{}\n", *secret.reveal()));
    let request = AddSecret::new(&secret, options.services.as_ref(), options.label);
    let Some(out) = options.out else {
        client.change(request).await?;
        return show(context, client, id, &line).await;
    };
    // The file comes first. If this command is interrupted, the server has no lost secret, which
    // would count as a login of the last admin.
    create_secret_file(&out, line.as_bytes()).map_err(|error| Error::io(out.display(), &error))?;
    if let Err(error) = client.change(request).await {
        let _ = local::remove(&out);
        return Err(error);
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
    client: &mut AdminClient,
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
        client.change(RemoveSecret { id, force: true }).await?;
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
