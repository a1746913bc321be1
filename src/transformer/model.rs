//! The whole decoder: embedding, layers, final norm, head; forward, loss and the backward pass, a layer at a time.

use super::batch::Batch;
use super::config::ModelConfig;
use super::layer::{Layer, LayerActivations, Pass};
use super::lora::{Adapter, Adapters, Dropout, LoraSettings, Projection};
use super::output_loss::{self, Loss};
use super::rmsnorm;
use super::rope::Rope;
use super::weights::{Grads, LoraHalf, Part, Place, Storage, Tensor, TensorId};
use crate::error::{Error, Result};
use crate::math::Random;
use crate::math::packed::Arithmetic;
use std::collections::HashMap;

/// A decoder with its weights, and its adapters where it has any.
#[derive(Debug, Clone)]
pub struct Model {
    /// Its shape.
    pub config: ModelConfig,
    /// All tensors; adapters come last.
    pub tensors: Vec<Tensor>,
    /// In which numbers products with weights multiply; attention and everything else is f32.
    pub arithmetic: Arithmetic,
    embedding: TensorId,
    final_norm: TensorId,
    head: TensorId,
    layers: Vec<Layer>,
    lora: Option<LoraSettings>,
}

/// A forward pass, with what the backward pass needs.
pub struct Forward {
    /// Output of the last layer, before the final norm, `[tokens, dim]`.
    pub state: Vec<f32>,
    /// What is kept of each layer.
    kept: Vec<Activations>,
    positions: Vec<u32>,
    rope: Rope,
    dropout: Option<Dropout>,
}

/// What a forward pass keeps of one layer.
enum Activations {
    Nothing,
    Input(Vec<f32>),
    All(Box<LayerActivations>),
}

impl Forward {
    /// What went into layer `layer`, `[tokens, dim]`; empty when it was not kept.
    pub fn layer_input(&self, layer: usize) -> &[f32] {
        match &self.kept[layer] {
            Activations::Nothing => &[],
            Activations::Input(x) => x,
            Activations::All(kept) => &kept.x,
        }
    }
}

/// What a forward pass keeps for the backward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Nothing: there will be no backward pass.
    Nothing,
    /// The input of each layer: the layer is computed again in the backward pass (gradient checkpointing).
    Inputs,
    /// Everything.
    All,
}

/// A backward pass under way: from the loss down, a layer per step.
pub struct Backward {
    forward: Forward,
    /// Gradient of what the next layer put out, `[tokens, dim]`.
    gradient: Vec<f32>,
    /// Layers still to be done.
    left: usize,
    /// The lowest layer that needs a backward pass.
    lowest: usize,
}

/// A head of one's own on the normed states: the rows it reads, and the gradient of its loss.
#[derive(Debug, Clone, Copy)]
pub struct Further<'a> {
    /// Rows of the batch, any number of times each.
    pub rows: &'a [usize],
    /// Gradient of the further loss in the normed states of `rows` ([`Model::hidden_at`]), `[rows, dim]`.
    pub gradient: &'a [f32],
}

/// The places of the tensors that a model of this configuration has, with their shapes `(rows, cols)`.
pub(super) fn places(config: &ModelConfig) -> Vec<(Place, usize, usize)> {
    let c = config;
    let (wide, narrow) = (c.heads * c.head_dim, c.kv_heads * c.head_dim);
    let mut all = Vec::new();
    let mut put = |layer, part, rows, cols| all.push((Place { layer, part, lora: None }, rows, cols));
    put(None, Part::Embedding, c.vocabulary, c.dim);
    put(None, Part::FinalNorm, 1, c.dim);
    if !c.tied {
        put(None, Part::Head, c.vocabulary, c.dim);
    }
    for layer in (0..c.layers).map(Some) {
        put(layer, Part::AttnNorm, 1, c.dim);
        put(layer, Part::Q, wide, c.dim);
        put(layer, Part::K, narrow, c.dim);
        put(layer, Part::V, narrow, c.dim);
        put(layer, Part::O, c.dim, wide);
        put(layer, Part::FfnNorm, 1, c.dim);
        put(layer, Part::Gate, c.ffn, c.dim);
        put(layer, Part::Up, c.ffn, c.dim);
        put(layer, Part::Down, c.dim, c.ffn);
        if c.qkv_bias() {
            put(layer, Part::QBias, 1, wide);
            put(layer, Part::KBias, 1, narrow);
            put(layer, Part::VBias, 1, narrow);
        }
        if c.qk_norm() {
            put(layer, Part::QNorm, 1, c.head_dim);
            put(layer, Part::KNorm, 1, c.head_dim);
        }
        if c.sandwich() {
            put(layer, Part::PostAttnNorm, 1, c.dim);
            put(layer, Part::PostFfnNorm, 1, c.dim);
        }
    }
    all
}

