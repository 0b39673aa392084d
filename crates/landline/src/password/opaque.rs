//! OPAQUE, computed by opaque-ke. No other module uses that crate.

use landline_proto::login::UserName;
use opaque_ke::{
    CipherSuite, ClientLogin, ClientLoginFinishParameters, ClientRegistration,
    ClientRegistrationFinishParameters, CredentialFinalization, CredentialRequest,
    CredentialResponse, Identifiers, RegistrationRequest, RegistrationResponse, Ristretto255,
    ServerLogin, ServerLoginParameters, ServerRegistration, ServerSetup, TripleDh,
    argon2::{Algorithm, Argon2, Params, Version},
    rand::{CryptoRng, RngCore},
};
use zeroize::Zeroizing;

pub(crate) use super::prepare::prepare;
use super::{Password, PasswordParties};
use crate::{Error, crypto::random};

/// The client's Argon2id: memory in KiB, rounds and lanes.
///
/// An attempt takes a third of a second and 64 MiB on the client.
const ARGON2_KIB: u32 = 64 * 1024;
const ARGON2_ROUNDS: u32 = 3;
const ARGON2_LANES: u32 = 1;
/// The length of the stretched output: that of SHA-512, as in RFC 9807.
const STRETCHED_BYTES: usize = 64;

/// The message lengths of this suite. The crate ignores bytes after a message.
const KE1_BYTES: usize = 96;
const KE2_BYTES: usize = 320;
const KE3_BYTES: usize = 64;
const REQUEST_BYTES: usize = 32;
const RESPONSE_BYTES: usize = 64;
const RECORD_BYTES: usize = 192;
const SETUP_BYTES: usize = 128;

struct Suite;

impl CipherSuite for Suite {
    type OprfCs = Ristretto255;
    type KeyExchange = TripleDh<Ristretto255, sha2_of_opaque::Sha512>;
    type Ksf = Argon2<'static>;
}

/// The secrets of a server for all passwords: a seed and a private key.
///
/// An attacker who has them and a record can try passwords offline.
pub(crate) struct PasswordSetup {
    setup: ServerSetup<Suite>,
    /// A fake record for users without a password, so that answers take the same time.
    fake_record: Vec<u8>,
}

impl PasswordSetup {
    /// A new setup, to be stored.
    pub(crate) fn generate() -> Zeroizing<Vec<u8>> {
        Zeroizing::new(
            ServerSetup::<Suite>::new(&mut SystemRandom)
                .serialize()
                .to_vec(),
        )
    }

    /// Parses a stored setup; `None` if it is malformed.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let setup = ServerSetup::deserialize(exactly(bytes, SETUP_BYTES)?).ok()?;
        // A record is the client's public key, a masking key and an envelope. Any valid point
        // serves as the public key.
        let mut fake_record = setup.keypair().public().serialize().to_vec();
        fake_record.resize(RECORD_BYTES, 7);
        Some(Self { setup, fake_record })
    }

    /// Starts the server's half of a login: KE2, and the state that checks KE3.
    ///
    /// Without a record the answer looks the same, and no KE3 is accepted. A malformed record
    /// counts as none. `None` if KE1 is malformed.
    pub(crate) fn answer(
        &self,
        parties: PasswordParties<'_>,
        record: Option<&[u8]>,
        ke1: &[u8],
        transcript: &[u8; 64],
    ) -> Option<(Vec<u8>, PendingLogin)> {
        let request = CredentialRequest::deserialize(exactly(ke1, KE1_BYTES)?).ok()?;
        let read = exactly(record.unwrap_or(&self.fake_record), RECORD_BYTES);
        let read = read.and_then(|bytes| ServerRegistration::deserialize(bytes).ok());
        let record = record.and(read);
        let parameters = parameters(&parties, transcript);
        let user = credential(parties.user);
        let started = ServerLogin::start(
            &mut SystemRandom,
            &self.setup,
            record,
            request,
            user,
            parameters,
        )
        .ok()?;
        Some((
            started.message.serialize().to_vec(),
            PendingLogin(started.state),
        ))
    }

    /// The server's half of setting a password: the RegistrationResponse.
    ///
    /// `None` if the request is malformed.
    pub(crate) fn evaluate(&self, user: &UserName, request: &[u8]) -> Option<Vec<u8>> {
        let request = RegistrationRequest::deserialize(exactly(request, REQUEST_BYTES)?).ok()?;
        let started =
            ServerRegistration::<Suite>::start(&self.setup, request, credential(user)).ok()?;
        Some(started.message.serialize().to_vec())
    }
}

/// Whether the bytes are a well-formed record.
pub(crate) fn is_record(bytes: &[u8]) -> bool {
    exactly(bytes, RECORD_BYTES)
        .is_some_and(|bytes| ServerRegistration::<Suite>::deserialize(bytes).is_ok())
}

/// A login that waits for the client's last message.
pub(crate) struct PendingLogin(ServerLogin<Suite>);

impl PendingLogin {
    /// Whether `ke3` proves that the client had the password.
    pub(crate) fn accepts(
        self,
        ke3: &[u8],
        parties: PasswordParties<'_>,
        transcript: &[u8; 64],
    ) -> bool {
        let Some(ke3) = exactly(ke3, KE3_BYTES) else {
            return false;
        };
        let Ok(ke3) = CredentialFinalization::deserialize(ke3) else {
            return false;
        };
        self.0.finish(ke3, parameters(&parties, transcript)).is_ok()
    }
}

