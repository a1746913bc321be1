//! The student's arithmetic against PyTorch, transformers and PEFT: logits, hidden states, loss, every gradient (full and
//! LoRA), and three AdamW steps with warm-up, decay and clipping, for each architecture, within 1e-4 relative.
//!
//! The reference tensors come from `tests/oracle/make_fixtures.py` (its README.txt names them). More folders of the same
//! layout are read from the folder that `CAUSERIE_ORACLE_DIR` names.

use causerie::Run;
use causerie::math::packed::Arithmetic;
use causerie::transformer::{AdamW, AdamWSettings, Batch, Grads, Keep, Model, Schedule, TensorId};
use safetensors::SafeTensors;
use std::path::{Path, PathBuf};

/// Largest difference allowed, relative to the largest value of the tensor.
const TOLERANCE: f64 = 1e-4;

struct Fixture {
    name: String,
    bytes: Vec<u8>,
}

impl Fixture {
    fn open(folder: &Path, file: &str) -> Fixture {
        let path = folder.join(file);
        let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        Fixture { name: folder.file_name().unwrap().to_string_lossy().into_owned(), bytes }
    }
    fn shape(&self, name: &str) -> Vec<usize> {
        SafeTensors::deserialize(&self.bytes).unwrap().tensor(name).unwrap().shape().to_vec()
    }
    fn floats(&self, name: &str) -> Vec<f32> {
        let file = SafeTensors::deserialize(&self.bytes).unwrap();
        let tensor = file.tensor(name).unwrap_or_else(|e| panic!("{}: {name}: {e}", self.name));
        tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    }
    fn integers(&self, name: &str) -> Vec<i64> {
        let file = SafeTensors::deserialize(&self.bytes).unwrap();
        file.tensor(name).unwrap().data().chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap())).collect()
    }
    fn names(&self, prefix: &str) -> Vec<String> {
        let file = SafeTensors::deserialize(&self.bytes).unwrap();
        file.names().into_iter().filter_map(|n| n.strip_prefix(prefix)).map(str::to_string).collect()
    }
    fn compare(&self, name: &str, ours: &[f32]) {
        compare(&format!("{} {name}", self.name), ours, &self.floats(name));
    }
}

fn compare(what: &str, ours: &[f32], theirs: &[f32]) {
    assert_eq!(ours.len(), theirs.len(), "{what}: number of values");
    let largest = theirs.iter().fold(0f64, |a, v| a.max(f64::from(v.abs())));
    for (i, (a, b)) in ours.iter().zip(theirs).enumerate() {
        let error = (f64::from(*a) - f64::from(*b)).abs();
        assert!(error <= TOLERANCE * largest, "{what}[{i}]: {a}, PyTorch has {b} (largest {largest})");
    }
}

/// [`compare`] for weights moved by Adam. Adam divides each gradient by its own size, so where a gradient is itself only
/// rounding (a bias of k under a slow rotation: softmax does not see it), the update is a rounding's sign. A gradient
/// known to within `ROUNDING` of the tensor's largest leaves an update of `rate` times ROUNDING * largest / |gradient|
/// open, and never more than twice `rate`.
fn compare_moved(what: &str, ours: &[f32], theirs: &[f32], gradient: &[f32], rate: f32) {
    const ROUNDING: f32 = 2e-6;
    let top = |values: &[f32]| values.iter().fold(0f32, |a, v| a.max(v.abs()));
    let (largest, steepest) = (top(theirs), top(gradient));
    for (i, ((a, b), g)) in ours.iter().zip(theirs).zip(gradient).enumerate() {
        let open = rate * (ROUNDING * steepest / g.abs()).min(2.0);
        let open = if g.abs() > 0.0 { open } else { 0.0 };
        let allowed = TOLERANCE as f32 * largest + open;
        assert!((a - b).abs() <= allowed, "{what}[{i}]: {a}, PyTorch has {b} (gradient {g} of {steepest}, {allowed})");
    }
}

fn close(what: &str, ours: f64, theirs: f32) {
    let error = (ours - f64::from(theirs)).abs();
    assert!(error <= TOLERANCE * f64::from(theirs).abs() + 1e-12, "{what}: {ours}, PyTorch has {theirs}");
}