impl Model {
    /// A model of tensors made by `make(place, rows, cols)`, nothing trained. Vectors must be stored as f32.
    pub(super) fn assemble(
        config: ModelConfig,
        mut make: impl FnMut(Place, usize, usize) -> Result<Storage>,
    ) -> Result<Model> {
        let mut tensors = Vec::new();
        let mut ids = HashMap::new();
        for (place, rows, cols) in places(&config) {
            ids.insert(place, tensors.len());
            tensors.push(Tensor { place, rows, cols, storage: make(place, rows, cols)?, trained: false });
        }
        let id = |layer, part| -> Result<TensorId> {
            let place = Place { layer, part, lora: None };
            ids.get(&place).copied().ok_or_else(|| Error::bug(format!("no tensor {place:?}")))
        };
        let mut layers = Vec::new();
        for layer in (0..config.layers).map(Some) {
            let plain = |part| Ok::<_, Error>(Projection { weight: id(layer, part)?, bias: None, adapter: None });
            let with_bias = |part, bias| {
                let bias = if config.qkv_bias() { Some(id(layer, bias)?) } else { None };
                Ok::<_, Error>(Projection { bias, ..plain(part)? })
            };
            let pair =
                |present: bool, a, b| Ok::<_, Error>(if present { Some((id(layer, a)?, id(layer, b)?)) } else { None });
            layers.push(Layer {
                attn_norm: id(layer, Part::AttnNorm)?,
                q: with_bias(Part::Q, Part::QBias)?,
                k: with_bias(Part::K, Part::KBias)?,
                v: with_bias(Part::V, Part::VBias)?,
                o: plain(Part::O)?,
                qk_norms: pair(config.qk_norm(), Part::QNorm, Part::KNorm)?,
                post_norms: pair(config.sandwich(), Part::PostAttnNorm, Part::PostFfnNorm)?,
                ffn_norm: id(layer, Part::FfnNorm)?,
                gate: plain(Part::Gate)?,
                up: plain(Part::Up)?,
                down: plain(Part::Down)?,
            });
        }
        let embedding = id(None, Part::Embedding)?;
        let head = if config.tied { embedding } else { id(None, Part::Head)? };
        Ok(Model {
            embedding,
            final_norm: id(None, Part::FinalNorm)?,
            head,
            layers,
            lora: None,
            tensors,
            config,
            arithmetic: Arithmetic::F32,
        })
    }

    /// A model of random weights: normal with standard deviation 0.02, that of the projections back into the residual
    /// stream divided by sqrt(2 layers) (as GPT-2 does); norms start as the identity.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Format`] for a configuration that does not hold together.
    pub fn random(config: ModelConfig, seed: u64) -> Result<Model> {
        config.check(std::path::Path::new("new model"))?;
        let mut random = Random::new(seed, b"weights");
        let (offset, layers) = (config.norm_offset, config.layers);
        Model::assemble(config, |place, rows, cols| {
            let deviation = match place.part {
                Part::O | Part::Down => 0.02 / (2.0 * layers as f64).sqrt(),
                _ => 0.02,
            };
            let values = match place.part {
                Part::QBias | Part::KBias | Part::VBias => vec![0.0; cols],
                _ if rows == 1 => vec![1.0 - offset; cols],
                _ => (0..rows * cols).map(|_| (random.normal() * deviation) as f32).collect(),
            };
            Ok(Storage::F32(values))
        })
    }

    /// Makes all weights trainable, held as f32 or bf16 (norms and biases always as f32).
    pub fn train_all(&mut self, bf16: bool) {
        for tensor in &mut self.tensors {
            tensor.own(bf16 && tensor.rows > 1);
            tensor.trained = true;
        }
    }

