//! `causerie.hpp` as its users have it: without a warning, in several files, without RTTI; what it promises; and what once broke
//! the boundary, under the sanitizers and valgrind. A program generated from the header has sixteen threads call every pair of
//! functions on handles that they share.

use super::hostile::{Function, functions, noun};
use super::{Installed, installed, left_out, root, run, small_model, there};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

const WARNINGS: [&str; 9] = [
    "-Wall",
    "-Wextra",
    "-Wpedantic",
    "-Wconversion",
    "-Wsign-conversion",
    "-Wshadow",
    "-Wold-style-cast",
    "-Wnon-virtual-dtor",
    "-Werror",
];
const SANITIZERS: &str = "-fsanitize=address,undefined";

/// g++, and clang++ where it is there: nothing else needs it.
fn compilers() -> Vec<&'static str> {
    let mut found = vec!["g++"];
    if Command::new("clang++").arg("--version").output().is_ok_and(|o| o.status.success()) {
        found.push("clang++");
    } else {
        left_out("clang++ is missing; apt-get install clang");
    }
    found
}

/// A program under valgrind, which must find nothing.
fn valgrind(here: &Installed, program: &Path) -> Command {
    let mut command = here.command(Path::new("valgrind"));
    command.args(["--quiet", "--error-exitcode=9", "--leak-check=full", "--errors-for-leak-kinds=definite"]);
    command.arg("--show-leak-kinds=definite");
    command.args(["--fair-sched=yes", "--num-callers=30"]).arg(program);
    command
}

/// The sanitizers say what they find and end the program.
fn sanitized(here: &Installed, program: &Path) -> Command {
    let mut command = here.command(program);
    command.env("ASAN_OPTIONS", "detect_leaks=1").env("UBSAN_OPTIONS", "halt_on_error=1:print_stacktrace=1");
    command
}

#[test]
fn the_cpp_header_is_clean_under_every_warning_and_links_in_two_files_without_rtti() {
    let here = installed();
    let folder = here.scratch("cpp-header");
    let part = |name: &str, text: &str| {
        let file = folder.join(name);
        std::fs::write(&file, text).unwrap();
        file
    };
    let one = part(
        "one.cpp",
        "#include <causerie.hpp>\n#include <causerie.hpp>\nint two(causerie::config &);\n\
         int main() {\n  causerie::config config;\n  causerie::log([](causerie::log_level, std::string_view) {});\n\
         \x20 try {\n    two(config);\n  } catch (const causerie::invalid_error &e) {\n    config.close();\n    return e.code() - 1;\n  }\n\
         \x20 return 2;\n}\n",
    );
    let two = part(
        "two.cpp",
        "#include <causerie.hpp>\nint two(causerie::config &);\nint two(causerie::config &config) {\n\
         \x20 causerie::log(nullptr);\n  config.set(\"no.such\", 1);\n  return 0;\n}\n",
    );
    // Every member: what is a template is compiled where it is used.
    let surface = root().join("tests/c/surface.cpp");
    for compiler in compilers() {
        for flags in [["-std=c++17", "-fno-rtti"], ["-std=c++20", "-frtti"]] {
            let mut command = Command::new(compiler);
            command.args(WARNINGS).args(flags).args(["-O1", "-fsyntax-only"]);
            run(command.args(here.pkg_config(&["--cflags"])).arg(&surface));
        }
        let program = folder.join(compiler);
        let mut command = Command::new(compiler);
        command.args(WARNINGS).args(["-std=c++17", "-fno-rtti"]).args([&one, &two]);
        run(command.args(here.pkg_config(&["--cflags", "--libs"])).arg("-o").arg(&program));
        run(&mut here.command(&program));
        // What it cannot do without is said in the first error.
        for (flag, says) in [("-fno-exceptions", "exceptions"), ("-std=c++14", "C++17")] {
            let mut command = Command::new(compiler);
            command.args([flag, "-fsyntax-only"]).args(here.pkg_config(&["--cflags"])).arg(&two);
            let output = command.output().unwrap();
            let text = String::from_utf8_lossy(&output.stderr);
            let first = text.lines().find(|l| l.contains("error")).unwrap_or_default();
            assert!(!output.status.success() && first.contains("causerie.hpp") && first.contains(says), "{text}");
        }
    }
}

