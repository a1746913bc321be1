//! AdamW with decoupled weight decay, global clipping and warm-up schedules, as PyTorch and transformers define them.
//!
//! m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;
//! w -= lr (decay w + (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)), decay on every trained tensor.

use super::weights::{Grads, Storage, Tensor, TensorId};
use crate::config::{Moments, Schedule};
use crate::math::packed::vectorised;
use half::bf16;
use rayon::prelude::*;

/// Constants of the optimiser.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWSettings {
    /// b1.
    pub beta1: f64,
    /// b2.
    pub beta2: f64,
    /// eps.
    pub epsilon: f64,
    /// Decay of the weights, times the learning rate.
    pub decay: f64,
    /// How the moments are held.
    pub moments: Moments,
    /// Seed of the stochastic rounding of bf16 weights.
    pub seed: u64,
}

impl Default for AdamWSettings {
    fn default() -> Self {
        AdamWSettings { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, decay: 0.01, moments: Moments::F32, seed: 0 }
    }
}

impl Schedule {
    /// Factor of step `step` (from 0) of `total`, of them `warmup` of warm-up. Step 0 of a warm-up has factor 0.
    pub fn factor(self, step: u64, warmup: u64, total: u64) -> f64 {
        if step < warmup {
            return step as f64 / warmup as f64;
        }
        let progress = (step - warmup) as f64 / total.saturating_sub(warmup).max(1) as f64;
        let progress = progress.min(1.0);
        match self {
            Schedule::Linear => 1.0 - progress,
            Schedule::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
            Schedule::Constant => 1.0,
        }
    }
}

/// Values per block of 8-bit moments, and the unit of the tasks.
const BLOCK: usize = 256;
/// Values per task.
const CHUNK: usize = BLOCK * 64;

/// The moments of one tensor, to look at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MomentData<'a> {
    /// m and v.
    F32(&'a [f32], &'a [f32]),
    /// Codes of m and v, and the largest |m| and v of each block.
    Bits8 {
        /// Codes of m.
        m: &'a [i8],
        /// Codes of v.
        v: &'a [u8],
        /// The largest |m| and v of each block.
        largest: &'a [(f32, f32)],
    },
}

/// The moments of one tensor.
#[derive(Debug, Clone, PartialEq)]
enum State {
    /// m and v.
    F32(Vec<f32>, Vec<f32>),
    /// Codes of m and v, and the largest |m| and v of each block.
    Bits8 { m: Vec<i8>, v: Vec<u8>, largest: Vec<(f32, f32)> },
}

/// The optimiser's state.
#[derive(Debug, Clone)]
pub struct AdamW {
    /// Its constants.
    pub settings: AdamWSettings,
    /// Steps begun.
    steps: u64,
    states: Vec<Option<State>>,
}

/// One tensor's update: everything that does not depend on the element.
#[derive(Clone, Copy)]
struct Rule {
    beta1: f32,
    beta2: f32,
    epsilon: f32,
    shrink: f32,
    step: f32,
    root_correction: f32,
    gradient_factor: f32,
}

impl Rule {
    #[inline(always)]
    fn apply(self, w: &mut f32, g: f32, m: &mut f32, v: &mut f32) {
        let g = g * self.gradient_factor;
        *m = self.beta1 * *m + (1.0 - self.beta1) * g;
        *v = self.beta2 * *v + (1.0 - self.beta2) * g * g;
        *w = *w * self.shrink - self.step * *m / (v.sqrt() * self.root_correction + self.epsilon);
    }
}

impl AdamW {
    /// An optimiser for a model's tensors; the moments of each are made at its first update.
    pub fn new(settings: AdamWSettings, tensors: usize) -> AdamW {
        AdamW { settings, steps: 0, states: vec![None; tensors] }
    }

    /// Begins a step. Then [`AdamW::update`] once for each tensor.
    pub fn begin_step(&mut self) {
        self.steps += 1;
    }