    /// Adds adapters, trained, over the frozen weights: A normal with deviation 1/sqrt(in), B zero, so that the model
    /// starts as it was.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`]: no targets, rank 0, dropout outside [0, 1), or adapters already there.
    pub fn add_lora(&mut self, settings: LoraSettings) -> Result<()> {
        if settings.rank == 0 || settings.targets.is_empty() || !(0.0..1.0).contains(&settings.dropout) {
            return Err(Error::invalid("LoRA needs a rank and targets, and a dropout of at least 0 and below 1"));
        }
        let layers = settings.layers.start..settings.layers.end.min(self.config.layers);
        if self.lora.is_some() || layers.is_empty() {
            return Err(Error::invalid("LoRA: adapters are already there, or no layer is chosen"));
        }
        let mut random = Random::new(settings.seed, b"lora");
        for index in layers {
            for (part, projection) in LoraSettings::PROJECTIONS.iter().zip(self.layers[index].projections_mut()) {
                if !settings.targets.contains(part) {
                    continue;
                }
                let (rows, cols) = (self.tensors[projection.weight].rows, self.tensors[projection.weight].cols);
                let deviation = 1.0 / (cols as f64).sqrt();
                let a = (0..settings.rank * cols).map(|_| (random.normal() * deviation) as f32).collect();
                let place = |lora| Place { layer: Some(index), part: *part, lora: Some(lora) };
                projection.adapter = Some(Adapter { a: self.tensors.len(), b: self.tensors.len() + 1 });
                let make = |lora, rows, cols, values| Tensor {
                    place: place(lora),
                    rows,
                    cols,
                    storage: Storage::F32(values),
                    trained: true,
                };
                self.tensors.push(make(LoraHalf::A, settings.rank, cols, a));
                self.tensors.push(make(LoraHalf::B, rows, settings.rank, vec![0.0; rows * settings.rank]));
            }
        }
        self.lora = Some(settings);
        Ok(())
    }

    /// The adapters' settings; none without adapters.
    pub fn lora(&self) -> Option<&LoraSettings> {
        self.lora.as_ref()
    }

    /// The tensor at `place`.
    pub fn find(&self, place: Place) -> Option<TensorId> {
        self.tensors.iter().position(|t| t.place == place)
    }

