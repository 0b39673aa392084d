//! `landline user`: accounts, rights, keys and invites, on this machine or elsewhere.

mod arguments;

use std::{io::Read, path::Path, time::Duration};

pub(crate) use arguments::User;
use arguments::{
    InviteTerms, InvitesCommand, KeysCommand, NewPassword, PasswordCommand, RightsToTake,
    UserCommand,
};
use landline::{
    Error,
    admin::{
        Answer,
        messages::{
            AddKeys, AddUser, CheckRight, DisableUser, EnableUser, GrantRights, ListInvites,
            ListKeys, ListUsers, MakeInvite, NewInvite, RemoveKey, RemoveUser, RevokeInvite,
            RevokeRights,
        },
        paging::{KeyRow, UserRow},
        passwords::{RemovePassword, SetPassword},
    },
    keys::KeyLine,
    login::Invite,
    net::Target,
    password::Password,
    paths,
    proto::{ErrorCode, Name, login::UserName},
    rights::GivenWord,
};
use serde_json::json;

use super::check::check_here;
use crate::{
    admin_client::{AdminClient, unexpected_answer},
    context::{Context, ExitStatus, Run},
    failure::Failure,
    local_admin, passwords,
    terminal::{moment, shown_line, table},
};

/// The longest file of keys that is read, in bytes.
const KEYS_BYTES_MAX: u64 = 1024 * 1024;

impl Run for User {
    async fn run(self, context: &Context) -> Result<ExitStatus, Failure> {
        let public_name = public_name(&self.what)?;
        check_rights_named(&self.what)?;
        let mut accounts = Accounts {
            context,
            client: AdminClient::open(context, &self.on).await?,
            public_name,
        };
        let done = accounts.run(self.what).await;
        accounts.client.finish().await;
        done.map(|()| ExitStatus::SUCCESS)
    }
}

struct Accounts<'a> {
    context: &'a Context,
    client: AdminClient,
    /// The host that invites name in place of the server's addresses.
    public_name: Option<Target>,
}

