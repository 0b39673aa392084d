//! Names of modules that say nothing, and names of types that mean two things in one crate.

use std::collections::BTreeMap;

use super::{
    Finding,
    source::{Definition, Kind, Source},
};

/// File and module names that are banned: anything can be put under them, so anything is.
const BANNED: [&str; 6] = ["util", "utils", "common", "helpers", "manager", "misc"];
/// Type names that are conventional: their module says which one is meant.
const CONVENTIONAL: [&str; 2] = ["Error", "Options"];

/// Adds a finding for every file and module with a banned name, and for every type whose name
/// another module of its crate uses for another type.
pub(crate) fn check(sources: &[Source], findings: &mut Vec<Finding>) {
    for source in sources {
        check_modules(source, findings);
    }
    check_types(sources, findings);
}

fn check_modules(source: &Source, findings: &mut Vec<Finding>) {
    let path = &source.path;
    let file = path.rsplit('/').next().unwrap_or(path);
    let stem = file.strip_suffix(".rs").unwrap_or(file);
    if BANNED.contains(&stem) {
        let text = format!("the file name `{stem}` says nothing: name it after its subject");
        findings.push(Finding::error(path, 1, text));
    }
    for module in &source.definitions {
        let Definition { name, line, .. } = module;
        if module.is_module() && BANNED.contains(&name.as_str()) {
            let text = format!("the module name `{name}` says nothing: name it after its subject");
            findings.push(Finding::error(path, *line, text));
        }
    }
}

/// Types of tests do not count.
fn check_types(sources: &[Source], findings: &mut Vec<Finding>) {
    let mut first: BTreeMap<(&str, &str), (&Source, &Definition)> = BTreeMap::new();
    for source in sources {
        let Some((crate_folder, _)) = source.path.split_once("/src/") else {
            continue;
        };
        let types = source.definitions.iter().filter(|definition| {
            definition.kind == Kind::Type
                && !definition.in_test
                && !CONVENTIONAL.contains(&definition.name.as_str())
        });
        for definition in types {
            let name = definition.name.as_str();
            let (other, twin) = *first
                .entry((crate_folder, name))
                .or_insert((source, definition));
            // In one module they are the same type for different systems.
            if other.path != source.path || twin.module != definition.module {
                let text = format!(
                    "`{name}` is also a type in {}:{}: give each a name of its own",
                    other.path, twin.line
                );
                findings.push(Finding::error(&source.path, definition.line, text));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tree::File;

    /// The findings in files of these paths and texts.
    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let read = |(path, text): &(&str, &str)| {
            Source::read(&File {
                path: (*path).to_owned(),
                text: (*text).to_owned(),
            })
            .unwrap()
        };
        let sources: Vec<Source> = files.iter().map(read).collect();
        let mut findings = Vec::new();
        check(&sources, &mut findings);
        findings.iter().map(Finding::to_string).collect()
    }

    #[test]
    fn banned_names_are_found_as_files_and_modules() {
        assert_eq!(
            found(&[
                ("a/src/utils.rs", ""),
                (
                    "a/src/lib.rs",
                    "mod wire;\npub(crate) mod helpers;\nmod misc {}"
                )
            ]),
            [
                "a/src/utils.rs:1: the file name `utils` says nothing: name it after its subject",
                "a/src/lib.rs:2: the module name `helpers` says nothing: name it after its subject",
                "a/src/lib.rs:3: the module name `misc` says nothing: name it after its subject",
            ]
        );
    }

    #[test]
    fn longer_names_text_and_functions_are_free() {
        let text = "// mod util;\nfn misc() -> &'static str { \"mod util\" }\nmod utility;";
        assert_eq!(
            found(&[("a/src/common_prefix.rs", text)]),
            Vec::<String>::new()
        );
    }

    #[test]
    fn two_types_of_one_name_are_found_in_a_crate() {
        let files = [
            ("a/src/one.rs", "pub struct Line;\nenum Error {}"),
            (
                "a/src/two.rs",
                "pub enum Error {}\nmod inner { trait Line {} }",
            ),
            ("b/src/lib.rs", "struct Line;\nfn line() {}"),
        ];
        assert_eq!(
            found(&files),
            [
                "a/src/two.rs:2: `Line` is also a type in a/src/one.rs:1: give each a name of its own"
            ]
        );
    }

    #[test]
    fn type_for_another_system_and_types_of_tests_are_free() {
        let files = [
            (
                "a/src/one.rs",
                "#[cfg(unix)]\nstruct Line;\n#[cfg(not(unix))]\nstruct Line;\n\
                 #[cfg(test)]\nmod tests { struct Row; }",
            ),
            ("a/src/two.rs", "struct Row;\ntype Line = u8;"),
            ("a/tests/b.rs", "struct Line;"),
        ];
        assert_eq!(found(&files), Vec::<String>::new());
    }
}