fn folders() -> Vec<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle");
    let mut folders: Vec<PathBuf> = ["llama", "qwen2", "qwen3", "gemma2"].iter().map(|a| own.join(a)).collect();
    if let Some(further) = std::env::var_os("CAUSERIE_ORACLE_DIR") {
        let entries = std::fs::read_dir(&further).unwrap_or_else(|e| panic!("CAUSERIE_ORACLE_DIR: {e}"));
        let mut more: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
        more.retain(|p| p.join("fixture.safetensors").exists());
        assert!(!more.is_empty(), "CAUSERIE_ORACLE_DIR holds no fixture folders");
        more.sort();
        folders.extend(more);
    }
    folders
}

/// The fixture's batch without its padding, and the rows of the padded tensors that are real.
fn batch(fixture: &Fixture) -> (Batch, Vec<usize>) {
    let shape = fixture.shape("input_ids");
    let (ids, mask) = (fixture.integers("input_ids"), fixture.integers("attention_mask"));
    let labels = fixture.integers("labels");
    let (mut batch, mut rows) = (Batch::default(), Vec::new());
    for sequence in 0..shape[0] {
        let at = sequence * shape[1]..(sequence + 1) * shape[1];
        let real: Vec<usize> = at.filter(|i| mask[*i] == 1).collect();
        let tokens: Vec<u32> = real.iter().map(|i| ids[*i] as u32).collect();
        let trained: Vec<bool> = real.iter().map(|i| labels[*i] != -100).collect();
        batch.push(&tokens, &trained);
        rows.extend(real);
    }
    (batch, rows)
}

fn pick(padded: &[f32], rows: &[usize], width: usize) -> Vec<f32> {
    rows.iter().flat_map(|r| &padded[r * width..(r + 1) * width]).copied().collect()
}

/// Everything that the fixture says of `model`, under `tag` (`full` or `lora`), gradients and steps included.
fn check(model: &mut Model, inputs: &Fixture, fixture: &Fixture, after: &Fixture, tag: &str) {
    let (batch, rows) = batch(inputs);
    let (dim, vocabulary) = (model.config.dim, model.config.vocabulary);
    let key = |name: &str| format!("{tag}.{name}");

    // Hidden states, logits, pooled states.
    let forward = model.forward(&batch, Keep::Inputs, None).unwrap();
    let hidden = model.final_norm(&forward.state);
    let expected = pick(&fixture.floats(&key("last_hidden")), &rows, dim);
    compare(&format!("{} {tag} last hidden", fixture.name), &hidden, &expected);
    let expected = pick(&fixture.floats(&key("logits")), &rows, vocabulary);
    compare(&format!("{} {tag} logits", fixture.name), &model.logits(&hidden), &expected);
    let pooled: Vec<f32> = batch
        .segments
        .iter()
        .flat_map(|s| {
            let hidden = &hidden;
            (0..dim).map(move |d| s.rows.clone().map(|r| hidden[r * dim + d]).sum::<f32>() / s.rows.len() as f32)
        })
        .collect();
    fixture.compare(&key("mean_pooled"), &pooled);
    if tag == "full" {
        for layer in [0, 1] {
            let expected = pick(&fixture.floats(&format!("full.hidden.{layer}")), &rows, dim);
            compare(&format!("{} hidden {layer}", fixture.name), forward.layer_input(layer), &expected);
        }
    }

    // The loss and every gradient; with and without recomputation.
    let loss = model.loss(&forward, &batch);
    close("loss", loss.mean(), fixture.floats(&key("loss"))[0]);
    let scale = 1.0 / batch.targets.len() as f32;
    let family = model.config.family;
    let ids = |model: &Model| -> Vec<(String, TensorId)> {
        let trained = model.tensors.iter().enumerate().filter(|(_, t)| t.trained);
        trained.map(|(id, t)| (t.place.hf_name(family), id)).collect()
    };
    let mut expected_names = fixture.names(&key("grad."));
    let mut our_names: Vec<String> = ids(model).into_iter().map(|(name, _)| name).collect();
    expected_names.sort();
    our_names.sort();
    assert_eq!(our_names, expected_names, "{} {tag}: the trained tensors", fixture.name);
    for keep in [Keep::Inputs, Keep::All] {
        let mut grads = Grads::new(&model.tensors);
        let again = model.loss_and_gradients(&batch, keep, None, scale, &mut grads).unwrap();
        close("loss of the backward pass", again.mean(), fixture.floats(&key("loss"))[0]);
        for (name, id) in ids(model) {
            fixture.compare(&key(&format!("grad.{name}")), grads.get(id).unwrap());
        }
    }

    // Three steps: lr 1e-3, decay 0.01, clipping at 1, 2 steps of warm-up of 6.
    let mut adam = AdamW::new(AdamWSettings { decay: 0.01, ..AdamWSettings::default() }, model.tensors.len());
    let (losses, norms) = (fixture.floats(&key("steps.loss")), fixture.floats(&key("steps.grad_norm")));
    let rates = fixture.floats(&key("steps.lr"));
    for step in 0..3 {
        let mut grads = Grads::new(&model.tensors);
        let loss = model.loss_and_gradients(&batch, Keep::Inputs, None, scale, &mut grads).unwrap();
        let rate = 1e-3 * Schedule::Linear.factor(step as u64, 2, 6);
        let norm = grads.norm();
        close(&format!("{} {tag} loss of step {step}", fixture.name), loss.mean(), losses[step]);
        close(&format!("{} {tag} gradient norm of step {step}", fixture.name), norm, norms[step]);
        close("learning rate", rate, rates[step]);
        adam.step(&mut model.tensors, &grads, rate, AdamW::clip_factor(norm, 1.0));
    }
    let forward = model.forward(&batch, Keep::Nothing, None).unwrap();
    close("loss after the steps", model.loss(&forward, &batch).mean(), fixture.floats(&key("after.loss"))[0]);
    for (name, id) in ids(model) {
        let what = format!("{} {tag} after the steps, {name}", fixture.name);
        let gradient = fixture.floats(&key(&format!("grad.{name}")));
        let theirs = after.floats(&key(&format!("after.{name}")));
        compare_moved(&what, model.tensors[id].floats().unwrap(), &theirs, &gradient, rates.iter().sum());
    }
}

