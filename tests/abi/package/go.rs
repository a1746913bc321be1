//! The Go binding, its tests, its examples and the program of its page, as Go's own tool builds and runs them.

use super::{installed, root, run, there};
use std::path::Path;
use std::process::Command;

#[test]
fn go_runs_the_loop_and_its_tests_under_the_race_detector() {
    if !there("go") {
        return;
    }
    let here = installed();
    run(&mut here.go("bindings/go", &["vet", "./..."]));
    // The matrix of all pairs of methods runs for as long as CAUSERIE_MATRIX_SECONDS says.
    run(&mut here.go("bindings/go", &["test", "-race", "-count=1", "-timeout=20m", "./..."]));
    run(&mut here.go("examples/go", &["vet", "./..."]));
    let out = run(here.go("examples/go", &["run", "./loop"]).arg(here.scratch("go")));
    assert!(out.contains("Recall@10"), "{out}");
}

#[test]
fn go_sources_are_formatted() {
    if !there("gofmt") {
        return;
    }
    let out = run(Command::new("gofmt").arg("-l").args(["bindings/go", "examples/go"]).current_dir(root()));
    assert!(out.is_empty(), "gofmt -w these: {out}");
}

/// The fenced Go program of a page.
fn program(page: &str) -> String {
    let text = std::fs::read_to_string(root().join(page)).unwrap();
    let from = text.split("```go\n").nth(1).unwrap_or_else(|| panic!("{page} has no Go program"));
    from.split("```").next().unwrap().to_string()
}

/// A page whose program no longer compiled told its readers something else.
#[test]
fn the_loop_of_the_go_page_builds_in_a_module_of_its_own_and_runs() {
    if !there("go") {
        return;
    }
    let here = installed();
    let (module, data) = (here.scratch("go-page"), here.scratch("go-page-data"));
    let source = format!(
        "package main\n\nimport (\n\t\"causerie\"\n\t\"context\"\n\t\"fmt\"\n\t\"log\"\n\t\"os\"\n)\n\n{}\nfunc main() {{\n\
         \tctx := context.Background()\n\
         \tconfig, err := causerie.NewConfig(\"[simulate]\\nitems = 60\\nusers = 100\\nreviews = 600\")\n\
         \tif err == nil {{\n\t\terr = causerie.Simulate(ctx, config, os.Args[1])\n\t}}\n\
         \tif err == nil {{\n\t\terr = loop(ctx, os.Args[1])\n\t}}\n\
         \tif err != nil {{\n\t\tlog.Fatal(err)\n\t}}\n}}\n",
        program("docs/go.md")
    );
    std::fs::write(module.join("main.go"), source).unwrap();
    // As the page says; without a network, too.
    let go = |arguments: &[&str]| {
        let mut command = here.go("bindings/go", arguments);
        command.current_dir(&module);
        command
    };
    let replace = format!("causerie={}", root().join("bindings/go").display());
    run(&mut go(&["mod", "init", "service"]));
    run(&mut go(&["mod", "edit", "-require", "causerie@v0.0.0", "-replace", &replace]));
    run(&mut go(&["mod", "tidy"]));
    run(&mut go(&["vet", "."]));
    let out = run(go(&["run", "."]).arg(&data));
    assert!(out.contains("1. ") && out.contains("5. "), "{out}");
    assert!(Path::new(&data).join("journal.jsonl").exists());
}
