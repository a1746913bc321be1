//! The seeded generator: xoshiro256++ seeded by splitmix64 (Blackman and Vigna). Its stream is part of the file formats:
//! the same seed gives the same bytes in every version.

/// A seeded generator of random numbers. Not for secrets.
#[derive(Debug, Clone)]
pub struct Random {
    state: [u64; 4],
}

impl Random {
    /// The generator of `seed`; `stream` separates uses of one seed (`b"kmeans"`).
    pub fn new(seed: u64, stream: &[u8]) -> Random {
        let hash = blake3::Hasher::new().update(&seed.to_le_bytes()).update(stream).finalize();
        let mut state = [0; 4];
        for (word, bytes) in state.iter_mut().zip(hash.as_bytes().chunks_exact(8)) {
            *word = bytes.iter().rev().fold(0, |acc, b| acc << 8 | u64::from(*b));
        }
        Random { state }
    }
    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        let s = &mut self.state;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }
    /// Uniform in [0, 1).
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }
    /// Uniform in 0..n, without bias (Lemire). `n` must not be 0.
    pub fn below(&mut self, n: usize) -> usize {
        let n = n as u64;
        debug_assert!(n > 0);
        loop {
            let wide = u128::from(self.bits()) * u128::from(n);
            if (wide as u64) >= n.wrapping_neg() % n {
                return (wide >> 64) as usize;
            }
        }
    }
    /// Standard normal (Box-Muller, one of the pair).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }
    /// Shuffles in place (Fisher-Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
    /// `count` distinct numbers of 0..n in random order (all of them when `count` >= n).
    pub fn sample(&mut self, n: usize, count: usize) -> Vec<usize> {
        // Sparse Fisher-Yates: memory grows with `count`, not with `n`.
        let count = count.min(n);
        let mut moved = std::collections::HashMap::new();
        (0..count)
            .map(|i| {
                let j = i + self.below(n - i);
                let picked = *moved.get(&j).unwrap_or(&j);
                let here = *moved.get(&i).unwrap_or(&i);
                moved.insert(j, here);
                picked
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sample_gives_distinct_numbers_and_all_of_them_when_asked() {
        let mut random = Random::new(1, b"test");
        let mut all = random.sample(50, 80);
        all.sort_unstable();
        assert_eq!(all, (0..50).collect::<Vec<_>>());
    }

    #[test]
    fn moments_are_those_of_the_distributions() {
        let mut random = Random::new(0, b"moments");
        let n = 200_000;
        let (mut sum, mut squares, mut uniform) = (0.0, 0.0, 0.0);
        for _ in 0..n {
            let x = random.normal();
            sum += x;
            squares += x * x;
            uniform += random.uniform();
        }
        // Standard errors: 1/sqrt(n), sqrt(2/n), sqrt(1/12n); five of them.
        let n = n as f64;
        assert!((sum / n).abs() < 5.0 / n.sqrt());
        assert!((squares / n - 1.0).abs() < 5.0 * (2.0 / n).sqrt());
        assert!((uniform / n - 0.5).abs() < 5.0 * (1.0 / 12.0 / n).sqrt());
    }
}
