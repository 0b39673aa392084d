//! `landline trust`: changes which server this client trusts at an address.

use clap::{Args, Subcommand};
use landline::{crypto::Fingerprint, net::Target};

use super::hosts;
use crate::{
    connect,
    context::{Context, ExitStatus, Run},
    failure::Failure,
};

/// Trust another fingerprint for a server
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  landline trust replace nas FINGERPRINT")]
pub(crate) struct Trust {
    #[command(subcommand)]
    action: TrustAction,
}

#[derive(Debug, Subcommand)]
enum TrustAction {
    /// Trust another fingerprint for a server
    ///
    /// Use the fingerprint that the server's owner tells you after reinstalling the server.
    Replace {
        /// Server: a machine name or `host[:port]`
        host: Target,
        /// Fingerprint, 64 hexadecimal digits
        #[arg(value_parser = Fingerprint::from_typed)]
        fingerprint: Fingerprint,
    },
}

impl Run for Trust {
    async fn run(self, context: &Context) -> Result<ExitStatus, Failure> {
        let client = context.client()?;
        let TrustAction::Replace { host, fingerprint } = self.action;
        let host = connect::resolve_alias(context, &client, &host)?;
        let server = client
            .pins()
            .replace(&host, fingerprint)
            .map_err(connect::explain_choice)?;
        if context.json {
            context.out.print_json(&hosts::to_json(&server));
        } else {
            context.out.print(&format!(
                "{server} is now trusted with the fingerprint {fingerprint}"
            ));
        }
        Ok(ExitStatus::SUCCESS)
    }
}
