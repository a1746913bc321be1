//! The crate's source as syntax: which file names what of which other file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use syn::visit::{self, Visit};

/// A module's path, the crate first: `["causerie", "tune", "lm"]`, or `["main", "cli"]` for the command.
type Module = Vec<String>;

#[derive(Default)]
struct Scope {
    /// The module's file, from `src/`.
    file: String,
    /// What `use` brings in, by its name here.
    imports: BTreeMap<String, Module>,
    /// Modules of which all is brought in.
    globs: Vec<Module>,
    /// Names declared here that are no modules.
    declared: BTreeSet<String>,
}

/// The parsed crate: the library and the command.
pub struct Source {
    scopes: BTreeMap<Module, Scope>,
    /// Files as syntax, unit tests included.
    pub files: BTreeMap<String, syn::File>,
}

/// Whether what these attributes stand before is built for unit tests alone.
pub fn for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|a| {
        let syn::Meta::List(list) = &a.meta else { return false };
        let condition = list.tokens.to_string().replace(' ', "");
        a.path().is_ident("cfg") && (condition == "test" || condition.starts_with("all(test,"))
    })
}

pub fn attributes_of(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Const(i) => &i.attrs,
        syn::Item::Enum(i) => &i.attrs,
        syn::Item::Fn(i) => &i.attrs,
        syn::Item::Impl(i) => &i.attrs,
        syn::Item::Macro(i) => &i.attrs,
        syn::Item::Mod(i) => &i.attrs,
        syn::Item::Static(i) => &i.attrs,
        syn::Item::Struct(i) => &i.attrs,
        syn::Item::Trait(i) => &i.attrs,
        syn::Item::Type(i) => &i.attrs,
        syn::Item::Use(i) => &i.attrs,
        _ => &[],
    }
}

fn declared_name(item: &syn::Item) -> Option<&syn::Ident> {
    match item {
        syn::Item::Const(i) => Some(&i.ident),
        syn::Item::Enum(i) => Some(&i.ident),
        syn::Item::Fn(i) => Some(&i.sig.ident),
        syn::Item::Macro(i) => i.ident.as_ref(),
        syn::Item::Static(i) => Some(&i.ident),
        syn::Item::Struct(i) => Some(&i.ident),
        syn::Item::Trait(i) => Some(&i.ident),
        syn::Item::Type(i) => Some(&i.ident),
        _ => None,
    }
}

/// Every name that a `use` tree brings in: its path as written, the name it gets (none: a glob).
fn leaves(tree: &syn::UseTree, before: &[String], out: &mut Vec<(Vec<String>, Option<String>)>) {
    let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
    match tree {
        syn::UseTree::Path(path) => leaves(&path.tree, &with(&path.ident), out),
        syn::UseTree::Group(group) => group.items.iter().for_each(|tree| leaves(tree, before, out)),
        syn::UseTree::Glob(_) => out.push((before.to_vec(), None)),
        syn::UseTree::Name(name) if name.ident == "self" => out.push((before.to_vec(), before.last().cloned())),
        syn::UseTree::Name(name) => out.push((with(&name.ident), Some(name.ident.to_string()))),
        syn::UseTree::Rename(rename) if rename.ident == "self" => {
            out.push((before.to_vec(), Some(rename.rename.to_string())));
        }
        syn::UseTree::Rename(rename) => out.push((with(&rename.ident), Some(rename.rename.to_string()))),
    }
}

impl Source {
    /// Parses all that `src/lib.rs` and `src/main.rs` declare.
    pub fn read() -> Source {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        Source::of(&["lib.rs", "main.rs"], &|name| std::fs::read_to_string(root.join(name)).ok())
    }

    /// The same of files with these names and texts, `lib.rs` among them.
    pub fn of_files(files: &[(&str, &str)]) -> Source {
        Source::of(&["lib.rs"], &|name| files.iter().find(|(n, _)| *n == name).map(|(_, text)| text.to_string()))
    }

    fn of(roots: &[&str], read: &dyn Fn(&str) -> Option<String>) -> Source {
        let mut source = Source { scopes: BTreeMap::new(), files: BTreeMap::new() };
        for name in roots {
            let module = if *name == "lib.rs" { "causerie" } else { name.trim_end_matches(".rs") };
            let text = read(name).unwrap_or_else(|| panic!("src/{name} is missing"));
            source.open(read, name, &text, vec![module.into()], "");
        }
        let mut written: BTreeMap<Module, Vec<(Module, Option<String>)>> = BTreeMap::new();
        for (module, items) in source.modules() {
            let mut imports = Imports(Vec::new());
            items.iter().for_each(|item| imports.visit_item(item));
            written.entry(module.clone()).or_default().extend(imports.0);
        }
        for (module, names) in written {
            source.import(&module, names);
        }
        source
    }

