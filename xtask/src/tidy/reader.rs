//! Collects what a Rust file defines and refers to, with syn.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::{
    Attribute, ForeignItem, ImplItem, Item, Macro, Meta, Path, Signature, TraitItem, UseTree,
    Visibility,
    visit::{self, Visit},
};

use super::source::{Definition, Kind, Reference, Source};

/// Adds what `file` defines and refers to. `in_test`: the file as a whole is test code.
pub(super) fn read(file: &syn::File, in_test: bool, source: &mut Source) {
    let mut reader = Reader {
        source,
        module: Vec::new(),
        in_test: in_test || file.attrs.iter().any(is_for_tests),
    };
    reader.visit_file(file);
}

/// Collects the definitions and references of one file.
struct Reader<'s> {
    source: &'s mut Source,
    /// The modules around what is read.
    module: Vec<String>,
    /// Whether what is read exists only in tests.
    in_test: bool,
}

impl Reader<'_> {
    fn define(&mut self, kind: Kind, name: &syn::Ident, is_public: bool, attributes: &[Attribute]) {
        self.source.definitions.push(Definition {
            kind,
            name: name.to_string(),
            line: name.span().start().line,
            is_public,
            in_test: self.in_test,
            module: self.module.clone(),
            docs: docs(attributes),
        });
    }

    fn define_function(
        &mut self,
        signature: &Signature,
        is_public: bool,
        attributes: &[Attribute],
    ) {
        let kind = if attributes.iter().any(marks_test) {
            Kind::Test
        } else {
            Kind::Function
        };
        self.define(kind, &signature.ident, is_public, attributes);
    }

    fn refer(&mut self, line: usize, path: Vec<String>, alias: Option<String>) {
        if !self.in_test {
            self.source.references.push(Reference {
                line,
                module: self.module.clone(),
                path,
                alias,
            });
        }
    }

    /// Reads what `attributes` belong to.
    fn within(&mut self, attributes: &[Attribute], read: impl FnOnce(&mut Self)) {
        let around = self.in_test;
        self.in_test |= attributes.iter().any(is_for_tests) || attributes.iter().any(marks_test);
        read(self);
        self.in_test = around;
    }

    /// Adds what a `use` names, below the path `above`.
    fn read_use(&mut self, tree: &UseTree, above: &[String]) {
        let below = |name: String| [above, &[name]].concat();
        match tree {
            UseTree::Path(path) => self.read_use(&path.tree, &below(path.ident.to_string())),
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.read_use(tree, above);
                }
            }
            UseTree::Name(name) => {
                let line = name.ident.span().start().line;
                self.refer(line, below(name.ident.to_string()), None);
            }
            UseTree::Rename(rename) => {
                let line = rename.ident.span().start().line;
                let alias = Some(rename.rename.to_string());
                self.refer(line, below(rename.ident.to_string()), alias);
            }
            UseTree::Glob(glob) => {
                let line = glob.star_token.span.start().line;
                self.refer(line, below("*".to_owned()), None);
            }
        }
    }

    /// Reads what is given to a macro: functions with their attributes, and paths.
    fn read_tokens(&mut self, tokens: TokenStream) {
        let trees: Vec<TokenTree> = tokens.into_iter().collect();
        let mut docs = String::new();
        let mut is_test = false;
        for (at, tree) in trees.iter().enumerate() {
            let rest = trees.get(at..).unwrap_or_default();
            match (tree, rest.get(1)) {
                (TokenTree::Punct(mark), Some(TokenTree::Group(group)))
                    if mark.as_char() == '#' && group.delimiter() == Delimiter::Bracket =>
                {
                    if let Ok(attribute) = syn::parse2::<Meta>(group.stream()) {
                        docs.extend(doc(&attribute));
                        is_test |= names_test(&attribute);
                    }
                }
                (TokenTree::Ident(word), Some(TokenTree::Ident(name))) if word == "fn" => {
                    self.source.definitions.push(Definition {
                        kind: if is_test { Kind::Test } else { Kind::Function },
                        name: name.to_string(),
                        line: name.span().start().line,
                        is_public: false,
                        in_test: self.in_test || is_test,
                        module: self.module.clone(),
                        docs: std::mem::take(&mut docs),
                    });
                    is_test = false;
                }
                (TokenTree::Ident(first), _) if !is_behind_colons(&trees, at) => {
                    let path = path_at(rest);
                    if path.len() > 1 {
                        self.refer(first.span().start().line, path, None);
                    }
                }
                (TokenTree::Group(group), _) => self.read_tokens(group.stream()),
                _ => {}
            }
        }
    }
}

