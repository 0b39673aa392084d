//! The help texts of `landline`: the doc comments of its clap definitions.

use syn::{
    Attribute, Field, ItemEnum, ItemStruct, Variant,
    visit::{self, Visit},
};

use super::{
    reader::doc,
    tree::{File, Tree},
};

/// The crate with the definitions.
const CRATE: &str = "crates/landline-cli/src/";
/// What a definition derives.
const DERIVED: [&str; 4] = ["Args", "Parser", "Subcommand", "ValueEnum"];

/// All help texts, with a blank line between two. A file that is not Rust is another check's.
pub(super) fn text(tree: &Tree) -> String {
    let mut texts = Texts::default();
    for file in tree.rust.iter().filter(|file| file.path.starts_with(CRATE)) {
        texts.add(file);
    }
    texts.text
}

#[derive(Default)]
struct Texts {
    text: String,
}

impl Texts {
    fn add(&mut self, file: &File) {
        if let Ok(code) = syn::parse_file(&file.text) {
            self.visit_file(&code);
        }
    }

    /// Adds the doc comment among `attributes`.
    fn push(&mut self, attributes: &[Attribute]) {
        for line in attributes.iter().filter_map(|it| doc(&it.meta)) {
            self.text.push_str(line.trim());
            self.text.push('\n');
        }
        self.text.push('\n');
    }
}

impl<'a> Visit<'a> for Texts {
    fn visit_item_struct(&mut self, item: &'a ItemStruct) {
        if is_definition(&item.attrs) {
            self.push(&item.attrs);
            visit::visit_item_struct(self, item);
        }
    }

    fn visit_item_enum(&mut self, item: &'a ItemEnum) {
        if is_definition(&item.attrs) {
            self.push(&item.attrs);
            visit::visit_item_enum(self, item);
        }
    }

    fn visit_variant(&mut self, variant: &'a Variant) {
        self.push(&variant.attrs);
        visit::visit_variant(self, variant);
    }

    fn visit_field(&mut self, field: &'a Field) {
        self.push(&field.attrs);
    }
}

/// Whether clap makes arguments of the item.
fn is_definition(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let mut is_clap = false;
        attribute.path().is_ident("derive")
            && attribute
                .parse_nested_meta(|name| {
                    is_clap |= DERIVED.iter().any(|it| name.path.is_ident(it));
                    Ok(())
                })
                .is_ok()
            && is_clap
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doc_comments_of_clap_definitions_are_help() {
        let code = "/// No.\n#[derive(Debug)]\nstruct A { /** No. */ a: u8 }\n\
                    /// Copy files\n///\n/// More.\n#[derive(Debug, Args)]\nstruct B {\n/// Be quiet\n#[arg(long)]\nb: bool, c: u8 }\n\
                    #[derive(Subcommand)]\nenum D {\n/// Add\nE {\n/// Name\nf: u8 } }";
        let path = format!("{CRATE}a.rs");
        let other = File {
            path: "crates/other/src/a.rs".to_owned(),
            text: code.to_owned(),
        };
        let file = File {
            path,
            text: code.to_owned(),
        };
        let text = text(&Tree::new([file, other]));
        let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
        assert_eq!(lines, ["Copy files", "More.", "Be quiet", "Add", "Name"]);
        assert!(text.contains("Copy files\n\nMore.\n\nBe quiet\n\n"));
    }
}
