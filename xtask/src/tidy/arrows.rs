//! Which crate and which module of `landline` may use which, by the tables in ARCHITECTURE.md.

use std::collections::BTreeMap;

use toml_edit::{DocumentMut, Item, TableLike};

use super::{
    Finding,
    architecture::DOCUMENT,
    source::{Reference, Source, module_folder},
    tree::{File, Tree},
};

/// The crate whose modules are in the table.
const CRATE: &str = "landline";
/// Where its modules are.
const FOLDER: &str = "crates/landline/src";
/// The head of the last column, in the tables that are read.
const MAY_USE: &str = "may use";
/// What stands for all rows above, except those that are named behind it.
const ALL_ABOVE: &str = "all above";

/// The rows of the tables, by crate, or by `landline::MODULE`.
type Table = BTreeMap<String, Allowed>;

/// What one crate or module may use.
struct Allowed {
    /// The row's line, counted from 1.
    line: usize,
    may_use: Vec<String>,
}

/// Adds a finding for every import and every dependency that the table does not allow, and for
/// every row that allows a cycle or is about nothing.
pub(crate) fn check(tree: &Tree, sources: &[Source], findings: &mut Vec<Finding>) {
    let table = table(tree.document(DOCUMENT).unwrap_or_default(), findings);
    let crates = crates(tree, findings);
    let root = Root::read(sources);
    for (name, row) in &table {
        let exists = match name.split_once("::") {
            Some((_, module)) => root.modules.contains_key(module),
            None => crates.contains_key(name),
        };
        if !exists {
            let text = format!("there is no `{name}`: take its row out of the table");
            findings.push(Finding::error(DOCUMENT, row.line, text));
        }
    }
    for (name, manifest) in &crates {
        check_dependencies(name, manifest, &crates, &table, findings);
    }
    check_imports(sources, &root, &table, findings);
}

/// Reads the tables whose last column is "may use". Since a row can only name rows above it, no
/// cycle is allowed.
fn table(document: &str, findings: &mut Vec<Finding>) -> Table {
    let mut table = Table::new();
    let mut prefix = None;
    for (at, line) in document.lines().enumerate() {
        let Some((first, last)) = cells(line) else {
            prefix = None;
            continue;
        };
        if last == MAY_USE {
            let is_of_modules = first == "module";
            prefix = Some(if is_of_modules {
                format!("{CRATE}::")
            } else {
                String::new()
            });
            continue;
        }
        let (Some(prefix), Some(name)) = (&prefix, code(first).next()) else {
            continue;
        };
        let full = |name: &str| format!("{prefix}{}", name.trim_end_matches('/'));
        let named: Vec<String> = code(last).map(full).collect();
        for other in named.iter().filter(|other| !table.contains_key(*other)) {
            let text = format!("`{name}` may use `{other}` only if that has a row above it");
            findings.push(Finding::error(DOCUMENT, at + 1, text));
        }
        let may_use = if last.starts_with(ALL_ABOVE) {
            let above = table
                .keys()
                .filter(|other| other.starts_with(prefix.as_str()));
            above
                .filter(|other| !named.contains(other))
                .cloned()
                .collect()
        } else {
            named
        };
        let line = at + 1;
        table.insert(full(name), Allowed { line, may_use });
    }
    table
}

/// The first and the last cell of a table's row.
fn cells(line: &str) -> Option<(&str, &str)> {
    let (first, rest) = line.strip_prefix('|')?.strip_suffix('|')?.split_once('|')?;
    let (_, last) = rest.rsplit_once('|').unwrap_or(("", rest));
    Some((first.trim(), last.trim()))
}

/// Returns the texts in backticks.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// A crate's manifest.
struct Manifest<'a> {
    file: &'a File,
    content: DocumentMut,
}

/// The crates of the workspace by name.
fn crates<'a>(tree: &'a Tree, findings: &mut Vec<Finding>) -> BTreeMap<String, Manifest<'a>> {
    let mut crates = BTreeMap::new();
    for file in &tree.manifests {
        match file.text.parse::<DocumentMut>() {
            Ok(content) => {
                let name = content
                    .get("package")
                    .and_then(|package| package.get("name"))
                    .and_then(Item::as_str)
                    .map(str::to_owned);
                if let Some(name) = name {
                    crates.insert(name, Manifest { file, content });
                }
            }
            Err(error) => {
                let text = format!("cannot be read ({error}): mend it");
                findings.push(Finding::error(&file.path, 1, text));
            }
        }
    }
    crates
}