/// The client's half of a login by password.
pub struct PasswordLogin {
    password: Password,
    state: ClientLogin<Suite>,
}

impl PasswordLogin {
    /// Starts a login: KE1 and the state to finish with.
    ///
    /// # Errors
    /// [`Error::Password`] for a password that maps to no point, which does not occur in practice.
    pub fn begin(password: &Password) -> Result<(Vec<u8>, Self), Error> {
        let started =
            ClientLogin::start(&mut SystemRandom, password.bytes()).map_err(unusable_error)?;
        Ok((
            started.message.serialize().to_vec(),
            Self {
                password: password.clone(),
                state: started.state,
            },
        ))
    }

    /// Finishes a login: KE3.
    ///
    /// `None` if KE2 does not open with this password, user and server. Takes a third of a second
    /// and 64 MiB.
    pub fn finish(
        self,
        ke2: &[u8],
        parties: PasswordParties<'_>,
        transcript: &[u8; 64],
    ) -> Option<Vec<u8>> {
        let response = CredentialResponse::deserialize(exactly(ke2, KE2_BYTES)?).ok()?;
        let stretching = argon2()?;
        let parameters = ClientLoginFinishParameters::new(
            Some(transcript),
            identifiers(&parties),
            Some(&stretching),
        );
        let finished = self
            .state
            .finish(
                &mut SystemRandom,
                self.password.bytes(),
                response,
                parameters,
            )
            .ok()?;
        Some(finished.message.serialize().to_vec())
    }
}

/// The client's half of setting a password.
pub struct PasswordRegistration {
    password: Password,
    state: ClientRegistration<Suite>,
}

impl PasswordRegistration {
    /// Starts a registration: the RegistrationRequest and the state to finish with.
    ///
    /// # Errors
    /// [`Error::Password`] if the password is too short.
    pub fn begin(password: &Password) -> Result<(Vec<u8>, Self), Error> {
        password.check_choice()?;
        let started = ClientRegistration::start(&mut SystemRandom, password.bytes())
            .map_err(unusable_error)?;
        Ok((
            started.message.serialize().to_vec(),
            Self {
                password: password.clone(),
                state: started.state,
            },
        ))
    }

    /// Finishes a registration: the record that the server stores.
    ///
    /// `None` if the response is malformed. Takes a third of a second and 64 MiB.
    pub fn finish(self, response: &[u8], parties: PasswordParties<'_>) -> Option<Vec<u8>> {
        let response =
            RegistrationResponse::deserialize(exactly(response, RESPONSE_BYTES)?).ok()?;
        let stretching = argon2()?;
        let parameters =
            ClientRegistrationFinishParameters::new(identifiers(&parties), Some(&stretching));
        let finished = self
            .state
            .finish(
                &mut SystemRandom,
                self.password.bytes(),
                response,
                parameters,
            )
            .ok()?;
        Some(finished.message.serialize().to_vec())
    }
}

fn exactly(bytes: &[u8], length: usize) -> Option<&[u8]> {
    (bytes.len() == length).then_some(bytes)
}

fn credential(user: &UserName) -> &[u8] {
    user.as_str().as_bytes()
}

fn identifiers<'a>(parties: &'a PasswordParties<'_>) -> Identifiers<'a> {
    Identifiers {
        client: Some(credential(parties.user)),
        server: Some(parties.server.bytes()),
    }
}

fn parameters<'a>(
    parties: &'a PasswordParties<'_>,
    transcript: &'a [u8; 64],
) -> ServerLoginParameters<'a, 'a> {
    ServerLoginParameters {
        context: Some(transcript),
        identifiers: identifiers(parties),
    }
}

fn argon2() -> Option<Argon2<'static>> {
    let parameters = Params::new(
        ARGON2_KIB,
        ARGON2_ROUNDS,
        ARGON2_LANES,
        Some(STRETCHED_BYTES),
    )
    .ok()?;
    Some(Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters))
}

/// Stretches the output of the OPRF.
#[cfg(test)]
pub(super) fn stretch(output: [u8; STRETCHED_BYTES]) -> [u8; STRETCHED_BYTES] {
    use opaque_ke::{generic_array::GenericArray, ksf::Ksf};
    let stretching = argon2().unwrap();
    Ksf::hash(&stretching, GenericArray::from(output))
        .unwrap()
        .into()
}

fn unusable_error(error: impl std::fmt::Display) -> Error {
    Error::Password(format!("cannot be used: {error}"))
}

/// The system's random numbers, through the same function as everywhere.
struct SystemRandom;

impl RngCore for SystemRandom {
    fn next_u32(&mut self) -> u32 {
        u32::from_le_bytes(random())
    }

    fn next_u64(&mut self) -> u64 {
        u64::from_le_bytes(random())
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(32) {
            let fresh: [u8; 32] = random();
            chunk.copy_from_slice(fresh.get(..chunk.len()).unwrap_or_default());
        }
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), opaque_ke::rand::Error> {
        self.fill_bytes(bytes);
        Ok(())
    }
}

impl CryptoRng for SystemRandom {}
