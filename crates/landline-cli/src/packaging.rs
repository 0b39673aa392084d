//! The files of a package that only the command itself knows: manual pages, completions, units.

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    process,
};

use clap::{Arg, Command, CommandFactory, builder::ValueParser, value_parser};
use clap_complete::{Generator, Shell, generate};
use clap_mangen::Man;
use landline::{net::Target, paths::local};

use crate::{
    arguments::{Arguments, copy_path_parser, location_parser},
    commands::service,
    context::{Context, ExitStatus},
    failure::Failure,
};

const PROGRAM: &str = "landline";
const SECTION: &str = "1";

/// The placeholder in a completion script for the names of the machines that the user knows.
///
/// Completion by the command itself would need an unstable feature of clap_complete.
const MACHINE: &str = "LANDLINE-MACHINE";
/// Likewise, with a colon behind each name.
const REMOTE: &str = "LANDLINE-REMOTE";

/// Writes all files into the folder that `words` names. `cargo xtask dist` starts this.
pub(crate) fn write_files(
    _context: &Context,
    words: &[OsString],
) -> Option<Result<ExitStatus, Failure>> {
    let [folder] = words else {
        return None;
    };
    Some(write_all(Path::new(folder)))
}

fn write_all(folder: &Path) -> Result<ExitStatus, Failure> {
    let pages = manual_pages().map_err(|error| Failure::local(error.to_string()))?;
    let paths: Vec<PathBuf> = pages.iter().map(|(name, _)| folder.join(name)).collect();
    let files = pages.into_iter().chain(completions()).chain(
        service::package_units()?
            .map(|(name, text)| (Path::new("systemd").join(name), text.into_bytes())),
    );
    for (name, text) in files {
        let path = folder.join(name);
        local::write(&path, &text)
            .map_err(|error| Failure::local(format!("{}: {error}", path.display())))?;
    }
    // As the policy of Debian requires, without names and times.
    run(process::Command::new("gzip").arg("-9nf").args(&paths))?;
    for (target, link) in LINKS {
        let link = folder.join(link);
        run(process::Command::new("ln").args(["-sfn", target]).arg(link))?;
    }
    Ok(ExitStatus::SUCCESS)
}

/// The same program for others that take one word for ssh, and its manual page.
const LINKS: [(&str, &str); 2] = [
    ("landline", "landline-ssh"),
    ("landline-run.1.gz", "man/landline-ssh.1.gz"),
];

fn run(command: &mut process::Command) -> Result<(), Failure> {
    let name = command.get_program().display().to_string();
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::local(format!("{name} ended with {status}"))),
        Err(error) => Err(Failure::local(format!("{name}: {error}"))),
    }
}

type File = (PathBuf, Vec<u8>);

/// A manual page for each command.
fn manual_pages() -> io::Result<Vec<File>> {
    let mut command = Arguments::command().disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    add_pages(&command, &mut pages)?;
    Ok(pages)
}

fn add_pages(command: &Command, pages: &mut Vec<File>) -> io::Result<()> {
    let page = Man::new(command.clone())
        .section(SECTION)
        .source(format!("{PROGRAM} {}", env!("CARGO_PKG_VERSION")))
        .manual(format!("Manual of {PROGRAM}"));
    let mut text = Vec::new();
    page.render(&mut text)?;
    let text = name_last_section(&String::from_utf8_lossy(&text));
    let path = Path::new("man").join(page.get_filename());
    pages.push((path, text.into_bytes()));
    command
        .get_subcommands()
        .try_for_each(|subcommand| add_pages(subcommand, pages))
}

/// Gives the text after the options the heading that it begins with, such as "Examples:", and keeps
/// its lines. The widest one needs 80 columns, so they are not indented.
fn name_last_section(page: &str) -> String {
    let Some((start, rest)) = page.split_once(".SH EXTRA\n") else {
        return page.to_owned();
    };
    let (heading, rest) = rest.split_once(":\n").unwrap_or(("Notes", rest));
    let heading = heading.to_uppercase();
    format!("{start}.SH {heading:?}\n.nf\n.in 0\n{rest}")
}

/// The completion scripts of a package.
fn completions() -> Vec<File> {
    [Shell::Bash, Shell::Zsh, Shell::Fish]
        .map(|shell| {
            let path = Path::new("completions").join(shell.file_name(PROGRAM));
            (path, completion_script(shell).into_bytes())
        })
        .into()
}