    /// The moments of a tensor; none before its first update.
    pub fn moments(&self, id: TensorId) -> Option<MomentData<'_>> {
        self.states.get(id)?.as_ref().map(|state| match state {
            State::F32(m, v) => MomentData::F32(m, v),
            State::Bits8 { m, v, largest } => MomentData::Bits8 { m, v, largest },
        })
    }
    /// Blocks of the 8-bit moments of `len` values.
    pub fn blocks(len: usize) -> usize {
        len.div_ceil(BLOCK)
    }
    /// Restores moments.
    pub fn set_moments_f32(&mut self, id: TensorId, m: Vec<f32>, v: Vec<f32>) {
        self.states[id] = Some(State::F32(m, v));
    }
    /// Restores moments.
    pub fn set_moments_8bit(&mut self, id: TensorId, m: Vec<i8>, v: Vec<u8>, largest: Vec<(f32, f32)>) {
        self.states[id] = Some(State::Bits8 { m, v, largest });
    }
    /// Restores the number of steps begun.
    pub fn set_steps(&mut self, steps: u64) {
        self.steps = steps;
    }

    /// Steps begun so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The factor that makes the gradients' length at most `limit`: min(1, limit / (norm + 1e-6)); 0: no limit.
    pub fn clip_factor(norm: f64, limit: f64) -> f64 {
        if limit > 0.0 { (limit / (norm + 1e-6)).min(1.0) } else { 1.0 }
    }

    /// Begins a step and moves every tensor that has a gradient.
    pub fn step(&mut self, tensors: &mut [Tensor], grads: &Grads, learning_rate: f64, factor: f64) {
        self.begin_step();
        for (id, tensor) in tensors.iter_mut().enumerate() {
            if let Some(gradient) = grads.get(id) {
                self.update(id, tensor, gradient, learning_rate, factor);
            }
        }
    }

    /// Moves one tensor along its gradient, first multiplied by `factor`.
    pub fn update(&mut self, id: TensorId, tensor: &mut Tensor, gradient: &[f32], learning_rate: f64, factor: f64) {
        self.update_values(id, &mut tensor.storage, gradient, learning_rate, factor);
    }

    /// [`AdamW::update`] for values that belong to no model.
    pub fn update_values(
        &mut self,
        id: usize,
        values: &mut Storage,
        gradient: &[f32],
        learning_rate: f64,
        factor: f64,
    ) {
        let s = self.settings;
        let steps = self.steps.max(1) as f64;
        let rule = Rule {
            beta1: s.beta1 as f32,
            beta2: s.beta2 as f32,
            epsilon: s.epsilon as f32,
            shrink: (1.0 - learning_rate * s.decay) as f32,
            step: (learning_rate / (1.0 - s.beta1.powf(steps))) as f32,
            root_correction: (1.0 / (1.0 - s.beta2.powf(steps)).sqrt()) as f32,
            gradient_factor: factor as f32,
        };
        let len = gradient.len();
        let state = self.states[id].get_or_insert_with(|| match s.moments {
            Moments::F32 => State::F32(vec![0.0; len], vec![0.0; len]),
            Moments::Bits8 => {
                State::Bits8 { m: vec![0; len], v: vec![0; len], largest: vec![(0.0, 0.0); len.div_ceil(BLOCK)] }
            }
        });
        // What stochastic rounding draws follows from the seed, the step, the tensor and the place.
        let noise = Noise::new(s.seed ^ super::lora::mix(self.steps << 24 ^ id as u64));
        match (values, state) {
            (Storage::F32(w), State::F32(m, v)) => {
                let chunks = w.par_chunks_mut(CHUNK).zip(m.par_chunks_mut(CHUNK)).zip(v.par_chunks_mut(CHUNK));
                chunks.zip(gradient.par_chunks(CHUNK)).for_each(|(((w, m), v), g)| {
                    vectorised(
                        #[inline(always)]
                        || {
                            for (((w, m), v), g) in w.iter_mut().zip(m).zip(v).zip(g) {
                                rule.apply(w, *g, m, v);
                            }
                        },
                    );
                });
            }
            (Storage::F32(w), State::Bits8 { m, v, largest }) => {
                let chunks = w.par_chunks_mut(CHUNK).zip(moment_chunks(m, v, largest));
                chunks.zip(gradient.par_chunks(CHUNK)).enumerate().for_each(|(chunk, ((w, moments), g))| {
                    vectorised(
                        #[inline(always)]
                        || {
                            for_each_block(
                                moments,
                                noise,
                                chunk * CHUNK,
                                #[inline(always)]
                                |at, m, v| {
                                    for (((w, g), m), v) in w[at..].iter_mut().zip(&g[at..]).zip(m).zip(v) {
                                        rule.apply(w, *g, m, v);
                                    }
                                },
                            );
                        },
                    );
                });
            }
            (Storage::Bf16(w), State::F32(m, v)) => {
                let chunks = w.par_chunks_mut(CHUNK).zip(m.par_chunks_mut(CHUNK)).zip(v.par_chunks_mut(CHUNK));
                chunks.zip(gradient.par_chunks(CHUNK)).enumerate().for_each(|(chunk, (((w, m), v), g))| {
                    vectorised(
                        #[inline(always)]
                        || move_bf16(rule, noise, chunk * CHUNK, w, g, m, v),
                    );
                });
            }
            (Storage::Bf16(w), State::Bits8 { m, v, largest }) => {
                let chunks = w.par_chunks_mut(CHUNK).zip(moment_chunks(m, v, largest));
                chunks.zip(gradient.par_chunks(CHUNK)).enumerate().for_each(|(chunk, ((w, moments), g))| {
                    vectorised(
                        #[inline(always)]
                        || {
                            for_each_block(
                                moments,
                                noise,
                                chunk * CHUNK,
                                #[inline(always)]
                                |at, m, v| {
                                    let end = at + m.len();
                                    move_bf16(rule, noise, chunk * CHUNK + at, &mut w[at..end], &g[at..end], m, v);
                                },
                            );
                        },
                    );
                });
            }
            // A mapped tensor is frozen: it never has a gradient.
            (Storage::Mapped(_), _) => {}
        }
    }
}

