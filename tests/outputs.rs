//! Where a command writes: devices, pipes, links, full disks; two processes at one file; reviews that say nothing.

use std::path::Path;
use std::process::{Command, Output, Stdio};

fn causerie(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_causerie")).args(arguments).output().unwrap()
}

fn ok(arguments: &[&str]) -> String {
    let output = causerie(arguments);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {told}");
    format!("{}{told}", String::from_utf8_lossy(&output.stdout))
}

/// A safetensors file of one f32 tensor `embeddings`, 40 x 3.
fn rows(path: &Path) {
    let values = (0..120).flat_map(|i| (i as f32 * 0.7).sin().to_le_bytes()).collect::<Vec<u8>>();
    let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![40, 3], &values).unwrap();
    std::fs::write(path, safetensors::serialize([("embeddings", view)], None).unwrap()).unwrap();
}

/// `--out /dev/stdout` and the like were replaced by a regular file, or left one beside the device.
#[test]
#[cfg(target_os = "linux")]
fn outputs_that_are_no_regular_files_are_written_through_and_stay_what_they_are() {
    use std::os::unix::fs::FileTypeExt;
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    rows(Path::new(&at("x")));
    let x = at("x");
    let select = |out: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_causerie"));
        command.args(["select", "--embeddings", &x, "--strategy", "random", "--budget", "5", "--out", out]);
        command
    };
    assert!(select(&at("plain")).status().unwrap().success());
    let plain = std::fs::read_to_string(at("plain")).unwrap();
    assert_eq!(plain.lines().count(), 5);
    for out in ["/dev/stdout", "/proc/self/fd/1", "/dev/fd/1"] {
        // A pipe, and a file that is added to: its picks alone, what is said of them goes to stderr.
        assert_eq!(String::from_utf8(select(out).output().unwrap().stdout).unwrap(), plain, "{out}");
        std::fs::write(at("log"), "before\n").unwrap();
        let log = std::fs::File::options().append(true).open(at("log")).unwrap();
        assert!(select(out).stdout(Stdio::from(log)).status().unwrap().success());
        assert_eq!(std::fs::read_to_string(at("log")).unwrap(), format!("before\n{plain}"), "{out}");
    }
    assert!(select("/dev/null").status().unwrap().success());
    let full = select("/dev/full").output().unwrap();
    assert!(!full.status.success() && String::from_utf8_lossy(&full.stderr).contains("/dev/full"));
    for device in ["/dev/null", "/dev/full"] {
        assert!(std::fs::symlink_metadata(device).unwrap().file_type().is_char_device());
    }
    assert!(Command::new("mkfifo").arg(at("pipe")).status().unwrap().success());
    let writer = select(&at("pipe")).spawn().unwrap();
    assert_eq!(std::fs::read_to_string(at("pipe")).unwrap(), plain);
    assert!(writer.wait_with_output().unwrap().status.success());
    assert!(std::fs::symlink_metadata(at("pipe")).unwrap().file_type().is_fifo());
    std::os::unix::fs::symlink("elsewhere", at("link")).unwrap();
    assert!(select(&at("link")).status().unwrap().success());
    assert!(Path::new(&at("link")).is_symlink());
    assert_eq!(std::fs::read_to_string(at("elsewhere")).unwrap(), plain);
    // What must seek says so.
    let refused = causerie(&["pack", "--embeddings", &x, "--store", "f16", "--out", "/dev/stdout"]);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && told.contains("needs a regular file"), "{told}");
    let mut left: Vec<String> =
        std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    left.sort();
    assert_eq!(left, ["elsewhere", "link", "log", "pipe", "plain", "x"]);
}

/// A review that the embedder knows nothing of ("Lindo", an emoji, stop words only) stopped `embed` and `run`.
#[test]
fn a_review_without_a_known_word_stops_no_run() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let kinds = ["ghost blood scream night haunted house", "funny joke comedy laugh silly wedding"];
    let mut items = String::new();
    let mut reviews = String::new();
    for item in 0..12 {
        items.push_str(&format!(
            "{{\"item\": \"i{item}\", \"title\": \"Tale number {item}\", \"genres\": [\"g{}\"]}}\n",
            item % 2
        ));
        for user in 0..10 {
            let words: Vec<&str> = kinds[item % 2].split(' ').collect();
            let text: Vec<&str> = (0..8).map(|n| words[(n * user + item) % 6]).collect();
            let text = format!("{} one of those with the twist at the end", text.join(" "));
            reviews.push_str(&format!(
                "{{\"item\": \"i{item}\", \"user\": \"u{user}\", \"rating10\": 8, \"text\": \"{text}\"}}\n"
            ));
        }
    }
    std::fs::write(at("items.jsonl"), items).unwrap();
    for (name, text) in [("emoji", "\u{1f60d}"), ("word", "Zxqv"), ("script", "とても"), ("stop", "it was the")] {
        let file = at(&format!("{name}.jsonl"));
        std::fs::write(&file, format!("{{\"item\": \"i3\", \"user\": \"u77\", \"text\": \"{text}\"}}\n{reviews}"))
            .unwrap();
        let (reviews, items) = (format!("dataset.reviews={file}"), format!("dataset.items={}", at("items.jsonl")));
        for strategies in ["fisher", "js", "metadata_fisher", "random"] {
            let work = at(&format!("work-{name}-{strategies}"));
            let strategies = format!("pipeline.strategies={strategies}");
            let sets = [&reviews, &items, "pipeline.budget=8", &strategies].map(|set| ["--set", set]);
            ok(&[&["run", "--work", &work][..], sets.as_flattened()].concat());
            let report = std::fs::read_to_string(Path::new(&work).join("report.json")).unwrap();
            assert!(!report.contains("NaN"), "{name}");
        }
        // And a conversation without a known word is answered.
        let talk = at("talk.jsonl");
        let turn = format!("{{\"role\": \"user\", \"text\": \"{text}\"}}");
        std::fs::write(&talk, format!("{{\"id\": \"c\", \"turns\": [{turn}]}}\n")).unwrap();
        let told = ok(&["recommend", "--work", &at(&format!("work-{name}-fisher")), "--conversations", &talk]);
        assert!(told.contains("\"items\":[{"), "{told}");
    }
}

/// Two `causerie embed` at one output: one does the work, the other is told so, and no row is zeros.
#[test]
fn two_processes_at_one_output_leave_it_whole() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    ok(&[
        "simulate",
        "--out",
        &at("domain"),
        "--set",
        "simulate.items=60",
        "--set",
        "simulate.users=200",
        "--set",
        "simulate.reviews=3000",
        "--set",
        "simulate.conversations=5",
    ]);
    let reviews = format!("dataset.reviews={}", at("domain/reviews.jsonl"));
    ok(&["import", "--items", &at("domain/items.jsonl"), "--set", &reviews, "--out", &at("data")]);
    let data = at("data");
    let embed = |out: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_causerie"));
        command.args(["embed", "--dataset", &data, "--out", out]);
        command
    };
    assert!(embed(&at("alone")).output().unwrap().status.success());
    let out = at("shared");
    let started: Vec<_> =
        (0..3).map(|_| embed(&out).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap()).collect();
    let ended: Vec<Output> = started.into_iter().map(|child| child.wait_with_output().unwrap()).collect();
    assert!(ended.iter().any(|output| output.status.success()));
    for output in ended.iter().filter(|output| !output.status.success()) {
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(told.contains("another process is writing it"), "{told}");
    }
    assert_eq!(std::fs::read(&out).unwrap(), std::fs::read(at("alone")).unwrap());
}
