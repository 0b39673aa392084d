//! `landline secret`: the secrets by which machines log in to this machine's server.

use std::path::Path;

use landline::{
    Error,
    admin::Administration,
    net::Target,
    paths::{create_secret_file, local},
    proto::login::BindingType,
};
use zeroize::Zeroizing;

use crate::{
    arguments::{Binding, Secret, SecretAdd},
    failure::Failure,
    local_admin::administration,
    terminal::{lost, print, say, shown_line},
};

pub(crate) fn run(state: &Path, options: Secret) -> Result<(), Failure> {
    let mut server = administration(state)?;
    match options {
        Secret::Add(options) => add(&mut server, options),
        Secret::List { user } => {
            for secret in server.secrets(user.as_ref())? {
                let label = shown_line(&secret.label);
                print(
                    format!(
                        "{}  {}  {}  {label}",
                        secret.id,
                        secret.user,
                        secret.binding.as_str()
                    )
                    .trim_end(),
                );
            }
            Ok(())
        }
        Secret::Remove { id, force } => {
            let user = server.remove_secret(&id, force)?;
            print(&format!("the secret {id} of {user} is forgotten"));
            Ok(())
        }
    }
}

fn add(server: &mut Administration, options: SecretAdd) -> Result<(), Failure> {
    match options.public_name {
        Some(Target { user: Some(_), .. }) => {
            return Err(Failure::usage(
                "--public-name takes HOST[:PORT] without a user",
            ));
        }
        Some(Target { host, port, .. }) => server.reached_at(host, port),
        None => {}
    }
    let binding = match options.binding {
        Binding::Exporter => BindingType::TlsExporter,
        Binding::ServerEndPoint => BindingType::TlsServerEndPoint,
    };
    let secret = server.new_secret(options.user, binding)?;
    let id = secret.key().id();
    let line = Zeroizing::new(format!("{}\n", *secret.reveal()));
    let Some(out) = options.out else {
        server.add_secret(&secret, &options.label)?;
        print(line.trim_end());
        if let Some(error) = lost() {
            // A secret that nobody has is of no use, even to the last admin.
            server.remove_secret(&id, true)?;
            return Err(Error::io("standard output", &error).into());
        }
        say(&format!(
            "this is the secret {id}; it is not shown again. Where it is used, keep it in a file of mode 600:\n  landline join --secret-file FILE"
        ));
        return Ok(());
    };
    // Whatever breaks this off, there is none at the server that nobody has: the last admin may
    // count on it.
    create_secret_file(&out, line.as_bytes()).map_err(|error| Error::io(out.display(), &error))?;
    if let Err(error) = server.add_secret(&secret, &options.label) {
        let _ = local::remove(&out);
        return Err(error.into());
    }
    print(&format!("the secret {id} is in {}", out.display()));
    Ok(())
}