/// What stochastic rounding draws: a hash of the place, in 32-bit operations, which vectorise.
#[derive(Debug, Clone, Copy)]
struct Noise {
    keys: [u32; 2],
}

impl Noise {
    fn new(draw: u64) -> Noise {
        // Keys that differ in a few bits would give the same draws at places that differ in these.
        let draw = super::lora::mix(draw);
        Noise { keys: [draw as u32, (draw >> 32) as u32] }
    }
    /// 32 bits for place `at`; those of two streams have nothing to do with each other.
    #[inline(always)]
    fn bits(self, at: u32, stream: u32) -> u32 {
        mix32(mix32(at ^ self.keys[0]).wrapping_add(self.keys[1] ^ stream))
    }
}

/// Mixes 32 bits (the multipliers are those of Wellons' lowbias32).
#[inline(always)]
fn mix32(x: u32) -> u32 {
    let x = (x ^ (x >> 16)).wrapping_mul(0x7feb_352d);
    let x = (x ^ (x >> 15)).wrapping_mul(0x846c_a68b);
    x ^ (x >> 16)
}

/// Moves bf16 weights; the first has place `at`.
#[inline(always)]
fn move_bf16(rule: Rule, noise: Noise, at: usize, w: &mut [bf16], g: &[f32], m: &mut [f32], v: &mut [f32]) {
    for (i, (((w, g), m), v)) in (at as u32..).zip(w.iter_mut().zip(g).zip(m).zip(v)) {
        let mut value = f32::from_bits(u32::from(w.to_bits()) << 16);
        rule.apply(&mut value, *g, m, v);
        *w = round(value, noise.bits(i, 0));
    }
}

/// Rounds to bf16 up or down at random, so that the mean is the value itself and small updates are not lost. Infinities and
/// NaN stay what they are.
#[inline(always)]
fn round(value: f32, random: u32) -> bf16 {
    let bits = value.to_bits();
    let finite = bits & 0x7f80_0000 != 0x7f80_0000;
    let noise = if finite { random >> 16 } else { 0 };
    let quiet = if value.is_nan() { 0x40 } else { 0 };
    bf16::from_bits((bits.wrapping_add(noise) >> 16) as u16 | quiet)
}

type MomentChunk<'a> = (&'a mut [i8], &'a mut [u8], &'a mut [(f32, f32)]);

fn moment_chunks<'a>(
    m: &'a mut [i8],
    v: &'a mut [u8],
    largest: &'a mut [(f32, f32)],
) -> impl IndexedParallelIterator<Item = MomentChunk<'a>> {
    let blocks = largest.par_chunks_mut(CHUNK / BLOCK);
    m.par_chunks_mut(CHUNK).zip(v.par_chunks_mut(CHUNK)).zip(blocks).map(|((m, v), l)| (m, v, l))
}