/// The completion script of a shell. It asks the command for the names of machines.
pub(crate) fn completion_script(shell: Shell) -> String {
    match shell {
        Shell::Bash => {
            let script = script(shell)
                .replace(MACHINE, "$(_landline_machines)")
                .replace(REMOTE, "$(_landline_machines :)");
            script + BASH_MACHINES
        }
        Shell::Zsh => script(shell)
            .replace(&format!("({MACHINE})"), "_landline_machines")
            .replace(&format!("({REMOTE})"), "_landline_remotes")
            .replacen('\n', &format!("\n{ZSH_MACHINES}"), 1),
        Shell::Fish => {
            let machines = format!("{MACHINE}\\t''");
            let script = script(shell).replace(&machines, "(__landline_machines)");
            let mut script = script + FISH_MACHINES;
            add_fish_positionals(&marked(), "", &mut script);
            script
        }
        shell => script(shell),
    }
}

fn script(shell: Shell) -> String {
    let mut text = Vec::new();
    generate(shell, &mut marked(), PROGRAM, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// The command line, with a mark where the name of a machine is expected.
fn marked() -> Command {
    mark(Arguments::command())
}

fn mark(command: Command) -> Command {
    command
        .mut_args(|argument| match mark_for(&argument) {
            Some(mark) => argument.value_parser([mark]),
            None => argument,
        })
        .mut_subcommands(mark)
}

fn mark_for(argument: &Arg) -> Option<&'static str> {
    let kind = argument.get_value_parser().type_id();
    if kind == ValueParser::new(location_parser()).type_id()
        || kind == ValueParser::new(copy_path_parser()).type_id()
    {
        Some(REMOTE)
    } else if kind == ValueParser::from(value_parser!(Target)).type_id()
        && argument.get_id() != "public_name"
    {
        Some(MACHINE)
    } else {
        None
    }
}

/// clap_complete writes only the options for fish.
fn add_fish_positionals(command: &Command, condition: &str, script: &mut String) {
    for mark in command.get_positionals().filter_map(|argument| {
        let values = argument.get_possible_values();
        values.first().map(|value| value.get_name().to_owned())
    }) {
        let completion = match mark.as_str() {
            MACHINE => "-f -a \"(__landline_machines)\"",
            REMOTE => "-a \"(__landline_machines :)\"",
            _ => continue,
        };
        script.push_str(&format!(
            "complete -c {PROGRAM} -n \"{condition}\" {completion}\n"
        ));
    }
    for subcommand in command.get_subcommands() {
        let joint = if condition.is_empty() { "" } else { "; and " };
        let condition = format!(
            "{condition}{joint}__fish_seen_subcommand_from {}",
            subcommand.get_name()
        );
        add_fish_positionals(subcommand, &condition, script);
    }
}

const BASH_MACHINES: &str = r#"
_landline_machines() {
    landline hosts --json 2>/dev/null | sed -n 's/.*"name":"\([^"]*\)".*/\1'"$1"'/p'
}

_landline_or_path() {
    _landline "$@"
    # A path follows the colon.
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *: ]]; then
        compopt -o nospace
    fi
}
complete -F _landline_or_path -o bashdefault -o default landline
"#;

const ZSH_MACHINES: &str = r#"
_landline_machines() {
    local -a names
    names=(${(f)"$(landline hosts --json 2>/dev/null | sed -n 's/.*"name":"\([^"]*\)".*/\1/p')"})
    compadd "$@" -a names
}

_landline_remotes() {
    _landline_machines "$@" -S :
    _files
}
"#;

const FISH_MACHINES: &str = r#"
function __landline_machines
    landline hosts --json 2>/dev/null | sed -n 's/.*"name":"\([^"]*\)".*/\1'"$argv[1]"'/p'
end
"#;

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(files: &[File], name: &str) -> String {
        let (_, text) = files.iter().find(|(path, _)| path.ends_with(name)).unwrap();
        String::from_utf8(text.clone()).unwrap()
    }

    #[test]
    fn last_section_has_the_heading_of_its_text() {
        let pages = manual_pages().unwrap();
        let page = text_of(&pages, "landline-cp.1");
        assert!(page.contains(".SH \"EXAMPLES\"\n"), "{page}");
        let page = text_of(&pages, "landline.1");
        assert!(page.contains(".SH \"EXIT STATUS\"\n"), "{page}");
        for (path, text) in &pages {
            let text = String::from_utf8_lossy(text);
            assert!(!text.contains("EXTRA"), "{}: {text}", path.display());
        }
    }

    #[test]
    fn completions_ask_for_machines() {
        let scripts = completions();
        for name in ["landline.bash", "_landline", "landline.fish"] {
            let script = text_of(&scripts, name);
            assert!(!script.contains(MACHINE), "{name}: {script}");
            assert!(!script.contains(REMOTE), "{name}: {script}");
            // Once where it is defined, and for `ping`, `who`, `kick`, `user --on` and others.
            let calls = script.matches("_landline_machines").count();
            assert!(calls > 8, "{name}: {calls} {script}");
        }
    }
}