    /// Files that others name: (file, named file).
    pub fn uses(&self) -> BTreeSet<(String, String)> {
        let mut uses = BTreeSet::new();
        for (module, items) in self.modules() {
            let mut visitor = Uses { source: self, module, found: BTreeSet::new() };
            items.iter().for_each(|item| visitor.visit_item(item));
            let file = &self.scopes[module].file;
            uses.extend(visitor.found.into_iter().filter(|f| f != file).map(|f| (file.clone(), f)));
        }
        uses
    }

    /// Every module's items, without those of modules inside it.
    fn modules(&self) -> Vec<(&Module, Vec<&syn::Item>)> {
        fn walk<'a>(
            source: &'a Source,
            module: Module,
            items: &'a [syn::Item],
            out: &mut Vec<(&'a Module, Vec<&'a syn::Item>)>,
        ) {
            let Some((key, _)) = source.scopes.get_key_value(&module) else { return };
            for item in items {
                if let syn::Item::Mod(inner) = item
                    && !for_tests(&inner.attrs)
                    && let Some((_, items)) = &inner.content
                {
                    walk(source, [&module[..], &[inner.ident.to_string()]].concat(), items, out);
                }
            }
            let own = items.iter().filter(|i| !matches!(i, syn::Item::Mod(_)) && !for_tests(attributes_of(i)));
            out.push((key, own.collect()));
        }
        let mut out = Vec::new();
        for (module, scope) in &self.scopes {
            // A file's own module is the shortest one that lies in it.
            let parent = &module[..module.len() - 1];
            if self.scopes.get(parent).is_none_or(|p| p.file != scope.file) {
                walk(self, module.clone(), &self.files[&scope.file].items, &mut out);
            }
        }
        out
    }

    /// Parses the file `name` as `module`; its modules in files lie in `folder` (which ends in a slash, or is none).
    fn open(&mut self, read: &dyn Fn(&str) -> Option<String>, name: &str, text: &str, module: Module, folder: &str) {
        let file = syn::parse_file(text).unwrap_or_else(|e| panic!("src/{name}: {e}"));
        self.declare(read, name, &module, &file.items, folder);
        self.files.insert(name.to_string(), file);
    }

    fn declare(
        &mut self,
        read: &dyn Fn(&str) -> Option<String>,
        name: &str,
        module: &Module,
        items: &[syn::Item],
        folder: &str,
    ) {
        // The same module may be written twice, under two conditions.
        let scope = self.scopes.entry(module.clone()).or_default();
        scope.file = name.to_string();
        scope.declared.extend(items.iter().filter_map(declared_name).map(ToString::to_string));
        for item in items {
            let syn::Item::Mod(inner) = item else { continue };
            if for_tests(&inner.attrs) {
                continue;
            }
            let ident = inner.ident.to_string();
            let child = [&module[..], std::slice::from_ref(&ident)].concat();
            let own = format!("{folder}{ident}/");
            match &inner.content {
                Some((_, items)) => self.declare(read, name, &child, items, &own),
                None => {
                    let names = [format!("{folder}{ident}.rs"), format!("{own}mod.rs")];
                    let found = names.iter().find_map(|name| read(name).map(|text| (name, text)));
                    let (name, text) = found.unwrap_or_else(|| panic!("src/{name}: no file of its module {ident}"));
                    self.open(read, name, &text, child, &own);
                }
            }
        }
    }

    /// Fills in what the `use`s of `module` bring: paths as written, with their names there (none: all of it).
    fn import(&mut self, module: &Module, names: Vec<(Module, Option<String>)>) {
        for (path, name) in names {
            let Some(target) = self.absolute(module, &path) else { continue };
            let Some(scope) = self.scopes.get_mut(module) else { continue };
            match name {
                None => scope.globs.push(target),
                Some(name) => {
                    scope.imports.insert(name, target);
                }
            }
        }
    }

    /// A path as written in `module`, from the crate on; none for what is not ours.
    fn absolute(&self, module: &Module, path: &[String]) -> Option<Module> {
        let mut at = module.clone();
        let mut rest = path;
        match path.first()?.as_str() {
            "crate" | "$crate" => {
                at.truncate(1);
                rest = &rest[1..];
            }
            "causerie" => {
                at = vec!["causerie".into()];
                rest = &rest[1..];
            }
            "self" => rest = &rest[1..],
            "super" => {}
            first => {
                let scope = &self.scopes[module];
                let child = [&module[..], &[first.to_string()]].concat();
                if let Some(import) = scope.imports.get(first) {
                    return Some([&import[..], &path[1..]].concat());
                }
                if !self.scopes.contains_key(&child) && !scope.declared.contains(first) {
                    // What a glob brings; where none does, it is another crate's, or a local name.
                    return scope.globs.iter().find_map(|glob| {
                        let named = [&glob[..], path].concat();
                        let known = self.scopes.get(glob).is_some_and(|s| {
                            s.declared.contains(first)
                                || s.imports.contains_key(first)
                                || self.scopes.contains_key(&named[..glob.len() + 1])
                        });
                        known.then_some(named)
                    });
                }
            }
        }
        while rest.first().is_some_and(|s| s == "super") {
            at.pop();
            rest = &rest[1..];
        }
        Some([&at[..], rest].concat())
    }

    /// The file that declares what an absolute path names, through what other modules bring in.
    fn file_of(&self, path: &Module, depth: usize) -> Option<&str> {
        let mut at: Module = path[..1].to_vec();
        self.scopes.get(&at)?;
        for (i, name) in path.iter().enumerate().skip(1) {
            let child = [&at[..], std::slice::from_ref(name)].concat();
            let scope = &self.scopes[&at];
            if self.scopes.contains_key(&child) {
                at = child;
            } else if let Some(import) = scope.imports.get(name).filter(|_| depth < 20) {
                let target = [&import[..], &path[i + 1..]].concat();
                return self.file_of(&target, depth + 1).or(Some(&scope.file));
            } else if !scope.declared.contains(name) {
                let through = scope.globs.iter().filter(|_| depth < 20).find_map(|glob| {
                    let known = self.scopes.get(glob).is_some_and(|s| s.declared.contains(name));
                    known.then(|| self.file_of(&[&glob[..], &path[i..]].concat(), depth + 1)).flatten()
                });
                return through.or(Some(&scope.file));
            } else {
                break;
            }
        }
        Some(&self.scopes[&at].file)
    }

    /// Files that name each other in a circle, each circle as its files in order.
    pub fn circles(uses: &BTreeSet<(String, String)>) -> Vec<Vec<String>> {
        let nodes: BTreeSet<&String> = uses.iter().flat_map(|(a, b)| [a, b]).collect();
        // Few hundred files: what each one reaches, by walking.
        let reach = |from: &String| {
            let (mut seen, mut next) = (BTreeSet::new(), vec![from.clone()]);
            while let Some(file) = next.pop() {
                for (_, to) in uses.range((file.clone(), String::new())..).take_while(|(a, _)| *a == file) {
                    if seen.insert(to.clone()) {
                        next.push(to.clone());
                    }
                }
            }
            seen
        };
        let reached: BTreeMap<&String, BTreeSet<String>> = nodes.iter().map(|n| (*n, reach(n))).collect();
        let mut circles = BTreeSet::new();
        for (node, to) in &reached {
            let circle: Vec<String> = to.iter().filter(|t| reached[t].contains(*node)).cloned().collect();
            if circle.len() > 1 {
                circles.insert(circle);
            }
        }
        circles.into_iter().collect()
    }
}