/// Decodes a block of moments, lets `work` change them, and encodes them again.
///
/// |m| / largest is held as the square of a 7-bit fraction, v / largest as the fourth power of an 8-bit fraction: fine
/// near zero. Codes are rounded up or down at random: v moves by a thousandth a step, which rounding to the nearest would
/// undo each time. No v > 0 reads as 0, which would make its weight leap.
#[inline(always)]
fn for_each_block(
    (m, v, largest): MomentChunk<'_>,
    noise: Noise,
    first: usize,
    mut work: impl FnMut(usize, &mut [f32], &mut [f32]),
) {
    let (mut m_values, mut v_values) = ([0f32; BLOCK], [0f32; BLOCK]);
    let blocks = m.chunks_mut(BLOCK).zip(v.chunks_mut(BLOCK)).zip(largest).enumerate();
    for (block, ((m, v), largest)) in blocks {
        let (mv, vv) = (&mut m_values[..m.len()], &mut v_values[..v.len()]);
        for (value, code) in mv.iter_mut().zip(&*m) {
            let f = f32::from(*code) / 127.0;
            *value = f * f.abs() * largest.0;
        }
        for (value, code) in vv.iter_mut().zip(&*v) {
            let f = f32::from(*code) / 255.0;
            *value = f * f * f * f * largest.1;
        }
        work(block * BLOCK, mv, vv);
        *largest = (largest_of(mv), largest_of(vv));
        let inverse = |v: f32| if v > 0.0 { 1.0 / v } else { 0.0 };
        let (im, iv) = (inverse(largest.0), inverse(largest.1));
        let places = (first + block * BLOCK) as u32..;
        for (at, ((m, v), (mv, vv))) in places.zip(m.iter_mut().zip(v).zip(mv.iter().zip(&*vv))) {
            let bits = noise.bits(at, 1);
            let (low, high) = ((bits & 0xffff) as f32 / 65_536.0, (bits >> 16) as f32 / 65_536.0);
            // Beyond the codes there is nothing: what is compared is never NaN, or it stays the lower bound.
            let code = ((mv.abs() * im).sqrt() * 127.0 + low).min(127.0) as i32;
            *m = if *mv < 0.0 { -code } else { code } as i8;
            let code = ((vv * iv).sqrt().sqrt() * 255.0 + high).min(255.0) as i32;
            *v = if *vv > 0.0 { code.max(1) } else { 0 } as u8;
        }
    }
}

/// The largest magnitude; 0 of nothing. In lanes, which vectorise: a maximum has no order.
#[inline(always)]
fn largest_of(values: &[f32]) -> f32 {
    let mut lanes = [0f32; 16];
    let (whole, rest) = values.as_chunks::<16>();
    for chunk in whole {
        for (lane, v) in lanes.iter_mut().zip(chunk) {
            let v = v.abs();
            *lane = if v > *lane { v } else { *lane };
        }
    }
    rest.iter().chain(&lanes).fold(0f32, |a, b| a.max(b.abs()))
}

#[cfg(test)]
mod tests {
    use super::super::check::*;
    use super::super::weights::{Part, Place};
    use super::*;

    fn tensor(storage: Storage, n: usize) -> Tensor {
        let place = Place { layer: Some(0), part: Part::Q, lora: None };
        Tensor { place, rows: 1, cols: n, storage, trained: true }
    }

    #[test]
    fn the_schedules_are_those_of_transformers() {
        // get_linear_schedule_with_warmup(2, 6): 0, 1/2, 1, 3/4, 1/2, 1/4, 0
        let linear: Vec<f64> = (0..8).map(|s| Schedule::Linear.factor(s, 2, 6)).collect();
        assert_eq!(linear, [0.0, 0.5, 1.0, 0.75, 0.5, 0.25, 0.0, 0.0]);
        assert!((Schedule::Cosine.factor(4, 2, 6) - 0.5).abs() < 1e-12);
        assert_eq!(Schedule::Constant.factor(5, 0, 6), 1.0);
    }

