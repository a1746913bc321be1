//! Rotary position embedding: each pair of a head's values is turned by an angle that grows with the position.
//!
//! (a, b) -> (a cos - b sin, b cos + a sin), angle = position * theta^(-2i/n) / factor_i, for pair i of n/2.
//! The backward of a rotation is the rotation by the negative angle.
//! Layout of the pairs: i with i + n/2 (Hugging Face; Qwen and Gemma in GGUF), or 2i with 2i + 1 (Llama in GGUF).

use super::config::{ModelConfig, RopeLayout};
use rayon::prelude::*;

/// cos and sin for each position.
pub struct Rope {
    /// `[positions, head_dim / 2]` of (cos, sin).
    turns: Vec<(f32, f32)>,
    head_dim: usize,
    layout: RopeLayout,
}

/// Tokens per task.
const ROWS: usize = 32;

impl Rope {
    /// The table for positions below `positions`.
    pub fn new(config: &ModelConfig, positions: usize) -> Rope {
        let half = config.head_dim / 2;
        let frequency: Vec<f64> = (0..half)
            .map(|i| {
                let factor = config.rope_factors.as_ref().map_or(1.0, |f| f64::from(f[i]));
                config.rope_theta.powf(-2.0 * i as f64 / config.head_dim as f64) / factor
            })
            .collect();
        let turns = (0..positions)
            .flat_map(|p| frequency.iter().map(move |f| ((p as f64 * f).cos() as f32, (p as f64 * f).sin() as f32)))
            .collect();
        Rope { turns, head_dim: config.head_dim, layout: config.rope_layout }
    }

    /// Turns `x` `[tokens, heads * head_dim]` in place, token t by `positions[t]`.
    pub fn forward(&self, x: &mut [f32], positions: &[u32]) {
        self.turn(x, positions, 1.0);
    }

    /// From dy to dx, in place.
    pub fn backward(&self, dy: &mut [f32], positions: &[u32]) {
        self.turn(dy, positions, -1.0);
    }

    fn turn(&self, x: &mut [f32], positions: &[u32], sign: f32) {
        if positions.is_empty() {
            return;
        }
        let (half, row) = (self.head_dim / 2, x.len() / positions.len());
        x.par_chunks_mut(ROWS * row).zip(positions.par_chunks(ROWS)).for_each(|(x, positions)| {
            for (x, &position) in x.chunks_exact_mut(row).zip(positions) {
                let turns = &self.turns[position as usize * half..(position as usize + 1) * half];
                for head in x.chunks_exact_mut(self.head_dim) {
                    match self.layout {
                        RopeLayout::Half => {
                            let (low, high) = head.split_at_mut(half);
                            for ((a, b), (cos, sin)) in low.iter_mut().zip(high).zip(turns) {
                                (*a, *b) = (*a * cos - *b * sin * sign, *b * cos + *a * sin * sign);
                            }
                        }
                        RopeLayout::Pairs => {
                            for (pair, (cos, sin)) in head.chunks_exact_mut(2).zip(turns) {
                                let (a, b) = (pair[0], pair[1]);
                                (pair[0], pair[1]) = (a * cos - b * sin * sign, b * cos + a * sin * sign);
                            }
                        }
                    }
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::*;
    use super::*;

    #[test]
    fn gradients_agree_with_differences_in_both_layouts() {
        let positions = [0, 1, 5, 0, 1];
        let (x, dy) = (random(5 * 16, b"x"), random(5 * 16, b"dy"));
        for layout in [RopeLayout::Half, RopeLayout::Pairs] {
            let mut config = ModelConfig::tiny();
            (config.head_dim, config.rope_layout) = (8, layout);
            config.rope_factors = Some(vec![1.0, 1.0, 2.0, 8.0]);
            let rope = Rope::new(&config, 6);
            let mut dx = dy.clone();
            rope.backward(&mut dx, &positions);
            gradient_agrees("x", &x, &dx, |x| {
                let mut y = x.to_vec();
                rope.forward(&mut y, &positions);
                weighted(&y, &dy)
            });
        }
    }
}