impl Accounts<'_> {
    async fn run(&mut self, what: UserCommand) -> Result<(), Failure> {
        match what {
            UserCommand::Add {
                name,
                keys,
                password,
                rights,
                invite,
                terms,
            } => {
                let keys = keys
                    .iter()
                    .map(|file| key_lines(self.context, file))
                    .collect::<Result<Vec<_>, _>>()?
                    .concat();
                let password = match first_password(self.context, &password, &name)? {
                    Some(password) => Some(self.client.password_record(&name, &password).await?),
                    None => None,
                };
                let words = rights.words();
                let add = AddUser {
                    user: name.clone(),
                    keys,
                    password,
                    role: rights.role.unwrap_or_default(),
                    quota: rights.quota(),
                    words: words.clone(),
                    home: rights.home,
                    files: rights.files,
                };
                self.client.change(add).await?;
                if invite {
                    self.invite(Some(name.clone()), terms.ttl).await?;
                }
                self.warn_of_no_effect(&name, &words).await;
                Ok(())
            }
            UserCommand::List => self.list().await,
            UserCommand::Show { name } => self.show(name).await,
            UserCommand::Disable { name, force } => {
                let request = DisableUser { user: name, force };
                self.client.change(request).await
            }
            UserCommand::Enable { name } => self.client.change(EnableUser { user: name }).await,
            UserCommand::Remove { name, force } => {
                let request = RemoveUser { user: name, force };
                self.client.change(request).await
            }
            UserCommand::Grant { name, rights } => {
                let words = rights.words();
                let grant = GrantRights {
                    user: name.clone(),
                    role: rights.role,
                    quota: rights.quota(),
                    words: words.clone(),
                    home: rights.home,
                    files: rights.files,
                };
                self.client.change(grant).await?;
                self.warn_of_no_effect(&name, &words).await;
                Ok(())
            }
            UserCommand::Revoke { name, rights } => {
                let RightsToTake {
                    files,
                    home,
                    role,
                    quota,
                    words,
                } = rights;
                let revoke = RevokeRights {
                    user: name,
                    role,
                    home,
                    files,
                    quota,
                    words: words.all(),
                };
                self.client.change(revoke).await
            }
            UserCommand::Keys { what } => self.manage_keys(what).await,
            UserCommand::Password { what } => self.manage_password(what).await,
            UserCommand::Invite { name, terms } => self.invite(name, terms.ttl).await,
            UserCommand::Invites { what } => match what {
                InvitesCommand::List => self.invites().await,
                InvitesCommand::Revoke { id } => self.client.change(RevokeInvite { id }).await,
            },
        }
    }

    /// Warns if a setting of the server keeps a user from what was granted. Where that cannot be
    /// found out, it says nothing: the change was made.
    async fn warn_of_no_effect(&mut self, user: &UserName, words: &[GivenWord]) {
        for word in words {
            let arguments = match word.item.as_slice() {
                // A program that `any` matches, too.
                [] if word.word == "exec" => vec![b"true".to_vec()],
                item => item.iter().map(|word| word.clone().into_bytes()).collect(),
            };
            if !["exec", "shell", "pty"].contains(&word.word.as_str()) {
                continue;
            }
            let request = CheckRight {
                user: user.clone(),
                right: word.word.clone(),
                arguments: arguments.iter().cloned().map(Name).collect(),
            };
            let verdict = match self.client.check(&request).await {
                Ok(Some(verdict)) => Ok(verdict),
                Ok(None) => check_here(self.context, user, &word.word, arguments),
                Err(failure) => Err(failure),
            };
            if let Ok(verdict) = verdict
                && !verdict.allowed
            {
                let text = format!(
                    "warning: {user} cannot use {} yet: {}",
                    word.word, verdict.reason
                );
                self.context.err.print(&shown_line(&text));
                return;
            }
        }
    }

    async fn manage_keys(&mut self, what: KeysCommand) -> Result<(), Failure> {
        match what {
            KeysCommand::Add { name, file } => {
                let keys = key_lines(self.context, &file)?;
                self.client.change(AddKeys { user: name, keys }).await
            }
            KeysCommand::Remove {
                name,
                fingerprint,
                keep_jobs,
            } => {
                let request = RemoveKey {
                    user: name,
                    key: fingerprint,
                    keep_jobs,
                };
                self.client.change(request).await
            }
            KeysCommand::List { name } => {
                for key in self.keys(name).await? {
                    if self.context.json {
                        self.context.out.print_json(&json!(key));
                    } else {
                        self.context.out.print(&key_text(&key));
                    }
                }
                Ok(())
            }
        }
    }

    async fn manage_password(&mut self, what: PasswordCommand) -> Result<(), Failure> {
        match what {
            PasswordCommand::Remove { name } => {
                self.client
                    .change(RemovePassword { user: Some(name) })
                    .await
            }
            PasswordCommand::Set { name, source } => {
                let password = passwords::read_new_password(
                    self.context,
                    source.new_password_file.as_deref(),
                    source.new_password_fd,
                    &name,
                )?;
                let record = self.client.password_record(&name, &password).await?;
                let request = SetPassword {
                    user: Some(name),
                    record,
                };
                self.client.change(request).await
            }
        }
    }

    async fn users(&mut self, user: Option<UserName>) -> Result<Vec<UserRow>, Failure> {
        match self.client.ask(ListUsers { user }).await? {
            Answer::Users(rows) => Ok(rows),
            _ => Err(unexpected_answer()),
        }
    }

    async fn keys(&mut self, user: UserName) -> Result<Vec<KeyRow>, Failure> {
        match self.client.ask(ListKeys { user }).await? {
            Answer::Keys(rows) => Ok(rows),
            _ => Err(unexpected_answer()),
        }
    }

    async fn list(&mut self) -> Result<(), Failure> {
        let users = self.users(None).await?;
        if self.context.json {
            users
                .iter()
                .for_each(|user| self.context.out.print_json(&json!(user)));
            return Ok(());
        }
        let head = ["USER", "SINCE", "KEYS", "SECRETS", "PASSWORD", "MAY", ""].map(str::to_owned);
        self.context.out.print(&table(
            head,
            users.iter().map(|user| {
                let password = if user.password { "yes" } else { "" }.to_owned();
                let (keys, secrets) = (user.keys.to_string(), user.secrets.to_string());
                let disabled = disabled(user).unwrap_or_default();
                [
                    user.user.to_string(),
                    moment(user.created),
                    keys,
                    secrets,
                    password,
                    named_rights(user),
                    disabled,
                ]
            }),
        ));
        Ok(())
    }

    async fn show(&mut self, name: UserName) -> Result<(), Failure> {
        let Some(user) = self.users(Some(name.clone())).await?.pop() else {
            return Err(unexpected_answer());
        };
        let keys = self.keys(name).await?;
        if self.context.json {
            // The keys replace their number.
            let mut shown = json!(user);
            shown
                .as_object_mut()
                .map(|shown| shown.insert("keys".to_owned(), json!(keys)));
            self.context.out.print_json(&shown);
            return Ok(());
        }
        let since = moment(user.created);
        self.context.out.print(
            format!(
                "{}  since {since}  {}",
                user.user,
                disabled(&user).unwrap_or_default()
            )
            .trim_end(),
        );
        if user.password {
            self.context.out.print("  logs in with a password");
        }
        if user.secrets > 0 {
            self.context.out.print(&format!(
                "  logs in with secrets of machines: {}",
                user.secrets
            ));
        }
        keys.iter()
            .for_each(|key| self.context.out.print(&format!("  {}", key_text(key))));
        let rights = user.rights.iter().flatten();
        rights.for_each(|right| self.context.out.print(&format!("  {}", shown_line(right))));
        if user.rights.is_some_and(|rights| rights.is_empty()) {
            self.context
                .out
                .print("  no rights: rights.toml has none for this user");
        }
        Ok(())
    }

    async fn invite(&mut self, user: Option<UserName>, ttl: Duration) -> Result<(), Failure> {
        let (whose, name) = match &user {
            Some(user) => (format!(" of {user}"), format!(" --as {user}")),
            None => (String::new(), String::new()),
        };
        let Answer::Invite(NewInvite { invite, purpose }) = self
            .client
            .ask(MakeInvite {
                user,
                seconds: ttl.as_secs(),
            })
            .await?
        else {
            return Err(unexpected_answer());
        };
        let invite = self.with_public_name(invite)?;
        if self.context.json {
            self.context
                .out
                .print_json(&json!({"invite": invite, "purpose": purpose}));
            return self.check_invite_printed();
        }
        let what = if purpose == "key" {
            "a key"
        } else {
            "a new account"
        };
        self.context.err.print(&format!(
            "invite for {what}{whose}, valid once; redeem it with landline join 'INVITE'{name}. It is not shown again:"
        ));
        self.context.out.print(&shown_line(&invite));
        self.check_invite_printed()
    }

    fn check_invite_printed(&self) -> Result<(), Failure> {
        match self.context.out.take_error() {
            Some(error) => Err(Failure::from(Error::io("standard output", &error))
                .with_advice("the invite was not printed; find it with landline user invites list, and revoke it with landline user invites revoke")),
            None => Ok(()),
        }
    }

    /// Replaces the addresses of the invite by the host of `--public-name`.
    fn with_public_name(&self, invite: String) -> Result<String, Failure> {
        let Some(name) = &self.public_name else {
            return Ok(invite);
        };
        let mut invite: Invite = invite.parse()?;
        invite.addresses = vec![local_admin::public_address(name, &invite.addresses)];
        Ok(invite.to_string())
    }

    async fn invites(&mut self) -> Result<(), Failure> {
        let invites = match self.client.ask(ListInvites {}).await? {
            Answer::Invites(rows) => rows,
            _ => return Err(unexpected_answer()),
        };
        if self.context.json {
            invites
                .iter()
                .for_each(|invite| self.context.out.print_json(&json!(invite)));
            return Ok(());
        }
        let head = ["ID", "FOR", "OF", "MADE BY", "UNTIL"].map(str::to_owned);
        self.context.out.print(&table(
            head,
            invites.into_iter().map(|invite| {
                let until = moment(invite.expires);
                let (user, by) = (
                    invite.user.unwrap_or("anybody".into()),
                    invite.made_by.unwrap_or("this machine".into()),
                );
                [invite.id, invite.purpose, user, by, until]
            }),
        ));
        Ok(())
    }
}

