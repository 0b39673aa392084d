//! The list of commands in groups. clap has one heading for all subcommands of a command.

use clap::{
    Subcommand,
    builder::{StyledStr, Styles},
};

use crate::commands::Command;

/// The help of `landline` itself, in clap's order, with the commands in groups.
pub(crate) fn template() -> StyledStr {
    let style = *Styles::default().get_header();
    let heading = |text: &str| format!("{style}{text}:{style:#}");
    let commands = Command::augment_subcommands(clap::Command::new("landline"));
    let width = names().map(str::len).max().unwrap_or(0);
    let mut groups = String::new();
    for (group, names) in Command::GROUPS {
        groups.push_str(&heading(group));
        for name in *names {
            let about = commands
                .find_subcommand(name)
                .and_then(clap::Command::get_about)
                .cloned()
                .unwrap_or_default();
            groups.push_str(&format!("\n  {name:width$}  {about}"));
        }
        groups.push_str("\n\n");
    }
    format!(
        "{{before-help}}{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{groups}{options}\n\
         {{options}}\n\nRun `landline help COMMAND` for the options of a command.{{after-help}}",
        options = heading("Options"),
    )
    .into()
}

/// What `landline` alone prints: the names of the commands by group.
pub(crate) fn overview() -> String {
    let width = Command::GROUPS
        .iter()
        .map(|(group, _)| group.len() + 1)
        .max()
        .unwrap_or(0);
    let mut text = "Usage: landline [OPTIONS] COMMAND\n\n".to_owned();
    for (group, names) in Command::GROUPS {
        let group = format!("{group}:");
        text.push_str(&format!("{group:width$}  {}\n", names.join(", ")));
    }
    text.push_str(
        "\n`landline --help` describes the commands, `landline help COMMAND` one of them.",
    );
    text
}

