//! The options of ssh(1) that have no meaning here. Each is refused by name, with what to do
//! instead.

use std::{convert::Infallible, str::FromStr};

use clap::Args;

use crate::failure::Failure;

/// The value of an option that is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Ignored;

impl FromStr for Ignored {
    type Err = Infallible;

    fn from_str(_: &str) -> Result<Self, Infallible> {
        Ok(Self)
    }
}

macro_rules! refused_options {
    ($($field:ident: $kind:ty, $letter:literal, $what:literal, $instead:literal;)*) => {
        /// The options.
        #[derive(Debug, Default, Args)]
        pub(super) struct RefusedOptions {
            $(#[arg(short = $letter, hide = true)] $field: $kind,)*
        }

        impl RefusedOptions {
            /// # Errors
            /// The first option that is there.
            pub(super) fn check(&self) -> Result<(), Failure> {
                $(if self.$field != <$kind>::default() {
                    let what = format!("the option -{} of ssh is not supported: {}", $letter, $what);
                    return Err(Failure::usage(what).with_advice($instead));
                })*
                Ok(())
            }
        }
    };
}

refused_options! {
    agent: bool, 'A', "no agent is forwarded",
        "join from the other machine, so that it has a key of its own";
    x11: bool, 'X', "X11 is not forwarded",
        "forward the port of a remote desktop with -L";
    trusted_x11: bool, 'Y', "X11 is not forwarded",
        "forward the port of a remote desktop with -L";
    master: bool, 'M', "no connection is shared this way",
        "keep a session for further commands with landline hold HOST";
    control_path: Option<Ignored>, 'S', "no connection is shared this way",
        "keep a session for further commands with landline hold HOST";
    control_command: Option<Ignored>, 'O', "no connection is shared this way",
        "list and end sessions that are kept with landline hold";
    gateway: bool, 'g', "each forward names its address",
        "write it before the port, such as -L 0.0.0.0:8080:localhost:80";
    tunnel: Option<Ignored>, 'w', "there are no tunnel devices",
        "forward connections with -L, -R or -D";
    gssapi: bool, 'K', "there is no login by GSSAPI",
        "log in with a key or a password";
    pkcs11: Option<Ignored>, 'I', "no PKCS#11 library is loaded",
        "load the key into ssh-agent with ssh-add -s";
    bind_address: Option<Ignored>, 'b', "the system chooses the local address",
        "leave it out";
    bind_interface: Option<Ignored>, 'B', "the system chooses the local address",
        "leave it out";
    cipher: Option<Ignored>, 'c', "TLS 1.3 chooses the cipher",
        "leave it out";
    mac: Option<Ignored>, 'm', "the ciphers of TLS 1.3 need no MAC",
        "leave it out";
    config: Option<Ignored>, 'F', "no other configuration is read",
        "use ~/.ssh/config, or give single options with -o";
    log_file: Option<Ignored>, 'E', "messages go to standard error",
        "redirect it with 2>FILE";
    syslog: bool, 'y', "messages go to standard error",
        "redirect it, for example to logger";
    query: Option<Ignored>, 'Q', "there is no choice of algorithms to list",
        "landline ping HOST shows what a connection uses";
}