/// Checks what a crate depends on. What only its tests need is free.
fn check_dependencies(
    name: &str,
    manifest: &Manifest<'_>,
    crates: &BTreeMap<String, Manifest<'_>>,
    table: &Table,
    findings: &mut Vec<Finding>,
) {
    let Manifest { file, content } = manifest;
    let Some(row) = table.get(name) else {
        let text = format!("`{name}` has no row in the table of {DOCUMENT}: add one");
        return findings.push(Finding::error(&file.path, 1, text));
    };
    for key in dependencies(content.as_table()) {
        if crates.contains_key(&key) && !row.may_use.contains(&key) {
            let line = file
                .text
                .lines()
                .position(|line| line.trim_start().starts_with(key.as_str()))
                .map_or(1, |at| at + 1);
            let text = format!("`{name}` may not depend on `{key}`: see the table in {DOCUMENT}");
            findings.push(Finding::error(&file.path, line, text));
        }
    }
}

/// The packages that a crate is built from, on any system.
fn dependencies(manifest: &dyn TableLike) -> Vec<String> {
    let mut names = Vec::new();
    for kind in ["dependencies", "build-dependencies"] {
        let entries = manifest.get(kind).and_then(Item::as_table_like);
        for (key, entry) in entries.into_iter().flat_map(TableLike::iter) {
            let package = entry.get("package").and_then(Item::as_str);
            names.push(package.unwrap_or(key).to_owned());
        }
    }
    let targets = manifest.get("target").and_then(Item::as_table_like);
    for (_, target) in targets.into_iter().flat_map(TableLike::iter) {
        names.extend(target.as_table_like().into_iter().flat_map(dependencies));
    }
    names
}

/// What the root of the crate offers by name.
#[derive(Default)]
struct Root<'a> {
    /// The modules, each with the line that declares it.
    modules: BTreeMap<&'a str, usize>,
    /// The names that it passes on, each with its module.
    exports: BTreeMap<&'a str, &'a str>,
}

impl<'a> Root<'a> {
    fn read(sources: &'a [Source]) -> Self {
        let path = format!("{FOLDER}/lib.rs");
        let Some(source) = sources.iter().find(|source| source.path == path) else {
            return Self::default();
        };
        let modules: BTreeMap<&str, usize> = source
            .definitions
            .iter()
            .filter(|definition| definition.is_module() && !definition.in_test)
            .map(|module| (module.name.as_str(), module.line))
            .collect();
        let exports = source.references.iter().filter_map(|reference| {
            let path = reference.path.strip_prefix(&["crate".to_owned()][..]);
            let (module, inside) = path.unwrap_or(&reference.path).split_first()?;
            let name = reference.alias.as_ref().or(inside.last())?;
            modules
                .contains_key(module.as_str())
                .then_some((name.as_str(), module.as_str()))
        });
        Self {
            exports: exports.collect(),
            modules: modules.clone(),
        }
    }

    /// The module that a reference leads to from the module `from`, or the reason why that is not
    /// clear.
    fn module_of<'b>(&'b self, reference: &'b Reference, from: &[String]) -> Option<&'b str> {
        let (first, rest) = reference.path.split_first()?;
        let mut around = from;
        let mut rest = rest;
        match first.as_str() {
            "crate" | CRATE => around = &[],
            "self" => {}
            "super" => {
                (_, around) = around.split_last()?;
                while let Some((next, after)) = rest.split_first()
                    && next == "super"
                {
                    (_, around) = around.split_last()?;
                    rest = after;
                }
            }
            // An imported name, whose import is checked, another crate, or something below.
            _ => return None,
        }
        if !around.is_empty() {
            return None;
        }
        let name = rest.first()?.as_str();
        Some(self.exports.get(name).copied().unwrap_or(name))
    }
}