fn names() -> impl Iterator<Item = &'static str> {
    Command::GROUPS
        .iter()
        .flat_map(|(_, names)| names.iter().copied())
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, path::Path};

    use clap::{Args, CommandFactory};
    use landline::paths::local::names as names_in;
    use snapbox::{Assert, Data, assert::DEFAULT_ACTION_ENV};

    use super::*;
    use crate::arguments::{Arguments, Common};

    /// Lines of a terminal that the overview may take.
    const OVERVIEW_LINES_MAX: usize = 24;
    /// Characters that a summary may take.
    const SUMMARY_CHARS_MAX: usize = 60;

    /// Every page that a user can read. `SNAPSHOTS=overwrite` rewrites the files.
    #[test]
    fn help_pages_are_those_of_the_snapshots() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots/help");
        let mut command = Arguments::command().term_width(100);
        command.build();
        let mut pages = BTreeSet::new();
        compare_pages(&command, &folder, &mut pages);
        let files: BTreeSet<String> = names_in(&folder)
            .into_iter()
            .map(|name| name.into_string().unwrap())
            .collect();
        assert_eq!(files, pages, "a file for each command");
    }

    /// Compares the pages of a command, and those of its subcommands.
    fn compare_pages(command: &clap::Command, folder: &Path, pages: &mut BTreeSet<String>) {
        // The values differ from machine to machine.
        let mut shown = command
            .clone()
            .mut_args(|argument| argument.hide_env_values(true));
        let name = shown.get_bin_name().unwrap_or("landline").to_owned();
        let page = format!(
            "$ {name} -h\n{}\n$ {name} --help\n{}",
            shown.render_help(),
            shown.render_long_help()
        );
        let page: String = page
            .lines()
            .map(|line| format!("{}\n", line.trim_end()))
            .collect();
        let file = name.replace(' ', "-") + ".txt";
        let expected = Data::read_from(&folder.join(&file), None);
        Assert::new()
            .action_env(DEFAULT_ACTION_ENV)
            .eq(page, expected.raw());
        pages.insert(file);
        for subcommand in command.get_subcommands() {
            if subcommand.get_name() != "help" {
                compare_pages(subcommand, folder, pages);
            }
        }
    }

    #[test]
    fn definitions_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn deferred_commands_have_all_options() {
        let names = |command: &clap::Command| {
            let options = command.get_arguments().map(|it| it.get_id().to_string());
            let commands = command.get_subcommands().map(|it| it.get_name().to_owned());
            options.chain(commands).collect::<BTreeSet<_>>()
        };
        let deferred = Command::add_deferred(Common::augment_args(clap::Command::new("landline")));
        let (mut deferred, mut all) = (deferred, Arguments::command());
        deferred.build();
        all.build();
        for command in all.get_subcommands() {
            let found = deferred.find_subcommand(command.get_name()).unwrap();
            assert_eq!(names(found), names(command), "{}", command.get_name());
        }
    }

    /// Names that are kept for later commands, each until it is there.
    const KEPT_NAMES: [&str; 1] = ["chat"];

    #[test]
    fn names_of_later_commands_are_free() {
        let mut command = Arguments::command();
        command.build();
        for name in KEPT_NAMES {
            assert!(command.find_subcommand(name).is_none(), "{name}");
        }
        // -H is for sets of hosts, with every command that takes one as an option. `cp` and `sync`
        // name hosts in their paths, and -H means hard links there, as in rsync.
        let meanings = ["hosts", "hard_links"];
        for subcommand in command.get_subcommands() {
            let mut taken = subcommand.get_arguments();
            let is_free = taken.all(|argument| {
                argument.get_short() != Some('H') || meanings.contains(&argument.get_id().as_str())
            });
            assert!(is_free, "{}", subcommand.get_name());
        }
    }

    #[test]
    fn overview_fits_a_terminal_and_names_every_command() {
        let text = overview();
        assert!(text.lines().count() <= OVERVIEW_LINES_MAX, "{text}");
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
        for name in names() {
            assert!(text.contains(name), "{name}: {text}");
        }
    }

    #[test]
    fn every_command_and_argument_has_a_short_summary() {
        let mut command = Arguments::command();
        command.build();
        let mut wrong = Vec::new();
        check_summaries(&command, &mut wrong);
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    fn check_summaries(command: &clap::Command, wrong: &mut Vec<String>) {
        let name = command.get_bin_name().unwrap_or_default();
        let shown = command.get_arguments().filter(|it| !it.is_hide_set());
        let arguments = shown.map(|it| (it.get_id().to_string(), it.get_help()));
        for (what, summary) in arguments.chain([(String::new(), command.get_about())]) {
            let summary = summary.map(ToString::to_string).unwrap_or_default();
            // The default of an option is not part of it.
            let length = summary
                .split(" [default")
                .next()
                .unwrap_or_default()
                .chars()
                .count();
            if !(1..=SUMMARY_CHARS_MAX).contains(&length) {
                wrong.push(format!("{name} {what}: {summary}"));
            }
        }
        for subcommand in command.get_subcommands() {
            if subcommand.get_name() != "help" {
                check_summaries(subcommand, wrong);
            }
        }
    }

    #[test]
    fn help_shows_every_command_once_with_a_short_summary() {
        let mut command = Arguments::command();
        let help = command.render_help().to_string();
        let commands = Arguments::command();
        assert_eq!(names().count(), commands.get_subcommands().count());
        for name in names() {
            let about = commands.find_subcommand(name).unwrap().get_about().unwrap();
            let about = about.to_string();
            assert!(
                about.chars().count() <= SUMMARY_CHARS_MAX,
                "{name}: {about}"
            );
            let lines = help
                .lines()
                .filter(|line| line.trim_start().starts_with(&format!("{name} ")));
            assert_eq!(lines.count(), 1, "{name}: {help}");
            assert!(help.contains(&about), "{name}: {help}");
        }
    }
}