#[test]
fn a_negative_fraction_or_boolean_top_k_does_not_compile_or_throws() {
    let here = installed();
    let file = here.scratch("cpp-refused").join("refused.cpp");
    for (call, fine) in [
        ("r.recommend(q, 3)", true),
        ("r.recommend(q, -1)", true), // at run time: tests/c/surface.cpp
        ("r.recommend(q, 2.5)", false),
        ("r.recommend(q, true)", false),
        ("r.recommend(q, nullptr)", false),
        ("q.exclude_rows(std::vector<int>{-1})", false),
        ("causerie::query copy = q", false),
    ] {
        let text = format!(
            "#include <causerie.hpp>\nvoid f(const causerie::recommender &r, causerie::query &q) {{ {call}; }}\n"
        );
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new("g++");
        command.args(["-std=c++17", "-fsyntax-only"]).args(here.pkg_config(&["--cflags"])).arg(&file);
        let output = command.output().unwrap();
        assert_eq!(output.status.success(), fine, "{call}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn the_loop_of_docs_cpp_md_compiles_without_a_warning_and_runs() {
    let here = installed();
    let folder = here.scratch("cpp-docs");
    let page = std::fs::read_to_string(root().join("docs/cpp.md")).unwrap();
    let text = page.split("```cpp\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let (source, program) = (folder.join("loop.cpp"), folder.join("loop"));
    std::fs::write(&source, text).unwrap();
    let mut command = Command::new("g++");
    command.args(WARNINGS).arg("-std=c++17").arg(&source).args(here.pkg_config(&["--cflags", "--libs"]));
    run(command.arg("-o").arg(&program));
    let out = run(here.command(&program).arg(&folder));
    assert!(out.contains("5. ") && out.contains("0 rows were bad"), "{out}");
}

/// Errors without a kind, `recommend("text")` read as JSON, -1 as four billion, a shared run that threw: a crash.
#[test]
fn the_cpp_surface_keeps_its_promises_also_under_the_sanitizers_and_valgrind() {
    let here = installed();
    let program = here.compile("g++", "tests/c/surface.cpp", &["-std=c++17"]);
    run(here.command(&program).arg(here.scratch("surface")));
    let sanitizing = here.compile("g++", "tests/c/surface.cpp", &["-std=c++17", SANITIZERS]);
    run(sanitized(here, &sanitizing).arg(here.scratch("surface-asan")));
    if there("valgrind") {
        run(valgrind(here, &program).arg(here.scratch("surface-valgrind")));
    }
}

/// A batch of four billion null rows ended the process; `causerie_embed` without a folder met a dead process's leavings.
#[test]
fn null_rows_and_leavings_of_a_killed_process_are_no_end_of_the_program() {
    let here = installed();
    let program = here.compile("gcc", "tests/c/boundary.c", &["-std=gnu11"]);
    run(here.command(&program).arg(here.scratch("boundary")).arg("bounded"));
    let sanitizing = here.compile("gcc", "tests/c/boundary.c", &["-std=gnu11", SANITIZERS]);
    run(sanitized(here, &sanitizing).arg(here.scratch("boundary-asan")));
    if there("valgrind") {
        run(valgrind(here, &program).arg(here.scratch("boundary-valgrind")));
    }
}

/// An answer of a language model that ran out of time came back empty, and said nothing.
#[test]
fn an_answer_cut_short_by_its_time_says_so_over_c() {
    let here = installed();
    let Some(model) = small_model() else { return };
    let program = here.compile("g++", "tests/c/partial.cpp", &["-std=c++17"]);
    run(here.command(&program).arg(here.scratch("partial")).arg(&model));
}

// ------------------------------------------------------------------------------------------- every pair, sixteen threads

/// Whether a function takes a handle of this noun.
fn takes(function: &Function, of: &str) -> bool {
    function.parameters.iter().any(|p| match p.kind.as_str() {
        "const causerie_recommender *const *" => of == "recommender",
        "const causerie_query *const *" => of == "query",
        kind => noun(kind) == Some(of),
    })
}

const NOUNS: [&str; 12] = [
    "error",
    "config",
    "run",
    "dataset",
    "embeddings",
    "selection",
    "dialogues",
    "model",
    "query",
    "recommender",
    "reply",
    "report",
];

/// What a function of the matrix is given for a parameter: what is good, small, and the thread's own where it is written to.
fn argument(function: &Function, at: usize) -> String {
    let p = &function.parameters[at];
    let kind = p.kind.as_str();
    if let Some(noun) = noun(kind) {
        return if noun == "answer" { "NULL".into() } else { format!("h->{noun}") };
    }
    let has_length = function.parameters.get(at + 1).is_some_and(|next| next.kind == "size_t" && next.name == "len");
    match (kind, p.name.as_str()) {
        ("const causerie_recommender *const *", _) => "&recommender".into(),
        ("const causerie_query *const *", _) => "&query".into(),
        ("causerie_reply **", "replies") => "&made_reply".into(),
        ("const uint64_t *", _) => "rows".into(),
        ("causerie_progress *", _) => "&progress".into(),
        ("const char **", _) => "&told".into(),
        ("size_t *", _) => "&number".into(),
        ("uint64_t *", _) => "&big".into(),
        ("double *", _) => "&real".into(),
        ("float *", _) => "room->floats".into(),
        ("const char *", "request") => "FUNNY".into(),
        ("const char *", "toml") => "\"[select]\\nbudget = 4\\n\"".into(),
        ("const char *", "id") => "item".into(),
        ("const char *", "words" | "title") if has_length => "\"funny\"".into(),
        ("const char *", _) if has_length => "NULL".into(),
        ("const char *", "key") => "\"select.budget\"".into(),
        ("const char *", "value") => "\"4\"".into(),
        ("const char *", "metric") => "\"recall@10\"".into(),
        ("const char *", "store") => "\"f32\"".into(),
        ("const char *", "kind") => "\"q8_0\"".into(),
        ("const char *", "teacher") => "\"mine\"".into(),
        ("const char *", "adapter" | "strategy" | "checkpoint" | "journal") => "NULL".into(),
        ("const char *", _) => "path".into(),
        ("struct ArrowSchema *", _) => "&batch.schema".into(),
        ("struct ArrowArray *", _) => "&batch.array".into(),
        ("struct ArrowArrayStream *", _) => "&batch.stream".into(),
        ("causerie_teacher_fn", _) => "refuse".into(),
        ("causerie_progress_fn", _) => "go_on".into(),
        ("causerie_token_fn", _) => "read_on".into(),
        (made, _) if made.starts_with("causerie_") && made.ends_with("**") => {
            format!("&made_{}", made.trim_start_matches("causerie_").trim_end_matches([' ', '*']))
        }
        ("size_t", "len") => match argument(function, at - 1).as_str() {
            "NULL" => "0".into(),
            text @ ("FUNNY" | "item") => format!("strlen({text})"),
            text => format!("sizeof {text} - 1"),
        },
        ("size_t", "size") => "sizeof progress".into(),
        ("size_t", "count") if function.parameters.iter().any(|p| p.name == "scores") => {
            "causerie_recommender_count(h->recommender)".into()
        }
        ("size_t", "count" | "rows") => "1".into(),
        ("uint64_t", "parts") => "2".into(),
        ("float", _) => "1".into(),
        (pointer, _) if pointer.contains('*') => "NULL".into(),
        _ => "0".into(),
    }
}

/// The table of tests/c/matrix.h: each function of each noun, as a call.
fn matrix(functions: &[Function]) -> String {
    let mut text = String::from("#include \"matrix.h\"\n#pragma GCC diagnostic ignored \"-Wunused-variable\"\n");
    let mut tables = String::new();
    let mut nouns = String::new();
    let mut pairs = 0;
    for of in NOUNS {
        let mut entries = String::new();
        let mut count = 0;
        for function in functions.iter().filter(|f| takes(f, of)) {
            let name = &function.name;
            let frees = name.ends_with("_free");
            let call_name = format!("{of}_of_{name}");
            let arguments: Vec<String> = (0..function.parameters.len()).map(|at| argument(function, at)).collect();
            let call = format!("{name}({})", arguments.join(", "));
            let mut body = String::new();
            let made = ["config", "run", "dataset", "embeddings", "selection", "dialogues", "model", "query"];
            let made = made.iter().chain(&["recommender", "reply", "report"]).copied();
            let made: Vec<&str> = made.filter(|n| call.contains(&format!("&made_{n}"))).collect();
            for n in &made {
                writeln!(body, "  causerie_{n} *made_{n} = NULL;").unwrap();
            }
            writeln!(body, "  char path[600];\n  snprintf(path, sizeof path, \"%s-{}\", room->path);", &name[9..])
                .unwrap();
            if call.contains("&batch.") {
                body += "  struct batch batch;\n  batch_of_one(&batch);\n";
            }
            let end = match function.fallible {
                true => format!("  int32_t code = code_of({call});\n"),
                false => format!("  int32_t code = 0;\n  (void){call};\n"),
            };
            let frees_made: String = made.iter().map(|n| format!("  causerie_{n}_free(made_{n});\n")).collect();
            write!(
                text,
                "static int32_t {call_name}(const struct shelf *h, struct room *room) {{\n  (void)h, (void)room;\n\
                 \x20 const causerie_recommender *recommender = h->recommender;\n  const causerie_query *query = h->query;\n\
                 \x20 const char *told = NULL;\n  size_t number = 0;\n  uint64_t big = 0, rows[1] = {{1}};\n  double real = 0;\n\
                 \x20 causerie_progress progress;\n{body}{end}{frees_made}  return code;\n}}\n"
            )
            .unwrap();
            writeln!(entries, "  {{\"{name}\", {call_name}, {}}},", i32::from(frees)).unwrap();
            count += 1;
        }
        assert!(count > 1, "no function takes a causerie_{of}");
        pairs += count * (count + 1) / 2;
        write!(tables, "static const struct entry of_{of}[] = {{\n{entries}}};\n").unwrap();
        writeln!(nouns, "  {{\"{of}\", of_{of}, sizeof of_{of} / sizeof of_{of}[0]}},").unwrap();
    }
    assert!(pairs > 1000, "{pairs} pairs");
    write!(text, "{tables}const struct noun nouns[] = {{\n{nouns}}};\n").unwrap();
    text + "const size_t noun_count = sizeof nouns / sizeof nouns[0];\n"
}

/// Compiles the matrix with `flags`.
fn matrix_program(here: &Installed, name: &str, flags: &[&str]) -> PathBuf {
    let header = std::fs::read_to_string(root().join("include/causerie.h")).unwrap();
    let folder = here.scratch(name);
    let source = folder.join("calls.c");
    std::fs::write(&source, matrix(&functions(&header))).unwrap();
    let program = folder.join("matrix");
    let mut command = Command::new("gcc");
    command.args(["-g", "-O1", "-std=gnu11", "-Wall", "-Wextra", "-Werror"]).args(flags).arg(&source);
    command.arg(root().join("tests/c/matrix.c")).arg("-I").arg(root().join("tests/c"));
    run(command.args(here.pkg_config(&["--cflags", "--libs"])).args(["-lpthread", "-o"]).arg(&program));
    program
}

/// Five seconds for each of two programs, and what the functions that take long need besides: CAUSERIE_MATRIX_SECONDS=30 and
/// more tries harder.
#[test]
fn sixteen_threads_on_every_pair_of_functions_are_served_busy_or_closed_and_nothing_else() {
    let here = installed();
    let seconds = std::env::var("CAUSERIE_MATRIX_SECONDS").unwrap_or_else(|_| "5".into());
    let program = matrix_program(here, "matrix", &[]);
    let out = run(here.command(&program).arg(here.scratch("matrix-run")).arg(&seconds));
    assert!(out.contains("pairs"), "{out}");
    println!("{out}");
    let program = matrix_program(here, "matrix-asan", &[SANITIZERS]);
    run(sanitized(here, &program).arg(here.scratch("matrix-asan-run")).arg(&seconds));
}
