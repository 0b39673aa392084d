//! The real ssh, and the folder in which it reads the files of a case.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use landline_ssh_config::{HostConfig, IdentityAgent, ProxyJump};

use crate::{generator::Case, write};

/// A program that stands for ssh where ssh would start another ssh, so that nothing is dialed.
const NO_SSH: &str = "/bin/true";

/// The home of a user, in a temporary folder.
pub(crate) struct TestHome(PathBuf);

impl TestHome {
    pub(crate) fn new() -> Self {
        let name = format!("landline-ssh-config-{}", std::process::id());
        let home = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&home);
        fs::create_dir_all(&home).unwrap();
        Self(home)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.0.join(".ssh/config")
    }

    /// Replaces all files by those of a case.
    pub(crate) fn write(&self, case: &Case) {
        let _ = fs::remove_dir_all(self.0.join(".ssh"));
        for file in &case.files {
            let path = self.0.join(".ssh").join(&file.name);
            let text = file.text.replace("@HOME@", self.0.to_str().unwrap());
            write(&path, text.as_bytes());
            let mode = fs::Permissions::from_mode(file.mode);
            fs::set_permissions(&path, mode).unwrap();
        }
    }
}

impl Drop for TestHome {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The installed ssh.
pub(crate) struct Ssh {
    program: PathBuf,
    /// The version, such as (9, 2).
    pub(crate) version: (u32, u32),
    pub(crate) local_user: String,
    /// The home of the local user in the system's list, which ssh uses instead of `HOME`.
    listed_home: String,
}

/// What the real ssh read.
#[derive(Debug, Default)]
pub(crate) struct RealConfig {
    host_name: String,
    user: String,
    identities_only: bool,
    identity_agent: Option<String>,
    proxy_jump: Option<String>,
    proxy_command: Option<String>,
    /// `None` for the usual files.
    identity_files: Option<Vec<PathBuf>>,
}

impl Ssh {
    pub(crate) fn find() -> Self {
        let path = std::env::var_os("PATH").unwrap();
        let program = std::env::split_paths(&path)
            .map(|folder| folder.join("ssh"))
            .find(|program| program.is_file())
            .expect("ssh is needed; cargo xtask test installs it");
        let output = Command::new(&program).arg("-V").output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        let version = parse_version(&text).expect(&text);
        // Older ones split all lines differently.
        assert!(version >= (8, 7), "{text}");
        eprintln!("{}", text.trim());
        let output = Command::new("id").arg("-un").output().unwrap();
        let local_user = String::from_utf8(output.stdout).unwrap().trim().to_owned();
        let listed = fs::read_to_string("/etc/passwd").unwrap();
        let listed_home = listed.lines().find_map(|line| {
            let mut fields = line.split(':');
            (fields.next() == Some(local_user.as_str())).then(|| fields.nth(4))?
        });
        Self {
            program,
            version,
            listed_home: listed_home.unwrap().to_owned(),
            local_user,
        }
    }

    fn command(&self, home: &TestHome, case: &Case) -> Command {
        let mut command = Command::new(&self.program);
        command
            .env_clear()
            .envs(case.variables.iter().copied())
            .env("HOME", home.path())
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("SHELL", "/bin/sh")
            .env("LC_ALL", "C.UTF-8")
            .arg("-F")
            .arg(home.config())
            .stdin(Stdio::null());
        if let Some(user) = &case.user {
            command.args(["-l", user]);
        }
        command
    }

    /// What ssh reads, or what it prints as it rejects the files.
    pub(crate) fn read(&self, home: &TestHome, case: &Case) -> Result<RealConfig, String> {
        let mut command = self.command(home, case);
        let output = command.args(["-G", "--", &case.host]).output().unwrap();
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        let text = self.with_home(home, &String::from_utf8_lossy(&output.stdout));
        let mut config = RealConfig::default();
        let mut listed_keys = Vec::new();
        let mut has_jump = false;
        for line in text.lines() {
            let (keyword, value) = line.split_once(' ').unwrap_or((line, ""));
            match keyword {
                "hostname" => config.host_name = value.to_owned(),
                "user" => config.user = value.to_owned(),
                "identitiesonly" => config.identities_only = value == "yes",
                "identityagent" => config.identity_agent = Some(value.to_owned()),
                "identityfile" => listed_keys.push(value.to_owned()),
                "proxycommand" => config.proxy_command = Some(value.to_owned()),
                "proxyjump" => has_jump = true,
                _ => {}
            }
        }
        let are_usual =
            listed_keys.iter().all(|key| key.starts_with("~/.ssh/id_")) && listed_keys.len() > 3;
        if !are_usual || has_jump {
            let (keys, jump) = self.connect(home, case, has_jump)?;
            config.proxy_jump = jump;
            config.identity_files = (!are_usual).then_some(keys);
        }
        Ok(config)
    }

