use super::*;
use crate::ErrorKind;

/// A header in bytes, built by hand from the format's description.
struct Builder {
    entries: Vec<Vec<u8>>,
    tensors: Vec<Vec<u8>>,
    data_bytes: usize,
}

fn text(t: &str) -> Vec<u8> {
    [&(t.len() as u64).to_le_bytes()[..], t.as_bytes()].concat()
}

impl Builder {
    fn new() -> Builder {
        Builder { entries: Vec::new(), tensors: Vec::new(), data_bytes: 0 }
    }
    fn entry(mut self, key: &str, kind: u32, value: &[u8]) -> Builder {
        self.entries.push([&text(key)[..], &kind.to_le_bytes(), value].concat());
        self
    }
    fn texts(self, key: &str, values: &[&str]) -> Builder {
        let mut bytes = [&8u32.to_le_bytes()[..], &(values.len() as u64).to_le_bytes()].concat();
        values.iter().for_each(|v| bytes.extend(text(v)));
        self.entry(key, 9, &bytes)
    }
    fn tensor(mut self, name: &str, dims: &[u64], kind: u32, offset: u64, bytes: usize) -> Builder {
        let mut out = text(name);
        out.extend((dims.len() as u32).to_le_bytes());
        dims.iter().for_each(|d| out.extend(d.to_le_bytes()));
        out.extend(kind.to_le_bytes());
        out.extend(offset.to_le_bytes());
        self.tensors.push(out);
        self.data_bytes = offset as usize + bytes;
        self
    }
    fn bytes(&self) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(3u32.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.entries.len() as u64).to_le_bytes());
        self.entries.iter().chain(&self.tensors).for_each(|part| out.extend(part));
        if self.data_bytes > 0 {
            out.resize(out.len().next_multiple_of(32) + self.data_bytes, 0);
        }
        out
    }
    fn read(&self) -> Result<Gguf> {
        parse(&self.bytes())
    }
}

fn parse(bytes: &[u8]) -> Result<Gguf> {
    Gguf::read(bytes, bytes.len() as u64, Path::new("test.gguf"))
}

#[test]
fn a_header_comes_back_as_it_was_written() {
    let file = Builder::new()
        .entry("general.architecture", 8, &text("llama"))
        .entry("llama.block_count", 4, &5u32.to_le_bytes())
        .entry("eps", 6, &1e-5f32.to_le_bytes())
        .texts("tokenizer.ggml.tokens", &["a", "b"])
        .tensor("x", &[32, 2], 8, 0, 68)
        .tensor("y", &[3], 0, 96, 12);
    let gguf = file.read().unwrap();
    assert_eq!(gguf.architecture().unwrap(), "llama");
    assert_eq!(gguf.integer("llama.block_count").unwrap(), Some(5));
    assert_eq!(gguf.float("eps").unwrap(), Some(f64::from(1e-5f32)));
    assert_eq!(gguf.texts("tokenizer.ggml.tokens").unwrap().unwrap(), ["a", "b"]);
    let y = gguf.tensor("y").unwrap();
    assert_eq!((y.dims.as_slice(), y.kind, y.bytes), ([3u64].as_slice(), GgmlType::F32, 12));
    assert_eq!(y.offset, gguf.data_offset() + 96);
    assert_eq!(gguf.tensor("x").unwrap().bytes, 2 * 34);
    assert!(gguf.text("llama.block_count").unwrap_err().message().contains("expected is a text"));
}

#[test]
fn every_truncation_is_refused() {
    let file = Builder::new()
        .entry("general.architecture", 8, &text("llama"))
        .texts("tokenizer.ggml.tokens", &["a", "b"])
        .tensor("x", &[32, 2], 8, 0, 68);
    let bytes = file.bytes();
    parse(&bytes).unwrap();
    for length in 0..bytes.len() {
        assert_eq!(parse(&bytes[..length]).unwrap_err().kind(), ErrorKind::Format, "{length} bytes");
    }
}