    /// Minimises a quadratic bowl from noisy gradients: every way of holding weights and moments must get as far.
    #[test]
    fn bf16_weights_and_8_bit_moments_follow_the_f32_ones() {
        let n = 3000;
        let (start, goal) = (random(n, b"start"), random(n, b"goal"));
        let scale: Vec<f32> = random(n, b"scale").iter().map(|s| s.abs() + 0.01).collect();
        let distance = |bf16_weights: bool, moments: Moments| {
            let mut w = tensor(Storage::F32(start.clone()), n);
            w.own(bf16_weights);
            let settings = AdamWSettings { decay: 0.0, moments, ..AdamWSettings::default() };
            let mut adam = AdamW::new(settings, 1);
            for step in 0..300 {
                let noise = random(n, &[step as u8, (step >> 8) as u8]);
                let g: Vec<f32> = w
                    .to_floats()
                    .iter()
                    .zip(&goal)
                    .zip(&scale)
                    .zip(noise)
                    .map(|(((w, t), s), e)| s * (w - t + 0.1 * e))
                    .collect();
                adam.begin_step();
                adam.update(0, &mut w, &g, 0.02 * (1.0 - step as f64 / 300.0), 1.0);
            }
            w.to_floats().iter().zip(&goal).map(|(w, t)| f64::from(w - t).powi(2)).sum::<f64>()
        };
        let reference = distance(false, Moments::F32);
        for (bf16_weights, moments) in [(true, Moments::F32), (false, Moments::Bits8), (true, Moments::Bits8)] {
            let other = distance(bf16_weights, moments);
            assert!(other < reference * 1.1 + 0.05, "{bf16_weights} {moments:?}: {other} against {reference}");
        }
    }

    #[test]
    fn stochastic_rounding_keeps_the_mean() {
        let value = 1.0 + 1.0 / 1024.0; // an eighth of the way between two bf16 numbers
        let noise = Noise::new(0x1234_5678_9abc_def0);
        let mean: f64 = (0..100_000).map(|i| f64::from(round(value, noise.bits(i, 0)).to_f32())).sum::<f64>() / 1e5;
        // Standard error sqrt(1/8 * 7/8) / 128 / sqrt(1e5) = 8e-6; five of them.
        assert!((mean - f64::from(value)).abs() < 4e-5, "{mean}");
    }

    #[test]
    fn what_is_not_finite_is_not_rounded_into_something_else() {
        for random in [0, u32::MAX] {
            assert_eq!(round(f32::INFINITY, random), bf16::INFINITY);
            assert_eq!(round(f32::NEG_INFINITY, random), bf16::NEG_INFINITY);
            assert!(round(f32::NAN, random).is_nan());
            // A NaN whose payload lies in the lower half alone.
            assert!(round(f32::from_bits(0x7f80_0001), random).is_nan());
        }
    }

    /// Rounding draws must be even, and those of one place for weight, m and v independent: correlations of 100,000 pairs
    /// have a standard error of 0.0032; five of them.
    #[test]
    fn rounding_draws_are_even_and_independent() {
        let noise = Noise::new(0xfeed_beef_0000_0001);
        let n = 100_000u32;
        let part =
            |of: &dyn Fn(u32) -> u32| -> Vec<f64> { (0..n).map(|i| f64::from(of(i)) / 65_536.0 - 0.5).collect() };
        let streams = [
            part(&|i| noise.bits(i, 0) >> 16),
            part(&|i| noise.bits(i, 1) & 0xffff),
            part(&|i| noise.bits(i, 1) >> 16),
            part(&|i| noise.bits(i + 1, 0) >> 16),
            part(&|i| Noise::new(0xfeed_beef_0000_0002).bits(i, 0) >> 16),
        ];
        for (a, x) in streams.iter().enumerate() {
            // Standard error of the mean of a uniform variable: sqrt(1/12/n) = 0.0009.
            let mean = x.iter().sum::<f64>() / f64::from(n);
            assert!(mean.abs() < 0.0046, "stream {a}: {mean}");
            for (b, y) in streams.iter().enumerate().skip(a + 1) {
                let correlation = 12.0 * x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>() / f64::from(n);
                assert!(correlation.abs() < 0.016, "streams {a} and {b}: {correlation}");
            }
        }
    }
}