    fn pass<'a>(
        &'a self,
        batch: &'a Batch,
        rope: &'a Rope,
        positions: &'a [u32],
        dropout: Option<Dropout>,
    ) -> Pass<'a> {
        let scale = self.lora.as_ref().map_or(0.0, |l| (l.alpha / l.rank as f64) as f32);
        Pass {
            config: &self.config,
            on: Adapters { tensors: &self.tensors, scale, dropout, arithmetic: self.arithmetic },
            batch,
            rope,
            positions,
        }
    }

    /// The lowest layer with something trained in it or below it (0 when the embedding is trained).
    fn lowest_trained(&self) -> usize {
        let trained = self.tensors.iter().filter(|t| t.trained);
        trained
            .filter(|t| t.place.part != Part::FinalNorm && t.place.part != Part::Head)
            .fold(self.config.layers, |lowest, t| lowest.min(t.place.layer.unwrap_or(0)))
    }

    /// Runs the layers over `batch`. `dropout_seed`: of the adapters' dropout, in training; none: no dropout.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] for a batch that this model cannot take.
    pub fn forward(&self, batch: &Batch, keep: Keep, dropout_seed: Option<u64>) -> Result<Forward> {
        batch.check(self.config.vocabulary, self.config.context)?;
        let positions = batch.positions();
        let rope = Rope::new(&self.config, positions.iter().max().map_or(0, |p| *p as usize + 1));
        let share = self.lora.as_ref().map_or(0.0, |l| l.dropout as f32);
        let dropout = dropout_seed.filter(|_| share > 0.0).map(|seed| Dropout { share, seed });
        let mut state = self.embed(&batch.tokens);
        let mut saved = Vec::new();
        let lowest = self.lowest_trained();
        let pass = self.pass(batch, &rope, &positions, dropout);
        for (index, layer) in self.layers.iter().enumerate() {
            let (next, kept) = layer.forward(&pass, index, state);
            state = next;
            saved.push(match keep {
                _ if index < lowest => Activations::Nothing,
                Keep::Nothing => Activations::Nothing,
                Keep::Inputs => Activations::Input(kept.x),
                Keep::All => Activations::All(Box::new(kept)),
            });
        }
        Ok(Forward { state, kept: saved, positions, rope, dropout })
    }

    /// Rows of the embedding, scaled: `[tokens, dim]`.
    fn embed(&self, tokens: &[u32]) -> Vec<f32> {
        let (table, dim, scale) = (&self.tensors[self.embedding], self.config.dim, self.config.embedding_scale);
        let mut state = vec![0.0; tokens.len() * dim];
        for (row, token) in state.chunks_exact_mut(dim).zip(tokens) {
            table.decode(*token as usize * dim, row);
            row.iter_mut().for_each(|v| *v *= scale);
        }
        state
    }

    /// The final norm of states `[rows, dim]`: what the head and the paper's embeddings (§3.2) read.
    pub fn final_norm(&self, state: &[f32]) -> Vec<f32> {
        let weight = self.tensors[self.final_norm].vector();
        rmsnorm::forward(state, weight, self.config.norm_offset, self.config.norm_eps)
    }

    /// The normed states of some rows of a batch, `[rows, dim]`: what llama.cpp gives as hidden states.
    pub fn hidden_at(&self, forward: &Forward, rows: &[usize]) -> Vec<f32> {
        let dim = self.config.dim;
        let states: Vec<f32> = rows.iter().flat_map(|r| &forward.state[r * dim..(r + 1) * dim]).copied().collect();
        self.final_norm(&states)
    }

    /// Rows of the language-model head, `[tokens, dim]`: the direction in which a state must lie to predict a token.
    pub fn head_rows(&self, tokens: &[u32]) -> Vec<f32> {
        let (table, dim) = (&self.tensors[self.head], self.config.dim);
        let mut rows = vec![0.0; tokens.len() * dim];
        for (row, token) in rows.chunks_exact_mut(dim).zip(tokens) {
            table.decode(*token as usize * dim, row);
        }
        rows
    }

    /// Logits of normed states `[rows, dim]`: `[rows, vocabulary]`.
    pub fn logits(&self, hidden: &[f32]) -> Vec<f32> {
        output_loss::logits(hidden, &self.tensors[self.head], self.config.logit_cap, self.arithmetic)
    }

    /// The states that predict the batch's targets, gathered, and the targets' tokens.
    fn gather(&self, forward: &Forward, batch: &Batch) -> (Vec<f32>, Vec<u32>) {
        let dim = self.config.dim;
        let states = batch.targets.iter().flat_map(|t| &forward.state[t.row * dim..(t.row + 1) * dim]).copied();
        (states.collect(), batch.targets.iter().map(|t| t.token).collect())
    }

    /// The loss of each of the batch's targets, in nats.
    pub fn losses(&self, forward: &Forward, batch: &Batch) -> Vec<f64> {
        let (states, tokens) = self.gather(forward, batch);
        output_loss::losses(
            &self.final_norm(&states),
            &self.tensors[self.head],
            self.config.logit_cap,
            &tokens,
            self.arithmetic,
        )
    }

    /// The losses' sum over the batch's targets.
    pub fn loss(&self, forward: &Forward, batch: &Batch) -> Loss {
        let each = self.losses(forward, batch);
        Loss { sum: each.iter().sum(), tokens: each.len() }
    }

    /// Loss and the start of the backward pass of `scale` times its sum; the head's gradients are added to `grads`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Bug`] when the forward pass kept nothing.
    pub fn backward(&self, forward: Forward, batch: &Batch, scale: f32, grads: &mut Grads) -> Result<(Loss, Backward)> {
        self.backward_with(forward, batch, scale, None, grads)
    }

    /// [`Model::backward`] of `scale` times the loss plus that of a `further` head.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Bug`] when the forward pass kept nothing, or a gradient does not fit.
    pub fn backward_with(
        &self,
        forward: Forward,
        batch: &Batch,
        scale: f32,
        further: Option<Further<'_>>,
        grads: &mut Grads,
    ) -> Result<(Loss, Backward)> {
        let lowest = self.lowest_trained();
        if forward.kept.iter().skip(lowest).any(|kept| matches!(kept, Activations::Nothing)) {
            return Err(Error::bug("a backward pass after a forward pass that kept nothing"));
        }
        let dim = self.config.dim;
        let (mut states, tokens) = self.gather(&forward, batch);
        let (mut loss, mut dhidden) = (Loss::default(), Vec::new());
        if !tokens.is_empty() {
            let hidden = self.final_norm(&states);
            let (w, cap) = (&self.tensors[self.head], self.config.logit_cap);
            (loss, dhidden) =
                output_loss::backward(&hidden, w, cap, &tokens, scale, grads.slot(self.head), self.arithmetic);
        }
        let mut rows: Vec<usize> = batch.targets.iter().map(|t| t.row).collect();
        if let Some(further) = further {
            if further.gradient.len() != further.rows.len() * dim {
                return Err(Error::bug("a further head's gradient does not fit its rows"));
            }
            states.extend(further.rows.iter().flat_map(|r| &forward.state[r * dim..(r + 1) * dim]));
            dhidden.extend_from_slice(further.gradient);
            rows.extend_from_slice(further.rows);
        }
        let weight = self.tensors[self.final_norm].vector();
        let (offset, eps) = (self.config.norm_offset, self.config.norm_eps);
        let dstates = rmsnorm::backward(&states, weight, offset, eps, &dhidden, grads.slot(self.final_norm));
        let mut gradient = vec![0.0; forward.state.len()];
        for (row, d) in rows.iter().zip(dstates.chunks_exact(dim)) {
            gradient[row * dim..(row + 1) * dim].iter_mut().zip(d).for_each(|(sum, d)| *sum += d);
        }
        Ok((loss, Backward { forward, gradient, left: self.config.layers, lowest }))
    }

    /// One further layer of the backward pass, the last layer first; its index, or none when all is done (then the
    /// embedding's gradient is added too). Between steps the weights of layers already done may be moved.
    pub fn backward_step(&self, pass: &mut Backward, batch: &Batch, grads: &mut Grads) -> Option<usize> {
        if pass.left <= pass.lowest {
            self.embed_backward(pass, batch, grads);
            return None;
        }
        pass.left -= 1;
        let index = pass.left;
        let (forward, layer) = (&mut pass.forward, &self.layers[index]);
        let saved = std::mem::replace(&mut forward.kept[index], Activations::Nothing);
        let shared = self.pass(batch, &forward.rope, &forward.positions, forward.dropout);
        let kept = match saved {
            Activations::All(kept) => *kept,
            Activations::Input(x) => layer.forward(&shared, index, x).1,
            // Excluded by `backward`.
            Activations::Nothing => return None,
        };
        let gradient = std::mem::take(&mut pass.gradient);
        let wanted = index > pass.lowest || self.tensors[self.embedding].trained;
        pass.gradient = layer.backward(&shared, index, kept, gradient, grads, wanted);
        Some(index)
    }

    /// dE[token] += scale * gradient, in the order of the tokens.
    fn embed_backward(&self, pass: &Backward, batch: &Batch, grads: &mut Grads) {
        let (dim, scale) = (self.config.dim, self.config.embedding_scale);
        if let Some(table) = grads.slot(self.embedding) {
            for (token, d) in batch.tokens.iter().zip(pass.gradient.chunks_exact(dim)) {
                let row = &mut table[*token as usize * dim..(*token as usize + 1) * dim];
                row.iter_mut().zip(d).for_each(|(sum, d)| *sum += scale * d);
            }
        }
    }

    /// Forward and backward over one batch: the loss, with the gradients of `scale` times its sum added to `grads`.
    ///
    /// # Errors
    /// Those of [`Model::forward`].
    pub fn loss_and_gradients(
        &self,
        batch: &Batch,
        keep: Keep,
        dropout_seed: Option<u64>,
        scale: f32,
        grads: &mut Grads,
    ) -> Result<Loss> {
        let forward = self.forward(batch, keep, dropout_seed)?;
        let (loss, mut pass) = self.backward(forward, batch, scale, grads)?;
        while self.backward_step(&mut pass, batch, grads).is_some() {}
        Ok(loss)
    }
}