/// Collects what `use`s bring in, those within functions too: paths as written, with their names here.
struct Imports(Vec<(Module, Option<String>)>);

impl<'ast> Visit<'ast> for Imports {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        leaves(&item.tree, &[], &mut self.0);
    }
}

/// Collects the files that some items name.
struct Uses<'a> {
    source: &'a Source,
    module: &'a Module,
    found: BTreeSet<String>,
}

impl Uses<'_> {
    fn name(&mut self, path: &[String]) {
        let absolute = self.source.absolute(self.module, path);
        let file = absolute.and_then(|path| self.source.file_of(&path, 0).map(ToString::to_string));
        self.found.extend(file);
    }

    /// Paths within a macro's arguments, which are no syntax yet.
    fn tokens(&mut self, tokens: proc_macro2::TokenStream) {
        use proc_macro2::TokenTree;
        let mut path: Vec<String> = Vec::new();
        let mut colons = 0;
        for tree in tokens {
            match tree {
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.end(&mut path);
                    }
                    path.push(ident.to_string());
                    colons = 0;
                    continue;
                }
                TokenTree::Punct(p) if p.as_char() == ':' => colons += 1,
                TokenTree::Group(group) => {
                    self.end(&mut path);
                    colons = 0;
                    self.tokens(group.stream());
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => {
                    self.end(&mut path);
                    colons = 0;
                }
            }
        }
        self.end(&mut path);
    }

    fn end(&mut self, path: &mut Vec<String>) {
        let path = std::mem::take(path);
        // A single word may be anything; what is named alone in a macro is named by a `use` as well.
        if path.len() > 1 {
            self.name(&path);
        }
    }
}

impl<'ast> Visit<'ast> for Uses<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if !for_tests(attributes_of(item)) && !matches!(item, syn::Item::Mod(_)) {
            visit::visit_item(self, item);
        }
    }
    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        if !for_tests(&function.attrs) {
            visit::visit_impl_item_fn(self, function);
        }
    }
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        // Handing a name on is no use of it.
        if matches!(item.vis, syn::Visibility::Inherited) {
            let mut found = Vec::new();
            leaves(&item.tree, &[], &mut found);
            found.iter().for_each(|(path, _)| self.name(path));
        }
    }
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {
        // `pub(super)` names nothing.
    }
    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<String> = path.segments.iter().map(|s| s.ident.to_string()).collect();
        self.name(&names);
        visit::visit_path(self, path);
    }
    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.tokens(call.tokens.clone());
        visit::visit_macro(self, call);
    }
}
