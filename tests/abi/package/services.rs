//! The services of `examples/`, run as their users run them.

use super::{Installed, installed, run, there};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Duration;

/// A finished work directory of a small simulated domain.
fn finished(here: &Installed) -> PathBuf {
    let work = here.scratch("finished");
    let run = causerie::Run::new(1).unwrap();
    let mut config = causerie::pipeline::demo_defaults();
    for (key, value) in [
        ("simulate.items", "60"),
        ("simulate.users", "200"),
        ("simulate.reviews", "600"),
        ("simulate.conversations", "40"),
        ("embed.dim", "16"),
        ("embed.user_dim", "8"),
        ("pipeline.strategies", "random"),
        ("pipeline.budget", "20"),
        ("pipeline.rounds", "1"),
        ("pipeline.naive", "false"),
        ("evaluate.bootstrap", "100"),
        ("tune.method", "head"),
    ] {
        config.set(key, value).unwrap();
    }
    let config = causerie::pipeline::demo_config(&work, &config, &run).unwrap();
    causerie::pipeline::pipeline(&config, &work, false, &run).unwrap();
    work
}

/// What a client reads whose body is longer than what a service reads at once.
fn refused_before_its_body(address: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let head = "POST /elsewhere HTTP/1.1\r\nHost: t\r\nConnection: close\r\nContent-Length: 65536\r\n\r\n";
    // A service that refuses at the head and closes over the rest resets the connection, often before this is written.
    let _ = stream.write_all(&[head.as_bytes(), &[b' '; 65536]].concat());
    std::thread::sleep(Duration::from_millis(300));
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// A service that does not outlive a test that failed.
struct Service(Child);

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A service as its users run it: it says where it listens, answers, and ends well on SIGTERM.
fn serves(mut command: Command) {
    let mut service = Service(command.stderr(std::process::Stdio::piped()).spawn().unwrap());
    let mut said = BufReader::new(service.0.stderr.take().unwrap()).lines();
    let line = said.next().unwrap().unwrap();
    let address =
        line.split("http://").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or_else(|| panic!("{line}"));
    let ask = |path: &str, body: &str| {
        let mut stream = TcpStream::connect(address).unwrap();
        // A service that keeps an answered connection open fails here; it once did.
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let length = body.len();
        // In pieces, as a client may: a service that refuses at the first line closes over the rest unless it takes care.
        write!(
            stream,
            "POST {path} HTTP/1.1\r\nHost: t\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let turns = "[{\"role\": \"user\", \"text\": \"something funny and moving\"}]";
    let answer = ask("/recommend", &format!("{{\"turns\": {turns}}}"));
    assert!(answer.starts_with("HTTP/1.1 200") && answer.to_lowercase().matches("\"title\"").count() == 10, "{answer}");
    assert!(ask("/recommend", "{\"turns\": 7}").starts_with("HTTP/1.1 400"));
    assert!(ask("/elsewhere", "{}").starts_with("HTTP/1.1 404"));
    assert!(refused_before_its_body(address).starts_with("HTTP/1.1 404"));
    // A client that connected and says nothing does not keep it from ending.
    let silent = TcpStream::connect(address).unwrap();
    run(Command::new("kill").arg("-TERM").arg(service.0.id().to_string()));
    drop(silent);
    let rest: Vec<String> = said.map_while(Result::ok).collect();
    let status = service.0.wait().unwrap();
    assert!(status.success(), "{status}: {rest:?}");
}

#[test]
fn services_in_cpp_and_go_answer_and_end_well_on_sigterm() {
    let here = installed();
    let work = finished(here);
    let mut command = here.command(&here.compile("g++", "examples/cpp/service.cpp", &["-std=c++17"]));
    command.arg(&work).arg("0");
    serves(command);
    if !there("go") {
        return;
    }
    let program = here.folder.path().join("go-service");
    run(here.go("examples/go", &["build", "-o"]).arg(&program).arg("./service"));
    let mut command = here.command(&program);
    command.arg("-work").arg(&work).args(["-listen", "127.0.0.1:0"]);
    serves(command);
}
