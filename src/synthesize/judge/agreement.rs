//! How far a judge agrees with itself: dialogues that it judged twice.

use super::scores::{BEST, CRITERIA};

/// A value for each criterion.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize)]
pub struct Criteria<T> {
    /// What the user asks for follows from the reviews.
    pub grounded: T,
    /// It sounds like something that people say.
    pub natural: T,
    /// The list fits it.
    pub fits: T,
}

impl<T> Criteria<T> {
    /// From one value for each.
    pub(super) fn of(value: impl Fn(usize) -> T) -> Criteria<T> {
        let [grounded, natural, fits] = std::array::from_fn::<usize, { CRITERIA.len() }, _>(|n| n).map(value);
        Criteria { grounded, natural, fits }
    }
}

/// A judge's agreement with itself on dialogues that it was asked about twice.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct Agreement {
    /// Dialogues both of whose judgements could be read.
    pub dialogues: u64,
    /// Share of their scores that are the same.
    pub same: f64,
    /// Share that differ by one at most.
    pub within_one: f64,
    /// Cohen's kappa with quadratic weights (Cohen, 1968) of each criterion: 1 for the same scores, 0 for as many as chance
    /// gives; none where every score is the same, of which chance gives all.
    pub kappa: Criteria<Option<f64>>,
}

impl Agreement {
    /// Of the two judgements of each dialogue.
    pub(super) fn of(pairs: &[([u8; 3], [u8; 3])]) -> Agreement {
        let scores = || pairs.iter().flat_map(|(a, b)| a.iter().zip(b));
        let share = |most: u8| {
            let close = scores().filter(|(a, b)| a.abs_diff(**b) <= most).count();
            close as f64 / (pairs.len() * CRITERIA.len()).max(1) as f64
        };
        let kappa = |n: usize| kappa(&pairs.iter().map(|(a, b)| (a[n], b[n])).collect::<Vec<_>>());
        Agreement { dialogues: pairs.len() as u64, same: share(0), within_one: share(1), kappa: Criteria::of(kappa) }
    }
}

/// κ = 1 - Σ w o / Σ w e, with w the squared distance, o the counts of pairs, e those that the margins give by chance.
fn kappa(pairs: &[(u8, u8)]) -> Option<f64> {
    let of = |score: u8| usize::from(score.clamp(1, BEST)) - 1;
    let (mut first, mut second) = ([0f64; BEST as usize], [0f64; BEST as usize]);
    let mut observed = 0.0;
    for (a, b) in pairs {
        first[of(*a)] += 1.0;
        second[of(*b)] += 1.0;
        observed += f64::from(a.abs_diff(*b)).powi(2);
    }
    let mut by_chance = 0.0;
    for (a, x) in first.iter().enumerate() {
        for (b, y) in second.iter().enumerate() {
            by_chance += (a as f64 - b as f64).powi(2) * x * y / pairs.len() as f64;
        }
    }
    (by_chance > 0.0).then(|| 1.0 - observed / by_chance)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::math::Random;

    /// The slow twin: what chance gives is the mean over all pairs of a first and a second score.
    fn kappa_of_all_pairs(pairs: &[(u8, u8)]) -> f64 {
        let square = |a: u8, b: u8| (f64::from(a) - f64::from(b)).powi(2);
        let observed: f64 = pairs.iter().map(|(a, b)| square(*a, *b)).sum::<f64>() / pairs.len() as f64;
        let all: f64 = pairs.iter().flat_map(|(a, _)| pairs.iter().map(move |(_, b)| square(*a, *b))).sum();
        1.0 - observed / (all / (pairs.len() * pairs.len()) as f64)
    }

    #[test]
    fn kappa_is_1_of_equals_0_of_chance_and_none_of_one_score() {
        let mut random = Random::new(1, b"kappa");
        let mut drawn = |noise: usize| -> Vec<(u8, u8)> {
            let pair = |_| {
                let a = 1 + random.below(5) as u8;
                (a, (a as usize + random.below(noise)).min(5) as u8)
            };
            (0..200).map(pair).collect()
        };
        for noise in [2, 3, 5] {
            let pairs = drawn(noise);
            let value = kappa(&pairs).unwrap();
            assert!((value - kappa_of_all_pairs(&pairs)).abs() < 1e-12);
            assert!(value > 0.1 && value < 1.0, "{noise}: {value}");
        }
        assert_eq!(kappa(&[(1, 1), (5, 5), (3, 3)]), Some(1.0));
        // All four pairs of two scores: independent.
        assert_eq!(kappa(&[(1, 1), (1, 5), (5, 1), (5, 5)]), Some(0.0));
        assert_eq!(kappa(&[(1, 5), (5, 1)]), Some(-1.0));
        assert_eq!((kappa(&[(4, 4), (4, 4)]), kappa(&[])), (None, None));
    }

    #[test]
    fn shares_are_of_all_scores() {
        let agreement = Agreement::of(&[([5, 4, 1], [5, 3, 3]), ([5, 5, 2], [5, 5, 2])]);
        assert_eq!((agreement.dialogues, agreement.same, agreement.within_one), (2, 4.0 / 6.0, 5.0 / 6.0));
        assert_eq!(agreement.kappa.grounded, None);
        assert!(agreement.kappa.natural.is_some_and(|k| k > 0.0 && k < 1.0));
        assert_eq!(Agreement::of(&[]).same, 0.0);
    }
}
