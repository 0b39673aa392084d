//! Rust files: what they define and what they refer to.

use super::{reader, tree::File};

/// A Rust file.
#[derive(Debug, Default)]
pub(crate) struct Source {
    /// Its path from the repository's top folder.
    pub(crate) path: String,
    pub(crate) definitions: Vec<Definition>,
    pub(crate) references: Vec<Reference>,
}

/// An item that a file defines, in whatever module, block or `impl`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Definition {
    pub(crate) kind: Kind,
    /// Empty for a `use`.
    pub(crate) name: String,
    /// The line of its name, counted from 1.
    pub(crate) line: usize,
    pub(crate) is_public: bool,
    /// Whether it exists only in tests.
    pub(crate) in_test: bool,
    /// The modules of this file that it is in.
    pub(crate) module: Vec<String>,
    /// Its doc comment, on one line.
    pub(crate) docs: String,
}

impl Definition {
    pub(crate) fn is_module(&self) -> bool {
        matches!(self.kind, Kind::Module | Kind::FileModule)
    }
}

/// What an item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Function,
    /// A function that is marked as a test.
    Test,
    /// A struct, an enum, a union or a trait.
    Type,
    /// A name for another type.
    Alias,
    Constant,
    Module,
    /// A module whose code is in a file of its own.
    FileModule,
    Use,
}

/// A path that code outside of tests names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reference {
    /// Counted from 1.
    pub(crate) line: usize,
    /// The modules of this file that it is in.
    pub(crate) module: Vec<String>,
    /// The path's parts. The last part of a glob import is `*`.
    pub(crate) path: Vec<String>,
    /// The other name that a `use` gives it.
    pub(crate) alias: Option<String>,
}

impl Source {
    /// Reads a file.
    ///
    /// # Errors
    /// The line and the reason where it is not Rust.
    pub(crate) fn read(file: &File) -> Result<Self, (usize, String)> {
        let parsed = syn::parse_file(&file.text)
            .map_err(|error| (error.span().start().line, error.to_string()))?;
        let mut source = Self {
            path: file.path.clone(),
            ..Self::default()
        };
        reader::read(&parsed, is_in_tests_folder(&file.path), &mut source);
        Ok(source)
    }

    /// Whether something of this name is defined here.
    pub(crate) fn defines(&self, name: &str) -> bool {
        self.definitions
            .iter()
            .any(|definition| definition.kind != Kind::Use && definition.name == name)
    }

    /// Whether `function` is a test. In a folder of tests, a file with a `main` of its own runs its
    /// functions itself, and each of them may be a test.
    pub(crate) fn is_test(&self, function: &Definition) -> bool {
        match function.kind {
            Kind::Test => true,
            Kind::Function => {
                is_in_tests_folder(&self.path)
                    && (self.defines("main") || self.path.contains("/tests/programs/"))
            }
            _ => false,
        }
    }
}

/// Whether the file is in a folder named `tests`.
fn is_in_tests_folder(path: &str) -> bool {
    path.split('/')
        .rev()
        .skip(1)
        .any(|folder| folder == "tests")
}

/// Marks what is defined in modules that are declared as `#[cfg(test)] mod NAME;`, and removes
/// their references.
pub(crate) fn mark_test_modules(sources: &mut [Source]) {
    let folders: Vec<String> = sources
        .iter()
        .flat_map(|source| {
            let modules = source.definitions.iter();
            modules
                .filter(|module| module.kind == Kind::FileModule && module.in_test)
                .map(|module| format!("{}/{}", module_folder(&source.path), module.name))
        })
        .collect();
    for source in sources {
        let is_test = folders.iter().any(|folder| {
            source
                .path
                .strip_prefix(folder.as_str())
                .is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
        });
        if is_test {
            source.references.clear();
            for definition in &mut source.definitions {
                definition.in_test = true;
            }
        }
    }
}