/// The password of a new account, if the options ask for one.
fn first_password(
    context: &Context,
    options: &NewPassword,
    user: &UserName,
) -> Result<Option<Password>, Failure> {
    let NewPassword {
        new_password,
        source,
    } = options;
    let (file, descriptor) = (source.new_password_file.as_deref(), source.new_password_fd);
    if !new_password && file.is_none() && descriptor.is_none() {
        return Ok(None);
    }
    passwords::read_new_password(context, file, descriptor, user).map(Some)
}

fn disabled(user: &UserRow) -> Option<String> {
    user.disabled
        .map(|since| format!("disabled since {}", moment(since)))
}

/// The kinds of rights that the account has.
fn named_rights(user: &UserRow) -> String {
    let kind = |right: &String| {
        right
            .split_once(" = ")
            .map_or_else(String::new, |(kind, _)| kind.to_owned())
    };
    let mut kinds: Vec<String> = user.rights.iter().flatten().map(kind).collect();
    kinds.retain(|kind| !kind.starts_with("quota."));
    shown_line(&kinds.join(" "))
}

fn key_text(key: &KeyRow) -> String {
    let refused = key
        .refused
        .as_ref()
        .map(|reason| format!("\n    REFUSED: {}", shown_line(reason)));
    format!(
        "{}  {}{}",
        key.fingerprint,
        shown_line(&key.line),
        refused.unwrap_or_default()
    )
}