    /// Lets ssh start to connect, and reads which keys it opens and through which hosts it goes.
    ///
    /// Those have no tokens any more.
    fn connect(
        &self,
        home: &TestHome,
        case: &Case,
        has_jump: bool,
    ) -> Result<(Vec<PathBuf>, Option<String>), String> {
        let mut command = self.command(home, case);
        if has_jump {
            command.arg0(NO_SSH);
        } else {
            command.args(["-o", &format!("ProxyCommand={NO_SSH}")]);
        }
        let output = command.args(["-v", "--", &case.host]).output().unwrap();
        let message = self.with_home(home, &String::from_utf8_lossy(&output.stderr));
        let mut keys = Vec::new();
        let mut jump = None;
        for line in message
            .lines()
            .filter_map(|line| line.strip_prefix("debug1: "))
        {
            if let Some(key) = line.strip_prefix("identity file ") {
                let (path, _) = key.rsplit_once(" type ").unwrap();
                if !path.ends_with("-cert") {
                    // The log shows a backslash twice.
                    keys.push(PathBuf::from(path.replace("\\\\", "\\")));
                }
            } else if let Some(command) = line.strip_prefix("Executing proxy command: ") {
                jump = has_jump.then(|| jump_of(command));
            }
        }
        // The program that stands for the connection ends at once. ssh -G does not replace the
        // tokens of keys, and fails only here.
        let ends = ["Connection closed", "Connection reset", "Broken pipe"];
        if ends.iter().any(|end| message.contains(end)) {
            return Ok((keys, jump));
        }
        let message = message.lines().filter(|line| !line.starts_with("debug1: "));
        Err(message.collect::<Vec<_>>().join("\n"))
    }

    fn with_home(&self, home: &TestHome, text: &str) -> String {
        text.replace(&self.listed_home, home.path().to_str().unwrap())
    }
}

/// The version in the output of `ssh -V`.
fn parse_version(text: &str) -> Option<(u32, u32)> {
    let (major, rest) = text.strip_prefix("OpenSSH_")?.split_once('.')?;
    let minor = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// The jump hosts in the command that ssh runs for `ProxyJump`.
fn jump_of(command: &str) -> String {
    let mut words = command.split(' ').skip(2);
    let (mut user, mut port, mut before, mut host) = ("", "", "", "");
    while let Some(word) = words.next() {
        match word {
            "-l" => user = words.next().unwrap(),
            "-p" => port = words.next().unwrap(),
            "-J" => before = words.next().unwrap(),
            "-F" | "-W" => _ = words.next(),
            word => host = word,
        }
    }
    let mut text = String::new();
    if !before.is_empty() {
        text += &format!("{before},");
    }
    if !user.is_empty() {
        text += &format!("{user}@");
    }
    text += &format!("[{host}]");
    if !port.is_empty() {
        text += &format!(":{port}");
    }
    match text.parse::<ProxyJump>() {
        Ok(jump) => jump.to_string(),
        Err(_) => text,
    }
}

impl RealConfig {
    /// Describes each value that this crate read differently.
    pub(crate) fn differences(&self, ours: &HostConfig, case: &Case, ssh: &Ssh) -> Vec<String> {
        let mut found = Vec::new();
        let mut compare = |what: &str, ours: String, real: String| {
            if ours != real {
                found.push(format!("{what}: {ours} instead of {real}"));
            }
        };
        let host = ours.host_name.clone();
        compare(
            "HostName",
            host.unwrap_or_else(|| case.host.to_ascii_lowercase()),
            self.host_name.clone(),
        );
        let user = case.user.clone().or(ours.user.clone());
        compare(
            "User",
            user.unwrap_or_else(|| ssh.local_user.clone()),
            self.user.clone(),
        );
        compare(
            "IdentityFile",
            format!("{:?}", ours.identity_files),
            format!("{:?}", self.identity_files),
        );
        compare(
            "IdentitiesOnly",
            ours.identities_only.to_string(),
            self.identities_only.to_string(),
        );
        let agent = ours.identity_agent.as_ref().map(|agent| match agent {
            IdentityAgent::Disabled => "none".to_owned(),
            IdentityAgent::Variable(name) if name == "SSH_AUTH_SOCK" => name.clone(),
            IdentityAgent::Variable(name) => format!("${name}"),
            IdentityAgent::Socket(path) => path.display().to_string(),
        });
        let legacy = |agent: Option<String>| {
            let agent = agent.unwrap_or_else(|| "not set".to_owned());
            agent.replace("$SSH_AUTH_SOCK", "SSH_AUTH_SOCK")
        };
        compare(
            "IdentityAgent",
            legacy(agent),
            legacy(self.identity_agent.clone()),
        );
        let jump = ours.proxy_jump.clone().filter(|jump| !jump.hops.is_empty());
        compare(
            "ProxyJump",
            format!("{:?}", jump.map(|jump| jump.to_string())),
            format!("{:?}", self.proxy_jump),
        );
        let command = ours.proxy_command.clone();
        compare(
            "ProxyCommand",
            format!(
                "{:?}",
                command.map(|command| command.into_string().unwrap())
            ),
            format!("{:?}", self.proxy_command),
        );
        found
    }
}