/// The folder in which the file at `path` has its modules.
pub(crate) fn module_folder(path: &str) -> &str {
    let stem = path.strip_suffix(".rs").unwrap_or(path);
    match stem.rsplit_once('/') {
        Some((folder, "lib" | "main" | "mod")) => folder,
        _ => stem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a file in memory.
    fn read(path: &str, text: &str) -> Source {
        Source::read(&File {
            path: path.to_owned(),
            text: text.to_owned(),
        })
        .unwrap()
    }

    /// The paths that code outside of tests names.
    fn references(text: &str) -> Vec<String> {
        read("crates/a/src/lib.rs", text)
            .references
            .iter()
            .map(|reference| reference.path.join("::"))
            .collect()
    }

    /// The names of the tests in a file.
    fn tests(path: &str, text: &str) -> Vec<String> {
        let source = read(path, text);
        source
            .definitions
            .iter()
            .filter(|definition| source.is_test(definition))
            .map(|definition| definition.name.clone())
            .collect()
    }

    #[test]
    fn references_are_found_in_imports_paths_and_macros() {
        let text = "use crate::{net::{Channel, Pace as P}, store::*};\n\
                    pub(in crate::net) fn a(x: crate::keys::Key<crate::login::Pin>) {\n\
                    select! { () = super::b::c() => { crate::audit::d::<u8>() } }\n}";
        assert_eq!(
            references(text),
            [
                "crate::net::Channel",
                "crate::net::Pace",
                "crate::store::*",
                "crate::net",
                "crate::keys::Key",
                "crate::login::Pin",
                "super::b::c",
                "crate::audit::d",
            ]
        );
    }

    #[test]
    fn references_in_tests_are_left_out() {
        let text = "#[cfg(test)]\nuse crate::a::B;\n#[cfg(all(unix, test))]\nmod x { use crate::c::D; }\n\
                    #[test]\nfn y() { crate::e::f(); }\n#[cfg(not(test))]\nuse crate::g::H;\n\
                    #[cfg(feature = \"test\")]\nuse crate::i::J;\n/// [`crate::k::L`]\nstruct Z;";
        assert_eq!(references(text), ["crate::g::H", "crate::i::J"]);
        assert!(
            read("crates/a/tests/b.rs", "use crate::a::B;")
                .references
                .is_empty()
        );
    }

    #[test]
    fn references_in_files_of_test_modules_are_left_out() {
        let mut sources = [
            read("a/src/lib.rs", "#[cfg(test)]\nmod proofs;\nmod work;"),
            read("a/src/work.rs", "#[cfg(test)]\npub(crate) mod cases;"),
            read("a/src/proofs/more.rs", "use crate::a::B;"),
            read("a/src/work/cases.rs", "use crate::a::B;\nstruct C;"),
            read("a/src/proofs_of_work.rs", "use crate::a::B;\nstruct C;"),
        ];
        mark_test_modules(&mut sources);
        let counts = sources
            .iter()
            .map(|source| (source.references.len(), source.definitions.last()));
        let counts: Vec<_> = counts
            .map(|(references, last)| (references, last.map(|last| last.in_test)))
            .collect();
        assert_eq!(
            counts,
            [
                (0, Some(false)),
                (0, Some(true)),
                (0, Some(true)),
                (0, Some(true)),
                (1, Some(false))
            ]
        );
    }

    #[test]
    fn tests_are_the_functions_marked_as_tests() {
        let text = "#[test]\n#[allow(x)]\nfn a() {}\n#[tokio::test(flavor = \"y\")]\npub async fn b() {}\n\
                    #[cfg(test)]\nfn c() {}\n#[cfg(test)]\nmod d { fn e() {} #[test] fn f() {} }\n\
                    proptest! { #![config(z)] /// Proves.\n #[test] fn g(x in 0..9) {} fn h() {} }";
        assert_eq!(tests("a/tests/b.rs", text), ["a", "b", "f", "g"]);
        let program = "fn main() { a(); }\nfn a() {}";
        assert_eq!(tests("a/tests/b.rs", program), ["main", "a"]);
        assert_eq!(tests("a/src/main.rs", program), [""; 0]);
    }

    #[test]
    fn doc_comments_are_joined() {
        let text = "/// Kills it.\n/// Proves `x`.\n#[test]\nfn a() {}\nproptest! { /// Inside.\n #[test] fn b() {} }";
        let docs = read("a/src/lib.rs", text).definitions;
        let docs: Vec<_> = docs
            .iter()
            .map(|one| (one.docs.as_str(), one.line))
            .collect();
        assert_eq!(docs, [(" Kills it. Proves `x`.", 4), (" Inside.", 6)]);
    }

    #[test]
    fn text_that_is_not_rust_is_an_error() {
        let file = File {
            path: "a.rs".to_owned(),
            text: "fn a() {}\nfn b( {}".to_owned(),
        };
        assert_eq!(Source::read(&file).unwrap_err().0, 2);
    }
}
