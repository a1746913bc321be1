//! C programs generated from the header: every function called with what it must not be given.

use super::{installed, root, run};
use std::process::Command;

/// A parameter as C declares it.
pub(super) struct Parameter {
    pub(super) kind: String,
    pub(super) name: String,
}

pub(super) struct Function {
    pub(super) name: String,
    pub(super) fallible: bool,
    pub(super) parameters: Vec<Parameter>,
}

/// The functions that the header declares.
pub(super) fn functions(header: &str) -> Vec<Function> {
    let joined = header.lines().filter(|l| !l.starts_with("//") && !l.starts_with('#')).collect::<Vec<_>>().join(" ");
    let mut functions = Vec::new();
    for statement in joined.split(';') {
        let Some(open) = statement.find('(').filter(|_| !statement.contains("typedef")) else { continue };
        let before = &statement[..open];
        let name = before.split([' ', '*']).next_back().unwrap_or_default();
        if !name.starts_with("causerie_") {
            continue;
        }
        let list = statement[open + 1..].trim_end().trim_end_matches(')');
        let parameters = list.split(',').map(str::trim).filter(|p| !p.is_empty() && *p != "void").map(|p| {
            let at = p.rfind([' ', '*']).unwrap() + 1;
            Parameter { kind: p[..at].trim().to_string(), name: p[at..].to_string() }
        });
        let fallible = before.contains("causerie_error *");
        functions.push(Function { name: name.to_string(), fallible, parameters: parameters.collect() });
    }
    assert!(functions.len() > 90, "{} functions were found in the header", functions.len());
    functions
}

/// Every function, callback and constant of the header on a line of its own, as `tests/abi/causerie.abi` keeps them.
pub fn prototypes() -> Vec<String> {
    let header = std::fs::read_to_string(root().join("include/causerie.h")).unwrap();
    let constant = |line: &&str| line.starts_with("#define CAUSERIE_") && line.split(' ').count() == 3;
    let mut lines: Vec<String> =
        header.lines().filter(constant).filter(|l| !l.contains("_VERSION")).map(str::to_string).collect();
    let joined = header.lines().filter(|l| !l.starts_with("//") && !l.starts_with('#')).collect::<Vec<_>>().join(" ");
    for statement in joined.split(';').filter(|s| s.contains('(') && s.contains("causerie_")) {
        let words: Vec<&str> = statement.split_whitespace().filter(|word| *word != "CAUSERIE_MUST_CHECK").collect();
        let text = words.join(" ");
        // What stands before the first function: the struct of the `extern "C"` block.
        let from = text.find("typedef").unwrap_or_else(|| text.rfind('{').map_or(0, |at| at + 1));
        lines.push(text[from..].trim().to_string());
    }
    lines.sort();
    lines
}

/// The noun of `const causerie_dataset *`.
pub(super) fn noun(kind: &str) -> Option<&str> {
    let noun = kind.strip_prefix("const ").unwrap_or(kind).strip_prefix("causerie_")?.strip_suffix('*')?.trim();
    (!noun.contains('*') && noun != "progress").then_some(noun)
}