#[test]
fn lies_about_sizes_are_refused_before_memory_is_taken() {
    let huge = u64::MAX.to_le_bytes();
    let list = |kind: u32| [&kind.to_le_bytes()[..], &huge].concat();
    for (what, file) in [
        ("text", Builder::new().entry("a", 8, &huge)),
        ("list of texts", Builder::new().entry("a", 9, &list(8))),
        ("list of floats", Builder::new().entry("a", 9, &list(6))),
        ("nested list", Builder::new().entry("a", 9, &list(9))),
        ("unknown type", Builder::new().entry("a", 13, &huge)),
        ("twice", Builder::new().entry("a", 4, &[0; 4]).entry("a", 4, &[0; 4])),
        ("alignment", Builder::new().entry("general.alignment", 4, &3u32.to_le_bytes())),
        ("overflow", Builder::new().tensor("x", &[1 << 40, 1 << 40], 0, 0, 8)),
        ("half a block", Builder::new().tensor("x", &[33], 8, 0, 68)),
        ("outside", Builder::new().tensor("x", &[1 << 20], 0, 0, 8)),
        ("gap", Builder::new().tensor("x", &[8], 0, 32, 32)),
        ("overlap", Builder::new().tensor("x", &[8], 0, 0, 32).tensor("y", &[8], 0, 0, 32)),
        ("same name", Builder::new().tensor("x", &[8], 0, 0, 32).tensor("x", &[8], 0, 32, 32)),
    ] {
        assert_eq!(file.read().unwrap_err().kind(), ErrorKind::Format, "{what}");
    }
    let mut many = Builder::new().bytes();
    many[8..16].copy_from_slice(&huge);
    assert!(parse(&many).unwrap_err().message().contains("number of tensors"));
}

/// A model whose header llama.cpp would accept; `change` breaks it.
fn model(change: impl Fn(Builder) -> Builder) -> Result<()> {
    let mut tokens: Vec<String> = vec!["<unk>".into(), "<s>".into(), "</s>".into()];
    tokens.extend((0..256).map(|b| format!("<0x{b:02X}>")));
    let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
    let file = Builder::new()
        .entry("general.architecture", 8, &text("llama"))
        .entry("llama.context_length", 4, &64u32.to_le_bytes())
        .entry("tokenizer.ggml.model", 8, &text("llama"))
        .texts("tokenizer.ggml.tokens", &tokens)
        .tensor("x", &[32, 2], 8, 0, 68);
    change(file).read()?.check_model()
}

fn sizes(file: Builder, layers: u32, heads: u32, epsilon: f32) -> Builder {
    file.entry("llama.block_count", 4, &layers.to_le_bytes())
        .entry("llama.embedding_length", 4, &64u32.to_le_bytes())
        .entry("llama.attention.head_count", 4, &heads.to_le_bytes())
        .entry("llama.attention.layer_norm_rms_epsilon", 6, &epsilon.to_le_bytes())
}

#[test]
fn headers_that_abort_llama_cpp_are_refused() {
    model(|f| sizes(f, 1, 8, 1e-5)).unwrap();
    for (what, wanted, result) in [
        ("absurd layers", "block_count", model(|f| sizes(f, 100_000, 8, 1e-5))),
        ("more layers than tensors", "block_count", model(|f| sizes(f, 7, 8, 1e-5))),
        ("no layers", "block_count", model(|f| sizes(f, 0, 8, 1e-5))),
        ("no heads", "head_count", model(|f| sizes(f, 1, 0, 1e-5))),
        ("a negative epsilon", "epsilon", model(|f| sizes(f, 1, 8, -1e-5))),
        ("a NaN epsilon", "epsilon", model(|f| sizes(f, 1, 8, f32::NAN))),
        (
            "a scaling that is unknown",
            "rope.scaling.type",
            model(|f| sizes(f, 1, 8, 1e-5).entry("llama.rope.scaling.type", 8, &text("magic"))),
        ),
        (
            "no bytes",
            "byte <0x00>",
            model(|mut f| {
                f.entries.pop();
                sizes(f, 1, 8, 1e-5).texts("tokenizer.ggml.tokens", &["<unk>", "<s>", "</s>"])
            }),
        ),
        (
            "the same token twice",
            "twice",
            model(|mut f| {
                f.entries.pop();
                sizes(f, 1, 8, 1e-5).texts("tokenizer.ggml.tokens", &["a", "b", "a"])
            }),
        ),
        ("an integer weight", "no weight", model(|f| sizes(f, 1, 8, 1e-5).tensor("y", &[4], 26, 96, 16))),
    ] {
        let e = result.expect_err(what);
        assert!(e.message().contains(wanted), "{what}: {e}");
    }
}

proptest::proptest! {
    #[test]
    fn flipped_bytes_never_panic(flips in proptest::collection::vec((0usize..4000, 0u8..=255), 1..6)) {
        let file = Builder::new()
            .entry("general.architecture", 8, &text("llama"))
            .entry("llama.block_count", 4, &1u32.to_le_bytes())
            .texts("tokenizer.ggml.tokens", &["a", "b"])
            .tensor("x", &[32, 2], 8, 0, 68);
        let mut bytes = file.bytes();
        for (at, value) in flips {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        if let Ok(gguf) = parse(&bytes) {
            let _ = gguf.check_model();
        }
    }
}
