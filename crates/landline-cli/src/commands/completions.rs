//! `landline completions`: prints the completion script of a shell.

use clap::{Args, ValueEnum};

use crate::{
    context::{Context, ExitStatus, Run},
    failure::Failure,
    packaging::completion_script,
};

/// Print a script that completes command lines
///
/// The script completes commands, options, and the names of the machines that you know. The Debian
/// package has these scripts and installs them.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  landline completions bash > ~/.local/share/bash-completion/completions/landline\n  landline completions fish > ~/.config/fish/completions/landline.fish\n  landline completions zsh > ~/.zfunc/_landline"
)]
pub(crate) struct Completions {
    /// Shell that reads the script
    shell: CompletionShell,
}

/// A shell for which there is a script.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum CompletionShell {
    Bash,
    Fish,
    Zsh,
}

impl Run for Completions {
    async fn run(self, context: &Context) -> Result<ExitStatus, Failure> {
        let shell = match self.shell {
            CompletionShell::Bash => clap_complete::Shell::Bash,
            CompletionShell::Fish => clap_complete::Shell::Fish,
            CompletionShell::Zsh => clap_complete::Shell::Zsh,
        };
        context.out.print(completion_script(shell).trim_end());
        Ok(ExitStatus::SUCCESS)
    }
}