/// Calls with nothing, and with handles of another noun in place of each handle. Those that can fail must.
fn with_nothing(functions: &[Function]) -> String {
    let mut calls = String::new();
    for Function { name, fallible, parameters } in functions {
        for wrong in [false, true] {
            let argument = |p: &Parameter| match noun(&p.kind) {
                Some("config") if wrong => "(void *)run",
                Some(_) if wrong => "(void *)config",
                _ if p.kind.contains('*') || p.kind.ends_with("_fn") => "NULL",
                _ => "0",
            };
            let call = format!("{name}({})", parameters.iter().map(argument).collect::<Vec<_>>().join(", "));
            // Some take nothing but what may be absent, and so cannot fail for that.
            let may_succeed = ["causerie_error_", "causerie_embeddings_from_rows"].iter().any(|n| name.starts_with(n));
            calls += &match *fallible && !may_succeed {
                true => format!("  refused(\"{call}\", {call});\n"),
                false if *fallible => format!("  causerie_error_free({call});\n"),
                false => format!("  (void){call};\n"),
            };
        }
    }
    format!(
        "#include <causerie.h>\n#include <stdio.h>\nstatic int bad;\n\
         static void refused(const char *call, causerie_error *e) {{\n  if (e == NULL) bad++, fprintf(stderr, \"%s succeeded\\n\", call);\n\
         \x20 if (causerie_error_code(e) == CAUSERIE_BUG) bad++, fprintf(stderr, \"%s: %s\\n\", call, causerie_error_message(e));\n\
         \x20 causerie_error_free(e);\n}}\n\
         int main(void) {{\n  causerie_config *config = NULL;\n  causerie_run *run = NULL;\n\
         \x20 causerie_error_free(causerie_config_new(&config));\n  causerie_error_free(causerie_run_new(1, &run));\n{calls}\
         \x20 causerie_config_free(config);\n  causerie_run_free(run);\n  return bad;\n}}\n"
    )
}

/// What a parameter is given when it is not the hostile one.
fn good(p: &Parameter) -> String {
    let kind = p.kind.as_str();
    if let Some(noun) = noun(kind) {
        return if noun == "answer" { "NULL".into() } else { noun.to_string() };
    }
    match kind {
        "const causerie_recommender *const *" => "&shared".into(),
        "const causerie_query *const *" => "&asked".into(),
        "const uint64_t *" => "counts".into(),
        "const char *const *" => "names".into(),
        "causerie_reply **" if p.name == "replies" => "(void *)&made".into(),
        "causerie_progress *" => "&progress".into(),
        "const char **" => "&told".into(),
        "size_t *" => "&number".into(),
        "uint64_t *" => "&big".into(),
        "double *" => "&real".into(),
        "const float *" | "float *" => "floats".into(),
        "const char *"
            if ["jsonl", "lines", "request", "toml", "data", "conversations", "message", "words", "id", "title"]
                .contains(&&*p.name) =>
        {
            "NULL".into()
        }
        "const char *" if p.name == "teacher" => "\"mine\"".into(),
        "const char *" => "\"there\"".into(),
        "causerie_teacher_fn" => "refuse".into(),
        _ if kind.ends_with("**") => "(void *)&made".into(),
        _ if kind.ends_with("_fn") || kind.contains('*') => "NULL".into(),
        "size_t" if p.name == "count" || p.name == "rows" => "1".into(),
        _ => "0".into(),
    }
}

/// What is tried for a parameter; a text of a length goes with the parameter behind it. `"made"` texts are of the program below.
fn hostile(parameters: &[Parameter], at: usize) -> Vec<(String, Option<String>)> {
    let p = &parameters[at];
    let one = |texts: &[&str]| texts.iter().map(|t| ((*t).to_string(), None)).collect();
    if noun(&p.kind).is_some() {
        return one(&["NULL", "(void *)other", "(void *)garbage"]);
    }
    let length = parameters.get(at + 1).filter(|next| next.kind == "size_t" && next.name == "len");
    match p.kind.as_str() {
        "const char *" if length.is_some() => [
            ("NULL", "5"),
            ("\"\"", "0"),
            ("\"\\xff\\xfe\\x80\"", "3"),
            ("\"[\\\"\\\\ud800\\\"]\"", "10"),
            ("\"x\"", "SIZE_MAX"),
            ("zeros", "sizeof zeros"),
            ("deep", "sizeof deep - 1"),
            ("huge", "sizeof huge - 1"),
        ]
        .map(|(text, len)| (text.to_string(), Some(len.to_string())))
        .to_vec(),
        "const char *" => one(&["NULL", "\"\"", "\"\\xff\\xfe\\x80\"", "\"a/../\\n\\t/\"", "huge"]),
        "size_t" | "uint64_t" if ["count", "rows", "dim", "len", "size"].contains(&&*p.name) => one(&["0"]),
        "size_t" | "uint64_t" => one(&["1", "SIZE_MAX", "SIZE_MAX / 2"]),
        "uint32_t" => one(&["1", "UINT32_MAX"]),
        "int32_t" => one(&["-1", "INT32_MAX", "INT32_MIN"]),
        "float" | "double" => one(&["NAN", "INFINITY", "-1e30f"]),
        kind if kind.contains('*') || kind.ends_with("_fn") => one(&["NULL"]),
        _ => Vec::new(),
    }
}