#[test]
fn full_fine_tuning_agrees_with_pytorch() {
    for folder in folders() {
        Run::new(2).unwrap().install(|| {
            let mut model = Model::from_hf(&folder).unwrap();
            model.train_all(false);
            let fixture = Fixture::open(&folder, "fixture.safetensors");
            check(&mut model, &fixture, &fixture, &Fixture::open(&folder, "fixture_after.safetensors"), "full");
        });
    }
}

#[test]
fn lora_agrees_with_peft() {
    for folder in folders() {
        Run::new(2).unwrap().install(|| {
            let mut model = Model::from_hf(&folder).unwrap();
            model.add_peft(&folder.join("adapter")).unwrap();
            let lora = Fixture::open(&folder, "fixture_lora.safetensors");
            check(&mut model, &Fixture::open(&folder, "fixture.safetensors"), &lora, &lora, "lora");
        });
    }
}

#[test]
fn greedy_decoding_gives_the_same_tokens() {
    for folder in folders() {
        Run::new(1).unwrap().install(|| {
            let model = Model::from_hf(&folder).unwrap();
            let fixture = Fixture::open(&folder, "fixture.safetensors");
            let expected: Vec<u32> = fixture.integers("greedy").into_iter().map(|t| t as u32).collect();
            let mut tokens = expected[..8].to_vec();
            while tokens.len() < expected.len() {
                let mut batch = Batch::default();
                batch.push(&tokens, &vec![false; tokens.len()]);
                let forward = model.forward(&batch, Keep::Nothing, None).unwrap();
                let last = forward.state.len() - model.config.dim;
                let logits = model.logits(&model.final_norm(&forward.state[last..]));
                let best = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap();
                tokens.push(best as u32);
            }
            assert_eq!(tokens, expected, "{}", fixture.name);
        });
    }
}

#[test]
fn gradients_have_the_same_bytes_for_one_and_two_threads() {
    for folder in folders() {
        let gradients = |threads| {
            Run::new(threads).unwrap().install(|| {
                let mut model = Model::from_hf(&folder).unwrap();
                model.train_all(false);
                let (batch, _) = batch(&Fixture::open(&folder, "fixture.safetensors"));
                let mut grads = Grads::new(&model.tensors);
                let loss = model.loss_and_gradients(&batch, Keep::All, None, 1.0, &mut grads).unwrap();
                (loss, (0..model.tensors.len()).map(|id| grads.get(id).unwrap().to_vec()).collect::<Vec<_>>())
            })
        };
        assert!(gradients(1) == gradients(2), "{}", folder.display());
    }
}

