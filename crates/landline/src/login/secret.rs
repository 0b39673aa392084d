//! Shared secrets, for machines (`docs/protocol.md` section 5).

use std::{fmt, path::Path, str::FromStr};

use data_encoding::HEXLOWER;
use landline_proto::login::{BindingType, UserName};
use zeroize::Zeroizing;

use super::invite::parse_addresses;
use crate::{
    Error,
    crypto::{Fingerprint, random},
    keys::SecretKey,
    net::HostPort,
    paths,
};

const SCHEME: &str = "landline-secret://";
const END_POINT: &str = "?binding=tls-server-end-point";
/// More than any file with a secret needs.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// A shared secret, with the server's addresses and fingerprint and the user.
///
/// [`reveal`](Self::reveal) prints the secret, for the person who hands it on. `Debug` does not.
#[derive(Clone)]
pub struct Secret {
    /// Where the server can be reached; at least one address.
    pub addresses: Vec<HostPort>,
    /// The fingerprint of the server.
    pub fingerprint: Fingerprint,
    /// The user that the secret logs in.
    pub user: UserName,
    /// The channel binding that the secret was made for.
    pub binding: BindingType,
    secret: Zeroizing<[u8; 32]>,
}

impl Secret {
    /// A new random secret.
    pub fn new(
        addresses: Vec<HostPort>,
        fingerprint: Fingerprint,
        user: UserName,
        binding: BindingType,
    ) -> Self {
        Self {
            addresses,
            fingerprint,
            user,
            binding,
            secret: Zeroizing::new(random()),
        }
    }

    /// Reads the one line of a secret file.
    ///
    /// # Errors
    /// [`Error::Secret`] if the file cannot be read, others can read it, or it holds no secret.
    ///
    /// # Blocking
    /// Reads a file.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let bad = |problem: String| Error::Secret {
            path: path.display().to_string(),
            problem,
        };
        let text = paths::read_secret_file(path, FILE_BYTES_MAX)
            .map_err(|error| bad(error.to_string()))?;
        let text = std::str::from_utf8(&text).map_err(|_| bad("is not text".into()))?;
        parse(text).map_err(|problem| bad(problem.to_owned()))
    }

    /// The key that proves the secret to its server.
    pub fn key(&self) -> SecretKey {
        SecretKey::derive(&self.secret, &self.fingerprint, self.binding)
    }

    /// The text of the secret, for its file.
    pub fn reveal(&self) -> Zeroizing<String> {
        let addresses: Vec<String> = self.addresses.iter().map(HostPort::to_string).collect();
        let binding = match self.binding {
            BindingType::TlsExporter => "",
            BindingType::TlsServerEndPoint => END_POINT,
        };
        let secret = Zeroizing::new(HEXLOWER.encode(&*self.secret));
        let user = &self.user;
        let addresses = addresses.join(",");
        let fingerprint = self.fingerprint;
        Zeroizing::new(format!(
            "{SCHEME}{user}@{addresses}/{binding}#{fingerprint}.{}",
            *secret
        ))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({} at {})", self.user, self.fingerprint)
    }
}

/// Parses the text of a secret; no error repeats any part of it.
impl FromStr for Secret {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        parse(text).map_err(|problem| Error::Secret {
            path: "(as given)".into(),
            problem: problem.to_owned(),
        })
    }
}

fn parse(text: &str) -> Result<Secret, &'static str> {
    let rest = text
        .trim()
        .strip_prefix(SCHEME)
        .ok_or("is not a secret: it does not begin with landline-secret://")?;
    let (rest, fragment) = rest.split_once('#').ok_or("the part after # is missing")?;
    let (authority, query) = rest
        .split_once('/')
        .ok_or("the / behind the address is missing")?;
    let (user, addresses) = authority
        .split_once('@')
        .ok_or("the user in front of the address is missing")?;
    let (fingerprint, secret) = fragment
        .split_once('.')
        .ok_or("the secret after the fingerprint is missing")?;
    let binding = match query {
        "" => BindingType::TlsExporter,
        END_POINT => BindingType::TlsServerEndPoint,
        _ => return Err("asks for something that this release does not know"),
    };
    let decoded = Zeroizing::new(HEXLOWER.decode(secret.as_bytes()).unwrap_or_default());
    let secret = <[u8; 32]>::try_from(&decoded[..])
        .map_err(|_| "its secret is cut or malformed: a secret is 64 hexadecimal digits that the server has made")?;
    Ok(Secret {
        addresses: parse_addresses(addresses).map_err(|_| "an address in it is malformed")?,
        fingerprint: fingerprint
            .parse()
            .map_err(|_| "its fingerprint is cut or malformed")?,
        user: user
            .parse()
            .map_err(|_| "the user's name in it is malformed")?,
        binding,
        secret: Zeroizing::new(secret),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(binding: BindingType) -> Secret {
        let addresses = vec![
            HostPort {
                host: "host.example".into(),
                port: 5263,
            },
            HostPort {
                host: "fe80::1".into(),
                port: 77,
            },
        ];
        Secret::new(
            addresses,
            Fingerprint::of_certificate(b"x"),
            "ci".parse().unwrap(),
            binding,
        )
    }

    #[test]
    fn secret_text_round_trips() {
        for binding in [BindingType::TlsExporter, BindingType::TlsServerEndPoint] {
            let secret = secret(binding);
            let text = secret.reveal();
            assert!(
                text.starts_with("landline-secret://ci@host.example:5263,[fe80::1]:77/"),
                "{binding:?}"
            );
            let again: Secret = format!(" {}\n", *text).parse().unwrap();
            assert_eq!(again.reveal(), text);
            assert_eq!(again.key(), secret.key());
            assert!(!format!("{secret:?} {:?}", secret.key()).contains(&text[text.len() - 64..]));
        }
    }

    #[test]
    fn damaged_secret_is_rejected_and_not_shown() {
        for binding in [BindingType::TlsExporter, BindingType::TlsServerEndPoint] {
            let text = secret(binding).reveal();
            for length in 0..text.len() {
                assert!(text[..length].parse::<Secret>().is_err(), "{length}");
            }
            let digits = &text[text.len() - 64..];
            for spoiled in [
                format!("{}0", *text),
                text.replace("ci@", "-@"),
                text.replace(":77", ":x"),
            ] {
                let error = spoiled.parse::<Secret>().unwrap_err().to_string();
                assert!(!error.contains(digits), "{error}");
            }
        }
        let text = secret(BindingType::TlsExporter).reveal();
        for spoiled in [text.to_uppercase(), text.replace("/#", "/?binding=none#")] {
            assert!(spoiled.parse::<Secret>().is_err(), "{spoiled}");
        }
        assert!(
            "landline-secret://ci@host/#x.hunter2"
                .parse::<Secret>()
                .is_err(),
            "what people choose is none"
        );
    }

    #[test]
    fn key_depends_on_server_and_binding() {
        let one = secret(BindingType::TlsExporter);
        let mut binding = one.clone();
        binding.binding = BindingType::TlsServerEndPoint;
        let mut server = one.clone();
        server.fingerprint = Fingerprint::of_certificate(b"y");
        let keys = [one.key(), binding.key(), server.key()];
        for (index, key) in keys.iter().enumerate() {
            assert!(
                !keys[..index].contains(key)
                    && keys[..index].iter().all(|other| other.id() != key.id())
            );
            assert_ne!(key.client_proof(&[1; 64]), key.server_proof(&[1; 64]));
            assert_ne!(key.client_proof(&[1; 64]), key.client_proof(&[2; 64]));
        }
    }
}