/// Calls where all is good but one thing. None may crash, print, or be CAUSERIE_BUG.
fn with_one_thing_wrong(functions: &[Function]) -> String {
    let mut calls = String::new();
    for Function { name, fallible, parameters } in functions {
        // What ends a handle is called with none above; the log has no handle to go wrong with.
        if name.ends_with("_free") || name == "causerie_log" {
            continue;
        }
        let made = parameters.iter().find(|p| p.kind.ends_with("**") && p.kind.starts_with("causerie_"));
        for at in 0..parameters.len() {
            for (text, length) in hostile(parameters, at) {
                let argument = |(i, p): (usize, &Parameter)| match &length {
                    _ if i == at => text.clone(),
                    Some(length) if i == at + 1 => length.clone(),
                    _ => good(p),
                };
                let arguments: Vec<String> = parameters.iter().enumerate().map(argument).collect();
                let call = format!("{name}({})", arguments.join(", "));
                let quoted = call.replace('\\', "\\\\").replace('"', "\\\"");
                calls += &match *fallible {
                    true => format!("  tried(\"{quoted}\", {call});\n"),
                    false => format!("  (void){call};\n"),
                };
                if let Some(p) = made {
                    let noun = p.kind.trim_start_matches("causerie_").trim_end_matches([' ', '*']);
                    calls += &format!("  causerie_{noun}_free(made), made = NULL;\n");
                }
            }
        }
    }
    // One function per part keeps the compiler quick.
    let lines: Vec<&str> = calls.lines().collect();
    let parts: Vec<String> = lines
        .chunks(200)
        .enumerate()
        .map(|(n, part)| format!("static void part_{n}(void) {{\n{}\n}}\n", part.join("\n")))
        .collect();
    let all: String = (0..parts.len()).map(|n| format!("  part_{n}();\n")).collect();
    format!("#include \"hostile.h\"\n{}\nvoid try_all(void) {{\n{all}}}\n", parts.concat())
}

#[test]
fn every_function_refuses_null_and_handles_of_another_noun() {
    let here = installed();
    let header = std::fs::read_to_string(root().join("include/causerie.h")).unwrap();
    let source = here.folder.path().join("nothing.c");
    std::fs::write(&source, with_nothing(&functions(&header))).unwrap();
    let program = here.folder.path().join("nothing");
    let mut command = Command::new("gcc");
    command.args(["-g", "-Wno-unused-result", "-fsanitize=address"]).arg(&source);
    run(command.args(here.pkg_config(&["--cflags", "--libs"])).arg("-o").arg(&program));
    run(&mut here.command(&program));
}

#[test]
fn every_function_stands_empty_huge_broken_and_wrong_arguments_one_at_a_time() {
    let here = installed();
    let header = std::fs::read_to_string(root().join("include/causerie.h")).unwrap();
    let folder = here.scratch("hostile");
    let source = folder.join("calls.c");
    std::fs::write(&source, with_one_thing_wrong(&functions(&header))).unwrap();
    let program = folder.join("hostile");
    let mut command = Command::new("gcc");
    command.args(["-g", "-Wno-unused-result", "-fsanitize=address"]).arg(&source).arg(root().join("tests/c/hostile.c"));
    command.arg("-I").arg(root().join("tests/c")).args(here.pkg_config(&["--cflags", "--libs"]));
    run(command.args(["-lm", "-o"]).arg(&program));
    // Its own folder: what names a file "there" means one in it.
    run(here.command(&program).current_dir(&folder).arg("."));
}