/// Sequences behind a shared prefix, computed once, against the same sequences with the prefix in each of them.
#[test]
fn a_shared_prefix_gives_the_gradients_of_the_full_sequences() {
    use causerie::transformer::{Segment, Target};
    for folder in folders() {
        Run::new(2).unwrap().install(|| {
            let mut model = Model::from_hf(&folder).unwrap();
            model.train_all(false);
            let ids: Vec<u32> = Fixture::open(&folder, "fixture.safetensors")
                .integers("input_ids")
                .into_iter()
                .map(|i| i as u32)
                .collect();
            let prefix = &ids[..9];
            let rests = [&ids[9..16], &ids[16..20], &ids[24..36]];
            let (mut whole, mut shared) = (Batch::default(), Batch::default());
            shared.push(prefix, &[false; 9]);
            for rest in rests {
                let tokens = [prefix, rest].concat();
                let trained: Vec<bool> = (0..tokens.len()).map(|t| t >= 9).collect();
                whole.push(&tokens, &trained);
                let start = shared.tokens.len();
                shared.tokens.extend_from_slice(rest);
                shared.segments.push(Segment { rows: start..start + rest.len(), prefix: Some(0..9) });
                for (i, token) in rest.iter().enumerate() {
                    shared.targets.push(Target { row: if i == 0 { 8 } else { start + i - 1 }, token: *token });
                }
            }
            let gradients = |batch: &Batch| {
                let mut grads = Grads::new(&model.tensors);
                let loss = model.loss_and_gradients(batch, Keep::Inputs, None, 0.1, &mut grads).unwrap();
                (loss, grads)
            };
            let ((loss_whole, whole), (loss_shared, shared)) = (gradients(&whole), gradients(&shared));
            assert_eq!(loss_whole.tokens, loss_shared.tokens);
            assert!((loss_whole.sum - loss_shared.sum).abs() < 1e-5 * loss_whole.sum);
            for id in 0..model.tensors.len() {
                compare("shared prefix", shared.get(id).unwrap(), whole.get(id).unwrap());
            }
        });
    }
}

/// With products in bf16 (each factor rounded by up to 2^-9, sums in f32) the whole gradient keeps its direction and length:
/// it lies within 3 % of PyTorch's in f32 by Euclidean length. Rounding errors of independent sign, 2^-9 sqrt(2/3) = 0.0016 a
/// product, add up as a root over the some twenty products that a value has passed in two layers there and back: 0.7 %;
/// four times that is allowed. And it is not the gradient in f32.
#[test]
fn products_in_bf16_give_pytorch_s_gradient_within_their_rounding() {
    for folder in folders() {
        Run::new(2).unwrap().install(|| {
            let mut model = Model::from_hf(&folder).unwrap();
            model.train_all(false);
            let fixture = Fixture::open(&folder, "fixture.safetensors");
            let (batch, _) = batch(&fixture);
            let family = model.config.family;
            let mut distance = |arithmetic| {
                model.arithmetic = arithmetic;
                let mut grads = Grads::new(&model.tensors);
                let scale = 1.0 / batch.targets.len() as f32;
                model.loss_and_gradients(&batch, Keep::All, None, scale, &mut grads).unwrap();
                let (mut apart, mut length) = (0f64, 0f64);
                for (id, tensor) in model.tensors.iter().enumerate() {
                    let theirs = fixture.floats(&format!("full.grad.{}", tensor.place.hf_name(family)));
                    for (a, b) in grads.get(id).unwrap().iter().zip(&theirs) {
                        apart += f64::from(a - b).powi(2);
                        length += f64::from(*b).powi(2);
                    }
                }
                (apart / length).sqrt()
            };
            let (exact, rounded) = (distance(Arithmetic::F32), distance(Arithmetic::Bf16));
            assert!(rounded < 0.03, "{}: {rounded}", folder.display());
            assert!(exact < 1e-4 && rounded > 10.0 * exact, "{}: {exact} and {rounded}", folder.display());
        });
    }
}
