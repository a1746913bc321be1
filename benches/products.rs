//! Products and weight updates of training, beside faer's products: `cargo bench --bench products [-- MODEL.gguf]`.
//!
//! Prints GFLOP/s, the best of five, packing included, for one and two threads; then nanoseconds of one thread per weight
//! and update. With a GGUF also products over the weights of its first layer as the file holds them, decoding included.

use causerie::Run;
use causerie::math::Random;
use causerie::math::gemm::{Into, gemm, view, view_mut};
use causerie::math::packed::{Arithmetic, Dense, Left, Right, RightTile, Term, product};
use causerie::transformer::{AdamW, AdamWSettings, Model, Moments, Part, Place, Storage, Tensor};
use std::ops::Range;
use std::time::Instant;

const SHAPES: [(usize, usize, usize); 5] =
    [(512, 2048, 2048), (512, 8192, 2048), (512, 2048, 8192), (2048, 1536, 512), (2048, 512, 1536)];

fn random(n: usize, stream: &[u8]) -> Vec<f32> {
    let mut random = Random::new(17, stream);
    (0..n).map(|_| random.normal() as f32).collect()
}

/// Seconds of the fastest of five runs.
fn best(run: &Run, work: &mut (dyn FnMut() + Send)) -> f64 {
    let times = (0..5).map(|_| {
        let start = Instant::now();
        run.install(&mut *work);
        start.elapsed().as_secs_f64()
    });
    times.fold(f64::INFINITY, f64::min)
}

fn parallel(threads: usize) -> faer::Par {
    if threads == 1 { faer::Par::Seq } else { faer::Par::rayon(threads) }
}

/// a `[m, k]` by b' of b `[n, k]`.
fn products() {
    for (m, n, k) in SHAPES {
        let (a, b) = (random(m * k, b"a"), random(k * n, b"b"));
        let mut out = vec![0.0; m * n];
        for threads in [1, 2] {
            let run = Run::new(threads).unwrap();
            let rate = |seconds: f64| 2.0 * (m * n * k) as f64 / seconds / 1e9;
            let [packed, halves] = [Arithmetic::F32, Arithmetic::Bf16].map(|arithmetic| {
                rate(best(&run, &mut || {
                    let left = Left::of_rows(&a, k, 1.0, arithmetic);
                    let right = Dense { values: &b, stride: k, turned: true };
                    product(&mut out, n, Into::Replace, &[Term::new(&left, right)]);
                }))
            });
            let (av, bv) = (view(&a, m, k), view(&b, n, k).transpose());
            let blocks = rate(best(&run, &mut || gemm(view_mut(&mut out, m, n), Into::Replace, av, bv, 1.0)));
            let faer = rate(best(&run, &mut || {
                let out = view_mut(&mut out, m, n);
                faer::linalg::matmul::matmul(out, faer::Accum::Replace, av, bv, 1.0, parallel(threads));
            }));
            println!(
                "{m} x {k} x {n}, {threads} threads: packed {packed:.0}, in bf16 {halves:.0}, gemm {blocks:.0}, faer {faer:.0}"
            );
        }
    }
}

/// One update of four million weights.
fn updates() {
    let n = 1 << 22;
    let (start, gradient) = (random(n, b"start"), random(n, b"g"));
    for (bf16_weights, moments) in
        [(false, Moments::F32), (true, Moments::F32), (false, Moments::Bits8), (true, Moments::Bits8)]
    {
        let place = Place { layer: Some(0), part: Part::Up, lora: None };
        let storage = Storage::F32(start.clone());
        let mut weights = Tensor { place, rows: n / 1024, cols: 1024, storage, trained: true };
        weights.own(bf16_weights);
        let mut adam = AdamW::new(AdamWSettings { moments, ..AdamWSettings::default() }, 1);
        let seconds = best(&Run::new(1).unwrap(), &mut || {
            adam.begin_step();
            adam.update(0, &mut weights, &gradient, 1e-4, 1.0);
        });
        println!("update, bf16 weights {bf16_weights}, moments {moments:?}: {:.2} ns", seconds / n as f64 * 1e9);
    }
}

/// A weight W `[out, in]` in its file; turned, as the right side of x W'.
struct Weight<'a> {
    tensor: &'a Tensor,
    turned: bool,
}

impl Right for Weight<'_> {
    fn inner(&self) -> usize {
        if self.turned { self.tensor.cols } else { self.tensor.rows }
    }
    fn grain(&self) -> usize {
        if self.turned { 1 } else { self.tensor.block_values() }
    }
    fn tile<'a>(&'a self, inner: Range<usize>, cols: Range<usize>, scratch: &'a mut Vec<f32>) -> RightTile<'a> {
        let (rows, cols) = if self.turned { (cols, inner) } else { (inner, cols) };
        let (values, stride) = self.tensor.tile(rows, cols, scratch);
        RightTile { values, stride, turned: self.turned }
    }
}

/// x W' and dy W over 512 tokens.
fn weights_of(path: &str) {
    const TOKENS: usize = 512;
    let model = Model::from_gguf(path.as_ref()).unwrap();
    for w in model.tensors.iter().filter(|t| t.place.layer == Some(0) && t.rows.min(t.cols) >= 512) {
        let (x, dy) = (random(TOKENS * w.cols, b"x"), random(TOKENS * w.rows, b"dy"));
        let plain = random(w.rows * w.cols, b"w");
        let rate = |seconds: f64| 2.0 * (TOKENS * w.rows * w.cols) as f64 / seconds / 1e9;
        for threads in [1, 2] {
            let run = Run::new(threads).unwrap();
            let through = |turned: bool, arithmetic: Arithmetic| {
                let (left, width, out) = if turned { (&x, w.cols, w.rows) } else { (&dy, w.rows, w.cols) };
                let mut result = vec![0.0; TOKENS * out];
                rate(best(&run, &mut || {
                    let left = Left::of_rows(left, width, 1.0, arithmetic);
                    let right = Weight { tensor: w, turned };
                    product(&mut result, out, Into::Replace, &[Term::new(&left, right)]);
                }))
            };
            let mut result = vec![0.0; TOKENS * w.rows];
            let faer = rate(best(&run, &mut || {
                let (xv, wv) = (view(&x, TOKENS, w.cols), view(&plain, w.rows, w.cols));
                let out = view_mut(&mut result, TOKENS, w.rows);
                faer::linalg::matmul::matmul(out, faer::Accum::Replace, xv, wv.transpose(), 1.0, parallel(threads));
            }));
            println!(
                "{} x {}, {threads} threads: x W' {:.0}, dy W {:.0}; in bf16 {:.0}, {:.0}; faer on f32 {faer:.0}",
                w.rows,
                w.cols,
                through(true, Arithmetic::F32),
                through(false, Arithmetic::F32),
                through(true, Arithmetic::Bf16),
                through(false, Arithmetic::Bf16)
            );
        }
    }
}

fn main() {
    // `cargo bench` adds --bench.
    let file = std::env::args().skip(1).find(|word| !word.starts_with("--"));
    if let Some(path) = file {
        return weights_of(&path);
    }
    products();
    updates();
}