/// Checks the imports and paths from one module to another.
fn check_imports(sources: &[Source], root: &Root<'_>, table: &Table, findings: &mut Vec<Finding>) {
    let row = |module: &str| table.get(format!("{CRATE}::{module}").as_str());
    for (module, line) in &root.modules {
        if row(module).is_none() {
            let text = format!(
                "the module `{module}` has no row `{CRATE}::{module}` in the table of {DOCUMENT}: add one"
            );
            findings.push(Finding::error(&format!("{FOLDER}/lib.rs"), *line, text));
        }
    }
    for source in sources {
        let Some(place) = module_folder(&source.path).strip_prefix(&format!("{FOLDER}/")) else {
            continue;
        };
        let place: Vec<String> = place.split('/').map(str::to_owned).collect();
        let Some(own) = place.first() else { continue };
        for reference in &source.references {
            let from = [place.as_slice(), &reference.module].concat();
            let Some(used) = root.module_of(reference, &from).filter(|used| used != own) else {
                continue;
            };
            let shown = reference.path.join("::");
            let problem = if used == "*" {
                format!("`{shown}` hides which modules are used: import by name")
            } else if root.modules.contains_key(used)
                && !row(own).is_some_and(|row| {
                    let used = format!("{CRATE}::{used}");
                    row.may_use.contains(&used)
                })
            {
                format!("`{own}` may not use `{used}` (`{shown}`): see the table in {DOCUMENT}")
            } else {
                continue;
            };
            findings.push(Finding::error(&source.path, reference.line, problem));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "| crate | may use |\n| --- | --- |\n\
                         | `proto` | |\n| `landline` | `proto` |\n\nOther `words`.\n\
                         | module | what `it` is | may use |\n| --- | --- | --- |\n\
                         | `error` | `Error` | |\n| `net/` | | `error` |\n\
                         | `files/` | | all above |\n| `admin/` | | all above except `error`, `files` |\n";
    const ROOT: &str = "pub mod error;\npub mod net;\npub mod files;\nmod admin;\n\
                        pub use admin::Invite as Ticket;\npub use error::Error;\npub use proto_crate as proto;\n\
                        pub const RELEASE: u8 = 1;\n#[cfg(test)]\nmod proofs;";

    /// The findings for a table and the text of files.
    fn found_with(table: &str, files: &[(&str, &str)]) -> Vec<String> {
        let fixed = [
            (DOCUMENT, table),
            ("crates/landline/src/lib.rs", ROOT),
            ("crates/proto/Cargo.toml", "package.name = \"proto\""),
            ("crates/landline/Cargo.toml", "package.name = \"landline\""),
        ];
        let given = |path: &str| files.iter().any(|(other, _)| *other == path);
        let fixed = fixed.iter().filter(|(path, _)| !given(path));
        let tree = Tree::new(fixed.chain(files).map(|(path, text)| File {
            path: (*path).to_owned(),
            text: (*text).to_owned(),
        }));
        let sources: Vec<Source> = tree
            .rust
            .iter()
            .map(|file| Source::read(file).unwrap())
            .collect();
        let mut findings = Vec::new();
        check(&tree, &sources, &mut findings);
        findings.iter().map(Finding::to_string).collect()
    }

    /// The findings for a file of `crates/landline/src`.
    fn found(path: &str, text: &str) -> Vec<String> {
        found_with(TABLE, &[(&format!("crates/landline/src/{path}"), text)])
    }

    #[test]
    fn allowed_imports_are_free() {
        let text = "use crate::{Error, RELEASE, net::Channel, proto::Frame};\nuse super::error::Side;\n\
                    use self::receiver::Receiver;\nuse other::admin::Thing;\nuse ::admin::Thing;\n\
                    mod inner { use super::Receiver; use super::super::error::Side; }";
        assert_eq!(found("files/mod.rs", text), Vec::<String>::new());
        assert_eq!(
            found(
                "files/receiver/deep.rs",
                "use super::super::staging::Staging;"
            ),
            Vec::<String>::new()
        );
    }

    #[test]
    fn all_above_leaves_out_what_is_excepted() {
        let text = "use crate::{Error, net::Channel, files::ManifestStore};";
        assert_eq!(
            found("admin/mod.rs", text),
            [
                "crates/landline/src/admin/mod.rs:1: `admin` may not use `error` (`crate::Error`): see the table in ARCHITECTURE.md",
                "crates/landline/src/admin/mod.rs:1: `admin` may not use `files` (`crate::files::ManifestStore`): see the table in ARCHITECTURE.md",
            ]
        );
    }

    #[test]
    fn other_imports_and_paths_are_found() {
        let text = "use crate::{Error, admin::Account};\nuse crate::Ticket;\nuse super::super::files::X;\n\
                    fn a() { landline::files::b(); select! { x = crate::files::c() => {} } }\nuse crate::*;";
        assert_eq!(
            found("net/tls.rs", text),
            [
                "crates/landline/src/net/tls.rs:1: `net` may not use `admin` (`crate::admin::Account`): see the table in ARCHITECTURE.md",
                "crates/landline/src/net/tls.rs:2: `net` may not use `admin` (`crate::Ticket`): see the table in ARCHITECTURE.md",
                "crates/landline/src/net/tls.rs:3: `net` may not use `files` (`super::super::files::X`): see the table in ARCHITECTURE.md",
                "crates/landline/src/net/tls.rs:4: `net` may not use `files` (`landline::files::b`): see the table in ARCHITECTURE.md",
                "crates/landline/src/net/tls.rs:4: `net` may not use `files` (`crate::files::c`): see the table in ARCHITECTURE.md",
                "crates/landline/src/net/tls.rs:5: `crate::*` hides which modules are used: import by name",
            ]
        );
    }

    #[test]
    fn tests_may_use_anything() {
        let text = "#[cfg(test)]\nmod tests {\n use crate::admin::Account;\n}";
        assert_eq!(found("net/mod.rs", text), Vec::<String>::new());
        assert_eq!(
            found("proofs.rs", "use crate::admin::Account;"),
            [
                "crates/landline/src/proofs.rs:1: `proofs` may not use `admin` (`crate::admin::Account`): see the table in ARCHITECTURE.md"
            ],
            "unless it is marked as a file of tests, which happens before"
        );
    }

    #[test]
    fn cycle_in_the_table_is_found() {
        let table = TABLE.replace("`Error` | |", "`Error` | `net` |");
        assert_eq!(
            found_with(&table, &[]),
            ["ARCHITECTURE.md:9: `error` may use `landline::net` only if that has a row above it"]
        );
    }

    #[test]
    fn rows_and_modules_belong_together() {
        let table = TABLE
            .replace("| `admin/` |", "| `chat/` |")
            .replace("| `proto` | |", "| `proto` | |\n| `codec` | |");
        assert_eq!(
            found_with(&table, &[]),
            [
                "ARCHITECTURE.md:4: there is no `codec`: take its row out of the table",
                "ARCHITECTURE.md:13: there is no `landline::chat`: take its row out of the table",
                "crates/landline/src/lib.rs:4: the module `admin` has no row `landline::admin` in the table of ARCHITECTURE.md: add one",
            ]
        );
    }

    #[test]
    fn dependencies_that_the_table_does_not_allow_are_found() {
        let manifest = "[package]\nname = \"proto\"\n[dependencies]\nserde.workspace = true\n\
                        [target.'cfg(unix)'.dependencies]\nlandline = { path = \"../landline\" }\n\
                        [dev-dependencies]\nlandline = \"1\"";
        let other = "[package]\nname = \"landline\"\n[dependencies]\nproto.workspace = true";
        let new = "[package]\nname = \"new\"";
        assert_eq!(
            found_with(
                TABLE,
                &[
                    ("crates/proto/Cargo.toml", manifest),
                    ("crates/landline/Cargo.toml", other),
                    ("crates/new/Cargo.toml", new),
                ]
            ),
            [
                "crates/new/Cargo.toml:1: `new` has no row in the table of ARCHITECTURE.md: add one",
                "crates/proto/Cargo.toml:6: `proto` may not depend on `landline`: see the table in ARCHITECTURE.md",
            ]
        );
        let renamed = "[package]\nname = \"proto\"\n[build-dependencies]\nline = { package = \"landline\", path = \"..\" }";
        assert_eq!(
            found_with(TABLE, &[("crates/proto/Cargo.toml", renamed)]),
            [
                "crates/proto/Cargo.toml:1: `proto` may not depend on `landline`: see the table in ARCHITECTURE.md"
            ]
        );
    }
}