impl<'a> Visit<'a> for Reader<'_> {
    fn visit_item(&mut self, item: &'a Item) {
        self.within(attributes(item), |reader| {
            reader.define_item(item);
            if let Item::Mod(module) = item {
                reader.module.push(module.ident.to_string());
            }
            visit::visit_item(reader, item);
            if let Item::Mod(_) = item {
                reader.module.pop();
            }
        });
    }

    fn visit_impl_item(&mut self, item: &'a ImplItem) {
        let attributes = match item {
            ImplItem::Const(item) => &item.attrs,
            ImplItem::Fn(item) => &item.attrs,
            ImplItem::Type(item) => &item.attrs,
            _ => return visit::visit_impl_item(self, item),
        };
        self.within(attributes, |reader| {
            match item {
                ImplItem::Const(item) => {
                    reader.define(
                        Kind::Constant,
                        &item.ident,
                        is_public(&item.vis),
                        attributes,
                    );
                }
                ImplItem::Fn(item) => {
                    reader.define_function(&item.sig, is_public(&item.vis), attributes);
                }
                _ => {}
            }
            visit::visit_impl_item(reader, item);
        });
    }

    fn visit_trait_item(&mut self, item: &'a TraitItem) {
        if let TraitItem::Fn(function) = item {
            self.define_function(&function.sig, false, &function.attrs);
        }
        visit::visit_trait_item(self, item);
    }

    fn visit_foreign_item(&mut self, item: &'a ForeignItem) {
        if let ForeignItem::Fn(function) = item {
            self.define_function(&function.sig, is_public(&function.vis), &function.attrs);
        }
        visit::visit_foreign_item(self, item);
    }

    fn visit_path(&mut self, path: &'a Path) {
        if path.leading_colon.is_none()
            && path.segments.len() > 1
            && let Some(first) = path.segments.first()
        {
            let parts = path.segments.iter().map(|part| part.ident.to_string());
            self.refer(first.ident.span().start().line, parts.collect(), None);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'a Macro) {
        visit::visit_macro(self, call);
        self.read_tokens(call.tokens.clone());
    }

    fn visit_attribute(&mut self, _: &'a Attribute) {}
}

impl Reader<'_> {
    /// Adds what an item defines, and what a `use` refers to.
    fn define_item(&mut self, item: &Item) {
        let attributes = attributes(item);
        let (kind, name, visibility) = match item {
            Item::Const(item) => (Kind::Constant, &item.ident, &item.vis),
            Item::Static(item) => (Kind::Constant, &item.ident, &item.vis),
            Item::Enum(item) => (Kind::Type, &item.ident, &item.vis),
            Item::Struct(item) => (Kind::Type, &item.ident, &item.vis),
            Item::Trait(item) => (Kind::Type, &item.ident, &item.vis),
            Item::Union(item) => (Kind::Type, &item.ident, &item.vis),
            Item::Type(item) => (Kind::Alias, &item.ident, &item.vis),
            Item::Mod(item) if item.content.is_some() => (Kind::Module, &item.ident, &item.vis),
            Item::Mod(item) => (Kind::FileModule, &item.ident, &item.vis),
            Item::Fn(item) => {
                return self.define_function(&item.sig, is_public(&item.vis), attributes);
            }
            Item::Use(item) => {
                let line = item.use_token.span.start().line;
                self.source.definitions.push(Definition {
                    kind: Kind::Use,
                    name: String::new(),
                    line,
                    is_public: is_public(&item.vis),
                    in_test: self.in_test,
                    module: self.module.clone(),
                    docs: String::new(),
                });
                if item.leading_colon.is_none() {
                    self.read_use(&item.tree, &[]);
                }
                return;
            }
            _ => return,
        };
        self.define(kind, name, is_public(visibility), attributes);
    }
}

/// The attributes of an item.
fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::TraitAlias(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// Whether the item can be named by other crates, as far as its own visibility says.
fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

/// The text of all doc comments among `attributes`, on one line.
fn docs(attributes: &[Attribute]) -> String {
    attributes
        .iter()
        .filter_map(|attribute| doc(&attribute.meta))
        .collect()
}

/// The text of a doc comment, with a blank in front.
pub(super) fn doc(attribute: &Meta) -> Option<String> {
    let Meta::NameValue(pair) = attribute else {
        return None;
    };
    match &pair.value {
        syn::Expr::Lit(syn::ExprLit {
            lit: syn::Lit::Str(text),
            ..
        }) if pair.path.is_ident("doc") => Some(format!(" {}", text.value().trim())),
        _ => None,
    }
}

/// Whether an attribute is `test` or `any::test(...)`.
fn marks_test(attribute: &Attribute) -> bool {
    names_test(&attribute.meta)
}

fn names_test(attribute: &Meta) -> bool {
    let last = attribute.path().segments.last();
    last.is_some_and(|part| part.ident == "test")
}

/// Whether an attribute is a `cfg` that asks for `test`.
fn is_for_tests(attribute: &Attribute) -> bool {
    match &attribute.meta {
        Meta::List(list) if list.path.is_ident("cfg") => asks_for_test(list.tokens.clone()),
        _ => false,
    }
}

fn asks_for_test(condition: TokenStream) -> bool {
    let mut is_negated = false;
    condition.into_iter().any(|tree| match tree {
        TokenTree::Ident(word) => {
            is_negated = word == "not";
            word == "test"
        }
        TokenTree::Group(group) => !is_negated && asks_for_test(group.stream()),
        _ => false,
    })
}

/// The parts of the path that `trees` starts with.
fn path_at(trees: &[TokenTree]) -> Vec<String> {
    let mut parts = Vec::new();
    let mut rest = trees;
    while let [TokenTree::Ident(part), after @ ..] = rest {
        parts.push(part.to_string());
        match after {
            [
                TokenTree::Punct(first),
                TokenTree::Punct(second),
                after @ ..,
            ] if first.as_char() == ':' && second.as_char() == ':' => {
                rest = after;
            }
            _ => break,
        }
    }
    parts
}

/// Whether the tree at `at` stands behind `::`, so that it begins no path.
fn is_behind_colons(trees: &[TokenTree], at: usize) -> bool {
    let before = at.checked_sub(1).and_then(|before| trees.get(before));
    matches!(before, Some(TokenTree::Punct(mark)) if mark.as_char() == ':')
        && matches!(
            at.checked_sub(2).and_then(|before| trees.get(before)),
            Some(TokenTree::Punct(mark)) if mark.as_char() == ':'
        )
}