/// The lines of a file that contain keys.
///
/// The client parses them too, so that an error can name the line.
fn key_lines(context: &Context, file: &Path) -> Result<Vec<String>, Failure> {
    let mut bytes = Vec::new();
    let is_input = file == Path::new("-");
    let read = if is_input {
        context
            .input
            .open()
            .and_then(|input| input.take(KEYS_BYTES_MAX).read_to_end(&mut bytes))
            .map(drop)
    } else {
        paths::local::read(file, KEYS_BYTES_MAX).map(|content| bytes = content)
    };
    let name = if is_input {
        "standard input".to_owned()
    } else {
        file.display().to_string()
    };
    read.map_err(|error| Error::io(&name, &error))?;
    let keys = KeyLine::parse_file(&bytes)
        .map_err(|error| Error::here(ErrorCode::KeyRefused, format!("{name}: {error}")))?;
    Ok(keys.iter().map(ToString::to_string).collect())
}

/// The host of `--public-name`, if given.
fn public_name(what: &UserCommand) -> Result<Option<Target>, Failure> {
    let (UserCommand::Add { terms, .. } | UserCommand::Invite { terms, .. }) = what else {
        return Ok(None);
    };
    let InviteTerms { public_name, .. } = terms;
    local_admin::check_public_name(public_name.as_ref())?;
    Ok(public_name.clone())
}

/// Checks that `grant` and `revoke` name a right.
fn check_rights_named(what: &UserCommand) -> Result<(), Failure> {
    let is_empty = match what {
        UserCommand::Grant { rights, .. } => rights.is_empty(),
        UserCommand::Revoke { rights, .. } => rights.is_empty(),
        _ => false,
    };
    if is_empty {
        let problem = "name the rights, for example with --files, --exec or --role";
        return Err(Failure::usage(problem));
    }
    Ok(())
}
